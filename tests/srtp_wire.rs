//! Encrypted calls and their reports from outside: what is opened, what is dropped, and what is kept of a call's
//! quality. The telephone's side of SRTP is the media library's, whose packets are held to published vectors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod wire_support;

use std::net::SocketAddr;
use std::time::Duration;

use offhook::config::{RtcpSetting, SrtpMode};
use offhook_media::rtcp::{Compound, Packet as Report};
use offhook_media::srtp::{LONGEST_KEY, MOST_GROWTH, SrtpReceiver, SrtpSender, Suite};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout_at};
use wire_support::phone::{Phone, audio_of, receive_until};
use wire_support::{Host, PATIENCE, QUIET, loudest};

/// The master key and salt of every telephone here, as text and as octets.
const KEY: [u8; 30] = *b"telephone key..telephone salt.";
const KEY_TEXT: &str = "dGVsZXBob25lIGtleS4udGVsZXBob25lIHNhbHQu";

/// A telephone whose audio is encrypted.
struct Secure {
    phone: Phone,
    sender: SrtpSender,
    receiver: SrtpReceiver,
}

impl Secure {
    async fn call(host: &Host, suite: Suite) -> Self {
        let mut phone = Phone::udp(host).await;
        let sdp = secure_offer(&phone, "RTP/SAVP", suite, KEY_TEXT);
        let answer = phone.call_with("1000", &sdp).await;
        assert_eq!(answer.status(), 200, "{}", answer.text);
        let first = phone.sender.frame(&QUIET);
        let ssrc = u32::from_be_bytes(first[0][8..12].try_into().unwrap());
        let key = answered_key(answer.body(), suite);
        Self {
            phone,
            sender: SrtpSender::new(suite, &KEY, ssrc).unwrap(),
            receiver: SrtpReceiver::new(suite, &key, None, 1 << 48).unwrap(),
        }
    }

    fn sealed(&mut self, frame: &[u8; 160]) -> Vec<Vec<u8>> {
        let packets = self.phone.sender.frame(frame);
        packets.iter().map(|packet| seal(&mut self.sender, packet)).collect()
    }

    /// Talks silence for a while and gives what came, opened; what does not open fails the test.
    async fn talk(&mut self, span: Duration) -> Vec<Vec<u8>> {
        let (began, mut heard) = (Instant::now(), Vec::new());
        for tick in 1..=(span.as_millis() / 20) as u32 {
            for packet in self.sealed(&QUIET) {
                self.phone.media.send_to(&packet, self.phone.far_media.unwrap()).await.unwrap();
            }
            for mut packet in datagrams(&self.phone.media, began + Duration::from_millis(20) * tick).await {
                let length = self.receiver.unprotect(&mut packet).unwrap();
                packet.truncate(length);
                heard.push(packet.split_off(12));
            }
        }
        heard
    }

    /// Talks silence until so many packets have come since then.
    async fn is_sent(&mut self, packets: usize) -> Vec<Vec<u8>> {
        datagrams(&self.phone.media, Instant::now()).await;
        let (until, mut heard) = (Instant::now() + PATIENCE, Vec::new());
        while heard.len() < packets {
            assert!(Instant::now() < until, "only {} packets", heard.len());
            heard.extend(self.talk(Duration::from_millis(100)).await);
        }
        heard
    }
}

fn secure_offer(phone: &Phone, protocol: &str, suite: Suite, key: &str) -> String {
    let crypto = format!("a=ptime:20\r\na=crypto:7 {} inline:{key}\r\n", suite.name());
    phone.own_offer().replace("RTP/AVP", protocol).replace("a=ptime:20\r\n", &crypto)
}

fn answered_key(sdp: &str, suite: Suite) -> Vec<u8> {
    use base64::Engine as _;
    let start = format!("a=crypto:7 {} inline:", suite.name());
    let lines: Vec<&str> = sdp.lines().filter(|line| line.starts_with("a=crypto")).collect();
    assert_eq!(lines.len(), 1, "{sdp}");
    assert!(sdp.contains(" RTP/SAVP "), "{sdp}");
    base64::engine::general_purpose::STANDARD.decode(lines[0].strip_prefix(&start).unwrap()).unwrap()
}

fn seal(sender: &mut SrtpSender, packet: &[u8]) -> Vec<u8> {
    let mut room = [packet, &[0; MOST_GROWTH]].concat();
    let length = sender.protect(&mut room, packet.len()).unwrap();
    room.truncate(length);
    room
}

async fn datagrams(socket: &UdpSocket, until: Instant) -> Vec<Vec<u8>> {
    let (mut all, mut room) = (Vec::new(), [0; 2048]);
    while let Ok(received) = timeout_at(until, socket.recv_from(&mut room)).await {
        if let Ok((length, _)) = received {
            all.push(room[..length].to_vec());
        }
    }
    sleep_until(until).await;
    all
}

fn digits(call: &serde_json::Value) -> usize {
    call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "digit").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_call_is_heard_both_ways_and_recorded_as_such() {
    let host = Host::start(|_| {}).await;
    for suite in [Suite::AesCm128Tag80, Suite::AesCm128Tag32] {
        let mut secure = Secure::call(&host, suite).await;
        let heard = secure.is_sent(40).await.concat();
        assert!(loudest(&heard) > -25.0, "{} octets, {} dBFS", heard.len(), loudest(&heard));
        secure.phone.sender.press('5');
        secure.talk(Duration::from_millis(500)).await;
        assert_eq!(secure.phone.bye().await, 200);
    }
    for (call, suite) in host.ended_calls(2).await.iter().zip([Suite::AesCm128Tag32, Suite::AesCm128Tag80]) {
        assert_eq!(digits(call), 1, "{call:#}");
        let summary = &call["summary"];
        assert_eq!((&summary["srtp"], &summary["codec"]), (&suite.name().into(), &"PCMU".into()), "{call:#}");
        assert!(summary["mos"].as_f64().unwrap() > 1.0 && summary["r_factor"].as_f64().unwrap() > 0.0, "{call:#}");
    }
    assert_eq!(host.metric("offhook_call_mos_count").await, 2.0);
    assert_eq!(host.metric("offhook_rtp_unauthentic_total").await, 0.0);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_played_that_does_not_authenticate() {
    let host = Host::start(|_| {}).await;
    let suite = Suite::AesCm128Tag80;
    let mut secure = Secure::call(&host, suite).await;
    secure.talk(Duration::from_millis(600)).await;
    let (to, ssrc) = (secure.phone.far_media.unwrap(), 7);
    let mut wrong = SrtpSender::new(suite, &[1; 30], ssrc).unwrap();
    let mut forger = offhook::sim::rtp_wire::Sender::new(u64::from(ssrc) << 32);
    let mut replayed = Vec::new();
    for round in 0..20 {
        if round % 10 == 0 {
            forger.press('5');
        }
        for packet in forger.frame(&QUIET) {
            // A key in the clear on an encrypted call, and one under another key.
            secure.phone.media.send_to(&packet, to).await.unwrap();
            secure.phone.media.send_to(&seal(&mut wrong, &packet), to).await.unwrap();
        }
        if round == 5 {
            secure.phone.sender.press('7');
        }
        for packet in secure.sealed(&QUIET) {
            secure.phone.media.send_to(&packet, to).await.unwrap();
            replayed.push(packet);
        }
        sleep_until(Instant::now() + Duration::from_millis(20)).await;
    }
    for mut packet in replayed {
        secure.phone.media.send_to(&packet, to).await.unwrap();
        *packet.last_mut().unwrap() ^= 1;
        secure.phone.media.send_to(&packet, to).await.unwrap();
    }
    datagrams(&secure.phone.media, Instant::now()).await;
    // The call goes on.
    secure.is_sent(40).await;
    assert_eq!(secure.phone.bye().await, 200);
    let call = host.ended_call().await;
    assert_eq!(digits(&call), 1, "the caller's own key only: {call:#}");
    assert!(host.metric("offhook_rtp_unauthentic_total").await > 60.0);
    assert_eq!(host.metric(r#"offhook_bad_input_total{kind="srtp"}"#).await, 1.0);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_nothing_of_an_encrypted_call_and_a_new_address_is_followed() {
    let host = Host::start(|_| {}).await;
    let mut secure = Secure::call(&host, Suite::AesCm128Tag80).await;
    secure.talk(Duration::from_millis(500)).await;
    let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    for _ in 0..20 {
        for packet in offhook::sim::rtp_wire::Sender::new(9).frame(&QUIET) {
            stranger.send_to(&packet, secure.phone.far_media.unwrap()).await.unwrap();
        }
        secure.talk(Duration::from_millis(20)).await;
    }
    assert_eq!(datagrams(&stranger, Instant::now() + Duration::from_millis(100)).await.len(), 0);
    // The same telephone behind another address: its packets still open.
    secure.phone.media = UdpSocket::bind("127.0.0.3:0").await.unwrap();
    secure.is_sent(40).await;
    assert_eq!(secure.phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_and_a_new_key_keep_an_encrypted_call_together() {
    let host = Host::start(|_| {}).await;
    let suite = Suite::AesCm128Tag80;
    let mut secure = Secure::call(&host, suite).await;
    secure.talk(Duration::from_millis(500)).await;
    let offer = secure_offer(&secure.phone, "RTP/SAVP", suite, KEY_TEXT);
    let held = secure.phone.reinvite(&offer.replace("a=sendrecv", "a=sendonly")).await;
    assert!(held.body().contains("a=recvonly\r\n"), "{}", held.text);
    assert_eq!(secure.phone.reinvite(&offer).await.status(), 200);
    // The counters went on.
    secure.is_sent(40).await;
    let other = secure_offer(&secure.phone, "RTP/SAVP", suite, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(secure.phone.reinvite(&other).await.status(), 200);
    let ssrc = u32::from_be_bytes(secure.phone.sender.frame(&QUIET)[0][8..12].try_into().unwrap());
    secure.sender = SrtpSender::new(suite, &[0; 30], ssrc).unwrap();
    secure.phone.sender.press('3');
    // Ours is the key it was.
    secure.is_sent(40).await;
    assert_eq!(secure.phone.bye().await, 200);
    assert_eq!(digits(&host.ended_call().await), 1, "their new key opens");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_says_which_offers_are_taken() {
    let cases = [
        (SrtpMode::Off, "RTP/SAVP", 488),
        (SrtpMode::Off, "RTP/AVP", 200),
        (SrtpMode::Allowed, "RTP/AVP", 200),
        (SrtpMode::Required, "RTP/SAVP", 200),
        (SrtpMode::Required, "RTP/AVP", 200),
    ];
    for (mode, protocol, status) in cases {
        let host = Host::start(|config| config.rtp.srtp = mode).await;
        let mut phone = Phone::udp(&host).await;
        let sdp = secure_offer(&phone, protocol, Suite::AesCm128Tag80, KEY_TEXT);
        let answer = phone.call_with("1000", &sdp).await;
        assert_eq!(answer.status(), status, "{mode:?} {protocol}: {}", answer.text);
        let encrypted = answer.body().contains("a=crypto:7 ");
        assert_eq!(encrypted, status == 200 && mode != SrtpMode::Off, "{mode:?}: {}", answer.text);
        if status == 200 {
            assert_eq!(phone.bye().await, 200);
        }
        let mut plain = Phone::udp(&host).await;
        let answer = plain.call("1000").await;
        assert_eq!(answer.status(), if mode == SrtpMode::Required { 488 } else { 200 }, "{mode:?}");
        if answer.status() == 200 {
            assert_eq!(plain.bye().await, 200);
        }
        host.ends_clean().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_key_of_256_bits_is_taken() {
    use base64::Engine as _;
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::udp(&host).await;
    let (suite, key) = (Suite::Aes256CmTag80, [3; LONGEST_KEY]);
    let text = base64::engine::general_purpose::STANDARD.encode(key);
    let sdp = secure_offer(&phone, "RTP/SAVP", suite, &text);
    let answer = phone.call_with("1000", &sdp).await;
    let ours = answered_key(answer.body(), suite);
    let mut receiver = SrtpReceiver::new(suite, &ours, None, 1 << 48).unwrap();
    let (mut heard, until) = (Vec::new(), Instant::now() + PATIENCE);
    while heard.len() < 40 {
        assert!(Instant::now() < until, "only {} packets", heard.len());
        heard.extend(datagrams(&phone.media, Instant::now() + Duration::from_millis(100)).await);
    }
    assert!(heard.into_iter().all(|mut packet| receiver.unprotect(&mut packet).is_ok()));
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

/// A telephone with a port for reports of its own.
async fn pair() -> (UdpSocket, UdpSocket) {
    loop {
        let media = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = media.local_addr().unwrap().port();
        if port % 2 == 0
            && let Ok(reports) = UdpSocket::bind(("127.0.0.1", port + 1)).await
        {
            return (media, reports);
        }
    }
}

/// Our source, as the far side tells it, and the middle of its sender report's time.
fn read(datagram: &[u8]) -> (bool, bool, Option<u32>, Option<u32>) {
    let (mut sender, mut bye, mut about, mut middle) = (false, false, None, None);
    for packet in Compound::parse(datagram).unwrap() {
        match packet {
            Report::SenderReport { info, reports, .. } => {
                (sender, middle) = (true, Some((info.ntp >> 16) as u32));
                about = about.or(reports.iter().next().map(|report| report.ssrc));
            }
            Report::ReceiverReport { reports, .. } => about = about.or(reports.iter().next().map(|r| r.ssrc)),
            Report::Bye { .. } => bye = true,
            _ => {}
        }
    }
    (sender, bye, about, middle)
}

/// A receiver report on `about`, 0x40 of 256 lost, on a sender report that came just now.
fn receiver_report(about: u32, middle: u32) -> Vec<u8> {
    let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
    report.extend(about.to_be_bytes());
    report.extend([0x40, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 80]);
    report.extend(middle.to_be_bytes());
    report.extend([0; 4]);
    report
}

async fn reported(mux: bool, setting: RtcpSetting) {
    let host = Host::start(|config| config.rtp.rtcp = setting).await;
    let mut phone = Phone::udp(&host).await;
    let (media, reports) = pair().await;
    phone.media = media;
    let mut sdp = phone.own_offer().replace("a=rtcp:9\r\n", "");
    if mux {
        sdp.push_str("a=rtcp-mux\r\n");
    }
    let answer = phone.call_with("1000", &sdp).await;
    let shared = mux && setting == RtcpSetting::Mux;
    assert_eq!(answer.body().contains("a=rtcp-mux\r\n"), shared, "{}", answer.text);
    let far = phone.far_media.unwrap();
    let far_reports = if shared { far } else { SocketAddr::new(far.ip(), far.port() + 1) };
    let socket = if shared { &phone.media } else { &reports };
    let (mut room, until) = ([0; 2048], Instant::now() + 2 * PATIENCE);
    let mut seen = 0;
    let mut last = Instant::now();
    while seen < 2 {
        for packet in phone.sender.frame(&QUIET) {
            phone.media.send_to(&packet, far).await.unwrap();
        }
        last += Duration::from_millis(20);
        while let Ok(received) = timeout_at(last, socket.recv_from(&mut room)).await {
            let Ok((length, from)) = received else { continue };
            if !(192..=223).contains(&room[1]) {
                continue;
            }
            assert_eq!(from, far_reports);
            let (sender, bye, about, middle) = read(&room[..length]);
            assert!(sender && !bye, "the bench line sends all the time");
            let ssrc = u32::from_be_bytes(room[4..8].try_into().unwrap());
            assert!(about.is_some(), "our stream is reported on");
            socket.send_to(&receiver_report(ssrc, middle.unwrap()), from).await.unwrap();
            seen += 1;
        }
        assert!(Instant::now() < until, "{seen} reports");
        sleep_until(last).await;
    }
    phone.talk(&[], Duration::from_millis(200)).await;
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    let trip = call["summary"]["round_trip_ms"].as_f64().expect("a round trip");
    assert!((0.0..5_000.0).contains(&trip), "{call:#}");
    assert!(call["summary"]["far_loss_percent"].as_f64().unwrap() > 0.0, "{call:#}");
    assert_eq!(host.metric("offhook_call_round_trip_ms_count").await, 1.0);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_exchanged_on_a_port_of_their_own() {
    reported(false, RtcpSetting::Mux).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_exchanged_on_the_shared_port() {
    reported(true, RtcpSetting::Mux).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_keep_their_own_port_where_the_setting_says_so() {
    reported(true, RtcpSetting::Separate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_say_goodbye_in_our_reports_too() {
    let host = Host::start(|config| config.limits.no_media_timeout_s = 1).await;
    let mut phone = Phone::udp(&host).await;
    let (media, reports) = pair().await;
    phone.media = media;
    let sdp = phone.own_offer().replace("a=rtcp:9\r\n", "");
    phone.call_with("1000", &sdp).await;
    phone.talk(&[], Duration::from_millis(200)).await;
    phone.is_hung_up_on().await;
    let (mut room, until) = ([0; 2048], Instant::now() + PATIENCE);
    loop {
        let (length, _) = timeout_at(until, reports.recv_from(&mut room)).await.expect("a farewell").unwrap();
        if read(&room[..length]).1 {
            break;
        }
    }
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_goodbye_ends_nothing() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::udp(&host).await;
    let sdp = format!("{}a=rtcp-mux\r\n", phone.own_offer());
    phone.call_with("1000", &sdp).await;
    phone.talk(&[], Duration::from_millis(400)).await;
    let ssrc: [u8; 4] = phone.sender.frame(&QUIET)[0][8..12].try_into().unwrap();
    for _ in 0..5 {
        let bye = [&[0x80, 201, 0, 1][..], &ssrc, &[0x81, 203, 0, 1], &ssrc].concat();
        phone.media.send_to(&bye, phone.far_media.unwrap()).await.unwrap();
    }
    let heard = phone.is_sent(40).await;
    assert!(loudest(&audio_of(&heard)) > -25.0);
    assert_eq!(phone.bye().await, 200);
    assert_eq!(host.ended_call().await["end_reason"], "caller_hung_up");
    receive_until(&phone.media, Instant::now()).await;
    host.ends_clean().await;
}

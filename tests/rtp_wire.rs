//! The media side from outside: whose packets are heard, what garbage does, and what becomes of a call without media.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod wire_support;

use std::time::Duration;

use offhook::sim::rtp_wire::Sender;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};
use wire_support::phone::{Phone, audio_of, receive_until};
use wire_support::{Host, PATIENCE, QUIET, loudest, phrase, ports_for, steps};

const SOON: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_key_by_rtp_selects_its_branch_of_the_menu() {
    let host = Host::with_voice(|_| {}).await;
    let mut phone = Phone::connected(&host, "clinic").await;
    phone.hears(-40.0).await;
    phone.talk(&[], Duration::from_secs(1)).await;
    phone.sender.press('3');
    phone.talk(&[], Duration::from_secs(2)).await;
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    assert!(steps(&call).iter().any(|step| step == "prescription"), "{call:#}");
    let digits = call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "digit").count();
    assert_eq!(digits, 1, "five packets and three copies of the last are one key: {call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_packets_are_neither_heard_nor_answered() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_secs(1)).await;
    let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let to = phone.far_media.unwrap();
    let mut voice = Sender::new(99);
    let (words, _) = phrase("please-try-call-later.wav");
    let mut heard = Vec::new();
    voice.press('5');
    for frame in &words {
        for packet in voice.frame(frame) {
            stranger.send_to(&packet, to).await.unwrap();
        }
        heard.extend(phone.talk(&[], Duration::from_millis(20)).await);
    }
    let tone = audio_of(&heard);
    let quietest = tone.chunks(800).filter(|chunk| chunk.len() == 800).map(loudest).fold(0.0, f64::min);
    assert!(quietest > -25.0, "the tone was interrupted by a stranger: {quietest} dBFS");
    assert_eq!(receive_until(&stranger, Instant::now() + SOON).await.len(), 0, "a stranger is not answered");
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    assert_eq!(call["summary"]["barge_ins"], 0, "{call:#}");
    assert!(call["events"].as_array().unwrap().iter().all(|event| event["kind"] != "digit"), "{call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_flood_does_not_delay_the_callers_keys() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_millis(600)).await;
    let stranger = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
    let to = phone.far_media.unwrap();
    let mut voice = Sender::new(99);
    for round in 0..100 {
        // 1000 packets a second.
        for _ in 0..20 {
            for packet in voice.frame(&QUIET) {
                stranger.send_to(&packet, to).unwrap();
            }
        }
        if round == 50 {
            phone.sender.press('5');
        }
        phone.talk(&[], Duration::from_millis(20)).await;
    }
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    let digits = call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "digit").count();
    assert_eq!(digits, 1, "{call:#}");
    // Five frames make room for the key, whose packets are seven with the repeated end.
    // A server that stalls for a quarter of a second has its socket's buffer flooded; what was lost then is not much.
    let every = 30 + 100 - 5 + 7;
    let received = call["summary"]["frames_received"].as_u64().unwrap();
    assert!((every - 40..=every).contains(&received), "{received} of {every} packets of the caller: {call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_media_port_changes_nothing() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_millis(600)).await;
    let audio = [0xD5; 160];
    let rtp = |head: [u8; 12]| [&head[..], &audio].concat();
    let mut garbage = vec![
        Vec::new(),
        vec![0x80],
        vec![0; 1400],
        vec![0xFF; 1400],
        rtp([0x40, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]),
        rtp([0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]),
        rtp([0x8F, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1])[..20].to_vec(),
        [&[0x90, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1][..], &[0xBE, 0xDE, 0xFF, 0xFF]].concat(),
        [&[0xA0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 1][..], &[1, 2, 3, 255]].concat(),
        [&[0x80, 101, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1][..], &[1]].concat(),
        [&[0x80, 101, 0, 5, 0, 0, 0, 5, 0, 0, 0, 1][..], &[200, 0x80, 0xFF, 0xFF]].concat(),
        // RTCP: a receiver report, a BYE of a source that is not ours, one that lies about its length.
        vec![0x80, 201, 0, 1, 0, 0, 0, 1],
        vec![0x81, 203, 0, 1, 0, 0, 0, 1],
        vec![0x81, 200, 0xFF, 0xFF, 0, 0, 0, 1],
        // A STUN binding request (RFC 8489) and a DTLS hello.
        [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat(),
        [&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100][..], &[1; 100]].concat(),
    ];
    // Of any version but RTP's, so that none is the caller's by chance.
    let random = |n: usize| (0..n * 20).map(|at| if at == 0 { n as u8 } else { rand::random() }).collect();
    garbage.extend((1..60).map(random));
    let mut heard = Vec::new();
    for datagram in &garbage {
        phone.media.send_to(datagram, phone.far_media.unwrap()).await.unwrap();
        heard.extend(phone.talk(&[], Duration::from_millis(20)).await);
    }
    for pair in heard.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
    }
    let tone = audio_of(&heard);
    let quietest = tone.chunks(800).filter(|chunk| chunk.len() == 800).map(loudest).fold(0.0, f64::min);
    assert!(quietest > -25.0, "the tone was interrupted: {quietest} dBFS");
    phone.sender.press('7');
    phone.talk(&[], Duration::from_millis(600)).await;
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    let digits = call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "digit").count();
    assert_eq!(digits, 1, "the caller is still heard: {call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_packets_come_from_another_port_is_followed() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    let moved = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let offered = std::mem::replace(&mut phone.media, moved);
    let heard = phone.is_sent(30).await;
    assert!(heard.iter().all(|packet| Some(packet.from) == phone.far_media));
    receive_until(&offered, Instant::now()).await;
    phone.talk(&[], SOON).await;
    assert_eq!(receive_until(&offered, Instant::now() + SOON).await.len(), 0, "nothing at the port that was offered");
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_behind_another_address_is_followed_when_the_offered_one_is_silent() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.media = UdpSocket::bind("127.0.0.3:0").await.unwrap();
    phone.is_sent(30).await;
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_sends_nothing_is_greeted_all_the_same() {
    let host = Host::with_voice(|_| {}).await;
    let mut phone = Phone::connected(&host, "clinic").await;
    let until = Instant::now() + PATIENCE;
    while loudest(&audio_of(&phone.listen(Duration::from_millis(500)).await)) < -40.0 {
        assert!(Instant::now() < until, "no greeting");
    }
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_vanishes_is_given_up_and_told_so() {
    let host = Host::start(|config| config.limits.no_media_timeout_s = 2).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_secs(3)).await;
    assert_eq!(host.calls(), 1, "audio keeps a call alive");
    phone.is_hung_up_on().await;
    assert_eq!(host.ended_call().await["end_reason"], "media_timeout");
    sleep_until(Instant::now() + SOON).await;
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebound_port_of_a_call_that_goes_on_is_followed() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_secs(1)).await;
    // The NAT forgets and gives another port: same host, same stream.
    phone.media = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    phone.is_sent(60).await;
    phone.sender.press('5');
    phone.talk(&[], Duration::from_millis(600)).await;
    // Another host that goes on with the numbers is not the caller.
    phone.media = UdpSocket::bind("127.0.0.4:0").await.unwrap();
    assert_eq!(phone.talk(&[], Duration::from_secs(1)).await.len(), 0);
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    assert_eq!(call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "digit").count(), 1);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_keeps_the_source_and_a_moved_address_changes_it() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    let offered = phone.own_offer();
    phone.media = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    phone.talk(&[], SOON).await;
    assert_eq!(phone.reinvite(&offered).await.status(), 200);
    // A refresh by the old description changes nothing.
    phone.is_sent(10).await;
    phone.media = UdpSocket::bind("127.0.0.5:0").await.unwrap();
    let port = phone.media.local_addr().unwrap().port();
    assert_eq!(phone.reinvite(&wire_support::phone::offer("127.0.0.5", port, "sendrecv")).await.status(), 200);
    // A description that moves is followed.
    phone.is_sent(10).await;
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_audio_is_told_with_its_cause() {
    let host = Host::start(|_| {}).await;
    let mut silent = Phone::connected(&host, "1000").await;
    let mut elsewhere = Phone::connected(&host, "1000").await;
    let stranger = UdpSocket::bind("127.0.0.6:0").await.unwrap();
    stranger.send_to(&[0x80; 40], elsewhere.far_media.unwrap()).await.unwrap();
    for cause in ["nothing", "other_address"] {
        host.counts(&format!("offhook_calls_without_audio_total{{cause=\"{cause}\"}}"), 1.0).await;
    }
    for phone in [&mut silent, &mut elsewhere] {
        assert_eq!(phone.bye().await, 200);
    }
    for call in host.ended_calls(2).await {
        let told = call["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "no_audio").count();
        assert_eq!(told, 1, "{call:#}");
        assert_eq!(call["summary"]["mos"], serde_json::Value::Null, "nothing was heard: {call:#}");
    }
    assert_eq!(host.metric(r#"offhook_calls_without_audio_total{cause="nothing"}"#).await, 1.0);
    assert_eq!(host.metric(r#"offhook_calls_without_audio_total{cause="other_address"}"#).await, 1.0);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_call_never_hears_the_packets_of_an_old_one() {
    let host = Host::start(|config| config.rtp.ports = ports_for(1, config.rtp.ports)).await;
    let mut old = Phone::connected(&host, "1000").await;
    old.talk(&[], SOON).await;
    assert_eq!(old.bye().await, 200);
    host.has_calls(0).await;
    let mut early = Phone::udp(&host).await;
    assert_eq!(early.call("1000").await.status(), 503, "the only port rests");
    // The old telephone goes on: its last packets, and a key, into the new call's port.
    old.talk(&[], Duration::from_millis(5_200)).await;
    let until = Instant::now() + PATIENCE;
    let mut new = loop {
        let mut new = Phone::udp(&host).await;
        if new.call("1000").await.status() == 200 {
            break new;
        }
        assert!(Instant::now() < until, "the port never comes back");
        old.talk(&[], Duration::from_millis(100)).await;
    };
    assert_eq!(new.far_media, old.far_media);
    old.sender.press('5');
    for _ in 0..25 {
        old.talk(&[], Duration::from_millis(20)).await;
        let heard = new.talk(&[], Duration::from_millis(20)).await;
        assert!(heard.iter().all(|packet| packet.payload_type == 0));
    }
    assert_eq!(old.listen(SOON).await.len(), 0, "and it hears nothing of the new one");
    assert_eq!(new.bye().await, 200);
    let newest = host.ended_calls(2).await.remove(0);
    assert!(newest["events"].as_array().unwrap().iter().all(|event| event["kind"] != "digit"), "{newest:#}");
    host.ends_clean().await;
}

/// A tone, two seconds of silence, a tone.
const TONES: &str = "
name: desk
steps:
  one: {play: {tone: {hz: 440, ms: 600}}, wait_ms: 2000, goto: two}
  two: {play: {tone: {hz: 440, ms: 600}}, wait_ms: 20000, goto: hangup}
";

#[tokio::test(flavor = "multi_thread")]
async fn with_dtx_comfort_noise_stands_for_silence_and_the_clock_goes_on() {
    let host = Host::with_flow(TONES, |config| config.rtp.dtx = true).await;
    let mut phone = Phone::udp(&host).await;
    let sdp = phone.own_offer().replace("RTP/AVP 0 8 101", "RTP/AVP 0 13 101");
    let answer = phone.call_with("1", &sdp).await;
    assert!(answer.body().contains(" 13"), "comfort noise is agreed: {}", answer.text);
    let came = phone.talk_until(|came| {
        let noise = came.iter().rposition(|packet| packet.payload_type == 13);
        noise.is_some_and(|at| came.len() > at + 20)
    });
    let came = came.await;
    let follows = came.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1));
    assert!(follows, "nothing is missing in between");
    let noise = came.iter().filter(|packet| packet.payload_type == 13).count();
    assert!((2..=10).contains(&noise), "{noise} packets of comfort noise in 2 s");
    let (first, last) = (came.first().unwrap(), came.last().unwrap());
    let by_stamp = u128::from(last.timestamp.wrapping_sub(first.timestamp) / 8);
    let apart = (last.at - first.at).as_millis().abs_diff(by_stamp);
    assert!(by_stamp > 2_000 && apart < 500, "{by_stamp} ms by the timestamps, {apart} ms from the clock");
    assert!(came.len() < 120, "{} packets for 0.6 s of tone, 2 s of silence and some tone", came.len());
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

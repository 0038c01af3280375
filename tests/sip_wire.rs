//! The SIP side from outside: what a stranger's datagrams and connections are answered, and that no call, no place and
//! no port is left behind by any of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod wire_support;

use std::collections::BTreeSet;
use std::time::Duration;

use wire_support::phone::{Packet, Phone, audio_of, media_of, offer};
use wire_support::{Host, PATIENCE, loudest, ports_for, steps, tonality};

#[tokio::test(flavor = "multi_thread")]
async fn options_says_what_is_served() {
    let host = Host::start(|_| {}).await;
    for mut phone in [Phone::udp(&host).await, Phone::tcp(&host).await] {
        let answer = phone.options().await;
        assert_eq!(answer.status(), 200, "{}", answer.text);
        let allow = answer.header("Allow").unwrap();
        for method in ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO"] {
            assert!(allow.contains(method), "{allow}");
        }
    }
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_of_requests_are_answered_to_the_last() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::udp(&host).await;
    for round in 0..5 {
        // More than are taken in one go, and few enough for the telephone's own buffer.
        let requests: Vec<String> = (0..100).map(|_| phone.request("OPTIONS", &[], "")).collect();
        for request in &requests {
            phone.send(request).await;
        }
        let mut answered = BTreeSet::new();
        while answered.len() < requests.len() {
            let answer = phone.hear_within(Duration::from_secs(5)).await;
            let answer = answer.unwrap_or_else(|| panic!("round {round}: {} of 100 answered", answered.len()));
            assert_eq!(answer.status(), 200, "{}", answer.text);
            answered.insert(answer.header("CSeq").unwrap().to_owned());
        }
    }
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_udp_hears_the_tone_at_20_ms_and_ends_by_bye() {
    let host = Host::start(|_| {}).await;
    let phone = Phone::udp(&host).await;
    hears_the_tone_and_hangs_up(host, phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tcp_hears_the_tone_at_20_ms_and_ends_by_bye() {
    let host = Host::start(|_| {}).await;
    let phone = Phone::tcp(&host).await;
    hears_the_tone_and_hangs_up(host, phone).await;
}

async fn hears_the_tone_and_hangs_up(host: Host, mut phone: Phone) {
    let answer = phone.call("1000").await;
    assert_eq!(answer.status(), 200, "{}", answer.text);
    is_lawful_answer(answer.body());
    assert_eq!(answer.header("Content-Type"), Some("application/sdp"));
    assert!(answer.header("Contact").is_some() && answer.header("Record-Route").is_none());
    // A machine that stalls makes packets late, but not for ever.
    let packets = phone.talk_until(|packets| packets.len() >= 80 && packets.windows(50).any(is_paced)).await;
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1), "no packet is missing or out of order");
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
    }
    assert!(packets.iter().all(|p| p.payload_type == 0 && p.payload.len() == 160));
    let sound = audio_of(&packets[40..80]);
    // A sine with its peak at -20 dBFS.
    assert!((-24.0..-22.0).contains(&loudest(&sound)), "{} dBFS", loudest(&sound));
    assert!(tonality(&sound, 440.0) > 0.95, "{}", tonality(&sound, 440.0));
    assert_eq!(phone.bye().await, 200);
    assert_eq!(host.ended_call().await["end_reason"], "caller_hung_up");
    phone.falls_silent().await;
    host.ends_clean().await;
}

/// One packet in 20 ms, to 5 %.
fn is_paced(packets: &[Packet]) -> bool {
    let span = packets[packets.len() - 1].at - packets[0].at;
    let pace = span.as_secs_f64() * 1000.0 / (packets.len() - 1) as f64;
    (19.0..21.0).contains(&pace)
}

fn is_lawful_answer(sdp: &str) {
    let lines: Vec<&str> = sdp.split_terminator("\r\n").collect();
    let first: String = lines.iter().map(|line| &line[..1]).take_while(|kind| *kind != "a").collect();
    assert_eq!(first, "vosctm", "RFC 8866 section 9 gives the order: {sdp}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("m=")).count(), 1, "{sdp}");
    assert!(media_of(sdp).port() >= 1024 && media_of(sdp).port().is_multiple_of(2), "{sdp}");
    let media = lines.iter().find(|line| line.starts_with("m=")).unwrap();
    assert!(media.ends_with(" RTP/AVP 0 101"), "{media}");
    for wanted in ["a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000", "a=ptime:20", "a=sendrecv"] {
        assert!(lines.contains(&wanted), "{wanted}: {sdp}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_after_the_answer_changes_nothing_and_an_unknown_one_is_481() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::udp(&host).await;
    let cancel = phone.request("CANCEL", &[], "");
    phone.send(&cancel).await;
    assert_eq!(phone.answer_to("CANCEL").await.status(), 481);
    let sdp = phone.own_offer();
    let invite = phone.invite("1000", &sdp);
    let cancel = phone.same_transaction("CANCEL", &[], "");
    phone.send(&invite).await;
    phone.send(&cancel).await;
    // The bench line is answered at once, so the CANCEL comes too late (RFC 3261 section 9.2).
    let (first, second) = (phone.answer_to_any().await, phone.answer_to_any().await);
    let statuses = [first.status(), second.status()];
    assert_eq!(statuses, [200, 200], "{}\n{}", first.text, second.text);
    let answer = if first.method() == "INVITE" { first } else { second };
    phone.take_answer(&answer).await;
    phone.is_sent(15).await;
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_ack_is_repeated_then_given_up() {
    let host = Host::start(|config| config.sip.t1_ms = 20).await;
    let mut phone = Phone::udp(&host).await;
    let sdp = phone.own_offer();
    let invite = phone.invite("1000", &sdp);
    phone.send(&invite).await;
    let answer = phone.answer_to("INVITE").await;
    phone.remember(&answer);
    let mut repeats = 0;
    loop {
        let heard = phone.hear().await;
        if heard.is_request("BYE") {
            break;
        }
        assert_eq!(heard.text, answer.text, "the same answer again");
        repeats += 1;
    }
    assert!(repeats > 0, "it is repeated for 64 * T1, 1.28 s");
    phone.is_hung_up_on().await;
    assert_eq!(host.ended_call().await["end_reason"], "no_ack");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_invite_makes_one_call_and_a_merged_one_none() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::udp(&host).await;
    let sdp = phone.own_offer();
    let invite = phone.invite("1000", &sdp);
    for _ in 0..3 {
        phone.send(&invite).await;
    }
    let answer = phone.answer_to("INVITE").await;
    // The same request by another way through the network (RFC 3261 section 8.2.2.2).
    let merged = invite.replace("branch=z9hG4bK", "branch=z9hG4bKother");
    phone.send(&merged).await;
    let refused = loop {
        let heard = phone.answer_to("INVITE").await;
        if heard.status() != 200 {
            break heard;
        }
    };
    assert_eq!(refused.status(), 482, "{}", refused.text);
    phone.take_answer(&answer).await;
    assert_eq!((host.calls(), host.begun().await), (1, 1));
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_no_dialog_are_481_and_a_second_bye_too() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    let tag = phone.to_tag.replace("nobody".into());
    for method in ["BYE", "INFO", "INVITE", "UPDATE"] {
        let request = phone.request(method, &[], "");
        phone.send(&request).await;
        let answer = phone.answer_to(method).await;
        assert_eq!(answer.status(), 481, "{method}");
        if method == "INVITE" {
            phone.take_answer(&answer).await;
        }
    }
    assert_eq!(host.calls(), 1, "the call is not touched");
    phone.to_tag = tag;
    assert_eq!(phone.bye().await, 200);
    assert_eq!(phone.bye().await, 481);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_unservable_requests_are_refused_by_the_right_status() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::udp(&host).await;
    let sdp = phone.own_offer();
    let many = "X-Many: 1\r\n".repeat(300);
    /// What the case is, the method, the status, and what is done to a lawful request.
    type Case<'a> = (&'a str, &'a str, u16, Box<dyn Fn(String) -> String + 'a>);
    let swap = |from: &'static str, to: &'static str| {
        move |text: String| {
            assert!(text.contains(from), "{from}: {text}");
            text.replacen(from, to, 1)
        }
    };
    let cases: Vec<Case<'_>> = vec![
        ("no CSeq", "INVITE", 400, Box::new(|text| without(&text, "CSeq:"))),
        ("no From", "INVITE", 400, Box::new(|text| without(&text, "From:"))),
        ("no Contact", "INVITE", 400, Box::new(|text| without(&text, "Contact:"))),
        ("CSeq of another method", "INVITE", 400, Box::new(swap(" INVITE\r\nContact", " OPTIONS\r\nContact"))),
        ("a method that is known", "REGISTER", 405, Box::new(|text| text)),
        ("a method that is not", "DANCE", 501, Box::new(|text| text)),
        ("no SDP", "INVITE", 415, Box::new(swap("application/sdp", "text/plain"))),
        ("a coding", "INVITE", 415, Box::new(swap("Contact:", "Content-Encoding: gzip\r\nContact:"))),
        ("a scheme", "INVITE", 416, Box::new(swap("INVITE sip:1000@", "INVITE soap:1000@"))),
        ("an extension", "INVITE", 420, Box::new(swap("Contact:", "Require: precondition\r\nContact:"))),
        ("no dialog", "BYE", 481, Box::new(|text| text)),
        ("a version", "INVITE", 505, Box::new(swap(" SIP/2.0\r\nVia", " SIP/3.0\r\nVia"))),
        ("a head", "INVITE", 513, Box::new(|text| text.replacen("Contact:", &format!("{many}Contact:"), 1))),
    ];
    for (what, method, status, change) in cases {
        phone.call_id = format!("c{:x}@tests", rand::random::<u64>());
        let text = match method {
            "INVITE" => phone.invite("1000", &sdp),
            other => phone.request(other, &[], ""),
        };
        phone.send(&change(text)).await;
        let answer = phone.answer_to_any().await;
        assert_eq!(answer.status(), status, "{what}: {}", answer.text);
        if method == "INVITE" {
            phone.take_answer(&answer).await;
        }
        match status {
            405 | 501 => assert!(answer.header("Allow").is_some(), "{what}: {}", answer.text),
            420 => assert_eq!(answer.header("Unsupported"), Some("precondition")),
            _ => {}
        }
    }
    assert_eq!((host.calls(), host.begun().await), (0, 0), "no call was made");
    assert_eq!(phone.options().await.status(), 200);
    host.ends_clean().await;
}

fn without(text: &str, header: &str) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let kept: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with(header)).collect();
    format!("{}\r\n\r\n{body}", kept.join("\r\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_session_descriptions_are_refused_and_take_no_port() {
    // Two calls' ports: what a refused offer took from them would be missed by the last call.
    let host = Host::start(|config| config.rtp.ports = ports_for(2, config.rtp.ports)).await;
    let mut phone = Phone::udp(&host).await;
    let good = phone.own_offer();
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let port = phone.media.local_addr().unwrap().port();
    let cases = [
        ("empty lines only", "\r\n\r\n".to_owned()),
        ("NULs", "\0".repeat(100)),
        ("no version", swap("v=0\r\n", "")),
        ("another version", swap("v=0", "v=1")),
        ("no origin", swap("o=- 7", "x=- 7")),
        ("no connection", swap("c=IN IP4 127.0.0.1\r\n", "")),
        ("a host name", swap("c=IN IP4 127.0.0.1", "c=IN IP4 victim.example")),
        ("broadcast", swap("c=IN IP4 127.0.0.1", "c=IN IP4 255.255.255.255")),
        ("multicast", swap("c=IN IP4 127.0.0.1", "c=IN IP4 224.2.1.1/127")),
        ("another family", swap("c=IN IP4 127.0.0.1", "c=IN IP6 2001:db8::1")),
        ("a broken address", swap("c=IN IP4 127.0.0.1", "c=IN IP4 127.0.0.256")),
        ("no media", good.split("m=").next().unwrap().to_owned()),
        ("a system port", swap(&format!("m=audio {port}"), "m=audio 53")),
        ("port 0", swap(&format!("m=audio {port}"), "m=audio 0")),
        ("port 65536", swap(&format!("m=audio {port}"), "m=audio 65536")),
        ("a negative port", swap(&format!("m=audio {port}"), "m=audio -1")),
        ("no format", swap(" RTP/AVP 0 8 101", " RTP/AVP")),
        ("formats out of range", swap(" RTP/AVP 0 8 101", " RTP/AVP 300 400")),
        ("other codecs", swap(" RTP/AVP 0 8 101", " RTP/AVP 4 18")),
        ("secure only", swap(" RTP/AVP ", " RTP/SAVP ")),
        ("video", swap("m=audio", "m=video")),
        ("a huge ptime", swap("a=ptime:20", "a=ptime:99999999999")),
        ("a rtpmap without a clock", swap("PCMU/8000", "PCMU")),
        ("1000 streams", format!("{good}{}", "m=audio 4000 RTP/AVP 0\r\n".repeat(1000))),
        ("1000 formats", swap("0 8 101", &"0 ".repeat(1000))),
        ("no SDP at all", "{\"not\": \"sdp\"}".to_owned()),
    ];
    for (what, sdp) in &cases {
        phone.call_id = format!("s{:x}@tests", rand::random::<u64>());
        let answer = phone.call_with("1000", sdp).await;
        assert!([400, 488].contains(&answer.status()), "{what}: {}", answer.text);
        assert_eq!(host.calls(), 0, "{what}");
    }
    assert_eq!(host.begun().await, 0);
    phone.call_id = "good@tests".into();
    assert_eq!(phone.call("1000").await.status(), 200, "a port is free");
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_garbage_the_server_still_answers() {
    let mut host = Host::start(|_| {}).await;
    let mut phone = Phone::udp(&host).await;
    let mut datagrams: Vec<(String, Vec<u8>)> = vec![
        ("NULs".into(), vec![0; 1200]),
        ("0xFF".into(), vec![0xFF; 1200]),
        ("nothing".into(), Vec::new()),
        (
            "64 KiB of text".into(),
            b"INVITE sip:1000@127.0.0.1 SIP/2.0\r\n".iter().copied().cycle().take(65_507).collect(),
        ),
        ("64 KiB of NULs".into(), vec![0; 65_507]),
        ("a lone line end".into(), b"\r\n".to_vec()),
        ("RTP".into(), [&[0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1][..], &[0xFF; 160]].concat()),
        ("STUN".into(), [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat()),
    ];
    for n in 0..40_u64 {
        datagrams.push((format!("random {n}"), (0..n * 31).map(|_| rand::random()).collect()));
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sip/rfc4475");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "dat") {
            datagrams.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    assert!(datagrams.len() > 90);
    for (what, datagram) in &datagrams {
        phone.send_bytes(datagram).await;
        let answer = phone.options().await;
        assert_eq!(answer.status(), 200, "after {what}: {}", answer.text);
    }
    // Some of the RFC's messages are lawful INVITEs, whose makers never acknowledge; the server ends them.
    host.take().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_message_may_be_split_at_every_byte_and_two_may_come_at_once() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::tcp(&host).await;
    let options = phone.request("OPTIONS", &[], "");
    for byte in options.as_bytes() {
        phone.send_bytes(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(phone.answer_to("OPTIONS").await.status(), 200);
    let sdp = phone.own_offer();
    let (options, invite) = (phone.request("OPTIONS", &[], ""), phone.invite("1000", &sdp));
    phone.send(&format!("{options}{invite}")).await;
    assert_eq!(phone.answer_to("OPTIONS").await.status(), 200);
    let answer = phone.answer_to("INVITE").await;
    assert_eq!(answer.status(), 200, "{}", answer.text);
    phone.take_answer(&answer).await;
    assert_eq!(phone.bye().await, 200);
    phone.to_tag = None;
    for at in (1..options.len()).step_by(7) {
        let options = phone.request("OPTIONS", &[], "");
        let (head, tail) = options.split_at(at);
        phone.send(head).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        phone.send(tail).await;
        assert_eq!(phone.answer_to("OPTIONS").await.status(), 200, "split at {at}");
    }
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_ping_gets_its_pong_and_broken_framing_closes_only_its_connection() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::tcp(&host).await;
    phone.send("\r\n\r\n").await;
    assert_eq!(phone.raw().await, b"\r\n");
    let no_length = phone.request("OPTIONS", &[], "").replace("Content-Length: 0\r\n", "");
    for broken in [no_length.as_bytes(), &[b'x'; 200_000][..], b"\0\0\0\0 nonsense\r\n\r\n"] {
        let mut other = Phone::tcp(&host).await;
        other.send_bytes(broken).await;
        assert!(other.is_closed_within(PATIENCE).await, "{} bytes", broken.len());
    }
    assert_eq!(phone.options().await.status(), 200, "another connection is not touched");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_message_that_dribbles_in_for_ever_is_cut() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::tcp(&host).await;
    phone.send("OPTIONS sip:1000@127.0.0.1 SIP/2.0\r\n").await;
    // Half a minute from its first byte, however often a further byte comes.
    let mut closed = false;
    for _ in 0..90 {
        closed = phone.is_closed_within(Duration::from_secs(1)).await;
        if closed {
            break;
        }
        phone.send("x").await;
    }
    assert!(closed, "the connection still stands after 90 s");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_is_answered_rightly_hears_nothing_and_goes_on() {
    let host = Host::start(|config| config.limits.no_media_timeout_s = 2).await;
    let mut phone = Phone::connected(&host, "1000").await;
    phone.is_sent(30).await;
    let port = phone.media.local_addr().unwrap().port();
    let holds = [
        ("127.0.0.1", "sendonly", "recvonly"),
        ("127.0.0.1", "inactive", "inactive"),
        ("0.0.0.0", "sendrecv", "recvonly"),
    ];
    for (address, offered, answered) in holds {
        let answer = phone.reinvite(&offer(address, port, offered)).await;
        assert_eq!(answer.status(), 200, "{offered}: {}", answer.text);
        assert!(answer.body().contains(&format!("a={answered}\r\n")), "{offered}: {}", answer.body());
        phone.falls_silent().await;
        // A telephone that holds may be silent for longer than a caller who is there may be.
        let heard = phone.listen(Duration::from_millis(2_200)).await;
        assert_eq!(heard.len(), 0, "{address} {offered}");
        let answer = phone.reinvite(&phone.own_offer()).await;
        assert!(answer.body().contains("a=sendrecv\r\n"), "{}", answer.text);
        phone.is_sent(30).await;
    }
    let versions = phone.reinvite(&phone.own_offer()).await;
    assert!(versions.body().contains(" 7 IN IP4 "), "the version grew with each change, not now: {}", versions.body());
    assert_eq!(phone.bye().await, 200);
    assert_eq!(host.ended_call().await["end_reason"], "caller_hung_up");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_begins_on_hold_is_sent_nothing() {
    let host = Host::start(|_| {}).await;
    for (offered, answered) in [("sendonly", "recvonly"), ("inactive", "inactive")] {
        let mut phone = Phone::udp(&host).await;
        let port = phone.media.local_addr().unwrap().port();
        let answer = phone.call_with("1000", &offer("127.0.0.1", port, offered)).await;
        assert!(answer.body().contains(&format!("a={answered}\r\n")), "{}", answer.text);
        assert_eq!(phone.talk(&[], Duration::from_secs(1)).await.len(), 0, "{offered}");
        phone.reinvite(&phone.own_offer()).await;
        phone.is_sent(30).await;
        assert_eq!(phone.bye().await, 200);
    }
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reinvite_leaves_the_call_as_it_was() {
    let host = Host::start(|_| {}).await;
    let mut phone = Phone::connected(&host, "1000").await;
    let secure = phone.own_offer().replace("RTP/AVP", "RTP/SAVP");
    assert_eq!(phone.reinvite(&secure).await.status(), 488);
    phone.is_sent(30).await;
    assert_eq!(phone.bye().await, 200);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_by_info_reach_the_flow_in_both_bodies() {
    let host = Host::with_voice(|_| {}).await;
    let mut phone = Phone::connected(&host, "clinic").await;
    phone.talk(&[], Duration::from_secs(1)).await;
    for (n, key) in ['1', '2', '4', '1', '2', '1', '9', '8', '0'].into_iter().enumerate() {
        let relay = ("application/dtmf-relay", format!("Signal={key}\r\nDuration=160\r\n"));
        let (kind, body) = if n % 2 == 0 { relay } else { ("application/dtmf", key.to_string()) };
        let info = phone.request("INFO", &[&format!("Content-Type: {kind}")], &body);
        phone.send(&info).await;
        assert_eq!(phone.answer_to("INFO").await.status(), 200);
        phone.talk(&[], Duration::from_millis(if n == 0 { 1_000 } else { 60 })).await;
    }
    phone.talk(&[], Duration::from_secs(1)).await;
    assert_eq!(phone.bye().await, 200);
    let call = host.ended_call().await;
    assert!(steps(&call).iter().any(|step| step == "callback"), "eight digits of a date lead there: {call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_max_calls_are_let_in() {
    let host = Host::start(|config| config.limits.max_calls = 3).await;
    let mut phones = Vec::new();
    for _ in 0..3 {
        phones.push(Phone::connected(&host, "1000").await);
    }
    for _ in 0..3 {
        let mut next = Phone::udp(&host).await;
        let answer = next.call("1000").await;
        assert_eq!(answer.status(), 503, "{}", answer.text);
        assert!(answer.header("Retry-After").unwrap().parse::<u32>().unwrap() > 0);
    }
    for phone in &mut phones {
        // Who is in stays in.
        phone.is_sent(15).await;
    }
    assert_eq!(phones.pop().unwrap().bye().await, 200);
    host.has_calls(2).await;
    phones.push(Phone::connected(&host, "1000").await);
    for phone in &mut phones {
        assert_eq!(phone.bye().await, 200);
    }
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_refuses_then_says_bye_to_everybody() {
    let mut host = Host::start(|config| config.limits.drain_timeout_s = 3).await;
    let mut phones = Vec::new();
    for _ in 0..12 {
        phones.push(Phone::connected(&host, "1000").await);
    }
    let mut late = Phone::udp(&host).await;
    assert_eq!(late.options().await.status(), 200);
    let server = host.take();
    let stopping = tokio::spawn(server.stop());
    // Balancers are told as well.
    while late.options().await.status() != 503 {}
    let answer = late.call("1000").await;
    assert_eq!(answer.status(), 503, "{}", answer.text);
    assert!(answer.header("Retry-After").is_some());
    for phone in &mut phones {
        phone.is_hung_up_on().await;
    }
    stopping.await.unwrap();
    let again = Host::start(|config| config.data.dir = host.data()).await;
    for call in again.ended_calls(12).await {
        assert_eq!(call["end_reason"], "drained", "{call:#}");
    }
    again.ends_clean().await;
}

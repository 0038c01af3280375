//! Calls as they change: holds, refreshes, new codecs and offers from either side.

use super::super::{LocalKey, SdpProblem};
use super::*;

fn local() -> LocalMedia {
    let mut local = LocalMedia::new([10, 0, 0, 2].into(), 20_000, Codec::ALL);
    local.rtcp = RtcpMode::Mux;
    local
}

fn keys(fill: u8) -> Vec<LocalKey> {
    CryptoSuite::ALL.map(|suite| LocalKey { suite, key: MasterKey::new(suite, &[fill; 46]) }).to_vec()
}

fn with_srtp(srtp: SrtpPolicy, fill: u8) -> Exchange {
    Exchange::new(LocalMedia { srtp, keys: keys(fill), ..local() }, u64::from(fill))
}

fn offer(version: u32, body: &str) -> String {
    format!("v=0\r\no=- 1 {version} IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n{body}")
}

fn version(text: &str) -> &str {
    text.lines().nth(1).and_then(|line| line.split(' ').nth(2)).unwrap()
}

fn audio(text: &str) -> &str {
    text.lines().find(|line| line.starts_with("m=audio") && !line.starts_with("m=audio 0")).unwrap()
}

#[test]
fn the_version_grows_with_each_change_and_only_then() {
    let mut exchange = Exchange::new(local(), 7);
    let body = "m=audio 4000 RTP/AVP 0\r\n";
    let first = exchange.answer(offer(1, body).as_bytes()).unwrap().answer;
    assert_eq!(version(&first), "1");
    let refreshed = exchange.answer(offer(1, body).as_bytes()).unwrap().answer;
    assert_eq!(first, refreshed, "a refresh by the same description");
    let moved = exchange.answer(offer(2, "m=audio 4010 RTP/AVP 0\r\n").as_bytes()).unwrap();
    assert_eq!(moved.answer, first, "they moved, we say what we said");
    assert_eq!(moved.agreed.remote_rtp, Some("10.0.0.1:4010".parse().unwrap()));
    let held = exchange.answer(offer(3, "m=audio 4010 RTP/AVP 0\r\na=sendonly\r\n").as_bytes()).unwrap().answer;
    assert_eq!(version(&held), "2");
    assert!(held.ends_with("a=recvonly\r\n"));
    assert!(exchange.answer(b"v=0\r\n").is_err());
    let resumed = exchange.answer(offer(4, "m=audio 4010 RTP/AVP 0\r\n").as_bytes()).unwrap().answer;
    assert_eq!(version(&resumed), "3", "a refused offer takes no number");
}

#[test]
fn our_hold_keeps_places_codec_and_payload_types() {
    let mut exchange = Exchange::new(local(), 7);
    let body = "m=video 3000 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 107 97\r\na=rtpmap:107 opus/48000/2\r\n\
                a=rtpmap:97 telephone-event/48000\r\na=rtcp-mux\r\n";
    let taken = exchange.answer(offer(1, body).as_bytes()).unwrap();
    assert!(taken.agreed.rtcp_mux);
    exchange.want(Direction::SendOnly);
    let hold = exchange.offer();
    assert_eq!(version(&hold), "2");
    let streams: Vec<&str> = hold.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(streams, ["m=video 0 RTP/AVP 31", "m=audio 20000 RTP/AVP 107 0 8 9 101 97"]);
    assert!(hold.contains("a=rtpmap:107 opus/48000/2\r\n") && hold.contains("a=rtpmap:97 telephone-event/48000\r\n"));
    assert!(hold.ends_with("a=sendonly\r\n"));
    let answer =
        offer(2, "m=video 0 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 107\r\na=rtpmap:107 opus/48000/2\r\na=recvonly\r\n");
    let agreed = exchange.answered(answer.as_bytes()).unwrap();
    assert_eq!((agreed.stream, agreed.codec, agreed.payload_type), (1, Codec::Opus, 107));
    assert_eq!(agreed.direction, Direction::SendOnly);
    let short = offer(2, "m=audio 4000 RTP/AVP 0\r\n");
    assert_eq!(exchange.answered(short.as_bytes()).unwrap_err().problem, SdpProblem::MissingStream);
}

#[test]
fn a_payload_type_never_changes_its_meaning() {
    let mut exchange = Exchange::new(local(), 7);
    let body = "m=audio 4000 RTP/AVP 111 101\r\na=rtpmap:111 PCMA/8000\r\na=rtpmap:101 PCMU/8000\r\n";
    assert_eq!(exchange.answer(offer(1, body).as_bytes()).unwrap().agreed.payload_type, 111);
    let next = exchange.offer();
    let formats: Vec<&str> = audio(&next).split(' ').skip(3).collect();
    let mut distinct = formats.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), formats.len(), "{formats:?}");
    assert_eq!(formats[0], "111");
    assert!(next.contains("a=rtpmap:111 PCMA/8000\r\n") && !next.contains("a=rtpmap:111 opus"));
}

#[test]
fn a_delayed_offer_is_answered_and_the_codec_may_change_later() {
    let (mut ours, mut theirs) =
        (Exchange::new(local(), 7), Exchange::new(LocalMedia::new([10, 0, 0, 1].into(), 4000, [Codec::G722]), 8));
    let text = ours.offer();
    assert_eq!(audio(&text), "m=audio 20000 RTP/AVP 0 8 9 111 101 110");
    assert!(text.contains("a=rtpmap:9 G722/8000\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 maxplaybackrate=8000"));
    let taken = theirs.answer(text.as_bytes()).unwrap();
    let agreed = ours.answered(taken.answer.as_bytes()).unwrap();
    assert_eq!((agreed.codec, agreed.payload_type), (Codec::G722, 9));
    assert_eq!(agreed.remote_rtp, Some("10.0.0.1:4000".parse().unwrap()));
    assert!(!agreed.rtcp_mux, "they know RTCP on a port of its own only");
    assert_eq!(agreed.remote_rtcp, Some("10.0.0.1:4001".parse().unwrap()));
    let changed = ours.answer(offer(9, "m=audio 4000 RTP/AVP 8\r\n").as_bytes()).unwrap();
    assert_eq!(changed.agreed.codec, Codec::Pcma);
}

#[test]
fn keys_are_exchanged_in_every_policy_that_wants_them() {
    use SrtpPolicy::{Allowed, Off, Optional, Required};
    let cases = [
        (Allowed, Allowed, None),
        (Allowed, Optional, None),
        (Optional, Allowed, Some("RTP/AVP")),
        (Required, Allowed, Some("RTP/SAVP")),
        (Off, Off, None),
        (Off, Optional, None),
        (Optional, Off, None),
        (Optional, Optional, Some("RTP/AVP")),
        (Optional, Required, Some("RTP/AVP")),
        (Required, Optional, Some("RTP/SAVP")),
        (Required, Required, Some("RTP/SAVP")),
    ];
    for (asks, answers, protocol) in cases {
        let (mut caller, mut callee) = (with_srtp(asks, 3), with_srtp(answers, 5));
        let taken = callee.answer(caller.offer().as_bytes()).unwrap();
        let agreed = caller.answered(taken.answer.as_bytes()).unwrap();
        assert_eq!(agreed.crypto.is_some(), protocol.is_some(), "{asks:?} {answers:?}");
        let (Some(ours), Some(theirs)) = (agreed.crypto, taken.agreed.crypto) else { continue };
        assert!(audio(&taken.answer).contains(protocol.unwrap_or_default()));
        assert_eq!((&ours.local, &ours.remote), (&theirs.remote, &theirs.local));
        assert_eq!((ours.tag, ours.suite), (1, CryptoSuite::AesCm128HmacSha1Tag80));
        assert_ne!(ours.local, ours.remote);
    }
    for (asks, answers, problem) in [(Required, Off, SdpProblem::SecureOnly), (Off, Required, SdpProblem::ClearOnly)] {
        let (mut caller, mut callee) = (with_srtp(asks, 3), with_srtp(answers, 5));
        assert_eq!(callee.answer(caller.offer().as_bytes()).unwrap_err().problem, problem);
    }
}

#[test]
fn an_encrypted_call_offers_the_suite_in_force_again() {
    let mut callee = with_srtp(SrtpPolicy::Allowed, 5);
    assert!(!with_srtp(SrtpPolicy::Allowed, 5).offer().contains("a=crypto"));
    let key = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    let body = format!("m=audio 4000 RTP/SAVP 0\r\na=crypto:4 AES_CM_128_HMAC_SHA1_32 {key}\r\n");
    let first = callee.answer(offer(1, &body).as_bytes()).unwrap().agreed.crypto.unwrap();
    let hold = callee.offer();
    let lines: Vec<&str> = hold.lines().filter(|line| line.starts_with("a=crypto:")).collect();
    assert!(lines[0].starts_with("a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:") && lines.len() == 4, "{lines:?}");
    let body = format!("m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_32 {key}\r\n");
    let again = callee.answered(offer(2, &body).as_bytes()).unwrap().crypto.unwrap();
    assert_eq!((first.suite, first.local, first.remote), (again.suite, again.local, again.remote));
}

#[test]
fn an_answer_must_take_a_key_that_was_offered() {
    let mut caller = with_srtp(SrtpPolicy::Required, 3);
    caller.offer();
    let key = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    let answer = |protocol: &str, crypto: &str| offer(1, &format!("m=audio 4000 {protocol} 0\r\n{crypto}"));
    let line = |tag: u32, suite: &str| format!("a=crypto:{tag} {suite} {key}\r\n");
    let good = answer("RTP/SAVP", &line(3, "AES_CM_128_HMAC_SHA1_32"));
    assert_eq!(caller.answered(good.as_bytes()).unwrap().crypto.unwrap().suite, CryptoSuite::AesCm128HmacSha1Tag32);
    let cases = [
        (answer("RTP/SAVP", &line(9, "AES_CM_128_HMAC_SHA1_80")), SdpProblem::OtherCrypto),
        (answer("RTP/SAVP", &line(0, "AES_CM_128_HMAC_SHA1_80")), SdpProblem::OtherCrypto),
        (answer("RTP/SAVP", &line(3, "AES_CM_128_HMAC_SHA1_80")), SdpProblem::OtherCrypto),
        (answer("RTP/SAVP", &line(1, "AES_CM_128_HMAC_SHA1_80").repeat(2)), SdpProblem::OtherCrypto),
        (answer("RTP/SAVP", ""), SdpProblem::NoCrypto),
        (answer("RTP/AVP", ""), SdpProblem::ClearOnly),
        (answer("UDP/TLS/RTP/SAVP", ""), SdpProblem::NoAudio),
    ];
    for (text, problem) in cases {
        assert_eq!(caller.answered(text.as_bytes()).unwrap_err().problem, problem, "{text}");
    }
    let mut plain = with_srtp(SrtpPolicy::Off, 3);
    plain.offer();
    let secure = answer("RTP/SAVP", &line(1, "AES_CM_128_HMAC_SHA1_80"));
    assert_eq!(plain.answered(secure.as_bytes()).unwrap_err().problem, SdpProblem::SecureOnly);
}

#[test]
fn keys_stay_for_the_whole_call() {
    let mut callee = with_srtp(SrtpPolicy::Optional, 5);
    let key = "a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let body = format!("m=audio 4000 RTP/SAVP 0\r\n{key}");
    let first = callee.answer(offer(1, &body).as_bytes()).unwrap();
    let again = callee.answer(offer(2, &format!("{body}a=sendonly\r\n")).as_bytes()).unwrap();
    assert_eq!(first.agreed.crypto, again.agreed.crypto);
    assert_eq!(first.agreed.crypto.unwrap().tag, 4);
    let lines = |text: &str| text.lines().filter(|line| line.starts_with("a=crypto:4 AES_CM_128")).count();
    assert_eq!((lines(&first.answer), lines(&again.answer)), (1, 1));
}

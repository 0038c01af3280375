//! Offers as phones, trunks, browsers and strangers make them, each with the answer or the refusal that it gets, and
//! the properties that hold for every one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use offhook_sip::sdp::{
    Codec, CryptoSuite, Direction, Exchange, LONGEST_KEY, LocalKey, LocalMedia, MasterKey, RtcpMode, SdpProblem,
    SessionDescription, SrtpPolicy,
};
use proptest::prelude::*;

fn keys(fill: u8) -> Vec<LocalKey> {
    CryptoSuite::ALL.map(|suite| LocalKey { suite, key: MasterKey::new(suite, &[fill; LONGEST_KEY]) }).to_vec()
}

fn local(srtp: SrtpPolicy) -> LocalMedia {
    let mut local = LocalMedia::new([10, 0, 0, 2].into(), 20_000, Codec::ALL);
    (local.srtp, local.keys, local.comfort_noise, local.rtcp) = (srtp, keys(9), true, RtcpMode::Mux);
    local
}

fn offer(body: &str) -> String {
    let whole = body.starts_with("v=") || body.is_empty();
    let heading = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n";
    if whole { body.to_owned() } else { format!("{heading}{}", body.replace('\n', "\r\n")) }
}

/// What was agreed, in one line: `codec/payload type ptime direction`, and what else there is.
fn verdict(policy: SrtpPolicy, body: &str) -> Result<String, SdpProblem> {
    let offer = offer(body);
    let taken = Exchange::new(local(policy), 7).answer(offer.as_bytes()).map_err(|error| error.problem)?;
    is_lawful(&offer, &taken.answer);
    let agreed = taken.agreed;
    let mut text =
        format!("{}/{} {} {}", agreed.codec.name(), agreed.payload_type, agreed.ptime_ms, agreed.direction.as_str());
    if let Some(event) = agreed.telephone_event {
        text += &format!(" te{}/{}", event.payload_type, event.clock_hz);
    }
    if let Some(number) = agreed.comfort_noise_payload_type {
        text += &format!(" cn{number}");
    }
    if agreed.rtcp_mux {
        text += " mux";
    }
    if let Some(crypto) = agreed.crypto {
        text += &format!(" {}#{}", crypto.suite.name(), crypto.tag);
    }
    if agreed.remote_rtp.is_none() {
        text += " nowhere";
    }
    if agreed.remote_rtp.zip(agreed.remote_rtcp).is_some_and(|(rtp, rtcp)| rtcp.port() > rtp.port() + 1) {
        text += " rtcp-elsewhere";
    }
    Ok(text)
}

/// RFC 3264 section 6: as many streams, of the same kinds and profiles, and exactly one of them ours.
fn is_lawful(offer: &str, answer: &str) {
    let (offer, answer) =
        (SessionDescription::parse(offer.as_bytes()).unwrap(), SessionDescription::parse(answer.as_bytes()).unwrap());
    assert_eq!(offer.media.len(), answer.media.len());
    for (theirs, ours) in offer.media.iter().zip(&answer.media) {
        assert_eq!((&theirs.kind, &theirs.protocol), (&ours.kind, &ours.protocol));
        assert!(ours.formats.iter().all(|format| theirs.formats.contains(format)));
        assert!(theirs.port != 0 || ours.port == 0, "a stream that was refused stays refused");
        assert!(ours.crypto.len() <= 1);
    }
    assert_eq!(answer.media.iter().filter(|media| media.port != 0).count(), 1);
}

const EVENTS: &str = "a=rtpmap:101 telephone-event/8000\n";
const KEY: &str = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

/// Each offer, by what is special about it, and what it comes to.
fn all_answered(cases: &[(&str, &str, &str)]) {
    for (what, body, wanted) in cases {
        assert_eq!(verdict(SrtpPolicy::Off, body).as_deref(), Ok(*wanted), "{what}");
    }
}

#[test]
fn codecs_are_taken_in_their_order() {
    all_answered(&[
        ("plain", "m=audio 4000 RTP/AVP 0\n", "PCMU/0 20 sendrecv"),
        ("a-law", "m=audio 4000 RTP/AVP 8\n", "PCMA/8 20 sendrecv"),
        ("their order", "m=audio 4000 RTP/AVP 8 0\n", "PCMA/8 20 sendrecv"),
        (
            "mapped static types",
            "m=audio 4000 RTP/AVP 0 8\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000/1\n",
            "PCMU/0 20 sendrecv",
        ),
        ("lower case", "m=audio 4000 RTP/AVP 96\na=rtpmap:96 pcmu/8000\n", "PCMU/96 20 sendrecv"),
        ("codecs not ours first", "m=audio 4000 RTP/AVP 18 4 97 0\na=rtpmap:97 iLBC/8000\n", "PCMU/0 20 sendrecv"),
        ("wideband static", "m=audio 4000 RTP/AVP 9 0\n", "G722/9 20 sendrecv"),
        ("wideband mapped", "m=audio 4000 RTP/AVP 9\na=rtpmap:9 G722/8000\n", "G722/9 20 sendrecv"),
        (
            "opus",
            "m=audio 4000 RTP/AVP 107\na=rtpmap:107 opus/48000/2\na=fmtp:107 useinbandfec=1\n",
            "opus/107 20 sendrecv",
        ),
        ("opus at 30 ms", "m=audio 4000 RTP/AVP 107\na=rtpmap:107 OPUS/48000/2\na=ptime:30\n", "opus/107 20 sendrecv"),
        ("opus of one channel is none", "m=audio 4000 RTP/AVP 107 0\na=rtpmap:107 opus/48000\n", "PCMU/0 20 sendrecv"),
        ("unmapped dynamic type", "m=audio 4000 RTP/AVP 111 0\n", "PCMU/0 20 sendrecv"),
    ]);
}

#[test]
fn digits_and_comfort_noise_are_taken_where_they_fit() {
    all_answered(&[
        ("digits", &format!("m=audio 4000 RTP/AVP 0 101\n{EVENTS}"), "PCMU/0 20 sendrecv te101/8000"),
        (
            "digits under another number",
            "m=audio 4000 RTP/AVP 0 96\na=rtpmap:96 telephone-event/8000\na=fmtp:96 0-15\n",
            "PCMU/0 20 sendrecv te96/8000",
        ),
        ("digits mapped but not listed", &format!("m=audio 4000 RTP/AVP 0\n{EVENTS}"), "PCMU/0 20 sendrecv"),
        (
            "digits at the clock of opus",
            &format!(
                "m=audio 4000 RTP/AVP 107 101 102\na=rtpmap:107 opus/48000/2\n{EVENTS}a=rtpmap:102 telephone-event/48000\n"
            ),
            "opus/107 20 sendrecv te102/48000",
        ),
        (
            "digits at another clock than opus",
            &format!("m=audio 4000 RTP/AVP 107 101\na=rtpmap:107 opus/48000/2\n{EVENTS}"),
            "opus/107 20 sendrecv te101/8000",
        ),
        (
            "digits at no clock of ours",
            "m=audio 4000 RTP/AVP 0 102\na=rtpmap:102 telephone-event/48000\n",
            "PCMU/0 20 sendrecv",
        ),
        ("comfort noise", "m=audio 4000 RTP/AVP 0 13\n", "PCMU/0 20 sendrecv cn13"),
        (
            "comfort noise mapped",
            "m=audio 4000 RTP/AVP 0 13 97\na=rtpmap:13 CN/8000\na=rtpmap:97 CN/16000\n",
            "PCMU/0 20 sendrecv cn13",
        ),
        (
            "comfort noise beside opus",
            "m=audio 4000 RTP/AVP 107 13\na=rtpmap:107 opus/48000/2\n",
            "opus/107 20 sendrecv",
        ),
    ]);
}

#[test]
fn packet_times_are_ours_or_the_next_one_below() {
    all_answered(&[
        ("10 ms", "m=audio 4000 RTP/AVP 0\na=ptime:10\n", "PCMU/0 10 sendrecv"),
        ("30 ms", "m=audio 4000 RTP/AVP 0\na=ptime:30\n", "PCMU/0 30 sendrecv"),
        ("40 ms", "m=audio 4000 RTP/AVP 0\na=ptime:40\n", "PCMU/0 40 sendrecv"),
        ("60 ms", "m=audio 4000 RTP/AVP 0\na=ptime:60\n", "PCMU/0 60 sendrecv"),
        ("50 ms", "m=audio 4000 RTP/AVP 0\na=ptime:50\n", "PCMU/0 40 sendrecv"),
        ("odd packet time", "m=audio 4000 RTP/AVP 0\na=ptime:25\n", "PCMU/0 20 sendrecv"),
        ("no packet time at all", "m=audio 4000 RTP/AVP 0\na=ptime:0\n", "PCMU/0 10 sendrecv"),
        ("an hour a packet", "m=audio 4000 RTP/AVP 0\na=ptime:3600000\n", "PCMU/0 60 sendrecv"),
        (
            "longest packet below the packet time",
            "m=audio 4000 RTP/AVP 0\na=ptime:40\na=maxptime:20\n",
            "PCMU/0 20 sendrecv",
        ),
        ("longest packet only", "m=audio 4000 RTP/AVP 0\na=maxptime:10\n", "PCMU/0 10 sendrecv"),
    ]);
}

#[test]
fn directions_and_addresses_are_turned_round() {
    all_answered(&[
        ("hold", "m=audio 4000 RTP/AVP 0\na=sendonly\n", "PCMU/0 20 recvonly"),
        ("listens only", "m=audio 4000 RTP/AVP 0\na=recvonly\n", "PCMU/0 20 sendonly"),
        ("inactive", "m=audio 4000 RTP/AVP 0\na=inactive\n", "PCMU/0 20 inactive"),
        ("old hold", "m=audio 4000 RTP/AVP 0\nc=IN IP4 0.0.0.0\n", "PCMU/0 20 recvonly nowhere"),
        (
            "old hold with sendonly",
            "m=audio 4000 RTP/AVP 0\nc=IN IP4 0.0.0.0\na=sendonly\n",
            "PCMU/0 20 recvonly nowhere",
        ),
        (
            "old hold with inactive",
            "m=audio 4000 RTP/AVP 0\nc=IN IP4 0.0.0.0\na=inactive\n",
            "PCMU/0 20 inactive nowhere",
        ),
        ("direction of the session", "a=sendonly\nm=audio 4000 RTP/AVP 0\n", "PCMU/0 20 recvonly"),
        ("direction of the stream wins", "a=sendonly\nm=audio 4000 RTP/AVP 0\na=sendrecv\n", "PCMU/0 20 sendrecv"),
        ("address of the stream wins", "m=audio 4000 RTP/AVP 0\nc=IN IP4 10.0.0.9\n", "PCMU/0 20 sendrecv"),
        ("private address", "m=audio 4000 RTP/AVP 0\nc=IN IP4 192.168.1.4\n", "PCMU/0 20 sendrecv"),
    ]);
}

#[test]
fn one_stream_of_several_is_taken() {
    all_answered(&[
        (
            "video too",
            "m=audio 4000 RTP/AVP 0\nm=video 4002 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
            "PCMU/0 20 sendrecv",
        ),
        ("video first", "m=video 4002 RTP/AVP 96\nm=audio 4000 RTP/AVP 0\n", "PCMU/0 20 sendrecv"),
        ("fax too", "m=audio 4000 RTP/AVP 0\nm=image 4002 udptl t38\n", "PCMU/0 20 sendrecv"),
        ("two of audio", "m=audio 4000 RTP/AVP 18\nm=audio 4002 RTP/AVP 8\n", "PCMA/8 20 sendrecv"),
        ("one refused already", "m=audio 0 RTP/AVP 0\nm=audio 4002 RTP/AVP 8\n", "PCMA/8 20 sendrecv"),
        ("text too", "m=text 4002 RTP/AVP 98\na=rtpmap:98 t140/1000\nm=audio 4000 RTP/AVP 0\n", "PCMU/0 20 sendrecv"),
        (
            "an application too",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\nm=audio 4000 RTP/AVP 0\n",
            "PCMU/0 20 sendrecv",
        ),
        ("several ports", "m=audio 4000/2 RTP/AVP 0\n", "PCMU/0 20 sendrecv"),
        ("with feedback", "m=audio 4000 RTP/AVPF 0\na=rtcp-fb:* nack\n", "PCMU/0 20 sendrecv"),
        ("shared port", "m=audio 4000 RTP/AVP 0\na=rtcp-mux\n", "PCMU/0 20 sendrecv mux"),
        ("reports elsewhere", "m=audio 4000 RTP/AVP 0\na=rtcp:5001\n", "PCMU/0 20 sendrecv rtcp-elsewhere"),
        (
            "reports elsewhere, with address",
            "m=audio 4000 RTP/AVP 0\na=rtcp:5001 IN IP4 10.0.0.1\n",
            "PCMU/0 20 sendrecv rtcp-elsewhere",
        ),
    ]);
}

#[test]
fn whatever_else_a_description_says_does_not_matter() {
    all_answered(&[
        (
            "attributes nobody knows",
            "b=AS:64\nm=audio 4000 RTP/AVP 0\ni=x\nb=TIAS:64000\nk=prompt\na=x\na=y:z\na=candidate:1 1 UDP 1 10.0.0.1 4000 typ host\n",
            "PCMU/0 20 sendrecv",
        ),
        (
            "key beside the clear, none wanted",
            &format!("m=audio 4000 RTP/AVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\n"),
            "PCMU/0 20 sendrecv",
        ),
        (
            "LF only",
            "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\nm=audio 4000 RTP/AVP 0\n",
            "PCMU/0 20 sendrecv",
        ),
        (
            "no last line end",
            "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0",
            "PCMU/0 20 sendrecv",
        ),
        (
            "address of the stream only",
            "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.1\r\n",
            "PCMU/0 20 sendrecv",
        ),
    ]);
}

#[test]
fn encrypted_offers_are_answered_as_the_policy_says() {
    use SdpProblem::{BadCrypto, ClearOnly, NoCrypto, SecureOnly};
    use SrtpPolicy::{Allowed, Off, Optional, Required};
    let line = |tag: u32, suite: &str, rest: &str| format!("a=crypto:{tag} {suite} {KEY}{rest}\n");
    let (small, short) = (line(1, "AES_CM_128_HMAC_SHA1_80", ""), line(2, "AES_CM_128_HMAC_SHA1_32", "|2^31|1:1"));
    let (gcm, open) = (line(1, "AEAD_AES_128_GCM", ""), line(3, "AES_CM_128_HMAC_SHA1_80", " UNENCRYPTED_SRTP"));
    let long = format!("a=crypto:7 AES_256_CM_HMAC_SHA1_80 inline:{}\n", "A".repeat(62));
    let broken = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\n".to_owned();
    let (savp, avp) = ("m=audio 4000 RTP/SAVP 0\n", "m=audio 4000 RTP/AVP 0\n");
    let plain = Ok("PCMU/0 20 sendrecv");
    let cases: Vec<(&str, SrtpPolicy, String, Result<&str, SdpProblem>)> = vec![
        ("secure, wanted", Optional, format!("{savp}{small}"), Ok("PCMU/0 20 sendrecv AES_CM_128_HMAC_SHA1_80#1")),
        ("secure, allowed", Allowed, format!("{savp}{small}"), Ok("PCMU/0 20 sendrecv AES_CM_128_HMAC_SHA1_80#1")),
        ("secure, required", Required, format!("{savp}{small}"), Ok("PCMU/0 20 sendrecv AES_CM_128_HMAC_SHA1_80#1")),
        (
            "their order of suites",
            Optional,
            format!("{savp}{short}{small}"),
            Ok("PCMU/0 20 sendrecv AES_CM_128_HMAC_SHA1_32#2"),
        ),
        ("256 bits", Optional, format!("{savp}{long}{small}"), Ok("PCMU/0 20 sendrecv AES_256_CM_HMAC_SHA1_80#7")),
        (
            "unknown suites are passed over",
            Optional,
            format!("{savp}{gcm}{short}"),
            Ok("PCMU/0 20 sendrecv AES_CM_128_HMAC_SHA1_32#2"),
        ),
        (
            "with feedback",
            Optional,
            format!("m=audio 4000 RTP/SAVPF 0\n{small}"),
            Ok("PCMU/0 20 sendrecv AES_CM_128_HMAC_SHA1_80#1"),
        ),
        ("key beside the clear", Optional, format!("{avp}{small}"), Ok("PCMU/0 20 sendrecv AES_CM_128_HMAC_SHA1_80#1")),
        (
            "key beside the clear, required",
            Required,
            format!("{avp}{small}"),
            Ok("PCMU/0 20 sendrecv AES_CM_128_HMAC_SHA1_80#1"),
        ),
        ("clear where it may", Optional, avp.to_owned(), plain),
        ("foreign key beside the clear", Optional, format!("{avp}{gcm}"), plain),
        (
            "the secure one of two",
            Optional,
            format!("{avp}m=audio 4002 RTP/SAVP 8\n{small}"),
            Ok("PCMA/8 20 sendrecv AES_CM_128_HMAC_SHA1_80#1"),
        ),
        ("the clear one of two", Off, format!("m=audio 4002 RTP/SAVP 8\n{small}{avp}"), plain),
        ("clear where it may not", Required, avp.to_owned(), Err(ClearOnly)),
        ("foreign key where one is required", Required, format!("{avp}{gcm}"), Err(ClearOnly)),
        ("secure where nothing is", Off, format!("{savp}{small}"), Err(SecureOnly)),
        ("secure without a key", Optional, savp.to_owned(), Err(NoCrypto)),
        ("secure with foreign suites", Optional, format!("{savp}{gcm}"), Err(NoCrypto)),
        ("encryption taken away", Optional, format!("{savp}{open}"), Err(NoCrypto)),
        ("broken key", Optional, format!("{avp}{broken}"), Err(BadCrypto)),
        (
            "DTLS",
            Optional,
            "m=audio 4000 UDP/TLS/RTP/SAVPF 0\na=setup:actpass\na=fingerprint:sha-256 00\n".to_owned(),
            Err(SecureOnly),
        ),
    ];
    for (what, policy, body, wanted) in &cases {
        assert_eq!(verdict(*policy, body).as_deref(), wanted.as_ref().map(|text| *text), "{what}");
    }
}

#[test]
fn what_cannot_be_carried_is_refused_with_488() {
    use SdpProblem::*;
    let many = |line: &str, times: usize| format!("m=audio 4000 RTP/AVP 0\n{}", line.repeat(times));
    let cases: Vec<(String, SdpProblem)> = [
        ("", BadVersion),
        ("v=1\r\n", BadVersion),
        ("v=0\r\ns=-\r\n", BadOrigin),
        ("a=sendrecv\n", NoAudio),
        ("m=video 4000 RTP/AVP 31\n", NoAudio),
        ("m=audio 0 RTP/AVP 0\n", NoAudio),
        ("m=audio 4000 udp 0\n", NoAudio),
        ("m=audio 4000 RTP/AVP 18\n", NoCodec),
        ("m=audio 4000 RTP/AVP 0\na=rtpmap:0 PCMU/16000\n", NoCodec),
        ("m=audio 4000 RTP/AVP 9\na=rtpmap:9 G722/16000\n", NoCodec),
        ("m=audio 4000 RTP/AVP 107\na=rtpmap:107 opus/48000/2\na=fmtp:107 useinbandfec=yes\n", BadFmtp),
        ("m=audio 53 RTP/AVP 0\n", ForbiddenPort),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 255.255.255.255\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 239.1.1.1/127\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 169.254.169.254\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP6 fe80::1\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP6 ff02::1\n", ForbiddenAddress),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::1\n", OtherFamily),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 host.example.com\n", NamedAddress),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 999.1.1.1\n", BadConnection),
        ("m=audio 99999 RTP/AVP 0\n", BadMedia),
        ("m=audio 4000 RTP/AVP x\n", BadMedia),
        ("m=audio 4000 RTP/AVP 0\na=rtcp:99999\n", BadRtcp),
    ]
    .into_iter()
    .map(|(body, problem)| (body.to_owned(), problem))
    .chain([
        (many("a=fmtp:0 x=1\n", 129), TooMany),
        (many("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\n", 33), TooMany),
        (many("m=video 0 RTP/AVP 31\n", 32), TooMany),
        (many("a=x\n", 20_000), TooLarge),
    ])
    .collect();
    for (body, problem) in &cases {
        assert_eq!(verdict(SrtpPolicy::Off, body), Err(*problem), "{}", body.get(..80).unwrap_or(body));
    }
}

#[test]
fn ipv6_streams_are_answered_over_ipv6() {
    let mut exchange =
        Exchange::new(LocalMedia { address: "2001:db8::2".parse().unwrap(), ..local(SrtpPolicy::Off) }, 7);
    let text =
        "v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let taken = exchange.answer(text.as_bytes()).unwrap();
    assert_eq!(taken.agreed.remote_rtp, Some("[2001:db8::1]:4000".parse().unwrap()));
    assert!(
        taken.answer.contains("o=- 7 1 IN IP6 2001:db8::2\r\n") && taken.answer.contains("c=IN IP6 2001:db8::2\r\n")
    );
    let held = exchange.answer(text.replace("c=IN IP6 2001:db8::1", "c=IN IP6 ::").as_bytes()).unwrap();
    assert_eq!((held.agreed.remote_rtp, held.agreed.direction), (None, Direction::RecvOnly));
}

/// Lines in any order and number, some of them broken.
fn anything() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "m=audio 4000 RTP/AVP 0 8 9 13 96 97 101",
        "m=audio 4002 RTP/SAVP 0 96",
        "m=audio 0 RTP/AVP 0",
        "m=video 4004 RTP/AVP 31",
        "c=IN IP4 10.0.0.1",
        "c=IN IP4 0.0.0.0",
        "c=IN IP6 2001:db8::1",
        "a=sendonly",
        "a=inactive",
        "a=rtpmap:96 opus/48000/2",
        "a=rtpmap:97 CN/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:0 telephone-event/48000",
        "a=fmtp:96 useinbandfec=1;x",
        "a=ptime:30",
        "a=maxptime:4294967295",
        "a=rtcp-mux",
        "a=rtcp:1 IN IP4 10.0.0.1",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x",
    ]);
    prop::collection::vec(line, 1..14).prop_map(|lines| offer(&format!("{}\n", lines.join("\n"))))
}

fn policy() -> impl Strategy<Value = SrtpPolicy> {
    prop::sample::select(vec![SrtpPolicy::Off, SrtpPolicy::Allowed, SrtpPolicy::Optional, SrtpPolicy::Required])
}

proptest! {
    #[test]
    fn no_description_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        SessionDescription::parse(&bytes).ok();
    }

    #[test]
    fn every_answer_is_lawful_and_so_is_every_offer_after_it(text in anything(), policy in policy(), again in anything()) {
        let mut exchange = Exchange::new(local(policy), 7);
        for text in [&text, &again, &text] {
            let Ok(taken) = exchange.answer(text.as_bytes()) else { continue };
            is_lawful(text, &taken.answer);
            prop_assert!(policy != SrtpPolicy::Required || taken.agreed.crypto.is_some());
            prop_assert!(policy != SrtpPolicy::Off || taken.agreed.crypto.is_none());
            let next = SessionDescription::parse(exchange.offer().as_bytes()).unwrap();
            let theirs = SessionDescription::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(next.media.len(), theirs.media.len());
        }
    }

    #[test]
    fn both_sides_agree(
        port in 1024_u16..,
        ptime in any::<u32>(),
        first in 0_usize..4,
        hold in 0_usize..4,
        asks in policy(),
        answers in policy(),
    ) {
        let mut codecs = Codec::ALL;
        codecs.rotate_left(first);
        let direction = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive][hold];
        let asking = LocalMedia { port, codecs: codecs.into(), ptime_ms: ptime, direction, keys: keys(3), ..local(asks) };
        let mut caller = Exchange::new(LocalMedia { address: [10, 0, 0, 1].into(), ..asking }, 1);
        let Ok(taken) = Exchange::new(local(answers), 2).answer(caller.offer().as_bytes()) else {
            let without = |policy| matches!(policy, SrtpPolicy::Off | SrtpPolicy::Allowed);
            let apart = (asks == SrtpPolicy::Required && answers == SrtpPolicy::Off)
                || (without(asks) && answers == SrtpPolicy::Required);
            prop_assert!(apart);
            return Ok(());
        };
        let agreed = caller.answered(taken.answer.as_bytes()).unwrap();
        prop_assert_eq!((agreed.codec, agreed.codec), (codecs[0], taken.agreed.codec));
        prop_assert_eq!((agreed.ptime_ms, agreed.payload_type), (taken.agreed.ptime_ms, taken.agreed.payload_type));
        prop_assert_eq!((agreed.direction, taken.agreed.direction), (direction, direction.reversed()));
        prop_assert_eq!(agreed.telephone_event, taken.agreed.telephone_event);
        prop_assert_eq!(agreed.telephone_event.map(|event| event.clock_hz), Some(agreed.codec.clock_hz()));
        prop_assert!(agreed.rtcp_mux && taken.agreed.rtcp_mux);
        let (ours, theirs) = (agreed.crypto, taken.agreed.crypto);
        prop_assert_eq!(ours.is_some(), theirs.is_some());
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            prop_assert_eq!((ours.local, ours.remote), (theirs.remote, theirs.local));
        }
    }
}

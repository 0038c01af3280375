//! Properties of the parsers: no input panics, what is printed is read back, splits change nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use bytes::Bytes;
use offhook_sip::message::{HeaderName, Message, Method, Uri, Writer};
use offhook_sip::{Endpoint, EndpointConfig, Flow, Framed, Input, Moment, StreamFramer, Transport};
use proptest::prelude::*;

/// Text made of the pieces parsers trip over.
fn shards() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("INVITE sip:a@b SIP/2.0\r\n".to_owned()),
        Just("Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n".to_owned()),
        Just("From: \"x\\\"\" <sip:a@b>;tag=1\r\nTo: sip:c@d\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n".to_owned()),
        prop::sample::select(vec!["Via", "f", "t", "m", "l", "CSeq", "Route", "Record-Route", "a=rtpmap", "m=audio "])
            .prop_map(|name| format!("{name}:")),
        "[ -~]{0,20}",
        "[<>\"\\\\;,=:@%?\\[\\] \t0-9a-f]{0,12}",
        any::<u32>().prop_map(|number| number.to_string()),
    ];
    let noisy = prop_oneof![9 => piece.prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..9)];
    prop::collection::vec(noisy, 0..24).prop_map(|pieces| pieces.concat())
}

/// Reads every value there is.
fn read_all(message: &Message) {
    message.request_uri().ok();
    message.essentials().ok();
    message.content_type();
    for name in [HeaderName::Contact, HeaderName::Route, HeaderName::RecordRoute, HeaderName::From, HeaderName::To] {
        for address in message.addresses(name).unwrap_or_default() {
            address.display();
            address.uri().user_decoded();
            address.uri().param("lr");
            assert!(address.params().iter().count() < 65_536);
        }
    }
    for name in [HeaderName::Require, HeaderName::Supported, HeaderName::Allow] {
        message.tokens(name).count();
    }
}

/// Writes what the index of a message says, from nothing but the index.
fn print(message: &Message) -> Bytes {
    let mut writer = match message.method() {
        Some(method) => Writer::request(method, message.request_uri().unwrap().as_str()),
        None => Writer::response(message.status().unwrap()),
    };
    for (name, spelled, value) in message.iter() {
        let typed = matches!(name, HeaderName::ContentLength | HeaderName::ContentType);
        if !typed {
            writer.field(std::str::from_utf8(spelled).unwrap(), String::from_utf8_lossy(value));
        }
    }
    let content_type = message.text(HeaderName::ContentType).unwrap_or("application/sdp".into());
    writer.finish(Some((&content_type, message.body())))
}

fn fields(message: &Message) -> Vec<(HeaderName, Vec<u8>, Vec<u8>)> {
    let typed = |name| matches!(name, HeaderName::ContentLength | HeaderName::ContentType);
    let kept = message.iter().filter(|(name, ..)| !typed(*name));
    kept.map(|(name, spelled, value)| (name, spelled.to_vec(), value.to_vec())).collect()
}

prop_compose! {
    fn whole_request()(
        method in prop::sample::select(vec!["INVITE", "BYE", "OPTIONS", "X-1"]),
        user in "[a-z0-9+;&=]{1,12}",
        host in prop::sample::select(vec!["10.0.0.1", "host.example", "[2001:db8::1]:5070"]),
        display in "[ -~]{0,12}",
        extra in prop::collection::vec(("[A-Z][A-Za-z-]{3,9}", "[!-~][ -~]{0,20}"), 0..5),
        number: u32,
        body in prop::collection::vec(any::<u8>(), 1..60),
    ) -> String {
        let display = display.replace('\\', "\\\\").replace('"', "\\\"");
        let extra: String = extra.iter().map(|(name, value)| format!("X-{name}: {}\r\n", value.trim())).collect();
        format!(
            "{method} sip:{user}@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bK{number}\r\n\
             From: \"{display}\" <sip:{user}@{host}>;tag=t{number}\r\nTo: <sip:{user}@{host}>\r\n{extra}\
             Call-ID: {number}@h\r\nCSeq: {number} {method}\r\nContent-Type: x/y\r\nContent-Length: {}\r\n\r\n{}",
            body.len() * 2,
            body.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_message_panics(bytes in shards()) {
        if let Ok(message) = Message::parse(Bytes::from(bytes)) {
            read_all(&message);
        }
    }

    #[test]
    fn no_datagram_panics_an_endpoint(bytes in shards(), more in shards()) {
        let mut endpoint = Endpoint::new(EndpointConfig::default(), 1);
        let flow = Flow {
            transport: Transport::Udp,
            local: "10.0.0.1:5060".parse().unwrap(),
            remote: "10.0.0.2:5060".parse().unwrap(),
            connection: None,
        };
        for (at, bytes) in [bytes, more].into_iter().enumerate() {
            endpoint.handle(Input::Message { flow, bytes: Bytes::from(bytes) }, Moment::from_secs(at as u64));
        }
        endpoint.handle(Input::Timeout, Moment::from_secs(100));
        endpoint.handle(Input::Timeout, Moment::from_secs(300));
        endpoint.handle(Input::Timeout, Moment::from_secs(400));
        prop_assert_eq!(endpoint.poll_timeout(), None, "every state has a way out by the clock");
        prop_assert_eq!((endpoint.calls(), endpoint.transactions()), (0, 0));
    }

    #[test]
    fn what_is_printed_is_read_back(text in whole_request()) {
        let first = Message::parse(Bytes::from(text)).unwrap();
        first.essentials().unwrap();
        let second = Message::parse(print(&first)).unwrap();
        prop_assert_eq!(first.method(), second.method());
        prop_assert_eq!(first.request_uri().unwrap().as_str(), second.request_uri().unwrap().as_str());
        prop_assert_eq!(fields(&first), fields(&second));
        prop_assert_eq!(first.body(), second.body());
    }

    #[test]
    fn splits_change_nothing(texts in prop::collection::vec(whole_request(), 1..5), cuts in prop::collection::vec(1_usize..80, 1..40)) {
        let stream = texts.join("\r\n").into_bytes();
        let mut framer = StreamFramer::new();
        let (mut seen, mut at, mut cuts) = (Vec::new(), 0, cuts.into_iter().cycle());
        while at < stream.len() {
            let end = stream.len().min(at + cuts.next().unwrap());
            framer.push(&stream[at..end]);
            at = end;
            while let Some(frame) = framer.next_frame().unwrap() {
                seen.push(frame);
            }
        }
        let wanted: Vec<_> = texts.into_iter().map(|text| Framed::Message(Bytes::from(text))).collect();
        prop_assert_eq!(seen, wanted);
    }

    #[test]
    fn no_stream_panics_the_framer(bytes in shards(), cut in 1_usize..40) {
        let mut framer = StreamFramer::new();
        for piece in bytes.chunks(cut) {
            framer.push(piece);
            while let Ok(Some(_)) = framer.next_frame() {}
        }
    }

    #[test]
    fn no_uri_panics(text in "\\PC{0,40}|sips?:[a-z%@:;?=\\[\\]0-9.]{0,30}|tel:[+0-9;=a-z-]{0,20}") {
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(uri.as_str(), &text);
            uri.user_decoded();
            uri.param("x");
        }
    }
}

#[test]
fn methods_are_case_sensitive() {
    assert_eq!(Method::known(b"invite"), None);
}

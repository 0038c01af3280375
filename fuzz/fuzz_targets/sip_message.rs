//! Any bytes as a datagram: the parser and an endpoint stay whole, and the clock ends what they began.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use offhook_sip::message::{HeaderName, Message};
use offhook_sip::{Endpoint, EndpointConfig, Flow, Input, Moment, Output, Transport};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(message) = Message::parse(bytes.clone()) {
        let _ = message.essentials();
        let _ = message.request_uri();
        for name in [HeaderName::Contact, HeaderName::Route, HeaderName::RecordRoute] {
            for address in message.addresses(name).unwrap_or_default() {
                let _ = (address.display(), address.uri().user_decoded(), address.params().iter().count());
            }
        }
    }
    let mut endpoint = Endpoint::new(EndpointConfig::default(), 1);
    let flow = Flow {
        transport: Transport::Udp,
        local: ([10, 0, 0, 1], 5060).into(),
        remote: ([10, 0, 0, 2], 5060).into(),
        connection: None,
    };
    for second in 0..2 {
        endpoint.handle(Input::Message { flow, bytes: bytes.clone() }, Moment::from_secs(second));
    }
    for second in [200, 300, 400] {
        endpoint.handle(Input::Timeout, Moment::from_secs(second));
    }
    while let Some(output) = endpoint.poll_output() {
        if let Output::Transmit { bytes, .. } = output {
            assert!(Message::parse(bytes).is_ok(), "an answer of ours is malformed");
        }
    }
    assert_eq!((endpoint.calls(), endpoint.transactions(), endpoint.poll_timeout()), (0, 0, None));
});

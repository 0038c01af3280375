//! Any bytes as a challenge or an answer to one: what is read can be written, and reads back as it was.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use offhook_sip::auth::{Answerer, Authorization, Challenge, Credentials, Nonces, Secret};
use offhook_sip::message::{Message, Method};
use std::time::Duration;

fuzz_target!(|data: &[u8]| {
    let _ = Authorization::parse(data);
    for challenge in Challenge::parse(data).unwrap_or_default() {
        let again = Challenge::parse(challenge.field().as_bytes()).expect("our own challenge");
        assert!(again.len() == 1 && again[0].realm == challenge.realm && again[0].nonce == challenge.nonce);
        assert!(again[0].opaque == challenge.opaque && again[0].stale == challenge.stale);
    }
    let here = [10, 0, 0, 1].into();
    let text = String::from_utf8_lossy(data);
    let mut nonces = Nonces::new([1; 32], Duration::from_secs(30), Duration::from_secs(300));
    assert!(nonces.spend(&text, Some(1), here, Duration::from_secs(1)) == offhook_sip::auth::Freshness::Stale);
    answer(data);
});

/// The bytes as the fields of a 401, and what is said to it.
fn answer(data: &[u8]) {
    let mut refusal = b"SIP/2.0 401 No\r\nWWW-Authenticate: ".to_vec();
    refusal.extend_from_slice(data);
    refusal.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
    let Ok(refusal) = Message::parse(Bytes::from(refusal)) else { return };
    let credentials = Credentials { username: "a\"b".into(), password: Secret::new("c\\d"), realm: None };
    let mut answerer = Answerer::new(credentials);
    for _ in 0..6 {
        if answerer.challenged(&refusal).is_err() {
            return;
        }
        for answer in answerer.fields(&Method::Invite, "sip:a@b", "0a4f") {
            let read = Authorization::parse(answer.value.as_bytes()).expect("our own answer");
            assert!(read.is_some(), "it is a Digest");
        }
    }
    panic!("a challenge is answered for ever");
}

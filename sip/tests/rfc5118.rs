//! The cases of RFC 5118 (SIP torture tests for IPv6), each as a datagram to a fresh endpoint.
//!
//! The messages are our own, made after the RFC's descriptions and named as it names them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use bytes::Bytes;
use offhook_sip::Event;
use offhook_sip::message::{HeaderName, Host, Message};
use offhook_sip::sdp::SessionDescription;
use std::path::PathBuf;
use support::peer::Peer;

/// Each message with the section that describes it, the status we answer it with, and why.
const CASES: &[(&str, &str, u16)] = &[
    // Well-formed, and a method that is not served.
    ("ipv6-good", "4.1", 405),
    ("ipv6-bad", "4.2", 400),
    // Well-formed: the port is a part of the address.
    ("port-ambiguous", "4.3", 405),
    ("port-unambiguous", "4.4", 405),
    // Well-formed, and of a call that is not known.
    ("via-received-param-with-delim", "4.5", 481),
    ("via-received-param-no-delim", "4.5", 481),
    ("ipv6-in-sdp", "4.6", 100),
    ("mult-ip-in-header", "4.7", 100),
    ("mult-ip-in-sdp", "4.8", 100),
    ("ipv4-mapped-ipv6", "4.9", 100),
    ("ipv6-bug-abnf-3-colons", "4.10", 400),
    ("ipv6-correct-abnf-2-colons", "4.10", 200),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sip/rfc5118")
}

fn bytes(name: &str) -> Bytes {
    std::fs::read(folder().join(format!("{name}.dat"))).unwrap().into()
}

fn peer() -> Peer {
    let mut peer = Peer::new();
    peer.flow.local = "[2001:db8::10]:5060".parse().unwrap();
    peer.flow.remote = "[2001:db8::20]:5060".parse().unwrap();
    peer
}

#[test]
fn every_message_is_answered_as_the_rfc_asks() {
    let files = std::fs::read_dir(folder()).unwrap().filter(|file| file.as_ref().unwrap().path().extension().is_some());
    assert_eq!(files.count(), CASES.len());
    for (name, section, wanted) in CASES {
        let (mut peer, request) = (peer(), bytes(name));
        let answers = peer.send_bytes(request.clone());
        let [answer] = answers.as_slice() else { panic!("{name}: {} answers", answers.len()) };
        assert_eq!(answer.status(), Some(*wanted), "{name} (section {section})");
        assert_eq!(peer.ways[0].remote, peer.flow.remote, "{name}");
        let Ok(request) = Message::parse(request) else { continue };
        let vias = |message: &Message| message.values(HeaderName::Via).skip(1).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(vias(answer), vias(&request), "{name}: Vias of both families come back in order");
        assert_eq!(
            peer.events.iter().filter(|event| matches!(event, Event::Incoming { .. })).count(),
            usize::from(*wanted == 100)
        );
    }
}

#[test]
fn the_top_via_says_where_the_request_came_from() {
    for (name, wanted) in [("via-received-param-with-delim", "2001:db8::20"), ("ipv4-mapped-ipv6", "2001:db8::20")] {
        let answer = peer().send_bytes(bytes(name)).remove(0);
        assert_eq!(answer.via().unwrap().params().value("received"), Some(wanted), "{name}");
    }
    let answer = peer().send_bytes(bytes("ipv6-in-sdp")).remove(0);
    assert_eq!(answer.via().unwrap().params().value("received"), None, "the source is what the Via says");
}

#[test]
fn addresses_and_ports_are_read_apart() {
    for (name, host, port) in [
        ("ipv6-good", "2001:db8::10", None),
        ("port-ambiguous", "2001:db8::10:5070", None),
        ("port-unambiguous", "2001:db8::10", Some(5070)),
        ("ipv6-correct-abnf-2-colons", "2001:db8::c000:201", None),
    ] {
        let message = Message::parse(bytes(name)).unwrap();
        let uri = message.request_uri().unwrap();
        assert_eq!((uri.host(), uri.port()), (Some(Host::V6(host.parse().unwrap())), port), "{name}");
    }
}

#[test]
fn session_descriptions_of_both_families_are_read() {
    for (name, media) in [("ipv6-in-sdp", 2), ("mult-ip-in-header", 1), ("mult-ip-in-sdp", 2), ("ipv4-mapped-ipv6", 1)]
    {
        let message = Message::parse(bytes(name)).unwrap();
        assert_eq!(SessionDescription::parse(message.body()).unwrap().media.len(), media, "{name}");
    }
}

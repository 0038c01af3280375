//! IPv6 in SIP, after the cases RFC 5118 collects: delimiters, ambiguous ports, `received`, mixed SDP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::message::{HeaderName, Host, Message, Uri};
use offhook_sip::sdp::{Codec, LocalMedia, SdpProblem, Session, SessionDescription, negotiate};
use support::peer::{Peer, request};

fn peer() -> Peer {
    let mut peer = Peer::new();
    peer.flow.local = "[2001:db8::20]:5060".parse().unwrap();
    peer.flow.remote = "[2001:db8::9:1]:6050".parse().unwrap();
    peer
}

#[test]
fn a_bracketed_request_uri_is_served() {
    let mut peer = peer();
    let changes = [
        ("uri", "sip:[2001:db8::20]"),
        ("Via", "SIP/2.0/UDP [2001:db8::9:1];rport;branch=z9hG4bKas3-111"),
        ("From", "\"Alice\" <sip:alice@[2001:db8::9:1]:6050>;tag=81x2"),
        ("Contact", "<sip:alice@[2001:db8::9:1]>"),
    ];
    let answer = peer.send(&request("INVITE", &changes, "v=0")).remove(0);
    assert_eq!(answer.status(), Some(100));
    let via = answer.via().unwrap();
    assert_eq!(via.params().value("rport"), Some("6050"));
    assert_eq!(via.params().value("received"), Some("2001:db8::9:1"), "without brackets, as the grammar has it");
}

#[test]
fn a_bare_literal_in_a_request_uri_is_refused() {
    for uri in ["sip:2001:db8::10", "sip:1000@2001:db8::10", "sip:[2001:db8::10", "sip:[2001:db8::10]]"] {
        assert_eq!(peer().status(&request("OPTIONS", &[("uri", uri)], "")), 400, "{uri}");
    }
}

#[test]
fn a_port_inside_the_brackets_is_part_of_the_address() {
    let ambiguous = Uri::parse("sip:[2001:db8::10:5070]").unwrap();
    assert_eq!((ambiguous.host(), ambiguous.port()), (Some(Host::V6("2001:db8::10:5070".parse().unwrap())), None));
    let plain = Uri::parse("sip:[2001:db8::10]:5070").unwrap();
    assert_eq!((plain.host(), plain.port()), (Some(Host::V6("2001:db8::10".parse().unwrap())), Some(5070)));
}

#[test]
fn received_is_read_with_and_without_brackets() {
    for received in ["2001:db8::9:255", "[2001:db8::9:255]"] {
        let via = format!("SIP/2.0/UDP [2001:db8::9:1]:5060;received={received};branch=z9hG4bKas3-111");
        let text = request("OPTIONS", &[("Via", &via)], "");
        let message = Message::parse(text.into_bytes().into()).unwrap();
        assert_eq!(message.via().unwrap().params().value("received"), Some(received));
    }
}

#[test]
fn a_bare_literal_in_a_via_is_refused() {
    let via = "SIP/2.0/UDP 2001:db8::9:1;branch=z9hG4bKas3-111";
    assert_eq!(peer().status(&request("OPTIONS", &[("Via", via)], "")), 400);
}

#[test]
fn lists_of_vias_of_both_families_are_echoed_in_order() {
    let via = "SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bK1, SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK2";
    let answer = peer().send(&request("OPTIONS", &[("Via", via)], "")).remove(0);
    assert_eq!(answer.text(HeaderName::Via).unwrap(), via, "the source is what the top Via says");
}

#[test]
fn a_mapped_source_is_shown_as_ipv4() {
    let mut peer = peer();
    peer.flow.remote = "[::ffff:192.0.2.10]:5060".parse().unwrap();
    let via = "SIP/2.0/UDP [::ffff:192.0.2.2]:5060;branch=z9hG4bK1;rport";
    let answer = peer.send(&request("OPTIONS", &[("Via", via)], "")).remove(0);
    assert_eq!(answer.via().unwrap().params().value("received"), Some("192.0.2.10"));
}

#[test]
fn an_offer_of_both_families_is_answered_for_the_stream_we_reach() {
    let text = "v=0\r\no=bob 280744730 28977631 IN IP4 host.example.com\r\ns=\r\nt=0 0\r\n\
                m=audio 22334 RTP/AVP 0\r\nc=IN IP4 192.0.2.10\r\nm=video 6024 RTP/AVP 107\r\nc=IN IP6 2001:db8::1\r\n\
                a=rtpmap:107 H263-1998/90000\r\n";
    let offer = SessionDescription::parse(text.as_bytes()).unwrap();
    let local = |address: &str| LocalMedia::new(address.parse().unwrap(), 4000, [Codec::Pcmu]);
    let session = Session { id: 1, version: 1 };
    let taken = negotiate(&offer, &local("192.0.2.2"), session).unwrap();
    assert_eq!(taken.agreed.remote_rtp, Some("192.0.2.10:22334".parse().unwrap()));
    let refused = negotiate(&offer, &local("2001:db8::2"), session).unwrap_err();
    assert_eq!((refused.problem, refused.line), (SdpProblem::OtherFamily, 6));
}

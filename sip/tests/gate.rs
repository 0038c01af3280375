//! Strangers, floods and scanners at an endpoint: who is answered, with how much, and what a call never feels of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::guard::{GuardConfig, GuardReason, Scanners, Unknown};
use offhook_sip::message::{HeaderName, Method};
use offhook_sip::{CallHandle, Command, EndpointConfig, Event, Moment, Transport};
use support::peer::{Peer, request};
use support::sdp;

fn peer(adjust: impl Fn(&mut GuardConfig)) -> Peer {
    let mut config = EndpointConfig::default();
    adjust(&mut config.guard);
    let mut peer = Peer::with(config);
    peer.flow.remote = "203.0.113.9:5070".parse().unwrap();
    peer
}

fn options(number: usize) -> String {
    let via = format!("SIP/2.0/UDP 203.0.113.9:5070;branch=z9hG4bKo{number}");
    request("OPTIONS", &[("Via", &via), ("Call-ID", &number.to_string())], "")
}

fn invite(number: usize) -> String {
    let via = format!("SIP/2.0/UDP 203.0.113.9:5070;branch=z9hG4bKi{number}");
    request("INVITE", &[("Via", &via), ("Call-ID", &number.to_string())], "v=0")
}

fn incoming(peer: &Peer) -> CallHandle {
    let mut calls = peer.events.iter().rev().filter_map(|event| match event {
        Event::Incoming { call, .. } => Some(*call),
        _ => None,
    });
    calls.next().expect("a call came in")
}

#[test]
fn a_banned_source_keeps_its_call() {
    let mut peer = peer(|_| {});
    peer.status(&invite(0));
    let call = incoming(&peer);
    let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
    let to = ok.text(HeaderName::To).unwrap().into_owned();
    let within = |method: &str, cseq: u32| {
        let (cseq, via) = (format!("{cseq} {method}"), format!("SIP/2.0/UDP 203.0.113.9:5070;branch=z9hG4bKw{cseq}"));
        request(method, &[("To", &to), ("Call-ID", "0"), ("CSeq", &cseq), ("Via", &via)], "")
    };
    let answered = (0..200).filter(|&number| !peer.send(&options(number)).is_empty()).count();
    assert_eq!((answered, peer.endpoint.guard_counts().bans), (40, 1));
    assert!(peer.send(&invite(1)).is_empty() && peer.send("hello\r\nVia: x\r\n\r\n").is_empty());
    assert_eq!(peer.send(&invite(0)).len(), 0, "a repeated INVITE of the accepted call is absorbed");
    assert!(peer.send(&within("ACK", 1)).is_empty());
    assert!(matches!(peer.events.last(), Some(Event::Confirmed { .. })));
    assert_eq!(peer.status(&within("INFO", 2)), 200);
    let bye = peer.command(Command::Bye { call, reason: None }).remove(0);
    assert_eq!(bye.method(), Some(&Method::Bye));
    peer.now = Moment::from_secs(301);
    assert_eq!(peer.status(&invite(1)), 100);
}

#[test]
fn a_flood_of_invites_gets_503_and_opens_no_more_than_its_share() {
    let mut peer = peer(|_| {});
    let statuses: Vec<u16> = (0..100).map(|number| peer.status(&invite(number))).collect();
    assert_eq!(statuses.iter().filter(|&&status| status == 100).count(), 60);
    assert_eq!(statuses.iter().filter(|&&status| status == 503).count(), 40);
    assert_eq!(peer.endpoint.calls(), 60);
    assert!(peer.send(&invite(100)).is_empty(), "one more bans");
}

#[test]
fn trying_one_number_after_the_other_ends_in_silence() {
    let mut peer = peer(|_| {});
    let mut heard = 0;
    for number in 0..40 {
        peer.now = Moment::from_millis(100) * number;
        let Some(answer) = peer.send(&invite(usize::try_from(number).unwrap())).pop() else { continue };
        assert_eq!(answer.status(), Some(100));
        let call = incoming(&peer);
        let no = peer.command(Command::Reject { call, status: 404, headers: Vec::new() }).remove(0);
        assert_eq!(no.status(), Some(404));
        heard += 1;
    }
    assert!((20..=22).contains(&heard), "{heard}");
}

#[test]
fn strangers_and_scanners_get_what_is_set() {
    for (unknown, wanted) in [(Unknown::Accept, Some(200)), (Unknown::Forbid, Some(403)), (Unknown::Silent, None)] {
        let mut peer = peer(|guard| guard.unknown = unknown);
        assert_eq!(peer.send(&options(1)).first().and_then(|answer| answer.status()), wanted);
        peer.command(Command::SetPeers(vec!["203.0.113.0/24".parse().unwrap()]));
        assert_eq!(peer.status(&options(2)), 200);
    }
    for (scanners, wanted) in [(Scanners::Serve, Some(200)), (Scanners::Forbid, Some(403)), (Scanners::Silent, None)] {
        let mut peer = peer(|guard| guard.scanners = scanners);
        let scan = request("OPTIONS", &[("User-Agent", "friendly-scanner")], "");
        assert_eq!(peer.send(&scan).first().and_then(|answer| answer.status()), wanted);
        assert_eq!(peer.endpoint.guard_counts().refused(GuardReason::Scanner), u64::from(wanted != Some(200)));
    }
}

#[test]
fn a_stranger_gets_no_more_bytes_than_it_sent_and_a_friend_everything() {
    let pad = "x".repeat(400);
    for (pad, whole) in [("", false), (pad.as_str(), true)] {
        let text = request("OPTIONS", &[("Subject", pad)], "");
        let mut peer = peer(|_| {});
        let answer = peer.send(&text).remove(0);
        // The To tag and `received` are all that a short request is answered with beyond itself.
        assert!(answer.as_bytes().len() <= text.len(), "{} for {}", answer.as_bytes().len(), text.len());
        assert_eq!((answer.has(HeaderName::Allow), answer.has(HeaderName::Server)), (whole, whole));
        peer.command(Command::SetPeers(vec!["203.0.113.9".parse().unwrap()]));
        let answer = peer.send(&text).remove(0);
        assert!(answer.has(HeaderName::Allow) && answer.has(HeaderName::Server));
    }
}

#[test]
fn tls_is_named_in_via_and_contact_and_sips_is_kept() {
    for (uri, wanted) in [
        ("sip:1000@10.0.0.2", "<sip:offhook@10.0.0.2:5061;transport=tls>"),
        ("sips:1000@10.0.0.2", "<sips:offhook@10.0.0.2:5061>"),
    ] {
        let mut peer = Peer::new();
        peer.flow.transport = Transport::Tls;
        peer.flow.local = "10.0.0.2:5061".parse().unwrap();
        peer.flow.connection = Some(3);
        let scheme = uri.split_once(':').unwrap().0;
        let contact = format!("<{scheme}:alice@10.0.0.1:5070>");
        let via = "SIP/2.0/TLS 10.0.0.1:5070;branch=z9hG4bK1";
        assert_eq!(peer.status(&request("INVITE", &[("uri", uri), ("Via", via), ("Contact", &contact)], "v=0")), 100);
        let call = incoming(&peer);
        let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
        assert_eq!(ok.text(HeaderName::Contact).unwrap(), wanted);
        let to = ok.text(HeaderName::To).unwrap().into_owned();
        peer.send(&request("ACK", &[("To", &to)], ""));
        let offer = peer.command(Command::Reinvite { call, sdp: sdp() }).remove(0);
        assert_eq!(offer.text(HeaderName::Contact).unwrap(), wanted);
        assert_eq!(offer.via().unwrap().transport(), "TLS");
        peer.now = Moment::from_millis(600);
        assert!(peer.feed(offhook_sip::Input::Timeout).is_empty(), "nothing is repeated on a reliable transport");
        peer.feed(offhook_sip::Input::StreamClosed { connection: 3 });
        peer.command(Command::Bye { call, reason: None });
        let way = peer.ways.last().unwrap();
        assert_eq!((way.transport, way.connection, way.remote.port()), (Transport::Tls, None, 5070));
    }
}

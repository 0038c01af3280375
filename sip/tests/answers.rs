//! What a call that we place hears in the end: who answered where, or why it was refused; several answers at once; and
//! answers that come too late (RFC 3261 section 13.2.2, 13.3.1).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::message::{HeaderName, Message, Method};
use offhook_sip::{Command, EndCause, Event, Input, RefusalKind, Refused};
use support::peer::{Peer, accepted, response};
use support::*;

fn refused(status: &str, fields: &str) -> (Peer, Box<Refused>) {
    let mut peer = Peer::new();
    let invite = peer.place();
    let sent = peer.send(&response(&invite, status, "t", fields));
    assert_eq!(sent[0].method(), Some(&Method::Ack));
    assert_eq!(sent.len(), 1, "nothing else is sent, whatever the answer says");
    let [Event::Ended { refused: Some(refused), cause, .. }] = &peer.events[..] else { panic!("{:?}", peer.events) };
    assert_eq!(*cause, EndCause::Rejected(refused.status));
    let refused = refused.clone();
    (peer, refused)
}

#[test]
fn headers_of_a_contact_are_left_out_of_the_requests_that_go_there() {
    let mut peer = Peer::new();
    let invite = peer.place();
    let contact = "Contact: <sip:a?x@b;lr?Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\nContent-Type: application/sdp\r\n";
    let ack = peer.send(&format!("{}v=0", response(&invite, "200 OK", "t", contact))).remove(0);
    assert_eq!((ack.method(), ack.request_uri().unwrap().as_str()), (Some(&Method::Ack), "sip:a?x@b;lr"));
    let offer = peer.command(Command::Reinvite { call: call(1), sdp: sdp() }).remove(0);
    let ack = peer.send(&response(&offer, "488 No", "", "")).remove(0);
    assert_eq!((ack.method(), ack.request_uri().unwrap().as_str()), (Some(&Method::Ack), "sip:a?x@b;lr"));
}

#[test]
fn a_call_to_an_address_with_headers_is_placed_and_acknowledged_without_them() {
    let mut peer = Peer::new();
    let invite = peer.place_with(1, |invite| {
        invite.target = offhook_sip::message::UriBuf::parse("sip:desk@10.0.0.1?Subject=x").unwrap();
    });
    assert_eq!(invite.request_uri().unwrap().as_str(), "sip:desk@10.0.0.1");
    let ack = peer.send(&response(&invite, "486 Busy Here", "t", "")).remove(0);
    assert_eq!((ack.method(), ack.request_uri().unwrap().as_str()), (Some(&Method::Ack), "sip:desk@10.0.0.1"));
}

#[test]
fn a_redirect_is_told_and_not_followed() {
    let (mut peer, refused) = refused("302 Moved", "Contact: <sip:+900@10.9.9.9>;q=1, <sip:b@10.9.9.8>\r\n");
    assert_eq!((refused.status, refused.kind, refused.contacts.len()), (302, RefusalKind::Redirected, 2));
    assert_eq!(refused.contacts[0].reveal().as_str(), "sip:+900@10.9.9.9");
    peer.now = ms(60_000);
    assert!(peer.feed(Input::Timeout).is_empty());
    assert!(!format!("{refused:?}").contains("900"), "numbers stay private");
}

#[test]
fn a_refusal_carries_what_explains_it() {
    let fields =
        "Retry-After: 30;duration=60\r\nReason: Q.850;cause=34;text=\"no circuit\"\r\nWarning: 399 x \"full\"\r\n";
    let (peer, refused) = refused("503 Service Unavailable", fields);
    assert_eq!((refused.kind, refused.retry_after_s), (RefusalKind::Overloaded, Some(30)));
    assert_eq!(refused.warning.as_ref().map(|warning| warning.code), Some(399));
    let Some(Event::Ended { reason, .. }) = peer.events.last() else { panic!() };
    assert_eq!(reason.as_deref(), Some("Q.850;cause=34;text=\"no circuit\""));
    for (status, kind) in [
        ("403 Forbidden", RefusalKind::Forbidden),
        ("404 Not Found", RefusalKind::NotFound),
        ("408 Request Timeout", RefusalKind::Unavailable),
        ("486 Busy Here", RefusalKind::Busy),
        ("488 Not Acceptable Here", RefusalKind::NotAcceptable),
        ("500 Oops", RefusalKind::ServerFailure),
        ("603 Decline", RefusalKind::Declined),
        ("699 Whatever", RefusalKind::Other),
    ] {
        assert_eq!(self::refused(status, "").1.kind, kind, "{status}");
    }
}

#[test]
fn who_answered_is_told() {
    let mut peer = Peer::new();
    let invite = peer.place();
    let fields = "Contact: <sip:desk@10.0.0.1:5070>\r\nP-Asserted-Identity: <sip:+4930@x>\r\nX-Trunk: a\r\n";
    peer.send(&accepted(&invite, "t", fields));
    let [Event::Answered { remote, .. }] = &peer.events[..] else { panic!() };
    assert_eq!(remote.identity.as_ref().unwrap().reveal(), "<sip:+4930@x>");
    assert_eq!(remote.contact.as_ref().unwrap().reveal().as_str(), "sip:desk@10.0.0.1:5070");
    assert!(remote.headers.iter().any(|(name, value)| name == "X-Trunk" && value.reveal() == "a"));
    assert_eq!(remote.early, 0, "it never rang");
}

fn methods(sent: &[Message]) -> Vec<Method> {
    sent.iter().filter_map(|sent| sent.method().cloned()).collect()
}

#[test]
fn every_place_that_answers_too_late_is_ended_once() {
    let mut peer = Peer::new();
    let invite = peer.place();
    for tag in ["a", "b"] {
        peer.send(&response(&invite, "180 Ringing", tag, ""));
    }
    peer.send(&accepted(&invite, "a", ""));
    let late = accepted(&invite, "b", "Contact: <sip:b@10.0.0.1:5070>\r\n");
    let sent = peer.send(&late);
    assert_eq!(methods(&sent), [Method::Ack, Method::Bye]);
    assert_eq!(sent[1].request_uri().unwrap().as_str(), "sip:b@10.0.0.1:5070");
    let again = peer.send(&late);
    assert_eq!(methods(&again), [Method::Ack], "its BYE is under way");
    assert_eq!(again[0].as_bytes(), sent[0].as_bytes());
    assert_eq!(methods(&peer.send(&accepted(&invite, "a", ""))), [Method::Ack], "the call goes on");
    for number in 0..100 {
        peer.send(&accepted(&invite, &format!("x{number}"), ""));
    }
    assert!(peer.endpoint.transactions() < 40, "{}", peer.endpoint.transactions());
    assert_eq!(peer.endpoint.calls(), 1);
    assert!(!peer.events.iter().any(|event| matches!(event, Event::Ended { .. })));
}

#[test]
fn places_that_ring_are_bounded() {
    let mut peer = Peer::new();
    let invite = peer.place();
    for number in 0..100 {
        peer.send(&response(&invite, "180 Ringing", &format!("x{number}"), ""));
    }
    assert_eq!((peer.endpoint.dialogs(), peer.events.len()), (16, 16));
    peer.send(&response(&invite, "486 Busy Here", "x1", ""));
    assert_eq!((peer.endpoint.dialogs(), peer.endpoint.calls()), (0, 0));
}

#[test]
fn a_200_after_the_call_was_given_up_is_acknowledged_and_ended() {
    let mut peer = Peer::new();
    let invite = peer.place();
    peer.send(&response(&invite, "180 Ringing", "t", ""));
    assert_eq!(methods(&peer.command(Command::Cancel { call: call(1) })), [Method::Cancel]);
    let ok = accepted(&invite, "t", "");
    let sent = peer.send(&ok);
    assert_eq!(methods(&sent), [Method::Ack, Method::Bye]);
    peer.send(&response(&sent[1], "200 OK", "t", ""));
    assert_eq!(peer.endpoint.calls(), 0);
    assert_eq!(methods(&peer.send(&ok)), [Method::Ack, Method::Bye], "a repetition after the end");
    assert_eq!(methods(&peer.send(&ok)), [Method::Ack]);
}

#[test]
fn an_old_answer_does_not_reach_a_new_call_with_the_same_number() {
    let mut peer = Peer::new();
    let first = peer.place();
    peer.send(&accepted(&first, "t", ""));
    let bye = peer.command(Command::Bye { call: call(1), reason: None }).remove(0);
    peer.send(&response(&bye, "200 OK", "t", ""));
    let second = peer.place();
    assert_ne!(first.call_id().unwrap(), second.call_id().unwrap());
    peer.events.clear();
    assert_eq!(methods(&peer.send(&accepted(&first, "t", ""))), [Method::Ack, Method::Bye]);
    assert!(peer.events.is_empty());
    peer.send(&accepted(&second, "t", ""));
    assert!(matches!(peer.events[..], [Event::Answered { .. }]));
}

#[test]
fn a_late_ack_finds_nothing_to_do() {
    let mut net = Net::new(3);
    net.filter = Box::new(|_, message| message.method() != Some(&Method::Ack));
    net.react(answering);
    net.place(1);
    net.run(ms(32_005));
    let ack = net.wire.iter().find(|seen| seen.message.method() == Some(&Method::Ack)).unwrap();
    let text = String::from_utf8(ack.message.as_bytes().to_vec()).unwrap();
    net.run(ms(32_015));
    assert_eq!(net.ended(CALLEE), [(ms(32_010), EndCause::NoAck)]);
    let sent = net.wire.len();
    net.inject(CALLEE, &text);
    assert_eq!(net.wire.len(), sent);
    net.run(ms(100_000));
    assert!(net.is_idle());
    assert!(net.wire.iter().all(|seen| !seen.message.has(HeaderName::Replaces)));
}

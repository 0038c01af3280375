//! Reliable provisional answers in both roles (RFC 3262), and UPDATE while a call rings (RFC 3311).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use bytes::Bytes;
use offhook_sip::message::{HeaderName, Message, Method};
use offhook_sip::{CallHandle, Command, EndCause, EndpointConfig, Event, Input};
use support::peer::{Peer, Remote, accepted, described, request, response};
use support::*;

/// A call that comes in with these fields.
fn incoming(fields: &[(&str, &str)], offer: &str) -> (Peer, CallHandle) {
    let mut peer = Peer::new();
    assert_eq!(peer.status(&request("INVITE", fields, offer)), 100);
    let Event::Incoming { call, .. } = &peer.events[0] else { panic!() };
    let call = *call;
    peer.events.clear();
    (peer, call)
}

const KNOWS: &[(&str, &str)] = &[("Supported", "100rel")];
const REQUIRES: &[(&str, &str)] = &[("Require", "100rel")];

fn ring(call: CallHandle, early: Option<&'static str>) -> Command {
    Command::Ring { call, early_sdp: early.map(|sdp| Bytes::from_static(sdp.as_bytes())), reliable: true }
}

fn rseq(message: &Message) -> u32 {
    message.text(HeaderName::RSeq).unwrap().parse().unwrap()
}

fn prack(remote: &mut Remote, ringing: &Message, body: &str) -> String {
    let rack = format!("{} 1 INVITE", rseq(ringing));
    remote.request("PRACK", &[("RAck", &rack)], body)
}

fn statuses(sent: &[Message]) -> Vec<u16> {
    sent.iter().filter_map(Message::status).collect()
}

#[test]
fn a_reliable_ringing_is_repeated_until_its_prack() {
    let (mut peer, call) = incoming(KNOWS, "v=0");
    let ringing = peer.command(ring(call, None)).remove(0);
    assert_eq!(ringing.status(), Some(180));
    assert_eq!(ringing.text(HeaderName::Require).unwrap(), "100rel");
    let mut times = Vec::new();
    for _ in 0..3 {
        peer.now = peer.endpoint.poll_timeout().unwrap();
        assert_eq!(peer.feed(Input::Timeout)[0].as_bytes(), ringing.as_bytes());
        times.push(peer.now.as_millis());
    }
    assert_eq!(times, [500, 1500, 3500]);
    let mut remote = Remote::caller(&ringing);
    let acknowledged = prack(&mut remote, &ringing, "");
    assert_eq!(peer.status(&acknowledged), 200);
    assert_eq!(peer.status(&acknowledged), 200, "a repetition, answered from memory");
    assert_eq!(peer.status(&prack(&mut remote, &ringing, "")), 481, "acknowledged before");
    peer.now = ms(60_000);
    assert!(peer.feed(Input::Timeout).is_empty());
    let ok = peer.command(Command::Answer { call, sdp: sdp() });
    assert_eq!((ok[0].status(), ok[0].body().as_ref()), (Some(200), OFFER.as_bytes()));
}

#[test]
fn a_ringing_that_is_never_acknowledged_ends_the_call() {
    let (mut peer, call) = incoming(KNOWS, "v=0");
    peer.command(ring(call, Some("v=0 early")));
    let mut sent = Vec::new();
    while peer.now < ms(32_000) {
        peer.now = peer.endpoint.poll_timeout().unwrap();
        sent.extend(peer.feed(Input::Timeout).iter().map(|sent| (peer.now.as_millis(), sent.status().unwrap())));
    }
    let wanted = [(500, 183), (1500, 183), (3500, 183), (7500, 183), (15_500, 183), (31_500, 183), (32_000, 504)];
    assert_eq!(sent, wanted);
    assert!(matches!(peer.events[..], [Event::Ended { cause: EndCause::NoPrack, .. }]));
    assert_eq!(peer.endpoint.calls(), 0);
}

#[test]
fn one_reliable_answer_at_a_time_numbered_in_order() {
    let (mut peer, call) = incoming(KNOWS, "v=0");
    let first = peer.command(ring(call, None)).remove(0);
    assert!(peer.command(ring(call, Some("v=0 early"))).is_empty(), "it waits for its turn");
    assert!(peer.command(ring(call, None)).is_empty());
    let mut remote = Remote::caller(&first);
    let sent = peer.send(&prack(&mut remote, &first, ""));
    assert_eq!((statuses(&sent), rseq(&sent[1])), (vec![200, 183], rseq(&first) + 1));
    let sent = peer.send(&prack(&mut remote, &sent[1], ""));
    assert_eq!((statuses(&sent), rseq(&sent[1])), (vec![200, 180], rseq(&first) + 2));
}

#[test]
fn a_200_waits_for_media_that_is_under_way_and_does_not_repeat_it() {
    let (mut peer, call) = incoming(KNOWS, "v=0");
    let early = peer.command(ring(call, Some("v=0 early"))).remove(0);
    assert!(peer.command(Command::Answer { call, sdp: sdp() }).is_empty());
    let mut remote = Remote::caller(&early);
    let sent = peer.send(&prack(&mut remote, &early, ""));
    assert_eq!(statuses(&sent), [200, 200]);
    assert_eq!(sent[1].cseq().unwrap().method, Method::Invite);
    assert!(sent[1].body().is_empty());
    peer.send(&remote.ack(1, ""));
    assert_eq!(peer.events, [Event::Confirmed { call, sdp: None }]);
}

#[test]
fn a_200_may_overtake_a_ringing_without_media() {
    let (mut peer, call) = incoming(KNOWS, "v=0");
    let ringing = peer.command(ring(call, None)).remove(0);
    assert_eq!(statuses(&peer.command(Command::Answer { call, sdp: sdp() })), [200]);
    let mut remote = Remote::caller(&ringing);
    peer.send(&remote.ack(1, ""));
    assert_eq!(peer.status(&prack(&mut remote, &ringing, "")), 200, "its PRACK was under way");
    peer.now = ms(31_000);
    assert!(peer.feed(Input::Timeout).is_empty(), "nothing is repeated any more");
}

#[test]
fn who_does_not_know_it_is_not_asked_and_who_requires_it_gets_it() {
    let (mut peer, call) = incoming(&[], "v=0");
    assert!(!peer.command(ring(call, None)).remove(0).has(HeaderName::RSeq));
    let (mut peer, call) = incoming(REQUIRES, "v=0");
    let unasked = Command::Ring { call, early_sdp: None, reliable: false };
    assert!(peer.command(unasked).remove(0).has(HeaderName::RSeq));
    let mut peer = Peer::with(EndpointConfig { reliable_provisionals: false, ..EndpointConfig::default() });
    let refused = peer.send(&request("INVITE", REQUIRES, "v=0")).remove(0);
    assert_eq!((refused.status(), refused.text(HeaderName::Unsupported).as_deref()), (Some(420), Some("100rel")));
    let invite = peer.place();
    assert!(!invite.tokens(HeaderName::Supported).any(|option| option == "100rel"));
}

#[test]
fn early_media_may_carry_our_offer_and_its_prack_the_answer() {
    let (mut peer, call) = incoming(KNOWS, "");
    assert!(!peer.command(ring(call, None)).remove(0).has(HeaderName::RSeq), "the first reliable one has to offer");
    let early = peer.command(ring(call, Some("v=0 our offer"))).remove(0);
    let mut remote = Remote::caller(&early);
    assert_eq!(peer.status(&prack(&mut remote, &early, "v=0 their answer")), 200);
    let answer = Ok(Some(Bytes::from_static(b"v=0 their answer")));
    assert_eq!(peer.events, [Event::ReinviteAnswered { call, answer }]);
    let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
    assert!(ok.body().is_empty());
    peer.send(&remote.ack(1, ""));
    assert_eq!(peer.events[1..], [Event::Confirmed { call, sdp: None }]);
    let (mut peer, call) = incoming(KNOWS, "");
    let early = peer.command(ring(call, Some("v=0 our offer"))).remove(0);
    let mut remote = Remote::caller(&early);
    assert_eq!(statuses(&peer.send(&prack(&mut remote, &early, ""))), [200, 488]);
    assert!(matches!(peer.events[..], [Event::Ended { cause: EndCause::NoSdp, .. }]));
}

#[test]
fn a_prack_may_offer_once_media_is_agreed() {
    let (mut peer, call) = incoming(KNOWS, "v=0");
    let early = peer.command(ring(call, Some("v=0 early"))).remove(0);
    let mut remote = Remote::caller(&early);
    assert!(peer.send(&prack(&mut remote, &early, "v=0 more")).is_empty());
    assert_eq!(peer.events, [Event::Reinvite { call, offer: Some(Bytes::from_static(b"v=0 more")) }]);
    let ok = peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) }).remove(0);
    assert_eq!((ok.cseq().unwrap().method, ok.body().as_ref()), (Method::Prack, OFFER.as_bytes()));
    let (mut peer, call) = incoming(KNOWS, "v=0");
    let ringing = peer.command(ring(call, None)).remove(0);
    let mut remote = Remote::caller(&ringing);
    assert_eq!(peer.status(&prack(&mut remote, &ringing, "v=0 too early")), 488);
}

#[test]
fn a_prack_that_names_nothing_is_refused() {
    let (mut peer, call) = incoming(KNOWS, "v=0");
    let ringing = peer.command(ring(call, None)).remove(0);
    let mut remote = Remote::caller(&ringing);
    let next = format!("{} 1 INVITE", rseq(&ringing) + 1);
    for (rack, wanted) in [("", 400), ("x", 400), ("1 1", 400), ("1 1 invite", 400), (next.as_str(), 481)] {
        assert_eq!(peer.status(&remote.request("PRACK", &[("RAck", rack)], "")), wanted, "{rack}");
    }
    assert_eq!(peer.status(&prack(&mut remote, &ringing, "")), 200);
}

#[test]
fn an_update_while_it_rings_needs_media_to_be_agreed() {
    let (mut peer, call) = incoming(KNOWS, "v=0");
    let early = peer.command(ring(call, Some("v=0 early"))).remove(0);
    let mut remote = Remote::caller(&early);
    let busy = peer.send(&remote.request("UPDATE", &[], "v=0 new")).remove(0);
    assert_eq!((busy.status(), busy.has(HeaderName::RetryAfter)), (Some(500), true));
    assert_eq!(peer.status(&prack(&mut remote, &early, "")), 200);
    assert!(peer.send(&remote.request("UPDATE", &[], "v=0 new")).is_empty());
    peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) });
    let ours = peer.command(Command::Update { call, sdp: Some(sdp()) }).remove(0);
    assert_eq!(ours.method(), Some(&Method::Update));
    assert_eq!(peer.status(&remote.request("UPDATE", &[], "v=0 newer")), 491);
}

fn reliably(invite: &Message, tag: &str, rseq: u32, sdp: &str) -> String {
    let fields = format!("Require: 100rel\r\nRSeq: {rseq}\r\nContact: <sip:{tag}@10.0.0.1:5070>\r\n");
    if sdp.is_empty() {
        response(invite, "180 Ringing", tag, &fields)
    } else {
        described(invite, "183 Session Progress", tag, &fields, sdp)
    }
}

#[test]
fn we_acknowledge_what_comes_in_order_and_only_once() {
    let mut peer = Peer::new();
    let invite = peer.place();
    let number = invite.cseq().unwrap().number;
    let prack = peer.send(&reliably(&invite, "t", 5, "")).remove(0);
    assert_eq!(prack.method(), Some(&Method::Prack));
    assert_eq!(prack.text(HeaderName::RAck).unwrap(), format!("5 {number} INVITE"));
    assert_eq!(prack.cseq().unwrap().number, number + 1);
    assert!(peer.send(&reliably(&invite, "t", 5, "")).is_empty(), "a repetition");
    assert!(peer.send(&reliably(&invite, "t", 7, "v=0")).is_empty(), "before its turn");
    let prack = peer.send(&reliably(&invite, "t", 6, "v=0 early")).remove(0);
    assert_eq!(prack.text(HeaderName::RAck).unwrap(), format!("6 {number} INVITE"));
    assert_eq!(peer.events.len(), 2);
}

#[test]
fn every_early_dialog_counts_for_itself() {
    let mut peer = Peer::new();
    let invite = peer.place();
    let first = peer.send(&reliably(&invite, "a", 5, "v=0 a")).remove(0);
    let second = peer.send(&reliably(&invite, "b", 900, "v=0 b")).remove(0);
    assert!(first.text(HeaderName::To).unwrap().ends_with("tag=a"));
    assert_eq!(second.request_uri().unwrap().as_str(), "sip:b@10.0.0.1:5070");
    let seen: Vec<_> = peer.events.iter().map(|event| matches!(event, Event::Progress { early: 1 | 2, .. })).collect();
    assert_eq!(seen, [true, true]);
    assert_eq!(peer.endpoint.dialogs(), 2);
    peer.send(&accepted(&invite, "b", "Contact: <sip:b@10.0.0.1:5070>\r\n"));
    assert_eq!(peer.endpoint.dialogs(), 1);
    let Some(Event::Answered { remote, .. }) = peer.events.last() else { panic!() };
    assert_eq!(remote.early, 2);
    let bye = peer.command(Command::Bye { call: call(1), reason: None }).remove(0);
    assert!(bye.cseq().unwrap().number > second.cseq().unwrap().number, "numbers go on");
}

#[test]
fn a_callee_may_update_while_it_rings() {
    let mut peer = Peer::new();
    let invite = peer.place();
    peer.send(&response(&invite, "180 Ringing", "t", ""));
    let mut remote = Remote::callee(&invite, "t");
    assert_eq!(peer.status(&remote.request("UPDATE", &[], "v=0")), 491, "our offer is not answered");
    peer.send(&reliably(&invite, "t", 1, "v=0 early"));
    assert!(peer.send(&remote.request("UPDATE", &[], "v=0 new")).is_empty());
    let ok = peer.command(Command::AnswerReinvite { call: call(1), answer: Ok(sdp()) }).remove(0);
    assert_eq!(ok.cseq().unwrap().method, Method::Update);
    let ours = peer.command(Command::Update { call: call(1), sdp: Some(sdp()) }).remove(0);
    assert!(ours.text(HeaderName::To).unwrap().ends_with("tag=t"));
    peer.send(&accepted(&ours, "t", ""));
    assert!(matches!(peer.events.last(), Some(Event::ReinviteAnswered { answer: Ok(Some(_)), .. })));
}

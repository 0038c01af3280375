//! Offers and answers wherever they stand: in INVITE, 200, ACK, re-INVITE and UPDATE; and offers that cross
//! (RFC 3261 section 13.2.1 and 14, RFC 3311, RFC 6337).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use bytes::Bytes;
use offhook_sip::message::{HeaderName, Message, Method};
use offhook_sip::{CallHandle, Command, EndCause, Event, Input};
use support::peer::{Peer, Remote, accepted, described, request, response};
use support::*;

const CONTACT: &str = "Contact: <sip:x@10.0.0.1:5070>\r\nAllow: INVITE, ACK, BYE, UPDATE\r\n";

/// A call that came in and was answered.
fn taken(offer: &str) -> (Peer, Remote, CallHandle, Message) {
    let mut peer = Peer::new();
    assert_eq!(peer.status(&request("INVITE", &[("Allow", "INVITE, UPDATE")], offer)), 100);
    let Event::Incoming { call, .. } = &peer.events[0] else { panic!() };
    let call = *call;
    let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
    let remote = Remote::caller(&ok);
    (peer, remote, call, ok)
}

/// The same, acknowledged.
fn talking() -> (Peer, Remote, CallHandle) {
    let (mut peer, remote, call, _) = taken("v=0");
    peer.send(&remote.ack(1, ""));
    peer.events.clear();
    (peer, remote, call)
}

fn text(message: &Message) -> &[u8] {
    message.body()
}

fn ended(peer: &Peer) -> Option<EndCause> {
    peer.events.iter().find_map(|event| match event {
        Event::Ended { cause, .. } => Some(*cause),
        _ => None,
    })
}

fn answered(call: CallHandle, answer: Result<Option<&'static str>, u16>) -> Event {
    Event::ReinviteAnswered { call, answer: answer.map(|sdp| sdp.map(|sdp| Bytes::from_static(sdp.as_bytes()))) }
}

#[test]
fn an_ack_without_the_answer_it_owes_ends_the_call_and_says_why() {
    let (mut peer, remote, _, ok) = taken("");
    assert_eq!(text(&ok), OFFER.as_bytes());
    let bye = peer.send(&remote.ack(1, "")).remove(0);
    assert_eq!(bye.method(), Some(&Method::Bye));
    assert!(bye.text(HeaderName::Reason).unwrap().starts_with("SIP;cause=488"));
    assert_eq!(ended(&peer), Some(EndCause::NoSdp));
    assert!(!peer.events.iter().any(|event| matches!(event, Event::Confirmed { .. })));
}

#[test]
fn an_ack_that_answers_nothing_is_not_read() {
    let (mut peer, remote, call, _) = taken("v=0");
    peer.send(&remote.ack(1, "v=0 surprise"));
    assert_eq!(peer.events.last(), Some(&Event::Confirmed { call, sdp: None }));
}

#[test]
fn a_reinvite_without_offer_gets_ours_and_its_ack_brings_the_answer() {
    let (mut peer, mut remote, call) = talking();
    assert_eq!(peer.status(&remote.request("INVITE", &[], "")), 100);
    assert_eq!(peer.events, [Event::Reinvite { call, offer: None }]);
    let ok = peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) }).remove(0);
    assert_eq!(text(&ok), OFFER.as_bytes());
    assert_eq!(peer.status(&remote.request("UPDATE", &[], "v=0 now")), 491, "ours is not answered yet");
    peer.send(&remote.ack(2, "v=0 answer"));
    assert_eq!(peer.events[1..], [answered(call, Ok(Some("v=0 answer")))]);
    assert_eq!(peer.status(&remote.request("INVITE", &[], "")), 100);
    peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) });
    peer.send(&remote.ack(4, ""));
    assert_eq!(ended(&peer), Some(EndCause::NoSdp));
}

#[test]
fn a_call_placed_without_an_offer_answers_in_its_ack() {
    let mut peer = Peer::new();
    let invite = peer.place_with(1, |invite| invite.sdp = Bytes::new());
    assert!(invite.body().is_empty());
    assert!(!invite.tokens(HeaderName::Supported).any(|option| option == "100rel"));
    let ok = accepted(&invite, "t", CONTACT);
    assert!(peer.send(&ok).is_empty(), "the answer is the application's");
    assert!(matches!(&peer.events[..], [Event::Answered { sdp: Some(_), .. }]));
    assert!(peer.send(&ok).is_empty());
    let ack = peer.command(Command::Acknowledge { call: call(1), sdp: Bytes::from_static(b"v=0 mine") }).remove(0);
    assert_eq!((ack.method(), text(&ack)), (Some(&Method::Ack), b"v=0 mine".as_slice()));
    assert_eq!(peer.send(&ok).remove(0).as_bytes(), ack.as_bytes(), "the same ACK again");
    assert!(peer.command(Command::Acknowledge { call: call(1), sdp: sdp() }).is_empty());
}

#[test]
fn an_offer_in_200_that_the_application_leaves_ends_the_call() {
    for hang_up in [false, true] {
        let mut peer = Peer::new();
        let invite = peer.place_with(1, |invite| invite.sdp = Bytes::new());
        peer.send(&accepted(&invite, "t", CONTACT));
        let sent = if hang_up {
            peer.command(Command::Bye { call: call(1), reason: None })
        } else {
            peer.now = ms(16_000);
            peer.feed(Input::Timeout)
        };
        let methods: Vec<_> = sent.iter().map(|sent| sent.method().cloned().unwrap()).collect();
        assert_eq!(methods, [Method::Ack, Method::Bye]);
        assert_eq!(ended(&peer), Some(if hang_up { EndCause::LocalBye } else { EndCause::NoSdp }));
    }
}

#[test]
fn a_200_that_describes_nothing_is_acknowledged_and_ended() {
    for offer in [sdp(), Bytes::new()] {
        let mut peer = Peer::new();
        let invite = peer.place_with(1, |invite| invite.sdp = offer.clone());
        let sent = peer.send(&response(&invite, "200 OK", "t", CONTACT));
        let methods: Vec<_> = sent.iter().map(|sent| sent.method().cloned().unwrap()).collect();
        assert_eq!(methods, [Method::Ack, Method::Bye]);
        assert!(sent[1].text(HeaderName::Reason).unwrap().contains("no session description in 200"));
        assert_eq!((peer.events.len(), ended(&peer)), (1, Some(EndCause::NoSdp)));
    }
}

#[test]
fn what_rang_with_media_may_answer_without_saying_it_again() {
    let mut peer = Peer::new();
    let invite = peer.place();
    peer.send(&described(&invite, "183 Session Progress", "a", "", "v=0 a"));
    peer.send(&described(&invite, "183 Session Progress", "b", "", "v=0 b"));
    peer.send(&response(&invite, "200 OK", "a", CONTACT));
    let Some(Event::Answered { sdp, remote, .. }) = peer.events.last() else { panic!("{:?}", peer.events) };
    assert_eq!((sdp.as_deref(), remote.early), (Some(b"v=0 a".as_slice()), 1));
}

#[test]
fn our_reinvite_may_ask_for_their_offer() {
    let (mut peer, _, call) = talking();
    let invite = peer.command(Command::Reinvite { call, sdp: Bytes::new() }).remove(0);
    assert!(invite.body().is_empty());
    assert!(peer.send(&described(&invite, "200 OK", "", CONTACT, "v=0 theirs")).is_empty());
    assert_eq!(peer.events, [answered(call, Ok(Some("v=0 theirs")))]);
    let ack = peer.command(Command::Acknowledge { call, sdp: sdp() }).remove(0);
    assert_eq!(text(&ack), OFFER.as_bytes());
}

#[test]
fn update_offers_and_refreshes() {
    let (mut peer, _, call) = talking();
    let update = peer.command(Command::Update { call, sdp: Some(sdp()) }).remove(0);
    assert_eq!((update.method(), text(&update)), (Some(&Method::Update), OFFER.as_bytes()));
    assert!(update.has(HeaderName::Contact));
    assert!(peer.send(&described(&update, "200 OK", "", "Contact: <sip:new@10.0.0.1:5099>\r\n", "v=0 yes")).is_empty());
    assert_eq!(peer.events, [answered(call, Ok(Some("v=0 yes")))]);
    let refresh = peer.command(Command::Update { call, sdp: None }).remove(0);
    assert!(refresh.body().is_empty());
    assert_eq!(refresh.request_uri().unwrap().as_str(), "sip:new@10.0.0.1:5099", "the target was refreshed");
    peer.send(&response(&refresh, "200 OK", "", CONTACT));
    assert_eq!(peer.events[1..], [answered(call, Ok(None))]);
}

#[test]
fn offers_of_theirs_at_a_wrong_time_are_refused_as_the_rfc_says() {
    let (mut peer, mut remote, call) = talking();
    let ours = peer.command(Command::Update { call, sdp: Some(sdp()) }).remove(0);
    assert_eq!(peer.status(&remote.request("UPDATE", &[], "v=0")), 491);
    assert_eq!(peer.status(&remote.request("INVITE", &[], "v=0")), 491);
    assert_eq!(peer.status(&remote.request("UPDATE", &[], "")), 200, "nothing is offered");
    peer.send(&accepted(&ours, "", CONTACT));
    assert!(peer.send(&remote.request("UPDATE", &[], "v=0")).is_empty());
    let busy = peer.send(&remote.request("UPDATE", &[], "v=0")).remove(0);
    assert_eq!((busy.status(), busy.has(HeaderName::RetryAfter)), (Some(500), true));
}

#[test]
fn offers_of_ours_at_a_wrong_time_are_not_sent() {
    let (mut peer, mut remote, call) = talking();
    peer.send(&remote.request("UPDATE", &[], "v=0"));
    assert!(peer.command(Command::Reinvite { call, sdp: sdp() }).is_empty());
    assert!(peer.command(Command::Update { call, sdp: Some(sdp()) }).is_empty());
    assert_eq!(peer.events[1..], [answered(call, Err(491)), answered(call, Err(491))]);
    let mut peer = Peer::new();
    peer.place();
    assert!(peer.command(Command::Update { call: support::call(1), sdp: Some(sdp()) }).is_empty());
}

/// How long an offer of ours waits after 491, and who waits longer.
#[test]
fn after_a_crossing_the_maker_of_the_call_id_waits_longer() {
    for round in 0..20 {
        let (mut peer, _, call) = talking();
        for _ in 0..round {
            peer.command(Command::Info { call, content_type: "x/y".into(), body: sdp() });
        }
        let ours = peer.command(Command::Reinvite { call, sdp: sdp() }).remove(0);
        peer.send(&response(&ours, "491 Request Pending", "", ""));
        let wait = next_invite(&mut peer);
        assert!(wait <= 2000 && wait.is_multiple_of(10), "{wait}");
        let mut peer = Peer::new();
        let invite = peer.place();
        peer.send(&accepted(&invite, "t", CONTACT));
        let ours = peer.command(Command::Reinvite { call: support::call(1), sdp: sdp() }).remove(0);
        peer.send(&response(&ours, "491 Request Pending", "", ""));
        let wait = next_invite(&mut peer);
        assert!((2100..=4000).contains(&wait) && wait.is_multiple_of(10), "{wait}");
    }
}

/// Lets the time run until the endpoint sends an INVITE.
fn next_invite(peer: &mut Peer) -> u64 {
    loop {
        peer.now = peer.endpoint.poll_timeout().expect("something waits");
        if peer.feed(Input::Timeout).iter().any(|sent| sent.method() == Some(&Method::Invite)) {
            return u64::try_from(peer.now.as_millis()).unwrap();
        }
    }
}

#[test]
fn a_busy_peer_is_asked_again_when_it_says() {
    let (mut peer, _, call) = talking();
    let ours = peer.command(Command::Reinvite { call, sdp: sdp() }).remove(0);
    peer.send(&response(&ours, "500 Server Internal Error", "", "Retry-After: 3\r\n"));
    let wait = next_invite(&mut peer);
    assert!((3000..3200).contains(&wait), "{wait}");
    assert!(peer.events.is_empty());
}

#[test]
fn offers_that_always_meet_are_given_up() {
    let (mut peer, _, call) = talking();
    let mut ours = peer.command(Command::Reinvite { call, sdp: sdp() }).remove(0);
    for _ in 0..7 {
        peer.send(&response(&ours, "491 Request Pending", "", ""));
        ours = loop {
            peer.now = peer.endpoint.poll_timeout().unwrap();
            let mut sent = peer.feed(Input::Timeout).into_iter();
            if let Some(invite) = sent.find(|sent| sent.method() == Some(&Method::Invite)) {
                break invite;
            }
        };
        assert!(peer.events.is_empty());
    }
    peer.send(&response(&ours, "491 Request Pending", "", ""));
    assert_eq!(peer.events, [answered(call, Err(491))]);
}

#[test]
fn an_offer_of_theirs_that_the_application_leaves_is_refused_in_time() {
    for (method, limit) in [("INVITE", 32_000), ("UPDATE", 16_000)] {
        let (mut peer, mut remote, call) = talking();
        peer.send(&remote.request(method, &[], "v=0"));
        peer.now = ms(limit - 1);
        assert!(peer.feed(Input::Timeout).is_empty());
        peer.now = ms(limit);
        let refused = peer.feed(Input::Timeout).remove(0);
        assert_eq!((refused.status(), refused.has(HeaderName::RetryAfter)), (Some(500), true), "{method}");
        assert!(peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) }).is_empty(), "too late");
    }
}

#[test]
fn a_refused_offer_changes_nothing_but_481_ends_the_call() {
    let (mut peer, _, call) = talking();
    let ours = peer.command(Command::Update { call, sdp: Some(sdp()) }).remove(0);
    peer.send(&response(&ours, "488 Not Acceptable Here", "", ""));
    assert_eq!(peer.events, [answered(call, Err(488))]);
    let ours = peer.command(Command::Reinvite { call, sdp: sdp() }).remove(0);
    peer.send(&response(&ours, "481 Gone", "", ""));
    assert_eq!(ended(&peer), Some(EndCause::Forgotten));
}

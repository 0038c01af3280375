//! Transfers by REFER both ways, and calls that take the place of others (RFC 3515, 3891, 4488, 5589).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::message::{HeaderName, Message, Method, UriBuf};
use offhook_sip::{CallHandle, Command, EndCause, Event, Input, Moment, Replaces};
use support::peer::{Peer, accepted, request, response};
use support::*;

fn refer(call: CallHandle) -> Command {
    Command::Refer { call, to: UriBuf::parse("sip:desk@10.0.0.9").unwrap(), replaces: None, referred_by: None }
}

/// An answered call placed by us, the INVITE and a NOTIFY template within it.
struct Talk {
    peer: Peer,
    invite: Message,
    cseq: u32,
}

impl Talk {
    fn new() -> Self {
        let mut peer = Peer::new();
        let invite = peer.place();
        peer.send(&answer(&invite));
        Self { peer, invite, cseq: 0 }
    }

    /// Sends our REFER and takes it with this status.
    fn refer(&mut self, status: &str, extra: &str) -> Message {
        let refer = self.peer.command(refer(call(1))).remove(0);
        assert_eq!(refer.method(), Some(&Method::Refer));
        self.peer.send(&response(&refer, status, "t", extra));
        refer
    }

    fn within(&mut self, method: &str, fields: &[(&str, &str)], body: &str) -> String {
        self.cseq += 1;
        let from = self.invite.text(HeaderName::From).unwrap().into_owned();
        let call_id = self.invite.text(HeaderName::CallId).unwrap().into_owned();
        let (cseq, via) =
            (format!("{} {method}", self.cseq), format!("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-n{}", self.cseq));
        let mut all = vec![
            ("From", "<sip:1000@10.0.0.1>;tag=t"),
            ("To", from.as_str()),
            ("Call-ID", call_id.as_str()),
            ("CSeq", cseq.as_str()),
            ("Via", via.as_str()),
        ];
        all.extend_from_slice(fields);
        request(method, &all, body)
    }

    fn notify(&mut self, state: &str, fragment: &str) -> u16 {
        let fields =
            [("Event", "refer"), ("Subscription-State", state), ("Content-Type", "message/sipfrag;version=2.0")];
        let text = self.within("NOTIFY", &fields, fragment);
        self.peer.status(&text)
    }

    fn told(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.peer.events)
    }
}

fn answer(invite: &Message) -> String {
    accepted(invite, "t", "Contact: <sip:x@10.0.0.1:5070>\r\n")
}

fn progress(status: u16, done: bool) -> Event {
    Event::ReferProgress { call: call(1), status, done }
}

#[test]
fn a_blind_transfer_is_followed_to_its_outcome() {
    let mut talk = Talk::new();
    talk.told();
    let refer = talk.refer("202 Accepted", "");
    assert_eq!(refer.text(HeaderName::ReferTo).unwrap(), "<sip:desk@10.0.0.9>");
    assert!(refer.has(HeaderName::Contact));
    assert_eq!(talk.notify("active;expires=60", "SIP/2.0 100 Trying\r\n"), 200);
    assert_eq!(talk.notify("active;expires=60", "SIP/2.0 180 Ringing\r\n"), 200);
    assert_eq!(talk.notify("terminated;reason=noresource", "SIP/2.0 200 OK\r\n"), 200);
    assert_eq!(talk.told(), [progress(100, false), progress(180, false), progress(200, true)]);
    assert_eq!(talk.notify("terminated", "SIP/2.0 200 OK\r\n"), 481, "the subscription is over");
    assert_eq!(talk.peer.endpoint.calls(), 1, "the application hangs up, nobody else");
}

#[test]
fn a_notify_may_overtake_the_202_and_an_outcome_counts_once() {
    let mut talk = Talk::new();
    talk.told();
    let asked = talk.peer.command(refer(call(1))).remove(0);
    assert_eq!(talk.notify("active", "SIP/2.0 486 Busy Here\r\n"), 200);
    talk.peer.send(&response(&asked, "202 Accepted", "t", ""));
    assert_eq!(talk.notify("terminated", "SIP/2.0 486 Busy Here\r\n"), 200);
    assert_eq!(talk.told(), [progress(486, true)]);
    assert_eq!(talk.peer.endpoint.calls(), 1);
}

#[test]
fn a_refused_transfer_says_with_what() {
    for (status, wanted) in [("603 Decline", 603), ("405 Method Not Allowed", 405), ("302 Elsewhere", 302)] {
        let mut talk = Talk::new();
        talk.told();
        talk.refer(status, "");
        assert_eq!(talk.told(), [Event::ReferRefused { call: call(1), status: wanted }]);
        assert_eq!(talk.peer.command(refer(call(1))).len(), 1, "it can be tried again");
    }
    let mut talk = Talk::new();
    talk.told();
    talk.refer("481 Gone", "");
    assert!(matches!(talk.told()[..], [Event::ReferRefused { .. }, Event::Ended { cause: EndCause::Forgotten, .. }]));
}

#[test]
fn a_transfer_without_news_ends_by_the_clock() {
    let mut talk = Talk::new();
    talk.told();
    talk.refer("202 Accepted", "");
    talk.peer.now = ms(31_999);
    talk.peer.feed(Input::Timeout);
    assert_eq!(talk.told(), []);
    talk.peer.now = ms(32_000);
    talk.peer.feed(Input::Timeout);
    assert_eq!(talk.told(), [progress(408, true)]);
    talk.refer("202 Accepted", "");
    assert_eq!(talk.notify("active;expires=20", "SIP/2.0 180 Ringing\r\n"), 200);
    talk.peer.now = ms(52_000);
    talk.peer.feed(Input::Timeout);
    assert_eq!(talk.told(), [progress(180, false), progress(180, true)]);
}

#[test]
fn a_peer_may_accept_without_notifying() {
    let mut talk = Talk::new();
    talk.told();
    talk.refer("200 OK", "Refer-Sub: false\r\n");
    assert_eq!(talk.told(), [progress(200, true)]);
}

#[test]
fn one_transfer_at_a_time_and_only_of_answered_calls() {
    let mut talk = Talk::new();
    talk.told();
    talk.refer("202 Accepted", "");
    assert!(talk.peer.command(refer(call(1))).is_empty());
    assert_eq!(talk.told(), [Event::ReferRefused { call: call(1), status: 491 }]);
    let mut peer = Peer::new();
    peer.place();
    assert!(peer.command(refer(call(1))).is_empty());
    assert_eq!(peer.events, [Event::ReferRefused { call: call(1), status: 481 }]);
}

#[test]
fn a_notify_that_belongs_to_nothing_is_refused() {
    let fragment = "SIP/2.0 200 OK\r\n";
    let kind = ("Content-Type", "message/sipfrag");
    let state = ("Subscription-State", "active");
    let mut talk = Talk::new();
    let text = talk.within("NOTIFY", &[("Event", "refer"), state, kind], fragment);
    assert_eq!(talk.peer.status(&text), 481, "we asked for nothing");
    talk.refer("202 Accepted", "");
    for (fields, body, wanted) in [
        (vec![("Event", "presence"), state, kind], fragment, 489),
        (vec![state, kind], fragment, 489),
        (vec![("Event", "refer;id=99999999"), state, kind], fragment, 481),
        (vec![("Event", "refer"), kind], fragment, 400),
        (vec![("Event", "refer"), ("Subscription-State", ";"), kind], fragment, 400),
        (vec![("Event", "refer"), state, ("Content-Type", "text/plain")], fragment, 415),
        (vec![("Event", "refer"), state, kind], "hello", 400),
        (vec![("Event", "refer"), state], "", 200),
    ] {
        let text = talk.within("NOTIFY", &fields, body);
        assert_eq!(talk.peer.status(&text), wanted, "{fields:?}");
    }
}

#[test]
fn an_attended_transfer_names_the_other_call_as_its_far_end_knows_it() {
    let mut talk = Talk::new();
    let second = talk.peer.place_as(2);
    talk.peer.send(&answer(&second).replace("tag=t", "tag=far"));
    let to = UriBuf::parse("sip:x@10.0.0.1:5070").unwrap();
    let by = UriBuf::parse("sip:us@10.0.0.2").unwrap();
    let command = Command::Refer { call: call(1), to, replaces: Some(call(2)), referred_by: Some(by) };
    let refer = talk.peer.command(command).remove(0);
    assert_eq!(refer.text(HeaderName::ReferredBy).unwrap(), "<sip:us@10.0.0.2>");
    let target = refer.text(HeaderName::ReferTo).unwrap().into_owned();
    let (uri, value) = target.trim_matches(['<', '>']).split_once("?Replaces=").unwrap();
    assert_eq!(uri, "sip:x@10.0.0.1:5070");
    let (tag, id) = (second.essentials().unwrap().from.tag().unwrap().to_owned(), second.call_id().unwrap().to_owned());
    assert_eq!(value, format!("{id}%3Bto-tag%3Dfar%3Bfrom-tag%3D{tag}"));
    let gone = Command::Refer {
        call: call(2),
        to: UriBuf::parse("sip:x@10.0.0.1").unwrap(),
        replaces: Some(call(9)),
        referred_by: None,
    };
    assert!(talk.peer.command(gone).is_empty());
    assert_eq!(talk.told().last(), Some(&Event::ReferRefused { call: call(2), status: 481 }));
}

#[test]
fn a_stranger_who_sends_us_away_is_heard_and_refused() {
    let mut talk = Talk::new();
    talk.told();
    let to = "<sip:desk@10.0.0.9?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2&X=y>";
    let text = talk.within("REFER", &[("Refer-To", to), ("Referred-By", "<sip:boss@10.0.0.1>")], "");
    assert!(talk.peer.send(&text).is_empty(), "it is for the application to say");
    let [Event::Referred { to, replaces, referred_by, .. }] = &talk.told()[..] else { panic!() };
    assert_eq!(to.reveal().as_str(), "sip:desk@10.0.0.9");
    assert_eq!(*replaces, Some(Replaces::parse("a@b;to-tag=1;from-tag=2").unwrap()));
    assert_eq!(referred_by.as_ref().unwrap().reveal(), "<sip:boss@10.0.0.1>");
    let second = talk.within("REFER", &[("Refer-To", "<sip:a@b>")], "");
    assert_eq!(talk.peer.status(&second), 491);
    let refused = talk.peer.command(Command::AnswerRefer { call: call(1), answer: Err(403) }).remove(0);
    assert_eq!(refused.status(), Some(403));
    assert!(talk.peer.command(Command::NotifyRefer { call: call(1), status: 200 }).is_empty());
    let third = talk.within("REFER", &[("Refer-To", "<sip:a@b>")], "");
    talk.peer.send(&third);
    talk.peer.now = Moment::from_secs(16);
    let late = talk.peer.feed(Input::Timeout);
    assert_eq!(late.iter().filter_map(Message::status).collect::<Vec<_>>(), [603], "an application that is silent");
}

#[test]
fn a_refer_that_asks_for_nonsense_never_reaches_the_application() {
    let mut talk = Talk::new();
    talk.told();
    for (fields, wanted) in [
        (vec![], 400),
        (vec![("Refer-To", "<sip:a@b>, <sip:c@d>")], 400),
        (vec![("Refer-To", "nobody")], 400),
        (vec![("Refer-To", "<http://x>")], 416),
        (vec![("Refer-To", "<sip:a@b;method=BYE>")], 403),
        (vec![("Refer-To", "<sip:a@b?Replaces=x>")], 400),
    ] {
        let text = talk.within("REFER", &fields, "");
        assert_eq!(talk.peer.status(&text), wanted, "{fields:?}");
    }
    assert_eq!(talk.told(), []);
}

#[test]
fn a_transfer_that_we_take_is_reported_to_its_end() {
    let mut talk = Talk::new();
    let text = talk.within("REFER", &[("Refer-To", "<sip:a@b>")], "");
    talk.peer.send(&text);
    let sent = talk.peer.command(Command::AnswerRefer { call: call(1), answer: Ok(()) });
    assert_eq!(sent[0].status(), Some(202));
    let said = |notify: &Message| {
        (
            notify.text(HeaderName::SubscriptionState).unwrap().into_owned(),
            String::from_utf8(notify.body().to_vec()).unwrap(),
        )
    };
    assert_eq!(sent[1].text(HeaderName::Event).unwrap(), format!("refer;id={}", talk.cseq));
    assert_eq!(said(&sent[1]), ("active;expires=185".into(), "SIP/2.0 100 Trying\r\n".into()));
    let done = talk.peer.command(Command::NotifyRefer { call: call(1), status: 200 }).remove(0);
    assert_eq!(said(&done), ("terminated;reason=noresource".into(), "SIP/2.0 200 OK\r\n".into()));
    assert!(talk.peer.command(Command::NotifyRefer { call: call(1), status: 200 }).is_empty(), "it was the last");
}

#[test]
fn who_asks_for_no_notifications_gets_none() {
    let mut talk = Talk::new();
    let text = talk.within("REFER", &[("Refer-To", "<sip:a@b>"), ("Refer-Sub", "false")], "");
    talk.peer.send(&text);
    let sent = talk.peer.command(Command::AnswerRefer { call: call(1), answer: Ok(()) });
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].text(HeaderName::ReferSub).unwrap(), "false");
}

#[test]
fn a_notify_that_is_refused_ends_its_own_transfer_only() {
    let mut talk = Talk::new();
    let text = talk.within("REFER", &[("Refer-To", "<sip:a@b>")], "");
    talk.peer.send(&text);
    let sent = talk.peer.command(Command::AnswerRefer { call: call(1), answer: Ok(()) });
    let done = talk.peer.command(Command::NotifyRefer { call: call(1), status: 200 });
    let text = talk.within("REFER", &[("Refer-To", "<sip:c@d>")], "");
    assert!(talk.peer.send(&text).is_empty());
    for notify in [&sent[1], &done[0]] {
        talk.peer.send(&response(notify, "481 Gone", "t", ""));
    }
    let refused = talk.peer.command(Command::AnswerRefer { call: call(1), answer: Err(603) });
    assert_eq!(refused[0].status(), Some(603));
}

#[test]
fn a_transfer_we_took_and_forgot_is_ended_by_the_clock() {
    let mut talk = Talk::new();
    let text = talk.within("REFER", &[("Refer-To", "<sip:a@b>")], "");
    talk.peer.send(&text);
    let sent = talk.peer.command(Command::AnswerRefer { call: call(1), answer: Ok(()) });
    talk.peer.send(&response(&sent[1], "200 OK", "t", ""));
    talk.peer.now = Moment::from_secs(200);
    let sent = talk.peer.feed(Input::Timeout);
    let notify = sent.iter().find(|sent| sent.method() == Some(&Method::Notify)).unwrap();
    assert_eq!(notify.text(HeaderName::SubscriptionState).unwrap(), "terminated;reason=timeout");
}

/// A call answered by us and what a Replaces value says of it.
fn answered() -> (Peer, CallHandle, String) {
    let mut peer = Peer::new();
    assert_eq!(peer.status(&request("INVITE", &[], "v=0")), 100);
    let Event::Incoming { call, .. } = &peer.events[0] else { panic!() };
    let call = *call;
    let ok = peer.command(Command::Answer { call, sdp: sdp() });
    let to = ok[0].text(HeaderName::To).unwrap().into_owned();
    peer.send(&request("ACK", &[("To", &to)], ""));
    let tag = ok[0].essentials().unwrap().to.tag().unwrap().to_owned();
    (peer, call, format!("one@10.0.0.1;to-tag={tag};from-tag=a1"))
}

fn taking_over(replaces: &str) -> String {
    let via = "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-over";
    request("INVITE", &[("Call-ID", "over"), ("Via", via), ("Replaces", replaces)], "v=0")
}

#[test]
fn a_call_takes_the_place_of_another() {
    let (mut peer, old, value) = answered();
    assert_eq!(peer.status(&taking_over(&value)), 100);
    let Some(Event::Incoming { call, invite, .. }) = peer.events.last().cloned() else { panic!() };
    assert_eq!(invite.replaces, Some(old));
    let sent = peer.command(Command::Answer { call, sdp: sdp() });
    assert_eq!((sent[0].status(), sent[1].method()), (Some(200), Some(&Method::Bye)));
    assert_eq!(sent[1].call_id().unwrap(), "one@10.0.0.1");
    let ended = Event::Ended { call: old, cause: EndCause::Replaced, reason: None, refused: None };
    assert_eq!(peer.events.last(), Some(&ended));
}

#[test]
fn a_refused_replacement_leaves_the_old_call_alone() {
    let (mut peer, _, value) = answered();
    peer.status(&taking_over(&value));
    let Some(Event::Incoming { call, .. }) = peer.events.last().cloned() else { panic!() };
    let sent = peer.command(Command::Reject { call, status: 603, headers: Vec::new() });
    assert_eq!(sent.len(), 1);
    assert_eq!(peer.endpoint.calls(), 1);
}

#[test]
fn replacements_are_screened_as_the_rfc_says() {
    let (mut peer, call, value) = answered();
    assert_eq!(peer.status(&taking_over("no@where;to-tag=1;from-tag=2")), 481);
    assert_eq!(peer.status(&taking_over("nonsense")), 400);
    assert_eq!(peer.status(&taking_over(&format!("{value};early-only"))), 486);
    let twice = taking_over(&value).replace("Replaces:", "Replaces: x;to-tag=1;from-tag=2\r\nReplaces:");
    assert_eq!(peer.status(&twice), 400);
    let join = taking_over(&value).replace("Replaces:", "Join: x;to-tag=1;from-tag=2\r\nReplaces:");
    assert_eq!(peer.status(&join), 400);
    assert_eq!(peer.status(&request("OPTIONS", &[("Replaces", &value), ("Call-ID", "o")], "")), 400);
    peer.command(Command::Bye { call, reason: None });
    assert_eq!(peer.status(&taking_over(&value)), 603, "it is over");
    let mut peer = Peer::new();
    peer.status(&request("INVITE", &[], "v=0"));
    let Event::Incoming { call, .. } = &peer.events[0] else { panic!() };
    let ring = peer.command(Command::Ring { call: *call, early_sdp: None, reliable: false }).remove(0);
    let tag = ring.essentials().unwrap().to.tag().unwrap().to_owned();
    assert_eq!(peer.status(&taking_over(&format!("one@10.0.0.1;to-tag={tag};from-tag=a1"))), 481, "it rings here");
}

#[test]
fn a_call_that_we_place_can_be_picked_up_while_it_rings() {
    let mut peer = Peer::new();
    let invite = peer.place();
    peer.send(&response(&invite, "180 Ringing", "t", ""));
    let tag = invite.essentials().unwrap().from.tag().unwrap().to_owned();
    let value = format!("{};to-tag={tag};from-tag=t;early-only", invite.call_id().unwrap());
    assert_eq!(peer.status(&taking_over(&value)), 100);
    let Some(Event::Incoming { call: new, invite, .. }) = peer.events.last().cloned() else { panic!() };
    assert_eq!(invite.replaces, Some(call(1)));
    let sent = peer.command(Command::Answer { call: new, sdp: sdp() });
    assert_eq!(sent[1].method(), Some(&Method::Cancel));
    assert!(matches!(peer.events.last(), Some(Event::Ended { cause: EndCause::Replaced, .. })));
}

#[test]
fn an_invite_that_replaces_says_so() {
    let mut peer = Peer::new();
    let replaces = Some(Replaces::parse("a@b;to-tag=1;from-tag=2").unwrap());
    let invite = peer.place_with(1, |invite| invite.replaces = replaces.clone());
    assert_eq!(invite.text(HeaderName::Replaces).unwrap(), "a@b;to-tag=1;from-tag=2");
    assert_eq!(invite.text(HeaderName::Require).unwrap(), "replaces");
}

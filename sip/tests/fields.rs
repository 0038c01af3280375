//! Fields that only mean something within a call, with anything in them: every request is answered once, nothing of ours
//! is malformed, and afterwards nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::message::Method;
use offhook_sip::{CallHandle, Command, Event, Input, Moment};
use proptest::prelude::*;
use support::peer::{Peer, Remote, accepted, request, response};
use support::{call, sdp};

const FIELDS: &[&str] = &[
    "Session-Expires",
    "Min-SE",
    "RAck",
    "RSeq",
    "Event",
    "Subscription-State",
    "Refer-To",
    "Refer-Sub",
    "Referred-By",
    "Replaces",
    "Require",
    "Supported",
    "Allow",
    "Retry-After",
    "Warning",
    "Reason",
    "Contact",
    "Content-Type",
    "P-Asserted-Identity",
    "RAck",
];

const METHODS: &[&str] = &["INVITE", "UPDATE", "PRACK", "REFER", "NOTIFY", "INFO", "OPTIONS", "BYE"];

/// Almost right values, and any text on one line.
fn value() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "90",
        "1800;refresher=uas",
        "4294967295;refresher=uac",
        "1 1 INVITE",
        "4294967295 4294967295 INVITE",
        "refer;id=1",
        "refer",
        "active;expires=0",
        "terminated;reason=noresource",
        "<sip:a@b?Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2>",
        "100rel, timer, replaces",
        "UPDATE, INVITE",
        "false",
        "message/sipfrag",
        "application/sdp",
        "0",
        "399 x \"y\"",
    ]);
    prop_oneof![known.prop_map(String::from), "[ -~]{0,40}", "[0-9]{1,12}(;[a-z]{1,9}(=[a-z0-9]{0,9})?){0,3}"]
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    prop::collection::vec((prop::sample::select(FIELDS), value()), 0..4)
}

fn body() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "v=0", "SIP/2.0 180 Ringing\r\n", "SIP/2.0 200 OK\r\n", "SIP/2.0 9999"])
}

fn borrowed<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Hangs up and lets all timers run out.
fn finish(mut peer: Peer, calls: &[CallHandle]) {
    for call in calls {
        peer.command(Command::Bye { call: *call, reason: None });
    }
    while let Some(at) = peer.endpoint.poll_timeout() {
        assert!(at < Moment::from_secs(100_000), "something never ends");
        peer.now = at;
        peer.feed(Input::Timeout);
    }
    let end = &peer.endpoint;
    assert_eq!((end.calls(), end.dialogs(), end.transactions(), end.timers()), (0, 0, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn requests_within_a_call(
        invite in fields(),
        early: bool,
        steps in prop::collection::vec((prop::sample::select(METHODS), fields(), body()), 1..5),
    ) {
        let mut peer = Peer::new();
        let sent = peer.send(&request("INVITE", &borrowed(&invite), "v=0"));
        prop_assert_eq!(sent.len(), 1);
        let Some(Event::Incoming { call, .. }) = peer.events.first().cloned() else { return Ok(()) };
        let ringing = peer.command(Command::Ring { call, early_sdp: Some(sdp()), reliable: true }).remove(0);
        let mut remote = Remote::caller(&ringing);
        if !early {
            peer.command(Command::Answer { call, sdp: sdp() });
            peer.send(&remote.ack(1, ""));
        }
        // A REFER of ours gives NOTIFYs something to belong to.
        let to = offhook_sip::message::UriBuf::parse("sip:a@b").unwrap();
        peer.command(Command::Refer { call, to, replaces: None, referred_by: None });
        for (method, fields, body) in &steps {
            let text = remote.request(method, &borrowed(fields), body);
            let answered = peer.send(&text).iter().filter(|sent| sent.status().is_some_and(|status| status > 100)).count();
            let waits = matches!(peer.events.last(), Some(Event::Reinvite { .. } | Event::Referred { .. }));
            prop_assert!(answered >= 1 || waits, "{method} {fields:?} was not answered");
            peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) });
            peer.send(&remote.ack(remote.cseq(), "v=0"));
            peer.command(Command::AnswerRefer { call, answer: Ok(()) });
            peer.command(Command::NotifyRefer { call, status: 200 });
        }
        finish(peer, &[call]);
    }

    #[test]
    fn answers_to_a_call(steps in prop::collection::vec((100_u16..700, any::<bool>(), fields(), body()), 1..6)) {
        let mut peer = Peer::new();
        let invite = peer.place();
        for (status, fork, fields, body) in &steps {
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let tag = if *fork { "f" } else { "t" };
            let text = response(&invite, &format!("{status} x"), tag, &format!("{lines}Content-Type: application/sdp\r\n"));
            peer.send(&format!("{text}{body}"));
        }
        peer.send(&accepted(&invite, "t", ""));
        // An offer of ours and whatever is said to it.
        for command in [Command::Reinvite { call: call(1), sdp: sdp() }, Command::Update { call: call(1), sdp: Some(sdp()) }] {
            let Some(offer) = peer.command(command).into_iter().next() else { continue };
            prop_assert!(matches!(offer.method(), Some(Method::Invite | Method::Update)));
            for (status, _, fields, body) in &steps {
                let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                peer.send(&format!("{}{body}", response(&offer, &format!("{status} x"), "", &lines)));
            }
        }
        let incoming = peer.events.iter().filter_map(|event| match event {
            Event::Incoming { call, .. } => Some(*call),
            _ => None,
        });
        let calls: Vec<CallHandle> = incoming.chain([call(1)]).collect();
        finish(peer, &calls);
    }
}

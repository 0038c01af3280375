//! What a user agent server says to single requests (RFC 3261 section 8.2), and to the order they come in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::message::{HeaderName, Message, Method};
use offhook_sip::{CallHandle, Command, EndCause, EndpointConfig, Event, Input, Moment, Transport};
use support::peer::{Peer, accepted, request, response};
use support::sdp;

fn incoming(peer: &Peer) -> CallHandle {
    match &peer.events[0] {
        Event::Incoming { call, .. } => *call,
        other => panic!("{other:?}"),
    }
}

/// A call set up by hand: the peer and the To value of the dialog.
fn established() -> (Peer, String) {
    let mut peer = Peer::new();
    assert_eq!(peer.status(&request("INVITE", &[], "v=0")), 100);
    let call = incoming(&peer);
    let ok = peer.command(Command::Answer { call, sdp: sdp() });
    let to = ok[0].text(HeaderName::To).unwrap().into_owned();
    assert!(peer.send(&request("ACK", &[("To", &to)], "")).is_empty());
    assert!(matches!(peer.events.last(), Some(Event::Confirmed { sdp: None, .. })));
    (peer, to)
}

fn within(method: &str, to: &str, cseq: u32, body: &str) -> String {
    let (cseq, via) =
        (format!("{cseq} {method}"), format!("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-{cseq}{method};rport"));
    request(method, &[("To", to), ("CSeq", &cseq), ("Via", &via)], body)
}

#[test]
fn options_tells_what_we_can_do_and_leaves_nothing_behind() {
    let mut peer = Peer::new();
    let answer = peer.send(&request("OPTIONS", &[], "")).remove(0);
    assert_eq!(answer.status(), Some(200));
    assert!(answer.tokens(HeaderName::Allow).any(|method| method == "INVITE"));
    assert!(answer.tokens(HeaderName::Accept).any(|media| media == "application/sdp"));
    assert!(answer.has(HeaderName::Supported));
    assert!(answer.essentials().unwrap().to.tag().is_some());
    let again = peer.send(&request("OPTIONS", &[], "")).remove(0);
    assert_eq!(answer.as_bytes(), again.as_bytes(), "a stateless answer is the same each time");
    assert_eq!((peer.endpoint.transactions(), peer.endpoint.poll_timeout()), (0, None));
}

#[test]
fn no_answer_repeats_more_hops_than_a_message_may_have() {
    let hop = "Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK-hop\r\n";
    for (vias, routes, readable, malformed) in [(100, 27, 1, 1), (127, 0, 1, 1), (128, 0, 0, 0), (64, 65, 1, 1)] {
        let routes = "Record-Route: <sip:10.0.0.9;lr>\r\n".repeat(routes);
        let whole =
            request("OPTIONS", &[], "").replacen("Max-Forwards", &(hop.repeat(vias) + &routes + "Max-Forwards"), 1);
        assert_eq!(Peer::new().send(&whole).len(), readable, "{vias} more hops");
        let broken = whole.replacen("sip:1000@10.0.0.2 SIP/2.0", "sip:1000@10.0.0.2 SIP", 1);
        assert_eq!(Peer::new().send(&broken).len(), malformed, "{vias} more hops, malformed");
    }
}

#[test]
fn requests_that_cannot_be_served_are_refused_by_name() {
    /// Method, changed fields, body, status.
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, u16);
    let cases: &[Case] = &[
        ("REGISTER", &[], "", 405),
        ("MESSAGE", &[], "", 405),
        ("SUBSCRIBE", &[], "", 405),
        ("REFER", &[], "", 403),
        ("PUBLISH", &[], "", 405),
        ("NOTIFY", &[], "", 481),
        ("PRACK", &[], "", 481),
        ("invite", &[], "", 501),
        ("DANCE", &[], "", 501),
        ("BYE", &[], "", 481),
        ("INFO", &[], "", 481),
        ("UPDATE", &[], "", 481),
        ("CANCEL", &[], "", 481),
        ("BYE", &[("To", "<sip:1000@10.0.0.2>;tag=unknown")], "", 481),
        ("INVITE", &[("To", "<sip:1000@10.0.0.2>;tag=unknown")], "", 481),
        ("OPTIONS", &[("To", "<sip:1000@10.0.0.2>;tag=unknown")], "", 481),
        ("INVITE", &[("uri", "foo:bar")], "", 416),
        ("INVITE", &[("Require", "precondition")], "", 420),
        ("INVITE", &[("Content-Type", "text/plain")], "hello", 415),
        ("INVITE", &[("Content-Encoding", "gzip")], "v=0", 415),
        ("INVITE", &[("Accept", "text/plain")], "v=0", 406),
        ("INVITE", &[("Contact", "")], "v=0", 400),
        ("INVITE", &[("Max-Forwards", "256")], "v=0", 400),
        ("INVITE", &[("Call-ID", "")], "v=0", 400),
        ("INVITE", &[("uri", "sip:a@b?Route=%3Csip:c%3E")], "v=0", 400),
        ("OPTIONS", &[("CSeq", "1 INVITE")], "", 400),
        ("OPTIONS", &[("CSeq", "4294967296 OPTIONS")], "", 400),
        ("OPTIONS", &[("From", "\"x <sip:a@b>;tag=1")], "", 400),
        ("OPTIONS", &[("Max-Forwards", "0")], "", 200),
    ];
    for (method, changes, body, wanted) in cases {
        let mut peer = Peer::new();
        let answers = peer.send(&request(method, changes, body));
        let [answer] = answers.as_slice() else { panic!("{method} {changes:?}: {} answers", answers.len()) };
        assert_eq!(answer.status(), Some(*wanted), "{method} {changes:?}");
        let explained = match wanted {
            405 | 501 => answer.has(HeaderName::Allow),
            415 => answer.has(HeaderName::Accept) || answer.has(HeaderName::AcceptEncoding),
            420 => answer.tokens(HeaderName::Unsupported).eq(["precondition"]),
            _ => true,
        };
        assert!(explained, "{method} {changes:?}");
        assert!(peer.events.is_empty());
        assert_eq!(peer.endpoint.transactions(), 0);
    }
}

#[test]
fn nothing_is_said_to_an_ack_a_response_or_noise() {
    let mut peer = Peer::new();
    let noise = ["\r\n\r\n", "\0\0\0\0", "SIP/2.0 200 OK\r\n\r\n", "hello", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""];
    for text in noise {
        assert!(peer.send(text).is_empty(), "{text:?}");
    }
    assert!(peer.send(&request("ACK", &[("To", "<sip:a@b>;tag=x")], "")).is_empty());
    assert!(peer.send(&request("ACK", &[("CSeq", "1 INVITE")], "")).is_empty());
}

#[test]
fn a_repeated_invite_gets_its_last_answer_again() {
    let mut peer = Peer::new();
    let invite = request("INVITE", &[], "v=0");
    assert_eq!(peer.status(&invite), 100);
    assert_eq!(peer.status(&invite), 100);
    let call = incoming(&peer);
    peer.command(Command::Ring { call, early_sdp: None, reliable: false });
    assert_eq!(peer.status(&invite), 180);
    peer.command(Command::Reject { call, status: 603, headers: Vec::new() });
    assert_eq!(peer.status(&invite), 603);
    assert!(peer.send(&request("ACK", &[("Via", "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-INVITE-0")], "")).is_empty());
    assert!(peer.send(&invite).is_empty(), "acknowledged, absorbed");
    assert_eq!(peer.events.len(), 2);
}

#[test]
fn the_same_request_on_another_way_is_a_loop() {
    let mut peer = Peer::new();
    assert_eq!(peer.status(&request("INVITE", &[], "v=0")), 100);
    let other = request("INVITE", &[("Via", "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK-other")], "v=0");
    assert_eq!(peer.status(&other), 482);
}

#[test]
fn an_rfc_2543_call_is_matched_without_branches() {
    let mut peer = Peer::new();
    let via = [("Via", "SIP/2.0/UDP 10.0.0.1:5070"), ("Contact", "")];
    let invite = request("INVITE", &via, "v=0");
    assert_eq!(peer.status(&invite), 100);
    assert_eq!(peer.status(&invite), 100);
    let call = incoming(&peer);
    let busy = peer.command(Command::Reject { call, status: 486, headers: Vec::new() });
    let to = busy[0].text(HeaderName::To).unwrap().into_owned();
    peer.send(&request("ACK", &[via[0], ("To", &to), ("CSeq", "1 ACK")], ""));
    assert!(peer.send(&invite).is_empty(), "the ACK found its INVITE");
}

#[test]
fn numbers_within_a_dialog_must_rise() {
    let (mut peer, to) = established();
    assert_eq!(peer.status(&within("INFO", &to, 5, "")), 200);
    assert_eq!(peer.status(&within("OPTIONS", &to, 4, "")), 500);
    assert_eq!(peer.status(&within("OPTIONS", &to, 6, "")), 200);
    assert_eq!(peer.status(&within("INFO", &to, 5, "")), 200, "a repetition, answered from memory");
    assert_eq!(peer.status(&within("BYE", &to, 7, "")), 200);
    assert_eq!(peer.status(&within("BYE", &to, 7, "")), 200, "again");
    assert_eq!(peer.status(&within("BYE", &to, 8, "")), 481);
    assert!(matches!(peer.events.last(), Some(Event::Ended { cause: EndCause::RemoteBye, .. })));
}

#[test]
fn the_reason_of_a_bye_is_told() {
    let (mut peer, to) = established();
    let bye = within("BYE", &to, 2, "").replace("Max-Forwards", "Reason: Q.850;cause=16\r\nMax-Forwards");
    assert_eq!(peer.status(&bye), 200);
    let Some(Event::Ended { reason, .. }) = peer.events.last() else { panic!() };
    assert_eq!(reason.as_deref(), Some("Q.850;cause=16"));
}

#[test]
fn a_stranger_with_a_wrong_tag_ends_nothing() {
    let (mut peer, to) = established();
    let events = peer.events.len();
    let forged = within("BYE", &to, 2, "").replace("tag=a1", "tag=zz");
    assert_eq!(peer.status(&forged), 481);
    assert_eq!(peer.status(&within("BYE", "<sip:1000@10.0.0.2>;tag=guess", 2, "")), 481);
    assert_eq!(peer.events.len(), events);
}

#[test]
fn a_second_offer_before_the_first_is_answered_is_refused() {
    let (mut peer, to) = established();
    let call = incoming(&peer);
    assert_eq!(peer.status(&within("INVITE", &to, 2, "v=0 a")), 100);
    let refused = peer.send(&within("INVITE", &to, 3, "v=0 b")).remove(0);
    assert_eq!((refused.status(), refused.has(HeaderName::RetryAfter)), (Some(500), true));
    assert_eq!(peer.status(&within("UPDATE", &to, 4, "v=0 c")), 500);
    let ok = peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) });
    assert_eq!(ok[0].status(), Some(200));
    peer.send(&within("ACK", &to, 2, ""));
    assert_eq!(peer.status(&within("UPDATE", &to, 5, "")), 200, "a refresh needs no application");
    assert!(peer.send(&within("UPDATE", &to, 6, "v=0 d")).is_empty());
    let ok = peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) });
    assert_eq!(ok[0].cseq().unwrap().method, Method::Update);
}

#[test]
fn a_reinvite_can_be_cancelled_and_the_call_goes_on() {
    let (mut peer, to) = established();
    let call = incoming(&peer);
    assert_eq!(peer.status(&within("INVITE", &to, 2, "v=0")), 100);
    let cancel =
        within("INVITE", &to, 2, "").replace("INVITE sip", "CANCEL sip").replace("2 INVITE\r\nCon", "2 CANCEL\r\nCon");
    let statuses: Vec<_> = peer.send(&cancel).iter().map(|answer| answer.status().unwrap()).collect();
    assert_eq!(statuses, [200, 487]);
    assert!(peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) }).is_empty(), "too late");
    assert!(!peer.events.iter().any(|event| matches!(event, Event::Ended { .. })));
}

#[test]
fn an_invite_without_offer_gets_ours_and_its_ack_brings_the_answer() {
    let mut peer = Peer::new();
    peer.status(&request("INVITE", &[], ""));
    let Event::Incoming { call, invite, .. } = peer.events[0].clone() else { panic!() };
    assert_eq!(invite.offer, None);
    let ok = peer.command(Command::Answer { call, sdp: sdp() });
    let to = ok[0].text(HeaderName::To).unwrap().into_owned();
    peer.send(&request("ACK", &[("To", &to)], "v=0 answer"));
    let Some(Event::Confirmed { sdp, .. }) = peer.events.last() else { panic!() };
    assert_eq!(sdp.as_deref(), Some(b"v=0 answer".as_slice()));
}

#[test]
fn bye_follows_route_and_contact_but_not_into_another_network() {
    let ways = [
        ("<sip:alice@10.0.0.9:5099>", "", "10.0.0.9:5099"),
        ("<sip:alice@10.0.0.9:5099>", "<sip:10.0.0.7;lr>", "10.0.0.7:5060"),
        ("<sip:alice@host.example>", "", "10.0.0.1:5070"),
        ("<sip:alice@127.0.0.1:22>", "", "10.0.0.1:5070"),
        ("<sip:alice@255.255.255.255>", "", "10.0.0.1:5070"),
    ];
    for (contact, route, wanted) in ways {
        let mut peer = Peer::new();
        peer.status(&request("INVITE", &[("Contact", contact), ("Record-Route", route)], "v=0"));
        let call = incoming(&peer);
        let ok = peer.command(Command::Answer { call, sdp: sdp() });
        assert_eq!(ok[0].text(HeaderName::RecordRoute).unwrap_or_default(), route);
        let to = ok[0].text(HeaderName::To).unwrap().into_owned();
        peer.send(&request("ACK", &[("To", &to)], ""));
        let bye = peer.command(Command::Bye { call, reason: None });
        assert_eq!(bye[0].method(), Some(&Method::Bye));
        assert_eq!(peer.ways.last().unwrap().remote.to_string(), wanted, "{contact} {route}");
        assert_eq!(bye[0].text(HeaderName::Route).unwrap_or_default(), route);
    }
}

#[test]
fn answers_go_to_the_source_or_where_the_rfc_says() {
    let via = "SIP/2.0/UDP 10.0.0.3:5999;branch=z9hG4bK1";
    for (force_rport, via, wanted) in [
        (true, via.to_owned(), "10.0.0.1:5070"),
        (false, via.to_owned(), "10.0.0.1:5999"),
        (false, format!("{via};rport"), "10.0.0.1:5070"),
        (false, "SIP/2.0/UDP h.example;maddr=1.2.3.4;branch=z9hG4bK1".to_owned(), "10.0.0.1:5060"),
    ] {
        let mut peer = Peer::with(EndpointConfig { force_rport, ..EndpointConfig::default() });
        peer.send(&request("OPTIONS", &[("Via", &via)], ""));
        assert_eq!(peer.ways[0].remote.to_string(), wanted, "{via}");
    }
}

#[test]
fn a_full_transaction_table_refuses_new_calls_only() {
    let mut peer = Peer::with(EndpointConfig { max_transactions: 1, ..EndpointConfig::default() });
    assert_eq!(peer.status(&request("INVITE", &[], "v=0")), 100);
    let other = [("Call-ID", "two"), ("Via", "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK2")];
    let busy = peer.send(&request("INVITE", &other, "v=0")).remove(0);
    assert_eq!((busy.status(), busy.has(HeaderName::RetryAfter)), (Some(503), true));
    assert_eq!(peer.status(&request("OPTIONS", &[("Call-ID", "three")], "")), 200);
}

#[test]
fn a_host_that_drains_says_so_to_options_and_keeps_its_calls() {
    let (mut peer, to) = established();
    peer.command(Command::Drain { retry_after_s: Some(30) });
    let answer = peer.send(&request("OPTIONS", &[("Call-ID", "ping")], "")).remove(0);
    assert_eq!(answer.status(), Some(503));
    assert_eq!(answer.text(HeaderName::RetryAfter).unwrap(), "30");
    assert_eq!(peer.status(&within("OPTIONS", &to, 2, "")), 200);
}

#[test]
fn a_full_host_refuses_calls_without_keeping_anything_and_goes_on_with_the_rest() {
    let (mut peer, to) = established();
    peer.command(Command::Full { retry_after_s: Some(7) });
    let (transactions, calls) = (peer.endpoint.transactions(), peer.endpoint.calls());
    for n in 0..50 {
        let (id, via) = (format!("flood{n}"), format!("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKf{n}"));
        let busy = peer.send(&request("INVITE", &[("Call-ID", &id), ("Via", &via)], "v=0")).remove(0);
        assert_eq!((busy.status(), busy.text(HeaderName::RetryAfter).as_deref()), (Some(503), Some("7")));
    }
    assert_eq!((peer.endpoint.transactions(), peer.endpoint.calls()), (transactions, calls));
    assert_eq!(peer.status(&request("OPTIONS", &[("Call-ID", "ping")], "")), 200);
    assert_eq!(peer.status(&within("INFO", &to, 2, "")), 200);
    peer.command(Command::Full { retry_after_s: None });
    let next = [("Call-ID", "next"), ("Via", "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKnext")];
    assert_eq!(peer.status(&request("INVITE", &next, "v=0")), 100);
}

#[test]
fn tcp_answers_stay_on_their_connection() {
    let mut peer = Peer::new();
    peer.flow.transport = Transport::Tcp;
    peer.flow.connection = Some(9);
    peer.status(&request("INVITE", &[], "v=0"));
    let call = incoming(&peer);
    let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
    assert!(ok.text(HeaderName::Contact).unwrap().contains("transport=tcp"));
    assert!(peer.ways.iter().all(|way| way.connection == Some(9)));
    peer.now = Moment::from_millis(500);
    assert_eq!(peer.feed(Input::Timeout).len(), 1, "a 2xx is repeated on reliable transports too");
}

#[test]
fn a_response_through_others_or_to_nobody_is_dropped() {
    let mut net = support::Net::new(1);
    net.filter = Box::new(|_, _| false);
    net.place(1);
    let branch = net.wire[0].message.via().unwrap().branch().unwrap().to_owned();
    let ok = |via: &str| {
        let invite: &Message = &net.wire[0].message;
        let text = accepted(invite, "t", "");
        text.replace(&*invite.text(HeaderName::Via).unwrap(), via)
    };
    let two = ok(&format!("SIP/2.0/UDP 10.0.0.1;branch={branch}\r\nVia: SIP/2.0/UDP 255.255.255.255;branch=x"));
    let list = ok(&format!("SIP/2.0/UDP 10.0.0.1;branch={branch}, SIP/2.0/UDP 1.2.3.4;branch=x"));
    let stray = ok("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKother");
    let right = ok(&format!("SIP/2.0/UDP 10.0.0.1;branch={branch}"));
    for text in [two, list, stray] {
        net.inject(support::CALLER, &text);
        assert!(!net.answered());
    }
    net.inject(support::CALLER, &right);
    assert!(net.answered());
}

#[test]
fn a_callee_cannot_end_an_unanswered_call_by_bye() {
    let mut peer = Peer::new();
    let invite = peer.place();
    peer.send(&response(&invite, "180 Ringing", "t", ""));
    let from = invite.text(HeaderName::From).unwrap().into_owned();
    let call_id = invite.text(HeaderName::CallId).unwrap().into_owned();
    let ends = [("To", from.as_str()), ("From", "<sip:1000@10.0.0.1>;tag=t"), ("Call-ID", &call_id)];
    assert_eq!(peer.status(&request("BYE", &ends, "")), 481);
    let ack = peer.send(&response(&invite, "486 Busy Here", "t", "")).remove(0);
    assert_eq!(ack.method(), Some(&Method::Ack));
    assert!(matches!(peer.events.last(), Some(Event::Ended { cause: EndCause::Rejected(486), .. })));
    let again = peer.send(&response(&invite, "486 Busy Here", "t", "")).remove(0);
    assert_eq!(ack.as_bytes(), again.as_bytes(), "a repeated refusal is acknowledged again");
}

#[test]
fn a_reinvite_of_ours_does_not_outlive_its_call() {
    let (mut peer, to) = established();
    let call = incoming(&peer);
    let offer = peer.command(Command::Reinvite { call, sdp: sdp() }).remove(0);
    peer.send(&response(&offer, "100 Trying", "", ""));
    assert_eq!(peer.status(&within("BYE", &to, 2, "")), 200);
    assert_eq!(peer.send(&response(&offer, "487 Request Terminated", "", "")).len(), 1, "acknowledged");
    let (mut peer, to) = established();
    let call = incoming(&peer);
    let offer = peer.command(Command::Reinvite { call, sdp: sdp() }).remove(0);
    peer.send(&response(&offer, "100 Trying", "", ""));
    assert_eq!(peer.status(&within("BYE", &to, 2, "")), 200);
    peer.now = Moment::from_secs(60);
    peer.feed(Input::Timeout);
    assert_eq!((peer.endpoint.transactions(), peer.endpoint.poll_timeout()), (0, None));
}

#[test]
fn a_second_fork_that_answers_is_acknowledged_and_ended() {
    let mut net = support::Net::new(2);
    net.react(support::answering);
    net.place(1);
    net.run(support::ms(100));
    let ok = net.wire.iter().find(|seen| seen.message.status() == Some(200)).unwrap();
    let text = String::from_utf8(ok.message.as_bytes().to_vec()).unwrap();
    let tag = ok.message.essentials().unwrap().to.tag().unwrap().to_owned();
    net.inject(support::CALLER, &text.replace(&tag, "fork"));
    let last: Vec<_> = net.wire.iter().rev().take(2).map(|seen| seen.message.method().cloned().unwrap()).collect();
    assert_eq!(last, [Method::Bye, Method::Ack]);
    assert!(net.ended(support::CALLER).is_empty(), "the first call goes on");
}

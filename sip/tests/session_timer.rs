//! Session timers in both roles (RFC 4028): who asks, who grants, who refreshes, and what silence means.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::message::{HeaderName, Message, Method};
use offhook_sip::{CallHandle, Command, EndCause, EndpointConfig, Event, Input, Refresher, SessionTimer};
use support::peer::{Peer, Remote, accepted, described, request, response};
use support::*;

fn peer_with(refresher: Refresher) -> Peer {
    let session_timer = SessionTimer { expires_s: 600, refresher, ..SessionTimer::default() };
    Peer::with(EndpointConfig { session_timer, ..EndpointConfig::default() })
}

fn expires(message: &Message) -> String {
    message.text(HeaderName::SessionExpires).unwrap_or_default().into_owned()
}

/// A call that comes in with these fields and is answered; the 200.
fn taken(peer: &mut Peer, fields: &[(&str, &str)]) -> (CallHandle, Message, Remote) {
    assert_eq!(peer.status(&request("INVITE", fields, "v=0")), 100);
    let Some(Event::Incoming { call, .. }) = peer.events.first().cloned() else { panic!() };
    let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
    let remote = Remote::caller(&ok);
    peer.send(&remote.ack(1, ""));
    peer.events.clear();
    (call, ok, remote)
}

/// A call placed and answered with these fields in the 200.
fn placed(peer: &mut Peer, fields: &str) -> (Message, Remote) {
    let invite = peer.place();
    peer.send(&accepted(&invite, "t", &format!("Contact: <sip:x@10.0.0.1:5070>\r\n{fields}")));
    peer.events.clear();
    let remote = Remote::callee(&invite, "t");
    (invite, remote)
}

/// Lets the time run to this second; what was sent, with its time in ms.
fn run(peer: &mut Peer, until_s: u64) -> Vec<(u128, Message)> {
    let mut sent = Vec::new();
    while let Some(at) = peer.endpoint.poll_timeout().filter(|at| *at <= ms(until_s * 1000)) {
        peer.now = at;
        sent.extend(peer.feed(Input::Timeout).into_iter().map(|message| (at.as_millis(), message)));
    }
    peer.now = ms(until_s * 1000);
    sent
}

fn methods(sent: &[(u128, Message)]) -> Vec<(u128, Method)> {
    sent.iter().filter_map(|(at, message)| Some((*at, message.method()?.clone()))).collect()
}

fn ended(peer: &Peer) -> Option<EndCause> {
    peer.events.iter().find_map(|event| match event {
        Event::Ended { cause, .. } => Some(*cause),
        _ => None,
    })
}

#[test]
fn our_invite_asks_for_a_timer() {
    for (refresher, wanted) in
        [(Refresher::Any, "600"), (Refresher::Local, "600;refresher=uac"), (Refresher::Remote, "600;refresher=uas")]
    {
        let invite = peer_with(refresher).place();
        assert_eq!(expires(&invite), wanted);
        assert_eq!(invite.text(HeaderName::MinSe).unwrap(), "90");
        assert!(invite.tokens(HeaderName::Supported).any(|option| option == "timer"));
    }
    let off = SessionTimer { enabled: false, ..SessionTimer::default() };
    let mut peer = Peer::with(EndpointConfig { session_timer: off, ..EndpointConfig::default() });
    let invite = peer.place();
    assert!(!invite.has(HeaderName::SessionExpires) && !invite.has(HeaderName::MinSe));
    assert_eq!(peer.status(&request("INVITE", &[("Require", "timer"), ("Call-ID", "x")], "v=0")), 420);
}

/// What the other side asks and knows, what we like, and what we grant (RFC 4028 table 2).
#[test]
fn our_answer_grants_a_timer() {
    type Case = (&'static [(&'static str, &'static str)], Refresher, &'static str, bool);
    const KNOWS: (&str, &str) = ("Supported", "timer");
    let cases: &[Case] = &[
        (&[], Refresher::Any, "600;refresher=uas", false),
        (&[], Refresher::Remote, "600;refresher=uas", false),
        (&[KNOWS], Refresher::Any, "600;refresher=uac", true),
        (&[KNOWS], Refresher::Local, "600;refresher=uas", false),
        (&[KNOWS, ("Session-Expires", "300")], Refresher::Any, "300;refresher=uac", true),
        (&[KNOWS, ("Session-Expires", "300;refresher=uas")], Refresher::Any, "300;refresher=uas", false),
        (&[KNOWS, ("Session-Expires", "300;Refresher=UAC")], Refresher::Local, "300;refresher=uac", true),
        (&[KNOWS, ("Session-Expires", "7200")], Refresher::Any, "600;refresher=uac", true),
        (&[KNOWS, ("Session-Expires", "7200"), ("Min-SE", "900")], Refresher::Any, "900;refresher=uac", true),
        (&[("Session-Expires", "120")], Refresher::Any, "120;refresher=uas", false),
        (&[("Session-Expires", "60")], Refresher::Any, "60;refresher=uas", false),
        (&[("Session-Expires", "1")], Refresher::Any, "30;refresher=uas", false),
    ];
    for (fields, refresher, wanted, required) in cases {
        let mut peer = peer_with(*refresher);
        let (_, ok, _) = taken(&mut peer, fields);
        assert_eq!(expires(&ok), *wanted, "{fields:?}");
        assert_eq!(ok.tokens(HeaderName::Require).any(|option| option == "timer"), *required, "{fields:?}");
    }
}

#[test]
fn an_interval_that_is_too_short_is_refused_with_422() {
    let mut peer = peer_with(Refresher::Any);
    let short = [("Supported", "timer"), ("Session-Expires", "89")];
    let refused = peer.send(&request("INVITE", &short, "v=0")).remove(0);
    assert_eq!((refused.status(), refused.text(HeaderName::MinSe).as_deref()), (Some(422), Some("90")));
    assert!(peer.events.is_empty());
    for nonsense in ["soon", "0", "90;refresher=nobody", "99999999999"] {
        let fields = [("Supported", "timer"), ("Session-Expires", nonsense), ("Call-ID", nonsense)];
        assert_eq!(peer.status(&request("INVITE", &fields, "v=0")), 400, "{nonsense}");
    }
}

#[test]
fn a_422_makes_us_ask_again_for_longer_but_not_for_ever() {
    let mut peer = peer_with(Refresher::Any);
    let invite = peer.place();
    let sent = peer.send(&response(&invite, "422 Session Interval Too Small", "t", "Min-SE: 1200\r\n"));
    assert_eq!(sent[0].method(), Some(&Method::Ack));
    let again = &sent[1];
    assert_eq!((expires(again).as_str(), again.text(HeaderName::MinSe).as_deref()), ("1200", Some("1200")));
    assert_eq!(again.call_id().unwrap(), invite.call_id().unwrap());
    assert_eq!(again.cseq().unwrap().number, invite.cseq().unwrap().number + 1);
    assert_ne!(again.via().unwrap().branch(), invite.via().unwrap().branch());
    assert_eq!(again.body(), invite.body());
    assert_eq!(again.text(HeaderName::From), invite.text(HeaderName::From));
    assert!(peer.events.is_empty());
    peer.send(&response(again, "422 Session Interval Too Small", "t", "Min-SE: 1200\r\n"));
    assert_eq!(ended(&peer), Some(EndCause::Rejected(422)), "the same demand again leads nowhere");
}

#[test]
fn a_callee_that_wants_ever_more_is_left_alone() {
    let mut peer = peer_with(Refresher::Any);
    let mut invite = peer.place();
    for round in 1..=4 {
        let min_se = format!("Min-SE: {}\r\n", 1200 + round);
        let mut sent = peer.send(&response(&invite, "422 Session Interval Too Small", "t", &min_se));
        invite = sent.remove(1);
    }
    assert_eq!(peer.send(&response(&invite, "422 Session Interval Too Small", "t", "Min-SE: 2000\r\n")).len(), 1);
    assert_eq!(ended(&peer), Some(EndCause::Rejected(422)));
}

#[test]
fn we_refresh_by_update_at_half_time_where_it_is_allowed() {
    let mut peer = peer_with(Refresher::Any);
    let (_, _) = placed(&mut peer, "Session-Expires: 600;refresher=uac\r\nAllow: INVITE, UPDATE\r\n");
    let sent = run(&mut peer, 300);
    assert_eq!(methods(&sent), [(300_000, Method::Update)]);
    let update = &sent[0].1;
    assert_eq!((expires(update).as_str(), update.body().len()), ("600;refresher=uac", 0));
    peer.send(&response(update, "200 OK", "t", "Session-Expires: 600;refresher=uac\r\n"));
    assert_eq!(methods(&run(&mut peer, 600)), [(600_000, Method::Update)], "half an interval later");
    assert!(peer.events.is_empty(), "nobody is told");
}

#[test]
fn we_refresh_by_reinvite_where_update_is_not_known() {
    for allow in ["Allow: INVITE, ACK, BYE\r\n", ""] {
        let mut peer = peer_with(Refresher::Any);
        let (invite, _) = placed(&mut peer, &format!("Session-Expires: 600;refresher=uac\r\n{allow}"));
        let sent = run(&mut peer, 300);
        assert_eq!(methods(&sent), [(300_000, Method::Invite)]);
        assert_eq!(sent[0].1.body(), invite.body(), "the same description, its version unchanged");
        let ok = described(&sent[0].1, "200 OK", "t", "Session-Expires: 600;refresher=uac\r\n", OFFER);
        assert_eq!(peer.send(&ok).remove(0).method(), Some(&Method::Ack));
        assert!(peer.events.is_empty());
        assert_eq!(methods(&run(&mut peer, 600)), [(600_000, Method::Invite)]);
    }
    let mut peer = peer_with(Refresher::Any);
    placed(&mut peer, "Session-Expires: 600;refresher=uac\r\nAllow: UPDATE\r\n");
    let sent = run(&mut peer, 300);
    let sent = peer.send(&response(&sent[0].1, "405 Method Not Allowed", "t", ""));
    assert_eq!(sent[0].method(), Some(&Method::Invite), "it said so, and did not do it");
}

#[test]
fn media_that_moves_in_the_answer_to_a_refresh_is_told() {
    let mut peer = peer_with(Refresher::Any);
    placed(&mut peer, "Session-Expires: 600;refresher=uac\r\n");
    let sent = run(&mut peer, 300);
    peer.send(&described(&sent[0].1, "200 OK", "t", "", "v=0 moved"));
    assert!(matches!(&peer.events[..], [Event::ReinviteAnswered { answer: Ok(Some(_)), .. }]));
}

#[test]
fn a_refresh_that_nobody_answers_ends_the_call() {
    let mut peer = peer_with(Refresher::Any);
    placed(&mut peer, "Session-Expires: 600;refresher=uac\r\nAllow: UPDATE\r\n");
    let sent = run(&mut peer, 340);
    let bye = methods(&sent).into_iter().find(|(_, method)| *method == Method::Bye);
    assert_eq!(bye, Some((332_000, Method::Bye)));
    let bye = sent.iter().find(|(_, sent)| sent.method() == Some(&Method::Bye)).unwrap();
    assert!(bye.1.text(HeaderName::Reason).unwrap().starts_with("SIP;cause=408"));
    assert_eq!(ended(&peer), Some(EndCause::SessionExpired));
}

#[test]
fn a_refused_refresh_is_tried_again_until_the_session_expires() {
    let mut peer = peer_with(Refresher::Any);
    placed(&mut peer, "Session-Expires: 600;refresher=uac\r\nAllow: UPDATE\r\n");
    let (mut tries, mut last) = (0, 0);
    while ended(&peer).is_none() {
        let at = peer.endpoint.poll_timeout().unwrap();
        peer.now = at;
        for sent in peer.feed(Input::Timeout) {
            if sent.method() == Some(&Method::Update) {
                tries += 1;
                peer.send(&response(&sent, "488 Not Acceptable Here", "t", ""));
            }
            last = at.as_millis();
        }
    }
    assert_eq!((ended(&peer), last), (Some(EndCause::SessionExpired), 568_000));
    assert!((2..20).contains(&tries), "{tries}");
}

#[test]
fn without_their_refresh_the_call_ends_a_little_early() {
    for (interval, wanted) in [(600, 568_000), (90, 60_000)] {
        let mut peer = peer_with(Refresher::Any);
        placed(&mut peer, &format!("Session-Expires: {interval};refresher=uas\r\n"));
        assert_eq!(methods(&run(&mut peer, 570))[0], (wanted, Method::Bye));
        assert_eq!(ended(&peer), Some(EndCause::SessionExpired));
    }
}

#[test]
fn their_refresh_by_update_or_reinvite_keeps_the_call() {
    let mut peer = peer_with(Refresher::Any);
    let (call, _, mut remote) = taken(&mut peer, &[("Supported", "timer"), ("Session-Expires", "300;refresher=uac")]);
    let fields = [("Supported", "timer"), ("Session-Expires", "300;refresher=uac")];
    assert!(run(&mut peer, 200).is_empty());
    let ok = peer.send(&remote.request("UPDATE", &fields, "")).remove(0);
    assert_eq!((ok.status(), expires(&ok).as_str()), (Some(200), "300;refresher=uac"));
    run(&mut peer, 400);
    peer.send(&remote.request("INVITE", &fields, "v=0"));
    let ok = peer.command(Command::AnswerReinvite { call, answer: Ok(sdp()) }).remove(0);
    assert_eq!(expires(&ok), "300;refresher=uac");
    peer.send(&remote.ack(remote.cseq(), ""));
    assert_eq!(
        peer.send(&remote.request("UPDATE", &[("Session-Expires", "20"), fields[0]], "")).remove(0).status(),
        Some(422)
    );
    run(&mut peer, 660);
    assert_eq!(ended(&peer), None);
    run(&mut peer, 668);
    assert_eq!(ended(&peer), Some(EndCause::SessionExpired));
}

#[test]
fn a_caller_without_timers_is_refreshed_all_the_same() {
    let mut peer = peer_with(Refresher::Any);
    let (_, ok, _) = taken(&mut peer, &[]);
    assert_eq!(expires(&ok), "600;refresher=uas");
    for round in 1..4 {
        let sent = run(&mut peer, 300 * round);
        assert_eq!(methods(&sent), [(u128::from(300_000 * round), Method::Invite)]);
        assert_eq!(sent[0].1.body(), ok.body());
        peer.send(&described(&sent[0].1, "200 OK", "", "", "v=0"));
    }
    assert_eq!(peer.events, []);
}

#[test]
fn a_callee_without_timers_sets_none() {
    let mut peer = peer_with(Refresher::Any);
    placed(&mut peer, "");
    assert!(run(&mut peer, 10_000).is_empty());
    assert_eq!(ended(&peer), None);
}

#[test]
fn a_longer_interval_for_a_refresh_is_granted() {
    let mut peer = peer_with(Refresher::Any);
    placed(&mut peer, "Session-Expires: 600;refresher=uac\r\nAllow: UPDATE\r\n");
    let sent = run(&mut peer, 300);
    peer.send(&response(&sent[0].1, "422 Session Interval Too Small", "t", "Min-SE: 900\r\n"));
    let sent = run(&mut peer, 301);
    assert_eq!(expires(&sent[0].1), "900;refresher=uac");
}

/// Two endpoints with short intervals talk for an hour of virtual time.
#[test]
fn two_of_us_keep_a_call_alive_and_notice_when_one_is_gone() {
    for (seed, refresher) in [(1, Refresher::Any), (2, Refresher::Local), (3, Refresher::Remote)] {
        let timer = SessionTimer { expires_s: 90, refresher, ..SessionTimer::default() };
        let mut net = Net::over(offhook_sip::Transport::Udp, seed, move |config| config.session_timer = timer);
        net.react(answering);
        net.weather.loss = 10;
        net.place(1);
        net.run(ms(3_600_000));
        assert!(net.ended(CALLER).is_empty() && net.ended(CALLEE).is_empty(), "{refresher:?}");
        let refreshes = net.requests(CALLER, Method::Update).len() + net.requests(CALLEE, Method::Update).len();
        assert!(refreshes >= 75, "{refreshes}");
        net.filter = Box::new(|from, _| from == CALLER);
        net.run(ms(3_800_000));
        assert_eq!(net.ended(CALLER)[0].1, EndCause::SessionExpired);
        net.filter = Box::new(|_, _| false);
        net.run(ms(4_200_000));
        assert!(net.is_idle(), "{refresher:?}");
    }
}

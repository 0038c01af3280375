//! Digest on the wire: strangers who prove themselves to an endpoint, and an endpoint that proves itself to others,
//! but never to more of them than it must.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::auth::{Credentials, Secret, ServerAuth};
use offhook_sip::guard::{GuardConfig, GuardReason, Unknown};
use offhook_sip::message::{HeaderName, Message, Method, UriBuf};
use offhook_sip::{CallHandle, Command, EndCause, EndpointConfig, Event, IncomingInvite, OutboundInvite, RefusalKind};
use support::peer::{Peer, request, response};
use support::*;

fn credentials(password: &str, realm: Option<&str>) -> Credentials {
    let password = Secret::new(password);
    Credentials { username: "trunk".into(), password, realm: realm.map(str::to_owned) }
}

fn invitation(net_flow: offhook_sip::Flow, credentials: Option<Credentials>) -> Command {
    Command::Invite(Box::new(OutboundInvite {
        call: call(1),
        flow: net_flow,
        target: UriBuf::parse("sip:1000@10.0.0.2").unwrap(),
        from: UriBuf::parse("sip:alice@10.0.0.1").unwrap(),
        from_display: None,
        sdp: sdp(),
        headers: Vec::new(),
        credentials,
        replaces: None,
    }))
}

/// A caller with these credentials, and a callee that asks strangers who they are.
fn challenged_call(credentials: Option<Credentials>) -> Net {
    let mut net = Net::over(offhook_sip::Transport::Udp, 4, |config| {
        config.guard = GuardConfig { trusted: Vec::new(), unknown: Unknown::Challenge, ..GuardConfig::default() };
        config.server_auth = Some(ServerAuth::new("here", [1; 32]).user("trunk", &Secret::new("right")));
    });
    net.react(support::answering);
    let flow = net.flow(CALLER);
    net.command(CALLER, invitation(flow, credentials));
    net.run(ms(2000));
    net
}

fn incoming(events: &[(offhook_sip::Moment, Event)]) -> Option<&IncomingInvite> {
    events.iter().find_map(|(_, event)| match event {
        Event::Incoming { invite, .. } => Some(&**invite),
        _ => None,
    })
}

#[test]
fn a_stranger_with_the_password_gets_through() {
    let mut net = challenged_call(Some(credentials("right", None)));
    assert!(net.answered());
    let invite = incoming(&net.events[CALLEE]).unwrap();
    assert_eq!(invite.authenticated.as_ref().unwrap().reveal(), "trunk");
    let invites = net.requests(CALLER, Method::Invite).len();
    assert_eq!((invites, net.responses(CALLEE, 401, Method::Invite).len()), (2, 1));
    let answered = net.wire.iter().find(|seen| seen.message.has(HeaderName::Authorization)).unwrap();
    let said = answered.message.text(HeaderName::Authorization).unwrap();
    assert!(said.contains("algorithm=SHA-256") && !said.contains("right"), "{said}");
    let (mut acks, text) = (net.wire.iter().filter(|seen| seen.message.method() == Some(&Method::Ack)), said);
    assert!(!acks.next().unwrap().message.has(HeaderName::Authorization), "the ACK of the 401");
    assert_eq!(acks.next().unwrap().message.text(HeaderName::Authorization).unwrap(), text, "the ACK of the 200");
    net.command(CALLER, Command::Bye { call: call(1), reason: None });
    net.run(ms(60_000));
    assert_eq!(net.ended(CALLEE)[0].1, EndCause::RemoteBye);
    assert_eq!(net.ends.each_ref().map(|end| (end.calls(), end.transactions())), [(0, 0); 2]);
}

#[test]
fn a_stranger_without_it_does_not_and_is_told_nothing() {
    for credentials in [Some(credentials("wrong", None)), Some(credentials("right", Some("elsewhere"))), None] {
        let tried = usize::from(credentials.as_ref().is_some_and(|known| known.realm.is_none()));
        let net = challenged_call(credentials);
        assert!(matches!(net.ended(CALLER)[..], [(_, EndCause::Rejected(401))]));
        assert!(incoming(&net.events[CALLEE]).is_none());
        assert_eq!(net.requests(CALLER, Method::Invite).len(), 1 + tried, "one try per password");
        assert_eq!(net.ends[CALLEE].guard_counts().refused(GuardReason::Unknown), tried as u64);
    }
    // An unknown user, and no user at all, hear the same as a wrong password.
    let net = challenged_call(Some(Credentials { username: "nobody".into(), ..credentials("wrong", None) }));
    let refusals: Vec<&Message> =
        net.wire.iter().filter(|seen| seen.message.status() == Some(401)).map(|seen| &seen.message).collect();
    let shape = |message: &Message| message.iter().map(|(name, ..)| name).collect::<Vec<_>>();
    assert!(refusals.len() == 2 && shape(refusals[0]) == shape(refusals[1]));
    assert!(refusals.iter().all(|refusal| !refusal.text(HeaderName::WwwAuthenticate).unwrap().contains("stale")));
}

#[test]
fn guessing_a_password_ends_in_silence() {
    let config = EndpointConfig {
        guard: GuardConfig { trusted: Vec::new(), unknown: Unknown::Challenge, ..GuardConfig::default() },
        server_auth: Some(ServerAuth::new("here", [1; 32]).user("trunk", &Secret::new("right"))),
        ..EndpointConfig::default()
    };
    let mut peer = Peer::with(config);
    let mut heard = 0;
    for number in 0..40 {
        peer.now = ms(100 * number);
        let via = format!("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{number}");
        let guess = "Digest username=\"trunk\",realm=\"here\",nonce=\"0\",uri=\"sip:1000@10.0.0.2\",response=\"0\"";
        let answers = peer.send(&request("INVITE", &[("Via", &via), ("Authorization", guess)], "v=0"));
        heard += answers.iter().filter(|answer| answer.status() == Some(401)).count();
    }
    assert_eq!((heard, peer.endpoint.guard_counts().bans, peer.events.len()), (21, 1, 0));
}

#[test]
fn strangers_are_forbidden_where_nobody_could_prove_anything() {
    let guard = GuardConfig { unknown: Unknown::Challenge, ..GuardConfig::default() };
    let mut peer = Peer::with(EndpointConfig { guard, ..EndpointConfig::default() });
    assert_eq!(peer.status(&request("INVITE", &[], "v=0")), 403);
    assert_eq!(peer.status(&request("OPTIONS", &[], "")), 200);
    assert_eq!(peer.status(&request("CANCEL", &[], "")), 481);
    assert_eq!(peer.status(&request("BYE", &[("To", "<sip:a@b>;tag=x")], "")), 481);
}

/// A 200 with an answer to our offer.
fn accept(request: &Message, extra: &str) -> String {
    response(request, "200 OK", "t", &format!("{extra}Content-Type: application/sdp\r\n")) + "v=0"
}

const ASK: &str = "WWW-Authenticate: Digest realm=\"carrier\",nonce=\"n1\",qop=\"auth\",algorithm=MD5\r\n";

/// A call of ours with credentials, its INVITE challenged and then accepted.
fn placed() -> (Peer, Message) {
    let mut peer = Peer::new();
    let flow = peer.flow;
    let first = peer.command(invitation(flow, Some(credentials("pw", Some("carrier"))))).remove(0);
    let sent = peer.send(&response(&first, "401 Unauthorized", "t", ASK));
    let [ack, again] = sent.as_slice() else { panic!("{}", sent.len()) };
    assert_eq!((ack.method(), again.method()), (Some(&Method::Ack), Some(&Method::Invite)));
    let (one, two) = (first.essentials().unwrap(), again.essentials().unwrap());
    assert_eq!(two.cseq.number, one.cseq.number + 1);
    assert!(one.call_id == two.call_id && one.from.tag() == two.from.tag() && one.via.branch() != two.via.branch());
    assert_eq!((first.body(), two.to.tag()), (again.body(), None));
    let ok = accept(again, "Contact: <sip:1000@10.0.0.1:5070>\r\n");
    let ack = peer.send(&ok).remove(0);
    assert!(ack.has(HeaderName::Authorization));
    assert!(matches!(peer.events.last(), Some(Event::Answered { .. })));
    (peer, again.clone())
}

#[test]
fn challenges_within_a_call_that_we_placed_are_answered() {
    let (mut peer, _) = placed();
    let call = CallHandle::outbound(1);
    let offer = peer.command(Command::Reinvite { call, sdp: sdp() }).remove(0);
    let ask = ASK.replace("n1", "n2").replace("WWW-", "Proxy-");
    let sent = peer.send(&response(&offer, "407 Proxy Authentication Required", "t", &ask));
    let again = &sent[1];
    assert_eq!(again.cseq().unwrap().number, offer.cseq().unwrap().number + 1);
    assert!(again.text(HeaderName::ProxyAuthorization).unwrap().contains("nonce=\"n2\""));
    peer.send(&accept(again, ""));
    assert!(matches!(peer.events.last(), Some(Event::ReinviteAnswered { answer: Ok(_), .. })));
    let bye = peer.command(Command::Bye { call, reason: None }).remove(0);
    let again = peer.send(&response(&bye, "401 Unauthorized", "t", &ASK.replace("n1", "n3"))).remove(0);
    assert_eq!((again.method(), again.cseq().unwrap().number), (Some(&Method::Bye), bye.cseq().unwrap().number + 1));
    assert!(again.has(HeaderName::Authorization));
    assert!(peer.send(&response(&again, "401 Unauthorized", "t", &ASK.replace("n1", "n4"))).is_empty(), "one try");
    assert_eq!(peer.endpoint.calls(), 0);
}

#[test]
fn nobody_else_gets_an_answer() {
    // A call that came in: our BYE is challenged by the caller (CVE-2021-41158).
    let mut peer = Peer::new();
    peer.send(&request("INVITE", &[], "v=0"));
    let Event::Incoming { call, .. } = peer.events[0] else { panic!() };
    let ok = peer.command(Command::Answer { call, sdp: sdp() }).remove(0);
    let to = ok.text(HeaderName::To).unwrap().into_owned();
    peer.send(&request("ACK", &[("To", &to)], ""));
    let bye = peer.command(Command::Bye { call, reason: None }).remove(0);
    assert!(peer.send(&response(&bye, "401 Unauthorized", "", ASK)).is_empty());
    // Another host answers for the one that was asked.
    let mut peer = Peer::new();
    let flow = peer.flow;
    let invite = peer.command(invitation(flow, Some(credentials("pw", None)))).remove(0);
    peer.flow.remote = "10.0.0.66:5070".parse().unwrap();
    let sent = peer.send(&response(&invite, "401 Unauthorized", "t", ASK));
    assert!(sent.len() == 1 && sent[0].method() == Some(&Method::Ack));
    let Some(Event::Ended { refused: Some(refused), .. }) = peer.events.last() else { panic!() };
    assert_eq!(refused.kind, RefusalKind::Unauthorized);
    // The call moved to another host, which asks for the password.
    let (mut peer, again) = placed();
    let call = CallHandle::outbound(1);
    let offer = peer.command(Command::Reinvite { call, sdp: sdp() }).remove(0);
    peer.send(&accept(&offer, "Contact: <sip:x@10.0.0.66>\r\n"));
    let bye = peer.command(Command::Bye { call, reason: None }).remove(0);
    assert_eq!(peer.ways.last().unwrap().remote.to_string(), "10.0.0.66:5060");
    peer.flow.remote = "10.0.0.66:5060".parse().unwrap();
    assert!(peer.send(&response(&bye, "401 Unauthorized", "t", ASK)).is_empty());
    drop(again);
}

#[test]
fn a_challenge_to_a_call_that_was_given_up_is_left_alone() {
    let mut peer = Peer::new();
    let flow = peer.flow;
    let invite = peer.command(invitation(flow, Some(credentials("pw", None)))).remove(0);
    peer.command(Command::Cancel { call: call(1) });
    let sent = peer.send(&response(&invite, "401 Unauthorized", "t", ASK));
    assert!(sent.len() == 1 && sent[0].method() == Some(&Method::Ack));
    assert_eq!(peer.endpoint.calls(), 0);
}

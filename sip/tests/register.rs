//! Registrations and pings against a hand-written registrar, on virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod support;

use offhook_sip::auth::{Credentials, Secret};
use offhook_sip::message::{HeaderName, Message, Method, UriBuf};
use offhook_sip::{
    Command, Event, Input, Moment, PingId, PingOutcome, Registration, RegistrationFailure, RegistrationId,
    RegistrationState, Transport,
};
use std::time::Duration;
use support::peer::{Peer, response};

const ONE: RegistrationId = RegistrationId(7);

fn settings(peer: &Peer, expires_s: u32) -> Registration {
    Registration {
        id: ONE,
        flow: peer.flow,
        registrar: UriBuf::parse("sip:carrier.example").unwrap(),
        address: UriBuf::parse("sip:trunk@carrier.example").unwrap(),
        contact_user: Some("line1".into()),
        credentials: Some(Credentials {
            username: "trunk".into(),
            password: Secret::new("pw"),
            realm: Some("carrier".into()),
        }),
        expires_s,
    }
}

fn register(peer: &mut Peer, expires_s: u32) -> Message {
    let settings = settings(peer, expires_s);
    peer.command(Command::Register(Box::new(settings))).remove(0)
}

fn states(peer: &Peer) -> Vec<RegistrationState> {
    let states = peer.events.iter().filter_map(|event| match event {
        Event::Registration { id: ONE, state } => Some(state.clone()),
        _ => None,
    });
    states.collect()
}

fn last(peer: &Peer) -> RegistrationState {
    states(peer).pop().expect("a registration event")
}

fn failure(peer: &Peer) -> (RegistrationFailure, Duration) {
    match last(peer) {
        RegistrationState::Failed { failure, retry_in, .. } => (failure, retry_in),
        other => panic!("{other:?}"),
    }
}

fn refresh_in(peer: &Peer) -> (u32, Duration) {
    match last(peer) {
        RegistrationState::Registered { granted_s, refresh_in, .. } => (granted_s, refresh_in),
        other => panic!("{other:?}"),
    }
}

/// Lets the time pass to the endpoint's next timer, and gives back what it sends then.
fn later(peer: &mut Peer) -> Vec<Message> {
    peer.now = peer.endpoint.poll_timeout().expect("something waits");
    peer.feed(Input::Timeout)
}

/// Lets time pass until nothing waits any more.
fn run_out(peer: &mut Peer) {
    while peer.endpoint.poll_timeout().is_some() {
        later(peer);
    }
    assert_eq!((peer.endpoint.transactions(), peer.endpoint.calls()), (0, 0));
}

/// Lets time pass until the next REGISTER.
fn next_register(peer: &mut Peer) -> Message {
    for _ in 0..50 {
        if let Some(sent) = later(peer).pop() {
            assert_eq!(sent.method(), Some(&Method::Register));
            return sent;
        }
    }
    panic!("no REGISTER");
}

/// The 200 of a registrar that knows two contacts, ours for this long.
fn granted(request: &Message, seconds: &str) -> String {
    let contact = request.text(HeaderName::Contact).unwrap();
    let contact = contact.split(";expires").next().unwrap().to_owned();
    let fields = format!("Contact: <sip:line1@192.0.2.77:5060>;expires=12, {contact};expires={seconds};q=0.5\r\n");
    response(request, "200 OK", "r", &fields)
}

fn number(request: &Message) -> u32 {
    request.cseq().unwrap().number
}

const ASK: &str = "WWW-Authenticate: Digest realm=\"carrier\",nonce=\"n1\",qop=\"auth\",algorithm=SHA-256\r\n";

#[test]
fn a_registration_is_made_kept_and_taken_back() {
    let mut peer = Peer::new();
    let first = register(&mut peer, 3600);
    assert_eq!(first.request_uri().unwrap().as_str(), "sip:carrier.example");
    assert_eq!(first.text(HeaderName::Contact).unwrap(), "<sip:line1@10.0.0.2:5060>;expires=3600");
    let again = peer.send(&response(&first, "401 Unauthorized", "r", ASK)).remove(0);
    assert!(again.text(HeaderName::Authorization).unwrap().contains("uri=\"sip:carrier.example\""));
    assert!(states(&peer).is_empty(), "the first challenge is no news");
    let more = "Service-Route: <sip:edge.example;lr>\r\nPath: <sip:p1;lr>\r\n";
    let ok = granted(&again, "600").replace("CSeq", &format!("{more}CSeq"));
    let ok = ok.replace(";rport", ";received=198.51.100.3;rport=40123");
    peer.send(&ok);
    let RegistrationState::Registered { granted_s, refresh_in, service_route, path, seen_at } = last(&peer) else {
        panic!("{:?}", last(&peer))
    };
    assert_eq!((granted_s, service_route[0].reveal().as_str()), (600, "<sip:edge.example;lr>"));
    assert_eq!((path.len(), seen_at), (1, Some("198.51.100.3:40123".parse().unwrap())));
    assert!((450..=510).contains(&refresh_in.as_secs()), "{refresh_in:?}");
    let before = peer.now;
    let refresh = next_register(&mut peer);
    assert_eq!(peer.now - before, refresh_in);
    let (one, two) = (first.essentials().unwrap(), refresh.essentials().unwrap());
    assert_eq!((one.call_id, one.from.tag(), one.cseq.number + 2), (two.call_id, two.from.tag(), two.cseq.number));
    assert!(refresh.text(HeaderName::Authorization).unwrap().contains("nc=00000002"), "the nonce is used again");
    // The server forgot the nonce: not a wrong password.
    let fresh = peer.send(&response(&refresh, "401 Unauthorized", "r", &ASK.replace("n1", "n2"))).remove(0);
    assert!(fresh.text(HeaderName::Authorization).unwrap().contains("nc=00000001"));
    peer.send(&granted(&fresh, "600"));
    assert_eq!(states(&peer).len(), 2);
    let bye = peer.command(Command::Unregister { id: ONE }).remove(0);
    assert_eq!(bye.text(HeaderName::Expires).unwrap(), "0");
    assert!(bye.text(HeaderName::Contact).unwrap().ends_with(";expires=0"));
    let bye = peer.send(&response(&bye, "401 Unauthorized", "r", &ASK.replace("n1", "n3"))).remove(0);
    peer.send(&response(&bye, "200 OK", "r", ""));
    assert_eq!(last(&peer), RegistrationState::Unregistered);
    run_out(&mut peer);
}

#[test]
fn the_time_is_what_the_registrar_says_of_our_contact() {
    for (change, wanted) in [
        (("", ""), Some(600)),
        ((";expires=600", ""), Some(120)),
        ((";expires=600", ";expires=abc"), None),
        ((";expires=600", ";expires=0"), None),
        (("line1@10.0.0.2:5060", "line2@10.0.0.2:5060"), None),
        ((";expires=600", ";expires=4000000000"), Some(7 * 86_400)),
    ] {
        let mut peer = Peer::new();
        let first = register(&mut peer, 3600);
        let ok = granted(&first, "600").replace("CSeq", "Expires: 120\r\nCSeq").replace(change.0, change.1);
        peer.send(&ok);
        match wanted {
            Some(seconds) => assert_eq!(refresh_in(&peer).0, seconds, "{change:?}"),
            None => assert_eq!(failure(&peer).0, RegistrationFailure::NoTime, "{change:?}"),
        }
    }
    let mut peer = Peer::new();
    let first = register(&mut peer, 40);
    peer.send(&response(&first, "200 OK", "r", ""));
    let (granted_s, after) = refresh_in(&peer);
    assert!(granted_s == 40 && (20..=25).contains(&after.as_secs()), "a short one is refreshed at its half");
}

#[test]
fn too_brief_a_time_is_asked_for_again_once() {
    let mut peer = Peer::new();
    let first = register(&mut peer, 60);
    let again = peer.send(&response(&first, "423 Interval Too Brief", "r", "Min-Expires: 1800\r\n")).remove(0);
    assert_eq!((again.text(HeaderName::Expires).unwrap().as_ref(), number(&again)), ("1800", number(&first) + 1));
    assert!(peer.send(&response(&again, "423 Interval Too Brief", "r", "Min-Expires: 1800\r\n")).is_empty());
    assert_eq!(failure(&peer).0, RegistrationFailure::NoTime);
    let mut peer = Peer::new();
    let first = register(&mut peer, 60);
    assert!(peer.send(&response(&first, "423 Interval Too Brief", "r", "Min-Expires: 4294967295\r\n")).is_empty());
}

#[test]
fn a_wrong_password_is_tried_slowly_and_only_at_the_registrar() {
    let mut peer = Peer::new();
    let first = register(&mut peer, 600);
    let again = peer.send(&response(&first, "401 Unauthorized", "r", ASK)).remove(0);
    assert!(peer.send(&response(&again, "401 Unauthorized", "r", &ASK.replace("n1", "n2"))).is_empty());
    let (why, retry_in) = failure(&peer);
    assert_eq!(why, RegistrationFailure::Unauthorized(401));
    assert!((300..=600).contains(&retry_in.as_secs()), "{retry_in:?}");
    let before = peer.now;
    let later = next_register(&mut peer);
    assert!(peer.now - before == retry_in && !later.has(HeaderName::Authorization));
    for (realm, from) in [("other", "10.0.0.1:5070"), ("carrier", "10.0.0.66:5070")] {
        let mut peer = Peer::new();
        let first = register(&mut peer, 600);
        peer.flow.remote = from.parse().unwrap();
        let ask = ASK.replace("carrier", realm);
        assert!(peer.send(&response(&first, "401 Unauthorized", "r", &ask)).is_empty(), "{realm} {from}");
        assert_eq!(failure(&peer).0, RegistrationFailure::Unauthorized(401));
    }
}

#[test]
fn refusals_wait_as_long_as_they_deserve() {
    for (status, fields, least, most) in [
        ("403 Forbidden", "", 300, 600),
        ("404 Not Found", "Retry-After: 5\r\n", 300, 600),
        ("503 Service Unavailable", "Retry-After: 37;duration=9\r\n", 37, 37),
        ("503 Service Unavailable", "Retry-After: 999999\r\n", 3600, 3600),
        ("503 Service Unavailable", "", 2, 4),
        ("480 Temporarily Unavailable", "Retry-After: 0\r\n", 1, 1),
    ] {
        let mut peer = Peer::new();
        let first = register(&mut peer, 600);
        peer.send(&response(&first, status, "r", fields));
        let (_, retry_in) = failure(&peer);
        assert!((least..=most).contains(&retry_in.as_secs()), "{status} {fields}: {retry_in:?}");
    }
}

#[test]
fn an_outage_is_met_with_growing_pauses_and_ends_by_itself() {
    let mut peer = Peer::new();
    let first = register(&mut peer, 3600);
    peer.send(&granted(&first, "3600"));
    let mut pauses = Vec::new();
    let mut request = next_register(&mut peer);
    while pauses.len() < 12 {
        let known = states(&peer).len();
        while states(&peer).len() == known {
            later(&mut peer);
        }
        let RegistrationState::Failed { failure, retry_in, lapses_in } = last(&peer) else { panic!() };
        assert_eq!(failure, RegistrationFailure::TimedOut);
        assert_eq!(lapses_in.is_some(), peer.now < Moment::from_secs(3600), "at {:?}", peer.now);
        pauses.push(retry_in.as_secs());
        request = next_register(&mut peer);
    }
    assert!(pauses[0] < 4 && pauses[11] >= 300 && pauses.iter().all(|&pause| pause <= 600), "{pauses:?}");
    let grown = pauses.windows(3).filter(|three| three[2] > three[0]).count();
    assert!(grown >= 6, "{pauses:?}");
    peer.send(&granted(&request, "3600"));
    assert_eq!(refresh_in(&peer).0, 3600);
}

#[test]
fn a_lost_connection_is_registered_anew_at_once() {
    let mut peer = Peer::new();
    peer.flow.transport = Transport::Tls;
    let first = register(&mut peer, 3600);
    assert!(first.text(HeaderName::Contact).unwrap().contains("transport=tls"));
    peer.flow.connection = Some(5);
    peer.send(&granted(&first, "3600"));
    let before = peer.now;
    peer.feed(Input::StreamClosed { connection: 5 });
    next_register(&mut peer);
    assert!(peer.now - before < Duration::from_secs(2));
    let way = *peer.ways.last().unwrap();
    assert_eq!(way.connection, None, "the driver finds or makes a connection");
    peer.feed(Input::Unreachable { flow: &way });
    assert_eq!(failure(&peer).0, RegistrationFailure::Unreachable);
}

#[test]
fn new_settings_and_early_goodbyes() {
    let mut peer = Peer::new();
    let first = register(&mut peer, 600);
    let second = register(&mut peer, 1200);
    assert_eq!(number(&second), number(&first) + 1);
    assert_eq!(first.call_id().unwrap(), second.call_id().unwrap());
    assert!(peer.send(&granted(&first, "600")).is_empty() && states(&peer).is_empty(), "the first is forgotten");
    peer.send(&granted(&second, "1200"));
    assert_eq!(refresh_in(&peer).0, 1200);
    peer.command(Command::Unregister { id: ONE });
    run_out(&mut peer);
    assert_eq!(last(&peer), RegistrationState::Unregistered, "nobody answered, and it is over");
    assert!(peer.command(Command::Unregister { id: ONE }).is_empty());
    // One that was refused holds nothing that could be taken back.
    let first = register(&mut peer, 600);
    peer.send(&response(&first, "403 Forbidden", "r", ""));
    assert!(peer.command(Command::Unregister { id: ONE }).is_empty());
    assert_eq!(last(&peer), RegistrationState::Unregistered);
    run_out(&mut peer);
}

#[test]
fn refreshes_of_many_do_not_come_together() {
    let mut peer = Peer::new();
    let mut moments = std::collections::BTreeSet::new();
    for id in 0..50 {
        let settings = Registration { id: RegistrationId(id), ..settings(&peer, 3600) };
        let sent = peer.command(Command::Register(Box::new(settings))).remove(0);
        peer.send(&granted(&sent, "3600"));
        let Some(Event::Registration { state: RegistrationState::Registered { refresh_in, .. }, .. }) =
            peer.events.last()
        else {
            panic!()
        };
        moments.insert(refresh_in.as_secs());
    }
    assert!(moments.len() >= 8, "{moments:?}");
}

#[test]
fn a_ping_tells_who_answers_and_how_fast() {
    let ping = |id| Command::Ping {
        id: PingId(id),
        flow: Peer::new().flow,
        target: UriBuf::parse("sip:carrier.example").unwrap(),
    };
    let outcome = |peer: &Peer| match peer.events.last() {
        Some(Event::Pong { id: PingId(3), outcome }) => *outcome,
        other => panic!("{other:?}"),
    };
    let mut peer = Peer::new();
    let options = peer.command(ping(3)).remove(0);
    assert_eq!((options.method(), options.body().len()), (Some(&Method::Options), 0));
    peer.now = Moment::from_millis(42);
    peer.send(&response(&options, "100 Trying", "", ""));
    assert!(peer.events.is_empty());
    peer.send(&response(&options, "405 Method Not Allowed", "x", ""));
    assert_eq!(outcome(&peer), PingOutcome::Answered { status: 405, rtt: Duration::from_millis(42) });
    peer.command(ping(3));
    while peer.events.len() < 2 {
        later(&mut peer);
    }
    assert_eq!(outcome(&peer), PingOutcome::TimedOut);
    peer.command(ping(3));
    let way = *peer.ways.last().unwrap();
    peer.feed(Input::Unreachable { flow: &way });
    assert_eq!(outcome(&peer), PingOutcome::Unreachable);
}

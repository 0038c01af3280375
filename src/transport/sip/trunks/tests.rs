//! Which way a call goes, on virtual time.

use std::net::SocketAddr;

use super::super::resolve::Place;
use super::*;
use crate::config::parse;
use offhook_sip::Transport;

fn trunks(yaml: &str) -> Trunks {
    let config = parse("a.yaml", yaml).unwrap_or_else(|error| panic!("{error}")).sip;
    let trunks = Trunks::new(&config, SipMetrics::default());
    for (index, trunk) in config.trunks.iter().enumerate() {
        trunks.resolved(index, Ok(vec![target(trunk.address.port.unwrap_or(5060))]));
    }
    trunks
}

fn target(port: u16) -> Target {
    let address = SocketAddr::from(([192, 0, 2, 1], port));
    Target { transport: Transport::Udp, address, place: Place::default() }
}

fn routes(trunks: &Trunks, wanted: Wanted<'_>) -> Vec<Route> {
    trunks.route(wanted, flow, |_| 0)
}

fn flow(target: Target) -> Flow {
    let local = SocketAddr::from(([192, 0, 2, 9], 5060));
    Flow { transport: target.transport, local, remote: target.address, connection: None }
}

fn names(trunks: &Trunks) -> Vec<String> {
    routes(trunks, number("100")).iter().map(|route| route.trunk.as_deref().unwrap_or_default().to_owned()).collect()
}

const fn number(number: &str) -> Wanted<'_> {
    Wanted { to: number, trunk: None, caller_id: None }
}

const S: fn(u64) -> Moment = Moment::from_secs;

#[test]
fn a_trunk_that_is_down_comes_last_and_a_full_one_not_at_all() {
    let trunks = trunks(
        "sip:\n  trunks:\n    - {name: b, address: 'x:1', priority: 2}\n    - {name: a, address: 'x:2', priority: 1}\n    \
         - {name: c, address: 'x:3', priority: 3, max_calls: 1}\n",
    );
    assert_eq!(names(&trunks), ["a", "b", "c"]);
    trunks.answered(1, target(2), PingResult::Timeout, S(1));
    assert_eq!(names(&trunks), ["b", "c", "a"]);
    assert_eq!(trunks.report()[1].1, Err("no answer to OPTIONS".to_owned()));
    let permit = trunks.admit("c", S(2)).unwrap();
    assert_eq!(names(&trunks), ["b", "a"]);
    assert!(trunks.admit("c", S(2)).is_none() && trunks.admit_incoming("c").is_err());
    drop(permit);
    assert_eq!(names(&trunks), ["b", "c", "a"]);
    trunks.answered(1, target(2), PingResult::Status(200), S(3));
    trunks.answered(1, target(2), PingResult::Status(200), S(4));
    assert_eq!(names(&trunks), ["a", "b", "c"]);
}

#[test]
fn equal_trunks_share_by_weight() {
    let trunks = trunks(
        "sip:\n  trunks:\n    - {name: a, address: 'x:1', weight: 299}\n    - {name: b, address: 'x:2', weight: 99}\n",
    );
    let first = |picked: u32| {
        let routes = trunks.route(number("100"), flow, |below| picked.min(below - 1));
        (routes.len(), routes[0].trunk.as_deref().unwrap_or_default().to_owned())
    };
    assert_eq!(first(0), (2, "a".to_owned()));
    assert_eq!(first(299), (2, "a".to_owned()));
    assert_eq!(first(300), (2, "b".to_owned()));
    assert_eq!(first(399), (2, "b".to_owned()));
}

#[test]
fn the_next_socket_of_a_trunk_is_tried_before_the_next_trunk() {
    let trunks = trunks("sip:\n  trunks:\n    - {name: a, address: x}\n    - {name: b, address: 'x:9', priority: 1}\n");
    trunks.resolved(0, Ok(vec![target(1), target(2)]));
    let ports = |trunks: &Trunks| -> Vec<u16> {
        routes(trunks, number("100")).iter().map(|route| route.flow.remote.port()).collect()
    };
    assert_eq!(ports(&trunks), [1, 2, 9]);
    trunks.answered(0, target(1), PingResult::Unreachable, S(1));
    assert_eq!(ports(&trunks), [2, 1, 9]);
    // Name servers are gone; what they said before still holds, and what is known of a socket stays known.
    trunks.resolved(0, Err("no name server answered".to_owned()));
    trunks.resolved(0, Ok(vec![target(3), target(1)]));
    assert_eq!(ports(&trunks), [3, 1, 9]);
}

#[test]
fn each_call_goes_to_a_server_by_its_weight() {
    let trunks = trunks("sip: {trunks: [{name: a, address: x}]}\n");
    let server = |server, port, priority, weight| Target { place: Place { priority, weight, server }, ..target(port) };
    // One server has two addresses, which stay together.
    trunks
        .resolved(0, Ok(vec![server(0, 1, 10, 25), server(0, 2, 10, 25), server(1, 3, 10, 75), server(2, 4, 20, 99)]));
    let ports = |picked: u32| -> Vec<u16> {
        let routes = trunks.route(number("100"), flow, |below| picked.min(below - 1));
        routes.iter().map(|route| route.flow.remote.port()).collect()
    };
    assert_eq!(ports(25), [1, 2, 3, 4]);
    assert_eq!(ports(26), [3, 1, 2, 4]);
    trunks.answered(0, server(1, 3, 10, 75), PingResult::Timeout, S(1));
    assert_eq!(ports(26), [1, 2, 4, 3], "what is down comes last");
}

#[test]
fn a_trunk_whose_account_is_not_registered_is_down() {
    let trunks = trunks(
        "sip:\n  trunks: [{name: a, address: x}]\n  \
         registrations: [{registrar: x, username: u, password: p, trunk: a}]\n",
    );
    assert_eq!(trunks.report()[0].1, Err("its account is not registered".to_owned()));
    trunks.registered("a", true);
    assert_eq!(trunks.report()[0].1, Ok(()));
}

#[test]
fn numbers_and_caller_ids_are_written_as_the_trunk_wants_them() {
    let trunks = trunks(
        "sip:\n  trunks:\n    - name: a\n      address: 'sip.example.net:5080'\n      username: acct\n      password: p\n      \
         prefix: {strip: '+', add: '00'}\n      caller_id: {mode: pass, name: Clinic, asserted_identity: true}\n    \
         - {name: b, address: x, domain: carrier.example, priority: 1, caller_id: {number: '+15550100'}}\n",
    );
    let wanted = Wanted { to: "+4930123", trunk: None, caller_id: Some("+15550199") };
    let [a, b] = routes(&trunks, wanted).try_into().unwrap();
    assert_eq!(a.target.as_str(), "sip:004930123@sip.example.net:5080");
    assert_eq!((a.from.as_str(), a.from_display.as_deref()), ("sip:+15550199@sip.example.net", Some("Clinic")));
    assert_eq!(a.headers.len(), 1);
    assert!(a.credentials.is_some() && b.credentials.is_none());
    assert_eq!(b.target.as_str(), "sip:+4930123@carrier.example");
    assert_eq!(b.from.as_str(), "sip:+15550100@carrier.example");
    let own = routes(&trunks, number("1"));
    assert_eq!(own[0].from.as_str(), "sip:acct@sip.example.net");
    for wrong in ["", "1;phone-context=x", "1@evil.example", "1\r\nX: y", "1 2"] {
        assert!(routes(&trunks, number(wrong)).is_empty(), "{wrong}");
    }
}

#[test]
fn calls_per_second_are_a_bucket() {
    let trunks = trunks("sip: {trunks: [{name: a, address: x, calls_per_s: 3}]}\n");
    let taken = |now: Moment| (0..10).filter_map(|_| trunks.admit("a", now)).count();
    assert_eq!(taken(S(10)), 3);
    assert_eq!(taken(S(10) + Duration::from_millis(400)), 1);
    assert_eq!(taken(S(20)), 3);
}

#[test]
fn a_trunks_calls_are_known_by_their_source() {
    let trunks = trunks("sip: {trunks: [{name: a, address: x, allow_sources: [198.51.100.0/24]}]}\n");
    let of = |text: &str| trunks.of_source(text.parse().unwrap());
    assert_eq!(of("198.51.100.200").as_deref(), Some("a"));
    assert_eq!(of("192.0.2.1").as_deref(), Some("a"));
    assert_eq!(of("203.0.113.1"), None);
}

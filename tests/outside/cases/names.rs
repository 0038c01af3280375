//! A trunk by its name: dnsmasq says where it is, and SIPp is there (RFC 3263, RFC 2782).

use futures_util::future::join_all;
use serde_json::json;

use super::listen_for;
use super::outbound::{NUMBER, calls, ended, outbound};
use crate::outside::names::{Names, host, service, way};
use crate::outside::ports::Ports;
use crate::outside::scenario::Check::Holds;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::{self, Server};
use crate::outside::sipp::Callee;

#[tokio::test]
async fn sipp_is_found_by_naptr_and_srv_records_and_called_over_tcp() {
    let mut ports = Ports::lease();
    let (by_tcp, by_udp) = (ports.address(), ports.address());
    let records = [
        // The lower order goes first, whatever we would like better ourselves.
        way("carrier.test", 10, "SIP+D2T", "_sip._tcp.carrier.test"),
        way("carrier.test", 20, "SIP+D2U", "_sip._udp.carrier.test"),
        service("_sip._tcp.carrier.test", "a.carrier.test", by_tcp, 1, 1),
        service("_sip._udp.carrier.test", "a.carrier.test", by_udp, 1, 1),
        host("a.carrier.test"),
    ];
    let (server, names) = asking(&records, "").await;
    let invite = Holds("INVITE sip:.250788000001@carrier.test;transport=tcp");
    let script = takes(&ports, &[invite, Holds("Via: SIP/2.0/TCP")]);
    let callee = Callee::start_over_tcp(&server, by_tcp, "is_found_by_naptr", script).await;
    is_called(&server, callee).await;
    for asked in ["query[NAPTR] carrier.test", "query[SRV] _sip._tcp.carrier.test", "query[A] a.carrier.test"] {
        assert!(names.log().contains(asked), "{asked}: {}", names.log());
    }
    let finished = server.command(&["doctor"]).await;
    let found = format!("TCP {by_tcp}, by NAPTR and SRV records of _sip._tcp.carrier.test");
    assert!(finished.stdout.contains(&found), "{finished:?}");
}

#[tokio::test]
async fn sipp_takes_the_call_where_the_server_of_first_priority_is_dead() {
    for (kind, more) in [("udp", ""), ("tcp", "      transport: tcp\n")] {
        let mut ports = Ports::lease();
        let (dead, alive) = (ports.address(), ports.address());
        let name = format!("_sip._{kind}.carrier.test");
        let records = [
            service(&name, "b.carrier.test", alive, 20, 0),
            service(&name, "a.carrier.test", dead, 10, 0),
            host("a.carrier.test"),
            host("b.carrier.test"),
        ];
        let (server, _names) = asking(&records, more).await;
        let silent = tokio::net::UdpSocket::bind(dead).await.unwrap();
        let script = takes(&ports, &[Holds("INVITE sip:.250788000001@carrier.test")]);
        let callee = match kind {
            "tcp" => Callee::start_over_tcp(&server, alive, "is_second", script).await,
            _ => Callee::start(&server, alive, "is_second", script).await,
        };
        is_called(&server, callee).await;
        if kind == "udp" {
            let mut datagram = [0; 2048];
            let length = silent.try_recv(&mut datagram).expect("the first one was asked first");
            assert!(datagram[..length].starts_with(b"INVITE "));
        }
    }
}

#[tokio::test]
async fn two_sipps_of_one_priority_share_the_calls_and_one_of_another_gets_none() {
    let invites = shared(50, 50).await;
    // That one of them gets none by chance happens once in ten million runs.
    assert!(invites[0] > 0 && invites[1] > 0, "{invites:?}");
}

#[tokio::test]
async fn the_sipp_of_the_greater_weight_gets_the_more_calls() {
    let invites = shared(90, 10).await;
    // That the lighter one gets as many by chance happens once in ten million runs.
    assert!(invites[0] > invites[1], "{invites:?}");
}

/// The calls that each of two of one priority gets, by weight; a third one, of another, gets none.
async fn shared(first: u16, second: u16) -> Vec<usize> {
    let mut ports = Ports::lease();
    let (one, two, spare) = (ports.address(), ports.address(), ports.address());
    let records = [
        service("_sip._udp.carrier.test", "a.carrier.test", one, 10, first),
        service("_sip._udp.carrier.test", "b.carrier.test", two, 10, second),
        service("_sip._udp.carrier.test", "a.carrier.test", spare, 20, 100),
        host("a.carrier.test"),
        host("b.carrier.test"),
    ];
    let (server, _names) = asking(&records, "").await;
    let mut callees = Vec::new();
    for (name, at) in [("one", one), ("two", two), ("spare", spare)] {
        callees.push(Callee::start_for(CALLS, &server, at, name, takes(&ports, &[])).await);
    }
    for _ in 0..CALLS / 5 {
        let calls = (0..5).map(|_| calls(&server, json!({ "to": NUMBER, "line": "1000" })));
        for id in join_all(calls).await {
            assert_eq!(ended(&server, &id).await["end_reason"], "callee_hung_up", "{}", server.log());
        }
    }
    let invites: Vec<usize> = callees.iter().map(Callee::invites).collect();
    assert_eq!((invites[2], invites.iter().sum::<usize>()), (0, 25), "{invites:?}");
    invites
}

/// A lease has RTP ports for 30, and none is used again soon.
const CALLS: u32 = 25;

#[tokio::test]
async fn sipp_is_found_by_its_address_record_where_a_port_is_given() {
    let mut ports = Ports::lease();
    let carrier = ports.address();
    let address = format!("carrier.test:{}", carrier.port());
    let (server, names) = asking_for(&address, &[host("carrier.test")], "").await;
    let invite = format!("INVITE sip:.250788000001@{address}");
    let callee = Callee::start(&server, carrier, "is_found_by_address", takes(&ports, &[Holds(&invite)])).await;
    is_called(&server, callee).await;
    let log = names.log();
    assert!(log.contains("query[A] carrier.test") && !log.contains("SRV") && !log.contains("NAPTR"), "{log}");
}

#[tokio::test]
async fn sipp_is_called_on_though_the_name_server_has_died() {
    let mut ports = Ports::lease();
    let carrier = ports.address();
    let records = [service("_sip._udp.carrier.test", "a.carrier.test", carrier, 1, 1), host("a.carrier.test")];
    let place = server::place().await;
    let names = Names::start_for(1, &server::fresh_dir(), &records).await;
    let (server, mut names) = asked_by(place, names, "carrier.test", "").await;
    for (name, pause_ms) in [("while_it_lives", 0), ("after_its_death", 3_000)] {
        listen_for(pause_ms).await;
        let callee = Callee::start(&server, carrier, name, takes(&ports, &[])).await;
        is_called(&server, callee).await;
        if pause_ms == 0 {
            names.dies().await;
        }
    }
}

/// A server whose one trunk is carrier.test, and the name server that it asks.
async fn asking(records: &[String], more: &str) -> (Server, Names) {
    asking_for("carrier.test", records, more).await
}

async fn asking_for(address: &str, records: &[String], more: &str) -> (Server, Names) {
    let place = server::place().await;
    let names = Names::start(&server::fresh_dir(), records).await;
    asked_by(place, names, address, more).await
}

async fn asked_by(place: std::fs::File, names: Names, address: &str, more: &str) -> (Server, Names) {
    let trunk = format!("    - name: carrier\n      address: \"{address}\"\n      ping_s: 0\n{more}");
    // A server that is silent is given up after 64 times T1.
    let yaml = format!("{}{}  t1_ms: 50\n", outbound(&[trunk]), names.setting());
    let yaml = yaml.replace("outbound:\n", "outbound:\n  calls_per_minute: 100\n");
    let server = Server::start_in(place, &[], &yaml).await;
    server.says("sip: the trunk is up", 1).await;
    (server, names)
}

/// Takes the call and hangs up soon.
fn takes(ports: &Ports, checks: &[crate::outside::scenario::Check]) -> Scenario {
    Scenario::callee("takes")
        .receives("INVITE", checks)
        .replies(200, "", Some(&sdp(ports.rtp_port(), "0 101", "")))
        .receives("ACK", &[])
        .pauses(300)
        .requests("BYE", "", None)
        .expects(200, &[])
}

async fn is_called(server: &Server, callee: Callee) {
    let id = calls(server, json!({ "to": NUMBER, "line": "1000" })).await;
    callee.succeeds(server).await;
    let call = ended(server, &id).await;
    assert_eq!((&call["end_reason"], &call["trunk"]), (&"callee_hung_up".into(), &"carrier".into()), "{call:#}");
}

//! Exactly so many calls and not one more: caps of the server and of trunks, and a trunk's rate, counted on the wire.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::listen_for;
use super::outbound::{NUMBER, calls, ended, outbound, trunk};
use crate::outside::ear::{Ear, tone_share};
use crate::outside::ports::Ports;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::{Callee, Sipp};

#[tokio::test]
async fn sipp_is_called_twice_by_a_trunk_with_two_places_and_the_next_trunk_takes_the_rest() {
    let mut ports = Ports::lease();
    let (first, second) = (ports.address(), ports.address());
    let trunks =
        [trunk("first", first, "priority: 1\nmax_calls: 2"), trunk("second", second, "priority: 2\nmax_calls: 1")];
    let server = Server::start_with(&[], &outbound(&trunks)).await;
    let takes = Callee::start_for(3, &server, first, "has_two_places", stays(&ports)).await;
    let takes_more = Callee::start_for(1, &server, second, "has_one_place", stays(&ports)).await;
    // All at once, so that two of them could want the last place at the same moment.
    let ids = places(&server, 5).await;
    let mut trunks = Vec::new();
    for id in &ids {
        trunks.push(carried_by(&server, id).await);
    }
    trunks.sort();
    assert_eq!(trunks, [None, None, Some("first".into()), Some("first".into()), Some("second".into())]);
    server.has_calls(3).await;
    assert_eq!((takes.invites(), takes_more.invites()), (2, 1));
    let (_, metrics) = server.curl("/metrics").await;
    assert!(metrics.contains("offhook_trunk_calls{trunk=\"first\"} 2"), "{metrics}");

    // A place that is free again is taken again.
    let one = ids_by(&server, &ids, "first").await.remove(0);
    hangs_up(&server, &one).await;
    let id = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
    assert_eq!(carried_by(&server, &id).await.as_deref(), Some("first"));
    for id in ids.iter().chain([&id]) {
        hangs_up(&server, id).await;
    }
    tokio::join!(takes.succeeds(&server), takes_more.succeeds(&server));
    let mut reasons = Vec::new();
    for id in &ids {
        reasons.push(ended(&server, id).await["end_reason"].as_str().unwrap().to_owned());
    }
    reasons.sort();
    assert_eq!(reasons, ["operator", "operator", "operator", "unreachable", "unreachable"]);
}

#[tokio::test]
async fn sipp_is_called_no_faster_than_the_rate_of_its_trunk() {
    let mut ports = Ports::lease();
    let (slow, other) = (ports.address(), ports.address());
    let trunks = [trunk("slow", slow, "priority: 1\ncalls_per_s: 2"), trunk("other", other, "priority: 2")];
    let server = Server::start_with(&[], &outbound(&trunks)).await;
    let takes = Callee::start_for(8, &server, slow, "is_called_slowly", stays(&ports)).await;
    let takes_more = Callee::start_for(8, &server, other, "takes_what_is_too_fast", stays(&ports)).await;
    let began = Instant::now();
    let ids = places(&server, 8).await;
    let mut by_slow = 0;
    for id in &ids {
        by_slow += usize::from(carried_by(&server, id).await.as_deref() == Some("slow"));
    }
    // Two at once, and one more for each half second that went by: however slow the machine is.
    let most = 2 + began.elapsed().as_millis() / 500;
    assert!(by_slow >= 2 && by_slow as u128 <= most, "{by_slow} calls, at most {most}");
    server.has_calls(8).await;
    assert_eq!((takes.invites(), takes_more.invites()), (by_slow, 8 - by_slow), "on the wire");
    for id in &ids {
        hangs_up(&server, id).await;
    }
}

#[tokio::test]
async fn sipp_is_not_called_without_an_rtp_port_and_the_log_says_why() {
    let mut ports = Ports::lease();
    let carrier = ports.address();
    let only = format!("rtp.ports={}-{}", ports.rtp_port(), ports.rtp_port() + 1);
    let server = Server::start_with(&[&only], &outbound(&[trunk("carrier", carrier, "")])).await;
    let takes = Callee::start_for(2, &server, carrier, "has_no_second_caller", stays(&ports)).await;
    let first = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
    assert_eq!(carried_by(&server, &first).await.as_deref(), Some("carrier"));
    let second = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
    assert_eq!(ended(&server, &second).await["end_reason"], "unreachable");
    server.says("no port of rtp.ports is free", 1).await;
    assert_eq!(takes.invites(), 1);
    hangs_up(&server, &first).await;
}

#[tokio::test]
async fn sipp_hears_the_tone_untouched_in_every_place_while_thirty_others_are_refused() {
    let server = Server::start(&[&format!("limits.max_calls={PLACES}")]).await;
    let mut ears = Vec::new();
    for _ in 0..PLACES {
        ears.push(Ear::open().await);
    }
    let callers = ears.iter().map(|ear| {
        let script = Scenario::caller("has_a_place")
            .invites("", Some(&sdp(ear.port(), "0 101", "")))
            .gets_through(&[])
            .receives("BYE", &[])
            .replies(200, "", None);
        Sipp { script: Some(script), ..Sipp::default() }.succeeds(&server)
    });
    let crowd = async {
        server.has_calls(PLACES).await;
        Sipp { scenario: "is_refused", calls: 30, rate: 30, ..Sipp::default() }.succeeds(&server).await;
        assert_eq!(active(&server).await.len(), PLACES);
        listen_for(1_000).await;
        // One place is free, and one caller gets it; the next one does not.
        let one = active(&server).await.remove(0);
        hangs_up(&server, &one).await;
        let late = Scenario::caller("takes_the_free_place")
            .invites("", Some(&sdp(server.ports.rtp_port(), "0 101", "")))
            .gets_through(&[])
            .receives("BYE", &[])
            .replies(200, "", None);
        let and_the_next = async {
            server.has_calls(PLACES).await;
            Sipp { scenario: "is_refused", ..Sipp::default() }.succeeds(&server).await;
            for id in active(&server).await {
                hangs_up(&server, &id).await;
            }
        };
        tokio::join!(Sipp { script: Some(late), ..Sipp::default() }.succeeds(&server), and_the_next);
    };
    let listens = ears.iter().map(|ear| ear.listen(Duration::from_secs(60)));
    let (_, all, ()) = tokio::join!(join_all(callers), join_all(listens), crowd);
    for heard in &all {
        assert_eq!(heard.gaps, 0, "of {} packets", heard.packets);
        assert!(heard.packets > 50, "{} packets", heard.packets);
        assert!(tone_share(&heard.samples) > 0.95, "{}", tone_share(&heard.samples));
    }
    let records = server.ended_calls(PLACES + 1).await;
    assert_eq!(records.len(), PLACES + 1, "a refused call leaves no record");
    assert!(server.stop().await.success());
}

const PLACES: usize = 6;

/// Takes the call and stays until it is hung up on.
fn stays(ports: &Ports) -> Scenario {
    Scenario::callee("stays")
        .receives("INVITE", &[])
        .replies(200, "", Some(&sdp(ports.rtp_port(), "0 101", "")))
        .receives("ACK", &[])
        .receives("BYE", &[])
        .replies(200, "", None)
}

/// Places calls all at once; their ids.
async fn places(server: &Server, count: usize) -> Vec<String> {
    join_all((0..count).map(|_| calls(server, json!({ "to": NUMBER, "line": "1000" })))).await
}

/// The trunk that carries this call, once it is answered; none where the call ended without one.
async fn carried_by(server: &Server, id: &str) -> Option<String> {
    for _ in 0..500 {
        let call = server.json(&format!("/v1/calls/{id}")).await;
        if call["progress"] == "answered" || call["state"] == "ended" {
            return call["trunk"].as_str().map(str::to_owned);
        }
        listen_for(50).await;
    }
    panic!("the call {id} is neither answered nor over\n{}", server.log());
}

async fn ids_by(server: &Server, ids: &[String], trunk: &str) -> Vec<String> {
    let mut found = Vec::new();
    for id in ids {
        if carried_by(server, id).await.as_deref() == Some(trunk) {
            found.push(id.clone());
        }
    }
    found
}

/// Hangs up, where it is not over already, and waits for the end.
async fn hangs_up(server: &Server, id: &str) {
    server.post(&format!("/v1/calls/{id}/hangup"), &Value::Null).await;
    ended(server, id).await;
}

async fn active(server: &Server) -> Vec<String> {
    let list = server.json("/v1/calls?limit=500").await;
    let calls = list["calls"].as_array().unwrap().iter();
    calls.filter(|call| call["state"] == "active").map(|call| call["id"].as_str().unwrap().to_owned()).collect()
}

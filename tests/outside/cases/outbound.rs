//! Calls that Offhook places: SIPp, baresip and another Offhook are called.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::listen_for;
use crate::outside::baresip::Phone;
use crate::outside::ear::{Ear, tone_share};
use crate::outside::ports::Ports;
use crate::outside::scenario::Check::{Authorizes, Holds, Lacks};
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Callee;

#[tokio::test]
async fn sipp_is_called_with_early_media_and_reliable_ringing() {
    let (server, carrier, _ports) = with_a_carrier().await;
    let ear = Ear::open().await;
    let answer = sdp(ear.port(), "0 101", "");
    let script = Scenario::callee("rings_reliably")
        .receives("INVITE", &[Holds("Supported:.*100rel"), Holds("m=audio")])
        .replies(100, "", None)
        .replies(183, "Require: 100rel\nRSeq: 71", Some(&answer))
        .receives("PRACK", &[Holds("RAck: *71 +[0-9]+ +INVITE")])
        .replies(200, "", None)
        .pauses(300)
        .replies_to_the_invite(200, Some(&answer))
        .receives("ACK", &[])
        .pauses(2_500)
        .requests("BYE", "", None)
        .expects(200, &[]);
    let callee = Callee::start(&server, carrier, "rings_reliably", script).await;
    let id = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
    let ((), heard) = tokio::join!(callee.succeeds(&server), ear.listen(Duration::from_secs(60)));
    assert!(tone_share(&heard.samples) > 0.9, "{}", tone_share(&heard.samples));
    assert_eq!(ended(&server, &id).await["end_reason"], "callee_hung_up");
}

#[tokio::test]
async fn sipp_refuses_the_call_in_the_ways_that_mean_something() {
    for (status, headers, reason) in [
        (486, "", "busy"),
        (603, "", "rejected"),
        (302, "Contact: <sip:+8821@127.0.0.1:9>", "unreachable"),
        (480, "", "no_answer"),
    ] {
        let (server, carrier, _ports) = with_a_carrier().await;
        let script = Scenario::callee("refuses")
            .receives("INVITE", &[])
            .replies(100, "", None)
            .replies(status, headers, None)
            .receives("ACK", &[]);
        let callee = Callee::start(&server, carrier, "refuses", script).await;
        let id = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
        callee.succeeds(&server).await;
        assert_eq!(ended(&server, &id).await["end_reason"], reason, "{status}");
    }
}

#[tokio::test]
async fn sipp_asks_who_calls_by_401_and_knows_the_password() {
    let mut ports = Ports::lease();
    let carrier = ports.address();
    let yaml = outbound(&[trunk("carrier", carrier, "username: \"204\"\npassword: a-password-of-tests")]);
    let server = Server::start_with(&[], &yaml).await;
    let challenge = "WWW-Authenticate: Digest realm=\"sipp\", nonce=\"47ebe028cda119c35d4877b383027d28da013815\", algorithm=MD5, qop=\"auth\"";
    let script = Scenario::callee("asks_who_calls")
        .receives("INVITE", &[Lacks("Authorization:")])
        .replies(401, challenge, None)
        .receives("ACK", &[])
        .receives_and_keeps("INVITE", &[Authorizes("204", "a-password-of-tests")])
        .goes_on_if_authorized()
        .replies_to_the_invite(200, Some(&sdp(ports.rtp_port(), "0 101", "")))
        .receives("ACK", &[])
        .pauses(300)
        .requests("BYE", "", None)
        .expects(200, &[]);
    let callee = Callee::start(&server, carrier, "asks_who_calls", script).await;
    let id = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
    callee.succeeds(&server).await;
    assert_eq!(ended(&server, &id).await["end_reason"], "callee_hung_up");
}

#[tokio::test]
async fn sipp_rings_for_too_long_and_is_cancelled() {
    let (server, carrier, _ports) = with_a_carrier().await;
    let script = Scenario::callee("is_cancelled")
        .receives("INVITE", &[])
        .replies(180, "", None)
        .receives("CANCEL", &[])
        .replies(200, "", None)
        .replies_to_the_invite(487, None)
        .receives("ACK", &[]);
    let callee = Callee::start(&server, carrier, "is_cancelled", script).await;
    let id = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
    callee.succeeds(&server).await;
    assert_eq!(ended(&server, &id).await["end_reason"], "no_answer");
}

#[tokio::test]
async fn sipp_takes_the_call_that_another_trunk_could_not() {
    let mut ports = Ports::lease();
    let (first, second) = (ports.address(), ports.address());
    let yaml = outbound(&[trunk("first", first, "priority: 1"), trunk("second", second, "priority: 2")]);
    let server = Server::start_with(&[], &yaml).await;
    let refuses =
        Scenario::callee("is_out_of_service").receives("INVITE", &[]).replies(503, "", None).receives("ACK", &[]);
    let takes = Scenario::callee("takes_over")
        .receives("INVITE", &[])
        .replies(200, "", Some(&sdp(ports.rtp_port(), "0 101", "")))
        .receives("ACK", &[])
        .pauses(500)
        .requests("BYE", "", None)
        .expects(200, &[]);
    let refuses = Callee::start(&server, first, "is_out_of_service", refuses).await;
    let takes = Callee::start(&server, second, "takes_over", takes).await;
    let id = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
    tokio::join!(refuses.succeeds(&server), takes.succeeds(&server));
    let call = ended(&server, &id).await;
    assert_eq!((&call["end_reason"], &call["trunk"]), (&"callee_hung_up".into(), &"second".into()), "{call:#}");
}

#[tokio::test]
async fn baresip_is_called_and_hears_the_tone() {
    let (server, _, _ports) = with_a_carrier().await;
    let mut phone = Phone { user: NUMBER, ..Phone::default() }.start(server.dir()).await;
    let other = server.another(&[], &outbound(&[trunk("phone", phone.sip, "")])).await;
    let id = calls(&other, json!({ "to": NUMBER, "line": "1000" })).await;
    phone.takes_the_call(Duration::from_secs(10)).await;
    listen_for(2_500).await;
    phone.hangs_up().await;
    assert_eq!(ended(&other, &id).await["end_reason"], "callee_hung_up");
    let heard = phone.heard().await;
    assert!(tone_share(&heard) > 0.7, "{}", tone_share(&heard));
}

#[tokio::test]
async fn offhook_calls_offhook_and_both_keep_a_record() {
    let called = Server::start(&[]).await;
    let calling = called.another(&[], &outbound(&[trunk("other", called.sip, "")])).await;
    let id = calls(&calling, json!({ "to": NUMBER, "line": "1000" })).await;
    called.has_calls(1).await;
    listen_for(2_000).await;
    let (status, body) = calling.post(&format!("/v1/calls/{id}/hangup"), &json!({})).await;
    assert!((200..300).contains(&status), "{status}: {body}");
    assert_eq!(ended(&calling, &id).await["end_reason"], "operator");
    let call = called.ended_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up");
    assert!(call["summary"]["frames_received"].as_u64() > Some(60), "{call:#}");
}

pub const NUMBER: &str = "+250788000001";

/// A server with one trunk, and the address where the trunk's far side is to listen.
async fn with_a_carrier() -> (Server, SocketAddr, Ports) {
    let mut ports = Ports::lease();
    let carrier = ports.address();
    (Server::start_with(&[], &outbound(&[trunk("carrier", carrier, "")])).await, carrier, ports)
}

/// A configuration that lets calls out over these trunks.
pub fn outbound(trunks: &[String]) -> String {
    format!(
        "outbound:\n  enabled: true\n  allow: [\"+250\"]\n  ring_timeout_s: 5\n  wait_for_hello: false\n\
         sip:\n  trunks:\n{}",
        trunks.concat()
    )
}

/// One entry of `sip.trunks`, with more keys where a test needs them.
pub fn trunk(name: &str, address: SocketAddr, more: &str) -> String {
    let more = more.lines().fold(String::new(), |all, line| all + "      " + line + "\n");
    format!("    - name: {name}\n      address: \"{address}\"\n      ping_s: 0\n{more}")
}

/// Places a call; its id.
pub async fn calls(server: &Server, wanted: Value) -> String {
    let (status, body) = server.post("/v1/calls", &wanted).await;
    assert_eq!(status, 202, "{body}\n{}", server.log());
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["id"].as_str().unwrap_or_else(|| panic!("no id: {body}")).to_owned()
}

/// The record of this call once it has ended.
pub async fn ended(server: &Server, id: &str) -> Value {
    for _ in 0..600 {
        let call = server.json(&format!("/v1/calls/{id}")).await;
        if call["state"] == "ended" {
            return call;
        }
        listen_for(50).await;
    }
    panic!("the call {id} has not ended: {:#}\n{}", server.json(&format!("/v1/calls/{id}")).await, server.log());
}

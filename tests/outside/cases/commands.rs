//! The commands of the binary: `offhook call` through Kamailio, and what it says and exits with when it is not to be.

use std::time::Duration;

use serde_json::json;

use super::listen_for;
use super::outbound::{NUMBER, calls, ended, outbound, trunk};
use super::registrar::{SOON, registers};
use crate::outside::ear::{Ear, tone_share};
use crate::outside::kamailio::PASSWORD;
use crate::outside::ports::Ports;
use crate::outside::scenario::Check::Holds;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Callee;

#[tokio::test]
async fn kamailio_lets_out_what_offhook_call_asks_for_and_the_command_says_how_it_went() {
    let (server, kamailio) = registers(&[], PASSWORD, 300).await;
    kamailio.says("registered offhook", 1, SOON).await;
    let ear = Ear::open().await;
    let script = Scenario::callee("is_called_by_command")
        .receives("INVITE", &[Holds("Record-Route: <sip:127.0.0.1")])
        .replies(180, "", None)
        .replies(200, "", Some(&sdp(ear.port(), "0 101", "")))
        .receives("ACK", &[])
        .pauses(2_500)
        .requests("BYE", "[routes]", None)
        .expects(200, &[]);
    let callee = Callee::start(&server, kamailio.carrier, "is_called_by_command", script).await;
    let command = server.command(&["call", NUMBER, "--line", "1000", "--wait"]);
    let (finished, (), heard) = tokio::join!(command, callee.succeeds(&server), ear.listen(Duration::from_secs(60)));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let [id, reason] = finished.stdout.lines().collect::<Vec<_>>().try_into().expect("the id and the end");
    assert_eq!(reason, "callee_hung_up");
    assert!(finished.stderr.lines().any(|step| step == "answered"), "{finished:?}");
    assert!(tone_share(&heard.samples) > 0.9, "{}", tone_share(&heard.samples));
    let call = ended(&server, id).await;
    assert_eq!((&call["end_reason"], &call["trunk"]), (&"callee_hung_up".into(), &"pbx".into()), "{call:#}");
    assert_eq!(call["direction"], "outbound");
    for text in [&finished.stdout, &finished.stderr, &server.log()] {
        assert!(!text.contains(NUMBER) && !text.contains(PASSWORD), "{text}");
    }
    kamailio.stop().await;
}

#[tokio::test]
async fn kamailio_does_not_believe_a_wrong_password_and_offhook_call_fails() {
    let (server, kamailio) = registers(&[], "not the password", 300).await;
    let finished = server.command(&["call", NUMBER, "--line", "1000", "--wait"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("the call was not answered: rejected"), "{finished:?}");
    assert_eq!(ended(&server, finished.stdout.trim()).await["end_reason"], "rejected");
    kamailio.stop().await;
}

#[tokio::test]
async fn offhook_answers_offhook_that_401_asked_for_a_password() {
    let users = "sip: {guard: {unknown: challenge, trusted: []}, users: [{username: office, password: c4nary-bird}]}\n";
    let called = Server::start_with(&[], users).await;
    for (password, reason) in [("c4nary-bird", "operator"), ("another", "rejected")] {
        let credentials = format!("username: office\npassword: {password}");
        let calling = called.another(&[], &outbound(&[trunk("other", called.sip, &credentials)])).await;
        let id = calls(&calling, json!({ "to": NUMBER, "line": "1000" })).await;
        if reason == "operator" {
            called.has_calls(1).await;
            listen_for(1_000).await;
            calling.post(&format!("/v1/calls/{id}/hangup"), &json!({})).await;
        }
        let call = ended(&calling, &id).await;
        assert_eq!((&call["end_reason"], &call["trunk"]), (&reason.into(), &"other".into()), "{call:#}");
    }
    assert_eq!(called.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn offhook_call_is_refused_numbers_that_are_not_allowed_and_nobody_is_called() {
    let mut ports = Ports::lease();
    let carrier = ports.address();
    let server = Server::start_with(&[], &outbound(&[trunk("carrier", carrier, "")])).await;
    let listens = tokio::net::UdpSocket::bind(carrier).await.unwrap();
    for (number, code, status) in [
        ("+4930123456", "number_not_allowed", 403),
        ("0788000001", "bad_number", 422),
        ("+250788000001;phone-context=x", "bad_number", 422),
        ("+8821234567", "number_not_allowed", 403),
    ] {
        let finished = server.command(&["call", number, "--line", "1000", "--wait"]).await;
        assert_eq!(finished.code, Some(1), "{number}: {finished:?}");
        assert!(finished.stderr.starts_with(&format!("offhook: {code}: ")), "{number}: {finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
        assert_eq!(finished.stdout, "");
        let (answered, body) = server.post("/v1/calls", &json!({ "to": number, "line": "1000" })).await;
        assert_eq!(answered, status, "{body}");
        assert!(body.contains(code), "{body}");
    }
    let finished = server.command(&["call", NUMBER, "--flow", "nothing"]).await;
    assert_eq!((finished.code, finished.stderr.contains("no_such_flow")), (Some(1), true), "{finished:?}");
    let finished = server.command(&["call"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert_eq!(server.json("/v1/calls").await["calls"], json!([]), "a refused call leaves no record");
    let mut datagram = [0; 2048];
    assert!(listens.try_recv(&mut datagram).is_err(), "the carrier was called");
}

#[tokio::test]
async fn offhook_call_waits_for_an_answer_and_says_what_came_instead() {
    let mut ports = Ports::lease();
    let carrier = ports.address();
    let server = Server::start_with(&[], &outbound(&[trunk("carrier", carrier, "")])).await;
    let script = Scenario::callee("is_busy")
        .receives("INVITE", &[])
        .replies(180, "", None)
        .replies(486, "", None)
        .receives("ACK", &[]);
    let callee = Callee::start(&server, carrier, "is_busy", script).await;
    let (finished, ()) =
        tokio::join!(server.command(&["call", NUMBER, "--line", "1000", "--wait"]), callee.succeeds(&server));
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("the call was not answered: busy"), "{finished:?}");

    // Whom an operator hangs up on had answered.
    let script = Scenario::callee("is_hung_up_on")
        .receives("INVITE", &[])
        .replies(200, "", Some(&sdp(ports.rtp_port(), "0 101", "")))
        .receives("ACK", &[])
        .receives("BYE", &[])
        .replies(200, "", None);
    let callee = Callee::start(&server, carrier, "is_hung_up_on", script).await;
    let hangs_up = async {
        server.has_calls(1).await;
        listen_for(1_500).await;
        let list = server.json("/v1/calls").await;
        let id = list["calls"][0]["id"].as_str().unwrap().to_owned();
        server.post(&format!("/v1/calls/{id}/hangup"), &json!({})).await;
    };
    let (finished, (), ()) =
        tokio::join!(server.command(&["call", NUMBER, "--line", "1000", "--wait"]), callee.succeeds(&server), hangs_up);
    assert_eq!((finished.code, finished.stdout.lines().last()), (Some(0), Some("operator")), "{finished:?}");

    let nobody = server.another(&[], "").await;
    let (http, dir) = (nobody.http, server.dir().to_owned());
    assert!(nobody.stop().await.success());
    let listen = format!("http.listen={http}");
    let finished = crate::outside::server::offhook(&["call", NUMBER, "--set", &listen], &dir).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains(&format!("no server answers at {http} (http.listen)")), "{finished:?}");
}

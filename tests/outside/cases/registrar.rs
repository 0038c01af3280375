//! Kamailio as the registrar and authenticating proxy of an account that Offhook registers and calls through.

use std::time::Duration;

use serde_json::json;

use super::listen_for;
use super::outbound::{NUMBER, calls, ended, trunk};
use crate::outside::baresip::Phone;
use crate::outside::ear::{Ear, tone_share};
use crate::outside::kamailio::{Kamailio, PASSWORD, REALM};
use crate::outside::ports::Ports;
use crate::outside::scenario::Check::Holds;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::{self, Server};
use crate::outside::sipp::{Callee, Sipp};

#[tokio::test]
async fn kamailio_registers_offhook_and_brings_its_calls() {
    let (server, kamailio) = registers(&[], PASSWORD, 300).await;
    kamailio.says("registered offhook for 300 s", 1, SOON).await;
    let ear = Ear::open().await;
    let script = Scenario::caller("calls_the_account")
        .invites("", Some(&sdp(ear.port(), "0 101", "")))
        .gets_through(&[Holds("Record-Route:")])
        .pauses(2_500)
        .hangs_up();
    let call = Sipp {
        script: Some(script),
        number: "offhook",
        target: Some(kamailio.address),
        from: Some(kamailio.carrier),
        ..Sipp::default()
    };
    let ((), heard) = tokio::join!(call.succeeds(&server), ear.listen(Duration::from_secs(60)));
    assert!(heard.packets > 80, "{}", heard.packets);
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
    assert!(server.stop().await.success());
    kamailio.says("registered offhook for 0 s", 1, SOON).await;
    kamailio.stop().await;
}

#[tokio::test]
async fn kamailio_asks_for_sha_256_and_gets_it() {
    let (_server, kamailio) = registers(&["ALGORITHM=\"SHA-256\""], PASSWORD, 300).await;
    kamailio.says("registered offhook for 300 s", 1, SOON).await;
    kamailio.stop().await;
}

#[tokio::test]
async fn kamailio_finds_the_password_wrong_and_is_not_stormed() {
    let (_server, kamailio) = registers(&[], "not the password", 300).await;
    kamailio.says("refused credentials of offhook", 1, SOON).await;
    listen_for(4_000).await;
    let times = kamailio.log().matches("refused credentials of offhook").count();
    assert!((1..=3).contains(&times), "asked {times} times in 4 s");
    assert!(!kamailio.log().contains("registered offhook"));
    kamailio.stop().await;
}

#[tokio::test]
async fn kamailio_finds_the_interval_too_brief_and_gets_a_longer_one() {
    let (_server, kamailio) = registers(&["MIN_EXPIRES=120"], PASSWORD, 60).await;
    kamailio.says("registered offhook for 120 s", 1, SOON).await;
    kamailio.stop().await;
}

#[tokio::test]
async fn kamailio_is_asked_again_in_time_though_its_nonce_is_stale() {
    let (_server, kamailio) = registers(&["MIN_EXPIRES=10", "NONCE_EXPIRE=5"], PASSWORD, 30).await;
    kamailio.says("registered offhook for 30 s", 2, Duration::from_secs(60)).await;
    assert!(!kamailio.log().contains("refused credentials"), "a stale nonce is not a wrong password");
    kamailio.stop().await;
}

#[tokio::test]
async fn kamailio_asks_who_calls_and_lets_the_call_out() {
    let (server, kamailio) = registers(&[], PASSWORD, 300).await;
    kamailio.says("registered offhook", 1, SOON).await;
    let ear = Ear::open().await;
    let script = Scenario::callee("is_called_through_a_proxy")
        .receives("INVITE", &[Holds("Record-Route: <sip:127.0.0.1"), Holds("Contact:")])
        .replies(180, "", None)
        .replies(200, "", Some(&sdp(ear.port(), "0 101", "")))
        .receives("ACK", &[])
        .receives("BYE", &[])
        .replies(200, "", None);
    let callee = Callee::start(&server, kamailio.carrier, "is_called_through_a_proxy", script).await;
    let id = calls(&server, json!({ "to": NUMBER, "line": "1000" })).await;
    let hangs_up = async {
        server.has_calls(1).await;
        listen_for(3_000).await;
        server.post(&format!("/v1/calls/{id}/hangup"), &json!({})).await;
    };
    let ((), heard, ()) = tokio::join!(callee.succeeds(&server), ear.listen(Duration::from_secs(60)), hangs_up);
    assert!(tone_share(&heard.samples) > 0.9, "{}", tone_share(&heard.samples));
    assert_eq!(ended(&server, &id).await["end_reason"], "operator");
    kamailio.stop().await;
}

#[tokio::test]
async fn kamailio_forks_the_call_and_only_one_answer_stays() {
    let (server, kamailio) = registers(&[], PASSWORD, 300).await;
    kamailio.says("registered offhook", 1, SOON).await;
    let ports = Ports::lease();
    let answers = |name| {
        Scenario::callee(name)
            .receives("INVITE", &[])
            .replies(200, "", Some(&sdp(ports.rtp_port(), "0 101", "")))
            .receives("ACK", &[])
            .receives("BYE", &[])
            .replies(200, "", None)
    };
    let one = Callee::start(&server, kamailio.carrier, "branch_1", answers("branch_1")).await;
    let two = Callee::start(&server, kamailio.second_carrier, "branch_2", answers("branch_2")).await;
    let id = calls(&server, json!({ "to": "+250788000600", "line": "1000" })).await;
    let hangs_up = async {
        server.has_calls(1).await;
        listen_for(1_500).await;
        server.post(&format!("/v1/calls/{id}/hangup"), &json!({})).await;
    };
    tokio::join!(one.succeeds(&server), two.succeeds(&server), hangs_up);
    assert_eq!(ended(&server, &id).await["end_reason"], "operator");
    kamailio.stop().await;
}

#[tokio::test]
async fn baresip_calls_another_account_of_kamailio() {
    let (server, kamailio) = registers(&[], PASSWORD, 300).await;
    kamailio.says("registered offhook", 1, SOON).await;
    let domain = kamailio.address.to_string();
    let account = format!(";regint=60;auth_user=phone;auth_pass={PASSWORD};outbound=\"sip:{domain}\"");
    let phone = Phone { user: "phone", domain: &domain, account: &account, ..Phone::default() };
    let mut phone = phone.start(server.dir()).await;
    kamailio.says("registered phone", 1, SOON).await;
    phone.dials(&format!("sip:offhook@{domain}")).await;
    listen_for(3_000).await;
    phone.hangs_up().await;
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
    kamailio.stop().await;
}

pub const SOON: Duration = Duration::from_secs(60);

/// A server with an account at Kamailio, which is a trunk of it as well.
pub async fn registers(definitions: &[&str], password: &str, expires_s: u32) -> (Server, Kamailio) {
    let place = server::place().await;
    let kamailio = Kamailio::start(&server::fresh_dir(), definitions).await;
    let address = kamailio.address;
    let account = format!("username: offhook\npassword: \"{password}\"\nrealm: {REALM}");
    // Number 600 is known to Kamailio by its last digits.
    let trunk = trunk("pbx", address, &format!("{account}\nprefix: {{strip: \"+250788000\"}}"));
    let account = account.replace('\n', "\n      ");
    let yaml = format!(
        "{}  registrations:\n    - registrar: \"{address}\"\n      {account}\n      expires_s: {expires_s}\n      trunk: pbx\n",
        super::outbound::outbound(&[trunk])
    );
    (Server::start_in(place, &[], &yaml).await, kamailio)
}

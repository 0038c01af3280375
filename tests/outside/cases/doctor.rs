//! `offhook doctor` as an operator runs it: what it prints and what it exits with, for trunks that are well and ill.

use super::outbound::{NUMBER, outbound, trunk};
use super::registrar::{SOON, registers};
use crate::outside::kamailio::PASSWORD;
use crate::outside::ports::Ports;
use crate::outside::programs::Finished;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Callee;

#[tokio::test]
async fn doctor_finds_nothing_wrong_with_kamailio_and_a_trunk_to_offhook() {
    let (server, kamailio) = registers(&[], PASSWORD, 300).await;
    kamailio.says("registered offhook", 1, SOON).await;
    let finished = server.command(&["doctor", FEW]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    says(&finished, "ok", "trunk pbx", "answers OPTIONS with 200");
    says(&finished, "ok", "account offhook", "registered, for 60 s");
    says(&finished, "ok", "call to this server", "0.0 % lost");

    let other = server.another(&[], &outbound(&[trunk("other", server.sip, "")])).await;
    let finished = other.command(&["doctor", FEW, "--call", "1000", "--seconds", "8"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    says(&finished, "ok", "call through other", "0.0 % lost");
    says(&finished, "ok", "call through other", "the far side says (RTCP) that our audio arrives");
    assert!(finished.stderr.is_empty(), "{finished:?}");
    kamailio.stop().await;
}

#[tokio::test]
async fn doctor_names_a_trunk_that_is_dead_and_one_that_refuses_connections() {
    let mut ports = Ports::lease();
    let (silent, closed) = (ports.address(), ports.address());
    let _silent = tokio::net::UdpSocket::bind(silent).await.unwrap();
    let trunks = [trunk("dead", silent, ""), trunk("gone", closed, "transport: tcp")];
    let server = Server::start_with(&[], &outbound(&trunks)).await;
    let finished = server.command(&["doctor", FEW, "--call", NUMBER]).await;
    is_ill(&finished);
    says(&finished, "PROBLEM", "trunk dead", "nothing answers OPTIONS within 4 s: wrong address or port, a firewall");
    says(&finished, "PROBLEM", "trunk gone", "nothing listens there, or a firewall refuses");
    says(&finished, "PROBLEM", "call through dead", "not tried: the trunk does not answer");
    let finished = server.command(&["doctor", FEW, "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((finished.code, &report["well"]), (Some(1), &false.into()), "{report:#}");
}

#[tokio::test]
async fn doctor_is_told_by_kamailio_that_the_password_is_wrong() {
    let (server, kamailio) = registers(&[], "not the password", 300).await;
    let finished = server.command(&["doctor", FEW, "--call", NUMBER]).await;
    is_ill(&finished);
    says(&finished, "PROBLEM", "account offhook", "username, password or realm are wrong");
    says(&finished, "PROBLEM", "call through pbx", "the trunk does not know us by password or by address");
    assert!(!finished.stdout.contains("not the password"), "{finished:?}");
    kamailio.stop().await;
}

#[tokio::test]
async fn doctor_hears_nothing_from_sipp_and_says_where_it_listened() {
    let mut ports = Ports::lease();
    let carrier = ports.address();
    let server = Server::start_with(&[], &outbound(&[trunk("mute", carrier, "")])).await;
    let mute = Scenario::callee("sends_no_audio")
        .may_be_pinged()
        .receives("INVITE", &[])
        .replies(200, "", Some(&sdp(ports.rtp_port(), "8", "")))
        .receives("ACK", &[])
        .receives("BYE", &[])
        .replies(200, "", None);
    let doctor = server.command(&["doctor", FEW, "--call", NUMBER, "--seconds", "4"]);
    let far = async {
        // The doctor asks for OPTIONS first and calls then: two calls to SIPp.
        Callee::start_for(2, &server, carrier, "sends_no_audio", mute).await.succeeds(&server).await;
    };
    let (finished, ()) = tokio::join!(doctor, far);
    is_ill(&finished);
    let to = format!("(Pcma), while we sent to 127.0.0.1:{}", ports.rtp_port());
    says(&finished, "PROBLEM", "call through mute", "no RTP came to 127.0.0.1:");
    says(&finished, "PROBLEM", "call through mute", &to);
    says(&finished, "warning", "call through mute", "no telephone-event: keys come by SIP INFO or as tones");
}

#[tokio::test]
async fn doctor_hears_offhook_that_does_not_hear_it_and_calls_it_one_way_audio() {
    let (called, relay) = Server::behind_a_network(14, &[]).await;
    let way_in = std::net::SocketAddr::new(relay.address(), called.sip.port());
    let calling = called.another(&[], &outbound(&[trunk("deaf", way_in, "")])).await;
    relay.loses_audio_on_the_way_up();
    let finished = calling.command(&["doctor", FEW, "--call", "1000", "--seconds", "10"]).await;
    is_ill(&finished);
    says(&finished, "ok", "call through deaf", "0.0 % lost");
    says(&finished, "PROBLEM", "call through deaf", "one-way audio");
}

/// As few calls as any machine has open files for.
const FEW: &str = "--set=limits.max_calls=10";

fn is_ill(finished: &Finished) {
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stderr.trim(), "offhook: calls do not work: see above");
}

/// One line that begins so, and holds this.
fn says(finished: &Finished, mark: &str, about: &str, what: &str) {
    let found = finished.stdout.lines().any(|line| {
        let told = line.strip_prefix(mark).map(str::trim_start).and_then(|rest| rest.strip_prefix(about));
        told.is_some_and(|told| told.contains(what))
    });
    assert!(found, "no {mark} `{about}`: `{what}` in\n{}", finished.stdout);
}

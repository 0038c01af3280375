//! Transfers: the far side is asked to call somebody else (REFER), reports how that went (NOTIFY), and is let go or comes
//! back to the flow.

use std::net::SocketAddr;

use crate::outside::baresip::Baresip;
use crate::outside::ports::Ports;
use crate::outside::record::said;
use crate::outside::scenario::Check::Holds;
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::{Callee, Sipp};

#[tokio::test]
async fn sipp_is_transferred_and_reports_success() {
    let mut ports = Ports::lease();
    let desk = ports.address();
    let server = Server::with_flow(&[], &flow(desk, "blind")).await;
    let script = Scenario::caller("is_transferred")
        .invites("Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY", Some(&sdp(ports.rtp_port(), "0 101", "")))
        .gets_through(&[])
        .receives("REFER", &[Holds(&format!("Refer-To: *<sip:desk@{desk}")), Holds("Referred-By:|Contact:")])
        .replies(202, "", None)
        .requests("NOTIFY", "Event: refer\nSubscription-State: active;expires=60", fragment("100 Trying"))
        .expects(200, &[])
        .requests("NOTIFY", "Event: refer\nSubscription-State: terminated;reason=noresource", fragment("200 OK"))
        .expects(200, &[])
        .receives("BYE", &[])
        .replies(200, "", None);
    Sipp { script: Some(script), ..Sipp::default() }.succeeds(&server).await;
    assert_eq!(server.ended_call().await["end_reason"], "transferred");
}

#[tokio::test]
async fn sipp_reports_that_the_desk_is_busy_and_is_back_in_the_flow() {
    let mut ports = Ports::lease();
    let desk = ports.address();
    let server = Server::with_flow(&[], &flow(desk, "blind")).await;
    let script = Scenario::caller("is_back_in_the_flow")
        .invites("Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY", Some(&sdp(ports.rtp_port(), "0 101", "")))
        .gets_through(&[])
        .receives("REFER", &[])
        .replies(202, "", None)
        .requests("NOTIFY", "Event: refer\nSubscription-State: terminated;reason=noresource", fragment("486 Busy Here"))
        .expects(200, &[])
        .receives("BYE", &[])
        .replies(200, "", None);
    Sipp { script: Some(script), ..Sipp::default() }.succeeds(&server).await;
    let call = server.ended_call().await;
    assert_eq!((&call["end_reason"], &call["transfer"]), (&"flow_hung_up".into(), &"busy".into()), "{call:#}");
    assert!(said(&call).contains("Please write to us"), "{call:#}");
}

#[tokio::test]
async fn sipp_does_not_let_itself_be_transferred_and_is_back_in_the_flow() {
    let mut ports = Ports::lease();
    let desk = ports.address();
    let server = Server::with_flow(&[], &flow(desk, "blind")).await;
    let script = Scenario::caller("refuses_a_transfer")
        .invites("", Some(&sdp(ports.rtp_port(), "0 101", "")))
        .gets_through(&[])
        .receives("REFER", &[])
        .replies(603, "", None)
        .receives("BYE", &[])
        .replies(200, "", None);
    Sipp { script: Some(script), ..Sipp::default() }.succeeds(&server).await;
    assert_eq!(server.ended_call().await["end_reason"], "flow_hung_up");
}

#[tokio::test]
async fn baresip_is_transferred_to_sipp() {
    let mut ports = Ports::lease();
    let desk = ports.address();
    let server = Server::with_flow(&[], &flow(desk, "blind")).await;
    let script = Scenario::callee("desk")
        .receives("INVITE", &[Holds("From:.*250788123456")])
        .replies(180, "", None)
        .replies(200, "", Some(&sdp(ports.rtp_port(), "0 101", "")))
        .receives("ACK", &[])
        .pauses(1_500)
        .requests("BYE", "", None)
        .expects(200, &[]);
    let callee = Callee::start(&server, desk, "desk", script).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&format!("sip:any@{}", server.sip)).await;
    callee.succeeds(&server).await;
    assert_eq!(server.ended_call().await["end_reason"], "transferred");
}

#[tokio::test]
async fn sipp_takes_the_place_of_the_call_to_the_desk() {
    let mut ports = Ports::lease();
    let desk = ports.address();
    let server = Server::with_flow(&[], &flow(desk, "attended")).await;
    let answer = sdp(ports.rtp_port(), "0 101", "");
    let at_desk = Scenario::callee("desk_is_asked")
        .receives("INVITE", &[])
        .replies(180, "", None)
        .replies(200, "", Some(&answer))
        .receives("ACK", &[])
        // Who is replaced says goodbye to whom they talked to (RFC 3891 3).
        .pauses(2_500)
        .requests("BYE", "", None)
        .expects(200, &[]);
    let callee = Callee::start(&server, desk, "desk_is_asked", at_desk).await;
    let script = Scenario::caller("takes_the_place")
        .invites("Allow: INVITE, ACK, BYE, CANCEL, REFER, NOTIFY\nSupported: replaces", Some(&answer))
        .gets_through(&[])
        .receives("REFER", &[Holds("Refer-To: *<sip:[^>]*Replaces=[^>]*to-tag")])
        .replies(202, "", None)
        .requests("NOTIFY", "Event: refer\nSubscription-State: terminated;reason=noresource", fragment("200 OK"))
        .expects(200, &[])
        .receives("BYE", &[])
        .replies(200, "", None);
    let caller = Sipp { script: Some(script), ..Sipp::default() };
    tokio::join!(caller.succeeds(&server), callee.succeeds(&server));
    let calls = server.ended_calls(1).await;
    assert!(calls.iter().any(|call| call["end_reason"] == "transferred"), "{calls:#?}");
}

fn fragment(status: &str) -> Option<(&'static str, &'static str)> {
    let text = match status {
        "100 Trying" => "SIP/2.0 100 Trying",
        "200 OK" => "SIP/2.0 200 OK",
        _ => "SIP/2.0 486 Busy Here",
    };
    Some(("message/sipfrag;version=2.0", text))
}

/// Hands every caller to the desk; who comes back is told to write.
fn flow(desk: SocketAddr, mode: &str) -> String {
    format!(
        "name: own\nsteps:\n  hand_over:\n    transfer:\n      target: \"sip:desk@{desk}\"\n      mode: {mode}\n      \
         ring_timeout_s: 10\n      say: One moment.\n      on_failed: write\n  write:\n    hangup: Please write to us.\n"
    )
}

//! Calls of the plain kind: SIPp and baresip call, listen, press keys, are hung up on, and are refused when it is full.

use std::time::Duration;

use super::{AUDIBLE_DBFS, listen_for};
use crate::outside::baresip::Baresip;
use crate::outside::ear::{Ear, loudest};
use crate::outside::record::{reached_by_key, said};
use crate::outside::scenario::{Scenario, sdp};
use crate::outside::server::Server;
use crate::outside::sipp::Sipp;

#[tokio::test]
async fn sipp_hears_the_tone_of_the_bench_line() {
    let server = Server::start(&[]).await;
    let ear = Ear::open().await;
    let keys = [("ear_port", ear.address().port().to_string())];
    let call = Sipp { scenario: "listens", pause_ms: 4_000, keys: &keys, ..Sipp::default() };
    let ((), heard) = tokio::join!(call.succeeds(&server), ear.listen(Duration::from_secs(60)));
    assert!(heard.packets > 100, "{} packets in 4 s", heard.packets);
    assert_eq!(heard.gaps, 0);
    // A sine whose peaks are at -20 dBFS has an RMS of -23.
    assert!((-24.0..-22.0).contains(&heard.loudest()), "the tone was {} dBFS", heard.loudest());
    assert_eq!(server.ended_call().await["end_reason"], "caller_hung_up");
}

#[tokio::test]
async fn sipp_hears_the_clinic_greet_over_tcp_signalling() {
    let server = Server::start(&[]).await;
    let ear = Ear::open().await;
    let keys = [("ear_port", ear.address().port().to_string())];
    let call =
        Sipp { scenario: "listens", number: "clinic", pause_ms: 5_000, keys: &keys, tcp: true, ..Sipp::default() };
    let ((), heard) = tokio::join!(call.succeeds(&server), ear.listen(Duration::from_secs(60)));
    assert!(heard.loudest() > AUDIBLE_DBFS, "the greeting was {} dBFS at its loudest", heard.loudest());
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up");
    assert!(said(&call).contains("this is the clinic"), "{call:#}");
}

#[tokio::test]
async fn sipp_presses_1_and_reaches_appointments() {
    let server = Server::start(&[]).await;
    let call = Sipp { scenario: "presses_key", number: "clinic", pause_ms: 4_000, raw: true, ..Sipp::default() };
    call.succeeds(&server).await;
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up");
    assert!(reached_by_key(&call, "appointment"), "key 1 did not lead to appointments: {call:#}");
}

#[tokio::test]
async fn sipp_is_hung_up_on_by_the_flow() {
    let server = Server::with_flow(&[], SAYS_GOODBYE).await;
    let script = Scenario::caller("is_hung_up_on")
        .invites("", Some(&sdp(server.ports.rtp_port(), "0 101", "")))
        .gets_through(&[])
        .receives("BYE", &[])
        .replies(200, "", None);
    Sipp { script: Some(script), ..Sipp::default() }.succeeds(&server).await;
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "flow_hung_up");
    assert!(said(&call).contains("Goodbye"), "{call:#}");
}

#[tokio::test]
async fn sipp_brings_twenty_callers_within_two_seconds() {
    let server = Server::start(&[]).await;
    Sipp { calls: 20, rate: 10, ..Sipp::default() }.succeeds(&server).await;
    let calls = server.ended_calls(20).await;
    assert_eq!(calls.len(), 20);
    for call in &calls {
        assert_eq!(call["end_reason"], "caller_hung_up", "{call:#}");
    }
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn sipp_is_refused_when_all_places_are_taken() {
    let server = Server::start(&["limits.max_calls=2"]).await;
    let taken = Sipp { calls: 2, pause_ms: 8_000, ..Sipp::default() };
    let late = async {
        while server.json("/v1/calls").await["calls"].as_array().is_none_or(|calls| calls.len() < 2) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Sipp { scenario: "is_refused", ..Sipp::default() }.succeeds(&server).await;
    };
    tokio::join!(taken.succeeds(&server), late);
    assert_eq!(server.ended_calls(2).await.len(), 2, "a refused call leaves no record");
}

#[tokio::test]
async fn sipp_asks_for_options() {
    let server = Server::start(&[]).await;
    Sipp { scenario: "asks_options", calls: 3, ..Sipp::default() }.succeeds(&server).await;
    Sipp { scenario: "asks_options", tcp: true, ..Sipp::default() }.succeeds(&server).await;
}

#[tokio::test]
async fn baresip_talks_to_the_clinic_and_hangs_up() {
    let server = Server::start(&[]).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&format!("sip:clinic@{}", server.sip)).await;
    listen_for(5_000).await;
    phone.presses('1').await;
    listen_for(4_000).await;
    phone.hangs_up().await;
    let heard = phone.heard().await;
    assert!(loudest(&heard) > AUDIBLE_DBFS, "the greeting was {} dBFS at its loudest", loudest(&heard));
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up");
    assert!(reached_by_key(&call, "appointment"), "key 1 did not lead to appointments: {call:#}");
}

#[tokio::test]
async fn baresip_is_hung_up_on_by_the_flow() {
    let server = Server::with_flow(&[], SAYS_GOODBYE).await;
    let mut phone = Baresip::start(server.dir()).await;
    phone.dials(&format!("sip:any@{}", server.sip)).await;
    phone.is_hung_up(Duration::from_secs(20)).await;
    assert!(loudest(&phone.heard().await) > AUDIBLE_DBFS);
    assert_eq!(server.ended_call().await["end_reason"], "flow_hung_up");
}

#[tokio::test]
async fn no_log_line_holds_a_callers_number() {
    let server = Server::start(&[]).await;
    Sipp { number: "clinic", calls: 2, ..Sipp::default() }.succeeds(&server).await;
    let calls = server.ended_calls(2).await;
    for (place, text) in [("the log", server.log()), ("the API", format!("{calls:?}"))] {
        assert!(!text.contains("788123456"), "{place} holds the caller's number:\n{text}");
    }
}

const SAYS_GOODBYE: &str = "
name: own
steps:
  goodbye:
    hangup: We are closed today. Goodbye.
";

//! The server as strangers meet it: SIPp, baresip, Twilio's own helper library and curl against the real binary.
//!
//! What these programs do is not ours, so what passes here works for people who have never seen this code. They come
//! from Debian and PyPI; scripts/test installs them. A missing one fails its tests: nothing here is ever skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

mod outside {
    pub mod baresip;
    pub mod ear;
    pub mod programs;
    pub mod server;
    pub mod sipp;
}

use std::time::Duration;

use outside::baresip::Baresip;
use outside::ear::{Ear, loudest};
use outside::programs;
use outside::server::Server;
use outside::sipp::Sipp;
use serde_json::Value;

/// Quieter than any voice on a telephone line, louder than any noise of ours.
const AUDIBLE_DBFS: f32 = -40.0;

#[tokio::test]
async fn sipp_hears_the_tone_of_the_bench_line() {
    let server = Server::start(&[]).await;
    let ear = Ear::open().await;
    let keys = [("ear_port", ear.address().port().to_string())];
    let call = Sipp { scenario: "listens", pause_ms: 4_000, keys: &keys, ..Sipp::default() };
    let ((), heard) = tokio::join!(call.succeeds(&server), ear.listen(Duration::from_secs(20)));
    assert!(heard.packets > 150, "{} packets in 4 s", heard.packets);
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
    let ((), heard) = tokio::join!(call.succeeds(&server), ear.listen(Duration::from_secs(20)));
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
async fn sipp_is_told_that_nobody_can_take_the_call_and_is_hung_up_on() {
    // SIPp does not know REFER, and no target is configured: the flow goes on without a transfer.
    let server = Server::start(&[]).await;
    Sipp { scenario: "is_hung_up_on", number: "clinic", raw: true, ..Sipp::default() }.succeeds(&server).await;
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "flow_hung_up");
    assert_eq!(call["transfer"], "no_target");
    assert!(said(&call).contains("a person at the front desk"), "{call:#}");
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
    let mut phone = Baresip::start(server.dir(), &quiet_microphone(&server)).await;
    phone.dials(&format!("sip:clinic@{}", server.sip)).await;
    listen_for(5).await;
    phone.presses('1').await;
    listen_for(4).await;
    phone.hangs_up().await;
    let heard = phone.heard().await;
    assert!(loudest(&heard) > AUDIBLE_DBFS, "the greeting was {} dBFS at its loudest", loudest(&heard));
    let call = server.ended_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up");
    assert!(reached_by_key(&call, "appointment"), "key 1 did not lead to appointments: {call:#}");
}

#[tokio::test]
async fn baresip_is_hung_up_on_by_the_flow() {
    let server = Server::start(&[]).await;
    let mut phone = Baresip::start(server.dir(), &quiet_microphone(&server)).await;
    phone.dials(&format!("sip:clinic@{}", server.sip)).await;
    listen_for(1).await;
    phone.presses('0').await;
    phone.is_hung_up(Duration::from_secs(90)).await;
    assert!(loudest(&phone.heard().await) > AUDIBLE_DBFS);
    let call = server.ended_call().await;
    assert_eq!((&call["end_reason"], &call["transfer"]), (&"flow_hung_up".into(), &"no_target".into()));
}

#[tokio::test]
async fn baresip_is_told_goodbye_when_the_server_ends() {
    let server = Server::start(&[]).await;
    let mut phone = Baresip::start(server.dir(), &quiet_microphone(&server)).await;
    phone.dials(&format!("sip:1000@{}", server.sip)).await;
    listen_for(1).await;
    let (status, ()) = tokio::join!(server.stop(), phone.is_hung_up(Duration::from_secs(10)));
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn twilios_own_library_signs_and_is_answered() {
    let server = Server::start(&["twilio.auth_token=12345678901234567890123456789012", PUBLIC_URL]).await;
    let answer = twilio(&server, "12345678901234567890123456789012").await;
    assert_eq!(answer["status"], 200, "{answer:#}");
    assert_eq!(answer["stream_url"], "wss://voice.example.org/webhook/media-stream");
    assert_eq!(answer["same_twiml"], true, "{answer:#}");
    assert!(answer["content_type"].as_str().is_some_and(|kind| kind.starts_with("text/xml")), "{answer:#}");
}

#[tokio::test]
async fn a_signature_by_another_token_is_refused_and_creates_nothing() {
    let server = Server::start(&["twilio.auth_token=12345678901234567890123456789012", PUBLIC_URL]).await;
    let answer = twilio(&server, "another-token").await;
    assert_eq!(answer["status"], 403, "{answer:#}");
    assert!(!answer["body"].as_str().unwrap_or_default().contains("Stream"), "{answer:#}");
    assert_eq!(server.json("/v1/calls").await["calls"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn curl_finds_health_documentation_and_metrics() {
    let server = Server::start(&[]).await;
    let health = server.json("/healthz").await;
    let keys: Vec<&str> = health.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["checks", "service", "status"]);
    assert_eq!((&health["status"], &health["service"]), (&"ok".into(), &"offhook".into()), "{health:#}");
    assert_eq!(health["checks"]["database"], "ok", "{health:#}");
    assert_eq!(health["checks"]["redis"], "not_configured", "{health:#}");
    assert_eq!(server.json("/health").await["status"], "ok");
    let document = server.json("/openapi.json").await;
    assert!(document["paths"]["/v1/calls"].is_object(), "{document:#}");
    let (status, page) = server.curl("/docs/").await;
    assert!(status == 200 && page.contains("swagger"), "{status}: {page}");
    let (status, metrics) = server.curl("/metrics").await;
    assert!(status == 200 && metrics.trim_end().ends_with("# EOF"), "{status}: {metrics}");
    for stage in ["asr", "llm", "tts", "total"] {
        assert!(metrics.contains(&format!("stage=\"{stage}\"")), "no histogram of {stage}:\n{metrics}");
    }
    assert!(metrics.contains("pacing_error") && metrics.contains("barge_in"), "{metrics}");
    assert_eq!(server.curl("/no-such-page").await.0, 404);
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

const PUBLIC_URL: &str = "http.public_url=https://voice.example.org";

/// Real time passes: the caller on the other program's line listens.
async fn listen_for(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// A caller who listens says nothing, for a minute: baresip hangs up when its file ends.
fn quiet_microphone(server: &Server) -> String {
    let file = server.dir().join("microphone.wav");
    let rate = offhook_media::resample::Rate::Hz8000;
    std::fs::write(&file, offhook_media::wav::write_mono(rate, &[0; 60 * 8_000]).unwrap()).unwrap();
    file.to_str().unwrap().to_owned()
}

async fn twilio(server: &Server, token: &str) -> Value {
    let here = concat!(env!("CARGO_TARGET_TMPDIR"), "/../outside-venv/bin/python").to_owned();
    let python = std::env::var("OUTSIDE_TEST_PYTHON").unwrap_or(here);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/twilio_client.py");
    let local = format!("http://{}/webhook/call", server.http);
    let arguments = [script, &local, "https://voice.example.org/webhook/call", token];
    let answer = programs::run(&python, &arguments, server.dir(), Duration::from_secs(30)).await;
    let hint = "scripts/test installs Twilio's library and sets OUTSIDE_TEST_PYTHON";
    assert!(answer.success, "{python}: {} ({hint})", answer.stderr);
    serde_json::from_str(&answer.stdout).unwrap()
}

/// Everything that the caller heard.
fn said(call: &Value) -> String {
    turns(call).iter().filter_map(|turn| turn["heard"].as_str()).collect::<Vec<_>>().join(" ")
}

/// Whether a key opened this step. Keys are counted in the turn that they begin.
fn reached_by_key(call: &Value, step: &str) -> bool {
    turns(call).iter().any(|turn| turn["step"] == step && turn["keys_pressed"].as_u64() > Some(0))
}

fn turns(call: &Value) -> &[Value] {
    call["turns"].as_array().map_or(&[], Vec::as_slice)
}

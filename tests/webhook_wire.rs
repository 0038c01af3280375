//! The webhooks and health from outside: who is believed, what is answered, and what is said when there is no voice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod wire_support;

use std::time::Duration;

use offhook::sim::twilio_wire::{signature, stream_to};
use wire_support::edge::{Edge, names, post, webhook};
use wire_support::phone::Phone;
use wire_support::{Host, TOKEN};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_webhook_is_answered_by_a_stream_to_this_server() {
    let host =
        Host::start(|config| config.http.public_url = Some("https://voice.example.org/ivr".parse().unwrap())).await;
    let parameters = [("CallSid", "CA1"), ("From", "+1 555 & <é>"), ("To", "1000"), ("Empty", "")];
    let signed = signature(TOKEN, "https://voice.example.org/ivr/webhook/call", &parameters);
    let body = offhook::sim::http::form(&parameters);
    let (status, twiml) =
        host.http("POST", "/webhook/call", &[FORM, ("x-twilio-signature", &signed)], body.as_bytes()).await;
    assert_eq!(status, 200, "{twiml}");
    let stream = stream_to(&twiml).unwrap();
    assert_eq!(stream.url, "wss://voice.example.org/ivr/webhook/media-stream");
    assert!(stream.parameters.contains(&("caller".into(), "+1 555 & <é>".into())), "{twiml}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_is_403_and_creates_nothing() {
    let host = Host::start(|_| {}).await;
    let url = format!("http://{}/webhook/call", host.http);
    let parameters = [("CallSid", "CA1"), ("From", "+15550100"), ("To", "1000")];
    let body = offhook::sim::http::form(&parameters);
    let wrong = [
        signature("another token", &url, &parameters),
        signature(TOKEN, &url, &parameters[..2]),
        signature(TOKEN, &format!("{url}?x=1"), &parameters),
        signature(TOKEN, &url.replace("http", "https"), &parameters),
        String::new(),
        "not base64!".to_owned(),
    ];
    for signed in &wrong {
        let (status, answer) =
            host.http("POST", "/webhook/call", &[FORM, ("x-twilio-signature", signed)], body.as_bytes()).await;
        assert_eq!(status, 403, "{signed}: {answer}");
        assert!(!answer.contains("Stream") && !answer.contains("5550100"), "{answer}");
    }
    assert_eq!(host.http("POST", "/webhook/call", &[FORM], body.as_bytes()).await.0, 403);
    assert_eq!(host.http("POST", "/webhook/status", &[FORM], b"CallSid=CA1&CallStatus=completed").await.0, 403);
    assert_eq!((host.calls(), host.begun().await), (0, 0));
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nobody_is_believed() {
    let host = Host::start(|config| config.twilio.auth_token = None).await;
    assert_eq!(webhook(&host, &names(), "1000").await.0, 403);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_and_bodies_are_refused_by_name() {
    let host = Host::start(|_| {}).await;
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(host.http(method, "/webhook/call", &[], b"").await.0, 405, "{method}");
    }
    let json = br#"{"CallSid":"CA1","To":"1000"}"#;
    let unsigned = host.http("POST", "/webhook/call", &[("content-type", "application/json")], json).await;
    assert_eq!(unsigned.0, 403, "{}", unsigned.1);
    let hash = "d2f9dd42fb2a0ec8d3d2ab1b5c5ac0d0a4a3f0d8f5c7a4d8f6e0b1a2c3d4e5f6";
    let path = format!("/webhook/call?bodySHA256={hash}");
    let signed = signature(TOKEN, &format!("http://{}{path}", host.http), &[]);
    let headers = [("content-type", "application/json"), ("x-twilio-signature", signed.as_str())];
    assert_eq!(host.http("POST", &path, &headers, json).await.0, 403, "the hash is of another body");
    for parameters in [&[("CallSid", "CA1")][..], &[("To", "1000")], &[]] {
        assert_eq!(post(&host, "/webhook/call", parameters).await.0, 400, "{parameters:?}");
    }
    assert_eq!(post(&host, "/webhook/status", &[("CallSid", "CA1")]).await.0, 400);
    assert_eq!(post(&host, "/webhook/status", &[("CallSid", "unknown"), ("CallStatus", "completed")]).await.0, 204);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn form_bombs_are_refused_and_the_server_goes_on() {
    let host = Host::start(|_| {}).await;
    let bombs = [
        ("many names", "a=1&".repeat(16_000)),
        ("many signs", "&".repeat(65_000)),
        ("a broken escape", "CallSid=%4".to_owned()),
        ("not UTF-8", "CallSid=%FF%FE".to_owned()),
        ("too long", "a".repeat(70_000)),
        ("1 MiB", "a=b&".repeat(262_144)),
    ];
    for (what, body) in &bombs {
        let headers = [FORM, ("x-twilio-signature", "AAAA")];
        let (status, answer) = host.http("POST", "/webhook/call", &headers, body.as_bytes()).await;
        assert!([400, 403, 413].contains(&status), "{what}: {status} {answer}");
    }
    let (status, twiml) = webhook(&host, &names(), "1000").await;
    assert!(status == 200 && stream_to(&twiml).is_ok(), "{twiml}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_rejects_as_busy_and_recovers() {
    let host = Host::start(|config| config.limits.max_calls = 1).await;
    let mut edge = Edge::call(&host, "1000").await;
    edge.talk(&[], Duration::from_millis(200)).await;
    let (status, twiml) = webhook(&host, &names(), "1000").await;
    assert_eq!(status, 200);
    assert!(twiml.contains("<Reject reason=\"busy\"/>") && !twiml.contains("Stream"), "{twiml}");
    edge.hang_up().await;
    host.has_calls(0).await;
    assert!(stream_to(&webhook(&host, &names(), "1000").await.1).is_ok());
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_voice_the_clinic_is_excused_by_twilio_and_the_bench_line_still_streams() {
    let host = Host::start(|config| {
        config.flite.program = "/nonexistent/flite".into();
        config.espeak.program = "/nonexistent/espeak".into();
    })
    .await;
    let (status, twiml) = webhook(&host, &names(), "+15550199").await;
    assert_eq!(status, 200);
    assert!(twiml.contains("<Say>") && twiml.contains("<Hangup/>") && !twiml.contains("Stream"), "{twiml}");
    let mut edge = Edge::call(&host, "1000").await;
    edge.talk_until(|edge| edge.media_messages() > 30).await;
    edge.hang_up().await;
    let (status, health) = host.http("GET", "/healthz", &[], b"").await;
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["status"]), (503, &"degraded".into()), "{health:#}");
    assert_eq!(health["checks"]["database"], "ok", "{health:#}");
    // Over SIP nothing can be said instead: the call is answered, cannot speak, and ends saying so.
    let mut phone = Phone::connected(&host, "clinic").await;
    phone.is_hung_up_on().await;
    let calls = host.ended_calls(2).await;
    assert_eq!(calls[0]["end_reason"], "no_voice", "{:#}", calls[0]);
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_voice_health_is_ok() {
    let host = Host::with_voice(|_| {}).await;
    let (status, health) = host.http("GET", "/healthz", &[], b"").await;
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["status"]), (200, &"ok".into()), "{health:#}");
    host.ends_clean().await;
}

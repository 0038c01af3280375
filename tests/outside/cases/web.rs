//! Twilio's own helper library and curl at the HTTP door.

use std::time::Duration;

use serde_json::Value;

use crate::outside::programs;
use crate::outside::server::Server;

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

const PUBLIC_URL: &str = "http.public_url=https://voice.example.org";

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

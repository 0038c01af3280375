//! The registry of providers behind a running server: it speaks the line, operators see and change it by the API, and
//! without the database the file serves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

mod store_support;
mod wire_support;

use std::time::Duration;

use offhook::config::Config;
use offhook::providers::config::{ApiKey, LlmProvider, SttProvider, TtsProvider};
use offhook::sim::vendors::{Refusal, VendorStandIns};
use serde_json::{Value, json};
use store_support::postgres::Postgres;
use tokio::time::{Instant, sleep};
use wire_support::phone::{Phone, audio_of};
use wire_support::{Host, PATIENCE, loudest};

fn by_registry(config: &mut Config, vendors: &VendorStandIns) {
    config.tts.provider = TtsProvider::Registry;
    config.stt.provider = SttProvider::Registry;
    config.llm.provider = LlmProvider::Registry;
    let key = || Some(ApiKey::new("k".to_owned()).unwrap());
    config.deepgram.base_url = vendors.base_url();
    config.openai.base_url = format!("{}/v1", vendors.base_url());
    (config.deepgram.api_key, config.openai.api_key) = (key(), key());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_speaks_the_line_and_operators_change_who_does() {
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    let host = Host::with_voice(|config| by_registry(config, &vendors)).await;
    let list = host.json("/v1/providers").await;
    assert_eq!((&list["source"], &list["degraded"]), (&"database".into(), &Value::Null));
    let decided = host.json("/v1/providers/select?category=tts&language=en").await;
    assert_eq!(decided["chosen"], "deepgram-aura-2", "{decided:#}");
    let why = |decided: &Value, id: &str| {
        let all = decided["considered"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["id"] == id).unwrap()["why"].as_str().unwrap().to_owned()
    };
    assert!(why(&decided, "elevenlabs-flash").contains("no client"), "{decided:#}");
    assert!(why(&decided, "deepgram-aura-2").contains("quality 5 of 5, $0.03 a 1000 characters"), "{decided:#}");
    let decided = host.json("/v1/providers/select?category=llm&prefer=price").await;
    assert!(why(&decided, "anthropic-haiku-4-5").contains("anthropic.api_key: missing"), "{decided:#}");
    assert_eq!(decided["chosen"], "openai-gpt-4o-mini");
    for (wrong, code) in [
        ("category=sst", "bad_category"),
        ("category=tts&language=english", "bad_language"),
        ("category=tts&prefer=taste", "bad_prefer"),
    ] {
        let (status, body) = host.http("GET", &format!("/v1/providers/select?{wrong}"), &[], b"").await;
        assert!(status == 400 && body.contains(code), "{body}");
    }

    // The line's fixed sentences are made ahead by the voice that the registry chose.
    vendors.tts.until(|counters| counters.requests > 0).await;
    let spent = async |id: &str| {
        let usage = host.json("/v1/providers/usage").await;
        let one = usage["providers"].as_array().unwrap().iter().find(|one| one["id"] == id).cloned();
        one.map_or(0.0, |one| one["units"].as_f64().unwrap())
    };
    let until = Instant::now() + PATIENCE;
    while spent("deepgram-aura-2").await <= 0.0 {
        assert!(Instant::now() < until, "what was spoken is not counted");
        sleep(Duration::from_millis(50)).await;
    }
    let mut phone = Phone::connected(&host, "clinic").await;
    phone.talk(&[], Duration::from_millis(1_500)).await;

    // In mid-call: from the next sentence on another one speaks.
    let (status, body) =
        host.http("POST", "/v1/providers/deepgram-aura-2/disable", JSON, br#"{"why":"sounds bad"}"#).await;
    assert_eq!(status, 204, "{body}");
    let decided = host.json("/v1/providers/select?category=tts&language=en").await;
    assert_eq!(
        (decided["chosen"].as_str().unwrap(), why(&decided, "deepgram-aura-2").as_str()),
        ("openai-tts", "disabled: sounds bad")
    );
    phone.talk_until(|heard| loudest(&audio_of(heard)) > -40.0).await;
    phone.bye().await;
    let added = json!({"id": "ours", "category": "tts", "title": "Ours", "client": "openai", "quality": 5,
        "price": {"usd": 0.001, "per": "thousand_characters"}});
    assert_eq!(host.http("POST", "/v1/providers", JSON, added.to_string().as_bytes()).await.0, 204);
    assert_eq!(host.json("/v1/providers/select?category=tts&language=en").await["chosen"], "ours");
    for (entry, complaint) in [
        (json!({"id": "x", "category": "tts", "title": "X", "quality": 9}), "quality: expected 1 to 5"),
        (json!({"id": "x", "category": "tts", "title": "X", "quality": 1, "colour": "red"}), "colour"),
        (json!({"id": "openai-tts", "category": "tts", "title": "X", "quality": 1}), "is in the file"),
    ] {
        let (status, body) = host.http("POST", "/v1/providers", JSON, entry.to_string().as_bytes()).await;
        assert!(status == 422 && body.contains(complaint), "{body}");
    }
    assert_eq!(host.http("POST", "/v1/providers/nobody/enable", &[], b"").await.0, 404);
    assert_eq!(host.http("POST", "/v1/providers/deepgram-aura-2/enable", &[], b"").await.0, 204);
    assert_eq!(host.http("POST", "/v1/providers/reload", &[], b"").await.0, 204);
    assert_eq!(host.json("/v1/providers/select?category=tts&language=en").await["chosen"], "deepgram-aura-2");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_fails_is_not_chosen_any_more_and_the_line_speaks_on() {
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    vendors.tts.set(|tts| tts.refusal = Some(Refusal::ServerError));
    let host = Host::with_voice(|config| by_registry(config, &vendors)).await;
    let until = Instant::now() + PATIENCE;
    let decided = loop {
        let decided = host.json("/v1/providers/select?category=tts&language=en").await;
        if decided["chosen"] == "embedded" {
            break decided;
        }
        assert!(Instant::now() < until, "{decided:#}");
        sleep(Duration::from_millis(50)).await;
    };
    assert!(decided["considered"].to_string().contains("left alone: deepgram: HTTP 500"), "{decided:#}");
    let mut phone = Phone::connected(&host, "clinic").await;
    phone.talk_until(|heard| loudest(&audio_of(heard)) > -40.0).await;
    phone.bye().await;
    let call = host.ended_call().await;
    assert_eq!(call["end_reason"], "caller_hung_up", "{call:#}");
    host.ends_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_providers_needs_the_token() {
    let host = Host::start(|config| {
        config.http.secret_key = Some("a secret of the tests, 32 bytes long".to_owned().into());
    })
    .await;
    for (method, path) in [
        ("GET", ""),
        ("GET", "/select?category=tts"),
        ("GET", "/usage"),
        ("POST", ""),
        ("POST", "/embedded/disable"),
        ("POST", "/embedded/enable"),
        ("POST", "/reload"),
    ] {
        assert_eq!(host.http(method, &format!("/v1/providers{path}"), &[], b"").await.0, 401, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_the_file_serves_and_health_says_so() {
    let postgres = Postgres::start().await;
    let url = postgres.database().await;
    postgres.stop();
    let vendors = VendorStandIns::start(Vec::new()).await.unwrap();
    let host = Host::with_voice(|config| {
        by_registry(config, &vendors);
        config.database.url = Some(url.parse().unwrap());
    })
    .await;
    let health = host.json("/healthz").await;
    assert_eq!(health["status"], "degraded");
    let registry = health["checks"]["registry"].as_str().unwrap();
    assert!(registry.starts_with("error: read from the file: the database is away"), "{registry}");
    let list = host.json("/v1/providers").await;
    assert_eq!(list["source"], "file");
    assert_eq!(host.json("/v1/providers/select?category=tts&language=en").await["chosen"], "deepgram-aura-2");
    let mut phone = Phone::connected(&host, "clinic").await;
    phone.talk(&[], Duration::from_millis(1_000)).await;
    assert_eq!(host.calls(), 1, "calls are taken");
    phone.bye().await;
    vendors.tts.until(|counters| counters.requests > 0).await;

    postgres.resume().await;
    let until = Instant::now() + PATIENCE;
    while host.json("/healthz").await["checks"]["registry"] != "ok" {
        assert!(Instant::now() < until, "the registry does not come back to the database");
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(host.json("/v1/providers").await["source"], "database");
    let used = host.json("/v1/providers/usage").await;
    assert!(used["usd"].as_f64().unwrap() > 0.0, "what was used meanwhile was kept: {used:#}");
    host.ended_calls(1).await;
    host.ends_clean().await;
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

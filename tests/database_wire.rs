//! A call while its database is stopped: the call goes on, and its record is written when the database is back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails panics")]

mod store_support;
mod wire_support;

use std::time::Duration;

use store_support::postgres::{PASSWORD, Postgres};
use tokio::time::{Instant, sleep};
use wire_support::phone::Phone;
use wire_support::{Host, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_without_its_database_and_is_recorded_afterwards() {
    let postgres = Postgres::start().await;
    let url = postgres.database().await;
    let host = Host::with_voice(|config| config.database.url = Some(url.parse().unwrap())).await;
    assert_eq!(host.json("/healthz").await["checks"]["database"], "ok");
    let mut phone = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_millis(1_000)).await;
    assert!(host.begun().await == 1);

    postgres.stop();
    let mut second = Phone::connected(&host, "1000").await;
    phone.talk(&[], Duration::from_millis(1_500)).await;
    assert_eq!(host.calls(), 2, "calls go on, and new ones are taken");
    second.talk(&[], Duration::from_millis(500)).await;
    second.bye().await;
    phone.bye().await;
    host.has_calls(0).await;
    host.counts("offhook_records_spooled_total", 1.0).await;
    let (status, health) = host.http("GET", "/healthz", &[], b"").await;
    assert_eq!(status, 200, "calls can be served");
    assert!(health.contains("degraded") && !health.contains(PASSWORD), "{health}");
    assert_eq!(host.http("GET", "/v1/calls", &[], b"").await.0, 503, "what was kept cannot be read");

    postgres.resume().await;
    let until = Instant::now() + PATIENCE;
    while host.json("/healthz").await["checks"]["database"] != "ok" {
        assert!(Instant::now() < until, "the database is not well again");
        sleep(Duration::from_millis(100)).await;
    }
    let calls = host.ended_calls(2).await;
    for call in &calls {
        assert_eq!((&call["state"], &call["end_reason"]), (&"ended".into(), &"caller_hung_up".into()), "{call:#}");
        assert!(call["summary"]["frames_received"].as_u64().unwrap() > 20, "{call:#}");
    }
    assert_eq!(host.metric("offhook_records_lost_total").await, 0.0);
    host.ends_clean().await;
}

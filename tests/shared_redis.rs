//! Barge-in flags in a real Redis, which this test starts on loopback and ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use offhook::config::RedisConfig;
use offhook::store::record::CallId;
use offhook::store::shared::{BARGE_IN_CHANNEL, Shared, barge_in_key};
use redis::AsyncCommands;

/// A Redis of our own; ended with the test.
struct Redis {
    server: Child,
    port: u16,
}

impl Redis {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: scripts/test installs it");
        let redis = Self { server, port };
        let answers = async { while redis.client().get_multiplexed_async_connection().await.is_err() {} };
        tokio::time::timeout(Duration::from_secs(10), answers).await.expect("redis-server does not answer");
        redis
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap()
    }

    fn config(&self) -> RedisConfig {
        RedisConfig { url: Some(format!("redis://127.0.0.1:{}", self.port).into()) }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test]
async fn another_node_sees_that_a_call_was_interrupted() {
    use futures_util::StreamExt as _;
    let redis = Redis::start().await;
    let mut other_node = redis.client().get_async_pubsub().await.unwrap();
    other_node.subscribe(BARGE_IN_CHANNEL).await.unwrap();
    let shared = Shared::start(&redis.config()).unwrap();
    assert_eq!(shared.health().await, Some(Ok(())));

    let call = CallId::fresh();
    shared.barged_in(call, 1234.5);

    let announced = tokio::time::timeout(Duration::from_secs(10), other_node.on_message().next()).await;
    let message: String = announced.expect("no announcement").unwrap().get_payload().unwrap();
    assert_eq!(message, format!("{call} 1234.5"));
    let mut reader = redis.client().get_multiplexed_async_connection().await.unwrap();
    let flag: f64 = reader.get(barge_in_key(call)).await.unwrap();
    assert!((flag - 1234.5).abs() < f64::EPSILON);
    let life: u64 = reader.ttl(barge_in_key(call)).await.unwrap();
    assert!((1..=60).contains(&life), "{life}");
}

#[tokio::test]
async fn without_redis_nothing_is_shared_and_health_says_so() {
    let shared = Shared::start(&RedisConfig::default()).unwrap();
    shared.barged_in(CallId::fresh(), 1.0);
    assert_eq!(shared.health().await, None);
}

#[tokio::test]
async fn a_redis_that_is_away_is_an_error_in_health_and_costs_a_call_nothing() {
    let redis = Redis::start().await;
    let config = redis.config();
    drop(redis);
    let shared = Shared::start(&config).unwrap();
    for _ in 0..10_000 {
        shared.barged_in(CallId::fresh(), 1.0);
    }
    assert!(matches!(shared.health().await, Some(Err(_))));
}

//! A PostgreSQL that goes away and comes back: records wait in the spool, and each is written once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

mod store_support;

use std::sync::Arc;
use std::time::Duration;

use offhook::store::record::{CallId, EndReason};
use offhook::store::{Store, StoreError};
use offhook::telemetry::metrics::Metrics;
use store_support::postgres::{PASSWORD, Postgres};
use store_support::{Folder, ended, open, started, turn};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_a_stopped_server_does_not_take_is_written_when_it_is_back() {
    let server = Arc::new(Postgres::start().await);
    let folder = Folder::on(Arc::clone(&server)).await;
    let metrics = Metrics::new();
    let (store, sink, writer) = folder.open_with(metrics.clone()).await.unwrap();
    let call = CallId::fresh();
    sink.record(started(call));
    sink.record(turn(call, 1));
    assert!(sink.flush().await);

    server.stop();
    for number in 2..=5 {
        sink.record(turn(call, number));
        assert!(sink.flush().await, "kept in the spool counts as kept");
    }
    sink.record(ended(call, EndReason::CallerHungUp));
    assert!(sink.flush().await);
    assert!(matches!(store.health().await, Err(StoreError::Spooling)));
    let error = store.call(call).await.unwrap_err().to_string();
    assert!(error.contains("cannot be read") && !error.contains(PASSWORD), "{error}");

    server.resume().await;
    until_well(&store).await;
    let kept = store.call(call).await.unwrap().unwrap();
    assert_eq!(kept.turns.iter().map(|turn| turn.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(kept.call.end_reason.as_deref(), Some("caller_hung_up"));
    assert_eq!(folder.csv("2026-11-21").lines().count(), 6, "each once in the CSV as well");
    assert_eq!(metrics.records_lost.get(), 0);
    assert!(writer.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_caught_up_with_and_only_old_calls_are_closed() {
    let server = Arc::new(Postgres::start().await);
    let folder = Folder::on(Arc::clone(&server)).await;
    let (old, spooled) = (CallId::fresh(), CallId::fresh());
    {
        let (_store, sink, writer) = folder.open().await.unwrap();
        sink.record(started(old));
        assert!(sink.flush().await);
        server.stop();
        sink.record(started(spooled));
        assert!(sink.flush().await);
        // As good as killed.
        assert!(!writer.shutdown(Duration::ZERO).await);
    }
    let (store, sink, writer) = folder.open().await.expect("it starts without its database");
    assert!(store.health().await.is_err());
    assert_eq!(store.unfinished_recordings().await.unwrap(), []);
    let own = CallId::fresh();
    sink.record(started(own));
    assert!(sink.flush().await);

    server.resume().await;
    until_well(&store).await;
    let reason = async |call| store.call(call).await.unwrap().unwrap().call.end_reason;
    assert_eq!(reason(old).await.as_deref(), Some("crash_recovered"));
    assert_eq!(reason(spooled).await.as_deref(), Some("crash_recovered"));
    assert_eq!(reason(own).await, None, "it goes on");
    assert!(writer.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn certificates_are_checked_and_refusals_tell_no_password() {
    let server = Postgres::shared().await;
    let url = server.database().await;
    let folder = Folder::new();
    let tries = async |url: String| match open(folder.path(), Some(&url), Metrics::new()).await {
        Ok((_, _, writer)) => {
            assert!(writer.shutdown(PATIENCE).await);
            None
        }
        Err(error) => Some(error.to_string()),
    };
    let root = format!("sslrootcert={}", server.certificate().display());
    assert_eq!(tries(format!("{url}?sslmode=verify-full&{root}")).await, None);
    assert_eq!(tries(format!("{url}?sslmode=disable")).await, None);
    let stranger = tries(format!("{url}?sslmode=verify-full")).await.expect("nobody vouches for the certificate");
    let wrong = tries(url.replace(PASSWORD, "hunter3-of-nobody")).await.expect("the password is wrong");
    let nowhere = tries(server.url("nowhere")).await.expect("no such database");
    for error in [&stranger, &wrong, &nowhere] {
        assert!(error.contains("cannot be opened") && !error.contains("hunter"), "{error}");
    }
    assert!(wrong.contains("password authentication failed"), "{wrong}");
}

async fn until_well(store: &Store) {
    let well = async {
        while store.health().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, well).await.expect("the store is well again");
}

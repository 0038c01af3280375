//! The record store from outside: what is told to the sink is found in the table, the CSV and Prometheus alike, and no
//! number or address of a caller anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

mod store_support;

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use offhook::store::StoreError;
use offhook::store::record::{
    CallEvent, CallId, CallSummary, CommittedBy, EndReason, Interruption, InterruptionOutcome, Record, TurnRecord, Via,
};
use offhook::telemetry::metrics::{Metrics, Stage};
use offhook::telemetry::pii::Pii;
use store_support::postgres::PASSWORD;
use store_support::{Folder, Other, at, ended, started, turn};

const PATIENCE: Duration = Duration::from_secs(30);

on_both_databases! {
    what_is_written_together_is_kept_as_it_was
    table_csv_and_prometheus_hold_the_same_figures
    interruptions_are_kept_scrubbed_and_go_with_their_call
    calls_are_listed_newest_first_in_pages
    a_turn_over_midnight_starts_a_new_file
    what_a_locked_database_does_not_take_waits_in_the_spool_and_is_drained_in_order
    with_neither_database_nor_spool_records_wait_and_are_not_lost
    a_row_that_the_database_refuses_does_not_take_its_batch_along
    a_spool_left_by_a_dead_process_is_drained_at_start
    turns_without_a_start_are_kept_and_a_late_start_completes_them
    a_newer_or_edited_schema_is_refused_and_left_alone
    two_servers_do_not_share_a_database
    no_number_or_address_of_a_caller_is_found_in_any_file
}

async fn what_is_written_together_is_kept_as_it_was(folder: Folder) {
    let (store, sink, _writer) = folder.open().await.unwrap();
    let (call, unknown) = (CallId::fresh(), CallId::fresh());
    let steps = [
        "plain",
        "",
        "quote\" back\\slash",
        "line\nbreak\ttab",
        "\u{1}",
        "nul\u{0}byte",
        "\u{2028}",
        "\u{1F600} Kigali, à bientôt",
        "null",
    ];
    sink.record(started(call));
    for (number, step) in (1..).zip(steps) {
        let record = TurnRecord { number, step: step.into(), asr_ms: Some(0.001), ..TurnRecord::default() };
        for call in [call, unknown] {
            sink.record(Record::Turn { call, at: at(number.into()), turn: Box::new(record.clone()) });
            let event =
                CallEvent { kind: "noted", at_ms: 0.1, detail: Some(Pii::new(serde_json::json!({"as": step}))) };
            sink.record(Record::Event { call, at: at(number.into()), event });
        }
    }
    let summary =
        CallSummary { duration_ms: 0.3, jitter_ms: 1e-3, frames_sent: u64::from(u32::MAX), ..CallSummary::default() };
    for call in [call, unknown] {
        sink.record(Record::CallEnded { call, at: at(9), reason: EndReason::FlowHungUp, summary: summary.clone() });
    }
    assert!(sink.flush().await);

    // A text of PostgreSQL cannot hold U+0000; the symbol for it stands in its place.
    let nul = if folder.url().is_some() { "nul\u{2400}byte" } else { "nul\u{0}byte" };
    let columns: Vec<&str> = steps.iter().map(|step| if step.contains('\0') { nul } else { step }).collect();
    for (call, via) in [(call, "twilio"), (unknown, "unknown")] {
        let kept = store.call(call).await.unwrap().unwrap();
        assert_eq!(kept.call.via, via);
        assert_eq!(kept.turns.iter().map(|turn| turn.step.as_str()).collect::<Vec<_>>(), columns);
        assert!(kept.turns.iter().all(|turn| turn.asr_ms == Some(0.001)));
        let details: Vec<_> =
            kept.events.iter().map(|event| event.detail.as_ref().unwrap().expose()["as"].clone()).collect();
        assert_eq!(details, steps);
        let summary = kept.call.summary.unwrap();
        assert_eq!((summary.duration_ms, summary.jitter_ms, summary.frames_sent), (0.3, 0.001, u32::MAX.into()));
    }
}

async fn table_csv_and_prometheus_hold_the_same_figures(folder: Folder) {
    let metrics = Metrics::new();
    let (store, sink, writer) = folder.open_with(metrics.clone()).await.unwrap();
    let call = CallId::fresh();
    sink.record(started(call));
    for number in 1..=20_u32 {
        let record = TurnRecord {
            number,
            step: "ask".into(),
            caller_words: Some(Pii::new(format!("yes, \"{number}\"\nplease"))),
            keys: (number % 2 == 0).then(|| Pii::new("12#".to_owned())),
            heard: Some(Pii::new("=Thank you".to_owned())),
            asr_ms: Some(100.0 / f64::from(number)),
            llm_ms: (number % 3 == 0).then_some(250.125),
            tts_ms: Some(90.0 + f64::from(number)),
            total_ms: Some(700.0),
            barge_in_ms: (number == 7).then_some(142.0),
            error: (number == 9).then(|| "stt: timed out".to_owned()),
            ..TurnRecord::default()
        };
        sink.record(Record::Turn { call, at: at(number.into()), turn: Box::new(record) });
    }
    let event = CallEvent { kind: "barge_in", at_ms: 6_900.5, detail: Some(Pii::new(serde_json::json!({"cut": 12}))) };
    sink.record(Record::Event { call, at: at(7), event });
    let summary = CallSummary { duration_ms: 20_000.0, turns: 20, frames_sent: 1000, ..CallSummary::default() };
    sink.record(Record::CallEnded { call, at: at(20), reason: EndReason::FlowHungUp, summary: summary.clone() });
    assert!(sink.flush().await);

    let detail = store.call(call).await.unwrap().unwrap();
    assert_eq!(detail.call.end_reason.as_deref(), Some("flow_hung_up"));
    assert_eq!(detail.call.summary, Some(summary));
    assert_eq!((detail.turns.len(), detail.events.len()), (20, 1));
    assert_eq!(detail.events[0].detail.as_ref().unwrap().expose()["cut"], 12);
    assert_eq!(detail.turns[0].at, at(1));
    assert_eq!(store.call(CallId::fresh()).await.unwrap(), None);

    let rows = parse_csv(&folder.csv("2026-11-21"));
    assert_eq!(rows.len(), 21);
    let column = |name: &str| rows[0].iter().position(|cell| cell == name).unwrap_or_else(|| panic!("no {name}"));
    let mut sums = [0.0; 5];
    for (row, turn) in rows[1..].iter().zip(&detail.turns) {
        let text = |name: &str| row[column(name)].clone();
        let shown = |ms: Option<f64>| ms.map(|ms| ms.to_string()).unwrap_or_default();
        let stages = [
            ("asr_ms", turn.asr_ms),
            ("llm_ms", turn.llm_ms),
            ("tts_ms", turn.tts_ms),
            ("total_ms", turn.total_ms),
            ("barge_in_ms", turn.barge_in_ms),
        ];
        for (sum, (name, ms)) in sums.iter_mut().zip(stages) {
            assert_eq!(text(name), shown(ms), "{name} of turn {}", turn.number);
            *sum += ms.unwrap_or(0.0);
        }
        assert_eq!(text("call_id"), call.to_string());
        assert_eq!(text("number"), turn.number.to_string());
        assert_eq!(&text("caller_words"), turn.caller_words.as_ref().unwrap().expose());
        assert_eq!(text("heard"), "'=Thank you", "a spreadsheet would run it");
        assert_eq!(turn.heard.as_ref().unwrap().expose(), "=Thank you");
        assert_eq!(text("keys_pressed"), if turn.number % 2 == 0 { "3" } else { "" });
        assert_eq!(text("error"), turn.error.clone().unwrap_or_default());
    }
    let told = [
        metrics.stage(Stage::Asr),
        metrics.stage(Stage::Llm),
        metrics.stage(Stage::Tts),
        metrics.stage(Stage::Total),
        &metrics.barge_in_ms,
    ];
    for (sum, histogram) in sums.iter().zip(told) {
        assert!((sum - histogram.sum()).abs() < 0.05, "{sum} against {}", histogram.sum());
    }
    assert_eq!(metrics.records_lost.get(), 0);
    assert_eq!(metrics.records_waiting.get(), 0);
    store.health().await.unwrap();
    assert!(writer.shutdown(PATIENCE).await);
    assert!(matches!(store.health().await, Err(StoreError::WriterGone)));
}

async fn interruptions_are_kept_scrubbed_and_go_with_their_call(folder: Folder) {
    let (store, sink, writer) = folder.open().await.unwrap();
    let call = CallId::fresh();
    sink.record(started(call));
    let told = |outcome, decided_ms| Interruption {
        onset_ms: 1000.0004,
        held_ms: 1064.0,
        decided_ms,
        outcome,
        ducked: true,
        stop_ms: Some(84.5),
        heard: Pii::new("Call us on +250 788 123 456".to_owned()),
        unheard: Pii::new("or write.".to_owned()),
    };
    for told in [
        told(InterruptionOutcome::Committed(CommittedBy::StopWord), Some(1260.0)),
        told(InterruptionOutcome::Undecided, None),
    ] {
        sink.record(Record::Interruption { call, at: at(3), interruption: Box::new(told) });
    }
    assert!(sink.flush().await);
    let kept = store.call(call).await.unwrap().unwrap().interruptions;
    assert_eq!(kept.len(), 2);
    assert_eq!((kept[0].outcome.as_str(), kept[0].why.as_str()), ("committed", "stop_word"));
    assert_eq!((kept[0].onset_ms, kept[0].held_ms, kept[0].decided_ms), (1000.0, 1064.0, Some(1260.0)));
    assert_eq!((kept[0].stop_ms, kept[0].ducked, kept[0].at), (Some(84.5), true, at(3)));
    assert_eq!((kept[1].outcome.as_str(), kept[1].decided_ms), ("undecided", None));
    assert_eq!(kept[0].unheard.expose(), "or write.");
    assert!(!kept[0].heard.expose().contains("788"), "{}", kept[0].heard.expose());
    let mut other = folder.connect().await;
    other.run("DELETE FROM calls").await;
    assert_eq!(other.count("SELECT count(*) FROM interruptions").await, 0);
    drop(other);
    assert!(writer.shutdown(PATIENCE).await);
}

async fn calls_are_listed_newest_first_in_pages(folder: Folder) {
    let (store, sink, writer) = folder.open().await.unwrap();
    let calls: Vec<CallId> = (1..=7_u128).map(|n| CallId::from_uuid(uuid::Uuid::from_u128(n << 80))).collect();
    calls.iter().for_each(|call| sink.record(started(*call)));
    sink.record(ended(calls[0], EndReason::CallerHungUp));
    assert!(sink.flush().await);
    let ids = |page: Vec<offhook::store::CallRow>| page.iter().map(|call| call.id).collect::<Vec<_>>();
    let first = ids(store.recent_calls(3, None).await.unwrap());
    assert_eq!(first, [calls[6], calls[5], calls[4]]);
    let second = ids(store.recent_calls(3, Some(calls[4])).await.unwrap());
    assert_eq!(second, [calls[3], calls[2], calls[1]]);
    let last = store.recent_calls(u32::MAX, Some(calls[1])).await.unwrap();
    assert_eq!((last.len(), last[0].ended_at.is_some()), (1, true));
    assert!(writer.shutdown(PATIENCE).await);
}

async fn a_turn_over_midnight_starts_a_new_file(folder: Folder) {
    let (_store, sink, writer) = folder.open().await.unwrap();
    let call = CallId::fresh();
    let midnight: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    for (number, before) in [(1, 1_i64), (2, 0), (3, -1)] {
        let at = midnight - jiff::SignedDuration::from_millis(before);
        sink.record(Record::Turn { call, at, turn: Box::new(TurnRecord { number, ..TurnRecord::default() }) });
    }
    assert!(writer.shutdown(PATIENCE).await);
    assert_eq!(parse_csv(&folder.csv("2026-11-21")).len(), 2);
    assert_eq!(parse_csv(&folder.csv("2026-11-22")).len(), 3);
}

async fn what_a_locked_database_does_not_take_waits_in_the_spool_and_is_drained_in_order(folder: Folder) {
    let metrics = Metrics::new();
    let (store, sink, writer) = folder.open_with(metrics.clone()).await.unwrap();
    let call = CallId::fresh();
    sink.record(started(call));
    assert!(sink.flush().await);

    let mut other = folder.locked().await;
    (1..=5).for_each(|number| sink.record(turn(call, number)));
    assert!(sink.flush().await, "kept in the spool counts as kept");
    assert_eq!(metrics.records_spooled.get(), 5);
    sink.record(turn(call, 6));
    let later = tokio::time::timeout(PATIENCE, sink.flush()).await;
    assert_eq!(later, Ok(true), "attempts to drain do not keep new records waiting");
    assert!(matches!(store.health().await, Err(StoreError::Spooling)));
    assert_eq!(fs::read_to_string(folder.path().join("spool.jsonl")).unwrap().lines().count(), 6);
    assert_eq!(store.call(call).await.unwrap().unwrap().turns.len(), 0, "reading goes on");

    other.run("ROLLBACK").await;
    sink.record(turn(call, 7));
    assert!(writer.shutdown(PATIENCE).await, "the shutdown drains");
    let numbers: Vec<u32> = {
        let (store, _sink, writer) = folder.open().await.unwrap();
        let detail = store.call(call).await.unwrap().unwrap();
        assert!(writer.shutdown(PATIENCE).await);
        detail.turns.iter().map(|turn| turn.number).collect()
    };
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    let written: Vec<String> = parse_csv(&folder.csv("2026-11-21"))[1..].iter().map(|row| row[2].clone()).collect();
    assert_eq!(written, ["1", "2", "3", "4", "5", "6", "7"], "each once, in order, in the CSV as well");
    assert_eq!(fs::metadata(folder.path().join("spool.jsonl")).unwrap().len(), 0);
    assert_eq!(metrics.records_lost.get(), 0);
}

async fn with_neither_database_nor_spool_records_wait_and_are_not_lost(folder: Folder) {
    let metrics = Metrics::new();
    let (store, sink, writer) = folder.open_with(metrics.clone()).await.unwrap();
    let call = CallId::fresh();
    let mut other = folder.locked().await;
    // A folder in the spool's place fails like a full disk.
    fs::create_dir(folder.path().join("spool.jsonl")).unwrap();
    sink.record(turn(call, 1));
    let kept = sink.flush();
    tokio::pin!(kept);
    let early = tokio::time::timeout(Duration::from_millis(2_500), &mut kept).await;
    assert!(early.is_err(), "nothing can be kept, so nothing is acknowledged");
    sink.record(turn(call, 2));
    other.run("ROLLBACK").await;
    assert!(kept.await && sink.flush().await);
    assert_eq!(store.call(call).await.unwrap().unwrap().turns.len(), 2);
    assert_eq!((metrics.records_lost.get(), metrics.records_waiting.get()), (0, 0));
    assert!(writer.shutdown(PATIENCE).await);
}

async fn a_row_that_the_database_refuses_does_not_take_its_batch_along(folder: Folder) {
    let metrics = Metrics::new();
    let (store, sink, writer) = folder.open_with(metrics.clone()).await.unwrap();
    let mut other = folder.connect().await;
    let refuse = match &other {
        Other::Sqlite(_) => {
            "CREATE TRIGGER refuse BEFORE INSERT ON user_sessions WHEN new.number = 2 \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        }
        Other::Postgres(_) => {
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON user_sessions FOR EACH ROW WHEN (new.number = 2) \
             EXECUTE FUNCTION refuse()"
        }
    };
    other.run(refuse).await;
    let call = CallId::fresh();
    (1..=3).for_each(|number| sink.record(turn(call, number)));
    assert!(sink.flush().await);
    let numbers: Vec<u32> = store.call(call).await.unwrap().unwrap().turns.iter().map(|turn| turn.number).collect();
    assert_eq!(numbers, [1, 3]);
    assert_eq!(metrics.records_lost.get(), 1);
    assert_eq!(parse_csv(&folder.csv("2026-11-21")).len(), 3, "the CSV has no more than the table");
    assert!(writer.shutdown(PATIENCE).await);
}

async fn a_spool_left_by_a_dead_process_is_drained_at_start(folder: Folder) {
    let call = CallId::fresh();
    {
        let (_store, sink, writer) = folder.open().await.unwrap();
        let other = folder.locked().await;
        sink.record(started(call));
        sink.record(turn(call, 1));
        assert!(sink.flush().await);
        // The writer dies with rows in the spool: a shutdown without patience aborts it.
        assert!(!writer.shutdown(Duration::ZERO).await);
        other.close().await;
    }
    let (store, _sink, writer) = folder.open_when_free().await;
    let detail = store.call(call).await.unwrap().unwrap();
    assert_eq!(detail.turns.len(), 1);
    assert_eq!(detail.call.end_reason.as_deref(), Some("crash_recovered"), "closed after the spool was drained");
    assert!(writer.shutdown(PATIENCE).await);
}

async fn turns_without_a_start_are_kept_and_a_late_start_completes_them(folder: Folder) {
    let (store, sink, writer) = folder.open().await.unwrap();
    let call = CallId::fresh();
    sink.record(turn(call, 1));
    assert!(sink.flush().await);
    assert_eq!(store.call(call).await.unwrap().unwrap().call.via, "unknown");
    sink.record(started(call));
    assert!(sink.flush().await);
    let detail = store.call(call).await.unwrap().unwrap();
    assert_eq!((detail.call.via.as_str(), detail.turns.len()), ("twilio", 1));
    assert!(writer.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn damaged_files_are_refused_with_advice_and_left_alone() {
    let refused = |folder: Folder| async move {
        let before = fs::read(folder.database()).ok();
        let error = folder.open().await.expect_err("refused").to_string();
        assert_eq!(fs::read(folder.database()).ok(), before, "left as it was");
        error
    };
    let folder = Folder::new();
    fs::write(folder.database(), b"this is no database at all, but long enough to be looked at".repeat(100)).unwrap();
    let error = refused(folder).await;
    assert!(error.contains("is damaged") && error.contains("Restore a backup"), "{error}");

    let folder = Folder::new();
    let (_, sink, writer) = folder.open().await.unwrap();
    for n in 0..200_u32 {
        sink.record(turn(CallId::fresh(), n));
    }
    assert!(writer.shutdown(PATIENCE).await);
    let mut bytes = fs::read(folder.database()).unwrap();
    let half = bytes.len() / 2;
    bytes[4096..half].fill(0xA5);
    fs::write(folder.database(), &bytes).unwrap();
    let error = refused(folder).await;
    assert!(error.contains("is damaged"), "{error}");
}

async fn a_newer_or_edited_schema_is_refused_and_left_alone(folder: Folder) {
    for (change, complaint) in [
        ("INSERT INTO schema_version VALUES (99, 'x', 'y')", "made by a newer version (schema 99"),
        ("UPDATE schema_version SET checksum = 'x' WHERE version = 1", "schema step 1 is not the one"),
    ] {
        let folder = folder.another().await;
        let (_, _, writer) = folder.open().await.unwrap();
        assert!(writer.shutdown(PATIENCE).await);
        let mut other = folder.connect().await;
        other.run(change).await;
        other.close().await;
        let error = folder.open().await.expect_err("refused").to_string();
        assert!(error.contains(complaint) && !error.contains(PASSWORD), "{error}");
    }
}

async fn two_servers_do_not_share_a_database(folder: Folder) {
    let (_store, _sink, writer) = folder.open().await.unwrap();
    let error = folder.open().await.err().unwrap().to_string();
    assert!(error.contains("in use by another server"), "{error}");
    assert!(writer.shutdown(PATIENCE).await);
    let (_store, _sink, writer) = folder.open().await.expect("free again");
    assert!(writer.shutdown(PATIENCE).await);
}

async fn no_number_or_address_of_a_caller_is_found_in_any_file(folder: Folder) {
    let (store, sink, writer) = folder.open().await.unwrap();
    let call = CallId::fresh();
    let said = || {
        Some(Pii::new("I am on 0788 123 456 or +250788123456, jean@example.org, card 4111-1111-1111-1111".to_owned()))
    };
    sink.record(Record::CallStarted {
        call,
        at: at(0),
        via: Via::Sip,
        direction: offhook::store::record::Direction::Inbound,
        called: "+250788123456".into(),
        caller: Pii::new("sip:jean@example.org;tel=+250788123456".into()),
        flow: "clinic".into(),
    });
    let record = TurnRecord {
        number: 1,
        step: "ask".into(),
        caller_words: said(),
        keys: Some(Pii::new("0788123456#".into())),
        heard: said(),
        unheard: said(),
        error: said().map(Pii::into_exposed),
        ..TurnRecord::default()
    };
    // Once through the spool as well.
    let mut other = folder.locked().await;
    sink.record(Record::Turn { call, at: at(1), turn: Box::new(record) });
    let detail =
        serde_json::json!({"from": "+250788123456", "n": 250_788_123_456_u64, "jean@example.org": ["0788 123 456"]});
    sink.record(Record::Event {
        call,
        at: at(2),
        event: CallEvent { kind: "step", at_ms: 1.0, detail: Some(Pii::new(detail)) },
    });
    sink.record(Record::Event {
        call,
        at: at(2),
        event: CallEvent { kind: "digit", at_ms: 2.0, detail: Some(Pii::new(serde_json::json!("7"))) },
    });
    assert!(sink.flush().await);
    assert!(folder.holds("[number]"), "the spool was written");
    for planted in PLANTED {
        assert!(!folder.holds(planted), "`{planted}` in a file");
    }
    other.run("ROLLBACK").await;
    other.close().await;
    assert!(writer.shutdown(PATIENCE).await);
    for planted in PLANTED {
        assert!(!folder.holds(planted), "`{planted}` in a file");
    }
    drop(store);
    let (store, _, writer) = folder.open().await.unwrap();
    let detail = store.call(call).await.unwrap().unwrap();
    assert_eq!(detail.turns[0].keys_pressed, Some(11));
    assert!(detail.call.caller.expose().ends_with("..56"));
    assert_eq!(format!("{:?}", detail.call.caller), "[pii]");
    assert!(writer.shutdown(PATIENCE).await);
}

const PLANTED: &[&str] =
    &["0788123456", "250788123456", "788 123 456", "123 456", "jean", "example.org", "4111", "1111", "\"7\""];

/// RFC 4180, as a spreadsheet reads it.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(!quoted && cell.is_empty() && row.is_empty(), "the last row is whole");
    rows
}

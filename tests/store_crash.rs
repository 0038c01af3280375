//! `kill -9` at seeded instants: what was acknowledged is found, and no call stays open.
//!
//! The writing process is this test binary again, told by an environment variable where to write.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets the unexpected fails by panicking"
)]

mod store_support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use offhook::store::record::{CallId, EndReason};
use offhook::store::{CallRow, MOST_CALLS, Store};
use offhook::telemetry::metrics::Metrics;
use store_support::{Folder, ended, open, started, turn};

const FOLDER: &str = "OFFHOOK_TEST_CRASH_FOLDER";
const URL: &str = "OFFHOOK_TEST_CRASH_URL";
/// More rounds for a long run: `OFFHOOK_TEST_CRASH_ROUNDS=200`.
const ROUNDS: &str = "OFFHOOK_TEST_CRASH_ROUNDS";
const TURNS_OF_A_CALL: u32 = 4;

/// The child: writes calls for ever and says on its standard output what is kept. Does nothing when run as a test.
#[test]
fn writes_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let url = std::env::var(URL).ok();
        let (_store, sink, _writer) = open(folder.as_ref(), url.as_deref(), Metrics::new()).await.unwrap();
        loop {
            let call = CallId::fresh();
            sink.record(started(call));
            for number in 1..=TURNS_OF_A_CALL {
                sink.record(turn(call, number));
                assert!(sink.flush().await);
                say(&format!("kept {call} {number}"));
            }
            sink.record(ended(call, EndReason::CallerHungUp));
            assert!(sink.flush().await);
            say(&format!("ended {call} {TURNS_OF_A_CALL}"));
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\n{line}").and_then(|()| out.flush());
}

on_both_databases! {
    what_was_acknowledged_is_found_after_each_of_many_kills
    a_kill_while_the_database_is_made_leaves_nothing_half_done
}

async fn what_was_acknowledged_is_found_after_each_of_many_kills(folder: Folder) {
    let rounds = std::env::var(ROUNDS).ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let mut seed = Seed(0x0FF_0001);
    let mut kept: BTreeMap<CallId, u32> = BTreeMap::new();
    let mut finished = BTreeSet::new();
    let mut recovered = 0;
    for _ in 0..rounds {
        let mut child = Writing::start(&folder);
        child.read(seed.below(40), &mut kept, &mut finished);
        spin(Duration::from_micros(seed.below(3_000).into()));
        child.kill(&mut kept, &mut finished);

        let (store, _sink, writer) = folder.open_when_free().await;
        for (call, number) in &kept {
            let detail = store.call(*call).await.unwrap().unwrap_or_else(|| panic!("call {call} was acknowledged"));
            let numbers: Vec<u32> = detail.turns.iter().map(|turn| turn.number).collect();
            let expected: Vec<u32> = (1..=TURNS_OF_A_CALL).collect();
            assert!(
                numbers.len() >= *number as usize && expected.starts_with(&numbers),
                "{call}: {numbers:?}, {number}"
            );
            if finished.contains(call) {
                assert_eq!(detail.call.end_reason.as_deref(), Some("caller_hung_up"));
            }
        }
        let calls = all_calls(&store).await;
        assert!(calls.iter().all(|call| call.ended_at.is_some() && call.end_reason.is_some()), "no call stays open");
        recovered = calls.iter().filter(|call| call.end_reason.as_deref() == Some("crash_recovered")).count();
        for call in calls.iter().filter(|call| call.end_reason.as_deref() == Some("crash_recovered")) {
            let detail = store.call(call.id).await.unwrap().unwrap();
            let last = detail.turns.last().map_or(call.started_at, |turn| turn.at);
            assert_eq!(call.ended_at, Some(last), "it ended no earlier than the last that is known of it");
            let summary = call.summary.as_ref().unwrap();
            assert_eq!(summary.turns as usize, detail.turns.len());
            assert_eq!(summary.duration_ms, (last - call.started_at).total(jiff::Unit::Millisecond).unwrap());
        }
        assert!(writer.shutdown(Duration::from_secs(10)).await);
    }
    assert!((1..=rounds).contains(&recovered), "each kill leaves at most the call that was going on: {recovered}");
    // The CSV holds the turns of the table: no more, no fewer, whenever the process died.
    let csv = folder.csv("2026-11-21");
    let (store, _sink, writer) = folder.open_when_free().await;
    let mut expected = 0;
    for call in all_calls(&store).await {
        for turn in store.call(call.id).await.unwrap().unwrap().turns {
            let row = format!(",{},{number},ask,turn {number},", call.id, number = turn.number);
            assert_eq!(csv.lines().filter(|line| line.contains(&row)).count(), 1, "{row}");
            expected += 1;
        }
    }
    assert_eq!(csv.lines().count(), expected + 1);
    assert!(expected > 0 && !kept.is_empty());
    assert!(writer.shutdown(Duration::from_secs(10)).await);
}

async fn a_kill_while_the_database_is_made_leaves_nothing_half_done(first: Folder) {
    let mut seed = Seed(0x0FF_0002);
    for _ in 0..12 {
        let folder = first.another().await;
        let mut child = Writing::start(&folder);
        spin(Duration::from_micros(seed.below(30_000).into()));
        child.kill(&mut BTreeMap::new(), &mut BTreeSet::new());
        let (store, _sink, writer) = folder.open_when_free().await;
        store.health().await.unwrap();
        assert!(writer.shutdown(Duration::from_secs(10)).await);
    }
}

/// Every page of the list.
async fn all_calls(store: &Store) -> Vec<CallRow> {
    let mut calls: Vec<CallRow> = Vec::new();
    loop {
        let page = store.recent_calls(MOST_CALLS, calls.last().map(|call| call.id)).await.unwrap();
        if page.is_empty() {
            return calls;
        }
        calls.extend(page);
    }
}

/// A running child and what it said.
struct Writing {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Writing {
    fn start(folder: &Folder) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_killed", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .envs(folder.url().map(|url| (URL, url)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Takes note of `lines` acknowledgements.
    fn read(&mut self, lines: u32, kept: &mut BTreeMap<CallId, u32>, finished: &mut BTreeSet<CallId>) {
        let mut seen = 0;
        while seen < lines {
            let mut line = String::new();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "the child ended by itself");
            seen += u32::from(note(&line, kept, finished));
        }
    }

    /// SIGKILL; what was said before it arrived counts as acknowledged.
    fn kill(&mut self, kept: &mut BTreeMap<CallId, u32>, finished: &mut BTreeSet<CallId>) {
        self.child.kill().unwrap();
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            note(&line, kept, finished);
            line.clear();
        }
        self.child.wait().unwrap();
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the line was a whole acknowledgement.
fn note(line: &str, kept: &mut BTreeMap<CallId, u32>, finished: &mut BTreeSet<CallId>) -> bool {
    let Some(line) = line.strip_suffix('\n') else { return false };
    let words: Vec<&str> = line.split(' ').collect();
    let [word @ ("kept" | "ended"), call, number] = words[..] else { return false };
    let call = CallId::parse(call).unwrap();
    kept.insert(call, number.parse().unwrap());
    if word == "ended" {
        finished.insert(call);
    }
    true
}

#[expect(clippy::disallowed_methods, reason = "kills must fall at any point of a write")]
/// Passes time more finely than a sleep could, so that kills fall at any point of a write.
fn spin(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// A xorshift generator (Marsaglia 2003): the same instants in every run.
struct Seed(u64);

impl Seed {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % u64::from(end)) as u32
    }
}

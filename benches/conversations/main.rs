//! Conversations by chance on virtual time: speech, noise, keys, holds, loss, vendors that are slow, fail or fall silent.
//!
//! Whatever comes, the call should end with a reason, nobody should wait for nothing, and what is recorded as heard should be
//! what was heard, word by word. Conversations in which that is not so are counted and named; this is an instrument for
//! finding them and no test, because some are known.
//!
//! `cargo bench --bench conversations -- 100000` holds that many; `-- --seed N` holds one and prints its story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "an instrument stops by panicking")]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "its figures are small")]
#![allow(clippy::print_stdout, reason = "the distribution is worth reading")]

mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use support::{Came, flows, hold};

/// As many as a minute of a development build holds.
const FEW: u64 = 1000;

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => many(FEW),
        ["--seed", seed] => one(number(seed)),
        [count] => many(number(count)),
        _ => panic!("expected a number of conversations, or --seed and a number"),
    }
}

fn one(seed: u64) -> ExitCode {
    let came = hold(seed, &flows());
    came.log.iter().for_each(|line| println!("{line}"));
    let faults = faults(&came);
    println!("seed {seed}: {faults:#?}");
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(count: u64) -> ExitCode {
    let flows = flows();
    let (next, all) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut sum = Sum::default();
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= count {
                        break;
                    }
                    sum.add(seed, &hold(seed, &flows));
                }
                all.lock().join(sum);
            });
        }
    });
    let all = all.into_inner();
    println!("{count} conversations, {:.0} h of talk: {all:#?}", all.talk.as_secs_f64() / 3600.0);
    println!("{} of {count} not as they should be", all.failed.len());
    if all.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
}

/// Of all conversations together.
#[derive(Debug, Default)]
struct Sum {
    talk: Duration,
    ends: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<&'static str, u64>,
    words: u64,
    /// Words that were heard in part.
    cut: u64,
    longest_silence: Duration,
    longest_wait: Duration,
    failed: BTreeMap<u64, Vec<String>>,
}

impl Sum {
    fn add(&mut self, seed: u64, came: &Came) {
        self.talk += came.lasted;
        *self.ends.entry(came.end.as_ref().map_or("none", |end| end.as_str())).or_default() += 1;
        for told in &came.interruptions {
            *self.outcomes.entry(told.outcome.as_str()).or_default() += 1;
        }
        let shares = came.ledger.words.iter().map(support::words::Made::share);
        self.words += shares.clone().filter(|share| *share > 0.0).count() as u64;
        self.cut += shares.filter(|share| *share > 0.0 && *share < 1.0).count() as u64;
        self.longest_silence = self.longest_silence.max(came.silence.0);
        self.longest_wait = self.longest_wait.max(came.wait.0);
        let faults = faults(came);
        if !faults.is_empty() {
            self.failed.insert(seed, faults);
        }
    }

    fn join(&mut self, other: Self) {
        self.talk += other.talk;
        other.ends.into_iter().for_each(|(end, count)| *self.ends.entry(end).or_default() += count);
        other.outcomes.into_iter().for_each(|(name, count)| *self.outcomes.entry(name).or_default() += count);
        self.words += other.words;
        self.cut += other.cut;
        self.longest_silence = self.longest_silence.max(other.longest_silence);
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.failed.extend(other.failed);
    }
}

fn faults(came: &Came) -> Vec<String> {
    let mut faults = Vec::new();
    if came.end.is_none() {
        faults.push("the call did not end".to_owned());
    }
    let (silence, since) = came.silence;
    if silence > MOST_SILENCE {
        faults.push(format!("silence of {silence:?} from {since:?} in the bot's turn"));
    }
    let (wait, since) = came.wait;
    if wait > MOST_WAIT {
        faults.push(format!("waited {wait:?} from {since:?} for the caller"));
    }
    for told in &came.interruptions {
        let ordered = told.onset_ms <= told.held_ms && told.decided_ms.is_none_or(|at| told.held_ms <= at);
        if !ordered {
            faults.push(format!("times out of order: {told:?}"));
        }
    }
    faults.extend(heard_otherwise(came));
    faults.extend(came.told.last().and_then(|told| never_played(told, came)));
    faults
}

/// Where the record and the caller's ear differ.
fn heard_otherwise(came: &Came) -> Option<String> {
    let recorded = came.recorded.join(" ");
    let mut recorded = recorded.split_whitespace().peekable();
    for word in &came.ledger.words {
        let (share, is_next) = (word.share(), recorded.peek() == Some(&word.text.as_str()));
        if is_next && share >= UNSURE.start {
            recorded.next();
        } else if share >= UNSURE.end {
            return Some(format!(
                "`{}` was played and is not recorded; recorded next is {:?}",
                word.text,
                recorded.peek()
            ));
        }
    }
    recorded.next().map(|word| format!("`{word}` is recorded and was not played"))
}

/// A word that the model was told was heard and that was not.
fn never_played(told: &str, came: &Came) -> Option<String> {
    let mut played = came.ledger.words.iter().filter(|word| word.share() >= UNSURE.start);
    let missing = told.split_whitespace().find(|word| !played.any(|made| made.text == *word))?;
    Some(format!("the model was told of `{missing}`, which was not played"))
}

/// What callers take for a dead line.
const MOST_SILENCE: Duration = Duration::from_millis(4200);
/// A step's patience with a silent caller, and a little.
const MOST_WAIT: Duration = Duration::from_millis(4200);
/// A word of which about half was heard may be counted either way: the cut is good to a frame.
const UNSURE: std::ops::Range<f64> = 0.3..0.7;

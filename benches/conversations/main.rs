//! Conversations by chance on virtual time: speech, noise, keys, holds, loss, vendors that are slow, fail or fall silent.
//!
//! Whatever comes, the call ends with a reason, nobody waits for nothing, and what is recorded as heard is what was heard, word
//! by word. Conversations in which that is not so are counted and named. `tests/calls/conversations.rs` holds a few of them.
//!
//! `cargo bench --bench conversations -- 100000` holds those of the seeds below 100,000, `-- 5000 8000` those of the seeds from
//! 5000 on below 8000; `-- --seed N` holds one and prints its story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "an instrument stops by panicking")]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "its figures are small")]
#![allow(clippy::print_stdout, reason = "the distribution is worth reading")]

#[path = "../../tests/conversations/mod.rs"]
mod conversations;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use conversations::{Sum, faults, flows, hold};
use parking_lot::Mutex;

/// As many as a minute of a development build holds.
const FEW: u64 = 1000;

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => many(0, FEW),
        ["--seed", seed] => one(number(seed)),
        [end] => many(0, number(end)),
        [first, end] => many(number(first), number(end)),
        _ => panic!("expected a number of conversations, a first and an end, or --seed and a number"),
    }
}

fn one(seed: u64) -> ExitCode {
    let came = hold(seed, &flows());
    came.log.iter().for_each(|line| println!("{line}"));
    let faults = faults(&came);
    println!("seed {seed}: {faults:#?}");
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(first: u64, end: u64) -> ExitCode {
    let flows = flows();
    let (next, all) = (AtomicU64::new(first), Mutex::new(Sum::default()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut sum = Sum::default();
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= end {
                        break;
                    }
                    sum.add(seed, &hold(seed, &flows));
                }
                all.lock().join(sum);
            });
        }
    });
    let all = all.into_inner();
    let count = end.saturating_sub(first);
    println!("{count} conversations, {:.0} h of talk: {all:#?}", all.talk.as_secs_f64() / 3600.0);
    println!("{} of {count} not as they should be", all.failed.len());
    if all.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
}

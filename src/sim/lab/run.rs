//! A whole measurement: so many onsets and so many minutes without speech, shared out over the conditions, on all cores.
//!
//! Which detector or floor is measured is the caller's affair: it hands in a function from a trial to what was done in it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::condition::{Condition, ONSETS, QUIET};
use super::score::{Acts, Onset, Quiet};
use super::trial::{Trial, Trials};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Trials with a caller.
    pub onsets: usize,
    /// Bot speech without a caller, minutes.
    pub minutes: f32,
    /// Length of a trial without a caller, s.
    pub quiet_s: f32,
    pub threads: usize,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub onsets: Vec<Onset>,
    pub quiets: Vec<Quiet>,
}

impl Plan {
    /// Makes every trial, has it `played`, and scores it. The result does not depend on the number of threads.
    pub fn run(&self, trials: &Trials, played: impl Fn(&Trial) -> Acts + Sync) -> Found {
        let done = share_out(&self.work(), self.threads, |task| task.run(trials, self.quiet_s, &played));
        let mut found = Found::default();
        for (onset, quiet) in done {
            found.onsets.extend(onset);
            found.quiets.extend(quiet);
        }
        found
    }

    fn work(&self) -> Vec<Task> {
        let mut work = shares(&ONSETS, self.onsets);
        work.extend(shares(&QUIET, (self.minutes * 60.0 / self.quiet_s) as usize));
        work
    }
}

#[derive(Clone, Copy)]
struct Task {
    condition: &'static Condition,
    number: u64,
}

impl Task {
    fn run(self, trials: &Trials, quiet_s: f32, played: &impl Fn(&Trial) -> Acts) -> (Option<Onset>, Option<Quiet>) {
        if QUIET.contains(self.condition) {
            let trial = trials.quiet(self.condition, self.number, quiet_s);
            return (None, Some(Quiet::of(&trial, &played(&trial))));
        }
        let trial = trials.onset(self.condition, self.number);
        (trial.and_then(|trial| Onset::of(&trial, &played(&trial))), None)
    }
}

/// Does each piece of work, on so many threads, and gives what came of each in the order of the work.
pub fn share_out<T: Sync, R: Send>(work: &[T], threads: usize, done: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut own = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = work.get(place) else { return own };
            own.push((place, done(task)));
        }
    };
    let mut all: Vec<(usize, R)> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(worker)).collect();
        let mut all = worker();
        all.extend(helpers.into_iter().filter_map(|helper| helper.join().ok()).flatten());
        all
    });
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, result)| result).collect()
}

/// At least one trial for each condition, otherwise by weight.
fn shares(conditions: &'static [Condition], all: usize) -> Vec<Task> {
    let weights: u32 = conditions.iter().map(|condition| condition.weight).sum();
    let share = |condition: &Condition| (all as f32 * condition.weight as f32 / weights as f32).round().max(1.0) as u64;
    let of = |condition: &'static Condition| (0..share(condition)).map(move |number| Task { condition, number });
    conditions.iter().flat_map(of).collect()
}

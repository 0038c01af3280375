//! Deals the laboratory's trials to the calls of a run. A call is one telephone: one caller, one condition, one kind of noise
//! and one echo path, with trial after trial.
//!
//! The laboratory's networks are left out, because here the run's own network carries every call, and so is its mobile
//! codec, which would have to code the echo as well.

use std::sync::Arc;
use std::time::Duration;

use super::Attempt;
use super::caller::TurnPlan;
use super::session::TurnTaking;
use crate::sim::clock::Dice;
use crate::sim::lab::condition::Network;
use crate::sim::lab::{Condition, Counts, ONSETS, QUIET, Trial, Trials};
use crate::sim::network::Profile;

/// The calls of a run by their number.
pub struct Deck {
    spoken: Vec<&'static Condition>,
    quiet: Vec<&'static Condition>,
}

impl Deck {
    /// The conditions that a scenario names, or all that a wire can have.
    ///
    /// # Errors
    /// Names the condition that there is not.
    pub fn new(wanted: &TurnTaking) -> Result<Self, String> {
        let all = || ONSETS.iter().chain(&QUIET);
        if let Some(unknown) = wanted.conditions.iter().find(|name| all().all(|c| c.name != name.as_str())) {
            return Err(format!("turn_taking: conditions: no condition is named `{unknown}`"));
        }
        let is_wanted = |condition: &&'static Condition| match wanted.conditions.as_slice() {
            [] => fits_a_wire(condition),
            named => named.iter().any(|name| name == condition.name),
        };
        let spoken: Vec<_> = ONSETS.iter().filter(is_wanted).collect();
        let mut quiet: Vec<_> = QUIET.iter().filter(is_wanted).collect();
        // What is promised comes first, so that a short run has it.
        quiet.sort_by_key(|condition| urgency(condition.counts));
        Ok(Self { spoken: by_weight(&spoken), quiet: by_weight(&quiet) })
    }

    /// The plan of a call. Of three calls two speak and one is quiet, where there are conditions for both.
    pub fn plan(&self, call: usize, called: &Arc<str>, trials: &Trials, wanted: &TurnTaking, seed: u64) -> TurnPlan {
        let start = Dice::new(seed, 0, DEAL).bits() as usize;
        let is_quiet = self.spoken.is_empty() || (call % 3 == 2 && !self.quiet.is_empty());
        let hand = if is_quiet { &self.quiet } else { &self.spoken };
        // The how many-th call of its kind it is.
        let turn = match (self.spoken.is_empty(), self.quiet.is_empty()) {
            (true, _) | (_, true) => call,
            _ if is_quiet => call / 3,
            _ => call - call / 3,
        };
        // A step that shares no factor with most lengths, so that few calls see many conditions.
        let place = if is_quiet { turn } else { start % 1024 + turn * STRIDE };
        let made = hand
            .get(place % hand.len().max(1))
            .map(|condition| make(condition, call, trials, wanted))
            .unwrap_or_default();
        TurnPlan {
            called: Arc::clone(called),
            echo: made.first().and_then(|trial| trial.echo.clone()),
            attempts: made.into_iter().map(attempt).collect(),
            slack_ms: SLACK_MS,
            bot_speaks_first: Duration::from_millis(700),
            patience: Duration::from_secs(600),
        }
    }
}

/// How much later than they arrive a telephone plays packets, ms: enough for all of them to be there in time.
pub fn slack_ms(network: &Profile) -> f64 {
    SLACK_MS + network.jitter_ms
}

/// Of conditions that no figure is made of but one, the first.
const fn urgency(counts: Counts) -> u8 {
    match counts {
        Counts::Jumps | Counts::SecondVoice20 | Counts::SecondVoice12 => 0,
        Counts::Core | Counts::CoreClean | Counts::Snr5 => 1,
        Counts::Row => 2,
    }
}

fn fits_a_wire(condition: &Condition) -> bool {
    let first_or_late = condition.lead_s.0 < 2.0 || condition.lead_s.0 > 5.0;
    condition.network == Network::Clean && !first_or_late
}

/// Each condition as often as its weight says, dealt in turn.
fn by_weight(conditions: &[&'static Condition]) -> Vec<&'static Condition> {
    let unit = conditions.iter().map(|condition| condition.weight).min().unwrap_or(1).max(1);
    let most = conditions.iter().map(|condition| condition.weight / unit).max().unwrap_or(0);
    (0..most).flat_map(|round| conditions.iter().filter(move |c| c.weight / unit > round).copied()).collect()
}

/// Trials of one caller with the noise of the first.
fn make(condition: &'static Condition, call: usize, trials: &Trials, wanted: &TurnTaking) -> Vec<Trial> {
    let trials = trials.of_one_caller(call as u64);
    let numbers = (call as u64 * 1000)..(call as u64 * 1000 + MOST_TRIED);
    let is_quiet = QUIET.iter().any(|quiet| std::ptr::eq(quiet, condition));
    let one = |number| match is_quiet {
        true => Some(trials.quiet(condition, number, wanted.quiet_s as f32)),
        false => trials.onset(condition, number),
    };
    let count = if is_quiet { wanted.quiet } else { wanted.trials };
    let mut made: Vec<Trial> = Vec::new();
    for trial in numbers.filter_map(one) {
        if made.first().is_none_or(|first| first.noise == trial.noise) {
            made.push(trial);
        }
        if made.len() >= count as usize {
            break;
        }
    }
    made
}

fn attempt(trial: Trial) -> Attempt {
    Attempt {
        condition: trial.condition,
        noise: trial.noise,
        words: trial.words,
        intro: trial.intro,
        audio: trial.caller,
        speech: trial.onset.zip(trial.end),
    }
}

/// What a condition counts for, in a word.
pub const fn counts_name(counts: Counts) -> &'static str {
    match counts {
        Counts::Core => "core",
        Counts::CoreClean => "clean",
        Counts::Snr5 => "snr 5",
        Counts::Jumps => "jumps",
        Counts::SecondVoice20 => "second voice -20",
        Counts::SecondVoice12 => "second voice -12",
        Counts::Row => "row",
    }
}

const MOST_TRIED: u64 = 900;
const STRIDE: usize = 7;
const SLACK_MS: f64 = 5.0;
const DEAL: u64 = 0xDEA1;

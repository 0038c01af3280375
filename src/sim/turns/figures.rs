//! From judged trials to the figures of a run, and to its table by condition. Misses count as failures, never as numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::judge::{BargeIn, Judged};
use super::plan::counts_name;
use crate::sim::lab::Counts;
use crate::sim::metrics::{Metric, Samples, Summary, summary};

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub condition: &'static str,
    pub counts: &'static str,
    /// Onsets that could be measured.
    pub onsets: usize,
    pub stop: Option<Summary>,
    /// Share of onsets after which the bot was silent within 250 ms.
    pub within_250_percent: Option<f64>,
    pub missed: usize,
    pub early: usize,
    pub bot_silent: usize,
    /// Of the bot's speech that nobody broke into.
    pub minutes: f64,
    pub false_holds: u32,
    pub false_commits: u32,
}

/// Counts over a set of trials.
#[derive(Clone, Debug, Default)]
struct Tally {
    stops: Vec<f64>,
    missed: usize,
    early: usize,
    bot_silent: usize,
    minutes: f64,
    holds: u32,
    commits: u32,
}

impl Tally {
    fn of<'a>(judged: impl Iterator<Item = &'a Judged>) -> Self {
        let mut tally = Self::default();
        judged.for_each(|one| tally.add(one));
        tally
    }

    fn add(&mut self, judged: &Judged) {
        match judged.result {
            BargeIn::Stopped { ms, .. } => self.stops.push(ms),
            BargeIn::Missed => self.missed += 1,
            BargeIn::Early => self.early += 1,
            BargeIn::BotSilent => self.bot_silent += 1,
            BargeIn::None => {}
        }
        self.minutes += judged.bot_ms / 60_000.0;
        for hold in &judged.false_holds {
            self.holds += hold.count;
            self.commits += u32::from(hold.committed);
        }
    }

    fn onsets(&self) -> usize {
        self.stops.len() + self.missed
    }

    fn percent(&self, count: usize) -> Option<f64> {
        (self.onsets() > 0).then(|| 100.0 * count as f64 / self.onsets() as f64)
    }

    fn within_250(&self) -> usize {
        self.stops.iter().filter(|ms| **ms <= 250.0).count()
    }

    fn per_minute(&self, count: u32) -> Option<f64> {
        (self.minutes > LEAST_MINUTES).then(|| f64::from(count) / self.minutes)
    }
}

/// The table's rows, those of the core first.
pub fn rows(judged: &[Judged]) -> Vec<Row> {
    let mut by_name: BTreeMap<(bool, &str), Vec<&Judged>> = BTreeMap::new();
    for one in judged {
        let condition = one.bout.condition;
        by_name.entry((!condition.counts.is_core(), condition.name)).or_default().push(one);
    }
    let row = |((_, name), trials): ((bool, &'static str), Vec<&Judged>)| {
        let tally = Tally::of(trials.iter().copied());
        Row {
            condition: name,
            counts: trials.first().map_or("", |one| counts_name(one.bout.condition.counts)),
            onsets: tally.onsets(),
            stop: summary(&tally.stops),
            within_250_percent: tally.percent(tally.within_250()),
            missed: tally.missed,
            early: tally.early,
            bot_silent: tally.bot_silent,
            minutes: tally.minutes,
            false_holds: tally.holds,
            false_commits: tally.commits,
        }
    };
    by_name.into_iter().map(row).collect()
}

/// The run's figures. `endpoint_ms` is the silence that ends a turn, and known.
pub fn samples(judged: &[Judged], endpoint_ms: u32) -> Samples {
    let mut samples = Samples::default();
    let of = |wanted: &dyn Fn(Counts) -> bool| Tally::of(judged.iter().filter(|one| wanted(one.bout.condition.counts)));
    let core = of(&Counts::is_core);
    let mut single = |metric, value: Option<f64>| value.into_iter().for_each(|value| samples.add(metric, value));
    single(Metric::LatePercent, core.percent(core.onsets() - core.within_250()));
    single(Metric::MissedPercent, core.percent(core.missed));
    let noisy = of(&|counts| counts == Counts::Snr5);
    single(Metric::MissedNoisyPercent, noisy.percent(noisy.missed));
    single(Metric::FalseHoldsPerMin, core.per_minute(core.holds));
    single(Metric::FalseCommitsPerMin, core.per_minute(core.commits));
    let rates = [
        (Metric::FalseHoldsCleanPerMin, Counts::CoreClean),
        (Metric::JumpHoldsPerMin, Counts::Jumps),
        (Metric::SecondVoiceFaintHoldsPerMin, Counts::SecondVoice20),
        (Metric::SecondVoiceHoldsPerMin, Counts::SecondVoice12),
    ];
    for (metric, wanted) in rates {
        let tally = of(&|counts| counts == wanted);
        single(metric, tally.per_minute(tally.holds));
    }
    single(Metric::ResumeWrongPercent, resumes_wrong(judged));
    for one in judged.iter().filter(|one| one.bout.condition.counts.is_core()) {
        core_samples(one, endpoint_ms, &mut samples);
    }
    samples
}

/// Share of the false holds after which more than one word was lost or said again.
fn resumes_wrong(judged: &[Judged]) -> Option<f64> {
    let words: Vec<_> = judged.iter().flat_map(|one| &one.false_holds).filter_map(|hold| hold.words).collect();
    let wrong = words.iter().filter(|(lost, repeated)| lost + repeated > 1).count();
    (!words.is_empty()).then(|| 100.0 * wrong as f64 / words.len() as f64)
}

fn core_samples(one: &Judged, endpoint_ms: u32, samples: &mut Samples) {
    if let BargeIn::Stopped { ms, heard_ms } = one.result {
        samples.add(Metric::StopMs, ms);
        samples.add(Metric::StopHeardMs, heard_ms);
    }
    // In noise nobody can say when exactly a word has ended; on a line without it the rest is the engine's.
    if let Some(gap) = one.response_ms.filter(|_| one.bout.condition.snr_db >= QUIET_DB) {
        samples.add(Metric::ResponseGapMs, gap);
        samples.add(Metric::ResponseOverheadMs, gap - f64::from(endpoint_ms));
    }
    if let Some(words) = one.heard_error {
        samples.add(Metric::HeardErrorWords, words as f64);
    }
}

/// Of less, no rate is told.
const LEAST_MINUTES: f64 = 0.1;
const QUIET_DB: f32 = 40.0;

//! The one table: each promise of turn-taking, what was found, and whether it holds. As markdown and as JSON.
//!
//! Averages over conditions are deliberately absent: beside the promises stands every condition with its own figures, and every
//! trial that failed with its number.

use core::fmt::Write as _;

use serde::Serialize;

use super::condition::{Condition, Counts, ONSETS, QUIET};
use super::run::Found;
use super::score::{Met, Onset, Quiet, Rates, Stops, stop_ms};

/// What a run found, against what is promised.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How to run it again.
    pub command: String,
    pub seed: u64,
    pub machine: String,
    pub promises: Vec<Promise>,
    pub onsets: Vec<OnsetRow>,
    pub quiets: Vec<QuietRow>,
    pub failures: Vec<Failure>,
}

/// One row of the table: a metric of one or more figures.
#[derive(Clone, Debug, Serialize)]
pub struct Promise {
    pub metric: &'static str,
    pub figures: Vec<Figure>,
    /// What it was measured on.
    pub of: String,
}

/// A figure with its limits. None where nothing was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    pub found: Option<f32>,
    pub pass: Limit,
    pub aim: Limit,
    /// Digits behind the point.
    digits: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    AtMost(f32),
    AtLeast(f32),
    /// No limit: it is reported.
    Reported,
}

/// A condition with a caller. Times in ms, on the wire.
#[derive(Clone, Debug, Serialize)]
pub struct OnsetRow {
    pub condition: &'static str,
    pub n: usize,
    pub early: usize,
    pub missed: usize,
    pub p50: Option<f32>,
    pub p95: Option<f32>,
    pub p99: Option<f32>,
    /// Share within 250 ms, %.
    pub within_250: f32,
    pub core: bool,
}

/// A condition without a caller, per minute of bot speech.
#[derive(Clone, Debug, Serialize)]
pub struct QuietRow {
    pub condition: &'static str,
    pub minutes: f32,
    pub holds: f32,
    pub commits: f32,
    pub core: bool,
}

/// A trial that did not go as promised: `trials.onset` or `trials.quiet` of its condition and number makes it again.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub condition: &'static str,
    pub number: u64,
    pub noise: &'static str,
    pub what: String,
}

impl Report {
    /// Scores what was found. Rows that detection alone cannot fill are pushed by whoever measured them.
    pub fn of(found: &Found, command: String, seed: u64, machine: String) -> Self {
        Self {
            command,
            seed,
            machine,
            promises: promises(found).into_iter().chain(on_the_wire()).collect(),
            onsets: ONSETS.iter().map(|condition| onset_row(condition, found)).collect(),
            quiets: QUIET.iter().map(|condition| quiet_row(condition, found)).collect(),
            failures: failures(found),
        }
    }

    /// The metrics whose pass line is missed.
    pub fn missed(&self) -> Vec<&'static str> {
        self.promises.iter().filter(|promise| promise.holds() == Some(false)).map(|promise| promise.metric).collect()
    }

    /// All of it for people.
    pub fn markdown(&self) -> String {
        let mut text = format!("`{}`, seed {}, {}\n\n", self.command, self.seed, self.machine);
        text += "| metric | pass line | aim | found | of | |\n|---|---|---|---|---|---|\n";
        for promise in &self.promises {
            promise.write(&mut text);
        }
        text += "\n| with a caller | n | stop p50 / p95 / p99 ms | <= 250 ms | missed | early |\n|---|---|---|---|---|---|\n";
        for row in &self.onsets {
            let times = [row.p50, row.p95, row.p99].map(|time| number(time, 0)).join(" / ");
            let OnsetRow { condition, n, early, missed, within_250, .. } = row;
            let _ = writeln!(text, "| {condition} | {n} | {times} | {within_250:.1} % | {missed} | {early} |");
        }
        text += "\n| without a caller | minutes | false holds / min | false commits / min |\n|---|---|---|---|\n";
        for QuietRow { condition, minutes, holds, commits, .. } in &self.quiets {
            let _ = writeln!(text, "| {condition} | {minutes:.1} | {holds:.2} | {commits:.2} |");
        }
        let _ =
            writeln!(text, "\nTrials that failed (missed, later than 250 ms, or with false holds), by condition:\n");
        for (condition, count) in self.worst() {
            let _ = writeln!(text, "- {condition}: {count}");
        }
        text
    }

    /// Conditions by how many of their trials failed, the worst first.
    fn worst(&self) -> Vec<(&'static str, usize)> {
        let names = ONSETS.iter().chain(&QUIET).map(|condition| condition.name);
        let of = |name| self.failures.iter().filter(|failure| failure.condition == name).count();
        let mut counts: Vec<_> = names.map(|name| (name, of(name))).filter(|(_, count)| *count > 0).collect();
        counts.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
        counts
    }
}

impl Promise {
    pub fn new(metric: &'static str, of: String, figures: Vec<Figure>) -> Self {
        Self { metric, figures, of }
    }

    /// Whether every figure is within its pass line; none where nothing was measured.
    pub fn holds(&self) -> Option<bool> {
        let kept: Vec<bool> = self.figures.iter().filter_map(|figure| figure.within(figure.pass)).collect();
        (!kept.is_empty()).then(|| kept.into_iter().all(|kept| kept))
    }

    fn meets_aim(&self) -> bool {
        self.figures.iter().all(|figure| figure.within(figure.aim) == Some(true))
    }

    fn write(&self, text: &mut String) {
        let join = |cell: fn(&Figure) -> String| self.figures.iter().map(cell).collect::<Vec<_>>().join(" / ");
        let verdict = match self.holds() {
            None => "not measured",
            Some(false) => "**missed**",
            Some(true) if self.meets_aim() => "aim met",
            Some(true) => "passed",
        };
        let (metric, of) = (self.metric, &self.of);
        let (pass, aim) = (join(|figure| figure.limit(figure.pass)), join(|figure| figure.limit(figure.aim)));
        let found = join(|figure| number(figure.found, figure.digits));
        let _ = writeln!(text, "| {metric} | {pass} | {aim} | {found} | {of} | {verdict} |");
    }
}

impl Figure {
    /// Better the lower it is.
    pub const fn at_most(found: Option<f32>, pass: f32, aim: f32, digits: usize) -> Self {
        Self { found, pass: Limit::AtMost(pass), aim: Limit::AtMost(aim), digits }
    }

    /// Better the higher it is.
    pub const fn at_least(found: Option<f32>, pass: f32, aim: f32, digits: usize) -> Self {
        Self { found, pass: Limit::AtLeast(pass), aim: Limit::AtLeast(aim), digits }
    }

    /// Without a pass line.
    pub const fn reported(found: Option<f32>, aim: f32, digits: usize) -> Self {
        Self { found, pass: Limit::Reported, aim: Limit::AtMost(aim), digits }
    }

    fn within(&self, limit: Limit) -> Option<bool> {
        let found = self.found?;
        Some(match limit {
            Limit::AtMost(most) => found <= most,
            Limit::AtLeast(least) => found >= least,
            Limit::Reported => true,
        })
    }

    fn limit(&self, limit: Limit) -> String {
        match limit {
            Limit::AtMost(most) => format!("<= {most}"),
            Limit::AtLeast(least) => format!(">= {least}"),
            Limit::Reported => "reported".into(),
        }
    }
}

fn promises(found: &Found) -> Vec<Promise> {
    let core = stops(found, |counts| counts.is_core());
    let snr5 = stops(found, |counts| counts == Counts::Snr5);
    let rates =
        |wanted: fn(Counts) -> bool| Rates::of(found.quiets.iter().filter(|quiet| wanted(quiet.condition.counts)));
    let (all, clean) = (rates(Counts::is_core), rates(|counts| counts == Counts::CoreClean));
    let jumps = rates(|counts| counts == Counts::Jumps);
    let (far, near) =
        (rates(|counts| counts == Counts::SecondVoice20), rates(|counts| counts == Counts::SecondVoice12));
    let holds = |rates: Rates| (rates.minutes > 0.0).then(|| rates.holds_per_minute());
    let commits = (all.minutes > 0.0).then(|| all.commits_per_minute());
    let share = |stops: &Stops, share: f32| (stops.n > 0).then_some(100.0 * share);
    vec![
        Promise::new(
            "barge-in stop on the wire, core, p50 / p95 / p99, ms",
            onsets(&core),
            vec![
                Figure::at_most(core.quantile(0.5), 80.0, 65.0, 0),
                Figure::at_most(core.quantile(0.95), 180.0, 150.0, 0),
                Figure::at_most(core.quantile(0.99), 280.0, 220.0, 0),
            ],
        ),
        Promise::new(
            "stopped within 250 ms, misses count as failures, %",
            onsets(&core),
            vec![Figure::at_least(share(&core, core.share_within(250.0)), 98.0, 99.5, 1)],
        ),
        Promise::new(
            "missed within 1 s: core / SNR 5 dB, %",
            format!("{}; {}", onsets(&core), onsets(&snr5)),
            vec![
                Figure::at_most(share(&core, core.share_missed()), 0.5, 0.1, 2),
                Figure::at_most(share(&snr5, snr5.share_missed()), 3.0, 1.0, 2),
            ],
        ),
        Promise::new(
            "false holds per minute of bot speech: core / clean line",
            format!("{:.0} min; {:.0} min", all.minutes, clean.minutes),
            vec![Figure::at_most(holds(all), 0.7, 0.2, 2), Figure::at_most(holds(clean), 0.0, 0.0, 2)],
        ),
        Promise::new("false commits per minute, core", minutes(all), vec![Figure::at_most(commits, 0.2, 0.03, 3)]),
        Promise::new(
            "echo path jumps every 5 s at ERL 15 to 25: false holds per minute",
            minutes(jumps),
            vec![Figure::at_most(holds(jumps), 4.0, 2.0, 2)],
        ),
        Promise::new(
            "second voice at -20 / -12 dB: false holds per minute",
            format!("{}; {}", minutes(far), minutes(near)),
            vec![Figure::at_most(holds(far), 1.0, 0.0, 2), Figure::reported(holds(near), 1.0, 2)],
        ),
    ]
}

/// What only a conversation shows: `sim_call` measures it.
fn on_the_wire() -> Vec<Promise> {
    let row = |metric, figures| Promise::new(metric, "`sim_call --scenario turn-taking`".into(), figures);
    vec![
        row("false hold resumed with more than one word lost or repeated, %", vec![Figure::at_most(None, 2.0, 0.0, 1)]),
        row("short answers accepted while a question is open, %", vec![Figure::at_least(None, 98.0, 99.5, 1)]),
        row(
            "heard text, words off: p50 / p95",
            vec![Figure::at_most(None, 0.0, 0.0, 0), Figure::at_most(None, 1.0, 0.0, 0)],
        ),
        row(
            "end of turn: median / p95, ms; cut-ins, %",
            vec![
                Figure::at_most(None, 450.0, 300.0, 0),
                Figure::at_most(None, 1200.0, 700.0, 0),
                Figure::at_most(None, 5.0, 1.0, 1),
            ],
        ),
        row(
            "response gap added by the engine: p50 / p99, ms",
            vec![Figure::at_most(None, 15.0, 10.0, 0), Figure::at_most(None, 40.0, 20.0, 0)],
        ),
    ]
}

fn stops(found: &Found, wanted: impl Fn(Counts) -> bool) -> Stops {
    Stops::of(found.onsets.iter().filter(|onset| wanted(onset.condition.counts)), stop_ms)
}

fn onsets(stops: &Stops) -> String {
    format!("{} onsets", stops.n)
}

fn minutes(rates: Rates) -> String {
    format!("{:.0} min", rates.minutes)
}

fn onset_row(condition: &'static Condition, found: &Found) -> OnsetRow {
    let stops = Stops::of(found.onsets.iter().filter(|onset| onset.condition == condition), stop_ms);
    OnsetRow {
        condition: condition.name,
        n: stops.n,
        early: stops.early,
        missed: stops.missed,
        p50: stops.quantile(0.5),
        p95: stops.quantile(0.95),
        p99: stops.quantile(0.99),
        within_250: 100.0 * stops.share_within(250.0),
        core: condition.counts.is_core(),
    }
}

fn quiet_row(condition: &'static Condition, found: &Found) -> QuietRow {
    let rates = Rates::of(found.quiets.iter().filter(|quiet| quiet.condition == condition));
    QuietRow {
        condition: condition.name,
        minutes: rates.minutes,
        holds: rates.holds_per_minute(),
        commits: rates.commits_per_minute(),
        core: condition.counts.is_core(),
    }
}

fn failures(found: &Found) -> Vec<Failure> {
    found.onsets.iter().filter_map(onset_failure).chain(found.quiets.iter().filter_map(quiet_failure)).collect()
}

fn onset_failure(onset: &Onset) -> Option<Failure> {
    let what = match onset.met {
        Met::Missed => format!("{} missed", onset.words),
        Met::Stopped { stop_ms, .. } if stop_ms > 250.0 => format!("{} stopped after {stop_ms:.0} ms", onset.words),
        Met::Stopped { .. } | Met::Early => return None,
    };
    Some(Failure { condition: onset.condition.name, number: onset.number, noise: onset.noise, what })
}

fn quiet_failure(quiet: &Quiet) -> Option<Failure> {
    let Quiet { holds, commits, .. } = *quiet;
    let what = format!("{holds} false holds, {commits} false commits");
    (holds > 0).then(|| Failure { condition: quiet.condition.name, number: quiet.number, noise: quiet.noise, what })
}

fn number(value: Option<f32>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_of_two_figures_holds_when_both_do() {
        let promise = |first, second| {
            Promise::new(
                "m",
                String::new(),
                vec![Figure::at_most(first, 10.0, 5.0, 0), Figure::at_least(second, 98.0, 99.0, 1)],
            )
        };
        assert_eq!(promise(Some(9.0), Some(98.5)).holds(), Some(true));
        assert!(!promise(Some(9.0), Some(98.5)).meets_aim());
        assert_eq!(promise(Some(11.0), Some(99.5)).holds(), Some(false));
        assert_eq!(promise(None, None).holds(), None);
        let mut text = String::new();
        promise(Some(4.0), Some(99.0)).write(&mut text);
        assert_eq!(text, "| m | <= 10 / >= 98 | <= 5 / >= 99 | 4 / 99.0 |  | aim met |\n");
    }
}

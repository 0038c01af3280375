//! The one table: each promise of turn-taking, what was found, and whether it holds. As markdown and as JSON.
//!
//! Averages over conditions are deliberately absent: beside the promises stands every condition with its own figures, and every
//! trial that failed with its number.

use core::fmt::Write as _;

use serde::Serialize;

use super::answers::Answer;
use super::condition::{Condition, ONSETS, QUIET};
use super::details::{Detail, details};
use super::pauses::{self, Turn};
use super::promises::{Measured, promises};
use super::run::Found;
use super::score::{Met, Onset, Quiet, Rates, Stops, stop_ms};
use super::wire::WireRun;
use crate::sim::turns::judge::Judged;

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
    /// Every other table by condition.
    pub details: Vec<Detail>,
    pub wire: Vec<WireRun>,
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

/// A trial that did not go as promised. With a number, its condition and that number make it again.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub condition: String,
    pub number: u64,
    pub what: String,
    /// How often it happened; more than once where single trials are not told.
    pub times: usize,
}

impl Report {
    /// Scores what was measured. The row of the processor's time is pushed by whoever measured it.
    pub fn of(measured: &Measured<'_>, command: String, seed: u64, machine: String) -> Self {
        let rows = |found: &Found| {
            let onsets = ONSETS.iter().map(|condition| onset_row(condition, found)).collect();
            (onsets, QUIET.iter().map(|condition| quiet_row(condition, found)).collect())
        };
        let (onsets, quiets) = measured.found.map(rows).unwrap_or_default();
        Self {
            command,
            seed,
            machine,
            promises: promises(measured),
            onsets,
            quiets,
            details: details(measured),
            wire: measured.wire.to_vec(),
            failures: failures(measured),
        }
    }

    /// The metrics whose pass line is missed.
    pub fn missed(&self) -> Vec<&'static str> {
        self.promises.iter().filter(|promise| promise.holds() == Some(false)).map(|promise| promise.metric).collect()
    }

    /// All of it for people.
    pub fn markdown(&self) -> String {
        format!("{}\n{}", self.table(), self.conditions())
    }

    /// The promises, with what they were measured by and on.
    pub fn table(&self) -> String {
        let mut text = format!("`{}`, seed {}, {}\n\n", self.command, self.seed, self.machine);
        text += "| metric | pass line | aim | found | of | |\n|---|---|---|---|---|---|\n";
        for promise in &self.promises {
            promise.write(&mut text);
        }
        text
    }

    /// Every condition by itself, and what failed in it.
    pub fn conditions(&self) -> String {
        let mut text = String::new();
        text +=
            "| with a caller | n | stop p50 / p95 / p99 ms | <= 250 ms | missed | early |\n|---|---|---|---|---|---|\n";
        for row in &self.onsets {
            let times = [row.p50, row.p95, row.p99].map(|time| number(time, 0)).join(" / ");
            let OnsetRow { condition, n, early, missed, within_250, .. } = row;
            let _ = writeln!(text, "| {condition} | {n} | {times} | {within_250:.1} % | {missed} | {early} |");
        }
        text += "\n| without a caller | minutes | false holds / min | false commits / min |\n|---|---|---|---|\n";
        for QuietRow { condition, minutes, holds, commits, .. } in &self.quiets {
            let _ = writeln!(text, "| {condition} | {minutes:.1} | {holds:.2} | {commits:.2} |");
        }
        self.details.iter().for_each(|detail| detail.write(&mut text));
        text += "\nWhat did not go as promised, by condition (missed, later than 250 ms, held for nothing, not accepted, cut in ";
        text += "on, more than a word wrong):\n\n";
        for (condition, count) in self.worst() {
            let _ = writeln!(text, "- {condition}: {count}");
        }
        text
    }

    /// Conditions by how much failed in them, the worst first.
    fn worst(&self) -> Vec<(&str, usize)> {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for failure in &self.failures {
            match counts.iter_mut().find(|(name, _)| *name == failure.condition) {
                Some((_, count)) => *count += failure.times,
                None => counts.push((&failure.condition, failure.times)),
            }
        }
        counts.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
        counts
    }
}

impl Detail {
    fn write(&self, text: &mut String) {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let _ = writeln!(text, "\n| {} | {} |\n|---|{}", self.of, names.join(" | "), "---|".repeat(names.len()));
        for row in &self.rows {
            let cells = row.values.iter().zip(&self.columns).map(|(value, column)| number(*value, column.digits));
            let _ = writeln!(text, "| {} | {} |", row.condition, cells.collect::<Vec<_>>().join(" | "));
        }
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
        let limits = |limit: fn(&Figure) -> Limit| match self.figures.iter().all(|f| limit(f) == Limit::Reported) {
            true => String::new(),
            false => self.figures.iter().map(|figure| figure.limit(limit(figure))).collect::<Vec<_>>().join(" / "),
        };
        let is_reported = self.figures.iter().all(|figure| figure.pass == Limit::Reported);
        let verdict = match self.holds() {
            Some(_) if is_reported => "reported",
            None => "not measured",
            Some(false) => "**missed**",
            Some(true) if self.meets_aim() => "aim met",
            Some(true) => "passed",
        };
        let (metric, of) = (self.metric, &self.of);
        let (pass, aim) = (limits(|figure| figure.pass), limits(|figure| figure.aim));
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

    /// Without any line.
    pub const fn told(found: Option<f32>, digits: usize) -> Self {
        Self { found, pass: Limit::Reported, aim: Limit::Reported, digits }
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

fn failures(measured: &Measured<'_>) -> Vec<Failure> {
    let mut all: Vec<Failure> = Vec::new();
    if let Some(found) = measured.found {
        all.extend(found.onsets.iter().filter_map(onset_failure));
        all.extend(found.quiets.iter().filter_map(quiet_failure));
    }
    all.extend(measured.resumed.iter().filter_map(resume_failure));
    all.extend(measured.answers.iter().filter_map(answer_failure));
    for (line, judged) in measured.heard {
        all.extend(judged.iter().filter_map(|one| heard_failure(line.name, one)));
    }
    all.extend(measured.turns.iter().filter_map(turn_failure));
    all.extend(measured.wire.iter().flat_map(wire_failures));
    all
}

fn once(condition: String, number: u64, what: String) -> Failure {
    Failure { condition, number, what, times: 1 }
}

fn onset_failure(onset: &Onset) -> Option<Failure> {
    let (words, noise) = (&onset.words, onset.noise);
    let what = match onset.met {
        Met::Missed => format!("{words} missed in {noise}"),
        Met::Stopped { stop_ms, .. } if stop_ms > LATE_MS => {
            format!("{words} in {noise} stopped after {stop_ms:.0} ms")
        }
        Met::Stopped { .. } | Met::Early => return None,
    };
    Some(once(onset.condition.name.to_owned(), onset.number, what))
}

fn quiet_failure(quiet: &Quiet) -> Option<Failure> {
    let Quiet { holds, commits, noise, .. } = *quiet;
    let what = format!("{holds} false holds, {commits} false commits for {noise}");
    (holds > 0).then(|| once(quiet.condition.name.to_owned(), quiet.number, what))
}

fn resume_failure(judged: &Judged) -> Option<Failure> {
    let words = judged.false_holds.iter().filter_map(|hold| hold.words);
    let (lost, repeated) = words.max_by_key(|(lost, repeated)| lost + repeated).filter(|(l, r)| l + r > 1)?;
    let what = format!("{lost} words lost, {repeated} repeated");
    Some(once(format!("resumed after {}", judged.bout.condition.name), number_of(judged), what))
}

fn answer_failure(answer: &Answer) -> Option<Failure> {
    let condition = format!("short answer {}, {}", answer.way.name, answer.condition.name);
    (!answer.accepted).then(|| once(condition, answer.number, "not accepted".to_owned()))
}

fn heard_failure(line: &str, judged: &Judged) -> Option<Failure> {
    let words = judged.heard_error.filter(|words| *words > 1)?;
    let condition = format!("heard text over {line}, {}", judged.bout.condition.name);
    Some(once(condition, number_of(judged), format!("{words} words off")))
}

fn turn_failure(turn: &Turn) -> Option<Failure> {
    let what = match turn.met {
        pauses::Met::CutIn { one_turn } => format!("cut in on, {}", if one_turn { "one turn" } else { "two turns" }),
        pauses::Met::Missed => "never ended".to_owned(),
        pauses::Met::Waited(ms) if ms > LONG_WAIT_MS => format!("waited {ms:.0} ms"),
        pauses::Met::Waited(_) => return None,
    };
    Some(once(format!("{}, {}", turn.kind.name, turn.room.name), turn.number, what))
}

/// By the number of the call and of the trial in it.
fn number_of(judged: &Judged) -> u64 {
    (judged.call * 1000 + judged.number) as u64
}

fn wire_failures(run: &WireRun) -> Vec<Failure> {
    let of = |condition: &super::wire::Condition| {
        let (late, holds) = (condition.late(), condition.false_holds);
        let what = format!("{late} late, {} of them missed, {holds} false holds", condition.missed);
        let name = format!("on the wire, {}: {}", run.name, condition.condition);
        let times = late + holds as usize;
        (times > 0).then_some(Failure { condition: name, number: 0, what, times })
    };
    run.conditions.iter().filter_map(of).collect()
}

const LATE_MS: f32 = 250.0;
const LONG_WAIT_MS: f32 = 1200.0;

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

//! What stands behind the rows of the table: the figures of each condition by itself.

use serde::Serialize;

use super::answers::{Answer, WAYS, Way};
use super::condition::{ANSWERS, Condition, Network, ROOMS};
use super::pauses::{KINDS, Kind, Met, Turn};
use super::promises::{Measured, heard_errors, percent, waits};
use super::score::{Onset, Stops, stop_ms};
use super::wire::WireRun;
use crate::sim::turns::judge::Judged;
use crate::sim::turns::offline::Line;

/// A table: a row for each condition.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    pub of: &'static str,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Column {
    pub name: &'static str,
    /// Digits behind the point.
    pub digits: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub condition: String,
    pub values: Vec<Option<f32>>,
}

/// All tables of which anything was measured.
pub fn details(measured: &Measured<'_>) -> Vec<Detail> {
    let onsets = measured.found.map_or(&[][..], |found| &found.onsets);
    let all = [
        networks(onsets),
        resumes(measured.resumed),
        answers(measured.answers),
        heard(measured.heard),
        turns(measured.turns),
        wire(measured.wire),
    ];
    all.into_iter().filter(|detail| !detail.rows.is_empty()).collect()
}

impl Detail {
    fn new(of: &'static str, columns: &[(&'static str, usize)], rows: Vec<Row>) -> Self {
        let columns = columns.iter().map(|&(name, digits)| Column { name, digits }).collect();
        Self { of, columns, rows }
    }
}

/// Stops over each network, of the same kinds of trials.
fn networks(onsets: &[Onset]) -> Detail {
    let row = |(name, network): (&str, Network)| {
        let is_of = |condition: &Condition| match network {
            Network::Clean => ["SNR 20", "ERL 25", "short words"].contains(&condition.name),
            other => condition.network == other,
        };
        let stops = Stops::of(onsets.iter().filter(|onset| is_of(onset.condition)), stop_ms);
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| stops.quantile(share));
        let values = vec![count(stops.n), p50, p95, p99, Some(100.0 * stops.share_within(250.0)), count(stops.missed)];
        (stops.n > 0).then(|| Row { condition: name.to_owned(), values })
    };
    let all = [("clean", Network::Clean), ("20 ms jitter", Network::Jitter20), ("3 % loss, 40 ms", Network::Loss3)];
    let columns = [("onsets", 0), ("stop p50, ms", 0), ("p95", 0), ("p99", 0), ("<= 250 ms, %", 1), ("missed", 0)];
    Detail::new("network: noise, echo and short words", &columns, all.into_iter().filter_map(row).collect())
}

fn resumes(judged: &[Judged]) -> Detail {
    let row = |name: &'static str| {
        let of = || judged.iter().filter(|one| one.bout.condition.name == name);
        let holds = of().flat_map(|one| &one.false_holds);
        let words: Vec<(usize, usize)> = holds.clone().filter_map(|hold| hold.words).collect();
        let mean = |part: fn(&(usize, usize)) -> usize| {
            (!words.is_empty()).then(|| words.iter().map(part).sum::<usize>() as f32 / words.len() as f32)
        };
        let wrong = words.iter().filter(|(lost, repeated)| lost + repeated > 1).count();
        let minutes = of().map(|one| one.bot_ms).sum::<f64>() as f32 / 60_000.0;
        let values = vec![
            Some(minutes),
            count(holds.clone().count()),
            count(words.len()),
            count(wrong),
            mean(|words| words.0),
            mean(|words| words.1),
        ];
        Row { condition: name.to_owned(), values }
    };
    let columns = [
        ("minutes", 0),
        ("false holds", 0),
        ("resumed", 0),
        ("with more than a word wrong", 0),
        ("words lost, mean", 2),
        ("words repeated, mean", 2),
    ];
    Detail::new("false holds for", &columns, names(judged).into_iter().map(row).collect())
}

/// Conditions in the order in which they first occur.
fn names(judged: &[Judged]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for one in judged {
        if !names.contains(&one.bout.condition.name) {
            names.push(one.bout.condition.name);
        }
    }
    names
}

fn answers(answers: &[Answer]) -> Detail {
    let row = |condition: &Condition| {
        let of = |way: &Way| {
            let given = || answers.iter().filter(|a| a.condition.name == condition.name && a.way.name == way.name);
            percent(given().filter(|answer| answer.accepted).count(), given().count())
        };
        let n = answers.iter().filter(|answer| answer.condition.name == condition.name).count();
        let values = std::iter::once(count(n)).chain(WAYS.iter().map(of)).collect();
        (n > 0).then(|| Row { condition: condition.name.to_owned(), values })
    };
    let columns: Vec<_> = std::iter::once(("answers", 0)).chain(WAYS.iter().map(|way| (way.name, 1))).collect();
    Detail::new("short answers accepted, %", &columns, ANSWERS.iter().filter_map(row).collect())
}

fn heard(lines: &[(Line, Vec<Judged>)]) -> Detail {
    let row = |(line, judged): &(Line, Vec<Judged>)| {
        let errors = heard_errors(judged);
        let quantiles = [0.5, 0.95, 0.99, 1.0].map(|share| errors.quantile(share));
        let values = std::iter::once(count(errors.n())).chain(quantiles).collect();
        let counted = if line.counts { "" } else { " (not counted)" };
        Row { condition: format!("{}{counted}", line.name), values }
    };
    let columns = [("cuts", 0), ("words off p50", 0), ("p95", 0), ("p99", 0), ("max", 0)];
    Detail::new("heard text", &columns, lines.iter().map(row).collect())
}

fn turns(turns: &[Turn]) -> Detail {
    let rooms = KINDS.iter().flat_map(|kind| ROOMS.iter().map(move |room| (kind, room)));
    let row = |(kind, room): (&Kind, &Condition)| {
        let of = || turns.iter().filter(|turn| turn.kind.name == kind.name && turn.room.name == room.name);
        let waits = waits(of());
        let pauses: usize = of().map(|turn| turn.pauses).sum();
        let cut_ins = of().filter(|turn| matches!(turn.met, Met::CutIn { .. })).count();
        let one_turn = of().filter(|turn| turn.met == Met::CutIn { one_turn: true }).count();
        let values = vec![
            count(of().count()),
            waits.quantile(0.5),
            waits.quantile(0.95),
            count(pauses),
            count(cut_ins),
            count(one_turn),
        ];
        let counted = if kind.counts { "" } else { " (not counted)" };
        let condition = format!("{}, {}{counted}", kind.name, room.name);
        (of().count() > 0).then_some(Row { condition, values })
    };
    let columns = [
        ("turns", 0),
        ("end of turn p50, ms", 0),
        ("p95", 0),
        ("pauses", 0),
        ("cut-ins", 0),
        ("of them withdrawn: one turn", 0),
    ];
    Detail::new("what is said", &columns, rooms.filter_map(row).collect())
}

fn wire(runs: &[WireRun]) -> Detail {
    let row = |run: &WireRun| {
        let single = |name| run.metric(name).p50;
        let [stop, heard, gap, errors] =
            ["stop_ms", "stop_heard_ms", "response_overhead_ms", "heard_error_words"].map(|name| run.metric(name));
        let values = vec![
            count(run.calls as usize),
            count(run.failures),
            count(stop.n),
            stop.p50,
            stop.p95,
            stop.p99,
            heard.p50,
            heard.p95,
            single("late_percent"),
            single("missed_percent"),
            single("false_holds_per_min"),
            single("resume_wrong_percent"),
            errors.p95,
            gap.p50,
            gap.p99,
            Some(run.late_frames),
        ];
        Row { condition: run.name.clone(), values }
    };
    let columns = [
        ("calls", 0),
        ("failed", 0),
        ("onsets", 0),
        ("stop p50, ms", 0),
        ("p95", 0),
        ("p99", 0),
        ("heard stop p50", 0),
        ("p95", 0),
        ("later than 250 ms, %", 1),
        ("missed, %", 1),
        ("false holds / min", 2),
        ("resumed wrong, %", 1),
        ("heard text, words off p95", 0),
        ("response gap p50, ms", 0),
        ("p99", 0),
        ("harness late, %", 2),
    ];
    Detail::new("on the wire, core", &columns, runs.iter().map(row).collect())
}

fn count(count: usize) -> Option<f32> {
    Some(count as f32)
}

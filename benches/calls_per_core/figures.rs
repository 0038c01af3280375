//! Percentiles, the machine's facts and the table.

use std::time::Duration;

use offhook::sim::audio::FRAME;

use crate::calls::Outcome;
use crate::flood::Answers;
use crate::rate;
use crate::server::{Usage, read};
use crate::voice::{NOISE_DBFS, PAUSE, SPEECH_DBFS, Script};

/// One step's figures.
pub struct Row {
    pub calls: usize,
    pub realtime: bool,
    pub used: Usage,
    pub rss_kb_per_call: f64,
    pub idle_rss_kb: u64,
    pub barge_ins: u64,
    pub outcome: Outcome,
}

/// One rate of calls a second.
pub struct Rate {
    pub per_second: usize,
    pub used: Usage,
    /// Before and after.
    pub rss_kb: (u64, u64),
    pub outcome: rate::Outcome,
}

/// Calls that went on beside a flood.
pub struct Flooded {
    pub calls: usize,
    pub used: Usage,
    /// Before it, during it at even distances, and once all that it left behind is over.
    pub rss_kb: Vec<u64>,
    pub answers: Answers,
    pub outcome: Outcome,
}

/// A Markdown table, one column for each step.
pub fn table(rows: &[Row]) -> String {
    markdown("calls", |row: &Row| row.calls, FIGURES, rows)
}

/// The same for rates of set-up.
pub fn rates(rows: &[Rate]) -> String {
    markdown("calls a second", |row: &Rate| row.per_second, RATES, rows)
}

/// The same for calls beside a flood.
pub fn flooded(rows: &[Flooded]) -> String {
    markdown("calls, all places taken", |row: &Flooded| row.calls, FLOODS, rows)
}

fn markdown<R>(title: &str, number: impl Fn(&R) -> usize, figures: &[Figure<R>], rows: &[R]) -> String {
    let mut lines =
        vec![line(title, rows, |row| number(row).to_string()), format!("|---|{}", "---|".repeat(rows.len()))];
    for (name, value) in figures {
        lines.push(line(name, rows, value));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What the figures depend on.
pub fn facts(script: &Script) -> String {
    let model = read("/proc/cpuinfo").ok().and_then(|text| {
        let (_, value) = text.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
        Some(value.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = read("/proc/loadavg").unwrap_or_default();
    format!(
        "{}, {cores} cores, Linux {}, load before {}\n\
         each caller: PCMU 20 ms; line noise at {NOISE_DBFS} dBFS; every {:.1} s on average one of {} recordings of \
         human speech at {SPEECH_DBFS} dBFS after {:.0} s of noise; speech duty {:.0} %",
        model.unwrap_or_else(|| "unknown CPU".to_owned()),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        script.frames() as f64 * 0.02 / script.recordings as f64,
        script.recordings,
        PAUSE as f64 / FRAME as f64 * 0.02,
        100.0 * script.duty,
    )
}

type Figure<R> = (&'static str, fn(&R) -> String);

const RATES: &[Figure<Rate>] = &[
    ("placed / failed", |row| format!("{} / {}", row.outcome.placed, row.outcome.failed)),
    ("set-up p50 / p99, ms", |row| pair(&row.outcome.setup_ms, 0.5, 0.99)),
    ("set-up p95 / max, ms", |row| pair(&row.outcome.setup_ms, 0.95, 1.0)),
    ("BYE p50 / p99, ms", |row| pair(&row.outcome.bye_ms, 0.5, 0.99)),
    ("CPU per call, ms (1 s of audio sent)", |row| format!("{:.2}", per_call(row, row.used.cpu))),
    ("- without its media thread", |row| format!("{:.2}", per_call(row, row.used.cpu - row.used.media))),
    ("server CPU, % of a core", |row| format!("{:.1}", row.used.percent(row.used.cpu))),
    ("requests repeated", |row| row.outcome.repeated.to_string()),
    ("memory before / after, KB", |row| format!("{} / {}", row.rss_kb.0, row.rss_kb.1)),
    ("driver late p50 / p99, ms", |row| pair(&row.outcome.driver_late_ms, 0.5, 0.99)),
];

const FLOODS: &[Figure<Flooded>] = &[
    ("INVITEs of the flood / 503 / anything else", |row| {
        format!("{} / {} / {}", row.answers.sent, row.answers.refused, row.answers.other)
    }),
    ("calls ended early", |row| row.outcome.failed.to_string()),
    ("pacing error p50 / p95, ms", |row| pair(&row.outcome.pacing_ms, 0.5, 0.95)),
    ("pacing error p99 / max, ms", |row| pair(&row.outcome.pacing_ms, 0.99, 1.0)),
    ("packets received / lost", |row| format!("{} / {}", row.outcome.received, row.outcome.lost)),
    ("server CPU, % of a core", |row| format!("{:.1}", row.used.percent(row.used.cpu))),
    ("memory before, during .., 35 s after, MB", |row| {
        let megabytes: Vec<String> = row.rss_kb.iter().map(|kb| format!("{:.0}", *kb as f64 / 1024.0)).collect();
        megabytes.join(" ")
    }),
    ("driver late p50 / p99, ms", |row| pair(&row.outcome.driver_late_ms, 0.5, 0.99)),
];

fn per_call(row: &Rate, used: Duration) -> f64 {
    used.as_secs_f64() * 1000.0 / row.outcome.placed as f64
}

const FIGURES: &[Figure<Row>] = &[
    ("answered / ended early", |row| format!("{} / {}", row.outcome.answered, row.outcome.failed)),
    ("server CPU, % of a core", |row| format!("{:.1}", row.used.percent(row.used.cpu))),
    ("- of which its media thread", |row| format!("{:.1}", row.used.percent(row.used.media))),
    ("CPU per call, % of a core", |row| format!("{:.3}", row.used.percent(row.used.cpu) / row.calls as f64)),
    ("memory per call, KB (idle server)", |row| format!("{:.0} ({})", row.rss_kb_per_call, row.idle_rss_kb)),
    ("pacing error p50 / p95, ms", |row| pair(&row.outcome.pacing_ms, 0.5, 0.95)),
    ("pacing error p99 / max, ms", |row| pair(&row.outcome.pacing_ms, 0.99, 1.0)),
    ("packets received / lost", |row| format!("{} / {}", row.outcome.received, row.outcome.lost)),
    ("set-up p50 / p99, ms", |row| pair(&row.outcome.setup_ms, 0.5, 0.99)),
    ("barge-ins per call and minute", |row| {
        format!("{:.1}", row.barge_ins as f64 / row.calls as f64 / row.used.at.as_secs_f64() * 60.0)
    }),
    ("media thread at real-time priority", |row| if row.realtime { "yes" } else { "no" }.to_owned()),
    ("driver late p50 / p99, ms", |row| pair(&row.outcome.driver_late_ms, 0.5, 0.99)),
    ("others on the server's core, %", |row| {
        format!("{:.0}", row.used.percent(row.used.core_busy.saturating_sub(row.used.cpu)))
    }),
];

fn line<R>(name: &str, rows: &[R], value: impl Fn(&R) -> String) -> String {
    let cells: Vec<String> = rows.iter().map(value).collect();
    format!("| {name} | {} |", cells.join(" | "))
}

fn pair(values: &[f32], first: f64, second: f64) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    format!("{:.2} / {:.2}", at(&sorted, first), at(&sorted, second))
}

/// The value that a share `q` of all stays at or under.
fn at(sorted: &[f32], q: f64) -> f32 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f32::NAN)
}

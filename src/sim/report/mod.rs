//! What a run leaves behind: a table on the terminal, `report.json`, and a page with plots.

mod page;
mod plots;
mod svg;
mod table;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub use table::table;

use super::caller::Outcome;
use super::clock::{Moment, ms, ms_between};
use super::driver::OwnLateness;
use super::metrics::{Metric, Samples, Verdict};
use super::options::Options;
use super::records::ServerTurn;
use super::run::{Server, Target};
use super::scenario::Scenario;
use super::timeline::{Timeline, Trial};
use super::turns::page as trials;
use super::turns::session::TurnReport;
use super::voice::Span;

/// A whole run.
pub struct Report {
    pub setting: Setting,
    pub samples: Samples,
    pub verdicts: Vec<Verdict>,
    pub calls: Vec<CallReport>,
    /// Where trials of turn-taking were made.
    pub turns: Option<TurnReport>,
}

/// What was run, and on what.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Setting {
    pub via: &'static str,
    pub target: String,
    pub embedded: bool,
    pub calls: u32,
    pub concurrency: u32,
    pub rate_per_second: f64,
    pub seed: u64,
    pub network: super::network::Profile,
    pub scenarios: Vec<Arc<str>>,
    pub began: String,
    pub took_ms: f64,
    pub version: &'static str,
    pub cpus: usize,
    /// Frames that the harness itself sent late.
    pub own_lateness: OwnLateness,
    /// What the reader should know.
    pub note: Option<String>,
}

/// One call of a run.
pub struct CallReport {
    pub call: usize,
    pub scenario: Arc<str>,
    pub caller: String,
    pub placed_at: Timestamp,
    pub placed: Moment,
    pub answered: Option<Moment>,
    pub over: Moment,
    pub outcome: Outcome,
    pub samples: Samples,
    /// Each trial with its figure in ms.
    pub trials: Vec<(Trial, Option<f64>)>,
    /// Where the bot was heard.
    pub bot: Vec<Span>,
    pub first_of_its_kind: bool,
    /// The audio, for the calls that are drawn.
    pub timeline: Option<Timeline>,
    /// The server's record of the turns, for the calls that are drawn.
    pub turns: Vec<ServerTurn>,
}

impl Setting {
    pub fn new(
        options: &Options,
        server: &Server,
        scenarios: &[Arc<Scenario>],
        began: Timestamp,
        took_ms: f64,
        own_lateness: OwnLateness,
        note: Option<String>,
    ) -> Self {
        Self {
            via: options.via.name(),
            target: match &server.target {
                Target::Sip(address) => address.to_string(),
                Target::Twilio(target) => target.address.clone(),
            },
            embedded: options.embedded,
            calls: options.calls,
            concurrency: options.concurrency.unwrap_or(options.calls),
            rate_per_second: options.rate,
            seed: options.seed,
            network: options.network,
            scenarios: scenarios.iter().map(|s| Arc::clone(&s.name)).collect(),
            began: began.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            took_ms,
            version: env!("CARGO_PKG_VERSION"),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            own_lateness,
            note,
        }
    }
}

impl CallReport {
    pub const fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl Report {
    /// Whether every pass line holds.
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(|v| v.ok)
    }

    /// The whole report as JSON: `metrics` by name, `pass`, `failures`, `calls`.
    pub fn json(&self) -> Value {
        let metrics: Map<String, Value> = Metric::ALL.iter().map(|&m| (m.name().to_owned(), self.metric(m))).collect();
        json!({
            "tool": "sim_call",
            "setting": self.setting,
            "passed": self.passed(),
            "metrics": metrics,
            "pass": self.verdicts,
            "failures": self.calls.iter().filter_map(failure).collect::<Vec<_>>(),
            "turn_taking": self.turns.as_ref().map(|turns| &turns.rows),
            "calls": self.calls.iter().map(call_json).collect::<Vec<_>>(),
        })
    }

    /// Writes `report.json` and `report.html`, and where trials were made `trials.html` with its directory.
    ///
    /// # Errors
    /// Names the file that could not be written.
    pub fn write(&self, dir: &Path) -> Result<(), String> {
        let named = |file: &Path, e: std::io::Error| format!("{}: {e}", file.display());
        std::fs::create_dir_all(dir).map_err(|e| named(dir, e))?;
        let json = serde_json::to_string_pretty(&self.json()).map_err(|e| e.to_string())?;
        for (name, text) in [("report.json", json), ("report.html", page::page(self))] {
            let file = dir.join(name);
            std::fs::write(&file, text).map_err(|e| named(&file, e))?;
        }
        self.turns.as_ref().map_or(Ok(()), |turns| trials::write(dir, self, turns))
    }

    fn metric(&self, metric: Metric) -> Value {
        match self.samples.summary(metric) {
            Some(summary) => json!(summary),
            None => json!({"n": 0, "p50": null, "p95": null, "p99": null, "max": null}),
        }
    }
}

fn failure(call: &CallReport) -> Option<Value> {
    let Outcome::Failed(failure) = &call.outcome else { return None };
    let at_ms = round(ms_between(failure.at, call.placed));
    Some(
        json!({"call": call.call, "scenario": call.scenario, "step": failure.step, "at_ms": at_ms, "why": failure.why}),
    )
}

fn call_json(call: &CallReport) -> Value {
    let trials: Vec<Value> =
        call.trials.iter().map(|&(trial, figure)| trial_json(trial, figure, call.placed)).collect();
    let single = |metric: Metric| call.samples.values(metric).first().map(|&v| round(v));
    json!({
        "call": call.call,
        "scenario": call.scenario,
        "passed": !call.failed(),
        "answered_ms": call.answered.map(|at| round(ms_between(at, call.placed))),
        "lasted_ms": round(ms(call.over.saturating_sub(call.placed))),
        "lost_frames": single(Metric::LostFrames),
        "underrun_ms": single(Metric::UnderrunMs),
        "trials": trials,
    })
}

fn trial_json(trial: Trial, figure: Option<f64>, placed: Moment) -> Value {
    let at = |moment: Moment| round(ms_between(moment, placed));
    let value = figure.map(round);
    match trial {
        Trial::BargeIn { onset } => json!({"kind": "barge_in", "onset_ms": at(onset), "barge_in_ms": value}),
        Trial::Response { end, known_ms } => {
            json!({"kind": "response", "end_ms": at(end), "response_gap_ms": value, "known_delay_ms": known_ms})
        }
        Trial::Key { at: pressed, known_ms } => {
            json!({"kind": "key", "at_ms": at(pressed), "key_gap_ms": value, "known_delay_ms": known_ms})
        }
        Trial::Noise { from, .. } => json!({"kind": "noise", "at_ms": at(from), "stopped_after_ms": value}),
    }
}

/// Microseconds are as fine as any figure here is.
fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

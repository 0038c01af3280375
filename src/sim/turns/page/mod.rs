//! The page of a run's trials: one HTML file, and beside it one script file for each trial with its audio, so that it opens
//! from a disk as well as from a server and asks no network for anything.
//!
//! What the server's ear made of a call is made again here, from the audio as it went over the wire.

mod trace;

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::judge::{BargeIn, Judged};
use super::plan::counts_name;
use super::runs::{BotSide, Hold};
use super::session::TurnReport;
use crate::sim::audio::SILENCE;
use crate::sim::clock::{Moment, ms_between};
use crate::sim::metrics::Metric;
use crate::sim::report::{CallReport, Report};
use crate::sim::timeline::{MarkKind, Timeline, Track};
use trace::Trace;

/// Writes `trials.html` and the directory `trials` into `dir`.
///
/// # Errors
/// Names the file that could not be written.
pub fn write(dir: &Path, report: &Report, turns: &TurnReport) -> Result<(), String> {
    let folder = dir.join("trials");
    let named = |file: &Path, e: std::io::Error| format!("{}: {e}", file.display());
    std::fs::create_dir_all(&folder).map_err(|e| named(&folder, e))?;
    for call in &report.calls {
        let Some(timeline) = &call.timeline else { continue };
        let side = turns.sides.iter().find(|(number, _)| *number == call.call).map(|(_, side)| side);
        let trials: Vec<&Judged> = turns.judged.iter().filter(|one| one.call == call.call).collect();
        let trace = Trace::new(timeline, &trials);
        for judged in trials {
            let file = folder.join(format!("{}.js", id(judged)));
            let text = format!("trial({});\n", trial(call, timeline, side, judged, &trace));
            std::fs::write(&file, text).map_err(|e| named(&file, e))?;
        }
    }
    let file = dir.join("trials.html");
    let mut out = std::fs::File::create(&file).map_err(|e| named(&file, e))?;
    out.write_all(page(report, turns).as_bytes()).map_err(|e| named(&file, e))
}

fn page(report: &Report, turns: &TurnReport) -> String {
    let metrics =
        Metric::ALL.into_iter().filter(|metric| metric.is_of_turns() || *metric == Metric::ResponseOverheadMs);
    let figures: Vec<Value> = metrics
        .filter_map(|metric| {
            Some(json!({"name": metric.name(), "single": metric.is_single(), "of": report.samples.summary(metric)?}))
        })
        .collect();
    let trials: Vec<Value> = turns.judged.iter().map(row).collect();
    let data = json!({
        "setting": report.setting, "passed": report.passed(), "pass": report.verdicts, "figures": figures,
        "rows": turns.rows, "trials": trials,
    });
    // The one sequence that would end the script early.
    let data = data.to_string().replace("</", "<\\/");
    PAGE.replace("/*STYLE*/", STYLE).replace("/*DATA*/", &data).replace("/*SCRIPT*/", SCRIPT)
}

/// A trial in the list.
fn row(judged: &Judged) -> Value {
    let (stop, heard) = match judged.result {
        BargeIn::Stopped { ms, heard_ms } => (Some(round(ms)), Some(round(heard_ms))),
        _ => (None, None),
    };
    let holds: u32 = judged.false_holds.iter().map(|hold| hold.count).sum();
    json!({
        "id": id(judged), "call": judged.call, "number": judged.number + 1, "condition": judged.bout.condition.name,
        "counts": counts_name(judged.bout.condition.counts), "noise": judged.bout.noise, "words": judged.bout.words,
        "result": judged.result.name(), "stop_ms": stop, "heard_ms": heard, "false_holds": holds,
        "false_commits": judged.false_holds.iter().filter(|hold| hold.committed).count(),
        "response_ms": judged.response_ms.map(round), "back_ms": judged.back_ms.map(round),
        "heard_error": judged.heard_error,
    })
}

fn trial(call: &CallReport, timeline: &Timeline, side: Option<&BotSide>, judged: &Judged, trace: &Trace) -> Value {
    let bout = &judged.bout;
    // What follows a trial belongs to its picture: the bot's answer, or how it went on.
    let (from, to) = (bout.from, (bout.to + AFTER).min(timeline.over));
    let at = |moment: Moment| round(ms_between(moment, from));
    let clears = timeline.marks.iter().filter(|mark| mark.kind == MarkKind::Cleared && from <= mark.at && mark.at < to);
    let noted: Vec<Value> = judged
        .noted
        .iter()
        .map(|noted| {
            let answered = timeline.answered.unwrap_or_default();
            let shown = |ms: f64| round(ms - ms_between(from, answered));
            json!({
                "onset": shown(noted.onset_ms), "held": shown(noted.held_ms), "decided": noted.decided_ms.map(shown),
                "outcome": noted.outcome, "why": noted.why, "ducked": noted.ducked, "stop_ms": noted.stop_ms,
                "heard": noted.heard, "unheard": noted.unheard,
            })
        })
        .collect();
    let holds: Vec<Value> = judged
        .false_holds
        .iter()
        .map(|hold| {
            let words = hold.words.map(|(lost, repeated)| json!({"lost": lost, "repeated": repeated}));
            json!({"at": at(hold.hold.from), "until": hold.hold.until.map(at), "committed": hold.committed, "words": words})
        })
        .collect();
    let bot = if timeline.delivered.end().is_zero() { &timeline.heard } else { &timeline.delivered };
    json!({
        "id": id(judged), "call": call.call, "from_s": round(ms_between(from, call.placed) / 1000.0),
        "length_ms": at(to), "trial_ms": at(bout.to), "speech": bout.speech.map(|(onset, end)| [at(onset), at(end)]),
        "clears": clears.map(|mark| at(mark.at)).collect::<Vec<_>>(),
        "bands": side.map(|side| bands(side, judged, timeline.answered.unwrap_or_default(), from, to)),
        "noted": noted, "false_holds": holds, "trace": trace.between(from, to),
        "caller": STANDARD.encode(dense(&timeline.sent, from, to)), "bot": STANDARD.encode(dense(bot, from, to)),
    })
}

/// Who had the floor when: what the wire shows, and for what the server noted also when it had decided.
fn bands(side: &BotSide, judged: &Judged, answered: Moment, from: Moment, to: Moment) -> Vec<Value> {
    let mut bands = Vec::new();
    let mut add = |begins: Moment, ends: Moment, state: &str| {
        let (begins, ends) = (begins.max(from), ends.min(to));
        if begins < ends {
            bands.push(json!([round(ms_between(begins, from)), round(ms_between(ends, from)), state]));
        }
    };
    side.speaking.iter().for_each(|(begins, ends)| add(*begins, *ends, "SPEAKING"));
    for hold in &side.holds {
        let ends = hold.until.unwrap_or(to);
        let same = |held: Moment| ms_between(held, hold.from).abs() < 300.0;
        let noted = judged.noted.iter().find(|noted| same(noted.held(answered)));
        let decided = noted.and_then(|noted| noted.decided(answered)).filter(|at| *at < ends);
        match (noted, decided) {
            (Some(noted), Some(at)) => {
                add(hold.from, at.max(hold.from), "HELD");
                add(at.max(hold.from), ends, if noted.outcome == "resumed" { "RESUME" } else { "COMMITTED" });
            }
            _ => add(hold.from, ends, if lasts(hold, to) { "STOPPED" } else { "HELD" }),
        }
    }
    bands
}

/// Without the server's word, what lasts is no hold.
fn lasts(hold: &Hold, to: Moment) -> bool {
    ms_between(hold.until.unwrap_or(to), hold.from) > 1200.0
}

fn id(judged: &Judged) -> String {
    format!("{:04}-{:02}", judged.call, judged.number + 1)
}

/// A track as one run of octets. Pieces that follow each other do so without a seam, however their packets came.
fn dense(track: &Track, from: Moment, to: Moment) -> Vec<u8> {
    let place = |at: Moment| (ms_between(at, from) * 8.0).round() as i64;
    let mut octets = vec![SILENCE; usize::try_from(place(to)).unwrap_or(0)];
    let mut expected = None;
    for (at, piece) in track.iter() {
        let begins = place(at);
        let begins = expected.filter(|expected: &i64| (begins - expected).abs() < SEAM).unwrap_or(begins);
        expected = Some(begins + piece.len() as i64);
        for (index, octet) in (begins..).zip(piece) {
            if let Some(slot) = usize::try_from(index).ok().and_then(|index| octets.get_mut(index)) {
                *slot = *octet;
            }
        }
    }
    octets
}

/// A tenth of a millisecond is as fine as anything that is drawn.
fn round(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

const AFTER: std::time::Duration = std::time::Duration::from_millis(1500);
/// 10 ms in samples.
const SEAM: i64 = 80;
const PAGE: &str = include_str!("trials.html");
const STYLE: &str = include_str!("trials.css");
const SCRIPT: &str = include_str!("trials.js");

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn pieces_with_jitter_make_one_run() {
        let mut track = Track::default();
        let at = |us: u64| Duration::from_micros(us);
        track.push(at(10_000), &[1; 160]);
        track.push(at(30_900), &[2; 160]);
        track.push(at(90_000), &[3; 160]);
        let octets = dense(&track, at(10_000), at(110_000));
        assert_eq!(octets.len(), 800);
        assert_eq!((octets[159], octets[160], octets[319], octets[320], octets[640]), (1, 2, 2, SILENCE, 3));
    }
}

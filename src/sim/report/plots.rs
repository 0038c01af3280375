//! The drawings of a report: distributions, the waveform of both directions, the waterfall of turns.

use super::super::audio::linear;
use super::super::clock::{Moment, ms, ms_between, samples};
use super::super::timeline::{MarkKind, Timeline, Track, Trial};
use super::CallReport;
use super::svg::{Svg, round_step};

/// A histogram with its cumulative curve. `lines` are drawn across it: a label and a value.
pub fn histogram(values: &[f64], unit: &str, lines: &[(String, f64, &str)]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = range(&sorted, lines);
    let mut svg = Svg::new(WIDTH, 190.0);
    let x = |value: f64| 8.0 + (value - low) / (high - low) * (WIDTH - 16.0);
    let counts = bins(&sorted, low, high);
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let width = (WIDTH - 16.0) / BINS as f64;
    for (index, &count) in counts.iter().enumerate() {
        let height = count as f64 / most * PLOT;
        let left = 8.0 + index as f64 * width;
        let from = low + index as f64 * (high - low) / BINS as f64;
        svg.rect_titled(
            "bar",
            [left + 0.5, TOP + PLOT - height, width - 1.0, height],
            &format!("{count} from {from:.1} {unit}"),
        );
    }
    let total = sorted.len().max(1) as f64;
    svg.path(
        "cdf",
        sorted
            .iter()
            .enumerate()
            .filter(|(_, v)| **v <= high)
            .map(|(i, &v)| (x(v), TOP + PLOT * (1.0 - (i + 1) as f64 / total))),
    );
    let step = round_step(high - low, 6.0);
    let mut tick = (low / step).ceil() * step;
    while tick <= high {
        svg.line("tick", x(tick), TOP + PLOT, x(tick), TOP + PLOT + 4.0);
        svg.text("axis", x(tick), TOP + PLOT + 17.0, "middle", &format!("{}", (tick * 100.0).round() / 100.0));
        tick += step;
    }
    svg.line("base", 8.0, TOP + PLOT, WIDTH - 8.0, TOP + PLOT);
    for (row, (label, value, class)) in lines.iter().enumerate() {
        let anchor = if x(*value) > WIDTH * 0.7 { "end" } else { "start" };
        let shift = if anchor == "end" { -4.0 } else { 4.0 };
        svg.line(class, x(*value), 4.0, x(*value), TOP + PLOT);
        svg.text(class, x(*value) + shift, 12.0 + 12.0 * row as f64, anchor, label);
    }
    svg.finish(&format!("distribution of {} values", values.len()))
}

/// Both directions' sound in rows of ten seconds, with onset, stop, answer and marks drawn in.
pub fn waveform(call: &CallReport, timeline: &Timeline) -> String {
    let from = call.placed;
    let length_ms = ms(call.over.max(timeline.heard.end()).saturating_sub(from));
    let rows = ((length_ms / ROW_MS).ceil() as usize).clamp(1, MOST_ROWS);
    let columns = rows * COLUMNS;
    let caller = envelope(&timeline.sent, from, columns);
    let bot = envelope(&timeline.heard, from, columns);
    let mut svg = Svg::new(WIDE, rows as f64 * ROW_HEIGHT);
    for row in 0..rows {
        let top = row as f64 * ROW_HEIGHT;
        lane(&mut svg, "caller", &caller, row, top + 46.0);
        lane(&mut svg, "bot", &bot, row, top + 106.0);
        for second in 0..=10u32 {
            let x = GUTTER + f64::from(second) * COLUMNS as f64 / 10.0;
            svg.line("grid", x, top + 18.0, x, top + 136.0);
            svg.text("axis", x, top + 149.0, "middle", &format!("{} s", row * 10 + second as usize));
        }
        svg.text("lane", 4.0, top + 50.0, "start", "caller");
        svg.text("lane", 4.0, top + 110.0, "start", "bot");
    }
    draw_marks(&mut svg, call, timeline, rows);
    svg.finish(&format!("waveform of call {}", call.call))
}

/// One row per turn: the caller's speech, how long the bot was still heard, and the way to the answer.
pub fn waterfall(call: &CallReport) -> String {
    let turns = wire_turns(call);
    let longest =
        turns.iter().map(|t| t.length()).chain(call.turns.iter().filter_map(|t| t.total_ms)).fold(1.0, f64::max);
    let x = |value: f64| 92.0 + value / longest * (WIDE - 110.0);
    let rows = turns.len() + call.turns.len();
    let mut svg = Svg::new(WIDE, rows as f64 * 26.0 + 24.0);
    for (row, turn) in turns.iter().enumerate() {
        draw_turn(&mut svg, turn, row, x);
    }
    for (row, turn) in call.turns.iter().enumerate() {
        let top = (turns.len() + row) as f64 * 26.0;
        svg.text("lane", 4.0, top + 16.0, "start", &format!("server {}", turn.number));
        let mut at = 0.0;
        for (class, name, value) in
            [("asr", "asr", turn.asr_ms), ("llm", "llm", turn.llm_ms), ("tts", "tts", turn.tts_ms)]
        {
            let Some(value) = value else { continue };
            svg.rect_titled(class, [x(at), top + 6.0, x(at + value) - x(at), 13.0], &format!("{name} {value:.0} ms"));
            at += value;
        }
        if let Some(total) = turn.total_ms {
            svg.line("total", x(total), top + 3.0, x(total), top + 22.0);
            svg.text("axis", x(total) - 4.0, top + 16.0, "end", &format!("total {total:.0} ms"));
        }
    }
    let bottom = rows as f64 * 26.0;
    let step = round_step(longest, 8.0);
    let mut tick = 0.0;
    while tick <= longest {
        svg.line("grid", x(tick), 0.0, x(tick), bottom);
        svg.text("axis", x(tick), bottom + 14.0, "middle", &format!("{tick:.0} ms"));
        tick += step;
    }
    svg.finish(&format!("turns of call {}", call.call))
}

/// Whether a call has turns to draw.
pub fn has_turns(call: &CallReport) -> bool {
    !wire_turns(call).is_empty() || !call.turns.is_empty()
}

/// A turn as the wire shows it, in ms from the caller's onset (or key).
struct WireTurn {
    /// The caller's speech.
    spoke: Option<f64>,
    barge_in: Option<f64>,
    /// When the caller had finished.
    end: f64,
    gap: Option<f64>,
    known: f64,
}

impl WireTurn {
    fn length(&self) -> f64 {
        self.barge_in.unwrap_or(0.0).max(self.end + self.gap.unwrap_or(0.0))
    }
}

fn wire_turns(call: &CallReport) -> Vec<WireTurn> {
    let mut turns = Vec::new();
    let mut barge_in: Option<(Moment, Option<f64>)> = None;
    for &(trial, figure) in &call.trials {
        let (end, known_ms, keyed) = match trial {
            Trial::BargeIn { onset } => {
                barge_in = Some((onset, figure));
                continue;
            }
            Trial::Response { end, known_ms } => (end, known_ms, false),
            Trial::Key { at, known_ms } => (at, known_ms, true),
            Trial::Noise { .. } => continue,
        };
        let spoke = barge_in.map(|(onset, _)| ms_between(end, onset)).filter(|_| !keyed);
        turns.push(WireTurn {
            spoke,
            barge_in: barge_in.take().and_then(|(_, figure)| figure),
            end: spoke.unwrap_or(0.0),
            gap: figure,
            known: f64::from(known_ms.unwrap_or(0)),
        });
    }
    turns
}

fn draw_turn(svg: &mut Svg, turn: &WireTurn, row: usize, x: impl Fn(f64) -> f64) {
    let top = row as f64 * 26.0;
    svg.text("lane", 4.0, top + 16.0, "start", &format!("turn {}", row + 1));
    if let Some(spoke) = turn.spoke {
        svg.rect_titled(
            "caller-bar",
            [x(0.0), top + 3.0, x(spoke) - x(0.0), 9.0],
            &format!("caller speaks {spoke:.0} ms"),
        );
    }
    if let Some(barge_in) = turn.barge_in {
        svg.rect_titled(
            "bot-bar",
            [x(0.0), top + 13.0, x(barge_in) - x(0.0), 9.0],
            &format!("bot still heard {barge_in:.0} ms"),
        );
        svg.text("axis", x(barge_in) + 4.0, top + 21.0, "start", &format!("stop {barge_in:.0} ms"));
    }
    let Some(gap) = turn.gap else { return };
    let known = turn.known.min(gap);
    svg.rect_titled(
        "known",
        [x(turn.end), top + 3.0, x(turn.end + known) - x(turn.end), 19.0],
        &format!("by design {known:.0} ms"),
    );
    let rest = [x(turn.end + known), top + 3.0, x(turn.end + gap) - x(turn.end + known), 19.0];
    svg.rect_titled("over", rest, &format!("beyond it {:.1} ms", gap - known));
    svg.text("axis", x(turn.end + gap) - 4.0, top + 16.0, "end", &format!("answer {gap:.0} ms"));
}

fn draw_marks(svg: &mut Svg, call: &CallReport, timeline: &Timeline, rows: usize) {
    let place = |at: Moment| {
        let since = ms_between(at, call.placed);
        let row = ((since / ROW_MS).floor().max(0.0) as usize).min(rows.saturating_sub(1));
        (GUTTER + (since - row as f64 * ROW_MS) / ROW_MS * COLUMNS as f64, row as f64 * ROW_HEIGHT)
    };
    for mark in &timeline.marks {
        let (x, top) = place(mark.at);
        match mark.kind {
            MarkKind::Onset(_) => {
                flag(svg, "onset", x, top, 22.0, &mark.kind.label().replace("human/", "").replace(".wav", ""))
            }
            MarkKind::SpeechEnd => flag(svg, "speech-end", x, top, 22.0, "end"),
            MarkKind::Cleared => flag(svg, "clear", x, top, 134.0, "clear"),
            MarkKind::Played(_) => svg.rect_titled("played", [x - 1.5, top + 128.0, 3.0, 6.0], &mark.kind.label()),
            MarkKind::NoiseEnded => svg.line("event", x, top + 18.0, x, top + 136.0),
            MarkKind::Step(_) => {}
            _ => flag(svg, "event", x, top, 12.0, &mark.kind.label()),
        }
    }
    for &(trial, figure) in &call.trials {
        let Some(figure) = figure else { continue };
        let after = |at: Moment| place(at + std::time::Duration::from_secs_f64(figure.max(0.0) / 1000.0));
        match trial {
            Trial::BargeIn { onset } => {
                let (x, top) = after(onset);
                flag(svg, "stop", x, top, 84.0, &format!("stop {figure:.0} ms"));
            }
            Trial::Response { end, .. } | Trial::Key { at: end, .. } => {
                let (x, top) = after(end);
                flag(svg, "answer", x, top, 96.0, &format!("answer {figure:.0} ms"));
            }
            Trial::Noise { from, .. } => {
                let (x, top) = after(from);
                flag(svg, "stop", x, top, 84.0, "false stop");
            }
        }
    }
}

fn flag(svg: &mut Svg, class: &str, x: f64, top: f64, label_y: f64, label: &str) {
    let anchor = if x > WIDE - 90.0 { "end" } else { "start" };
    svg.line(class, x, top + 18.0, x, top + 136.0);
    svg.text(class, if anchor == "end" { x - 3.0 } else { x + 3.0 }, top + label_y, anchor, label);
}

fn lane(svg: &mut Svg, class: &str, envelope: &[f64], row: usize, middle: f64) {
    let own = envelope.get(row * COLUMNS..(row + 1) * COLUMNS).unwrap_or_default();
    svg.line("base", GUTTER, middle, GUTTER + COLUMNS as f64, middle);
    let upper = own.iter().enumerate().map(|(i, v)| (GUTTER + i as f64, middle - v * LANE));
    let lower = own.iter().enumerate().rev().map(|(i, v)| (GUTTER + i as f64, middle + v * LANE));
    svg.path(class, upper.chain(lower));
}

/// The peak of each 10 ms from `from` on, as the square root of its share of full scale, so that quiet speech shows.
fn envelope(track: &Track, from: Moment, columns: usize) -> Vec<f64> {
    let mut peaks = vec![0f64; columns];
    for (at, octets) in track.iter() {
        for (index, chunk) in octets.chunks(8).enumerate() {
            let column = (ms_between(at + samples(index * 8), from) / (ROW_MS / COLUMNS as f64)) as usize;
            let peak = chunk.iter().map(|&o| f64::from(linear(o)).abs()).fold(0.0, f64::max);
            if let Some(slot) = peaks.get_mut(column) {
                *slot = slot.max((peak / 32768.0).sqrt());
            }
        }
    }
    peaks
}

/// The range to draw: outliers beyond three times the 99th percentile are left to the table.
fn range(sorted: &[f64], lines: &[(String, f64, &str)]) -> (f64, f64) {
    let at = |q: f64| {
        sorted.get(((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    let max = at(1.0);
    let high = if max > 3.0 * at(0.99).max(1e-9) { 1.5 * at(0.99) } else { max };
    let high = lines.iter().map(|l| l.1).fold(high, f64::max) * 1.05;
    let low = at(0.0).min(0.0).max(-high.abs());
    (low, if high > low { high } else { low + 1.0 })
}

fn bins(sorted: &[f64], low: f64, high: f64) -> Vec<usize> {
    let mut counts = vec![0usize; BINS];
    for value in sorted {
        let index = ((value - low) / (high - low) * BINS as f64) as usize;
        if let Some(count) = counts.get_mut(index) {
            *count += 1;
        }
    }
    counts
}

const WIDTH: f64 = 560.0;
const TOP: f64 = 34.0;
const PLOT: f64 = 132.0;
const BINS: usize = 48;
const WIDE: f64 = 1080.0;
const GUTTER: f64 = 56.0;
const COLUMNS: usize = 1000;
const ROW_MS: f64 = 10_000.0;
const ROW_HEIGHT: f64 = 158.0;
const LANE: f64 = 26.0;
const MOST_ROWS: usize = 12;

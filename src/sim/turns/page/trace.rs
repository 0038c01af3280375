//! What the ear makes of a call, window by window: the product's own `Ear`, given what the caller sent and what came back.
//! It stands at the caller's end, so losses of an emulated network are not in it.

use std::time::Duration;

use offhook_media::barge::Ear;
use offhook_media::silero::Network;
use offhook_media::{FRAME, Frame};
use serde_json::{Value, json};

use super::super::judge::Judged;
use super::round;
use crate::sim::audio::linear;
use crate::sim::clock::{Moment, ms_between};
use crate::sim::timeline::Timeline;

/// A call's windows of 32 ms.
pub struct Trace {
    windows: Vec<Window>,
}

struct Window {
    at: Moment,
    probability: f32,
    gate_open: bool,
    level_dbfs: f32,
    floor_dbfs: f32,
    first: bool,
    commit: bool,
}

impl Trace {
    pub fn new(timeline: &Timeline, trials: &[&Judged]) -> Self {
        let Ok(network) = Network::shared() else { return Self { windows: Vec::new() } };
        let mut ear = Ear::new(network);
        let bot = if timeline.delivered.end().is_zero() { &timeline.heard } else { &timeline.delivered };
        let mut bot = bot.iter().filter_map(|(at, octets)| Some((at, frame(octets)?))).peekable();
        let mut verdicts = verdicts(timeline, trials).into_iter().peekable();
        let mut windows = Vec::new();
        for (at, octets) in timeline.sent.iter() {
            while let Some((at, sent)) = bot.next_if(|(sent_at, _)| *sent_at <= at) {
                ear.sent(&sent, at);
            }
            while let Some((_, was_caller)) = verdicts.next_if(|(decided, _)| *decided <= at) {
                if was_caller { ear.confirm_caller() } else { ear.was_mistaken() }
            }
            let Some(evidence) = frame(octets).and_then(|heard| ear.heard(&heard, at)) else { continue };
            windows.push(Window {
                at: at + FRAME_TIME,
                probability: evidence.probability,
                gate_open: evidence.gate_open,
                level_dbfs: evidence.level_dbfs,
                floor_dbfs: evidence.floor_dbfs,
                first: evidence.first,
                commit: evidence.commit,
            });
        }
        Self { windows }
    }

    /// The windows of a stretch of time, column by column.
    pub fn between(&self, from: Moment, to: Moment) -> Value {
        let inside: Vec<&Window> = self.windows.iter().filter(|window| from <= window.at && window.at < to).collect();
        let ms = |window: &&&Window| round(ms_between(window.at, from));
        json!({
            "at": inside.iter().map(|w| ms(&w)).collect::<Vec<_>>(),
            "probability": inside.iter().map(|w| (w.probability * 1000.0).round() / 1000.0).collect::<Vec<_>>(),
            "gate": inside.iter().map(|w| u8::from(w.gate_open)).collect::<Vec<_>>(),
            "level": inside.iter().map(|w| w.level_dbfs.round()).collect::<Vec<_>>(),
            "floor": inside.iter().map(|w| w.floor_dbfs.round()).collect::<Vec<_>>(),
            "first": inside.iter().filter(|w| w.first).map(|w| ms(&w)).collect::<Vec<_>>(),
            "commit": inside.iter().filter(|w| w.commit).map(|w| ms(&w)).collect::<Vec<_>>(),
        })
    }
}

/// When the server had decided, and whether it was the caller.
fn verdicts(timeline: &Timeline, trials: &[&Judged]) -> Vec<(Moment, bool)> {
    let answered = timeline.answered.unwrap_or_default();
    let noted = trials.iter().flat_map(|judged| &judged.noted);
    let mut verdicts: Vec<(Moment, bool)> =
        noted.filter_map(|noted| Some((noted.decided(answered)?, noted.outcome == "committed"))).collect();
    verdicts.sort_unstable();
    verdicts
}

fn frame(octets: &[u8]) -> Option<Frame> {
    let octets: &[u8; FRAME] = octets.try_into().ok()?;
    Some(octets.map(linear))
}

const FRAME_TIME: Duration = Duration::from_millis(20);

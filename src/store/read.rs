//! What the API reads back. Numbers and words are personal data again as soon as they leave the database.

use jiff::Timestamp;

use super::record::{CallId, CallSummary, RecordedPause, RecordingName};
use crate::telemetry::pii::Pii;

/// A call in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRow {
    pub id: CallId,
    /// A `Via::as_str`, or `unknown` when the start of the call was lost.
    pub via: String,
    /// A `Direction::as_str`.
    pub direction: String,
    /// The trunk that carried a call of ours, once it has ended.
    pub trunk: Option<String>,
    /// How the last transfer ended.
    pub transfer: Option<String>,
    /// The number that was called, masked unless it is short or numbers are kept.
    pub called: Pii<String>,
    /// Who called: a pseudonym with the last two digits, unless numbers are kept.
    pub caller: Pii<String>,
    pub flow: String,
    pub started_at: Timestamp,
    /// Absent while the call goes on, as are the next two.
    pub ended_at: Option<Timestamp>,
    /// An `EndReason::as_str`.
    pub end_reason: Option<String>,
    pub summary: Option<CallSummary>,
}

/// A call with everything that is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallDetail {
    pub call: CallRow,
    /// By number; the first [`MOST_TURNS`].
    pub turns: Vec<TurnRow>,
    /// As they came; the first [`MOST_INTERRUPTIONS`].
    pub interruptions: Vec<InterruptionRow>,
    /// As they came; the first [`MOST_EVENTS`].
    pub events: Vec<EventRow>,
    /// By number.
    pub recordings: Vec<RecordingRow>,
}

/// A recording as the record knows it. Times in ms.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingRow {
    pub name: RecordingName,
    /// `recording`, or a `RecordingState::as_str`.
    pub state: String,
    /// A `Consent::as_str`.
    pub consent: String,
    /// Absent when it could not be made.
    pub began_at: Option<Timestamp>,
    /// Absent while it goes on, as are the next two.
    pub ended_at: Option<Timestamp>,
    pub ms: Option<u64>,
    pub bytes: Option<u64>,
    /// Only where there is a complete file.
    pub sha256: Option<String>,
    pub dropped_frames: Option<u64>,
    pub pauses: Vec<RecordedPause>,
    pub fault: Option<String>,
}

/// A turn as it is kept. Times in ms.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnRow {
    pub number: u32,
    pub at: Timestamp,
    pub step: String,
    pub caller_words: Option<Pii<String>>,
    /// How many keys were pressed.
    pub keys_pressed: Option<u32>,
    pub heard: Option<Pii<String>>,
    pub unheard: Option<Pii<String>>,
    pub asr_ms: Option<f64>,
    pub llm_ms: Option<f64>,
    pub tts_ms: Option<f64>,
    pub total_ms: Option<f64>,
    pub barge_in_ms: Option<f64>,
    pub error: Option<String>,
}

/// An interruption as it is kept. Times in ms since the call was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct InterruptionRow {
    pub at: Timestamp,
    pub onset_ms: f64,
    pub held_ms: f64,
    pub decided_ms: Option<f64>,
    /// An `InterruptionOutcome::as_str`, and its `why`.
    pub outcome: String,
    pub why: String,
    pub ducked: bool,
    /// From the onset to the last sample of ours on the wire.
    pub stop_ms: Option<f64>,
    pub heard: Pii<String>,
    pub unheard: Pii<String>,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    pub at: Timestamp,
    /// ms since the call was answered.
    pub at_ms: f64,
    pub kind: String,
    pub detail: Option<Pii<serde_json::Value>>,
}

/// Most calls that one list holds.
pub const MOST_CALLS: u32 = 500;
/// Most turns of a call that are read.
pub const MOST_TURNS: u32 = 2_000;
/// Most interruptions of a call that are read.
pub const MOST_INTERRUPTIONS: u32 = 2_000;
/// Most events of a call that are read.
pub const MOST_EVENTS: u32 = 10_000;

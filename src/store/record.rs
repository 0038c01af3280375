//! What a call leaves behind. Written by `call/`, kept by the store's writer task.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::telemetry::pii::Pii;

/// Names a call in logs, records, metrics events and the API alike. Time-ordered (UUID version 7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Uuid);

impl CallId {
    /// A fresh id; reads the clock, so only what accepts a call makes one.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// # Errors
    /// Names the text when it is no UUID.
    pub fn parse(text: &str) -> Result<Self, String> {
        Uuid::try_parse(text).map(Self).map_err(|_| format!("`{text}` is not a call id (a UUID)"))
    }

    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The way a call came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    Sip,
    Twilio,
}

impl Via {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Twilio => "twilio",
        }
    }
}

/// Who called whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    #[default]
    Inbound,
    Outbound,
}

impl Direction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Why a call ended, as the record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The caller hung up.
    CallerHungUp,
    /// The flow reached its end.
    FlowHungUp,
    /// The caller was handed over, and the far side has said so.
    Transferred,
    /// Whom we had called hung up.
    CalleeHungUp,
    /// Whom we called is busy (486, 600).
    Busy,
    /// Whom we called did not answer in time (408, 480, or our own limit).
    NoAnswer,
    /// Whom we called, or whoever carries calls there, refused (403, 603 and other refusals).
    Rejected,
    /// There was no way to whom we called (404, 503, no route, no answer from the next hop).
    Unreachable,
    /// No codec, no key or no address was agreed on.
    NoMedia,
    /// The far side no longer refreshed the session (RFC 4028).
    SessionExpired,
    /// The far side held the call for longer than is allowed.
    HeldTooLong,
    /// The caller gave up before the call was answered.
    Cancelled,
    /// No audio arrived for the configured time.
    MediaTimeout,
    /// The signalling or socket under the call was lost.
    TransportLost,
    /// The 200 was never acknowledged (RFC 3261 13.3.1.4).
    NoAck,
    /// The longest allowed call time passed.
    TooLong,
    /// Nothing could be said any more: every voice failed.
    NoVoice,
    /// Control messages came faster than they could be handled.
    Overrun,
    /// The server was asked to stop.
    Drained,
    /// The call's own code failed; other calls were not touched.
    InternalError,
    /// An operator ended it.
    Operator,
    /// Found unfinished at start: the process before this one died.
    CrashRecovered,
}

impl EndReason {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::CallerHungUp => "caller_hung_up",
            Self::FlowHungUp => "flow_hung_up",
            Self::Transferred => "transferred",
            Self::CalleeHungUp => "callee_hung_up",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Rejected => "rejected",
            Self::Unreachable => "unreachable",
            Self::NoMedia => "no_media",
            Self::SessionExpired => "session_expired",
            Self::HeldTooLong => "held_too_long",
            Self::Cancelled => "cancelled",
            Self::MediaTimeout => "media_timeout",
            Self::TransportLost => "transport_lost",
            Self::NoAck => "no_ack",
            Self::TooLong => "too_long",
            Self::NoVoice => "no_voice",
            Self::Overrun => "overrun",
            Self::Drained => "drained",
            Self::InternalError => "internal_error",
            Self::Operator => "operator",
            Self::CrashRecovered => "crash_recovered",
        }
    }
}

/// One exchange: what the caller said or keyed, and what they heard in answer. Times in ms; `None` where the stage
/// took no part in the turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TurnRecord {
    /// Counts from 1 within the call.
    pub number: u32,
    /// The flow step that was current.
    pub step: Arc<str>,
    /// What the caller said, by final words.
    pub caller_words: Option<Pii<String>>,
    /// Keys pressed in this turn.
    pub keys: Option<Pii<String>>,
    /// What the caller really heard, cut where it was interrupted.
    pub heard: Option<Pii<String>>,
    /// What was meant to be said but was not heard.
    pub unheard: Option<Pii<String>>,
    /// End of caller speech to final words.
    pub asr_ms: Option<f64>,
    /// Request to the language model to its first token.
    pub llm_ms: Option<f64>,
    /// Text handed to the voice to its first audio.
    pub tts_ms: Option<f64>,
    /// End of caller speech (or key) to the first packet of the answer.
    pub total_ms: Option<f64>,
    /// Onset of the caller's speech to the last audible packet of ours.
    pub barge_in_ms: Option<f64>,
    pub error: Option<String>,
}

/// Something that happened during a call, as data.
#[derive(Clone, Debug, PartialEq)]
pub struct CallEvent {
    /// Closed, short names: `answered`, `barge_in`, `digit`, `step`, `stt_failed` ...
    pub kind: &'static str,
    /// ms since the call was answered.
    pub at_ms: f64,
    /// May hold the caller's words: kept in the store, never printed.
    pub detail: Option<Pii<serde_json::Value>>,
}

/// What the store is told.
#[derive(Clone, Debug)]
pub enum Record {
    CallStarted {
        call: CallId,
        at: Timestamp,
        via: Via,
        direction: Direction,
        called: String,
        caller: Pii<String>,
        flow: Arc<str>,
    },
    Turn {
        call: CallId,
        at: Timestamp,
        turn: Box<TurnRecord>,
    },
    Event {
        call: CallId,
        at: Timestamp,
        event: CallEvent,
    },
    CallEnded {
        call: CallId,
        at: Timestamp,
        reason: EndReason,
        summary: CallSummary,
    },
}

/// Figures of a whole call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallSummary {
    pub duration_ms: f64,
    pub turns: u32,
    pub barge_ins: u32,
    pub frames_sent: u64,
    pub frames_received: u64,
    pub packets_lost: u64,
    pub concealed_ms: u64,
    pub jitter_ms: f64,
    /// Ticks later than 5 ms.
    pub late_ticks: u64,
    pub holds: u32,
    /// All holds together.
    pub held_ms: f64,
    /// How the last transfer of the call ended: `ok`, `busy`, `no_answer` ... None where none was tried.
    pub transfer: Option<&'static str>,
    /// The trunk that carried a call of ours.
    pub trunk: Option<Arc<str>>,
}

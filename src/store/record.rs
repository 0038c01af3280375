//! What a call leaves behind. Written by `call/`, kept by the store's writer task.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::{Consent, RecordingFormat};
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

/// The caller broke in on the bot, or seemed to. Times in ms since the call was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Interruption {
    /// When the caller's speech began, as estimated, or the key came.
    pub onset_ms: f64,
    /// When the bot was held, ducked or stopped for it.
    pub held_ms: f64,
    /// When it was known what it was; `None` where it never was.
    pub decided_ms: Option<f64>,
    pub outcome: InterruptionOutcome,
    /// The bot was made quieter before it was held.
    pub ducked: bool,
    /// From the onset to the end of our last audible sample on the wire; `None` where nothing of ours was audible.
    pub stop_ms: Option<f64>,
    /// What the caller had heard of what was being said, and what they had not.
    pub heard: Pii<String>,
    pub unheard: Pii<String>,
}

/// What an interruption turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptionOutcome {
    /// The caller has the floor.
    Committed(CommittedBy),
    /// The bot went on where it was.
    Resumed(ResumedFor),
    /// The caller was given the floor, and nothing came of it: what was left was said after all.
    Recovered,
    /// The call, or what was being said, ended before it was known.
    Undecided,
}

/// What showed that a caller wants the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommittedBy {
    /// Enough of what was heard is speech.
    Speech,
    /// Recognised words.
    Words,
    /// A word that always stops the bot.
    StopWord,
    Key,
    /// It went on for as long as a hold may last.
    Cap,
}

/// Why the bot went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResumedFor {
    /// What was heard was too short for speech: a cough, a click, noise.
    Silence,
    /// Only words that mean "go on".
    Backchannel,
    /// It was speech, but over, and no words came of it.
    NoWords,
}

impl InterruptionOutcome {
    /// One word of a closed set.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed(_) => "committed",
            Self::Resumed(_) => "resumed",
            Self::Recovered => "recovered",
            Self::Undecided => "undecided",
        }
    }

    /// Why, in one word of a closed set.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Committed(CommittedBy::Speech) => "speech",
            Self::Committed(CommittedBy::Words) => "words",
            Self::Committed(CommittedBy::StopWord) => "stop_word",
            Self::Committed(CommittedBy::Key) => "key",
            Self::Committed(CommittedBy::Cap) => "cap",
            Self::Resumed(ResumedFor::Silence) => "silence",
            Self::Resumed(ResumedFor::Backchannel) => "backchannel",
            Self::Resumed(ResumedFor::NoWords) => "no_words",
            Self::Recovered => "nothing_said",
            Self::Undecided => "ended",
        }
    }
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
    Interruption {
        call: CallId,
        at: Timestamp,
        interruption: Box<Interruption>,
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
    RecordingBegan {
        call: CallId,
        at: Timestamp,
        began: RecordingBegan,
    },
    RecordingEnded {
        call: CallId,
        at: Timestamp,
        ended: Box<RecordingEnded>,
    },
}

/// Which recording of a call it is; its file is named after both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordingName {
    /// Counts from 1 within the call.
    pub number: u32,
    pub format: RecordingFormat,
}

impl RecordingName {
    /// The plain name of the file.
    pub fn file(&self, call: CallId) -> String {
        format!("{call}-{}.{}", self.number, self.format.extension())
    }

    /// The call and the recording that a file is named after.
    pub fn parse(file: &str) -> Option<(CallId, Self)> {
        let (stem, extension) = file.rsplit_once('.')?;
        let (call, number) = stem.rsplit_once('-')?;
        let name = Self { number: number.parse().ok()?, format: RecordingFormat::of_extension(extension)? };
        let call = CallId::parse(call).ok()?;
        // Only what this program would call it.
        (name.number > 0 && name.file(call) == file).then_some((call, name))
    }
}

/// A recording's file was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingBegan {
    pub name: RecordingName,
    pub consent: Consent,
}

/// A recording is over, or was never made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingEnded {
    pub name: RecordingName,
    pub state: RecordingState,
    /// With any but `none` the caller was told of a recording.
    pub consent: Consent,
    pub ms: u64,
    pub bytes: u64,
    /// Of the whole file, in hexadecimal.
    pub sha256: Option<String>,
    /// Frames of 20 ms that were lost on the way to the file, and are silence in it.
    pub dropped_frames: u64,
    pub pauses: Vec<RecordedPause>,
    /// Why it is not whole, or not there: short, closed names.
    pub fault: Option<&'static str>,
}

impl RecordingEnded {
    /// Nothing but its name and how it ended.
    pub const fn new(name: RecordingName, state: RecordingState) -> Self {
        Self {
            name,
            state,
            consent: Consent::None,
            ms: 0,
            bytes: 0,
            sha256: None,
            dropped_frames: 0,
            pauses: Vec::new(),
            fault: None,
        }
    }
}

/// Silence in a recording because nothing was to be recorded; ms from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedPause {
    pub from_ms: u64,
    pub to_ms: u64,
}

/// What became of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingState {
    /// Its file is complete; with a fault it ended before its call.
    Finished,
    /// The process died; the file was made whole at the next start.
    Recovered,
    /// The caller did not want it, or the flow: nothing of it was kept.
    Discarded,
    /// It could not be made.
    Failed,
    /// The process died and no file was found.
    Lost,
}

impl RecordingState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Recovered => "recovered",
            Self::Discarded => "discarded",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
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
    pub quality: Box<Quality>,
}

/// How a call was heard, as far as it was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// Of the packets that should have come, percent.
    pub loss_percent: Option<f64>,
    /// Of our packets, by the far side's reports, percent.
    pub far_loss_percent: Option<f64>,
    /// By RTCP, ms.
    pub round_trip_ms: Option<f64>,
    /// Transmission rating of ITU-T G.107, 0 to 93.2.
    pub r_factor: Option<f64>,
    /// Mean opinion score of the same, 1.0 to 4.5.
    pub mos: Option<f64>,
    pub codec: Option<String>,
    /// The crypto suite; none for audio in the clear.
    pub srtp: Option<String>,
}

//! What a call is told and what it asks for: the whole language between the core and whoever carries it.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;
use offhook_media::playout::SentenceId;

use super::TurnId;
use super::mouth::Wanted;
use super::transfer::{Order, TransferEvent};
use crate::dialog::{Announcement, HookPlan, LastWords, RecordingOrder, TransferPlan, TransferTo};
use crate::providers::{Language, ProviderError, ReplyRequest, SttEvent, ToolCall, WordTime};
use crate::safety::said::Cleared;
use crate::store::record::{CallEvent, EndReason, Interruption, TurnRecord};
use crate::telemetry::pii::Pii;

/// What happened to a call.
#[derive(Debug)]
pub enum CallInput {
    /// A call of ours is being placed; it may ring for this long.
    Placed {
        ring_timeout: Duration,
        trunk: Option<Arc<str>>,
    },
    /// The far side rings.
    Ringing,
    /// The far side plays something before it answers (183 with a description). It is not heard, and may well be charged
    /// for as no call.
    EarlyMedia,
    /// Play this before the answer and then answer.
    Announce(Announcement),
    /// Signalling is complete: audio may flow.
    Connected,
    /// The far side holds the call, or takes it back.
    Held(bool),
    /// An operator has the caller wait, or takes them back.
    Parked(bool),
    /// What became of a transfer.
    Transfer(TransferEvent),
    /// The call that this one was placed for has been joined to the far side.
    Joined,
    /// An operator hands the call over.
    TransferTo(Box<TransferPlan>),
    /// The server goes down: these words, and then the end.
    Close(Option<LastWords>),
    Digit(Digit),
    HungUp(EndReason),
    /// Audio of a sentence that was asked for.
    Speech {
        turn: TurnId,
        sentence: SentenceId,
        samples: Arc<[i16]>,
    },
    /// When words of that sentence are heard, as its voice tells it or by estimate.
    WordTimes {
        turn: TurnId,
        sentence: SentenceId,
        words: Vec<WordTime>,
    },
    /// Another voice goes on with that sentence: what came behind this many samples gives way to what follows.
    SpeechRejoined {
        turn: TurnId,
        sentence: SentenceId,
        keep: u64,
    },
    SpeechEnded {
        turn: TurnId,
        sentence: SentenceId,
    },
    SpeechFailed {
        turn: TurnId,
        sentence: SentenceId,
        error: ProviderError,
    },
    /// The model's first token has come.
    AnswerBegan {
        turn: TurnId,
    },
    /// A sentence of the model's answer.
    Answer {
        turn: TurnId,
        sentence: Cleared,
    },
    /// The model asks for a tool; its answer ends with that.
    AnswerTool {
        turn: TurnId,
        call: ToolCall,
    },
    AnswerEnded {
        turn: TurnId,
    },
    /// What became of a question to a service.
    HookDone {
        id: u32,
        answer: Option<Pii<serde_json::Value>>,
    },
    AnswerFailed {
        turn: TurnId,
        error: ProviderError,
    },
    /// What the recogniser heard.
    Heard(SttEvent),
    /// The recording of the call is no more, or could not begin.
    RecordingFailed,
    /// Whoever watches the call wants its recording paused or resumed.
    Recording(RecordingOrder),
}

/// What a call asks for.
#[derive(Debug)]
pub enum CallOutput {
    /// Make this sentence.
    Speak {
        turn: TurnId,
        wanted: Wanted,
        language: Language,
    },
    /// This sentence was waited for long enough: the voice shall be free for the next one.
    GiveUp {
        turn: TurnId,
        sentence: SentenceId,
    },
    /// Ask the language model.
    Reply {
        turn: TurnId,
        request: Box<ReplyRequest>,
        language: Language,
    },
    /// Ask a service; [`CallInput::HookDone`] follows.
    Hook(Box<HookPlan>),
    /// Whatever was asked for under this id or an older one is no longer wanted.
    Abandon(TurnId),
    /// Listen in this language from now on.
    Listen {
        language: Language,
        hints: Arc<[String]>,
    },
    /// Do this for a transfer.
    Transfer {
        order: Order,
        to: TransferTo,
        brief: Vec<Cleared>,
    },
    /// Take the call: what comes before the answer was heard.
    Answer,
    /// We have the far side wait, or take it back.
    Hold(bool),
    /// What the leg was sent and has not played shall not be heard.
    Clear,
    /// The call's recording changes.
    Recording(RecordingOrder),
    Turn(Box<TurnRecord>),
    /// The caller broke in, or seemed to; told once it is over and the last sample of ours has gone out.
    Interruption(Box<Interruption>),
    Event(CallEvent),
    /// The call is over; the last output.
    HangUp(EndReason),
}

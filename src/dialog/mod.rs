//! ROOM 4: what to say next. Pure: a call feeds it keys, words and time, and does what it asks.

mod agent;
mod announcement;
mod check;
mod collect;
mod condition;
mod consent;
mod decode;
mod draw;
mod examples;
pub mod flow;
mod hook;
pub mod lines;
mod menu;
mod mood;
mod progress;
mod promise;
mod prompt;
mod repair;
pub mod runner;
pub mod schema;
pub mod sentence;
mod slot;
mod sound;
pub mod speakable;
mod speaking;
mod tell;
mod timing;
pub mod transcript;
pub mod transfer;
mod usual;
mod value;
mod values;
mod walk;
mod words;
mod yaml;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;

use crate::providers::{Language, ReplyRequest, ToolCall};
use crate::safety::said::Cleared;
use crate::telemetry::pii::Pii;

pub use announcement::Announcement;
pub use consent::RecordingPlan;
pub use flow::Flow;
pub use hook::HookPlan;
pub use lines::Catalogue;
pub use progress::Progress;
pub use runner::{CallFacts, Dialog};
pub use transfer::{TransferFailure, TransferMode, TransferPlan, TransferTo, sign_of_life, waiting_tone};
pub use usual::{LastWords, Usual};
pub use yaml::FlowError;

/// Time since the process began; handed in by whoever has a clock.
pub type Moment = Duration;

/// What may interrupt the bot at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BargeIn {
    /// Confirmed speech or any key.
    Speech,
    /// Recognised words or any key.
    Words,
    /// Words that ask for quiet (see [`Listening::stop_words`]) or any key.
    StopWords,
    /// Keys only.
    Digits,
    /// Nothing; keys are kept and used when the prompt has ended.
    Off,
}

/// When the caller's turn at a step is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// After this much silence, whatever was said.
    Silence(Duration),
    /// After the silence that such an answer calls for, by what was said and how this caller speaks.
    Answer(Expected),
}

/// What kind of answer a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Open,
    YesNo,
    /// One of a few known words.
    Choice,
    Digits,
    /// Letters, one by one.
    Spelling,
    Address,
}

/// How the call listens at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Listening {
    pub step: Arc<str>,
    pub barge_in: BargeIn,
    pub endpoint: Endpoint,
    pub language: Language,
    /// Words worth expecting.
    pub hints: Arc<[String]>,
    /// Words that stop the bot at once, in place of those usual in the language. Lower case, letters and digits only,
    /// single spaces; so are the next ones.
    pub stop_words: Option<Arc<[String]>>,
    /// Words that say no more than that the caller listens, in place of those usual in the language.
    pub backchannels: Option<Arc<[String]>>,
    /// What is said shall be heard to its end if possible: a caller who begins to speak makes it quieter, and only
    /// one who goes on stops it.
    pub finish: bool,
    /// What the caller says here is kept nowhere.
    pub private: bool,
}

/// Something to be heard by the caller, in order.
#[derive(Clone, Debug)]
pub enum Utterance {
    /// One sentence; `voice` and `rate` as the step sets them.
    Sentence { text: Cleared, voice: Option<Arc<str>>, rate: f32 },
    /// Ready audio (8 kHz mono), with the words it holds where they are known.
    Audio { samples: Arc<[i16]>, words: Option<Cleared> },
}

/// What a dialog is told. Prints as its kind only: keys and words are the caller's, also where we read them back.
#[derive(Clone)]
pub enum DialogInput {
    /// The call is answered and audio may flow.
    Started,
    /// A key. Where keys may interrupt, [`DialogInput::Interrupted`] may come first or not: both are understood.
    Digit(Digit),
    /// The caller has begun to speak while nothing was being said. Keeps a re-prompt from talking over them.
    CallerSpeaking,
    /// Words of a turn that is still going on; a menu may act on them.
    Partial(Pii<String>),
    /// The caller's turn is over. `None`: something was said, but no words are known (no recogniser, or it failed).
    TurnEnded(Option<Pii<String>>),
    /// All utterances asked for so far were played to their end, or could not be made. `heard` is the text that reached
    /// the caller since the last report, with the heard part of what [`DialogOutput::Abandon`] dropped, as it may be kept
    /// ([`Cleared::kept`]). Not `whole`: of the last utterance no voice could make the end.
    SpokenOut {
        heard: String,
        whole: bool,
    },
    /// The caller broke in: what was left to say is dropped, and is told as it would be spoken. `heard` is what reached
    /// them since the last report, as it may be kept.
    /// A [`DialogInput::Digit`] or [`DialogInput::TurnEnded`] follows.
    Interrupted {
        heard: String,
        unheard: String,
    },
    /// A sentence of the model's answer, cleared; the dialog decides to say it.
    AnswerSentence(Cleared),
    /// The model asks for a tool; its answer ends with that.
    ToolCalled(ToolCall),
    AnswerEnded,
    AnswerFailed,
    /// What became of [`DialogOutput::Hook`]; no answer is a failure.
    HookDone {
        id: u32,
        answer: Option<Pii<serde_json::Value>>,
    },
    /// No voice could make the speech; `text` was not heard. [`DialogInput::SpokenOut`] still follows when the queue is
    /// empty. `in_a_row` counts the sentences that failed since one was made, this one included.
    SpeechFailed {
        text: Cleared,
        in_a_row: u32,
    },
    /// The transfer that was asked for did not come about.
    TransferFailed(TransferFailure),
    /// An operator hands the call over, whatever the flow is at.
    TransferAsked(Box<TransferPlan>),
    /// The recording that goes on, or was to begin, is no more.
    RecordingFailed,
    /// Whoever runs the call speaks the last words; the dialog says nothing more.
    Closed,
    /// The time given by [`DialogOutput::WakeAt`] has come.
    Timeout,
}

/// What a dialog asks of the call.
#[derive(Clone, Debug)]
pub enum DialogOutput {
    /// A step begins: listen like this from now on.
    Listen(Listening),
    /// Speak after whatever is already queued.
    Say(Utterance),
    /// Ask the language model; its sentences come back as input.
    Reply(Box<ReplyRequest>),
    /// Ask a service; [`DialogInput::HookDone`] follows.
    Hook(Box<HookPlan>),
    /// Drop the answer being made and everything queued but not yet heard. Reported by no input of its own.
    Abandon,
    /// Feed [`DialogInput::Timeout`] at this moment; replaces the one before, `None` removes it.
    WakeAt(Option<Moment>),
    /// Something worth keeping in the record.
    Event { kind: &'static str, detail: Option<Pii<serde_json::Value>> },
    /// The recording of the call changes. Pauses may come before a beginning.
    Recording(RecordingOrder),
    /// Hand the call over. Ends the call when it comes about; otherwise [`DialogInput::TransferFailed`] follows.
    Transfer(Box<TransferPlan>),
    /// Once all is spoken: end the call.
    HangUp,
}

/// What shall happen to the recording of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingOrder {
    /// What consent asks for was done and is in the record before this.
    Begin,
    End,
    /// Ends it and keeps nothing of it.
    Discard,
    /// Silence takes the place of both sides until every reason is gone.
    Pause(PauseReason),
    Resume(PauseReason),
}

/// Why a recording is paused; it goes on once no reason is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseReason {
    /// A step said so.
    Step,
    /// The step asks for or repeats digits that must not be recorded.
    Sensitive,
    /// Whoever watches the call.
    Operator,
}

impl PauseReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Sensitive => "sensitive",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Debug for DialogInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "Started",
            Self::Digit(_) => "Digit",
            Self::CallerSpeaking => "CallerSpeaking",
            Self::Partial(_) => "Partial",
            Self::TurnEnded(Some(_)) => "TurnEnded(words)",
            Self::TurnEnded(None) => "TurnEnded(none)",
            Self::SpokenOut { .. } => "SpokenOut",
            Self::Interrupted { .. } => "Interrupted",
            Self::AnswerSentence(_) => "AnswerSentence",
            Self::ToolCalled(_) => "ToolCalled",
            Self::HookDone { .. } => "HookDone",
            Self::AnswerEnded => "AnswerEnded",
            Self::AnswerFailed => "AnswerFailed",
            Self::SpeechFailed { .. } => "SpeechFailed",
            Self::TransferFailed(_) => "TransferFailed",
            Self::TransferAsked(_) => "TransferAsked",
            Self::RecordingFailed => "RecordingFailed",
            Self::Closed => "Closed",
            Self::Timeout => "Timeout",
        })
    }
}

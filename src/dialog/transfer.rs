//! The transfer step: its words, what the caller hears while the other side rings, and the way on when it fails.
//!
//! How a call is handed over is the call's business; here is only what is said. Deliberately absent: any target that a
//! caller or a model could choose. A step names a target of the configuration, or the flow's author wrote it down.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::flow::{Kind, Target, Transfer};
use super::runner::{Dialog, Phase};
use super::{BargeIn, DialogOutput, Listening, Moment, Utterance, sound};
use crate::safety::said::Cleared;

/// Whom a call is handed to.
#[derive(Clone, PartialEq, Eq)]
pub enum TransferTo {
    /// A name of `transfer.targets`.
    Name(Arc<str>),
    /// A number or SIP address, as the author of a flow wrote it.
    Address(Arc<str>),
}

/// An address may be a person's number.
impl fmt::Debug for TransferTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "Name({name})"),
            Self::Address(_) => f.write_str("Address(***)"),
        }
    }
}

/// Who speaks with the target first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferMode {
    /// Nobody: the caller's side calls the target.
    Blind,
    /// We do: the target is called and told what it is about, then the two are joined.
    Attended,
}

impl TransferMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Attended => "attended",
        }
    }
}

/// A transfer as a flow or an operator asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferPlan {
    pub to: TransferTo,
    pub mode: TransferMode,
    /// How long the target may ring.
    pub ring_timeout: Duration,
    /// What the target is told before the caller is joined to it (attended only).
    pub brief: Vec<Cleared>,
}

/// How a transfer failed, as far as a flow distinguishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferFailure {
    Busy,
    NoAnswer,
    /// Everything else: refused, unreachable, not possible on this line.
    Failed,
}

impl TransferFailure {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Failed => "failed",
        }
    }
}

impl Transfer {
    /// Where a failure leads.
    const fn after(&self, failure: TransferFailure) -> Target {
        match failure {
            TransferFailure::Busy => self.on_busy,
            TransferFailure::NoAnswer => self.on_no_answer,
            TransferFailure::Failed => self.on_failed,
        }
    }
}

impl Dialog {
    /// The step's words were heard: the transfer begins, and the caller hears it ring.
    pub(super) fn begin_transfer(&mut self, transfer: &Transfer, now: Moment) {
        let language = self.settings().map(|settings| settings.language.clone()).unwrap_or_default();
        let plan = TransferPlan {
            to: transfer.to.clone(),
            mode: transfer.mode,
            ring_timeout: transfer.ring_timeout,
            brief: transfer.brief.render(&self.variables, &self.flow.private, &language),
        };
        self.transferring(plan, now);
    }

    /// An operator's transfer, in the middle of whatever goes on.
    pub(super) fn transfer_asked(&mut self, plan: TransferPlan, now: Moment) {
        if matches!(self.phase, Phase::Transferring { .. }) {
            return;
        }
        self.stop_speaking();
        if let Some(step) = self.flow.steps.get(self.step) {
            self.push(DialogOutput::Listen(Listening { barge_in: BargeIn::Off, ..step.listening() }));
        }
        self.transferring(plan, now);
    }

    fn transferring(&mut self, plan: TransferPlan, now: Moment) {
        self.keys.clear();
        self.phase = Phase::Transferring { until: now + plan.ring_timeout + LONGEST_BESIDE_RINGING };
        self.push(DialogOutput::Transfer(Box::new(plan)));
        self.ring_back();
    }

    /// One cadence of ring-back tone: whoever waits is never left in silence.
    pub(super) fn ring_back(&mut self) {
        let samples = self.ring_tone.get_or_insert_with(ring_tone).clone();
        self.push(DialogOutput::Say(Utterance::Audio { samples, words: None }));
    }

    /// The transfer did not come about: the caller is told, and is back in the flow at the named step.
    pub(super) fn transfer_failed(&mut self, failure: TransferFailure, now: Moment) {
        if !matches!(self.phase, Phase::Transferring { .. }) {
            return;
        }
        self.push(DialogOutput::Abandon);
        self.keys.clear();
        self.phase = Phase::Speaking { until: now };
        let flow = Arc::clone(&self.flow);
        let words = match failure {
            TransferFailure::Busy => &flow.phrases.busy,
            TransferFailure::NoAnswer => &flow.phrases.no_answer,
            TransferFailure::Failed => &flow.phrases.not_reached,
        };
        let next = match flow.steps.get(self.step).map(|step| &step.kind) {
            Some(Kind::Transfer(transfer)) => transfer.after(failure),
            // An operator's transfer: the flow goes on with the step that it was at.
            _ => Target::Step(self.step),
        };
        self.say(words, now);
        self.go(next, now);
    }
}

/// 425 Hz, 1 s on and 3 s off, as in most of the world (ITU-T E.180 allows 0.67 to 1.5 s on and 3 to 5 s off).
fn ring_tone() -> Arc<[i16]> {
    let tone = sound::tone(425.0, 1000, -22.0);
    tone.iter().copied().chain(std::iter::repeat_n(0, PAUSE_SAMPLES)).collect()
}

/// A short low tone: we are there.
pub fn sign_of_life() -> Arc<[i16]> {
    sound::tone(425.0, 200, -30.0)
}

/// What a caller hears whom we have wait: the same every 5 s.
pub fn waiting_tone() -> Arc<[i16]> {
    let tone = sign_of_life();
    tone.iter().copied().chain(std::iter::repeat_n(0, WAITING_PAUSE_SAMPLES)).collect()
}

/// 4.8 s at 8 kHz.
const WAITING_PAUSE_SAMPLES: usize = 38_400;

/// 3 s at 8 kHz.
const PAUSE_SAMPLES: usize = 24_000;

/// What a transfer may take beside the ringing: being asked for, a word to the target, and being joined. Far above what
/// the call itself allows, which reports the failure earlier.
const LONGEST_BESIDE_RINGING: Duration = Duration::from_secs(240);

//! Consent to recording, and what steps say about it. Nothing is recorded before the announcement was heard to its
//! end, or, where the caller is asked, before they have agreed; silence is no consent.
//!
//! It comes before the first step that is recorded, as a step of its own that the flow does not name. Deliberately
//! absent: whether a recording can be made. Whoever hands in a [`RecordingPlan`] has found that it can.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;
use serde_json::json;

use super::flow::{Flow, Prompt, RecordingKey, Step, Target};
use super::lines::Catalogue;
use super::promise::Promise;
use super::runner::{Dialog, Phase};
use super::usual::Usual;
use super::{BargeIn, DialogOutput, Endpoint, Expected, Listening, Moment, PauseReason, RecordingOrder, words};
use crate::config::Consent;
use crate::providers::Language;
use crate::telemetry::pii::Pii;

/// How calls are recorded, where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingPlan {
    pub consent: Consent,
    /// Said where the flow has no words of its own (`phrases.recording`).
    pub announcement: Option<String>,
    /// The same for a recording that fails (`phrases.not_recorded`).
    pub failure: Option<String>,
}

impl Flow {
    /// The words that announce a recording or ask for it: the flow's, the plan's, or ours. None where there are none in
    /// the flow's language.
    pub(super) fn consent_words(&self, plan: &RecordingPlan) -> Option<Prompt> {
        if let Some(own) = &self.phrases.recording {
            return Some(own.clone());
        }
        let usual = match plan.consent {
            Consent::None => return None,
            Consent::Announce => Usual::Recorded,
            Consent::Ask => Usual::MayWeRecord,
        };
        let text = plan.announcement.as_deref().or_else(|| usual.words(self.language()?))?;
        Some(Prompt::fixed_text(text))
    }

    /// Whether callers can be told what `plan` says they must be.
    pub fn can_tell(&self, plan: &RecordingPlan) -> bool {
        plan.consent == Consent::None || (self.consent_words(plan).is_some() && self.failure_words(plan).is_some())
    }
}

impl Catalogue {
    /// A flow that has no words for what its callers must be told.
    pub fn cannot_tell(&self, plan: &RecordingPlan) -> Option<&Flow> {
        self.flows().map(Arc::as_ref).find(|flow| !flow.can_tell(plan))
    }
}

/// What a dialog knows of the recording of its call.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    plan: Option<RecordingPlan>,
    gate: Gate,
    /// The steps so far want the call to be recorded.
    wanted: bool,
    paused: bool,
    sensitive: bool,
    /// What was ordered last.
    running: bool,
    pub(super) promise: Promise,
}

impl Recording {
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            plan: None,
            gate: Gate::Closed,
            wanted,
            paused: false,
            sensitive: false,
            running: false,
            promise: Promise::default(),
        }
    }

    pub(super) const fn plan(&self) -> Option<&RecordingPlan> {
        self.plan.as_ref()
    }

    /// The caller has heard that the call is recorded, or has agreed to it.
    pub(super) fn was_told_of(&self) -> bool {
        matches!(self.gate, Gate::Open) && self.plan.as_ref().is_some_and(|plan| plan.consent != Consent::None)
    }

    pub(super) const fn is_asking(&self) -> bool {
        matches!(self.gate, Gate::Asking(_))
    }

    /// What may interrupt, while consent is the matter.
    pub(super) fn barge_in(&self) -> Option<BargeIn> {
        self.plan.as_ref().filter(|_| self.is_asking()).map(|plan| barge_in(plan.consent))
    }

    /// Some of the announcement has reached the caller.
    pub(super) fn heard(&mut self, text: &str) {
        if let Gate::Asking(asking) = &mut self.gate {
            asking.heard |= !text.trim().is_empty();
        }
    }

    /// Some of the announcement has not.
    pub(super) fn unheard(&mut self) {
        if let Gate::Asking(asking) = &mut self.gate {
            asking.missed = true;
        }
    }
}

#[derive(Clone, Debug)]
enum Gate {
    /// Nobody was asked yet.
    Closed,
    Asking(Asking),
    Open,
    /// For the rest of the call.
    Shut,
}

#[derive(Clone, Debug)]
struct Asking {
    /// The step that comes after.
    next: usize,
    heard: bool,
    /// Not all of it could be said.
    missed: bool,
    tries: u32,
}

impl Dialog {
    /// The call is recorded by this plan; without one no recording is asked for.
    #[must_use]
    pub fn recorded(mut self, plan: RecordingPlan) -> Self {
        self.recording.plan = Some(plan);
        self
    }

    /// Takes note of what a step that begins says about the recording.
    pub(super) fn recording_step(&mut self, step: &Step) {
        match step.recording {
            None => {}
            Some(RecordingKey::On) => self.recording.wanted = true,
            Some(RecordingKey::Off) => self.recording.wanted = false,
            Some(RecordingKey::Pause) => self.pause(PauseReason::Step, true),
            Some(RecordingKey::Resume) => self.pause(PauseReason::Step, false),
            Some(RecordingKey::Discard) => {
                self.recording.wanted = false;
                if std::mem::take(&mut self.recording.running) {
                    self.push(DialogOutput::Recording(RecordingOrder::Discard));
                }
            }
        }
        self.pause(PauseReason::Sensitive, step.sensitive);
        self.follow();
    }

    /// Asks for consent ahead of the step `index`, where it is needed and was not asked for. True: the step waits.
    pub(super) fn consent_comes_first(&mut self, index: usize, now: Moment) -> bool {
        if !self.recording.wanted || !matches!(self.recording.gate, Gate::Closed) {
            return false;
        }
        let Some(plan) = &self.recording.plan else { return false };
        if plan.consent == Consent::None {
            self.recording.gate = Gate::Open;
            self.follow();
            return false;
        }
        let (consent, words) = (plan.consent, self.flow.consent_words(plan));
        let (Some(words), Some(settings)) = (words, self.settings().cloned()) else {
            self.recording.gate = Gate::Shut;
            return false;
        };
        self.recording.gate = Gate::Asking(Asking { next: index, heard: false, missed: false, tries: 0 });
        self.push(DialogOutput::Listen(Listening {
            step: Arc::from(STEP),
            barge_in: barge_in(consent),
            endpoint: Endpoint::Answer(Expected::YesNo),
            language: settings.language,
            hints: Arc::from(["yes".to_owned(), "no".to_owned()]),
            stop_words: settings.stop_words,
            backchannels: settings.backchannels,
            finish: false,
            private: false,
        }));
        self.phase = Phase::Speaking { until: now };
        self.say(&words, now);
        true
    }

    /// The announcement or question was played.
    pub(super) fn consent_spoken(&mut self, now: Moment) {
        let Gate::Asking(asking) = &self.recording.gate else { return };
        let told = asking.heard && !asking.missed;
        // Whatever comes next is decided while nothing is being said.
        self.phase = Phase::Listening { until: now + CONSENT_WAIT };
        match self.consent() {
            _ if !told => self.consent_settled(Err("not_announced"), now),
            Consent::Ask => {
                if let Some(digit) = self.keys.pop_front() {
                    self.consent_key(digit, now);
                }
            }
            Consent::None | Consent::Announce => self.consent_settled(Ok("recording_announced"), now),
        }
    }

    /// Only reached where the caller is asked: an announcement keeps keys for the step that follows.
    pub(super) fn consent_key(&mut self, digit: Digit, now: Moment) {
        match digit.as_char() {
            '1' => self.consent_settled(Ok("recording_agreed"), now),
            '2' => self.consent_settled(Err("said_no"), now),
            _ => self.consent_unanswered(now),
        }
    }

    pub(super) fn consent_turn(&mut self, said: Option<&Pii<String>>, now: Moment) {
        let language = self.settings().map(|settings| settings.language.clone()).unwrap_or_default();
        match said.and_then(|said| answer(said.expose(), &language)) {
            Some(true) => self.consent_settled(Ok("recording_agreed"), now),
            Some(false) => self.consent_settled(Err("said_no"), now),
            None => self.consent_unanswered(now),
        }
    }

    /// Silence, or nothing that is an answer: asked once more, and after that it is no.
    pub(super) fn consent_unanswered(&mut self, now: Moment) {
        let words = self.recording.plan.as_ref().and_then(|plan| self.flow.consent_words(plan));
        let Gate::Asking(asking) = &mut self.recording.gate else { return };
        asking.tries += 1;
        match words.filter(|_| asking.tries < MAX_TRIES) {
            Some(words) => {
                (asking.heard, asking.missed) = (false, false);
                self.phase = Phase::Speaking { until: now };
                self.say(&words, now);
            }
            None => self.consent_settled(Err("no_answer"), now),
        }
    }

    /// `Ok` holds the event that is kept before the recording begins, `Err` why there will be none.
    fn consent_settled(&mut self, settled: Result<&'static str, &'static str>, now: Moment) {
        let Gate::Asking(Asking { next, .. }) = self.recording.gate else { return };
        let mode = self.consent().as_str();
        match settled {
            Ok(event) => {
                self.recording.gate = Gate::Open;
                self.event(event, Some(Pii::new(json!({ "consent": mode }))));
            }
            Err(why) => {
                self.recording.gate = Gate::Shut;
                self.event("recording_refused", Some(Pii::new(json!({ "consent": mode, "why": why }))));
            }
        }
        self.go(Target::Step(next), now);
    }

    fn consent(&self) -> Consent {
        self.recording.plan.as_ref().map_or(Consent::None, |plan| plan.consent)
    }

    fn pause(&mut self, reason: PauseReason, on: bool) {
        let state = match reason {
            PauseReason::Sensitive => &mut self.recording.sensitive,
            PauseReason::Step | PauseReason::Operator => &mut self.recording.paused,
        };
        if std::mem::replace(state, on) != on && self.recording.plan.is_some() {
            let order = if on { RecordingOrder::Pause(reason) } else { RecordingOrder::Resume(reason) };
            self.push(DialogOutput::Recording(order));
        }
    }

    /// Orders what the gate and the steps come to.
    fn follow(&mut self) {
        let on = self.recording.wanted && matches!(self.recording.gate, Gate::Open);
        if std::mem::replace(&mut self.recording.running, on) != on {
            self.push(DialogOutput::Recording(if on { RecordingOrder::Begin } else { RecordingOrder::End }));
        }
    }
}

const fn barge_in(consent: Consent) -> BargeIn {
    match consent {
        Consent::None | Consent::Announce => BargeIn::Off,
        Consent::Ask => BargeIn::Speech,
    }
}

/// Whether the words agree; `None` when they do neither. Any word of refusal refuses: doubt is no consent.
pub(super) fn answer(said: &str, language: &Language) -> Option<bool> {
    let said = words::normal(said);
    let (yes, no) = match language.primary() {
        "fr" => (&["oui", "daccord", "jaccepte"][..], &["non", "pas", "refuse"][..]),
        "sw" => (&["ndiyo", "sawa", "nakubali"][..], &["hapana", "sikubali", "sitaki"][..]),
        "rw" => (&["yego", "ndabyemeye"][..], &["oya", "sinshaka"][..]),
        _ => (&["yes", "yeah", "sure", "ok", "okay", "agree", "fine"][..], &["no", "not", "dont", "nope", "never"][..]),
    };
    let says = |some: &[&str]| said.split(' ').any(|word| some.contains(&word));
    match (says(no), says(yes), words::spoken_digits(&said, language).as_str()) {
        (true, _, _) | (false, false, "2") => Some(false),
        (false, true, _) | (false, false, "1") => Some(true),
        _ => None,
    }
}

/// The step under which consent is in the record.
const STEP: &str = "recording_consent";
/// How long the caller may take to answer.
pub(super) const CONSENT_WAIT: Duration = Duration::from_secs(6);
const MAX_TRIES: u32 = 2;

//! Runs a flow for one call: inputs and time in, things to say and to wait for out.
//!
//! Every state has a way out by the clock, so that no event, or its absence, leaves a caller in silence. The way from
//! step to step is in `walk.rs`; what each kind of step does with keys and words in `menu.rs`, `collect.rs`, `agent.rs`.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use offhook_media::dtmf::Digit;

use super::agent::{Answer, History};
use super::consent::Recording;
use super::flow::{Flow, Kind, Settings, Target};
use super::hook::{SAY_AGAIN as AGAIN, ToolWork};
use super::mood::Temper;
use super::tell::Telling;
use super::timing::{HEARING, JOINED_WITHIN, hearing};
use super::value::Value;
use super::walk::Failure;
use super::{BargeIn, DialogInput, DialogOutput, Moment, Utterance, sentence, sound};
use crate::providers::Language;
use crate::safety::said::{Cleared, WITHHELD, clear};
use crate::telemetry::pii::Pii;

/// What a dialog knows about its call before it begins.
#[derive(Clone, Debug)]
pub struct CallFacts {
    /// The number that was called.
    pub called: String,
    pub caller: Pii<String>,
    /// A recogniser is configured: turns come with words.
    pub has_ears: bool,
    /// A language model is configured.
    pub has_model: bool,
}

/// One call's conversation. A clone goes its own way from there: what a turn would lead to can be tried on it.
#[derive(Clone)]
pub struct Dialog {
    pub(super) flow: Arc<Flow>,
    pub(super) facts: CallFacts,
    pub(super) step: usize,
    pub(super) phase: Phase,
    /// Prompts of this step that brought nothing.
    pub(super) tries: u32,
    /// Answers of the language model at this step.
    pub(super) turns: u32,
    /// Keys pressed ahead of the step that will use them.
    pub(super) keys: VecDeque<Digit>,
    /// Digits of the `collect` step so far.
    pub(super) digits: String,
    pub(super) variables: HashMap<Arc<str>, Value>,
    /// What a `collect` step has understood is being read back.
    pub(super) confirming: bool,
    pub(super) history: History,
    /// A terminator that may still follow digits which were complete without it.
    pub(super) stray: Option<(Digit, Moment)>,
    /// Words that cut a statement short, for the menu that follows.
    pub(super) carried: Option<Pii<String>>,
    /// A turn that ended while nothing might interrupt.
    pub(super) held: Option<Option<Pii<String>>>,
    /// What was left of a statement when the caller broke in.
    pub(super) cut: String,
    /// Turns in a row without words: the recogniser is taken to be gone after [`DEAF_AFTER`].
    deaf_turns: u32,
    /// When the caller's last turn fell silent.
    pub(super) silent_since: Option<Moment>,
    /// Questions in a row that the language model left unanswered.
    pub(super) model_failures: u32,
    pub(super) unheard_steps: u32,
    /// Made for the first transfer of the call.
    pub(super) ring_tone: Option<Arc<[i16]>>,
    pub(super) recording: Recording,
    pub(super) temper: Temper,
    /// Items of lists, the latest first; of earlier calls too.
    pub(super) told: Vec<(Arc<str>, u32)>,
    pub(super) telling: Option<Telling>,
    /// Answers since the caller was last told of a missing word.
    pub(super) since_repair: u32,
    pub(super) tool_work: ToolWork,
    pub(super) hooks_asked: u32,
    pub(super) outputs: VecDeque<DialogOutput>,
    pub(super) wake: Option<Moment>,
}

/// Deliberately little: keys, words and variables are the caller's.
impl fmt::Debug for Dialog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialog").field("step", &self.step_name()).field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// What the dialog waits for. Each has its deadline.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// For the call to be answered.
    Idle,
    /// For our words to be played; `until` is far beyond their length.
    Speaking { until: Moment },
    /// For the caller to begin.
    Listening { until: Moment },
    /// For the caller to end; `until` moves with their words, up to `cap`.
    Hearing { until: Moment, cap: Moment },
    /// For the language model, or for its words to be played.
    Answering(Answer),
    /// For the transfer to come about, or to fail; `until` is far beyond what the call itself allows it.
    Transferring { until: Moment },
    /// For a service; `again` is when the caller hears of us, `until` far beyond what it is allowed.
    Fetching { id: u32, until: Moment, again: Moment },
    /// For nothing: the end was asked for.
    Over,
}

impl Dialog {
    pub fn new(flow: Arc<Flow>, facts: CallFacts) -> Self {
        Self {
            step: flow.start,
            recording: Recording::new(flow.recorded),
            variables: flow.variables.iter().cloned().collect(),
            confirming: false,
            flow,
            facts,
            phase: Phase::Idle,
            tries: 0,
            turns: 0,
            keys: VecDeque::new(),
            digits: String::new(),
            history: History::default(),
            stray: None,
            carried: None,
            held: None,
            cut: String::new(),
            deaf_turns: 0,
            silent_since: None,
            model_failures: 0,
            unheard_steps: 0,
            ring_tone: None,
            temper: Temper::default(),
            told: Vec::new(),
            telling: None,
            since_repair: u32::MAX,
            tool_work: ToolWork::default(),
            hooks_asked: 0,
            outputs: VecDeque::new(),
            wake: None,
        }
    }

    /// Values that the flow may read, set before the call.
    #[must_use]
    pub fn with_variables(mut self, variables: Vec<(Arc<str>, Pii<String>)>) -> Self {
        self.variables.extend(variables.into_iter().map(|(name, value)| (name, Value::given(value.into_exposed()))));
        self
    }

    /// Feeds one input. What is to be done then comes from [`Dialog::poll`].
    pub fn handle(&mut self, input: DialogInput, now: Moment) {
        let woken = matches!(input, DialogInput::Timeout);
        match (&self.phase, input) {
            (Phase::Over, _) => return,
            (_, DialogInput::Closed) => self.close(),
            (Phase::Idle, DialogInput::Started) => self.go(Target::Step(self.flow.start), now),
            (Phase::Idle, DialogInput::Digit(digit)) => self.keep_key(digit),
            (Phase::Idle, _) | (_, DialogInput::Started) => {}
            (_, input) => self.react(input, now),
        }
        if woken {
            self.wake = None;
        }
        self.rearm();
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<DialogOutput> {
        self.outputs.pop_front()
    }

    /// Whether the dialog has asked for the end of the call.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether what is being said asks for an answer, whichever its words are.
    pub fn is_asking(&self) -> bool {
        let kind = self.flow.steps.get(self.step).map(|step| &step.kind);
        let asks = match kind {
            Some(Kind::Menu(_) | Kind::Collect(_)) => true,
            // Its own prompt is the question; what the model says need not be one.
            Some(Kind::Ask(_)) => matches!(self.phase, Phase::Speaking { .. }),
            _ => false,
        };
        asks || self.recording.is_asking()
    }

    /// Whether one of our utterances is believed to be playing or waiting to.
    pub fn is_speaking(&self) -> bool {
        match &self.phase {
            Phase::Speaking { .. } => true,
            Phase::Answering(answer) => answer.speaking,
            Phase::Transferring { .. } | Phase::Fetching { .. } => true,
            _ => false,
        }
    }

    /// The name of the current step.
    pub fn step_name(&self) -> &str {
        self.flow.steps.get(self.step).map_or("", |step| &step.name)
    }

    /// The language of the current step.
    pub fn language(&self) -> Language {
        self.settings().map(|settings| settings.language.clone()).unwrap_or_default()
    }

    fn react(&mut self, input: DialogInput, now: Moment) {
        match input {
            DialogInput::Started | DialogInput::Closed => {}
            DialogInput::Digit(digit) => self.digit(digit, now),
            DialogInput::CallerSpeaking | DialogInput::Partial(_) => self.caller_speaks(now),
            DialogInput::TurnEnded(words) => self.turn_ended(words.filter(|w| !w.expose().trim().is_empty()), now),
            DialogInput::SpokenOut { heard, whole } => {
                self.heard(&heard);
                self.owned_up(&heard);
                self.spoken_out(whole, now);
            }
            DialogInput::Interrupted { heard, unheard } => {
                self.heard(&heard);
                self.owned_up(&heard);
                self.cut = unheard;
                self.interrupted(now);
            }
            DialogInput::AnswerSentence(text) => self.answer_sentence(text, now),
            DialogInput::ToolCalled(call) => self.tool_called(&call, now),
            DialogInput::HookDone { id, answer } => self.hook_done(id, answer.as_ref(), now),
            DialogInput::AnswerEnded => self.answer_ended(now),
            DialogInput::AnswerFailed => self.answer_failed(now),
            DialogInput::SpeechFailed { in_a_row, .. } => self.speech_failed(in_a_row),
            DialogInput::RecordingFailed => self.recording_failed(),
            DialogInput::TransferFailed(failure) => self.transfer_failed(failure, now),
            DialogInput::TransferAsked(plan) => self.transfer_asked(*plan, now),
            DialogInput::Timeout => self.timeout(now),
        }
    }

    // ---- what the caller does

    fn digit(&mut self, digit: Digit, now: Moment) {
        self.unheard_steps = 0;
        if self.stray.take().is_some_and(|(stray, until)| stray == digit && now <= until) {
            return;
        }
        if matches!(self.phase, Phase::Transferring { .. }) {
            return;
        }
        if matches!(self.phase, Phase::Fetching { .. }) || (self.barge_in() == BargeIn::Off && self.is_speaking()) {
            return self.keep_key(digit);
        }
        self.stop_speaking();
        self.cut.clear();
        self.use_key(digit, now);
    }

    /// A key at the step that is current; nothing is being said.
    pub(super) fn use_key(&mut self, digit: Digit, now: Moment) {
        if self.recording.is_asking() {
            return self.consent_key(digit, now);
        }
        let flow = Arc::clone(&self.flow);
        let Some(step) = flow.steps.get(self.step) else { return };
        match &step.kind {
            Kind::Menu(menu) => self.menu_key(menu, digit, now),
            Kind::Collect(collect) => self.collect_key(collect, digit, now),
            Kind::Ask(ask) => self.ask_key(ask, digit, now),
            Kind::Say { wait: Some(_), next, .. } | Kind::Play { wait: Some(_), next, .. } => self.go(*next, now),
            Kind::Say { next, .. } | Kind::Play { next, .. } => {
                self.keep_key(digit);
                self.go(*next, now);
            }
            Kind::Tell(tell) => {
                self.keep_key(digit);
                self.go(tell.next, now);
            }
            // Its words were cut: it begins all the same.
            Kind::Transfer(transfer) => self.begin_transfer(transfer, now),
            Kind::Brief { .. } => self.phase = Phase::Listening { until: now + JOINED_WITHIN },
            Kind::Goto(_) | Kind::Set { .. } | Kind::Branch(_) | Kind::Hook(_) | Kind::HangUp { .. } => {}
        }
    }

    fn keep_key(&mut self, digit: Digit) {
        if self.keys.len() < MAX_KEYS {
            self.keys.push_back(digit);
        }
    }

    fn caller_speaks(&mut self, now: Moment) {
        match &mut self.phase {
            Phase::Listening { .. } => self.phase = hearing(now),
            Phase::Hearing { until, cap } => *until = (now + HEARING).min(*cap),
            _ => {}
        }
    }

    fn interrupted(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Transferring { .. } | Phase::Fetching { .. }) {
            return;
        }
        self.unheard_steps = 0;
        self.temper.spoken_at = None;
        if let Phase::Answering(answer) = &self.phase
            && !answer.ended
        {
            self.push(DialogOutput::Abandon);
        }
        self.phase = hearing(now);
    }

    fn turn_ended(&mut self, words: Option<Pii<String>>, now: Moment) {
        if matches!(self.phase, Phase::Transferring { .. } | Phase::Fetching { .. }) {
            return;
        }
        if matches!(self.phase, Phase::Speaking { .. } | Phase::Answering(_)) {
            if matches!(self.barge_in(), BargeIn::Off | BargeIn::Digits) && self.is_speaking() {
                self.held = Some(words);
                return;
            }
            // Sound without words does not stop us here: whoever plays has not found it worth interrupting.
            if words.is_none() {
                return;
            }
            self.stop_speaking();
        }
        self.use_turn(words, now);
    }

    pub(super) fn use_turn(&mut self, words: Option<Pii<String>>, now: Moment) {
        self.unheard_steps = 0;
        if self.recording.is_asking() {
            return self.consent_turn(words.as_ref(), now);
        }
        match &words {
            Some(words) => {
                self.deaf_turns = 0;
                self.cut.clear();
                let private = self.flow.steps.get(self.step).is_some_and(|step| step.sensitive);
                self.history.user(if private { WITHHELD } else { words.expose() });
                self.feel(words, now);
            }
            None => self.deaf_turns += 1,
        }
        if words.is_none() && self.can_hear() && self.resume(now) {
            return;
        }
        let flow = Arc::clone(&self.flow);
        let Some(step) = flow.steps.get(self.step) else { return };
        match &step.kind {
            Kind::Menu(menu) => self.menu_turn(menu, words.as_ref(), &step.settings, now),
            Kind::Collect(collect) => self.collect_turn(collect, words.as_ref(), &step.settings, now),
            Kind::Ask(ask) => self.ask_turn(ask, words.as_ref(), &step.settings, now),
            Kind::Say { next, .. } | Kind::Play { next, .. } => {
                self.carried = words;
                self.go(*next, now);
            }
            Kind::Tell(tell) => self.go(tell.next, now),
            // Its words were cut: it begins all the same.
            Kind::Transfer(transfer) => self.begin_transfer(transfer, now),
            Kind::Brief { .. } => self.phase = Phase::Listening { until: now + JOINED_WITHIN },
            Kind::Goto(_) | Kind::Set { .. } | Kind::Branch(_) | Kind::Hook(_) | Kind::HangUp { .. } => {}
        }
    }

    /// Noise without words has cut us short: the rest is said, once for each cut.
    fn resume(&mut self, now: Moment) -> bool {
        let rest = std::mem::take(&mut self.cut);
        let sentences = sentence::sentences(&rest);
        for text in &sentences {
            let text = self.as_private_as_the_step(clear(text));
            self.utter_sentence(text, now);
        }
        !sentences.is_empty()
    }

    /// Words that were not written with the flow may hold what the step was told in confidence.
    pub(super) fn as_private_as_the_step(&self, text: Cleared) -> Cleared {
        let private = self.flow.steps.get(self.step).is_some_and(|step| step.sensitive);
        if private { text.in_private() } else { text }
    }

    // ---- what was played

    pub(super) fn heard(&mut self, text: &str) {
        self.recording.heard(text);
        if !text.trim().is_empty() {
            self.history.assistant(text);
        }
    }

    fn spoken_out(&mut self, whole: bool, now: Moment) {
        self.temper.spoken_at = Some(now);
        match &mut self.phase {
            Phase::Speaking { .. } => self.after_speaking(whole, now),
            Phase::Answering(_) => self.answer_spoken(whole, now),
            Phase::Transferring { .. } => self.ring_back(),
            Phase::Fetching { again, .. } => *again = now + AGAIN,
            Phase::Listening { .. } => {
                if let Some(wait) = self.wait() {
                    self.phase = Phase::Listening { until: now + wait };
                }
            }
            Phase::Idle | Phase::Hearing { .. } | Phase::Over => {}
        }
    }

    /// Not `whole`: nobody is waited for who does not know what they were asked.
    pub(super) fn after_speaking(&mut self, whole: bool, now: Moment) {
        if self.recording.is_asking() {
            return self.consent_spoken(now);
        }
        let flow = Arc::clone(&self.flow);
        let Some(step) = flow.steps.get(self.step) else { return };
        // Whatever comes next is decided while nothing is being said.
        self.phase = Phase::Listening { until: now + self.wait().unwrap_or_default() };
        let held = self.held.take();
        match &step.kind {
            Kind::Say { wait, next, .. } | Kind::Play { wait, next, .. } => {
                if wait.is_none() || !whole || !self.keys.is_empty() || held.is_some() {
                    self.carried = held.flatten();
                    self.go(*next, now);
                }
            }
            Kind::Ask(ask) if self.turns >= ask.max_turns => self.go(ask.next, now),
            Kind::Tell(tell) => self.go(tell.next, now),
            Kind::Menu(_) | Kind::Collect(_) | Kind::Ask(_) => {
                if let Some(digit) = self.keys.pop_front() {
                    self.use_key(digit, now);
                } else if let Some(words) = held {
                    self.use_turn(words, now);
                } else if !whole {
                    self.try_again(Failure::Unsaid, now);
                }
            }
            Kind::Transfer(transfer) => self.begin_transfer(transfer, now),
            Kind::Brief { .. } => self.briefed(now),
            Kind::Goto(_) | Kind::Set { .. } | Kind::Branch(_) | Kind::Hook(_) | Kind::HangUp { .. } => {}
        }
    }

    fn speech_failed(&mut self, in_a_row: u32) {
        self.recording.unheard();
        if in_a_row < MAX_SPEECH_FAILURES {
            return;
        }
        self.event("no_voice", None);
        self.push(DialogOutput::Abandon);
        let samples = sound::tone(425.0, 800, -20.0);
        self.push(DialogOutput::Say(Utterance::Audio { samples, words: None }));
        self.end();
    }

    /// Whoever was briefed may be joined to the caller now.
    pub(super) fn briefed(&mut self, now: Moment) {
        self.event("briefed", None);
        self.phase = Phase::Listening { until: now + JOINED_WITHIN };
    }

    pub(super) fn settings(&self) -> Option<&Settings> {
        self.flow.steps.get(self.step).map(|step| &step.settings)
    }

    fn barge_in(&self) -> BargeIn {
        if let Some(barge_in) = self.recording.barge_in() {
            return barge_in;
        }
        self.settings().map_or(BargeIn::Speech, |settings| settings.barge_in)
    }

    /// Whether the caller's words can be expected to arrive.
    pub(super) fn can_hear(&self) -> bool {
        self.facts.has_ears && self.deaf_turns < DEAF_AFTER
    }

    pub(super) fn push(&mut self, output: DialogOutput) {
        self.outputs.push_back(output);
    }

    pub(super) fn event(&mut self, kind: &'static str, detail: Option<Pii<serde_json::Value>>) {
        self.push(DialogOutput::Event { kind, detail });
    }
}

/// Keys kept for later steps.
const MAX_KEYS: usize = 32;
/// Failed sentences in a row before the line is given up.
const MAX_SPEECH_FAILURES: u32 = 3;
/// Turns without words before callers are pointed to their keys.
const DEAF_AFTER: u32 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::flow::NoAssets;
    use super::super::walk::MAX_UNHEARD_STEPS;
    use super::*;

    #[test]
    fn a_loop_that_hears_nothing_is_cut() {
        let text = "name: f\nendless: true\nsteps:\n  a:\n    say: Hi.\n    wait_ms: 500\n    goto: self\n";
        let mut flow = Flow::parse("f.yaml", text, &NoAssets).unwrap();
        // No flow that loads has such a loop; the guard holds for a flow that does.
        flow.endless = false;
        let facts = CallFacts { called: "1".into(), caller: Pii::default(), has_ears: true, has_model: false };
        let mut dialog = Dialog::new(Arc::new(flow), facts);
        dialog.handle(DialogInput::Started, Duration::ZERO);
        let mut rounds = 0;
        while !dialog.is_over() {
            rounds += 1;
            assert!(rounds <= MAX_UNHEARD_STEPS);
            dialog.handle(
                DialogInput::SpokenOut { heard: "Hi.".into(), whole: true },
                Duration::from_secs(rounds.into()),
            );
            dialog.handle(DialogInput::Timeout, Duration::from_secs(u64::from(rounds) + 1));
        }
        assert_eq!(rounds, MAX_UNHEARD_STEPS);
        let outputs: Vec<DialogOutput> = std::iter::from_fn(|| dialog.poll()).collect();
        assert!(outputs.iter().any(|output| matches!(output, DialogOutput::Event { kind: "loop_cut", .. })));
        assert!(outputs.iter().any(|output| matches!(output, DialogOutput::HangUp)));
    }

    #[test]
    fn what_is_printed_holds_nothing_of_the_caller() {
        let text = "name: f\nsteps:\n  a:\n    collect: {prompt: Number?, into: n, min: 4, max: 9}\n    goto: hangup\n";
        let flow = Flow::parse("f.yaml", text, &NoAssets).unwrap();
        let facts = CallFacts { called: "1".into(), caller: Pii::default(), has_ears: true, has_model: false };
        let mut dialog = Dialog::new(Arc::new(flow), facts);
        dialog.handle(DialogInput::Started, Duration::ZERO);
        for digit in "987".chars().filter_map(|key| Digit::try_from(key).ok()) {
            dialog.handle(DialogInput::Digit(digit), Duration::from_secs(1));
        }
        assert_eq!(dialog.digits, "987");
        assert!(!format!("{dialog:?}").contains('9'), "{dialog:?}");
    }
}

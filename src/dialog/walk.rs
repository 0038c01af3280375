//! The way from step to step: entering a step, asking its question again, giving up.

use std::sync::Arc;
use std::time::Duration;

use super::consent::CONSENT_WAIT;
use super::flow::{Collect, Kind, Retry, Setting, Step, Target};
use super::runner::{Dialog, Phase};
use super::value::{Reading, Value};
use super::{BargeIn, DialogOutput, Moment, Utterance};

impl Dialog {
    pub(super) fn end(&mut self) {
        self.push(DialogOutput::HangUp);
        self.phase = Phase::Over;
    }

    /// The last words are somebody else's.
    pub(super) fn close(&mut self) {
        self.push(DialogOutput::Abandon);
        self.phase = Phase::Over;
    }

    pub(super) fn go(&mut self, target: Target, now: Moment) {
        let mut target = target;
        for _ in 0..=self.flow.steps.len() {
            let Target::Step(index) = target else { break };
            self.unheard_steps += 1;
            if self.unheard_steps > MAX_UNHEARD_STEPS && !self.flow.endless {
                self.event("loop_cut", None);
                break;
            }
            match self.enter(index, now) {
                Some(next) => target = next,
                None => return,
            }
        }
        let flow = Arc::clone(&self.flow);
        self.say(&flow.phrases.goodbye, now);
        self.end();
    }

    /// Begins a step; gives the next one when there is nothing to do here.
    fn enter(&mut self, index: usize, now: Moment) -> Option<Target> {
        let flow = Arc::clone(&self.flow);
        let Some(step) = flow.steps.get(index) else { return Some(Target::HangUp) };
        self.step = index;
        self.tries = 0;
        self.turns = 0;
        self.digits.clear();
        self.confirming = false;
        self.telling = None;
        self.held = None;
        self.cut.clear();
        self.recording_step(step);
        match &step.kind {
            Kind::Goto(next) => return Some(*next),
            Kind::Set { values, next } => {
                self.assign(values);
                return Some(*next);
            }
            Kind::Branch(branch) => return Some(branch.choose(self)),
            _ => {}
        }
        if self.consent_comes_first(index, now) {
            return None;
        }
        self.push(DialogOutput::Listen(step.listening()));
        self.phase = Phase::Speaking { until: now };
        match &step.kind {
            Kind::Say { wait, next, .. } | Kind::Play { wait, next, .. } => {
                return self.statement(step, *wait, *next, now);
            }
            Kind::Menu(menu) => {
                let words = self.carried.take();
                let named = words.and_then(|words| menu.choice(words.expose(), &step.settings.language));
                if self.keys.is_empty() && named.is_some() {
                    return named;
                }
            }
            Kind::Transfer(transfer) => {
                self.say(&transfer.prompt, now);
                return None;
            }
            Kind::Brief { words } => {
                words.iter().for_each(|words| self.utter_sentence(words.clone(), now));
                if words.is_empty() {
                    self.briefed(now);
                }
                return None;
            }
            Kind::HangUp { prompt } => {
                self.say(prompt, now);
                self.end();
                return None;
            }
            Kind::Ask(ask) => {
                let question = self.carried.take().filter(|words| self.is_question(words));
                if self.keys.is_empty() && question.is_some() {
                    self.ask_turn(ask, question.as_ref(), &step.settings, now);
                    return None;
                }
            }
            Kind::Tell(tell) => {
                self.carried = None;
                if !self.keys.is_empty() {
                    return Some(tell.next);
                }
                self.tell(tell, &step.settings, now);
                return None;
            }
            Kind::Hook(hook) => {
                self.carried = None;
                self.hook(hook, now);
                return None;
            }
            Kind::Goto(_) | Kind::Set { .. } | Kind::Branch(_) | Kind::Collect(_) => self.carried = None,
        }
        match self.keys.pop_front() {
            Some(digit) => self.use_key(digit, now),
            None => self.ask_again(now),
        }
        None
    }

    fn assign(&mut self, values: &[(Arc<str>, Setting)]) {
        for (name, setting) in values {
            let value = match setting {
                Setting::Number(count) => Value::number(*count),
                Setting::Add(more) => {
                    let before = self.variables.get(name).and_then(Value::as_number).unwrap_or(0);
                    Value::number(before.saturating_add(*more))
                }
                Setting::Text(template) => {
                    let text = template.written(&self.variables);
                    // A copy is told as what it was copied from.
                    let mut read = template.variables().filter_map(|name| self.variables.get(name));
                    let copied = read.next().filter(|value| value.text == text);
                    Value { reading: copied.map_or(Reading::Text, |value| value.reading), text }
                }
            };
            self.set(name, value);
        }
    }

    fn statement(&mut self, step: &Step, wait: Option<Duration>, next: Target, now: Moment) -> Option<Target> {
        if wait.is_some() {
            // The pause that follows is for this statement; older keys would cut it at once, for ever in a loop.
            self.keys.clear();
        } else if !self.keys.is_empty() && step.settings.barge_in != BargeIn::Off {
            return Some(next);
        }
        self.carried = None;
        match &step.kind {
            Kind::Say { prompt, .. } => self.say(prompt, now),
            Kind::Play { sound, .. } => {
                let utterance = Utterance::Audio { samples: Arc::clone(&sound.samples), words: sound.words.clone() };
                self.utter(utterance, now);
            }
            _ => {}
        }
        None
    }

    /// Says the step's question.
    pub(super) fn ask_again(&mut self, now: Moment) {
        let flow = Arc::clone(&self.flow);
        let Some(step) = flow.steps.get(self.step) else { return };
        match &step.kind {
            Kind::Menu(menu) => self.say(&menu.prompt, now),
            Kind::Collect(Collect { read_back: Some(read_back), .. }) if self.confirming => self.say(read_back, now),
            Kind::Collect(collect) => self.say(&collect.prompt, now),
            Kind::Ask(ask) => {
                let prompt = self.question(ask);
                self.say(prompt, now);
            }
            _ => {}
        }
    }

    /// The prompt brought nothing: says so and asks again, or gives up.
    pub(super) fn try_again(&mut self, failure: Failure, now: Moment) {
        let flow = Arc::clone(&self.flow);
        let Some(retry) = flow.steps.get(self.step).and_then(retry_of) else { return };
        self.digits.clear();
        self.keys.clear();
        self.tries += 1;
        if self.tries >= retry.max_tries {
            self.event("gave_up", None);
            return self.go(retry.give_up, now);
        }
        let prompts = match failure {
            Failure::NoInput => retry.no_input.as_slice(),
            Failure::NoMatch => retry.no_match.as_slice(),
            Failure::Invalid => retry.invalid.as_slice(),
            Failure::Unheard => std::slice::from_ref(&flow.phrases.unheard),
            Failure::Unsaid | Failure::Denied => &[],
        };
        let index = usize::try_from(self.tries - 1).unwrap_or(usize::MAX);
        self.phase = Phase::Speaking { until: now };
        if let Some(prompt) = prompts.get(index).or(prompts.last()) {
            self.say(prompt, now);
        }
        self.ask_again(now);
    }

    /// How long this step waits for the caller.
    pub(super) fn wait(&self) -> Option<Duration> {
        if self.recording.is_asking() {
            return Some(CONSENT_WAIT);
        }
        let step = self.flow.steps.get(self.step)?;
        match &step.kind {
            Kind::Say { wait, .. } | Kind::Play { wait, .. } => *wait,
            Kind::Collect(collect) if !self.digits.is_empty() => Some(collect.digit_wait),
            _ => retry_of(step).map(|retry| retry.wait),
        }
    }

    pub(super) fn listen(&mut self, now: Moment) {
        self.phase = Phase::Listening { until: now + self.wait().unwrap_or_default() };
    }

    /// The turn whose end is told next fell silent at `at`.
    pub const fn fell_silent(&mut self, at: Moment) {
        self.silent_since = Some(at);
    }

    /// The caller's turn has brought no answer, and the step waits on: the silence that ended the turn is part of it.
    pub(super) fn listen_on(&mut self, now: Moment) {
        let wait = self.wait().unwrap_or_default();
        let since = self.silent_since.take().unwrap_or(now);
        self.phase = Phase::Listening { until: (since + wait).clamp(now, now + wait) };
    }
}

/// Why a prompt is said again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    NoInput,
    NoMatch,
    /// Keys that cannot be right.
    Invalid,
    /// Something was said on a line that cannot hear words.
    Unheard,
    /// No voice could make the question to its end.
    Unsaid,
    /// What was understood is not what the caller meant.
    Denied,
}

fn retry_of(step: &Step) -> Option<&Retry> {
    match &step.kind {
        Kind::Menu(menu) => Some(&menu.retry),
        Kind::Collect(collect) => Some(&collect.retry),
        Kind::Ask(ask) => Some(&ask.retry),
        _ => None,
    }
}

/// Steps entered without a sign of the caller before the call is ended.
pub const MAX_UNHEARD_STEPS: u32 = 50;

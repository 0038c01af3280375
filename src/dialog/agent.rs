//! The ask step: free speech answered by a language model, and what is said when the model is slow, silent or absent.
//!
//! The ladder: the model's sentences as they come; a filler after [`FILLER_AFTER`]; the flow's own words after
//! [`CANNED_AFTER`], and the model's answer is dropped; the keypad when that happens twice in a row. The conversation is kept as it was heard by the caller.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::dtmf::Digit;
use serde_json::json;

use super::flow::{Ask, Prompt, Settings, Target};
use super::repair::repair;
use super::runner::{Dialog, Phase};
use super::value::Value;
use super::walk::Failure;
use super::{DialogOutput, Moment, words};
use crate::providers::{Message, ReplyRequest, Role};
use crate::safety::said::Cleared;
use crate::telemetry::pii::Pii;

/// An answer that is being made or played.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Since when the caller hears nothing of the answer.
    quiet_since: Moment,
    filler_said: bool,
    /// Something of ours is in the queue: `until` is far beyond its length.
    pub speaking: bool,
    until: Moment,
    /// What is in the queue are words of the model, not the filler.
    real: bool,
    /// What is in the queue are words of ours that come before the answer.
    opener: bool,
    /// The model has said something at all.
    answered: bool,
    /// No voice could make the end of what it said so far.
    lost: bool,
    /// The model will say no more.
    pub ended: bool,
}

impl Answer {
    pub fn new(now: Moment) -> Self {
        Self {
            quiet_since: now,
            filler_said: false,
            speaking: false,
            until: now,
            real: false,
            opener: false,
            answered: false,
            lost: false,
            ended: false,
        }
    }

    /// Words of ours come before it; the model's time counts from their end.
    pub const fn behind_words(mut self) -> Self {
        self.opener = true;
        self
    }

    /// The model is asked once more, for the same answer.
    pub const fn asked_again(&mut self, now: Moment) {
        if !self.speaking {
            self.quiet_since = now;
            self.filler_said = false;
        }
    }

    pub const fn until(&self) -> Moment {
        self.until
    }

    pub fn queued(&mut self, now: Moment, length: Duration) {
        self.until = self.until.max(now + PLAYOUT_MARGIN) + length;
        self.speaking = true;
    }

    pub fn deadline(&self) -> Moment {
        if self.ended || (self.speaking && (self.real || self.opener)) {
            self.until
        } else if self.filler_said {
            self.quiet_since + CANNED_AFTER
        } else {
            self.quiet_since + FILLER_AFTER
        }
    }
}

impl Dialog {
    /// The question as this line can ask it.
    pub(super) fn question<'a>(&self, ask: &'a Ask) -> &'a Prompt {
        match (self.can_hear(), self.has_model()) {
            (false, _) => &ask.unheard,
            (true, false) => &ask.without_model,
            (true, true) => &ask.prompt,
        }
    }

    /// Whether words that cut a statement short ask for something, rather than for quiet ("stop", "okay thanks").
    pub(super) fn is_question(&self, words: &Pii<String>) -> bool {
        self.can_hear() && self.has_model() && words.expose().split_whitespace().count() >= 3
    }

    /// Whether a question can be expected to be answered.
    pub(super) fn has_model(&self) -> bool {
        self.facts.has_model && self.model_failures < MODEL_GONE_AFTER
    }

    pub(super) fn ask_key(&mut self, ask: &Ask, digit: Digit, now: Moment) {
        match ask.keys.iter().find(|(key, _)| *key == digit) {
            Some((_, next)) => self.go(*next, now),
            None => self.try_again(Failure::NoMatch, now),
        }
    }

    pub(super) fn ask_turn(&mut self, ask: &Ask, said: Option<&Pii<String>>, settings: &Settings, now: Moment) {
        let Some(said) = said else {
            // The step's own words for a line without ears are its question; no other apology is needed.
            return self.try_again(Failure::NoMatch, now);
        };
        if words::is_whole_answer(&ask.done_words, said.expose()) {
            return self.go(ask.next, now);
        }
        if !self.facts.has_model {
            return self.try_again(Failure::NoMatch, now);
        }
        self.tries = 0;
        self.turns += 1;
        self.forget_tools();
        let missing = self.open_answer(ask, said, settings, now);
        let request = self.request(ask, settings.temperature, &missing);
        self.push(DialogOutput::Reply(Box::new(request)));
    }

    /// The conversation, for an answer at this step.
    pub(super) fn request(&self, ask: &Ask, temperature: f32, missing: &str) -> ReplyRequest {
        ReplyRequest {
            messages: self.history.messages(&self.instructions(ask, missing)),
            tools: ask.tools.iter().map(|tool| tool.spec.clone()).collect(),
            temperature,
            max_tokens: ask.max_tokens,
        }
    }

    /// Begins an answer with a word of encouragement, or with the word that the caller left out, which is given back. Never
    /// both, and no corrections for who is frustrated or was corrected just now.
    fn open_answer(&mut self, ask: &Ask, said: &Pii<String>, settings: &Settings, now: Moment) -> String {
        let encouragement = self.encouragement();
        self.since_repair = self.since_repair.saturating_add(1);
        let wanted = encouragement.is_none() && self.mood() == "calm" && self.since_repair >= REPAIRED_EVERY;
        let words = ask.repair.as_ref().filter(|_| wanted);
        let repair = words.and_then(|words| Some((words, repair(said.expose(), &settings.language)?)));
        self.phase = Phase::Answering(Answer::new(now));
        if encouragement.is_some() || repair.is_some() {
            self.phase = Phase::Answering(Answer::new(now).behind_words());
        }
        if let Some(words) = encouragement {
            self.say(&words, now);
        }
        let Some((words, repair)) = repair else { return String::new() };
        self.since_repair = 0;
        self.event("repaired", Some(Pii::new(json!({ "missing": &repair.missing, "whole": &repair.whole }))));
        self.set(&Arc::from(MISSING), Value::text(repair.told()));
        self.say(words, now);
        repair.told()
    }

    pub(super) fn answer_sentence(&mut self, text: Cleared, now: Moment) {
        let Phase::Answering(answer) = &mut self.phase else { return };
        if answer.ended || text.is_empty() || self.keep_telling(&text) {
            return;
        }
        let Phase::Answering(answer) = &mut self.phase else { return };
        answer.real = true;
        answer.answered = true;
        let text = self.as_private_as_the_step(text);
        self.utter_sentence(text, now);
    }

    pub(super) fn answer_ended(&mut self, now: Moment) {
        let Phase::Answering(answer) = &mut self.phase else { return };
        answer.ended = true;
        if self.tell_in_own_words(now) {
            return;
        }
        self.answer_complete(now);
    }

    /// The model will say no more in this turn.
    pub(super) fn answer_complete(&mut self, now: Moment) {
        let leads_on = self.tool_work.next.is_some();
        let Phase::Answering(answer) = &mut self.phase else { return };
        answer.ended = true;
        let Phase::Answering(answer) = &mut self.phase else { return };
        match (answer.answered, answer.speaking) {
            (false, false) if leads_on => self.answer_over(now),
            (false, _) if !leads_on => {
                self.model_failures += 1;
                self.own_words("model_empty", now);
            }
            (true, false) => self.answer_over(now),
            (true, true) | (false, _) => {}
        }
    }

    pub(super) fn answer_failed(&mut self, now: Moment) {
        if matches!(&self.phase, Phase::Answering(answer) if !answer.ended) {
            self.model_failures += 1;
            self.own_words("model_failed", now);
        }
    }

    /// Everything queued was played, or not `whole`.
    pub(super) fn answer_spoken(&mut self, whole: bool, now: Moment) {
        let Phase::Answering(answer) = &mut self.phase else { return };
        answer.speaking = false;
        answer.lost = answer.real && !whole;
        if answer.ended {
            return self.answer_over(now);
        }
        if std::mem::take(&mut answer.opener) | std::mem::take(&mut answer.real) {
            answer.quiet_since = now;
            answer.filler_said = false;
        }
        answer.until = now;
    }

    /// A deadline of the answer has come.
    pub(super) fn answer_due(&mut self, now: Moment) {
        let Phase::Answering(answer) = &mut self.phase else { return };
        if answer.ended || (answer.speaking && (answer.real || answer.opener)) {
            self.event("playout_lost", None);
            return self.answer_spoken(true, now);
        }
        // What may be told as it was written is not waited for.
        if self.telling.is_some() {
            self.push(DialogOutput::Abandon);
            self.model_failures += 1;
            return self.own_words("model_slow", now);
        }
        let Phase::Answering(answer) = &mut self.phase else { return };
        if answer.filler_said || now >= answer.quiet_since + CANNED_AFTER {
            self.push(DialogOutput::Abandon);
            self.model_failures += 1;
            return self.own_words("model_slow", now);
        }
        answer.filler_said = true;
        let flow = Arc::clone(&self.flow);
        if let Some(ask) = flow.ask_at(self.step) {
            self.say(&ask.filler, now);
        }
    }

    /// Says the flow's words in place of the model's; the step then goes on as after an answer.
    fn own_words(&mut self, event: &'static str, now: Moment) {
        self.event(event, None);
        self.forget_tools();
        if self.tell_plainly(now) {
            return;
        }
        self.phase = Phase::Speaking { until: now };
        let flow = Arc::clone(&self.flow);
        if let Some(ask) = flow.ask_at(self.step) {
            self.say(&ask.canned, now);
            if !self.has_model() {
                self.say(&ask.without_model, now);
            }
        }
    }

    fn answer_over(&mut self, now: Moment) {
        self.model_failures = 0;
        if matches!(&self.phase, Phase::Answering(answer) if answer.lost) {
            return self.own_words("answer_unspoken", now);
        }
        let flow = Arc::clone(&self.flow);
        match flow.ask_at(self.step) {
            _ if self.tool_work.next.is_some() => {
                let next = self.tool_work.next.take().unwrap_or(Target::HangUp);
                self.go(next, now);
            }
            Some(ask) if self.turns >= ask.max_turns => self.go(ask.next, now),
            _ => self.listen(now),
        }
    }
}

/// The conversation as both sides heard it; the oldest messages go first.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    messages: VecDeque<Message>,
    chars: usize,
}

impl History {
    pub fn user(&mut self, words: &str) {
        self.add(Role::User, words);
    }

    pub fn assistant(&mut self, heard: &str) {
        self.add(Role::Assistant, heard);
    }

    /// The conversation for the model, behind its instructions.
    pub fn messages(&self, system: &str) -> Vec<Message> {
        let instructions = Message { role: Role::System, content: Pii::new(system.to_owned()) };
        std::iter::once(instructions).chain(self.messages.iter().cloned()).collect()
    }

    fn add(&mut self, role: Role, text: &str) {
        let text: String = text.trim().chars().take(MAX_MESSAGE).collect();
        self.chars += text.chars().count();
        match self.messages.back_mut() {
            Some(last) if last.role == role && last.content.expose().chars().count() < MAX_MESSAGE => {
                last.content = Pii::new(format!("{} {text}", last.content.expose()));
                self.chars += 1;
            }
            _ => self.messages.push_back(Message { role, content: Pii::new(text) }),
        }
        while self.messages.len() > MAX_MESSAGES || (self.chars > MAX_HISTORY && self.messages.len() > 1) {
            let gone = self.messages.pop_front().map_or(0, |message| message.content.expose().chars().count());
            self.chars = self.chars.saturating_sub(gone);
        }
    }
}

/// Silence of the model before the filler is said.
pub const FILLER_AFTER: Duration = Duration::from_millis(1200);
/// Silence of the model before the flow's own words are said; reckoned from the same moment. A voice that has them ready is
/// heard before 4 s have passed.
pub const CANNED_AFTER: Duration = Duration::from_millis(3800);
/// Unanswered questions in a row before the caller is pointed to the keys as well.
const MODEL_GONE_AFTER: u32 = 2;
/// Answers from one correction to the next.
const REPAIRED_EVERY: u32 = 2;
/// The variable that `repair` may say.
pub(super) const MISSING: &str = "missing";
const PLAYOUT_MARGIN: Duration = Duration::from_secs(8);
const MAX_MESSAGES: usize = 40;
/// Of one message, in characters.
const MAX_MESSAGE: usize = 2000;
/// Of all messages, in characters.
const MAX_HISTORY: usize = 12_000;

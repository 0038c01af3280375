//! The tell step: one item of a list, another one each time a caller comes by, told by the model in words of its own.
//!
//! A model may only dress up what it is given: what it writes is said if it holds the words that must stay, and otherwise,
//! or when it is slow or fails, the item is said as it was written.

use std::sync::Arc;

use serde_json::json;

use super::agent::Answer;
use super::flow::{Kind, Prompt, Settings};
use super::runner::{Dialog, Phase};
use super::speakable::speakable;
use super::words::normal as normal_of;
use super::{DialogOutput, Moment};
use crate::providers::{Language, Message, ReplyRequest, Role};
use crate::safety::said::Cleared;
use crate::telemetry::pii::Pii;

/// A list of which one item is told.
#[derive(Clone, Debug)]
pub(super) struct Tell {
    /// Said while the model writes.
    pub intro: Prompt,
    pub items: Vec<Item>,
    /// The flow's and the step's name: the list as it is remembered.
    pub list: Arc<str>,
    pub system: String,
    pub max_tokens: u32,
    pub next: super::flow::Target,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub prompt: Prompt,
    /// As the model is told it.
    pub text: String,
    /// What has to be in whatever is told.
    pub keep: Vec<String>,
}

/// An item that the model is dressing up.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    item: usize,
    told: Vec<Cleared>,
}

impl Item {
    /// Whether a model's words say no less than the item, in about its length.
    fn is_in(&self, told: &[Cleared], language: &Language) -> bool {
        let whole = told.iter().map(Cleared::as_str).collect::<Vec<_>>().join(" ");
        let normal = format!(" {} ", normal_of(&whole));
        let length = whole.chars().count();
        length > 0
            && length <= MOST_CHARS
            && !whole.contains('?')
            && self.keep.iter().all(|words| normal.contains(&format!(" {} ", normal_of(&speakable(words, language)))))
    }
}

impl Tell {
    /// An item that this caller was not told lately: the list is gone round from a place of the caller's own.
    fn choose(&self, told: &[(Arc<str>, u32)], caller: &str) -> usize {
        let count = self.items.len().max(1);
        let recent: Vec<usize> = told
            .iter()
            .filter(|(list, _)| *list == self.list)
            .filter_map(|(_, item)| usize::try_from(*item).ok())
            .take(count - 1)
            .collect();
        let start = caller.bytes().fold(0_usize, |sum, byte| (sum * 31 + usize::from(byte)) % count);
        let mut round = (0..count).map(|step| (start + step) % count);
        round.find(|item| !recent.contains(item)).unwrap_or(start)
    }
}

impl Dialog {
    /// What earlier calls of this caller were told, the latest first.
    #[must_use]
    pub fn with_told(mut self, told: Vec<(Arc<str>, u32)>) -> Self {
        self.told = told;
        self
    }

    pub(super) fn tell(&mut self, tell: &Tell, settings: &Settings, now: Moment) {
        let index = tell.choose(&self.told, self.facts.caller.expose());
        let item = u32::try_from(index).unwrap_or(u32::MAX);
        self.told.insert(0, (Arc::clone(&tell.list), item));
        self.event("told", Some(Pii::new(json!({ "list": &*tell.list, "item": item }))));
        self.telling = Some(Telling { item: index, told: Vec::new() });
        if !self.has_model() {
            self.say(&tell.intro, now);
            self.tell_plainly(now);
            return;
        }
        let text = tell.items.get(index).map(|item| item.text.as_str()).unwrap_or_default();
        let message = |role, content: String| Message { role, content: Pii::new(content) };
        self.phase = Phase::Answering(Answer::new(now).behind_words());
        self.say(&tell.intro, now);
        self.push(DialogOutput::Reply(Box::new(ReplyRequest {
            messages: vec![message(Role::System, tell.system.clone()), message(Role::User, text.to_owned())],
            tools: Arc::default(),
            temperature: settings.temperature,
            max_tokens: tell.max_tokens,
        })));
    }

    /// A sentence of the model at a tell step is kept until all of it is there. `false`: no such step.
    pub(super) fn keep_telling(&mut self, text: &Cleared) -> bool {
        match &mut self.telling {
            Some(telling) => {
                telling.told.push(text.clone());
                true
            }
            None => false,
        }
    }

    /// The model has ended: its words if they say what they must. `false`: no such step.
    pub(super) fn tell_in_own_words(&mut self, now: Moment) -> bool {
        let Some(telling) = self.telling.clone() else { return false };
        let (flow, language) = (Arc::clone(&self.flow), self.language());
        let sound = match flow.steps.get(self.step).map(|step| &step.kind) {
            Some(Kind::Tell(tell)) => {
                tell.items.get(telling.item).is_some_and(|item| item.is_in(&telling.told, &language))
            }
            _ => false,
        };
        if !sound {
            self.event("told_plainly", None);
            self.tell_plainly(now);
            return true;
        }
        self.telling = None;
        self.speak_on(now);
        telling.told.into_iter().for_each(|text| self.utter_sentence(text, now));
        true
    }

    /// The item as it was written. `false`: no such step.
    pub(super) fn tell_plainly(&mut self, now: Moment) -> bool {
        let Some(telling) = self.telling.take() else { return false };
        let flow = Arc::clone(&self.flow);
        if let Some(Kind::Tell(tell)) = flow.steps.get(self.step).map(|step| &step.kind)
            && let Some(item) = tell.items.get(telling.item)
        {
            self.speak_on(now);
            self.say(&item.prompt, now);
        }
        true
    }

    /// What follows is said as a statement is, behind what is in the queue.
    fn speak_on(&mut self, now: Moment) {
        if let Phase::Answering(answer) = &self.phase {
            self.phase = Phase::Speaking { until: answer.until().max(now) };
        }
    }
}

/// Two or three sentences.
const MOST_CHARS: usize = 400;

//! What came of a scripted call, and what can be expected of it. All times count from the connection.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use offhook::call::Moment;
use offhook::call::core::Counts;
use offhook::call::transfer::Order;
use offhook::providers::{ReplyRequest, Role};
use offhook::store::record::{CallEvent, EndReason, Interruption, TurnRecord};
use offhook::turn::floor::Holder;
use offhook_media::Frame;

use super::line::{Line, Slice, TICK};

/// A sentence that a voice was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Moment,
    pub text: String,
}

/// What the language model was asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub at: Moment,
    pub request: ReplyRequest,
}

/// See the module's header.
pub struct Outcome {
    name: &'static str,
    pub sent: Vec<Slice>,
    /// At the caller's ear.
    pub heard: Vec<Slice>,
    pub clears: Vec<Moment>,
    /// Holds of ours that the far side was told of.
    pub holds: Vec<(Moment, bool)>,
    /// What was ordered for a transfer.
    pub orders: Vec<(Moment, Order)>,
    pub asked: Vec<Asked>,
    pub questions: Vec<Question>,
    pub turns: Vec<(Moment, TurnRecord)>,
    pub events: Vec<(Moment, CallEvent)>,
    pub interruptions: Vec<Interruption>,
    pub floor: Vec<(Moment, Holder)>,
    pub end: Option<(Moment, EndReason)>,
    pub counts: Counts,
    /// Every output with its time.
    pub log: Vec<String>,
    audio: DefaultHasher,
}

impl Outcome {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            sent: Vec::new(),
            heard: Vec::new(),
            clears: Vec::new(),
            holds: Vec::new(),
            orders: Vec::new(),
            asked: Vec::new(),
            questions: Vec::new(),
            turns: Vec::new(),
            events: Vec::new(),
            interruptions: Vec::new(),
            floor: Vec::new(),
            end: None,
            counts: Counts::default(),
            log: Vec::new(),
            audio: DefaultHasher::new(),
        }
    }

    pub fn hash(&mut self, frame: &Frame) {
        frame.hash(&mut self.audio);
    }

    /// A print of every sample that was pulled.
    pub fn audio_hash(&self) -> u64 {
        self.audio.finish()
    }

    /// Takes what the line has kept, and counts all times from `origin`.
    pub fn finish(mut self, origin: Moment, line: Line, counts: Counts) -> Self {
        let from = |at: &mut Moment| *at -= origin;
        (self.sent, self.heard, self.clears, self.counts) = (line.sent, line.heard, line.clears, counts);
        self.sent.iter_mut().chain(&mut self.heard).for_each(|slice| from(&mut slice.at));
        self.clears.iter_mut().for_each(from);
        self.orders.iter_mut().for_each(|(at, _)| from(at));
        self.holds.iter_mut().for_each(|(at, _)| from(at));
        self.asked.iter_mut().for_each(|asked| from(&mut asked.at));
        self.questions.iter_mut().for_each(|question| from(&mut question.at));
        self.turns.iter_mut().for_each(|(at, _)| from(at));
        self.events.iter_mut().for_each(|(at, _)| from(at));
        self.floor.iter_mut().for_each(|(at, _)| from(at));
        self.end.iter_mut().for_each(|(at, _)| from(at));
        self
    }

    // ---- what happened

    /// The steps in the order in which they were entered.
    pub fn steps(&self) -> Vec<String> {
        let step = |event: &CallEvent| Some(event.detail.as_ref()?.expose().get("step")?.as_str()?.to_owned());
        self.events.iter().filter(|(_, event)| event.kind == "step").filter_map(|(_, event)| step(event)).collect()
    }

    pub fn step(&self) -> String {
        self.steps().pop().unwrap_or_default()
    }

    pub fn count(&self, kind: &str) -> usize {
        self.events.iter().filter(|(_, event)| event.kind == kind).count()
    }

    pub fn event_at(&self, kind: &str) -> Option<Moment> {
        self.events.iter().find(|(_, event)| event.kind == kind).map(|(at, _)| *at)
    }

    /// The end of the last voiced sample sent in a run of sound that goes on at `from`, pauses up to `bridge` included.
    pub fn falls_quiet_after(&self, from: Moment, bridge: Duration) -> Moment {
        let mut last = from;
        for slice in self.sent.iter().filter(|slice| slice.is_voiced() && slice.at + TICK > from) {
            if slice.at > last + bridge {
                break;
            }
            last = slice.at + slice.loud_for;
        }
        last
    }

    /// When the first voiced frame at or after `from` was sent.
    pub fn speaks_from(&self, from: Moment) -> Option<Moment> {
        self.sent.iter().find(|slice| slice.is_voiced() && slice.at >= from).map(|slice| slice.at)
    }

    pub fn is_voiced_between(&self, from: Moment, to: Moment) -> bool {
        self.sent.iter().any(|slice| slice.is_voiced() && slice.at >= from && slice.at < to)
    }

    /// The longest time between `from` and `to` in which nothing of ours is heard, and where it begins.
    pub fn longest_silence(&self, from: Moment, to: Moment) -> (Duration, Moment) {
        self.longest_silence_of_both(from, to, &[])
    }

    /// As above, but broken by what the caller does at `acts` as well.
    pub fn longest_silence_of_both(&self, from: Moment, to: Moment, acts: &[Moment]) -> (Duration, Moment) {
        let (mut since, mut longest) = (from, (Duration::ZERO, from));
        let voiced = self.sent.iter().filter(|slice| slice.is_voiced()).map(|slice| slice.at);
        let mut signs: Vec<Moment> = voiced.chain(acts.iter().copied()).filter(|at| (from..to).contains(at)).collect();
        signs.sort();
        for at in signs.into_iter().chain([to]) {
            let gap = at.saturating_sub(since);
            if gap > longest.0 {
                longest = (gap, since);
            }
            since = at;
        }
        longest
    }

    pub fn asked_for(&self, text: &str) -> Option<&Asked> {
        self.asked.iter().find(|asked| asked.text.contains(text))
    }

    /// The record that holds these words of the caller.
    pub fn turn_with(&self, words: &str) -> Option<&TurnRecord> {
        let said = |turn: &TurnRecord| turn.caller_words.as_ref().is_some_and(|said| said.expose() == words);
        self.turns.iter().map(|(_, turn)| turn).find(|turn| said(turn))
    }

    /// What the model was told the caller had heard, by the question with this number (from 0).
    pub fn told_as_heard(&self, question: usize) -> String {
        let messages = self.questions.get(question).map(|question| question.request.messages.as_slice());
        let said = messages.unwrap_or_default().iter().filter(|message| message.role == Role::Assistant);
        said.map(|message| message.content.expose().as_str()).collect::<Vec<_>>().join(" ")
    }

    // ---- what is expected

    /// Nothing is sent for half a second from `at` on, although the call goes on.
    #[track_caller]
    pub fn expect_quiet_by(&self, at: Moment) -> &Self {
        let end = at + Duration::from_millis(500);
        let loud = self.sent.iter().find(|slice| slice.is_voiced() && slice.at + slice.loud_for > at && slice.at < end);
        assert!(loud.is_none(), "{}: not quiet by {at:?}: {loud:?}\n{}", self.name, self.story());
        self
    }

    /// We speak between these moments, without a pause longer than 350 ms.
    #[track_caller]
    pub fn expect_speaking(&self, from: Moment, to: Moment) -> &Self {
        let (gap, since) = self.longest_silence(from, to);
        assert!(
            gap <= Duration::from_millis(350),
            "{}: silent for {gap:?} from {since:?}\n{}",
            self.name,
            self.story()
        );
        self
    }

    #[track_caller]
    pub fn expect_silence(&self, from: Moment, to: Moment) -> &Self {
        assert!(!self.is_voiced_between(from, to), "{}: speaks in {from:?}..{to:?}\n{}", self.name, self.story());
        self
    }

    #[track_caller]
    pub fn expect_steps(&self, steps: &[&str]) -> &Self {
        assert_eq!(self.steps(), steps, "{}\n{}", self.name, self.story());
        self
    }

    #[track_caller]
    pub fn expect_end(&self, reason: &EndReason) -> &Self {
        assert_eq!(self.end.as_ref().map(|(_, reason)| reason), Some(reason), "{}\n{}", self.name, self.story());
        self
    }

    #[track_caller]
    pub fn expect_floor(&self, at: Moment, holder: Holder) -> &Self {
        let found = self.floor.iter().rev().find(|(tick, _)| *tick <= at).map(|(_, holder)| *holder);
        assert_eq!(found, Some(holder), "{}: floor at {at:?}\n{}", self.name, self.story());
        self
    }

    /// The outputs, for whoever has to find out why.
    pub fn story(&self) -> String {
        self.log.join("\n")
    }
}

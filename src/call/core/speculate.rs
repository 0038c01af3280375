//! Thinking of an answer while the caller may still go on: once they have paused for a moment, the language model is asked
//! what it would be asked if the turn ended now. What comes is kept, unheard and unwritten. If the turn then ends with
//! the same question, the answer is there; otherwise it is dropped without a trace.
//!
//! Deliberately absent: the voice. Only text is made in advance.

use std::time::Duration;

use super::Call;
use crate::call::messages::{CallInput, CallOutput};
use crate::call::timers::Timer;
use crate::call::{Moment, TurnId};
use crate::dialog::{DialogInput, DialogOutput};
use crate::providers::{Message, ReplyRequest, ToolCall};
use crate::safety::said::Cleared;
use crate::telemetry::pii::Pii;
use crate::turn::TurnConfig;

/// What a call thinks of in advance.
#[derive(Debug)]
pub(super) struct Speculation {
    on: bool,
    /// At most so many in a turn.
    most: u32,
    in_this_turn: u32,
    /// The words that were last thought about, by [`super::Words::revision`].
    considered: Option<u64>,
    guess: Option<Box<Guess>>,
}

/// A question that was asked in advance.
#[derive(Debug)]
pub(super) struct Guess {
    turn: TurnId,
    request: ReplyRequest,
    asked: Moment,
    came: Vec<Came>,
}

/// What has come of it, in order.
#[derive(Debug)]
enum Came {
    Began(Moment),
    Sentence(Moment, Cleared),
    Tool(ToolCall),
    Ended,
}

impl Speculation {
    pub(super) const fn new(config: &TurnConfig) -> Self {
        Self { on: config.speculate, most: config.speculations, in_this_turn: 0, considered: None, guess: None }
    }

    /// Words that are known already are not thought about before more have come.
    pub(super) const fn consider(&mut self, revision: u64) {
        self.considered = Some(revision);
    }

    /// Another turn begins.
    pub(super) const fn turn_ended(&mut self) {
        (self.in_this_turn, self.considered) = (0, None);
    }
}

impl Call {
    /// Sets the time to think of an answer, and drops one that nothing can come of any more.
    pub(super) fn weigh_guess(&mut self) {
        if self.speculation.guess.is_some() && self.floor.pause().is_none() {
            self.drop_guess();
        }
        let due = self.guess_due();
        self.timers.set(Timer::Speculation, due);
    }

    /// The caller pauses with words that were not thought about: what would the model be asked?
    pub(super) fn speculate(&mut self, now: Moment) {
        if self.guess_due().is_none() {
            return;
        }
        self.speculation.considered = Some(self.words.revision());
        let request = self.question_if_ended(now);
        let same = |guess: &Guess| request.as_ref().is_some_and(|request| is_same(&guess.request, request));
        if self.speculation.guess.as_deref().is_some_and(same) {
            return;
        }
        self.drop_guess();
        if let Some(request) = request {
            self.guess(request, now);
        }
    }

    /// Drops what was thought of in advance: the caller goes on, or means something else.
    pub(super) fn drop_guess(&mut self) {
        if let Some(guess) = self.speculation.guess.take() {
            self.outputs.push_back(CallOutput::Abandon(guess.turn));
            // Whatever still comes of it is stale.
            self.turn = guess.turn.next();
        }
    }

    /// Takes what comes of a guess; gives back what is no part of one.
    pub(super) fn of_guess(&mut self, input: CallInput, now: Moment) -> Option<CallInput> {
        let Some(guess) = self.speculation.guess.as_deref_mut() else { return Some(input) };
        let came = match input {
            CallInput::AnswerBegan { turn } if turn == guess.turn => Some(Came::Began(now)),
            CallInput::Answer { turn, sentence } if turn == guess.turn => {
                (guess.came.len() < MOST).then_some(Came::Sentence(now, sentence))
            }
            CallInput::AnswerTool { turn, call } if turn == guess.turn => Some(Came::Tool(call)),
            CallInput::AnswerEnded { turn } if turn == guess.turn => Some(Came::Ended),
            CallInput::AnswerFailed { turn, .. } if turn == guess.turn => None,
            other => return Some(other),
        };
        match came {
            Some(came) => guess.came.push(came),
            // It failed, or is too long to be kept: the model is asked again when the turn has ended.
            None => self.drop_guess(),
        }
        None
    }

    /// The turn has ended and the model is to be asked: `false` when it was not asked this in advance.
    pub(super) fn use_guess(&mut self, request: &ReplyRequest, now: Moment) -> bool {
        let Some(guess) = self.speculation.guess.take_if(|guess| is_same(&guess.request, request)) else {
            self.drop_guess();
            return false;
        };
        let Guess { turn, asked, came, .. } = *guess;
        self.turn = turn;
        self.counts.speculations_used += 1;
        self.exchange.clock.model_asked(asked);
        for came in came {
            match came {
                Came::Began(at) => self.exchange.clock.model_began(at),
                Came::Sentence(at, sentence) => {
                    self.exchange.clock.model_began(at);
                    self.answer(DialogInput::AnswerSentence(sentence), now);
                }
                Came::Tool(call) => self.answer(DialogInput::ToolCalled(call), now),
                Came::Ended => self.answer(DialogInput::AnswerEnded, now),
            }
        }
        true
    }

    fn guess(&mut self, request: ReplyRequest, now: Moment) {
        if self.speculation.in_this_turn >= self.speculation.most {
            return;
        }
        self.speculation.in_this_turn += 1;
        self.counts.speculations += 1;
        let (turn, language) = (self.turn.next(), self.ears.language.clone());
        let asked = CallOutput::Reply { turn, request: Box::new(request.clone()), language };
        self.outputs.push_back(asked);
        self.speculation.guess = Some(Box::new(Guess { turn, request, asked: now, came: Vec::new() }));
    }

    fn guess_due(&self) -> Option<Moment> {
        let Speculation { on, most, in_this_turn, considered, .. } = self.speculation;
        let silent = !self.answering && self.mouth.is_idle();
        if !on || in_this_turn >= most || !silent || considered == Some(self.words.revision()) {
            return None;
        }
        let changed = self.words.changed_at()?;
        self.floor.pause().map(|ended| (ended + PAUSE).max(changed + STEADY))
    }

    /// What the model would be asked if the turn ended with the words so far. Nothing comes of finding out.
    fn question_if_ended(&self, now: Moment) -> Option<ReplyRequest> {
        let mut ghost = self.dialog.clone();
        ghost.heard_with(self.words.confidence());
        ghost.handle(DialogInput::TurnEnded(self.words.so_far()), self.own_time(now));
        std::iter::from_fn(|| ghost.poll()).find_map(|output| match output {
            DialogOutput::Reply(request) => Some(*request),
            _ => None,
        })
    }
}

/// The same question, but for the marks and capitals that a recogniser adds as words settle.
fn is_same(one: &ReplyRequest, other: &ReplyRequest) -> bool {
    let (Some((last, rest)), Some((other_last, other_rest))) = (one.messages.split_last(), other.messages.split_last())
    else {
        return false;
    };
    let letters = |message: &Message| -> Pii<String> {
        let kept = message.content.expose().chars().filter(|c| c.is_alphanumeric());
        Pii::new(kept.flat_map(char::to_lowercase).collect())
    };
    rest == other_rest
        && last.role == other_last.role
        && letters(last) == letters(other_last)
        && (one.temperature, one.max_tokens) == (other.temperature, other.max_tokens)
}

/// Silence after which an answer is thought of.
const PAUSE: Duration = Duration::from_millis(100);
/// Words that have changed less than this ago are about to change again.
const STEADY: Duration = Duration::from_millis(80);
/// Sentences that are kept.
const MOST: usize = 32;

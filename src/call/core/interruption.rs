//! The caller breaks in, or seems to: the bot is held and goes on, or gives up the floor, and what became of it is told as
//! one value.

use std::time::Duration;

use super::{Call, FADE};
use crate::call::Moment;
use crate::call::exchange::Exchange;
use crate::call::latency::ms;
use crate::call::messages::CallOutput;
use crate::call::mouth::Cut;
use crate::call::timers::Timer;
use crate::dialog::DialogInput;
use crate::store::record::{CommittedBy, Interruption, InterruptionOutcome, ResumedFor};
use crate::telemetry::pii::Pii;
use crate::turn::Interrupt;
use crate::turn::backchannel::Said;
use crate::turn::floor::{Decision, Mistake, Sign};

/// The bot is held in doubt.
#[derive(Debug)]
pub(super) struct Held {
    onset: Moment,
    at: Moment,
    ducked: bool,
}

/// What waits for the last sample of ours to go out.
#[derive(Debug)]
pub(super) struct CutOff {
    exchange: Exchange,
    onset: Moment,
    by_key: bool,
    interruption: Interruption,
}

/// An interruption by sound alone.
#[derive(Debug)]
pub(super) struct Unproven {
    /// Any word was an answer.
    asked: bool,
    /// Once the last sample of ours is out.
    interruption: Option<Interruption>,
}

impl Call {
    /// Does what the floor decided.
    pub(super) fn decided(&mut self, decision: Option<Decision>, now: Moment) {
        match decision {
            None => {}
            Some(Decision::Duck) => self.duck(),
            Some(Decision::Hold { onset }) => self.hold_bot(onset, now),
            Some(Decision::Commit { onset, by }) => self.interrupt(onset, by, now),
            Some(Decision::Resume(mistake)) => self.go_on(mistake, now),
            Some(Decision::TurnEnded { speech_ended }) => {
                if self.is_talked_over() {
                    self.interrupt(now, Sign::Words, now);
                }
                self.exchange.clock.caller_ended(speech_ended);
                self.may_be_taken_back(speech_ended);
                self.turn_ended(speech_ended, now);
            }
        }
    }

    /// The caller went on over the beginning of our answer, and their words are a turn by now: they have to be told with what was
    /// heard of the answer, which a turn that ends by itself does not wait for.
    fn is_talked_over(&self) -> bool {
        let may = !matches!(self.floor.rules().interrupt, Interrupt::Digits | Interrupt::Never);
        may && self.mouth.has_begun() && self.words.so_far().is_some()
    }

    /// What the leg dropped at our [`CallOutput::Clear`].
    pub fn cleared(&mut self, dropped: Duration, now: Moment) {
        if !dropped.is_zero() {
            self.hearing.cleared(now);
            self.mouth.not_heard(self.sent.spoken_in(dropped));
        }
    }

    /// The last sample of what was cut off has gone out at `stopped`.
    pub(super) fn fell_silent(&mut self, cut_off: CutOff, stopped: Moment) {
        let CutOff { mut exchange, onset, by_key, mut interruption } = cut_off;
        if !by_key {
            exchange.clock.barged_in(onset, stopped);
        }
        self.write(exchange);
        interruption.stop_ms = Some(ms(stopped.saturating_sub(onset)));
        match &mut self.unproven {
            Some(unproven) => unproven.interruption = Some(interruption),
            None => self.outputs.push_back(CallOutput::Interruption(Box::new(interruption))),
        }
    }

    /// Words have come: what the caller broke in with were words, or sounds that mean "go on".
    pub(super) fn prove(&mut self, said: Said) {
        if let Some(unproven) = self.unproven.take_if(|unproven| unproven.asked || !said.only_backchannels()) {
            self.outputs.extend(unproven.interruption.map(|told| CallOutput::Interruption(Box::new(told))));
        }
    }

    /// The turn of a caller who broke in has ended: whether nothing has come of it, so that the rest has to be said after
    /// all.
    pub(super) fn recovers(&mut self, said: Said, now: Moment) -> bool {
        let Some(unproven) = self.unproven.take() else { return false };
        let nothing = said.words == 0 || (said.only_backchannels() && !unproven.asked);
        if let Some(mut told) = unproven.interruption {
            if nothing {
                told.outcome = InterruptionOutcome::Recovered;
                self.event("recovered", None, now);
            }
            self.outputs.push_back(CallOutput::Interruption(Box::new(told)));
        }
        nothing
    }

    /// The caller cannot be waited for any more: a held bot is as it was before.
    pub(super) fn let_go(&mut self, now: Moment) {
        if self.floor.let_go() {
            self.go_on(Mistake::Silence, now);
        }
    }

    /// The call ends: nothing will be known of what was in doubt.
    pub(super) fn leave_interruptions(&mut self, now: Moment) {
        self.leave_doubt(now);
        self.prove(Said::default());
    }

    /// What the bot was held in ends otherwise.
    pub(super) fn leave_doubt(&mut self, now: Moment) {
        self.unduck();
        if let Some(held) = &self.held {
            let told = self.interruption(held, InterruptionOutcome::Undecided, &self.mouth.so_far(), now);
            self.outputs.push_back(CallOutput::Interruption(Box::new(told)));
        }
    }

    /// What comes next is as loud as ever.
    pub(super) fn unduck(&mut self) {
        self.mouth.duck(false);
        self.ducked = false;
    }

    /// Silences the bot and drops whatever is being made for it.
    /// Of what was sent, `lost` will not be heard: what a far buffer drops at our [`CallOutput::Clear`], or all that is in
    /// flight where nobody is there to hear it.
    pub(super) fn drop_speech(&mut self, lost: Duration) -> Cut {
        self.timers.set(Timer::HeardOut, None);
        self.drop_guess();
        self.outputs.push_back(CallOutput::Clear);
        self.outputs.push_back(CallOutput::Abandon(self.turn));
        self.turn = self.turn.next();
        self.answering = false;
        self.floor.bot_ends();
        // What a far buffer dropped of a bot that is held already is still to be said.
        let buffered = !self.in_flight.ahead.is_zero();
        let unheard = if self.held.take().is_some() && buffered { Duration::ZERO } else { lost };
        let cut = self.mouth.stop(self.sent.speech_in(unheard, buffered));
        if self.hold.is_on() {
            self.mouth.rest();
        }
        cut
    }

    fn duck(&mut self) {
        self.mouth.duck(true);
        self.ducked = true;
    }

    fn hold_bot(&mut self, onset: Moment, now: Moment) {
        self.timers.set(Timer::HeardOut, None);
        self.held = Some(Held { onset, at: now, ducked: std::mem::take(&mut self.ducked) });
        self.mouth.rest();
        self.outputs.push_back(CallOutput::Clear);
    }

    fn go_on(&mut self, mistake: Mistake, now: Moment) {
        let was_quieter = self.ducked;
        self.unduck();
        let (why, words) = match mistake {
            Mistake::Silence => (ResumedFor::Silence, None),
            Mistake::NoWords => (ResumedFor::NoWords, None),
            Mistake::Backchannel => (ResumedFor::Backchannel, self.words.take(now)),
        };
        if words.is_some() {
            self.event("backchannel", None, now);
        }
        let Some(held) = self.held.take() else {
            if was_quieter {
                self.event("ducked", None, now);
            }
            return;
        };
        match mistake {
            Mistake::Silence => self.hearing.was_mistaken(),
            Mistake::NoWords => self.hearing.begin_again(),
            Mistake::Backchannel => self.hearing.confirm_caller(),
        }
        if self.mouth.has_begun() {
            let outcome = InterruptionOutcome::Resumed(why);
            let told = self.interruption(&held, outcome, &self.mouth.so_far(), now);
            self.outputs.push_back(CallOutput::Interruption(Box::new(told)));
        }
        self.mouth.resume(now.saturating_sub(held.at));
    }

    /// The caller broke in, by speech that began at `onset` or by a key.
    fn interrupt(&mut self, onset: Moment, by: Sign, now: Moment) {
        self.prove(Said::default());
        let (was_audible, asked) = (self.mouth.has_begun(), self.is_asking());
        let by_key = by == Sign::Key;
        let ducked = std::mem::take(&mut self.ducked);
        let onset = self.held.as_ref().filter(|_| by_key).map_or(onset, |held| held.onset);
        let held = self.held.as_ref().map(|held| Held { onset, ..*held });
        let stopped = held.as_ref().map(|held| held.at + FADE);
        let held = held.unwrap_or(Held { onset, at: now, ducked });
        let cut = self.drop_speech(self.in_flight.ahead);
        if !by_key && self.take_back(onset, &cut, now) {
            return self.hearing.confirm_caller();
        }
        self.taken_back = 0;
        let exchange = self.close_exchange(&cut);
        if by_key {
            self.hearing.begin_again();
        } else {
            self.hearing.confirm_caller();
        }
        if was_audible {
            let outcome = InterruptionOutcome::Committed(by.into());
            let interruption = self.interruption(&held, outcome, &cut, now);
            if !by_key {
                self.counts.barge_ins += 1;
                self.event("barge_in", None, now);
            }
            if self.has_ears && matches!(by, Sign::Speech | Sign::Cap) {
                self.unproven = Some(Box::new(Unproven { asked, interruption: None }));
            }
            let cut_off = CutOff { exchange, onset, by_key, interruption };
            match stopped {
                Some(stopped) => self.fell_silent(cut_off, stopped),
                None => self.cut_off = Some(cut_off),
            }
        } else {
            self.write(exchange);
        }
        let heard = self.report(&cut.heard);
        self.tell(DialogInput::Interrupted { heard, unheard: cut.rest }, now);
    }

    fn interruption(&self, held: &Held, outcome: InterruptionOutcome, cut: &Cut, now: Moment) -> Interruption {
        let stopped = held.at + FADE;
        Interruption {
            onset_ms: self.at_ms(held.onset),
            held_ms: self.at_ms(held.at),
            decided_ms: (outcome != InterruptionOutcome::Undecided).then(|| self.at_ms(now)),
            outcome,
            ducked: held.ducked,
            stop_ms: Some(ms(stopped.saturating_sub(held.onset))),
            heard: Pii::new(cut.heard.clone()),
            unheard: Pii::new(cut.unheard.clone()),
        }
    }
}

impl From<Sign> for CommittedBy {
    fn from(sign: Sign) -> Self {
        match sign {
            Sign::Speech => Self::Speech,
            Sign::Words => Self::Words,
            Sign::StopWord => Self::StopWord,
            Sign::Key => Self::Key,
            Sign::Cap => Self::Cap,
        }
    }
}

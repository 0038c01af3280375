//! The caller breaks in: the bot is silenced, and what became of it is told as one value.

use super::Call;
use crate::call::Moment;
use crate::call::exchange::Exchange;
use crate::call::latency::ms;
use crate::call::messages::CallOutput;
use crate::call::mouth::Cut;
use crate::call::timers::Timer;
use crate::dialog::DialogInput;
use crate::store::record::{CommittedBy, Interruption, InterruptionOutcome};
use crate::telemetry::pii::Pii;

/// What waits for the last sample of ours to go out.
#[derive(Debug)]
pub(super) struct CutOff {
    exchange: Exchange,
    onset: Moment,
    interruption: Interruption,
}

impl Call {
    /// The caller broke in, by speech that began at `onset` or by a key.
    pub(super) fn interrupt(&mut self, onset: Moment, by: CommittedBy, now: Moment) {
        let was_audible = self.mouth.has_begun();
        let cut = self.drop_speech();
        let exchange = self.close_exchange(&cut);
        if was_audible {
            let interruption = self.interruption(onset, by, &cut, now);
            if by != CommittedBy::Key {
                self.counts.barge_ins += 1;
                self.event("barge_in", None, now);
            }
            self.cut_off = Some(CutOff { exchange, onset, interruption });
        } else {
            self.write(exchange);
        }
        let heard = self.report(&cut.heard);
        self.tell(DialogInput::Interrupted { heard, unheard: cut.rest }, now);
    }

    /// The last sample of what was cut off has gone out at `stopped`.
    pub(super) fn fell_silent(&mut self, mut cut_off: CutOff, stopped: Moment) {
        if cut_off.interruption.outcome != InterruptionOutcome::Committed(CommittedBy::Key) {
            cut_off.exchange.clock.barged_in(cut_off.onset, stopped);
        }
        self.write(cut_off.exchange);
        cut_off.interruption.stop_ms = Some(ms(stopped.saturating_sub(cut_off.onset)));
        self.outputs.push_back(CallOutput::Interruption(Box::new(cut_off.interruption)));
    }

    /// Silences the bot and drops whatever is being made for it.
    pub(super) fn drop_speech(&mut self) -> Cut {
        self.timers.set(Timer::HeardOut, None);
        self.outputs.push_back(CallOutput::Clear);
        self.outputs.push_back(CallOutput::Abandon(self.turn));
        self.turn = self.turn.next();
        self.answering = false;
        self.floor.bot_ends();
        let cut = self.mouth.stop(self.unheard);
        if self.hold.is_on() {
            self.mouth.rest();
        }
        cut
    }

    fn interruption(&self, onset: Moment, by: CommittedBy, cut: &Cut, now: Moment) -> Interruption {
        Interruption {
            onset_ms: self.at_ms(onset),
            held_ms: self.at_ms(now),
            decided_ms: Some(self.at_ms(now)),
            outcome: InterruptionOutcome::Committed(by),
            ducked: false,
            stop_ms: None,
            heard: Pii::new(cut.heard.clone()),
            unheard: Pii::new(cut.unheard.clone()),
        }
    }
}

//! Non-INVITE client transaction (RFC 3261 section 17.1.2).

use super::{Effect, Effects, Timer, Timings};
use bytes::Bytes;
use std::time::Duration;

pub(crate) struct NonInviteClient {
    state: State,
    request: Bytes,
    timings: Timings,
    reliable: bool,
}

enum State {
    /// Sent, nothing heard.
    Trying {
        interval: Duration,
    },
    /// A provisional answer came; repetitions go on at T2.
    Proceeding,
    /// Answered; repeated answers are absorbed.
    Completed,
    Terminated,
}

impl NonInviteClient {
    /// Starts the transaction: the request goes out.
    pub(crate) fn start(request: &Bytes, timings: Timings, reliable: bool, effects: &mut Effects) -> Self {
        effects.transmit(request);
        if !reliable {
            effects.start(Timer::E, timings.t1);
        }
        effects.start(Timer::F, timings.lifetime());
        let state = State::Trying { interval: timings.t1 };
        Self { state, request: request.clone(), timings, reliable }
    }

    pub(crate) fn on_response(&mut self, status: u16, effects: &mut Effects) {
        if !self.is_waiting() {
            return;
        }
        effects.push(Effect::Deliver);
        if status < 200 {
            self.state = State::Proceeding;
            return;
        }
        effects.stop(Timer::E);
        effects.stop(Timer::F);
        if self.reliable {
            return self.terminate(effects);
        }
        self.state = State::Completed;
        effects.start(Timer::K, self.timings.t4);
    }

    pub(crate) fn on_timer(&mut self, timer: Timer, effects: &mut Effects) {
        match (timer, &mut self.state) {
            (Timer::E, State::Trying { interval }) => {
                *interval = self.timings.doubled(*interval);
                effects.transmit(&self.request);
                effects.start(Timer::E, *interval);
            }
            (Timer::E, State::Proceeding) => {
                effects.transmit(&self.request);
                effects.start(Timer::E, self.timings.t2);
            }
            (Timer::F, State::Trying { .. } | State::Proceeding) => {
                effects.push(Effect::TimedOut);
                self.terminate(effects);
            }
            (Timer::K, State::Completed) => self.terminate(effects),
            _ => {}
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self.state, State::Trying { .. } | State::Proceeding)
    }

    fn terminate(&mut self, effects: &mut Effects) {
        self.state = State::Terminated;
        effects.push(Effect::Terminated);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_double_to_t2_and_stop_at_the_answer() {
        let mut effects = Effects::default();
        let bye = Bytes::from_static(b"BYE");
        let mut tx = NonInviteClient::start(&bye, Timings::default(), false, &mut effects);
        effects.0.clear();
        for expected in [1000, 2000, 4000, 4000] {
            tx.on_timer(Timer::E, &mut effects);
            let again = Effect::Start(Timer::E, Duration::from_millis(expected));
            assert_eq!(effects.0, [Effect::Transmit(bye.clone()), again]);
            effects.0.clear();
        }
        tx.on_response(200, &mut effects);
        assert!(effects.0.contains(&Effect::Start(Timer::K, Duration::from_secs(5))));
        effects.0.clear();
        tx.on_response(200, &mut effects);
        tx.on_timer(Timer::E, &mut effects);
        assert_eq!(effects.0, []);
    }

    #[test]
    fn silence_ends_it() {
        let mut effects = Effects::default();
        let mut tx = NonInviteClient::start(&Bytes::new(), Timings::default(), true, &mut effects);
        tx.on_timer(Timer::F, &mut effects);
        assert_eq!(effects.0.last(), Some(&Effect::Terminated));
        assert!(effects.0.contains(&Effect::TimedOut));
    }
}

//! Non-INVITE server transaction (RFC 3261 section 17.2.2).

use super::{Effect, Effects, Timer, Timings};
use bytes::Bytes;

pub(crate) struct NonInviteServer {
    state: State,
    timings: Timings,
    reliable: bool,
}

enum State {
    /// Nothing was answered; repetitions of the request are dropped.
    Trying,
    /// Only provisional answers so far.
    Proceeding(Bytes),
    /// Answered; the answer is given again to every repetition.
    Completed(Bytes),
    Terminated,
}

impl NonInviteServer {
    pub(crate) fn new(timings: Timings, reliable: bool) -> Self {
        Self { state: State::Trying, timings, reliable }
    }

    pub(crate) fn on_request(&mut self, effects: &mut Effects) {
        if let State::Proceeding(response) | State::Completed(response) = &self.state {
            effects.transmit(response);
        }
    }

    pub(crate) fn respond(&mut self, status: u16, bytes: &Bytes, effects: &mut Effects) {
        if matches!(self.state, State::Completed(_) | State::Terminated) {
            return;
        }
        effects.transmit(bytes);
        if status < 200 {
            self.state = State::Proceeding(bytes.clone());
        } else if self.reliable {
            self.terminate(effects);
        } else {
            self.state = State::Completed(bytes.clone());
            effects.start(Timer::J, self.timings.lifetime());
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer, effects: &mut Effects) {
        if timer == Timer::J {
            self.terminate(effects);
        }
    }

    fn terminate(&mut self, effects: &mut Effects) {
        self.state = State::Terminated;
        effects.push(Effect::Terminated);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn repetitions_get_the_same_answer_until_timer_j() {
        let mut tx = NonInviteServer::new(Timings::default(), false);
        let (mut effects, ok) = (Effects::default(), Bytes::from_static(b"200"));
        tx.on_request(&mut effects);
        assert_eq!(effects.0, []);
        tx.respond(200, &ok, &mut effects);
        tx.on_request(&mut effects);
        tx.on_timer(Timer::J, &mut effects);
        tx.on_request(&mut effects);
        let sent = Effect::Transmit(ok);
        let start = Effect::Start(Timer::J, Duration::from_secs(32));
        assert_eq!(effects.0, [sent.clone(), start, sent, Effect::Terminated]);
    }
}

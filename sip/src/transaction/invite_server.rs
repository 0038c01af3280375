//! INVITE server transaction (RFC 3261 section 17.2.1, RFC 6026 section 7.1).

use super::{Effect, Effects, Timer, Timings};
use bytes::Bytes;
use std::time::Duration;

pub(crate) struct InviteServer {
    state: State,
    timings: Timings,
    reliable: bool,
}

enum State {
    /// No final answer yet; the last provisional one is repeated for a repeated INVITE.
    Proceeding {
        last: Option<Bytes>,
    },
    /// Accepted with 2xx, which the transaction user repeats until it is acknowledged.
    Accepted,
    /// Refused; the refusal is repeated until it is acknowledged.
    Completed {
        refusal: Bytes,
        interval: Duration,
    },
    /// The refusal was acknowledged.
    Confirmed,
    Terminated,
}

impl InviteServer {
    pub(crate) fn new(timings: Timings, reliable: bool) -> Self {
        Self { state: State::Proceeding { last: None }, timings, reliable }
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// True from the 2xx on.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.state, State::Accepted)
    }

    pub(crate) fn on_invite(&mut self, effects: &mut Effects) {
        match &self.state {
            State::Proceeding { last: Some(response) } | State::Completed { refusal: response, .. } => {
                effects.transmit(response);
            }
            _ => {}
        }
    }

    pub(crate) fn respond(&mut self, status: u16, bytes: &Bytes, effects: &mut Effects) {
        if !self.is_open() {
            return;
        }
        effects.transmit(bytes);
        match status {
            ..200 => self.state = State::Proceeding { last: Some(bytes.clone()) },
            200..300 => {
                self.state = State::Accepted;
                effects.start(Timer::L, self.timings.lifetime());
            }
            _ => self.refuse(bytes, effects),
        }
    }

    fn refuse(&mut self, bytes: &Bytes, effects: &mut Effects) {
        self.state = State::Completed { refusal: bytes.clone(), interval: self.timings.t1 };
        if !self.reliable {
            effects.start(Timer::G, self.timings.t1);
        }
        effects.start(Timer::H, self.timings.lifetime());
    }

    /// The ACK of a refusal. That of a 2xx is no part of this transaction.
    pub(crate) fn on_ack(&mut self, effects: &mut Effects) {
        if !matches!(self.state, State::Completed { .. }) {
            return;
        }
        effects.stop(Timer::G);
        effects.stop(Timer::H);
        if self.reliable {
            return self.terminate(effects);
        }
        self.state = State::Confirmed;
        effects.start(Timer::I, self.timings.t4);
    }

    pub(crate) fn on_timer(&mut self, timer: Timer, effects: &mut Effects) {
        match (timer, &mut self.state) {
            (Timer::G, State::Completed { refusal, interval }) => {
                *interval = self.timings.doubled(*interval);
                effects.transmit(refusal);
                effects.start(Timer::G, *interval);
            }
            (Timer::H, State::Completed { .. }) | (Timer::I, State::Confirmed) | (Timer::L, State::Accepted) => {
                self.terminate(effects)
            }
            _ => {}
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

    fn machine(reliable: bool) -> InviteServer {
        InviteServer::new(Timings::default(), reliable)
    }

    fn run(step: impl FnOnce(&mut Effects)) -> Vec<Effect> {
        let mut effects = Effects::default();
        step(&mut effects);
        effects.0
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_refusal_is_repeated_doubling_to_t2_until_acknowledged() {
        let (mut tx, no) = (machine(false), Bytes::from_static(b"486"));
        let first = run(|effects| tx.respond(486, &no, effects));
        assert!(first.contains(&Effect::Start(Timer::G, MS(500))));
        assert!(first.contains(&Effect::Start(Timer::H, MS(32_000))));
        for expected in [1000, 2000, 4000, 4000] {
            let again = run(|effects| tx.on_timer(Timer::G, effects));
            assert_eq!(again, [Effect::Transmit(no.clone()), Effect::Start(Timer::G, MS(expected))]);
        }
        assert_eq!(run(|effects| tx.on_invite(effects)), [Effect::Transmit(no)]);
        assert!(run(|effects| tx.on_ack(effects)).contains(&Effect::Start(Timer::I, MS(5000))));
        assert_eq!(run(|effects| tx.on_invite(effects)), []);
        assert_eq!(run(|effects| tx.on_timer(Timer::I, effects)), [Effect::Terminated]);
    }

    #[test]
    fn an_accepted_invite_absorbs_repetitions_for_timer_l() {
        let mut tx = machine(false);
        run(|effects| tx.respond(100, &Bytes::from_static(b"100"), effects));
        let accepted = run(|effects| tx.respond(200, &Bytes::from_static(b"200"), effects));
        assert!(accepted.contains(&Effect::Start(Timer::L, MS(32_000))));
        assert_eq!(run(|effects| tx.on_invite(effects)), []);
        assert_eq!(run(|effects| tx.respond(486, &Bytes::from_static(b"486"), effects)), []);
        assert_eq!(run(|effects| tx.on_timer(Timer::L, effects)), [Effect::Terminated]);
    }

    #[test]
    fn reliable_transports_repeat_nothing() {
        let mut tx = machine(true);
        let refused = run(|effects| tx.respond(486, &Bytes::from_static(b"486"), effects));
        assert!(!refused.iter().any(|effect| matches!(effect, Effect::Start(Timer::G, _))));
        assert!(run(|effects| tx.on_ack(effects)).contains(&Effect::Terminated));
    }
}

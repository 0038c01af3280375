//! INVITE client transaction (RFC 3261 section 17.1.1, RFC 6026 section 7.2).

use super::{Effect, Effects, Timer, Timings};
use bytes::Bytes;
use std::time::Duration;

pub(crate) struct InviteClient {
    state: State,
    timings: Timings,
    reliable: bool,
}

enum State {
    /// Sent, nothing heard.
    Calling {
        invite: Bytes,
        interval: Duration,
    },
    /// A provisional answer came.
    Proceeding,
    /// Accepted; every 2xx goes to the transaction user, who acknowledges it.
    Accepted,
    /// Refused; the transaction acknowledges every repetition itself.
    Completed {
        ack: Option<Bytes>,
    },
    Terminated,
}

impl InviteClient {
    /// Starts the transaction: the INVITE goes out.
    pub(crate) fn start(invite: &Bytes, timings: Timings, reliable: bool, effects: &mut Effects) -> Self {
        effects.transmit(invite);
        if !reliable {
            effects.start(Timer::A, timings.t1);
        }
        effects.start(Timer::B, timings.lifetime());
        let state = State::Calling { invite: invite.clone(), interval: timings.t1 };
        Self { state, timings, reliable }
    }

    pub(crate) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding)
    }

    pub(crate) fn on_provisional(&mut self, effects: &mut Effects) {
        match self.state {
            State::Calling { .. } => {
                self.hush(effects);
                self.state = State::Proceeding;
                effects.push(Effect::Deliver);
            }
            State::Proceeding => effects.push(Effect::Deliver),
            _ => {}
        }
    }

    pub(crate) fn on_success(&mut self, effects: &mut Effects) {
        match self.state {
            State::Calling { .. } | State::Proceeding => {
                self.hush(effects);
                self.state = State::Accepted;
                effects.start(Timer::M, self.timings.lifetime());
                effects.push(Effect::Deliver);
            }
            State::Accepted => effects.push(Effect::Deliver),
            _ => {}
        }
    }

    /// A status of 300 and above; `ack` acknowledges it.
    pub(crate) fn on_refusal(&mut self, ack: Option<Bytes>, effects: &mut Effects) {
        match &self.state {
            State::Calling { .. } | State::Proceeding => {
                self.hush(effects);
                ack.iter().for_each(|ack| effects.transmit(ack));
                effects.push(Effect::Deliver);
                if self.reliable {
                    return self.terminate(effects);
                }
                self.state = State::Completed { ack };
                effects.start(Timer::D, self.timings.lifetime().max(LEAST_D));
            }
            State::Completed { ack } => ack.iter().for_each(|ack| effects.transmit(ack)),
            _ => {}
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer, effects: &mut Effects) {
        match (timer, &mut self.state) {
            (Timer::A, State::Calling { invite, interval }) => {
                *interval = interval.saturating_mul(2);
                effects.transmit(invite);
                effects.start(Timer::A, *interval);
            }
            (Timer::B, State::Calling { .. }) => {
                effects.push(Effect::TimedOut);
                self.terminate(effects);
            }
            (Timer::D, State::Completed { .. }) | (Timer::M, State::Accepted | State::Proceeding) => {
                self.terminate(effects);
            }
            _ => {}
        }
    }

    fn hush(&self, effects: &mut Effects) {
        effects.stop(Timer::A);
        effects.stop(Timer::B);
    }

    fn terminate(&mut self, effects: &mut Effects) {
        self.state = State::Terminated;
        effects.stop(Timer::A);
        effects.push(Effect::Terminated);
    }
}

/// Timer D is never shorter over UDP: the other side may keep to the default T1 (section 17.1.1.2).
const LEAST_D: Duration = Duration::from_secs(32);

#[cfg(test)]
mod tests {
    use super::*;

    fn started(reliable: bool) -> (InviteClient, Effects) {
        let mut effects = Effects::default();
        let invite = Bytes::from_static(b"INVITE");
        let tx = InviteClient::start(&invite, Timings::default(), reliable, &mut effects);
        effects.0.clear();
        (tx, effects)
    }

    #[test]
    fn an_unanswered_invite_doubles_without_bound_and_times_out() {
        let (mut tx, mut effects) = started(false);
        for expected in [1, 2, 4, 8, 16] {
            tx.on_timer(Timer::A, &mut effects);
            let again = Effect::Start(Timer::A, Duration::from_secs(expected));
            assert_eq!(effects.0, [Effect::Transmit(Bytes::from_static(b"INVITE")), again]);
            effects.0.clear();
        }
        tx.on_timer(Timer::B, &mut effects);
        assert!(effects.0.contains(&Effect::TimedOut) && effects.0.contains(&Effect::Terminated));
    }

    #[test]
    fn a_repeated_refusal_is_acknowledged_but_delivered_once() {
        let (mut tx, mut effects) = started(false);
        tx.on_provisional(&mut effects);
        effects.0.clear();
        let ack = Bytes::from_static(b"ACK");
        tx.on_refusal(Some(ack.clone()), &mut effects);
        tx.on_refusal(Some(ack.clone()), &mut effects);
        let sent = effects.0.iter().filter(|effect| **effect == Effect::Transmit(ack.clone())).count();
        let told = effects.0.iter().filter(|effect| **effect == Effect::Deliver).count();
        assert_eq!((sent, told), (2, 1));
    }

    #[test]
    fn every_2xx_is_delivered_until_timer_m() {
        let (mut tx, mut effects) = started(true);
        tx.on_success(&mut effects);
        tx.on_success(&mut effects);
        assert_eq!(effects.0.iter().filter(|effect| **effect == Effect::Deliver).count(), 2);
        tx.on_timer(Timer::M, &mut effects);
        effects.0.clear();
        tx.on_success(&mut effects);
        assert_eq!(effects.0, []);
    }
}

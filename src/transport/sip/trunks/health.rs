//! Whether a socket of a trunk answers, with hysteresis: one lost packet takes no trunk down, and one lucky one brings
//! none up. Pure; the time is an argument.

use std::time::Duration;

use crate::call::Moment;

/// What is known of one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    state: State,
    /// Answers in a row that speak against the state.
    against: u32,
    next: Moment,
    last: Option<PingResult>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not asked yet, or never to be asked: taken to be up.
    #[default]
    Unknown,
    Up,
    Down,
}

/// What became of an OPTIONS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingResult {
    /// Any answer shows that somebody is there; 503 says that calls are not wanted.
    Status(u16),
    Timeout,
    Unreachable,
}

impl PingResult {
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Status(status) if status != 503 && status != 408)
    }
}

impl Health {
    pub fn is_up(&self) -> bool {
        self.state != State::Down
    }

    pub fn is_due(&self, now: Moment) -> bool {
        now >= self.next
    }

    pub const fn next(&self) -> Moment {
        self.next
    }

    /// A question was sent; without an answer it is asked again after `every`.
    pub fn asked(&mut self, now: Moment, every: Duration) {
        self.next = now + every;
    }

    /// An answer came, or will not come. While answers speak against the state, they are asked for more often.
    pub fn heard(&mut self, result: PingResult, now: Moment, every: Duration) {
        self.last = Some(result);
        let is_good = result.is_good();
        if self.state == State::Unknown {
            self.state = if is_good { State::Up } else { State::Down };
        } else if is_good == (self.state == State::Up) {
            self.against = 0;
        } else {
            self.against += 1;
            if self.against < TIMES {
                self.next = self.next.min(now + SOON.min(every));
                return;
            }
            self.against = 0;
            self.state = if is_good { State::Up } else { State::Down };
        }
    }

    /// The last answer in words.
    pub const fn why(&self) -> &'static str {
        match self.last {
            Some(PingResult::Timeout) => "no answer to OPTIONS",
            Some(PingResult::Unreachable) => "no connection to it",
            Some(PingResult::Status(503)) => "it answers 503: it takes no calls",
            Some(PingResult::Status(408)) => "it answers 408: something behind it is down",
            Some(PingResult::Status(_)) => "it has answered once since it was down",
            None => "it was not asked yet",
        }
    }
}

/// Answers in a row that change the state.
const TIMES: u32 = 2;

/// To the next question while the state is in doubt.
const SOON: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);
    const OK: PingResult = PingResult::Status(200);

    fn after(results: &[PingResult]) -> Health {
        let mut health = Health::default();
        for (second, result) in (0..).zip(results) {
            health.asked(Moment::from_secs(second), EVERY);
            health.heard(*result, Moment::from_secs(second), EVERY);
        }
        health
    }

    #[test]
    fn two_in_a_row_change_the_state_and_one_does_not() {
        use PingResult::{Status, Timeout, Unreachable};
        for (results, up) in [
            (&[][..], true),
            (&[OK], true),
            (&[Timeout], false),
            (&[OK, Timeout], true),
            (&[OK, Timeout, OK, Timeout], true),
            (&[OK, Timeout, Unreachable], false),
            (&[OK, Status(503), Status(503)], false),
            (&[OK, Status(404), Status(501)], true),
            (&[Timeout, OK], false),
            (&[Timeout, OK, OK], true),
        ] {
            assert_eq!(after(results).is_up(), up, "{results:?}");
        }
    }

    #[test]
    fn doubt_is_settled_soon() {
        assert_eq!(after(&[OK, OK]).next(), Moment::from_secs(31));
        assert_eq!(after(&[OK, PingResult::Timeout]).next(), Moment::from_secs(3));
        assert_eq!(after(&[OK, PingResult::Timeout, PingResult::Timeout]).next(), Moment::from_secs(32));
    }
}

//! All timers of an endpoint in one ordered structure.

use crate::Moment;
use crate::transaction::Timer;
use std::collections::{BTreeMap, BTreeSet};

/// Whose timer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    Server(u64),
    Client(u64),
    Call(u64),
    Registration(u64),
}

/// Starting, stopping and taking the next one each cost O(log n).
#[derive(Default)]
pub(super) struct Clock {
    order: BTreeSet<(Moment, Owner, Timer)>,
    deadlines: BTreeMap<(Owner, Timer), Moment>,
}

impl Clock {
    /// Starts the timer, or moves it.
    pub(super) fn start(&mut self, owner: Owner, timer: Timer, at: Moment) {
        if let Some(before) = self.deadlines.insert((owner, timer), at) {
            self.order.remove(&(before, owner, timer));
        }
        self.order.insert((at, owner, timer));
    }

    pub(super) fn stop(&mut self, owner: Owner, timer: Timer) {
        if let Some(at) = self.deadlines.remove(&(owner, timer)) {
            self.order.remove(&(at, owner, timer));
        }
    }

    /// Stops everything of one owner.
    pub(super) fn forget(&mut self, owner: Owner) {
        let range = (owner, Timer::FIRST)..=(owner, Timer::LAST);
        let timers: Vec<Timer> = self.deadlines.range(range).map(|((_, timer), _)| *timer).collect();
        for timer in timers {
            self.stop(owner, timer);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.order.first().map(|(at, _, _)| *at)
    }

    /// Takes the earliest timer that is due.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<(Owner, Timer)> {
        let (at, owner, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.stop(owner, timer);
        Some((owner, timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_due_in_order_once() {
        let (mut clock, at) = (Clock::default(), Moment::from_millis);
        clock.start(Owner::Server(1), Timer::G, at(30));
        clock.start(Owner::Client(1), Timer::A, at(10));
        clock.start(Owner::Server(1), Timer::G, at(5));
        clock.start(Owner::Call(7), Timer::Ring, at(20));
        assert_eq!(clock.next(), Some(at(5)));
        assert_eq!(clock.pop_due(at(4)), None);
        assert_eq!(clock.pop_due(at(50)), Some((Owner::Server(1), Timer::G)));
        clock.forget(Owner::Call(7));
        assert_eq!(clock.pop_due(at(50)), Some((Owner::Client(1), Timer::A)));
        assert_eq!(clock.pop_due(at(50)), None);
    }
}

//! Who is let in: exactly `max_calls` at once, and nobody while the server drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Counts the calls that are in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission(Arc<State>);

/// One call's place; dropping it lets the next one in.
#[derive(Debug)]
pub struct Permit(Arc<State>);

/// Why a call was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("all {0} places are taken")]
    Full(u32),
    #[error("the server is going down")]
    Draining,
}

impl Admission {
    pub fn new(max_calls: u32) -> Self {
        Self(Arc::new(State { max_calls, calls: AtomicU32::new(0), draining: AtomicBool::new(false) }))
    }

    /// # Errors
    /// Says why there is no place.
    pub fn admit(&self) -> Result<Permit, Refusal> {
        if self.0.draining.load(Ordering::Acquire) {
            return Err(Refusal::Draining);
        }
        let max = self.0.max_calls;
        let one_more = |calls: u32| (calls < max).then_some(calls + 1);
        match self.0.calls.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Ok(Permit(Arc::clone(&self.0))),
            Err(_) => Err(Refusal::Full(max)),
        }
    }

    /// From now on nobody is let in.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Whether the next caller would be refused for want of a place.
    pub fn is_full(&self) -> bool {
        self.calls() >= self.0.max_calls
    }

    /// Calls that are in.
    pub fn calls(&self) -> u32 {
        self.0.calls.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct State {
    max_calls: u32,
    calls: AtomicU32,
    draining: AtomicBool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_max_calls_are_let_in() {
        let admission = Admission::new(2);
        let first = admission.admit().unwrap();
        let _second = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), Refusal::Full(2));
        drop(first);
        assert_eq!(admission.calls(), 1);
        let _third = admission.admit().unwrap();
        admission.drain();
        assert_eq!(admission.admit().unwrap_err(), Refusal::Draining);
    }
}

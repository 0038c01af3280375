//! The way from a call's leg to the signalling beside it. The leg's side never waits, and the end of a call is never
//! lost: what finds the inbox full is kept aside and taken with the next message.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::store::record::CallId;

/// What a leg tells its signalling. Calls go by the signalling's own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromLeg {
    /// The call is over.
    HangUp(u64),
    /// Answer the call: its caller has heard what comes before that.
    Answer(u64),
    /// Ask the far side to call this number or SIP address instead.
    Refer { call: u64, to: Arc<str> },
    /// Ask the far side to take our place in this call of ours.
    Join { call: u64, target: CallId },
    /// Have the far side wait, or take it back.
    Hold { call: u64, on: bool },
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Signalling {
    inbox: mpsc::Sender<FromLeg>,
    /// Ends that found the inbox full: at most one for each call.
    kept: Arc<Mutex<Vec<u64>>>,
}

impl Signalling {
    /// For up to `capacity` messages at once.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<FromLeg>) {
        let (inbox, messages) = mpsc::channel(capacity);
        (Self { inbox, kept: Arc::default() }, messages)
    }

    /// Ends a call. Called once for each call.
    pub fn hang_up(&self, call: u64) {
        if self.inbox.try_send(FromLeg::HangUp(call)).is_err() {
            // Whoever empties the inbox comes by here afterwards.
            self.kept.lock().push(call);
        }
    }

    /// Asks for something within a call; `false` when the signalling does not keep up.
    pub fn ask(&self, message: FromLeg) -> bool {
        self.inbox.try_send(message).is_ok()
    }

    /// The calls whose end found the inbox full.
    pub fn kept(&self) -> Vec<u64> {
        std::mem::take(&mut *self.kept.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_end_is_lost_when_the_inbox_is_full() {
        let (signalling, mut inbox) = Signalling::new(2);
        (0..100).for_each(|call| signalling.hang_up(call));
        assert!(!signalling.ask(FromLeg::Refer { call: 1, to: "x".into() }));
        let mut ended: Vec<u64> = std::iter::from_fn(|| inbox.try_recv().ok())
            .map(|message| match message {
                FromLeg::HangUp(call) => call,
                other => panic!("{other:?}"),
            })
            .collect();
        ended.extend(signalling.kept());
        ended.sort_unstable();
        assert_eq!(ended, (0..100).collect::<Vec<_>>());
        assert!(signalling.kept().is_empty());
    }
}

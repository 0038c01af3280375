//! What a simulated caller's line can do and say, whatever carries it. Two lines exist: SIP/RTP and Twilio.

use std::os::fd::BorrowedFd;

use super::audio::FRAME;
use super::clock::{Moment, WallOffset};
use super::timeline::Arrival;

/// One call's way to the server. All methods return at once; sockets inside are non-blocking.
pub trait Leg: Send {
    /// Reads what has arrived, at most one message from each socket that is `ready`, and serves the leg's own timers.
    fn service(&mut self, slot: Slot, ready: Ready, events: &mut Vec<LegEvent>);
    /// When to call [`Leg::service`] though no socket is ready; `None` while nothing waits.
    fn due(&self) -> Option<Moment>;
    /// Sends the next 20 ms of G.711 mu-law; called every 20 ms from the answer on.
    fn send(&mut self, now: Moment, octets: &[u8; FRAME]);
    /// Presses a key.
    fn press(&mut self, now: Moment, key: char);
    /// Ends the call; [`LegEvent::Ended`] follows.
    fn hang_up(&mut self, now: Moment);
    /// The sockets to watch, at most two; [`Ready`] tells of them in this order.
    fn sockets(&self) -> Vec<BorrowedFd<'_>>;
}

/// The moment at which a leg is served.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub now: Moment,
    /// How the kernel's stamps map onto the run, read in the same moment.
    pub wall: WallOffset,
}

/// Which of a leg's sockets have something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    pub first: bool,
    pub second: bool,
}

impl Ready {
    pub const fn any(self) -> bool {
        self.first || self.second
    }
}

/// What a line reports, each with the time at which it happened rather than at which it was read.
#[derive(Clone, Debug, PartialEq)]
pub enum LegEvent {
    Answered(Moment),
    /// An audio packet reached the socket.
    Arrived(Arrival),
    /// Audio reaches the caller's ear: G.711 mu-law, the first sample at `at`.
    Heard {
        at: Moment,
        /// Media time of the first sample, in samples modulo 2^32, where the transport has one.
        timestamp: Option<u32>,
        octets: Vec<u8>,
    },
    /// The same audio as the server's side of an emulated network delivered it; told only where there is such a network.
    Delivered {
        at: Moment,
        octets: Vec<u8>,
    },
    /// The server emptied the far side's play-out buffer.
    Cleared(Moment),
    /// A named mark was played to its end.
    Played {
        at: Moment,
        name: String,
    },
    /// The far side's play-out buffer ran dry inside an utterance, for so many ms.
    Underrun {
        at: Moment,
        ms: f64,
    },
    /// The call is over; `by_caller` when it was hung up here.
    Ended {
        at: Moment,
        by_caller: bool,
        why: String,
    },
}

/// A call on its way to being answered.
pub struct Dialled {
    /// The call's index in the run.
    pub call: usize,
    pub placed: Moment,
    /// The line, or why there is none.
    pub leg: Result<Box<dyn Leg>, String>,
}

//! Holds of ours: a caller who waits is told so by a re-INVITE with `sendonly`, and taken back by one with `sendrecv`
//! (RFC 3264 section 8.4). They hear our waiting tone meanwhile.
//!
//! Deliberately absent: offers that cross, which the endpoint tries again by itself.

use std::time::Duration;

use offhook_sip::sdp::Direction;
use offhook_sip::{CallHandle, Command};

use super::calls::{Calls, Live, Stage};
use crate::call::Moment;
use crate::clock;

/// What we want of a call, and how far the other side has been told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holding {
    wanted: bool,
    told: bool,
    /// What an offer says that is not answered yet.
    offered: Option<bool>,
    /// Offers in a row to take the caller back that were refused.
    refused: u8,
}

/// Calls that are to be offered something again, and when.
#[derive(Debug, Default)]
pub(super) struct Unsaid(Vec<(Moment, u64)>);

impl Calls {
    /// A leg has its caller wait, or takes them back.
    pub(super) fn hold(&mut self, name: u64, on: bool) -> Vec<Command> {
        let Some(live) = self.of_leg(name) else { return Vec::new() };
        live.holding.wanted = on;
        live.tell_far_side()
    }

    /// When [`Calls::due`] is.
    pub fn next(&self) -> Option<Moment> {
        self.unsaid.0.iter().map(|(at, _)| *at).min()
    }

    /// Offers again what was refused a while ago.
    pub fn due(&mut self, now: Moment) -> Vec<Command> {
        let due: Vec<(Moment, u64)> = self.unsaid.0.extract_if(.., |(at, _)| *at <= now).collect();
        due.iter().filter_map(|(_, call)| self.calls.get_mut(call).map(Live::tell_far_side)).flatten().collect()
    }

    /// An offer of ours was answered, or `refused` with this status. 491 says that something else went on: it is offered
    /// again. A caller who will not be put on hold goes on with the media that they have. One who will not be taken back
    /// would hear nothing for the rest of the call: they are asked again, ever later.
    pub(super) fn hold_answered(&mut self, call: CallHandle, refused: Option<u16>) -> Vec<Command> {
        let Some(live) = self.calls.get_mut(&call.as_u64()) else { return Vec::new() };
        let Some(after) = live.holding.answered(refused) else { return live.tell_far_side() };
        self.unsaid.0.push((clock::now() + after, call.as_u64()));
        Vec::new()
    }
}

impl Live {
    fn tell_far_side(&mut self) -> Vec<Command> {
        let Holding { wanted, told, offered, .. } = self.holding;
        let Stage::Agreed(media) = &mut self.stage else { return Vec::new() };
        if offered.is_some() || wanted == told {
            return Vec::new();
        }
        self.holding.offered = Some(wanted);
        vec![Command::Reinvite { call: self.handle, sdp: media.offer(self.holding.direction()) }]
    }
}

impl Holding {
    /// Takes the answer to what was offered; if it must be offered again, in how long.
    fn answered(&mut self, refused: Option<u16>) -> Option<Duration> {
        let offered = self.offered.take()?;
        if refused == Some(REQUEST_PENDING) {
            return Some(AGAIN);
        }
        if refused.is_some() && !offered && self.refused < MOST_REFUSED {
            let after = AGAIN * (1 << self.refused);
            self.refused += 1;
            return Some(after);
        }
        (self.told, self.refused) = (offered, 0);
        None
    }

    /// What an offer of ours asks for.
    pub(super) const fn direction(self) -> Direction {
        if self.wanted { Direction::SendOnly } else { Direction::SendRecv }
    }
}

/// RFC 3261 section 21.4.27.
const REQUEST_PENDING: u16 = 491;

/// Until an offer is tried again that was refused; twice as long each time it is refused again for another reason than 491.
const AGAIN: Duration = Duration::from_secs(1);

/// Offers to take a caller back are made again this often.
const MOST_REFUSED: u8 = 5;

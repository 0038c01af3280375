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
}

/// Calls whose signalling was busy with something else when we had an offer for them.
#[derive(Debug, Default)]
pub(super) struct Unsaid {
    calls: Vec<u64>,
    at: Option<Moment>,
}

impl Calls {
    /// A leg has its caller wait, or takes them back.
    pub(super) fn hold(&mut self, name: u64, on: bool) -> Vec<Command> {
        let Some(live) = self.of_leg(name) else { return Vec::new() };
        live.holding.wanted = on;
        live.tell_far_side()
    }

    /// When [`Calls::due`] is.
    pub fn next(&self) -> Option<Moment> {
        self.unsaid.at
    }

    /// Offers again what could not be offered a while ago.
    pub fn due(&mut self, now: Moment) -> Vec<Command> {
        if self.unsaid.at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let calls = std::mem::take(&mut self.unsaid).calls;
        calls.iter().filter_map(|call| self.calls.get_mut(call).map(Live::tell_far_side)).flatten().collect()
    }

    /// An offer of ours was answered, or `refused` with this status: then the call goes on with the media that it has,
    /// and only the next change is offered. 491 says that something else went on: it is offered again.
    pub(super) fn hold_answered(&mut self, call: CallHandle, refused: Option<u16>) -> Vec<Command> {
        let Some(live) = self.calls.get_mut(&call.as_u64()) else { return Vec::new() };
        let Some(offered) = live.holding.offered.take() else { return Vec::new() };
        if refused == Some(REQUEST_PENDING) {
            self.unsaid.calls.push(call.as_u64());
            self.unsaid.at.get_or_insert(clock::now() + AGAIN);
            return Vec::new();
        }
        live.holding.told = offered;
        live.tell_far_side()
    }
}

impl Live {
    fn tell_far_side(&mut self) -> Vec<Command> {
        let Holding { wanted, told, offered } = self.holding;
        let Stage::Agreed(media) = &mut self.stage else { return Vec::new() };
        if offered.is_some() || wanted == told {
            return Vec::new();
        }
        self.holding.offered = Some(wanted);
        vec![Command::Reinvite { call: self.handle, sdp: media.offer(self.holding.direction()) }]
    }
}

impl Holding {
    /// What an offer of ours asks for.
    pub(super) const fn direction(self) -> Direction {
        if self.wanted { Direction::SendOnly } else { Direction::SendRecv }
    }
}

/// RFC 3261 section 21.4.27.
const REQUEST_PENDING: u16 = 491;

/// Until an offer is tried again that found another one going on.
const AGAIN: Duration = Duration::from_secs(1);

//! The leg of a call whose media are not agreed on yet: a call of ours that rings, or one that asked for our offer.
//!
//! It says and hears nothing until the real leg comes, and can be hung up at any time.

use std::time::Duration;

use offhook_media::Frame;

use super::rtp::RtpLeg;
use super::signalling::Signalling;
use crate::call::Moment;
use crate::call::leg::{HandOver, Leg, LegEvent, LegStats};
use crate::queue::{Receiver, Sender, bounded};
use crate::store::record::EndReason;

/// See the module's header.
pub struct PendingLeg {
    leg: Option<Box<RtpLeg>>,
    coming: Receiver<Box<RtpLeg>>,
    signalling: Signalling,
    call: u64,
}

/// Where the real leg is put once there is one.
pub struct LegSlot(Sender<Box<RtpLeg>>);

impl PendingLeg {
    /// `call` is the signalling's own number of the call.
    pub fn new(signalling: Signalling, call: u64) -> (Self, LegSlot) {
        let (slot, coming) = bounded(1);
        (Self { leg: None, coming, signalling, call }, LegSlot(slot))
    }
}

impl LegSlot {
    /// Once only.
    pub fn fill(mut self, leg: RtpLeg) {
        let _ = self.0.try_push(Box::new(leg));
    }
}

impl Leg for PendingLeg {
    fn drain(&mut self, now: Moment, sink: &mut dyn FnMut(LegEvent<'_>)) {
        if self.leg.is_none() {
            self.leg = self.coming.try_recv();
        }
        if let Some(leg) = &mut self.leg {
            leg.drain(now, sink);
        }
    }

    fn wants(&self, now: Moment) -> usize {
        self.leg.as_ref().map_or(0, |leg| leg.wants(now))
    }

    fn send(&mut self, frame: Option<&Frame>, now: Moment) {
        if let Some(leg) = &mut self.leg {
            leg.send(frame, now);
        }
    }

    fn clear(&mut self, now: Moment) -> Duration {
        self.leg.as_mut().map_or(Duration::ZERO, |leg| leg.clear(now))
    }

    fn ahead(&self, now: Moment) -> Duration {
        self.leg.as_ref().map_or(Duration::ZERO, |leg| leg.ahead(now))
    }

    fn unheard(&self, now: Moment) -> Duration {
        self.leg.as_ref().map_or(Duration::ZERO, |leg| leg.unheard(now))
    }

    fn transfer(&mut self, over: &HandOver) -> bool {
        self.leg.as_mut().is_some_and(|leg| leg.transfer(over))
    }

    fn answer(&mut self) {
        if let Some(leg) = &mut self.leg {
            leg.answer();
        }
    }

    fn hold(&mut self, on: bool) {
        if let Some(leg) = &mut self.leg {
            leg.hold(on);
        }
    }

    fn hang_up(&mut self, reason: &EndReason) {
        match &mut self.leg {
            Some(leg) => leg.hang_up(reason),
            None => self.signalling.hang_up(self.call),
        }
    }

    fn stats(&self) -> LegStats {
        self.leg.as_ref().map_or_else(LegStats::default, |leg| leg.stats())
    }
}

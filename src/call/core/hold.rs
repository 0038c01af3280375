//! A call on hold: its time stands still, and goes on where it was.
//!
//! The far side holds (it takes no audio any more), or we do (an operator has the caller wait, who then hears that the
//! line is alive). Either way what was being said is kept and said again from the beginning of its sentence, and no
//! silence of a held caller is taken for one of theirs.

use std::sync::Arc;
use std::time::Duration;

use offhook_media::{FRAME, Frame};

use super::{Call, Phase};
use crate::call::Moment;
use crate::call::latency::ms;
use crate::call::messages::CallOutput;
use crate::call::timers::Timer;
use crate::dialog::waiting_tone;
use crate::store::record::EndReason;
use crate::telemetry::pii::Pii;
use crate::turn::floor::Holder;

/// Whether and since when a call is held.
#[derive(Debug, Default)]
pub(super) struct Hold {
    by_them: bool,
    by_us: bool,
    since: Option<Moment>,
    /// All holds that are over.
    pub(super) total: Duration,
    /// What a caller hears whom we hold, and how far it has played.
    tone: Option<(Arc<[i16]>, usize)>,
}

impl Hold {
    pub(super) const fn is_on(&self) -> bool {
        self.since.is_some()
    }

    pub(super) const fn is_by_them(&self) -> bool {
        self.by_them
    }

    /// The call's own time: it stands still on hold.
    pub(super) fn clock(&self, now: Moment) -> Moment {
        self.since.unwrap_or(now)
    }
}

impl Call {
    /// The far side holds the call, or takes it back.
    pub(super) fn held(&mut self, on: bool, now: Moment) {
        self.hold.by_them = on;
        self.hold_changed(now);
    }

    /// We have the caller wait, or take them back.
    pub(super) fn parked(&mut self, on: bool, now: Moment) {
        let changed = std::mem::replace(&mut self.hold.by_us, on) != on;
        if changed && !matches!(self.phase, Phase::Connecting | Phase::Over) {
            self.outputs.push_back(CallOutput::Hold(on));
        }
        self.hold_changed(now);
    }

    /// A caller whom we hold too long is taken back; a side that holds us too long is given up.
    pub(super) fn held_too_long(&mut self, now: Moment) {
        if self.hold.by_them {
            return self.end(EndReason::HeldTooLong, now);
        }
        self.parked(false, now);
    }

    /// The 20 ms of a held call; `true` when there is something to hear.
    /// None of it counts as speech: its end was sent before the hold.
    pub(super) fn pull_held(&mut self, frame: &mut Frame) -> bool {
        let fading = self.mouth.pull_resting(frame);
        let Some((tone, played)) = self.hold.tone.as_mut().filter(|_| self.hold.by_us && !fading) else {
            return fading;
        };
        let part = tone.get(*played..*played + FRAME).unwrap_or_default();
        for (sample, tone) in frame.iter_mut().zip(part) {
            *sample = *tone;
        }
        *played = if *played + 2 * FRAME > tone.len() { 0 } else { *played + FRAME };
        true
    }

    fn hold_changed(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Connecting | Phase::Over) {
            return;
        }
        let wanted = self.hold.by_them || self.hold.by_us;
        match (self.hold.since, wanted) {
            (None, true) => self.hold_begins(now),
            (Some(since), false) => self.hold_ends(since, now),
            // Another side holds as well, or no longer: the time that it may take counts anew.
            _ if wanted => self.timers.set(Timer::Hold, Some(now + self.longest_hold)),
            _ => {}
        }
        self.hold.tone = self.hold.by_us.then(|| (waiting_tone(), 0));
    }

    fn hold_begins(&mut self, now: Moment) {
        self.counts.holds += 1;
        let by = if self.hold.by_them { "them" } else { "us" };
        self.event("held", Some(Pii::new(serde_json::json!({ "by": by }))), now);
        self.let_go(now);
        // What the caller had begun to say is all that comes of it.
        let was_theirs = self.floor.holder() == Holder::Caller;
        self.floor.caller_leaves();
        self.hearing.begin_again();
        if self.phase == Phase::Talking && was_theirs {
            self.taken = None;
            self.turn_ended(now, now);
            self.settle(now);
        }
        self.mouth.rest();
        self.timers.rest();
        self.hold.since = Some(now);
        self.timers.set(Timer::Hold, Some(now + self.longest_hold));
    }

    fn hold_ends(&mut self, since: Moment, now: Moment) {
        let rested = now.saturating_sub(since);
        self.hold.since = None;
        self.hold.total += rested;
        self.timers.set(Timer::Hold, None);
        self.timers.go_on(rested);
        self.timers.set(Timer::NoMedia, Some(now + self.no_media));
        self.exchange.clock.rested(rested);
        self.mouth.go_on();
        self.heard_something(now);
        self.event("resumed", Some(Pii::new(serde_json::json!({ "held_ms": ms(rested) }))), now);
        if self.phase == Phase::Talking {
            self.settle(now);
        }
    }
}

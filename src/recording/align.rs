//! Which 20 ms of a recording a frame belongs to. Pure: ticks in, slots out.
//!
//! Slots count the call's own ticks, so a recording is as long as its call whatever arrives. A leg with a play-out
//! buffer of its own hands over one frame a tick, and its slot is the tick. A leg without one (a stream over TCP) hands
//! over none and then several: they fill the slots that were left open. What is sent ahead of time is put where it
//! will be heard, and taken back when the far side is told to forget it.

/// Counts from the first recorded tick.
pub(super) type Slot = u32;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Aligner {
    tick: Slot,
    left: Slot,
    right: Slot,
    /// How far frames lay behind their tick: the least and the most since `since`.
    lag: Option<(i64, i64)>,
    since: Slot,
}

impl Aligner {
    pub(super) const fn new() -> Self {
        Self { tick: 0, left: 0, right: 0, lag: None, since: 0 }
    }

    /// The call has come to this tick; ticks may be left out.
    pub(super) fn tick(&mut self, tick: Slot) {
        self.tick = self.tick.max(tick);
        if self.tick - self.since >= PERIOD {
            self.since = self.tick;
            self.correct();
        }
    }

    /// Where the next frame of the caller belongs; `None` when it comes too far ahead of its time.
    pub(super) fn heard(&mut self) -> Option<Slot> {
        let oldest = (self.tick + 1).saturating_sub(PAST);
        self.left = self.left.max(oldest);
        let lag = i64::from(self.tick) - i64::from(self.left);
        if lag < -AHEAD {
            return None;
        }
        let (least, most) = self.lag.unwrap_or((lag, lag));
        self.lag = Some((least.min(lag), most.max(lag)));
        self.left += 1;
        Some(self.left - 1)
    }

    /// Where the next frame of ours belongs; `None` when more is sent ahead than any leg does.
    pub(super) fn sent(&mut self) -> Option<Slot> {
        let slot = self.right.max(self.tick);
        if slot - self.tick >= FUTURE {
            return None;
        }
        self.right = slot + 1;
        Some(slot)
    }

    /// What was sent and not yet heard will not be heard: the slot from which on nothing of it is kept.
    pub(super) fn cleared(&mut self) -> Option<Slot> {
        (self.right > self.tick).then(|| {
            self.right = self.tick;
            self.tick
        })
    }

    /// A far clock that runs slower or faster than ours, or frames that were lost on the way: the stream is where its
    /// best frames of the last second were.
    fn correct(&mut self) {
        match self.lag.take() {
            Some((least, _)) if least >= SLIP => self.left += u32::try_from(least).unwrap_or(0),
            Some((_, most)) if most <= -SLIP => {
                self.left = self.left.saturating_sub(u32::try_from(most.unsigned_abs()).unwrap_or(0));
            }
            _ => {}
        }
    }
}

/// Slots that stay open behind the tick: 0.5 s, longer than a stream over TCP stalls while it works.
pub(super) const PAST: u32 = 25;
/// Slots ahead of the tick that frames of ours may take: more than any leg sends ahead.
pub(super) const FUTURE: u32 = 12;
/// Frames of the caller that may lie ahead of the tick.
const AHEAD: i64 = 3;
/// Ticks over which the lag is observed: 1 s.
const PERIOD: u32 = 50;
/// Slots of lag that are no mere jitter.
const SLIP: i64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_a_tick_lies_at_its_tick() {
        let mut aligner = Aligner::new();
        for tick in 0..10_000 {
            aligner.tick(tick);
            assert_eq!(aligner.heard(), Some(tick));
            assert_eq!(aligner.sent(), Some(tick));
            assert_eq!(aligner.cleared(), Some(tick));
            assert_eq!(aligner.sent(), Some(tick), "what was cleared at this tick is replaced");
        }
    }

    #[test]
    fn frames_that_come_together_fill_what_was_left_open() {
        let mut aligner = Aligner::new();
        for tick in 0..20 {
            aligner.tick(tick);
        }
        let slots: Vec<_> = (0..20).map(|_| aligner.heard()).collect();
        assert_eq!(slots, (0..20).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn a_stall_beyond_the_window_is_a_gap_and_not_a_shift() {
        let mut aligner = Aligner::new();
        for tick in 0..1000 {
            aligner.tick(tick);
            if !(100..200).contains(&tick) {
                aligner.heard();
            }
        }
        aligner.tick(1000);
        assert_eq!(aligner.heard(), Some(1000));
    }

    #[test]
    fn a_far_clock_of_200_ppm_stays_within_three_frames_for_an_hour() {
        for ppm in [-200_i64, 200] {
            let mut aligner = Aligner::new();
            let mut due = 0_i64;
            let mut worst = 0;
            for tick in 0..180_000_u32 {
                aligner.tick(tick);
                // Millionths of a frame that the far side has sent by now.
                due += 1_000_000 + ppm;
                while due >= 1_000_000 {
                    due -= 1_000_000;
                    let slot = aligner.heard().unwrap_or(tick);
                    worst = worst.max((i64::from(slot) - i64::from(tick)).abs());
                }
            }
            assert!(worst <= 3, "{ppm} ppm: {worst} frames apart");
        }
    }

    #[test]
    fn what_is_sent_ahead_lies_where_it_is_heard() {
        let mut aligner = Aligner::new();
        aligner.tick(7);
        assert_eq!((0..5).map(|_| aligner.sent()).collect::<Vec<_>>(), [7, 8, 9, 10, 11].map(Some));
        aligner.tick(8);
        assert_eq!(aligner.sent(), Some(12));
        assert_eq!(aligner.cleared(), Some(8));
        aligner.tick(100);
        assert_eq!(aligner.cleared(), None, "nothing was on its way");
        assert_eq!(aligner.sent(), Some(100));
        assert_eq!((0..20).filter_map(|_| aligner.sent()).count(), FUTURE as usize - 1, "bounded");
    }
}

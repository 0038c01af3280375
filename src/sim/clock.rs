//! The harness's clock and its seeded dice.
//!
//! All times of a run are [`Moment`]s of one monotonic clock. Kernel receive stamps are wall time; [`RunClock::wall`]
//! maps them. Deliberately absent: any use of either by the pure parts (scenario, caller, analysis, network).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since the run began.
pub type Moment = Duration;

/// The one clock of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    start: Duration,
}

impl RunClock {
    /// Starts the clock at zero.
    pub fn start() -> Self {
        Self { start: crate::clock::now() }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        crate::clock::now().saturating_sub(self.start)
    }

    /// What must be taken from a wall time (since the Unix epoch) to have a [`Moment`]. Wall clocks are slewed, so
    /// this is read anew every few milliseconds, never once for a run.
    ///
    /// The two clocks cannot be read in one step. A reading during which the thread was put aside is told by its
    /// length, and the shortest of a few counts.
    #[expect(clippy::disallowed_methods, reason = "the kernel stamps packets in wall time")]
    pub fn wall(&self) -> WallOffset {
        let mut best = (Duration::MAX, Duration::ZERO);
        for _ in 0..READINGS {
            let before = self.now();
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let took = self.now().saturating_sub(before);
            if took < best.0 {
                best = (took, wall.saturating_sub(before + took / 2));
            }
            if took < SHORT {
                break;
            }
        }
        WallOffset(best.1)
    }

    /// Sleeps until `at`; returns at once when that has passed.
    #[expect(
        clippy::disallowed_methods,
        reason = "the paced thread of the harness is no task and has nothing else to do"
    )]
    pub fn sleep_until(&self, at: Moment) {
        let left = at.saturating_sub(self.now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
    }
}

/// The distance between wall time and a run's clock.
#[derive(Clone, Copy, Debug)]
pub struct WallOffset(Duration);

impl WallOffset {
    /// The run's time of a kernel stamp given as time since the Unix epoch.
    pub fn moment(self, wall: Duration) -> Moment {
        wall.saturating_sub(self.0)
    }
}

/// Milliseconds as the reports print them.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// `a - b` in milliseconds, negative when `a` comes first.
pub fn ms_between(a: Moment, b: Moment) -> f64 {
    ms(a) - ms(b)
}

/// The time that `samples` take at 8 kHz.
pub fn samples(samples: usize) -> Duration {
    Duration::from_micros(samples as u64 * 125)
}

/// Seeded pseudo-random numbers (SplitMix64): the same seed gives the same run on every machine and release.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice for one purpose of one call; different `purpose` numbers are independent.
    pub fn new(seed: u64, call: u64, purpose: u64) -> Self {
        let mut dice =
            Self(seed ^ call.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose.wrapping_mul(0xD1B5_4A32_D192_ED03));
        dice.bits();
        dice
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0.0 up to, not including, 1.0.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// 0 up to, not including, `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.bits() % n as u64) as usize }
    }
}

const READINGS: usize = 5;
const SHORT: Duration = Duration::from_micros(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_repeat_for_a_seed_and_differ_between_calls() {
        let roll = |seed, call| {
            (0..4).map(|_| 0).scan(Dice::new(seed, call, 1), |d, _: u64| Some(d.bits())).collect::<Vec<_>>()
        };
        assert_eq!(roll(7, 1), roll(7, 1));
        assert_ne!(roll(7, 1), roll(7, 2));
        let mut dice = Dice::new(1, 1, 1);
        assert!((0..1000).map(|_| dice.unit()).all(|u| (0.0..1.0).contains(&u)));
    }

    #[test]
    fn wall_stamps_map_onto_the_run() {
        let offset = WallOffset(Duration::from_secs(1_700_000_000));
        assert_eq!(offset.moment(Duration::from_millis(1_700_000_000_250)), Duration::from_millis(250));
    }
}

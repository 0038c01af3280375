//! How this caller pauses. Somebody who stops for a second in the middle of a sentence does it again; somebody who
//! does not should not be made to wait for those who do.
//!
//! Pauses behind words that sounded finished are kept apart from the others, since only those delay a quick answer.

use std::time::Duration;

/// The caller's own pauses within turns, as far back as counts. Fixed size; nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct Rhythm {
    /// After words that sounded finished, and after all others.
    finished: Pauses,
    other: Pauses,
}

impl Rhythm {
    /// The caller went on after a pause of this length.
    pub fn went_on(&mut self, pause: Duration, sounded_finished: bool) {
        if pause >= SHORTEST {
            let pauses = if sounded_finished { &mut self.finished } else { &mut self.other };
            pauses.keep(pause);
        }
    }

    /// No shorter silence ends a turn of this caller; zero while too little is known of them.
    pub fn least(&self, sounds_finished: bool) -> Duration {
        let pauses = if sounds_finished { &self.finished } else { &self.other };
        pauses.long().map_or(Duration::ZERO, |pause| (pause * MARGIN / 100).min(MOST))
    }
}

#[derive(Clone, Debug, Default)]
struct Pauses {
    latest: [Duration; KEPT],
    /// How many were kept in all.
    count: usize,
}

impl Pauses {
    fn keep(&mut self, pause: Duration) {
        if let Some(place) = self.latest.get_mut(self.count % KEPT) {
            *place = pause;
        }
        self.count += 1;
    }

    /// The 80 % quantile of the latest pauses.
    fn long(&self) -> Option<Duration> {
        let mut sorted = self.latest;
        let known = sorted.get_mut(..self.count.min(KEPT)).filter(|known| known.len() >= FEWEST)?;
        known.sort_unstable();
        known.get((known.len() * 4).div_ceil(5) - 1).copied()
    }
}

/// Shorter ones are stops within words.
const SHORTEST: Duration = Duration::from_millis(150);
const KEPT: usize = 8;
/// Before these nothing is concluded.
const FEWEST: usize = 3;
/// In percent.
const MARGIN: u32 = 120;
const MOST: Duration = Duration::from_millis(1200);

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pauses: &[u64]) -> Rhythm {
        let mut rhythm = Rhythm::default();
        pauses.iter().for_each(|ms| rhythm.went_on(Duration::from_millis(*ms), false));
        rhythm
    }

    #[test]
    fn the_longer_pauses_of_a_caller_count() {
        assert_eq!(after(&[500, 600]).least(false), Duration::ZERO, "too few");
        assert_eq!(after(&[100, 40, 80, 120]).least(false), Duration::ZERO, "within words");
        assert_eq!(after(&[300, 500, 400, 600, 900]).least(false), Duration::from_millis(720));
        assert_eq!(after(&[2000, 2000, 2000]).least(false), MOST);
        assert_eq!(after(&[500, 600, 700]).least(true), Duration::ZERO, "of another kind");
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut pauses = vec![1000; 8];
        pauses.extend([300; 8]);
        assert_eq!(after(&pauses).least(false), Duration::from_millis(360));
    }
}

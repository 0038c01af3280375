//! The last seconds of what the caller said, kept for the next connection. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// One frame as it is sent: 20 ms of mu-law.
pub(super) type Octets = [u8; offhook_media::FRAME];

/// A ring of frames, numbered from the first frame of the session.
pub(super) struct Replay {
    frames: VecDeque<Octets>,
    /// Number of the oldest frame kept.
    oldest: u64,
    most: usize,
}

impl Replay {
    /// Keeps the last `most` of audio, whole frames.
    pub(super) fn new(most: Duration) -> Self {
        let most = usize::try_from(most.as_millis() / FRAME.as_millis()).unwrap_or(1).max(1);
        Self { frames: VecDeque::with_capacity(most), oldest: 0, most }
    }

    pub(super) fn push(&mut self, frame: Octets) {
        if self.frames.len() == self.most {
            self.frames.pop_front();
            self.oldest += 1;
        }
        self.frames.push_back(frame);
    }

    /// The frames from the one that holds `time` on, and the time at which the first of them begins.
    pub(super) fn since(&self, time: Duration) -> (Duration, impl Iterator<Item = &Octets>) {
        let wanted = u64::try_from(time.as_millis() / FRAME.as_millis()).unwrap_or(u64::MAX);
        let newest = self.oldest + u64::try_from(self.frames.len()).unwrap_or(0);
        let first = wanted.clamp(self.oldest, newest);
        let skipped = usize::try_from(first - self.oldest).unwrap_or(usize::MAX);
        (FRAME * u32::try_from(first).unwrap_or(u32::MAX), self.frames.iter().skip(skipped))
    }
}

const FRAME: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn the_last_seconds_are_kept_with_their_times() {
        let mut replay = Replay::new(ms(100));
        for number in 0..8 {
            replay.push([number; 160]);
        }
        let firsts = |time| {
            let (at, frames) = replay.since(time);
            (at, frames.map(|f| f[0]).collect::<Vec<_>>())
        };
        assert_eq!(firsts(ms(0)), (ms(60), vec![3, 4, 5, 6, 7]));
        assert_eq!(firsts(ms(119)), (ms(100), vec![5, 6, 7]));
        assert_eq!(firsts(ms(160)), (ms(160), vec![]));
        assert_eq!(firsts(ms(9000)), (ms(160), vec![]));
    }
}

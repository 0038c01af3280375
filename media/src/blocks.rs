//! When words begin and end by their energy: levels in blocks of 5 ms, fine enough to date both.
//!
//! Whether the sound is a word at all is deliberately not asked here: `speech.rs` and `edge.rs` know.

use crate::Moment;
use crate::PER_MS;
use crate::level::QUIETEST_DBFS;

/// Levels of the last 640 ms.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    /// They go round: the oldest is at `oldest`.
    levels: [f32; BLOCKS],
    oldest: usize,
    newest_end: Moment,
    loudest: f32,
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self { levels: [QUIETEST_DBFS; BLOCKS], oldest: 0, newest_end: Moment::ZERO, loudest: QUIETEST_DBFS }
    }

    /// Takes the levels of the newest blocks, dBFS, the last of which ends at `at`.
    pub(crate) fn push(&mut self, levels: impl Iterator<Item = f32>, at: Moment) {
        for level in levels {
            self.levels[self.oldest] = level;
            self.loudest = level.max(self.loudest - FORGET_DB);
            self.oldest = (self.oldest + 1) % BLOCKS;
        }
        self.newest_end = at;
    }

    /// The loudest of late, dBFS; what is longer ago counts less.
    pub(crate) fn loudest_dbfs(&self) -> f32 {
        self.loudest
    }

    /// Whether the block so far back is loud and no lone peak of the noise.
    fn is_loud(&self, back: usize, least: f32, drop: f32) -> bool {
        let limit = least.max(self.loudest - drop);
        let reaches = |back: usize| {
            let index = BLOCKS.checked_sub(back + 1).map(|index| (self.oldest + index) % BLOCKS);
            index.and_then(|index| self.levels.get(index)).is_some_and(|level| *level >= limit)
        };
        reaches(back) && (reaches(back + 1) || reaches(back + 2))
    }

    /// The beginning of the loud stretch that reaches up to now, gaps of 60 ms bridged.
    pub(crate) fn began(&self, least: f32, drop: f32) -> Option<Moment> {
        let mut found = None;
        let mut gap = 0;
        for back in 0..BLOCKS {
            if self.is_loud(back, least, drop) {
                found = Some(back + 1);
                gap = 0;
            } else {
                gap += 1;
            }
            if gap > BRIDGED {
                break;
            }
        }
        found.map(|back| self.newest_end.saturating_sub(blocks_last(back)))
    }

    /// How many blocks have been quiet, and the end of the last loud one.
    pub(crate) fn quiet_for(&self, least: f32, drop: f32) -> (usize, Option<Moment>) {
        let loud = (0..BLOCKS).find(|&back| self.is_loud(back, least, drop));
        (loud.unwrap_or(BLOCKS), loud.map(|quiet| self.newest_end.saturating_sub(blocks_last(quiet))))
    }
}

fn blocks_last(blocks: usize) -> Moment {
    Moment::from_millis((blocks * BLOCK_MS) as u64)
}

/// 5 ms.
pub(crate) const BLOCK_MS: usize = 5;
pub(crate) const BLOCK: usize = BLOCK_MS * PER_MS;
const BLOCKS: usize = 128;
const BRIDGED: usize = 60 / BLOCK_MS;
/// The loudest block counts less by this much for every later one: 10 dB in a second.
const FORGET_DB: f32 = 0.05;

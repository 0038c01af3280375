//! Levels in dBFS and the noise floor below them.
//!
//! 0 dBFS is the power of a full-scale square wave (the telephone's dBov), so a full-scale sine is -3 dBFS.

/// The level that digital silence is given, dBFS.
pub const QUIETEST_DBFS: f32 = -96.0;

/// Root mean square of the samples, dBFS.
pub fn rms_dbfs(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return QUIETEST_DBFS;
    }
    let sum: i64 = samples.iter().map(|&sample| i64::from(i32::from(sample) * i32::from(sample))).sum();
    power_dbfs(sum as f32 / samples.len() as f32)
}

/// Greatest magnitude of the samples, dBFS.
pub fn peak_dbfs(samples: &[i16]) -> f32 {
    let peak = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    power_dbfs(f32::from(peak) * f32::from(peak))
}

/// A mean square in sample units as dBFS.
pub fn power_dbfs(mean_square: f32) -> f32 {
    if mean_square <= 0.0 {
        return QUIETEST_DBFS;
    }
    (10.0 * (mean_square / FULL_SCALE_POWER).log10()).max(QUIETEST_DBFS)
}

/// The amplitude, in sample units, of a signal with this root mean square.
pub fn amplitude(dbfs: f32) -> f32 {
    32768.0 * 10f32.powf(dbfs / 20.0)
}

/// The level that the line falls to between words: minimum statistics over 3.2 to 3.4 s.
///
/// The minimum follows a drop at once and a rise after at most [`NoiseFloor::MEMORY`] levels.
#[derive(Clone, Debug)]
pub struct NoiseFloor {
    blocks: [f32; BLOCKS],
    current: f32,
    filled: usize,
    next: usize,
    floor: f32,
}

impl NoiseFloor {
    /// How many levels the minimum is taken over.
    pub const MEMORY: usize = (BLOCKS + 1) * BLOCK;

    /// A tracker that assumes `assumed_dbfs` until the first level comes.
    pub fn new(assumed_dbfs: f32) -> Self {
        Self { blocks: [f32::INFINITY; BLOCKS], current: f32::INFINITY, filled: 0, next: 0, floor: assumed_dbfs }
    }

    /// Takes the level of the next 20 ms and returns the floor, dBFS.
    pub fn push(&mut self, dbfs: f32) -> f32 {
        self.current = self.current.min(dbfs);
        self.filled += 1;
        if self.filled == BLOCK {
            if let Some(block) = self.blocks.get_mut(self.next) {
                *block = self.current;
            }
            self.next = (self.next + 1) % BLOCKS;
            (self.current, self.filled) = (f32::INFINITY, 0);
        }
        self.floor = self.blocks.iter().fold(self.current, |least, &block| least.min(block));
        self.floor
    }

    /// The floor, dBFS.
    pub fn dbfs(&self) -> f32 {
        self.floor
    }
}

const FULL_SCALE_POWER: f32 = 32768.0 * 32768.0;
const BLOCKS: usize = 16;
const BLOCK: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_scale_square_is_zero_and_silence_is_the_bottom() {
        assert!(rms_dbfs(&[-32768; 80]).abs() < 0.001);
        assert_eq!(rms_dbfs(&[0; 80]), QUIETEST_DBFS);
        assert_eq!(rms_dbfs(&[]), QUIETEST_DBFS);
        assert!((peak_dbfs(&[0, 16384, -3]) + 6.02).abs() < 0.01);
        assert!((rms_dbfs(&[328; 10]) + 40.0).abs() < 0.1);
        assert!((amplitude(-40.0) - 327.68).abs() < 0.01);
    }

    #[test]
    fn the_floor_drops_at_once_and_rises_within_its_memory() {
        let mut floor = NoiseFloor::new(-60.0);
        assert_eq!(floor.dbfs(), -60.0);
        for _ in 0..20 {
            floor.push(-50.0);
        }
        assert_eq!(floor.push(-65.0), -65.0);
        for _ in 0..NoiseFloor::MEMORY {
            floor.push(-40.0);
        }
        assert_eq!(floor.push(-40.0), -40.0);
    }

    #[test]
    fn speech_bursts_do_not_lift_the_floor() {
        let mut floor = NoiseFloor::new(-60.0);
        for frame in 0..500 {
            floor.push(if frame % 50 < 45 { -20.0 } else { -58.0 });
            assert!(floor.dbfs() <= -58.0 || frame < 45);
        }
    }
}

//! How late packets come, and how long to hold them: the statistics behind the jitter buffer.
//!
//! All values are samples at 8 kHz. "Transit" is arrival less timestamp; only its changes mean anything.

use crate::PER_MS;

/// Measures transit times of one stream.
#[derive(Clone, Debug)]
pub(crate) struct DelayMeter {
    windows: [i64; 2],
    window_began: i64,
    late: [f32; BINS],
    previous: Option<i64>,
    jitter: f32,
    ptime_margin: i64,
}

impl DelayMeter {
    pub(crate) fn new() -> Self {
        Self {
            windows: [i64::MAX; 2],
            window_began: 0,
            late: [0.0; BINS],
            previous: None,
            jitter: 0.0,
            ptime_margin: 0,
        }
    }

    /// Takes a packet that arrived at `arrival`, stamped `timestamp`, lasting `length`.
    pub(crate) fn note(&mut self, arrival: i64, timestamp: i64, length: i64) {
        let transit = arrival - timestamp;
        self.slide(arrival, transit);
        if let Some(previous) = self.previous {
            // RFC 3550 appendix A.8.
            self.jitter += ((transit - previous).abs() as f32 - self.jitter) / 16.0;
        }
        self.previous = Some(transit);
        let lateness = usize::try_from((transit - self.base()) / BIN).unwrap_or(0).min(BINS - 1);
        for (index, bin) in self.late.iter_mut().enumerate() {
            *bin = *bin * (1.0 - LEARNING) + if index == lateness { LEARNING } else { 0.0 };
        }
        // Packets that are no multiple of 20 ms straddle frames, so a frame waits for the next packet.
        self.ptime_margin = if length % 160 == 0 { 0 } else { 10 * PER_MS as i64 };
    }

    /// The transit of the fastest recent packet.
    pub(crate) fn base(&self) -> i64 {
        let [current, previous] = self.windows;
        current.min(previous)
    }

    /// The transit of the latest packet, if any came.
    pub(crate) fn latest(&self) -> Option<i64> {
        self.previous
    }

    /// How long to hold audio beyond the fastest transit so that nearly all packets make it.
    pub(crate) fn target(&self) -> i64 {
        let total: f32 = self.late.iter().sum();
        let mut beyond = total;
        let mut bins = 0;
        for bin in &self.late {
            beyond -= bin;
            bins += 1;
            if beyond <= total * TOLERATED_LATE {
                break;
            }
        }
        (bins * BIN + MARGIN + self.ptime_margin).clamp(LEAST, MOST)
    }

    /// Interarrival jitter (RFC 3550 appendix A.8), samples.
    pub(crate) fn jitter(&self) -> f32 {
        self.jitter
    }

    fn slide(&mut self, arrival: i64, transit: i64) {
        if arrival - self.window_began >= WINDOW || self.windows[0] == i64::MAX {
            self.windows = [i64::MAX, self.windows[0]];
            self.window_began = arrival;
        }
        self.windows[0] = self.windows[0].min(transit);
    }
}

const BIN: i64 = 5 * PER_MS as i64;
const BINS: usize = 40;
/// Half of what a packet still counts after 138 later ones: 2.8 s at 20 ms.
const LEARNING: f32 = 0.005;
const TOLERATED_LATE: f32 = 0.03;
const MARGIN: i64 = 5 * PER_MS as i64;
/// Bounds of the target, 20 and 120 ms.
const LEAST: i64 = 20 * PER_MS as i64;
const MOST: i64 = 120 * PER_MS as i64;
/// The fastest transit is sought in the last 4 to 8 s, so that it can follow a drifting clock.
const WINDOW: i64 = 4000 * PER_MS as i64;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(meter: &mut DelayMeter, packets: core::ops::Range<i64>, late: impl Fn(i64) -> i64) {
        for packet in packets {
            meter.note(packet * 160 + late(packet), packet * 160, 160);
        }
    }

    #[test]
    fn a_steady_stream_needs_20_ms() {
        let mut meter = DelayMeter::new();
        run(&mut meter, 0..100, |_| 12_345);
        assert_eq!((meter.target(), meter.base(), meter.jitter()), (160, 12_345, 0.0));
    }

    #[test]
    fn the_target_rises_with_jitter_and_comes_back() {
        let mut meter = DelayMeter::new();
        run(&mut meter, 0..300, |packet| (packet * 7919 % 11) * 48);
        assert!((60 * 8..=80 * 8).contains(&meter.target()), "{}", meter.target());
        run(&mut meter, 300..1300, |_| 0);
        assert_eq!(meter.target(), 160);
    }

    #[test]
    fn the_base_follows_a_path_that_became_slower() {
        let mut meter = DelayMeter::new();
        run(&mut meter, 0..100, |_| 100);
        run(&mut meter, 100..600, |_| 500);
        assert_eq!(meter.base(), 500);
    }
}

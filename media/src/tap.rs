//! Decoded audio in the order of arrival, for speech detection ahead of the jitter buffer.
//!
//! What a detector needs is the newest audio at the true time: packets are not waited for, short gaps
//! become silence, and a line that falls silent keeps its clock by silent frames.

use crate::comfort;
use crate::rtp::timestamp_distance;
use crate::tone::ComfortNoise;
use crate::{FRAME, Frame, Moment, PER_MS};

#[derive(Debug)]
pub(crate) struct Tap {
    ring: Box<[i16; CAPACITY]>,
    /// Counts of samples ever written and read.
    written: u64,
    read: u64,
    arrivals: [(u64, Moment); ARRIVALS],
    newest_arrival: usize,
    /// Timestamp that the next packet should have.
    expected: Option<u32>,
    last_packet: Moment,
    /// Silence already given by the clock since the last packet, samples.
    ticked: u64,
    /// The far side said that it falls silent: noise of its level, for as long as it stays so.
    noise: Option<ComfortNoise>,
}

impl Tap {
    pub(crate) fn new() -> Self {
        Self {
            ring: Box::new([0; CAPACITY]),
            written: 0,
            read: 0,
            arrivals: [(0, Moment::ZERO); ARRIVALS],
            newest_arrival: 0,
            expected: None,
            last_packet: Moment::ZERO,
            ticked: 0,
            noise: None,
        }
    }

    /// Appends a packet unless its time is over.
    pub(crate) fn packet(&mut self, timestamp: u32, samples: &[i16], arrival: Moment) {
        let ahead = self.expected.map_or(0, |expected| i64::from(timestamp_distance(timestamp, expected)));
        let end = timestamp.wrapping_add(samples.len() as u32);
        let fresh = match ahead {
            LONGEST_BACK..0 => samples.get(ahead.unsigned_abs() as usize..).unwrap_or(&[]),
            _ => samples,
        };
        if fresh.is_empty() {
            return;
        }
        let gap = u64::try_from(ahead).unwrap_or(0).saturating_sub(self.ticked).min(LONGEST_FILL);
        self.append((0..gap).map(|_| 0));
        self.append(fresh.iter().copied());
        self.stamp(arrival);
        (self.expected, self.last_packet, self.ticked, self.noise) = (Some(end), arrival, 0, None);
    }

    /// Silence of this level follows, for as long as no packet comes.
    pub(crate) fn comfort_noise(&mut self, level: comfort::Level) {
        self.noise = Some(ComfortNoise::new(NOISE_SEED, level.dbfs()));
    }

    /// Appends a silent frame for each 20 ms that no packet came, after a grace for late ones; for 2 s at most, unless
    /// the far side announced that it falls silent.
    pub(crate) fn tick(&mut self, now: Moment) {
        if self.expected.is_none() {
            return;
        }
        let longest = if self.noise.is_some() { Moment::MAX } else { LONGEST_SILENCE };
        let missing = now.saturating_sub(self.last_packet).saturating_sub(GRACE).min(longest);
        let due = crate::samples_at(missing).cast_unsigned() / FRAME as u64 * FRAME as u64;
        let owed = due.saturating_sub(self.ticked).min(CAPACITY as u64 / 2);
        if owed > 0 {
            self.append_silence(owed);
            self.stamp(now);
            self.ticked = due;
        }
    }

    /// Takes the next frame, with the arrival of the packet that completed it.
    pub(crate) fn frame(&mut self, frame: &mut Frame) -> Option<Moment> {
        let end = self.read + FRAME as u64;
        if end > self.written {
            return None;
        }
        for (place, sample) in (self.read..).zip(frame.iter_mut()) {
            *sample = self.ring[slot(place)];
        }
        self.read = end;
        Some(self.arrival_of(end))
    }

    /// Starts over with another stream; frames not taken yet are lost.
    pub(crate) fn reset(&mut self) {
        self.read = self.written;
        (self.expected, self.ticked, self.noise) = (None, 0, None);
    }

    fn append_silence(&mut self, count: u64) {
        let Some(mut noise) = self.noise.take() else { return self.append((0..count).map(|_| 0)) };
        let mut room = [0; FRAME];
        for _ in 0..count / FRAME as u64 {
            noise.fill(&mut room);
            self.append(room.iter().copied());
        }
        self.noise = Some(noise);
    }

    fn append(&mut self, samples: impl Iterator<Item = i16>) {
        for sample in samples {
            self.ring[slot(self.written)] = sample;
            self.written += 1;
        }
        // A reader that does not keep up loses the oldest audio.
        self.read = self.read.max(self.written.saturating_sub(CAPACITY as u64));
    }

    fn stamp(&mut self, arrival: Moment) {
        self.newest_arrival = (self.newest_arrival + 1) % ARRIVALS;
        self.arrivals[self.newest_arrival] = (self.written, arrival);
    }

    /// Arrival of the first packet that reaches up to `end`.
    fn arrival_of(&self, end: u64) -> Moment {
        // Nearly always the newest; the count rises from one to the next.
        let newest_first = (0..ARRIVALS).map(|back| self.arrivals[(self.newest_arrival + ARRIVALS - back) % ARRIVALS]);
        newest_first.take_while(|(written, _)| *written >= end).last().map_or(self.last_packet, |(_, arrival)| arrival)
    }
}

fn slot(place: u64) -> usize {
    place as usize % CAPACITY
}

/// 512 ms, a power of two.
const CAPACITY: usize = 4096;
const ARRIVALS: usize = 32;
/// Longer gaps are not loss but a pause of the sender: 60 ms.
const LONGEST_FILL: u64 = 60 * PER_MS as u64;
/// A packet further back than this is a restarted clock, not a late packet: 1 s.
const LONGEST_BACK: i64 = -1000 * PER_MS as i64;
/// A packet may be this late before silence takes its place: the packet time and 40 ms.
const GRACE: Moment = Moment::from_millis(60);
const NOISE_SEED: u64 = 1;
/// Silence enough to end any word; a line that is silent for longer has died, and whoever waits for it shall see that.
const LONGEST_SILENCE: Moment = Moment::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Moment {
        Moment::from_millis(value)
    }

    fn drain(tap: &mut Tap) -> Vec<(i16, Moment)> {
        let mut frame = [0; FRAME];
        core::iter::from_fn(|| tap.frame(&mut frame).map(|at| (frame[FRAME - 1], at))).collect()
    }

    #[test]
    fn frames_carry_the_arrival_of_the_packet_that_completes_them() {
        let mut tap = Tap::new();
        tap.packet(0, &[1; 80], ms(10));
        assert!(drain(&mut tap).is_empty());
        tap.packet(80, &[2; 80], ms(20));
        assert_eq!(drain(&mut tap), [(2, ms(20))]);
        tap.packet(160, &[3; 480], ms(80));
        assert_eq!(drain(&mut tap), [(3, ms(80)); 3]);
    }

    #[test]
    fn a_lost_packet_becomes_silence_and_a_late_one_is_left_out() {
        let mut tap = Tap::new();
        tap.packet(0, &[1; 160], ms(20));
        tap.packet(320, &[3; 160], ms(60));
        tap.packet(160, &[2; 160], ms(61));
        assert_eq!(drain(&mut tap), [(1, ms(20)), (0, ms(60)), (3, ms(60))]);
    }

    #[test]
    fn a_silent_line_keeps_the_clock_and_a_stalled_one_is_heard_after_all() {
        let mut tap = Tap::new();
        tap.packet(0, &[1; 160], ms(20));
        drain(&mut tap);
        for now in (40..=200).step_by(20) {
            tap.tick(ms(now));
        }
        assert_eq!(drain(&mut tap).len(), 6);
        for packet in 1..8 {
            tap.packet(packet * 160, &[7; 160], ms(205));
        }
        assert_eq!(drain(&mut tap), [(7, ms(205)); 7]);
    }

    #[test]
    fn announced_silence_sounds_as_announced_and_lasts() {
        let mut tap = Tap::new();
        tap.packet(0, &[1; 160], ms(20));
        tap.comfort_noise(comfort::Level::parse(&[50]).unwrap());
        let (mut frame, mut frames) = ([0; FRAME], 0);
        for now in (40..=60_000).step_by(20) {
            tap.tick(ms(now));
            while tap.frame(&mut frame).is_some() {
                frames += 1;
            }
        }
        assert!((2990..3000).contains(&frames), "{frames}");
        assert!((crate::level::rms_dbfs(&frame) + 50.0).abs() < 3.0);
        tap.packet(480_000, &[7; 160], ms(60_020));
        assert_eq!(drain(&mut tap).last(), Some(&(7, ms(60_020))));
    }

    #[test]
    fn a_pause_of_the_sender_is_not_filled_twice() {
        let mut tap = Tap::new();
        tap.packet(0, &[1; 160], ms(20));
        let mut silent = drain(&mut tap).len() - 1;
        for now in (40..=1020).step_by(20) {
            tap.tick(ms(now));
            silent += drain(&mut tap).len();
        }
        assert_eq!(silent, 47);
        tap.packet(8000, &[2; 160], ms(1020));
        assert_eq!(drain(&mut tap).iter().filter(|(sample, _)| *sample == 2).count(), 1);
    }
}

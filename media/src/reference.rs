//! What was sent, on the clock of what is heard: the reference that the echo filter compares with.
//!
//! An echo filter learns how long after it was sent a sound comes back, so that time must not wobble with the network's jitter.
//! What is heard counts samples, and the reference goes along with it, sample for sample. Only when the arrivals prove the
//! count wrong (a clock that drifts, audio that was left out or came twice) does it jump, by whole blocks of the echo filter,
//! and says by how many. How long the echo takes is deliberately absent: that is for the filter to find.

use crate::echo::BLOCK;
use crate::{FRAME, Frame, Moment, PER_MS, SILENCE, samples_at};

/// Follows one leg. After construction it allocates nothing.
#[derive(Debug)]
pub struct SentReference {
    /// A second of samples; each stands where its time says.
    ring: Box<[i16; CAPACITY]>,
    /// End of what was sent, samples since the origin of time.
    sent_until: i64,
    ticks: Option<Ticks>,
    /// End of the reference handed out so far.
    read_until: Option<i64>,
    lateness: Lateness,
    jumped: i32,
}

impl SentReference {
    /// Nothing was sent yet.
    pub fn new() -> Self {
        Self {
            ring: Box::new([0; CAPACITY]),
            sent_until: 0,
            ticks: None,
            read_until: None,
            lateness: Lateness::NEW,
            jumped: 0,
        }
    }

    /// These 20 ms play from `at` on. Frames of silence need not be told.
    ///
    /// Ticks may be late by up to 16 ms: the far side counts frames, not ticks. More than 600 ms ahead of what is heard there
    /// is no room.
    pub fn sent(&mut self, frame: &Frame, at: Moment) {
        let begins = Ticks::place(&mut self.ticks, samples_at(at));
        let silent = begins.saturating_sub(self.sent_until).clamp(0, CAPACITY as i64);
        for place in begins - silent..begins {
            self.ring[slot(place)] = 0;
        }
        for (place, &sample) in (begins..).zip(frame) {
            self.ring[slot(place)] = sample;
        }
        self.sent_until = begins + FRAME as i64;
    }

    /// Nothing of what plays from `at` on was played after all.
    pub fn cleared(&mut self, at: Moment) {
        let late = self.ticks.as_ref().map_or(0, |ticks| ticks.late);
        self.sent_until = self.sent_until.min(samples_at(at) - late);
    }

    /// The 20 ms of reference for the next 20 ms that were heard, whose last packet arrived at `arrival`.
    pub fn heard_until(&mut self, arrival: Moment) -> Frame {
        let begins = self.align(samples_at(arrival));
        self.read_until = Some(begins + FRAME as i64);
        let mut frame = SILENCE;
        self.copy(begins, &mut frame);
        frame
    }

    /// By how many blocks the reference has jumped since this was last asked: forward is positive, and makes every echo seem
    /// that much later.
    pub fn jumped(&mut self) -> i32 {
        core::mem::take(&mut self.jumped)
    }

    fn copy(&self, begins: i64, samples: &mut [i16]) {
        let known = self.sent_until - CAPACITY as i64..self.sent_until;
        for (place, sample) in (begins..).zip(samples) {
            *sample = if known.contains(&place) { self.ring[slot(place)] } else { 0 };
        }
    }

    /// Where the next frame of reference begins.
    fn align(&mut self, arrival: i64) -> i64 {
        let frame = FRAME as i64;
        let Some(begins) = self.read_until else { return arrival - MARGIN - frame };
        let late = arrival - (begins + frame);
        let wrong = if (0..=LOST).contains(&late) {
            self.lateness.note(late).filter(|least| *least > MOST_LATE)
        } else {
            Some(late)
        };
        let Some(wrong) = wrong else { return begins };
        let blocks = (wrong - MARGIN).div_euclid(BLOCK as i64);
        self.lateness = Lateness::NEW;
        self.jumped =
            self.jumped.saturating_add(i32::try_from(blocks).unwrap_or(if blocks < 0 { i32::MIN } else { i32::MAX }));
        begins + blocks * BLOCK as i64
    }
}

impl Default for SentReference {
    fn default() -> Self {
        Self::new()
    }
}

/// The grid of 20 ms on which frames are sent, and how late its ticks come at least.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    origin: i64,
    late: i64,
}

impl Ticks {
    /// Where on the grid a frame belongs that is said to begin at `at`.
    fn place(ticks: &mut Option<Self>, at: i64) -> i64 {
        let grid = ticks.get_or_insert(Self { origin: at, late: 0 });
        let offset = at - grid.origin - grid.late + EARLY;
        let rest = offset.rem_euclid(FRAME as i64) - EARLY;
        // Nothing comes early: a tick before its time shows that the others were late. The reverse is learned slowly.
        grid.late += if rest < 0 { rest } else { rest.signum() };
        let begins = grid.origin + offset.div_euclid(FRAME as i64) * FRAME as i64;
        if grid.late.abs() > OFF_THE_GRID {
            *ticks = None;
        }
        begins
    }
}

/// The least lateness of the last 1 to 2 s, samples.
#[derive(Clone, Copy, Debug)]
struct Lateness {
    current: i64,
    before: Option<i64>,
    frames: u32,
}

impl Lateness {
    const NEW: Self = Self { current: i64::MAX, before: None, frames: 0 };

    /// Takes a frame's lateness; the least one, once enough frames came.
    fn note(&mut self, late: i64) -> Option<i64> {
        self.current = self.current.min(late);
        self.frames += 1;
        let least = self.before.map(|before| before.min(self.current));
        if self.frames == SECOND {
            *self = Self { before: Some(self.current), ..Self::NEW };
        }
        least
    }
}

fn slot(place: i64) -> usize {
    place.rem_euclid(CAPACITY as i64) as usize
}

/// 1024 ms.
const CAPACITY: usize = 8192;
/// A tick this much before its time is still its own: 4 ms.
const EARLY: i64 = 4 * PER_MS as i64;
/// A grid is given up when ticks move off it for good: 10 ms.
const OFF_THE_GRID: i64 = 10 * PER_MS as i64;
/// After a jump the earliest packets are 10 to 20 ms later than the reference: it never gets ahead of what is known to be sent.
const MARGIN: i64 = 10 * PER_MS as i64;
/// The earliest packets of a second may lag this far: 80 ms, more than the silence that stands for lost packets.
const MOST_LATE: i64 = 80 * PER_MS as i64;
/// No jitter is that long: audio was left out. 400 ms.
const LOST: i64 = 400 * PER_MS as i64;
/// Frames.
const SECOND: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: i64 = 37 * PER_MS as i64;

    /// A sample that tells its own time.
    fn sample(place: i64) -> i16 {
        (place % 30_011) as i16
    }

    fn moment(samples: i64) -> Moment {
        Moment::from_micros(samples.unsigned_abs() * 125)
    }

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    struct Line {
        reference: SentReference,
        dice: u64,
        told: i64,
        /// Lag of the reference behind the sample that is being heard, of each frame.
        lags: Vec<i64>,
        jumps: Vec<i32>,
    }

    impl Line {
        fn new() -> Self {
            Self { reference: SentReference::new(), dice: 7, told: 0, lags: Vec::new(), jumps: Vec::new() }
        }

        /// The frames that were sent before `now`, at ticks that are up to 8 ms late.
        fn send_until(&mut self, now: i64) {
            while self.told + 64 < now {
                let late = (random(&mut self.dice) % 64) as i64;
                let frame = core::array::from_fn(|n| sample(self.told + n as i64));
                self.reference.sent(&frame, moment(self.told + late));
                self.told += FRAME as i64;
            }
        }

        /// The frame whose last sample was heard at `heard`, by our clock, arrives.
        fn hear(&mut self, heard: i64, arrival: i64) {
            self.send_until(arrival);
            let frame = self.reference.heard_until(moment(arrival));
            let jump = self.reference.jumped();
            if jump != 0 {
                self.jumps.push(jump);
            }
            let ends = i64::from(frame[FRAME - 1]);
            let lag = (heard - 1 - ends).rem_euclid(30_011);
            self.lags.push(if lag > 15_000 { lag - 30_011 } else { lag });
        }
    }

    #[test]
    fn jitter_of_the_network_does_not_move_the_reference() {
        for jitter_ms in [20, 40, 60] {
            let mut line = Line::new();
            let mut latest = 0;
            for packet in 10..3000 {
                let heard = packet * FRAME as i64;
                let late = (random(&mut line.dice) % (jitter_ms * PER_MS as u64)) as i64;
                // Packets stay in order, so that some come in bursts.
                latest = latest.max(heard + DELAY + late);
                line.hear(heard, latest);
            }
            let settled = &line.lags[200..];
            assert!(settled.iter().all(|lag| *lag == settled[0]), "{jitter_ms} ms: {:?}", line.jumps);
            assert!(line.jumps.len() <= 2, "{:?}", line.jumps);
        }
    }

    #[test]
    fn frames_that_stand_for_lost_ones_keep_their_place() {
        let mut line = Line::new();
        let mut held = 0;
        for packet in 10..3000 {
            held += 1;
            if random(&mut line.dice) % 100 < 5 {
                continue;
            }
            // The tap gives the silence for those that did not come together with the next one that does.
            let arrival = packet * FRAME as i64 + DELAY;
            for back in (0..held).rev() {
                line.hear((packet - back) * FRAME as i64, arrival);
            }
            held = 0;
        }
        assert!(line.lags.iter().all(|lag| *lag == line.lags[0]) && line.jumps.is_empty(), "{:?}", line.jumps);
    }

    #[test]
    fn a_drifting_clock_costs_a_jump_a_minute_at_most() {
        for ppm in [-200i64, 200] {
            let mut line = Line::new();
            for packet in 10..180_000 {
                let heard = packet * FRAME as i64 * (1_000_000 + ppm) / 1_000_000;
                let jitter = (random(&mut line.dice) % 160) as i64;
                line.hear(heard, heard + DELAY + jitter);
            }
            let (least, most) = (line.lags.iter().min().unwrap(), line.lags.iter().max().unwrap());
            assert!(most - least <= 100 * PER_MS as i64, "{ppm} ppm: {least} to {most}");
            // Never ahead of what can have been sent: all samples are known.
            assert!(*least + DELAY > -(FRAME as i64), "{least}");
            assert!(!line.jumps.is_empty() && line.jumps.len() <= 75, "{ppm} ppm: {} jumps", line.jumps.len());
            assert!(line.jumps[1..].iter().all(|jump| jump.signum() == ppm.signum() as i32), "{:?}", line.jumps);
        }
    }

    #[test]
    fn what_was_cleared_was_never_sent() {
        let mut reference = SentReference::new();
        let ms = Moment::from_millis;
        reference.heard_until(ms(1000));
        for tick in 0..10 {
            reference.sent(&[5; FRAME], ms(1000 + 20 * tick));
        }
        reference.cleared(ms(1105));
        let heard: Vec<i16> = (1..=10).flat_map(|frame| reference.heard_until(ms(1000 + 20 * frame))).collect();
        assert_eq!(heard.iter().filter(|sample| **sample == 5).count(), 105 * PER_MS);
        reference.sent(&[6; FRAME], ms(1300));
        let heard: Vec<i16> = (11..=20).flat_map(|frame| reference.heard_until(ms(1000 + 20 * frame))).collect();
        assert_eq!(heard.iter().filter(|sample| **sample != 0).count(), FRAME);
    }

    #[test]
    fn audio_that_was_left_out_is_noticed_at_once() {
        let mut line = Line::new();
        for packet in 10..100 {
            line.hear(packet * FRAME as i64, packet * FRAME as i64 + DELAY);
        }
        for packet in 160..200 {
            line.hear(packet * FRAME as i64, packet * FRAME as i64 + DELAY);
        }
        let (before, after) = (line.lags[89], line.lags[90]);
        assert!((before - after).abs() <= 20 * PER_MS as i64, "{before} {after}");
        assert_eq!(line.jumps.len(), 1);
        // And what comes twice.
        for packet in 190..220 {
            line.hear(packet * FRAME as i64, packet.max(200) * FRAME as i64 + DELAY);
        }
        assert!((line.lags.last().unwrap() - before).abs() <= 20 * PER_MS as i64 + 80, "{:?}", line.lags);
    }
}

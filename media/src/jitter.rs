//! Adaptive jitter buffer: packets in any order in, 20 ms frames out.
//!
//! Samples lie in a ring at the place that their timestamp gives them, so packet length, order and
//! duplication need no case of their own. The ring holds linear samples: one RTP timestamp tick is one
//! sample, and the decoder has run for the speech detector by then anyway.

use crate::comfort;
use crate::conceal::{Concealer, LOOK_AHEAD};
use crate::delay::DelayMeter;
use crate::level::{NoiseFloor, rms_dbfs};
use crate::rtp::{SequenceStep, SequenceTracker, sequence_distance, timestamp_distance};
use crate::tone::ComfortNoise;
use crate::{FRAME, Frame, Moment, PER_MS, samples_at};

/// Fixed-memory (16 KB) reordering and delay for one stream of 8 kHz audio.
#[derive(Debug)]
pub struct JitterBuffer {
    ring: Box<[i16; CAPACITY]>,
    /// Extended timestamp of the next sample to play.
    playhead: i64,
    /// One past the newest sample in the ring.
    newest: i64,
    last_timestamp: Option<(u32, i64)>,
    /// One past the newest sample that came, and the number of the packet that came furthest ahead.
    heard_until: i64,
    newest_sequence: Option<u16>,
    /// Silence that the sender keeps on purpose.
    quiet: Option<Quiet>,
    noise: ComfortNoise,
    /// Invented while nothing further had come: lost, late, or never sent; the next packet tells.
    unsure_ms: u64,
    /// Where the decoder's own concealment put audio.
    made: (i64, i64),
    waiting: bool,
    delay_now: i64,
    /// A key is held at the far side, so that its audio pauses.
    key_down: bool,
    since_squeeze: u32,
    held: Option<Held>,
    held_samples: Box<[i16; MAX_SAMPLES]>,
    sequence: SequenceTracker,
    meter: DelayMeter,
    concealer: Concealer,
    floor: NoiseFloor,
    counts: JitterStats,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// Kept for playing.
    Stored,
    /// Came before.
    Duplicate,
    /// Its time to play is over.
    Late,
    /// Far off in time; kept aside until the next packet confirms or refutes the jump.
    Held,
    /// The stream jumped and goes on from here.
    Resynchronised,
    /// Empty or longer than [`MAX_SAMPLES`].
    Refused,
}

/// What a pulled frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Mostly received audio.
    Played,
    /// Mostly invented audio, in place of packets that did not come.
    Concealed,
    /// Nothing to play.
    Silence,
}

/// Counters since the buffer was made, and gauges of this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JitterStats {
    /// Packets received, duplicates not counted.
    pub received: u64,
    /// Packets that never came (RFC 3550 appendix A.3).
    pub lost: u64,
    /// Packets that came after their time to play.
    pub late: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Jumps of the timestamp that were followed.
    pub resyncs: u64,
    /// Invented audio, ms.
    pub concealed_ms: u64,
    /// Audio of lost packets that other packets brought (in-band FEC), ms.
    pub recovered_ms: u64,
    /// Audio left out to lower the delay, ms.
    pub skipped_ms: u64,
    /// Audio repeated to raise the delay, ms.
    pub stretched_ms: u64,
    /// Interarrival jitter (RFC 3550 appendix A.8), ms.
    pub jitter_ms: f32,
    /// Hold time of the frame pulled last, ms.
    pub delay_ms: u32,
    /// Hold time aimed for, ms.
    pub target_ms: u32,
}

impl JitterBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self {
            ring: Box::new([ABSENT; CAPACITY]),
            playhead: 0,
            newest: 0,
            last_timestamp: None,
            heard_until: 0,
            newest_sequence: None,
            quiet: None,
            noise: ComfortNoise::new(NOISE_SEED, QUIET_DBFS),
            unsure_ms: 0,
            made: (0, 0),
            waiting: true,
            delay_now: 0,
            key_down: false,
            since_squeeze: 0,
            held: None,
            held_samples: Box::new([0; MAX_SAMPLES]),
            sequence: SequenceTracker::default(),
            meter: DelayMeter::new(),
            concealer: Concealer::new(),
            floor: NoiseFloor::new(QUIET_DBFS),
            counts: JitterStats::default(),
        }
    }

    /// Takes the decoded samples of a packet that arrived at `arrival`.
    pub fn insert(&mut self, sequence: u16, timestamp: u32, samples: &[i16], arrival: Moment) -> Inserted {
        if samples.is_empty() || samples.len() > MAX_SAMPLES {
            return Inserted::Refused;
        }
        let arrival = samples_at(arrival);
        if self.is_jump(timestamp, arrival) {
            return self.confirm_jump(sequence, timestamp, samples, arrival);
        }
        self.held = None;
        self.key_down = false;
        match self.sequence.note(sequence) {
            SequenceStep::Duplicate => {
                self.counts.duplicates += 1;
                return Inserted::Duplicate;
            }
            SequenceStep::Reordered => self.counts.reordered += 1,
            SequenceStep::Ahead | SequenceStep::Restart => {}
        }
        self.settle(sequence, timestamp);
        self.store(timestamp, samples, arrival)
    }

    /// A packet of `length` samples came whose turn to be decoded is over.
    pub fn past(&mut self, sequence: u16, timestamp: u32, length: usize, arrival: Moment) -> Inserted {
        if self.sequence.note(sequence) == SequenceStep::Duplicate {
            self.counts.duplicates += 1;
            return Inserted::Duplicate;
        }
        let (arrival, start) = (samples_at(arrival), self.extend(timestamp));
        if self.last_timestamp.is_some() && !self.is_jump(timestamp, arrival) {
            self.meter.note(arrival, start, length as i64);
        }
        self.counts.reordered += 1;
        self.counts.late += 1;
        Inserted::Late
    }

    /// Puts audio that the decoder made for lost packets in their place; the last `redundant` samples of it are true.
    pub fn fill(&mut self, timestamp: u32, samples: &[i16], redundant: usize) {
        let start = self.extend(timestamp);
        let end = start + samples.len() as i64;
        if self.last_timestamp.is_none() || end <= self.playhead || end - self.playhead > CAPACITY as i64 {
            return;
        }
        for (place, &sample) in (start..).zip(samples) {
            if place >= self.playhead && self.ring[slot(place)] == ABSENT {
                self.ring[slot(place)] = sample.max(ABSENT + 1);
            }
        }
        self.newest = self.newest.max(end);
        let made_until = end - redundant.min(samples.len()) as i64;
        self.made = (start, made_until);
        let ms = |from: i64, to: i64| u64::from(to_ms((to - from.max(self.playhead)).max(0)));
        self.counts.recovered_ms += ms(made_until, end);
        self.counts.concealed_ms += ms(start, made_until);
    }

    /// The sender falls silent on purpose (RFC 3389): until audio comes, what is missing is noise of this level.
    pub fn comfort_noise(&mut self, sequence: u16, level: comfort::Level) -> Inserted {
        let is_old = self.newest_sequence.is_some_and(|newest| sequence_distance(sequence, newest) < 0);
        if self.last_timestamp.is_some() && self.sequence.note(sequence) == SequenceStep::Duplicate {
            return Inserted::Duplicate;
        }
        if is_old {
            return Inserted::Late;
        }
        if self.is_next(sequence) {
            self.unsure_ms = 0;
        }
        self.newest_sequence = Some(sequence);
        self.noise.set_level(level.dbfs());
        self.quiet = Some(Quiet { until: None });
        Inserted::Stored
    }

    /// Whether the sender announced silence and has sent no audio since.
    pub fn silence_announced(&self) -> bool {
        self.quiet.is_some_and(|quiet| quiet.until.is_none())
    }

    /// Whether the next [`JitterBuffer::pull`] would lack samples.
    pub fn runs_short(&self, now: Moment) -> bool {
        if self.last_timestamp.is_none() {
            return true;
        }
        let excess = samples_at(now) - self.meter.base() - self.playhead - self.meter.target();
        (!self.waiting || excess >= 0) && self.present(self.playhead, FRAME) < FRAME
    }

    /// A packet of the stream held a telephone event instead of audio: it is not lost, and until audio comes again what
    /// is missing is silence.
    pub fn event(&mut self, sequence: u16) {
        if self.last_timestamp.is_some() {
            self.sequence.note(sequence);
        }
        if self.newest_sequence.is_none_or(|newest| sequence_distance(sequence, newest) > 0) {
            self.newest_sequence = Some(sequence);
        }
        self.key_down = true;
    }

    /// Fills the next 20 ms, to be called every 20 ms.
    pub fn pull(&mut self, now: Moment, frame: &mut Frame) -> FrameKind {
        let Some(base) = self.last_timestamp.map(|_| self.meter.base()) else {
            frame.fill(0);
            return FrameKind::Silence;
        };
        let delay = samples_at(now) - base - self.playhead;
        let excess = delay - self.meter.target();
        if self.waiting && excess < 0 {
            frame.fill(0);
            return FrameKind::Silence;
        }
        self.waiting = false;
        self.leap_hole(excess);
        if self.newest > self.playhead {
            self.delay_now = samples_at(now) - base - self.playhead;
        }
        self.quiet = self.quiet.filter(|quiet| quiet.until.is_none_or(|until| self.playhead < until));
        self.since_squeeze = self.since_squeeze.saturating_add(1);
        if self.present(self.playhead, FRAME) == FRAME {
            self.play_whole(excess, frame)
        } else {
            self.play_parts(frame)
        }
    }

    /// Forgets the stream but keeps the counters: another source follows.
    pub fn reset(&mut self) {
        self.ring.fill(ABSENT);
        self.last_timestamp = None;
        self.waiting = true;
        self.held = None;
        (self.quiet, self.newest_sequence, self.unsure_ms, self.made) = (None, None, 0, (0, 0));
        self.meter = DelayMeter::new();
        let counts = self.stats();
        self.sequence = SequenceTracker::default();
        self.counts = counts;
    }

    /// Counters and gauges.
    pub fn stats(&self) -> JitterStats {
        JitterStats {
            received: self.counts.received + self.sequence.received(),
            lost: self.counts.lost + self.sequence.lost(),
            jitter_ms: self.meter.jitter() / PER_MS as f32,
            delay_ms: to_ms(self.delay_now),
            target_ms: to_ms(self.meter.target()),
            ..self.counts
        }
    }

    fn extend(&self, timestamp: u32) -> i64 {
        match self.last_timestamp {
            Some((last, extended)) => extended + i64::from(timestamp_distance(timestamp, last)),
            None => i64::from(timestamp),
        }
    }

    fn is_jump(&self, timestamp: u32, arrival: i64) -> bool {
        let Some(latest) = self.meter.latest() else { return false };
        let transit = arrival - self.extend(timestamp);
        (transit - latest).abs() > JUMP && (transit - self.meter.base()).abs() > JUMP
    }

    /// One stray packet must not move the stream; two that agree do.
    fn confirm_jump(&mut self, sequence: u16, timestamp: u32, samples: &[i16], arrival: i64) -> Inserted {
        let confirmed = self.held.take_if(|held| {
            (1..=MOST_STEPS).contains(&sequence_distance(sequence, held.sequence))
                && (1..=JUMP).contains(&i64::from(timestamp_distance(timestamp, held.timestamp)))
        });
        let Some(held) = confirmed else {
            let (length, room) = (samples.len(), &mut self.held_samples);
            room.iter_mut().zip(samples).for_each(|(kept, &sample)| *kept = sample);
            self.held = Some(Held { sequence, timestamp, length, arrival });
            return Inserted::Held;
        };
        self.reset();
        self.counts.resyncs += 1;
        self.sequence.note(held.sequence);
        let kept = *self.held_samples;
        self.newest_sequence = Some(sequence);
        self.store(held.timestamp, kept.get(..held.length).unwrap_or(&[]), held.arrival);
        self.sequence.note(sequence);
        self.store(timestamp, samples, arrival);
        Inserted::Resynchronised
    }

    fn is_next(&self, sequence: u16) -> bool {
        self.newest_sequence.is_some_and(|newest| sequence.wrapping_sub(newest) == 1)
    }

    /// Decides what a gap before this packet was: if no number is missing, the sender was silent and nothing was lost.
    fn settle(&mut self, sequence: u16, timestamp: u32) {
        let start = self.extend(timestamp);
        let paused = self.is_next(sequence) && self.last_timestamp.is_some() && start > self.heard_until;
        if let Some(quiet) = &mut self.quiet {
            quiet.until = Some(quiet.until.map_or(start, |until| until.min(start)));
        } else if paused {
            self.noise.set_level(self.floor.dbfs().min(QUIET_DBFS));
            self.quiet = Some(Quiet { until: Some(start) });
        }
        if !paused {
            self.counts.concealed_ms += self.unsure_ms;
        }
        self.unsure_ms = 0;
        if self.newest_sequence.is_none_or(|newest| !(-BACK..=0).contains(&sequence_distance(sequence, newest))) {
            self.newest_sequence = Some(sequence);
        }
    }

    fn store(&mut self, timestamp: u32, samples: &[i16], arrival: i64) -> Inserted {
        let length = samples.len() as i64;
        let start = self.extend(timestamp);
        let end = start + length;
        if self.last_timestamp.is_none() {
            (self.playhead, self.newest, self.heard_until) = (start, start, start);
        } else if self.waiting && start < self.playhead {
            // Nothing has been played yet, so an earlier packet may still move the beginning.
            self.playhead = start.max(self.newest - CAPACITY as i64);
        }
        self.meter.note(arrival, start, length);
        if self.last_timestamp.is_none_or(|(_, last)| start > last) {
            self.last_timestamp = Some((timestamp, start));
        }
        if end <= self.playhead {
            self.counts.late += 1;
            return Inserted::Late;
        }
        if end - self.playhead > CAPACITY as i64 {
            self.drop_until(end - CAPACITY as i64);
        }
        for (place, &sample) in (start..).zip(samples) {
            if place >= self.playhead {
                // The value that marks an empty place is one that G.711 never decodes to.
                self.ring[slot(place)] = sample.max(ABSENT + 1);
            }
        }
        self.newest = self.newest.max(end);
        self.heard_until = self.heard_until.max(end);
        Inserted::Stored
    }

    /// Length of the run of received samples from `from`, at most `limit`.
    fn present(&self, from: i64, limit: usize) -> usize {
        (from..).take(limit).take_while(|&place| self.ring[slot(place)] != ABSENT).count()
    }

    /// Length of the gap from `from` to the next received sample; `None` if nothing follows.
    fn gap(&self, from: i64) -> Option<usize> {
        let ahead = usize::try_from(self.newest - from).ok()?;
        let gap = (from..).take(ahead).take_while(|&place| self.ring[slot(place)] == ABSENT).count();
        (gap < ahead).then_some(gap)
    }

    /// A gap that was already waited for is not waited for again.
    fn leap_hole(&mut self, excess: i64) {
        if excess < FRAME as i64 {
            return;
        }
        if let Some(gap) = self.gap(self.playhead).filter(|&gap| gap > 0) {
            let leap = (gap as i64).min(excess);
            self.drop_until(self.playhead + leap);
        }
    }

    fn play_whole(&mut self, excess: i64, frame: &mut Frame) -> FrameKind {
        let (from, until) = self.made;
        let invented = (until.min(self.playhead + FRAME as i64) - from.max(self.playhead)) * 2 >= FRAME as i64;
        self.take(frame);
        let level = rms_dbfs(frame);
        let quiet = level < self.floor.push(level).max(QUIET_DBFS) + QUIET_MARGIN_DB;
        let squeeze = (excess > LOOSE && quiet) || (excess > FAR_TOO_LONG && self.since_squeeze > RECOVERY_FRAMES);
        if squeeze && self.present(self.playhead, FRAME) == FRAME {
            let mut next = [0; FRAME];
            self.take(&mut next);
            cross_fade(frame, &next);
            self.counts.skipped_ms += u64::from(crate::FRAME_MS);
            self.since_squeeze = 0;
        } else if excess < -SHORT && quiet {
            self.put_back(frame);
            self.counts.stretched_ms += u64::from(crate::FRAME_MS);
        }
        self.concealer.heard(frame);
        if invented { FrameKind::Concealed } else { FrameKind::Played }
    }

    fn play_parts(&mut self, frame: &mut Frame) -> FrameKind {
        let mut rest = &mut frame[..];
        let (mut concealed, mut quiet, mut unsure) = (0, 0, 0);
        while !rest.is_empty() {
            let present = self.present(self.playhead, rest.len());
            let gap = if present == 0 { self.gap(self.playhead) } else { None };
            let length = if present > 0 { present } else { gap.map_or(rest.len(), |gap| gap.min(rest.len())) };
            let (part, after) = rest.split_at_mut(length);
            if present > 0 {
                self.take(part);
                self.concealer.heard(part);
            } else if self.quiet.is_some() {
                self.noise.fill(part);
                quiet += length;
            } else {
                self.conceal(gap, part);
                concealed += length;
                unsure += if gap.is_none() { length } else { 0 };
            }
            // With nothing beyond, packets are late rather than lost: hold the place for them.
            if present == 0 && self.newest > self.playhead {
                self.drop_until(self.playhead + length as i64);
            }
            rest = after;
        }
        self.judge_parts(concealed, quiet, unsure, frame)
    }

    fn judge_parts(&mut self, concealed: usize, quiet: usize, unsure: usize, frame: &mut Frame) -> FrameKind {
        if (concealed + quiet) * 2 < FRAME {
            return FrameKind::Played;
        }
        if quiet >= concealed || self.concealer.faded() && concealed == FRAME {
            return FrameKind::Silence;
        }
        if self.key_down {
            // The sender replaces audio by the key (RFC 4733 section 2.5.1.2): nothing was lost.
            frame.fill(0);
            return FrameKind::Silence;
        }
        self.counts.concealed_ms += ((concealed - unsure) / PER_MS) as u64;
        self.unsure_ms += (unsure / PER_MS) as u64;
        FrameKind::Concealed
    }

    /// Fills a gap; where its end is known, so that it leads over to what comes next.
    fn conceal(&mut self, gap: Option<usize>, part: &mut [i16]) {
        let Some(gap) = gap else { return self.concealer.conceal(part) };
        let beyond = self.playhead + gap as i64;
        let mut future = [0; LOOK_AHEAD];
        let known = self.present(beyond, LOOK_AHEAD);
        for (place, sample) in (beyond..).zip(future.iter_mut().take(known)) {
            *sample = self.ring[slot(place)];
        }
        self.concealer.conceal_towards(part, gap, future.get(..known).unwrap_or_default());
    }

    /// Moves samples out of the ring.
    fn take(&mut self, out: &mut [i16]) {
        for (place, sample) in (self.playhead..).zip(out.iter_mut()) {
            *sample = core::mem::replace(&mut self.ring[slot(place)], ABSENT);
        }
        self.playhead += out.len() as i64;
    }

    fn put_back(&mut self, frame: &Frame) {
        self.playhead -= FRAME as i64;
        for (place, &sample) in (self.playhead..).zip(frame) {
            self.ring[slot(place)] = sample;
        }
    }

    fn drop_until(&mut self, place: i64) {
        let steps = usize::try_from(place - self.playhead).unwrap_or(0).min(CAPACITY);
        for stale in (self.playhead..).take(steps) {
            self.ring[slot(stale)] = ABSENT;
        }
        self.playhead = place;
        self.newest = self.newest.max(place);
    }
}

impl Default for JitterBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// The most samples that one packet may carry: 120 ms, the longest of Opus.
pub const MAX_SAMPLES: usize = 120 * PER_MS;

/// Silence on purpose.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    /// Where audio begins again, once it has come.
    until: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    sequence: u16,
    timestamp: u32,
    length: usize,
    arrival: i64,
}

fn slot(place: i64) -> usize {
    place.cast_unsigned() as usize % CAPACITY
}

fn to_ms(samples: i64) -> u32 {
    u32::try_from(samples / PER_MS as i64).unwrap_or(0)
}

/// Glides from the beginning of `frame` into `next` over 5 ms and leaves `next` after that.
fn cross_fade(frame: &mut Frame, next: &Frame) {
    const WIDTH: usize = 5 * PER_MS;
    for (index, (sample, &wanted)) in frame.iter_mut().zip(next).enumerate() {
        let weight = ((index + 1) as f32 / WIDTH as f32).min(1.0);
        *sample = crate::to_sample(f32::from(*sample) * (1.0 - weight) + f32::from(wanted) * weight);
    }
}

/// A power of two: 1.024 s.
const CAPACITY: usize = 8192;
const ABSENT: i16 = i16::MIN;
/// A change of transit that no network delay explains: 1 s.
const JUMP: i64 = 1000 * PER_MS as i64;
const MOST_STEPS: i16 = 10;
/// A number further back than this is no reordering but another numbering.
const BACK: i16 = 100;
const QUIET_DBFS: f32 = -55.0;
const NOISE_SEED: u64 = 2;
const QUIET_MARGIN_DB: f32 = 6.0;
/// Delay beyond the target that is taken out in the next quiet frame: 30 ms.
const LOOSE: i64 = 30 * PER_MS as i64;
/// Delay beyond the target that is taken out of speech too: 80 ms, one frame in eight.
const FAR_TOO_LONG: i64 = 80 * PER_MS as i64;
const RECOVERY_FRAMES: u32 = 8;
/// Delay below the target that is made up in the next quiet frame: 15 ms.
const SHORT: i64 = 15 * PER_MS as i64;

//! The audio of one stream: decoder, tap and jitter buffer, and the order in which they hear of a packet.
//!
//! G.711 is decoded as it comes, whatever its order. Codecs with a memory pass the sequencer: in order they are decoded
//! as they come too; behind a gap they wait until the jitter buffer would have to play it. Then Opus makes the missing
//! audio from the packet after it (in-band FEC), and G.722 leaves it to the jitter buffer's concealment.

use crate::codec::opus::{self, OpusDecoder};
use crate::codec::{CodecError, CodecKind, Decoder};
use crate::comfort;
use crate::jitter::{FrameKind, Inserted, JitterBuffer, JitterStats, MAX_SAMPLES};
use crate::rtp::timestamp_distance;
use crate::sequencer::{Place, Sequencer};
use crate::tap::Tap;
use crate::{Frame, Moment, RATE_HZ};

#[derive(Debug)]
pub(super) struct Audio {
    kind: CodecKind,
    decoder: Decoder,
    timeline: Timeline,
    sequencer: Sequencer,
    tap: Tap,
    jitter: JitterBuffer,
    room: Box<[i16; MAX_SAMPLES]>,
    /// Where the audio decoded last ends, 8 kHz.
    end: Option<u32>,
    /// Packets that were corrupt when their turn to be decoded came.
    pub(super) corrupt: u64,
}

impl Audio {
    pub(super) fn new(kind: CodecKind) -> Self {
        Self {
            kind,
            decoder: Decoder::new(kind),
            timeline: Timeline::default(),
            sequencer: sequencer(kind),
            tap: Tap::new(),
            jitter: JitterBuffer::new(),
            room: Box::new([0; MAX_SAMPLES]),
            end: None,
            corrupt: 0,
        }
    }

    /// Goes on with another codec. What waits to be played stays, unless timestamps count at another rate from now on.
    pub(super) fn switch(&mut self, kind: CodecKind) {
        if kind == self.kind {
            return;
        }
        let same_clock = kind.clock_hz() == self.kind.clock_hz();
        (self.kind, self.decoder, self.end) = (kind, Decoder::new(kind), None);
        self.sequencer = sequencer(kind);
        if !same_clock {
            self.restart();
        }
    }

    /// Another stream follows.
    pub(super) fn restart(&mut self) {
        self.decoder = Decoder::new(self.kind);
        (self.timeline, self.end) = (Timeline::default(), None);
        self.sequencer.reset();
        self.jitter.reset();
        self.tap.reset();
    }

    pub(super) fn packet(
        &mut self,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
        arrival: Moment,
    ) -> Result<Inserted, CodecError> {
        let timestamp = self.timeline.place_8_khz(timestamp, self.kind.clock_hz());
        if matches!(self.decoder, Decoder::G711(_)) {
            return self.decode(sequence, timestamp, payload, arrival);
        }
        let length = if self.kind == CodecKind::Opus { OpusDecoder::duration(payload)? } else { payload.len() };
        match self.sequencer.place(sequence) {
            Place::Behind => return Ok(self.jitter.past(sequence, timestamp, length, arrival)),
            Place::Ahead if self.sequencer.hold(sequence, timestamp, payload, arrival) => return Ok(Inserted::Stored),
            Place::Ahead => self.give_up(),
            Place::Next => {}
        }
        let outcome = self.decode(sequence, timestamp, payload, arrival);
        self.sequencer.passed(sequence);
        self.follow_up();
        outcome
    }

    /// A packet that was no audio took this number.
    pub(super) fn aside(&mut self, sequence: u16) {
        if matches!(self.decoder, Decoder::G711(_)) {
            return;
        }
        match self.sequencer.place(sequence) {
            Place::Next => {
                self.sequencer.passed(sequence);
                self.follow_up();
            }
            Place::Ahead => {
                self.sequencer.hold(sequence, 0, &[], Moment::ZERO);
            }
            Place::Behind => {}
        }
    }

    /// A telephone event is going on in place of audio.
    pub(super) fn event(&mut self, sequence: u16) {
        self.jitter.event(sequence);
        self.aside(sequence);
    }

    /// The far side falls silent on purpose, with noise of this kind (RFC 3389).
    pub(super) fn comfort_noise(&mut self, sequence: u16, noise: comfort::Level) -> Inserted {
        let outcome = self.jitter.comfort_noise(sequence, noise);
        if outcome == Inserted::Stored {
            self.tap.comfort_noise(noise);
        }
        self.aside(sequence);
        outcome
    }

    /// Whether the last thing that came said that silence follows.
    pub(super) fn silence_announced(&self) -> bool {
        self.jitter.silence_announced()
    }

    pub(super) fn tick(&mut self, now: Moment) {
        self.release(now);
        self.tap.tick(now);
    }

    pub(super) fn tapped(&mut self, frame: &mut Frame) -> Option<Moment> {
        self.tap.frame(frame)
    }

    pub(super) fn pull(&mut self, now: Moment, frame: &mut Frame) -> FrameKind {
        self.release(now);
        self.jitter.pull(now, frame)
    }

    pub(super) fn stats(&self) -> JitterStats {
        self.jitter.stats()
    }

    fn decode(
        &mut self,
        sequence: u16,
        timestamp: u32,
        payload: &[u8],
        arrival: Moment,
    ) -> Result<Inserted, CodecError> {
        let samples = self.decoder.decode(payload, self.room.as_mut_slice())?;
        let samples = self.room.get(..samples).unwrap_or_default();
        let outcome = self.jitter.insert(sequence, timestamp, samples, arrival);
        if matches!(outcome, Inserted::Stored | Inserted::Late | Inserted::Resynchronised) {
            self.tap.packet(timestamp, samples, arrival);
            self.end = Some(timestamp.wrapping_add(samples.len() as u32));
        }
        Ok(outcome)
    }

    /// Decodes what waits when the gap before it is about to be played.
    fn release(&mut self, now: Moment) {
        while !self.sequencer.is_empty() && self.jitter.runs_short(now) {
            self.give_up();
            self.follow_up();
        }
    }

    /// Takes the missing packets for lost and goes on with the first that waits.
    fn give_up(&mut self) {
        let Some(waiting) = self.sequencer.take_first() else { return };
        if !self.sequencer.payload(&waiting).is_empty() {
            self.bridge(waiting.timestamp, &waiting);
        }
        self.play(&waiting);
    }

    /// Decodes packets in waiting as long as each is the next one.
    fn follow_up(&mut self) {
        while let Some(waiting) = self.sequencer.take_next() {
            self.play(&waiting);
        }
    }

    fn play(&mut self, waiting: &crate::sequencer::Waiting) {
        self.sequencer.passed(waiting.sequence);
        let mut payload = [0; LONGEST];
        let held = self.sequencer.payload(waiting);
        let Some(payload) = payload.get_mut(..held.len()).filter(|held| !held.is_empty()) else { return };
        payload.copy_from_slice(held);
        if self.decode(waiting.sequence, waiting.timestamp, payload, waiting.arrival).is_err() {
            self.corrupt += 1;
        }
    }

    /// Opus fills the gap before a packet: the nearest part from the packet itself, the rest by its own concealment.
    fn bridge(&mut self, until: u32, waiting: &crate::sequencer::Waiting) {
        let (Decoder::Opus(decoder), Some(end)) = (&mut self.decoder, self.end) else { return };
        let missing = usize::try_from(timestamp_distance(until, end)).unwrap_or(0);
        if !(1..=LONGEST_BRIDGE).contains(&missing) {
            return;
        }
        let payload = self.sequencer.payload(waiting);
        let redundant = if opus::has_lbrr(payload) { OpusDecoder::duration(payload).unwrap_or(0) } else { 0 };
        let Some(room) = self.room.get_mut(..missing) else { return };
        let Ok(made) = decoder.recover(payload, room) else { return };
        let made = self.room.get(..made).unwrap_or_default();
        self.jitter.fill(end, made, redundant.min(missing));
        self.tap.packet(end, made, waiting.arrival);
    }
}

fn sequencer(kind: CodecKind) -> Sequencer {
    match kind {
        CodecKind::Pcmu | CodecKind::Pcma => Sequencer::without_room(),
        CodecKind::G722 | CodecKind::Opus => Sequencer::new(),
    }
}

/// Timestamps of any clock as samples of 8 kHz, through their wraps.
#[derive(Debug, Default)]
struct Timeline {
    /// The newest timestamp, and its place on an endless line.
    newest: Option<(u32, i64)>,
}

impl Timeline {
    fn place_8_khz(&mut self, timestamp: u32, clock_hz: u32) -> u32 {
        let place = match self.newest {
            Some((newest, place)) => place + i64::from(timestamp_distance(timestamp, newest)),
            None => i64::from(timestamp),
        };
        self.newest = Some((timestamp, place));
        // The low half of the line: distances are what counts.
        (place.div_euclid(i64::from(clock_hz / RATE_HZ).max(1)) & i64::from(u32::MAX)) as u32
    }
}

/// No packet is longer than an Ethernet frame.
const LONGEST: usize = 1500;
/// Beyond 120 ms there is nothing to make up: 960 samples.
const LONGEST_BRIDGE: usize = 960;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_48_khz_keep_their_distance_through_a_wrap() {
        let mut timeline = Timeline::default();
        let mut timestamp = u32::MAX - 2000;
        let mut previous = timeline.place_8_khz(timestamp, 48_000);
        for _ in 0..100 {
            timestamp = timestamp.wrapping_add(960);
            let place = timeline.place_8_khz(timestamp, 48_000);
            assert_eq!(place.wrapping_sub(previous), 160);
            previous = place;
        }
        assert_eq!(Timeline::default().place_8_khz(0xFFFF_FFFF, 8000), 0xFFFF_FFFF);
    }
}

//! From datagrams to frames: the caller's audio on its way in, one screen.
//!
//! A packet goes to the tap (speech detection, at once) and to the jitter buffer (speech recognition and
//! recording, in order); telephone events go to the digits. Decryption happens before, echo cancelling after.

use crate::codec::{CodecKind, Decoder};
use crate::dtmf::{Digit, DtmfError, DtmfReceiver, KeyEdge};
use crate::jitter::{Inserted, JitterBuffer, JitterStats, MAX_SAMPLES};
use crate::rtp::{HEADER_LEN, Packet, RtpError, is_rtcp, timestamp_distance};
use crate::tap::Tap;
use crate::{Frame, Moment, RATE_HZ};

pub use crate::jitter::FrameKind;

/// What was agreed for the stream (SDP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundConfig {
    /// Codec of the audio.
    pub codec: CodecKind,
    /// Its payload type.
    pub payload_type: u8,
    /// Packet length that was agreed, ms; other lengths are taken all the same.
    pub ptime_ms: u32,
    /// Payload type of telephone events, if agreed.
    pub dtmf_payload_type: Option<u8>,
    /// Clock of the telephone events, Hz.
    pub dtmf_clock: u32,
    /// Payload type of comfort noise (RFC 3389), if agreed.
    pub comfort_noise_payload_type: Option<u8>,
}

impl InboundConfig {
    /// 20 ms per packet, no events, no comfort noise.
    pub const fn new(codec: CodecKind, payload_type: u8) -> Self {
        Self {
            codec,
            payload_type,
            ptime_ms: crate::FRAME_MS,
            dtmf_payload_type: None,
            dtmf_clock: RATE_HZ,
            comfort_noise_payload_type: None,
        }
    }
}

/// What a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Audio, now at the tap.
    Audio,
    /// A key went down (`Some`), or more of a key press that is known.
    Digit(Option<Digit>),
    /// Nothing to use.
    Ignored(Ignored),
}

/// Why a datagram was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// RTCP on the RTP port.
    Rtcp,
    /// A payload type that was not agreed.
    PayloadType(u8),
    /// Another source, not yet confirmed by a second packet.
    Source(u32),
    /// A telephone event that is no key.
    Event(u8),
    /// No payload.
    Empty,
    /// Came before.
    Duplicate,
    /// A jump in time, not yet confirmed by a second packet.
    Jump,
}

/// Counters of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InboundStats {
    /// The jitter buffer's counters.
    pub jitter: JitterStats,
    /// Datagrams that were ignored.
    pub ignored: u64,
    /// Datagrams that were malformed.
    pub malformed: u64,
    /// Changes of the source that were followed.
    pub source_changes: u64,
    /// Digits that found the queue full.
    pub digits_dropped: u64,
}

/// The receiving side of one RTP stream.
#[derive(Debug)]
pub struct RtpInbound {
    config: InboundConfig,
    decoder: Decoder,
    timeline: Timeline,
    source: Source,
    tap: Tap,
    jitter: JitterBuffer,
    dtmf: DtmfReceiver,
    digits: DigitQueue,
    counts: InboundStats,
}

impl RtpInbound {
    /// A stream that has received nothing.
    pub fn new(config: InboundConfig) -> Self {
        Self {
            config,
            decoder: Decoder::new(config.codec),
            timeline: Timeline::default(),
            source: Source::default(),
            tap: Tap::new(),
            jitter: JitterBuffer::new(),
            dtmf: DtmfReceiver::default(),
            digits: DigitQueue::default(),
            counts: InboundStats::default(),
        }
    }

    /// Takes a datagram that arrived at `arrival`.
    ///
    /// # Errors
    /// [`RtpError`] says where the datagram is malformed; it has no other effect.
    pub fn packet(&mut self, datagram: &[u8], arrival: Moment) -> Result<Arrival, RtpError> {
        let outcome = self.sort(datagram, arrival);
        match outcome {
            Ok(Arrival::Ignored(_)) => self.counts.ignored += 1,
            Err(_) => self.counts.malformed += 1,
            Ok(_) => {}
        }
        outcome
    }

    /// Takes what a new offer and answer agreed on; the audio that has come so far stays, unless the new codec's
    /// timestamps count at another rate.
    pub fn reconfigure(&mut self, config: InboundConfig) {
        if config.codec != self.config.codec {
            self.decoder = Decoder::new(config.codec);
        }
        if config.codec.clock_hz() != self.config.codec.clock_hz() {
            self.timeline = Timeline::default();
            self.jitter.reset();
            self.tap.reset();
        }
        self.config = config;
    }

    /// Lets time pass: silence for packets that did not come, an end for digits whose end was lost.
    pub fn tick(&mut self, now: Moment) {
        self.tap.tick(now);
        let edge = self.dtmf.tick(now);
        self.note_key(edge);
    }

    /// The next decoded frame in order of arrival, with the arrival of the packet that completed it.
    pub fn tap(&mut self, frame: &mut Frame) -> Option<Moment> {
        self.tap.frame(frame)
    }

    /// The next 20 ms in order, for recognition and recording; to be called every 20 ms.
    pub fn pull(&mut self, now: Moment, frame: &mut Frame) -> FrameKind {
        self.jitter.pull(now, frame)
    }

    /// The next digit whose key came up.
    pub fn digit(&mut self) -> Option<Digit> {
        self.digits.pop()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> InboundStats {
        InboundStats { jitter: self.jitter.stats(), ..self.counts }
    }

    fn sort(&mut self, datagram: &[u8], arrival: Moment) -> Result<Arrival, RtpError> {
        if is_rtcp(datagram) {
            return Ok(Arrival::Ignored(Ignored::Rtcp));
        }
        let packet = Packet::parse(datagram)?;
        let is_event = self.config.dtmf_payload_type == Some(packet.payload_type);
        if !is_event && packet.payload_type != self.config.payload_type {
            return Ok(Arrival::Ignored(Ignored::PayloadType(packet.payload_type)));
        }
        match self.source.note(packet.ssrc, packet.sequence) {
            Lock::Same => {}
            Lock::Changed => self.follow_source(),
            Lock::Unconfirmed => return Ok(Arrival::Ignored(Ignored::Source(packet.ssrc))),
        }
        if is_event { self.event(&packet, arrival) } else { self.audio(&packet, arrival) }
    }

    fn audio(&mut self, packet: &Packet<'_>, arrival: Moment) -> Result<Arrival, RtpError> {
        let mut room = [0; MAX_SAMPLES];
        let decoded = self.decoder.decode(packet.payload, &mut room);
        let samples = decoded.map_err(|source| RtpError::Payload { offset: offset(packet), source })?;
        let samples = room.get(..samples).unwrap_or_default();
        let timestamp = self.timeline.place_8_khz(packet.timestamp, self.config.codec.clock_hz());
        match self.jitter.insert(packet.sequence, timestamp, samples, arrival) {
            Inserted::Duplicate => return Ok(Arrival::Ignored(Ignored::Duplicate)),
            Inserted::Held => return Ok(Arrival::Ignored(Ignored::Jump)),
            Inserted::Refused => return Ok(Arrival::Ignored(Ignored::Empty)),
            Inserted::Stored | Inserted::Late | Inserted::Resynchronised => {}
        }
        self.tap.packet(timestamp, samples, arrival);
        Ok(Arrival::Audio)
    }

    fn event(&mut self, packet: &Packet<'_>, arrival: Moment) -> Result<Arrival, RtpError> {
        let edges = match self.dtmf.packet(packet.timestamp, packet.payload, arrival) {
            Ok(edges) => edges,
            Err(DtmfError::NotAKey { code }) => return Ok(Arrival::Ignored(Ignored::Event(code))),
            Err(source) => return Err(RtpError::Event { offset: HEADER_LEN, source }),
        };
        let mut pressed = None;
        for edge in edges {
            if let KeyEdge::Down(digit) = edge {
                pressed = Some(digit);
            }
            self.note_key(Some(edge));
        }
        self.jitter.event(packet.sequence);
        Ok(Arrival::Digit(pressed))
    }

    fn note_key(&mut self, edge: Option<KeyEdge>) {
        if let Some(KeyEdge::Up { digit, .. }) = edge
            && !self.digits.push(digit)
        {
            self.counts.digits_dropped += 1;
        }
    }

    fn follow_source(&mut self) {
        self.counts.source_changes += 1;
        self.decoder = Decoder::new(self.config.codec);
        self.timeline = Timeline::default();
        self.jitter.reset();
        self.tap.reset();
        self.dtmf.reset();
    }
}

fn offset(packet: &Packet<'_>) -> usize {
    HEADER_LEN + packet.csrcs.len() + packet.extension.map_or(0, |extension| 4 + extension.data.len())
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

/// The source in force; another one takes over after two packets in a row.
#[derive(Debug, Default)]
struct Source {
    locked: Option<u32>,
    candidate: Option<(u32, u16)>,
}

enum Lock {
    Same,
    Changed,
    Unconfirmed,
}

impl Source {
    fn note(&mut self, ssrc: u32, sequence: u16) -> Lock {
        if *self.locked.get_or_insert(ssrc) == ssrc {
            self.candidate = None;
            return Lock::Same;
        }
        let confirmed = self.candidate == Some((ssrc, sequence.wrapping_sub(1)));
        if !confirmed {
            self.candidate = Some((ssrc, sequence));
            return Lock::Unconfirmed;
        }
        (self.locked, self.candidate) = (Some(ssrc), None);
        Lock::Changed
    }
}

/// Digits that wait to be asked for.
#[derive(Debug, Default)]
struct DigitQueue {
    ring: [Option<Digit>; WAITING],
    first: usize,
    count: usize,
}

impl DigitQueue {
    fn push(&mut self, digit: Digit) -> bool {
        if self.count == WAITING {
            return false;
        }
        self.ring[(self.first + self.count) % WAITING] = Some(digit);
        self.count += 1;
        true
    }

    fn pop(&mut self) -> Option<Digit> {
        let digit = self.ring[self.first].take()?;
        self.first = (self.first + 1) % WAITING;
        self.count -= 1;
        Some(digit)
    }
}

const WAITING: usize = 32;

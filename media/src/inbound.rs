//! From datagrams to frames: the caller's audio on its way in, one screen.
//!
//! A packet goes to the tap (speech detection, at once) and to the jitter buffer (speech recognition and
//! recording, in order); telephone events go to the digits. Decryption happens before, echo cancelling after.

mod audio;

use crate::codec::CodecKind;
use crate::comfort;
use crate::digits::DigitEngine;
use crate::dtmf::{Digit, DtmfError};
use crate::inbound::audio::Audio;
use crate::jitter::{Inserted, JitterStats};
use crate::rtp::{HEADER_LEN, Packet, RtpError, is_rtcp};
use crate::{Frame, Moment, RATE_HZ};

pub use crate::digits::InBand;
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
    /// Whether keys are looked for in the audio.
    pub in_band_digits: InBand,
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
            in_band_digits: InBand::Auto,
        }
    }

    /// The clock of telephone events, if any were agreed.
    fn events_clock(&self) -> Option<u32> {
        self.dtmf_payload_type.map(|_| self.dtmf_clock)
    }
}

/// What a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Audio, now at the tap.
    Audio,
    /// A key went down (`Some`), or more of a key press that is known.
    Digit(Option<Digit>),
    /// The far side falls silent on purpose.
    ComfortNoise,
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
    source: Source,
    audio: Audio,
    digits: DigitEngine,
    counts: InboundStats,
}

impl RtpInbound {
    /// A stream that has received nothing.
    pub fn new(config: InboundConfig) -> Self {
        Self {
            config,
            source: Source::default(),
            audio: Audio::new(config.codec),
            digits: DigitEngine::new(config.in_band_digits, config.events_clock()),
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
        self.audio.switch(config.codec);
        self.digits.reconfigure(config.in_band_digits, config.events_clock());
        self.config = config;
    }

    /// Lets time pass: silence for packets that did not come, an end for digits whose end was lost.
    pub fn tick(&mut self, now: Moment) {
        self.audio.tick(now);
        self.digits.tick(now);
    }

    /// The next decoded frame in order of arrival, with the arrival of the packet that completed it.
    pub fn tap(&mut self, frame: &mut Frame) -> Option<Moment> {
        self.audio.tapped(frame)
    }

    /// The next 20 ms in order, for recognition and recording; to be called every 20 ms.
    pub fn pull(&mut self, now: Moment, frame: &mut Frame) -> FrameKind {
        let kind = self.audio.pull(now, frame);
        self.digits.audio(frame, now);
        kind
    }

    /// A key that came by SIP INFO.
    pub fn info(&mut self, digit: Digit, now: Moment) {
        self.digits.info(digit, now);
    }

    /// The next digit whose key came up.
    pub fn digit(&mut self) -> Option<Digit> {
        self.digits.digit()
    }

    /// Whether the last thing that came announced silence (RFC 3389): a line that sends nothing then is not dead.
    pub fn silence_announced(&self) -> bool {
        self.audio.silence_announced()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> InboundStats {
        InboundStats {
            jitter: self.audio.stats(),
            malformed: self.counts.malformed + self.audio.corrupt,
            digits_dropped: self.digits.dropped(),
            ..self.counts
        }
    }

    fn sort(&mut self, datagram: &[u8], arrival: Moment) -> Result<Arrival, RtpError> {
        if is_rtcp(datagram) {
            return Ok(Arrival::Ignored(Ignored::Rtcp));
        }
        let packet = Packet::parse(datagram)?;
        let kind = self.kind(packet.payload_type);
        if kind.is_none() {
            return Ok(Arrival::Ignored(Ignored::PayloadType(packet.payload_type)));
        }
        match self.source.note(packet.ssrc, packet.sequence) {
            Lock::Same => {}
            Lock::Changed => self.follow_source(),
            Lock::Unconfirmed => return Ok(Arrival::Ignored(Ignored::Source(packet.ssrc))),
        }
        match kind {
            Some(Kind::Event) => self.event(&packet, arrival),
            Some(Kind::Noise) => self.comfort_noise(&packet),
            _ => self.sound(&packet, arrival),
        }
    }

    fn kind(&self, payload_type: u8) -> Option<Kind> {
        match Some(payload_type) {
            found if found == self.config.dtmf_payload_type => Some(Kind::Event),
            found if found == self.config.comfort_noise_payload_type => Some(Kind::Noise),
            Some(found) if found == self.config.payload_type => Some(Kind::Sound),
            _ => None,
        }
    }

    fn sound(&mut self, packet: &Packet<'_>, arrival: Moment) -> Result<Arrival, RtpError> {
        if packet.payload.is_empty() {
            return Ok(Arrival::Ignored(Ignored::Empty));
        }
        let inserted = self.audio.packet(packet.sequence, packet.timestamp, packet.payload, arrival);
        match inserted.map_err(|source| RtpError::Payload { offset: offset(packet), source })? {
            Inserted::Duplicate => Ok(Arrival::Ignored(Ignored::Duplicate)),
            Inserted::Held => Ok(Arrival::Ignored(Ignored::Jump)),
            Inserted::Refused => Ok(Arrival::Ignored(Ignored::Empty)),
            Inserted::Stored | Inserted::Late | Inserted::Resynchronised => Ok(Arrival::Audio),
        }
    }

    fn comfort_noise(&mut self, packet: &Packet<'_>) -> Result<Arrival, RtpError> {
        let Ok(level) = comfort::Level::parse(packet.payload) else { return Ok(Arrival::Ignored(Ignored::Empty)) };
        match self.audio.comfort_noise(packet.sequence, level) {
            Inserted::Duplicate => Ok(Arrival::Ignored(Ignored::Duplicate)),
            _ => Ok(Arrival::ComfortNoise),
        }
    }

    fn event(&mut self, packet: &Packet<'_>, arrival: Moment) -> Result<Arrival, RtpError> {
        let pressed = match self.digits.event(packet.timestamp, packet.payload, arrival) {
            Ok(pressed) => pressed,
            Err(DtmfError::NotAKey { code }) => return Ok(Arrival::Ignored(Ignored::Event(code))),
            Err(source) => return Err(RtpError::Event { offset: offset(packet), source }),
        };
        self.audio.event(packet.sequence);
        Ok(Arrival::Digit(pressed))
    }

    fn follow_source(&mut self) {
        self.counts.source_changes += 1;
        self.audio.restart();
        self.digits.restart();
    }
}

/// What a payload type stands for.
#[derive(Clone, Copy)]
enum Kind {
    Sound,
    Event,
    Noise,
}

fn offset(packet: &Packet<'_>) -> usize {
    HEADER_LEN + packet.csrcs.len() + packet.extension.map_or(0, |extension| 4 + extension.data.len())
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

//! From frames to datagrams: the agent's audio and digits on their way out.
//!
//! Pacing is the caller's: one call to [`RtpOutbound::frame`] or [`RtpOutbound::skip`] per 20 ms tick, and after it
//! [`RtpOutbound::poll`] until it has nothing more: a tick makes two datagrams at 10 ms per packet, one or none at 30.

use crate::codec::opus::OpusSettings;
use crate::codec::{CodecKind, Encoder};
use crate::dtmf::{Digit, DtmfSender, EventPacket};
use crate::rtp::{HEADER_LEN, Header, write_header};
use crate::{FRAME, Frame, PER_MS, RATE_HZ};

/// What was agreed for the stream, and where its numbers begin (RFC 3550 asks for random ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundConfig {
    /// Codec of the audio.
    pub codec: CodecKind,
    /// Its payload type.
    pub payload_type: u8,
    /// Length of a packet, ms: 10, 20, 30, 40 or 60; what lies between is taken as the next one below. Opus has no 30 and
    /// sends 20.
    pub ptime_ms: u32,
    /// Payload type of telephone events, if agreed.
    pub dtmf_payload_type: Option<u8>,
    /// Clock of the telephone events, Hz.
    pub dtmf_clock: u32,
    /// Payload type of comfort noise (RFC 3389), if agreed.
    pub comfort_noise_payload_type: Option<u8>,
    /// Whether to stop sending in silence: comfort noise in its place if that was agreed, by the codec itself for Opus.
    pub dtx: bool,
    /// What the far side's `a=fmtp` asks of Opus.
    pub opus: OpusSettings,
    /// Synchronisation source.
    pub ssrc: u32,
    /// First sequence number.
    pub first_seq: u16,
    /// First timestamp.
    pub first_ts: u32,
}

impl OutboundConfig {
    /// 20 ms per packet, no events, no comfort noise, no gaps in silence, numbers from zero.
    pub const fn new(codec: CodecKind, payload_type: u8) -> Self {
        Self {
            codec,
            payload_type,
            ptime_ms: 20,
            dtmf_payload_type: None,
            dtmf_clock: RATE_HZ,
            comfort_noise_payload_type: None,
            dtx: false,
            opus: OpusSettings::STANDARD,
            ssrc: 0,
            first_seq: 0,
            first_ts: 0,
        }
    }

    /// Samples of 8 kHz in a packet.
    fn block(&self) -> usize {
        let ms = match (self.ptime_ms, self.codec) {
            (..20, _) => 10,
            (20..30, _) | (30..40, CodecKind::Opus) => 20,
            (30..40, _) => 30,
            (40..60, _) => 40,
            (60.., _) => 60,
        };
        ms * PER_MS
    }

    /// Timestamp ticks for each of our samples.
    fn ticks(&self) -> u32 {
        self.codec.clock_hz() / RATE_HZ
    }
}

/// Room for one datagram: 60 ms of G.711 take 492 octets, and encryption adds a few behind them.
pub type Datagram = [u8; 640];

/// An empty datagram to write into.
pub const DATAGRAM: Datagram = [0; 640];

/// Why a digit cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PressError {
    /// The far side takes no telephone events.
    #[error("no payload type for telephone events was agreed")]
    NotAgreed,
    /// Too many digits wait.
    #[error("{WAITING} digits are waiting already")]
    Full,
}

/// The sending side of one RTP stream.
#[derive(Debug)]
pub struct RtpOutbound {
    config: OutboundConfig,
    encoder: Encoder,
    sequence: u16,
    /// Of the sample that comes next.
    timestamp: u32,
    /// Samples that wait for their packet to fill.
    pending: [i16; MOST_PENDING],
    filled: usize,
    /// An event or comfort noise to send before any audio.
    aside: Option<Aside>,
    talking: bool,
    /// Silent ticks in a row.
    silent: u32,
    digit: Option<DtmfSender>,
    /// Ticks of silence left before the next digit.
    pause: u8,
    waiting: [Option<(Digit, u32)>; WAITING],
    packets: u64,
    octets: u64,
    /// Share of our packets that the far side is expected to miss, percent.
    expected_loss: u8,
}

#[derive(Clone, Copy, Debug)]
enum Aside {
    Event(EventPacket),
    /// Timestamp.
    Noise(u32),
}

impl RtpOutbound {
    /// A stream that has sent nothing.
    pub fn new(config: OutboundConfig) -> Self {
        Self {
            config,
            encoder: Encoder::new(config.codec, opus_settings(&config)),
            sequence: config.first_seq,
            timestamp: config.first_ts,
            pending: [0; MOST_PENDING],
            filled: 0,
            aside: None,
            talking: false,
            silent: 0,
            digit: None,
            pause: 0,
            waiting: [None; WAITING],
            packets: 0,
            octets: 0,
            expected_loss: FIRST_LOSS,
        }
    }

    /// Takes the audio of this tick; while a digit is being sent its event takes the audio's place.
    pub fn frame(&mut self, frame: &Frame) {
        if let Some(event) = self.digit_packet() {
            self.aside = Some(Aside::Event(event));
            return self.drop_pending();
        }
        if self.stays_silent(frame) {
            return self.drop_pending();
        }
        // Whoever does not poll loses the oldest audio.
        let kept = self.filled.min(MOST_PENDING - FRAME);
        self.pending.copy_within(self.filled - kept..self.filled, 0);
        if let Some(room) = self.pending.get_mut(kept..kept + FRAME) {
            room.copy_from_slice(frame);
        }
        self.filled = kept + FRAME;
        self.pass();
    }

    /// Writes the next datagram that is due and returns its length, octets.
    pub fn poll(&mut self, out: &mut Datagram) -> Option<usize> {
        match self.aside.take() {
            Some(Aside::Event(packet)) => {
                let payload_type = self.config.dtmf_payload_type?;
                Some(self.write(out, packet.marker, payload_type, packet.timestamp, &packet.payload))
            }
            Some(Aside::Noise(timestamp)) => {
                let payload_type = self.config.comfort_noise_payload_type?;
                Some(self.write(out, false, payload_type, timestamp, &[NOISE_LEVEL]))
            }
            None => self.audio(out),
        }
    }

    /// Takes what a new offer and answer agreed on; source, sequence and timestamps go on.
    pub fn reconfigure(&mut self, config: OutboundConfig) {
        let config = OutboundConfig {
            ssrc: self.config.ssrc,
            first_seq: self.config.first_seq,
            first_ts: self.config.first_ts,
            ..config
        };
        if (config.codec, opus_settings(&config)) != (self.config.codec, opus_settings(&self.config)) {
            self.encoder = Encoder::new(config.codec, opus_settings(&config));
            self.tell_encoder();
        }
        self.config = config;
        (self.talking, self.filled, self.aside) = (false, 0, None);
    }

    /// Lets a tick pass without sending; the next frame begins a talk spurt.
    pub fn skip(&mut self) {
        self.drop_pending();
    }

    /// Takes from a receiver report what share of our packets the far side missed lately, percent: Opus then protects what
    /// it sends as much as that asks for. More is believed at once, less by half with each report: losses come in bursts.
    pub fn far_side_missed(&mut self, percent: f32) {
        // A cast of a float saturates; what is no number is no loss.
        let reported = percent.ceil().clamp(0.0, MOST_LOSS) as u8;
        let expected = reported.max(self.expected_loss / 2);
        if std::mem::replace(&mut self.expected_loss, expected) != expected {
            self.tell_encoder();
        }
    }

    /// Share of our packets that the far side is expected to miss, percent.
    pub const fn expected_loss(&self) -> u8 {
        self.expected_loss
    }

    /// Queues a key press of `duration_ms`, 40 to 8000.
    ///
    /// # Errors
    /// [`PressError`] if events were not agreed or 32 digits wait.
    pub fn press(&mut self, digit: Digit, duration_ms: u32) -> Result<(), PressError> {
        if self.config.dtmf_payload_type.is_none() {
            return Err(PressError::NotAgreed);
        }
        let free = self.waiting.iter_mut().find(|place| place.is_none()).ok_or(PressError::Full)?;
        *free = Some((digit, duration_ms));
        Ok(())
    }

    /// Whether a digit is being sent or waits: [`RtpOutbound::frame`] has something to send even in silence.
    pub fn has_digits(&self) -> bool {
        self.digit.is_some() || self.waiting[0].is_some()
    }

    /// Packets and payload octets sent so far, as a sender report tells them.
    pub fn sent_so_far(&self) -> (u64, u64) {
        (self.packets, self.octets)
    }

    /// Timestamp of the next frame, in ticks of the codec's clock.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    fn tell_encoder(&mut self) {
        if let Encoder::Opus(encoder) = &mut self.encoder {
            encoder.expect_loss(self.expected_loss);
        }
    }

    fn audio(&mut self, out: &mut Datagram) -> Option<usize> {
        let block = self.config.block();
        while self.filled >= block {
            let start = self.timestamp.wrapping_sub(self.filled as u32 * self.config.ticks());
            let room = &mut out[HEADER_LEN..HEADER_LEN + MOST_PAYLOAD];
            let written = self.encoder.encode(&self.pending[..block], room);
            self.pending.copy_within(block..self.filled, 0);
            self.filled -= block;
            match written {
                // Silence under Opus's own DTX; a length that the codec lacks cannot occur.
                Ok(..=2) if self.config.codec == CodecKind::Opus => self.talking = false,
                Err(_) => self.talking = false,
                Ok(octets) => {
                    let length = self.seal(out, !self.talking, self.config.payload_type, start, octets);
                    self.talking = true;
                    return Some(length);
                }
            }
        }
        None
    }

    /// Whether silence suppression takes this tick; now and then a packet says how loud the silence is.
    fn stays_silent(&mut self, frame: &Frame) -> bool {
        let suppresses = self.config.dtx && self.config.codec != CodecKind::Opus;
        let is_silence = frame.iter().all(|sample| sample.unsigned_abs() <= SILENT_PEAK);
        self.silent = if is_silence { self.silent.saturating_add(1) } else { 0 };
        let Some(beyond) = self.silent.checked_sub(HANGOVER_TICKS).filter(|_| suppresses) else { return false };
        if self.config.comfort_noise_payload_type.is_none() {
            return false;
        }
        if beyond % NOISE_EVERY_TICKS == 0 {
            self.aside = Some(Aside::Noise(self.timestamp.wrapping_sub(self.filled as u32 * self.config.ticks())));
        }
        true
    }

    fn digit_packet(&mut self) -> Option<EventPacket> {
        self.config.dtmf_payload_type?;
        if self.digit.is_none() {
            self.begin_digit();
        }
        let packet = self.digit.as_mut()?.next_packet();
        if packet.is_none() {
            self.digit = None;
            self.pause = PAUSE_TICKS;
            self.talking = false;
        }
        packet
    }

    fn begin_digit(&mut self) {
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        if let Some((digit, duration_ms)) = self.waiting[0].take() {
            self.waiting.rotate_left(1);
            self.digit = Some(DtmfSender::new(digit, duration_ms, self.timestamp, self.config.dtmf_clock));
        }
    }

    /// A tick without audio: what waited for its packet to fill is dropped, at most 40 ms.
    fn drop_pending(&mut self) {
        (self.filled, self.talking) = (0, false);
        self.pass();
    }

    fn pass(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32 * self.config.ticks());
    }

    fn write(&mut self, out: &mut Datagram, marker: bool, payload_type: u8, timestamp: u32, payload: &[u8]) -> usize {
        for (place, &octet) in out[HEADER_LEN..].iter_mut().zip(payload) {
            *place = octet;
        }
        self.seal(out, marker, payload_type, timestamp, payload.len())
    }

    /// Puts the header before a payload that is in its place, and counts the packet.
    fn seal(&mut self, out: &mut Datagram, marker: bool, payload_type: u8, timestamp: u32, octets: usize) -> usize {
        let header = Header { marker, payload_type, sequence: self.sequence, timestamp, ssrc: self.config.ssrc };
        out[..HEADER_LEN].copy_from_slice(&write_header(&header));
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.octets += octets as u64;
        HEADER_LEN + octets
    }
}

/// Opus suppresses silence by itself.
const fn opus_settings(config: &OutboundConfig) -> OpusSettings {
    OpusSettings { dtx: config.dtx, ..config.opus }
}

const WAITING: usize = 32;
/// Percent, before the first report.
const FIRST_LOSS: u8 = 5;
/// Percent: what is missed beyond this no protection brings back.
const MOST_LOSS: f32 = 40.0;
/// Digits are told apart by at least 40 ms without an event.
const PAUSE_TICKS: u8 = 2;
/// 60 ms of G.711.
const MOST_PAYLOAD: usize = 480;
/// The longest packet, and a frame beyond it.
const MOST_PENDING: usize = 4 * FRAME;
/// Silence goes on for 200 ms before it is suppressed: gaps between words stay audio.
const HANGOVER_TICKS: u32 = 10;
/// Comfort noise is announced anew every 400 ms, which keeps address translations open too.
const NOISE_EVERY_TICKS: u32 = 20;
/// -70 dBov: audible as a line that lives, below any room (RFC 3389 section 3.1).
const NOISE_LEVEL: u8 = 70;
/// Rounding of the laws of G.711 around zero, sample units.
const SILENT_PEAK: u16 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtmf::DtmfReceiver;
    use crate::rtp::Packet;
    use crate::{Moment, SILENCE};

    fn config() -> OutboundConfig {
        OutboundConfig {
            dtmf_payload_type: Some(101),
            ssrc: 9,
            first_seq: u16::MAX,
            first_ts: u32::MAX - 100,
            ..OutboundConfig::new(CodecKind::Pcma, 8)
        }
    }

    /// Marker, payload type, sequence, timestamp and payload length of each datagram of a tick.
    fn tick(out: &mut RtpOutbound, frame: &Frame) -> Vec<(bool, u8, u16, u32, usize)> {
        out.frame(frame);
        let mut room = DATAGRAM;
        let mut packets = vec![];
        while let Some(length) = out.poll(&mut room) {
            let packet = Packet::parse(&room[..length]).unwrap();
            packets.push((packet.marker, packet.payload_type, packet.sequence, packet.timestamp, packet.payload.len()));
        }
        packets
    }

    #[test]
    fn numbers_wrap_and_the_marker_begins_each_talk_spurt() {
        let mut out = RtpOutbound::new(config());
        let first = u32::MAX - 100;
        assert_eq!(tick(&mut out, &SILENCE), [(true, 8, 65535, first, 160)]);
        assert_eq!(tick(&mut out, &SILENCE), [(false, 8, 0, first.wrapping_add(160), 160)]);
        out.skip();
        out.skip();
        assert_eq!(tick(&mut out, &SILENCE), [(true, 8, 1, first.wrapping_add(4 * 160), 160)]);
        assert_eq!(out.sent_so_far(), (3, 480));
    }

    #[test]
    fn frames_are_cut_into_packets_of_the_agreed_length() {
        for (codec, ptime_ms, samples) in [
            (CodecKind::Pcmu, 10, 80),
            (CodecKind::Pcmu, 20, 160),
            (CodecKind::G722, 30, 240),
            (CodecKind::Pcmu, 40, 320),
            (CodecKind::Pcmu, 60, 480),
            (CodecKind::Pcmu, 25, 160),
            (CodecKind::Pcmu, 1, 80),
            (CodecKind::Pcmu, 200, 480),
            (CodecKind::Opus, 10, 80),
            (CodecKind::Opus, 30, 160),
            (CodecKind::Opus, 60, 480),
        ] {
            let mut out = RtpOutbound::new(OutboundConfig { ptime_ms, ..OutboundConfig::new(codec, 96) });
            let packets: Vec<_> = (0..60).flat_map(|_| tick(&mut out, &[1000; FRAME])).collect();
            assert_eq!(packets.len(), 9600 / samples, "{codec:?} {ptime_ms}");
            for (index, packet) in packets.iter().enumerate() {
                let timestamp = index * samples * codec.clock_hz() as usize / 8000;
                assert_eq!((packet.0, packet.2, packet.3), (index == 0, index as u16, timestamp as u32));
                assert!(codec == CodecKind::Opus || packet.4 == samples, "{codec:?} {ptime_ms}");
            }
        }
    }

    #[test]
    fn silence_becomes_comfort_noise_where_it_was_agreed() {
        let noisy = OutboundConfig { dtx: true, comfort_noise_payload_type: Some(13), ..config() };
        let mut out = RtpOutbound::new(OutboundConfig { first_ts: 0, first_seq: 0, ..noisy });
        for _ in 0..9 {
            assert_eq!(tick(&mut out, &SILENCE).len(), 1);
        }
        assert_eq!(tick(&mut out, &SILENCE), [(false, 13, 9, 9 * 160, 1)]);
        let later: Vec<_> = (0..20).flat_map(|_| tick(&mut out, &SILENCE)).collect();
        assert_eq!(later, [(false, 13, 10, 29 * 160, 1)]);
        assert_eq!(tick(&mut out, &[500; FRAME]), [(true, 8, 11, 30 * 160, 160)]);

        let mut out = RtpOutbound::new(OutboundConfig { comfort_noise_payload_type: None, ..noisy });
        assert_eq!((0..50).map(|_| tick(&mut out, &SILENCE).len()).sum::<usize>(), 50);
    }

    #[test]
    fn opus_leaves_silence_out_by_itself() {
        let mut out = RtpOutbound::new(OutboundConfig { dtx: true, ..OutboundConfig::new(CodecKind::Opus, 111) });
        let sent: usize = (0..100).map(|_| tick(&mut out, &SILENCE).len()).sum();
        assert!((1..40).contains(&sent), "{sent}");
        let again = tick(&mut out, &[3000; FRAME]);
        assert!(again[0].0 && again[0].3 == 100 * 960, "{again:?}");
    }

    #[test]
    fn without_the_setting_silence_is_sent_like_speech() {
        for codec in [CodecKind::Pcmu, CodecKind::G722, CodecKind::Opus] {
            let plain = OutboundConfig { comfort_noise_payload_type: Some(13), ..OutboundConfig::new(codec, 96) };
            let mut out = RtpOutbound::new(plain);
            assert_eq!((0..50).map(|_| tick(&mut out, &SILENCE).len()).sum::<usize>(), 50, "{codec:?}");
        }
        let quiet = OutboundConfig { dtx: true, comfort_noise_payload_type: Some(13), ..config() };
        let mut out = RtpOutbound::new(OutboundConfig { codec: CodecKind::G722, payload_type: 9, ..quiet });
        let sent: Vec<u8> = (0..60).flat_map(|_| tick(&mut out, &SILENCE)).map(|packet| packet.1).collect();
        assert_eq!(sent.iter().filter(|kind| **kind == 9).count(), 9);
        assert_eq!(sent[9..], [13, 13, 13], "every 400 ms");
        // A key in the silence goes out as ever.
        out.press(Digit::D1, 100).unwrap();
        assert_eq!(tick(&mut out, &SILENCE)[0].1, 101);
    }

    #[test]
    fn opus_protects_itself_as_much_as_the_far_side_reports_losses() {
        let voice = crate::wav::Wav::parse(include_bytes!("../../fixtures/audio/human/invalid.wav")).unwrap().samples;
        let protected = |out: &mut RtpOutbound| {
            let mut room = DATAGRAM;
            let mut counts = (0, 0);
            for samples in voice.chunks_exact(FRAME) {
                out.frame(samples.try_into().unwrap());
                while let Some(length) = out.poll(&mut room) {
                    let packet = Packet::parse(&room[..length]).unwrap();
                    counts.0 += usize::from(crate::codec::opus::has_lbrr(packet.payload));
                    counts.1 += 1;
                }
            }
            counts.0 as f32 / counts.1 as f32
        };
        let mut out = RtpOutbound::new(OutboundConfig::new(CodecKind::Opus, 111));
        for _ in 0..4 {
            out.far_side_missed(0.0);
        }
        assert_eq!(out.expected_loss(), 0, "a clean line after some reports");
        let clean = protected(&mut out);
        out.far_side_missed(19.2);
        assert_eq!(out.expected_loss(), 20, "believed at once");
        let lossy = protected(&mut out);
        assert!(clean == 0.0 && lossy > 0.3, "{clean} and {lossy} of the packets carry the one before");
        out.far_side_missed(0.0);
        assert_eq!(out.expected_loss(), 10, "forgotten by halves");
        out.reconfigure(OutboundConfig { ptime_ms: 40, ..OutboundConfig::new(CodecKind::Opus, 111) });
        assert_eq!(out.expected_loss(), 10, "kept by a new agreement");
        for strange in [f32::NAN, -1.0, f32::INFINITY, 400.0] {
            out.far_side_missed(strange);
            assert!(out.expected_loss() <= 40, "{strange}");
        }
    }

    #[test]
    fn a_new_agreement_changes_the_codec_and_not_the_numbers() {
        let mut out = RtpOutbound::new(config());
        tick(&mut out, &SILENCE);
        let change =
            OutboundConfig { ssrc: 77, first_seq: 500, first_ts: 9, ..OutboundConfig::new(CodecKind::G722, 9) };
        out.reconfigure(change);
        assert_eq!(tick(&mut out, &SILENCE), [(true, 9, 0, (u32::MAX - 100).wrapping_add(160), 160)]);
    }

    #[test]
    fn digits_take_the_place_of_audio_and_the_clock_goes_on() {
        let mut out = RtpOutbound::new(config());
        tick(&mut out, &SILENCE);
        let start = out.timestamp();
        for key in ['4', '2'] {
            out.press(Digit::try_from(key).unwrap(), 60).unwrap();
        }
        let (mut receiver, mut keys, mut room) = (DtmfReceiver::default(), String::new(), DATAGRAM);
        let mut kinds = Vec::new();
        for tick in 0..14 {
            out.frame(&SILENCE);
            let length = out.poll(&mut room).unwrap();
            let packet = Packet::parse(&room[..length]).unwrap();
            kinds.push(packet.payload_type);
            if packet.payload_type == 101 {
                let edges = receiver.packet(packet.timestamp, packet.payload, Moment::from_millis(20 * tick)).unwrap();
                for edge in edges {
                    if let crate::dtmf::KeyEdge::Up { digit, held_ms } = edge {
                        keys.push(digit.as_char());
                        assert_eq!(held_ms, 60);
                    }
                }
            }
        }
        assert_eq!(keys, "42");
        assert_eq!(kinds, [101, 101, 101, 101, 101, 8, 8, 8, 101, 101, 101, 101, 101, 8]);
        assert_eq!(out.timestamp(), start.wrapping_add(14 * 160));
        assert!(!out.has_digits());
    }

    #[test]
    fn refuses_digits_that_cannot_be_sent() {
        let mut out = RtpOutbound::new(config());
        for _ in 0..32 {
            out.press(Digit::D1, 100).unwrap();
        }
        assert_eq!(out.press(Digit::D1, 100), Err(PressError::Full));
        out.config.dtmf_payload_type = None;
        assert_eq!(out.press(Digit::D1, 100), Err(PressError::NotAgreed));
    }
}

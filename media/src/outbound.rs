//! From frames to datagrams: the agent's audio and digits on their way out.
//!
//! Pacing is the caller's: one call to [`RtpOutbound::frame`] or [`RtpOutbound::skip`] per 20 ms tick.

use crate::dtmf::{Digit, DtmfSender, Event};
use crate::g711::G711;
use crate::rtp::{HEADER_LEN, Header, write_header};
use crate::{FRAME, Frame};

/// What was agreed for the stream, and where its numbers begin (RFC 3550 asks for random ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundConfig {
    /// Codec of the audio.
    pub codec: G711,
    /// Its payload type.
    pub payload_type: u8,
    /// Payload type of telephone events at 8 kHz, if agreed.
    pub dtmf_payload_type: Option<u8>,
    /// Synchronisation source.
    pub ssrc: u32,
    /// First sequence number.
    pub first_seq: u16,
    /// First timestamp.
    pub first_ts: u32,
}

/// Room for one datagram; 172 octets are used for audio, 16 for digits.
pub type Datagram = [u8; 200];

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
    sequence: u16,
    timestamp: u32,
    talking: bool,
    digit: Option<DtmfSender>,
    /// Ticks of silence left before the next digit.
    pause: u8,
    waiting: [Option<(Digit, u32)>; WAITING],
    packets: u64,
    octets: u64,
}

impl RtpOutbound {
    /// A stream that has sent nothing.
    pub fn new(config: OutboundConfig) -> Self {
        Self {
            config,
            sequence: config.first_seq,
            timestamp: config.first_ts,
            talking: false,
            digit: None,
            pause: 0,
            waiting: [None; WAITING],
            packets: 0,
            octets: 0,
        }
    }

    /// Writes the datagram of this tick and returns its length, octets.
    ///
    /// While a digit is being sent its event takes the place of the audio.
    pub fn frame(&mut self, frame: &Frame, out: &mut Datagram) -> usize {
        if let Some(length) = self.digit_packet(out) {
            return length;
        }
        let header = self.header(!self.talking, self.config.payload_type, self.timestamp);
        out[..HEADER_LEN].copy_from_slice(&write_header(&header));
        self.config.codec.encode(frame, &mut out[HEADER_LEN..HEADER_LEN + FRAME]);
        self.talking = true;
        self.sent(FRAME);
        HEADER_LEN + FRAME
    }

    /// Lets a tick pass without sending; the next frame begins a talk spurt.
    pub fn skip(&mut self) {
        self.talking = false;
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
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

    /// Timestamp of the next frame.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    fn digit_packet(&mut self, out: &mut Datagram) -> Option<usize> {
        let payload_type = self.config.dtmf_payload_type?;
        if self.digit.is_none() {
            self.begin_digit();
        }
        let Some(packet) = self.digit.as_mut()?.next_packet() else {
            self.digit = None;
            self.pause = PAUSE_TICKS;
            self.talking = false;
            return None;
        };
        let header = self.header(packet.marker, payload_type, packet.timestamp);
        out[..HEADER_LEN].copy_from_slice(&write_header(&header));
        out[HEADER_LEN..HEADER_LEN + Event::LEN].copy_from_slice(&packet.payload);
        self.sent(Event::LEN);
        Some(HEADER_LEN + Event::LEN)
    }

    fn begin_digit(&mut self) {
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        if let Some((digit, duration_ms)) = self.waiting[0].take() {
            self.waiting.rotate_left(1);
            self.digit = Some(DtmfSender::new(digit, duration_ms, self.timestamp));
        }
    }

    fn header(&self, marker: bool, payload_type: u8, timestamp: u32) -> Header {
        Header { marker, payload_type, sequence: self.sequence, timestamp, ssrc: self.config.ssrc }
    }

    fn sent(&mut self, octets: usize) {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        self.packets += 1;
        self.octets += octets as u64;
    }
}

const WAITING: usize = 32;
/// Digits are told apart by at least 40 ms without an event.
const PAUSE_TICKS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtmf::DtmfReceiver;
    use crate::rtp::Packet;
    use crate::{Moment, SILENCE};

    fn outbound() -> RtpOutbound {
        RtpOutbound::new(OutboundConfig {
            codec: G711::Alaw,
            payload_type: 8,
            dtmf_payload_type: Some(101),
            ssrc: 9,
            first_seq: u16::MAX,
            first_ts: u32::MAX - 100,
        })
    }

    fn sent(out: &mut RtpOutbound) -> (bool, u8, u16, u32, usize) {
        let mut room = [0; 200];
        let length = out.frame(&SILENCE, &mut room);
        let packet = Packet::parse(&room[..length]).unwrap();
        (packet.marker, packet.payload_type, packet.sequence, packet.timestamp, packet.payload.len())
    }

    #[test]
    fn numbers_wrap_and_the_marker_begins_each_talk_spurt() {
        let mut out = outbound();
        let first = u32::MAX - 100;
        assert_eq!(sent(&mut out), (true, 8, 65535, first, 160));
        assert_eq!(sent(&mut out), (false, 8, 0, first.wrapping_add(160), 160));
        out.skip();
        out.skip();
        assert_eq!(sent(&mut out), (true, 8, 1, first.wrapping_add(4 * 160), 160));
        assert_eq!(out.sent_so_far(), (3, 480));
    }

    #[test]
    fn digits_take_the_place_of_audio_and_the_clock_goes_on() {
        let mut out = outbound();
        sent(&mut out);
        let start = out.timestamp();
        for key in ['4', '2'] {
            out.press(Digit::try_from(key).unwrap(), 60).unwrap();
        }
        let (mut receiver, mut keys, mut room) = (DtmfReceiver::default(), String::new(), [0; 200]);
        let mut kinds = Vec::new();
        for tick in 0..14 {
            let length = out.frame(&SILENCE, &mut room);
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
        let mut out = outbound();
        for _ in 0..32 {
            out.press(Digit::D1, 100).unwrap();
        }
        assert_eq!(out.press(Digit::D1, 100), Err(PressError::Full));
        out.config.dtmf_payload_type = None;
        assert_eq!(out.press(Digit::D1, 100), Err(PressError::NotAgreed));
    }
}

//! RTP fixed header, read without copying and written in place (RFC 3550 section 5).
//!
//! RTCP is only recognised (RFC 5761), SRTP is not handled here.

/// One RTP packet, borrowed from the datagram that carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Marker bit: the first packet of a talk spurt or of an event.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number, wraps at 65536.
    pub sequence: u16,
    /// Media timestamp, in samples, wraps at 2^32.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Contributing sources, four octets each, in network order.
    pub csrcs: &'a [u8],
    /// Header extension (RFC 3550 section 5.3.1).
    pub extension: Option<Extension<'a>>,
    /// Payload without padding.
    pub payload: &'a [u8],
}

/// A header extension: the profile's identifier and its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// "Defined by profile" field.
    pub profile: u16,
    /// Data, a multiple of four octets.
    pub data: &'a [u8],
}

/// Why a datagram is not an RTP packet. Offsets are octets from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// The datagram ends inside a field.
    #[error("{field} at offset {offset} needs {needed} octets, {found} are left")]
    Truncated { field: &'static str, offset: usize, needed: usize, found: usize },
    /// Not RTP version 2.
    #[error("version {found} at offset 0, expected 2")]
    Version { found: u8 },
    /// The padding count is zero or reaches into the header.
    #[error("padding count {count} at offset {offset} does not fit a payload of {available} octets")]
    Padding { offset: usize, count: u8, available: usize },
    /// The audio cannot be decoded.
    #[error("payload at offset {offset}: {source}")]
    Payload { offset: usize, source: crate::codec::CodecError },
    /// The telephone-event payload is malformed.
    #[error("telephone event at offset {offset}: {source}")]
    Event { offset: usize, source: crate::dtmf::DtmfError },
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`RtpError`] names the field and the offset at which the datagram stops being RTP.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, RtpError> {
        let mut reader = Reader { rest: datagram, offset: 0 };
        let [flags, type_octet] = reader.array("first word")?;
        if flags >> 6 != 2 {
            return Err(RtpError::Version { found: flags >> 6 });
        }
        let sequence = u16::from_be_bytes(reader.array("sequence number")?);
        let timestamp = u32::from_be_bytes(reader.array("timestamp")?);
        let ssrc = u32::from_be_bytes(reader.array("SSRC")?);
        let csrcs = reader.take("CSRC list", usize::from(flags & 0x0F) * 4)?;
        let extension = if flags & 0x10 == 0 { None } else { Some(Extension::read(&mut reader)?) };
        let payload = if flags & 0x20 == 0 { reader.rest } else { reader.unpadded()? };
        Ok(Self {
            marker: type_octet & 0x80 != 0,
            payload_type: type_octet & 0x7F,
            sequence,
            timestamp,
            ssrc,
            csrcs,
            extension,
            payload,
        })
    }
}

impl<'a> Extension<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, RtpError> {
        let profile = u16::from_be_bytes(reader.array("extension profile")?);
        let words = u16::from_be_bytes(reader.array("extension length")?);
        Ok(Self { profile, data: reader.take("extension data", usize::from(words) * 4)? })
    }
}

/// The fields of a header to write; CSRCs, extensions and padding are never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// First packet of a talk spurt or event.
    pub marker: bool,
    /// Payload type; only the low seven bits are sent.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp, samples.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// Octets of a header without CSRCs and extension.
pub const HEADER_LEN: usize = 12;

/// The octets of `header` (RFC 3550 section 5.1).
pub fn write_header(header: &Header) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    out[0] = 0x80;
    out[1] = u8::from(header.marker) << 7 | header.payload_type & 0x7F;
    out[2..4].copy_from_slice(&header.sequence.to_be_bytes());
    out[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    out[8..12].copy_from_slice(&header.ssrc.to_be_bytes());
    out
}

/// Whether the datagram is RTCP rather than RTP on a shared port (RFC 5761 section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [flags, kind, ..] if flags >> 6 == 2 && (192..=223).contains(kind))
}

/// How far `newer` is ahead of `older`, modulo 65536 (negative: behind).
pub fn sequence_distance(newer: u16, older: u16) -> i16 {
    newer.wrapping_sub(older).cast_signed()
}

/// How far `newer` is ahead of `older` in samples, modulo 2^32 (negative: behind).
pub fn timestamp_distance(newer: u32, older: u32) -> i32 {
    newer.wrapping_sub(older).cast_signed()
}

/// What a sequence number says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceStep {
    /// The next packet, or one ahead of a gap.
    Ahead,
    /// An older packet that had not come yet.
    Reordered,
    /// Seen already.
    Duplicate,
    /// Too far away to belong to the numbering so far; the numbering restarts here.
    Restart,
}

/// Extended sequence numbers and loss accounting (RFC 3550 appendix A.1 and A.3).
#[derive(Clone, Debug, Default)]
pub struct SequenceTracker {
    highest: Option<u16>,
    seen: u128,
    expected: u64,
    received: u64,
}

impl SequenceTracker {
    /// Classifies and counts a packet.
    pub fn note(&mut self, sequence: u16) -> SequenceStep {
        let step = match self.highest {
            None => SequenceStep::Restart,
            Some(highest) => self.classify(sequence_distance(sequence, highest)),
        };
        match step {
            SequenceStep::Ahead => self.advance(sequence),
            SequenceStep::Restart => {
                (self.highest, self.seen) = (Some(sequence), 1);
                self.expected += 1;
            }
            SequenceStep::Reordered | SequenceStep::Duplicate => self.look_back(sequence),
        }
        if step != SequenceStep::Duplicate {
            self.received += 1;
        }
        step
    }

    /// Packets that should have come, by their numbers.
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// Packets that came, duplicates not counted.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Expected less received; a packet that comes late lowers it again.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    fn classify(&self, distance: i16) -> SequenceStep {
        match distance {
            1..=MAX_DROPOUT => SequenceStep::Ahead,
            OLDEST_SEEN..=0 if self.seen >> distance.unsigned_abs() & 1 == 1 => SequenceStep::Duplicate,
            OLDEST_SEEN..=0 => SequenceStep::Reordered,
            _ => SequenceStep::Restart,
        }
    }

    fn advance(&mut self, sequence: u16) {
        let distance = self.highest.map_or(0, |highest| sequence.wrapping_sub(highest));
        self.seen = self.seen.checked_shl(u32::from(distance)).unwrap_or(0) | 1;
        self.expected += u64::from(distance);
        self.highest = Some(sequence);
    }

    fn look_back(&mut self, sequence: u16) {
        let behind = self.highest.map_or(0, |highest| highest.wrapping_sub(sequence));
        self.seen |= 1u128.checked_shl(u32::from(behind)).unwrap_or(0);
    }
}

/// The longest gap that still counts as loss (RFC 3550 appendix A.1 `MAX_DROPOUT`).
const MAX_DROPOUT: i16 = 3000;
/// The oldest packet that the duplicate window remembers.
const OLDEST_SEEN: i16 = -127;

struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, field: &'static str, needed: usize) -> Result<&'a [u8], RtpError> {
        let (taken, rest) = self.rest.split_at_checked(needed).ok_or(RtpError::Truncated {
            field,
            offset: self.offset,
            needed,
            found: self.rest.len(),
        })?;
        (self.rest, self.offset) = (rest, self.offset + needed);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RtpError> {
        let (offset, found) = (self.offset, self.rest.len());
        let taken = self.take(field, N)?;
        taken.try_into().map_err(|_| RtpError::Truncated { field, offset, needed: N, found })
    }

    /// The rest without the padding that its last octet counts.
    fn unpadded(&self) -> Result<&'a [u8], RtpError> {
        let available = self.rest.len();
        let Some(&count) = self.rest.last() else {
            let (field, offset) = ("padding count", self.offset);
            return Err(RtpError::Truncated { field, offset, needed: 1, found: 0 });
        };
        let kept = available.checked_sub(usize::from(count)).filter(|_| count > 0);
        kept.and_then(|kept| self.rest.get(..kept)).ok_or(RtpError::Padding {
            offset: self.offset + available - 1,
            count,
            available,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header { marker: true, payload_type: 101, sequence: 0xBEEF, timestamp: 7, ssrc: 0x0102_0304 }
    }

    fn datagram(flags: u8, tail: &[u8]) -> Vec<u8> {
        let mut bytes = write_header(&header()).to_vec();
        bytes[0] = flags;
        bytes.extend_from_slice(tail);
        bytes
    }

    #[test]
    fn reads_back_what_it_writes() {
        let bytes = datagram(0x80, b"payload");
        let packet = Packet::parse(&bytes).unwrap();
        assert!(packet.marker);
        assert_eq!((packet.payload_type, packet.sequence), (101, 0xBEEF));
        assert_eq!((packet.timestamp, packet.ssrc), (7, 0x0102_0304));
        assert_eq!((packet.payload, packet.csrcs, packet.extension), (&b"payload"[..], &[][..], None));
    }

    #[test]
    fn finds_the_payload_between_csrcs_extension_and_padding() {
        let tail = [9, 9, 9, 9, 0xBE, 0xDE, 0, 1, 1, 2, 3, 4, 50, 51, 0, 0, 3];
        let bytes = datagram(0xB1, &tail);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.csrcs, [9, 9, 9, 9]);
        assert_eq!(packet.extension, Some(Extension { profile: 0xBEDE, data: &[1, 2, 3, 4] }));
        assert_eq!(packet.payload, [50, 51]);
    }

    #[test]
    fn errors_name_the_offset() {
        let cases: [(Vec<u8>, &str); 6] = [
            (vec![0x80], "first word at offset 0 needs 2 octets, 1 are left"),
            (vec![0x40; 12], "version 1 at offset 0, expected 2"),
            (datagram(0x80, &[])[..10].to_vec(), "SSRC at offset 8 needs 4 octets, 2 are left"),
            (datagram(0x82, &[0; 7]), "CSRC list at offset 12 needs 8 octets, 7 are left"),
            (datagram(0x90, &[0, 0, 0, 2, 1]), "extension data at offset 16 needs 8 octets, 1 are left"),
            (datagram(0xA0, &[1, 9]), "padding count 9 at offset 13 does not fit a payload of 2 octets"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Packet::parse(&bytes).unwrap_err().to_string(), expected);
        }
        assert!(matches!(Packet::parse(&datagram(0xA0, &[])), Err(RtpError::Truncated { offset: 12, .. })));
        assert!(matches!(Packet::parse(&datagram(0xA0, &[0])), Err(RtpError::Padding { count: 0, .. })));
    }

    #[test]
    fn tells_rtcp_from_rtp() {
        assert!(is_rtcp(&[0x80, 200, 0, 1]));
        assert!(!is_rtcp(&datagram(0x80, &[])));
        assert!(!is_rtcp(&[0x80]));
    }

    #[test]
    fn counts_loss_reordering_and_duplicates_across_the_wrap() {
        let mut tracker = SequenceTracker::default();
        assert_eq!(tracker.note(65533), SequenceStep::Restart);
        assert_eq!(tracker.note(65535), SequenceStep::Ahead);
        assert_eq!(tracker.note(2), SequenceStep::Ahead);
        assert_eq!(tracker.lost(), 3);
        assert_eq!(tracker.note(65534), SequenceStep::Reordered);
        assert_eq!(tracker.note(65534), SequenceStep::Duplicate);
        assert_eq!(tracker.note(2), SequenceStep::Duplicate);
        assert_eq!((tracker.expected(), tracker.received(), tracker.lost()), (6, 4, 2));
        assert_eq!(tracker.note(20_000), SequenceStep::Restart);
        assert_eq!(tracker.lost(), 2);
    }

    proptest! {
        #[test]
        fn never_panics_and_never_invents_octets(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                let extension = packet.extension.map_or(0, |extension| 4 + extension.data.len());
                prop_assert!(HEADER_LEN + packet.csrcs.len() + extension + packet.payload.len() <= bytes.len());
            }
        }

        #[test]
        fn any_header_round_trips(marker: bool, kind in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32) {
            let header = Header { marker, payload_type: kind, sequence, timestamp, ssrc };
            let bytes = write_header(&header);
            let packet = Packet::parse(&bytes).unwrap();
            prop_assert_eq!((packet.marker, packet.payload_type), (marker, kind));
            prop_assert_eq!((packet.sequence, packet.timestamp, packet.ssrc), (sequence, timestamp, ssrc));
            prop_assert!(packet.payload.is_empty());
        }

        #[test]
        fn received_never_exceeds_what_was_noted(numbers in proptest::collection::vec(any::<u16>(), 1..300)) {
            let mut tracker = SequenceTracker::default();
            for &number in &numbers { tracker.note(number); }
            prop_assert!(tracker.received() <= numbers.len() as u64);
        }
    }
}

//! Compound packets as they come: checked as a whole (RFC 3550 appendix A.2), then read one by one without copying.
//!
//! Packets of reduced size (RFC 5506), which begin with something other than a report, are taken too.

/// The packets of one datagram, all of them checked.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// What the far side sends, and what it hears of others.
    SenderReport { ssrc: u32, info: SenderInfo, reports: Reports<'a> },
    /// What the far side hears of others.
    ReceiverReport { ssrc: u32, reports: Reports<'a> },
    /// The first source's canonical name, if stated.
    SourceDescription { cname: Option<&'a [u8]> },
    /// The first source that leaves.
    Bye { ssrc: Option<u32> },
    /// Something else, by its packet type.
    Other { kind: u8 },
}

/// The sender's part of a report (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock as NTP writes it: seconds since 1900 in the upper half, fractions in the lower.
    pub ntp: u64,
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

/// What is heard of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub ssrc: u32,
    /// Lost since the report before, of 256.
    pub fraction_lost: u8,
    /// Lost since the beginning, negative where duplicates came.
    pub lost: i32,
    /// Highest sequence number with its wraps in the upper half.
    pub highest_sequence: u32,
    /// Interarrival jitter, in ticks of the RTP clock.
    pub jitter: u32,
    /// Middle of the NTP timestamp of the last sender report; 0 if none came.
    pub last_sr: u32,
    /// Time since it came, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// The report blocks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reports<'a>(&'a [[u8; REPORT]]);

impl Reports<'_> {
    pub fn iter(&self) -> impl Iterator<Item = Report> {
        self.0.iter().map(report)
    }
}

/// Why a datagram is not RTCP. Offsets are octets from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    #[error("the datagram ends inside the packet at offset {offset}")]
    Truncated { offset: usize },
    #[error("version {found} at offset {offset}, expected 2")]
    Version { offset: usize, found: u8 },
    #[error("packet type {found} at offset {offset} is none of RTCP")]
    Type { offset: usize, found: u8 },
    #[error("the padding of the packet at offset {offset} does not fit, or is not in the last packet")]
    Padding { offset: usize },
    #[error("the packet at offset {offset} is too short for the {count} items that it counts")]
    Count { offset: usize, count: u8 },
}

impl<'a> Compound<'a> {
    /// Checks a datagram.
    ///
    /// # Errors
    /// [`RtcpError`] names the offset of the packet that is malformed; the whole datagram is to be dropped.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, RtcpError> {
        let (mut offset, mut rest) = (0, datagram);
        if rest.is_empty() {
            return Err(RtcpError::Truncated { offset });
        }
        while !rest.is_empty() {
            let (whole, after) = split(rest, offset)?;
            check(whole, offset, after.is_empty())?;
            (offset, rest) = (offset + whole.len(), after);
        }
        Ok(Self { rest: datagram })
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (whole, after) = split(self.rest, 0).ok()?;
        self.rest = after;
        read(whole)
    }
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;

/// The range that shares a port with RTP without being taken for it (RFC 5761 section 4).
const TYPES: core::ops::RangeInclusive<u8> = 192..=223;

const HEAD: usize = 4;
const SENDER: usize = 24;
pub(super) const REPORT: usize = 24;

/// The first packet and what follows it, by its length field.
fn split(rest: &[u8], offset: usize) -> Result<(&[u8], &[u8]), RtcpError> {
    let truncated = RtcpError::Truncated { offset };
    let [flags, kind, l0, l1, ..] = *rest else { return Err(truncated) };
    if flags >> 6 != 2 {
        return Err(RtcpError::Version { offset, found: flags >> 6 });
    }
    if !TYPES.contains(&kind) {
        return Err(RtcpError::Type { offset, found: kind });
    }
    let length = (usize::from(u16::from_be_bytes([l0, l1])) + 1) * 4;
    rest.split_at_checked(length).ok_or(truncated)
}

/// Padding belongs into the last packet only; what a packet counts must be there.
fn check(whole: &[u8], offset: usize, last: bool) -> Result<(), RtcpError> {
    let padded = whole.first().is_some_and(|flags| flags & 0x20 != 0);
    if padded && !last {
        return Err(RtcpError::Padding { offset });
    }
    let (count, body) = body(whole).ok_or(RtcpError::Padding { offset })?;
    let needed = match whole.get(1) {
        Some(&SENDER_REPORT) => SENDER + usize::from(count) * REPORT,
        Some(&RECEIVER_REPORT) => 4 + usize::from(count) * REPORT,
        Some(&BYE) => usize::from(count) * 4,
        _ => 0,
    };
    if body.len() < needed { Err(RtcpError::Count { offset, count }) } else { Ok(()) }
}

/// The count of the header, and the octets between header and padding.
fn body(whole: &[u8]) -> Option<(u8, &[u8])> {
    let (&flags, body) = (whole.first()?, whole.get(HEAD..)?);
    if flags & 0x20 == 0 {
        return Some((flags & 0x1F, body));
    }
    let padding = usize::from(*body.last()?);
    let kept = body.len().checked_sub(padding).filter(|_| padding > 0 && padding.is_multiple_of(4))?;
    Some((flags & 0x1F, body.get(..kept)?))
}

fn read(whole: &[u8]) -> Option<Packet<'_>> {
    let kind = *whole.get(1)?;
    let (count, body) = body(whole)?;
    Some(match kind {
        SENDER_REPORT => {
            let (ssrc, reports) = (word(body, 0)?, reports(body.get(SENDER..)?, count)?);
            let ntp = u64::from(word(body, 4)?) << 32 | u64::from(word(body, 8)?);
            let (rtp_timestamp, packets, octets) = (word(body, 12)?, word(body, 16)?, word(body, 20)?);
            Packet::SenderReport { ssrc, info: SenderInfo { ntp, rtp_timestamp, packets, octets }, reports }
        }
        RECEIVER_REPORT => Packet::ReceiverReport { ssrc: word(body, 0)?, reports: reports(body.get(4..)?, count)? },
        SOURCE_DESCRIPTION => Packet::SourceDescription { cname: cname(body) },
        BYE => Packet::Bye { ssrc: word(body, 0).filter(|_| count > 0) },
        kind => Packet::Other { kind },
    })
}

fn reports(body: &[u8], count: u8) -> Option<Reports<'_>> {
    body.as_chunks::<REPORT>().0.get(..usize::from(count)).map(Reports)
}

fn report(octets: &[u8; REPORT]) -> Report {
    let word = |at| word(octets, at).unwrap_or_default();
    let [_, _, _, _, fraction_lost, l0, l1, l2, ..] = *octets;
    Report {
        ssrc: word(0),
        fraction_lost,
        // 24 bits with a sign.
        lost: i32::from_be_bytes([l0, l1, l2, 0]) >> 8,
        highest_sequence: word(8),
        jitter: word(12),
        last_sr: word(16),
        delay_since_last_sr: word(20),
    }
}

/// The name among the first chunk's items: type, length, text.
fn cname(body: &[u8]) -> Option<&[u8]> {
    let mut items = body.get(4..)?;
    loop {
        match items {
            [kind @ 1..=255, length, rest @ ..] => {
                let (text, after) = rest.split_at_checked(usize::from(*length))?;
                if *kind == 1 {
                    return Some(text);
                }
                items = after;
            }
            _ => return None,
        }
    }
}

fn word(octets: &[u8], at: usize) -> Option<u32> {
    let word = octets.get(at..at.checked_add(4)?)?;
    word.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SR: [u8; 52] = [
        0x81, 200, 0, 12, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 100, 0, 0, 0, 50, 0, 0, 31, 64, 0, 0, 0, 7, 64,
        0xFF, 0xFF, 0xFE, 0, 1, 0, 5, 0, 0, 0, 80, 3, 4, 5, 6, 0, 1, 0, 0,
    ];
    const SDES: [u8; 16] = [0x81, 202, 0, 3, 0, 0, 0, 9, 1, 4, b'a', b'@', b'b', b'c', 0, 0];
    const BYE_PACKET: [u8; 8] = [0x81, 203, 0, 1, 0, 0, 0, 9];

    #[test]
    fn reads_a_compound_packet() {
        let datagram = [&SR[..], &SDES, &BYE_PACKET].concat();
        let packets: Vec<Packet<'_>> = Compound::parse(&datagram).unwrap().collect();
        let [Packet::SenderReport { ssrc: 9, info, reports }, sdes, bye] = packets.as_slice() else {
            panic!("{packets:?}")
        };
        assert_eq!((info.ntp, info.rtp_timestamp, info.packets, info.octets), (0x0102_0304_0506_0708, 100, 50, 8000));
        let report = reports.iter().next().unwrap();
        assert_eq!((report.ssrc, report.fraction_lost, report.lost), (7, 64, -2));
        assert_eq!((report.highest_sequence, report.jitter), (0x0001_0005, 80));
        assert_eq!((report.last_sr, report.delay_since_last_sr), (0x0304_0506, 0x0001_0000));
        assert_eq!(*sdes, Packet::SourceDescription { cname: Some(b"a@bc") });
        assert_eq!(*bye, Packet::Bye { ssrc: Some(9) });
    }

    #[test]
    fn packets_of_reduced_size_and_unknown_ones_are_passed_over() {
        let feedback = [0x81, 205, 0, 2, 0, 0, 0, 9, 0, 0, 0, 7];
        let packets: Vec<_> = Compound::parse(&feedback).unwrap().collect();
        assert_eq!(packets, [Packet::Other { kind: 205 }]);
        let empty = [0x80, 203, 0, 0];
        assert_eq!(Compound::parse(&empty).unwrap().next(), Some(Packet::Bye { ssrc: None }));
    }

    #[test]
    fn padding_is_taken_off_the_last_packet_only() {
        let mut padded = BYE_PACKET.to_vec();
        padded.extend([0, 0, 0, 4]);
        (padded[0], padded[3]) = (0xA1, 2);
        assert_eq!(Compound::parse(&padded).unwrap().next(), Some(Packet::Bye { ssrc: Some(9) }));
        let twice = [&padded[..], &BYE_PACKET].concat();
        assert_eq!(Compound::parse(&twice).unwrap_err(), RtcpError::Padding { offset: 0 });
        for count in [0, 3, 12, 255] {
            padded[11] = count;
            assert_eq!(Compound::parse(&padded).unwrap_err(), RtcpError::Padding { offset: 0 }, "{count}");
        }
    }

    #[test]
    fn errors_name_the_packet() {
        let at = |bytes: &[u8]| Compound::parse(bytes).unwrap_err();
        assert_eq!(at(&[]), RtcpError::Truncated { offset: 0 });
        assert_eq!(at(&SR[..51]), RtcpError::Truncated { offset: 0 });
        assert_eq!(at(&[&SDES[..], &[0x40, 200, 0, 0]].concat()), RtcpError::Version { offset: 16, found: 1 });
        assert_eq!(at(&[0x80, 0, 0, 0]), RtcpError::Type { offset: 0, found: 0 });
        let mut lying = SR;
        lying[0] = 0x9F;
        assert_eq!(at(&lying), RtcpError::Count { offset: 0, count: 31 });
        assert_eq!(at(&[0x82, 203, 0, 1, 0, 0, 0, 9]), RtcpError::Count { offset: 0, count: 2 });
    }

    proptest! {
        #[test]
        fn nothing_panics_and_reading_ends(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 198u8..208) {
            let mut bytes = bytes;
            if let [flags, second, ..] = bytes.as_mut_slice() { (*flags, *second) = (*flags & 0x3F | 0x80, kind); }
            if let Ok(compound) = Compound::parse(&bytes) {
                for packet in compound {
                    if let Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } = packet {
                        prop_assert!(reports.iter().count() < 32);
                    }
                }
            }
        }
    }
}

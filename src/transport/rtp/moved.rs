//! Whether packets from another port of the caller's host are the caller's: a NAT has given the stream a new port.
//!
//! Nobody may take a stream over by sending to us, so a new port is believed only where the old one has fallen silent
//! and the packets go on where the stream stopped: the same SSRC, sequence numbers a little further. Another host is
//! never believed here; that takes an offer.

use std::net::SocketAddr;
use std::time::Duration;

use crate::call::Moment;

/// Where the caller's stream stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Continuity {
    last: Option<Last>,
    /// A port that goes on with the stream, and how many of its packets have come.
    candidate: Option<(SocketAddr, u8)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Last {
    ssrc: u32,
    sequence: u16,
    at: Moment,
}

impl Continuity {
    /// A packet of the caller's own.
    pub fn heard(&mut self, packet: &[u8], at: Moment) {
        let Some((ssrc, sequence)) = identity(packet) else { return };
        self.last = Some(Last { ssrc, sequence, at });
        self.candidate = None;
    }

    /// Whether a packet from another port of the same host goes on with the stream, and enough others have before it.
    pub fn goes_on(&mut self, from: SocketAddr, packet: &[u8], at: Moment) -> bool {
        let (Some(last), Some((ssrc, sequence))) = (&self.last, identity(packet)) else { return false };
        let silence = at.saturating_sub(last.at);
        let ahead = u128::from(sequence.wrapping_sub(last.sequence));
        let most = silence.as_millis() / SHORTEST_PACKET_MS + SLACK;
        if silence < SILENT || ssrc != last.ssrc || ahead == 0 || ahead > most {
            return false;
        }
        let seen = self.candidate.filter(|(address, _)| *address == from).map_or(0, |(_, seen)| seen) + 1;
        self.candidate = Some((from, seen));
        seen >= BELIEVED_AFTER
    }
}

/// SSRC and sequence number of an RTP packet (RFC 3550 5.1); encrypted ones show them too (RFC 3711 3.1).
fn identity(packet: &[u8]) -> Option<(u32, u16)> {
    let (sequence, ssrc) = (packet.get(2..4)?, packet.get(8..12)?);
    Some((u32::from_be_bytes(ssrc.try_into().ok()?), u16::from_be_bytes(sequence.try_into().ok()?)))
}

/// A stream without a packet for so long may have moved.
const SILENT: Duration = Duration::from_millis(100);

/// Sequence numbers cannot have gone further than one for each of these...
const SHORTEST_PACKET_MS: u128 = 10;

/// ...and a few, for packets that were sent in a bunch.
const SLACK: u128 = 16;

/// Packets of the new port before it is believed.
const BELIEVED_AFTER: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
        let parts: [&[u8]; 4] = [&[0x80, 0], &sequence.to_be_bytes(), &[0; 4], &ssrc.to_be_bytes()];
        parts.concat()
    }

    fn at(ms: u64) -> Moment {
        Moment::ZERO + Duration::from_millis(ms)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The stream has stopped at sequence number 65,534, at 1 s.
    fn stopped() -> Continuity {
        let mut stream = Continuity::default();
        stream.heard(&packet(7, 65_534), at(1_000));
        stream
    }

    #[test]
    fn a_stream_that_goes_on_from_another_port_is_believed() {
        let (mut stream, port) = (stopped(), address("192.0.2.1:4002"));
        assert!(!stream.goes_on(port, &packet(7, 4), at(1_120)));
        assert!(!stream.goes_on(port, &packet(7, 5), at(1_140)));
        assert!(stream.goes_on(port, &packet(7, 6), at(1_160)));
    }

    #[test]
    fn a_live_stream_cannot_be_taken_over() {
        let (mut stream, port) = (stopped(), address("192.0.2.1:4002"));
        for n in 0..20 {
            stream.heard(&packet(7, 65_535_u16.wrapping_add(n)), at(1_020 + 20 * u64::from(n)));
            assert!(!stream.goes_on(port, &packet(7, n), at(1_021 + 20 * u64::from(n))));
        }
    }

    #[test]
    fn another_stream_or_one_out_of_step_is_a_stranger() {
        let port = address("192.0.2.1:4002");
        for (ssrc, first) in [(8, 0), (7, 65_000), (7, 2_000)] {
            let mut stream = stopped();
            for n in 0..20_u16 {
                assert!(
                    !stream.goes_on(port, &packet(ssrc, first + n), at(1_200 + 20 * u64::from(n))),
                    "{ssrc} {first}"
                );
            }
        }
    }

    #[test]
    fn strangers_who_take_turns_do_not_add_up() {
        let mut stream = stopped();
        for n in 0..10 {
            let port = SocketAddr::from(([192, 0, 2, 1], 4_000 + n));
            assert!(!stream.goes_on(port, &packet(7, n), at(1_200 + 20 * u64::from(n))));
        }
    }
}

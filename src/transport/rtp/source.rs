//! Whose packets are taken, and where ours go (symmetric RTP, RFC 4961).
//!
//! The address that was offered is believed at once. Behind NAT packets come from elsewhere: another source is believed
//! once several of its packets have come and none from the offered address. After that nobody else is listened to,
//! except the one whose stream it is: the same source and numbering from another port of the same host, after the old
//! port has fallen silent. Under encryption an authentic packet speaks for itself, from wherever it comes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use offhook_media::rtp::sequence_distance;

use crate::call::Moment;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Source {
    offered: Option<SocketAddr>,
    /// Believed like the offered host: where the signalling comes from, when what was offered cannot be reached.
    trusted: Option<IpAddr>,
    locked: Option<Lock>,
    /// Sources that may become the locked one.
    candidates: [Option<Candidate>; MOST_CANDIDATES],
}

/// What a packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    pub payload_type: u8,
}

impl Head {
    /// Reads the fixed header; `None` for what is no RTP.
    pub(super) fn read(datagram: &[u8]) -> Option<Self> {
        let (&[flags, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3], _) = datagram.split_first_chunk::<12>()?;
        (flags >> 6 == 2).then_some(Self {
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            payload_type: kind & 0x7F,
        })
    }
}

impl Source {
    /// `offered` is what the description says; `trusted` where else its packets may well come from.
    pub(super) const fn new(offered: Option<SocketAddr>, trusted: Option<IpAddr>) -> Self {
        Self { offered, trusted, locked: None, candidates: [None; MOST_CANDIDATES] }
    }

    /// A new description. One that names the address it named before changes nothing, nor does one that names none: a
    /// hold, a refresh.
    pub(super) fn offer_again(&mut self, offered: Option<SocketAddr>, trusted: Option<IpAddr>) {
        if offered.is_some() && (offered, trusted) != (self.offered, self.trusted) {
            *self = Self::new(offered, trusted);
        }
    }

    /// Whether a packet in the clear that came at `at` is the caller's.
    pub(super) fn accepts(&mut self, from: SocketAddr, head: Head, at: Moment) -> bool {
        let Some(locked) = &mut self.locked else { return self.accepts_first(from, head, at) };
        if locked.address == from {
            locked.note(head, at);
            return true;
        }
        let preferred = self.offered == Some(from) && !locked.is_offered;
        let moved = locked.address.ip() == from.ip() && locked.is_continued_by(head, at);
        if preferred || (moved && self.count(from) >= FOLLOWED_AFTER) {
            self.lock(from, head, at);
            return true;
        }
        false
    }

    /// An authentic packet came: it is the caller's; ours follow it once its old address has fallen silent.
    pub(super) fn authenticated(&mut self, from: SocketAddr, head: Head, at: Moment) {
        match &mut self.locked {
            Some(locked) if locked.address == from => locked.note(head, at),
            Some(locked) if at.saturating_sub(locked.heard) < SILENT => {}
            _ => self.lock(from, head, at),
        }
    }

    /// Where ours go; `None` before the caller is known.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        // What cannot be reached is waited for, not guessed at.
        self.locked.as_ref().map(|locked| locked.address).or(self.offered.filter(|_| self.trusted.is_none()))
    }

    /// What the description says.
    pub(super) const fn offered(&self) -> Option<SocketAddr> {
        self.offered
    }

    fn accepts_first(&mut self, from: SocketAddr, head: Head, at: Moment) -> bool {
        let host = self.offered.map(|offered| offered.ip()) == Some(from.ip()) || self.trusted == Some(from.ip());
        let enough = if host { FOLLOWED_AFTER } else { BELIEVED_AFTER };
        let believed = self.offered == Some(from) || self.count(from) >= enough;
        if believed {
            self.lock(from, head, at);
        }
        believed
    }

    fn lock(&mut self, address: SocketAddr, head: Head, at: Moment) {
        let is_offered = self.offered == Some(address);
        self.locked = Some(Lock { address, is_offered, ssrc: head.ssrc, sequence: head.sequence, heard: at });
        self.candidates = [None; MOST_CANDIDATES];
    }

    /// How many packets have come from a source, each source counted for itself: strangers who take turns must not
    /// keep a caller out.
    fn count(&mut self, from: SocketAddr) -> u8 {
        let known = self.candidates.iter().position(|c| c.is_some_and(|candidate| candidate.address == from));
        let place = known.or_else(|| self.candidates.iter().position(Option::is_none)).unwrap_or_default();
        let Some(candidate) = self.candidates.get_mut(place) else { return 0 };
        let before = candidate.filter(|candidate| candidate.address == from).map_or(0, |candidate| candidate.packets);
        let packets = before.saturating_add(1);
        *candidate = Some(Candidate { address: from, packets });
        packets
    }
}

/// The source that is listened to.
#[derive(Debug)]
struct Lock {
    address: SocketAddr,
    is_offered: bool,
    ssrc: u32,
    sequence: u16,
    heard: Moment,
}

impl Lock {
    const fn note(&mut self, head: Head, at: Moment) {
        (self.ssrc, self.sequence, self.heard) = (head.ssrc, head.sequence, at);
    }

    /// Whether a packet goes on where this source fell silent: nobody who has not heard the stream knows its numbers.
    fn is_continued_by(&self, head: Head, at: Moment) -> bool {
        let ahead = sequence_distance(head.sequence, self.sequence);
        self.ssrc == head.ssrc && (1..=MOST_MISSED).contains(&ahead) && at.saturating_sub(self.heard) >= SILENT
    }
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    address: SocketAddr,
    packets: u8,
}

/// Packets of a stranger before it is believed.
const BELIEVED_AFTER: u8 = 5;

/// Packets from another port of the caller's host before it is followed.
const FOLLOWED_AFTER: u8 = 3;

/// A source that has said nothing for this long may have moved.
const SILENT: Duration = Duration::from_millis(200);

/// Packets that may be lost while a source moves: 10 s at 20 ms.
const MOST_MISSED: i16 = 500;

/// Sources counted at once; beyond that a new one takes the first one's place.
const MOST_CANDIDATES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "192.0.2.1:4000";
    const MOVED: &str = "192.0.2.1:4002";
    const STRANGER: &str = "198.51.100.9:7000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn head(ssrc: u32, sequence: u16) -> Head {
        Head { ssrc, sequence, timestamp: 0, payload_type: 0 }
    }

    /// Packets number `range` of source 1, one every 20 ms; how many were taken.
    fn sends(source: &mut Source, from: &str, ssrc: u32, range: std::ops::Range<u16>) -> usize {
        let at = |n: u16| Moment::from_millis(20 * u64::from(n));
        range.filter(|&n| source.accepts(address(from), head(ssrc, n), at(n))).count()
    }

    #[test]
    fn the_offered_address_is_believed_at_once_and_nobody_after_it() {
        let mut source = Source::new(Some(address(CALLER)), None);
        assert_eq!(sends(&mut source, CALLER, 1, 0..10), 10);
        assert_eq!(sends(&mut source, STRANGER, 1, 10..100), 0);
        assert_eq!(source.remote(), Some(address(CALLER)));
    }

    #[test]
    fn another_port_of_the_offered_host_is_believed_until_the_offered_one_speaks() {
        let mut source = Source::new(Some(address(CALLER)), None);
        assert_eq!(sends(&mut source, MOVED, 1, 0..10), 8);
        assert_eq!(source.remote(), Some(address(MOVED)));
        assert_eq!(sends(&mut source, CALLER, 2, 10..20), 10, "the description says whose stream it is");
        assert_eq!(sends(&mut source, MOVED, 1, 20..100), 0);
    }

    #[test]
    fn a_stranger_is_believed_only_when_the_offered_host_is_silent() {
        let mut source = Source::new(Some(address("10.0.0.1:4000")), None);
        for n in 0..4 {
            assert_eq!(sends(&mut source, STRANGER, 9, n..n + 1) + sends(&mut source, CALLER, 1, n..n + 1), 0);
        }
        assert_eq!(sends(&mut source, CALLER, 1, 4..20), 16);
        assert_eq!(sends(&mut source, STRANGER, 9, 20..60), 0);
        assert_eq!(source.remote(), Some(address(CALLER)));
    }

    #[test]
    fn a_rebound_port_of_the_same_host_is_followed_when_the_stream_goes_on() {
        let mut source = Source::new(Some(address(CALLER)), None);
        sends(&mut source, CALLER, 1, 0..100);
        assert_eq!(sends(&mut source, MOVED, 1, 100..105), 0, "the old port may still speak");
        assert!(sends(&mut source, MOVED, 1, 105..200) > 85);
        assert_eq!(source.remote(), Some(address(MOVED)));
    }

    #[test]
    fn neither_another_host_nor_other_numbers_are_followed() {
        for (from, ssrc, first) in [(STRANGER, 1, 300), (MOVED, 2, 300), (MOVED, 1, 20_000), (MOVED, 1, 50)] {
            let mut source = Source::new(Some(address(CALLER)), None);
            sends(&mut source, CALLER, 1, 0..100);
            let at = Moment::from_secs(20);
            let taken = (first..first + 50).filter(|&n| source.accepts(address(from), head(ssrc, n), at)).count();
            assert_eq!(taken, 0, "{from} {ssrc} {first}");
            assert_eq!(source.remote(), Some(address(CALLER)));
        }
    }

    #[test]
    fn what_cannot_be_reached_is_waited_for() {
        let signalling = Some(address(CALLER).ip());
        let mut source = Source::new(Some(address("192.168.1.4:4000")), signalling);
        assert_eq!(source.remote(), None, "nothing is sent before the caller is known");
        assert_eq!(sends(&mut source, STRANGER, 9, 0..4), 0);
        assert_eq!(sends(&mut source, CALLER, 1, 0..10), 8);
        assert_eq!(source.remote(), Some(address(CALLER)));
    }

    #[test]
    fn a_refresh_keeps_the_lock_and_a_moved_address_ends_it() {
        let mut source = Source::new(Some(address(CALLER)), None);
        sends(&mut source, MOVED, 1, 0..10);
        source.offer_again(Some(address(CALLER)), None);
        source.offer_again(None, None);
        assert_eq!(source.remote(), Some(address(MOVED)));
        source.offer_again(Some(address(STRANGER)), None);
        assert_eq!(source.remote(), Some(address(STRANGER)));
        assert_eq!(sends(&mut source, STRANGER, 5, 0..10), 10);
    }

    #[test]
    fn an_authentic_packet_moves_the_stream_once_its_old_address_is_silent() {
        let (mut source, at) = (Source::new(Some(address(CALLER)), None), Moment::from_millis);
        source.authenticated(address(CALLER), head(1, 1), at(0));
        source.authenticated(address(STRANGER), head(1, 2), at(20));
        assert_eq!(source.remote(), Some(address(CALLER)));
        source.authenticated(address(STRANGER), head(1, 30), at(600));
        assert_eq!(source.remote(), Some(address(STRANGER)));
    }
}

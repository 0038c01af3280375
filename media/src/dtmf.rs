//! DTMF digits as RTP telephone events (RFC 4733).
//!
//! A digit is one event however its packets are lost, repeated or reordered. Tones in the audio itself
//! are not looked for.

use core::fmt;

use crate::Moment;

/// A key of the telephone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digit {
    D0,
    D1,
    D2,
    D3,
    D4,
    D5,
    D6,
    D7,
    D8,
    D9,
    Star,
    Pound,
    A,
    B,
    C,
    D,
}

impl Digit {
    /// All keys in the order of their event codes.
    pub const ALL: [Self; 16] = [
        Self::D0,
        Self::D1,
        Self::D2,
        Self::D3,
        Self::D4,
        Self::D5,
        Self::D6,
        Self::D7,
        Self::D8,
        Self::D9,
        Self::Star,
        Self::Pound,
        Self::A,
        Self::B,
        Self::C,
        Self::D,
    ];

    /// The key for an event code (RFC 4733 table 3).
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The event code (RFC 4733 table 3).
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The key as it is printed on the telephone.
    pub fn as_char(self) -> char {
        char::from(KEYS[usize::from(self.code())])
    }
}

impl TryFrom<char> for Digit {
    type Error = NotADigit;

    fn try_from(key: char) -> Result<Self, NotADigit> {
        let upper = key.to_ascii_uppercase();
        let found = Self::ALL.into_iter().find(|digit| digit.as_char() == upper);
        found.ok_or(NotADigit(key))
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Write::write_char(out, self.as_char())
    }
}

/// A character that is on no telephone key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no DTMF key, expected 0-9, *, # or A-D")]
pub struct NotADigit(pub char);

/// The payload of one telephone-event packet (RFC 4733 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Event code; 0 to 15 are the keys.
    pub code: u8,
    /// The event is over.
    pub end: bool,
    /// Attenuation, 0 to 63 for 0 to -63 dBm0.
    pub volume: u8,
    /// Length so far, timestamp units.
    pub duration: u16,
}

/// Why a payload is no telephone event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DtmfError {
    /// Fewer than four octets.
    #[error("event needs 4 octets, {found} found")]
    Truncated { found: usize },
    /// An event that is no key, such as a fax tone.
    #[error("event code {code} is no key")]
    NotAKey { code: u8 },
}

impl Event {
    /// Octets of one event.
    pub const LEN: usize = 4;

    /// Reads the first event of a payload.
    ///
    /// # Errors
    /// [`DtmfError::Truncated`] if the payload is shorter than an event.
    pub fn parse(payload: &[u8]) -> Result<Self, DtmfError> {
        let Some(&[code, flags, high, low]) = payload.first_chunk() else {
            return Err(DtmfError::Truncated { found: payload.len() });
        };
        Ok(Self { code, end: flags & 0x80 != 0, volume: flags & 0x3F, duration: u16::from_be_bytes([high, low]) })
    }

    /// The octets of the event.
    pub fn to_octets(self) -> [u8; Self::LEN] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, u8::from(self.end) << 7 | self.volume & 0x3F, high, low]
    }
}

/// What a packet or the passing of time told about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEdge {
    /// The key went down.
    Down(Digit),
    /// The key came up after `held_ms`, or its last packets were lost.
    Up { digit: Digit, held_ms: u32 },
    /// More of a key press that is known already.
    Same,
}

/// Turns event packets into one down and one up edge for each key press.
#[derive(Clone, Debug)]
pub struct DtmfReceiver {
    open: Option<Press>,
    closed: Option<Closed>,
    clock_hz: u32,
}

impl DtmfReceiver {
    /// A receiver that has heard of no key; events count at `clock_hz`.
    pub fn new(clock_hz: u32) -> Self {
        Self { open: None, closed: None, clock_hz }
    }

    /// Events count at another clock from now on.
    pub fn set_clock(&mut self, clock_hz: u32) {
        self.clock_hz = clock_hz;
    }

    /// Takes a packet; the second edge is set when this packet also shows that the key before came up.
    ///
    /// # Errors
    /// [`DtmfError`] if the payload is too short or the event is no key.
    pub fn packet(&mut self, timestamp: u32, payload: &[u8], arrival: Moment) -> Result<Edges, DtmfError> {
        let event = Event::parse(payload)?;
        let digit = Digit::from_code(event.code).ok_or(DtmfError::NotAKey { code: event.code })?;
        if self.is_over(digit, timestamp, event, arrival) {
            return Ok(Edges::default());
        }
        if let Some(press) = self.open.as_mut().filter(|press| press.includes(digit, timestamp, event.duration)) {
            press.extend(timestamp, event.duration, arrival);
            let edge = if event.end { self.close(arrival) } else { Some(KeyEdge::Same) };
            return Ok(Edges { before: None, now: edge });
        }
        let before = self.close(arrival);
        self.open = Some(Press::begin(digit, timestamp, event.duration, arrival));
        let now = Some(KeyEdge::Down(digit));
        // The first packet to come may be the last one of its event.
        Ok(if event.end { Edges { before: now, now: self.close(arrival) } } else { Edges { before, now } })
    }

    /// Closes a press whose end was lost: nothing came for [`LOST_END`].
    pub fn tick(&mut self, now: Moment) -> Option<KeyEdge> {
        let silent_since = self.open.as_ref()?.latest;
        if now.saturating_sub(silent_since) < LOST_END {
            return None;
        }
        self.close(now)
    }

    /// Audio packets go on beside a long key press at some senders, so only time and events close one.
    pub fn is_down(&self) -> bool {
        self.open.is_some()
    }

    /// Forgets the stream, as when another source follows.
    pub fn reset(&mut self) {
        *self = Self::new(self.clock_hz);
    }

    fn close(&mut self, at: Moment) -> Option<KeyEdge> {
        let press = self.open.take()?;
        let held_ms = press.held_ms(self.clock_hz);
        self.closed = Some(Closed { digit: press.digit, segment: press.segment, held_ms, at });
        Some(KeyEdge::Up { digit: press.digit, held_ms })
    }

    /// Whether a packet belongs to a press that was reported, or to one before it.
    fn is_over(&self, digit: Digit, timestamp: u32, event: Event, arrival: Moment) -> bool {
        let Some(closed) = &self.closed else { return false };
        if self.open.as_ref().is_some_and(|press| press.digit == digit && press.segment == timestamp) {
            return false;
        }
        let since = arrival.saturating_sub(closed.at);
        let ahead = crate::rtp::timestamp_distance(timestamp, closed.segment);
        if ahead == 0 && !event.end && since >= SAME_STAMP && self.open.is_none() {
            // Some senders stamp every press alike.
            return false;
        }
        if (-STALE..=0).contains(&ahead) {
            return true;
        }
        // Some senders stamp each packet anew, the repeats of the last one too: a press cannot have lasted longer than
        // the time since the one before it.
        let lasted = u64::from(event.duration) * 1000 / u64::from(self.clock_hz.max(1));
        let same = event.end && digit == closed.digit && self.open.is_none();
        same && lasted >= u64::from(closed.held_ms) && since < Moment::from_millis(lasted)
    }
}

impl Default for DtmfReceiver {
    /// For events at 8 kHz.
    fn default() -> Self {
        Self::new(crate::RATE_HZ)
    }
}

/// The press that was reported last.
#[derive(Clone, Debug)]
struct Closed {
    digit: Digit,
    segment: u32,
    held_ms: u32,
    at: Moment,
}

/// What one packet told, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// The key before came up, or this key went down in the same packet that ends it.
    pub before: Option<KeyEdge>,
    /// What the packet itself says; `None` for a repeat of an event that is over.
    pub now: Option<KeyEdge>,
}

impl IntoIterator for Edges {
    type Item = KeyEdge;
    type IntoIter = core::iter::Flatten<core::array::IntoIter<Option<KeyEdge>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        [self.before, self.now].into_iter().flatten()
    }
}

/// After this long without a packet a key counts as released.
pub const LOST_END: Moment = Moment::from_millis(120);

/// A repeat of a packet comes sooner after it than this; a press with the same timestamp comes later.
const SAME_STAMP: Moment = Moment::from_millis(300);

/// A repeated or reordered event is this much older at most; anything else is a restarted clock (10 s).
const STALE: i32 = 80_000;
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

#[derive(Clone, Debug)]
struct Press {
    digit: Digit,
    segment: u32,
    /// Duration of the segments before this one (RFC 4733 section 2.5.1.3).
    earlier: u32,
    duration: u16,
    latest: Moment,
}

impl Press {
    fn begin(digit: Digit, timestamp: u32, duration: u16, arrival: Moment) -> Self {
        Self { digit, segment: timestamp, earlier: 0, duration, latest: arrival }
    }

    /// The same press: its timestamp, that of the segment which continues it, or from a sender that stamps each packet
    /// anew, a duration that goes on growing by as much as the timestamps do.
    fn includes(&self, digit: Digit, timestamp: u32, duration: u16) -> bool {
        let ahead = i64::from(crate::rtp::timestamp_distance(timestamp, self.segment));
        let grown = i64::from(duration) - i64::from(self.duration);
        let goes_on = grown >= 0 && (1..=i64::from(duration)).contains(&ahead);
        digit == self.digit && (timestamp == self.segment || self.is_next_segment(timestamp) || goes_on)
    }

    fn is_next_segment(&self, timestamp: u32) -> bool {
        self.duration >= NEARLY_FULL && timestamp == self.segment.wrapping_add(u32::from(u16::MAX))
    }

    fn extend(&mut self, timestamp: u32, duration: u16, arrival: Moment) {
        if self.is_next_segment(timestamp) {
            self.earlier = self.earlier.saturating_add(u32::from(u16::MAX));
            self.duration = 0;
        }
        self.segment = timestamp;
        self.duration = self.duration.max(duration);
        self.latest = arrival;
    }

    fn held_ms(&self, clock_hz: u32) -> u32 {
        self.earlier.saturating_add(u32::from(self.duration)) / (clock_hz / 1000).max(1)
    }
}

/// A segment ends at 65535 units; its last packets may be lost.
const NEARLY_FULL: u16 = u16::MAX - 4000;

/// One packet to send for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPacket {
    /// Marker bit: the first packet of the event.
    pub marker: bool,
    /// Timestamp of the event's beginning, the same in all its packets.
    pub timestamp: u32,
    /// Payload.
    pub payload: [u8; Event::LEN],
}

/// The packets of one key press, one for each 20 ms tick and three that end it.
#[derive(Clone, Debug)]
pub struct DtmfSender {
    digit: Digit,
    timestamp: u32,
    /// Timestamp units of one packet.
    step: u16,
    sent: u16,
    length: u16,
    ends: u8,
    lasts: Moment,
}

impl DtmfSender {
    /// A press of `digit` for `duration_ms` (taken to be 40 ms to 8 s, or what the duration field holds: 1.3 s at
    /// 48 kHz), beginning at `timestamp`; durations count at `clock_hz`.
    pub fn new(digit: Digit, duration_ms: u32, timestamp: u32, clock_hz: u32) -> Self {
        let per_ms = (clock_hz / 1000).clamp(1, MOST_PER_MS);
        let longest = LONGEST_MS.min(u32::from(u16::MAX) / per_ms / crate::FRAME_MS * crate::FRAME_MS);
        let bounded = duration_ms.clamp(SHORTEST_MS, longest);
        let length = u16::try_from(bounded * per_ms).unwrap_or(u16::MAX);
        let step = u16::try_from(crate::FRAME_MS * per_ms).unwrap_or(u16::MAX);
        let lasts = Moment::from_millis(u64::from(bounded) + 40);
        Self { digit, timestamp, step, sent: 0, length, ends: 0, lasts }
    }

    /// The packet for this tick; `None` when the press is over.
    pub fn next_packet(&mut self) -> Option<EventPacket> {
        if self.ends == ENDS {
            return None;
        }
        let marker = self.sent == 0;
        self.sent = self.sent.saturating_add(self.step).min(self.length);
        let end = self.sent == self.length;
        self.ends += u8::from(end);
        let event = Event { code: self.digit.code(), end, volume: VOLUME, duration: self.sent };
        Some(EventPacket { marker, timestamp: self.timestamp, payload: event.to_octets() })
    }

    /// How long the press lasts from its first packet to its last, for pacing.
    pub fn lasts(&self) -> Moment {
        self.lasts
    }
}

/// Customary: 10 dB below full scale.
const VOLUME: u8 = 10;
/// RFC 4733 section 2.5.1.4: the final packet is sent three times.
const ENDS: u8 = 3;
const SHORTEST_MS: u32 = 40;
/// 96 kHz, beyond every audio clock.
const MOST_PER_MS: u32 = 96;
const LONGEST_MS: u32 = 8000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(value: u64) -> Moment {
        Moment::from_millis(value)
    }

    /// Sends a digit and delivers the packets that `arrives` lets through.
    fn deliver(
        receiver: &mut DtmfReceiver,
        digit: Digit,
        length: u32,
        timestamp: u32,
        arrives: impl Fn(usize) -> bool,
    ) -> Vec<KeyEdge> {
        let mut sender = DtmfSender::new(digit, length, timestamp, 8000);
        let mut edges = Vec::new();
        for index in 0.. {
            let Some(packet) = sender.next_packet() else { break };
            if arrives(index) {
                let now = ms(u64::from(timestamp) / 8 + 20 * index as u64);
                edges.extend(receiver.packet(packet.timestamp, &packet.payload, now).unwrap());
            }
        }
        edges.retain(|edge| *edge != KeyEdge::Same);
        edges
    }

    fn press(digit: Digit, held_ms: u32) -> Vec<KeyEdge> {
        vec![KeyEdge::Down(digit), KeyEdge::Up { digit, held_ms }]
    }

    #[test]
    fn keys_have_their_codes_and_characters() {
        for (code, key) in "0123456789*#ABCD".chars().enumerate() {
            let digit = Digit::try_from(key).unwrap();
            assert_eq!(usize::from(digit.code()), code);
            assert_eq!(digit.to_string(), key.to_string());
            assert_eq!(Digit::from_code(digit.code()), Some(digit));
        }
        assert_eq!(Digit::try_from('d'), Ok(Digit::D));
        assert_eq!(Digit::try_from('x').unwrap_err().to_string(), "'x' is no DTMF key, expected 0-9, *, # or A-D");
        assert_eq!(Digit::from_code(16), None);
    }

    #[test]
    fn triplicated_ends_make_one_digit() {
        let mut receiver = DtmfReceiver::default();
        assert_eq!(deliver(&mut receiver, Digit::D5, 100, 800, |_| true), press(Digit::D5, 100));
        assert_eq!(deliver(&mut receiver, Digit::D5, 100, 4800, |_| true), press(Digit::D5, 100));
    }

    #[test]
    fn any_single_surviving_packet_makes_the_digit() {
        for survivor in 0..7 {
            let mut receiver = DtmfReceiver::default();
            let mut edges = deliver(&mut receiver, Digit::Pound, 100, 8000, |index| index == survivor);
            edges.extend(receiver.tick(ms(1500)));
            assert_eq!(edges.len(), 2, "survivor {survivor}: {edges:?}");
            assert_eq!(edges[0], KeyEdge::Down(Digit::Pound));
        }
    }

    #[test]
    fn a_lost_end_is_closed_by_silence_or_by_the_next_key() {
        let mut receiver = DtmfReceiver::default();
        assert_eq!(deliver(&mut receiver, Digit::D1, 100, 0, |index| index < 3), [KeyEdge::Down(Digit::D1)]);
        assert_eq!(receiver.tick(ms(150)), None);
        assert_eq!(receiver.tick(ms(160)), Some(KeyEdge::Up { digit: Digit::D1, held_ms: 60 }));
        assert_eq!(receiver.tick(ms(500)), None);

        deliver(&mut receiver, Digit::D2, 100, 8000, |index| index < 3);
        let edges = deliver(&mut receiver, Digit::D2, 100, 9600, |_| true);
        assert_eq!(edges[0], KeyEdge::Up { digit: Digit::D2, held_ms: 60 });
        assert_eq!(edges[1..], press(Digit::D2, 100));
    }

    #[test]
    fn a_key_held_beyond_the_duration_field_stays_one_key() {
        let mut receiver = DtmfReceiver::default();
        let mut edges = Vec::new();
        let total = 2 * 65_535u32 + 1600;
        for elapsed in (160..=total).step_by(160).chain([total]) {
            let segment = (elapsed - 1) / 65_535 * 65_535;
            let duration = u16::try_from(elapsed - segment).unwrap();
            let event = Event { code: 7, end: elapsed == total, volume: 10, duration };
            let now = ms(u64::from(elapsed) / 8);
            edges.extend(receiver.packet(segment, &event.to_octets(), now).unwrap());
        }
        edges.retain(|edge| *edge != KeyEdge::Same);
        assert_eq!(edges, press(Digit::D7, total / 8));
    }

    #[test]
    fn a_late_repeat_of_an_older_event_is_no_new_key() {
        let mut receiver = DtmfReceiver::default();
        deliver(&mut receiver, Digit::D1, 60, 1000, |_| true);
        deliver(&mut receiver, Digit::D2, 60, 3000, |_| true);
        assert!(deliver(&mut receiver, Digit::D1, 60, 1000, |_| true).is_empty());
    }

    /// Hands packets of (timestamp, duration, end) to a receiver, 20 ms apart from `at`, and gives the keys' edges.
    fn hand(receiver: &mut DtmfReceiver, at: u64, packets: &[(u32, u16, bool)]) -> Vec<KeyEdge> {
        let mut edges = Vec::new();
        for (index, &(timestamp, duration, end)) in packets.iter().enumerate() {
            let event = Event { code: 4, end, volume: 10, duration };
            let arrival = ms(at + 20 * index as u64);
            edges.extend(receiver.packet(timestamp, &event.to_octets(), arrival).unwrap());
        }
        edges.retain(|edge| *edge != KeyEdge::Same);
        edges
    }

    #[test]
    fn a_sender_that_stamps_each_packet_anew_presses_once() {
        let mut receiver = DtmfReceiver::default();
        let packets = [
            (1000, 160, false),
            (1160, 320, false),
            (1320, 480, false),
            (1480, 640, true),
            (1640, 640, true),
            (1800, 640, true),
        ];
        assert_eq!(hand(&mut receiver, 100, &packets), press(Digit::D4, 80));
        let again: Vec<_> =
            packets.iter().map(|&(timestamp, duration, end)| (timestamp + 2400, duration, end)).collect();
        assert_eq!(hand(&mut receiver, 400, &again), press(Digit::D4, 80));
    }

    #[test]
    fn a_sender_that_stamps_all_presses_alike_presses_each_time() {
        let mut receiver = DtmfReceiver::default();
        let packets = [(7, 160, false), (7, 320, false), (7, 480, true), (7, 480, true), (7, 480, true)];
        for at in [100, 700, 1300] {
            assert_eq!(hand(&mut receiver, at, &packets), press(Digit::D4, 60), "{at}");
        }
    }

    #[test]
    fn two_presses_without_their_ends_are_two() {
        let mut receiver = DtmfReceiver::default();
        let first = hand(&mut receiver, 100, &[(1000, 160, false), (1000, 320, false), (1000, 480, false)]);
        let second = hand(&mut receiver, 200, &[(1800, 160, false), (1800, 320, false)]);
        assert_eq!(first, [KeyEdge::Down(Digit::D4)]);
        assert_eq!(second, [KeyEdge::Up { digit: Digit::D4, held_ms: 60 }, KeyEdge::Down(Digit::D4)]);
    }

    #[test]
    fn events_of_a_48_khz_clock_last_as_long() {
        let mut receiver = DtmfReceiver::new(48_000);
        let mut sender = DtmfSender::new(Digit::D8, 100, 5000, 48_000);
        let mut edges = Vec::new();
        while let Some(packet) = sender.next_packet() {
            edges.extend(receiver.packet(packet.timestamp, &packet.payload, ms(0)).unwrap());
        }
        edges.retain(|edge| *edge != KeyEdge::Same);
        assert_eq!(edges, press(Digit::D8, 100));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let mut receiver = DtmfReceiver::default();
        assert_eq!(receiver.packet(0, &[1, 2, 3], ms(0)), Err(DtmfError::Truncated { found: 3 }));
        assert_eq!(receiver.packet(0, &[36, 0, 0, 0], ms(0)), Err(DtmfError::NotAKey { code: 36 }));
    }

    proptest! {
        #[test]
        fn any_payload_is_an_event_or_an_error(payload in proptest::collection::vec(any::<u8>(), 0..9), timestamp: u32) {
            let _ = DtmfReceiver::default().packet(timestamp, &payload, ms(0));
            if let Ok(event) = Event::parse(&payload) {
                prop_assert_eq!(&event.to_octets()[2..], &payload[2..4]);
            }
        }

        #[test]
        fn every_digit_with_a_surviving_packet_comes_once(
            keys in proptest::collection::vec((0u8..16, 40u32..400, 1u16..), 1..12),
        ) {
            let (mut receiver, mut timestamp, mut edges) = (DtmfReceiver::default(), 0u32, Vec::new());
            for &(code, length, mask) in &keys {
                let digit = Digit::from_code(code).unwrap();
                // At least the first packet survives.
                edges.extend(deliver(&mut receiver, digit, length, timestamp, |index| index == 0 || mask >> (index % 16) & 1 == 1));
                timestamp += 8000;
                edges.extend(receiver.tick(ms(u64::from(timestamp) / 8)));
            }
            let downs: Vec<u8> = edges.iter().filter_map(|edge| match edge { KeyEdge::Down(digit) => Some(digit.code()), _ => None }).collect();
            let ups = edges.len() - downs.len();
            prop_assert_eq!(ups, keys.len());
            prop_assert_eq!(downs, keys.iter().map(|key| key.0).collect::<Vec<_>>());
        }
    }
}

//! The RTP that a simulated phone speaks: G.711 mu-law frames and RFC 4733 key presses out, audio in. Written apart
//! from the server's own packets. Deliberately absent: RTCP, other codecs.

use super::audio::FRAME;

/// Payload type of G.711 mu-law (RFC 3551, Table 4).
pub const PCMU: u8 = 0;
/// The dynamic payload type that the simulated phone offers for telephone events.
pub const EVENTS: u8 = 101;

/// An audio packet that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload_type: u8,
    pub payload: &'a [u8],
}

/// Reads a packet (RFC 3550 5.1); `None` for anything that is no RTP version 2 packet.
pub fn read(octets: &[u8]) -> Option<Received<'_>> {
    let (&first, &second) = (octets.first()?, octets.get(1)?);
    // RTCP has types that RTP leaves out (RFC 5761 section 4).
    if first >> 6 != 2 || (192..=223).contains(&second) {
        return None;
    }
    let word = |at: usize| Some(u32::from_be_bytes(octets.get(at..at + 4)?.try_into().ok()?));
    let mut body = 12 + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let length = usize::from(u16::from_be_bytes(octets.get(body + 2..body + 4)?.try_into().ok()?));
        body += 4 + 4 * length;
    }
    let padding = if first & 0x20 != 0 { usize::from(*octets.last()?) } else { 0 };
    let payload = octets.get(body..octets.len().checked_sub(padding)?)?;
    let sequence = u16::from_be_bytes(octets.get(2..4)?.try_into().ok()?);
    Some(Received { sequence, timestamp: word(4)?, ssrc: word(8)?, payload_type: second & 0x7F, payload })
}

/// The sending side of one stream.
#[derive(Debug)]
pub struct Sender {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    first: bool,
    key: Option<Press>,
}

impl Sender {
    /// A stream whose numbers begin at random places (RFC 3550 5.1).
    pub fn new(random: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = random.to_be_bytes();
        let ssrc = u32::from_be_bytes([a, b, c, d]);
        Self {
            ssrc,
            sequence: u16::from_be_bytes([e, f]) & 0x7FFF,
            timestamp: u32::from_be_bytes([0, g, h, a]),
            first: true,
            key: None,
        }
    }

    /// From the next frame on, sends a key press of 100 ms in place of audio (RFC 4733 2.5).
    pub fn press(&mut self, key: char) {
        let code = match key {
            '*' => 10,
            '#' => 11,
            'A'..='D' => 12 + key as u8 - b'A',
            digit => digit.to_digit(10).map_or(0, |d| d as u8),
        };
        self.key = Some(Press { code, began: self.timestamp, frames: 0 });
    }

    /// The packets of the next 20 ms: one of audio, or those of the key being pressed.
    pub fn frame(&mut self, octets: &[u8; FRAME]) -> Vec<Vec<u8>> {
        let packets = match self.key.take() {
            Some(press) => self.key_frame(press),
            None => {
                let marker = std::mem::take(&mut self.first);
                vec![self.packet(PCMU, marker, self.timestamp, octets)]
            }
        };
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        packets
    }

    fn key_frame(&mut self, mut press: Press) -> Vec<Vec<u8>> {
        press.frames += 1;
        let duration = (u32::from(press.frames) * FRAME as u32).to_be_bytes();
        let last = press.frames >= KEY_FRAMES;
        let flags = if last { 0x80 | KEY_VOLUME } else { KEY_VOLUME };
        let payload = [press.code, flags, duration[2], duration[3]];
        // The last one three times, because it is the one that must not be lost (RFC 4733 2.5.1.4).
        let copies = if last { 3 } else { 1 };
        let packets = (0..copies).map(|_| self.packet(EVENTS, press.frames == 1, press.began, &payload)).collect();
        self.key = (!last).then_some(press);
        packets
    }

    fn packet(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(12 + payload.len());
        packet.extend([0x80, payload_type | if marker { 0x80 } else { 0 }]);
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }
}

#[derive(Debug)]
struct Press {
    code: u8,
    began: u32,
    frames: u8,
}

const KEY_FRAMES: u8 = 5;
/// -10 dBm0.
const KEY_VOLUME: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_counts_up_and_comes_back() {
        let mut sender = Sender::new(0x0102_0304_0506_0708);
        let packets = [sender.frame(&[7; FRAME]), sender.frame(&[8; FRAME])].concat();
        let [a, b] = [read(&packets[0]).unwrap(), read(&packets[1]).unwrap()];
        assert_eq!((b.sequence - a.sequence, b.timestamp - a.timestamp), (1, 160));
        assert_eq!((a.payload_type, a.payload), (PCMU, [7u8; FRAME].as_slice()));
        assert_eq!((packets[0][1] & 0x80, packets[1][1] & 0x80), (0x80, 0), "the marker is on the first");
    }

    #[test]
    fn a_key_is_one_event_with_its_end_three_times() {
        let mut sender = Sender::new(9);
        sender.frame(&[0; FRAME]);
        sender.press('#');
        let packets: Vec<Vec<u8>> = (0..6).flat_map(|_| sender.frame(&[0; FRAME])).collect();
        let events: Vec<_> = packets.iter().map(|p| read(p).unwrap()).filter(|p| p.payload_type == EVENTS).collect();
        assert_eq!(events.len(), 7);
        assert!(events.iter().all(|e| e.timestamp == events[0].timestamp && e.payload[0] == 11));
        assert_eq!(events[6].payload, [11, 0x8A, 0x03, 0x20]);
        assert_eq!(events.iter().filter(|e| e.payload[1] & 0x80 != 0).count(), 3);
        let audio = read(packets.last().unwrap()).unwrap();
        assert_eq!((audio.payload_type, audio.timestamp - events[0].timestamp), (PCMU, 800));
    }

    proptest::proptest! {
        #[test]
        fn no_datagram_makes_the_reader_panic(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = read(&octets);
        }
    }
}

//! What can be told from the packets of a call: whether audio comes, from where, how good, how fast its clock runs, and
//! whether the far side hears us. Pure; arrival times are arguments.

use std::net::SocketAddr;
use std::time::Duration;

use offhook_media::g711::G711;
use offhook_media::rtp::{Packet, SequenceTracker, timestamp_distance};

/// Listens to one call.
pub struct Ears {
    codec: G711,
    payload_type: u8,
    own_ssrc: u32,
    sequence: SequenceTracker,
    first: Option<(Duration, u32)>,
    from: Option<SocketAddr>,
    strange_types: u64,
    loudest: i32,
    clock: Clock,
    heard_us: Option<u32>,
}

/// What was heard, to be put into words.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// To the first packet, since the call was answered.
    pub first: Option<Duration>,
    pub from: Option<SocketAddr>,
    pub packets: u64,
    pub lost: u64,
    /// Packets of a payload type that was not agreed on.
    pub strange_types: u64,
    /// Whether anything louder than the codec's own noise came.
    pub is_audible: bool,
    /// How much faster than ours the far side's clock runs, in ppm; none without enough packets to tell.
    pub drift_ppm: Option<f64>,
    /// The highest sequence number of ours that the far side says it has, 0 where it reports and on nothing of ours; none
    /// where it says nothing (RTCP).
    pub heard_us: Option<u32>,
}

impl Ears {
    pub fn new(codec: G711, payload_type: u8, own_ssrc: u32) -> Self {
        Self {
            codec,
            payload_type,
            own_ssrc,
            sequence: SequenceTracker::default(),
            first: None,
            from: None,
            strange_types: 0,
            loudest: 0,
            clock: Clock::default(),
            heard_us: None,
        }
    }

    /// A datagram that came to our RTP port `at` this time after the answer.
    pub fn rtp(&mut self, at: Duration, from: SocketAddr, datagram: &[u8]) {
        if offhook_media::rtp::is_rtcp(datagram) {
            return self.rtcp(at, datagram);
        }
        let Ok(packet) = Packet::parse(datagram) else { return };
        let (_, first) = *self.first.get_or_insert((at, packet.timestamp));
        self.from.get_or_insert(from);
        self.sequence.note(packet.sequence);
        if packet.payload_type != self.payload_type {
            self.strange_types += 1;
            return;
        }
        let mut pcm = [0_i16; 480];
        let length = packet.payload.len().min(pcm.len());
        if let (Some(octets), Some(samples)) = (packet.payload.get(..length), pcm.get_mut(..length)) {
            self.codec.decode(octets, samples);
            let loudest = samples.iter().map(|sample| i32::from(*sample).abs()).max();
            self.loudest = self.loudest.max(loudest.unwrap_or(0));
        }
        let media = f64::from(timestamp_distance(packet.timestamp, first)) / 8000.0;
        self.clock.note(media, at.as_secs_f64());
    }

    /// A datagram that came to our RTCP port `at` this time after the answer: sender and receiver reports (RFC 3550 section
    /// 6.4) say what the far side has of ours. Who has received nothing reports on nothing.
    pub fn rtcp(&mut self, at: Duration, datagram: &[u8]) {
        let mut rest = datagram;
        while let [first, kind, high, low, ..] = *rest {
            let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
            let Some((report, next)) = rest.split_at_checked(length) else { return };
            let blocks = match kind {
                200 => report.get(28..),
                201 => report.get(8..),
                _ => None,
            };
            if blocks.is_some() && at > SETTLED {
                self.heard_us.get_or_insert(0);
            }
            for block in blocks.unwrap_or_default().chunks_exact(24).take(usize::from(first & 0x1f)) {
                if word(block, 0) == Some(self.own_ssrc) {
                    self.heard_us = word(block, 8);
                }
            }
            rest = next;
        }
    }

    pub fn heard(&self) -> Heard {
        Heard {
            first: self.first.map(|(at, _)| at),
            from: self.from,
            packets: self.sequence.received(),
            lost: self.sequence.lost(),
            strange_types: self.strange_types,
            is_audible: self.loudest > AUDIBLE,
            drift_ppm: self.clock.drift_ppm(),
            heard_us: self.heard_us,
        }
    }
}

/// A report from before may be older than our audio.
const SETTLED: Duration = Duration::from_secs(2);

/// Peaks below this are the codec's idea of silence.
const AUDIBLE: i32 = 64;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// A standard error of 50 ppm.
const UNSURE: f64 = 50e-6;

/// A straight line through media time and arrival (least squares); its slope is the ratio of the clocks.
#[derive(Default)]
struct Clock {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
    last: f64,
}

impl Clock {
    fn note(&mut self, media: f64, arrival: f64) {
        self.n += 1.0;
        self.x += media;
        self.y += arrival;
        self.xx += media * media;
        self.xy += media * arrival;
        self.yy += arrival * arrival;
        self.last = self.last.max(media);
    }

    fn drift_ppm(&self) -> Option<f64> {
        let spread = self.n * self.xx - self.x * self.x;
        if self.n < 100.0 || self.last < 2.0 || spread <= 0.0 {
            return None;
        }
        let slope = (self.n * self.xy - self.x * self.y) / spread;
        // The slope's standard error: on a busy machine arrivals scatter too much to tell in a short call.
        let scatter = self.yy * self.n - self.y * self.y - slope * slope * spread;
        if (scatter.max(0.0) / (self.n - 2.0) / spread).sqrt() > UNSURE {
            return None;
        }
        // A clock that runs fast sends its seconds in less than one of ours.
        Some((1.0 / slope - 1.0) * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use offhook_media::rtp::{Header, write_header};

    use super::*;

    fn listen(ppm: f64, payload: u8, payload_type: u8) -> Heard {
        let mut ears = Ears::new(G711::Ulaw, 0, 7);
        for n in 0..300_u16 {
            let header = Header { marker: n == 0, payload_type, sequence: n, timestamp: u32::from(n) * 160, ssrc: 9 };
            let packet = [write_header(&header).as_slice(), &[payload; 160]].concat();
            let jitter = f64::from((n * 7) % 5) * 0.0002;
            let at = Duration::from_secs_f64(0.1 + f64::from(n) * 0.02 / (1.0 + ppm / 1e6) + jitter);
            ears.rtp(at, SocketAddr::from(([127, 0, 0, 1], 4000)), &packet);
        }
        ears.heard()
    }

    #[test]
    fn drift_is_measured_within_20_ppm() {
        for ppm in [-200.0, 0.0, 150.0, 1000.0] {
            let measured = listen(ppm, 0x10, 0).drift_ppm.unwrap();
            assert!((measured - ppm).abs() < 20.0, "{ppm}: {measured}");
        }
    }

    #[test]
    fn silence_and_another_codec_are_told_apart_from_audio() {
        let audio = listen(0.0, 0x10, 0);
        assert!(audio.is_audible && audio.packets == 300 && audio.lost == 0);
        assert!(!listen(0.0, 0xff, 0).is_audible);
        assert_eq!(listen(0.0, 0x10, 8).strange_types, 300);
    }

    #[test]
    fn a_report_about_us_says_that_we_are_heard() {
        let mut ears = Ears::new(G711::Ulaw, 0, 7);
        let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
        report.extend([0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        ears.rtcp(Duration::ZERO, &report);
        assert_eq!(ears.heard().heard_us, Some(50));
        for length in 0..report.len() {
            Ears::new(G711::Ulaw, 0, 7).rtcp(Duration::ZERO, &report[..length]);
        }
    }

    #[test]
    fn reports_on_nothing_of_ours_say_that_we_are_not_heard() {
        let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
        let mut ears = Ears::new(G711::Ulaw, 0, 7);
        ears.rtcp(Duration::from_secs(1), &report);
        assert_eq!(ears.heard().heard_us, None, "our audio was on its way");
        ears.rtcp(Duration::from_secs(5), &report);
        assert_eq!(ears.heard().heard_us, Some(0));
    }
}

//! A caller's ear: an RTP endpoint of the test's own, which sends silence and keeps what it hears.

use std::net::SocketAddr;
use std::time::Duration;

use offhook_media::FRAME;
use offhook_media::g711::G711;
use offhook_media::level::rms_dbfs;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

/// Listens at a free port of loopback.
pub struct Ear {
    socket: UdpSocket,
    patience: Duration,
}

/// What was heard.
#[derive(Default)]
pub struct Heard {
    pub packets: usize,
    /// Packets whose sequence number was not the one after the last.
    pub gaps: usize,
    /// The longest time without a packet between two packets.
    pub longest_pause: Duration,
    /// Every payload type that came, in order of appearance.
    pub payload_types: Vec<u8>,
    /// Of the packets with sound, whatever their codec: mu-law and A-law only.
    pub samples: Vec<i16>,
}

impl Ear {
    pub async fn open() -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(), patience: Duration::from_secs(2) }
    }

    /// Goes on listening through a pause of this length.
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Listens until nothing has come for some time after the first packet, at most for `limit`.
    pub async fn listen(&self, limit: Duration) -> Heard {
        let until = Instant::now() + limit;
        let mut heard = Heard::default();
        let (mut last, mut silence) = (None::<(u16, Instant)>, Silence::default());
        let mut datagram = [0; 1500];
        while Instant::now() < until {
            let patience = if heard.packets == 0 { limit } else { self.patience };
            let Ok(received) = timeout(patience, self.socket.recv_from(&mut datagram)).await else { break };
            let (length, from) = received.unwrap();
            let packet = &datagram[..length];
            assert!(length > HEADER && packet[0] == 0x80, "not plain RTP: {packet:?}");
            let (kind, number) = (packet[1] & 0x7f, u16::from_be_bytes([packet[2], packet[3]]));
            if let Some((last, at)) = last {
                heard.gaps += usize::from(number != last.wrapping_add(1));
                heard.longest_pause = heard.longest_pause.max(at.elapsed());
            }
            last = Some((number, Instant::now()));
            heard.packets += 1;
            if !heard.payload_types.contains(&kind) {
                heard.payload_types.push(kind);
            }
            let law = if kind == 8 { G711::Alaw } else { G711::Ulaw };
            if matches!(kind, 0 | 8) {
                let mut pcm = vec![0; length - HEADER];
                law.decode(&packet[HEADER..], &mut pcm);
                heard.samples.extend(pcm);
            }
            // Answered packet by packet: a pace of our own is not needed to be a caller.
            self.socket.send_to(&silence.next(kind, law), from).await.unwrap();
        }
        heard
    }
}

impl Heard {
    /// The loudest half second, in dBFS.
    pub fn loudest(&self) -> f32 {
        loudest(&self.samples)
    }
}

/// The loudest half second of 8 kHz audio, in dBFS.
pub fn loudest(samples: &[i16]) -> f32 {
    samples.chunks(4_000).map(rms_dbfs).fold(f32::NEG_INFINITY, f32::max)
}

/// Of the tenths of a second of 8 kHz audio that have sound, the share that is nothing but the tone of the bench line
/// (440 Hz, 44 periods in a tenth): 1.0 where the codec on the way was the right one and nothing was lost. The first and
/// the last of them, in which the tone begins and ends, are left out.
pub fn tone_share(samples: &[i16]) -> f64 {
    let sound: Vec<&[i16]> = samples.chunks_exact(800).filter(|tenth| rms_dbfs(tenth) > -50.0).collect();
    let within = sound.get(1..sound.len().saturating_sub(1)).unwrap_or_default();
    let pure = within.iter().filter(|tenth| share_of_440_hz(tenth) > 0.95).count();
    pure as f64 / within.len().max(1) as f64
}

/// Seconds of 8 kHz audio with sound that is not the tone of the bench line: words, mostly.
pub fn seconds_besides_the_tone(samples: &[i16]) -> f64 {
    let sound = samples.chunks_exact(800).filter(|tenth| rms_dbfs(tenth) > -50.0);
    sound.filter(|tenth| share_of_440_hz(tenth) < 0.5).count() as f64 / 10.0
}

/// Of the energy of these samples.
fn share_of_440_hz(samples: &[i16]) -> f64 {
    let step = std::f64::consts::TAU * 440.0 / 8_000.0;
    let (mut cosine, mut sine, mut energy) = (0.0, 0.0, 0.0);
    for (n, sample) in (0_u32..).zip(samples) {
        let (sample, angle) = (f64::from(*sample), step * f64::from(n));
        cosine += sample * angle.cos();
        sine += sample * angle.sin();
        energy += sample * sample;
    }
    2.0 * (cosine * cosine + sine * sine) / (samples.len() as f64 * energy)
}

const HEADER: usize = 12;

#[derive(Default)]
struct Silence {
    number: u16,
    time: u32,
}

impl Silence {
    fn next(&mut self, kind: u8, law: G711) -> Vec<u8> {
        self.number = self.number.wrapping_add(1);
        self.time = self.time.wrapping_add(160);
        let mut packet = vec![0x80, kind];
        packet.extend(self.number.to_be_bytes());
        packet.extend(self.time.to_be_bytes());
        packet.extend(0x0ff_u32.to_be_bytes());
        packet.extend([law.silence(); FRAME]);
        packet
    }
}

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
}

/// What was heard.
#[derive(Default)]
pub struct Heard {
    pub packets: usize,
    /// Packets whose sequence number was not the one after the last.
    pub gaps: usize,
    pub samples: Vec<i16>,
}

impl Ear {
    pub async fn open() -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Listens until nothing has come for two seconds after the first packet, at most for `limit`.
    pub async fn listen(&self, limit: Duration) -> Heard {
        let until = Instant::now() + limit;
        let mut heard = Heard::default();
        let (mut last, mut silence) = (None::<u16>, Silence::default());
        let mut datagram = [0; 1500];
        while Instant::now() < until {
            let patience = if heard.packets == 0 { limit } else { PAUSE };
            let Ok(received) = timeout(patience, self.socket.recv_from(&mut datagram)).await else { break };
            let (length, from) = received.unwrap();
            let packet = &datagram[..length];
            assert!(length > HEADER && packet[0] == 0x80, "not plain RTP: {packet:?}");
            assert_eq!(packet[1] & 0x7f, 0, "not PCMU");
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            heard.gaps += usize::from(last.is_some_and(|last| number != last.wrapping_add(1)));
            last = Some(number);
            heard.packets += 1;
            let mut pcm = vec![0; length - HEADER];
            G711::Ulaw.decode(&packet[HEADER..], &mut pcm);
            heard.samples.extend(pcm);
            // Answered packet by packet: a pace of our own is not needed to be a caller.
            self.socket.send_to(&silence.next(), from).await.unwrap();
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

const HEADER: usize = 12;
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Silence {
    number: u16,
    time: u32,
}

impl Silence {
    fn next(&mut self) -> Vec<u8> {
        self.number = self.number.wrapping_add(1);
        self.time = self.time.wrapping_add(160);
        let mut packet = vec![0x80, 0];
        packet.extend(self.number.to_be_bytes());
        packet.extend(self.time.to_be_bytes());
        packet.extend(0x0ff_u32.to_be_bytes());
        packet.extend([G711::Ulaw.silence(); FRAME]);
        packet
    }
}

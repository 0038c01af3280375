//! The RTP leg: one UDP socket per call, drained and fed at the call's tick.
//!
//! No readiness is waited for: a packet that arrives between two ticks could only be answered at the next one anyway.
//! The kernel stamps arrivals, so that jitter and speech times are true although the socket is read once in 20 ms.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use offhook_media::inbound::{InboundConfig, RtpInbound};
use offhook_media::outbound::{DATAGRAM, OutboundConfig, RtpOutbound};
use offhook_media::{FRAME, FRAME_MS, Frame};
use tokio::sync::mpsc;

use super::ports::RtpPort;
use crate::call::Moment;
use crate::call::leg::{Leg, LegEvent, LegStats};
use crate::clock;
use crate::queue::Receiver;
use crate::store::record::EndReason;
use moved::Continuity;

mod moved;

/// What the signalling beside the leg is told: end the call of this name, which is the signalling's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HangUp(pub u64);

/// The media of a call, as an offer and its answer agreed on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turnabout {
    /// None while the far side takes no audio.
    pub remote: Option<SocketAddr>,
    /// Whether we may send: not while the far side holds the call.
    pub sends: bool,
    pub inbound: InboundConfig,
}

/// See the module's header.
pub struct RtpLeg {
    port: RtpPort,
    source: Source,
    inbound: RtpInbound,
    outbound: RtpOutbound,
    turnabouts: Receiver<Turnabout>,
    sends: bool,
    /// When the caller's last packet came.
    last_packet: Moment,
    control: Vec<u8>,
    signalling: mpsc::Sender<HangUp>,
    call: u64,
    sent: u64,
    strangers: u64,
}

impl RtpLeg {
    /// `agreed` is what the first offer and answer agreed on; `call` is the signalling's own name of the call.
    ///
    /// # Errors
    /// When the kernel does not stamp arrivals.
    pub fn new(
        port: RtpPort,
        agreed: &Turnabout,
        outbound: RtpOutbound,
        turnabouts: Receiver<Turnabout>,
        signalling: mpsc::Sender<HangUp>,
        call: u64,
    ) -> std::io::Result<Self> {
        setsockopt(&port.socket, sockopt::ReceiveTimestampns, &true)?;
        let control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        Ok(Self {
            port,
            source: Source::offered(agreed.remote),
            inbound: RtpInbound::new(agreed.inbound),
            outbound,
            turnabouts,
            sends: agreed.sends,
            last_packet: Moment::ZERO,
            control,
            signalling,
            call,
            sent: 0,
            strangers: 0,
        })
    }

    fn turn_about(&mut self, change: &Turnabout) {
        self.source = Source::offered(change.remote);
        self.sends = change.sends;
        self.inbound.reconfigure(change.inbound);
        self.outbound.reconfigure(OutboundConfig {
            ptime_ms: change.inbound.ptime_ms,
            dtmf_payload_type: change.inbound.dtmf_payload_type,
            dtmf_clock: change.inbound.dtmf_clock,
            comfort_noise_payload_type: change.inbound.comfort_noise_payload_type,
            ..OutboundConfig::new(change.inbound.codec, change.inbound.payload_type)
        });
    }

    /// Takes packets until none is left, or the newest is so fresh that none can be behind it.
    fn receive(&mut self, now: Moment) {
        let mut datagram = [0; MAX_DATAGRAM];
        let wall = Wall::sample();
        let mut packets = 0;
        for _ in 0..MOST_DATAGRAMS {
            let Some((length, from, stamp)) = self.receive_one(&mut datagram) else { return };
            let arrival = stamp.map_or(now, |stamp| wall.monotonic(stamp).min(now));
            let packet = datagram.get(..length).unwrap_or_default();
            if !self.source.accepts(from) && !self.source.moves(from, packet, arrival) {
                self.strangers += 1;
                continue;
            }
            packets += 1;
            self.last_packet = arrival;
            self.source.heard(packet, arrival);
            // What is malformed or not ours is counted by the inbound side.
            let _ = self.inbound.packet(packet, arrival);
            if packets == MOST_PACKETS || now.saturating_sub(arrival) < FRESH {
                return;
            }
        }
    }

    fn receive_one(&mut self, datagram: &mut [u8]) -> Option<(usize, SocketAddr, Option<Duration>)> {
        loop {
            let mut parts = [IoSliceMut::new(datagram)];
            let fd = self.port.socket.as_raw_fd();
            match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut self.control), MsgFlags::MSG_DONTWAIT) {
                Ok(message) => {
                    let from = message.address.and_then(|address| socket_address(&address))?;
                    let stamp = message.cmsgs().ok().and_then(|mut all| {
                        all.find_map(|c| if let ControlMessageOwned::ScmTimestampns(at) = c { Some(at) } else { None })
                    });
                    return Some((message.bytes, from, stamp.map(Duration::from)));
                }
                // An earlier packet of ours was refused by the far host: says nothing about what has arrived.
                Err(Errno::EINTR | Errno::ECONNREFUSED) => {}
                Err(_) => return None,
            }
        }
    }
}

impl Leg for RtpLeg {
    fn drain(&mut self, now: Moment, sink: &mut dyn FnMut(LegEvent<'_>)) {
        while let Some(change) = self.turnabouts.try_recv() {
            self.turn_about(&change);
        }
        self.receive(now);
        self.inbound.tick(now);
        let mut frame: Frame = [0; FRAME];
        // Many telephones send nothing while they hold the call: that is no reason to take them for gone.
        let there = !self.sends || now.saturating_sub(self.last_packet) < STANDS_FOR_SILENCE;
        let mut tapped = false;
        while let Some(arrival) = self.inbound.tap(&mut frame) {
            tapped = true;
            if there {
                sink(LegEvent::Tap { frame: &frame, arrival });
            }
        }
        if !tapped && !self.sends {
            sink(LegEvent::Tap { frame: &SILENCE, arrival: now });
        }
        while let Some(digit) = self.inbound.digit() {
            sink(LegEvent::Digit(digit));
        }
        let kind = self.inbound.pull(now, &mut frame);
        sink(LegEvent::Heard { frame: &frame, kind });
    }

    fn wants(&self, _now: Moment) -> usize {
        1
    }

    fn send(&mut self, frame: Option<&Frame>, _now: Moment) {
        let Some(remote) = self.source.remote().filter(|_| self.sends) else { return self.outbound.skip() };
        self.outbound.frame(frame.unwrap_or(&SILENCE));
        let mut packet = DATAGRAM;
        while let Some(length) = self.outbound.poll(&mut packet) {
            let sent = self.port.socket.send_to(packet.get(..length).unwrap_or_default(), remote);
            self.sent += u64::from(sent.is_ok());
        }
    }

    fn clear(&mut self, _now: Moment) {
        // What was sent cannot be called back; there is at most the far side's jitter buffer of it.
    }

    fn unheard(&self, _now: Moment) -> Duration {
        FAR_BUFFER
    }

    fn hang_up(&mut self, _reason: &EndReason) {
        // The inbox holds the ends of thousands of calls at once; beyond that the far side, which hears nothing any
        // more, is left to hang up itself.
        let _ = self.signalling.try_send(HangUp(self.call));
    }

    fn stats(&self) -> LegStats {
        let stats = self.inbound.stats();
        LegStats {
            frames_sent: self.sent,
            frames_received: stats.jitter.received,
            packets_lost: stats.jitter.lost,
            concealed_ms: stats.jitter.concealed_ms,
            jitter_ms: f64::from(stats.jitter.jitter_ms),
            strange_packets: self.strangers,
            malformed_packets: stats.malformed,
        }
    }
}

/// Whose packets are taken, and where ours go (symmetric RTP, RFC 4961).
///
/// The address that was offered is believed at once. Behind NAT packets come from elsewhere: another source is believed
/// once several of its packets have come and none from the offered address; after that nobody else is listened to,
/// except the same stream when a NAT has moved it to another port.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    offered: Option<SocketAddr>,
    locked: Option<SocketAddr>,
    /// Sources that may become the locked one, and how many of their packets have come.
    candidates: [Option<(SocketAddr, u8)>; MOST_CANDIDATES],
    stream: Continuity,
}

impl Source {
    fn offered(offered: Option<SocketAddr>) -> Self {
        Self { offered, locked: None, candidates: [None; MOST_CANDIDATES], stream: Continuity::default() }
    }

    fn accepts(&mut self, from: SocketAddr) -> bool {
        if let Some(locked) = self.locked {
            return locked == from;
        }
        let offered = self.offered.is_some_and(|offered| offered.ip() == from.ip());
        if offered || self.seen_from(from) >= BELIEVED_AFTER {
            self.locked = Some(from);
        }
        self.locked.is_some()
    }

    /// Whether this packet shows that the caller's stream comes from another port of its host now.
    fn moves(&mut self, from: SocketAddr, packet: &[u8], at: Moment) -> bool {
        let same_host = self.locked.is_some_and(|locked| locked.ip() == from.ip());
        let moves = same_host && self.stream.goes_on(from, packet, at);
        if moves {
            self.locked = Some(from);
        }
        moves
    }

    /// A packet of the caller's own.
    fn heard(&mut self, packet: &[u8], at: Moment) {
        self.stream.heard(packet, at);
    }

    /// How many packets have come from a source, each source counted for itself: strangers who take turns must not
    /// keep a caller out.
    fn seen_from(&mut self, from: SocketAddr) -> u8 {
        let known = self.candidates.iter().position(|c| c.is_some_and(|(address, _)| address == from));
        let place = known.or_else(|| self.candidates.iter().position(Option::is_none)).unwrap_or_default();
        let Some(candidate) = self.candidates.get_mut(place) else { return 0 };
        let seen = candidate.filter(|&(address, _)| address == from).map_or(0, |(_, seen)| seen) + 1;
        *candidate = Some((from, seen));
        seen
    }

    fn remote(&self) -> Option<SocketAddr> {
        self.locked.or(self.offered)
    }
}

/// The process's clock and the kernel's stamps (wall clock), read together once per tick.
struct Wall {
    wall: Duration,
    at: Moment,
}

impl Wall {
    fn sample() -> Self {
        Self { wall: Duration::try_from(Timestamp::now().as_duration()).unwrap_or_default(), at: clock::now() }
    }

    fn monotonic(&self, stamp: Duration) -> Moment {
        self.at.saturating_sub(self.wall.saturating_sub(stamp))
    }
}

/// Packets of a source other than the offered one before it is believed.
const BELIEVED_AFTER: u8 = 5;

/// Sources counted at once; beyond that a new one takes the first one's place.
const MOST_CANDIDATES: usize = 8;

/// Larger than any Ethernet frame's UDP payload that a telephone sends.
const MAX_DATAGRAM: usize = 1500;

/// The caller's packets taken in one tick; a flood waits in the kernel's bounded buffer and is dropped there.
const MOST_PACKETS: usize = 8;

/// Behind a packet that arrived this recently there is no other one at ptime 20, unless the network bunches them: then
/// the other one is older than this at the next tick, and everything behind it is taken with it.
const FRESH: Duration = Duration::from_millis(15);

/// Datagrams looked at in one tick: strangers' cost little, and must not make the caller's wait behind them.
const MOST_DATAGRAMS: usize = 64;

/// A line that sends nothing is silent, until this long after its last packet: then it may be gone. Longer than any
/// pause that ends a turn.
const STANDS_FOR_SILENCE: Duration = Duration::from_secs(2);

/// What telephones and gateways hold in their jitter buffers, as an estimate.
const FAR_BUFFER: Duration = Duration::from_millis(2 * FRAME_MS as u64);

const SILENCE: Frame = [0; FRAME];

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_offered_host_is_believed_at_once_and_nobody_after_it() {
        let mut source = Source::offered(Some(address("192.0.2.1:4000")));
        assert!(source.accepts(address("192.0.2.1:4002")), "a moved port of the same host");
        assert!(!source.accepts(address("198.51.100.9:4002")));
        assert_eq!(source.remote(), Some(address("192.0.2.1:4002")));
    }

    #[test]
    fn a_stranger_is_believed_only_when_the_offered_host_is_silent() {
        let mut source = Source::offered(Some(address("10.0.0.1:4000")));
        let (caller, attacker) = (address("203.0.113.5:7000"), address("198.51.100.9:7000"));
        for _ in 0..4 {
            assert!(!source.accepts(attacker));
            assert!(!source.accepts(caller));
        }
        assert!(source.accepts(caller));
        assert!(!source.accepts(attacker));
        assert_eq!(source.remote(), Some(caller));
    }
}

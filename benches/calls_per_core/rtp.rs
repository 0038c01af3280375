//! The callers' media sockets: one for each slot of a frame, shared by the calls that send in it, so that a slot costs
//! one batched send and one batched receive.
//!
//! Arrivals are stamped by the kernel, so it does not matter that a socket is read once in 20 ms only.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use offhook::sim::clock::{Moment, WallOffset};
use offhook::sim::rtp_wire::PCMU;

/// The socket of one slot.
pub struct SlotSocket {
    socket: UdpSocket,
    to_send: MultiHeaders<SockaddrIn>,
    received: MultiHeaders<SockaddrIn>,
    room: Vec<[u8; DATAGRAM]>,
}

/// One packet on its way out.
pub struct Outgoing {
    pub octets: [u8; AUDIO_PACKET],
    pub to: SockaddrIn,
}

impl SlotSocket {
    pub fn bind() -> Result<Self, String> {
        let bound = || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            // Refused without privilege: the ordinary buffer holds a tenth of a second of 50 calls.
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
            Ok(socket)
        };
        Ok(Self {
            socket: bound().map_err(|e| format!("media socket: {e}"))?,
            to_send: MultiHeaders::preallocate(BATCH, None),
            received: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec))),
            room: vec![[0; DATAGRAM]; BATCH],
        })
    }

    pub fn port(&self) -> Result<u16, String> {
        self.socket.local_addr().map(|address| address.port()).map_err(|e| e.to_string())
    }

    /// Sends all; what the kernel refuses counts as lost on the way.
    pub fn send(&mut self, packets: &[Outgoing]) {
        for batch in packets.chunks(BATCH) {
            let slices: Vec<[IoSlice<'_>; 1]> = batch.iter().map(|packet| [IoSlice::new(&packet.octets)]).collect();
            let to: Vec<Option<SockaddrIn>> = batch.iter().map(|packet| Some(packet.to)).collect();
            let none: [ControlMessage<'_>; 0] = [];
            let fd = self.socket.as_raw_fd();
            let _ = sendmmsg(fd, &mut self.to_send, slices.iter(), to, none, MsgFlags::empty()).map(Iterator::count);
        }
    }

    /// Hands over everything that has arrived: the source's port, when, and the datagram.
    pub fn drain(&mut self, wall: WallOffset, now: Moment, mut sink: impl FnMut(u16, Moment, &[u8])) {
        loop {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = self.room.iter_mut().map(|r| [IoSliceMut::new(r)]).collect();
            let fd = self.socket.as_raw_fd();
            let Ok(messages) = recvmmsg(fd, &mut self.received, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) else {
                return;
            };
            let mut all = Vec::with_capacity(BATCH);
            for message in messages {
                let stamp = message.cmsgs().ok().into_iter().flatten().find_map(|control| match control {
                    ControlMessageOwned::ScmTimestampns(at) => Some(wall.moment(Duration::from(at))),
                    _ => None,
                });
                let source = message.address.map_or(0, |address| SocketAddrV4::from(address).port());
                all.push((source, stamp.unwrap_or(now).min(now), message.bytes));
            }
            let count = all.len();
            for ((source, at, length), octets) in all.into_iter().zip(&self.room) {
                sink(source, at, octets.get(..length).unwrap_or_default());
            }
            if count < BATCH {
                return;
            }
        }
    }
}

/// The audio packet of one 20 ms frame (RFC 3550 5.1).
pub fn audio_packet(ssrc: u32, sequence: u16, timestamp: u32, octets: &[u8]) -> [u8; AUDIO_PACKET] {
    let mut packet = [0; AUDIO_PACKET];
    let (header, payload) = packet.split_at_mut(12);
    let fields =
        [&[0x80, PCMU], sequence.to_be_bytes().as_slice(), &timestamp.to_be_bytes(), &ssrc.to_be_bytes()].concat();
    header.copy_from_slice(&fields);
    payload.copy_from_slice(octets);
    packet
}

/// 12 octets of header, 160 of audio.
pub const AUDIO_PACKET: usize = 172;
const DATAGRAM: usize = 256;
const BATCH: usize = 64;
/// 1 MB.
const RECEIVE_BUFFER: usize = 1 << 20;

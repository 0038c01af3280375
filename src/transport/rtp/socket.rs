//! Datagrams as the kernel hands them over: without waiting, and with the time at which they came.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};

use crate::call::Moment;
use crate::clock;

/// Receives from sockets whose arrivals are stamped; the room for the stamps is made once.
pub(super) struct Receiver {
    control: Vec<u8>,
}

/// What came.
pub(super) struct Received {
    pub length: usize,
    pub from: SocketAddr,
    /// The kernel's stamp, by the wall clock.
    pub stamp: Option<Duration>,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self { control: nix::cmsg_space!(nix::sys::time::TimeSpec) }
    }

    /// The next datagram that has arrived, if there is one.
    pub(super) fn receive(&mut self, socket: &UdpSocket, datagram: &mut [u8]) -> Option<Received> {
        loop {
            let mut parts = [IoSliceMut::new(datagram)];
            let fd = socket.as_raw_fd();
            match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut self.control), MsgFlags::MSG_DONTWAIT) {
                Ok(message) => {
                    let from = message.address.and_then(|address| socket_address(&address))?;
                    let stamp = message.cmsgs().ok().and_then(|mut all| {
                        all.find_map(|c| if let ControlMessageOwned::ScmTimestampns(at) = c { Some(at) } else { None })
                    });
                    return Some(Received { length: message.bytes, from, stamp: stamp.map(Duration::from) });
                }
                // An earlier packet of ours was refused by the far host: says nothing about what has arrived.
                Err(Errno::EINTR | Errno::ECONNREFUSED) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Has the kernel stamp what arrives.
pub(super) fn stamp_arrivals(socket: &UdpSocket) -> std::io::Result<()> {
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    Ok(())
}

/// The process's clock and the kernel's stamps (wall clock), read together once per tick.
pub(super) struct Wall {
    wall: Duration,
    at: Moment,
}

impl Wall {
    pub(super) fn sample() -> Self {
        Self { wall: Duration::try_from(Timestamp::now().as_duration()).unwrap_or_default(), at: clock::now() }
    }

    pub(super) fn monotonic(&self, stamp: Duration) -> Moment {
        self.at.saturating_sub(self.wall.saturating_sub(stamp))
    }

    /// The wall clock at moment zero, since 1970.
    pub(super) fn at_zero(&self) -> Duration {
        self.wall.saturating_sub(self.at)
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    let v6 = address.as_sockaddr_in6()?;
    // A socket for both families sees IPv4 as mapped addresses; descriptions name the plain ones.
    Some(SocketAddr::new(v6.ip().to_canonical(), v6.port()))
}

//! A UDP socket whose datagrams carry the kernel's receive time, so that a reader that comes late still knows when
//! each packet was there.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::clock::{Moment, WallOffset};

/// A non-blocking socket.
pub struct StampedSocket {
    socket: UdpSocket,
    space: Vec<u8>,
}

impl StampedSocket {
    /// Binds to a free port of `local`'s address.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(local: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { socket, space: nix::cmsg_space!(TimeSpec) })
    }

    /// The next datagram's length and the time at which the kernel had it; `None` when there is none.
    pub fn receive(&mut self, buffer: &mut [u8], wall: WallOffset, now: Moment) -> Option<(usize, Moment)> {
        let mut slices = [IoSliceMut::new(buffer)];
        let received =
            recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut slices, Some(&mut self.space), MsgFlags::empty())
                .ok()?;
        let stamp = received.cmsgs().ok().into_iter().flatten().find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        // A stamp cannot be later than its reading; where it is missing, now is the best there is.
        Some((received.bytes, stamp.map_or(now, |at| wall.moment(at).min(now))))
    }

    /// Sends to `to`; what the kernel refuses counts as lost on the way.
    pub fn send(&self, octets: &[u8], to: SocketAddr) {
        let _ = self.socket.send_to(octets, to);
    }

    /// # Errors
    /// What the system says.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::clock::RunClock;

    #[test]
    fn a_datagram_is_stamped_when_it_came_not_when_it_was_read() {
        let clock = RunClock::start();
        let mut socket = StampedSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(socket.receive(&mut [0; 10], clock.wall(), clock.now()).is_none());
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let before = clock.now();
        sender.send_to(&[1, 2, 3], socket.local().unwrap()).unwrap();
        let after = clock.now();
        let much_later = after + Duration::from_secs(5);
        let (length, at) = socket.receive(&mut [0; 10], clock.wall(), much_later).unwrap();
        let slack = Duration::from_millis(50);
        assert_eq!(length, 3);
        assert!(at + slack >= before && at <= after + slack, "{before:?} {at:?} {after:?}");
    }
}

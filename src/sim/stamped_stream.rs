//! A TCP stream under a WebSocket that knows when the kernel had each message, so that audio is timed as exactly as
//! over UDP even where the reader comes late.
//!
//! One read never takes more than one WebSocket frame (RFC 6455 5.2), because a stamp belongs to the last segment that
//! a read took from.

use std::io::{self, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recv, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::clock::{Moment, RunClock};

/// A stream that stamps what it reads.
pub struct StampedStream {
    stream: TcpStream,
    clock: RunClock,
    space: Vec<u8>,
    /// Whether the handshake is over and frames follow.
    framed: bool,
    /// What is still to be read of the present frame.
    left: usize,
    stamp: Moment,
}

impl StampedStream {
    /// # Errors
    /// What the system says when it does not stamp.
    pub fn new(stream: TcpStream, clock: RunClock) -> io::Result<Self> {
        setsockopt(&stream, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { stream, clock, space: nix::cmsg_space!(TimeSpec), framed: false, left: 0, stamp: Moment::ZERO })
    }

    /// The handshake is over: from here on reads neither wait nor cross a frame.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin_frames(&mut self) -> io::Result<()> {
        self.framed = true;
        self.stream.set_nonblocking(true)
    }

    /// When the kernel had the last segment that was read from.
    pub const fn stamp(&self) -> Moment {
        self.stamp
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// The whole length of the frame that begins here; 0 at the end of the stream.
    fn next_frame(&self) -> io::Result<usize> {
        let mut head = [0u8; 14];
        let seen = recv(self.stream.as_raw_fd(), &mut head, MsgFlags::MSG_PEEK)?;
        if seen == 0 {
            return Ok(0);
        }
        frame_length(head.get(..seen).unwrap_or_default()).ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

impl Read for StampedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.framed {
            return self.stream.read(buffer);
        }
        if self.left == 0 {
            self.left = self.next_frame()?;
        }
        let most = buffer.len().min(self.left);
        let Some(part) = buffer.get_mut(..most).filter(|part| !part.is_empty()) else { return Ok(0) };
        let mut slices = [IoSliceMut::new(part)];
        let fd = self.stream.as_raw_fd();
        let received = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut self.space), MsgFlags::empty())?;
        let stamp = received.cmsgs().ok().into_iter().flatten().find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        let now = self.clock.now();
        self.stamp = stamp.map_or(now, |at| self.clock.wall().moment(at).min(now));
        self.left -= received.bytes.min(self.left);
        Ok(received.bytes)
    }
}

impl Write for StampedStream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Header and payload together; `None` while the header is not whole.
fn frame_length(head: &[u8]) -> Option<usize> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    match second & 0x7F {
        126 => Some(4 + mask + usize::from(u16::from_be_bytes(head.get(2..4)?.try_into().ok()?))),
        127 => usize::try_from(u64::from_be_bytes(head.get(2..10)?.try_into().ok()?)).ok()?.checked_add(10 + mask),
        short => Some(2 + mask + usize::from(short)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn frames_are_read_one_by_one_each_with_its_own_stamp() {
        let clock = RunClock::start();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        server.set_nodelay(true).unwrap();
        let mut client = StampedStream::new(listener.accept().unwrap().0, clock).unwrap();
        client.begin_frames().unwrap();
        let mut buffer = [0u8; 400];
        assert_eq!(client.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut long = vec![0x81, 126, 1, 4];
        long.extend([7u8; 260]);
        let before = clock.now();
        server.write_all(&[0x81, 2, b'h', b'i']).unwrap();
        let between = clock.now();
        server.write_all(&long).unwrap();
        while recv(client.stream.as_raw_fd(), &mut [0u8; 400], MsgFlags::MSG_PEEK).unwrap_or(0) < 268 {
            std::thread::yield_now();
        }
        assert_eq!(client.read(&mut buffer).unwrap(), 4);
        let first = client.stamp();
        assert_eq!(client.read(&mut buffer).unwrap(), 264);
        let slack = Duration::from_millis(50);
        assert!(first + slack >= before && first <= between + slack, "{before:?} {first:?} {between:?}");
        assert!(client.stamp() + slack >= between, "the later message has a stamp of its own");
        drop(server);
        assert_eq!(client.read(&mut buffer).unwrap(), 0, "the end of the stream");
    }

    #[test]
    fn frame_lengths_follow_rfc_6455() {
        assert_eq!(frame_length(&[0x81]), None);
        assert_eq!(frame_length(&[0x81, 5]), Some(7));
        assert_eq!(frame_length(&[0x81, 0x85]), Some(11));
        assert_eq!(frame_length(&[0x81, 126, 1]), None);
        assert_eq!(frame_length(&[0x81, 126, 1, 0]), Some(260));
        assert_eq!(frame_length(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]), Some(65546));
        assert_eq!(frame_length(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]), None);
    }
}

//! Cuts a byte stream (TCP, TLS) into messages (RFC 3261 section 18.3, RFC 5626 section 3.5.1).
//!
//! A framing error is final: bytes behind it mean nothing, so the connection is to be closed.
//! Deliberately absent: the clock that cuts a peer who never finishes; the driver owns it.

use crate::message::{MAX_BODY, MAX_HEAD, ParseError, Place, Problem, head};
use bytes::{Bytes, BytesMut};

/// Collects bytes of one connection and gives out what is complete.
#[derive(Default)]
pub struct StreamFramer {
    buffer: BytesMut,
    /// How far the end of the header block was already looked for.
    searched: usize,
    /// Length of the message whose header block is complete.
    wanted: Option<usize>,
    failed: Option<ParseError>,
}

/// What stands in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framed {
    /// One whole message.
    Message(Bytes),
    /// A double CRLF; answered with [`PONG`].
    Ping,
}

/// The answer to a keep-alive ping.
pub const PONG: &[u8] = b"\r\n";

impl StreamFramer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they came. Call [`StreamFramer::next_frame`] until it gives `None` after each push:
    /// the buffer then never holds more than one message and one push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole message. An error is final and is given again on every later call.
    pub fn next_frame(&mut self) -> Result<Option<Framed>, ParseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance().inspect_err(|&error| {
            self.failed = Some(error);
            self.buffer = BytesMut::new();
        })
    }

    /// Bytes of an unfinished message, so that a driver can time out a peer who dribbles.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    fn advance(&mut self) -> Result<Option<Framed>, ParseError> {
        if self.wanted.is_none() {
            if self.buffer.starts_with(b"\r\n\r\n") {
                let _ping = self.buffer.split_to(4);
                return Ok(Some(Framed::Ping));
            }
            if !self.skip_line_ends() || !self.measure()? {
                return Ok(None);
            }
        }
        let Some(length) = self.wanted.filter(|&length| self.buffer.len() >= length) else { return Ok(None) };
        self.wanted = None;
        self.searched = 0;
        Ok(Some(Framed::Message(self.buffer.split_to(length).freeze())))
    }

    /// Drops a single CRLF before a message (a pong, or a courtesy). False while the bytes at hand
    /// cannot tell whether a ping follows.
    fn skip_line_ends(&mut self) -> bool {
        match self.buffer.as_ref() {
            [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return false,
            [b'\r', b'\n', ..] => {
                let _line_end = self.buffer.split_to(2);
            }
            _ => {}
        }
        true
    }

    /// Looks for the end of the header block and works out the message's length.
    fn measure(&mut self) -> Result<bool, ParseError> {
        let from = self.searched.saturating_sub(3);
        let rest = self.buffer.get(from..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(rest, b"\r\n\r\n").map(|at| from + at + 4) else {
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_HEAD {
                return Err(ParseError::new(Place::Head, self.buffer.len(), Problem::HeadTooLarge));
            }
            return Ok(false);
        };
        let block = Bytes::copy_from_slice(self.buffer.get(..end).unwrap_or_default());
        let head = head(&block)?;
        let Some(body) = head.content_length else {
            return Err(ParseError::new(
                Place::Header(crate::message::HeaderName::ContentLength),
                end,
                Problem::Missing,
            ));
        };
        if body > MAX_BODY {
            return Err(ParseError::new(Place::Body, end, Problem::BodyTooLarge));
        }
        self.wanted = Some(end + body);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nl: 3\r\n\r\nabc";

    fn drain(framer: &mut StreamFramer) -> Vec<Framed> {
        std::iter::from_fn(|| framer.next_frame().unwrap()).collect()
    }

    #[test]
    fn messages_and_pings_come_out_whatever_the_split() {
        let stream = [b"\r\n\r\n", ONE, b"\r\n", ONE, b"\r\n\r\n", ONE].concat();
        let message = || Framed::Message(Bytes::from_static(ONE));
        let wanted = [Framed::Ping, message(), message(), Framed::Ping, message()];
        for first in 0..stream.len() {
            let (left, right) = stream.split_at(first);
            let mut framer = StreamFramer::new();
            framer.push(left);
            let mut seen = drain(&mut framer);
            framer.push(right);
            seen.extend(drain(&mut framer));
            assert_eq!(seen, wanted, "split at {first}");
        }
    }

    #[test]
    fn a_framing_error_is_final() {
        let mut framer = StreamFramer::new();
        framer.push(b"OPTIONS sip:a@b SIP/2.0\r\nFrom: x\r\n\r\n");
        assert_eq!(framer.next_frame().unwrap_err().problem, Problem::Missing);
        framer.push(ONE);
        assert!(framer.next_frame().is_err());
        assert_eq!(framer.pending(), 0);
    }

    #[test]
    fn an_endless_header_block_is_cut() {
        let mut framer = StreamFramer::new();
        framer.push(b"OPTIONS sip:a@b SIP/2.0\r\nX: ");
        while framer.pending() <= MAX_HEAD {
            assert_eq!(framer.next_frame(), Ok(None));
            framer.push(&[b'y'; 1000]);
        }
        assert_eq!(framer.next_frame().unwrap_err().problem, Problem::HeadTooLarge);
    }
}

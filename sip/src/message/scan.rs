//! A cursor over one header value: the tokens of RFC 3261 section 25.1.
//!
//! CR and LF count as white space here, because the header index only leaves them inside a value
//! where a line is folded. Every failure knows its header and its byte offset.

use super::error::{ParseError, Place, Problem};
use super::uri::Host;

pub(crate) struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    base: usize,
    place: Place,
}

impl<'a> Scan<'a> {
    /// `base` is the offset of `text` in the message.
    #[inline]
    pub(crate) fn new(text: &'a [u8], base: usize, place: Place) -> Self {
        Self { text, at: 0, base, place }
    }

    #[inline]
    pub(crate) fn fail(&self, problem: Problem) -> ParseError {
        ParseError::new(self.place, self.base + self.at, problem)
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.base + self.at
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.text.len()
    }

    #[inline]
    pub(crate) fn skip_lws(&mut self) {
        while self.peek().is_some_and(is_lws) {
            self.at += 1;
        }
    }

    /// Takes this byte with white space around it (the SLASH, EQUAL, COLON.. of the grammar).
    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let before = self.at;
        self.skip_lws();
        if self.peek() != Some(byte) {
            self.at = before;
            return false;
        }
        self.at += 1;
        self.skip_lws();
        true
    }

    pub(crate) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| !wanted(byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn token(&mut self) -> Result<&'a str, ParseError> {
        let token = self.take_while(is_token);
        if token.is_empty() {
            return Err(self.fail(Problem::BadValue));
        }
        self.utf8(token)
    }

    /// The inside of a quoted string, escapes untouched; the cursor stands on the opening quote.
    pub(crate) fn quoted(&mut self) -> Result<&'a [u8], ParseError> {
        let opened = self.fail(Problem::UnclosedQuote);
        let inside = self.rest().get(1..).unwrap_or_default();
        let mut escaped = false;
        for (index, &byte) in inside.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at += index + 2;
                    return Ok(inside.get(..index).unwrap_or_default());
                }
                _ => {}
            }
        }
        Err(opened)
    }

    /// A decimal number of at most `u32::MAX`.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<u32, ParseError> {
        let start = self.fail(Problem::BadNumber);
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        decimal(digits).ok_or(start)
    }

    pub(crate) fn host(&mut self) -> Result<Host<'a>, ParseError> {
        let start = self.fail(Problem::BadHost);
        let text = if self.peek() == Some(b'[') {
            let length = memchr::memchr(b']', self.rest()).ok_or(start)? + 1;
            let text = self.rest().get(..length).unwrap_or_default();
            self.at += length;
            text
        } else {
            self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        };
        let text = self.utf8(text)?;
        Host::parse(text).ok_or(start)
    }

    /// `:port` if one stands here.
    pub(crate) fn port(&mut self) -> Result<Option<u16>, ParseError> {
        if !self.eat(b':') {
            return Ok(None);
        }
        let start = self.fail(Problem::BadNumber);
        let port = u16::try_from(self.number()?).ok().filter(|&port| port > 0);
        port.map(Some).ok_or(start)
    }

    #[inline]
    pub(crate) fn utf8(&self, bytes: &'a [u8]) -> Result<&'a str, ParseError> {
        std::str::from_utf8(bytes).map_err(|_| self.fail(Problem::NotUtf8))
    }

    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        self.at = self.text.len().min(self.at + count);
    }
}

pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN.has(byte)
}

/// A set of bytes: letters, digits, and what is listed.
pub(crate) struct ByteSet([bool; 256]);

impl ByteSet {
    #[expect(clippy::indexing_slicing, reason = "runs at compile time")]
    pub(crate) const fn alphanumeric_and(mut others: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0_u8;
        let mut index = 0;
        while index < 256 {
            set[index] = byte.is_ascii_alphanumeric();
            byte = byte.wrapping_add(1);
            index += 1;
        }
        while let [first, rest @ ..] = others {
            let mut wanted = *first;
            let mut at = 0;
            while wanted > 0 {
                wanted -= 1;
                at += 1;
            }
            set[at] = true;
            others = rest;
        }
        Self(set)
    }

    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or_default()
    }
}

static TOKEN: ByteSet = ByteSet::alphanumeric_and(b"-.!%*_+`'~");

/// Leading zeros are allowed; overflow, signs and an empty text are not.
pub(crate) fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, &digit| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        value.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_lws(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_lws(*last)
    {
        text = rest;
    }
    text
}

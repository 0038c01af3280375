//! Splits a message into start line, header fields and body.
//!
//! Strict on purpose: bare CR or LF, conflicting lengths and repeated single fields are refused,
//! because two readers that disagree on them are how requests get smuggled.

use super::error::{ParseError, Place, Problem};
use super::fields::{Field, Fields};
use super::header::HeaderName;
use super::method::Method;
use super::scan::{decimal, is_token, trim};
use super::{Message, StartLine};
use bytes::Bytes;
use std::ops::Range;

/// Largest header block, start line included, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Largest body in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// Most header fields of one message.
pub const MAX_HEADERS: usize = 256;

/// Via and Record-Route fields that a message may have: answers repeat them, and must not be too long themselves.
pub const MAX_HOPS: usize = 128;

pub(super) fn message(bytes: Bytes) -> Result<Message, ParseError> {
    let head = head(&bytes)?;
    let rest = bytes.len().saturating_sub(head.end);
    let length = head.content_length.unwrap_or(rest);
    if length > MAX_BODY {
        return Err(ParseError::new(Place::Body, head.end, Problem::BodyTooLarge));
    }
    if length > rest {
        return Err(ParseError::new(Place::Body, head.end, Problem::BodyTruncated));
    }
    let body = bytes.slice(head.end..head.end + length);
    Ok(Message { start: head.start, headers: head.fields, body, bytes })
}

/// Reads what an answer to a malformed request repeats (RFC 3261 section 8.2.6.2), and forgives all
/// else. `None` where no answer is due: a response, an ACK, or bytes that are no request at all.
pub(crate) fn salvage(bytes: &Bytes) -> Option<Message> {
    use HeaderName::{CSeq, CallId, From, To, Via};
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let first = line(bytes, begin).ok()?;
    let text = bytes.get(first.clone())?;
    let word = text.get(..memchr::memchr(b' ', text)?)?;
    if word == b"ACK" || is_version(word) || !word.iter().all(|&byte| is_token(byte)) {
        return None;
    }
    let start = StartLine::Request { method: Method::from_token(word, bytes), uri: first.clone() };
    let (mut fields, mut at) = (Fields::with_capacity(8), first.end + 2);
    while let Ok(range) = logical_line(bytes, at)
        && !range.is_empty()
    {
        at = range.end + 2;
        let Ok(field) = field(bytes, range) else { continue };
        let again = fields.first(field.name).is_some();
        if field.name == Via && fields.len() >= MAX_HOPS {
            return None;
        }
        let kept = matches!(field.name, From | To | CallId | CSeq) && !again;
        if kept || field.name == Via {
            fields.push(field);
        }
    }
    let answerable = fields.first(Via).is_some();
    answerable.then(|| Message { bytes: bytes.clone(), start, headers: fields, body: Bytes::new() })
}

/// The part of a message before its body.
pub(crate) struct Head {
    pub(crate) start: StartLine,
    pub(crate) fields: Fields,
    pub(crate) content_length: Option<usize>,
    /// Offset of the body.
    pub(crate) end: usize,
}

pub(crate) fn head(bytes: &Bytes) -> Result<Head, ParseError> {
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    let first = line(bytes, begin)?;
    let start = start_line(bytes, first.clone())?;
    let mut fields = Fields::with_capacity(32);
    let (mut content_length, mut hops) = (None, 0);
    let mut at = first.end + 2;
    loop {
        if at > MAX_HEAD {
            return Err(ParseError::new(Place::Head, at, Problem::HeadTooLarge));
        }
        let range = logical_line(bytes, at)?;
        at = range.end + 2;
        if range.is_empty() {
            return Ok(Head { start, fields, content_length, end: at });
        }
        let begin = range.start;
        let field = field(bytes, range)?;
        hops += usize::from(matches!(field.name, HeaderName::Via | HeaderName::RecordRoute));
        if fields.len() >= MAX_HEADERS || hops > MAX_HOPS {
            return Err(ParseError::new(Place::Head, begin, Problem::TooManyHeaders));
        }
        check_single(&fields, &field)?;
        if field.name == HeaderName::ContentLength {
            content_length = Some(length(bytes, &field)?);
        }
        fields.push(field);
    }
}

/// Refuses a field that may stand once and stands again.
fn check_single(fields: &Fields, field: &Field) -> Result<(), ParseError> {
    if field.name.is_single() && fields.first(field.name).is_some() {
        return Err(ParseError::new(Place::Header(field.name), field.spelled.start, Problem::Duplicate));
    }
    Ok(())
}

/// The line from `at` up to its CRLF.
fn line(bytes: &[u8], at: usize) -> Result<Range<usize>, ParseError> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(length) = memchr::memchr2(b'\r', b'\n', rest) else {
        return Err(ParseError::new(Place::Head, bytes.len(), Problem::Truncated));
    };
    if rest.get(length..length + 2) == Some(b"\r\n") {
        return Ok(at..at + length);
    }
    let problem = if length + 1 == rest.len() { Problem::Truncated } else { Problem::BareLineEnd };
    Err(ParseError::new(Place::Head, at + length, problem))
}

#[inline]
/// A header line with the lines folded into it (RFC 3261 section 7.3.1).
fn logical_line(bytes: &[u8], at: usize) -> Result<Range<usize>, ParseError> {
    let mut range = line(bytes, at)?;
    while !range.is_empty() && matches!(bytes.get(range.end + 2), Some(b' ' | b'\t')) {
        range.end = line(bytes, range.end + 2)?.end;
    }
    Ok(range)
}

#[inline]
fn field(bytes: &[u8], range: Range<usize>) -> Result<Field, ParseError> {
    let bad = ParseError::new(Place::Head, range.start, Problem::BadHeaderName);
    let text = bytes.get(range.clone()).unwrap_or_default();
    let colon = memchr::memchr(b':', text).ok_or(bad)?;
    let name = text.get(..colon).unwrap_or_default();
    // White space may stand before the colon but not before the name.
    let name = name.trim_ascii_end();
    let known = HeaderName::from_wire(name);
    if known == HeaderName::Other && (name.is_empty() || !name.iter().all(|&byte| is_token(byte))) {
        return Err(bad);
    }
    let spelled = range.start..range.start + name.len();
    let value = trimmed(bytes, range.start + colon + 1..range.end);
    Ok(Field { name: known, spelled, value })
}

fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let text = bytes.get(range.clone()).unwrap_or_default();
    let end = range.start + text.len() - text.iter().rev().take_while(|&&byte| super::scan::is_lws(byte)).count();
    let lead = text.iter().take_while(|&&byte| super::scan::is_lws(byte)).count();
    let start = (range.start + lead).min(end);
    start..end
}

fn length(bytes: &[u8], field: &Field) -> Result<usize, ParseError> {
    let digits = trim(bytes.get(field.value.clone()).unwrap_or_default());
    let bad = ParseError::new(Place::Header(HeaderName::ContentLength), field.value.start, Problem::BadNumber);
    decimal(digits).and_then(|value| usize::try_from(value).ok()).ok_or(bad)
}

fn start_line(bytes: &Bytes, range: Range<usize>) -> Result<StartLine, ParseError> {
    let text = bytes.get(range.clone()).unwrap_or_default();
    let bad = |problem| ParseError::new(Place::StartLine, range.start, problem);
    let first = memchr::memchr(b' ', text).ok_or(bad(Problem::BadStartLine))?;
    let (word, rest) = (text.get(..first).unwrap_or_default(), text.get(first + 1..).unwrap_or_default());
    if is_version(word) {
        return status_line(word, rest, range.start + first + 1).map_err(bad);
    }
    if word.is_empty() || !word.iter().all(|&byte| is_token(byte)) {
        return Err(bad(Problem::BadMethod));
    }
    let second = memchr::memchr(b' ', rest).ok_or(bad(Problem::BadStartLine))?;
    let version = rest.get(second + 1..).unwrap_or_default();
    if second == 0 || !is_version(version) {
        return Err(bad(Problem::BadStartLine));
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(bad(Problem::UnsupportedVersion));
    }
    let uri = range.start + first + 1;
    Ok(StartLine::Request { method: Method::from_token(word, bytes), uri: uri..uri + second })
}

fn status_line(version: &[u8], rest: &[u8], at: usize) -> Result<StartLine, Problem> {
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(Problem::UnsupportedVersion);
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let status = decimal(rest.get(..digits).unwrap_or_default()).ok_or(Problem::BadStatusCode)?;
    let status = u16::try_from(status).ok().filter(|status| (100..700).contains(status));
    let status = status.ok_or(Problem::BadStatusCode)?;
    match rest.get(digits) {
        None => Ok(StartLine::Response { status, reason: at + digits..at + digits }),
        Some(b' ') => Ok(StartLine::Response { status, reason: at + digits + 1..at + rest.len() }),
        Some(_) => Err(Problem::BadStatusCode),
    }
}

/// `SIP/digits.digits` in any case.
fn is_version(text: &[u8]) -> bool {
    let Some((b"/", digits)) = text.get(3..).and_then(|rest| rest.split_at_checked(1)) else { return false };
    let named = text.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP"));
    let numbered = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    named && numbered && digits.first().is_some_and(u8::is_ascii_digit)
}

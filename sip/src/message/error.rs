//! What is wrong with a message, where, and the status that says so to its sender.
//!
//! Nothing from the message itself is kept in an error: it may be printed anywhere.

use super::header::HeaderName;
use std::fmt;

/// A defect found while reading a SIP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem} (byte {offset})")]
pub struct ParseError {
    /// The part of the message that is at fault.
    pub place: Place,
    /// Offset in bytes from the beginning of the message (or of the text, for a URI parsed alone).
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

impl ParseError {
    pub(crate) fn new(place: Place, offset: usize, problem: Problem) -> Self {
        Self { place, offset, problem }
    }

    /// The status a user agent server answers with (RFC 3261 section 21.4 and 21.5).
    pub fn status(&self) -> u16 {
        match self.problem {
            Problem::UnsupportedVersion => 505,
            Problem::BodyTooLarge => 413,
            Problem::UriTooLong => 414,
            Problem::HeadTooLarge | Problem::TooManyHeaders => 513,
            _ => 400,
        }
    }
}

/// Part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The Request-Line or Status-Line.
    StartLine,
    /// The header block as a whole.
    Head,
    /// One header field.
    Header(HeaderName),
    /// A URI that stands alone.
    Uri,
    /// What follows the header block.
    Body,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartLine => f.write_str("start line"),
            Self::Head => f.write_str("header block"),
            Self::Header(HeaderName::Other) => f.write_str("extension header"),
            Self::Header(name) => f.write_str(name.as_str()),
            Self::Uri => f.write_str("URI"),
            Self::Body => f.write_str("body"),
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("message ends before the empty line that closes the header block")]
    Truncated,
    #[error("CR without LF or LF without CR")]
    BareLineEnd,
    #[error("not a Request-Line or Status-Line")]
    BadStartLine,
    #[error("version is not SIP/2.0")]
    UnsupportedVersion,
    #[error("status code is not between 100 and 699")]
    BadStatusCode,
    #[error("method is not a token")]
    BadMethod,
    #[error("header name is not a token followed by a colon")]
    BadHeaderName,
    #[error("header block is larger than the limit")]
    HeadTooLarge,
    #[error("more header fields than the limit")]
    TooManyHeaders,
    #[error("body is larger than the limit")]
    BodyTooLarge,
    #[error("URI is longer than the limit")]
    UriTooLong,
    #[error("body is shorter than Content-Length")]
    BodyTruncated,
    #[error("header field may appear only once")]
    Duplicate,
    #[error("mandatory header field is missing")]
    Missing,
    #[error("not a number in the allowed range")]
    BadNumber,
    #[error("quoted string is not closed")]
    UnclosedQuote,
    #[error("angle bracket is not closed")]
    UnclosedBracket,
    #[error("not a URI")]
    BadUri,
    #[error("URI carries headers, which have no place here")]
    UriHeaders,
    #[error("not a host")]
    BadHost,
    #[error("not a display name")]
    BadDisplayName,
    #[error("parameter is malformed")]
    BadParameter,
    #[error("parameter appears twice")]
    DuplicateParameter,
    #[error("value is malformed")]
    BadValue,
    #[error("text is not UTF-8")]
    NotUtf8,
    #[error("CSeq method is not the request's method")]
    MethodMismatch,
}

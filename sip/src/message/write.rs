//! Builds messages. Values are written by this library or were checked to hold no line ends, so a
//! caller's text can never become a header of its own.

use super::{HeaderName, Method, Uri};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// A message under construction: start line first, then fields in order, then [`Writer::finish`].
pub struct Writer {
    buffer: BytesMut,
}

impl Writer {
    /// URI headers are left out: a Request-URI may not have them (RFC 3261 section 19.1.1, table 1).
    pub fn request(method: &Method, uri: &str) -> Self {
        let uri = Uri::parse(uri).map_or(uri, |uri| uri.without_headers());
        let mut writer = Self { buffer: BytesMut::with_capacity(1024) };
        writer.raw(method.as_bytes());
        writer.raw(b" ");
        writer.clean(uri);
        writer.raw(b" SIP/2.0\r\n");
        writer
    }

    pub fn response(status: u16) -> Self {
        let mut writer = Self { buffer: BytesMut::with_capacity(1024) };
        writer.display(format_args!("SIP/2.0 {status} {}", reason_phrase(status)));
        writer.raw(b"\r\n");
        writer
    }

    pub fn header(&mut self, name: HeaderName, value: impl fmt::Display) -> &mut Self {
        self.field(name.as_str(), value)
    }

    /// A field by its spelled name.
    pub fn field(&mut self, name: &str, value: impl fmt::Display) -> &mut Self {
        self.clean(name);
        self.raw(b": ");
        self.display(format_args!("{value}"));
        self.raw(b"\r\n");
        self
    }

    /// Copies a field as it came, folds included.
    pub fn copy(&mut self, name: HeaderName, value: &[u8]) -> &mut Self {
        self.raw(name.as_str().as_bytes());
        self.raw(b": ");
        self.raw(value);
        self.raw(b"\r\n");
        self
    }

    /// Copies a field as it came under its own spelling.
    pub(crate) fn copy_field(&mut self, spelled: &[u8], value: &[u8]) -> &mut Self {
        self.raw(spelled);
        self.raw(b": ");
        self.raw(value);
        self.raw(b"\r\n");
        self
    }

    pub fn extra(&mut self, headers: &[ExtraHeader]) -> &mut Self {
        for header in headers {
            self.field(&header.name, &header.value);
        }
        self
    }

    /// Ends the message. A body needs its type; without one the body is empty.
    pub fn finish(mut self, body: Option<(&str, &[u8])>) -> Bytes {
        match body {
            Some((content_type, body)) if !body.is_empty() => {
                self.header(HeaderName::ContentType, content_type);
                self.header(HeaderName::ContentLength, body.len());
                self.raw(b"\r\n");
                self.raw(body);
            }
            _ => self.raw(b"Content-Length: 0\r\n\r\n"),
        }
        self.buffer.freeze()
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn display(&mut self, arguments: fmt::Arguments<'_>) {
        // `Clean` never fails, so neither does the write.
        fmt::Write::write_fmt(&mut Clean(&mut self.buffer), arguments).ok();
    }

    fn clean(&mut self, text: &str) {
        fmt::Write::write_str(&mut Clean(&mut self.buffer), text).ok();
    }
}

/// The last guard against header injection: a control character that got this far becomes a space.
struct Clean<'a>(&'a mut BytesMut);

impl fmt::Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !text.bytes().any(|byte| byte.is_ascii_control()) {
            self.0.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        let plain = |byte: u8| if byte < 0x20 || byte == 0x7f { b' ' } else { byte };
        self.0.extend(text.bytes().map(plain));
        Ok(())
    }
}

/// A header field the application adds to a message. `Debug` shows the name only.
#[derive(Clone, PartialEq, Eq)]
pub struct ExtraHeader {
    name: String,
    value: String,
}

/// Why a header was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    #[error("header name is not a token")]
    Name,
    #[error("header value holds a control character")]
    Value,
    #[error("header is written by the SIP layer itself")]
    Reserved,
}

impl ExtraHeader {
    /// Checks that the name is a token, that the value is one line, and that it is no field that
    /// routes or identifies the message.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Result<Self, BadHeader> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || !name.bytes().all(super::scan::is_token) {
            return Err(BadHeader::Name);
        }
        if value.chars().any(char::is_control) {
            return Err(BadHeader::Value);
        }
        if is_reserved(HeaderName::from_wire(name.as_bytes())) {
            return Err(BadHeader::Reserved);
        }
        Ok(Self { name, value })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for ExtraHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ..", self.name)
    }
}

fn is_reserved(name: HeaderName) -> bool {
    use HeaderName::*;
    let identity = matches!(name, Via | From | To | CallId | CSeq | MaxForwards | Contact | Route | RecordRoute);
    identity || matches!(name, ContentLength | ContentType | ContentEncoding)
}

/// The standard phrase of a status (RFC 3261 section 21 and later RFCs).
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => match status / 100 {
            1 => "Progress",
            2 => "Success",
            3 => "Redirection",
            4 => "Client Error",
            5 => "Server Error",
            _ => "Global Failure",
        },
    }
}

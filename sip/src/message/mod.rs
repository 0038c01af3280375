//! A SIP message as an index over the bytes it came in; nothing is copied.
//!
//! [`Message::parse`] checks what framing and routing depend on: start line, header syntax, single
//! fields, Content-Length. Values are read by typed accessors when somebody asks for them;
//! [`Message::essentials`] reads those every request and response must have.

mod error;
mod fields;
mod header;
mod method;
mod name_addr;
mod params;
pub(crate) use params::unescape;
pub(crate) use parse::{head, salvage};
mod parse;
pub(crate) mod scan;
mod uri;
mod via;
mod write;

pub use error::{ParseError, Place, Problem};
pub use header::HeaderName;
pub use method::Method;
pub use name_addr::NameAddr;
pub use params::Params;
pub use parse::{MAX_BODY, MAX_HEAD, MAX_HEADERS, MAX_HOPS};
pub(crate) use scan::decimal;
pub(crate) use uri::percent_decode;
pub use uri::{Host, Scheme, Uri, UriBuf};
pub(crate) use via::MAGIC;
pub use via::Via;
pub use write::{BadHeader, ExtraHeader, Writer, reason_phrase};

use bytes::Bytes;
use fields::{Field, Fields};
use scan::Scan;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// One whole message. Clones share the bytes.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    start: StartLine,
    headers: Fields,
    body: Bytes,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartLine {
    /// The Request-URI is read by [`Message::request_uri`].
    Request {
        method: Method,
        uri: Range<usize>,
    },
    Response {
        status: u16,
        reason: Range<usize>,
    },
}

/// CSeq (RFC 3261 section 20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    pub number: u32,
    pub method: Method,
}

/// The values that identify a message, all present and well-formed.
pub struct Essentials<'a> {
    /// The topmost Via.
    pub via: Via<'a>,
    pub from: NameAddr<'a>,
    pub to: NameAddr<'a>,
    pub call_id: &'a str,
    pub cseq: CSeq,
    pub max_forwards: Option<u8>,
    /// The first Contact; `None` where there is none, or where it is `*`.
    pub contact: Option<NameAddr<'a>>,
}

impl Message {
    /// Indexes one datagram, or one message cut out of a stream. Bytes behind Content-Length are
    /// ignored; without Content-Length the body is all that is left (RFC 3261 section 18.3).
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        parse::message(bytes)
    }

    pub fn start(&self) -> &StartLine {
        &self.start
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The Request-URI. Errors where this is a response or the URI is malformed.
    pub fn request_uri(&self) -> Result<Uri<'_>, ParseError> {
        let StartLine::Request { uri, .. } = &self.start else {
            return Err(ParseError::new(Place::StartLine, 0, Problem::BadStartLine));
        };
        let scan = Scan::new(self.slice(uri), uri.start, Place::StartLine);
        let parsed = Uri::parse_at(scan.utf8(self.slice(uri))?, uri.start, Place::StartLine)?;
        if !parsed.headers().is_empty() {
            return Err(scan.fail(Problem::UriHeaders));
        }
        Ok(parsed)
    }

    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes the message was read from.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Raw values of all fields of this name, in order. Folded lines keep their CRLF.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.fields(name).map(|field| self.slice(&field.value))
    }

    /// The first value of the field as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self, name: HeaderName) -> Option<Cow<'_, str>> {
        self.values(name).next().map(String::from_utf8_lossy)
    }

    /// The first value of a field this library has no variant for.
    pub fn extension(&self, name: &str) -> Option<Cow<'_, str>> {
        let same = |field: &&Field| self.slice(&field.spelled).eq_ignore_ascii_case(name.as_bytes());
        let field = self.headers.iter().find(same)?;
        Some(String::from_utf8_lossy(self.slice(&field.value)))
    }

    /// Names, spellings and raw values of all fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (HeaderName, &[u8], &[u8])> {
        self.headers.iter().map(|field| (field.name, self.slice(&field.spelled), self.slice(&field.value)))
    }

    pub fn has(&self, name: HeaderName) -> bool {
        self.headers.first(name).is_some()
    }

    /// Reads and checks what identifies the message (RFC 3261 section 8.1.1).
    pub fn essentials(&self) -> Result<Essentials<'_>, ParseError> {
        let cseq = self.cseq()?;
        let via = self.via()?;
        let from = self.address(HeaderName::From)?;
        let to = self.address(HeaderName::To)?;
        let call_id = self.call_id()?;
        let max_forwards = self.max_forwards()?;
        let contact = self.contact()?;
        if self.method().is_some_and(|method| *method != cseq.method) {
            return Err(self.fault(HeaderName::CSeq, Problem::MethodMismatch));
        }
        Ok(Essentials { via, from, to, call_id, cseq, max_forwards, contact })
    }

    /// The topmost Via; the whole first Via field is checked.
    pub fn via(&self) -> Result<Via<'_>, ParseError> {
        let mut scan = self.scan(HeaderName::Via)?;
        let top = Via::scan(&mut scan)?;
        while scan.eat(b',') {
            Via::scan(&mut scan)?;
        }
        if !scan.is_done() {
            return Err(scan.fail(Problem::BadValue));
        }
        Ok(top)
    }

    pub fn cseq(&self) -> Result<CSeq, ParseError> {
        let mut scan = self.scan(HeaderName::CSeq)?;
        let number = scan.number()?;
        scan.skip_lws();
        let method = scan.token()?;
        if !scan.is_done() {
            return Err(scan.fail(Problem::BadValue));
        }
        Ok(CSeq { number, method: Method::from_token(method.as_bytes(), &self.bytes) })
    }

    pub fn call_id(&self) -> Result<&str, ParseError> {
        let mut scan = self.scan(HeaderName::CallId)?;
        let id = scan.take_while(|byte| byte > 0x20 && byte != 0x7f);
        if id.is_empty() || !scan.is_done() {
            return Err(scan.fail(Problem::BadValue));
        }
        scan.utf8(id)
    }

    /// Max-Forwards, at most 255.
    pub fn max_forwards(&self) -> Result<Option<u8>, ParseError> {
        let number = self.number(HeaderName::MaxForwards)?;
        let narrow = |value| u8::try_from(value).map_err(|_| self.fault(HeaderName::MaxForwards, Problem::BadNumber));
        number.map(narrow).transpose()
    }

    /// A field that holds one number (Expires, Max-Forwards, Content-Length, Min-Expires).
    pub fn number(&self, name: HeaderName) -> Result<Option<u32>, ParseError> {
        let Some(value) = self.values(name).next() else { return Ok(None) };
        decimal(value).map(Some).ok_or(self.fault(name, Problem::BadNumber))
    }

    /// A field with exactly one address (From, To).
    pub fn address(&self, name: HeaderName) -> Result<NameAddr<'_>, ParseError> {
        let mut scan = self.scan(name)?;
        let address = NameAddr::scan(&mut scan)?;
        if !scan.is_done() {
            return Err(scan.fail(Problem::BadValue));
        }
        Ok(address)
    }

    /// All addresses of a list field (Contact, Route, Record-Route) in order.
    pub fn addresses(&self, name: HeaderName) -> Result<Vec<NameAddr<'_>>, ParseError> {
        let mut all = Vec::new();
        self.each_address(name, |address| all.push(address))?;
        Ok(all)
    }

    /// The first Contact; `None` where there is none, or where it is `*`. All of them are checked.
    pub fn contact(&self) -> Result<Option<NameAddr<'_>>, ParseError> {
        let mut first = None;
        for field in self.fields(HeaderName::Contact) {
            if self.slice(&field.value) == b"*" {
                return Ok(None);
            }
            self.addresses_of(field, |address| first = first.or(Some(address)))?;
        }
        Ok(first)
    }

    fn each_address<'a>(&'a self, name: HeaderName, mut take: impl FnMut(NameAddr<'a>)) -> Result<(), ParseError> {
        self.fields(name).try_for_each(|field| self.addresses_of(field, &mut take))
    }

    fn addresses_of<'a>(&'a self, field: &Field, mut take: impl FnMut(NameAddr<'a>)) -> Result<(), ParseError> {
        let mut scan = self.scan_field(field);
        loop {
            take(NameAddr::scan(&mut scan)?);
            if !scan.eat(b',') {
                break;
            }
        }
        if scan.is_done() { Ok(()) } else { Err(scan.fail(Problem::BadValue)) }
    }

    /// Tokens of all fields of this name (Require, Supported, Allow, Content-Encoding..), without parameters.
    pub fn tokens(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .filter_map(|item| item.split(|&byte| byte == b';').next())
            .filter_map(|item| std::str::from_utf8(scan::trim(item)).ok())
            .filter(|item| !item.is_empty())
    }

    /// Content-Type as `type/subtype` without parameters, white space taken out.
    pub fn content_type(&self) -> Option<String> {
        let value = self.values(HeaderName::ContentType).next()?;
        let media = value.split(|&byte| byte == b';').next().unwrap_or_default();
        let solid: Vec<u8> = media.iter().copied().filter(|&byte| !scan::is_lws(byte)).collect();
        Some(String::from_utf8_lossy(&solid).to_ascii_lowercase())
    }

    fn fields(&self, name: HeaderName) -> impl Iterator<Item = &Field> {
        self.headers.named(name)
    }

    fn scan(&self, name: HeaderName) -> Result<Scan<'_>, ParseError> {
        let missing = ParseError::new(Place::Header(name), 0, Problem::Missing);
        self.headers.first(name).map(|field| self.scan_field(field)).ok_or(missing)
    }

    fn scan_field(&self, field: &Field) -> Scan<'_> {
        Scan::new(self.slice(&field.value), field.value.start, Place::Header(field.name))
    }

    fn fault(&self, name: HeaderName, problem: Problem) -> ParseError {
        let offset = self.headers.first(name).map_or(0, |field| field.value.start);
        ParseError::new(Place::Header(name), offset, problem)
    }

    /// Where the first value of the field stands.
    pub(crate) fn value_range(&self, name: HeaderName) -> Option<Range<usize>> {
        self.fields(name).next().map(|field| field.value.clone())
    }

    pub(crate) fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Message {
    /// Names the message without quoting it: headers carry personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.start {
            StartLine::Request { method, .. } => write!(f, "{method} ({} bytes)", self.bytes.len()),
            StartLine::Response { status, .. } => write!(f, "{status} ({} bytes)", self.bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests;

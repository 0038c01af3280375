//! `name-addr` and `addr-spec` values: From, To, Contact, Route, Record-Route (RFC 3261 section 20.10).

use super::error::{ParseError, Problem};
use super::params::{Params, unescape};
use super::scan::{Scan, is_lws, is_token};
use super::uri::Uri;
use std::borrow::Cow;
use std::fmt;

/// One address with its display name and header parameters. `Debug` leaves out who it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    display: &'a [u8],
    uri: Uri<'a>,
    params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one address and its parameters; the cursor is left before a comma or at the end.
    pub(crate) fn scan(scan: &mut Scan<'a>) -> Result<Self, ParseError> {
        scan.skip_lws();
        let display: &[u8] = match scan.peek() {
            Some(b'"') => scan.quoted()?,
            Some(b'<') => b"",
            _ if has_bracket(scan.rest()) => token_display(scan)?,
            _ => return Self::scan_bare(scan),
        };
        scan.skip_lws();
        let uri = bracketed(scan)?;
        let params = Params::scan(scan)?;
        Ok(Self { display, uri, params })
    }

    /// An `addr-spec` without brackets: what follows a semicolon belongs to the header, not to the URI.
    fn scan_bare(scan: &mut Scan<'a>) -> Result<Self, ParseError> {
        let (base, place) = (scan.offset(), scan.place());
        let text = scan.take_while(|byte| !is_lws(byte) && !matches!(byte, b';' | b',' | b'<' | b'>' | b'"'));
        let uri = Uri::parse_at(scan.utf8(text)?, base, place)?;
        if text.contains(&b'?') {
            return Err(ParseError::new(place, base, Problem::UnclosedBracket));
        }
        let params = Params::scan(scan)?;
        Ok(Self { display: b"", uri, params })
    }

    /// The display name without quotes and escapes; empty where there is none.
    pub fn display(&self) -> Cow<'a, str> {
        unescape(self.display)
    }

    pub fn uri(&self) -> &Uri<'a> {
        &self.uri
    }

    pub fn params(&self) -> &Params<'a> {
        &self.params
    }

    /// The `tag` parameter of From and To.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.value("tag")
    }
}

impl fmt::Debug for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameAddr").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// True where a `<` comes before anything that would end an addr-spec.
fn has_bracket(text: &[u8]) -> bool {
    let end = text.iter().find(|byte| matches!(byte, b'<' | b';' | b',' | b'"'));
    end == Some(&b'<')
}

fn token_display<'a>(scan: &mut Scan<'a>) -> Result<&'a [u8], ParseError> {
    let text = scan.take_while(|byte| is_token(byte) || is_lws(byte) || byte >= 0x80);
    if scan.peek() != Some(b'<') {
        return Err(scan.fail(Problem::BadDisplayName));
    }
    Ok(super::scan::trim(text))
}

fn bracketed<'a>(scan: &mut Scan<'a>) -> Result<Uri<'a>, ParseError> {
    if scan.peek() != Some(b'<') {
        return Err(scan.fail(Problem::BadValue));
    }
    scan.advance(1);
    let (base, place) = (scan.offset(), scan.place());
    let length = memchr::memchr(b'>', scan.rest()).ok_or(scan.fail(Problem::UnclosedBracket))?;
    let text = scan.utf8(scan.rest().get(..length).unwrap_or_default())?;
    scan.advance(length + 1);
    Uri::parse_at(text, base, place)
}

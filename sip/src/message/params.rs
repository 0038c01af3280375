//! `;name=value` parameters of header fields (`generic-param`), checked once and read lazily.

use super::error::{ParseError, Problem};
use super::scan::{Scan, is_lws, is_token};
use std::borrow::Cow;

/// The parameters behind a header value. Their syntax was checked when the value was read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Params<'a> {
    raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// Takes all parameters the cursor stands before.
    pub(crate) fn scan(scan: &mut Scan<'a>) -> Result<Self, ParseError> {
        let begin = scan.rest();
        let start = scan.offset();
        while scan.eat(b';') {
            one(scan)?;
        }
        scan.skip_lws();
        let raw = begin.get(..scan.offset() - start).unwrap_or_default();
        Ok(Self { raw })
    }

    /// The value of the parameter: `Some(None)` where it stands without one, `None` where it is absent.
    pub fn find(&self, name: &str) -> Option<Option<&'a str>> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The parameter's value, if it is there and has one.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.find(name).flatten()
    }

    /// True where the parameter stands, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Names and values in their order; quotes are taken off, escapes are left.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        let mut scan = Scan::new(self.raw, 0, super::error::Place::Head);
        std::iter::from_fn(move || if scan.eat(b';') { one(&mut scan).ok() } else { None })
    }

    /// Names with the whole text of each parameter, semicolon included.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let raw = self.raw;
        let mut scan = Scan::new(raw, 0, super::error::Place::Head);
        std::iter::from_fn(move || {
            let from = scan.offset();
            let (name, _) = if scan.eat(b';') { one(&mut scan).ok()? } else { return None };
            Some((name, raw.get(from..scan.offset()).unwrap_or_default()))
        })
    }

    /// The text as it came, from the first semicolon.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

fn one<'a>(scan: &mut Scan<'a>) -> Result<(&'a str, Option<&'a str>), ParseError> {
    let start = scan.fail(Problem::BadParameter);
    let name = scan.take_while(is_token);
    if name.is_empty() {
        return Err(start);
    }
    let name = scan.utf8(name)?;
    if !scan.eat(b'=') {
        return Ok((name, None));
    }
    if scan.peek() == Some(b'"') {
        // A quoted value may hold bytes of any charset; only its presence is of interest then.
        let value = std::str::from_utf8(scan.quoted()?).unwrap_or_default();
        return Ok((name, Some(value)));
    }
    let value = scan.take_while(is_value);
    if value.is_empty() {
        return Err(start);
    }
    Ok((name, Some(scan.utf8(value)?)))
}

const fn is_value(byte: u8) -> bool {
    !is_lws(byte) && byte > 0x20 && byte != 0x7f && !matches!(byte, b';' | b',' | b'"' | b'<' | b'>' | b'=')
}

/// Undoes the backslash escapes of a quoted string; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn unescape(inside: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inside).is_none() {
        return String::from_utf8_lossy(inside);
    }
    let mut plain = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        let byte = if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte };
        plain.push(byte);
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

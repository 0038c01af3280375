//! The grammar that challenges and answers share: a scheme and comma-separated parameters (RFC 7235 section 2.1).

use crate::message::scan::{Scan, is_token};
use crate::message::{HeaderName, ParseError, Place, Problem, unescape};
use std::borrow::Cow;

/// One scheme with its parameters.
pub(super) struct Scheme<'a> {
    pub(super) name: &'a str,
    params: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Scheme<'a> {
    pub(super) fn is_digest(&self) -> bool {
        self.name.eq_ignore_ascii_case("Digest")
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let same = |(known, _): &&(&str, Cow<'_, str>)| known.eq_ignore_ascii_case(name);
        self.params.iter().find(same).map(|(_, value)| value.as_ref())
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.value(name).map(str::to_owned)
    }

    fn push(&mut self, name: &'a str, value: Cow<'a, str>, fault: ParseError) -> Result<(), ParseError> {
        if self.value(name).is_some() {
            return Err(ParseError { problem: Problem::DuplicateParameter, ..fault });
        }
        if self.params.len() >= MAX_PARAMS || value.len() > MAX_VALUE {
            return Err(fault);
        }
        self.params.push((name, value));
        Ok(())
    }
}

/// Reads the value of an authentication field. Senders put several challenges into one field, though RFC 3261 section
/// 7.3.1 forbids it, so a scheme may follow a comma.
pub(super) fn schemes(value: &[u8], place: HeaderName) -> Result<Vec<Scheme<'_>>, ParseError> {
    let mut scan = Scan::new(value, 0, Place::Header(place));
    let mut all: Vec<Scheme<'_>> = Vec::new();
    scan.skip_lws();
    let mut name = scan.token()?;
    loop {
        if all.len() >= MAX_SCHEMES {
            return Err(scan.fail(Problem::BadValue));
        }
        let mut scheme = Scheme { name, params: Vec::new() };
        let next = params(&mut scan, &mut scheme)?;
        all.push(scheme);
        match next {
            Some(next) => name = next,
            None => return Ok(all),
        }
    }
}

/// Reads the parameters of one scheme; gives back the name of the scheme that follows.
fn params<'a>(scan: &mut Scan<'a>, scheme: &mut Scheme<'a>) -> Result<Option<&'a str>, ParseError> {
    let mut first = true;
    loop {
        scan.skip_lws();
        while scan.eat(b',') {
            first = false;
        }
        if scan.is_done() {
            return Ok(None);
        }
        let fault = scan.fail(Problem::BadParameter);
        let name = scan.token()?;
        if scan.eat(b'=') {
            let value = value(scan)?;
            scheme.push(name, value, fault)?;
            first = false;
        } else if first && !scheme.is_digest() {
            // A token68, as other schemes have it.
            scan.take_while(|byte| is_token(byte) || matches!(byte, b'/' | b'=' | b':'));
        } else {
            return Ok(Some(name));
        }
        scan.skip_lws();
        if !scan.is_done() && scan.peek() != Some(b',') {
            return Err(scan.fail(Problem::BadParameter));
        }
    }
}

fn value<'a>(scan: &mut Scan<'a>) -> Result<Cow<'a, str>, ParseError> {
    if scan.peek() != Some(b'"') {
        return scan.token().map(Cow::Borrowed);
    }
    let fault = scan.fail(Problem::NotUtf8);
    let inside = scan.quoted()?;
    if std::str::from_utf8(inside).is_err() || inside.iter().any(u8::is_ascii_control) {
        return Err(fault);
    }
    Ok(unescape(inside))
}

/// A value as a quoted string.
pub(super) fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

const MAX_SCHEMES: usize = 8;
const MAX_PARAMS: usize = 16;
/// Longest value that is repeated in an answer, in bytes.
const MAX_VALUE: usize = 1024;

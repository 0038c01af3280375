//! SIP, SIPS and TEL URIs (RFC 3261 section 19.1, RFC 3966), read without copying.
//!
//! Names are never resolved here. Other schemes are kept whole: an endpoint answers them with 416.

use super::error::{ParseError, Place, Problem};
use super::scan::decimal;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A URI inside the text it was read from. `Debug` leaves out the user part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    raw: &'a str,
    scheme: Scheme,
    user: Option<&'a str>,
    host: Option<Host<'a>>,
    port: Option<u16>,
    params: &'a str,
    headers: &'a str,
}

/// A URI's scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Any scheme without rules here.
    Other,
}

impl Scheme {
    /// `None` for what is no scheme at all.
    fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("sip") {
            return Some(Self::Sip);
        }
        if name.eq_ignore_ascii_case("sips") {
            return Some(Self::Sips);
        }
        if name.eq_ignore_ascii_case("tel") {
            return Some(Self::Tel);
        }
        let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        (begins_well && name.bytes().all(is_scheme)).then_some(Self::Other)
    }
}

/// A host as it stands in a URI or a Via.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    Name(&'a str),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl<'a> Uri<'a> {
    /// Reads a URI that stands alone. Errors carry offsets into `text`.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        Self::parse_at(text, 0, Place::Uri)
    }

    pub(crate) fn parse_at(text: &'a str, base: usize, place: Place) -> Result<Self, ParseError> {
        let bad = |problem| ParseError::new(place, base, problem);
        if text.len() > MAX_URI {
            return Err(bad(Problem::UriTooLong));
        }
        let (scheme, rest) = cut(text, b':').ok_or(bad(Problem::BadUri))?;
        if rest.is_empty() {
            return Err(bad(Problem::BadUri));
        }
        match Scheme::from_name(scheme) {
            Some(scheme @ (Scheme::Sip | Scheme::Sips)) => hierarchical(text, scheme, rest).map_err(bad),
            Some(Scheme::Tel) if every(rest, is_opaque) => telephone(text, rest).map_err(bad),
            Some(Scheme::Other) if every(rest, is_opaque) => Ok(Self::opaque(text)),
            _ => Err(bad(Problem::BadUri)),
        }
    }

    /// The whole text.
    pub fn as_str(&self) -> &'a str {
        self.raw
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user part without password, escapes untouched; the number of a TEL URI.
    pub fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The user part with its `%HH` escapes undone.
    pub fn user_decoded(&self) -> Option<Cow<'a, str>> {
        self.user.map(percent_decode)
    }

    /// `None` for TEL and opaque URIs.
    pub fn host(&self) -> Option<Host<'a>> {
        self.host
    }

    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The text of the URI headers, behind the question mark.
    pub fn headers(&self) -> &'a str {
        self.headers
    }

    /// The text without the URI headers and their question mark.
    pub fn without_headers(&self) -> &'a str {
        let text = self.raw.strip_suffix(self.headers).unwrap_or(self.raw);
        text.strip_suffix('?').unwrap_or(text)
    }

    /// A URI parameter: `Some(None)` where it stands without a value.
    pub fn param(&self, name: &str) -> Option<Option<&'a str>> {
        self.params.split(';').skip(1).find_map(|param| {
            let (key, value) = param.split_once('=').map_or((param, None), |(key, value)| (key, Some(value)));
            percent_decode(key).eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// True for a loose router's URI (RFC 3261 section 19.1.1, `lr`).
    pub fn is_loose_router(&self) -> bool {
        self.param("lr").is_some()
    }

    fn opaque(raw: &'a str) -> Self {
        Self { raw, scheme: Scheme::Other, user: None, host: None, port: None, params: "", headers: "" }
    }
}

impl fmt::Debug for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uri")
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl<'a> Host<'a> {
    /// Reads a host name, an IPv4 address or a bracketed IPv6 address.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            return inner.strip_suffix(']')?.parse().ok().map(Host::V6);
        }
        if let Some(address) = v4(text.as_bytes()) {
            return Some(Host::V4(address));
        }
        let named = !text.is_empty() && text.len() <= MAX_HOST && every(text, is_label);
        named.then_some(Host::Name(text))
    }

    /// The address, unless the host is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match *self {
            Host::Name(_) => None,
            Host::V4(address) => Some(address.into()),
            Host::V6(address) => Some(address.into()),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// Four numbers without leading zeros; most hosts are one, so this is quicker than the standard library's general reader.
fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut address, mut octet, mut digits, mut dots) = (0_u32, 0_u32, 0, 0);
    for &byte in text {
        match byte {
            b'0'..=b'9' if digits < 3 && (digits == 0 || octet > 0) => {
                octet = octet * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && octet < 256 && dots < 3 => {
                address = address << 8 | octet;
                (octet, digits, dots) = (0, 0, dots + 1);
            }
            _ => return None,
        }
    }
    (digits > 0 && octet < 256 && dots == 3).then(|| Ipv4Addr::from_bits(address << 8 | octet))
}

fn hierarchical<'a>(raw: &'a str, scheme: Scheme, rest: &'a str) -> Result<Uri<'a>, Problem> {
    let marks = Marks::of(rest.as_bytes());
    if marks.seen & (FOREIGN | SECOND_AT) != 0 || (marks.seen & ESCAPE != 0 && !escapes_are_whole(rest)) {
        return Err(Problem::BadUri);
    }
    let end = rest.len();
    let headers_at = marks.headers.unwrap_or(end);
    let params_at = marks.params.unwrap_or(headers_at);
    let part = |from: usize, to: usize| rest.get(from..to).ok_or(Problem::BadUri);
    let user = marks.user.map(|at| part(0, at).and_then(user_part)).transpose()?;
    let (host, port) = split_host_port(part(marks.user.map_or(0, |at| at + 1), params_at)?)?;
    let params = part(params_at, headers_at)?;
    let nameless = |pair: &[u8]| matches!(pair, [b';', b';' | b'=']);
    if params.ends_with(';') || params.as_bytes().windows(2).any(nameless) {
        return Err(Problem::BadParameter);
    }
    let headers = rest.get(headers_at + 1..).unwrap_or_default();
    Ok(Uri { raw, scheme, user, host: Some(host), port, params, headers })
}

/// Where the parts of a URI meet, found in one pass.
#[derive(Default)]
struct Marks {
    /// The `@` behind the user part, which may hold `;` and `?`.
    user: Option<usize>,
    params: Option<usize>,
    headers: Option<usize>,
    /// What kinds of bytes there are.
    seen: u8,
}

impl Marks {
    fn of(text: &[u8]) -> Self {
        let mut marks = Self::default();
        for (index, &byte) in text.iter().enumerate() {
            let kind = KINDS.get(usize::from(byte)).copied().unwrap_or(FOREIGN);
            marks.seen |= kind;
            if kind & DIVIDER == 0 {
                continue;
            }
            match byte {
                b'@' if marks.user.is_some() => marks.seen |= SECOND_AT,
                b'@' => marks = Self { user: Some(index), seen: marks.seen, ..Self::default() },
                b'?' => marks.headers = marks.headers.or(Some(index)),
                _ if marks.headers.is_none() => marks.params = marks.params.or(Some(index)),
                _ => {}
            }
        }
        marks
    }
}

/// A byte that stands in no URI.
const FOREIGN: u8 = 1;
const DIVIDER: u8 = 2;
/// The beginning of `%HH`.
const ESCAPE: u8 = 4;
const SECOND_AT: u8 = 8;
static KINDS: [u8; 256] = kinds();

#[expect(clippy::indexing_slicing, reason = "runs at compile time")]
const fn kinds() -> [u8; 256] {
    let mut kinds = [0; 256];
    let (mut byte, mut index) = (0_u8, 0);
    while index < kinds.len() {
        kinds[index] = match byte {
            b'@' | b';' | b'?' => DIVIDER,
            b'%' => ESCAPE,
            _ if is_opaque(byte) => 0,
            _ => FOREIGN,
        };
        byte = byte.wrapping_add(1);
        index += 1;
    }
    kinds
}

fn user_part(userinfo: &str) -> Result<&str, Problem> {
    let user = cut(userinfo, b':').map_or(userinfo, |(user, _password)| user);
    if user.is_empty() || !every(userinfo, is_user) {
        return Err(Problem::BadUri);
    }
    Ok(user)
}

fn split_host_port(text: &str) -> Result<(Host<'_>, Option<u16>), Problem> {
    let bytes = text.as_bytes();
    let host_end = match memchr::memchr(b']', bytes).filter(|_| bytes.first() == Some(&b'[')) {
        Some(bracket) => bracket + 1,
        None => bytes.iter().position(|&byte| byte == b':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at_checked(host_end).ok_or(Problem::BadHost)?;
    let host = Host::parse(host).ok_or(Problem::BadHost)?;
    let Some(digits) = port.strip_prefix(':') else {
        return if port.is_empty() { Ok((host, None)) } else { Err(Problem::BadHost) };
    };
    let port = decimal(digits.as_bytes()).and_then(|port| u16::try_from(port).ok());
    port.filter(|&port| port > 0).map(|port| (host, Some(port))).ok_or(Problem::BadNumber)
}

fn telephone<'a>(raw: &'a str, rest: &'a str) -> Result<Uri<'a>, Problem> {
    let end = memchr::memchr(b';', rest.as_bytes()).unwrap_or(rest.len());
    let (number, params) = rest.split_at_checked(end).ok_or(Problem::BadUri)?;
    let digits = number.strip_prefix('+').unwrap_or(number);
    let allowed = |byte: u8| byte.is_ascii_hexdigit() || b"-.()*#".contains(&byte);
    if digits.is_empty() || !digits.bytes().all(allowed) || !escapes_are_whole(params) {
        return Err(Problem::BadUri);
    }
    Ok(Uri { scheme: Scheme::Tel, user: Some(number), params, ..Uri::opaque(raw) })
}

fn is_scheme(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

const fn is_opaque(byte: u8) -> bool {
    (byte > 0x20) & (byte < 0x7f) & (byte != b'<') & (byte != b'>') & (byte != b'"')
}

/// What may stand in a user part and a password, of bytes that may stand in a URI at all.
const fn is_user(byte: u8) -> bool {
    let brackets = (byte == b'[') | (byte == b']') | (byte == b'{') | (byte == b'}');
    !(brackets | (byte == b'\\') | (byte == b'^') | (byte == b'`') | (byte == b'|') | (byte == b'@'))
}

const fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'.') | (byte == b'-') | (byte == b'_')
}

/// Whether all bytes are wanted. It looks at all of them in any case, which is several at once.
fn every(text: &str, wanted: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & wanted(byte))
}

/// The text before and behind the first of this (ASCII) byte.
fn cut(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn escapes_are_whole(text: &str) -> bool {
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return true;
    }
    text.split('%')
        .skip(1)
        .all(|after| after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// Undoes `%HH`; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
        let value = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(value.unwrap_or(b'?'));
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

const MAX_URI: usize = 4096;
const MAX_HOST: usize = 255;

/// An owned URI whose syntax was checked. `Debug` leaves out the user part.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UriBuf(String);

impl UriBuf {
    /// Checks and keeps the text. Errors as [`Uri::parse`].
    pub fn parse(text: impl Into<String>) -> Result<Self, ParseError> {
        let text = text.into();
        Uri::parse(&text)?;
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts of the URI.
    pub fn uri(&self) -> Uri<'_> {
        Uri::parse(&self.0).unwrap_or(Uri::opaque(&self.0))
    }
}

impl fmt::Debug for UriBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_full_uri() {
        let uri = Uri::parse("sip:+4930;ext=7:pw@[2001:db8::10]:5070;transport=tcp;lr?Subject=x%20y").unwrap();
        assert_eq!(uri.user(), Some("+4930;ext=7"));
        assert_eq!(uri.host(), Some(Host::V6("2001:db8::10".parse().unwrap())));
        assert_eq!(uri.port(), Some(5070));
        assert_eq!(uri.param("TRANSPORT"), Some(Some("tcp")));
        assert!(uri.is_loose_router());
        assert_eq!(uri.headers(), "Subject=x%20y");
    }

    #[test]
    fn escapes_and_semicolons_in_the_user_part() {
        let uri = Uri::parse("sip:user;par=u%40example.net@example.com").unwrap();
        assert_eq!(uri.user_decoded().unwrap(), "user;par=u@example.net");
        assert_eq!(uri.host(), Some(Host::Name("example.com")));
    }

    #[test]
    fn malformed_uris_are_refused() {
        for text in [
            "",
            "sip:",
            "sip",
            "sip:@x",
            "sip:a@",
            "sip:a@b@c",
            "sip:a@b:0",
            "sip:a@b:65536",
            "sip:a@b:",
            "sip:2001:db8::10",
            "sip:[2001:db8::10",
            "sip:[1.2.3.4]",
            "sip:a b@c",
            "sip:a%4@c",
            "sip:a@b;;x",
            "<sip:a@b>",
            "sip:a@b c",
            "tel:",
            "tel:xyz",
            "1sip:a@b",
            "sip:a@b:99999999999",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn telephone_numbers_and_foreign_schemes() {
        let uri = Uri::parse("tel:+1-201-555-0123;phone-context=example.com").unwrap();
        assert_eq!((uri.scheme(), uri.user()), (Scheme::Tel, Some("+1-201-555-0123")));
        assert_eq!(Uri::parse("soap.beep://192.0.2.103:3002").unwrap().scheme(), Scheme::Other);
    }

    #[test]
    fn debug_hides_the_user() {
        assert!(!format!("{:?}", Uri::parse("sip:+49301234@example.com").unwrap()).contains("4930"));
    }

    #[test]
    fn ipv4_addresses_are_read_as_the_standard_library_does() {
        for text in [
            "0.0.0.0",
            "255.255.255.255",
            "10.0.0.2",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.",
            ".1.2.3",
            "1..2.3",
            "256.1.1.1",
            "01.2.3.4",
            "1.2.3.04",
            "1.2.3.1000",
            "",
            ".",
            "1.2.3.a",
            "1.2.3.4 ",
            "00.0.0.0",
            "999.9.9.9",
        ] {
            assert_eq!(v4(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }
}

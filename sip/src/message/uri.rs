//! SIP, SIPS and TEL URIs (RFC 3261 section 19.1, RFC 3966), read without copying.
//!
//! Names are never resolved here. Other schemes are kept whole: an endpoint answers them with 416.

use super::error::{ParseError, Place, Problem};
use super::scan::{ByteSet, decimal};
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
        let (scheme, rest) = text.split_once(':').ok_or(bad(Problem::BadUri))?;
        let begins_well = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        if !begins_well || rest.is_empty() || !scheme.bytes().all(is_scheme) || !rest.bytes().all(is_opaque) {
            return Err(bad(Problem::BadUri));
        }
        if scheme.eq_ignore_ascii_case("sip") {
            hierarchical(text, Scheme::Sip, rest).map_err(bad)
        } else if scheme.eq_ignore_ascii_case("sips") {
            hierarchical(text, Scheme::Sips, rest).map_err(bad)
        } else if scheme.eq_ignore_ascii_case("tel") {
            telephone(text, rest).map_err(bad)
        } else {
            Ok(Self { scheme: Scheme::Other, ..Self::opaque(text) })
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
        if text.starts_with(|first: char| first.is_ascii_digit())
            && let Ok(address) = text.parse()
        {
            return Some(Host::V4(address));
        }
        let named = !text.is_empty() && text.len() <= MAX_HOST && text.bytes().all(|byte| LABEL.has(byte));
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

fn hierarchical<'a>(raw: &'a str, scheme: Scheme, rest: &'a str) -> Result<Uri<'a>, Problem> {
    // The user part may hold `;` and `?`, so it is cut off before either is looked for.
    let (user, rest) = match rest.split_once('@') {
        Some((userinfo, rest)) => (Some(user_part(userinfo)?), rest),
        None => (None, rest),
    };
    let second_at = memchr::memchr(b'@', rest.as_bytes()).is_some();
    let (rest, headers) = rest.split_once('?').unwrap_or((rest, ""));
    let cut = rest.find(';').unwrap_or(rest.len());
    let (host_port, params) = rest.split_at_checked(cut).ok_or(Problem::BadUri)?;
    if !escapes_are_whole(params) || !escapes_are_whole(headers) || second_at {
        return Err(Problem::BadUri);
    }
    if !params.is_empty() && params.split(';').skip(1).any(|param| param.is_empty() || param.starts_with('=')) {
        return Err(Problem::BadParameter);
    }
    let (host, port) = split_host_port(host_port)?;
    Ok(Uri { raw, scheme, user, host: Some(host), port, params, headers })
}

fn user_part(userinfo: &str) -> Result<&str, Problem> {
    let user = userinfo.split_once(':').map_or(userinfo, |(user, _password)| user);
    if user.is_empty() || !userinfo.bytes().all(|byte| USER.has(byte)) || !escapes_are_whole(userinfo) {
        return Err(Problem::BadUri);
    }
    Ok(user)
}

fn split_host_port(text: &str) -> Result<(Host<'_>, Option<u16>), Problem> {
    let host_end = match text.find(']') {
        Some(bracket) => bracket + 1,
        None => text.find(':').unwrap_or(text.len()),
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
    let cut = rest.find(';').unwrap_or(rest.len());
    let (number, params) = rest.split_at_checked(cut).ok_or(Problem::BadUri)?;
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

fn is_opaque(byte: u8) -> bool {
    byte > 0x20 && byte < 0x7f && !matches!(byte, b'<' | b'>' | b'"')
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

static USER: ByteSet = ByteSet::alphanumeric_and(b"-_.!~*'()&=+$,;?/%:#");
static LABEL: ByteSet = ByteSet::alphanumeric_and(b".-_");
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
}

//! Values that configuration accepts: closed, bounded, and able to say what was expected.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::str::FromStr;

use axum::http::Uri;
use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Ports for RTP: each call takes an even port and the odd one above it for RTCP (RFC 3550 section 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// # Errors
    /// When no even port with an odd one above it lies in the range, or a port below 1024 does.
    pub fn new(first: u16, last: u16) -> Result<Self, String> {
        let first_even = first.checked_add(first % 2).unwrap_or(first);
        if first < 1024 || !first_even.is_multiple_of(2) || last <= first_even {
            return Err(Self::EXPECTED.to_owned());
        }
        Ok(Self { first: first_even, last })
    }

    /// The even ports whose odd neighbour is in the range too.
    pub fn even_ports(self) -> impl Iterator<Item = u16> {
        (self.first..self.last).step_by(2)
    }

    /// How many calls the range carries.
    pub fn pairs(self) -> usize {
        self.even_ports().count()
    }

    const EXPECTED: &str = "expected two ports from 1024 to 65535 such as 20000-29999, at least one even and odd pair";
}

impl Default for PortRange {
    fn default() -> Self {
        Self { first: 20_000, last: 29_999 }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ports = text
            .split_once('-')
            .and_then(|(first, last)| Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?)));
        let (first, last) = ports.ok_or(Self::EXPECTED)?;
        Self::new(first, last)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The outside address of this server: scheme, host, optional port and path; no query, no trailing slash.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// `https` or `http`.
    secure: bool,
    /// Everything after `://`.
    rest: String,
}

impl PublicUrl {
    /// The URL of a path (which begins with `/`) as callers of HTTP see it.
    pub fn http(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.secure { "https" } else { "http" }, self.rest)
    }

    /// The URL of a path (which begins with `/`) for WebSockets.
    pub fn websocket(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.secure { "wss" } else { "ws" }, self.rest)
    }

    /// Whether it is `https`.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.http(""))
    }
}

impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected an address such as https://voice.example.org, without query or user".to_owned();
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(expected()),
        };
        let authority = uri.authority().ok_or_else(expected)?;
        let plain = !authority.as_str().contains('@') && !authority.host().is_empty();
        if !plain || uri.query().is_some() || text.contains('#') {
            return Err(expected());
        }
        Ok(Self { secure, rest: format!("{authority}{}", uri.path().trim_end_matches('/')) })
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// How many media threads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    /// One per core but one, at least one.
    Auto,
    Count(NonZeroUsize),
}

impl Shards {
    /// The number of threads on a machine with this many cores.
    pub fn count(self, cores: usize) -> NonZeroUsize {
        match self {
            Self::Auto => NonZeroUsize::new(cores.saturating_sub(1)).unwrap_or(NonZeroUsize::MIN),
            Self::Count(count) => count,
        }
    }

    const MAX: usize = 256;
}

impl<'de> Deserialize<'de> for Shards {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShardsVisitor)
    }
}

struct ShardsVisitor;

impl Visitor<'_> for ShardsVisitor {
    type Value = Shards;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`auto` or a whole number from 1 to {}", Shards::MAX)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Shards, E> {
        if text == "auto" {
            return Ok(Shards::Auto);
        }
        let count = text.parse().map_err(|_| wrong(&self))?;
        self.visit_u64(count)
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Shards, E> {
        let count = u64::try_from(count).map_err(|_| wrong(&self))?;
        self.visit_u64(count)
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Shards, E> {
        let count = usize::try_from(count).ok().filter(|count| *count <= Shards::MAX).and_then(NonZeroUsize::new);
        count.map(Shards::Count).ok_or_else(|| wrong(&self))
    }
}

fn wrong<E: Error>(visitor: &ShardsVisitor) -> E {
    E::custom(format!("expected {}", visitor as &dyn serde::de::Expected))
}

/// A whole number within bounds, both inclusive.
pub fn bounded<'de, D, T, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let expected = || D::Error::custom(format!("expected a whole number from {MIN} to {MAX}"));
    let value = i64::deserialize(deserializer).map_err(|_| expected())?;
    let value = u64::try_from(value).map_err(|_| expected())?;
    if !(MIN..=MAX).contains(&value) {
        return Err(expected());
    }
    T::try_from(value).map_err(|_| expected())
}

/// A whole number within bounds, both inclusive, or nothing.
pub fn optional_bounded<'de, D, T, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    struct Bounded<T, const MIN: u64, const MAX: u64>(T);
    impl<'de, T: TryFrom<u64>, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<T, MIN, MAX> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            bounded::<D, T, MIN, MAX>(deserializer).map(Self)
        }
    }
    Ok(Option::<Bounded<T, MIN, MAX>>::deserialize(deserializer)?.map(|number| number.0))
}

/// A name that may stand in a metric: at most 40 small letters, digits, `-` and `_`.
pub fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let lawful = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    if (1..=40).contains(&text.len()) && text.bytes().all(lawful) {
        return Ok(text);
    }
    Err(D::Error::custom("expected a name of at most 40 small letters, digits, `-` and `_`"))
}

/// The user part of a SIP URI that needs no escapes (RFC 3261 section 25.1).
pub fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if is_word(&text) { Ok(text) } else { Err(D::Error::custom(WORD)) }
}

/// As [`word`], or nothing.
pub fn optional_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if text.as_deref().is_none_or(is_word) { Ok(text) } else { Err(D::Error::custom(WORD)) }
}

const WORD: &str = "expected a user or number such as +15550100 or alice, without spaces or `@`";

fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,?/".contains(&b))
}

/// An address with its port, or nothing.
pub fn optional_listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| D::Error::custom(LISTEN))
}

/// Addresses with their ports.
pub fn listens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(|_| D::Error::custom(LISTEN))).collect()
}

const LISTEN: &str = "expected an address with a port such as 127.0.0.1:8080 or [::1]:8080";

/// An address with its port.
pub fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom(LISTEN))
}

/// An IP address, or nothing.
pub fn optional_ip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| D::Error::custom("expected an IP address such as 203.0.113.7"))
}

/// A `redis://` address, or nothing. Never quoted in errors: it may hold a password.
pub fn redis_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if !text.starts_with("redis://") {
        return Err(D::Error::custom("expected an address such as redis://127.0.0.1:6379"));
    }
    Ok(Some(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_begin_even_and_hold_a_pair() {
        let range: PortRange = "20001-20006".parse().unwrap();
        assert_eq!(range.even_ports().collect::<Vec<_>>(), [20002, 20004]);
        assert_eq!(PortRange::default().pairs(), 5_000);
        assert_eq!("65534-65535".parse::<PortRange>().unwrap().even_ports().collect::<Vec<_>>(), [65534]);
        for wrong in ["", "20000", "20001-20002", "30000-20000", "80-90", "65535-65535", "1-x", "20000-70000"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn public_urls_become_http_and_websocket_addresses() {
        let url: PublicUrl = "https://voice.example.org:8443/ivr/".parse().unwrap();
        assert_eq!(url.http("/webhook/call"), "https://voice.example.org:8443/ivr/webhook/call");
        assert_eq!(url.websocket("/ws"), "wss://voice.example.org:8443/ivr/ws");
        for wrong in ["voice.example.org", "ftp://a", "https://", "https://u:p@a", "https://a/?x", "https://a/#x"] {
            assert!(wrong.parse::<PublicUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn auto_leaves_one_core_to_the_rest() {
        assert_eq!([1, 2, 8].map(|cores| Shards::Auto.count(cores).get()), [1, 1, 7]);
    }
}

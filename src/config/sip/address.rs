//! Where a trunk or registrar is: a host, a host with a port, or a SIP URI.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// An address that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipAddress {
    pub host: Host,
    /// None: by SRV records, or the transport's customary one.
    pub port: Option<u16>,
    /// None: by NAPTR and SRV records, or UDP.
    pub transport: Option<SipTransport>,
}

/// A name that must be looked up, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// In lower case, without a final dot.
    Name(String),
    Ip(IpAddr),
}

/// A transport that a trunk can be reached over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SipTransport {
    Udp,
    Tcp,
    Tls,
}

impl SipTransport {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// RFC 3261 section 19.1.2.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

impl FromStr for SipAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (secure, rest) = match text.split_once(':') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sip") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sips") => (true, rest),
            _ => (false, text),
        };
        let (authority, parameters) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(authority)?;
        let mut transport = secure.then_some(SipTransport::Tls);
        for parameter in parameters.split(';').filter(|parameter| !parameter.is_empty()) {
            let value = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("transport"));
            let named = match value.map(|(_, value)| value.to_ascii_lowercase()).as_deref() {
                Some("udp") => SipTransport::Udp,
                Some("tcp") => SipTransport::Tcp,
                Some("tls") => SipTransport::Tls,
                _ => return Err(EXPECTED),
            };
            if secure && named == SipTransport::Udp {
                return Err(EXPECTED);
            }
            transport = Some(if secure { SipTransport::Tls } else { named });
        }
        Ok(Self { host, port, transport })
    }
}

impl<'de> Deserialize<'de> for SipAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for SipAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.transport.map_or(Ok(()), |transport| write!(f, ";transport={}", transport.as_str()))
    }
}

/// As it stands in a URI: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

const EXPECTED: &str =
    "expected a host, host:port or SIP URI such as sip:trunk.example.net:5061;transport=tls, without a user";

fn host_and_port(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((Host::Ip(address), None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(EXPECTED)?;
        let address: Ipv6Addr = address.parse().map_err(|_| EXPECTED)?;
        let port = match after {
            "" => None,
            after => Some(port(after.strip_prefix(':').ok_or(EXPECTED)?)?),
        };
        return Ok((Host::Ip(address.into()), port));
    }
    let (host, number) = text.split_once(':').map_or((text, None), |(host, number)| (host, Some(number)));
    let number = number.map(port).transpose()?;
    match host.parse::<IpAddr>() {
        Ok(address) => Ok((Host::Ip(address), number)),
        Err(_) => Ok((Host::Name(name(host)?), number)),
    }
}

fn port(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0).ok_or(EXPECTED)
}

/// A host name (RFC 1123 section 2.1); underscores are seen in private networks. One that ends in digits alone is a
/// mistyped address.
fn name(text: &str) -> Result<String, &'static str> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let lawful = text.len() <= 253 && text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit());
    lawful.then(|| text.to_ascii_lowercase()).ok_or(EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_a_port_and_a_uri_are_read() {
        for (text, expected) in [
            ("trunk.example.net", "trunk.example.net"),
            ("Trunk.Example.NET.:5080", "trunk.example.net:5080"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:5070", "192.0.2.7:5070"),
            ("2001:db8::7", "[2001:db8::7]"),
            ("[2001:db8::7]:5070", "[2001:db8::7]:5070"),
            ("sip:trunk.example.net", "trunk.example.net"),
            ("sip:192.0.2.7:5070;transport=TCP", "192.0.2.7:5070;transport=tcp"),
            ("sips:trunk.example.net", "trunk.example.net;transport=tls"),
            ("sips:trunk.example.net;transport=tcp", "trunk.example.net;transport=tls"),
            ("localhost:5062", "localhost:5062"),
        ] {
            let read: SipAddress = text.parse().unwrap();
            assert_eq!(read.to_string(), expected, "{text}");
            assert_eq!(read.to_string().parse::<SipAddress>().unwrap(), read, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_no_address() {
        for wrong in [
            "",
            ":5060",
            "host:",
            "host:0",
            "host:70000",
            "host:+5",
            "sip:user@host",
            "sip:host?x=y",
            "http://host",
            "a..b",
            "-a.b",
            "host name",
            "192.0.2.300",
            "[::1",
            "[::1]5060",
            "sips:host;transport=udp",
            "sip:host;transport=sctp",
            "sip:host;lr",
        ] {
            assert!(wrong.parse::<SipAddress>().is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|(sips?:)?[a-z0-9.:\\[\\]-]{0,20}(;transport=[a-z]{3})?") {
            if let Ok(read) = text.parse::<SipAddress>() {
                proptest::prop_assert_eq!(read.to_string().parse::<SipAddress>().unwrap(), read);
            }
        }
    }
}

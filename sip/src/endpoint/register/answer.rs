//! What a registrar's 200 says about our registration (RFC 3261 section 10.2.4, RFC 3327, RFC 3608, RFC 3581).

use super::MAX_EXPIRES_S;
use crate::message::{HeaderName, Message, Uri, decimal};
use crate::pii::Pii;
use std::net::SocketAddr;

pub(super) struct Granted {
    pub(super) seconds: u32,
    pub(super) service_route: Vec<Pii<String>>,
    pub(super) path: Vec<Pii<String>>,
    pub(super) seen_at: Option<SocketAddr>,
}

impl Granted {
    /// `None` where the answer lists contacts, and ours is not among them. `contact` is what we sent; `asked_s` holds where
    /// the answer names no time.
    pub(super) fn read(response: &Message, contact: &str, asked_s: u32) -> Option<Self> {
        let seconds = seconds(response, contact, asked_s)?.min(MAX_EXPIRES_S);
        let values = |name| {
            let text = response.values(name).take(MAX_ROUTES).map(String::from_utf8_lossy);
            text.map(|value| Pii::new(value.into_owned())).collect()
        };
        let (service_route, path) = (values(HeaderName::ServiceRoute), values(HeaderName::Path));
        Some(Self { seconds, service_route, path, seen_at: seen_at(response) })
    }
}

/// The time of our contact: its own parameter, else the Expires field, else what was asked for. A registrar that lists
/// no contact at all, against section 10.3, still said 200.
fn seconds(response: &Message, contact: &str, asked_s: u32) -> Option<u32> {
    let general = response.number(HeaderName::Expires).ok().flatten().unwrap_or(asked_s);
    let listed = response.addresses(HeaderName::Contact).ok()?;
    if listed.is_empty() {
        return Some(general);
    }
    let ours = Uri::parse(contact.strip_prefix('<')?.strip_suffix('>')?).ok()?;
    let ours = listed.iter().find(|other| is_same(other.uri(), &ours))?;
    match ours.params().value("expires") {
        None => Some(general),
        Some(seconds) => decimal(seconds.as_bytes()),
    }
}

/// Enough of section 19.1.4 to know our own Contact again: user, host and port.
fn is_same(other: &Uri<'_>, ours: &Uri<'_>) -> bool {
    let host = |uri: &Uri<'_>| uri.host().map(|host| host.to_string().to_ascii_lowercase());
    other.user_decoded() == ours.user_decoded() && host(other) == host(ours) && other.port() == ours.port()
}

fn seen_at(response: &Message) -> Option<SocketAddr> {
    let via = response.via().ok()?;
    let received = via.params().value("received").map(|text| text.trim_matches(['[', ']']).parse().ok());
    let address = received.unwrap_or(via.host().ip())?;
    let port = via.params().value("rport").and_then(|port| decimal(port.as_bytes()));
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0).or(via.port());
    Some(SocketAddr::new(address, port.unwrap_or(5060)))
}

const MAX_ROUTES: usize = 8;

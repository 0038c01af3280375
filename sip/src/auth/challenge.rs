//! Challenges, ours and theirs: WWW-Authenticate and Proxy-Authenticate (RFC 7616 section 3.3, RFC 8760).

use super::fields::{Scheme, quoted, schemes};
use super::hash::Algorithm;
use crate::message::{HeaderName, Message, ParseError, Place, Problem};
use std::fmt::Write as _;

/// A challenge that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub algorithm: Algorithm,
    /// The challenge names its algorithm, and so must the answer.
    pub named: bool,
    /// `qop=auth` is offered; without it the answer is that of RFC 2069.
    pub qop: bool,
    /// The credentials were right, only the nonce was too old.
    pub stale: bool,
}

impl Challenge {
    /// Reads the value of one field; challenges that cannot be answered here (other schemes, algorithms, `auth-int`
    /// alone) are left out.
    ///
    /// # Errors
    /// Where the value is malformed, or a Digest lacks its realm or nonce. Offsets count from the value's beginning.
    pub fn parse(value: &[u8]) -> Result<Vec<Self>, ParseError> {
        let mut all = Vec::new();
        for scheme in schemes(value, HeaderName::WwwAuthenticate)? {
            if scheme.is_digest() {
                all.extend(Self::read(&scheme)?);
            }
        }
        Ok(all)
    }

    fn read(scheme: &Scheme<'_>) -> Result<Option<Self>, ParseError> {
        let missing = ParseError::new(Place::Header(HeaderName::WwwAuthenticate), 0, Problem::Missing);
        let realm = scheme.owned("realm").ok_or(missing)?;
        let nonce = scheme.owned("nonce").filter(|nonce| !nonce.is_empty()).ok_or(missing)?;
        let name = scheme.value("algorithm");
        let Some(algorithm) = name.map_or(Some(Algorithm::MD5), Algorithm::from_name) else { return Ok(None) };
        let offered = scheme.value("qop").map(|qop| qop.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")));
        if offered == Some(false) {
            return Ok(None);
        }
        Ok(Some(Self {
            realm,
            nonce,
            opaque: scheme.owned("opaque"),
            algorithm,
            named: name.is_some(),
            qop: offered.is_some(),
            stale: scheme.value("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        }))
    }

    /// The value of the field that makes this challenge.
    pub fn field(&self) -> String {
        let mut text = format!("Digest realm={},nonce={}", quoted(&self.realm), quoted(&self.nonce));
        if let Some(opaque) = &self.opaque {
            write!(text, ",opaque={}", quoted(opaque)).ok();
        }
        if self.named {
            write!(text, ",algorithm={}", self.algorithm.name()).ok();
        }
        if self.qop {
            text.push_str(",qop=\"auth\"");
        }
        if self.stale {
            text.push_str(",stale=true");
        }
        text
    }
}

/// All challenges of one response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChallengeSet {
    challenges: Vec<Challenge>,
    /// By a proxy (407), as opposed to the host that was asked.
    pub proxy: bool,
}

impl ChallengeSet {
    /// Reads what a 401 or 407 asks for. A malformed field counts as none: another one may be good.
    pub fn of(response: &Message) -> Self {
        let proxy = response.status() == Some(407);
        let name = if proxy { HeaderName::ProxyAuthenticate } else { HeaderName::WwwAuthenticate };
        let values = response.values(name).take(MAX_FIELDS);
        Self { challenges: values.filter_map(|value| Challenge::parse(value).ok()).flatten().collect(), proxy }
    }

    /// The challenge to answer: of the wanted realm, the strongest hash, and among equals the first (RFC 8760 section
    /// 2.4 has the server put what it prefers first).
    pub fn choose(&self, realm: Option<&str>) -> Option<&Challenge> {
        let wanted = |challenge: &&Challenge| realm.is_none_or(|realm| realm == challenge.realm);
        self.challenges.iter().rev().filter(wanted).max_by_key(|challenge| challenge.algorithm.hash)
    }

    pub fn is_empty(&self) -> bool {
        self.challenges.is_empty()
    }
}

const MAX_FIELDS: usize = 8;

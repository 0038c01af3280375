//! Checks who a request comes from: the server side of Digest.
//!
//! An unknown user, a wrong password and no password hear the same, after the same work.

use super::Secret;
use super::challenge::Challenge;
use super::fields::{Scheme, schemes};
use super::hash::{Algorithm, Hash, Material};
use super::nonce::{Freshness, Nonces};
use crate::Moment;
use crate::message::{HeaderName, Message, ParseError, Place, Problem, Uri};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// Who may prove themselves to us. Passwords are kept as hashes of this realm only. `Debug` shows no user.
#[derive(Clone)]
pub struct ServerAuth {
    realm: String,
    users: HashMap<String, Keys>,
    /// Stands for users that are not there.
    nobody: Keys,
    nonce_key: [u8; 32],
    /// How long a nonce may wait for its first use.
    pub nonce_first_use: Duration,
    /// How long a nonce may be used again with rising counts.
    pub nonce_lifetime: Duration,
}

/// H(A1) by hash function.
#[derive(Clone)]
struct Keys {
    md5: String,
    sha256: String,
}

impl ServerAuth {
    /// `nonce_key` comes from the system's random source: who knows it can make nonces.
    pub fn new(realm: impl Into<String>, nonce_key: [u8; 32]) -> Self {
        let realm = realm.into();
        Self {
            nobody: Keys::new("", &realm, ""),
            realm,
            users: HashMap::new(),
            nonce_key,
            nonce_first_use: Duration::from_secs(30),
            nonce_lifetime: Duration::from_secs(300),
        }
    }

    /// Adds a user, or changes its password.
    pub fn user(mut self, name: impl Into<String>, password: &Secret) -> Self {
        let name = name.into();
        let keys = Keys::new(&name, &self.realm, password.reveal());
        self.users.insert(name, keys);
        self
    }
}

impl fmt::Debug for ServerAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerAuth")
            .field("realm", &self.realm)
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

impl Keys {
    fn new(user: &str, realm: &str, password: &str) -> Self {
        Self { md5: Hash::Md5.key(user, realm, password), sha256: Hash::Sha256.key(user, realm, password) }
    }
}

/// What a request says about its sender.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// This user, proven.
    User(String),
    /// Nothing: it was not asked yet, or answers somebody else's challenge.
    Unasked,
    /// The password is right, the nonce too old.
    Stale,
    /// A wrong answer, or a malformed one.
    Wrong,
}

/// The settings with the nonces that are in use.
pub(crate) struct Verifier {
    auth: ServerAuth,
    nonces: Nonces,
}

impl Verifier {
    pub(crate) fn new(auth: ServerAuth) -> Self {
        let nonces = Nonces::new(auth.nonce_key, auth.nonce_first_use, auth.nonce_lifetime);
        Self { auth, nonces }
    }

    /// Values of WWW-Authenticate, what we prefer first (RFC 8760 section 2.4).
    pub(crate) fn challenges(&mut self, stale: bool, source: IpAddr, now: Moment) -> [String; 2] {
        let nonce = self.nonces.make(source, now);
        [Algorithm::SHA256, Algorithm::MD5].map(|algorithm| {
            let (realm, nonce) = (self.auth.realm.clone(), nonce.clone());
            Challenge { realm, nonce, opaque: None, algorithm, named: true, qop: true, stale }.field()
        })
    }

    /// Reads who sent a request; the nonce is used up.
    pub(crate) fn verify(&mut self, request: &Message, source: IpAddr, now: Moment) -> Identity {
        let mut found = None;
        for value in request.values(HeaderName::Authorization).take(MAX_FIELDS) {
            match Authorization::parse(value) {
                Ok(Some(authorization)) if authorization.realm == self.auth.realm => found = Some(authorization),
                Ok(_) => continue,
                Err(_) => return Identity::Wrong,
            }
            break;
        }
        let Some(authorization) = found else { return Identity::Unasked };
        if !self.is_right(&authorization, request) {
            return Identity::Wrong;
        }
        match self.nonces.spend(&authorization.nonce, authorization.count, source, now) {
            Freshness::Fresh => Identity::User(authorization.username),
            Freshness::Stale => Identity::Stale,
        }
    }

    fn is_right(&self, authorization: &Authorization, request: &Message) -> bool {
        let known = self.auth.users.get(&authorization.username);
        let keys = known.unwrap_or(&self.auth.nobody);
        let key = match authorization.algorithm {
            Algorithm { session: true, .. } | Algorithm { hash: Hash::Sha512_256, .. } => return false,
            Algorithm { hash: Hash::Md5, .. } => &keys.md5,
            Algorithm { hash: Hash::Sha256, .. } => &keys.sha256,
        };
        let right = same(&authorization.response, &authorization.expected(request, key));
        right & known.is_some() & aims_at(&authorization.uri, request)
    }
}

/// The answer to a challenge, as it stands in Authorization or Proxy-Authorization.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    username: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    cnonce: String,
    /// The nonce count; `None` where `qop` is absent.
    count: Option<u32>,
    count_text: String,
}

impl Authorization {
    /// Reads the value of one field; `None` for another scheme than Digest.
    ///
    /// # Errors
    /// Where the value is malformed, a parameter is missing, or the algorithm or `qop` is unknown.
    pub fn parse(value: &[u8]) -> Result<Option<Self>, ParseError> {
        let fault = |problem| ParseError::new(Place::Header(HeaderName::Authorization), 0, problem);
        match schemes(value, HeaderName::Authorization)?.as_slice() {
            [one] if one.is_digest() => Self::read(one).map(Some).map_err(fault),
            [_] => Ok(None),
            _ => Err(fault(Problem::BadValue)),
        }
    }

    /// The response that a holder of this key would have given.
    fn expected(&self, request: &Message, key: &str) -> String {
        let method = request.method().map(ToString::to_string).unwrap_or_default();
        let count = self.count.map(|_| self.count_text.as_str());
        let (nonce, cnonce, uri) = (&self.nonce, &self.cnonce, &self.uri);
        Material { algorithm: self.algorithm, nonce, cnonce, count, method: &method, uri }.response(key)
    }

    fn read(scheme: &Scheme<'_>) -> Result<Self, Problem> {
        let needed = |name: &str| scheme.owned(name).ok_or(Problem::Missing);
        let algorithm = scheme.value("algorithm").map_or(Some(Algorithm::MD5), Algorithm::from_name);
        let counted = match scheme.value("qop") {
            None => false,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => true,
            Some(_) => return Err(Problem::BadValue),
        };
        let count_text = if counted { needed("nc")? } else { String::new() };
        let is_count = count_text.len() == 8 && count_text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if counted && !is_count {
            return Err(Problem::BadNumber);
        }
        Ok(Self {
            username: needed("username")?,
            realm: needed("realm")?,
            nonce: needed("nonce")?,
            uri: needed("uri")?,
            response: needed("response")?.to_ascii_lowercase(),
            algorithm: algorithm.ok_or(Problem::BadValue)?,
            cnonce: if counted { needed("cnonce")? } else { scheme.owned("cnonce").unwrap_or_default() },
            count: u32::from_str_radix(&count_text, 16).ok(),
            count_text,
        })
    }
}

/// Compares without telling by its time how much is equal.
pub(super) fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// Whether the answer is for this request: proxies change the host on the way, but an answer for one number must not
/// serve for another.
fn aims_at(uri: &str, request: &Message) -> bool {
    let Ok(target) = request.request_uri() else { return false };
    uri == target.as_str() || Uri::parse(uri).is_ok_and(|uri| uri.user() == target.user())
}

const MAX_FIELDS: usize = 8;

//! Answers challenges for one chain of requests: which of them, with what count, and when to stop.
//!
//! Every challenge is answered once. A second one to the same request is answered only if it says that the nonce was
//! stale, or if the refused request had reused a nonce of an earlier exchange: anything else means that the password is
//! wrong. A server that always finds a new nonce is given up on after a few.

use super::Credentials;
use super::challenge::{Challenge, ChallengeSet};
use super::fields::quoted;
use super::hash::Material;
use crate::message::{HeaderName, Message, Method};
use std::fmt::Write as _;

/// Credentials, and the challenges they were asked for with.
#[derive(Clone)]
pub struct Answerer {
    credentials: Credentials,
    /// One for the host that is asked, one for a proxy before it.
    known: Vec<Known>,
    /// Challenges to the request under way.
    rounds: u32,
}

#[derive(Clone)]
struct Known {
    proxy: bool,
    challenge: Challenge,
    /// Requests answered with this nonce.
    count: u32,
    /// The challenge came in the exchange under way.
    fresh: bool,
}

/// Why a challenge is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is none that can be answered: other schemes or algorithms, or malformed.
    Unsupported,
    /// All are for other realms than the credentials.
    OtherRealm,
    /// The credentials were refused.
    Refused,
    /// The server asked too often.
    TooOften,
}

/// One field of an answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Authorization or Proxy-Authorization.
    pub name: HeaderName,
    pub value: String,
}

impl Answerer {
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, known: Vec::new(), rounds: 0 }
    }

    /// A new request begins: what was answered before may be reused.
    pub fn begin(&mut self) {
        self.rounds = 0;
        for known in &mut self.known {
            known.fresh = false;
        }
    }

    /// Takes a 401 or 407. After `Ok`, send the request again with [`Answerer::fields`].
    ///
    /// # Errors
    /// Where there is nothing more to say; see [`NoAnswer`].
    pub fn challenged(&mut self, response: &Message) -> Result<(), NoAnswer> {
        let set = ChallengeSet::of(response);
        if set.is_empty() {
            return Err(NoAnswer::Unsupported);
        }
        let challenge = set.choose(self.credentials.realm.as_deref()).ok_or(NoAnswer::OtherRealm)?;
        let before = self.known.iter().position(|known| known.proxy == set.proxy);
        if let Some(known) = before.and_then(|index| self.known.get(index)) {
            let same_nonce = known.challenge.nonce == challenge.nonce;
            let refused = known.fresh && known.challenge.realm == challenge.realm && !challenge.stale;
            if same_nonce || refused {
                self.known.retain(|known| known.proxy != set.proxy);
                return Err(NoAnswer::Refused);
            }
        }
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            return Err(NoAnswer::TooOften);
        }
        self.known.retain(|known| known.proxy != set.proxy);
        self.known.push(Known { proxy: set.proxy, challenge: challenge.clone(), count: 0, fresh: true });
        Ok(())
    }

    /// The fields that answer for a request; none where nothing was asked yet. `cnonce` is new for each request.
    pub fn fields(&mut self, method: &Method, uri: &str, cnonce: &str) -> Vec<Answer> {
        let credentials = &self.credentials;
        let field = |known: &mut Known| {
            known.count = known.count.saturating_add(1);
            let name = if known.proxy { HeaderName::ProxyAuthorization } else { HeaderName::Authorization };
            Answer { name, value: write(&known.challenge, credentials, method, uri, cnonce, known.count) }
        };
        self.known.iter_mut().map(field).collect()
    }
}

fn write(
    challenge: &Challenge,
    credentials: &Credentials,
    method: &Method,
    uri: &str,
    cnonce: &str,
    count: u32,
) -> String {
    let Challenge { realm, nonce, algorithm, .. } = challenge;
    let key = algorithm.hash.key(&credentials.username, realm, credentials.password.reveal());
    let (count, method) = (format!("{count:08x}"), method.to_string());
    let material = Material {
        algorithm: *algorithm,
        nonce,
        cnonce,
        count: challenge.qop.then_some(count.as_str()),
        method: &method,
        uri,
    };
    let mut text = format!(
        "Digest username={},realm={},nonce={},uri={},response=\"{}\"",
        quoted(&credentials.username),
        quoted(realm),
        quoted(nonce),
        quoted(uri),
        material.response(&key)
    );
    if challenge.named {
        write!(text, ",algorithm={}", algorithm.name()).ok();
    }
    if let Some(opaque) = &challenge.opaque {
        write!(text, ",opaque={}", quoted(opaque)).ok();
    }
    if challenge.qop || algorithm.session {
        write!(text, ",cnonce={}", quoted(cnonce)).ok();
    }
    if challenge.qop {
        write!(text, ",qop=auth,nc={count}").ok();
    }
    text
}

/// Challenges answered for one request: by a proxy, by the host, and each once more with a fresh nonce.
const MAX_ROUNDS: u32 = 4;

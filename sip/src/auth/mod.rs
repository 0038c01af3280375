//! Digest authentication, both ways (RFC 2617, RFC 7616, RFC 8760, RFC 3261 section 22): challenges read and answered,
//! and our own challenges and what is said to them.
//!
//! Deliberately absent: Basic and Bearer (a SIP element must not offer or answer Basic), `auth-int`, `userhash`, and the
//! rule when to answer at all, which is the endpoint's.

mod answer;
mod challenge;
mod fields;
mod hash;
mod nonce;
mod server;

pub use answer::{Answer, Answerer, NoAnswer};
pub use challenge::{Challenge, ChallengeSet};
pub use hash::{Algorithm, Hash};
pub use nonce::{Freshness, Nonces};
pub use server::{Authorization, ServerAuth};
pub(crate) use server::{Identity, Verifier};

use std::fmt;

/// Text that must not be printed. `Debug` hides it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What we prove ourselves with. `Debug` shows the realm only.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
    /// Challenges of other realms are not answered; `None` answers any realm of the host that was asked.
    pub realm: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("realm", &self.realm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

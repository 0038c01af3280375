//! The hashes of Digest and the values made from them (RFC 7616 section 3.4, RFC 2617 section 3.2.2).

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use std::fmt::Write as _;

/// A hash function, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

/// The `algorithm` of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm {
    pub hash: Hash,
    /// The `-sess` form: the key depends on the nonces, too.
    pub session: bool,
}

impl Algorithm {
    pub const MD5: Self = Self { hash: Hash::Md5, session: false };
    pub const SHA256: Self = Self { hash: Hash::Sha256, session: false };

    /// Reads the name, in any case; `None` for one without rules here.
    pub fn from_name(name: &str) -> Option<Self> {
        let cut = name.len().checked_sub("-sess".len()).and_then(|at| name.split_at_checked(at));
        let (base, session) = match cut {
            Some((base, end)) if end.eq_ignore_ascii_case("-sess") => (base, true),
            _ => (name, false),
        };
        let hashes = [Hash::Md5, Hash::Sha256, Hash::Sha512_256];
        let hash = hashes.into_iter().find(|hash| hash.name().eq_ignore_ascii_case(base))?;
        Some(Self { hash, session })
    }

    pub fn name(self) -> String {
        let end = if self.session { "-sess" } else { "" };
        format!("{}{end}", self.hash.name())
    }
}

impl Hash {
    const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// The hash of the parts with colons between them, in hexadecimal.
    pub(super) fn of(self, parts: &[&str]) -> String {
        match self {
            Self::Md5 => hex_of::<Md5>(parts),
            Self::Sha256 => hex_of::<Sha256>(parts),
            Self::Sha512_256 => hex_of::<Sha512_256>(parts),
        }
    }

    /// H(A1) without the session form: what a password is worth in one realm.
    pub(super) fn key(self, username: &str, realm: &str, password: &str) -> String {
        self.of(&[username, realm, password])
    }
}

/// Everything but the key that goes into a response.
pub(super) struct Material<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) nonce: &'a str,
    pub(super) cnonce: &'a str,
    /// The nonce count as written; `None` for `qop` absent (RFC 2069).
    pub(super) count: Option<&'a str>,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
}

impl Material<'_> {
    /// The response for a key from [`Hash::key`].
    pub(super) fn response(&self, key: &str) -> String {
        let hash = self.algorithm.hash;
        let session;
        let key = if self.algorithm.session {
            session = hash.of(&[key, self.nonce, self.cnonce]);
            &session
        } else {
            key
        };
        let request = hash.of(&[self.method, self.uri]);
        match self.count {
            Some(count) => hash.of(&[key, self.nonce, count, self.cnonce, "auth", &request]),
            None => hash.of(&[key, self.nonce, &request]),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").ok();
    }
    text
}

fn hex_of<D: Digest>(parts: &[&str]) -> String {
    let mut hasher = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hasher.update(b":");
        }
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize())
}

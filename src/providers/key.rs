//! A vendor's key as configuration and credentials give it.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A vendor's secret; never printed, never serialised.
#[derive(Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// # Errors
    /// When it is empty or holds what a header cannot carry.
    pub fn new(text: String) -> Result<Self, String> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("expected a key of printable ASCII without spaces".to_owned());
        }
        Ok(Self(text.into()))
    }

    /// # Errors
    /// As [`ApiKey::new`].
    pub fn of(secret: SecretString) -> Result<Self, String> {
        Self::new(secret.expose_secret().to_owned())
    }

    pub(super) const fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for ApiKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

//! `sip.trunks[]` and `sip.registrations[]`: the far sides that calls go to and come from.

use secrecy::SecretString;
use serde::Deserialize;

use super::super::kinds;
use super::address::{SipAddress, SipTransport};
use super::network::Network;

/// A carrier, a PBX or another server that calls go out through.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    /// What it is called here, in metrics and in logs.
    #[serde(deserialize_with = "kinds::label")]
    pub name: String,
    pub address: SipAddress,
    /// Overrides what `address` says of it.
    #[serde(default)]
    pub transport: Option<SipTransport>,
    /// With `password`, answers the trunk's challenges.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<SecretString>,
    /// Challenges of another realm are not answered; none answers those of any realm of this trunk.
    #[serde(default)]
    pub realm: Option<String>,
    /// The host in From, and in the Request-URI and To; none takes that of `address`.
    #[serde(default)]
    pub domain: Option<String>,
    /// Lower is tried first.
    #[serde(default, deserialize_with = "kinds::bounded::<_, _, 0, 65_535>")]
    pub priority: u16,
    /// Share of calls among trunks of the same priority.
    #[serde(default = "weight", deserialize_with = "kinds::bounded::<_, _, 0, 65_535>")]
    pub weight: u16,
    /// Calls through it at once, both ways; none leaves it to `limits.max_calls`.
    #[serde(default, deserialize_with = "kinds::optional_bounded::<_, _, 1, 100_000>")]
    pub max_calls: Option<u32>,
    /// Calls out through it per second.
    #[serde(default, deserialize_with = "kinds::optional_bounded::<_, _, 1, 10_000>")]
    pub calls_per_s: Option<u32>,
    /// Where its calls come from; these sources are taken for the trunk.
    #[serde(default)]
    pub allow_sources: Vec<Network>,
    #[serde(default)]
    pub caller_id: CallerIdConfig,
    #[serde(default)]
    pub srtp: SrtpMode,
    /// In order of preference; empty takes the server's own order.
    #[serde(default)]
    pub codecs: Vec<CodecName>,
    /// Seconds between OPTIONS; 0 sends none and takes the trunk to be up.
    #[serde(default = "ping_s", deserialize_with = "kinds::bounded::<_, _, 0, 3_600>")]
    pub ping_s: u64,
    #[serde(default)]
    pub prefix: PrefixConfig,
}

/// Whose number is shown to the one who is called.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallerIdConfig {
    pub mode: CallerIdMode,
    /// None shows `username`, or nobody.
    #[serde(deserialize_with = "kinds::optional_word")]
    pub number: Option<String>,
    /// The display name.
    pub name: Option<String>,
    /// Also say so in P-Asserted-Identity (RFC 3325).
    pub asserted_identity: bool,
}

/// Which number a call shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallerIdMode {
    /// Always `number`.
    #[default]
    Fixed,
    /// That of whoever asks for the call, where there is one; `number` otherwise.
    Pass,
}

/// Whether audio is encrypted (SDES, RFC 4568).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SrtpMode {
    /// Taken when the trunk offers it, not offered.
    #[default]
    Allowed,
    /// Neither taken nor offered.
    Off,
    /// Taken when it is offered, and offered beside the clear.
    Optional,
    /// Calls without it are refused, and it is offered.
    Required,
}

/// A codec, by its name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecName {
    Pcmu,
    Pcma,
    G722,
    Opus,
}

/// How numbers are written for the trunk.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrefixConfig {
    /// Taken off the front of a number that begins with it.
    pub strip: String,
    /// Put in front afterwards.
    pub add: String,
}

/// An account that this server registers, so that calls to it come here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationConfig {
    pub registrar: SipAddress,
    /// Overrides what `registrar` says of it.
    #[serde(default)]
    pub transport: Option<SipTransport>,
    #[serde(deserialize_with = "kinds::word")]
    pub username: String,
    pub password: SecretString,
    #[serde(default)]
    pub realm: Option<String>,
    /// The user part of the Contact, which calls to this account are addressed to; none takes `username`.
    #[serde(default, deserialize_with = "kinds::optional_word")]
    pub contact_user: Option<String>,
    /// How long a registration is asked to hold, in seconds.
    #[serde(default = "expires_s", deserialize_with = "kinds::bounded::<_, _, 30, 86_400>")]
    pub expires_s: u32,
    /// The trunk that this account belongs to: it counts as down while the registration does not hold.
    #[serde(default)]
    pub trunk: Option<String>,
}

impl TrunkConfig {
    /// # Errors
    /// The key that does not hold with the others, and why.
    pub fn check(&self) -> Result<(), String> {
        match (&self.username, &self.password) {
            (Some(_), None) => return Err("password: expected with username".to_owned()),
            (None, Some(_)) => return Err("username: expected with password".to_owned()),
            _ => {}
        }
        let mut seen = Vec::new();
        for (index, codec) in self.codecs.iter().enumerate() {
            if seen.contains(codec) {
                return Err(format!("codecs[{index}]: expected each codec once"));
            }
            seen.push(*codec);
        }
        if self.caller_id.asserted_identity && self.caller_id.number.is_none() && self.username.is_none() {
            return Err("caller_id.number: expected with asserted_identity".to_owned());
        }
        Ok(())
    }
}

const fn weight() -> u16 {
    100
}

const fn ping_s() -> u64 {
    30
}

const fn expires_s() -> u32 {
    3_600
}

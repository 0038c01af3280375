//! Whom calls may be handed to, and whom we may call: what stands between a caller, a flow or an API client and the
//! telephone bill.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::kinds;

/// Where calls may be handed to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransferConfig {
    /// Numbers and SIP addresses by the names that flows use for them.
    #[serde(deserialize_with = "targets")]
    pub targets: BTreeMap<String, String>,
}

/// Calls that we place: off unless switched on, and only to numbers that are allowed.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboundConfig {
    pub enabled: bool,
    /// Beginnings of numbers in international form (E.164, such as `+250788`) that may be called. Empty allows none.
    #[serde(deserialize_with = "prefixes")]
    pub allow: Vec<String>,
    /// Ranges of the built-in block list (premium rate, satellite) that may be called all the same.
    #[serde(deserialize_with = "prefixes")]
    pub allow_blocked: Vec<String>,
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 100_000>")]
    pub calls_per_minute: u32,
    /// Calls of ours at once, the unanswered ones included.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 100_000>")]
    pub max_calls: u32,
    /// How long a call may ring, in seconds.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 5, 180>")]
    pub ring_timeout_s: u64,
    /// Whether the greeting waits up to 2 s for the first word of the person who answers.
    pub wait_for_hello: bool,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            allow: Vec::new(),
            allow_blocked: Vec::new(),
            calls_per_minute: 10,
            max_calls: 10,
            ring_timeout_s: 45,
            wait_for_hello: true,
        }
    }
}

fn targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let targets = BTreeMap::<String, String>::deserialize(deserializer)?;
    for (name, target) in &targets {
        let is_name = !name.is_empty()
            && name.len() <= 48
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !is_name {
            return Err(D::Error::custom("expected a name of a-z, 0-9 and _ for each target"));
        }
        if !is_number(target) && !is_address(target) {
            return Err(D::Error::custom("expected a number such as \"+250788000000\" or sip:desk@example.org"));
        }
    }
    Ok(targets)
}

fn prefixes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let prefixes = Vec::<String>::deserialize(deserializer)?;
    let sound = |prefix: &String| {
        prefix.strip_prefix('+').is_some_and(|digits| {
            (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
        })
    };
    match prefixes.iter().all(sound) {
        true => Ok(prefixes),
        false => Err(D::Error::custom("expected beginnings of international numbers such as \"+250\"")),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (2..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest.len() <= 200
            && rest.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b'?' | b'%'))
    })
}

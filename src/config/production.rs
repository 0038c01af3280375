//! What `--env production` refuses, and why. A setting that is handy on a desk must not reach callers.

use secrecy::ExposeSecret;

use super::load::{ConfigError, Loaded};
use super::sip::UnknownSources;
use crate::store::DatabaseUrl;
use crate::telemetry::logs::LogFormat;

/// Checks the rules of production; every other environment passes.
///
/// # Errors
/// The first unsafe setting, where it was written and what it should be.
pub fn check(loaded: &Loaded, environment: Option<&str>) -> Result<(), ConfigError> {
    if environment != Some(PRODUCTION) {
        return Ok(());
    }
    let config = &loaded.config;
    let refuse = |key: &str, message: &str| {
        Err(ConfigError { origin: loaded.origin(key), key: key.to_owned(), message: message.to_owned() })
    };
    if !config.twilio.validate_signature {
        return refuse("twilio.validate_signature", "expected true in production: without it anyone can place calls");
    }
    if config.log.format != LogFormat::Json {
        return refuse("log.format", "expected json in production: lines are read by machines there");
    }
    if let Some(url) = &config.http.public_url {
        if !url.is_secure() {
            return refuse("http.public_url", "expected an https address in production: callers' audio crosses it");
        }
        if config.twilio.auth_token.is_none() {
            return refuse(
                "twilio.auth_token",
                "expected in production with http.public_url (or set TWILIO_AUTH_TOKEN): webhooks are signed with it",
            );
        }
    }
    check_sip(loaded)?;
    if config.database.url.as_ref().is_some_and(DatabaseUrl::is_clear_on_a_network) {
        return refuse(
            "database.url",
            "expected ?sslmode=verify-full, verify-ca or require in production: records cross the network",
        );
    }
    let key = config.http.secret_key.as_ref().map_or("", |key| key.expose_secret());
    if key.len() < MIN_SECRET_BYTES {
        return refuse(
            "http.secret_key",
            "expected at least 32 bytes in production (or set SECRET_KEY): /v1 asks for it",
        );
    }
    Ok(())
}

/// Whoever finds an open SIP port dials it, within minutes.
fn check_sip(loaded: &Loaded) -> Result<(), ConfigError> {
    let sip = &loaded.config.sip;
    let refuse = |key: &str, message: &str| {
        Err(ConfigError { origin: loaded.origin(key), key: key.to_owned(), message: message.to_owned() })
    };
    let open = !sip.listen.ip().is_loopback() || sip.tls.listen.is_some_and(|listen| !listen.ip().is_loopback());
    if open && sip.guard.unknown == UnknownSources::Accept {
        return refuse(
            "sip.guard.unknown",
            "expected challenge, forbid or silent in production where sip.listen is not loopback: anyone could call in",
        );
    }
    if let Some(place) = sip.users.iter().position(|user| user.password.expose_secret().len() < MIN_PASSWORD_BYTES) {
        return refuse(
            &format!("sip.users[{place}].password"),
            "expected at least 12 bytes in production: scanners guess short ones",
        );
    }
    Ok(())
}

const PRODUCTION: &str = "production";
const MIN_SECRET_BYTES: usize = 32;
const MIN_PASSWORD_BYTES: usize = 12;

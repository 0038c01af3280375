//! What `--env production` refuses, and why. A setting that is handy on a desk must not reach callers.

use secrecy::ExposeSecret;

use super::load::{ConfigError, Loaded};
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
    let key = config.http.secret_key.as_ref().map_or("", |key| key.expose_secret());
    if key.len() < MIN_SECRET_BYTES {
        return refuse(
            "http.secret_key",
            "expected at least 32 bytes in production (or set SECRET_KEY): /v1 asks for it",
        );
    }
    Ok(())
}

const PRODUCTION: &str = "production";
const MIN_SECRET_BYTES: usize = 32;

//! The endpoint's settings, made of the configuration.

use std::time::Duration;

use offhook_sip::auth::{Secret, ServerAuth};
use offhook_sip::{EndpointConfig, SessionTimer, Timings};
use rand::RngExt;
use secrecy::ExposeSecret;

use super::guard;
use crate::config::SipConfig;
use crate::config::sip::UnknownSources;

/// Everything that the endpoint is told once. Its address is not among it: flows carry it, so that every peer sees the
/// one it can reach.
pub fn settings(config: &SipConfig) -> EndpointConfig {
    EndpointConfig {
        user_agent: config.user_agent.clone(),
        timings: Timings {
            t1: Duration::from_millis(config.t1_ms),
            t2: Duration::from_millis(config.t2_ms),
            t4: Duration::from_millis(config.t4_ms),
        },
        max_calls_pending: config.max_pending,
        session_timer: SessionTimer {
            enabled: config.session_timer.enabled,
            expires_s: config.session_timer.expires_s,
            min_se_s: config.session_timer.min_s,
            ..SessionTimer::default()
        },
        retry_after_s: config.retry_after_s,
        guard: guard::config(config),
        server_auth: (config.guard.unknown == UnknownSources::Challenge).then(|| users(config)),
        ..EndpointConfig::default()
    }
}

fn users(config: &SipConfig) -> ServerAuth {
    let nobody = ServerAuth::new(config.realm.clone(), rand::rng().random());
    config
        .users
        .iter()
        .fold(nobody, |auth, user| auth.user(user.username.clone(), &Secret::new(user.password.expose_secret())))
}

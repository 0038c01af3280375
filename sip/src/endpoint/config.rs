//! What an endpoint is told once.

use super::session::SessionTimer;
use crate::auth::ServerAuth;
use crate::guard::GuardConfig;
use crate::transaction::Timings;
use std::time::Duration;

/// Settings of an [`crate::Endpoint`].
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Text of User-Agent and Server.
    pub user_agent: String,
    /// User part of our Contact.
    pub contact_user: String,
    /// T1, T2 and T4.
    pub timings: Timings,
    /// Host and port that go into Via and Contact where the local address is not what peers can
    /// reach (a wildcard bind, NAT). `None`: the flow's local address.
    pub advertised: Option<Advertised>,
    /// Most calls at once, both ways; a further INVITE gets 503.
    pub max_calls: usize,
    /// Most calls not yet answered; a further INVITE gets 503.
    pub max_calls_pending: usize,
    /// Most server transactions at once; a further request gets 503.
    pub max_transactions: usize,
    /// How long a call may ring before it is ended (RFC 3261 section 16.6 timer C: over 3 minutes).
    pub ring_limit: Duration,
    /// Answer to a datagram's source port even where the Via has no `rport` (RFC 3581 asks only
    /// where it has). Callers behind NAT who do not know RFC 3581 need it.
    pub force_rport: bool,
    /// Reliable provisional answers (RFC 3262). Without them `Require: 100rel` is refused with 420.
    pub reliable_provisionals: bool,
    pub session_timer: SessionTimer,
    /// Seconds in Retry-After of a 503 sent for overload.
    pub retry_after_s: u32,
    /// Limits per source for requests that belong to no call yet.
    pub guard: GuardConfig,
    /// Users that may prove themselves where strangers are challenged.
    pub server_auth: Option<ServerAuth>,
}

/// A host that peers reach us at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub host: String,
    /// Port for UDP and TCP; `None`: the flow's local port, which it always is for TLS.
    pub port: Option<u16>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            user_agent: "Offhook".into(),
            contact_user: "offhook".into(),
            timings: Timings::default(),
            advertised: None,
            max_calls: 4000,
            max_calls_pending: 500,
            max_transactions: 20_000,
            ring_limit: Duration::from_secs(185),
            force_rport: true,
            reliable_provisionals: true,
            session_timer: SessionTimer::default(),
            retry_after_s: 5,
            guard: GuardConfig::default(),
            server_auth: None,
        }
    }
}

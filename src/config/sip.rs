//! The `sip:` section: listeners, what strangers may do, who may call in, and where calls go out.
//!
//! Deliberately absent: what rules are made of these settings; the transport does that.

mod address;
mod network;
mod trunks;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::kinds;
pub use address::{Host, SipAddress, SipTransport};
pub use network::Network;
pub use trunks::{CallerIdConfig, CallerIdMode, CodecName, PrefixConfig, RegistrationConfig, SrtpMode, TrunkConfig};

/// SIP signalling. Timer names are those of RFC 3261 table 4.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SipConfig {
    /// UDP and TCP.
    #[serde(deserialize_with = "kinds::listen")]
    pub listen: SocketAddr,
    /// The address written into Contact and SDP when the server stands behind NAT.
    #[serde(deserialize_with = "kinds::optional_ip")]
    pub external_address: Option<IpAddr>,
    /// Peers in these networks are told the local address and not `external_address`.
    pub local_networks: Vec<Network>,
    pub user_agent: String,
    /// The realm that this server's own challenges name.
    pub realm: String,
    /// Round-trip estimate, in ms.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 10, 5_000>")]
    pub t1_ms: u64,
    /// Longest retransmission interval, in ms.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 10, 60_000>")]
    pub t2_ms: u64,
    /// Longest time a message stays in the network, in ms.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 10, 60_000>")]
    pub t4_ms: u64,
    /// INVITEs in progress but not yet answered; more are answered 503.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub max_pending: usize,
    /// TCP and TLS connections at once; more are closed.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub max_connections: usize,
    /// Seconds in the Retry-After of a 503.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 3_600>")]
    pub retry_after_s: u32,
    /// Seconds between line-end pings on connections that this server opened (RFC 5626 section 3.5.1).
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 3_600>")]
    pub keep_alive_s: u64,
    /// Name servers with their ports; none asks those of the system.
    #[serde(deserialize_with = "kinds::listens")]
    pub dns_servers: Vec<SocketAddr>,
    pub tls: TlsConfig,
    pub guard: GuardConfig,
    pub session_timer: SessionTimerConfig,
    /// Who may call in with a password.
    pub users: Vec<UserConfig>,
    pub trunks: Vec<TrunkConfig>,
    pub registrations: Vec<RegistrationConfig>,
}

impl Default for SipConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5060)),
            external_address: None,
            local_networks: Network::private(),
            user_agent: "Offhook".to_owned(),
            realm: "offhook".to_owned(),
            t1_ms: 500,
            t2_ms: 4_000,
            t4_ms: 5_000,
            max_pending: 1_024,
            max_connections: 1_000,
            retry_after_s: 5,
            keep_alive_s: 30,
            dns_servers: Vec::new(),
            tls: TlsConfig::default(),
            guard: GuardConfig::default(),
            session_timer: SessionTimerConfig::default(),
            users: Vec::new(),
            trunks: Vec::new(),
            registrations: Vec::new(),
        }
    }
}

/// SIP over TLS 1.2 and 1.3. Files are PEM and are read again on SIGHUP.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// None: no TLS listener; trunks can be reached over TLS all the same.
    #[serde(deserialize_with = "kinds::optional_listen")]
    pub listen: Option<SocketAddr>,
    /// The chain, this server's certificate first.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Roots that trunks' certificates must lead to; none takes those of the system.
    pub ca: Option<PathBuf>,
    /// Roots that certificates of connecting peers must lead to; none asks peers for no certificate.
    pub client_ca: Option<PathBuf>,
    /// Longest handshake, in ms.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 100, 60_000>")]
    pub handshake_timeout_ms: u64,
    /// Handshakes of peers at once; further connections are closed.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 10_000>")]
    pub max_handshakes: usize,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            listen: None,
            certificate: None,
            key: None,
            ca: None,
            client_ca: None,
            handshake_timeout_ms: 5_000,
            max_handshakes: 64,
        }
    }
}

/// What sources may do that are neither a trunk's nor in `trusted`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    pub unknown: UnknownSources,
    pub scanners: Scanners,
    /// Networks that are held to no limit.
    pub trusted: Vec<Network>,
    /// Requests of any kind that one source may send per second; twice as many at once. Beyond it the source is banned.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub requests_per_s: u32,
    /// INVITEs per second; a further one is answered 503.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub invites_per_s: u32,
    /// REGISTERs per second; a further one is not answered.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub registers_per_s: u32,
    /// OPTIONS and everything else per second; a further one is not answered.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub options_per_s: u32,
    /// Requests of any kind that one address of a trunk may send per second, twice as many at once; a further one is not
    /// answered. Trunks are never banned: whoever forges their address must not be able to shut them out.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub trunk_requests_per_s: u32,
    /// INVITEs of one address of a trunk per second; a further one is answered 503.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub trunk_invites_per_s: u32,
    /// Refused, unauthorised or malformed requests within a minute after which a source is ignored for a while.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 1_000_000>")]
    pub ban_after: u32,
    /// How long a source is ignored, in seconds.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 1, 604_800>")]
    pub ban_s: u64,
    /// Sources that are remembered at once; the longest unseen is forgotten first.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 16, 1_000_000>")]
    pub max_sources: usize,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            unknown: UnknownSources::Accept,
            scanners: Scanners::Silent,
            trusted: Network::loopback(),
            requests_per_s: 50,
            invites_per_s: 30,
            registers_per_s: 20,
            options_per_s: 20,
            trunk_requests_per_s: 1_000,
            trunk_invites_per_s: 500,
            ban_after: 20,
            ban_s: 300,
            max_sources: 16_384,
        }
    }
}

/// What tools for finding open telephone systems hear; they are known by their User-Agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scanners {
    /// No answer at all.
    Silent,
    /// 403.
    Forbid,
    /// What everybody else hears.
    Serve,
}

/// What a source is told that no list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownSources {
    /// Its calls are taken.
    Accept,
    /// It must know the password of one of `users`.
    Challenge,
    /// 403.
    Forbid,
    /// No answer at all.
    Silent,
}

/// Session timers (RFC 4028).
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionTimerConfig {
    pub enabled: bool,
    /// The interval that is asked for, in seconds.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 90, 86_400>")]
    pub expires_s: u32,
    /// The shortest interval that is agreed to, in seconds; RFC 4028 section 4 allows none below 90.
    #[serde(deserialize_with = "kinds::bounded::<_, _, 90, 86_400>")]
    pub min_s: u32,
}

impl Default for SessionTimerConfig {
    fn default() -> Self {
        Self { enabled: true, expires_s: 1_800, min_s: 90 }
    }
}

/// Somebody who may call in with a password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    #[serde(deserialize_with = "kinds::word")]
    pub username: String,
    pub password: SecretString,
}

impl SipConfig {
    /// What no single key can say by itself.
    ///
    /// # Errors
    /// The first thing that does not hold, beginning with its key.
    pub fn check(&self) -> Result<(), String> {
        self.tls.check()?;
        self.check_users()?;
        let mut names = HashSet::new();
        for (index, trunk) in self.trunks.iter().enumerate() {
            trunk.check().map_err(|error| format!("sip.trunks[{index}].{error}"))?;
            if !names.insert(trunk.name.as_str()) {
                return Err(format!("sip.trunks[{index}].name: expected a name that no other trunk has"));
            }
        }
        for (index, registration) in self.registrations.iter().enumerate() {
            let unknown = registration.trunk.as_deref().is_some_and(|trunk| !names.contains(trunk));
            if unknown {
                return Err(format!("sip.registrations[{index}].trunk: expected the name of one of sip.trunks"));
            }
        }
        if self.session_timer.min_s > self.session_timer.expires_s {
            return Err("sip.session_timer.min_s: expected at most sip.session_timer.expires_s".to_owned());
        }
        Ok(())
    }

    fn check_users(&self) -> Result<(), String> {
        if self.guard.unknown == UnknownSources::Challenge && self.users.is_empty() {
            return Err("sip.guard.unknown: expected at least one of sip.users with `challenge`".to_owned());
        }
        let mut names = HashSet::new();
        for (index, user) in self.users.iter().enumerate() {
            if !names.insert(user.username.as_str()) {
                return Err(format!("sip.users[{index}].username: expected a name that no other user has"));
            }
        }
        Ok(())
    }
}

impl TlsConfig {
    fn check(&self) -> Result<(), String> {
        match (&self.certificate, &self.key) {
            (Some(_), None) => return Err("sip.tls.certificate: expected with sip.tls.key".to_owned()),
            (None, Some(_)) => return Err("sip.tls.key: expected with sip.tls.certificate".to_owned()),
            (None, None) if self.listen.is_some() => {
                return Err("sip.tls.listen: expected with sip.tls.certificate and sip.tls.key".to_owned());
            }
            _ => {}
        }
        if self.client_ca.is_some() && self.listen.is_none() {
            return Err("sip.tls.client_ca: expected together with sip.tls.listen".to_owned());
        }
        Ok(())
    }
}

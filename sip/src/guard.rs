//! Who is listened to: limits per source for requests that belong to no call yet, and who is ignored for a while.
//!
//! Only requests outside known dialogs and transactions are judged, so that nothing here can hurt a call that is
//! established. Memory is bounded: under a flood of forged sources old entries make room, those of banned sources last.
//! Deliberately absent: passwords (`auth`), the number of calls at once (the endpoint), and any way to tell a forged
//! UDP source from a true one. Peers by contract are held to limits of their own and never banned, so that packets which
//! forge their address can slow them at worst; what must never even be slowed belongs into `trusted`.

mod cidr;
mod table;

pub use cidr::{BadCidr, Cidr};

use crate::Moment;
use crate::message::Method;
use std::net::IpAddr;
use std::time::Duration;
use table::{Bucket, Source, Table, micros};

/// Settings of a [`Guard`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardConfig {
    /// Networks that are never limited, banned or asked who they are.
    pub trusted: Vec<Cidr>,
    /// Networks of peers by contract, such as trunks: never banned or asked who they are, and limited by `peer_requests`
    /// and `peer_invites` only.
    pub peers: Vec<Cidr>,
    /// Requests of any kind of one peer; a further one is not answered.
    pub peer_requests: Limit,
    /// INVITEs of one peer; a further one gets 503.
    pub peer_invites: Limit,
    /// What becomes of sources outside `trusted` and `peers`.
    pub unknown: Unknown,
    /// Parts of a User-Agent that name an attack tool; the case does not matter.
    pub scanner_agents: Vec<String>,
    /// What a tool among `scanner_agents` hears.
    pub scanners: Scanners,
    /// Requests of any kind; more of them ban the source.
    pub requests: Limit,
    /// Wrong credentials, refusals such as 403 and 404, malformed messages; more of them ban the source.
    pub failures: Limit,
    /// INVITEs; a further one gets 503.
    pub invites: Limit,
    /// REGISTERs; a further one is not answered.
    pub registers: Limit,
    /// OPTIONS and everything not named here; a further one is not answered.
    pub options: Limit,
    /// Answers to malformed messages; a further one is not answered.
    pub malformed: Limit,
    /// How long a banned source is ignored.
    pub ban: Duration,
    /// Most sources remembered at once.
    pub max_sources: usize,
}

/// What becomes of requests of sources that are not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They are served like anybody's.
    Accept,
    /// They are served once they prove who they are; OPTIONS are served without. Where nobody can (no users are set),
    /// this is `Forbid`.
    Challenge,
    /// They get 403.
    Forbid,
    /// They get no answer.
    Silent,
}

/// What attack tools hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanners {
    /// What everybody else hears.
    Serve,
    /// 403.
    Forbid,
    /// Nothing.
    Silent,
}

/// At most `count` at once, and `count` per `window` in the long run. A count of 0 allows none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub count: u32,
    pub window: Duration,
}

impl Limit {
    pub const fn new(count: u32, window: Duration) -> Self {
        Self { count, window }
    }
}

impl Default for GuardConfig {
    fn default() -> Self {
        let limit = |count, seconds| Limit::new(count, Duration::from_secs(seconds));
        Self {
            trusted: vec![Cidr::LOOPBACK_V4, Cidr::LOOPBACK_V6],
            peers: Vec::new(),
            peer_requests: limit(2_000, 2),
            peer_invites: limit(1_000, 2),
            unknown: Unknown::Accept,
            scanner_agents: SCANNERS.iter().map(|&name| name.to_owned()).collect(),
            scanners: Scanners::Silent,
            requests: limit(100, 2),
            failures: limit(20, 60),
            invites: limit(60, 2),
            registers: limit(40, 2),
            options: limit(40, 2),
            malformed: limit(10, 2),
            ban: Duration::from_secs(300),
            max_sources: 16_384,
        }
    }
}

impl GuardConfig {
    /// A guard that lets everybody pass.
    pub fn off() -> Self {
        Self { trusted: vec![Cidr::ALL_V4, Cidr::ALL_V6], ..Self::default() }
    }
}

/// Why a request was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GuardReason {
    /// The source is banned.
    Banned,
    /// The source sends more than its limit.
    Rate,
    /// The User-Agent names an attack tool.
    Scanner,
    /// The source is unknown, and unknown sources are not served.
    Unknown,
    /// The message is malformed, and the source sends more of them than its limit.
    Malformed,
}

impl GuardReason {
    pub const ALL: [Self; 5] = [Self::Banned, Self::Rate, Self::Scanner, Self::Unknown, Self::Malformed];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::Rate => "rate",
            Self::Scanner => "scanner",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
        }
    }
}

/// What a guard has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GuardCounts {
    refused: [u64; GuardReason::ALL.len()],
    /// Bans that were pronounced.
    pub bans: u64,
    /// Sources forgotten to make room for others.
    pub evicted: u64,
    /// Sources remembered now.
    pub sources: usize,
}

impl GuardCounts {
    /// Requests that were not served for this reason.
    pub fn refused(&self, reason: GuardReason) -> u64 {
        let index = GuardReason::ALL.iter().position(|&other| other == reason);
        index.and_then(|index| self.refused.get(index)).copied().unwrap_or_default()
    }

    fn count(&mut self, reason: GuardReason) {
        let index = GuardReason::ALL.iter().position(|&other| other == reason);
        if let Some(count) = index.and_then(|index| self.refused.get_mut(index)) {
            *count = count.saturating_add(1);
        }
    }
}

/// What to do about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Serve it if it proves who it comes from.
    Challenge,
    /// Answer with this status.
    Refuse(u16),
    /// Do not answer.
    Silence,
}

/// The limits and what is remembered of each source.
pub struct Guard {
    config: GuardConfig,
    table: Table,
    counts: GuardCounts,
}

impl Guard {
    /// `seed` places sources in the table; a stranger who does not know it cannot aim at one entry.
    pub fn new(config: GuardConfig, seed: u64) -> Self {
        let table = Table::new(config.max_sources, seed);
        Self { config, table, counts: GuardCounts::default() }
    }

    /// Judges a request that belongs to no known dialog or transaction.
    pub fn check(&mut self, source: IpAddr, method: &Method, user_agent: Option<&str>, now: Moment) -> Verdict {
        if self.is_trusted(source) {
            return Verdict::Pass;
        }
        if self.is_peer(source) {
            return self.check_peer(source, method, now);
        }
        if self.is_over_all(source, now) {
            return self.refuse(Verdict::Silence, GuardReason::Banned);
        }
        if user_agent.is_some_and(|agent| self.is_scanner(agent)) {
            match self.config.scanners {
                Scanners::Serve => {}
                Scanners::Forbid => return self.refuse(Verdict::Refuse(403), GuardReason::Scanner),
                Scanners::Silent => return self.refuse(Verdict::Silence, GuardReason::Scanner),
            }
        }
        if let Some(over) = self.over_method(source, method, now) {
            return self.refuse(over, GuardReason::Rate);
        }
        match self.config.unknown {
            Unknown::Accept => Verdict::Pass,
            Unknown::Challenge if matches!(method, Method::Options | Method::Cancel) => Verdict::Pass,
            Unknown::Challenge => Verdict::Challenge,
            Unknown::Forbid => self.refuse(Verdict::Refuse(403), GuardReason::Unknown),
            Unknown::Silent => self.refuse(Verdict::Silence, GuardReason::Unknown),
        }
    }

    /// Judges a message that is no proper request: may it be answered? It counts as a failure.
    pub fn malformed(&mut self, source: IpAddr, now: Moment) -> Verdict {
        if self.is_trusted(source) {
            return Verdict::Pass;
        }
        if self.is_peer(source) {
            let (limit, requests) = (self.config.malformed, self.config.peer_requests);
            let entry = self.entry(source, now);
            let served = entry.requests.take(requests, now) && entry.malformed.take(limit, now);
            return if served { Verdict::Pass } else { self.refuse(Verdict::Silence, GuardReason::Malformed) };
        }
        if self.is_over_all(source, now) {
            return self.refuse(Verdict::Silence, GuardReason::Banned);
        }
        self.failure(source, now);
        let limit = self.config.malformed;
        if self.config.unknown == Unknown::Silent || !self.entry(source, now).malformed.take(limit, now) {
            return self.refuse(Verdict::Silence, GuardReason::Malformed);
        }
        Verdict::Pass
    }

    /// Counts a stranger who is refused for not being known.
    pub fn note_unknown(&mut self) {
        self.counts.count(GuardReason::Unknown);
    }

    /// Notes wrong credentials or a refusal; too many ban the source.
    pub fn failure(&mut self, source: IpAddr, now: Moment) {
        if self.is_known(source) {
            return;
        }
        let limit = self.config.failures;
        if !self.entry(source, now).failures.take(limit, now) {
            self.ban(source, now);
        }
    }

    /// True for sources of the trusted networks.
    pub fn is_trusted(&self, source: IpAddr) -> bool {
        self.config.trusted.iter().any(|network| network.contains(source))
    }

    /// True for trusted sources and for peers.
    pub fn is_known(&self, source: IpAddr) -> bool {
        self.is_trusted(source) || self.is_peer(source)
    }

    /// Replaces the networks of peers.
    pub fn know(&mut self, peers: Vec<Cidr>) {
        self.config.peers = peers;
    }

    pub fn counts(&self) -> GuardCounts {
        GuardCounts { evicted: self.table.evicted(), sources: self.table.len(), ..self.counts }
    }

    fn is_peer(&self, source: IpAddr) -> bool {
        self.config.peers.iter().any(|network| network.contains(source))
    }

    fn check_peer(&mut self, source: IpAddr, method: &Method, now: Moment) -> Verdict {
        let (requests, invites) = (self.config.peer_requests, self.config.peer_invites);
        let entry = self.entry(source, now);
        if !entry.requests.take(requests, now) {
            return self.refuse(Verdict::Silence, GuardReason::Rate);
        }
        if *method == Method::Invite && !entry.invites.take(invites, now) {
            return self.refuse(Verdict::Refuse(503), GuardReason::Rate);
        }
        Verdict::Pass
    }

    /// True for a banned source, and for one that just sent a request too many, which bans it.
    fn is_over_all(&mut self, source: IpAddr, now: Moment) -> bool {
        let limit = self.config.requests;
        let entry = self.entry(source, now);
        if entry.banned_until > micros(now) {
            return true;
        }
        let over = !entry.requests.take(limit, now);
        if over {
            self.ban(source, now);
        }
        over
    }

    fn over_method(&mut self, source: IpAddr, method: &Method, now: Moment) -> Option<Verdict> {
        let (invites, registers, options) = (self.config.invites, self.config.registers, self.config.options);
        let entry = self.entry(source, now);
        let (taken, over) = match method {
            Method::Invite => (entry.invites.take(invites, now), Verdict::Refuse(503)),
            Method::Register => (entry.registers.take(registers, now), Verdict::Silence),
            _ => (entry.options.take(options, now), Verdict::Silence),
        };
        (!taken).then_some(over)
    }

    fn ban(&mut self, source: IpAddr, now: Moment) {
        let until = micros(now.saturating_add(self.config.ban));
        let entry = self.entry(source, now);
        entry.banned_until = until;
        entry.failures = Bucket::default();
        entry.requests = Bucket::default();
        self.counts.bans = self.counts.bans.saturating_add(1);
    }

    fn refuse(&mut self, verdict: Verdict, reason: GuardReason) -> Verdict {
        self.counts.count(reason);
        verdict
    }

    fn entry(&mut self, source: IpAddr, now: Moment) -> &mut Source {
        self.table.entry(source, now)
    }

    fn is_scanner(&self, agent: &str) -> bool {
        let holds = |name: &String| {
            let (name, agent) = (name.as_bytes(), agent.as_bytes());
            !name.is_empty() && agent.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name))
        };
        self.config.scanner_agents.iter().any(holds)
    }
}

/// Names that tools for finding open telephone systems give themselves.
const SCANNERS: [&str; 10] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sip-scan",
    "sipcli",
    "sipptk",
    "sundayddr",
    "vaxsipuseragent",
    "iwar",
    "pplsip",
];

#[cfg(test)]
mod tests;

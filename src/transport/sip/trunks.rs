//! The trunks of this server: which of them are up, who may still call through them, and the ways out to a number.
//!
//! Shared by the driver, which pings them, and by whoever places calls or answers for the server's health. Deliberately
//! absent: sockets and clocks. Times are arguments; addresses come from `resolve.rs` through `upkeep.rs`.

mod health;
mod numbers;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook_sip::Flow;
use offhook_sip::auth::{Credentials, Secret};
use parking_lot::Mutex;
use secrecy::ExposeSecret;

use super::media::MediaProfile;
use super::resolve::{Target, in_order};
use super::routes::{Route, Wanted};
use crate::call::Moment;
use crate::config::SipConfig;
use crate::config::sip::{RegistrationConfig, TrunkConfig};
use crate::telemetry::sip::SipMetrics;
pub use health::{Health, PingResult};

/// The name of a trunk or account, and what is wrong with it.
pub type Standing = (Arc<str>, Result<(), String>);

/// All trunks. Cheap to clone.
#[derive(Clone)]
pub struct Trunks(Arc<Inner>);

struct Inner {
    trunks: Vec<Trunk>,
    /// How the accounts stand, by name, in the order of the configuration.
    accounts: Mutex<Vec<Standing>>,
    metrics: SipMetrics,
}

struct Trunk {
    name: Arc<str>,
    config: TrunkConfig,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    targets: Vec<Live>,
    /// Why there are no targets.
    unresolved: Option<String>,
    /// Whether the account that it needs is registered; none needs no account.
    registered: Option<bool>,
    calls: u32,
    /// When the calls per second are used up no more: a token bucket, kept as the time at which it is full.
    full_at: Moment,
    /// What was last said of it in the log.
    was_up: Option<bool>,
}

#[derive(Clone, Copy)]
struct Live {
    target: Target,
    health: Health,
}

impl Live {
    const fn rank(&self) -> (u16, u16) {
        (self.target.place.priority, self.target.place.weight)
    }
}

impl Trunks {
    pub fn new(config: &SipConfig, metrics: SipMetrics) -> Self {
        let needs_account = |trunk: &TrunkConfig| {
            config.registrations.iter().any(|registration| registration.trunk.as_deref() == Some(&trunk.name))
        };
        let trunk = |trunk: &TrunkConfig| Trunk {
            name: trunk.name.as_str().into(),
            config: trunk.clone(),
            state: Mutex::new(State { registered: needs_account(trunk).then_some(false), ..State::default() }),
        };
        let account = |account: &RegistrationConfig| {
            (account.username.as_str().into(), Err("it was not registered yet".to_owned()))
        };
        Self(Arc::new(Inner {
            trunks: config.trunks.iter().map(trunk).collect(),
            accounts: Mutex::new(config.registrations.iter().map(account).collect()),
            metrics,
        }))
    }

    /// The ways out to a number, best first: trunks that are up before those that are not, then by priority, then at
    /// random by weight, and each trunk's sockets likewise, by the priorities and weights that DNS gives. Trunks whose calls are all taken are
    /// left out. `pick` gives a number below the one it is given; `flow` is
    /// the way to a socket.
    pub fn route(
        &self,
        wanted: Wanted<'_>,
        flow: impl Fn(Target) -> Flow,
        mut pick: impl FnMut(u32) -> u32,
    ) -> Vec<Route> {
        let mut left: Vec<(bool, &Trunk)> = self
            .0
            .trunks
            .iter()
            .filter(|trunk| wanted.trunk.is_none_or(|name| name == &*trunk.name))
            .filter_map(|trunk| {
                let state = trunk.state.lock();
                (!trunk.is_full(&state)).then(|| (state.is_up(), trunk))
            })
            .collect();
        left.sort_by_key(|(is_up, trunk)| (!is_up, trunk.config.priority));
        let mut routes = Vec::new();
        while let Some(&(is_up, first)) = left.first() {
            let rank = (is_up, first.config.priority);
            let same = left.iter().take_while(|(is_up, trunk)| (*is_up, trunk.config.priority) == rank);
            let weights: Vec<u32> = same.map(|(_, trunk)| u32::from(trunk.config.weight) + 1).collect();
            let mut chosen = pick(weights.iter().sum());
            let place = weights.iter().position(|weight| match chosen.checked_sub(*weight) {
                Some(rest) => {
                    chosen = rest;
                    false
                }
                None => true,
            });
            let (_, trunk) = left.remove(place.unwrap_or(0));
            trunk.routes(wanted, &flow, &mut pick, &mut routes);
        }
        routes
    }

    /// Takes one of a trunk's places for a call out: none when `max_calls` or `calls_per_s` are used up.
    pub fn admit(&self, name: &str, now: Moment) -> Option<TrunkPermit> {
        let trunk = self.named(name)?;
        let mut state = trunk.state.lock();
        if trunk.is_full(&state) || !trunk.take_token(&mut state, now) {
            return None;
        }
        Some(self.permit(trunk, &mut state))
    }

    /// The trunk that a caller's address belongs to, by `allow_sources` or because it is one of its sockets.
    pub fn of_source(&self, source: IpAddr) -> Option<Arc<str>> {
        let found = self.0.trunks.iter().find(|trunk| trunk.owns(source))?;
        Some(Arc::clone(&found.name))
    }

    /// Takes a place for a call that came in from a trunk.
    ///
    /// # Errors
    /// When all of its places are taken.
    pub fn admit_incoming(&self, name: &str) -> Result<Option<TrunkPermit>, TrunkFull> {
        let Some(trunk) = self.named(name) else { return Ok(None) };
        let mut state = trunk.state.lock();
        if trunk.is_full(&state) {
            return Err(TrunkFull);
        }
        Ok(Some(self.permit(trunk, &mut state)))
    }

    /// What calls that come from this source agree on in place of the server's own.
    pub fn profile_of(&self, source: IpAddr) -> Option<MediaProfile> {
        let found = self.0.trunks.iter().find(|trunk| trunk.owns(source))?;
        Some(MediaProfile::new(&found.config.codecs, found.config.srtp))
    }

    /// How each trunk is: its name, and what is wrong with it.
    pub fn report(&self) -> Vec<Standing> {
        let describe = |trunk: &Trunk| (Arc::clone(&trunk.name), trunk.state.lock().describe());
        self.0.trunks.iter().map(describe).collect()
    }

    /// How each account is, likewise.
    pub fn accounts(&self) -> Vec<Standing> {
        self.0.accounts.lock().clone()
    }

    /// How the account at this place of the configuration is now.
    pub fn account(&self, index: usize, now: Result<(), String>) {
        if let Some((_, state)) = self.0.accounts.lock().get_mut(index) {
            *state = now;
        }
    }

    /// The sockets that all trunks lead to.
    pub fn sockets(&self) -> Vec<IpAddr> {
        let all = self.0.trunks.iter().flat_map(|trunk| trunk.state.lock().targets.clone());
        all.map(|live| live.target.address.ip()).collect()
    }

    /// How many there are; they are numbered in the order of the configuration.
    pub fn count(&self) -> usize {
        self.0.trunks.len()
    }

    /// Where an address leads to now. What is known of a socket stays known.
    pub fn resolved(&self, index: usize, found: Result<Vec<Target>, String>) {
        let Some(trunk) = self.0.trunks.get(index) else { return };
        let mut state = trunk.state.lock();
        match found {
            Ok(targets) => {
                let known = std::mem::take(&mut state.targets);
                let health = |target| known.iter().find(|live| live.target == target).map(|live| live.health);
                state.targets = targets
                    .into_iter()
                    .map(|target| Live { target, health: health(target).unwrap_or_default() })
                    .collect();
                state.unresolved = None;
            }
            // Addresses that worked are kept through an outage of the name servers.
            Err(error) => state.unresolved = Some(error),
        }
        self.told(trunk, &mut state);
    }

    /// The account of a trunk is registered, or no more.
    pub fn registered(&self, name: &str, registered: bool) {
        let Some(trunk) = self.named(name) else { return };
        let mut state = trunk.state.lock();
        state.registered = Some(registered);
        self.told(trunk, &mut state);
    }

    /// The sockets of a trunk that are to be asked now.
    pub fn due(&self, index: usize, now: Moment) -> Vec<Target> {
        let Some(trunk) = self.0.trunks.get(index).filter(|trunk| trunk.config.ping_s > 0) else {
            return Vec::new();
        };
        let every = Duration::from_secs(trunk.config.ping_s);
        let mut state = trunk.state.lock();
        let due = state.targets.iter_mut().filter(|live| live.health.is_due(now));
        due.map(|live| {
            live.health.asked(now, every);
            live.target
        })
        .collect()
    }

    /// When a socket is to be asked next.
    pub fn next(&self) -> Option<Moment> {
        let asked = self.0.trunks.iter().filter(|trunk| trunk.config.ping_s > 0);
        asked.filter_map(|trunk| trunk.state.lock().targets.iter().map(|live| live.health.next()).min()).min()
    }

    /// The name of a trunk by its place.
    pub fn name(&self, index: usize) -> Option<Arc<str>> {
        self.0.trunks.get(index).map(|trunk| Arc::clone(&trunk.name))
    }

    /// What a socket answered to OPTIONS.
    pub fn answered(&self, index: usize, target: Target, result: PingResult, now: Moment) {
        let Some(trunk) = self.0.trunks.get(index) else { return };
        let every = Duration::from_secs(trunk.config.ping_s);
        let mut state = trunk.state.lock();
        if let Some(live) = state.targets.iter_mut().find(|live| live.target == target) {
            live.health.heard(result, now, every);
        }
        self.told(trunk, &mut state);
    }

    fn named(&self, name: &str) -> Option<&Trunk> {
        self.0.trunks.iter().find(|trunk| &*trunk.name == name)
    }

    fn permit(&self, trunk: &Trunk, state: &mut State) -> TrunkPermit {
        state.calls += 1;
        self.0.metrics.trunk_calls(&trunk.name, state.calls);
        TrunkPermit { trunks: self.clone(), name: Arc::clone(&trunk.name) }
    }

    /// Figures always, a log line when the trunk comes or goes.
    fn told(&self, trunk: &Trunk, state: &mut State) {
        let is_up = state.is_up();
        self.0.metrics.trunk_up(&trunk.name, is_up);
        if state.was_up.replace(is_up) == Some(is_up) {
            return;
        }
        match state.describe() {
            Ok(()) => tracing::info!(trunk = %trunk.name, "sip: the trunk is up"),
            Err(why) => tracing::warn!(trunk = %trunk.name, why, "sip: the trunk is down"),
        }
    }
}

/// A call's place on a trunk; dropping it lets the next one through.
pub struct TrunkPermit {
    trunks: Trunks,
    name: Arc<str>,
}

impl Drop for TrunkPermit {
    fn drop(&mut self) {
        let Some(trunk) = self.trunks.named(&self.name) else { return };
        let mut state = trunk.state.lock();
        state.calls = state.calls.saturating_sub(1);
        self.trunks.0.metrics.trunk_calls(&self.name, state.calls);
    }
}

/// Every place of a trunk is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrunkFull;

impl Trunk {
    fn is_full(&self, state: &State) -> bool {
        self.config.max_calls.is_some_and(|most| state.calls >= most)
    }

    fn owns(&self, source: IpAddr) -> bool {
        self.config.allow_sources.iter().any(|network| network.contains(source))
            || self.state.lock().targets.iter().any(|live| live.target.address.ip() == source)
    }

    fn take_token(&self, state: &mut State, now: Moment) -> bool {
        let Some(rate) = self.config.calls_per_s else { return true };
        let token = Duration::from_secs(1) / rate.max(1);
        let full_at = state.full_at.max(now) + token;
        let is_allowed = full_at <= now + Duration::from_secs(1);
        if is_allowed {
            state.full_at = full_at;
        }
        is_allowed
    }

    fn routes(
        &self,
        wanted: Wanted<'_>,
        flow: &impl Fn(Target) -> Flow,
        pick: &mut impl FnMut(u32) -> u32,
        routes: &mut Vec<Route>,
    ) {
        let targets = self.state.lock().targets.clone();
        let servers = targets.chunk_by(|one, next| one.target.place == next.target.place).collect();
        // Anew for each call: what a name server says holds for longer than a share may be off.
        let rank = |server: &&[Live]| server.first().map_or((0, 0), Live::rank);
        let mut targets = in_order(servers, rank, |most| pick(most.saturating_add(1))).concat();
        targets.sort_by_key(|live| !live.health.is_up());
        for Live { target, .. } in targets {
            let Some(uris) = numbers::uris(&self.config, wanted, target.transport) else { continue };
            routes.push(Route {
                flow: flow(target),
                target: uris.target,
                from: uris.from,
                from_display: self.config.caller_id.name.clone(),
                headers: uris.asserted.into_iter().collect(),
                credentials: self.credentials(),
                trunk: Some(Arc::clone(&self.name)),
                profile: Some(MediaProfile::new(&self.config.codecs, self.config.srtp)),
            });
        }
    }

    fn credentials(&self) -> Option<Credentials> {
        let (username, password) = (self.config.username.clone()?, self.config.password.as_ref()?);
        let password = Secret::new(password.expose_secret());
        Some(Credentials { username, password, realm: self.config.realm.clone() })
    }
}

impl State {
    fn is_up(&self) -> bool {
        self.registered != Some(false) && self.targets.iter().any(|live| live.health.is_up())
    }

    /// What is wrong with the trunk, for operators: no secret, no number.
    fn describe(&self) -> Result<(), String> {
        if self.targets.is_empty() {
            return Err(self.unresolved.clone().unwrap_or_else(|| "its address is not known yet".to_owned()));
        }
        if self.registered == Some(false) {
            return Err("its account is not registered".to_owned());
        }
        match self.targets.iter().find(|live| live.health.is_up()) {
            Some(_) => Ok(()),
            None => Err(self.targets.first().map_or_else(String::new, |live| live.health.why().to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;

//! What the driver does beside calls: where trunks and registrars are, whether they answer, and the accounts to keep.
//!
//! Names are looked up by one small task each, which wait for name servers so that the driver never does; what they find
//! comes through one bounded inbox.

mod accounts;

use std::collections::HashMap;
use std::time::Duration;

use offhook_sip::guard::Cidr;
use offhook_sip::message::UriBuf;
use offhook_sip::{Command, PingId, PingOutcome, RegistrationId, RegistrationState};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::faces::Faces;
use super::guard;
use super::resolve::{ResolveError, Resolved, Resolver, Target};
use super::streams::Streams;
use super::tls::server_name;
use super::trunks::{PingResult, Trunks};
use crate::call::Moment;
use crate::config::SipConfig;
use crate::config::sip::{SipAddress, SipTransport};
use crate::telemetry::sip::SipMetrics;
use accounts::Accounts;
pub use accounts::in_words;

/// Owned by the driver; its tasks end when this is dropped.
pub struct Upkeep {
    trunks: Trunks,
    accounts: Accounts,
    addresses: Vec<SipAddress>,
    faces: Faces,
    streams: Streams,
    metrics: SipMetrics,
    /// The networks that the configuration trusts.
    allowed: Vec<Cidr>,
    found: mpsc::Receiver<Found>,
    seekers: Vec<JoinHandle<()>>,
    asked: HashMap<u64, Asked>,
    pings: u64,
    ready: Vec<Command>,
}

/// Whose address was looked up, by its place in the configuration.
#[derive(Clone, Copy, Debug)]
enum Whose {
    Trunk(usize),
    Account(usize),
}

/// What name servers say.
pub struct Found {
    whose: Whose,
    result: Result<Resolved, ResolveError>,
}

/// An OPTIONS that waits for its answer.
struct Asked {
    trunk: usize,
    target: Target,
    until: Moment,
}

impl Upkeep {
    pub fn new(config: &SipConfig, trunks: Trunks, faces: Faces, streams: Streams, metrics: SipMetrics) -> Self {
        let (finds, found) = mpsc::channel(FINDS);
        let resolver = Resolver::new(&config.dns_servers);
        let seek = |whose, address: &SipAddress, transport| {
            tokio::spawn(seek(resolver.clone(), whose, address.clone(), transport, finds.clone()))
        };
        let mut seekers: Vec<JoinHandle<()>> = Vec::new();
        for (index, trunk) in config.trunks.iter().enumerate() {
            seekers.push(seek(Whose::Trunk(index), &trunk.address, trunk.transport));
        }
        for (index, account) in config.registrations.iter().enumerate() {
            seekers.push(seek(Whose::Account(index), &account.registrar, account.transport));
        }
        Self {
            accounts: Accounts::new(config, trunks.clone(), metrics.clone()),
            addresses: config.trunks.iter().map(|trunk| trunk.address.clone()).collect(),
            trunks,
            faces,
            streams,
            metrics,
            allowed: guard::trunks(config),
            found,
            seekers,
            asked: HashMap::new(),
            pings: 0,
            ready: Vec::new(),
        }
    }

    /// What name servers said; waits for it.
    pub async fn found(&mut self) -> Found {
        match self.found.recv().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }

    /// Takes in what name servers said.
    pub fn take(&mut self, found: Found) {
        match (found.whose, found.result) {
            (Whose::Trunk(index), result) => {
                if let (Ok(resolved), Some(address)) = (&result, self.addresses.get(index)) {
                    expect_names(&self.streams, address, &resolved.targets);
                }
                self.trunks.resolved(index, result.map(|found| found.targets).map_err(|error| error.to_string()));
            }
            (Whose::Account(index), result) => {
                if let (Ok(resolved), Some(address)) = (&result, self.accounts.registrar(index)) {
                    expect_names(&self.streams, address, &resolved.targets);
                }
                let command = self.accounts.resolved(index, result, &self.faces);
                self.ready.extend(command);
            }
        }
        self.ready.push(Command::SetPeers(self.peers()));
    }

    /// What is to be done now. Call it before waiting.
    pub fn due(&mut self, now: Moment) -> Vec<Command> {
        let mut commands = std::mem::take(&mut self.ready);
        let late: Vec<u64> = self.asked.iter().filter(|(_, asked)| now >= asked.until).map(|(id, _)| *id).collect();
        for id in late {
            self.heard(id, PingResult::Timeout, now);
        }
        for trunk in 0..self.trunks.count() {
            for target in self.trunks.due(trunk, now) {
                commands.extend(self.ping(trunk, target, now));
            }
        }
        commands.extend(self.accounts.due(&self.faces, now));
        commands
    }

    /// When [`Upkeep::due`] has something to do.
    pub fn next(&self) -> Option<Moment> {
        let answers = self.asked.values().map(|asked| asked.until).min();
        [answers, self.trunks.next(), self.accounts.next()].into_iter().flatten().min()
    }

    pub fn pong(&mut self, id: PingId, outcome: PingOutcome, now: Moment) {
        let result = match outcome {
            PingOutcome::Answered { status, rtt } => {
                if let Some(name) = self.asked.get(&id.0).and_then(|asked| self.trunks.name(asked.trunk)) {
                    self.metrics.trunk_ping_ms(&name, rtt.as_secs_f64() * 1000.0);
                }
                PingResult::Status(status)
            }
            PingOutcome::TimedOut => PingResult::Timeout,
            PingOutcome::Unreachable => PingResult::Unreachable,
        };
        self.heard(id.0, result, now);
    }

    pub fn registration(&mut self, id: RegistrationId, state: &RegistrationState, now: Moment) {
        let command = self.accounts.told(id, state, &self.faces, now);
        self.ready.extend(command);
    }

    /// Takes all accounts back: calls are to go elsewhere.
    pub fn leave(&mut self) -> Vec<Command> {
        self.accounts.leave()
    }

    fn heard(&mut self, id: u64, result: PingResult, now: Moment) {
        if let Some(asked) = self.asked.remove(&id) {
            self.trunks.answered(asked.trunk, asked.target, result, now);
        }
    }

    fn ping(&mut self, trunk: usize, target: Target, now: Moment) -> Option<Command> {
        let address = self.addresses.get(trunk)?;
        let flow = self.faces.flow(target.transport, target.address, None);
        let uri = UriBuf::parse(format!("sip:{}", host_and_port(address))).ok()?;
        self.pings += 1;
        self.asked.insert(self.pings, Asked { trunk, target, until: now + PING_WAIT });
        Some(Command::Ping { id: PingId(self.pings), flow, target: uri })
    }

    /// Trunks and registrars are who they are by the address that their names lead to.
    fn peers(&self) -> Vec<Cidr> {
        let sockets = self.trunks.sockets().into_iter().chain(self.accounts.sockets()).map(Cidr::from);
        self.allowed.iter().copied().chain(sockets).collect()
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.seekers.iter().for_each(JoinHandle::abort);
    }
}

/// The host and port of an address as a URI has them.
pub fn host_and_port(address: &SipAddress) -> String {
    match address.port {
        Some(port) => format!("{}:{port}", address.host),
        None => address.host.to_string(),
    }
}

fn expect_names(streams: &Streams, address: &SipAddress, targets: &[Target]) {
    for target in targets.iter().filter(|target| target.transport == offhook_sip::Transport::Tls) {
        if let Some(name) = server_name(&address.host) {
            streams.expect_name(target.address, name);
        }
    }
}

/// Looks an address up for as long as the server runs: again when what was said holds no longer.
async fn seek(
    resolver: Resolver,
    whose: Whose,
    address: SipAddress,
    transport: Option<SipTransport>,
    finds: mpsc::Sender<Found>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let result = resolver.targets(&address, transport).await;
        let wait = match &result {
            Ok(resolved) => {
                pause = FIRST_PAUSE;
                resolved.holds
            }
            Err(_) => {
                pause = (pause * 2).min(LONGEST_PAUSE);
                pause
            }
        };
        if finds.send(Found { whose, result }).await.is_err() {
            return;
        }
        tokio::time::sleep(wait).await;
    }
}

/// Answers of name servers that may wait for the driver; more wait in their tasks.
const FINDS: usize = 64;

/// An OPTIONS without an answer for so long counts as lost, whatever the transaction still waits for.
const PING_WAIT: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

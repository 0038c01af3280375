//! The accounts that this server registers: which registrar of several is asked, and what changed.
//!
//! When to refresh and how long to wait after a refusal is the endpoint's; here one registrar that is gone is followed
//! by the next one that its name leads to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook_sip::auth::{Credentials, Secret};
use offhook_sip::message::UriBuf;
use offhook_sip::{Command, Registration, RegistrationFailure, RegistrationId, RegistrationState};
use secrecy::ExposeSecret;

use crate::call::Moment;
use crate::config::SipConfig;
use crate::config::sip::{RegistrationConfig, SipAddress};
use crate::telemetry::sip::SipMetrics;
use crate::transport::sip::faces::Faces;
use crate::transport::sip::resolve::{ResolveError, Resolved, Target};
use crate::transport::sip::trunks::Trunks;

pub struct Accounts {
    accounts: Vec<Account>,
    trunks: Trunks,
    metrics: SipMetrics,
}

struct Account {
    config: RegistrationConfig,
    /// `user@registrar`, for logs and figures.
    name: Arc<str>,
    targets: Vec<Target>,
    /// The place of the registrar that was asked last.
    current: usize,
    is_asking: bool,
    /// When the first registrar is to be asked again, after all of them were gone.
    again: Option<Moment>,
    /// What was last said of it in the log.
    said: Option<Result<(), String>>,
}

impl Accounts {
    pub fn new(config: &SipConfig, trunks: Trunks, metrics: SipMetrics) -> Self {
        let account = |config: &RegistrationConfig| Account {
            name: format!("{}@{}", config.username, config.registrar.host).into(),
            config: config.clone(),
            targets: Vec::new(),
            current: 0,
            is_asking: false,
            again: None,
            said: None,
        };
        let accounts: Vec<Account> = config.registrations.iter().map(account).collect();
        for account in &accounts {
            metrics.registered(&account.name, false);
        }
        Self { accounts, trunks, metrics }
    }

    pub fn registrar(&self, index: usize) -> Option<&SipAddress> {
        self.accounts.get(index).map(|account| &account.config.registrar)
    }

    /// The addresses of all registrars: calls to the accounts come from there.
    pub fn sockets(&self) -> Vec<IpAddr> {
        self.accounts.iter().flat_map(|account| &account.targets).map(|target| target.address.ip()).collect()
    }

    /// Where a registrar is.
    pub fn resolved(&mut self, index: usize, found: Result<Resolved, ResolveError>, faces: &Faces) -> Option<Command> {
        let account = self.accounts.get_mut(index)?;
        match found {
            Ok(found) => {
                let asked = account.targets.get(account.current).copied();
                account.targets = found.targets;
                let same = asked.and_then(|asked| account.targets.iter().position(|target| *target == asked));
                match same {
                    Some(place) if account.is_asking => {
                        account.current = place;
                        None
                    }
                    _ => account.ask(index, 0, faces),
                }
            }
            Err(error) => {
                if account.targets.is_empty() {
                    self.say(index, Err(error.to_string()));
                }
                None
            }
        }
    }

    /// What the endpoint says of a registration.
    pub fn told(
        &mut self,
        id: RegistrationId,
        state: &RegistrationState,
        faces: &Faces,
        now: Moment,
    ) -> Option<Command> {
        let index = usize::try_from(id.0).ok()?;
        let (holds, next) = match state {
            RegistrationState::Registered { .. } => (Ok(()), None),
            RegistrationState::Unregistered => (Err("it was taken back".to_owned()), None),
            RegistrationState::Failed { failure, retry_in, lapses_in } => {
                let account = self.accounts.get_mut(index)?;
                let next = account.after_failure(index, *failure, *retry_in, faces, now);
                // While an earlier registration holds, calls come.
                (if lapses_in.is_some() { Ok(()) } else { Err(in_words(*failure)) }, next)
            }
        };
        self.say(index, holds);
        next
    }

    /// Registrars to be asked again now.
    pub fn due(&mut self, faces: &Faces, now: Moment) -> Vec<Command> {
        let mut commands = Vec::new();
        for (index, account) in self.accounts.iter_mut().enumerate() {
            if account.again.is_some_and(|at| now >= at) {
                commands.extend(account.ask(index, 0, faces));
            }
        }
        commands
    }

    pub fn next(&self) -> Option<Moment> {
        self.accounts.iter().filter_map(|account| account.again).min()
    }

    /// Takes all of them back.
    pub fn leave(&mut self) -> Vec<Command> {
        let asking = self.accounts.iter_mut().enumerate().filter(|(_, account)| account.is_asking);
        asking
            .map(|(index, account)| {
                account.again = None;
                account.targets.clear();
                Command::Unregister { id: number(index) }
            })
            .collect()
    }

    fn say(&mut self, index: usize, holds: Result<(), String>) {
        let Some(account) = self.accounts.get_mut(index) else { return };
        self.metrics.registered(&account.name, holds.is_ok());
        self.trunks.account(index, holds.clone());
        if let Some(trunk) = &account.config.trunk {
            self.trunks.registered(trunk, holds.is_ok());
        }
        if account.said.as_ref() == Some(&holds) {
            return;
        }
        match &holds {
            Ok(()) => tracing::info!(account = %account.name, "sip: registered"),
            Err(why) => tracing::warn!(account = %account.name, why, "sip: not registered"),
        }
        account.said = Some(holds);
    }
}

impl Account {
    fn ask(&mut self, index: usize, place: usize, faces: &Faces) -> Option<Command> {
        let target = self.targets.get(place)?;
        let host = &self.config.registrar.host;
        let registration = Registration {
            id: number(index),
            flow: faces.flow(target.transport, target.address, None),
            registrar: UriBuf::parse(format!("sip:{}", super::host_and_port(&self.config.registrar))).ok()?,
            address: UriBuf::parse(format!("sip:{}@{host}", self.config.username)).ok()?,
            contact_user: Some(self.config.contact_user.clone().unwrap_or_else(|| self.config.username.clone())),
            credentials: Some(Credentials {
                username: self.config.username.clone(),
                password: Secret::new(self.config.password.expose_secret()),
                realm: self.config.realm.clone(),
            }),
            expires_s: self.config.expires_s,
        };
        (self.current, self.is_asking, self.again) = (place, true, None);
        Some(Command::Register(Box::new(registration)))
    }

    /// A registrar that is gone or full is followed by the next; behind the last one the endpoint's pause is kept, and
    /// the first is asked again.
    fn after_failure(
        &mut self,
        index: usize,
        failure: RegistrationFailure,
        retry_in: Duration,
        faces: &Faces,
        now: Moment,
    ) -> Option<Command> {
        use RegistrationFailure::{Refused, TimedOut, Unreachable};
        if self.targets.len() < 2 || !matches!(failure, TimedOut | Unreachable | Refused(408 | 500..=599)) {
            return None;
        }
        let next = self.current + 1;
        if next < self.targets.len() {
            return self.ask(index, next, faces);
        }
        self.again = Some(now + retry_in);
        None
    }
}

fn number(index: usize) -> RegistrationId {
    RegistrationId(u64::try_from(index).unwrap_or(u64::MAX))
}

/// A failure for operators.
pub fn in_words(failure: RegistrationFailure) -> String {
    match failure {
        RegistrationFailure::Unauthorized(status) => {
            format!("refused with {status}: username, password or realm are wrong")
        }
        RegistrationFailure::Refused(status) => format!("refused with {status}"),
        RegistrationFailure::NoTime => "the registrar grants no time".to_owned(),
        RegistrationFailure::TimedOut => "the registrar does not answer".to_owned(),
        RegistrationFailure::Unreachable => "no connection to the registrar".to_owned(),
        RegistrationFailure::TooMany => "more registrations than this server keeps".to_owned(),
    }
}

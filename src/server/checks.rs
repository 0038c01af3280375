//! What the server depends on, as `/healthz` asks about it.

use std::collections::BTreeMap;

use futures_util::FutureExt;

use crate::api::{Check, CheckResult, Checks};
use crate::providers::ProviderError;
use crate::providers::registry::Registry;
use crate::providers::stack::{LEFT_ALONE, LinkCheck};
use crate::recording::Recordings;
use crate::store::Store;
use crate::store::shared::Shared;
use crate::transport::sip::trunks::Trunks;

/// The links of a chain, by whoever has it.
pub type LinkChecks = Box<dyn Fn() -> Vec<LinkCheck> + Send + Sync>;

/// The links of chains as they are at the moment of asking.
pub struct Links {
    pub voices: LinkChecks,
    pub others: LinkChecks,
}

/// The checks of a running server.
pub struct ServerChecks {
    store: Store,
    shared: Shared,
    /// Voices, recognisers and models.
    links: Links,
    registry: Registry,
    recordings: Option<Recordings>,
    trunks: Trunks,
}

impl ServerChecks {
    pub fn new(
        store: Store,
        shared: Shared,
        (links, registry): (Links, Registry),
        recordings: Option<Recordings>,
        trunks: Trunks,
    ) -> Self {
        Self { store, shared, links, registry, recordings, trunks }
    }
}

impl Checks for ServerChecks {
    fn checks(&self) -> Vec<Check> {
        let store = self.store.clone();
        let database = async move {
            store.health().await.map_or_else(|e| CheckResult::Error(e.to_string()), |()| CheckResult::Ok)
        };
        let mut checks = vec![
            Check { name: "database".into(), run: database.boxed() },
            Check { name: "redis".into(), run: redis(self.shared.clone()).boxed() },
            Check { name: "recording".into(), run: std::future::ready(recording(self.recordings.as_ref())).boxed() },
        ];
        let registry = self.registry.degraded();
        let registry = registry.map_or(CheckResult::Ok, |why| CheckResult::Error(format!("read from the file: {why}")));
        checks.push(Check { name: "registry".into(), run: std::future::ready(registry).boxed() });
        checks.extend((self.links.voices)().into_iter().map(link));
        checks.extend((self.links.others)().into_iter().map(link));
        let trunks = self.trunks.report().into_iter().map(|(name, how)| (format!("trunk {name}"), how));
        let accounts = self.trunks.accounts().into_iter().map(|(name, how)| (format!("account {name}"), how));
        checks.extend(trunks.chain(accounts).map(|(name, how)| {
            let result = how.map_or_else(CheckResult::Error, |()| CheckResult::Ok);
            Check { name, run: std::future::ready(result).boxed() }
        }));
        checks
    }

    /// Without any voice only tones and recordings are left, which is no line; records are spooled without a database.
    fn can_serve(&self, results: &BTreeMap<String, CheckResult>) -> bool {
        (self.links.voices)().iter().any(|voice| match results.get(&voice.name) {
            Some(CheckResult::Ok) => true,
            // What could serve and is left alone for a moment is still the last resort.
            Some(CheckResult::Error(why)) => why.starts_with(LEFT_ALONE),
            Some(CheckResult::NotConfigured) | None => false,
        })
    }
}

/// A provider that could serve and is left alone says why.
fn link(check: LinkCheck) -> Check {
    let LinkCheck { name, left_alone, run } = check;
    let run = run.map(|checked| match (result(checked), left_alone) {
        (CheckResult::Ok, Some(why)) => CheckResult::Error(why),
        (checked, _) => checked,
    });
    Check { name, run: run.boxed() }
}

async fn redis(shared: Shared) -> CheckResult {
    match shared.health().await {
        None => CheckResult::NotConfigured,
        Some(Ok(())) => CheckResult::Ok,
        Some(Err(error)) => CheckResult::Error(error.to_string()),
    }
}

/// Calls go on without recordings, so that this never takes the server out of service.
fn recording(recordings: Option<&Recordings>) -> CheckResult {
    match recordings.map(Recordings::can_begin) {
        None => CheckResult::NotConfigured,
        Some(Ok(())) => CheckResult::Ok,
        Some(Err(fault)) => CheckResult::Error(format!("no new recordings: {}", fault.as_str())),
    }
}

fn result(checked: Result<(), ProviderError>) -> CheckResult {
    match checked {
        Ok(()) => CheckResult::Ok,
        Err(ProviderError::NotConfigured { .. }) => CheckResult::NotConfigured,
        Err(error) => CheckResult::Error(error.to_string()),
    }
}

//! The registry of providers: which there are, how each stands, and which of them serves.
//!
//! It is kept in the database and filled from `apis_database.yaml`; without the database the file alone serves. Where the
//! configuration says `registry` for a voice, recogniser or model, [`serve`] asks here for every use.

mod build;
pub mod entry;
mod ledger;
mod load;
mod meter;
pub mod select;
pub mod serve;
pub mod table;
mod upkeep;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use self::build::Secrets;
use self::entry::{Category, Entry};
use self::ledger::Ledger;
use self::meter::Meter;
use self::select::{Considered, Prefer, Question, Standing, select};
use super::config::ProvidersConfig;
use super::credentials::Vault;
use super::stack::Ranked;
use super::{Language, Llm, Stt, Tts};
use crate::config::ConfigError;
use crate::store::{Origin, ProviderUsage, StoreError, Tables};
use crate::telemetry::metrics::Metrics;

pub use load::{Source, read};
pub use upkeep::Upkeep;

/// `registry`: how providers are chosen.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// None is `apis_database.yaml` beside the flows, and where there is none the one that comes with the program.
    pub file: Option<PathBuf>,
    /// Where providers must serve from; none takes any.
    pub region: Option<String>,
    pub prefer: Prefer,
    /// What may be spent on all of them in a UTC day; none is no bound. What is free goes on.
    pub usd_per_day: Option<entry::Usd>,
}

/// The registry of a running server; a clone is the same.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    config: RegistryConfig,
    providers: ProvidersConfig,
    tables: Tables,
    vault: Vault,
    source: Source,
    state: ArcSwap<State>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    ledger: Arc<Mutex<Ledger>>,
    clients: Mutex<Clients>,
    metrics: Metrics,
    origin: Instant,
}

/// What is known, as one thing that is exchanged whole.
struct State {
    /// Another one for each state.
    generation: u64,
    listed: Vec<Listed>,
    secrets: Secrets,
    /// Why it was read from the file alone.
    degraded: Option<String>,
}

/// A provider and who knows it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub entry: Entry,
    pub origin: Origin,
    pub disabled: Option<String>,
}

/// Clients that were made, until the state is another.
#[derive(Default)]
struct Clients {
    generation: u64,
    tts: HashMap<String, Result<Ranked<dyn Tts>, String>>,
    stt: HashMap<String, Result<Ranked<dyn Stt>, String>>,
    llm: HashMap<String, Result<Ranked<dyn Llm>, String>>,
}

impl Clients {
    /// Forgets the clients of another state.
    fn of(&mut self, generation: u64) {
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
    }
}

/// A provider as operators see it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub listed: Listed,
    /// Why it cannot be asked.
    pub unusable: Option<String>,
    pub failing: Option<String>,
    pub today: ProviderUsage,
}

/// Why the registry was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] ConfigError),
    #[error("{0}")]
    Refused(String),
    #[error("there is no provider {0}")]
    Unknown(String),
}

impl Registry {
    /// Which providers serve, in order, and why each was taken or passed over.
    pub fn select(&self, category: Category, language: Option<&Language>) -> Vec<Considered> {
        let RegistryConfig { region, prefer, .. } = &self.0.config;
        self.decide(&Question { category, language: language.cloned(), region: region.clone(), prefer: *prefer })
    }

    /// The same for any question.
    pub fn decide(&self, question: &Question) -> Vec<Considered> {
        let state = self.0.state.load();
        let entries: Vec<&Entry> = state.listed.iter().map(|listed| &listed.entry).collect();
        let disabled: HashMap<&str, &String> = state
            .listed
            .iter()
            .filter_map(|listed| Some((listed.entry.id.as_str(), listed.disabled.as_ref()?)))
            .collect();
        let (at, now) = (Timestamp::now(), self.0.origin.elapsed());
        select(&entries, question, |entry| {
            let unusable = entry.client.and_then(|_| self.unusable(entry, &state));
            let ledger = self.0.ledger.lock();
            let purse_usd = self.0.config.usd_per_day.map(|purse| purse.0 - ledger.spent_today(at));
            let disabled = disabled.get(entry.id.as_str()).map(|why| (*why).clone());
            Standing { disabled, unusable, purse_usd, ..ledger.standing(entry.id.as_str(), at, now) }
        })
    }

    /// Every provider with its state, by id.
    pub fn list(&self) -> Vec<Shown> {
        let state = self.0.state.load();
        let at = Timestamp::now();
        let show = |listed: &Listed| {
            let id = listed.entry.id.as_str();
            let unusable = match listed.entry.client {
                None => Some("known only: no client of this program speaks to it".to_owned()),
                Some(_) => self.unusable(&listed.entry, &state),
            };
            let ledger = self.0.ledger.lock();
            let counts = ledger.of_today(id, at);
            let today = ProviderUsage {
                day: ledger::day(at),
                provider: id.to_owned(),
                requests: counts.requests,
                failures: counts.failures,
                units: counts.units,
                usd: counts.usd,
            };
            Shown { listed: listed.clone(), unusable, failing: ledger.failing(id).map(str::to_owned), today }
        };
        state.listed.iter().map(show).collect()
    }

    /// What was used on a UTC day; none is today.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn usage(&self, day: Option<&str>) -> Result<Vec<ProviderUsage>, StoreError> {
        let today = ledger::day(Timestamp::now());
        self.write_usage().await;
        self.0.tables.usage_of_day(day.unwrap_or(&today)).await
    }

    /// Why only the file is known; none while the database is.
    pub fn degraded(&self) -> Option<String> {
        self.0.state.load().degraded.clone()
    }

    fn meter(&self, entry: &Entry) -> Meter {
        let (id, ledger) = (entry.id.as_str().into(), Arc::clone(&self.0.ledger));
        Meter { id, price: entry.price, ledger, origin: self.0.origin }
    }

    fn unusable(&self, entry: &Entry, state: &State) -> Option<String> {
        match entry.category {
            Category::Tts => self.tts(entry, state).err(),
            Category::Stt => self.stt(entry, state).err(),
            Category::Llm => self.llm(entry, state).err(),
            _ => Some("no client of this program serves it".to_owned()),
        }
    }
}

//! What the registry does by itself: writes what was used, and comes back to the database when that is there again. And
//! what operators do to it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::build::Secrets;
use super::entry::{Entry, Id};
use super::ledger::{Ledger, day};
use super::load::{Source, kept};
use super::meter::WRITE_EVERY;
use super::{Clients, Inner, Registry, RegistryConfig, RegistryError, State};
use crate::providers::config::ProvidersConfig;
use crate::providers::credentials::Vault;
use crate::store::{Origin, Tables};
use crate::telemetry::metrics::Metrics;

/// The task that looks after the registry; ended by [`Upkeep::stop`].
pub struct Upkeep {
    registry: Registry,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Upkeep {
    /// Ends the task once what was used is written, if the database takes it.
    pub async fn stop(self) {
        // An error means that the task is gone already.
        let _ = self.stop.send(());
        let _ = self.task.await;
        self.registry.write_usage().await;
    }
}

impl Registry {
    /// Reads file and database, and begins to look after them.
    ///
    /// # Errors
    /// The file cannot be used.
    pub async fn start(
        config: RegistryConfig,
        providers: ProvidersConfig,
        (tables, vault): (Tables, Vault),
        source: Source,
        metrics: Metrics,
    ) -> Result<(Self, Upkeep), RegistryError> {
        let state = State {
            generation: 0,
            listed: Vec::new(),
            secrets: Secrets::new(),
            degraded: Some("nothing was read yet".to_owned()),
        };
        let registry = Self(Arc::new(Inner {
            config,
            providers,
            tables,
            vault,
            source,
            state: ArcSwap::from_pointee(state),
            changing: tokio::sync::Mutex::default(),
            ledger: Arc::new(Mutex::new(Ledger::default())),
            clients: Mutex::new(Clients::default()),
            metrics,
            origin: Instant::now(),
        }));
        registry.reload().await?;
        registry.resume().await;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(registry.clone().look_after(stopped));
        Ok((registry.clone(), Upkeep { registry, stop, task }))
    }

    async fn look_after(self, mut stopped: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                () = sleep(WRITE_EVERY) => {}
            }
            if self.degraded().is_some() && self.0.tables.was_reached() {
                self.come_back().await;
            }
            if self.degraded().is_none() {
                self.write_usage().await;
            }
        }
    }

    /// Reads everything again if the database answers; a moment of silence of it changes nothing.
    async fn come_back(&self) {
        if self.0.tables.providers().await.is_err() {
            return;
        }
        match self.reload().await {
            Ok(()) if self.degraded().is_none() => {
                self.resume().await;
                tracing::info!("the registry is read from the database again");
            }
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "the registry could not be read again"),
        }
    }

    /// Takes over what an earlier process used of the day, once.
    async fn resume(&self) {
        let today = day(Timestamp::now());
        if self.degraded().is_some() || self.0.ledger.lock().is_resumed() {
            return;
        }
        match self.0.tables.usage_of_day(&today).await {
            Ok(used) => self.0.ledger.lock().resume(&today, &used),
            Err(error) => tracing::warn!(%error, "what was used of providers today is not known"),
        }
    }

    /// Writes what was used; what the database does not take is written later.
    pub(super) async fn write_usage(&self) {
        let (used, changes) = self.0.ledger.lock().take();
        if used.is_empty() && changes.is_empty() {
            return;
        }
        if let Err(error) = self.0.tables.add_usage(&used, &changes).await {
            tracing::warn!(%error, "what was used of providers is written later");
            self.0.ledger.lock().keep(used, changes);
        }
    }

    /// Adds a provider, or changes one that was added so.
    ///
    /// # Errors
    /// An entry that does not hold together, one of the file, or a database that does not take it.
    pub async fn add(&self, entry: Entry) -> Result<(), RegistryError> {
        entry.check().map_err(RegistryError::Refused)?;
        if entry.account.is_some() {
            // A key goes where an operator of the machine sends it, not where the API does.
            let expected = "account: only the file says it; the key of an address of its own is kept under its id";
            return Err(RegistryError::Refused(expected.to_owned()));
        }
        let known = self.0.state.load();
        let is_of_the_file =
            known.listed.iter().any(|listed| listed.entry.id == entry.id && listed.origin == Origin::File);
        if is_of_the_file {
            return Err(RegistryError::Refused(format!("id: {} is in the file; change it there", entry.id.as_str())));
        }
        if let Some(row) = kept(&entry, Origin::Api) {
            self.0.tables.put_provider(&row).await?;
        }
        tracing::info!(provider = entry.id.as_str(), "added to the registry");
        self.reload().await
    }

    /// Switches a provider off for a reason, or on.
    ///
    /// # Errors
    /// There is none of this id, or the database does not take it.
    pub async fn disable(&self, id: &Id, why: Option<&str>) -> Result<(), RegistryError> {
        if !self.0.tables.disable_provider(id.as_str(), why).await? {
            return Err(RegistryError::Unknown(id.as_str().to_owned()));
        }
        tracing::info!(provider = id.as_str(), disabled = why, "switched by an operator");
        self.reload().await
    }
}

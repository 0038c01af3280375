//! Durable records: what happened on every call, written as it happens.
//!
//! A call writes through [`RecordSink`], which never waits; the writer task owns the database. Numbers of people are
//! masked and their words scrubbed before anything is written. SQLite or PostgreSQL, by `database.url`.

mod batch;
mod columns;
mod csv;
mod db;
mod error;
mod interruptions;
mod migrate;
mod postgres;
mod providers;
mod read;
pub mod record;
mod recordings;
mod recover;
mod row;
mod session;
pub mod shared;
mod sink;
mod spool;
mod sqlite;
mod start;
mod tables;
#[cfg(test)]
pub(crate) mod testing;
pub mod told;
mod url;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub use error::StoreError;
pub use providers::{HealthChange, KeptProvider, Origin, ProviderUsage};
pub use read::{
    CallDetail, CallRow, EventRow, InterruptionRow, MOST_CALLS, MOST_EVENTS, MOST_INTERRUPTIONS, MOST_TURNS,
    RecordingRow, TurnRow,
};
pub use sink::{QUEUE, RecordSink};
pub use tables::{SealedCredential, Tables};
pub use url::DatabaseUrl;
pub use writer::WriterHandle;

use self::db::Db;
use self::record::{CallId, RecordingName};
use crate::telemetry::metrics::Metrics;

/// The key `database`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Without it `offhook.db` in the data folder.
    pub url: Option<DatabaseUrl>,
}

/// The key `data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Where everything that is kept lies; made at start.
    pub dir: PathBuf,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from("./data") }
    }
}

/// The key `store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Also write the turns to `turns-YYYY-MM-DD.csv` in the data folder.
    pub csv: bool,
    /// Keep callers' numbers as they are instead of a pseudonym with the last two digits.
    pub keep_caller_numbers: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { csv: true, keep_caller_numbers: false }
    }
}

/// Reads what was kept; a clone is the same store.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
    sink: RecordSink,
    degraded: Arc<AtomicBool>,
}

impl Store {
    /// Opens the database, brings its schema up to date, closes the calls that a killed process left unfinished, and
    /// starts the writer. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A URL that is not supported, a folder or file that cannot be used, a damaged database or another schema, or a
    /// second server on the same database.
    pub async fn open(
        database: &DatabaseConfig,
        data: &DataConfig,
        config: &StoreConfig,
        metrics: Metrics,
    ) -> Result<(Self, RecordSink, WriterHandle), StoreError> {
        start::open(database, data, config, metrics).await
    }

    /// The newest calls first, at most [`MOST_CALLS`]; only those before `before` where it is given.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn recent_calls(&self, limit: u32, before: Option<CallId>) -> Result<Vec<CallRow>, StoreError> {
        self.db.recent_calls(limit, before).await.map_err(|error| self.db.unreadable(&error))
    }

    /// A call with its turns, interruptions and events.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn call(&self, id: CallId) -> Result<Option<CallDetail>, StoreError> {
        self.db.call(id).await.map_err(|error| self.db.unreadable(&error))
    }

    /// Recordings whose end is in no record: of a process before this one, as long as none has begun.
    ///
    /// None are known while a server has not answered yet; the next start finds them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn unfinished_recordings(&self) -> Result<Vec<(CallId, RecordingName)>, StoreError> {
        if !self.db.is_prepared() {
            return Ok(Vec::new());
        }
        self.db.unfinished_recordings().await.map_err(|error| self.db.unreadable(&error))
    }

    /// What is kept beside the records.
    pub fn tables(&self) -> Tables {
        Tables { db: self.db.clone() }
    }

    /// Whether records are written and can be read. Takes at most 1 s.
    ///
    /// # Errors
    /// What does not work: the writer, writing, or reading.
    pub async fn health(&self) -> Result<(), StoreError> {
        if !self.sink.is_served() {
            return Err(StoreError::WriterGone);
        }
        if self.degraded.load(Relaxed) {
            return Err(StoreError::Spooling);
        }
        let probed = timeout(HEALTH_LIMIT, self.db.probe()).await;
        probed.map_err(|_| StoreError::Slow { limit: HEALTH_LIMIT })?.map_err(|error| self.db.unreadable(&error))
    }
}

const HEALTH_LIMIT: Duration = Duration::from_secs(1);

//! Durable records: what happened on every call, written as it happens.
//!
//! A call writes through [`RecordSink`], which never waits; the writer task owns the database. Numbers of people are
//! masked and their words scrubbed before anything is written. PostgreSQL is not here yet: `Db` has one engine.

mod batch;
mod csv;
mod error;
mod interruptions;
mod migrate;
mod read;
pub mod record;
mod recordings;
mod row;
pub mod shared;
mod sink;
mod spool;
mod sqlite;
mod start;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub use error::StoreError;
pub use read::{
    CallDetail, CallRow, EventRow, InterruptionRow, MOST_CALLS, MOST_EVENTS, MOST_INTERRUPTIONS, MOST_TURNS,
    RecordingRow, TurnRow,
};
pub use sink::{QUEUE, RecordSink};
pub use writer::WriterHandle;

use self::record::{CallId, RecordingName};
use self::sqlite::Sqlite;
use crate::telemetry::metrics::Metrics;

/// The key `database`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:PATH`; without it `offhook.db` in the data folder.
    pub url: Option<String>,
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
        match &self.db {
            Db::Sqlite(db) => db.recent_calls(limit, before).await,
        }
    }

    /// A call with its turns, interruptions and events.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn call(&self, id: CallId) -> Result<Option<CallDetail>, StoreError> {
        match &self.db {
            Db::Sqlite(db) => db.call(id).await,
        }
    }

    /// Recordings whose end is in no record: of a process before this one, as long as none has begun.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn unfinished_recordings(&self) -> Result<Vec<(CallId, RecordingName)>, StoreError> {
        match &self.db {
            Db::Sqlite(db) => db.unfinished_recordings().await,
        }
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
        let Db::Sqlite(db) = &self.db;
        timeout(HEALTH_LIMIT, db.probe()).await.map_err(|_| StoreError::Slow { limit: HEALTH_LIMIT })?
    }
}

/// The engines.
#[derive(Clone, Debug)]
enum Db {
    Sqlite(Sqlite),
}

const HEALTH_LIMIT: Duration = Duration::from_secs(1);

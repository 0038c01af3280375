//! SQLite: opening it safely, and one transaction per batch. What a batch is written by is in `batch.rs`.
//!
//! One connection writes, a few read: WAL lets them do so at the same time. `synchronous=NORMAL` keeps what was
//! committed through a killed process; a power cut may cost the last commits, never the file.

use std::path::Path;
use std::time::Duration;

use sqlx::Pool;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{Sqlite as Engine, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

use super::migrate::{SQLITE, migrate};
use super::row::{Row, Turn};
use super::session::Session;
use super::{StoreError, batch};

/// An open database file.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    writer: Pool<Engine>,
    readers: Pool<Engine>,
}

impl Sqlite {
    /// Opens or makes `file`, checks it and brings its schema up to date.
    ///
    /// # Errors
    /// A file that cannot be opened, is damaged, or has another schema.
    pub(super) async fn open(file: &Path) -> Result<Self, StoreError> {
        Self::waiting(file, BUSY).await
    }

    /// The same beside the server, whose records go first: waits longer for the lock.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub(super) async fn beside(file: &Path) -> Result<Self, StoreError> {
        Self::waiting(file, BUSY_BESIDE).await
    }

    async fn waiting(file: &Path, busy: Duration) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(busy)
            .foreign_keys(true)
            // The log is cut back after a checkpoint, so one busy hour does not stay on the disk.
            .pragma("journal_size_limit", "67108864");
        let failed = |error: sqlx::Error| failure(file, &error);
        let pool = |most: u32, wait| PoolOptions::<Engine>::new().max_connections(most).acquire_timeout(wait);
        // A file needs no asking whether it is still there.
        let writer = pool(1, OPENING).test_before_acquire(false).connect_with(options.clone()).await.map_err(failed)?;
        let mut connection = writer.acquire().await.map_err(failed)?;
        examine(&mut connection, file).await?;
        migrate(&mut connection, file, SQLITE).await?;
        drop(connection);
        let readers = pool(READERS, ACQUIRE).connect_lazy_with(options.pragma("query_only", "on"));
        Ok(Self { writer, readers })
    }

    /// Writes all rows or none. Returns the turns that were new: a row that is already there is left as it is, so a
    /// batch may be written again after a crash.
    pub(super) async fn write(&self, rows: &[Row]) -> Result<Vec<Turn>, sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let fresh = batch::put(&mut transaction, rows).await?;
        transaction.commit().await?;
        Ok(fresh)
    }

    /// A transaction that reads.
    pub(super) async fn reading(&self) -> Result<Session, sqlx::Error> {
        self.readers.begin().await.map(Session::Sqlite)
    }

    /// A transaction that writes; others wait for its end.
    pub(super) async fn writing(&self) -> Result<Session, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map(Session::Sqlite)
    }

    /// Waits for what is in progress, then folds the log into the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Whether the same write may succeed a little later.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY_CODE | LOCKED_CODE))
}

/// Whether the rows themselves are refused, whenever they are written.
pub(super) fn is_about_rows(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(CONSTRAINT_CODE | MISMATCH_CODE | TOO_BIG_CODE))
        || matches!(error, sqlx::Error::Encode(_))
}

/// Whether the file is no sound database.
fn is_damage(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(CORRUPT_CODE | NOT_A_DATABASE_CODE))
}

/// The low byte of SQLite's extended result code.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Refuses a damaged file before anything is written to it.
async fn examine(connection: &mut SqliteConnection, file: &Path) -> Result<(), StoreError> {
    let size = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    if size > EXAMINE_UP_TO {
        return Ok(());
    }
    let verdict: Result<String, _> = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await;
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(verdict) => Err(StoreError::Damaged { at: file.display().to_string(), what: verdict }),
        Err(error) => Err(StoreError::Damaged { at: file.display().to_string(), what: error.to_string() }),
    }
}

/// Why a file cannot be used.
pub(super) fn failure(file: &Path, error: &sqlx::Error) -> StoreError {
    let (at, what) = (file.display().to_string(), error.to_string());
    if is_damage(error) { StoreError::Damaged { at, what } } else { StoreError::Open { at, what } }
}

pub(super) type Statement<'a> = sqlx::query::Query<'a, Engine, <Engine as sqlx::Database>::Arguments>;

/// SQLite's own wait for a lock; the writer's retries come on top.
const BUSY: Duration = Duration::from_millis(250);
const BUSY_BESIDE: Duration = Duration::from_secs(5);
/// Who asks the API does not wait longer than this for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// A server whose disk is slow at boot starts late rather than not at all.
const OPENING: Duration = Duration::from_secs(30);
const READERS: u32 = 3;
/// Bytes of a file that are checked at start in well under a second.
const EXAMINE_UP_TO: u64 = 256 * 1024 * 1024;

/// SQLite's primary result codes (sqlite.org/rescode.html).
const BUSY_CODE: i32 = 5;
const LOCKED_CODE: i32 = 6;
const CORRUPT_CODE: i32 = 11;
const TOO_BIG_CODE: i32 = 18;
const CONSTRAINT_CODE: i32 = 19;
const MISMATCH_CODE: i32 = 20;
const NOT_A_DATABASE_CODE: i32 = 26;

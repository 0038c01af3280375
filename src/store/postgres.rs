//! PostgreSQL: one connection writes and holds a lock for as long as it lives, a few more serve everything else.
//!
//! A server that is away is no error: records wait in the spool, and each attempt to write connects afresh. What a batch
//! is written by is in `postgres/batch.rs`. Deliberately absent: poolers that hand a connection to another client between
//! transactions; the lock belongs to the connection.

mod batch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Row as _};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::StoreError;
use super::migrate::{POSTGRES, checksum, missing};
use super::row::{Row, Turn, time};
use super::session::Session;

/// A database of a server, which may be away.
#[derive(Clone, Debug)]
pub(super) struct Postgres {
    at: String,
    options: PgConnectOptions,
    /// The connection that writes; none while the server is away.
    writer: Arc<Mutex<Option<PgConnection>>>,
    others: PgPool,
    /// Whether the schema was ever seen to be this program's.
    is_prepared: Arc<AtomicBool>,
}

impl Postgres {
    /// Connects and brings the schema up to date, if the server answers.
    ///
    /// # Errors
    /// What waiting does not mend: a refused password, another schema, another server's lock.
    pub(super) async fn open(at: &str, options: PgConnectOptions) -> Result<Self, StoreError> {
        let opened = Self::unconnected(at, options);
        match opened.connect().await {
            Ok(connection) => drop(opened.writer.lock().await.insert(connection)),
            Err(StoreError::Away { what, .. }) => {
                tracing::error!(database = at, what, "the database is away; records wait in the spool file");
            }
            Err(error) => return Err(error),
        }
        Ok(opened)
    }

    /// Brings the schema up to date and leaves the lock to the server.
    ///
    /// # Errors
    /// A server that refuses or does not answer, another schema.
    pub(super) async fn beside(at: &str, options: PgConnectOptions) -> Result<Self, StoreError> {
        let opened = Self::unconnected(at, options);
        let prepared = async {
            let connected = PgConnection::connect_with(&opened.options).await;
            let mut connection = connected.map_err(|error| opened.failure(&error))?;
            opened.migrate(&mut connection).await
        };
        timeout(CONNECT_LIMIT, prepared).await.map_err(|_| opened.late())??;
        opened.is_prepared.store(true, Relaxed);
        Ok(opened)
    }

    fn unconnected(at: &str, options: PgConnectOptions) -> Self {
        let options = options.application_name("offhook").options([("statement_timeout", STATEMENT_LIMIT)]);
        let others = PgPoolOptions::new().max_connections(OTHERS).acquire_timeout(ACQUIRE);
        let others = others.connect_lazy_with(options.clone());
        let options = options.options([("lock_timeout", LOCK_LIMIT)]);
        Self { at: at.to_owned(), options, writer: Arc::default(), others, is_prepared: Arc::default() }
    }

    /// Whether the database was reached since the start.
    pub(super) fn is_prepared(&self) -> bool {
        self.is_prepared.load(Relaxed)
    }

    /// As SQLite's `write`: all rows or none, and the turns that were new.
    pub(super) async fn write(&self, rows: &[Row]) -> Result<Vec<Turn>, sqlx::Error> {
        let mut writer = self.writer.lock().await;
        let mut connection = match writer.take() {
            Some(connection) => connection,
            None => self.connect().await.map_err(|error| sqlx::Error::Configuration(error.into()))?,
        };
        let done = timeout(WRITE_LIMIT, batch::put(&mut connection, rows)).await.unwrap_or_else(|_| Err(too_slow()));
        // What failed for any other reason than its rows is not trusted with the next ones.
        if done.as_ref().err().is_none_or(is_about_rows) {
            *writer = Some(connection);
        }
        done
    }

    /// A transaction that sees one moment and changes nothing.
    pub(super) async fn reading(&self) -> Result<Session, sqlx::Error> {
        let begun = self.others.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
        begun.map(Session::Postgres)
    }

    /// A transaction that writes, beside the one that writes records.
    pub(super) async fn writing(&self) -> Result<Session, sqlx::Error> {
        self.others.begin().await.map(Session::Postgres)
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.writer.lock().await.take() {
            // The server sees a broken connection where this fails.
            let _ = connection.close().await;
        }
        self.others.close().await;
    }

    /// A connection that holds the lock, to a database whose schema is up to date.
    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let prepared = async {
            let mut connection =
                PgConnection::connect_with(&self.options).await.map_err(|error| self.failure(&error))?;
            self.lock(&mut connection).await?;
            self.migrate(&mut connection).await?;
            Ok(connection)
        };
        let connection = timeout(CONNECT_LIMIT, prepared).await.map_err(|_| self.late())??;
        self.is_prepared.store(true, Relaxed);
        Ok(connection)
    }

    /// Makes sure that no other server closes this one's calls as crashed. A process that was killed gives the lock back
    /// as soon as the server has noticed.
    async fn lock(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let ask = sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)");
        let mut taken = ask.bind(LOCK).fetch_one(&mut *connection).await.map_err(|error| self.failure(&error))?;
        for _ in 0..LOCK_TRIES {
            if taken {
                return Ok(());
            }
            tokio::time::sleep(LOCK_PAUSE).await;
            let ask = sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)");
            taken = ask.bind(LOCK).fetch_one(&mut *connection).await.map_err(|error| self.failure(&error))?;
        }
        if taken { Ok(()) } else { Err(StoreError::InUse { at: self.at.clone() }) }
    }

    async fn migrate(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let broken = |error: sqlx::Error| self.failure(&error);
        let found: Option<String> = sqlx::query_scalar("SELECT to_regclass('schema_version')::text")
            .fetch_one(&mut *connection)
            .await
            .map_err(broken)?;
        if found.is_none() {
            sqlx::query(CREATE).execute(&mut *connection).await.map_err(broken)?;
        }
        let applied = sqlx::query(APPLIED).fetch_all(&mut *connection).await.map_err(broken)?;
        let known = applied.iter().map(|row| (row.get::<i64, _>(0), row.get::<String, _>(1)));
        for step in missing(&self.at, known, POSTGRES)? {
            let mut open = connection.begin().await.map_err(broken)?;
            sqlx::raw_sql(step.sql).execute(&mut *open).await.map_err(broken)?;
            sqlx::query(REMEMBER)
                .bind(step.version)
                .bind(checksum(step.sql))
                .bind(time(jiff::Timestamp::now()))
                .execute(&mut *open)
                .await
                .map_err(broken)?;
            open.commit().await.map_err(broken)?;
        }
        Ok(())
    }

    fn late(&self) -> StoreError {
        StoreError::Away { at: self.at.clone(), what: format!("no answer within {CONNECT_LIMIT:?}") }
    }

    fn failure(&self, error: &sqlx::Error) -> StoreError {
        let (at, what) = (self.at.clone(), error.to_string());
        if is_busy(error) { StoreError::Away { at, what } } else { StoreError::Open { at, what } }
    }
}

fn too_slow() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {WRITE_LIMIT:?}")))
}

/// Whether the same may succeed a little later: nobody answers, or another transaction was in the way.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    match error {
        // A certificate that nobody vouches for is data that is wrong.
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Configuration(inner) => {
            matches!(inner.downcast_ref(), Some(StoreError::Away { .. } | StoreError::InUse { .. }))
        }
        _ => class(error).is_some_and(|class| AWAY.contains(&class.as_str())),
    }
}

/// Whether the rows themselves are refused, whenever they are written.
pub(super) fn is_about_rows(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Encode(_)) || class(error).is_some_and(|class| ROWS.contains(&class.as_str()))
}

/// The first two characters of SQLSTATE.
fn class(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code()?.get(..2).map(str::to_owned)
}

/// Classes of SQLSTATE (PostgreSQL, appendix A): connection, rollback, resources, a lock that was not had in time,
/// intervention of an operator (shutdown, starting up), system.
const AWAY: [&str; 6] = ["08", "40", "53", "55", "57", "58"];
/// Data, cardinality, constraints, limits, exceptions that a trigger raises.
const ROWS: [&str; 5] = ["22", "21", "23", "54", "P0"];

/// Any number that no other program takes in this database.
const LOCK: i64 = 0x0FF_400C;
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// The longest time to connect, lock and migrate.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest time for a batch.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Who asks the API does not wait longer than this for a connection.
const ACQUIRE: Duration = Duration::from_secs(2);
/// In ms; the server itself gives up on a statement then.
const STATEMENT_LIMIT: &str = "8000";
/// In ms; records do not wait for another transaction's lock for longer, the spool is quicker.
const LOCK_LIMIT: &str = "250";
const OTHERS: u32 = 4;

const CREATE: &str =
    "CREATE TABLE schema_version (version BIGINT PRIMARY KEY, checksum TEXT NOT NULL, applied_at TEXT NOT NULL)";
const APPLIED: &str = "SELECT version, checksum FROM schema_version ORDER BY version";
const REMEMBER: &str = "INSERT INTO schema_version (version, checksum, applied_at) VALUES ($1, $2, $3)";

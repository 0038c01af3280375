//! The database behind the store, whichever engine it is: what is asked of it, and what its errors mean.

use super::StoreError;
use super::columns::{self, Columns as _, unexpected};
use super::interruptions;
use super::postgres::{self, Postgres};
use super::read::{CallDetail, CallRow, MOST_CALLS, MOST_EVENTS, MOST_INTERRUPTIONS, MOST_TURNS};
use super::record::{CallId, EndReason, RecordingName};
use super::recordings;
use super::row::{Row, Turn};
use super::session::Session;
use super::sqlite::{self, Sqlite};
use super::url::Place;

/// An open database.
#[derive(Clone, Debug)]
pub(super) struct Db {
    /// What errors call it.
    at: String,
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl Db {
    /// Opens the database and brings its schema up to date. A server that does not answer is opened all the same; see
    /// [`Db::is_prepared`].
    ///
    /// # Errors
    /// What keeps the server from starting.
    pub(super) async fn open(place: &Place) -> Result<Self, StoreError> {
        let at = place.name();
        let engine = match place {
            Place::File(file) => Engine::Sqlite(Sqlite::open(file).await?),
            Place::Server(options) => Engine::Postgres(Box::new(Postgres::open(&at, (**options).clone()).await?)),
        };
        Ok(Self { at, engine })
    }

    /// The same beside a server that may be running on it: takes nothing that is for one server only.
    ///
    /// # Errors
    /// A database that cannot be used or does not answer.
    pub(super) async fn beside(place: &Place) -> Result<Self, StoreError> {
        let at = place.name();
        let engine = match place {
            Place::File(file) => Engine::Sqlite(Sqlite::beside(file).await?),
            Place::Server(options) => Engine::Postgres(Box::new(Postgres::beside(&at, (**options).clone()).await?)),
        };
        Ok(Self { at, engine })
    }

    /// Whether the schema was seen to be this program's. Until then nothing of an earlier process was looked at.
    pub(super) fn is_prepared(&self) -> bool {
        match &self.engine {
            Engine::Sqlite(_) => true,
            Engine::Postgres(db) => db.is_prepared(),
        }
    }

    /// Writes all rows or none. Returns the turns that were new: a row that is already there is left as it is, so a
    /// batch may be written again after a crash. Without rows it still finds out whether the database takes any.
    pub(super) async fn write(&self, rows: &[Row]) -> Result<Vec<Turn>, sqlx::Error> {
        match &self.engine {
            Engine::Sqlite(db) => db.write(rows).await,
            Engine::Postgres(db) => db.write(rows).await,
        }
    }

    /// Whether the same write may succeed a little later.
    pub(super) fn is_busy(&self, error: &sqlx::Error) -> bool {
        match &self.engine {
            Engine::Sqlite(_) => sqlite::is_busy(error),
            Engine::Postgres(_) => postgres::is_busy(error),
        }
    }

    /// Whether the rows themselves are refused, whenever they are written.
    pub(super) fn is_about_rows(&self, error: &sqlx::Error) -> bool {
        match &self.engine {
            Engine::Sqlite(_) => sqlite::is_about_rows(error),
            Engine::Postgres(_) => postgres::is_about_rows(error),
        }
    }

    /// A transaction that sees one moment and changes nothing.
    pub(super) async fn reading(&self) -> Result<Session, sqlx::Error> {
        match &self.engine {
            Engine::Sqlite(db) => db.reading().await,
            Engine::Postgres(db) => db.reading().await,
        }
    }

    /// A transaction that writes.
    pub(super) async fn writing(&self) -> Result<Session, sqlx::Error> {
        match &self.engine {
            Engine::Sqlite(db) => db.writing().await,
            Engine::Postgres(db) => db.writing().await,
        }
    }

    /// Waits for what is in progress.
    pub(super) async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(db) => db.close().await,
            Engine::Postgres(db) => db.close().await,
        }
    }

    /// Closes the calls that a process before this one left unfinished; returns how many. This process's own calls are
    /// those from `before` on, where it has begun some.
    pub(super) async fn close_unfinished(&self, before: Option<CallId>) -> Result<u64, sqlx::Error> {
        let sql = match &self.engine {
            Engine::Sqlite(_) => CLOSE_UNFINISHED_SQLITE,
            Engine::Postgres(_) => CLOSE_UNFINISHED_POSTGRES,
        };
        let before = before.map_or_else(|| AFTER_ALL.to_owned(), |id| id.to_string());
        let mut session = self.writing().await?;
        let closed = session.run(sql, &[EndReason::CrashRecovered.as_str().into(), before.as_str().into()]).await?;
        session.commit().await?;
        Ok(closed)
    }

    /// The newest calls, or those before `before`.
    pub(super) async fn recent_calls(&self, limit: u32, before: Option<CallId>) -> Result<Vec<CallRow>, sqlx::Error> {
        let before = before.map_or_else(|| AFTER_ALL.to_owned(), |id| id.to_string());
        let mut session = self.reading().await?;
        let rows = session.rows(RECENT_CALLS, &[before.as_str().into(), limit.min(MOST_CALLS).into()]).await?;
        rows.iter().map(columns::call).collect()
    }

    pub(super) async fn call(&self, id: CallId) -> Result<Option<CallDetail>, sqlx::Error> {
        let id = id.to_string();
        let id = id.as_str().into();
        let mut session = self.reading().await?;
        let calls = session.rows(CALL, &[id]).await?;
        let Some(call) = calls.first() else { return Ok(None) };
        let turns = session.rows(TURNS, &[id, MOST_TURNS.into()]).await?;
        let interruptions = session.rows(INTERRUPTIONS, &[id, MOST_INTERRUPTIONS.into()]).await?;
        let events = session.rows(EVENTS, &[id, MOST_EVENTS.into()]).await?;
        let recordings = session.rows(RECORDINGS, &[id]).await?;
        Ok(Some(CallDetail {
            call: columns::call(call)?,
            turns: turns.iter().map(columns::turn).collect::<Result<_, _>>()?,
            interruptions: interruptions.iter().map(interruptions::row).collect::<Result<_, _>>()?,
            events: events.iter().map(columns::event).collect::<Result<_, _>>()?,
            recordings: recordings.iter().map(recordings::row).collect::<Result<_, _>>()?,
        }))
    }

    /// Recordings that a process before this one left unfinished.
    pub(super) async fn unfinished_recordings(&self) -> Result<Vec<(CallId, RecordingName)>, sqlx::Error> {
        let rows = self.reading().await?.rows(UNFINISHED_RECORDINGS, &[]).await?;
        let one = |row: &super::session::AnyRow| {
            Ok((CallId::parse(&row.name("call_id")?).map_err(unexpected)?, recordings::name(row)?))
        };
        rows.iter().map(one).collect()
    }

    /// The turns of one UTC day (`2026-11-21`) in the order they were written.
    pub(super) async fn turns_of_day(&self, day: &str) -> Result<Vec<Turn>, sqlx::Error> {
        let sql = match &self.engine {
            Engine::Sqlite(_) => TURNS_OF_DAY_SQLITE,
            Engine::Postgres(_) => TURNS_OF_DAY_POSTGRES,
        };
        let rows = self.reading().await?.rows(sql, &[day.into()]).await?;
        rows.iter().map(columns::kept_turn).collect()
    }

    /// When the last turn of all was, by its own time.
    pub(super) async fn last_turn_at(&self) -> Result<Option<String>, sqlx::Error> {
        let rows = self.reading().await?.rows(LAST_TURN_AT, &[]).await?;
        rows.first().map_or(Ok(None), |row| row.text("at"))
    }

    /// A read that really touches the database.
    pub(super) async fn probe(&self) -> Result<(), sqlx::Error> {
        self.reading().await?.rows(PROBE, &[]).await.map(drop)
    }

    pub(super) fn unreadable(&self, error: &sqlx::Error) -> StoreError {
        StoreError::Read { at: self.at.clone(), what: error.to_string() }
    }

    pub(super) fn unwritable(&self, error: &sqlx::Error) -> StoreError {
        StoreError::Write { at: self.at.clone(), what: error.to_string() }
    }

    pub(super) fn unusable(&self, error: &sqlx::Error) -> StoreError {
        StoreError::Open { at: self.at.clone(), what: error.to_string() }
    }
}

/// Sorts after every id.
const AFTER_ALL: &str = "~";
const PROBE: &str = "SELECT version FROM schema_version LIMIT 1";
const RECENT_CALLS: &str = "SELECT * FROM calls WHERE id < $1 ORDER BY id DESC LIMIT $2";
const CALL: &str = "SELECT * FROM calls WHERE id = $1";
const TURNS: &str = "SELECT * FROM user_sessions WHERE call_id = $1 ORDER BY number LIMIT $2";
const EVENTS: &str = "SELECT * FROM events WHERE call_id = $1 ORDER BY id LIMIT $2";
const INTERRUPTIONS: &str = "SELECT * FROM interruptions WHERE call_id = $1 ORDER BY id LIMIT $2";
const RECORDINGS: &str = "SELECT * FROM recordings WHERE call_id = $1 ORDER BY number";
const UNFINISHED_RECORDINGS: &str = "SELECT call_id, number, format FROM recordings WHERE state = 'recording'";
const LAST_TURN_AT: &str = "SELECT max(at) AS at FROM user_sessions";
const TURNS_OF_DAY_SQLITE: &str = "SELECT * FROM user_sessions WHERE at >= $1 AND at < $1 || '~' ORDER BY rowid";
const TURNS_OF_DAY_POSTGRES: &str = "SELECT * FROM user_sessions WHERE at >= $1 AND at < $1 || '~' ORDER BY written";
/// A call ended no earlier than the last thing known of it.
const CLOSE_UNFINISHED_SQLITE: &str = "WITH last (id, at, turns) AS (SELECT c.id, \
         max(c.started_at, coalesce((SELECT max(at) FROM user_sessions WHERE call_id = c.id), ''), \
             coalesce((SELECT max(at) FROM events WHERE call_id = c.id), '')), \
         (SELECT count(*) FROM user_sessions WHERE call_id = c.id) \
       FROM calls c WHERE c.ended_at IS NULL AND c.id < $2) \
     UPDATE calls SET ended_at = last.at, end_reason = $1, turns = last.turns, \
         duration_ms = round((julianday(last.at) - julianday(started_at)) * 86400000.0) \
     FROM last WHERE calls.id = last.id";
const CLOSE_UNFINISHED_POSTGRES: &str = "WITH last (id, at, turns) AS (SELECT c.id, \
         greatest(c.started_at, (SELECT max(at) FROM user_sessions WHERE call_id = c.id), \
             (SELECT max(at) FROM events WHERE call_id = c.id)), \
         (SELECT count(*) FROM user_sessions WHERE call_id = c.id) \
       FROM calls c WHERE c.ended_at IS NULL AND c.id < $2) \
     UPDATE calls SET ended_at = last.at, end_reason = $1, turns = last.turns, \
         duration_ms = round(extract(epoch FROM last.at::timestamptz - started_at::timestamptz) * 1000)::float8 \
     FROM last WHERE calls.id = last.id";

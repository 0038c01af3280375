//! SQLite: opening it safely, one transaction per batch, and reading back. What it reads by is at the end of this
//! file, what a batch is written by in `batch.rs`.
//!
//! One connection writes, a few read: WAL lets them do so at the same time. `synchronous=NORMAL` keeps what was
//! committed through a killed process; a power cut may cost the last commits, never the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{
    Sqlite as Engine, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{Pool, Row as _};

use super::StoreError;
use super::migrate::{MIGRATIONS, migrate};
use super::read::{CallDetail, CallRow, EventRow, MOST_CALLS, MOST_EVENTS, MOST_INTERRUPTIONS, MOST_TURNS, TurnRow};
use super::record::{CallId, CallSummary, EndReason, Quality, RecordingName};
use super::row::{Row, Turn};
use super::{batch, interruptions, recordings};
use crate::telemetry::pii::Pii;

/// An open database file.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    file: PathBuf,
    writer: Pool<Engine>,
    readers: Pool<Engine>,
}

impl Sqlite {
    /// Opens or makes `file`, checks it and brings its schema up to date.
    ///
    /// # Errors
    /// A file that cannot be opened, is damaged, or has another schema.
    pub(super) async fn open(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            // The log is cut back after a checkpoint, so one busy hour does not stay on the disk.
            .pragma("journal_size_limit", "67108864");
        let failed = |error: sqlx::Error| {
            if is_damage(&error) { StoreError::damaged(file, &error) } else { StoreError::open(file, &error) }
        };
        let pool = |most: u32, wait| PoolOptions::<Engine>::new().max_connections(most).acquire_timeout(wait);
        // A file needs no asking whether it is still there.
        let writer = pool(1, OPENING).test_before_acquire(false).connect_with(options.clone()).await.map_err(failed)?;
        let mut connection = writer.acquire().await.map_err(failed)?;
        examine(&mut connection, file).await?;
        migrate(&mut connection, file, MIGRATIONS).await?;
        drop(connection);
        let readers = pool(READERS, ACQUIRE).connect_lazy_with(options.pragma("query_only", "on"));
        Ok(Self { file: file.to_owned(), writer, readers })
    }

    /// Writes all rows or none. Returns the turns that were new: a row that is already there is left as it is, so a
    /// batch may be written again after a crash.
    pub(super) async fn write(&self, rows: &[Row]) -> Result<Vec<Turn>, sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let fresh = batch::put(&mut transaction, rows).await?;
        transaction.commit().await?;
        Ok(fresh)
    }

    /// Closes the calls that a process before this one left unfinished; returns how many.
    pub(super) async fn close_unfinished(&self) -> Result<u64, sqlx::Error> {
        let reason = EndReason::CrashRecovered;
        let closed = sqlx::query(CLOSE_UNFINISHED).bind(reason.as_str()).execute(&self.writer).await?;
        Ok(closed.rows_affected())
    }

    /// The newest calls, or those before `before`.
    pub(super) async fn recent_calls(&self, limit: u32, before: Option<CallId>) -> Result<Vec<CallRow>, StoreError> {
        let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
        let rows = sqlx::query(RECENT_CALLS)
            .bind(before)
            .bind(limit.min(MOST_CALLS))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.unreadable(&error))?;
        rows.iter().map(call_row).collect::<Result<_, _>>().map_err(|error| self.unreadable(&error))
    }

    pub(super) async fn call(&self, id: CallId) -> Result<Option<CallDetail>, StoreError> {
        self.read_call(&id.to_string()).await.map_err(|error| self.unreadable(&error))
    }

    async fn read_call(&self, id: &str) -> Result<Option<CallDetail>, sqlx::Error> {
        // One transaction, so that all reads see the same moment.
        let mut read = self.readers.begin().await?;
        let Some(call) = sqlx::query(CALL).bind(id).fetch_optional(&mut *read).await? else { return Ok(None) };
        let turns = sqlx::query(TURNS).bind(id).bind(MOST_TURNS).fetch_all(&mut *read).await?;
        let events = sqlx::query(EVENTS).bind(id).bind(MOST_EVENTS).fetch_all(&mut *read).await?;
        let interruptions =
            sqlx::query(interruptions::OF_CALL).bind(id).bind(MOST_INTERRUPTIONS).fetch_all(&mut *read).await?;
        let recordings = sqlx::query(recordings::OF_CALL).bind(id).fetch_all(&mut *read).await?;
        Ok(Some(CallDetail {
            call: call_row(&call)?,
            turns: turns.iter().map(turn_row).collect::<Result<_, _>>()?,
            interruptions: interruptions.iter().map(interruptions::row).collect::<Result<_, _>>()?,
            events: events.iter().map(event_row).collect::<Result<_, _>>()?,
            recordings: recordings.iter().map(recordings::row).collect::<Result<_, _>>()?,
        }))
    }

    /// Recordings that a process before this one left unfinished.
    pub(super) async fn unfinished_recordings(&self) -> Result<Vec<(CallId, RecordingName)>, StoreError> {
        let rows = sqlx::query(recordings::UNFINISHED).fetch_all(&self.writer).await;
        let rows = rows.map_err(|error| self.unreadable(&error))?;
        rows.iter().map(recordings::named).collect::<Result<_, _>>().map_err(|error| self.unreadable(&error))
    }

    /// The turns of one UTC day (`2026-11-21`) in the order they were written.
    pub(super) async fn turns_of_day(&self, day: &str) -> Result<Vec<Turn>, sqlx::Error> {
        let rows = sqlx::query(TURNS_OF_DAY).bind(day).bind(day).fetch_all(&self.writer).await?;
        rows.iter().map(kept_turn).collect()
    }

    /// When the last turn of all was, by its own time.
    pub(super) async fn last_turn_at(&self) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar(LAST_TURN_AT).fetch_one(&self.writer).await
    }

    /// A read that really touches the file.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        sqlx::query(PROBE).fetch_one(&self.readers).await.map(drop).map_err(|error| self.unreadable(&error))
    }

    /// Waits for what is in progress, then folds the log into the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn unreadable(&self, error: &sqlx::Error) -> StoreError {
        StoreError::Read { file: self.file.clone(), what: error.to_string() }
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
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
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
        Ok(verdict) => Err(StoreError::Damaged { file: file.to_owned(), what: verdict }),
        Err(error) => Err(StoreError::damaged(file, &error)),
    }
}

pub(super) type Statement<'a> = sqlx::query::Query<'a, Engine, <Engine as sqlx::Database>::Arguments>;

fn call_row(row: &SqliteRow) -> Result<CallRow, sqlx::Error> {
    let ended_at: Option<String> = row.try_get("ended_at")?;
    let count = |column: &str| row.try_get::<Option<u64>, _>(column).map(Option::unwrap_or_default);
    let small = |column: &str| row.try_get::<Option<u32>, _>(column).map(Option::unwrap_or_default);
    let ms = |column: &str| row.try_get::<Option<f64>, _>(column).map(Option::unwrap_or_default);
    let summary = CallSummary {
        duration_ms: ms("duration_ms")?,
        turns: small("turns")?,
        barge_ins: small("barge_ins")?,
        frames_sent: count("frames_sent")?,
        frames_received: count("frames_received")?,
        packets_lost: count("packets_lost")?,
        concealed_ms: count("concealed_ms")?,
        jitter_ms: ms("jitter_ms")?,
        late_ticks: count("late_ticks")?,
        holds: small("holds")?,
        held_ms: ms("held_ms")?,
        quality: Box::new(Quality {
            loss_percent: row.try_get("loss_percent")?,
            far_loss_percent: row.try_get("far_loss_percent")?,
            round_trip_ms: row.try_get("round_trip_ms")?,
            r_factor: row.try_get("r_factor")?,
            mos: row.try_get("mos")?,
            codec: row.try_get("codec")?,
            srtp: row.try_get("srtp")?,
        }),
        ..CallSummary::default()
    };
    Ok(CallRow {
        id: CallId::parse(row.try_get("id")?).map_err(unexpected)?,
        via: row.try_get("via")?,
        direction: row.try_get("direction")?,
        trunk: row.try_get("trunk")?,
        transfer: row.try_get("transfer")?,
        called: Pii::new(row.try_get("called")?),
        caller: Pii::new(row.try_get("caller")?),
        flow: row.try_get("flow")?,
        started_at: moment(row, "started_at")?,
        summary: ended_at.is_some().then_some(summary),
        ended_at: ended_at
            .map(|at| at.parse().map_err(|error: jiff::Error| unexpected(error.to_string())))
            .transpose()?,
        end_reason: row.try_get("end_reason")?,
    })
}

fn turn_row(row: &SqliteRow) -> Result<TurnRow, sqlx::Error> {
    let words = |column: &str| row.try_get::<Option<String>, _>(column).map(|words| words.map(Pii::new));
    Ok(TurnRow {
        number: row.try_get("number")?,
        at: moment(row, "at")?,
        step: row.try_get("step")?,
        caller_words: words("caller_words")?,
        keys_pressed: row.try_get("keys_pressed")?,
        heard: words("heard")?,
        unheard: words("unheard")?,
        asr_ms: row.try_get("asr_ms")?,
        llm_ms: row.try_get("llm_ms")?,
        tts_ms: row.try_get("tts_ms")?,
        total_ms: row.try_get("total_ms")?,
        barge_in_ms: row.try_get("barge_in_ms")?,
        error: row.try_get("error")?,
    })
}

fn kept_turn(row: &SqliteRow) -> Result<Turn, sqlx::Error> {
    Ok(Turn {
        call: row.try_get("call_id")?,
        number: row.try_get("number")?,
        at: row.try_get("at")?,
        step: row.try_get("step")?,
        caller_words: row.try_get("caller_words")?,
        keys_pressed: row.try_get("keys_pressed")?,
        heard: row.try_get("heard")?,
        unheard: row.try_get("unheard")?,
        asr_ms: row.try_get("asr_ms")?,
        llm_ms: row.try_get("llm_ms")?,
        tts_ms: row.try_get("tts_ms")?,
        total_ms: row.try_get("total_ms")?,
        barge_in_ms: row.try_get("barge_in_ms")?,
        error: row.try_get("error")?,
    })
}

fn event_row(row: &SqliteRow) -> Result<EventRow, sqlx::Error> {
    let detail: Option<String> = row.try_get("detail")?;
    // A detail that was cut for its length is no JSON any more; it is still worth reading.
    let detail = detail.map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)));
    Ok(EventRow {
        at: moment(row, "at")?,
        at_ms: row.try_get("at_ms")?,
        kind: row.try_get("kind")?,
        detail: detail.map(Pii::new),
    })
}

pub(super) fn moment(row: &SqliteRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error: jiff::Error| unexpected(format!("{column}: {error}")))
}

pub(super) fn unexpected(what: String) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

/// SQLite's own wait for a lock; the writer's retries come on top.
const BUSY: Duration = Duration::from_millis(250);
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

const PROBE: &str = "SELECT 1 FROM schema_version LIMIT 1";
/// The call ended no earlier than the last thing known of it.
const CLOSE_UNFINISHED: &str = "WITH last (id, at, turns) AS (SELECT c.id, \
         max(c.started_at, coalesce((SELECT max(at) FROM user_sessions WHERE call_id = c.id), ''), \
             coalesce((SELECT max(at) FROM events WHERE call_id = c.id), '')), \
         (SELECT count(*) FROM user_sessions WHERE call_id = c.id) \
       FROM calls c WHERE c.ended_at IS NULL) \
     UPDATE calls SET ended_at = last.at, end_reason = ?, turns = last.turns, \
         duration_ms = round((julianday(last.at) - julianday(started_at)) * 86400000.0) \
     FROM last WHERE calls.id = last.id";
const RECENT_CALLS: &str = "SELECT * FROM calls WHERE id < ? ORDER BY id DESC LIMIT ?";
const CALL: &str = "SELECT * FROM calls WHERE id = ?";
const TURNS: &str = "SELECT * FROM user_sessions WHERE call_id = ? ORDER BY number LIMIT ?";
const EVENTS: &str = "SELECT * FROM events WHERE call_id = ? ORDER BY id LIMIT ?";
const TURNS_OF_DAY: &str = "SELECT * FROM user_sessions WHERE at >= ? AND at < ? || '~' ORDER BY rowid";
const LAST_TURN_AT: &str = "SELECT max(at) FROM user_sessions";

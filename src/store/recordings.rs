//! Recordings in the database: their rows and their SQL.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::read::RecordingRow;
use super::record::{CallId, RecordingName};
use super::row::Recording;
use super::sqlite::{Statement, moment, unexpected};
use crate::config::RecordingFormat;

pub(super) fn begin<'a>(call: &'a str, at: &'a str, number: u32, format: &'a str, consent: &'a str) -> Statement<'a> {
    sqlx::query(BEGIN).bind(call).bind(number).bind(format).bind(consent).bind(at)
}

pub(super) fn end(recording: &Recording) -> Statement<'_> {
    sqlx::query(END)
        .bind(&recording.call)
        .bind(recording.number)
        .bind(&recording.state)
        .bind(&recording.format)
        .bind(&recording.consent)
        .bind(&recording.at)
        .bind(recording.ms)
        .bind(recording.bytes)
        .bind(&recording.sha256)
        .bind(recording.dropped_frames)
        .bind(&recording.pauses)
        .bind(&recording.fault)
}

pub(super) fn row(row: &SqliteRow) -> Result<RecordingRow, sqlx::Error> {
    let at = |column: &str| match row.try_get::<Option<String>, _>(column)? {
        None => Ok(None),
        Some(_) => moment(row, column).map(Some),
    };
    let pauses: Option<String> = row.try_get("pauses")?;
    let pauses = pauses.map(|text| serde_json::from_str(&text)).transpose();
    Ok(RecordingRow {
        name: name(row)?,
        state: row.try_get("state")?,
        consent: row.try_get("consent")?,
        began_at: at("began_at")?,
        ended_at: at("ended_at")?,
        ms: row.try_get("ms")?,
        bytes: row.try_get("bytes")?,
        sha256: row.try_get("sha256")?,
        dropped_frames: row.try_get("dropped_frames")?,
        pauses: pauses.map_err(|error| unexpected(format!("pauses: {error}")))?.unwrap_or_default(),
        fault: row.try_get("fault")?,
    })
}

pub(super) fn named(row: &SqliteRow) -> Result<(CallId, RecordingName), sqlx::Error> {
    Ok((CallId::parse(row.try_get("call_id")?).map_err(unexpected)?, name(row)?))
}

fn name(row: &SqliteRow) -> Result<RecordingName, sqlx::Error> {
    let format: String = row.try_get("format")?;
    let format = RecordingFormat::of_name(&format).ok_or_else(|| unexpected(format!("format: `{format}`")))?;
    Ok(RecordingName { number: row.try_get("number")?, format })
}

const BEGIN: &str = "INSERT INTO recordings (call_id, number, state, format, consent, began_at) \
     VALUES (?, ?, 'recording', ?, ?, ?) ON CONFLICT (call_id, number) DO NOTHING";
/// What is over stays as it ended, however often its row is written again; a recovered file tells more than none.
const END: &str = "INSERT INTO recordings (call_id, number, state, format, consent, ended_at, ms, bytes, sha256, \
     dropped_frames, pauses, fault) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
     ON CONFLICT (call_id, number) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at, \
     ms = excluded.ms, bytes = excluded.bytes, sha256 = excluded.sha256, dropped_frames = excluded.dropped_frames, \
     pauses = excluded.pauses, fault = excluded.fault WHERE state = 'recording'";
pub(super) const OF_CALL: &str = "SELECT * FROM recordings WHERE call_id = ? ORDER BY number";
pub(super) const UNFINISHED: &str = "SELECT call_id, number, format FROM recordings WHERE state = 'recording'";

//! Recordings in the database: their rows and their SQL.

use super::columns::{Columns, unexpected};
use super::read::RecordingRow;
use super::record::RecordingName;
use super::row::Recording;
use super::sqlite::Statement;
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

pub(super) fn row(row: &impl Columns) -> Result<RecordingRow, sqlx::Error> {
    let pauses = row.text("pauses")?.map(|text| serde_json::from_str(&text)).transpose();
    Ok(RecordingRow {
        name: name(row)?,
        state: row.name("state")?,
        consent: row.name("consent")?,
        began_at: row.moment("began_at")?,
        ended_at: row.moment("ended_at")?,
        ms: row.count("ms")?,
        bytes: row.count("bytes")?,
        sha256: row.text("sha256")?,
        dropped_frames: row.count("dropped_frames")?,
        pauses: pauses.map_err(|error| unexpected(format!("pauses: {error}")))?.unwrap_or_default(),
        fault: row.text("fault")?,
    })
}

pub(super) fn name(row: &impl Columns) -> Result<RecordingName, sqlx::Error> {
    let format = row.name("format")?;
    let format = RecordingFormat::of_name(&format).ok_or_else(|| unexpected(format!("format: `{format}`")))?;
    Ok(RecordingName { number: row.number("number")?, format })
}

const BEGIN: &str = "INSERT INTO recordings (call_id, number, state, format, consent, began_at) \
     VALUES (?, ?, 'recording', ?, ?, ?) ON CONFLICT (call_id, number) DO NOTHING";
/// What is over stays as it ended, however often its row is written again; a recovered file tells more than none.
const END: &str = "INSERT INTO recordings (call_id, number, state, format, consent, ended_at, ms, bytes, sha256, \
     dropped_frames, pauses, fault) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
     ON CONFLICT (call_id, number) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at, \
     ms = excluded.ms, bytes = excluded.bytes, sha256 = excluded.sha256, dropped_frames = excluded.dropped_frames, \
     pauses = excluded.pauses, fault = excluded.fault WHERE state = 'recording'";

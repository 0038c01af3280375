//! A batch of rows inside its transaction.
//!
//! A statement costs two switches of threads, more than what it does: the kinds of rows of which a batch has many go in as
//! one JSON array each. What a call's tables refer to is written first.

use std::collections::HashSet;

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::row::{Row, Turn};
use super::{interruptions, recordings};

/// Writes all rows. Returns the turns that were new: a row that is already there is left as it is.
pub(super) async fn put(batch: &mut SqliteConnection, rows: &[Row]) -> Result<Vec<Turn>, sqlx::Error> {
    let of = |kind: fn(&Row) -> bool| rows.iter().filter(|row| kind(row)).collect::<Vec<_>>();
    together(batch, START_CALLS, &of(|row| matches!(row, Row::Started { .. }))).await?;
    let fresh = put_turns(batch, &of(|row| matches!(row, Row::Turn(_)))).await?;
    together(batch, ADD_EVENTS, &of(|row| matches!(row, Row::Event { .. }))).await?;
    for row in rows {
        put_rare(batch, row).await?;
    }
    let ended = of(|row| matches!(row, Row::Ended { .. }));
    if together(batch, END_CALLS, &ended).await? < ended.len() as u64 {
        // The start of one was lost, or its end is known already.
        ensure_calls(batch, &ended).await?;
        together(batch, END_CALLS, &ended).await?;
    }
    Ok(fresh)
}

/// Rows of one kind in one statement; how many it wrote.
async fn together(batch: &mut SqliteConnection, sql: &'static str, rows: &[&Row]) -> Result<u64, sqlx::Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    let rows_json = json(rows)?;
    let done = match sqlx::query(sql).bind(&rows_json).execute(&mut *batch).await {
        Err(error) if is_missing_call(&error) => {
            ensure_calls(batch, rows).await?;
            sqlx::query(sql).bind(&rows_json).execute(batch).await?
        }
        done => done?,
    };
    Ok(done.rows_affected())
}

async fn put_turns(batch: &mut SqliteConnection, rows: &[&Row]) -> Result<Vec<Turn>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let turns_json = json(rows)?;
    let written = match sqlx::query(ADD_TURNS).bind(&turns_json).fetch_all(&mut *batch).await {
        Err(error) if is_missing_call(&error) => {
            ensure_calls(batch, rows).await?;
            sqlx::query(ADD_TURNS).bind(&turns_json).fetch_all(batch).await?
        }
        written => written?,
    };
    let written: HashSet<(String, u32)> =
        written.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?;
    let turns = rows.iter().filter_map(|row| if let Row::Turn(turn) = row { Some(&**turn) } else { None });
    Ok(turns.filter(|turn| written.contains(&(turn.call.clone(), turn.number))).cloned().collect())
}

/// Rows of which a call has few or none.
async fn put_rare(batch: &mut SqliteConnection, row: &Row) -> Result<(), sqlx::Error> {
    let statement = || match row {
        Row::Interruption(kept) => Some(interruptions::add(kept)),
        Row::RecordingBegan { call, at, number, format, consent } => {
            Some(recordings::begin(call, at, *number, format, consent))
        }
        Row::RecordingEnded(recording) => Some(recordings::end(recording)),
        Row::Started { .. } | Row::Turn(_) | Row::Event { .. } | Row::Ended { .. } => None,
    };
    let Some(first) = statement() else { return Ok(()) };
    match first.execute(&mut *batch).await {
        Err(error) if is_missing_call(&error) => {
            ensure_calls(batch, &[row]).await?;
            if let Some(second) = statement() {
                second.execute(batch).await?;
            }
        }
        done => {
            done?;
        }
    }
    Ok(())
}

/// The start of a call was lost to a full queue; what came after it is worth keeping all the same. That is so rare that
/// trying first costs less than asking every time.
async fn ensure_calls(batch: &mut SqliteConnection, rows: &[&Row]) -> Result<(), sqlx::Error> {
    sqlx::query(ENSURE_CALLS).bind(json(rows)?).execute(batch).await?;
    Ok(())
}

fn json(rows: &[&Row]) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// Whether the row is of a call that the database does not know.
fn is_missing_call(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}

const START_CALLS: &str = "INSERT INTO calls (id, via, direction, called, caller, flow, started_at) \
     SELECT value->>'call', value->>'via', value->>'direction', value->>'called', value->>'caller', value->>'flow', \
         value->>'at' FROM json_each(?) WHERE true \
     ON CONFLICT (id) DO UPDATE SET via = excluded.via, direction = excluded.direction, called = excluded.called, caller = excluded.caller, \
     flow = excluded.flow, started_at = excluded.started_at WHERE via = 'unknown'";
const ADD_TURNS: &str = "INSERT INTO user_sessions (call_id, number, at, step, caller_words, keys_pressed, heard, \
     unheard, asr_ms, llm_ms, tts_ms, total_ms, barge_in_ms, error) \
     SELECT value->>'call', value->>'number', value->>'at', value->>'step', value->>'caller_words', \
         value->>'keys_pressed', value->>'heard', value->>'unheard', value->>'asr_ms', value->>'llm_ms', \
         value->>'tts_ms', value->>'total_ms', value->>'barge_in_ms', value->>'error' FROM json_each(?) WHERE true \
     ON CONFLICT (call_id, number) DO NOTHING RETURNING call_id, number";
const ADD_EVENTS: &str = "INSERT INTO events (id, call_id, at, at_ms, kind, detail) \
     SELECT value->>'id', value->>'call', value->>'at', value->>'at_ms', value->>'kind', value->>'detail' \
     FROM json_each(?) WHERE true ON CONFLICT (id) DO NOTHING";
const END_CALLS: &str = "UPDATE calls SET ended_at = row->>'at', end_reason = row->>'reason', \
     duration_ms = row->>'$.summary.duration_ms', turns = row->>'$.summary.turns', \
     barge_ins = row->>'$.summary.barge_ins', frames_sent = row->>'$.summary.frames_sent', \
     frames_received = row->>'$.summary.frames_received', packets_lost = row->>'$.summary.packets_lost', \
     concealed_ms = row->>'$.summary.concealed_ms', jitter_ms = row->>'$.summary.jitter_ms', \
     late_ticks = row->>'$.summary.late_ticks', holds = row->>'$.summary.holds', held_ms = row->>'$.summary.held_ms', \
     transfer = row->>'$.summary.transfer', trunk = row->>'$.summary.trunk', \
     loss_percent = row->>'$.summary.loss_percent', far_loss_percent = row->>'$.summary.far_loss_percent', \
     round_trip_ms = row->>'$.summary.round_trip_ms', r_factor = row->>'$.summary.r_factor', mos = row->>'$.summary.mos', \
     codec = row->>'$.summary.codec', srtp = row->>'$.summary.srtp' \
     FROM (SELECT value AS row, value->>'call' AS call FROM json_each(?)) AS ended \
     WHERE calls.id = ended.call AND ended_at IS NULL";
const ENSURE_CALLS: &str = "INSERT INTO calls (id, via, called, caller, flow, started_at) \
     SELECT value->>'call', 'unknown', '', '', '', value->>'at' FROM json_each(?) WHERE true ON CONFLICT (id) DO NOTHING";

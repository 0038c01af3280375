//! A batch of rows inside its transaction: the rows of each kind go in as one JSON array.
//!
//! An error ends a transaction here, so nothing is tried first: the calls that the rows belong to are made sure of before
//! anything refers to them.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

use crate::store::row::{Row, Turn};

/// Writes all rows or none. Returns the turns that were new: a row that is already there is left as it is.
pub(super) async fn put(connection: &mut PgConnection, rows: &[Row]) -> Result<Vec<Turn>, sqlx::Error> {
    let of = |kind: fn(&Row) -> bool| rows.iter().filter(|row| kind(row)).collect::<Vec<_>>();
    let mut open = connection.begin().await?;
    together(&mut open, START_CALLS, &of(|row| matches!(row, Row::Started { .. }))).await?;
    let others = of(|row| !matches!(row, Row::Started { .. }));
    // The start of one may have been lost to a full queue; what came after it is worth keeping all the same.
    let calls: Vec<_> = others.iter().map(|row| serde_json::json!({"call": row.call(), "at": row.at()})).collect();
    together(&mut open, ENSURE_CALLS, &calls).await?;
    let fresh = put_turns(&mut open, &of(|row| matches!(row, Row::Turn(_)))).await?;
    together(&mut open, ADD_EVENTS, &of(|row| matches!(row, Row::Event { .. }))).await?;
    together(&mut open, ADD_INTERRUPTIONS, &of(|row| matches!(row, Row::Interruption(_)))).await?;
    together(&mut open, BEGIN_RECORDINGS, &of(|row| matches!(row, Row::RecordingBegan { .. }))).await?;
    together(&mut open, END_RECORDINGS, &of(|row| matches!(row, Row::RecordingEnded(_)))).await?;
    together(&mut open, END_CALLS, &of(|row| matches!(row, Row::Ended { .. }))).await?;
    open.commit().await?;
    Ok(fresh)
}

/// Rows of one kind in one statement.
async fn together<T: Serialize>(open: &mut PgConnection, sql: &'static str, rows: &[T]) -> Result<(), sqlx::Error> {
    if !rows.is_empty() {
        sqlx::query(sql).bind(json(rows)?).execute(open).await?;
    }
    Ok(())
}

async fn put_turns(open: &mut PgConnection, rows: &[&Row]) -> Result<Vec<Turn>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let written = sqlx::query(ADD_TURNS).bind(json(rows)?).fetch_all(open).await?;
    let written: HashSet<(String, i64)> =
        written.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?;
    let turns = rows.iter().filter_map(|row| if let Row::Turn(turn) = row { Some(&**turn) } else { None });
    Ok(turns.filter(|turn| written.contains(&(turn.call.clone(), turn.number.into()))).cloned().collect())
}

/// The rows as a JSON array. A text of PostgreSQL cannot hold U+0000; the symbol for it stands in its place.
fn json<T: Serialize>(rows: &[T]) -> Result<String, sqlx::Error> {
    let failed = |error: serde_json::Error| sqlx::Error::Encode(error.into());
    let text = serde_json::to_string(rows).map_err(failed)?;
    if !text.contains("\\u0000") {
        return Ok(text);
    }
    let mut rows: Value = serde_json::from_str(&text).map_err(failed)?;
    replace_nul(&mut rows);
    Ok(rows.to_string())
}

fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{2400}"),
        Value::Array(all) => all.iter_mut().for_each(replace_nul),
        Value::Object(all) => all.values_mut().for_each(replace_nul),
        _ => {}
    }
}

const START_CALLS: &str = "INSERT INTO calls (id, via, direction, called, caller, flow, started_at) \
     SELECT call, via, direction, called, caller, flow, at FROM json_to_recordset($1::json) \
         AS r(call text, via text, direction text, called text, caller text, flow text, at text) \
     ON CONFLICT (id) DO UPDATE SET via = excluded.via, direction = excluded.direction, called = excluded.called, \
         caller = excluded.caller, flow = excluded.flow, started_at = excluded.started_at WHERE calls.via = 'unknown'";
const ENSURE_CALLS: &str = "INSERT INTO calls (id, via, called, caller, flow, started_at) \
     SELECT call, 'unknown', '', '', '', at FROM json_to_recordset($1::json) AS r(call text, at text) \
     ON CONFLICT (id) DO NOTHING";
const ADD_TURNS: &str = "INSERT INTO user_sessions (call_id, number, at, step, caller_words, keys_pressed, heard, \
         unheard, asr_ms, llm_ms, tts_ms, total_ms, barge_in_ms, error) \
     SELECT call, number, at, step, caller_words, keys_pressed, heard, unheard, asr_ms, llm_ms, tts_ms, total_ms, \
         barge_in_ms, error FROM json_to_recordset($1::json) AS r(call text, number bigint, at text, step text, \
         caller_words text, keys_pressed bigint, heard text, unheard text, asr_ms double precision, \
         llm_ms double precision, tts_ms double precision, total_ms double precision, barge_in_ms double precision, \
         error text) \
     ON CONFLICT (call_id, number) DO NOTHING RETURNING call_id, number";
const ADD_EVENTS: &str = "INSERT INTO events (id, call_id, at, at_ms, kind, detail) \
     SELECT id, call, at, at_ms, kind, detail FROM json_to_recordset($1::json) \
         AS r(id text, call text, at text, at_ms double precision, kind text, detail text) \
     ON CONFLICT (id) DO NOTHING";
const ADD_INTERRUPTIONS: &str = "INSERT INTO interruptions (id, call_id, at, onset_ms, held_ms, decided_ms, outcome, \
         why, ducked, stop_ms, heard, unheard) \
     SELECT id, call, at, onset_ms, held_ms, decided_ms, outcome, why, ducked, stop_ms, heard, unheard \
     FROM json_to_recordset($1::json) AS r(id text, call text, at text, onset_ms double precision, \
         held_ms double precision, decided_ms double precision, outcome text, why text, ducked boolean, \
         stop_ms double precision, heard text, unheard text) \
     ON CONFLICT (id) DO NOTHING";
const BEGIN_RECORDINGS: &str = "INSERT INTO recordings (call_id, number, state, format, consent, began_at) \
     SELECT call, number, 'recording', format, consent, at FROM json_to_recordset($1::json) \
         AS r(call text, number bigint, format text, consent text, at text) \
     ON CONFLICT (call_id, number) DO NOTHING";
/// What is over stays as it ended, however often its row is written again; a recovered file tells more than none.
const END_RECORDINGS: &str = "INSERT INTO recordings (call_id, number, state, format, consent, ended_at, ms, bytes, \
         sha256, dropped_frames, pauses, fault) \
     SELECT call, number, state, format, consent, at, ms, bytes, sha256, dropped_frames, pauses, fault \
     FROM json_to_recordset($1::json) AS r(call text, number bigint, state text, format text, consent text, at text, \
         ms bigint, bytes bigint, sha256 text, dropped_frames bigint, pauses text, fault text) \
     ON CONFLICT (call_id, number) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at, \
         ms = excluded.ms, bytes = excluded.bytes, sha256 = excluded.sha256, \
         dropped_frames = excluded.dropped_frames, pauses = excluded.pauses, fault = excluded.fault \
         WHERE recordings.state = 'recording'";
const END_CALLS: &str = "UPDATE calls SET ended_at = r.at, end_reason = r.reason, duration_ms = s.duration_ms, \
         turns = s.turns, barge_ins = s.barge_ins, frames_sent = s.frames_sent, frames_received = s.frames_received, \
         packets_lost = s.packets_lost, concealed_ms = s.concealed_ms, jitter_ms = s.jitter_ms, \
         late_ticks = s.late_ticks, holds = s.holds, held_ms = s.held_ms, transfer = s.transfer, trunk = s.trunk, \
         loss_percent = s.loss_percent, far_loss_percent = s.far_loss_percent, round_trip_ms = s.round_trip_ms, \
         r_factor = s.r_factor, mos = s.mos, codec = s.codec, srtp = s.srtp \
     FROM json_to_recordset($1::json) AS r(call text, at text, reason text, summary json), \
         LATERAL json_to_record(r.summary) AS s(duration_ms double precision, turns bigint, barge_ins bigint, \
             frames_sent bigint, frames_received bigint, packets_lost bigint, concealed_ms bigint, \
             jitter_ms double precision, late_ticks bigint, holds bigint, held_ms double precision, transfer text, \
             trunk text, loss_percent double precision, far_loss_percent double precision, \
             round_trip_ms double precision, r_factor double precision, mos double precision, codec text, srtp text) \
     WHERE calls.id = r.call AND calls.ended_at IS NULL";

//! Interruptions in the database: their rows and their SQL.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::columns::Columns;
use super::read::InterruptionRow;
use super::record::{CallId, Interruption};
use super::row::{figure, kept_words, time};
use super::sqlite::Statement;
use crate::telemetry::pii::Pii;

/// An interruption as the table keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub id: String,
    pub call: String,
    pub at: String,
    pub onset_ms: f64,
    pub held_ms: f64,
    pub decided_ms: Option<f64>,
    pub outcome: String,
    pub why: String,
    pub ducked: bool,
    pub stop_ms: Option<f64>,
    pub heard: String,
    pub unheard: String,
}

/// Words scrubbed as those of turns are.
pub(super) fn kept(call: CallId, at: Timestamp, told: Interruption) -> Kept {
    Kept {
        id: Uuid::now_v7().to_string(),
        call: call.to_string(),
        at: time(at),
        onset_ms: figure(Some(told.onset_ms)).unwrap_or_default(),
        held_ms: figure(Some(told.held_ms)).unwrap_or_default(),
        decided_ms: figure(told.decided_ms),
        outcome: told.outcome.as_str().to_owned(),
        why: told.outcome.why().to_owned(),
        ducked: told.ducked,
        stop_ms: figure(told.stop_ms),
        heard: kept_words(&told.heard),
        unheard: kept_words(&told.unheard),
    }
}

pub(super) fn add(kept: &Kept) -> Statement<'_> {
    sqlx::query(ADD)
        .bind(&kept.id)
        .bind(&kept.call)
        .bind(&kept.at)
        .bind(kept.onset_ms)
        .bind(kept.held_ms)
        .bind(kept.decided_ms)
        .bind(&kept.outcome)
        .bind(&kept.why)
        .bind(kept.ducked)
        .bind(kept.stop_ms)
        .bind(&kept.heard)
        .bind(&kept.unheard)
}

pub(super) fn row(row: &impl Columns) -> Result<InterruptionRow, sqlx::Error> {
    Ok(InterruptionRow {
        at: row.at("at")?,
        onset_ms: row.ms("onset_ms")?,
        held_ms: row.ms("held_ms")?,
        decided_ms: row.real("decided_ms")?,
        outcome: row.name("outcome")?,
        why: row.name("why")?,
        ducked: row.flag("ducked")?,
        stop_ms: row.real("stop_ms")?,
        heard: Pii::new(row.name("heard")?),
        unheard: Pii::new(row.name("unheard")?),
    })
}

const ADD: &str = "INSERT INTO interruptions (id, call_id, at, onset_ms, held_ms, decided_ms, outcome, why, ducked, \
     stop_ms, heard, unheard) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING";

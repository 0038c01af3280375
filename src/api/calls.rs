//! Calls as operators see them: times, reasons and turns. Numbers are masked and digits in words too, even where the
//! store was told to keep them.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::recordings::{self, RecordingJson};
use super::{ApiError, ApiState};
use crate::store::record::{CallId, CallSummary};
use crate::store::{CallDetail, CallRow, EventRow, InterruptionRow, MOST_CALLS, Store, StoreError, TurnRow};
use crate::telemetry::pii::Pii;
use crate::telemetry::scrub::DIGITS;

/// Where calls are read from.
pub trait Calls: Send + Sync {
    /// The newest calls first.
    fn list(&self, page: Page) -> BoxFuture<'_, Result<Vec<CallRow>, StoreUnavailable>>;
    fn one(&self, id: CallId) -> BoxFuture<'_, Result<Option<CallDetail>, StoreUnavailable>>;
}

/// Calls cannot be read now. Why is for the log of whoever says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreUnavailable;

/// A stretch of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// 1 to [`MOST_CALLS`].
    pub limit: u32,
    /// Only calls older than this one.
    pub before: Option<CallId>,
}

impl Calls for Store {
    fn list(&self, page: Page) -> BoxFuture<'_, Result<Vec<CallRow>, StoreUnavailable>> {
        async move { self.recent_calls(page.limit, page.before).await.map_err(unavailable) }.boxed()
    }

    fn one(&self, id: CallId) -> BoxFuture<'_, Result<Option<CallDetail>, StoreUnavailable>> {
        async move { self.call(id).await.map_err(unavailable) }.boxed()
    }
}

fn unavailable(error: StoreError) -> StoreUnavailable {
    tracing::warn!(%error, "calls cannot be read");
    StoreUnavailable
}

/// The calls of this server, newest first.
#[utoipa::path(get, path = "/v1/calls", tag = "calls", params(ListQuery), responses((status = 200, body = CallList)))]
pub async fn list(State(state): State<ApiState>, query: Query<ListQuery>) -> Result<Json<CallList>, ApiError> {
    let page = page(&query)?;
    let rows = state.calls.list(page).await.map_err(|StoreUnavailable| UNAVAILABLE)?;
    Ok(Json(CallList { calls: rows.into_iter().map(CallJson::from).collect() }))
}

/// One call and its turns.
#[utoipa::path(get, path = "/v1/calls/{id}", tag = "calls", params(("id" = String, Path, description = "The call's id as it is in logs")),
    responses((status = 200, body = CallDetailJson), (status = 404, body = super::envelope::ErrorBody)))]
pub async fn one(State(state): State<ApiState>, Path(id): Path<String>) -> Result<Json<CallDetailJson>, ApiError> {
    let id = CallId::parse(&id).map_err(|_| BAD_ID)?;
    let found = state.calls.one(id).await.map_err(|StoreUnavailable| UNAVAILABLE)?;
    let detail = found.ok_or(NO_CALL)?;
    let progress = progress(&detail);
    let trunk = detail.call.trunk.clone().or_else(|| trunk(&detail.events));
    let turns = detail.turns.into_iter().map(TurnJson::from).collect();
    let interruptions = detail.interruptions.into_iter().map(InterruptionJson::from).collect();
    let events = detail.events.into_iter().map(EventJson::from).collect();
    let recordings = recordings::all(detail.recordings);
    let call = CallJson { trunk, ..detail.call.into() };
    Ok(Json(CallDetailJson { call, progress, turns, interruptions, events, recordings }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// How many at most, 1 to 500; 50 unless told.
    limit: Option<u32>,
    /// Only calls older than the one with this id.
    before: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct CallList {
    calls: Vec<CallJson>,
}

#[derive(Serialize, ToSchema)]
pub struct CallDetailJson {
    #[serde(flatten)]
    call: CallJson,
    /// How far the call has come: `begun`, `placed`, `ringing`, `answered`, `held`, `ended`.
    progress: &'static str,
    turns: Vec<TurnJson>,
    interruptions: Vec<InterruptionJson>,
    events: Vec<EventJson>,
    recordings: Vec<RecordingJson>,
}

#[derive(Serialize, ToSchema)]
struct CallJson {
    id: String,
    /// `sip`, `twilio` or `unknown`.
    via: String,
    /// `inbound` or `outbound`.
    direction: String,
    /// The trunk that carried a call of ours.
    trunk: Option<String>,
    /// How the last transfer ended: `ok`, `busy`, `no_answer`, `refused` ...
    transfer: Option<String>,
    /// `active` or `ended`.
    state: &'static str,
    called: String,
    /// A pseudonym, or masked but for the last two digits.
    caller: String,
    flow: String,
    /// RFC 3339.
    started_at: String,
    ended_at: Option<String>,
    end_reason: Option<String>,
    /// Figures of the whole call, once it has ended.
    summary: Option<SummaryJson>,
}

#[derive(Serialize, ToSchema)]
struct SummaryJson {
    duration_ms: f64,
    turns: u32,
    barge_ins: u32,
    frames_sent: u64,
    frames_received: u64,
    packets_lost: u64,
    concealed_ms: u64,
    jitter_ms: f64,
    /// Ticks later than 5 ms.
    late_ticks: u64,
    holds: u32,
    /// All holds together.
    held_ms: f64,
    /// Of the packets that should have come, percent.
    loss_percent: Option<f64>,
    /// Of our packets, by the far side's RTCP, percent.
    far_loss_percent: Option<f64>,
    /// By RTCP.
    round_trip_ms: Option<f64>,
    /// Transmission rating of ITU-T G.107, 0 to 93.2.
    r_factor: Option<f64>,
    /// Mean opinion score of the same, 1.0 to 4.5.
    mos: Option<f64>,
    codec: Option<String>,
    /// The crypto suite; null for audio in the clear.
    srtp: Option<String>,
}

impl From<CallRow> for CallJson {
    fn from(row: CallRow) -> Self {
        Self {
            id: row.id.to_string(),
            via: row.via,
            direction: row.direction,
            trunk: row.trunk,
            transfer: row.transfer,
            state: if row.ended_at.is_some() { "ended" } else { "active" },
            called: shown_number(row.called.expose()),
            caller: shown_number(row.caller.expose()),
            flow: row.flow,
            started_at: row.started_at.to_string(),
            ended_at: row.ended_at.map(|at| at.to_string()),
            end_reason: row.end_reason,
            summary: row.summary.map(SummaryJson::from),
        }
    }
}

impl From<CallSummary> for SummaryJson {
    fn from(summary: CallSummary) -> Self {
        Self {
            duration_ms: summary.duration_ms,
            turns: summary.turns,
            barge_ins: summary.barge_ins,
            frames_sent: summary.frames_sent,
            frames_received: summary.frames_received,
            packets_lost: summary.packets_lost,
            concealed_ms: summary.concealed_ms,
            jitter_ms: summary.jitter_ms,
            late_ticks: summary.late_ticks,
            holds: summary.holds,
            held_ms: summary.held_ms,
            loss_percent: summary.quality.loss_percent,
            far_loss_percent: summary.quality.far_loss_percent,
            round_trip_ms: summary.quality.round_trip_ms,
            r_factor: summary.quality.r_factor,
            mos: summary.quality.mos,
            codec: summary.quality.codec,
            srtp: summary.quality.srtp,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct TurnJson {
    number: u32,
    /// RFC 3339.
    at: String,
    step: String,
    /// Digits are masked.
    caller_words: Option<String>,
    keys_pressed: Option<u32>,
    /// What the caller really heard; digits are masked.
    heard: Option<String>,
    /// What was meant to be said but was not heard; digits are masked.
    unheard: Option<String>,
    asr_ms: Option<f64>,
    llm_ms: Option<f64>,
    tts_ms: Option<f64>,
    total_ms: Option<f64>,
    barge_in_ms: Option<f64>,
    error: Option<String>,
}

impl From<TurnRow> for TurnJson {
    fn from(turn: TurnRow) -> Self {
        let words = |words: Option<Pii<String>>| words.map(|words| masked_digits(words.expose()));
        Self {
            number: turn.number,
            at: turn.at.to_string(),
            step: turn.step,
            caller_words: words(turn.caller_words),
            keys_pressed: turn.keys_pressed,
            heard: words(turn.heard),
            unheard: words(turn.unheard),
            asr_ms: turn.asr_ms,
            llm_ms: turn.llm_ms,
            tts_ms: turn.tts_ms,
            total_ms: turn.total_ms,
            barge_in_ms: turn.barge_in_ms,
            error: turn.error,
        }
    }
}

/// The caller broke in on the bot, or seemed to. Times are ms since the call was answered.
#[derive(Serialize, ToSchema)]
struct InterruptionJson {
    /// RFC 3339.
    at: String,
    /// When the caller's speech began, as estimated, or the key came.
    onset_ms: f64,
    /// When the bot was held for it.
    held_ms: f64,
    /// When it was known what it was; null where the call ended before.
    decided_ms: Option<f64>,
    /// `committed`, `resumed`, `recovered` or `undecided`.
    outcome: String,
    /// `speech`, `words`, `stop_word`, `key`, `cap`, `silence`, `backchannel`, `no_words`, `nothing_said` or `ended`.
    why: String,
    /// The bot was made quieter before it was held.
    ducked: bool,
    /// From the onset to the last sample of ours on the wire; null where none was audible.
    stop_ms: Option<f64>,
    /// What the caller had heard; digits are masked.
    heard: String,
    /// What they had not heard; digits are masked.
    unheard: String,
}

impl From<InterruptionRow> for InterruptionJson {
    fn from(row: InterruptionRow) -> Self {
        Self {
            at: row.at.to_string(),
            onset_ms: row.onset_ms,
            held_ms: row.held_ms,
            decided_ms: row.decided_ms,
            outcome: row.outcome,
            why: row.why,
            ducked: row.ducked,
            stop_ms: row.stop_ms,
            heard: masked_digits(row.heard.expose()),
            unheard: masked_digits(row.unheard.expose()),
        }
    }
}

/// What happened and when; the detail stays in the store, since it may hold the caller's words.
#[derive(Serialize, ToSchema)]
struct EventJson {
    kind: String,
    /// ms since the call was answered.
    at_ms: f64,
}

impl From<EventRow> for EventJson {
    fn from(event: EventRow) -> Self {
        Self { kind: event.kind, at_ms: event.at_ms }
    }
}

/// How many calls a list holds unless told.
const DEFAULT_LIMIT: u32 = 50;

pub(super) const UNAVAILABLE: ApiError =
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "Calls cannot be read at the moment.");
pub(super) const NO_CALL: ApiError = ApiError::new(StatusCode::NOT_FOUND, "no_such_call", "No call has this id.");
pub(super) const BAD_ID: ApiError = ApiError::new(StatusCode::BAD_REQUEST, "bad_call_id", "A call id is a UUID.");
const BAD_LIMIT: ApiError = ApiError::new(StatusCode::BAD_REQUEST, "bad_limit", "`limit` is from 1 to 500.");

fn page(query: &ListQuery) -> Result<Page, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MOST_CALLS).contains(&limit) {
        return Err(BAD_LIMIT);
    }
    let before = query.before.as_deref().map(CallId::parse).transpose().map_err(|_| BAD_ID)?;
    Ok(Page { limit, before })
}

fn progress(detail: &CallDetail) -> &'static str {
    if detail.call.ended_at.is_some() {
        return "ended";
    }
    let steps = detail.events.iter().rev().find_map(|event| match event.kind.as_str() {
        "placed" => Some("placed"),
        "ringing" => Some("ringing"),
        "held" => Some("held"),
        "answered" | "resumed" => Some("answered"),
        _ => None,
    });
    steps.unwrap_or("begun")
}

/// The trunk that a call which goes on was placed by last.
fn trunk(events: &[EventRow]) -> Option<String> {
    let placed = events.iter().rev().find(|event| event.kind == "placed")?;
    placed.detail.as_ref()?.expose()["trunk"].as_str().map(str::to_owned)
}

/// Short numbers are extensions and lines; pseudonyms are made to be shown; of anything else at most two digits are.
fn shown_number(number: &str) -> String {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_digit).collect();
    let is_number = number.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | ' ' | '(' | ')'));
    match digits.as_slice() {
        [] if number.is_empty() => String::new(),
        shown if number.starts_with('#') && shown.len() <= 2 => number.to_owned(),
        short if is_number && short.len() < DIGITS => number.to_owned(),
        [.., tens, ones] if is_number => format!("***{tens}{ones}"),
        _ => "***".to_owned(),
    }
}

fn masked_digits(words: &str) -> String {
    words.chars().map(|c| if c.is_numeric() { '#' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_masked() {
        let cases = [
            ("+250788123456", "***56"),
            ("#kdjfhgnbmcaelopi..56", "#kdjfhgnbmcaelopi..56"),
            ("#250788123456", "***"),
            ("1000", "1000"),
            ("alice", "***"),
            ("sip:1234567890@host", "***"),
            ("", ""),
        ];
        for (number, shown) in cases {
            assert_eq!(shown_number(number), shown);
        }
        assert_eq!(masked_digits("my pin is 1 2 3 4"), "my pin is # # # #");
    }
}

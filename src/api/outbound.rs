//! Placing calls, and what can be done to a call that is going on. Every refusal has a code of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ApiError, ApiState};
use crate::call::guard::GuardRefusal;
use crate::call::outbound::{CallWish, Control, ControlError, Outbound, PlaceError};
use crate::call::outgoing::DialError;
use crate::clock;
use crate::dialog::{TransferMode, TransferPlan, TransferTo};
use crate::safety::said::clear;
use crate::store::record::CallId;
use crate::telemetry::pii::Pii;

/// Whoever places calls and rules over those that go on.
pub trait Desk: Send + Sync {
    /// # Errors
    /// Why no call was placed.
    fn place(&self, wish: CallWish, key: Option<&str>) -> Result<CallId, PlaceError>;
    /// # Errors
    /// Why nothing was done.
    fn control(&self, id: CallId, control: Control) -> Result<(), ControlError>;
}

impl Desk for Outbound {
    fn place(&self, wish: CallWish, key: Option<&str>) -> Result<CallId, PlaceError> {
        Self::place(self, wish, key, clock::now())
    }

    fn control(&self, id: CallId, control: Control) -> Result<(), ControlError> {
        Self::control(self, id, control)
    }
}

/// Places a call. `202` comes before anybody has answered: how it goes is in `GET /v1/calls/{id}`.
#[utoipa::path(post, path = "/v1/calls", tag = "calls", request_body = PlaceCall,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body give the same call, for a day")),
    responses((status = 202, body = Placed), (status = 403, body = super::envelope::ErrorBody),
        (status = 422, body = super::envelope::ErrorBody), (status = 429, body = super::envelope::ErrorBody),
        (status = 503, body = super::envelope::ErrorBody)))]
pub async fn place(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Json(call): Json<PlaceCall>,
) -> Result<(StatusCode, Json<Placed>), ApiError> {
    let key = headers.get(IDEMPOTENCY_KEY).map(|key| key.to_str().map_err(|_| BAD_KEY)).transpose()?;
    if key.is_some_and(|key| key.is_empty() || key.len() > LONGEST_KEY) {
        return Err(BAD_KEY);
    }
    let call = state.desk.place(call.into(), key).map_err(|error| refused(&error))?;
    let _ = tokio::time::timeout(WRITTEN_WITHIN, until_found(&state, call)).await;
    Ok((StatusCode::ACCEPTED, Json(Placed { id: call.to_string() })))
}

/// Ends a call.
#[utoipa::path(post, path = "/v1/calls/{id}/hangup", tag = "calls", params(("id" = String, Path)),
    responses((status = 202), (status = 404, body = super::envelope::ErrorBody)))]
pub async fn hang_up(State(state): State<ApiState>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    control(&state, &id, Control::HangUp)
}

/// Has the other side wait: the flow stands still, and they hear that the line is alive.
#[utoipa::path(post, path = "/v1/calls/{id}/hold", tag = "calls", params(("id" = String, Path)),
    responses((status = 202), (status = 404, body = super::envelope::ErrorBody)))]
pub async fn hold(State(state): State<ApiState>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    control(&state, &id, Control::Hold)
}

/// Takes them back: the flow goes on where it was.
#[utoipa::path(post, path = "/v1/calls/{id}/resume", tag = "calls", params(("id" = String, Path)),
    responses((status = 202), (status = 404, body = super::envelope::ErrorBody)))]
pub async fn resume(State(state): State<ApiState>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    control(&state, &id, Control::Resume)
}

/// Hands a call over to a name of `transfer.targets`. If that fails, the flow goes on where it was.
#[utoipa::path(post, path = "/v1/calls/{id}/transfer", tag = "calls", params(("id" = String, Path)), request_body = HandOverCall,
    responses((status = 202), (status = 404, body = super::envelope::ErrorBody), (status = 422, body = super::envelope::ErrorBody)))]
pub async fn transfer(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    Json(wanted): Json<HandOverCall>,
) -> Result<StatusCode, ApiError> {
    let ring = wanted.ring_timeout_s.unwrap_or(30);
    if !(5..=180).contains(&ring) {
        return Err(BAD_RING);
    }
    let plan = TransferPlan {
        to: TransferTo::Name(wanted.to.into()),
        mode: match wanted.mode {
            Mode::Blind => TransferMode::Blind,
            Mode::Attended => TransferMode::Attended,
        },
        ring_timeout: Duration::from_secs(ring),
        brief: wanted.announce.iter().map(|text| clear(text)).collect(),
    };
    control(&state, &id, Control::Transfer(plan))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceCall {
    /// In international form: `+250788123456`.
    to: String,
    /// The flow that speaks, by its name.
    flow: Option<String>,
    /// Or the number whose line has it.
    line: Option<String>,
    /// The only trunk that may carry the call.
    trunk: Option<String>,
    /// The number to show, where the trunk lets it be chosen.
    caller_id: Option<String>,
    /// Values of the flow's `inputs`: digits.
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

#[derive(Serialize, ToSchema)]
pub struct Placed {
    id: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandOverCall {
    /// A name of `transfer.targets`.
    to: String,
    #[serde(default)]
    mode: Mode,
    /// 5 to 180; 30 unless told.
    ring_timeout_s: Option<u64>,
    /// Said to the target of an attended transfer.
    announce: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Blind,
    Attended,
}

impl From<PlaceCall> for CallWish {
    fn from(call: PlaceCall) -> Self {
        Self {
            to: Pii::new(call.to),
            flow: call.flow,
            line: call.line,
            trunk: call.trunk,
            caller_id: call.caller_id.map(Pii::new),
            variables: call.variables.into_iter().map(|(name, value)| (name, Pii::new(value))).collect(),
        }
    }
}

fn control(state: &ApiState, id: &str, control: Control) -> Result<StatusCode, ApiError> {
    let id = CallId::parse(id).map_err(|_| BAD_ID)?;
    state.desk.control(id, control).map_err(|error| match error {
        ControlError::NoCall => NO_LIVE_CALL,
        ControlError::NoTarget => NO_TARGET,
    })?;
    Ok(StatusCode::ACCEPTED)
}

fn refused(error: &PlaceError) -> ApiError {
    let (status, message) = match error {
        PlaceError::Guard(GuardRefusal::Disabled) => {
            (StatusCode::FORBIDDEN, "Calls of ours are switched off: outbound.enabled.")
        }
        PlaceError::Guard(GuardRefusal::BadNumber) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "`to` is a number in international form, such as +250788123456.")
        }
        PlaceError::Guard(GuardRefusal::NotAllowed) => {
            (StatusCode::FORBIDDEN, "The number is in no range of outbound.allow.")
        }
        PlaceError::Guard(GuardRefusal::Blocked) => {
            (StatusCode::FORBIDDEN, "Premium-rate and satellite numbers need an entry in outbound.allow_blocked.")
        }
        PlaceError::Guard(GuardRefusal::TooMany) => {
            (StatusCode::TOO_MANY_REQUESTS, "As many calls as outbound.max_calls allows are going on.")
        }
        PlaceError::Guard(GuardRefusal::TooFast) => {
            (StatusCode::TOO_MANY_REQUESTS, "As many calls as outbound.calls_per_minute allows were placed.")
        }
        PlaceError::Dial(DialError::Full) => (StatusCode::SERVICE_UNAVAILABLE, "All places are taken."),
        PlaceError::Dial(DialError::Draining) => (StatusCode::SERVICE_UNAVAILABLE, "The server is going down."),
        PlaceError::Dial(DialError::NoTransport) => {
            (StatusCode::SERVICE_UNAVAILABLE, "No transport of this server places calls.")
        }
        PlaceError::Dial(DialError::Overloaded) => (StatusCode::SERVICE_UNAVAILABLE, "The server is not keeping up."),
        PlaceError::NoFlow => (StatusCode::UNPROCESSABLE_ENTITY, "Name a `flow` that there is, or a `line`."),
        PlaceError::BadVariables => {
            (StatusCode::UNPROCESSABLE_ENTITY, "`variables` are exactly the flow's `inputs`, 1 to 32 digits each.")
        }
        PlaceError::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "The Idempotency-Key was used for another call."),
    };
    ApiError::new(status, error.code(), message)
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const LONGEST_KEY: usize = 200;

/// Whoever is told an id asks for the call next; its record is on the way to the store.
async fn until_found(state: &ApiState, call: CallId) {
    while matches!(state.calls.one(call).await, Ok(None)) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Longest wait of an answer for the call's record; the call goes on all the same.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

const LOOK_AGAIN: Duration = Duration::from_millis(10);

const BAD_KEY: ApiError =
    ApiError::new(StatusCode::BAD_REQUEST, "bad_key", "An Idempotency-Key is 1 to 200 visible characters.");
const BAD_ID: ApiError = ApiError::new(StatusCode::BAD_REQUEST, "bad_call_id", "A call id is a UUID.");
const BAD_RING: ApiError =
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_ring_timeout", "`ring_timeout_s` is from 5 to 180.");
const NO_LIVE_CALL: ApiError =
    ApiError::new(StatusCode::NOT_FOUND, "no_such_call", "No call that is going on has this id.");
const NO_TARGET: ApiError =
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "no_such_target", "`to` is a name of transfer.targets.");

//! The registry of providers as operators see and change it.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{ApiError, ApiState};
use crate::providers::Language;
use crate::providers::registry::entry::{Category, Entry, Id};
use crate::providers::registry::select::{Considered, Prefer, Question};
use crate::providers::registry::{Registry, RegistryError, Shown};
use crate::store::{Origin, ProviderUsage, StoreError};

/// What stands behind the routes.
pub trait ProviderDesk: Send + Sync {
    fn list(&self) -> Vec<Shown>;
    /// Why only the file is known; none while the database is.
    fn degraded(&self) -> Option<String>;
    fn decide(&self, question: &Question) -> Vec<Considered>;
    fn usage(&self, day: Option<String>) -> BoxFuture<'_, Result<Vec<ProviderUsage>, StoreError>>;
    fn add(&self, entry: Entry) -> BoxFuture<'_, Result<(), RegistryError>>;
    fn switch(&self, id: Id, disabled: Option<String>) -> BoxFuture<'_, Result<(), RegistryError>>;
    fn reload(&self) -> BoxFuture<'_, Result<(), RegistryError>>;
}

impl ProviderDesk for Registry {
    fn list(&self) -> Vec<Shown> {
        Self::list(self)
    }

    fn degraded(&self) -> Option<String> {
        Self::degraded(self)
    }

    fn decide(&self, question: &Question) -> Vec<Considered> {
        Self::decide(self, question)
    }

    fn usage(&self, day: Option<String>) -> BoxFuture<'_, Result<Vec<ProviderUsage>, StoreError>> {
        async move { Self::usage(self, day.as_deref()).await }.boxed()
    }

    fn add(&self, entry: Entry) -> BoxFuture<'_, Result<(), RegistryError>> {
        Self::add(self, entry).boxed()
    }

    fn switch(&self, id: Id, disabled: Option<String>) -> BoxFuture<'_, Result<(), RegistryError>> {
        async move { self.disable(&id, disabled.as_deref()).await }.boxed()
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), RegistryError>> {
        Self::reload(self).boxed()
    }
}

/// Every provider that is known, with how it stands and what was used of it today.
#[utoipa::path(get, path = "/v1/providers", tag = "providers", responses((status = 200, body = ProviderList)))]
pub async fn list(State(state): State<ApiState>) -> Result<Json<ProviderList>, ApiError> {
    let desk = state.providers.as_ref().ok_or(NONE)?;
    let degraded = desk.degraded();
    let source = if degraded.is_none() { "database" } else { "file" };
    Ok(Json(ProviderList { source, degraded, providers: desk.list().into_iter().map(shown).collect() }))
}

/// Who would serve, in order, and of everyone else why not.
#[utoipa::path(get, path = "/v1/providers/select", tag = "providers", params(SelectQuery),
    responses((status = 200, body = Decision), (status = 400, body = super::envelope::ErrorBody)))]
pub async fn select(State(state): State<ApiState>, query: Query<SelectQuery>) -> Result<Json<Decision>, ApiError> {
    let desk = state.providers.as_ref().ok_or(NONE)?;
    let Query(SelectQuery { category, language, region, prefer }) = query;
    let category = parsed::<Category>(&category).ok_or(BAD_CATEGORY)?;
    let language = language.map(|tag| Language::parse(&tag)).transpose().map_err(|_| BAD_LANGUAGE)?;
    let prefer = prefer.map(|prefer| parsed::<Prefer>(&prefer).ok_or(BAD_PREFER)).transpose()?.unwrap_or_default();
    let decided = desk.decide(&Question { category, language, region, prefer });
    let chosen = decided.first().filter(|first| first.rank.is_some()).map(|first| first.id.clone());
    let considered =
        decided.into_iter().map(|Considered { id, rank, why }| Candidate { id, taken: rank.is_some(), rank, why });
    Ok(Json(Decision { chosen, considered: considered.collect() }))
}

/// What was used of each provider on a UTC day, today where none is named.
#[utoipa::path(get, path = "/v1/providers/usage", tag = "providers", params(UsageQuery),
    responses((status = 200, body = UsageReport), (status = 400, body = super::envelope::ErrorBody),
        (status = 503, body = super::envelope::ErrorBody)))]
pub async fn usage(State(state): State<ApiState>, query: Query<UsageQuery>) -> Result<Json<UsageReport>, ApiError> {
    let desk = state.providers.as_ref().ok_or(NONE)?;
    let day = query.0.day;
    if day.as_ref().is_some_and(|day| day.parse::<jiff::civil::Date>().is_err() || day.len() != "2026-11-21".len()) {
        return Err(BAD_DAY);
    }
    let day = day.unwrap_or_else(|| jiff::Timestamp::now().strftime("%Y-%m-%d").to_string());
    let used = desk.usage(Some(day.clone())).await.map_err(|error| {
        tracing::warn!(%error, "what was used of providers cannot be read");
        UNAVAILABLE
    })?;
    let usd = used.iter().map(|one| one.usd).sum();
    Ok(Json(UsageReport { day, usd, providers: used.into_iter().map(used_json).collect() }))
}

/// Adds a provider, as the file would have it, or changes one that was added so.
#[utoipa::path(post, path = "/v1/providers", tag = "providers", request_body = Value,
    responses((status = 204), (status = 422, body = super::envelope::ErrorBody), (status = 503, body = super::envelope::ErrorBody)))]
pub async fn add(State(state): State<ApiState>, Json(entry): Json<Value>) -> Result<StatusCode, Refusal> {
    let desk = state.providers.as_ref().ok_or(NONE)?;
    let entry: Entry = serde_path_to_error::deserialize(entry).map_err(|error| bad_entry(&error.to_string()))?;
    done(desk.add(entry).await)
}

/// Switches a provider off: it is chosen for nothing any more, and calls that it serves go on.
#[utoipa::path(post, path = "/v1/providers/{id}/disable", tag = "providers", params(("id" = String, Path)), request_body = Disable,
    responses((status = 204), (status = 404, body = super::envelope::ErrorBody), (status = 503, body = super::envelope::ErrorBody)))]
pub async fn disable(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    Json(disable): Json<Disable>,
) -> Result<StatusCode, Refusal> {
    let desk = state.providers.as_ref().ok_or(NONE)?;
    let why = disable.why.chars().filter(|c| !c.is_control()).take(LONGEST_WHY).collect();
    done(desk.switch(named(&id)?, Some(why)).await)
}

/// Switches a provider on again.
#[utoipa::path(post, path = "/v1/providers/{id}/enable", tag = "providers", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = super::envelope::ErrorBody), (status = 503, body = super::envelope::ErrorBody)))]
pub async fn enable(State(state): State<ApiState>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let desk = state.providers.as_ref().ok_or(NONE)?;
    done(desk.switch(named(&id)?, None).await)
}

/// Reads the file, the database and vendors' keys again, as SIGHUP does.
#[utoipa::path(post, path = "/v1/providers/reload", tag = "providers",
    responses((status = 204), (status = 422, body = super::envelope::ErrorBody)))]
pub async fn reload(State(state): State<ApiState>) -> Result<StatusCode, Refusal> {
    let desk = state.providers.as_ref().ok_or(NONE)?;
    done(desk.reload().await)
}

/// The known providers.
#[derive(Serialize, ToSchema)]
pub struct ProviderList {
    /// `database`, or `file` while that is away.
    source: &'static str,
    degraded: Option<String>,
    providers: Vec<Value>,
}

#[derive(Deserialize, IntoParams)]
pub struct SelectQuery {
    /// stt, tts, llm, translation, vector_db, audio, telephony or medical_knowledge.
    category: String,
    /// Such as en or fr-CA; without one any language will do.
    language: Option<String>,
    region: Option<String>,
    /// quality or price.
    prefer: Option<String>,
}

/// What was decided, and why.
#[derive(Serialize, ToSchema)]
pub struct Decision {
    chosen: Option<String>,
    considered: Vec<Candidate>,
}

#[derive(Serialize, ToSchema)]
struct Candidate {
    id: String,
    taken: bool,
    /// From 1 among those taken.
    rank: Option<usize>,
    why: String,
}

#[derive(Deserialize, IntoParams)]
pub struct UsageQuery {
    /// UTC, such as 2026-11-21.
    day: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct UsageReport {
    day: String,
    /// For all.
    usd: f64,
    providers: Vec<Value>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// Said wherever it is passed over.
    why: String,
}

/// Why nothing was changed; says what is wrong with the entry.
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { status: error.status, code: error.code, message: error.message.to_owned() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": { "code": self.code, "message": self.message } }))).into_response()
    }
}

fn done(result: Result<(), RegistryError>) -> Result<StatusCode, Refusal> {
    match result {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(RegistryError::Store(error)) => {
            tracing::warn!(%error, "the registry was not changed");
            Err(UNAVAILABLE.into())
        }
        Err(RegistryError::Unknown(_)) => Err(NO_PROVIDER.into()),
        Err(RegistryError::Refused(what)) => Err(bad_entry(&what)),
        Err(RegistryError::File(error)) => {
            Err(Refusal { status: StatusCode::UNPROCESSABLE_ENTITY, code: "bad_file", message: error.to_string() })
        }
    }
}

fn bad_entry(what: &str) -> Refusal {
    Refusal { status: StatusCode::UNPROCESSABLE_ENTITY, code: "bad_provider", message: what.to_owned() }
}

fn named(id: &str) -> Result<Id, Refusal> {
    Id::parse(id).map_err(|_| NO_PROVIDER.into())
}

/// A name of a closed set.
fn parsed<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}

fn shown(shown: Shown) -> Value {
    let Shown { listed, unusable, failing, today } = shown;
    let origin = match listed.origin {
        Origin::File => "file",
        Origin::Api => "api",
    };
    json!({
        "provider": listed.entry,
        "origin": origin,
        "disabled": listed.disabled,
        "unusable": unusable,
        "failing": failing,
        "today": used_json(today),
    })
}

fn used_json(used: ProviderUsage) -> Value {
    let ProviderUsage { provider, requests, failures, units, usd, .. } = used;
    json!({ "id": provider, "requests": requests, "failures": failures, "units": units, "usd": usd })
}

const LONGEST_WHY: usize = 200;
const NONE: ApiError = ApiError::new(StatusCode::NOT_FOUND, "no_registry", "This server has no registry of providers.");
const NO_PROVIDER: ApiError = ApiError::new(StatusCode::NOT_FOUND, "no_such_provider", "No provider has this id.");
const BAD_CATEGORY: ApiError = ApiError::new(
    StatusCode::BAD_REQUEST,
    "bad_category",
    "`category` is stt, tts, llm, translation, vector_db, audio, telephony or medical_knowledge.",
);
const BAD_LANGUAGE: ApiError =
    ApiError::new(StatusCode::BAD_REQUEST, "bad_language", "`language` is a tag such as en or fr-CA.");
const BAD_PREFER: ApiError = ApiError::new(StatusCode::BAD_REQUEST, "bad_prefer", "`prefer` is quality or price.");
const BAD_DAY: ApiError = ApiError::new(StatusCode::BAD_REQUEST, "bad_day", "`day` is a day such as 2026-11-21.");
const UNAVAILABLE: ApiError =
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "The database cannot be used now.");

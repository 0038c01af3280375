//! Health: what works, said truthfully. Checks run side by side, each within its time; none can hide another.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{ApiState, Stage};

/// What the composition root can ask about.
pub trait Checks: Send + Sync {
    /// One check per thing this server depends on, `redis` and `database` among them and each provider by its name.
    fn checks(&self) -> Vec<Check>;

    /// Whether calls can be answered at all with these results.
    fn can_serve(&self, results: &BTreeMap<String, CheckResult>) -> bool;
}

/// A check that is ready to run.
pub struct Check {
    pub name: String,
    pub run: BoxFuture<'static, CheckResult>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckResult {
    Ok,
    NotConfigured,
    /// What is wrong, without addresses, secrets or statements of the inside.
    Error(String),
}

impl CheckResult {
    /// As `/healthz` shows it: one line of at most [`MAX_ERROR`] characters.
    fn text(&self) -> String {
        match self {
            Self::Ok => "ok".to_owned(),
            Self::NotConfigured => "not_configured".to_owned(),
            Self::Error(what) => {
                let line = what.lines().next().unwrap_or_default();
                format!("error: {}", line.chars().take(MAX_ERROR).collect::<String>())
            }
        }
    }
}

/// Keeps the last results for a moment, so that many askers cost one round of checks.
#[derive(Default)]
pub struct Health {
    last: Mutex<Option<Report>>,
    started: Started,
}

struct Started(Instant);

impl Default for Started {
    fn default() -> Self {
        Self(Instant::now())
    }
}

#[derive(Clone)]
struct Report {
    at: Instant,
    results: BTreeMap<String, CheckResult>,
    took: BTreeMap<String, Duration>,
    can_serve: bool,
}

impl Report {
    fn status(&self) -> &'static str {
        let failed = self.results.values().any(|result| matches!(result, CheckResult::Error(_)));
        if failed || !self.can_serve { "degraded" } else { "ok" }
    }

    fn http(&self) -> StatusCode {
        if self.can_serve { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

impl Health {
    async fn report(&self, checks: &dyn Checks) -> Report {
        let mut last = self.last.lock().await;
        if let Some(report) = last.as_ref().filter(|report| report.at.elapsed() < FRESH) {
            return report.clone();
        }
        let ran = join_all(checks.checks().into_iter().map(run)).await;
        let took = ran.iter().map(|(name, _, took)| (name.clone(), *took)).collect();
        let results: BTreeMap<_, _> = ran.into_iter().map(|(name, result, _)| (name, result)).collect();
        let can_serve = checks.can_serve(&results);
        last.insert(Report { at: Instant::now(), results, took, can_serve }).clone()
    }
}

async fn run(check: Check) -> (String, CheckResult, Duration) {
    let began = Instant::now();
    let result = tokio::time::timeout(LONGEST_CHECK, check.run)
        .await
        .unwrap_or_else(|_| CheckResult::Error(format!("no answer within {} s", LONGEST_CHECK.as_secs())));
    (check.name, result, began.elapsed())
}

const SERVICE: &str = "offhook";
/// How long results are shown again.
const FRESH: Duration = Duration::from_secs(1);
/// How long one check may take.
const LONGEST_CHECK: Duration = Duration::from_secs(2);
/// Longest error shown, in characters.
const MAX_ERROR: usize = 200;

#[derive(Serialize, ToSchema)]
struct Healthz {
    /// `ok` or `degraded`.
    status: &'static str,
    service: &'static str,
    /// `ok`, `not_configured` or `error: ` and what is wrong, by name.
    checks: BTreeMap<String, String>,
}

/// What works. 503 only when calls cannot be served.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Healthz), (status = 503, body = Healthz)))]
pub async fn healthz(State(state): State<ApiState>) -> Response {
    let report = state.health.report(state.checks.as_ref()).await;
    let checks = report.results.iter().map(|(name, result)| (name.clone(), result.text())).collect();
    let body = Healthz { status: report.status(), service: SERVICE, checks };
    (report.http(), Json(body)).into_response()
}

#[derive(Serialize, ToSchema)]
struct Alive {
    status: &'static str,
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Alive)))]
pub async fn health() -> impl IntoResponse {
    Json(Alive { status: "ok" })
}

#[derive(Serialize, ToSchema)]
struct Detailed {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    uptime_s: u64,
    /// `starting`, `ready` or `draining`.
    readiness: &'static str,
    checks: BTreeMap<String, DetailedCheck>,
}

#[derive(Serialize, ToSchema)]
struct DetailedCheck {
    status: String,
    /// How long the check ran, in ms.
    took_ms: f64,
}

/// What works, with versions and times.
#[utoipa::path(get, path = "/health/detailed", tag = "health", responses((status = 200, body = Detailed), (status = 503, body = Detailed)))]
pub async fn detailed(State(state): State<ApiState>) -> Response {
    let report = state.health.report(state.checks.as_ref()).await;
    let took_ms = |name: &str| report.took.get(name).map_or(0.0, |took| took.as_secs_f64() * 1_000.0);
    let checks = report
        .results
        .iter()
        .map(|(name, result)| (name.clone(), DetailedCheck { status: result.text(), took_ms: took_ms(name) }));
    let body = Detailed {
        status: report.status(),
        service: SERVICE,
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: state.health.started.0.elapsed().as_secs(),
        readiness: state.readiness.stage().as_str(),
        checks: checks.collect(),
    };
    (report.http(), Json(body)).into_response()
}

#[derive(Serialize, ToSchema)]
struct Ready {
    /// `starting`, `ready` or `draining`.
    status: &'static str,
}

/// Whether new calls should be sent here.
#[utoipa::path(get, path = "/readiness", tag = "health", responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub async fn readiness(State(state): State<ApiState>) -> Response {
    let stage = state.readiness.stage();
    let status = if stage == Stage::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { status: stage.as_str() })).into_response()
}

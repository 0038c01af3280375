//! HTTP for operators and their tools: health, metrics, calls, documentation.
//!
//! The composition root supplies what stands behind it ([`Checks`], [`Calls`], the metrics) and further routes, such as
//! the carrier's webhooks. No vendor, no database and no call is known here.

mod calls;
mod envelope;
mod health;
mod outbound;
mod providers;
mod recordings;
pub mod serve;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::{middleware, routing};
use secrecy::SecretString;
use tower_http::limit::RequestBodyLimitLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

pub use calls::{Calls, Page, StoreUnavailable};
pub use envelope::ApiError;
pub use health::{Check, CheckResult, Checks};
pub use outbound::Desk;
pub use providers::ProviderDesk;
pub use recordings::RecordingDoor;

use crate::config::HttpConfig;
use crate::telemetry::metrics::CONTENT_TYPE;

/// What the handlers need; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub checks: Arc<dyn Checks>,
    pub calls: Arc<dyn Calls>,
    pub desk: Arc<dyn Desk>,
    /// Encodes all metrics as OpenMetrics text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub readiness: Readiness,
    pub limits: Limits,
    /// The bearer token of `/v1`; none leaves it open.
    pub secret: Option<SecretString>,
    recordings: Option<Arc<dyn RecordingDoor>>,
    providers: Option<Arc<dyn ProviderDesk>>,
    health: Arc<health::Health>,
}

impl ApiState {
    pub fn new(
        config: &HttpConfig,
        checks: Arc<dyn Checks>,
        calls: Arc<dyn Calls>,
        desk: Arc<dyn Desk>,
        metrics: Arc<dyn Fn() -> String + Send + Sync>,
        readiness: Readiness,
    ) -> Self {
        let limits = Limits {
            request_timeout: Duration::from_millis(config.request_timeout_ms),
            max_body_bytes: config.max_body_bytes,
        };
        let secret = config.secret_key.clone();
        Self {
            checks,
            calls,
            desk,
            metrics,
            readiness,
            limits,
            secret,
            recordings: None,
            providers: None,
            health: Arc::default(),
        }
    }

    /// With what stands behind the routes of providers.
    #[must_use]
    pub fn with_providers(self, providers: Arc<dyn ProviderDesk>) -> Self {
        Self { providers: Some(providers), ..self }
    }

    /// With what stands behind the routes of recordings.
    #[must_use]
    pub fn with_recordings(self, recordings: Arc<dyn RecordingDoor>) -> Self {
        Self { recordings: Some(recordings), ..self }
    }
}

/// Bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time to begin an answer; a WebSocket or stream that has begun is not limited.
    pub request_timeout: Duration,
    pub max_body_bytes: usize,
}

/// Whether new calls should be sent here. Starts as [`Stage::Starting`].
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Starting,
    Ready,
    /// Calls in progress go on, no new ones are taken.
    Draining,
}

impl Readiness {
    pub fn set(&self, stage: Stage) {
        let value = match stage {
            Stage::Starting => 0,
            Stage::Ready => 1,
            Stage::Draining => 2,
        };
        self.0.store(value, Ordering::Release);
    }

    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Ready,
            _ => Stage::Draining,
        }
    }
}

impl Stage {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// Every route, with `more` beside them, under the same limits and error shape.
pub fn router(state: ApiState, more: Router) -> Router {
    let guarded = OpenApiRouter::new()
        .routes(routes!(calls::list, outbound::place))
        .routes(routes!(calls::one))
        .routes(routes!(outbound::hang_up))
        .routes(routes!(outbound::hold))
        .routes(routes!(outbound::resume))
        .routes(routes!(outbound::transfer))
        .routes(routes!(providers::list, providers::add))
        .routes(routes!(providers::select))
        .routes(routes!(providers::usage))
        .routes(routes!(providers::disable))
        .routes(routes!(providers::enable))
        .routes(routes!(providers::reload))
        .routes(routes!(recordings::download))
        .routes(routes!(recordings::pause))
        .routes(routes!(recordings::resume))
        .route_layer(middleware::from_fn_with_state(state.clone(), envelope::require_token));
    let (routes, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::healthz))
        .routes(routes!(health::health))
        .routes(routes!(health::detailed))
        .routes(routes!(health::readiness))
        .routes(routes!(metrics))
        .merge(guarded)
        .split_for_parts();
    routes
        .with_state(state.clone())
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .route("/", routing::get(|| async { Html(FRONT_PAGE) }))
        .merge(more)
        .fallback(|| async { ApiError::NOT_FOUND })
        .layer(DefaultBodyLimit::max(state.limits.max_body_bytes))
        .layer(RequestBodyLimitLayer::new(state.limits.max_body_bytes))
        .layer(middleware::from_fn_with_state(state.limits, envelope::wrap))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Offhook",
        description = "Health, metrics, calls and providers of a telephony-first IVR media server."
    ),
    components(schemas(envelope::ErrorBody))
)]
struct Document;

const FRONT_PAGE: &str = include_str!("front.html");

/// All metrics as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, body = String)))]
async fn metrics(State(state): State<ApiState>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], (state.metrics)()).into_response()
}

#[cfg(test)]
mod tests;

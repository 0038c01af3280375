//! What every answer has in common: an id, a time limit, one shape of errors, and no word about the inside.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{ApiState, Limits};

/// An error as callers of the API see it: `{"error":{"code","message"}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    /// Short and stable, for programs.
    pub code: &'static str,
    /// One sentence, for people. Never anything from the inside.
    pub message: &'static str,
}

impl ApiError {
    pub const NOT_FOUND: Self = Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.");
    pub const UNAUTHORIZED: Self =
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Send `Authorization: Bearer` with the configured key.");
    pub const TIMEOUT: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "The answer was not ready in time.");

    pub const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message }
    }

    /// What stands for an answer that a library refused with plain text.
    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED => {
                Self::new(status, "method_not_allowed", "This address does not answer that method.")
            }
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(status, "too_large", "The body is larger than is accepted."),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Self::new(status, "unsupported_media_type", "The body is of another type than is accepted.")
            }
            StatusCode::UPGRADE_REQUIRED => Self::new(status, "upgrade_required", "This address speaks WebSocket."),
            status if status.is_server_error() => Self::new(status, "internal", "The request could not be served."),
            status => Self::new(status, "bad_request", "The request does not fit this address."),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: ErrorText { code: self.code, message: self.message } };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The body of every error.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    error: ErrorText,
}

#[derive(Serialize, utoipa::ToSchema)]
struct ErrorText {
    code: &'static str,
    message: &'static str,
}

/// Outermost layer: gives the request its id, limits its time, shapes its errors.
pub async fn wrap(State(limits): State<Limits>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answered = tokio::time::timeout(limits.request_timeout, next.run(request)).await;
    let mut response = shaped(answered.unwrap_or_else(|_| ApiError::TIMEOUT.into_response()));
    // The query is left out: webhooks carry callers' numbers in it.
    tracing::debug!(%method, path, status = response.status().as_u16(), request_id = ?id, "http");
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Lets a request pass that shows the configured token, or any when none is configured.
pub async fn require_token(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let Some(secret) = &state.secret else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Digests are compared, so that time tells nothing about the token itself.
    if Sha256::digest(shown) == Sha256::digest(secret.expose_secret()) {
        next.run(request).await
    } else {
        ApiError::UNAUTHORIZED.into_response()
    }
}

/// Taken from the request when it is short and plain, made otherwise; comes back in the answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |value: &&HeaderValue| {
        (1..=64).contains(&value.len())
            && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    headers.get(REQUEST_ID).filter(plain).cloned().unwrap_or_else(|| {
        let id = Uuid::now_v7().to_string();
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unnamed"))
    })
}

/// Libraries refuse in plain text, sometimes with details; handlers refuse in JSON or in their protocol's own form.
fn shaped(response: Response) -> Response {
    let status = response.status();
    let plain = match response.headers().get(header::CONTENT_TYPE) {
        Some(kind) => kind.as_bytes().starts_with(b"text/plain"),
        None => true,
    };
    if !(status.is_client_error() || status.is_server_error()) || !plain {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut shaped: Response<Body> = ApiError::of_status(status).into_response();
    if let Some(allow) = allow {
        shaped.headers_mut().insert(header::ALLOW, allow);
    }
    shaped
}

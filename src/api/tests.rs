//! The routes as callers of the API see them: answers, error shape, limits, the token.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::store::record::{CallId, CallSummary};
use crate::store::{CallDetail, CallRow, EventRow, TurnRow};
use crate::telemetry::pii::Pii;

struct Fake {
    results: Vec<(&'static str, Option<CheckResult>)>,
    serves: bool,
    store: bool,
}

impl Checks for Fake {
    fn checks(&self) -> Vec<Check> {
        let check = |(name, result): &(&str, Option<CheckResult>)| Check {
            name: (*name).to_owned(),
            run: match result.clone() {
                Some(result) => async move { result }.boxed(),
                None => std::future::pending().boxed(),
            },
        };
        self.results.iter().map(check).collect()
    }

    fn can_serve(&self, _: &BTreeMap<String, CheckResult>) -> bool {
        self.serves
    }
}

fn row() -> CallRow {
    CallRow {
        id: CallId::parse("01890000-0000-7000-8000-000000000001").unwrap(),
        direction: "inbound".into(),
        trunk: None,
        transfer: None,
        via: "sip".to_owned(),
        called: Pii::new("1000".to_owned()),
        caller: Pii::new("+250788123456".to_owned()),
        flow: "main".to_owned(),
        started_at: "2026-11-21T01:00:00Z".parse().unwrap(),
        ended_at: Some("2026-11-21T01:00:02.5Z".parse().unwrap()),
        end_reason: Some("caller_hung_up".to_owned()),
        summary: Some(CallSummary { duration_ms: 2_500.0, turns: 1, ..CallSummary::default() }),
    }
}

impl Calls for Fake {
    fn list(&self, page: Page) -> BoxFuture<'_, Result<Vec<CallRow>, StoreUnavailable>> {
        let rows = if self.store { Ok(vec![row(); 2]) } else { Err(StoreUnavailable) };
        async move { rows.map(|rows| rows.into_iter().take(page.limit as usize).collect()) }.boxed()
    }

    fn one(&self, id: CallId) -> BoxFuture<'_, Result<Option<CallDetail>, StoreUnavailable>> {
        let turn = TurnRow {
            number: 1,
            at: row().started_at,
            step: "ask".to_owned(),
            caller_words: Some(Pii::new("pin 1234".to_owned())),
            keys_pressed: Some(2),
            heard: None,
            unheard: None,
            asr_ms: Some(120.5),
            llm_ms: None,
            tts_ms: None,
            total_ms: None,
            barge_in_ms: None,
            error: None,
        };
        let event = EventRow {
            at: row().started_at,
            at_ms: 40.0,
            kind: "digit".to_owned(),
            detail: Some(Pii::new(json!({"key": "7"}))),
        };
        let detail = CallDetail { call: row(), turns: vec![turn], events: vec![event] };
        async move { Ok((detail.call.id == id).then_some(detail)) }.boxed()
    }
}

fn state(fake: Fake) -> ApiState {
    let fake = Arc::new(fake);
    let config = HttpConfig { max_body_bytes: 64, ..HttpConfig::default() };
    ApiState::new(&config, fake.clone(), fake, Arc::new(|| "# EOF\n".to_owned()), Readiness::default())
}

fn healthy() -> Fake {
    Fake { results: vec![("database", Some(CheckResult::Ok))], serves: true, store: true }
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

async fn ask(state: &ApiState, request: Request<Body>) -> (StatusCode, Value, axum::http::HeaderMap) {
    let echo = routing::post(|body: String| async move { body });
    let more = Router::new().route("/echo", echo).route("/hang", routing::get(std::future::pending::<()>));
    let response = router(state.clone(), more).oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), 1 << 24).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
    (status, body, headers)
}

#[tokio::test]
async fn healthz_has_exactly_its_shape() {
    let mut fake = healthy();
    fake.results.push(("redis", Some(CheckResult::NotConfigured)));
    let (status, body, _) = ask(&state(fake), get("/healthz")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body,
        json!({"status": "ok", "service": "offhook", "checks": {"database": "ok", "redis": "not_configured"}})
    );
}

#[tokio::test(start_paused = true)]
async fn a_failing_or_hanging_check_is_shown_and_hides_no_other() {
    let mut fake = healthy();
    fake.results.push(("deepgram", Some(CheckResult::Error("HTTP 503\nat line 5".to_owned()))));
    fake.results.push(("redis", None));
    let state = state(fake);
    let (status, body, _) = ask(&state, get("/healthz")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["status"], "degraded");
    assert_eq!(
        body["checks"],
        json!({"database": "ok", "deepgram": "error: HTTP 503", "redis": "error: no answer within 2 s"})
    );
    let (_, body, _) = ask(&state, get("/health/detailed")).await;
    assert_eq!((&body["readiness"], &body["checks"]["redis"]["took_ms"]), (&json!("starting"), &json!(2000.0)));
}

#[tokio::test]
async fn only_a_server_that_cannot_serve_calls_answers_503() {
    let (status, body, _) = ask(&state(Fake { serves: false, ..healthy() }), get("/healthz")).await;
    assert_eq!((status, &body["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("degraded")));
}

#[tokio::test]
async fn readiness_follows_the_life_of_the_server() {
    let state = state(healthy());
    for (stage, expected) in [(Stage::Starting, 503), (Stage::Ready, 200), (Stage::Draining, 503)] {
        state.readiness.set(stage);
        let (status, body, _) = ask(&state, get("/readiness")).await;
        assert_eq!((status.as_u16(), &body["status"]), (expected, &json!(stage.as_str())));
    }
}

#[tokio::test]
async fn calls_are_listed_with_numbers_masked() {
    let state = state(healthy());
    let (status, body, _) = ask(&state, get("/v1/calls?limit=1")).await;
    assert_eq!((status, body["calls"].as_array().map(Vec::len)), (StatusCode::OK, Some(1)));
    assert_eq!(body["calls"][0]["caller"], "***56");
    assert_eq!(body["calls"][0]["summary"]["duration_ms"], 2_500.0);
    assert_eq!((&body["calls"][0]["state"], &body["calls"][0]["called"]), (&json!("ended"), &json!("1000")));

    let (_, body, _) = ask(&state, get(&format!("/v1/calls/{}", row().id))).await;
    assert_eq!(body["turns"][0]["caller_words"], "pin ####");
    assert_eq!(body["turns"][0]["keys_pressed"], 2);
    assert_eq!(body["events"], json!([{"kind": "digit", "at_ms": 40.0}]));
    assert!(!body.to_string().contains("788"), "{body}");
}

#[tokio::test]
async fn every_error_has_one_shape() {
    let open = state(healthy());
    let post = |path: &str, body: &str| Request::post(path).body(Body::from(body.to_owned())).unwrap();
    let cases = [
        (get("/nowhere"), 404, "not_found"),
        (get("/v1/calls/x"), 400, "bad_call_id"),
        (get("/v1/calls/01890000-0000-7000-8000-00000000000f"), 404, "no_such_call"),
        (get("/v1/calls?limit=0"), 400, "bad_limit"),
        (get("/v1/calls?limit=x"), 400, "bad_request"),
        (get("/v1/calls?limits=5"), 400, "bad_request"),
        (post("/healthz", ""), 405, "method_not_allowed"),
        (post("/echo", &"x".repeat(65)), 413, "too_large"),
        (Request::post("/echo").body(Body::from(vec![0xff])).unwrap(), 400, "bad_request"),
    ];
    for (request, expected, code) in cases {
        let what = format!("{} {}", request.method(), request.uri());
        let (status, body, headers) = ask(&open, request).await;
        assert_eq!((status.as_u16(), &body["error"]["code"]), (expected, &json!(code)), "{what}: {body}");
        assert!(body["error"]["message"].is_string() && headers.contains_key("x-request-id"));
    }
    let (status, body, _) = ask(&state(Fake { store: false, ..healthy() }), get("/v1/calls")).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (503, &json!("store_unavailable")));
}

#[tokio::test]
async fn a_body_without_length_is_limited_too() {
    let chunks = futures_util::stream::iter((0..9).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 16])));
    let request = Request::post("/echo").body(Body::from_stream(chunks)).unwrap();
    let (status, body, _) = ask(&state(healthy()), request).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (413, &json!("too_large")));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_given_up() {
    let (status, body, _) = ask(&state(healthy()), get("/hang")).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (503, &json!("timeout")));
}

#[tokio::test]
async fn a_configured_token_guards_v1_and_nothing_else() {
    let mut guarded = state(healthy());
    guarded.secret = Some("s3cret".into());
    let with = |value: &str| Request::get("/v1/calls").header("authorization", value).body(Body::empty()).unwrap();
    for request in [get("/v1/calls"), with("Bearer wrong"), with("s3cret"), with("Bearer ")] {
        let (status, _, headers) = ask(&guarded, request).await;
        assert_eq!((status.as_u16(), headers["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
    }
    assert_eq!(ask(&guarded, with("Bearer s3cret")).await.0, StatusCode::OK);
    assert_eq!(ask(&guarded, get("/healthz")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn request_ids_come_back_when_plain() {
    let with = |id: &str| Request::get("/health").header("x-request-id", id).body(Body::empty()).unwrap();
    let state = state(healthy());
    assert_eq!(ask(&state, with("abc-1")).await.2["x-request-id"], "abc-1");
    assert_ne!(ask(&state, with("a b{}")).await.2["x-request-id"], "a b{}");
}

#[tokio::test]
async fn documentation_and_metrics_are_served() {
    let state = state(healthy());
    let (_, document, _) = ask(&state, get("/openapi.json")).await;
    let paths = document["paths"].as_object().unwrap();
    for path in ["/healthz", "/health", "/health/detailed", "/readiness", "/metrics", "/v1/calls", "/v1/calls/{id}"] {
        assert!(paths.contains_key(path), "{path}");
    }
    let (status, page, _) = ask(&state, get("/docs/")).await;
    assert!(status.is_success() && page.as_str().unwrap().contains("swagger-ui"));
    assert!(ask(&state, get("/docs")).await.0.is_redirection());
    let (_, text, headers) = ask(&state, get("/metrics")).await;
    assert_eq!(text, "# EOF\n");
    assert!(headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
    let (_, page, _) = ask(&state, get("/")).await;
    assert!(page.as_str().unwrap().contains("<h1>Offhook</h1>"));
}

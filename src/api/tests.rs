//! The routes as callers of the API see them: answers, error shape, limits, the token.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::call::guard::GuardRefusal;
use crate::call::outbound::{CallWish, Control, ControlError, PlaceError};
use crate::dialog::TransferTo;
use crate::store::record::{CallId, CallSummary};
use crate::store::{CallDetail, CallRow, EventRow, InterruptionRow, TurnRow};
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
        let interruption = InterruptionRow {
            at: row().started_at,
            onset_ms: 1000.0,
            held_ms: 1064.0,
            decided_ms: Some(1260.0),
            outcome: "committed".to_owned(),
            why: "speech".to_owned(),
            ducked: false,
            stop_ms: Some(84.0),
            heard: Pii::new("Your code is 12".to_owned()),
            unheard: Pii::new("34.".to_owned()),
        };
        let detail = CallDetail {
            call: row(),
            turns: vec![turn],
            interruptions: vec![interruption],
            events: vec![event],
            recordings: Vec::new(),
        };
        async move { Ok((detail.call.id == id).then_some(detail)) }.boxed()
    }
}

fn state(fake: Fake) -> ApiState {
    let fake = Arc::new(fake);
    let config = HttpConfig { max_body_bytes: 64, ..HttpConfig::default() };
    ApiState::new(&config, fake.clone(), fake.clone(), fake, Arc::new(|| "# EOF\n".to_owned()), Readiness::default())
}

impl Desk for Fake {
    fn place(&self, wish: CallWish, key: Option<&str>) -> Result<CallId, PlaceError> {
        assert!(!format!("{wish:?}").contains("788"), "a number is not printed");
        match (wish.to.expose().as_str(), key) {
            ("+250788123456", Some("k")) => Ok(row().id),
            ("+250788123456", _) => Err(GuardRefusal::TooFast.into()),
            _ => Err(GuardRefusal::NotAllowed.into()),
        }
    }

    fn control(&self, id: CallId, control: Control) -> Result<(), ControlError> {
        match control {
            Control::Transfer(plan) if plan.to != TransferTo::Name("desk".into()) => Err(ControlError::NoTarget),
            _ if id == row().id => Ok(()),
            _ => Err(ControlError::NoCall),
        }
    }
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
    let told = &body["interruptions"][0];
    assert_eq!(
        (&told["outcome"], &told["why"], &told["stop_ms"]),
        (&json!("committed"), &json!("speech"), &json!(84.0))
    );
    assert_eq!((&told["heard"], &told["unheard"]), (&json!("Your code is ##"), &json!("##.")));
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

async fn answer(request: Request<Body>) -> (u16, Value) {
    let (status, body, _) = ask(&state(healthy()), request).await;
    (status.as_u16(), body)
}

fn post(path: &str, body: &str) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn a_call_is_placed_or_refused_with_a_code() {
    let (status, body) = {
        let mut request = post("/v1/calls", r#"{"to":"+250788123456","flow":"main"}"#);
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        answer(request).await
    };
    assert_eq!((status, body["id"].as_str()), (202, Some(row().id.to_string().as_str())), "{body}");
    let (status, body) = answer(post("/v1/calls", r#"{"to":"+250788123456","flow":"m"}"#)).await;
    assert_eq!((status, body["error"]["code"].as_str()), (429, Some("too_many_calls_per_minute")));
    let (status, body) = answer(post("/v1/calls", r#"{"to":"+19005551234","flow":"m"}"#)).await;
    assert_eq!((status, body["error"]["code"].as_str()), (403, Some("number_not_allowed")));
    let (status, _) = answer(post("/v1/calls", r#"{"number":"+250788123456"}"#)).await;
    assert!((400..500).contains(&status), "{status}");
}

#[tokio::test]
async fn a_live_call_can_be_ruled_over() {
    let path = |what: &str| format!("/v1/calls/{}/{what}", row().id);
    for what in ["hangup", "hold", "resume"] {
        assert_eq!(answer(post(&path(what), "")).await.0, 202, "{what}");
    }
    assert_eq!(answer(post(&path("transfer"), r#"{"to":"desk"}"#)).await.0, 202);
    let (status, body) = answer(post(&path("transfer"), r#"{"to":"+19005551234"}"#)).await;
    assert_eq!((status, body["error"]["code"].as_str()), (422, Some("no_such_target")));
    let other = "/v1/calls/01890000-0000-7000-8000-000000000009/hangup";
    assert_eq!(answer(post(other, "")).await.0, 404);
    assert_eq!(answer(post("/v1/calls/x/hangup", "")).await.0, 400);
}

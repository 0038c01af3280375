//! A stand-in for OpenAI's transcriptions: `POST /v1/audio/transcriptions`, a form with a WAV file, answered as JSON. What it
//! recognises is what really arrived, see [`super::recogniser`].

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use offhook_media::wav::Wav;
use serde_json::{Map, Value, json};

use super::recogniser::{Dictionary, Heard, Recogniser, Settings};
use super::{DelayKind, Desk, Refusal};

/// How the recogniser behaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranscriptionBehaviour {
    /// Before the answer.
    pub delay: Duration,
    pub refusal: Option<Refusal>,
}

pub(super) fn routes(desk: Desk<TranscriptionBehaviour>, dictionary: Arc<Dictionary>) -> Router {
    Router::new().route("/v1/audio/transcriptions", post(transcribe)).with_state((desk, dictionary))
}

async fn transcribe(
    State((desk, dictionary)): State<(Desk<TranscriptionBehaviour>, Arc<Dictionary>)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((fields, file)) = parts(&headers, &body) else { return StatusCode::BAD_REQUEST.into_response() };
    let behaviour = desk.behaviour();
    let verbose = fields.get("response_format").is_some_and(|format| format == "verbose_json");
    if let Err(refusal) = desk.admit(&headers, "", Value::Object(fields), behaviour.refusal).await {
        return refusal;
    }
    let Ok(wav) = Wav::parse(file) else { return StatusCode::BAD_REQUEST.into_response() };
    desk.delays.wait(DelayKind::SttFinal, behaviour.delay).await;
    let text = words(dictionary, &wav.samples);
    let segment = json!({ "id": 0, "text": format!(" {text}"), "avg_logprob": -0.25, "no_speech_prob": 0.01 });
    axum::Json(if verbose { json!({ "text": text, "segments": [segment] }) } else { json!({ "text": text }) })
        .into_response()
}

fn words(dictionary: Arc<Dictionary>, samples: &[i16]) -> String {
    let endpointing = Duration::from_secs(30);
    let mut recogniser =
        Recogniser::new(dictionary, Settings { endpointing, utterance_end: None, interim_every: endpointing });
    let mut heard = recogniser.hear(samples);
    heard.extend(recogniser.flush());
    let text =
        |heard: &Heard| if let Heard::Final { hypothesis, .. } = heard { hypothesis.text() } else { String::new() };
    heard.iter().map(text).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// The text fields of a form and the contents of its file.
fn parts<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<(Map<String, Value>, &'a [u8])> {
    let boundary = headers.get("content-type")?.to_str().ok()?.strip_prefix("multipart/form-data; boundary=")?;
    let delimiter = format!("--{boundary}");
    let (mut fields, mut file, mut rest) = (Map::new(), None, body);
    while let Some(begin) = find(rest, delimiter.as_bytes()) {
        rest = rest.get(begin + delimiter.len()..)?;
        let Some(end) = find(rest, delimiter.as_bytes()) else { break };
        let part = rest.get(..end)?.strip_prefix(b"\r\n")?.strip_suffix(b"\r\n")?;
        let head = find(part, b"\r\n\r\n")?;
        let (head, content) = (std::str::from_utf8(part.get(..head)?).ok()?, part.get(head + 4..)?);
        match head.split_once("name=\"")?.1.split_once('"')?.0 {
            "file" => file = Some(content),
            name => drop(fields.insert(name.to_owned(), json!(std::str::from_utf8(content).ok()?))),
        }
    }
    Some((fields, file?))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

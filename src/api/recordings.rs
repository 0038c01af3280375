//! Recordings of calls: what is known of them, the audio itself, and pausing those that go on.
//!
//! A file is named by its call and number, never by anything in a request. Its checksum is taken again on the way out:
//! of a file that is not what was recorded the last piece is withheld, so that it never arrives whole. A range is sent
//! unchecked.

use std::io::{self, SeekFrom};
use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use utoipa::{IntoParams, ToSchema};

use super::calls::{BAD_ID, NO_CALL, StoreUnavailable, UNAVAILABLE};
use super::{ApiError, ApiState};
use crate::dialog::{PauseReason, RecordingOrder};
use crate::store::RecordingRow;
use crate::store::record::{CallId, RecordingName};

/// Where recordings are kept, and the calls that go on.
pub trait RecordingDoor: Send + Sync {
    /// The file of a recording that is over.
    fn path(&self, call: CallId, name: RecordingName) -> PathBuf;

    /// Tells a call that goes on; false when there is none.
    fn order(&self, call: CallId, order: RecordingOrder) -> bool;
}

/// A recording as the API shows it.
#[derive(Serialize, ToSchema)]
pub struct RecordingJson {
    /// Counts from 1 within the call.
    number: u32,
    /// `recording`, `finished`, `recovered`, `discarded`, `failed` or `lost`.
    state: String,
    /// `wav` or `opus`.
    format: &'static str,
    /// What came before it: `none`, `announce` or `ask`.
    consent: String,
    /// RFC 3339; absent when it could not be made.
    began_at: Option<String>,
    ended_at: Option<String>,
    ms: Option<u64>,
    bytes: Option<u64>,
    /// Of the file, in hexadecimal.
    sha256: Option<String>,
    /// Frames of 20 ms that are silence because the disk was too slow.
    dropped_frames: Option<u64>,
    /// Silence because nothing was to be recorded.
    pauses: Vec<PauseJson>,
    /// Why it is not whole, or not there.
    fault: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct PauseJson {
    /// From the recording's beginning.
    from_ms: u64,
    to_ms: u64,
}

impl From<RecordingRow> for RecordingJson {
    fn from(row: RecordingRow) -> Self {
        Self {
            number: row.name.number,
            state: row.state,
            format: row.name.format.as_str(),
            consent: row.consent,
            began_at: row.began_at.map(|at| at.to_string()),
            ended_at: row.ended_at.map(|at| at.to_string()),
            ms: row.ms,
            bytes: row.bytes,
            sha256: row.sha256,
            dropped_frames: row.dropped_frames,
            pauses: row.pauses.iter().map(|p| PauseJson { from_ms: p.from_ms, to_ms: p.to_ms }).collect(),
            fault: row.fault,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// The recording's number within the call; the first one with a file unless told.
    number: Option<u32>,
}

/// The audio of a recording that is over: the caller left, Offhook right. Takes one range of bytes.
#[utoipa::path(get, path = "/v1/calls/{id}/recording", tag = "calls", params(("id" = String, Path), Which),
    responses((status = 200, content_type = "audio/wav", body = Vec<u8>), (status = 206), (status = 404), (status = 409), (status = 416)))]
pub async fn download(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let call = CallId::parse(&id).map_err(|_| BAD_ID)?;
    let detail = state.calls.one(call).await.map_err(|StoreUnavailable| UNAVAILABLE)?.ok_or(NO_CALL)?;
    let wanted = |row: &&RecordingRow| match which.number {
        Some(number) => row.name.number == number,
        None => row.sha256.is_some(),
    };
    let is_going_on = detail.recordings.iter().any(|row| row.state == "recording");
    let none = if is_going_on { NOT_OVER } else { NO_RECORDING };
    let row = detail.recordings.iter().find(wanted).ok_or(none)?;
    let (Some(sha256), Some(length)) = (row.sha256.clone(), row.bytes) else {
        return Err(if row.state == "recording" { NOT_OVER } else { NO_RECORDING });
    };
    let path = state.recordings.as_ref().map(|door| door.path(call, row.name)).ok_or(NO_RECORDING)?;
    let file = File::open(&path).await.map_err(|error| damaged(call, &error))?;
    let found = file.metadata().await.map_err(|error| damaged(call, &error))?.len();
    if found != length {
        return Err(damaged(call, &io::Error::other(format!("{found} bytes, {length} were recorded"))));
    }
    let range = headers.get(header::RANGE).map(|value| Range::parse(value, length));
    answer(call, row.name, file, length, sha256, range).await
}

/// Pauses the recording of a call that goes on: silence takes its place until it is resumed.
#[utoipa::path(post, path = "/v1/calls/{id}/recording/pause", tag = "calls", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = super::envelope::ErrorBody)))]
pub async fn pause(State(state): State<ApiState>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    order(&state, &id, RecordingOrder::Pause(PauseReason::Operator))
}

/// Resumes what was paused by this API; a pause by the call's own flow goes on.
#[utoipa::path(post, path = "/v1/calls/{id}/recording/resume", tag = "calls", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = super::envelope::ErrorBody)))]
pub async fn resume(State(state): State<ApiState>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    order(&state, &id, RecordingOrder::Resume(PauseReason::Operator))
}

fn order(state: &ApiState, id: &str, order: RecordingOrder) -> Result<StatusCode, ApiError> {
    let call = CallId::parse(id).map_err(|_| BAD_ID)?;
    match &state.recordings {
        Some(door) if door.order(call, order) => Ok(StatusCode::NO_CONTENT),
        _ => Err(NOT_ACTIVE),
    }
}

async fn answer(
    call: CallId,
    name: RecordingName,
    mut file: File,
    length: u64,
    sha256: String,
    range: Option<Result<Range, Unsatisfiable>>,
) -> Result<Response, ApiError> {
    let (status, from, left, check) = match range {
        None => (StatusCode::OK, 0, length, Some(Check { call, digest: Sha256::new(), expected: sha256.clone() })),
        Some(Ok(Range { from, to })) => (StatusCode::PARTIAL_CONTENT, from, to - from, None),
        Some(Err(Unsatisfiable)) => {
            let mut refusal = BAD_RANGE.into_response();
            refusal.headers_mut().insert(header::CONTENT_RANGE, value(&format!("bytes */{length}")));
            return Ok(refusal);
        }
    };
    file.seek(SeekFrom::Start(from)).await.map_err(|error| damaged(call, &error))?;
    let mut response =
        Body::from_stream(stream::try_unfold(Sending { file, left, check }, Sending::next)).into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(name.format.media_type()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(left));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ETAG, value(&format!("\"{sha256}\"")));
    let file = format!("attachment; filename=\"{}\"", name.file(call));
    headers.insert(header::CONTENT_DISPOSITION, value(&file));
    if status == StatusCode::PARTIAL_CONTENT {
        let last = from + left - 1;
        headers.insert(header::CONTENT_RANGE, value(&format!("bytes {from}-{last}/{length}")));
    }
    Ok(response)
}

/// Made of hexadecimal, digits and our own names: always a header value.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// A file on its way out.
struct Sending {
    file: File,
    left: u64,
    check: Option<Check>,
}

/// What the whole file must come to.
struct Check {
    call: CallId,
    digest: Sha256,
    expected: String,
}

impl Sending {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; usize::try_from(self.left).unwrap_or(PIECE).min(PIECE)];
        self.file.read_exact(&mut piece).await?;
        self.left -= piece.len() as u64;
        if let Some(check) = &mut self.check {
            check.digest.update(&piece);
            if self.left == 0 {
                check.done()?;
            }
        }
        Ok(Some((Bytes::from(piece), self)))
    }
}

impl Check {
    fn done(&mut self) -> io::Result<()> {
        let digest = std::mem::take(&mut self.digest).finalize();
        let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if found == self.expected {
            return Ok(());
        }
        tracing::error!(session_id = %self.call, "a recording's file is not what was recorded");
        Err(io::Error::new(io::ErrorKind::InvalidData, "not what was recorded"))
    }
}

/// Bytes from `from` to before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: u64,
    to: u64,
}

/// No byte of the file is asked for, or more than one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unsatisfiable;

impl Range {
    /// RFC 9110 14.1.2: `bytes=a-b`, `bytes=a-`, `bytes=-n`.
    fn parse(header: &HeaderValue, length: u64) -> Result<Self, Unsatisfiable> {
        let text = header.to_str().map_err(|_| Unsatisfiable)?;
        let (first, last) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')).ok_or(Unsatisfiable)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| Unsatisfiable);
        let range = match (first, last) {
            ("", last) => Self { from: length.saturating_sub(number(last)?), to: length },
            (first, "") => Self { from: number(first)?, to: length },
            (first, last) => Self { from: number(first)?, to: number(last)?.saturating_add(1).min(length) },
        };
        if range.from < range.to { Ok(range) } else { Err(Unsatisfiable) }
    }
}

fn damaged(call: CallId, error: &io::Error) -> ApiError {
    tracing::error!(%error, session_id = %call, "a recording cannot be read");
    DAMAGED
}

/// Bytes read at once.
const PIECE: usize = 64 * 1024;
const NO_RECORDING: ApiError =
    ApiError::new(StatusCode::NOT_FOUND, "no_recording", "There is no such recording of this call.");
const NOT_OVER: ApiError =
    ApiError::new(StatusCode::CONFLICT, "recording_not_over", "The recording is still going on.");
const NOT_ACTIVE: ApiError = ApiError::new(StatusCode::NOT_FOUND, "no_active_call", "No active call has this id.");
const DAMAGED: ApiError = ApiError::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "recording_damaged",
    "The recording's file is gone or is not what was recorded.",
);
const BAD_RANGE: ApiError =
    ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad_range", "Expected one range of bytes within the file.");

/// What [`super::calls::one`] shows.
pub fn all(rows: Vec<RecordingRow>) -> Vec<RecordingJson> {
    rows.into_iter().map(RecordingJson::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_within_the_file() {
        let parse = |text: &str| Range::parse(&HeaderValue::from_str(text).unwrap(), 1000).map(|r| (r.from, r.to));
        assert_eq!(parse("bytes=0-0"), Ok((0, 1)));
        assert_eq!(parse("bytes=10-19"), Ok((10, 20)));
        assert_eq!(parse("bytes=990-5000"), Ok((990, 1000)));
        assert_eq!(parse("bytes=44-"), Ok((44, 1000)));
        assert_eq!(parse("bytes=-100"), Ok((900, 1000)));
        assert_eq!(parse("bytes=-5000"), Ok((0, 1000)));
        for bad in ["bytes=1000-", "bytes=5-4", "bytes=-0", "bytes=0-1,4-5", "bytes=a-b", "lines=1-2", "bytes=", "-"] {
            assert_eq!(parse(bad), Err(Unsatisfiable), "{bad}");
        }
        assert_eq!(parse("bytes=0-18446744073709551615"), Ok((0, 1000)));
    }
}

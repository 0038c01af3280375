//! Brings a file of weights: goes on where an earlier attempt broke off, and gives it its name only when its checksum is right,
//! so that whatever has the name is whole.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use nix::fcntl::{Flock, FlockArg};
use reqwest::{Client, Response, StatusCode};

use super::{Model, ModelsConfig, part_of, verify};
use crate::providers::http::install_tls;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It lay there already, and is right.
    Already(PathBuf),
    /// `resumed` of its bytes were left from an earlier attempt.
    Now { path: PathBuf, resumed: u64 },
}

/// Brings the file, telling `progress` how much of it there is. A connection that breaks or says nothing for
/// 30 s is tried again, five times without a byte in between.
///
/// # Errors
/// Says what is wrong: with the directory, with the server, or with what came.
pub async fn fetch(config: &ModelsConfig, model: &Model, mut progress: impl FnMut(u64)) -> Result<Fetched, String> {
    let path = config.path(model);
    if path.exists() {
        return match verify(&path, model) {
            Ok(()) => Ok(Fetched::Already(path)),
            Err(error) => Err(format!("{error}; remove it, and fetch it again")),
        };
    }
    std::fs::create_dir_all(&config.dir).map_err(|error| format!("{}: {error}", config.dir.display()))?;
    let part = part_of(&path);
    let mut file = opened(&part)?;
    let resumed = file.metadata().map_err(|error| said(&part, &error))?.len().min(model.bytes);
    let client = client()?;
    let mut failures = 0;
    loop {
        let before = length(&file, &part)?;
        match piece(&client, model, &mut file, &part, &mut progress).await {
            Ok(()) => break,
            Err(Broken::ForGood(error)) => return Err(error),
            Err(Broken::ForNow(error)) => {
                failures = if length(&file, &part)? > before { 1 } else { failures + 1 };
                if failures > MOST_FAILURES {
                    return Err(format!("{error}; what there is stays in {}", part.display()));
                }
                tokio::time::sleep(PAUSE * 2_u32.pow(failures - 1)).await;
            }
        }
    }
    file.sync_all().map_err(|error| said(&part, &error))?;
    finish(&part, &path, model)?;
    Ok(Fetched::Now { path, resumed })
}

/// Whether it is worth trying again.
enum Broken {
    ForNow(String),
    ForGood(String),
}

/// Two that fetch the same file would write over each other.
fn opened(part: &Path) -> Result<Flock<File>, String> {
    let file = File::options().create(true).append(true).read(true).open(part).map_err(|error| said(part, &error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| format!("{}: another process is fetching it", part.display()))
}

/// Everything from where the file ends, as far as the connection holds.
async fn piece(
    client: &Client,
    model: &Model,
    file: &mut File,
    part: &Path,
    progress: &mut impl FnMut(u64),
) -> Result<(), Broken> {
    let there = length(file, part).map_err(Broken::ForGood)?;
    if there == model.bytes {
        return Ok(());
    }
    let response = asked(client, model, there).await?;
    let mut there = match response.status() {
        StatusCode::PARTIAL_CONTENT => there,
        // The whole file: the server knows no ranges, or what there is has another length.
        _ => {
            file.set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .map_err(|e| Broken::ForGood(said(part, &e)))?;
            0
        }
    };
    let mut pieces = response.bytes_stream();
    while there < model.bytes {
        let next = tokio::time::timeout(STALLED, pieces.next()).await;
        let piece = match next {
            Err(_) => return Err(Broken::ForNow(format!("{}: nothing came for {STALLED:?}", model.url))),
            Ok(None) => return Err(Broken::ForNow(format!("{}: broke off after {there} bytes", model.url))),
            Ok(Some(piece)) => piece.map_err(|error| Broken::ForNow(format!("{}: {}", model.url, cause(&error))))?,
        };
        there += piece.len() as u64;
        if there > model.bytes {
            let _ = std::fs::remove_file(part);
            return Err(Broken::ForGood(format!("{}: more than {} bytes came", model.url, model.bytes)));
        }
        file.write_all(&piece).map_err(|error| Broken::ForGood(said(part, &error)))?;
        progress(there);
    }
    Ok(())
}

async fn asked(client: &Client, model: &Model, from: u64) -> Result<Response, Broken> {
    let mut request = client.get(&model.url);
    if from > 0 && from < model.bytes {
        request = request.header("range", format!("bytes={from}-"));
    }
    let told = |what: String| format!("{}: {what}", model.url);
    let response = tokio::time::timeout(STALLED, request.send())
        .await
        .map_err(|_| Broken::ForNow(told(format!("no answer within {STALLED:?}"))))?
        .map_err(|error| Broken::ForNow(told(cause(&error))))?;
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::PARTIAL_CONTENT if begins_at(&response, from) => Ok(response),
        StatusCode::PARTIAL_CONTENT => Err(Broken::ForGood(told("another part than was asked for".to_owned()))),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(Broken::ForNow(told(status.to_string())))
        }
        status => Err(Broken::ForGood(told(status.to_string()))),
    }
}

/// RFC 9110 14.4: `Content-Range: bytes 5-9/10`.
fn begins_at(response: &Response, from: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-')).map(|(first, _)| first);
    first.and_then(|first| first.parse().ok()) == Some(from)
}

/// Nothing but the right file gets the name.
fn finish(part: &Path, path: &Path, model: &Model) -> Result<(), String> {
    if let Err(error) = verify(part, model) {
        // To go on with it would end here again.
        let _ = std::fs::remove_file(part);
        return Err(format!("{error}; it was thrown away"));
    }
    std::fs::rename(part, path).map_err(|error| said(path, &error))?;
    let dir = path.parent().map(File::open);
    dir.map_or(Ok(()), |dir| dir.and_then(|dir| dir.sync_all())).map_err(|error| said(path, &error))
}

fn length(file: &File, part: &Path) -> Result<u64, String> {
    file.metadata().map(|metadata| metadata.len()).map_err(|error| said(part, &error))
}

fn said(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Published files lie behind redirects, and no secret is sent along.
fn client() -> Result<Client, String> {
    install_tls();
    let client = Client::builder().connect_timeout(Duration::from_secs(10));
    client.build().map_err(|error| format!("HTTP client: {}", cause(&error)))
}

/// By its deepest cause, without the URL that its text would repeat.
fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

const STALLED: Duration = Duration::from_secs(30);
const MOST_FAILURES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;

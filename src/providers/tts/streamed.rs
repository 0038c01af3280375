//! An HTTP body of 16-bit PCM as an [`AudioStream`]: converted as it arrives, with deadlines for the first audio and
//! for progress. Dropping the stream closes the connection.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use offhook_media::resample::Rate;
use tokio::time::Instant;

use super::pcm::PcmTo8k;
use crate::providers::http::{connection, protocol, send};
use crate::providers::{AudioStream, ProviderError, SpeechChunk};

/// How long a voice may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// From the request to the first audio.
    pub first_audio: Duration,
    /// From one piece of audio to the next.
    pub progress: Duration,
}

/// Sends `request` and streams its body, `rate` samples per second, as 8 kHz.
pub(super) async fn speak(
    vendor: &'static str,
    request: reqwest::RequestBuilder,
    rate: Rate,
    deadlines: Deadlines,
) -> Result<AudioStream, ProviderError> {
    let first_by = Instant::now() + deadlines.first_audio;
    let response = send(vendor, request, deadlines.first_audio).await?;
    if let Some(kind) = response.headers().get("content-type").and_then(|v| v.to_str().ok())
        && (kind.starts_with("application/json") || kind.starts_with("text/"))
    {
        return Err(protocol(vendor, "text where audio was expected"));
    }
    let body = Body {
        vendor,
        bytes: response.bytes_stream().boxed(),
        pcm: Some(PcmTo8k::new(rate)),
        first_by: Some(first_by),
        deadlines,
    };
    Ok(stream::unfold(body, Body::next).boxed())
}

struct Body {
    vendor: &'static str,
    bytes: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    /// None once the stream is over.
    pcm: Option<PcmTo8k>,
    /// Until the first audio.
    first_by: Option<Instant>,
    deadlines: Deadlines,
}

type Piece = Result<SpeechChunk, ProviderError>;

impl Body {
    async fn next(mut self) -> Option<(Piece, Self)> {
        loop {
            let pcm = self.pcm.as_mut()?;
            let (by, what, after) = match self.first_by {
                Some(by) => (by, "first audio", self.deadlines.first_audio),
                None => (Instant::now() + self.deadlines.progress, "further audio", self.deadlines.progress),
            };
            let samples = match tokio::time::timeout_at(by, self.bytes.next()).await {
                Err(_) => return self.fail(|vendor| ProviderError::Timeout { vendor, what, after }),
                Ok(Some(Err(e))) => return self.fail(|vendor| connection(vendor, &e.without_url())),
                Ok(Some(Ok(bytes))) => pcm.push(&bytes),
                Ok(None) => return self.end(),
            };
            if !samples.is_empty() {
                self.first_by = None;
                return Some((Ok(samples.into()), self));
            }
        }
    }

    fn end(mut self) -> Option<(Piece, Self)> {
        if self.first_by.is_some() {
            return self.fail(|vendor| protocol(vendor, "an answer without audio"));
        }
        match self.pcm.take()?.finish() {
            Ok(rest) if rest.is_empty() => None,
            Ok(rest) => Some((Ok(rest.into()), self)),
            Err(what) => self.fail(|vendor| protocol(vendor, what)),
        }
    }

    /// Reports and ends: the connection goes with the body.
    fn fail(mut self, error: impl FnOnce(&'static str) -> ProviderError) -> Option<(Piece, Self)> {
        self.pcm = None;
        self.bytes = stream::empty().boxed();
        Some((Err(error(self.vendor)), self))
    }
}

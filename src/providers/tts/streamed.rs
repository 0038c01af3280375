//! An HTTP body as an [`AudioStream`]: converted as it arrives, with deadlines for the first audio and for progress. Dropping
//! the stream closes the connection. What the body holds is its [`Decoder`]'s business: 16-bit PCM in most cases.

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

/// How the bytes of a body become speech.
pub(super) trait Decoder: Send + 'static {
    /// What `bytes` complete.
    fn push(&mut self, bytes: &[u8]) -> Result<SpeechChunk, String>;
    /// What is still held when the body has ended.
    fn finish(self) -> Result<SpeechChunk, String>;
}

impl Decoder for PcmTo8k {
    fn push(&mut self, bytes: &[u8]) -> Result<SpeechChunk, String> {
        Ok(Self::push(self, bytes).into())
    }

    fn finish(self) -> Result<SpeechChunk, String> {
        Self::finish(self).map(SpeechChunk::from).map_err(str::to_owned)
    }
}

/// Sends `request` and streams its body of PCM, `rate` samples per second, as 8 kHz.
pub(super) async fn speak(
    vendor: &'static str,
    request: reqwest::RequestBuilder,
    rate: Rate,
    deadlines: Deadlines,
) -> Result<AudioStream, ProviderError> {
    speak_decoded(vendor, request, PcmTo8k::new(rate), &["application/json", "text/"], deadlines).await
}

/// Sends `request` and streams what `decoder` makes of its body; a body of a `refused` type is no speech.
pub(super) async fn speak_decoded<D: Decoder>(
    vendor: &'static str,
    request: reqwest::RequestBuilder,
    decoder: D,
    refused: &[&str],
    deadlines: Deadlines,
) -> Result<AudioStream, ProviderError> {
    let first_by = Instant::now() + deadlines.first_audio;
    let response = send(vendor, request, deadlines.first_audio).await?;
    if let Some(kind) = response.headers().get("content-type").and_then(|v| v.to_str().ok())
        && refused.iter().any(|refused| kind.starts_with(refused))
    {
        return Err(protocol(vendor, "text where audio was expected"));
    }
    let body = Body {
        vendor,
        bytes: response.bytes_stream().boxed(),
        decoder: Some(decoder),
        first_by: Some(first_by),
        deadlines,
    };
    Ok(stream::unfold(body, Body::next).boxed())
}

struct Body<D> {
    vendor: &'static str,
    bytes: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    /// None once the stream is over.
    decoder: Option<D>,
    /// Until the first audio.
    first_by: Option<Instant>,
    deadlines: Deadlines,
}

type Piece = Result<SpeechChunk, ProviderError>;

impl<D: Decoder> Body<D> {
    async fn next(mut self) -> Option<(Piece, Self)> {
        loop {
            let decoder = self.decoder.as_mut()?;
            let (by, what, after) = match self.first_by {
                Some(by) => (by, "first audio", self.deadlines.first_audio),
                None => (Instant::now() + self.deadlines.progress, "further audio", self.deadlines.progress),
            };
            let decoded = match tokio::time::timeout_at(by, self.bytes.next()).await {
                Err(_) => return self.fail(|vendor| ProviderError::Timeout { vendor, what, after }),
                Ok(Some(Err(e))) => return self.fail(|vendor| connection(vendor, &e.without_url())),
                Ok(Some(Ok(bytes))) => decoder.push(&bytes),
                Ok(None) => return self.end(),
            };
            match decoded {
                Err(what) => return self.fail(|vendor| protocol(vendor, what)),
                Ok(chunk) if chunk.samples.is_empty() && chunk.words.is_empty() => {}
                Ok(chunk) => {
                    if !chunk.samples.is_empty() {
                        self.first_by = None;
                    }
                    return Some((Ok(chunk), self));
                }
            }
        }
    }

    fn end(mut self) -> Option<(Piece, Self)> {
        if self.first_by.is_some() {
            return self.fail(|vendor| protocol(vendor, "an answer without audio"));
        }
        match self.decoder.take()?.finish() {
            Ok(rest) if rest.samples.is_empty() => None,
            Ok(rest) => Some((Ok(rest), self)),
            Err(what) => self.fail(|vendor| protocol(vendor, what)),
        }
    }

    /// Reports and ends: the connection goes with the body.
    fn fail(mut self, error: impl FnOnce(&'static str) -> ProviderError) -> Option<(Piece, Self)> {
        self.decoder = None;
        self.bytes = stream::empty().boxed();
        Some((Err(error(self.vendor)), self))
    }
}

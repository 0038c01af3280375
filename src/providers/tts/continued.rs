//! A sentence that outlives its voice: when one breaks off in the middle, the next one goes on with the first word that was
//! not whole. Whoever plays it drops what came of that word, unless the caller has heard it by then.

use futures_util::stream::{self, StreamExt};

use super::chain::VoiceChain;
use crate::providers::timing::{Said, broken_off};
use crate::providers::{AudioStream, ProviderError, SpeakRequest, SpeechChunk, WordTime};

/// An utterance of one voice after the other.
pub(super) struct Continued {
    voices: VoiceChain,
    /// Its place in the chain.
    voice: usize,
    stream: AudioStream,
    /// What the present voice was asked for, and what has come of it.
    request: SpeakRequest,
    audio: Vec<i16>,
    told: Vec<WordTime>,
    /// Where that begins in the whole: bytes and samples.
    begins: Said,
    over: bool,
}

type Piece = Result<SpeechChunk, ProviderError>;

impl Continued {
    /// `stream` is what the voice at this place of the chain makes of `request`.
    pub(super) fn stream(voices: VoiceChain, voice: usize, stream: AudioStream, request: SpeakRequest) -> AudioStream {
        let begins = Said { text: 0, samples: 0 };
        let utterance =
            Self { voices, voice, stream, request, audio: Vec::new(), told: Vec::new(), begins, over: false };
        stream::unfold(utterance, Self::next).boxed()
    }

    async fn next(mut self) -> Option<(Piece, Self)> {
        if self.over {
            return None;
        }
        match self.stream.next().await {
            Some(Ok(chunk)) => {
                let chunk = self.take(chunk);
                Some((Ok(chunk), self))
            }
            Some(Err(error)) => {
                let piece = self.go_on(error).await?;
                Some((piece, self))
            }
            None => {
                if self.told.is_empty() {
                    self.voices.spoke(self.voice, &self.request, self.audio.len());
                }
                None
            }
        }
    }

    /// A piece in its place in the whole.
    fn take(&mut self, mut chunk: SpeechChunk) -> SpeechChunk {
        self.audio.extend_from_slice(&chunk.samples);
        self.told.extend_from_slice(&chunk.words);
        let Said { text, samples } = self.begins;
        for time in &mut chunk.words {
            time.text = time.text.start + text..time.text.end + text;
            time.samples = time.samples.start + samples..time.samples.end + samples;
        }
        chunk
    }

    /// The voice has broken off. `None`: all of the text was out.
    async fn go_on(&mut self, error: ProviderError) -> Option<Piece> {
        self.over = true;
        let pace = self.voices.pace(self.voice, &self.request);
        let said = broken_off(self.request.text.as_str(), &self.told, &self.audio, pace);
        let rest = self.request.text.rest(said.text);
        if rest.is_empty() {
            return None;
        }
        let request = SpeakRequest { text: rest, ..self.request.clone() };
        let Ok((voice, stream)) = self.voices.begin_from(self.voice + 1, &request).await else {
            return Some(Err(error));
        };
        tracing::info!(after = %error, "a sentence goes on with another voice");
        self.begins.text += said.text;
        self.begins.samples += said.samples;
        (self.voice, self.stream, self.request, self.over) = (voice, stream, request, false);
        self.audio.clear();
        self.told.clear();
        Some(Ok(SpeechChunk { rejoins: Some(self.begins.samples), ..SpeechChunk::from(Vec::new()) }))
    }
}

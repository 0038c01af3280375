//! A recogniser that takes whole recordings, as a session: what the caller says is cut where they fall silent, and each stretch
//! is recognised by itself. There are no interim words, so that barge-in by words alone comes late.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use tokio::sync::mpsc;

use super::stretches::{Stretch, Stretches};
use crate::providers::{ListenRequest, ProviderError, Recognised, SttEvent};

/// Makes words of a stretch of speech.
pub(super) trait Transcriber: Send + Sync {
    /// `None` where there are no words in it.
    fn transcribe(
        &self,
        stretch: Stretch,
        asked: Asked,
    ) -> BoxFuture<'static, Result<Option<Recognised>, ProviderError>>;
}

/// What each request says about the words to expect.
#[derive(Clone)]
pub(super) struct Asked {
    pub language: String,
    /// Words worth expecting, separated by commas; may be empty.
    pub hints: String,
}

/// Runs until the audio has ended and its last words are told, nobody listens, or stretches fail again and again.
pub(super) async fn session(
    transcriber: impl Transcriber,
    silence: Duration,
    request: ListenRequest,
    events: mpsc::Sender<SttEvent>,
) {
    let ListenRequest { language, hints, mut audio } = request;
    let asked = Asked { language: language.primary().to_owned(), hints: hints.join(", ") };
    let mut stretches = Stretches::new(silence);
    let mut answers = FuturesOrdered::new();
    let (mut hears, mut failures) = (true, 0);
    while hears || !answers.is_empty() {
        let (stretch, answer) = tokio::select! {
            () = events.closed() => return,
            answer = answers.next(), if !answers.is_empty() => (None, answer),
            frame = audio.recv(), if hears => {
                hears = frame.is_some();
                let stretch = match frame {
                    Some(frame) => stretches.hear(&frame),
                    None => stretches.end(),
                };
                (stretch, None)
            }
        };
        if let Some(stretch) = stretch {
            answers.push_back(transcriber.transcribe(stretch, asked.clone()));
        }
        let told = match answer {
            None => continue,
            Some(Ok(heard)) => {
                failures = 0;
                heard
            }
            Some(Err(error)) => {
                failures += 1;
                tracing::warn!(%error, "a stretch of speech was not recognised");
                if failures >= MOST_FAILURES || matches!(error, ProviderError::Unauthorized { .. }) {
                    // Whoever listened may be gone.
                    let _ = events.send(SttEvent::Failed(error)).await;
                    return;
                }
                None
            }
        };
        for event in told.map(SttEvent::Final).into_iter().chain([SttEvent::SpeechEnded]) {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// Events that wait for a call that is slow.
pub(super) const EVENTS: usize = 64;
/// Stretches in a row of which nothing came: the recogniser is given up.
const MOST_FAILURES: u32 = 3;

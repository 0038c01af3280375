//! The task that makes one call's sentences: one at a time, in order, dropped the moment they are not wanted.
//!
//! Owned by the call's actor through its inbox: dropping the inbox ends the task and whatever voice it was using.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use offhook_media::RATE_HZ;
use offhook_media::playout::SentenceId;
use tokio::sync::mpsc;

use super::TurnId;
use super::core::CallInput;
use super::shard::CallPort;
use crate::providers::{AudioStream, ProviderError, SpeakRequest, Tts};

/// What the task is told.
#[derive(Debug)]
pub enum SpeakMsg {
    Say {
        turn: TurnId,
        sentence: SentenceId,
        request: SpeakRequest,
    },
    /// Nothing of this turn or an older one is wanted any more.
    Abandon(TurnId),
}

/// How many messages may wait: a call asks for at most two sentences ahead, and abandons between.
pub const INBOX: usize = 32;

/// Serves one call until its inbox closes.
pub async fn run(mut inbox: mpsc::Receiver<SpeakMsg>, voices: Vec<Arc<dyn Tts>>, call: CallPort) {
    let mut waiting = VecDeque::with_capacity(INBOX);
    loop {
        let next = match waiting.pop_front() {
            Some(message) => Some(message),
            None => inbox.recv().await,
        };
        let Some(SpeakMsg::Say { turn, sentence, request }) = next else {
            match next {
                Some(_) => continue,
                None => return,
            }
        };
        let mut speech = std::pin::pin!(make(&voices, &call, turn, sentence, request));
        loop {
            tokio::select! {
                biased;
                message = inbox.recv() => match message {
                    None => return,
                    Some(SpeakMsg::Abandon(stale)) => {
                        waiting.retain(|m| matches!(m, SpeakMsg::Say { turn, .. } if *turn > stale));
                        if turn <= stale {
                            break;
                        }
                    }
                    Some(say) => waiting.push_back(say),
                },
                () = &mut speech => break,
            }
        }
    }
}

/// Speaks one sentence; when a voice fails before its first audio, the next one speaks it.
async fn make(voices: &[Arc<dyn Tts>], call: &CallPort, turn: TurnId, sentence: SentenceId, request: SpeakRequest) {
    let mut failure = None;
    for voice in voices {
        match voice.speak(request.clone()).await {
            Ok(audio) => match forward(audio, call, turn, sentence).await {
                Ok(()) => return call.send(CallInput::SpeechEnded { turn, sentence }).await,
                Err(Cut { error, heard: true }) => {
                    return call.send(CallInput::SpeechFailed { turn, sentence, error }).await;
                }
                Err(Cut { error, heard: false }) => failure = Some(error),
            },
            Err(error) => failure = Some(error),
        }
    }
    let error = failure.unwrap_or(ProviderError::NotConfigured { vendor: "tts", what: "no voice".into() });
    call.send(CallInput::SpeechFailed { turn, sentence, error }).await;
}

/// Hands audio over: the first chunk at once, later ones in larger pieces so that a call is woken seldom.
async fn forward(mut audio: AudioStream, call: &CallPort, turn: TurnId, sentence: SentenceId) -> Result<(), Cut> {
    let mut pending: Vec<i16> = Vec::new();
    let mut heard = false;
    while let Some(chunk) = audio.next().await {
        let chunk = chunk.map_err(|error| Cut { error, heard })?;
        if chunk.is_empty() {
            continue;
        }
        if !heard || (pending.is_empty() && chunk.len() >= LARGE_CHUNK) {
            heard = true;
            call.send(CallInput::Speech { turn, sentence, samples: chunk }).await;
            continue;
        }
        pending.extend_from_slice(&chunk);
        if pending.len() >= LARGE_CHUNK {
            let samples = std::mem::take(&mut pending).into();
            call.send(CallInput::Speech { turn, sentence, samples }).await;
        }
    }
    if !pending.is_empty() {
        call.send(CallInput::Speech { turn, sentence, samples: pending.into() }).await;
    }
    Ok(())
}

struct Cut {
    error: ProviderError,
    /// Some of the sentence went out before the voice failed.
    heard: bool,
}

/// 300 ms.
const LARGE_CHUNK: usize = RATE_HZ as usize * 3 / 10;

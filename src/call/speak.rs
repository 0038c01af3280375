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
    /// This sentence was waited for long enough.
    GiveUp {
        turn: TurnId,
        sentence: SentenceId,
    },
}

/// How many messages may wait: a call asks for at most two sentences ahead, and abandons between.
pub const INBOX: usize = 32;

/// Serves one call until its inbox closes.
pub async fn run(mut inbox: mpsc::Receiver<SpeakMsg>, voice: Arc<dyn Tts>, call: CallPort) {
    let mut waiting = VecDeque::with_capacity(INBOX);
    loop {
        let next = match waiting.pop_front() {
            Some(message) => message,
            None => match inbox.recv().await {
                Some(message) => message,
                None => return,
            },
        };
        let SpeakMsg::Say { turn, sentence, request } = next else { continue };
        tokio::select! {
            biased;
            abandoned = abandoned((turn, sentence), &mut inbox, &mut waiting) => {
                if abandoned.is_none() {
                    return;
                }
            }
            () = make(&*voice, &call, turn, sentence, request) => {}
        }
    }
}

/// Keeps what arrives until the sentence being made is not wanted any more. `None`: the call is gone.
async fn abandoned(
    (turn, sentence): (TurnId, SentenceId),
    inbox: &mut mpsc::Receiver<SpeakMsg>,
    waiting: &mut VecDeque<SpeakMsg>,
) -> Option<()> {
    loop {
        match inbox.recv().await? {
            SpeakMsg::GiveUp { turn: late, sentence: given_up } => {
                if (late, given_up) == (turn, sentence) {
                    return Some(());
                }
            }
            SpeakMsg::Abandon(stale) => {
                waiting.retain(|message| matches!(message, SpeakMsg::Say { turn, .. } if *turn > stale));
                if turn <= stale {
                    return Some(());
                }
            }
            say => waiting.push_back(say),
        }
    }
}

async fn make(voice: &dyn Tts, call: &CallPort, turn: TurnId, sentence: SentenceId, request: SpeakRequest) {
    let made = match voice.speak(request).await {
        Ok(audio) => forward(audio, call, turn, sentence).await,
        Err(error) => Err(error),
    };
    let end = match made {
        Ok(()) => CallInput::SpeechEnded { turn, sentence },
        Err(error) => CallInput::SpeechFailed { turn, sentence, error },
    };
    call.send(end).await;
}

/// Hands audio over: the first chunk at once, later ones in larger pieces so that a call is woken seldom.
async fn forward(
    mut audio: AudioStream,
    call: &CallPort,
    turn: TurnId,
    sentence: SentenceId,
) -> Result<(), ProviderError> {
    let mut pending: Vec<i16> = Vec::new();
    let mut heard = false;
    while let Some(chunk) = audio.next().await {
        let chunk = chunk?;
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

/// 300 ms.
const LARGE_CHUNK: usize = RATE_HZ as usize * 3 / 10;

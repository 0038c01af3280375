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
use crate::providers::timing::estimated;
use crate::providers::{AudioStream, ProviderError, SpeakRequest, SpeechChunk, Tts, WordTime};

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
    let text = request.text.clone();
    let made = match voice.speak(request).await {
        Ok(audio) => Hand { call, turn, sentence, pending: Vec::new() }.over(audio, text.as_str()).await,
        Err(error) => Err(error),
    };
    let end = match made {
        Ok(()) => CallInput::SpeechEnded { turn, sentence },
        Err(error) => CallInput::SpeechFailed { turn, sentence, error },
    };
    call.send(end).await;
}

/// Hands a sentence over to the call.
struct Hand<'a> {
    call: &'a CallPort,
    turn: TurnId,
    sentence: SentenceId,
    pending: Vec<i16>,
}

impl Hand<'_> {
    /// The first chunk of each voice at once, later ones in larger pieces so that a call is woken seldom. The times of the words are
    /// estimated where the voice tells none.
    async fn over(mut self, mut audio: AudioStream, text: &str) -> Result<(), ProviderError> {
        let mut all: Vec<i16> = Vec::new();
        let (mut timed, mut first) = (false, true);
        while let Some(chunk) = audio.next().await {
            let SpeechChunk { samples, words, rejoins } = chunk?;
            if let Some(keep) = rejoins {
                all.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
                self.rejoined(keep).await;
                first = true;
            }
            if !words.is_empty() {
                timed = true;
                self.words(words).await;
            }
            if !samples.is_empty() {
                all.extend_from_slice(&samples);
                self.samples(samples, std::mem::take(&mut first)).await;
            }
        }
        self.flush().await;
        if !timed {
            self.words(estimated(text, &all)).await;
        }
        Ok(())
    }

    async fn samples(&mut self, samples: Arc<[i16]>, first: bool) {
        if first || (self.pending.is_empty() && samples.len() >= LARGE_CHUNK) {
            let (turn, sentence) = (self.turn, self.sentence);
            self.call.send(CallInput::Speech { turn, sentence, samples }).await;
            return;
        }
        self.pending.extend_from_slice(&samples);
        if self.pending.len() >= LARGE_CHUNK {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let samples = std::mem::take(&mut self.pending).into();
        let (turn, sentence) = (self.turn, self.sentence);
        self.call.send(CallInput::Speech { turn, sentence, samples }).await;
    }

    async fn rejoined(&mut self, keep: u64) {
        self.flush().await;
        let (turn, sentence) = (self.turn, self.sentence);
        self.call.send(CallInput::SpeechRejoined { turn, sentence, keep }).await;
    }

    async fn words(&self, words: Vec<WordTime>) {
        let (turn, sentence) = (self.turn, self.sentence);
        self.call.send(CallInput::WordTimes { turn, sentence, words }).await;
    }
}

/// 300 ms.
const LARGE_CHUNK: usize = RATE_HZ as usize * 3 / 10;

//! The task that keeps a recogniser listening to one call and carries its words back.
//!
//! The audio goes by its own bounded queue straight from the 20 ms path; this task only opens the session and waits
//! for words. It ends when the call drops its half of that queue.

use std::sync::Arc;

use super::core::CallInput;
use super::shard::CallPort;
use crate::providers::{FrameReceiver, Language, ListenRequest, Stt, SttEvent};

/// Frames that may wait for a slow recogniser: 10 s. Beyond that the oldest go and are counted.
pub const FRAMES: usize = 500;

/// Listens until the audio or the session ends.
pub async fn run(stt: Arc<dyn Stt>, language: Language, hints: Arc<[String]>, audio: FrameReceiver, call: CallPort) {
    let request = ListenRequest { language, hints: hints.to_vec(), audio };
    let mut words = match stt.listen(request).await {
        Ok(words) => words,
        Err(error) => return call.send(CallInput::Heard(SttEvent::Failed(error))).await,
    };
    while let Some(event) = words.recv().await {
        call.send(CallInput::Heard(event)).await;
    }
}

//! What the stand-ins really added to each answer, as measured where it was added.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

/// The place of a delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DelayKind {
    SttConnect,
    /// From the arrival of the last voiced audio to the sending of its final words.
    SttFinal,
    TtsConnect,
    TtsFirstByte,
    LlmConnect,
    LlmFirstToken,
    LlmBetweenTokens,
}

/// One delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    pub kind: DelayKind,
    /// When it was over.
    pub at: Instant,
    /// How long it really was.
    pub added: Duration,
}

/// The delays of all stand-ins, oldest first; the oldest go beyond [`MOST_DELAYS`].
#[derive(Clone, Default)]
pub struct DelayLog(Arc<Mutex<VecDeque<Delay>>>);

impl DelayLog {
    /// Takes all delays out of the log.
    pub fn take(&self) -> Vec<Delay> {
        self.0.lock().drain(..).collect()
    }

    /// A copy of all delays.
    pub fn all(&self) -> Vec<Delay> {
        self.0.lock().iter().copied().collect()
    }

    pub(super) async fn wait(&self, kind: DelayKind, length: Duration) {
        let begun = Instant::now();
        if !length.is_zero() {
            sleep(length).await;
        }
        self.note(kind, begun.elapsed());
    }

    pub(super) fn note(&self, kind: DelayKind, added: Duration) {
        let mut log = self.0.lock();
        if log.len() >= MOST_DELAYS {
            log.pop_front();
        }
        log.push_back(Delay { kind, at: Instant::now(), added });
    }
}

/// Bounds the log.
pub const MOST_DELAYS: usize = 100_000;

//! Whisper in this process (whisper.cpp), from a file of weights: what callers say leaves the machine to nobody. A stretch of
//! speech is recognised when it has ended; on two cores that serves a few calls at once.

mod engine;
mod header;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::mpsc;

use super::by_stretch::{Asked, EVENTS, Transcriber, session};
use super::stretches::Stretch;
use crate::providers::config::{SttConfig, WhisperConfig};
use crate::providers::models::{ModelsConfig, Presence};
use crate::providers::{ListenRequest, ProviderError, Recognised, Stt, SttEvent};
use engine::Engine;

/// A recogniser that runs here. Its weights are loaded when it is checked or first listens.
#[derive(Clone)]
pub struct WhisperStt {
    engine: Arc<Engine>,
    silence: Duration,
}

impl WhisperStt {
    /// # Errors
    /// Names the key that is wrong, or what is missing and how to get it.
    pub fn new(config: &WhisperConfig, models: &ModelsConfig, stt: &SttConfig) -> Result<Self, String> {
        if config.concurrency == 0 || config.deadline_ms == 0 {
            return Err("whisper: concurrency or deadline_ms is 0; expected at least 1".to_owned());
        }
        let engine = Engine::new(config, weights(config, models)?);
        Ok(Self { engine: Arc::new(engine), silence: Duration::from_millis(stt.endpointing_ms.into()) })
    }
}

impl Stt for WhisperStt {
    fn name(&self) -> &'static str {
        VENDOR
    }

    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
        let (events, receiver) = mpsc::channel(EVENTS);
        tokio::spawn(session(self.clone(), self.silence, request, events));
        ready(Ok(receiver)).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        let engine = Arc::clone(&self.engine);
        async move { engine.load().await }.boxed()
    }

    fn reconnects(&self) -> bool {
        true
    }
}

impl Transcriber for WhisperStt {
    fn transcribe(
        &self,
        stretch: Stretch,
        asked: Asked,
    ) -> BoxFuture<'static, Result<Option<Recognised>, ProviderError>> {
        let engine = Arc::clone(&self.engine);
        async move { engine.transcribe(stretch, asked).await }.boxed()
    }
}

/// The file that is meant, if it is there and begins as such a file does.
fn weights(config: &WhisperConfig, models: &ModelsConfig) -> Result<PathBuf, String> {
    let path = if config.model.contains('/') {
        PathBuf::from(&config.model)
    } else {
        let model = models.find(&config.model).map_err(|error| format!("whisper.model: {error}"))?;
        match models.presence(&model) {
            Presence::There => {}
            Presence::Wrong(bytes) => {
                let path = models.path(&model);
                return Err(format!("whisper.model: {}: {bytes} bytes, expected {}", path.display(), model.bytes));
            }
            Presence::Absent | Presence::Partly(_) => {
                return Err(format!("whisper.model: not fetched yet; run `offhook models fetch {}`", model.name));
            }
        }
        models.path(&model)
    };
    header::check(&path).map_err(|error| format!("whisper.model: {}: {error}", path.display()))?;
    Ok(path)
}

const VENDOR: &str = "whisper_local";

#[cfg(test)]
mod tests;

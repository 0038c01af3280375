//! Stand-ins for the vendors: real servers on loopback that speak the vendors' wire protocols, with delays and faults
//! that can be changed while they run. They measure the delays that they really add, so that a harness can tell the
//! vendor's time from the server's. One listener serves all; the paths of the vendors do not overlap.

mod anthropic_llm;
mod azure_stt;
mod deepgram_flux;
pub mod deepgram_stt;
pub mod deepgram_tts;
mod delays;
mod desk;
pub mod half_closed;
pub mod openai_llm;
pub mod recogniser;
pub mod speech;
pub mod transcriptions;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use deepgram_stt::SttBehaviour;
use deepgram_tts::TtsBehaviour;
use openai_llm::LlmBehaviour;
use recogniser::{Dictionary, Utterance};
use transcriptions::TranscriptionBehaviour;

pub use delays::{Delay, DelayKind, DelayLog};
pub use desk::{Counters, Desk, Refusal};

/// All stand-ins, serving until this is dropped.
pub struct VendorStandIns {
    address: SocketAddr,
    /// `WS /v1/listen` and `WS /v2/listen`.
    pub stt: Desk<SttBehaviour>,
    /// `POST /v1/speak` and `POST /v1/audio/speech`.
    pub tts: Desk<TtsBehaviour>,
    /// `POST /v1/chat/completions`.
    pub llm: Desk<LlmBehaviour>,
    /// `POST /v1/messages`.
    pub anthropic: Desk<LlmBehaviour>,
    /// Azure's `POST /cognitiveservices/v1` and `WS /speech/recognition/conversation/cognitiveservices/v1`.
    pub azure_tts: Desk<TtsBehaviour>,
    pub azure_stt: Desk<SttBehaviour>,
    /// `POST /v1/text-to-speech/VOICE/stream/with-timestamps`.
    pub elevenlabs: Desk<TtsBehaviour>,
    /// `POST /v1/audio/transcriptions`.
    pub transcriptions: Desk<TranscriptionBehaviour>,
    /// What was added where.
    pub delays: DelayLog,
    server: JoinHandle<()>,
}

impl VendorStandIns {
    /// Serves on a free loopback port; the recogniser knows `utterances` (8 kHz samples) and nothing else. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// When no loopback port can be bound.
    pub async fn start(utterances: Vec<Utterance>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let delays = DelayLog::default();
        let (stt, tts) = (Desk::new(delays.clone()), Desk::new(delays.clone()));
        let (llm, anthropic) = (Desk::new(delays.clone()), Desk::new(delays.clone()));
        let transcriptions = Desk::new(delays.clone());
        let (azure_tts, azure_stt) = (Desk::new(delays.clone()), Desk::new(delays.clone()));
        let elevenlabs = Desk::new(delays.clone());
        let dictionary = Arc::new(Dictionary::new(utterances));
        let routes = Router::new()
            .merge(deepgram_stt::routes(stt.clone(), Arc::clone(&dictionary)))
            .merge(deepgram_flux::routes(stt.clone(), Arc::clone(&dictionary)))
            .merge(azure_stt::routes(azure_stt.clone(), Arc::clone(&dictionary)))
            .merge(transcriptions::routes(transcriptions.clone(), dictionary))
            .merge(deepgram_tts::routes(tts.clone()))
            .merge(deepgram_tts::azure(azure_tts.clone()))
            .merge(deepgram_tts::elevenlabs(elevenlabs.clone()))
            .merge(openai_llm::routes(llm.clone()))
            .merge(anthropic_llm::routes(anthropic.clone()));
        let server = tokio::spawn(async move {
            // It ends by being aborted; an accept error of loopback has nobody to go to.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { address, stt, tts, llm, anthropic, azure_tts, azure_stt, elevenlabs, transcriptions, delays, server })
    }

    /// For the `base_url` of any vendor.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for VendorStandIns {
    fn drop(&mut self) {
        self.server.abort();
    }
}

//! Vendors that fail, one after the other and together, in the middle of words, while calls go on; and whether the server shows
//! it and gets over it.
//!
//! A [`Director`] has the stand-ins fail act by act and leaves them in peace at the end. Meanwhile a [`Watch`] reads what the
//! server says of its providers in `/healthz` and in its metrics, as an operator would.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::http::Request;
use super::metrics::{Metric, Samples};
use super::vendors::deepgram_stt::SttFault;
use super::vendors::deepgram_tts::TtsFault;
use super::vendors::openai_llm::LlmFault;
use super::vendors::{Refusal, VendorStandIns};
use crate::config::Config;
use crate::providers::config::{ApiKey, LlmFallback, LlmProvider, SttProvider, TtsProvider};

/// `chaos` of a scenario.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Chaos {
    /// How long an act lasts, and the peace behind it.
    pub act_ms: u64,
    pub peace_ms: u64,
    /// How long a provider that failed is left alone by the server.
    pub pause_s: u64,
    /// The flow that the called number gets.
    pub flow: String,
}

/// What is done to vendors in one act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    VoiceDies,
    VoiceStallsInWords,
    VoiceBreaksInWords,
    VoiceLies,
    VoicesBreakTogether,
    ModelDies,
    ModelStalls,
    ModelBreaksInWords,
    ModelIsLimited,
    EarsDie,
    EarsBreakInWords,
    EarsStall,
    AllDie,
    AllStall,
}

const ACTS: [Act; 14] = [
    Act::VoiceDies,
    Act::VoiceStallsInWords,
    Act::VoiceBreaksInWords,
    Act::VoiceLies,
    Act::VoicesBreakTogether,
    Act::ModelDies,
    Act::ModelStalls,
    Act::ModelBreaksInWords,
    Act::ModelIsLimited,
    Act::EarsDie,
    Act::EarsBreakInWords,
    Act::EarsStall,
    Act::AllDie,
    Act::AllStall,
];

impl Chaos {
    /// Writes the flow where a server looks for it.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn write_flow(&self, dir: &Path, called: &str) -> Result<(), String> {
        let line = format!("numbers: [\"{called}\"]\ndefault: true\nflow: chaos\n");
        for (folder, text) in [("flows", &self.flow), ("lines", &line)] {
            let file = dir.join(folder).join("chaos.yaml");
            let written = std::fs::create_dir_all(dir.join(folder)).and_then(|()| std::fs::write(&file, text));
            written.map_err(|e| format!("{}: {e}", file.display()))?;
        }
        Ok(())
    }

    /// Has a server use every vendor that has a stand-in, each with one that stands in for it.
    ///
    /// # Errors
    /// When a stand-in's key is none.
    pub fn configure(&self, config: &mut Config, base_url: &str) -> Result<(), String> {
        let key = Some(ApiKey::new("stand-in".to_owned())?);
        config.tts.provider = TtsProvider::Deepgram;
        config.tts.fallbacks = vec![TtsProvider::ElevenLabs, TtsProvider::Azure];
        config.stt.provider = SttProvider::Deepgram;
        config.stt.fallbacks = vec![SttProvider::Azure];
        config.stt.watchdog_ms = 2000;
        config.llm.provider = LlmProvider::Openai;
        config.llm.fallbacks = vec![LlmFallback { provider: LlmProvider::Anthropic, ..LlmFallback::default() }];
        for (address, own) in [
            (&mut config.elevenlabs.base_url, &mut config.elevenlabs.api_key),
            (&mut config.anthropic.base_url, &mut config.anthropic.api_key),
        ] {
            base_url.clone_into(address);
            own.clone_from(&key);
        }
        (config.azure.base_url, config.azure.api_key) = (Some(base_url.to_owned()), key);
        config.resilience.pause_s = self.pause_s;
        Ok(())
    }
}

/// Has vendors fail until it is dropped; at peace once all acts are over.
pub struct Director(JoinHandle<()>);

impl Director {
    pub fn start(chaos: Chaos, vendors: Arc<VendorStandIns>, runtime: &Handle) -> Self {
        Self(runtime.spawn(async move {
            for act in ACTS {
                sleep(Duration::from_millis(chaos.peace_ms)).await;
                tracing::info!(?act, "chaos");
                act.begin(&vendors);
                sleep(Duration::from_millis(chaos.act_ms)).await;
                peace(&vendors);
            }
        }))
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Act {
    fn begin(self, vendors: &VendorStandIns) {
        let refused = Some(Refusal::ServerError);
        let voice = |fault: TtsFault| vendors.tts.set(|tts| tts.fault = fault);
        let voices = |fault: TtsFault| {
            for desk in [&vendors.tts, &vendors.elevenlabs, &vendors.azure_tts] {
                desk.set(|tts| tts.fault = fault);
            }
        };
        let model = |fault: LlmFault| vendors.llm.set(|llm| llm.fault = fault);
        let ears = |fault: SttFault| {
            for desk in [&vendors.stt, &vendors.azure_stt] {
                desk.set(|stt| stt.fault = fault);
            }
        };
        match self {
            Self::VoiceDies => vendors.tts.set(|tts| tts.refusal = refused),
            Self::VoiceStallsInWords => voice(TtsFault::StallAfter(IN_WORDS)),
            Self::VoiceBreaksInWords => voice(TtsFault::CutAfter(IN_WORDS)),
            Self::VoiceLies => voice(TtsFault::EndAfter(IN_WORDS)),
            Self::VoicesBreakTogether => voices(TtsFault::CutAfter(IN_WORDS / 3)),
            Self::ModelDies => vendors.llm.set(|llm| llm.refusal = refused),
            Self::ModelStalls => model(LlmFault::StallAfter(0)),
            Self::ModelBreaksInWords => model(LlmFault::CutAfter(4)),
            Self::ModelIsLimited => vendors.llm.set(|llm| llm.refusal = Some(Refusal::RateLimited(Some(2)))),
            Self::EarsDie => vendors.stt.set(|stt| stt.refusal = refused),
            Self::EarsBreakInWords => ears(SttFault::CutAfter(IN_A_CALL)),
            Self::EarsStall => ears(SttFault::StallAfter(IN_A_CALL)),
            Self::AllDie => all(vendors, refused),
            Self::AllStall => {
                voices(TtsFault::StallAfter(IN_WORDS / 3));
                model(LlmFault::StallAfter(2));
                vendors.anthropic.set(|llm| llm.fault = LlmFault::StallAfter(2));
                ears(SttFault::StallAfter(IN_A_CALL));
            }
        }
    }
}

fn all(vendors: &VendorStandIns, refusal: Option<Refusal>) {
    for desk in [&vendors.tts, &vendors.elevenlabs, &vendors.azure_tts] {
        desk.set(|tts| tts.refusal = refusal);
    }
    for desk in [&vendors.stt, &vendors.azure_stt] {
        desk.set(|stt| stt.refusal = refusal);
    }
    for desk in [&vendors.llm, &vendors.anthropic] {
        desk.set(|llm| llm.refusal = refusal);
    }
}

fn peace(vendors: &VendorStandIns) {
    all(vendors, None);
    for desk in [&vendors.tts, &vendors.elevenlabs, &vendors.azure_tts] {
        desk.set(|tts| tts.fault = TtsFault::None);
    }
    for desk in [&vendors.stt, &vendors.azure_stt] {
        desk.set(|stt| stt.fault = SttFault::None);
    }
    for desk in [&vendors.llm, &vendors.anthropic] {
        desk.set(|llm| llm.fault = LlmFault::None);
    }
}

/// Reads what the server says of its providers, until it is asked what it saw.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// Providers by their names in `/healthz`, and what metrics say.
#[derive(Debug, Default)]
struct Seen {
    /// Left alone at some time, by `/healthz`.
    left_alone: BTreeSet<String>,
    /// Left alone at the last look.
    still: BTreeSet<String>,
    /// An open breaker at some time, by the metrics.
    open: BTreeSet<String>,
    /// One that has not been closed by a use that went well, at the last look.
    not_closed: BTreeSet<String>,
    failures: f64,
    fallbacks: f64,
}

impl Watch {
    /// `address` is that of the server's HTTP.
    pub fn start(address: String, runtime: &Handle) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let own = Arc::clone(&seen);
        let task = runtime.spawn(async move {
            loop {
                let address = address.clone();
                let read = tokio::task::spawn_blocking(move || (get(&address, "/healthz"), get(&address, "/metrics")));
                if let Ok((Some(health), Some(metrics))) = read.await {
                    own.lock().look(&health, &metrics);
                }
                sleep(LOOK_EVERY).await;
            }
        });
        Self { seen, task }
    }

    /// What it saw, as figures: 0 is well.
    pub fn findings(&self, samples: &mut Samples) {
        let seen = self.seen.lock();
        tracing::info!(seen = ?*seen, "what the server said of its providers");
        let missing = |of: &BTreeSet<String>| OPENED.iter().filter(|name| !of.contains(**name)).count();
        let unseen = missing(&seen.left_alone) + missing(&seen.open);
        let uncounted = usize::from(seen.failures <= 0.0) + usize::from(seen.fallbacks <= 0.0);
        samples.add(Metric::UnseenFailures, (unseen + uncounted) as f64);
        let stuck = OPENED.iter().filter(|name| seen.not_closed.contains(**name)).count() + seen.still.len();
        samples.add(Metric::StuckBreakers, stuck as f64);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn look(&mut self, health: &str, metrics: &str) {
        let health: Value = serde_json::from_str(health).unwrap_or_default();
        self.still.clear();
        for (name, how) in health["checks"].as_object().into_iter().flatten() {
            if how.to_string().contains(crate::providers::stack::LEFT_ALONE) {
                self.left_alone.insert(name.clone());
                self.still.insert(name.clone());
            }
        }
        (self.failures, self.fallbacks) = (0.0, 0.0);
        self.not_closed.clear();
        for line in metrics.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let value: f64 = value.parse().unwrap_or_default();
            let vendor =
                || series.split_once("vendor=\"").and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned);
            if series.starts_with("offhook_provider_breaker{") {
                self.open.extend(vendor().filter(|_| value >= 2.0));
                self.not_closed.extend(vendor().filter(|_| value > 0.0));
            } else if series.starts_with("offhook_provider_failures_total{") {
                self.failures += value;
            } else if series.starts_with("offhook_provider_fallbacks_total{") {
                self.fallbacks += value;
            }
        }
    }
}

fn get(address: &str, path: &str) -> Option<String> {
    let request = Request { method: "GET", address, host: address, path, headers: &[], body: "" };
    // Degraded health has a status of its own and is what is looked for.
    request.send().ok().map(|answer| answer.body)
}

/// Whose breakers the acts must open.
const OPENED: [&str; 2] = ["deepgram", "openai"];
/// Bytes of 24 kHz PCM: 1.2 s.
const IN_WORDS: usize = 57_600;
/// Frames: 3 s.
const IN_A_CALL: u64 = 150;
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_would_see_is_seen() {
        let mut seen = Seen::default();
        let health = r#"{"checks":{"deepgram":"error: left alone for another 3 s: HTTP 500","embedded":"ok"}}"#;
        let metrics = "offhook_provider_breaker{kind=\"llm\",vendor=\"openai\"} 2\n\
                       offhook_provider_breaker{kind=\"tts\",vendor=\"azure\"} 0\n\
                       offhook_provider_failures_total{vendor=\"openai\",kind=\"status\"} 3\n";
        seen.look(health, metrics);
        assert!(seen.still.contains("deepgram") && seen.open.contains("openai") && !seen.open.contains("azure"));
        assert!(seen.not_closed.contains("openai") && !seen.not_closed.contains("azure"));
        assert!((seen.failures - 3.0).abs() < 1e-9);
        seen.look(r#"{"checks":{"deepgram":"ok"}}"#, "");
        assert!(seen.still.is_empty() && seen.not_closed.is_empty() && seen.left_alone.contains("deepgram"));
    }
}

//! A server in this process, with everything that it keeps in a directory of its own that goes with it: what
//! `sim_call --embedded` calls, so that it runs with nothing configured.
//!
//! It is the product's own composition root on free loopback ports; only its addresses, its data and its secrets differ
//! from the defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::audio::Recording;
use super::chaos::{Director, Watch};
use super::options::{Options, Via};
use super::records::RecordSource;
use super::run::{self, Target};
use super::scenario::{Delays, Scenario, Vendor};
use super::shipped;
use super::turns::session::{lexicon, write_flows};
use super::twilio_leg::TwilioTarget;
use super::vendors::VendorStandIns;
use super::vendors::openai_llm::Reply;
use super::vendors::recogniser::Utterance;
use crate::config::Config;
use crate::providers::config::{ApiKey, LlmProvider, SttProvider, TtsProvider};
use crate::server::Server;

/// A running server. [`Embedded::stop`] ends it and removes its data.
pub struct Embedded {
    runtime: Runtime,
    server: Server,
    vendors: Arc<VendorStandIns>,
    /// Has them fail.
    director: Option<Director>,
    watch: Option<Arc<Watch>>,
    /// Where the stand-ins run, so that their work is not the server's.
    elsewhere: Runtime,
    data: PathBuf,
    token: String,
}

impl Embedded {
    /// Starts a server for as many calls as the options make at once, with the vendors that the scenarios need.
    ///
    /// # Errors
    /// Says what the server could not have.
    pub fn start(options: &Options, scenarios: &[Arc<Scenario>]) -> Result<Self, String> {
        let token = uuid::Uuid::now_v7().simple().to_string();
        let data = std::env::temp_dir().join(format!("offhook-sim_call-{token}"));
        let failed = |e: std::io::Error| format!("--embedded: {e}");
        let runtime = Builder::new_multi_thread().enable_all().build().map_err(failed)?;
        let elsewhere = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
        let vendors = Arc::new(elsewhere.block_on(VendorStandIns::start(utterances()?)).map_err(failed)?);
        set_delays(&vendors, scenarios);
        let mut config = configuration(options, &data, &token);
        config.turn.speculate = scenarios.iter().all(|scenario| scenario.speculate);
        speak_the_script(options, scenarios, &mut config, &vendors)?;
        let wanted: Vec<Vendor> = scenarios.iter().flat_map(|s| s.vendors.iter().copied()).collect();
        use_vendors(&mut config, &vendors.base_url(), &wanted)?;
        let chaos = scenarios.iter().find_map(|scenario| Some((scenario, scenario.chaos.as_ref()?)));
        if let Some((scenario, chaos)) = chaos {
            chaos.write_flow(&config.flows.dir, &scenario.called)?;
            chaos.configure(&mut config, &vendors.base_url())?;
            vendors.llm.set(|llm| llm.reply = Reply::Text(ANSWER.to_owned()));
            vendors.anthropic.set(|llm| llm.reply = Reply::Text(ANSWER.to_owned()));
        }
        let server = runtime.block_on(Server::start(&config)).map_err(|e| format!("--embedded: {e:#}"))?;
        let director = chaos.map(|(_, c)| Director::start(c.clone(), Arc::clone(&vendors), elsewhere.handle()));
        let address = server.addresses().http.to_string();
        let watch = chaos.map(|_| Arc::new(Watch::start(address, elsewhere.handle())));
        Ok(Self { runtime, server, vendors, director, watch, elsewhere, data, token })
    }

    /// Where calls and record readers reach it.
    pub fn reach(&self, via: Via) -> run::Server {
        let at = self.server.addresses();
        let http = at.http.to_string();
        let target = match via {
            Via::Sip => Target::Sip(at.sip),
            Via::Twilio => {
                let auth_token = self.token.as_str().into();
                Target::Twilio(TwilioTarget { public_url: format!("http://{http}"), address: http.clone(), auth_token })
            }
        };
        let records = Some(RecordSource { address: http, token: None });
        run::Server { target, records, watch: self.watch.clone() }
    }

    /// Ends the server in order and removes what it kept.
    pub fn stop(self) {
        self.runtime.block_on(self.server.stop());
        drop((self.director, self.watch, self.vendors));
        self.elsewhere.shutdown_background();
        // A directory that cannot be removed is left to the system's cleaning of its temporary files.
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn configuration(options: &Options, data: &Path, token: &str) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::default();
    config.http.listen = anywhere;
    config.sip.listen = anywhere;
    config.data.dir = data.to_path_buf();
    // No such directory: the flows and lines that come with the program.
    config.flows.dir = data.join("flows-that-come-with-the-program");
    config.twilio.auth_token = Some(token.to_owned().into());
    config.limits.max_calls = config.limits.max_calls.max(options.concurrency.unwrap_or(options.calls) as usize + 10);
    config.limits.drain_timeout_s = 2;
    config
}

/// Where trials of turn-taking are made, the server says their script, in the voice that they know, without delay.
fn speak_the_script(
    options: &Options,
    scenarios: &[Arc<Scenario>],
    config: &mut Config,
    vendors: &VendorStandIns,
) -> Result<(), String> {
    for scenario in scenarios {
        let Some(wanted) = &scenario.turn_taking else { continue };
        write_flows(&config.flows.dir, scenario, wanted, options.seed)?;
        let words = Arc::new(lexicon(&options.voices));
        vendors.tts.set(|tts| (tts.first_byte, tts.words) = (Duration::ZERO, Some(words)));
    }
    Ok(())
}

/// What the stand-in for a recogniser knows: every shipped recording.
fn utterances() -> Result<Vec<Utterance>, String> {
    let known = shipped::RECORDINGS.iter().map(|shipped| {
        let recording = Recording::from_wav(shipped.name, shipped.wav)?;
        Ok(Utterance { text: shipped.words.to_owned(), samples: recording.samples })
    });
    known.collect()
}

/// The scenarios' delays; of several that have some, those of the first.
fn set_delays(vendors: &VendorStandIns, scenarios: &[Arc<Scenario>]) {
    let Delays { stt_final_ms, llm_first_token_ms, tts_first_byte_ms } =
        scenarios.iter().find_map(|scenario| scenario.delays).unwrap_or(USUAL_DELAYS);
    vendors.stt.set(|stt| stt.final_delay = Duration::from_millis(stt_final_ms));
    vendors.tts.set(|tts| tts.first_byte = Duration::from_millis(tts_first_byte_ms));
    vendors.llm.set(|llm| llm.first_token = Duration::from_millis(llm_first_token_ms));
}

fn use_vendors(config: &mut Config, base_url: &str, wanted: &[Vendor]) -> Result<(), String> {
    let key = ApiKey::new("stand-in".to_owned()).map_err(|e| format!("--embedded: {e}"))?;
    config.tts.provider = TtsProvider::Deepgram;
    if wanted.contains(&Vendor::Stt) {
        config.stt.provider = SttProvider::Deepgram;
    }
    if wanted.contains(&Vendor::Llm) {
        config.llm.provider = LlmProvider::Openai;
    }
    config.deepgram.base_url = base_url.to_owned();
    config.deepgram.api_key = Some(key.clone());
    config.openai.base_url = format!("{base_url}/v1");
    config.openai.api_key = Some(key);
    Ok(())
}

/// What the model answers where vendors fail: long enough to fail in the middle of.
const ANSWER: &str = "Please bring your insurance card and a list of your medicines. The desk on the ground floor will tell \
                      you where to wait, and a nurse will call you by your name.";
/// What good vendors need; scenarios that wait for them declare it as `known_delay_ms`.
const USUAL_DELAYS: Delays = Delays { stt_final_ms: 100, tts_first_byte_ms: 60, llm_first_token_ms: 150 };

//! The composition root: everything that a running server owns, made in order and ended in order.
//!
//! Nothing here decides anything about a call. Rooms are handed what they need and know nothing of each other.

pub mod chains;
mod checks;
mod files;
pub mod keys;
pub mod named;
mod recordings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use offhook_media::silero::Network;
use rand::RngExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::chains::{Chains, Prewarm};
use crate::api::serve::{ServeLimits, Served, serve};
use crate::api::{ApiState, Readiness, Stage, router};
use crate::call::actor::Services;
use crate::call::outbound::Outbound;
use crate::call::outgoing::Dialers;
use crate::call::reception::Reception;
use crate::call::registry::Registry as LiveCalls;
use crate::call::shard::Shards;
use crate::config::{Config, PublicUrl};
use crate::dialog::LastWords;
use crate::dialog::lines::Catalogue;
use crate::providers::hook::Hooks;
use crate::providers::registry::{Registry, Upkeep};
use crate::providers::tts::chain::Prewarmed;
use crate::providers::{self, SpeakRequest};
use crate::recording::{self, Recordings};
use crate::store::record::EndReason;
use crate::store::shared::Shared;
use crate::store::told::Told;
use crate::store::{RecordSink, Store, WriterHandle};
use crate::telemetry::metrics::Metrics;
use crate::transport::ports::PortPool;
use crate::transport::sip::SipServer;
use crate::transport::twilio::Twilio;
use crate::turn::Detector;

pub use files::needed as files_needed;

/// A running server. Ask it to [`Server::stop`]; dropping it ends it without a word to its callers.
pub struct Server {
    sip: SipServer,
    http: SocketAddr,
    stop_http: oneshot::Sender<()>,
    http_task: JoinHandle<Served>,
    reception: Arc<Reception>,
    writer: WriterHandle,
    readiness: Readiness,
    drain: Duration,
    last_words: Option<LastWords>,
    warming: JoinHandle<()>,
    registry: Registry,
    upkeep: Upkeep,
}

/// Where a running server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// UDP and TCP.
    pub sip: SocketAddr,
    /// SIP over TLS, where it is served.
    pub tls: Option<SocketAddr>,
    pub http: SocketAddr,
}

impl Server {
    /// Opens the store, reads the flows, starts the media shards, binds the listeners.
    ///
    /// # Errors
    /// What could not be had, with the key that names it.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let catalogue = Arc::new(Catalogue::load(&config.flows.dir).map_err(|e| anyhow!(e.to_string()))?);
        let metrics = Metrics::new();
        let built = providers::config::build(&config.providers()).map_err(|e| anyhow!(e))?;
        let shared = Shared::start(&config.redis)?;
        let (store, records, writer) =
            Store::open(&config.database, &config.data, &config.store, metrics.clone()).await.context("store")?;
        let recordings = start_recordings(config, &catalogue, &store, &records, &metrics).await?;
        let (registry, upkeep) = chains::registry(config, &store, &metrics).await?;
        let Chains { voice, ears, model, links, prewarm } = chains::chains(config, &built, &registry, &metrics)?;
        let services = Arc::new(Services {
            runtime: tokio::runtime::Handle::current(),
            voice,
            ears,
            model,
            rate: config.tts.rate,
            providers: built,
            records,
            metrics: metrics.clone(),
            registry: LiveCalls::default(),
            shared: shared.clone(),
            targets: Arc::new(config.transfer.targets.clone()),
            dialers: Dialers::default(),
            recordings: recordings.clone(),
            hooks: Hooks::new(&config.hooks).map_err(|e| anyhow!(e))?,
            told: Told::open(&config.data.dir).context("data.dir")?,
        });
        let shards = Shards::start(&config.media, &services).context("media.shards")?;
        let network = network(config)?;
        let reception = Arc::new(Reception::new(
            shards,
            Arc::clone(&services),
            Arc::clone(&catalogue),
            config.limits.clone(),
            config.turn.clone(),
            network,
        ));
        warn_of_missing_targets(&catalogue, &config.transfer.targets);
        let last_words = LastWords::new(&config.limits.drain_words);
        let warming = tokio::spawn(warm_up(Arc::clone(&catalogue), prewarm, config.tts.rate, last_words.clone()));
        let sip = start_sip(config, &reception).await?;
        let listener = TcpListener::bind(config.http.listen).await;
        let listener = listener.with_context(|| format!("http.listen: cannot bind {}", config.http.listen))?;
        let http = listener.local_addr()?;
        let readiness = Readiness::default();
        let checks = Arc::new(checks::ServerChecks::new(
            store.clone(),
            shared,
            (links, registry.clone()),
            recordings.clone(),
            sip.trunks().clone(),
        ));
        let encoded = metrics.clone();
        let encode = Arc::new(move || encoded.encode());
        let desk = Arc::new(Outbound::new(
            config.outbound.clone(),
            catalogue,
            services.registry.clone(),
            services.dialers.clone(),
            Arc::clone(&services.targets),
            metrics.clone(),
        ));
        let door =
            recordings::ServerRecordings::new(config.recording.folder(&config.data.dir), services.registry.clone());
        let state = ApiState::new(&config.http, checks, Arc::new(store), desk, encode, readiness.clone())
            .with_recordings(Arc::new(door))
            .with_providers(Arc::new(registry.clone()));
        let base = match &config.http.public_url {
            Some(url) => url.clone(),
            None => format!("http://{http}").parse::<PublicUrl>().map_err(|e| anyhow!("http.listen: {e}"))?,
        };
        let key = format!("{:032x}", rand::rng().random::<u128>()).into();
        let twilio = Twilio::new(&config.twilio, base, Arc::clone(&reception), key);
        let (stop_http, stopped) = oneshot::channel();
        let app = router(state, twilio.router());
        let limits = ServeLimits::new(&config.http);
        let http_task = tokio::spawn(serve(listener, app, limits, async {
            let _ = stopped.await;
        }));
        readiness.set(Stage::Ready);
        let drain = Duration::from_secs(config.limits.drain_timeout_s);
        Ok(Self {
            sip,
            http,
            stop_http,
            http_task,
            reception,
            writer,
            readiness,
            drain,
            last_words,
            warming,
            registry,
            upkeep,
        })
    }

    pub const fn addresses(&self) -> Addresses {
        Addresses { sip: self.sip.address(), tls: self.sip.tls_address(), http: self.http }
    }

    /// Calls that are going on.
    pub fn calls(&self) -> u32 {
        self.reception.admission().calls()
    }

    /// Reads certificates and the registry of providers again; those from before stay in use where the files are not good.
    pub async fn reload(&self) {
        match self.sip.reload() {
            Ok(()) => tracing::info!("sip: certificates are read again"),
            Err(error) => tracing::error!(error, "sip: the certificates from before stay in use"),
        }
        match self.registry.reload().await {
            Ok(()) => tracing::info!("registry: providers are read again"),
            Err(error) => tracing::error!(%error, "registry: the providers from before stay in use"),
        }
    }

    /// Takes no new calls, lets the running ones end within the drain time, then ends everything in order. Nothing
    /// recorded is lost.
    pub async fn stop(self) {
        self.warming.abort();
        self.readiness.set(Stage::Draining);
        self.reception.admission().drain();
        self.sip.drain();
        if !self.calls_end_within(self.drain).await {
            self.reception.services().registry.close_all(self.last_words.as_ref());
            if self.last_words.is_none() || !self.calls_end_within(GOODBYE).await {
                self.reception.services().registry.end_all(&EndReason::Drained);
                self.calls_end_within(LAST_WORDS).await;
            }
        }
        let _ = self.stop_http.send(());
        let _ = self.http_task.await;
        self.sip.stop(LAST_WORDS).await;
        self.reception.stop();
        if let Some(recordings) = &self.reception.services().recordings
            && !recordings.stop(WRITE_OUT).await
        {
            tracing::error!("recordings were not all finished when the server ended; the next start finishes them");
        }
        self.upkeep.stop().await;
        if !self.writer.shutdown(WRITE_OUT).await {
            tracing::error!("records were still waiting when the server ended");
        }
    }

    async fn calls_end_within(&self, patience: Duration) -> bool {
        let over = async {
            while self.calls() > 0 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(patience, over).await.is_ok()
    }
}

/// Serves until the process is asked to end; a second request ends it at once.
///
/// # Errors
/// See [`Server::start`].
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut asked = Asked::new()?;
    files::raise_limit(config.limits.max_calls);
    let server = Server::start(&config).await?;
    let at = server.addresses();
    tracing::info!(sip = %at.sip, http = %at.http, "ready for calls");
    while asked.wait().await == Wish::Reload {
        server.reload().await;
    }
    tracing::info!(calls = server.calls(), "asked to end: no new calls; running ones have their time");
    tokio::select! {
        () = server.stop() => {}
        () = asked.end() => tracing::warn!("asked again: ending at once"),
    }
    Ok(())
}

/// The network that hears speech, where it is used.
fn network(config: &Config) -> anyhow::Result<Option<&'static Network>> {
    Ok(match config.turn.detector {
        Detector::Silero => Some(Network::shared().context("turn.detector")?),
        Detector::Earshot => None,
    })
}

async fn start_recordings(
    config: &Config,
    catalogue: &Catalogue,
    store: &Store,
    records: &RecordSink,
    metrics: &Metrics,
) -> anyhow::Result<Option<Recordings>> {
    if !config.recording.enabled {
        return Ok(None);
    }
    let plan = recording::plan(&config.recording);
    if let Some(flow) = catalogue.cannot_tell(&plan) {
        return Err(anyhow!(recording::no_words_in(flow.name())));
    }
    let folder = config.recording.folder(&config.data.dir);
    let left = store.unfinished_recordings().await.context("recording")?;
    let started = Recordings::start(&config.recording, &folder, left, records.clone(), metrics.clone());
    started.map(Some).with_context(|| format!("recording.dir: {} cannot be used", folder.display()))
}

async fn start_sip(config: &Config, reception: &Arc<Reception>) -> anyhow::Result<SipServer> {
    let address = config.rtp_address();
    let ports = PortPool::new(address, config.rtp.ports);
    let seed = rand::rng().random();
    SipServer::start(&config.sip, ports, address, &config.rtp, Arc::clone(reception), seed)
        .await
        .map_err(|e| anyhow!(e))
}

/// A flow whose transfer leads nowhere still works: its callers take the way of a failed transfer.
fn warn_of_missing_targets(catalogue: &Catalogue, targets: &BTreeMap<String, String>) {
    for flow in catalogue.flows() {
        for (step, target) in flow.transfer_names().filter(|(_, target)| !targets.contains_key(&***target)) {
            let flow = flow.name();
            tracing::warn!(%flow, %step, %target, "transfer.targets has no such name: callers take the step's on_failed");
        }
    }
}

/// Has every voice make every sentence that can be known before a call, so that it is ready when one comes.
async fn warm_up(catalogue: Arc<Catalogue>, prewarm: Prewarm, rate: f32, last_words: Option<LastWords>) {
    let mut requests = Vec::new();
    requests.extend(catalogue.announcements().flat_map(|early| early.sentences()).map(|(text, settings)| {
        let (language, voice) = (settings.language.clone(), settings.voice.clone());
        SpeakRequest { text, language, voice, rate: settings.rate * rate }
    }));
    for flow in catalogue.flows().filter(|flow| flow.needs_voice()) {
        let last = last_words.as_ref().zip(flow.language()).and_then(|(words, language)| words.spoken_in(language));
        requests.extend(last.map(|(text, language)| SpeakRequest { text, language, voice: None, rate }));
        requests.extend(flow.fixed_sentences().map(|(text, settings)| SpeakRequest {
            text,
            language: settings.language.clone(),
            voice: settings.voice.clone(),
            rate: settings.rate * rate,
        }));
    }
    for Prewarmed { voice, made, failed, error } in prewarm(requests).await {
        match error {
            None => tracing::info!(voice, made, "the flows' sentences are ready"),
            Some(error) => {
                tracing::warn!(voice, made, failed, %error, "not all of the flows' sentences could be made ahead")
            }
        }
    }
}

/// Longest wait for calls to be hung up once they have been told to end, and for the far sides to take note of it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Longest wait for the last words to be heard.
const GOODBYE: Duration = Duration::from_secs(16);

/// Longest wait for records to reach the disk.
const WRITE_OUT: Duration = Duration::from_secs(10);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The signals that a process is asked by.
struct Asked {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    End,
    /// SIGHUP: read again what can be read again.
    Reload,
}

impl Asked {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hang_up.recv() => Wish::Reload,
        }
    }

    async fn end(&mut self) {
        while self.wait().await == Wish::Reload {}
    }
}

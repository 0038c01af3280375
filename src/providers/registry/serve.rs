//! Voices, recognisers and models that the registry chooses anew for every use, behind the traits that calls know.
//!
//! What is chosen is a chain like any other: the next one serves when one fails. The voices of this machine stand behind
//! every chain of voices, so that a registry that chooses nothing is no silence.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::entry::{Category, Entry};
use super::meter::{MeteredLlm, MeteredStt, MeteredTts};
use super::{Registry, State, build};
use crate::providers::cache::CachedTts;
use crate::providers::llm::chain::ModelChain;
use crate::providers::stack::{Limit, LinkCheck, Ranked};
use crate::providers::stt::chain::EarChain;
use crate::providers::stt::denoised::DenoisedStt;
use crate::providers::tts::chain::{Prewarmed, VoiceChain};
use crate::providers::{
    AudioStream, Language, ListenRequest, Llm, ProviderError, ReplyRequest, SpeakRequest, Stt, SttEvent, TokenStream,
    Tts,
};

/// The voices that the registry chooses.
#[derive(Clone)]
pub struct RegistryTts {
    registry: Registry,
    /// Those of this machine, when nothing else serves.
    last: Arc<dyn Tts>,
    chains: Chains<VoiceChain>,
}

/// The recognisers that it chooses.
#[derive(Clone)]
pub struct RegistryStt {
    registry: Registry,
    chains: Chains<EarChain>,
}

/// The models that it chooses.
#[derive(Clone)]
pub struct RegistryLlm {
    registry: Registry,
    chains: Chains<ModelChain>,
}

/// Chains by the ids in them, so that what a chain knows of its providers outlives the use.
type Chains<T> = Arc<Mutex<HashMap<(u64, Vec<String>), T>>>;

impl RegistryTts {
    /// # Errors
    /// A setting of the embedded voices that is wrong.
    pub fn new(registry: Registry) -> Result<Self, String> {
        let config = &registry.0.providers;
        let last = Arc::new(CachedTts::new(build::embedded(config)?, config.tts.cache_bytes / SHARES));
        Ok(Self { registry, last, chains: Arc::default() })
    }

    fn chain(&self, language: &Language) -> VoiceChain {
        let (ids, voices) = self.registry.chosen(Category::Tts, Some(language), Registry::tts);
        self.registry.kept(&self.chains, ids, || {
            let config = &self.registry.0.providers;
            let is_there = voices.iter().any(|voice| voice.vendor.name() == self.last.name());
            let last = (!is_there).then(|| Ranked::from(Arc::clone(&self.last)));
            let voices = voices.into_iter().chain(last).collect();
            VoiceChain::new(voices, &config.tts, &config.resilience, &self.registry.0.metrics)
        })
    }

    /// Has the voices that are chosen now make `requests` for nobody.
    pub async fn prewarm(&self, requests: &[SpeakRequest]) -> Vec<Prewarmed> {
        let mut done = Vec::new();
        let mut rest: Vec<SpeakRequest> = requests.to_vec();
        while let Some(language) = rest.first().map(|request| request.language.clone()) {
            let (those, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|request| request.language == language);
            done.extend(self.chain(&language).prewarm(&those).await);
            rest = others;
        }
        done
    }

    /// Each voice that would speak this language, for health.
    pub fn checks(&self, language: &Language) -> Vec<LinkCheck> {
        self.chain(language).checks()
    }
}

impl Tts for RegistryTts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        self.chain(&request.language).speak(request)
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        self.chain(&Language::default()).check()
    }
}

impl RegistryStt {
    pub fn new(registry: Registry) -> Self {
        Self { registry, chains: Arc::default() }
    }

    fn chain(&self, language: &Language) -> Option<EarChain> {
        let (ids, ears) = self.registry.chosen(Category::Stt, Some(language), Registry::stt);
        let config = &self.registry.0.providers;
        let made = EarChain::new(ears, &config.stt, &config.resilience, &self.registry.0.metrics)?;
        Some(self.registry.kept(&self.chains, ids, || made))
    }

    /// Each recogniser that would hear this language, for health.
    pub fn checks(&self, language: &Language) -> Vec<LinkCheck> {
        self.chain(language).map(|chain| chain.checks()).unwrap_or_default()
    }
}

impl Stt for RegistryStt {
    fn name(&self) -> &'static str {
        NAME
    }

    fn listen(&self, request: ListenRequest) -> BoxFuture<'static, Result<mpsc::Receiver<SttEvent>, ProviderError>> {
        match self.chain(&request.language) {
            Some(chain) => chain.listen(request),
            None => std::future::ready(Err(nobody("stt"))).boxed(),
        }
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        match self.chain(&Language::default()) {
            Some(chain) => chain.check(),
            None => std::future::ready(Err(nobody("stt"))).boxed(),
        }
    }
}

impl RegistryLlm {
    pub fn new(registry: Registry) -> Self {
        Self { registry, chains: Arc::default() }
    }

    fn chain(&self) -> Option<ModelChain> {
        let (ids, models) = self.registry.chosen(Category::Llm, None, Registry::llm);
        let config = &self.registry.0.providers;
        let made = ModelChain::new(models, &config.llm, &config.resilience, &self.registry.0.metrics)?;
        Some(self.registry.kept(&self.chains, ids, || made))
    }

    /// Each model by itself, for health.
    pub fn checks(&self) -> Vec<LinkCheck> {
        self.chain().map(|chain| chain.checks()).unwrap_or_default()
    }
}

impl Llm for RegistryLlm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn reply(&self, request: ReplyRequest) -> BoxFuture<'static, Result<TokenStream, ProviderError>> {
        match self.chain() {
            Some(chain) => chain.reply(request),
            None => std::future::ready(Err(nobody("llm"))).boxed(),
        }
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        match self.chain() {
            Some(chain) => chain.check(),
            None => std::future::ready(Err(nobody("llm"))).boxed(),
        }
    }
}

impl Registry {
    /// The clients that are chosen now, in order, with their ids.
    fn chosen<T>(
        &self,
        category: Category,
        language: Option<&Language>,
        client: impl Fn(&Self, &Entry, &State) -> Result<T, String>,
    ) -> (Vec<String>, Vec<T>) {
        let state = self.0.state.load();
        let chosen = self.select(category, language);
        let taken = chosen.iter().filter(|considered| considered.rank.is_some()).take(LONGEST_CHAIN);
        let made = taken.filter_map(|considered| {
            let listed = state.listed.iter().find(|listed| listed.entry.id.as_str() == considered.id)?;
            Some((considered.id.clone(), client(self, &listed.entry, &state).ok()?))
        });
        made.unzip()
    }

    /// The chain of these ids, made where there is none yet.
    fn kept<T: Clone>(&self, chains: &Chains<T>, ids: Vec<String>, make: impl FnOnce() -> T) -> T {
        let mut chains = chains.lock();
        let key = (self.0.state.load().generation, ids);
        if let Some(chain) = chains.get(&key) {
            return chain.clone();
        }
        if chains.len() >= MOST_CHAINS || chains.keys().any(|(generation, _)| *generation != key.0) {
            chains.clear();
        }
        chains.entry(key).or_insert(make()).clone()
    }

    /// The client of an entry, made once for a state.
    pub(super) fn tts(&self, entry: &Entry, state: &State) -> Result<Ranked<dyn Tts>, String> {
        let mut clients = self.0.clients.lock();
        clients.of(state.generation);
        let make = || {
            let made = build::tts(entry, &self.0.providers, &state.secrets)?;
            let metered = Arc::new(MeteredTts(made, self.meter(entry)));
            let cached = CachedTts::new(metered, self.0.providers.tts.cache_bytes / SHARES);
            Ok(Ranked { vendor: Arc::new(cached) as Arc<dyn Tts>, limit: limit(entry) })
        };
        clients.tts.entry(entry.id.as_str().to_owned()).or_insert_with(make).clone()
    }

    pub(super) fn stt(&self, entry: &Entry, state: &State) -> Result<Ranked<dyn Stt>, String> {
        let mut clients = self.0.clients.lock();
        clients.of(state.generation);
        let make = || {
            let made = build::stt(entry, &self.0.providers, &state.secrets)?;
            let metered = Arc::new(MeteredStt(made, self.meter(entry))) as Arc<dyn Stt>;
            let vendor = if self.0.providers.stt.noise_suppression { Arc::new(DenoisedStt(metered)) } else { metered };
            Ok(Ranked { vendor, limit: limit(entry) })
        };
        clients.stt.entry(entry.id.as_str().to_owned()).or_insert_with(make).clone()
    }

    pub(super) fn llm(&self, entry: &Entry, state: &State) -> Result<Ranked<dyn Llm>, String> {
        let mut clients = self.0.clients.lock();
        clients.of(state.generation);
        let make = || {
            let made = build::llm(entry, &self.0.providers, &state.secrets)?;
            let vendor = Arc::new(MeteredLlm(made, self.meter(entry))) as Arc<dyn Llm>;
            Ok(Ranked { vendor, limit: limit(entry) })
        };
        clients.llm.entry(entry.id.as_str().to_owned()).or_insert_with(make).clone()
    }
}

fn limit(entry: &Entry) -> Limit {
    Limit::new(entry.limits.requests_per_minute)
}

fn nobody(category: &'static str) -> ProviderError {
    ProviderError::NotConfigured {
        vendor: NAME,
        what: format!("no {category} provider is chosen; /v1/providers/select says why"),
    }
}

const NAME: &str = "registry";
/// The cache of voices is shared by so many.
const SHARES: usize = 4;
/// Providers of a chain.
const LONGEST_CHAIN: usize = 4;
/// Chains that are remembered: a line speaks few languages.
const MOST_CHAINS: usize = 64;

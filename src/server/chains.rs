//! Who speaks, hears and answers: what the configuration names, or whom the registry chooses for every use.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::checks::{LinkChecks, Links};
use crate::config::{Config, ConfigError};
use crate::providers::config::{LlmProvider, SttProvider, TtsProvider};
use crate::providers::credentials::Vault;
use crate::providers::llm::chain::ModelChain;
use crate::providers::registry::entry::Entry;
use crate::providers::registry::serve::{RegistryLlm, RegistryStt, RegistryTts};
use crate::providers::registry::{Registry, Source, Upkeep};
use crate::providers::stt::chain::EarChain;
use crate::providers::tts::chain::{Prewarmed, VoiceChain};
use crate::providers::{Language, Llm, Providers, SpeakRequest, Stt, Tts};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// What calls are served by, and how each part is looked at.
pub struct Chains {
    pub voice: Arc<dyn Tts>,
    pub ears: Option<Arc<dyn Stt>>,
    pub model: Option<Arc<dyn Llm>>,
    pub links: Links,
    pub prewarm: Prewarm,
}

/// Has voices make sentences ahead.
pub type Prewarm = Box<dyn FnOnce(Vec<SpeakRequest>) -> BoxFuture<'static, Vec<Prewarmed>> + Send>;

/// Puts the registry's choices in the places that the configuration leaves to it.
///
/// # Errors
/// A setting of the embedded voices that is wrong.
pub fn chains(config: &Config, built: &Providers, registry: &Registry, metrics: &Metrics) -> anyhow::Result<Chains> {
    let (voice, voices, prewarm) = voices(config, built, registry, metrics)?;
    let (ears, recognisers) = ears(config, built, registry, metrics);
    let (model, models) = models(config, built, registry, metrics);
    let others = move || {
        let mut checks = recognisers();
        checks.extend(models());
        checks
    };
    Ok(Chains { voice, ears, model, links: Links { voices, others: Box::new(others) }, prewarm })
}

fn voices(
    config: &Config,
    built: &Providers,
    registry: &Registry,
    metrics: &Metrics,
) -> anyhow::Result<(Arc<dyn Tts>, LinkChecks, Prewarm)> {
    if config.tts.provider == TtsProvider::Registry {
        let chosen = RegistryTts::new(registry.clone()).map_err(|error| anyhow!(error))?;
        let (looked_at, warmed) = (chosen.clone(), chosen.clone());
        let checks = move || looked_at.checks(&Language::default());
        let prewarm = move |requests: Vec<SpeakRequest>| async move { warmed.prewarm(&requests).await }.boxed();
        return Ok((Arc::new(chosen), Box::new(checks), Box::new(prewarm)));
    }
    let chain = VoiceChain::new(built.tts.clone(), &config.tts, &config.resilience, metrics);
    let (looked_at, warmed) = (chain.clone(), chain.clone());
    let prewarm = move |requests: Vec<SpeakRequest>| async move { warmed.prewarm(&requests).await }.boxed();
    Ok((Arc::new(chain), Box::new(move || looked_at.checks()), Box::new(prewarm)))
}

fn ears(
    config: &Config,
    built: &Providers,
    registry: &Registry,
    metrics: &Metrics,
) -> (Option<Arc<dyn Stt>>, LinkChecks) {
    if config.stt.provider == SttProvider::Registry {
        let chosen = RegistryStt::new(registry.clone());
        let looked_at = chosen.clone();
        return (Some(Arc::new(chosen)), Box::new(move || looked_at.checks(&Language::default())));
    }
    let chain = EarChain::new(built.stt.clone(), &config.stt, &config.resilience, metrics);
    let looked_at = chain.clone();
    let checks = move || looked_at.as_ref().map(EarChain::checks).unwrap_or_default();
    (chain.map(|chain| Arc::new(chain) as _), Box::new(checks))
}

fn models(
    config: &Config,
    built: &Providers,
    registry: &Registry,
    metrics: &Metrics,
) -> (Option<Arc<dyn Llm>>, LinkChecks) {
    if config.llm.provider == LlmProvider::Registry {
        let chosen = RegistryLlm::new(registry.clone());
        let looked_at = chosen.clone();
        return (Some(Arc::new(chosen)), Box::new(move || looked_at.checks()));
    }
    let chain = ModelChain::new(built.llm.clone(), &config.llm, &config.resilience, metrics);
    let looked_at = chain.clone();
    let checks = move || looked_at.as_ref().map(ModelChain::checks).unwrap_or_default();
    (chain.map(|chain| Arc::new(chain) as _), Box::new(checks))
}

/// Reads the registry and begins to look after it.
///
/// # Errors
/// A file of providers that cannot be used.
pub async fn registry(config: &Config, store: &Store, metrics: &Metrics) -> anyhow::Result<(Registry, Upkeep)> {
    let vault = Vault::new(store.tables(), config.key_file());
    let source = Source { file: file(config), variable: |name| std::env::var(name).ok() };
    Registry::start(config.registry.clone(), config.providers(), (store.tables(), vault), source, metrics.clone())
        .await
        .context("registry")
}

/// The providers of the file, looked at by themselves.
///
/// # Errors
/// Names the file and the key.
pub fn providers(config: &Config) -> Result<Vec<Entry>, ConfigError> {
    Source { file: file(config), variable: |_| None }.entries()
}

/// The file of providers; none is what comes with the program.
fn file(config: &Config) -> Option<PathBuf> {
    let beside = config.flows.dir.join("apis_database.yaml");
    config.registry.file.clone().or_else(|| beside.exists().then_some(beside))
}

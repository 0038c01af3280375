//! Who speaks, hears and answers: what the configuration names, or whom the registry chooses for every use.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use super::checks::{LinkChecks, Links};
use crate::config::{Config, ConfigError};
use crate::providers::config::{LlmProvider, SttProvider, TtsProvider};
use crate::providers::credentials::Vault;
use crate::providers::fallback::FallbackTts;
use crate::providers::llm::chain::ModelChain;
use crate::providers::registry::entry::Entry;
use crate::providers::registry::serve::{RegistryLlm, RegistryStt, RegistryTts};
use crate::providers::registry::{Registry, Source, Upkeep};
use crate::providers::{Language, Llm, Providers, Tts};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// What calls are served by, and how each part is looked at.
pub struct Chains {
    pub voice: Arc<dyn Tts>,
    pub model: Option<Arc<dyn Llm>>,
    pub links: Links,
}

/// Puts the registry's choices in the places that the configuration leaves to it.
pub fn chains(
    config: &Config,
    built: &mut Providers,
    registry: &Registry,
    metrics: &Metrics,
) -> anyhow::Result<Chains> {
    let language = Language::default();
    let (voice, voices): (Arc<dyn Tts>, LinkChecks) = match config.tts.provider {
        TtsProvider::Registry => {
            let chosen = RegistryTts::new(registry.clone()).map_err(|error| anyhow!(error))?;
            built.tts = vec![Arc::new(chosen.clone())];
            let (looked_at, language) = (chosen.clone(), language.clone());
            (Arc::new(chosen), Box::new(move || looked_at.checks(&language)))
        }
        _ => {
            let chain = FallbackTts::new(built.tts.clone(), config.tts.first_audio(), metrics);
            let looked_at = chain.clone();
            (Arc::new(chain), Box::new(move || looked_at.checks()))
        }
    };
    let chosen_stt = (config.stt.provider == SttProvider::Registry).then(|| RegistryStt(registry.clone()));
    if let Some(chosen) = &chosen_stt {
        built.stt = Some(Arc::new(chosen.clone()));
    }
    let (model, models): (Option<Arc<dyn Llm>>, LinkChecks) = match config.llm.provider {
        LlmProvider::Registry => {
            let chosen = RegistryLlm::new(registry.clone());
            let looked_at = chosen.clone();
            (Some(Arc::new(chosen)), Box::new(move || looked_at.checks()))
        }
        _ => {
            let chain = ModelChain::new(&built.llm, &config.llm, metrics);
            let looked_at = chain.clone();
            let checks = move || looked_at.as_ref().map(ModelChain::checks).unwrap_or_default();
            (chain.map(|chain| Arc::new(chain) as _), Box::new(checks))
        }
    };
    let others = move || {
        let mut checks = chosen_stt.as_ref().map(|stt| stt.checks(&language)).unwrap_or_default();
        checks.extend(models());
        checks
    };
    Ok(Chains { voice, model, links: Links { voices, others: Box::new(others) } })
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

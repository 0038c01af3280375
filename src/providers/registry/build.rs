//! From an entry to the client that it names: the client's section of the configuration, with what the entry says instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::{Client, Entry, Id};
use crate::providers::config::{ApiKey, EmbeddedConfig, ProvidersConfig};
use crate::providers::llm::anthropic::AnthropicLlm;
use crate::providers::llm::openai::OpenAiLlm;
use crate::providers::stt::deepgram::DeepgramStt;
use crate::providers::stt::openai::OpenAiStt;
use crate::providers::tts::deepgram::DeepgramTts;
use crate::providers::tts::embedded::EmbeddedTts;
use crate::providers::tts::openai::OpenAiTts;
use crate::providers::{Llm, Stt, Tts};

/// Keys by the name of their account.
pub type Secrets = BTreeMap<String, ApiKey>;

/// # Errors
/// What is missing or wrong, without any secret.
pub fn tts(entry: &Entry, config: &ProvidersConfig, secrets: &Secrets) -> Result<Arc<dyn Tts>, String> {
    let config = overlaid(entry, config, secrets)?;
    match client(entry)? {
        Client::Deepgram => Ok(Arc::new(DeepgramTts::new(&config.deepgram, &config.tts)?)),
        Client::Openai => Ok(Arc::new(OpenAiTts::new(&config.openai, &config.tts)?)),
        Client::Embedded => embedded(&config),
        Client::Anthropic => Err(no_client(entry)),
    }
}

/// # Errors
/// As [`tts`].
pub fn stt(entry: &Entry, config: &ProvidersConfig, secrets: &Secrets) -> Result<Arc<dyn Stt>, String> {
    let config = overlaid(entry, config, secrets)?;
    match client(entry)? {
        Client::Deepgram => Ok(Arc::new(DeepgramStt::new(&config.deepgram, &config.stt)?)),
        Client::Openai => Ok(Arc::new(OpenAiStt::new(&config.openai, &config.stt)?)),
        Client::Anthropic | Client::Embedded => Err(no_client(entry)),
    }
}

/// # Errors
/// As [`tts`].
pub fn llm(entry: &Entry, config: &ProvidersConfig, secrets: &Secrets) -> Result<Arc<dyn Llm>, String> {
    let config = overlaid(entry, config, secrets)?;
    match client(entry)? {
        Client::Openai => Ok(Arc::new(OpenAiLlm::new(&config.openai, &config.llm, CHOSEN_BY)?)),
        Client::Anthropic => Ok(Arc::new(AnthropicLlm::new(&config.anthropic, &config.llm, CHOSEN_BY)?)),
        Client::Deepgram | Client::Embedded => Err(no_client(entry)),
    }
}

/// The voices on this machine.
///
/// # Errors
/// A setting of theirs that is wrong.
pub fn embedded(config: &ProvidersConfig) -> Result<Arc<dyn Tts>, String> {
    Ok(Arc::new(EmbeddedTts::new(EmbeddedConfig {
        flite: config.flite.clone(),
        espeak: config.espeak.clone(),
        voice: config.tts.voice.clone(),
        concurrency: config.tts.concurrency,
        deadline_ms: config.tts.deadline_ms,
    })?))
}

/// The sections with what the entry says. A key is sent only to the address that it was given for: one of the
/// configuration to the address of the configuration, any other by the account that it was kept under.
fn overlaid(entry: &Entry, config: &ProvidersConfig, secrets: &Secrets) -> Result<ProvidersConfig, String> {
    if let Some(account) = entry.account.as_ref().map(Id::as_str).filter(|account| !secrets.contains_key(*account)) {
        let variable = variable(account);
        return Err(format!("no key of the account {account}: set {variable}, or `offhook keys add {account}`"));
    }
    let mut config = config.clone();
    config.tts.voice.clone_from(&entry.voice);
    config.llm.model = None;
    let ProvidersConfig { deepgram, openai, anthropic, .. } = &mut config;
    let (base_url, api_key) = match entry.client {
        Some(Client::Deepgram) => {
            if let Some(model) = &entry.model {
                (deepgram.stt_model, deepgram.tts_model) = (model.clone(), model.clone());
            }
            (&mut deepgram.base_url, &mut deepgram.api_key)
        }
        Some(Client::Anthropic) => {
            anthropic.model = entry.model.clone().unwrap_or_else(|| anthropic.model.clone());
            (&mut anthropic.base_url, &mut anthropic.api_key)
        }
        Some(Client::Openai) => {
            if let Some(model) = &entry.model {
                (openai.model, openai.stt_model, openai.tts_model) = (model.clone(), model.clone(), model.clone());
            }
            if let Some(voice) = &entry.voice {
                openai.tts_voice.clone_from(voice);
            }
            (&mut openai.base_url, &mut openai.api_key)
        }
        Some(Client::Embedded) | None => return Ok(config),
    };
    if let Some(other) = &entry.base_url {
        base_url.clone_from(other);
        *api_key = None;
    }
    // What the configuration says goes before what the database keeps for the same section.
    let key = account(entry).or(entry.client.map(Client::section)).and_then(|account| secrets.get(account));
    if entry.account.is_some() || api_key.is_none() {
        *api_key = key.cloned();
    }
    Ok(config)
}

/// The variable that holds the key of an account.
pub fn variable(account: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("{}_API_KEY", account.chars().map(upper).collect::<String>())
}

/// Whose key an entry takes; none is that of the client's section.
pub fn account(entry: &Entry) -> Option<&str> {
    let own = entry.base_url.as_ref().map(|_| &entry.id);
    entry.account.as_ref().or(own).map(Id::as_str)
}

fn client(entry: &Entry) -> Result<Client, String> {
    entry.client.ok_or_else(|| no_client(entry))
}

fn no_client(entry: &Entry) -> String {
    format!("no client of this program serves {}", entry.category.as_str())
}

/// What makes a key necessary, as errors name it.
const CHOSEN_BY: &str = "the registry's choice";

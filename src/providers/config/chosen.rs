//! The vendors that configuration chooses, made in the order in which they are to be asked, each with what its key allows.

use std::sync::Arc;

use super::{ApiKey, EmbeddedConfig, LlmConfig, LlmProvider, ProvidersConfig, SttProvider, TtsConfig, TtsProvider};
use crate::providers::cache::CachedTts;
use crate::providers::llm::anthropic::AnthropicLlm;
use crate::providers::llm::openai::OpenAiLlm;
use crate::providers::stack::{Kind, Limit, Limits, Ranked};
use crate::providers::stt::azure::AzureStt;
use crate::providers::stt::deepgram::DeepgramStt;
use crate::providers::stt::denoised::DenoisedStt;
use crate::providers::stt::openai::OpenAiStt;
use crate::providers::tts::azure::AzureTts;
use crate::providers::tts::deepgram::DeepgramTts;
use crate::providers::tts::elevenlabs::ElevenLabsTts;
use crate::providers::tts::embedded::EmbeddedTts;
use crate::providers::tts::openai::OpenAiTts;
use crate::providers::tts::piper::PiperTts;
use crate::providers::{Llm, Stt, Tts};

/// The voices; the embedded ones are the last. Each has a share of the cache.
pub(super) fn voices(config: &ProvidersConfig, limits: &mut Limits) -> Result<Vec<Ranked<dyn Tts>>, String> {
    let mut chosen = vec![(config.tts.provider, "tts.provider".to_owned())];
    let fallbacks = config.tts.fallbacks.iter().enumerate();
    chosen.extend(fallbacks.map(|(index, provider)| (*provider, format!("tts.fallbacks[{index}]"))));
    let mut made = Vec::new();
    for (index, (provider, at)) in chosen.iter().enumerate() {
        if *provider == TtsProvider::Embedded && index > 0 {
            return Err(format!("{at}: embedded, which comes last in any case"));
        }
        if chosen.iter().take(index).any(|(before, _)| before == provider) {
            return Err(format!("{at}: named twice"));
        }
        // The voice that is configured is one of the first provider's.
        let tts = TtsConfig { voice: config.tts.voice.clone().filter(|_| index == 0), ..config.tts.clone() };
        let named =
            |error: String| if error.starts_with("tts.") || index == 0 { error } else { format!("{at}: {error}") };
        made.extend(voice(*provider, config, &tts, limits).map_err(named)?);
    }
    made.push(Ranked::from(Arc::new(embedded(config)?) as Arc<dyn Tts>));
    let share = config.tts.cache_bytes / made.len();
    let cached = |ranked: Ranked<dyn Tts>| Ranked {
        vendor: Arc::new(CachedTts::new(ranked.vendor, share)) as Arc<dyn Tts>,
        limit: ranked.limit,
    };
    Ok(made.into_iter().map(cached).collect())
}

fn voice(
    provider: TtsProvider,
    config: &ProvidersConfig,
    tts: &TtsConfig,
    limits: &mut Limits,
) -> Result<Option<Ranked<dyn Tts>>, String> {
    let kind = Kind::Tts;
    Ok(Some(match provider {
        // What the registry chooses is put in front by the server.
        TtsProvider::Embedded | TtsProvider::Registry => return Ok(None),
        TtsProvider::Deepgram => {
            Ranked { vendor: Arc::new(DeepgramTts::new(&config.deepgram, tts)?), limit: deepgram(kind, config, limits) }
        }
        TtsProvider::Openai => {
            Ranked { vendor: Arc::new(OpenAiTts::new(&config.openai, tts)?), limit: openai(kind, config, limits) }
        }
        TtsProvider::ElevenLabs => {
            let section = &config.elevenlabs;
            let limit = limits.of(kind, &section.base_url, exposed(&section.api_key), section.requests_per_minute);
            Ranked { vendor: Arc::new(ElevenLabsTts::new(section, tts)?), limit }
        }
        TtsProvider::Azure => {
            Ranked { vendor: Arc::new(AzureTts::new(&config.azure, tts)?), limit: azure(kind, config, limits) }
        }
        TtsProvider::Piper => Ranked::from(Arc::new(PiperTts::new(&config.piper)?) as Arc<dyn Tts>),
    }))
}

fn embedded(config: &ProvidersConfig) -> Result<EmbeddedTts, String> {
    EmbeddedTts::new(EmbeddedConfig {
        flite: config.flite.clone(),
        espeak: config.espeak.clone(),
        voice: config.tts.voice.clone().filter(|_| config.tts.provider == TtsProvider::Embedded),
        concurrency: config.tts.concurrency,
        deadline_ms: config.tts.deadline_ms,
    })
}

/// The recognisers, each hearing with less noise if that is wanted.
pub(super) fn ears(config: &ProvidersConfig, limits: &mut Limits) -> Result<Vec<Ranked<dyn Stt>>, String> {
    config.stt.validate()?;
    let mut made = Vec::new();
    match ear(config.stt.provider, config, limits)? {
        Some(first) => made.push(first),
        None if config.stt.fallbacks.is_empty() => return Ok(made),
        None => return Err("stt.fallbacks: there is no recogniser to stand in for; set stt.provider".to_owned()),
    }
    for (index, provider) in config.stt.fallbacks.iter().enumerate() {
        let at = format!("stt.fallbacks[{index}]");
        if *provider == config.stt.provider || config.stt.fallbacks.iter().take(index).any(|other| other == provider) {
            return Err(format!("{at}: named twice"));
        }
        let other = ear(*provider, config, limits).map_err(|error| format!("{at}: {error}"))?;
        made.push(other.ok_or_else(|| format!("{at}: none; expected a recogniser"))?);
    }
    let quieter = |ranked: Ranked<dyn Stt>| match config.stt.noise_suppression {
        false => ranked,
        true => Ranked { vendor: Arc::new(DenoisedStt(ranked.vendor)) as Arc<dyn Stt>, limit: ranked.limit },
    };
    Ok(made.into_iter().map(quieter).collect())
}

fn ear(
    provider: SttProvider,
    config: &ProvidersConfig,
    limits: &mut Limits,
) -> Result<Option<Ranked<dyn Stt>>, String> {
    let kind = Kind::Stt;
    Ok(Some(match provider {
        SttProvider::None | SttProvider::Registry => return Ok(None),
        SttProvider::Deepgram => Ranked {
            vendor: Arc::new(DeepgramStt::new(&config.deepgram, &config.stt)?),
            limit: deepgram(kind, config, limits),
        },
        SttProvider::Openai => Ranked {
            vendor: Arc::new(OpenAiStt::new(&config.openai, &config.stt)?),
            limit: openai(kind, config, limits),
        },
        SttProvider::WhisperLocal => Ranked::from(whisper(config)?),
        SttProvider::Azure => {
            Ranked { vendor: Arc::new(AzureStt::new(&config.azure, &config.stt)?), limit: azure(kind, config, limits) }
        }
    }))
}

#[cfg(feature = "stt-whisper")]
fn whisper(config: &ProvidersConfig) -> Result<Arc<dyn Stt>, String> {
    let whisper = crate::providers::stt::whisper::WhisperStt::new(&config.whisper, &config.models, &config.stt)?;
    Ok(Arc::new(whisper))
}

#[cfg(not(feature = "stt-whisper"))]
fn whisper(_: &ProvidersConfig) -> Result<Arc<dyn Stt>, String> {
    Err("stt.provider: whisper_local, which this build lacks; build with --features stt-whisper".to_owned())
}

/// The chosen model and those that stand in for it.
pub(super) fn models(config: &ProvidersConfig, limits: &mut Limits) -> Result<Vec<Ranked<dyn Llm>>, String> {
    config.llm.validate()?;
    let Some(first) = model(config.llm.provider, config, &config.llm, "llm.provider", limits)? else {
        return match config.llm.fallbacks.is_empty() {
            true => Ok(Vec::new()),
            false => Err("llm.fallbacks: there is no model to stand in for; set llm.provider".to_owned()),
        };
    };
    let mut models = vec![first];
    for (index, fallback) in config.llm.fallbacks.iter().enumerate() {
        let at = format!("llm.fallbacks[{index}]");
        let llm = LlmConfig { model: fallback.model.clone(), ..config.llm.clone() };
        let made = model(fallback.provider, &fallback.over(config), &llm, &format!("{at}.provider"), limits);
        let made = made.map_err(|error| if error.starts_with(&at) { error } else { format!("{at}: {error}") })?;
        models.push(made.ok_or_else(|| format!("{at}.provider: none; expected openai or anthropic"))?);
    }
    Ok(models)
}

fn model(
    provider: LlmProvider,
    config: &ProvidersConfig,
    llm: &LlmConfig,
    chosen_by: &str,
    limits: &mut Limits,
) -> Result<Option<Ranked<dyn Llm>>, String> {
    Ok(Some(match provider {
        LlmProvider::None | LlmProvider::Registry => return Ok(None),
        LlmProvider::Openai => Ranked {
            vendor: Arc::new(OpenAiLlm::new(&config.openai, llm, chosen_by)?),
            limit: openai(Kind::Llm, config, limits),
        },
        LlmProvider::Anthropic => {
            let section = &config.anthropic;
            let limit = limits.of(Kind::Llm, &section.base_url, exposed(&section.api_key), section.requests_per_minute);
            Ranked { vendor: Arc::new(AnthropicLlm::new(section, llm, chosen_by)?), limit }
        }
    }))
}

fn deepgram(kind: Kind, config: &ProvidersConfig, limits: &mut Limits) -> Limit {
    let section = &config.deepgram;
    limits.of(kind, &section.base_url, exposed(&section.api_key), section.requests_per_minute)
}

fn openai(kind: Kind, config: &ProvidersConfig, limits: &mut Limits) -> Limit {
    let section = &config.openai;
    limits.of(kind, &section.base_url, exposed(&section.api_key), section.requests_per_minute)
}

fn azure(kind: Kind, config: &ProvidersConfig, limits: &mut Limits) -> Limit {
    let section = &config.azure;
    let place = section.base_url.as_deref().or(section.region.as_deref()).unwrap_or_default();
    limits.of(kind, place, exposed(&section.api_key), section.requests_per_minute)
}

/// To be hashed and nothing else.
fn exposed(key: &Option<ApiKey>) -> Option<&str> {
    use secrecy::ExposeSecret as _;
    key.as_ref().map(|key| key.secret().expose_secret())
}

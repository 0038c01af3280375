//! Voices in order of preference that are one voice: the next one speaks when one fails, is silent or breaks off, see
//! [`super::continued`]. What was made before is heard at once, whatever its vendor does now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{self, StreamExt};

use super::continued::Continued;
use crate::providers::config::TtsConfig;
use crate::providers::stack::{Chain, Kind, LinkCheck, Patience, Ranked, ResilienceConfig};
use crate::providers::timing::{USUAL_PACE, words};
use crate::providers::{AudioStream, ProviderError, SpeakRequest, Tts};
use crate::telemetry::metrics::Metrics;

/// A chain of voices that is one voice.
#[derive(Clone)]
pub struct VoiceChain {
    chain: Chain<dyn Tts>,
    /// For each voice the samples that it takes for each unit of a word's weight at rate 1.0, as it spoke last; 0 before that.
    paces: Arc<[AtomicU64]>,
    metrics: Metrics,
}

/// What was made ahead by one voice.
#[derive(Debug, PartialEq, Eq)]
pub struct Prewarmed {
    pub voice: &'static str,
    pub made: usize,
    pub failed: usize,
    /// The first failure.
    pub error: Option<ProviderError>,
}

impl VoiceChain {
    /// `voices` in order of preference.
    pub fn new(
        voices: Vec<Ranked<dyn Tts>>,
        tts: &TtsConfig,
        resilience: &ResilienceConfig,
        metrics: &Metrics,
    ) -> Self {
        let patience = Patience {
            first: tts.first_audio(),
            last: LAST_RESORT,
            progress: tts.progress(),
            hedge_after: tts.hedge_after(),
            what: "first audio",
        };
        let chain = Chain::new(Kind::Tts, voices, |tts| tts.name(), patience, resilience, metrics);
        let paces = chain.links().iter().map(|_| AtomicU64::new(0)).collect();
        Self { chain, paces, metrics: metrics.clone() }
    }

    /// Each voice by itself, for health.
    pub fn checks(&self) -> Vec<LinkCheck> {
        self.chain.checks(|tts| tts.check())
    }

    /// Has every voice make `requests` for nobody, so that they are ready when a call needs them.
    pub async fn prewarm(&self, requests: &[SpeakRequest]) -> Vec<Prewarmed> {
        let voices = (0..self.chain.links().len()).map(|index| self.prewarm_voice(index, requests));
        join_all(voices).await
    }

    async fn prewarm_voice(&self, index: usize, requests: &[SpeakRequest]) -> Prewarmed {
        let mut done = Prewarmed { voice: "", made: 0, failed: 0, error: None };
        let Some(link) = self.chain.links().get(index) else { return done };
        done.voice = link.name;
        for request in requests.iter().filter(|request| link.vendor.speaks(&request.language)) {
            let request = own(&*link.vendor, request);
            if link.vendor.ready(&request).is_some() {
                done.made += 1;
                continue;
            }
            match link.made(|tts| drained(Arc::clone(tts), request.clone()).boxed(), PREWARM_WITHIN).await {
                Ok(()) => done.made += 1,
                Err(error) => {
                    done.failed += 1;
                    done.error.get_or_insert(error);
                    if link.is_left_alone() {
                        break;
                    }
                }
            }
        }
        done
    }

    async fn speak(self, request: SpeakRequest) -> Result<AudioStream, ProviderError> {
        let (voice, stream) = self.begin_from(0, &request).await?;
        Ok(Continued::stream(self, voice, stream, request))
    }

    /// The first voice from this place of the chain on that begins to speak.
    pub(super) async fn begin_from(
        &self,
        first: usize,
        request: &SpeakRequest,
    ) -> Result<(usize, AudioStream), ProviderError> {
        for (index, link) in self.chain.links().iter().enumerate().skip(first) {
            if let Some(made) = link.vendor.ready(&own(&*link.vendor, request)) {
                self.metrics.vendors.looked_up(true);
                self.chain.links().iter().take(index).for_each(|link| link.passed_over());
                return Ok((index, stream::iter([Ok(made)]).boxed()));
            }
            if !link.is_left_alone() {
                break;
            }
        }
        self.metrics.vendors.looked_up(false);
        let attempt = |tts: &Arc<dyn Tts>| {
            let speaks = tts.speaks(&request.language);
            speaks.then(|| first_audio(Arc::clone(tts), own(&**tts, request)).boxed())
        };
        let (index, stream) = self.chain.begin(first, attempt).await?;
        let progress = self.chain.patience().progress;
        let stream = match self.chain.links().get(index) {
            Some(link) => link.watched(stream, progress),
            None => stream,
        };
        Ok((index, stream))
    }

    /// A voice has spoken this to its end.
    pub(super) fn spoke(&self, voice: usize, request: &SpeakRequest, samples: usize) {
        let weight: u64 = words(request.text.as_str()).iter().map(|word| word.weight).sum();
        if let Some(pace) = self.paces.get(voice).filter(|_| weight >= ENOUGH_TO_TELL) {
            let found = samples as f64 * f64::from(request.rate) / weight as f64;
            pace.store((found as u64).clamp(USUAL_PACE / 2, USUAL_PACE * 2), Ordering::Relaxed);
        }
    }

    /// How fast a voice speaks this, in samples for each unit of a word's weight.
    pub(super) fn pace(&self, voice: usize, request: &SpeakRequest) -> u64 {
        let pace = self.paces.get(voice).map_or(0, |pace| pace.load(Ordering::Relaxed));
        let pace = if pace == 0 { USUAL_PACE } else { pace };
        (pace as f64 / f64::from(request.rate.clamp(0.5, 2.0))) as u64
    }
}

impl Tts for VoiceChain {
    fn name(&self) -> &'static str {
        "voices"
    }

    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        self.clone().speak(request).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        self.chain.check(|tts| tts.check())
    }
}

/// The request as one voice can be asked: another vendor's voice means nothing to it.
fn own(tts: &dyn Tts, request: &SpeakRequest) -> SpeakRequest {
    let voice = request.voice.clone().filter(|voice| tts.knows(voice));
    SpeakRequest { voice, ..request.clone() }
}

/// The stream of one voice once its first audio is there.
async fn first_audio(tts: Arc<dyn Tts>, request: SpeakRequest) -> Result<AudioStream, ProviderError> {
    let vendor = tts.name();
    let speakable = request.text.as_str().chars().any(char::is_alphanumeric);
    let mut audio = tts.speak(request).await?;
    match audio.next().await {
        Some(first) => Ok(stream::iter([Ok(first?)]).chain(audio).boxed()),
        None if speakable => Err(ProviderError::Protocol { vendor, what: "no audio for the text".to_owned() }),
        None => Ok(audio),
    }
}

async fn drained(tts: Arc<dyn Tts>, request: SpeakRequest) -> Result<(), ProviderError> {
    let mut audio = tts.speak(request).await?;
    while let Some(chunk) = audio.next().await {
        chunk?;
    }
    Ok(())
}

/// The weight of a text whose length says how fast a voice speaks.
const ENOUGH_TO_TELL: u64 = 12;
/// Longer than any voice's own deadline.
const LAST_RESORT: Duration = Duration::from_secs(30);
/// Nobody waits for what is made ahead.
const PREWARM_WITHIN: Duration = Duration::from_secs(30);

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;

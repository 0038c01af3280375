//! The network and the threads that run it. Stretches wait in one bounded queue; each thread takes the next one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use offhook_media::resample::{Rate, Resampler};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, mpsc, oneshot};
use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState, get_lang_id, get_lang_str,
};

use super::super::by_stretch::Asked;
use super::super::stretches::Stretch;
use super::VENDOR;
use crate::providers::config::WhisperConfig;
use crate::providers::{ProviderError, Recognised};
use crate::telemetry::pii::Pii;

/// Weights that are loaded once, by whoever needs them first.
pub(super) struct Engine {
    path: PathBuf,
    workers: usize,
    threads: i32,
    deadline: Duration,
    queue: OnceCell<mpsc::Sender<Job>>,
}

/// A stretch, and where its words go. Whoever has given up on it has dropped the other end.
struct Job {
    stretch: Stretch,
    asked: Asked,
    reply: oneshot::Sender<Result<Option<Recognised>, ProviderError>>,
}

impl Engine {
    pub(super) fn new(config: &WhisperConfig, path: PathBuf) -> Self {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let threads = if config.threads == 0 { (cores / 2).max(1) } else { config.threads };
        Self {
            path,
            workers: config.concurrency,
            threads: i32::try_from(threads).unwrap_or(i32::MAX),
            deadline: Duration::from_millis(config.deadline_ms),
            queue: OnceCell::new(),
        }
    }

    /// Loads the weights and starts the threads, once. The threads end when the engine is dropped.
    pub(super) async fn load(&self) -> Result<(), ProviderError> {
        self.queue().await.map(|_| ())
    }

    async fn queue(&self) -> Result<&mpsc::Sender<Job>, ProviderError> {
        self.queue.get_or_try_init(|| self.start()).await
    }

    async fn start(&self) -> Result<mpsc::Sender<Job>, ProviderError> {
        let path = self.path.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&path)).await;
        let context = Arc::new(loaded.map_err(|error| failed(error.to_string()))??);
        let (queue, jobs) = mpsc::channel(WAITING);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..self.workers {
            let state = context.create_state().map_err(|error| failed(error.to_string()))?;
            let worker = Worker { context: Arc::clone(&context), state, threads: self.threads, ways: HashMap::new() };
            let jobs = Arc::clone(&jobs);
            let named = thread::Builder::new().name(format!("whisper-{number}"));
            named.spawn(move || worker.run(&jobs)).map_err(|error| failed(error.to_string()))?;
        }
        Ok(queue)
    }

    /// The words of a stretch, within the deadline.
    pub(super) async fn transcribe(&self, stretch: Stretch, asked: Asked) -> Result<Option<Recognised>, ProviderError> {
        let work = async {
            let (reply, words) = oneshot::channel();
            let queue = self.queue().await?;
            // A full queue is waited for: up to the deadline.
            let taken = queue.send(Job { stretch, asked, reply }).await;
            taken.map_err(|_| failed("its threads have ended".to_owned()))?;
            words.await.map_err(|_| failed("its thread has ended".to_owned()))?
        };
        let late = ProviderError::Timeout { vendor: VENDOR, what: "words", after: self.deadline };
        tokio::time::timeout(self.deadline, work).await.unwrap_or(Err(late))
    }
}

fn load(path: &Path) -> Result<WhisperContext, ProviderError> {
    // What the C++ code prints goes to the log instead.
    whisper_rs::install_logging_hooks();
    let mut parameters = WhisperContextParameters::new();
    parameters.use_gpu(false);
    let loaded = WhisperContext::new_with_params(path, parameters);
    let context = loaded.map_err(|error| failed(format!("{} holds no weights: {error}", path.display())))?;
    // The C++ code ends the process over a vocabulary in which it does not find the blank.
    match context.tokenize(" ", 8) {
        Ok(tokens) if !tokens.is_empty() => Ok(context),
        _ => Err(failed(format!("{}: no blank in its vocabulary", path.display()))),
    }
}

fn failed(what: String) -> ProviderError {
    ProviderError::NotConfigured { vendor: VENDOR, what }
}

/// One thread: the room that a run of the network needs, and how each language is asked for (made once, since the
/// library does not give back what a way holds).
struct Worker {
    context: Arc<WhisperContext>,
    state: WhisperState,
    threads: i32,
    ways: HashMap<&'static str, FullParams<'static, 'static>>,
}

impl Worker {
    fn run(mut self, jobs: &Mutex<mpsc::Receiver<Job>>) {
        loop {
            let Some(Job { stretch, asked, reply }) = jobs.lock().blocking_recv() else { return };
            if reply.is_closed() {
                continue;
            }
            let words = self.words(&stretch, &asked);
            // Whoever asked may have given up.
            let _ = reply.send(words);
        }
    }

    fn words(&mut self, stretch: &Stretch, asked: &Asked) -> Result<Option<Recognised>, ProviderError> {
        let samples = wideband(&stretch.samples);
        let hints = self.hints(&asked.hints);
        let mut way = self.way(&asked.language);
        way.set_audio_ctx(self.looked_at(samples.len()));
        way.set_tokens(&hints);
        let run = self.state.full(way, &samples);
        run.map_err(|error| ProviderError::Protocol { vendor: VENDOR, what: error.to_string() })?;
        Ok(self.heard().map(|(text, confidence)| Recognised {
            text: Pii::new(text),
            confidence,
            start: stretch.start,
            end: stretch.end,
        }))
    }

    /// As the network reads what was said before: the words worth expecting.
    fn hints(&self, hints: &str) -> Vec<i32> {
        let text: String = hints.chars().filter(|c| !c.is_control()).take(LONGEST_HINTS).collect();
        let known = if text.is_empty() { Ok(Vec::new()) } else { self.context.tokenize(&text, MOST_TOKENS) };
        known.unwrap_or_default()
    }

    fn way<'a>(&mut self, language: &str) -> FullParams<'a, 'a> {
        let language = known(language, self.context.is_multilingual());
        let threads = self.threads;
        self.ways.entry(language).or_insert_with(|| greedy(language, threads)).clone()
    }

    /// Of the 30 s that the network looks at, as much as there is, with a second to spare: in places of 20 ms.
    fn looked_at(&self, samples: usize) -> i32 {
        let most = self.context.n_audio_ctx();
        i32::try_from((samples + 16_000).div_ceil(320)).unwrap_or(most).min(most)
    }

    /// The words and how sure the network is of them. What it says of stretches that it believes to be no speech is made up.
    fn heard(&self) -> Option<(String, f32)> {
        let (mut text, mut sure, mut tokens) = (String::new(), 0.0, 0_u16);
        for segment in self.state.as_iter().filter(|segment| segment.no_speech_probability() <= NO_SPEECH) {
            text += &segment.to_str_lossy().unwrap_or_default();
            for token in (0..segment.n_tokens()).filter_map(|number| segment.get_token(number)) {
                sure += token.token_probability();
                tokens = tokens.saturating_add(1);
            }
        }
        let text = text.trim();
        let confidence = (sure / f32::from(tokens.max(1))).clamp(0.0, 1.0);
        (!text.is_empty()).then(|| (text.to_owned(), confidence))
    }
}

fn greedy(language: &'static str, threads: i32) -> FullParams<'static, 'static> {
    let mut way = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    way.set_language(Some(language));
    way.set_n_threads(threads);
    way.set_no_context(true);
    way.set_no_timestamps(true);
    way.set_single_segment(true);
    way.set_suppress_nst(true);
    way.set_max_tokens(MOST_TOKENS as i32);
    // One try: a second one at another temperature takes as long again, and a caller waits.
    way.set_temperature_inc(0.0);
    way.set_print_progress(false);
    way.set_print_realtime(false);
    way.set_print_special(false);
    way.set_print_timestamps(false);
    way
}

/// The language as the network knows it; English weights know nothing else, and of one that none know it is left to them.
fn known(language: &str, multilingual: bool) -> &'static str {
    if !multilingual {
        return "en";
    }
    // The library takes no text with a zero in it.
    let id = if language.contains('\0') { None } else { get_lang_id(language) };
    id.and_then(get_lang_str).unwrap_or("auto")
}

/// At the rate of the network, -1.0 to 1.0.
fn wideband(samples: &[i16]) -> Vec<f32> {
    let mut wide = Vec::with_capacity(2 * samples.len());
    let mut resampler = Resampler::new(Rate::Hz8000, Rate::Hz16000);
    for frame in samples.chunks(160) {
        resampler.push(frame, &mut wide);
    }
    let mut wide: Vec<f32> = wide.into_iter().map(|sample: i16| f32::from(sample) / 32_768.0).collect();
    // The network takes nothing shorter than a second.
    wide.resize(wide.len().max(17_600), 0.0);
    wide
}

/// Stretches that wait; more have to wait at the door.
const WAITING: usize = 32;
const LONGEST_HINTS: usize = 600;
const MOST_TOKENS: usize = 224;
const NO_SPEECH: f32 = 0.6;

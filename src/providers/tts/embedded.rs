//! The voices that need no account: flite for English, espeak-ng for every other language (and for English where flite
//! is absent). Both run as separate programs, never linked: the one is GPL, the other keeps global state.
//!
//! flite tells when its phones are, and so the words of it are known; espeak-ng tells nothing of the kind on a pipe.
//!
//! Text goes to espeak-ng on its standard input and to flite as an argument (its text files cannot be written to a
//! pipe), never through a shell; the environment, which may hold secrets, is not handed on.

mod phones;
mod process;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::process::{Job, WarmPrograms, run};
use super::segments::{Segment, segments};
use super::trim::Trimmer;
use crate::providers::config::{EmbeddedConfig, EspeakConfig, FliteConfig};
use crate::providers::timing::{Word, words};
use crate::providers::{AudioStream, ProviderError, SpeakRequest, SpeechChunk, Tts};

/// The embedded voices.
#[derive(Clone)]
pub struct EmbeddedTts(Arc<Inner>);

impl EmbeddedTts {
    /// # Errors
    /// Names the key whose value cannot be used.
    pub fn new(config: EmbeddedConfig) -> Result<Self, String> {
        flite_voice(&config.flite.voice).map_err(|e| format!("flite.voice: {e}"))?;
        let permits = Arc::new(Semaphore::new(config.concurrency()));
        Ok(Self(Arc::new(Inner { config, permits, warm: WarmPrograms::default() })))
    }
}

impl Tts for EmbeddedTts {
    fn name(&self) -> &'static str {
        VENDOR
    }

    /// Needs a tokio runtime; the audio is converted on it, ahead of whoever reads the stream.
    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        speak(Arc::clone(&self.0), request).boxed()
    }

    /// flite's own, and those that espeak-ng calls by a language, such as `en-us` or `fr+f2`.
    fn knows(&self, voice: &str) -> bool {
        let language = voice.split(['-', '+']).next().unwrap_or_default();
        FLITE_VOICES.contains(&voice)
            || ((2..=3).contains(&language.len()) && !voice.contains("Neural") && espeak_voice(voice).is_ok())
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        let EmbeddedConfig { flite, espeak, .. } = &self.0.config;
        let found = installed(&flite.program) || installed(&espeak.program);
        let answer = if found { Ok(()) } else { Err(self.0.none_installed()) };
        futures_util::future::ready(answer).boxed()
    }
}

struct Inner {
    config: EmbeddedConfig,
    permits: Arc<Semaphore>,
    warm: WarmPrograms,
}

impl Inner {
    fn none_installed(&self) -> ProviderError {
        let EmbeddedConfig { flite, espeak, .. } = &self.config;
        missing(&format!("{}` and `{}", flite.program, espeak.program))
    }
}

/// Audio that is being made; dropping it stops the programs.
struct Making {
    chunks: mpsc::Receiver<Result<SpeechChunk, ProviderError>>,
    task: JoinHandle<()>,
}

impl Drop for Making {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Resolves with the first audio made, so that an absent program is an error here and not inside the stream.
async fn speak(inner: Arc<Inner>, request: SpeakRequest) -> Result<AudioStream, ProviderError> {
    if request.text.is_empty() {
        return Ok(stream::empty().boxed());
    }
    let jobs = jobs(&inner.config, &request)?;
    let (sender, chunks) = mpsc::channel(MOST_CHUNKS);
    let task = tokio::spawn(make(inner, jobs, sender));
    let mut making = Making { chunks, task };
    let first = match making.chunks.recv().await {
        Some(first) => first?,
        None => return Ok(stream::empty().boxed()),
    };
    let rest = stream::unfold(making, |mut making| async {
        let next = making.chunks.recv().await?;
        Some((next, making))
    });
    Ok(stream::once(futures_util::future::ready(Ok(first))).chain(rest).boxed())
}

/// Runs the jobs one after the other; the last chunk sent is an error if one fails.
async fn make(inner: Arc<Inner>, jobs: Vec<Job>, sender: mpsc::Sender<Result<SpeechChunk, ProviderError>>) {
    let deadline = inner.config.deadline();
    let by = Instant::now() + deadline;
    let late = ProviderError::Timeout { vendor: VENDOR, what: "free program slot", after: deadline };
    let permit = tokio::time::timeout_at(by, Arc::clone(&inner.permits).acquire_owned()).await;
    let Ok(Ok(_permit)) = permit else {
        let _ = sender.send(Err(late)).await;
        return;
    };
    let mut outlet = Outlet { trimmer: Trimmer::new(), sent: 0, sender };
    for job in jobs {
        if let Err(error) = make_one_or_other(&inner, &job, by, &mut outlet).await {
            let _ = outlet.sender.send(Err(error)).await;
            return;
        }
    }
}

/// English without flite is spoken by espeak-ng.
async fn make_one_or_other(inner: &Inner, job: &Job, by: Instant, outlet: &mut Outlet) -> Result<(), ProviderError> {
    match make_one(inner, job, by, outlet).await {
        Ok(()) => return Ok(()),
        Err(Failed::Error(error)) => return Err(error),
        Err(Failed::NotInstalled) => {}
    }
    let Some(second) = job.without_flite(&inner.config.espeak) else {
        return Err(missing(&job.program));
    };
    make_one(inner, &second, by, outlet).await.map_err(|failed| match failed {
        Failed::NotInstalled => inner.none_installed(),
        Failed::Error(error) => error,
    })
}

async fn make_one(inner: &Inner, job: &Job, by: Instant, outlet: &mut Outlet) -> Result<(), Failed> {
    outlet.trimmer = Trimmer::new();
    let begun = outlet.sent;
    let told = run(&inner.warm, job, by, outlet).await?;
    let dropped = outlet.trimmer.dropped();
    let mut tail = std::mem::replace(&mut outlet.trimmer, Trimmer::new()).finish();
    let end = outlet.sent + tail.len() as u64;
    tail.resize(tail.len() + pause_samples(job), 0);
    let words = job.word_times(&told, begun..end, dropped as u64);
    if !tail.is_empty() || !words.is_empty() {
        // A reader that has gone ends the task with its own abort.
        outlet.send(SpeechChunk { samples: tail.into(), words, rejoins: None }).await;
    }
    Ok(())
}

/// Where the audio of the programs goes.
struct Outlet {
    trimmer: Trimmer,
    /// Samples.
    sent: u64,
    sender: mpsc::Sender<Result<SpeechChunk, ProviderError>>,
}

impl Outlet {
    /// Hands on what is not silence at an end; false when nobody listens any more.
    async fn take(&mut self, samples: &[i16]) -> bool {
        let ready = self.trimmer.push(samples);
        ready.is_empty() || self.send(ready.into()).await
    }

    async fn send(&mut self, chunk: SpeechChunk) -> bool {
        self.sent += chunk.samples.len() as u64;
        self.sender.send(Ok(chunk)).await.is_ok()
    }
}

fn pause_samples(job: &Job) -> usize {
    usize::try_from(job.pause.as_millis()).unwrap_or(0) * SAMPLES_PER_MS
}

/// Why a program did not serve.
enum Failed {
    NotInstalled,
    Error(ProviderError),
}

fn jobs(config: &EmbeddedConfig, request: &SpeakRequest) -> Result<Vec<Job>, ProviderError> {
    let rate = request.rate.clamp(0.5, 2.0);
    let text = plain(request.text.as_str());
    let english = request.language.primary() == "en";
    let named = request.voice.as_deref().or(config.voice.as_deref());
    if english && named.is_none_or(|voice| FLITE_VOICES.contains(&voice)) && !config.flite.program.is_empty() {
        let voice =
            flite_voice(named.unwrap_or(&config.flite.voice)).map_err(|what| refused(&config.flite.program, what))?;
        let pieces = segments(&text.plain, MOST_BYTES);
        return Ok(pieces.iter().map(|piece| Job::flite(&config.flite, voice, rate, piece, &text)).collect());
    }
    let tag = request.language.tag().to_ascii_lowercase();
    let voice = named.filter(|voice| !FLITE_VOICES.contains(voice)).unwrap_or(&tag);
    let voice = espeak_voice(voice).map_err(|what| refused(&config.espeak.program, what))?;
    Ok(vec![Job::espeak(&config.espeak, voice, rate, &text.plain)])
}

/// A text as the programs are given it.
struct Prose {
    plain: String,
    /// For each byte of it and for its end, the byte of the text that was asked for.
    source: Vec<usize>,
}

impl Prose {
    /// The words of a piece of it: how the program is given them, and where they are in the text that was asked for.
    fn words<'a>(&self, piece: &Segment<'a>) -> Vec<(&'a str, Range<usize>)> {
        let source = |at: usize| self.source.get(piece.at + at).copied().unwrap_or_default();
        let place = |word: Word| {
            let Range { start, end } = word.text;
            Some((piece.text.get(start..end)?, source(start)..source(end)))
        };
        words(piece.text).into_iter().filter_map(place).collect()
    }
}

/// Without typographic marks that flite reads aloud or drops.
fn plain(text: &str) -> Prose {
    let mut prose = Prose { plain: String::with_capacity(text.len()), source: Vec::with_capacity(text.len() + 1) };
    for (at, c) in text.char_indices() {
        prose.plain.push(match c {
            '\u{2018}' | '\u{2019}' => '\'',
            '\u{201c}' | '\u{201d}' | '\u{ab}' | '\u{bb}' => ' ',
            '\u{2013}' | '\u{2014}' | '\u{2026}' => ',',
            '\u{a0}' | '\u{202f}' => ' ',
            c => c,
        });
        prose.source.resize(prose.plain.len(), at);
    }
    prose.source.push(text.len());
    prose
}

/// flite takes an unknown name for a file or a URL and a bad one for its default, so only its own voices are let
/// through.
fn flite_voice(name: &str) -> Result<&'static str, String> {
    let known = FLITE_VOICES.iter().find(|known| **known == name);
    known.copied().ok_or_else(|| format!("voice `{name}`, expected one of {}", FLITE_VOICES.join(", ")))
}

fn espeak_voice(name: &str) -> Result<&str, String> {
    let sound = name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'_'));
    if sound { Ok(name) } else { Err("voice name: expected letters, digits, `-`, `+` and `_` (32 at most)".to_owned()) }
}

fn refused(program: &str, what: String) -> ProviderError {
    ProviderError::Program { vendor: VENDOR, program: program.to_owned(), what }
}

fn missing(program: &str) -> ProviderError {
    refused(program, "not installed; on Debian: apt-get install flite espeak-ng".to_owned())
}

pub(super) fn installed(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    !program.is_empty() && std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The names with which flite 2.2 is built.
const FLITE_VOICES: [&str; 5] = ["slt", "rms", "awb", "kal", "kal16"];
const VENDOR: &str = "embedded";
/// Longest piece given to flite, in bytes.
const MOST_BYTES: usize = 160;
/// Chunks made ahead of the reader: all of the longest text that [`crate::safety::said`] lets through.
const MOST_CHUNKS: usize = 1024;
const SAMPLES_PER_MS: usize = 8;

#[cfg(test)]
mod tests;

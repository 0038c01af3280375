//! One run of a speech program: started (or taken from those that wait warm), fed, read as it writes, and killed when
//! nobody listens any more.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::ops::Range;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use super::{EspeakConfig, Failed, FliteConfig, Outlet, Prose, ProviderError, VENDOR, phones, refused};
use crate::providers::WordTime;
use crate::providers::tts::pcm::PcmTo8k;
use crate::providers::tts::segments::Segment;
use crate::providers::tts::wav;

/// One call of a program.
pub(super) struct Job {
    pub program: String,
    arguments: Vec<String>,
    /// What the program reads; none for flite, whose text is an argument.
    input: Option<String>,
    /// Silence after it.
    pub pause: Duration,
    /// The text and rate, should another program have to speak it.
    text: String,
    rate: f32,
    /// The words, and where they are in the text that was asked for; none where the program tells no times.
    words: Vec<(String, Range<usize>)>,
}

impl Job {
    /// The audio goes to standard error, so that standard output is left for what flite tells of its phones.
    pub(super) fn flite(config: &FliteConfig, voice: &str, rate: f32, piece: &Segment<'_>, prose: &Prose) -> Self {
        let mut arguments = ["-voice", voice, "-psdur"].map(str::to_owned).to_vec();
        if (rate - 1.0).abs() > f32::EPSILON {
            arguments.extend(["--setf".to_owned(), format!("duration_stretch={:.3}", 1.0 / rate)]);
        }
        arguments.extend(["-t", piece.text, "-o", "/dev/stderr"].map(str::to_owned));
        let text = piece.text.to_owned();
        let words = prose.words(piece).into_iter().map(|(word, at)| (word.to_owned(), at)).collect();
        Self { program: config.program.clone(), arguments, input: None, pause: piece.pause, text, rate, words }
    }

    /// espeak-ng reads lines of at most 2000 bytes, so longer text is wrapped.
    pub(super) fn espeak(config: &EspeakConfig, voice: &str, rate: f32, text: &str) -> Self {
        let words_per_minute = (f32::from(config.words_per_minute) * rate).round();
        let arguments = ["--stdout", "-v", voice, "-s", &format!("{words_per_minute:.0}")].map(str::to_owned).to_vec();
        let input = Some(wrapped(text, LONGEST_LINE));
        let (program, text) = (config.program.clone(), text.to_owned());
        Self { program, arguments, input, pause: Duration::ZERO, text, rate, words: Vec::new() }
    }

    /// The same words by espeak-ng, if this was flite's.
    pub(super) fn without_flite(&self, espeak: &EspeakConfig) -> Option<Self> {
        let second = Self::espeak(espeak, "en", self.rate, &self.text);
        self.input.is_none().then_some(Self { pause: self.pause, ..second })
    }

    /// When the words are heard, by what the program told. The audio of it is at `place` in the utterance, and `dropped`
    /// samples of what the program wrote were left out before that.
    pub(super) fn word_times(&self, told: &str, place: Range<u64>, dropped: u64) -> Vec<WordTime> {
        let Some(phones) = phones::parse(told) else { return Vec::new() };
        let words: Vec<&str> = self.words.iter().map(|(word, _)| word.as_str()).collect();
        let at = |sample: u64| (place.start + sample.saturating_sub(dropped)).min(place.end);
        let times = phones::aligned(&words, &phones).into_iter().zip(&self.words);
        times
            .filter_map(|(time, (_, text))| {
                let time = time?;
                Some(WordTime { text: text.clone(), samples: at(time.start)..at(time.end) })
            })
            .collect()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().kill_on_drop(true);
        for name in ["PATH", "ESPEAK_DATA_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        let stderr = if self.input.is_some() { Stdio::null() } else { Stdio::piped() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(stderr);
        command
    }

    fn spawn(&self) -> Result<Child, Failed> {
        self.command().spawn().map_err(|e| match e.kind() {
            ErrorKind::NotFound => Failed::NotInstalled,
            kind => self.failed(format!("cannot be started: {kind}")),
        })
    }

    fn failed(&self, what: impl Into<String>) -> Failed {
        Failed::Error(refused(&self.program, what.into()))
    }
}

/// Programs that have loaded their voice and wait for text. Only espeak-ng can wait: flite is told its text at start.
#[derive(Default)]
pub(super) struct WarmPrograms(Mutex<VecDeque<(String, Vec<String>, Child)>>);

impl WarmPrograms {
    fn take(&self, job: &Job) -> Option<Child> {
        job.input.as_ref()?;
        let mut waiting = self.0.lock();
        let at = waiting
            .iter()
            .position(|(program, arguments, _)| *program == job.program && *arguments == job.arguments)?;
        let (_, _, mut child) = waiting.remove(at)?;
        matches!(child.try_wait(), Ok(None)).then_some(child)
    }

    /// Starts the next one ahead; the one that waited longest goes when there are too many.
    fn replenish(&self, job: &Job) {
        if job.input.is_none() {
            return;
        }
        if let Ok(child) = job.spawn() {
            let mut waiting = self.0.lock();
            waiting.push_back((job.program.clone(), job.arguments.clone(), child));
            if waiting.len() > MOST_WARM {
                waiting.pop_front();
            }
        }
    }
}

/// Runs `job` until `by` and hands its audio to `outlet` as it comes, until that says no. What it told beside the audio.
pub(super) async fn run(warm: &WarmPrograms, job: &Job, by: Instant, outlet: &mut Outlet) -> Result<String, Failed> {
    let begun = Instant::now();
    let timeout = || {
        let after = by.saturating_duration_since(begun);
        Failed::Error(ProviderError::Timeout { vendor: VENDOR, what: "audio from the program", after })
    };
    let mut child = match warm.take(job) {
        Some(child) => child,
        None => job.spawn()?,
    };
    if let (Some(input), Some(mut stdin)) = (&job.input, child.stdin.take()) {
        let written = timeout_at(by, stdin.write_all(input.as_bytes())).await.map_err(|_| timeout())?;
        written.map_err(|e| job.failed(format!("did not take its text: {}", e.kind())))?;
    }
    let no_output = || job.failed("has no output");
    let mut told = String::new();
    let wanted = if job.input.is_some() {
        let stdout = child.stdout.take().ok_or_else(no_output)?;
        timeout_at(by, read(job, stdout, outlet)).await.map_err(|_| timeout())??
    } else {
        let audio = child.stderr.take().ok_or_else(no_output)?;
        let stdout = child.stdout.take().ok_or_else(no_output)?;
        let (read, ()) = timeout_at(by, async { tokio::join!(read(job, audio, outlet), listen(stdout, &mut told)) })
            .await
            .map_err(|_| timeout())?;
        read?
    };
    if wanted {
        let status = timeout_at(by, child.wait()).await.map_err(|_| timeout())?;
        succeeded(job, status)?;
        warm.replenish(job);
    }
    Ok(told)
}

/// What the program tells beside its audio, as far as it is text and not too much.
async fn listen(stdout: ChildStdout, told: &mut String) {
    let mut bytes = Vec::new();
    if stdout.take(MOST_TOLD).read_to_end(&mut bytes).await.is_ok() {
        *told = String::from_utf8(bytes).unwrap_or_default();
    }
}

/// Whether the audio was wanted to its end.
async fn read(job: &Job, mut audio: impl AsyncRead + Unpin, outlet: &mut Outlet) -> Result<bool, Failed> {
    let mut bytes = vec![0; READ];
    let mut opening = Vec::new();
    let mut pcm = None;
    loop {
        let got = audio.read(&mut bytes).await.map_err(|e| job.failed(format!("output: {}", e.kind())))?;
        let Some(fresh) = bytes.get(..got).filter(|fresh| !fresh.is_empty()) else {
            break;
        };
        let samples = match &mut pcm {
            Some(pcm) => PcmTo8k::push(pcm, fresh),
            None => {
                opening.extend_from_slice(fresh);
                let Some(head) = wav::head(&opening).map_err(|e| job.failed(e))? else { continue };
                let audio = opening.get(head.audio_at..).unwrap_or_default();
                pcm.insert(PcmTo8k::new(head.rate)).push(audio)
            }
        };
        if !outlet.take(&samples).await {
            return Ok(false);
        }
    }
    // A program that refuses its voice writes nothing; its exit status says so.
    let Some(pcm) = pcm else { return Ok(true) };
    let rest = pcm.finish().map_err(|what| job.failed(what))?;
    Ok(outlet.take(&rest).await)
}

fn succeeded(job: &Job, status: std::io::Result<ExitStatus>) -> Result<(), Failed> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if job.input.is_some() => {
            let voice = job.arguments.get(2).map_or("", String::as_str);
            Err(job.failed(format!("{status} with voice `{voice}`; `{} --voices` lists those it has", job.program)))
        }
        Ok(status) => Err(job.failed(status.to_string())),
        Err(e) => Err(job.failed(format!("exit status unknown: {}", e.kind()))),
    }
}

fn wrapped(text: &str, most: usize) -> String {
    let mut lines = String::with_capacity(text.len() + 8);
    let mut length = 0;
    for word in text.split_whitespace() {
        if length > 0 {
            let separator = if length + word.len() >= most { '\n' } else { ' ' };
            length = if separator == '\n' { 0 } else { length + 1 };
            lines.push(separator);
        }
        lines.push_str(word);
        length += word.len();
    }
    lines.push('\n');
    lines
}

/// Pipes hold 64 KiB.
const READ: usize = 65_536;
/// A longer account than this is cut, and then not understood.
const MOST_TOLD: u64 = 65_536;
const LONGEST_LINE: usize = 1500;
/// One for each language that a small installation speaks; each holds about 3 MB.
const MOST_WARM: usize = 4;

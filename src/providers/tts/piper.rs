//! Piper's neural voices (github.com/rhasspy/piper, "Usage"): a program that reads lines and writes raw PCM, never linked. It
//! runs once for each sentence; the next one has its voice loaded already and waits for its line.
//!
//! Text goes to its standard input, never through a shell; the environment, which may hold secrets, is not handed on.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, StreamExt};
use offhook_media::resample::Rate;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use super::pcm::PcmTo8k;
use crate::providers::config::PiperConfig;
use crate::providers::{AudioStream, Language, ProviderError, SpeakRequest, SpeechChunk, Tts};

/// One Piper voice.
#[derive(Clone)]
pub struct PiperTts(Arc<Inner>);

struct Inner {
    program: String,
    model: PathBuf,
    rate: Rate,
    language: Language,
    deadline: Duration,
    /// Programs that have loaded the voice at rate 1.0 and wait for a line.
    warm: Mutex<VecDeque<Child>>,
}

/// What stands beside the weights, as far as it is used.
#[derive(Deserialize)]
struct Card {
    audio: Audio,
}

#[derive(Deserialize)]
struct Audio {
    sample_rate: u32,
}

impl PiperTts {
    /// # Errors
    /// Names the key of configuration that is missing or wrong, and the file that cannot be used.
    pub fn new(config: &PiperConfig) -> Result<Self, String> {
        let model = config.model.clone().ok_or("piper.model: missing (tts.provider is piper)")?;
        let language = Language::parse(&config.language).map_err(|e| format!("piper.language: {e}"))?;
        if config.deadline_ms == 0 {
            return Err("piper.deadline_ms: 0, expected at least 1".to_owned());
        }
        let rate = rate(&model).map_err(|e| format!("piper.model: {e}"))?;
        let (program, deadline) = (config.program.clone(), config.deadline());
        Ok(Self(Arc::new(Inner { program, model, rate, language, deadline, warm: Mutex::default() })))
    }
}

impl Tts for PiperTts {
    fn name(&self) -> &'static str {
        VENDOR
    }

    /// Needs a tokio runtime. Dropping the stream ends the program.
    fn speak(&self, request: SpeakRequest) -> BoxFuture<'static, Result<AudioStream, ProviderError>> {
        speak(Arc::clone(&self.0), request).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), ProviderError>> {
        let Inner { program, model, .. } = &*self.0;
        let answer = if !super::embedded::installed(program) {
            Err(self.0.failed("not installed"))
        } else if !model.is_file() {
            Err(self.0.failed("its model is gone"))
        } else {
            Ok(())
        };
        ready(answer).boxed()
    }

    fn speaks(&self, language: &Language) -> bool {
        language.primary() == self.0.language.primary()
    }

    /// A model is one voice.
    fn knows(&self, _voice: &str) -> bool {
        false
    }
}

impl Inner {
    fn failed(&self, what: impl Into<String>) -> ProviderError {
        ProviderError::Program { vendor: VENDOR, program: self.program.clone(), what: what.into() }
    }

    fn spawn(&self, rate: f32) -> Result<Child, ProviderError> {
        let mut command = Command::new(&self.program);
        command.arg("--model").arg(&self.model).arg("--output-raw").env_clear().kill_on_drop(true);
        if is_faster_or_slower(rate) {
            command.arg("--length-scale").arg(format!("{:.3}", 1.0 / rate.clamp(0.5, 2.0)));
        }
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().map_err(|e| match e.kind() {
            ErrorKind::NotFound => self.failed("not installed"),
            kind => self.failed(format!("cannot be started: {kind}")),
        })
    }

    /// A program that waits for its line; one that has ended meanwhile is none.
    fn take(&self, rate: f32) -> Result<Child, ProviderError> {
        while let Some(mut child) = if is_faster_or_slower(rate) { None } else { self.warm.lock().pop_front() } {
            if matches!(child.try_wait(), Ok(None)) {
                return Ok(child);
            }
        }
        self.spawn(rate)
    }

    fn replenish(&self) {
        let mut warm = self.warm.lock();
        if warm.len() < MOST_WARM
            && let Ok(child) = self.spawn(1.0)
        {
            warm.push_back(child);
        }
    }
}

async fn speak(inner: Arc<Inner>, request: SpeakRequest) -> Result<AudioStream, ProviderError> {
    let by = Instant::now() + inner.deadline;
    let mut child = inner.take(request.rate)?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(inner.failed("has no input or output"));
    };
    let line = format!("{}\n", request.text.as_str().replace(['\n', '\r'], " "));
    let late = ProviderError::Timeout { vendor: VENDOR, what: "audio", after: inner.deadline };
    let written = timeout_at(by, stdin.write_all(line.as_bytes())).await.map_err(|_| late)?;
    written.map_err(|e| inner.failed(format!("did not take its text: {}", e.kind())))?;
    drop(stdin);
    let pcm = Some(PcmTo8k::new(inner.rate));
    let run = Run { inner, child, stdout, pcm, by };
    Ok(stream::unfold(run, Run::next).boxed())
}

/// One run of the program.
struct Run {
    inner: Arc<Inner>,
    child: Child,
    stdout: ChildStdout,
    /// None once the stream is over.
    pcm: Option<PcmTo8k>,
    by: Instant,
}

type Piece = Result<SpeechChunk, ProviderError>;

impl Run {
    async fn next(mut self) -> Option<(Piece, Self)> {
        loop {
            let pcm = self.pcm.as_mut()?;
            let mut bytes = vec![0; READ];
            let after = self.inner.deadline;
            let got = match timeout_at(self.by, self.stdout.read(&mut bytes)).await {
                Err(_) => return self.end(Err(ProviderError::Timeout { vendor: VENDOR, what: "audio", after })),
                Ok(Err(e)) => {
                    let error = self.inner.failed(format!("output: {}", e.kind()));
                    return self.end(Err(error));
                }
                Ok(Ok(0)) => return self.over().await,
                Ok(Ok(got)) => got,
            };
            let samples = pcm.push(bytes.get(..got).unwrap_or_default());
            if !samples.is_empty() {
                return Some((Ok(samples.into()), self));
            }
        }
    }

    /// All is written: the exit status says whether it was all there is.
    async fn over(mut self) -> Option<(Piece, Self)> {
        let rest = self.pcm.take()?.finish();
        let status = timeout_at(self.by, self.child.wait()).await;
        self.inner.replenish();
        match (status, rest) {
            (Ok(Ok(status)), Ok(rest)) if status.success() && rest.is_empty() => None,
            (Ok(Ok(status)), Ok(rest)) if status.success() => Some((Ok(rest.into()), self)),
            (Ok(Ok(status)), Ok(_)) => {
                let error = self.inner.failed(status.to_string());
                self.end(Err(error))
            }
            (_, Err(what)) => {
                let error = self.inner.failed(what);
                self.end(Err(error))
            }
            _ => {
                let error = self.inner.failed("does not end");
                self.end(Err(error))
            }
        }
    }

    fn end(mut self, piece: Piece) -> Option<(Piece, Self)> {
        self.pcm = None;
        Some((piece, self))
    }
}

/// The rate that a voice was made at, from the card beside its weights.
fn rate(model: &Path) -> Result<Rate, String> {
    if !model.is_file() {
        return Err(format!("{}: no such file", model.display()));
    }
    let mut card = model.as_os_str().to_owned();
    card.push(".json");
    let card = PathBuf::from(card);
    let text = std::fs::read_to_string(&card).map_err(|e| format!("{}: {}", card.display(), e.kind()))?;
    let Card { audio } = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", card.display()))?;
    Rate::from_hz(audio.sample_rate).map_err(|e| format!("{}: audio.sample_rate: {e}", card.display()))
}

fn is_faster_or_slower(rate: f32) -> bool {
    (rate - 1.0).abs() > 0.005
}

const VENDOR: &str = "piper";
/// 0.2 s at 22.05 kHz.
const READ: usize = 8820;
/// A loaded voice holds some 100 MB.
const MOST_WARM: usize = 1;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::safety::said::clear;

    /// A directory with a program in place of Piper, and a voice.
    struct Shop(PathBuf);

    impl Drop for Shop {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Shop {
        /// The program is a shell script; what it is told lies in `told` beside it.
        fn new(script: &str) -> (Self, PiperConfig) {
            let dir = std::env::temp_dir().join(format!("offhook-piper-{}", uuid::Uuid::now_v7().simple()));
            std::fs::create_dir_all(&dir).unwrap();
            let (program, model) = (dir.join("piper"), dir.join("voice.onnx"));
            std::fs::write(&program, format!("#!/bin/sh\necho \"$@\" >> {}/told\n{script}\n", dir.display())).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::write(&model, b"weights").unwrap();
            std::fs::write(dir.join("voice.onnx.json"), r#"{"audio":{"sample_rate":16000},"num_symbols":256}"#)
                .unwrap();
            let program = program.display().to_string();
            (Self(dir), PiperConfig { program, model: Some(model), deadline_ms: 20_000, ..PiperConfig::default() })
        }

        fn told(&self) -> String {
            std::fs::read_to_string(self.0.join("told")).unwrap_or_default()
        }
    }

    fn request(rate: f32) -> SpeakRequest {
        SpeakRequest { text: clear("Good morning."), language: Language::default(), voice: None, rate }
    }

    async fn spoken(piper: &PiperTts, rate: f32) -> (usize, Option<ProviderError>) {
        let mut audio = match piper.speak(request(rate)).await {
            Ok(audio) => audio,
            Err(error) => return (0, Some(error)),
        };
        let mut samples = 0;
        while let Some(piece) = audio.next().await {
            match piece {
                Ok(chunk) => samples += chunk.samples.len(),
                Err(error) => return (samples, Some(error)),
            }
        }
        (samples, None)
    }

    /// A second of silence at 16 kHz for the line that is expected.
    const SAYS: &str = r#"read line; [ "$line" = "Good morning." ] && head -c 32000 /dev/zero"#;

    #[tokio::test]
    async fn a_line_becomes_speech_at_the_rate_of_the_voice() {
        let (shop, config) = Shop::new(SAYS);
        let piper = PiperTts::new(&config).unwrap();
        assert_eq!(piper.check().await, Ok(()));
        for _ in 0..3 {
            let (samples, error) = spoken(&piper, 1.0).await;
            assert_eq!(error, None);
            assert!(samples.abs_diff(8000) < 40, "{samples}");
        }
        assert_eq!(spoken(&piper, 0.8).await.1, None);
        let told = shop.told();
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines.iter().all(|line| line.contains("voice.onnx --output-raw")), "{told}");
        assert_eq!(lines.iter().filter(|line| line.ends_with("--length-scale 1.250")).count(), 1, "{told}");
        // Each sentence left another program waiting.
        assert_eq!(piper.0.warm.lock().len(), 1);
    }

    #[tokio::test]
    async fn a_program_that_fails_is_told() {
        for (script, what) in [
            ("read line; exit 3", "exit status: 3"),
            ("read line; head -c 321 /dev/zero", "inside a sample"),
            ("exec 0<&-; sleep 0.05; head -c 3200 /dev/zero; exit 1", ""),
        ] {
            let (_shop, config) = Shop::new(script);
            let (_, error) = spoken(&PiperTts::new(&config).unwrap(), 1.0).await;
            let error = error.unwrap_or_else(|| panic!("`{script}` did not fail"));
            assert!(error.to_string().contains(what), "`{script}`: {error}");
        }
        let (_shop, config) = Shop::new("read line; sleep 30");
        let piper = PiperTts::new(&PiperConfig { deadline_ms: 200, ..config }).unwrap();
        assert!(matches!(spoken(&piper, 1.0).await, (0, Some(ProviderError::Timeout { .. }))));
        let (_shop, config) = Shop::new("");
        let absent = PiperTts::new(&PiperConfig { program: "/nowhere/piper".into(), ..config }).unwrap();
        assert!(absent.check().await.is_err());
        assert!(spoken(&absent, 1.0).await.1.is_some());
    }

    #[test]
    fn a_voice_that_cannot_be_used_is_named() {
        let (shop, config) = Shop::new("");
        let of = |config: &PiperConfig| PiperTts::new(config).err().unwrap_or_default();
        assert!(of(&PiperConfig { model: None, ..config.clone() }).starts_with("piper.model: missing"));
        assert!(of(&PiperConfig { model: Some("/nowhere.onnx".into()), ..config.clone() }).contains("/nowhere.onnx"));
        std::fs::write(shop.0.join("voice.onnx.json"), r#"{"audio":{"sample_rate":12345}}"#).unwrap();
        assert!(of(&config).contains("12345"));
        std::fs::write(shop.0.join("voice.onnx.json"), "{").unwrap();
        assert!(of(&config).contains("voice.onnx.json"));
        std::fs::remove_file(shop.0.join("voice.onnx.json")).unwrap();
        assert!(of(&config).contains("voice.onnx.json"));
    }

    #[test]
    fn it_speaks_the_language_of_its_voice() {
        let (_shop, config) = Shop::new("");
        let piper = PiperTts::new(&config).unwrap();
        assert!(piper.speaks(&Language::parse("en-GB").unwrap()) && !piper.speaks(&Language::parse("fr").unwrap()));
    }
}

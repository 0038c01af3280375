//! A recording as a listener has it: two channels of samples, and what can be heard in them.

use std::f64::consts::TAU;
use std::ffi::OsStr;
use std::process::Command;

use offhook::sim::audio;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Host, LOOK_AGAIN, PATIENCE, QUIET};

/// The caller left, Offhook right, 8 kHz.
pub struct Tape {
    pub left: Vec<i16>,
    pub right: Vec<i16>,
}

impl Tape {
    /// A WAV file whose header must be right to the byte.
    pub fn wav(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!((&bytes[..4], &bytes[8..16], &bytes[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
        assert_eq!((bytes[22], word(24), bytes[34]), (2, 8000, 16), "two channels, 8 kHz, 16 bit");
        assert_eq!((word(4) + 8, word(40) + 44), (bytes.len(), bytes.len()), "the lengths in the header");
        let sample = |pair: &[u8]| i16::from_le_bytes([pair[0], pair[1]]);
        let frames = bytes[44..].chunks_exact(4);
        let (left, right) = frames.map(|frame| (sample(&frame[..2]), sample(&frame[2..]))).unzip();
        Self { left, right }
    }

    /// An Ogg Opus file as `opusdec` of opus-tools decodes it. What `opusinfo` finds wrong with it is wrong, but that a
    /// file which is not finished has no end.
    pub fn opus(bytes: &[u8]) -> Self {
        Self::decoded(bytes, false)
    }

    /// The same of a file that nobody finished.
    pub fn unfinished_opus(bytes: &[u8]) -> Self {
        Self::decoded(bytes, true)
    }

    fn decoded(bytes: &[u8], cut_off: bool) -> Self {
        let dir = std::env::temp_dir().join(format!("offhook-opus-{:x}", rand::random::<u64>()));
        std::fs::create_dir_all(&dir).unwrap();
        let (coded, plain) = (dir.join("a.opus"), dir.join("a.wav"));
        std::fs::write(&coded, bytes).unwrap();
        let (_, info) = program("opusinfo", &[coded.as_os_str()]);
        let complaints: Vec<&str> = info.lines().filter(|line| line.to_uppercase().contains("WARNING")).collect();
        assert!(complaints.iter().all(|line| cut_off && line.starts_with("WARNING: EOS not set")), "{info}");
        let arguments = ["--rate".as_ref(), "8000".as_ref(), coded.as_os_str(), plain.as_os_str()];
        let (is_fine, said) = program("opusdec", &arguments);
        assert!(is_fine, "opusdec: {said}");
        let tape = Self::wav(&std::fs::read(&plain).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
        tape
    }

    pub fn ms(&self) -> f64 {
        self.left.len() as f64 / 8.0
    }
}

/// Whether another's program ends well, and what it says.
fn program(name: &str, arguments: &[&OsStr]) -> (bool, String) {
    let run = Command::new(name).args(arguments).output();
    let run = run.unwrap_or_else(|error| panic!("`{name}` does not run ({error}): scripts/test installs it"));
    let said = [run.stdout, run.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    (run.status.success(), said)
}

/// The part of a channel between two times in ms.
pub fn part(channel: &[i16], from_ms: f64, to_ms: f64) -> &[i16] {
    let at = |ms: f64| ((ms * 8.0) as usize).min(channel.len());
    &channel[at(from_ms)..at(to_ms)]
}

/// RMS level in dBFS.
pub fn level(samples: &[i16]) -> f64 {
    audio::dbfs(audio::rms(samples))
}

/// Not one sample is anything but zero.
pub fn is_empty(samples: &[i16]) -> bool {
    samples.iter().all(|sample| *sample == 0)
}

/// When a channel is above -50 dBFS for the first and for the last time, in ms.
pub fn sounding(channel: &[i16]) -> Option<(f64, f64)> {
    let loud: Vec<usize> =
        channel.chunks(80).enumerate().filter(|(_, chunk)| level(chunk) > -50.0).map(|(n, _)| n).collect();
    Some((*loud.first()? as f64 * 10.0, (*loud.last()? + 1) as f64 * 10.0))
}

/// Part of the power that lies at a frequency, 0 to 1.
pub fn share(samples: &[i16], hz: f64) -> f64 {
    let (mut real, mut imaginary, mut power) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (value, phase) = (f64::from(*sample), TAU * hz * n as f64 / 8000.0);
        (real, imaginary) = (real + value * phase.cos(), imaginary + value * phase.sin());
        power += value * value;
    }
    2.0 * (real * real + imaginary * imaginary) / (samples.len() as f64 * f64::max(power, 1.0))
}

/// Frames of sines at these frequencies, each at -20 dBFS, G.711 mu-law.
pub fn tones(hz: &[f64], frames: usize) -> Vec<[u8; 160]> {
    let sample = |n: usize| {
        let sum: f64 = hz.iter().map(|hz| 4634.0 * (TAU * hz * n as f64 / 8000.0).sin()).sum();
        audio::ulaw(sum as i16)
    };
    (0..frames).map(|frame| std::array::from_fn(|n| sample(frame * 160 + n))).collect()
}

pub fn silence(frames: usize) -> Vec<[u8; 160]> {
    vec![QUIET; frames]
}

/// The times of a call's events of this kind, ms since it was answered.
pub fn events(call: &Value, kind: &str) -> Vec<f64> {
    let events = call["events"].as_array().unwrap();
    events.iter().filter(|event| event["kind"] == kind).map(|event| event["at_ms"].as_f64().unwrap()).collect()
}

impl Host {
    /// The one call that there was, once it and its recordings are over.
    pub async fn recorded_call(&self) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let call = self.ended_call().await;
            let recordings = call["recordings"].as_array().unwrap();
            if !recordings.is_empty() && recordings.iter().all(|recording| recording["state"] != "recording") {
                return call;
            }
            assert!(Instant::now() < until, "recordings do not end: {call:#}");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The audio of a call's recording as its API gives it.
    pub async fn tape(&self, call: &Value) -> Tape {
        let (status, _, bytes) =
            self.bytes(&format!("/v1/calls/{}/recording", call["id"].as_str().unwrap()), None).await;
        assert_eq!(status, 200, "{call:#}");
        let bytes = bytes.expect("a whole file");
        if bytes.starts_with(b"OggS") { Tape::opus(&bytes) } else { Tape::wav(&bytes) }
    }
}

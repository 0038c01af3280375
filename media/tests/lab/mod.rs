//! Recorded speech, made noise and labelled trials for measuring speech detection.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};

use offhook_media::g711::G711;
use offhook_media::level::{power_dbfs, rms_dbfs};
use offhook_media::speech::{SpeechConfig, SpeechDetector, SpeechEdge, SpeechSample};
use offhook_media::vad::Earshot;
use offhook_media::wav::Wav;
use offhook_media::{FRAME, Moment};

/// Deterministic pseudo-random numbers.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..8).for_each(|_| {
            dice.uniform();
        });
        dice
    }

    /// 0 to 1.
    pub fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u32 << 24) as f32
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    pub fn below(&mut self, limit: usize) -> usize {
        ((self.uniform() * limit as f32) as usize).min(limit - 1)
    }

    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    White,
    Pink,
    Brown,
}

pub const COLOURS: [Colour; 3] = [Colour::White, Colour::Pink, Colour::Brown];

/// Noise at exactly `dbfs`.
pub fn noise(dice: &mut Dice, colour: Colour, length: usize, dbfs: f32) -> Vec<f32> {
    let warm = 4000;
    let mut state = [0f32; 7];
    let mut wave: Vec<f32> = (0..length + warm)
        .map(|_| {
            let white = dice.normal();
            match colour {
                Colour::White => white,
                Colour::Pink => pink(&mut state, white),
                Colour::Brown => {
                    state[0] = 0.995 * state[0] + white;
                    state[0]
                }
            }
        })
        .skip(warm)
        .collect();
    let mean = wave.iter().sum::<f32>() / length.max(1) as f32;
    wave.iter_mut().for_each(|value| *value -= mean);
    scale_to(&mut wave, dbfs);
    wave
}

/// Paul Kellet's filter: within 0.05 dB of -3 dB per octave.
fn pink(b: &mut [f32; 7], white: f32) -> f32 {
    b[0] = 0.99886 * b[0] + white * 0.0555179;
    b[1] = 0.99332 * b[1] + white * 0.0750759;
    b[2] = 0.96900 * b[2] + white * 0.153_852;
    b[3] = 0.86650 * b[3] + white * 0.3104856;
    b[4] = 0.55000 * b[4] + white * 0.5329522;
    b[5] = -0.7616 * b[5] - white * 0.0168980;
    let out = b.iter().sum::<f32>() + white * 0.5362;
    b[6] = white * 0.115926;
    out
}

fn scale_to(wave: &mut [f32], dbfs: f32) {
    let power = wave.iter().map(|value| value * value).sum::<f32>() / wave.len().max(1) as f32;
    let gain = 10f32.powf((dbfs - power_dbfs(power)) / 20.0);
    wave.iter_mut().for_each(|value| *value *= gain);
}

/// A recording with the places where its speech begins and ends, samples.
pub struct Prompt {
    pub name: String,
    pub wave: Vec<f32>,
    pub begins: usize,
    pub ends: usize,
    /// Level of the active parts, dBFS.
    pub level: f32,
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/audio/human")
}

/// The committed prompts, or those of the directory that `OFFHOOK_SPEECH_DIR` names.
pub fn prompts() -> Vec<Prompt> {
    let directory = std::env::var_os("OFFHOOK_SPEECH_DIR").map_or_else(fixtures, PathBuf::from);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
    paths.sort();
    paths.iter().filter_map(|path| Prompt::read(path)).collect()
}

impl Prompt {
    fn read(path: &Path) -> Option<Self> {
        let wav =
            Wav::parse(&std::fs::read(path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let levels: Vec<f32> = wav.samples.chunks(BLOCK).map(rms_dbfs).collect();
        let loudest = levels.iter().copied().fold(-96.0, f32::max);
        let active: Vec<f32> = levels.iter().copied().filter(|level| *level > loudest - 30.0).collect();
        let power = active.iter().map(|level| 10f32.powf(level / 10.0)).sum::<f32>() / active.len() as f32;
        let level = 10.0 * power.log10();
        let loud = |index: usize| levels.get(index).is_some_and(|found| *found >= level - 25.0);
        let first = (0..levels.len()).find(|&index| {
            let soon = (index..index + 4).filter(|&block| loud(block)).count() >= 3;
            let strong =
                (index..index + 40).filter(|&block| levels.get(block).is_some_and(|found| *found >= level - 15.0));
            loud(index) && soon && strong.count() >= 6
        })?;
        let last = (0..levels.len()).rev().find(|&index| loud(index))?;
        if levels.len() < 60 {
            return None;
        }
        Some(Self {
            name: path.file_stem()?.to_string_lossy().into_owned(),
            wave: wav.samples.iter().map(|&sample| f32::from(sample)).collect(),
            begins: first * BLOCK,
            ends: (last + 1) * BLOCK,
            level,
        })
    }
}

const BLOCK: usize = 40;

/// What a detector said about a stream.
pub struct Trace {
    pub edges: Vec<SpeechEdge>,
    pub samples: Vec<SpeechSample>,
}

/// Sends a wave through mu-law and a detector, each frame arriving when its last sample was spoken.
pub fn detect(wave: &[f32], config: SpeechConfig) -> Trace {
    let heard = through_mu_law(wave);
    let mut detector = SpeechDetector::new(Box::new(Earshot::new()), config);
    let mut trace = Trace { edges: Vec::new(), samples: Vec::new() };
    for (index, frame) in heard.as_chunks::<FRAME>().0.iter().enumerate() {
        let heard = detector.push(frame, Moment::from_millis(20 * (index as u64 + 1)));
        trace.samples.extend_from_slice(heard.samples());
        trace.edges.extend(heard.edge);
    }
    trace
}

/// A prompt in a line: lead of silence or noise, speech at `dbfs`, and 1.2 s after it.
pub struct Trial {
    pub wave: Vec<f32>,
    pub begins_ms: f32,
    pub ends_ms: f32,
}

pub fn trial(dice: &mut Dice, prompt: &Prompt, dbfs: f32, background: Option<(Colour, f32)>) -> Trial {
    let lead = 12_000 + dice.below(3200);
    let length = lead + prompt.wave.len() + 9600;
    let mut wave = match background {
        Some((colour, snr)) => noise(dice, colour, length, dbfs - snr),
        None => vec![0.0; length],
    };
    let gain = 10f32.powf((dbfs - prompt.level) / 20.0);
    for (place, value) in wave[lead..].iter_mut().zip(&prompt.wave) {
        *place += gain * value;
    }
    let ms = |samples: usize| (lead + samples) as f32 / 8.0;
    Trial { wave, begins_ms: ms(prompt.begins), ends_ms: ms(prompt.ends) }
}

/// Recorded speech, sentence after sentence, at `dbfs`.
pub fn speech(dice: &mut Dice, seconds: usize, dbfs: f32) -> Vec<f32> {
    let prompts = prompts();
    let mut wave = Vec::new();
    while wave.len() < seconds * 8000 {
        let prompt = &prompts[dice.below(prompts.len())];
        let gain = 10f32.powf((dbfs - prompt.level) / 20.0);
        wave.extend(prompt.wave[prompt.begins..].iter().map(|sample| gain * sample));
        wave.extend(vec![0.0; 1200]);
    }
    wave.truncate(seconds * 8000);
    wave
}

/// The path of an echo: a delay and a decaying tail of 40 ms.
pub struct EchoPath {
    taps: Vec<f32>,
    delay: usize,
}

impl EchoPath {
    pub fn new(dice: &mut Dice, delay_ms: usize, erl_db: f32) -> Self {
        let mut taps: Vec<f32> = (0..320).map(|n| dice.normal() * (-(n as f32) / 60.0).exp()).collect();
        taps[0] = 2.0;
        let energy: f32 = taps.iter().map(|tap| tap * tap).sum();
        let gain = 10f32.powf(-erl_db / 20.0) / energy.sqrt();
        taps.iter_mut().for_each(|tap| *tap *= gain);
        Self { taps, delay: delay_ms * 8 }
    }

    pub fn echo(&self, sent: &[f32], at: usize) -> f32 {
        let taps = self.taps.iter().enumerate();
        taps.map(|(n, tap)| at.checked_sub(self.delay + n).map_or(0.0, |from| tap * sent[from])).sum()
    }

    /// What comes back of all that is sent.
    pub fn echoes(&self, sent: &[f32]) -> Vec<f32> {
        (0..sent.len()).map(|at| self.echo(sent, at)).collect()
    }
}

pub fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

pub fn percentile(values: &[f32], percent: usize) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted.get((sorted.len().saturating_sub(1)) * percent / 100).copied().unwrap_or(f32::NAN)
}

/// As a line of mu-law makes it.
pub fn through_mu_law(wave: &[f32]) -> Vec<i16> {
    let pcm: Vec<i16> = wave.iter().map(|value| value.round() as i16).collect();
    let mut octets = vec![0; pcm.len()];
    G711::Ulaw.encode(&pcm, &mut octets);
    let mut heard = vec![0; pcm.len()];
    G711::Ulaw.decode(&octets, &mut heard);
    heard
}

pub fn to_ms(moment: Moment) -> f32 {
    moment.as_secs_f32() * 1000.0
}

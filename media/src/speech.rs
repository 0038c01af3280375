//! When someone speaks: onsets and offsets with their times, from levels, a network and periodicity.
//!
//! A level gate keeps silence nearly free. Behind it an onset needs two witnesses: the network says
//! speech in k of n hops, and the sound is periodic as only voices are. Noise bursts fool the first, and
//! clicks have neither. What to do about an onset (stop, wait, resume) is decided elsewhere.

use crate::blocks::{BLOCK, BLOCK_MS, Blocks};
use crate::level::{NoiseFloor, rms_dbfs};
use crate::vad::Vad;
use crate::voicing::Voicing;
use crate::{FRAME, Frame, Moment, PER_MS};

/// What counts as speech.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeechConfig {
    /// Probability from which a hop counts as speech.
    pub threshold: f32,
    /// An onset needs `k` of the last `n` hops.
    pub k: u8,
    /// See `k`; at most 32.
    pub n: u8,
    /// Periodicity from which a hop counts as voiced.
    pub voiced: f32,
    /// An onset needs this many voiced hops among the last `n`.
    pub voiced_hops: u8,
    /// The gate opens this far above the noise floor, dB.
    pub gate_margin_db: f32,
    /// The gate never opens below this level, dBFS.
    pub gate_least_dbfs: f32,
    /// Audio this far below the loudest of the last words counts as silence, dB.
    pub drop_db: f32,
    /// Silence that makes an offset, ms.
    pub release_ms: u32,
}

impl Default for SpeechConfig {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            k: 2,
            n: 6,
            voiced: 0.5,
            voiced_hops: 2,
            gate_margin_db: 3.0,
            gate_least_dbfs: -60.0,
            drop_db: 30.0,
            release_ms: 60,
        }
    }
}

/// One decision of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpeechSample {
    /// Probability of speech; 0 while the gate is closed.
    pub probability: f32,
    /// Level of the frame that completed the hop, dBFS.
    pub level_dbfs: f32,
    /// Periodicity, 0 to 1; 0 where it does not matter: in hops that are no speech, and while speech is going on.
    pub periodicity: f32,
    /// Arrival of the packet that completed the hop.
    pub at: Moment,
}

/// Someone began or ceased to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeechEdge {
    /// Speech is certain since `at`; by its energy it began at `began`.
    Onset { began: Moment, at: Moment },
    /// Silence is certain since `at`; by its energy speech ended at `ended`. It may go on after a pause.
    Offset { ended: Moment, at: Moment },
}

/// What one frame told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heard {
    samples: [SpeechSample; MOST_HOPS],
    count: usize,
    /// The edge found in this frame, if any.
    pub edge: Option<SpeechEdge>,
}

impl Heard {
    /// The network's decisions that this frame completed, oldest first.
    pub fn samples(&self) -> &[SpeechSample] {
        self.samples.get(..self.count).unwrap_or(&[])
    }
}

/// Follows one caller.
pub struct SpeechDetector {
    config: SpeechConfig,
    vad: Box<dyn Vad>,
    voicing: Voicing,
    high_pass: HighPass,
    floor: NoiseFloor,
    blocks: Blocks,
    /// Audio from before the gate opened, for the network to warm up on. It goes round: the oldest is at `oldest`.
    lookback: [i16; LOOKBACK],
    oldest: usize,
    hop: Box<[i16]>,
    filled: usize,
    open_frames: u32,
    speech_bits: u32,
    voiced_bits: u32,
    speaking: bool,
}

impl SpeechDetector {
    /// A detector that has heard nothing.
    pub fn new(vad: Box<dyn Vad>, config: SpeechConfig) -> Self {
        let hop = vec![0; vad.hop().clamp(SHORTEST_HOP, LOOKBACK)].into_boxed_slice();
        Self {
            config,
            vad,
            voicing: Voicing::new(),
            high_pass: HighPass::default(),
            floor: NoiseFloor::new(config.gate_least_dbfs),
            blocks: Blocks::new(),
            lookback: [0; LOOKBACK],
            oldest: 0,
            hop,
            filled: 0,
            open_frames: 0,
            speech_bits: 0,
            voiced_bits: 0,
            speaking: false,
        }
    }

    /// Takes the next 20 ms, whose last packet arrived at `at`.
    pub fn push(&mut self, frame: &Frame, at: Moment) -> Heard {
        let mut clear = *frame;
        self.high_pass.run(&mut clear);
        let level = rms_dbfs(&clear);
        let floor = self.floor.push(level);
        let (blocks, _) = clear.as_chunks::<BLOCK>();
        self.blocks.push(blocks.iter().map(|block| rms_dbfs(block)), at);
        self.gate(level, floor);
        let mut heard = Heard::default();
        self.run_hops(frame, &clear, at, &mut heard);
        self.remember(frame);
        heard.edge = if self.speaking { self.offset(floor, at) } else { self.onset(floor, at) };
        heard
    }

    /// Whether speech is going on.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// Level of the line between words, dBFS.
    pub fn floor_dbfs(&self) -> f32 {
        self.floor.dbfs()
    }

    /// Forgets the audio, as when another source follows.
    pub fn reset(&mut self) {
        self.vad.reset();
        self.voicing.reset();
        self.floor = NoiseFloor::new(self.config.gate_least_dbfs);
        self.blocks = Blocks::new();
        self.lookback.fill(0);
        self.oldest = 0;
        (self.filled, self.open_frames) = (0, 0);
        self.high_pass = HighPass::default();
        (self.speech_bits, self.voiced_bits, self.speaking) = (0, 0, false);
    }

    /// Opens at once, with a look back; closes after 300 ms without level.
    fn gate(&mut self, level: f32, floor: f32) {
        let loud = level > (floor + self.config.gate_margin_db).max(self.config.gate_least_dbfs);
        if loud {
            if self.open_frames == 0 {
                self.warm_up();
            }
            self.open_frames = OPEN_FRAMES;
        } else {
            self.open_frames = self.open_frames.saturating_sub(1);
        }
    }

    /// Runs the network over what came before, so that it hears the onset in its context.
    fn warm_up(&mut self) {
        self.vad.reset();
        self.lookback.rotate_left(self.oldest);
        self.oldest = 0;
        let length = self.hop.len();
        // The samples that wait for a whole hop are the newest of the look-back: they come again.
        let usable = (LOOKBACK - self.filled) / length * length;
        let (_, past) = self.lookback.split_at(LOOKBACK - self.filled - usable);
        for hop in past.chunks_exact(length).take(usable / length) {
            self.vad.push(hop);
        }
    }

    fn run_hops(&mut self, frame: &Frame, clear: &Frame, at: Moment, heard: &mut Heard) {
        self.voicing.push(clear);
        let level = rms_dbfs(frame);
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let length = rest.len().min(self.hop.len() - self.filled);
            let (part, after) = rest.split_at(length);
            self.hop[self.filled..self.filled + length].copy_from_slice(part);
            self.filled += length;
            rest = after;
            if self.filled == self.hop.len() {
                self.filled = 0;
                let sample = self.decide(level, at);
                if let Some(place) = heard.samples.get_mut(heard.count) {
                    *place = sample;
                    heard.count += 1;
                }
            }
        }
    }

    fn decide(&mut self, level_dbfs: f32, at: Moment) -> SpeechSample {
        let (mut probability, mut periodicity) = (0.0, 0.0);
        if self.open_frames > 0 {
            probability = self.vad.push(&self.hop);
        }
        let speech = probability >= self.config.threshold;
        // Only an onset asks for it, and it costs nearly half as much as the network.
        if speech && !self.speaking {
            periodicity = self.voicing.periodicity();
        }
        self.speech_bits = self.speech_bits << 1 | u32::from(speech);
        self.voiced_bits = self.voiced_bits << 1 | u32::from(speech && periodicity >= self.config.voiced);
        SpeechSample { probability, level_dbfs, periodicity, at }
    }

    fn remember(&mut self, frame: &Frame) {
        let (newer, wrapped) = frame.split_at(FRAME.min(LOOKBACK - self.oldest));
        self.lookback[self.oldest..self.oldest + newer.len()].copy_from_slice(newer);
        self.lookback[..wrapped.len()].copy_from_slice(wrapped);
        self.oldest = (self.oldest + FRAME) % LOOKBACK;
    }

    fn onset(&mut self, floor: f32, at: Moment) -> Option<SpeechEdge> {
        let config = &self.config;
        let window = lowest_bits(config.n);
        let speech = (self.speech_bits & window).count_ones() >= u32::from(config.k);
        let voiced = (self.voiced_bits & window).count_ones() >= u32::from(config.voiced_hops);
        if !(speech && voiced) {
            return None;
        }
        self.speaking = true;
        let began = self.blocks.began(floor + RISE_DB, config.drop_db).unwrap_or(at);
        Some(SpeechEdge::Onset { began, at })
    }

    fn offset(&mut self, floor: f32, at: Moment) -> Option<SpeechEdge> {
        let release = self.config.release_ms as usize / BLOCK_MS;
        let (quiet, ended) = self.blocks.quiet_for(floor + RISE_DB, self.config.drop_db);
        let unlikely = self.speech_bits & lowest_bits(UNLIKELY_HOPS) == 0;
        if quiet < release && !unlikely {
            return None;
        }
        self.speaking = false;
        (self.speech_bits, self.voiced_bits) = (0, 0);
        Some(SpeechEdge::Offset { ended: ended.unwrap_or(at), at })
    }
}

impl core::fmt::Debug for SpeechDetector {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("SpeechDetector").field("speaking", &self.speaking).finish_non_exhaustive()
    }
}

fn lowest_bits(count: u8) -> u32 {
    u32::MAX.checked_shr(32u32.saturating_sub(u32::from(count))).unwrap_or(0)
}

/// Takes rumble and hum out of the levels: second order Butterworth at 200 Hz.
#[derive(Clone, Debug, Default)]
struct HighPass {
    first: f32,
    second: f32,
}

impl HighPass {
    fn run(&mut self, frame: &mut Frame) {
        for sample in frame.iter_mut() {
            let input = f32::from(*sample);
            let output = B0 * input + self.first;
            // In this order, because every operation on `output` delays the next sample.
            self.first = (self.second - 2.0 * B0 * input) - A1 * output;
            self.second = B0 * input - A2 * output;
            *sample = crate::to_sample(output);
        }
        // Numbers that decay towards zero become slow to compute with.
        if self.first.abs() < 1e-6 {
            self.first = 0.0;
        }
        if self.second.abs() < 1e-6 {
            self.second = 0.0;
        }
    }
}

const B0: f32 = 0.894_858_5;
const A1: f32 = -1.778_631_8;
const A2: f32 = 0.800_802_6;

/// Level above the floor that belongs to a word, dB.
const RISE_DB: f32 = 4.5;
/// Hops in a row that are no speech, after which a loud noise does not keep a word alive.
const UNLIKELY_HOPS: u8 = 16;
/// 128 ms: what the network's window and its memory need.
const LOOKBACK: usize = 128 * PER_MS;
const OPEN_FRAMES: u32 = 15;
const SHORTEST_HOP: usize = 40;
const MOST_HOPS: usize = FRAME / SHORTEST_HOP + 1;

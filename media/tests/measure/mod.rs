//! How far concealed speech is from what was said: the losses, the ways to fill them, and two distances.
//!
//! The spectral distance is the root mean square difference of 20 mel bands, dB, over the 32 ms windows that a loss
//! touches while somebody speaks; both sides are floored at -65 dBFS, so silence does not count as infinitely far. A click
//! is an edge of a gap with a step 1.5 times as high as any that the voice makes around it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement fails by panicking and prints its figures"
)]

use core::f32::consts::TAU;

use offhook_media::jitter::{FrameKind, JitterBuffer};
use offhook_media::level::rms_dbfs;
use offhook_media::wav::Wav;
use offhook_media::{FRAME, Moment, SILENCE};

/// Which packets are lost.
#[derive(Clone, Copy, Debug)]
pub struct Losses {
    pub name: &'static str,
    /// Share of lost packets.
    pub share: f32,
    /// Packets lost in a row.
    pub burst: usize,
}

pub const LOSSES: [Losses; 6] = [
    Losses { name: "1 %", share: 0.01, burst: 1 },
    Losses { name: "3 %", share: 0.03, burst: 1 },
    Losses { name: "5 %", share: 0.05, burst: 1 },
    Losses { name: "10 %", share: 0.10, burst: 1 },
    Losses { name: "3 %, bursts of 3", share: 0.03, burst: 3 },
    Losses { name: "10 %, bursts of 3", share: 0.10, burst: 3 },
];

/// How a gap is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    Silence,
    /// The last packet that came, again.
    Repetition,
    /// The jitter buffer's.
    Ours,
}

pub const FILLINGS: [Filling; 3] = [Filling::Silence, Filling::Repetition, Filling::Ours];

#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    /// Mean spectral distance, dB.
    pub distance_db: f32,
    /// Clicks for each 100 edges of gaps.
    pub clicks: f32,
    pub lost_packets: usize,
}

/// Recorded voices, each several times over with another pattern of losses.
pub fn corpus() -> Vec<Vec<i16>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/audio/human");
    let folder = if std::path::Path::new(folder).exists() { folder } else { "fixtures/audio/human" };
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
    paths.sort();
    let voice = |path: &std::path::PathBuf| Wav::parse(&std::fs::read(path).unwrap()).unwrap().samples;
    paths.iter().map(voice).collect()
}

pub fn score(voices: &[Vec<i16>], losses: Losses, filling: Filling) -> Score {
    let (mut distance, mut windows, mut clicks, mut edges, mut lost_packets) = (0.0, 0usize, 0usize, 0usize, 0);
    let analysis = Analysis::new();
    let rounds = if losses.share < 0.02 { 12 } else { 4 };
    for round in 0..rounds {
        for (index, voice) in voices.iter().enumerate() {
            let frames = voice.len() / FRAME;
            let lost = pattern(frames, losses, (round * 1000 + index) as u64);
            lost_packets += lost.iter().filter(|lost| **lost).count();
            let filled = fill(&voice[..frames * FRAME], &lost, filling);
            let (sum, count) = analysis.distance(voice, &filled, &lost);
            (distance, windows) = (distance + sum, windows + count);
            let (found, of) = count_clicks(voice, &filled, &lost);
            (clicks, edges) = (clicks + found, edges + of);
        }
    }
    Score { distance_db: distance / windows as f32, clicks: 100.0 * clicks as f32 / edges as f32, lost_packets }
}

fn pattern(frames: usize, losses: Losses, seed: u64) -> Vec<bool> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut lost = vec![false; frames];
    let mut frame = 5;
    while frame + losses.burst + 3 < frames {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let draw = (state >> 40) as f32 / (1u64 << 24) as f32;
        if draw < losses.share / losses.burst as f32 {
            lost[frame..frame + losses.burst].fill(true);
            frame += losses.burst;
        }
        frame += 1;
    }
    lost
}

fn fill(voice: &[i16], lost: &[bool], filling: Filling) -> Vec<i16> {
    if filling == Filling::Ours {
        return through_the_jitter_buffer(voice, lost);
    }
    let (mut out, mut last) = (Vec::with_capacity(voice.len()), SILENCE);
    for (frame, lost) in voice.as_chunks::<FRAME>().0.iter().zip(lost) {
        match (lost, filling) {
            (false, _) => last = *frame,
            (true, Filling::Silence) => last = SILENCE,
            (true, _) => {}
        }
        out.extend_from_slice(&last);
    }
    out
}

fn through_the_jitter_buffer(voice: &[i16], lost: &[bool]) -> Vec<i16> {
    let (mut buffer, mut out, mut begun) = (JitterBuffer::new(), Vec::new(), false);
    for tick in 0..lost.len() + 4 {
        let now = Moment::from_millis(20 * tick as u64 + 7);
        if let (Some(false), Some(frame)) = (lost.get(tick), voice.as_chunks::<FRAME>().0.get(tick)) {
            let arrival = Moment::from_millis(20 * tick as u64);
            buffer.insert(tick as u16, (tick * FRAME) as u32, frame, arrival);
        }
        let mut frame = SILENCE;
        begun |= buffer.pull(now, &mut frame) == FrameKind::Played;
        if begun {
            out.extend_from_slice(&frame);
        }
    }
    let stats = buffer.stats();
    assert_eq!((stats.skipped_ms, stats.stretched_ms), (0, 0), "the network is steady: {stats:?}");
    out.resize(voice.len(), 0);
    out
}

struct Analysis {
    window: Vec<f32>,
    /// Cosines and sines of each bin.
    bins: Vec<[Vec<f32>; 2]>,
    /// Weight of each bin in each band.
    bands: Vec<Vec<(usize, f32)>>,
}

const LENGTH: usize = 256;
const HOP: usize = 80;
const BANDS: usize = 20;

impl Analysis {
    fn new() -> Self {
        let window = (0..LENGTH).map(|n| 0.5 - 0.5 * (TAU * n as f32 / LENGTH as f32).cos()).collect();
        let bins = (0..LENGTH / 2)
            .map(|bin| {
                let phase = |n: usize| TAU * ((bin * n) % LENGTH) as f32 / LENGTH as f32;
                [(0..LENGTH).map(|n| phase(n).cos()).collect(), (0..LENGTH).map(|n| phase(n).sin()).collect()]
            })
            .collect();
        let mel = |hz: f32| 1127.0 * (1.0 + hz / 700.0).ln();
        let (lowest, highest) = (mel(100.0), mel(3800.0));
        let step = (highest - lowest) / (BANDS + 1) as f32;
        let bands = (0..BANDS)
            .map(|band| {
                let centre = lowest + step * (band + 1) as f32;
                let weight = |bin: usize| 1.0 - (mel(bin as f32 * 8000.0 / LENGTH as f32) - centre).abs() / step;
                (0..LENGTH / 2).map(|bin| (bin, weight(bin))).filter(|(_, weight)| *weight > 0.0).collect()
            })
            .collect();
        Self { window, bins, bands }
    }

    fn bands_db(&self, wave: &[i16]) -> [f32; BANDS] {
        let windowed: Vec<f32> =
            wave.iter().zip(&self.window).map(|(&sample, weight)| f32::from(sample) / 32768.0 * weight).collect();
        let sum = |table: &[f32]| windowed.iter().zip(table).map(|(a, b)| a * b).sum::<f32>();
        let powers: Vec<f32> = self
            .bins
            .iter()
            .map(|[cos, sin]| (sum(cos).powi(2) + sum(sin).powi(2)) / (LENGTH * LENGTH) as f32)
            .collect();
        core::array::from_fn(|band| {
            let power: f32 = self.bands[band].iter().map(|&(bin, weight)| powers[bin] * weight).sum();
            10.0 * (power + 10f32.powf(-6.5) / BANDS as f32).log10()
        })
    }

    /// Sum of the distances, and over how many windows.
    fn distance(&self, truth: &[i16], filled: &[i16], lost: &[bool]) -> (f32, usize) {
        let (mut sum, mut count) = (0.0, 0);
        let end = truth.len().min(filled.len());
        for start in (0..end.saturating_sub(LENGTH)).step_by(HOP) {
            let range = start..start + LENGTH;
            let touched = lost[start / FRAME..(range.end / FRAME + 1).min(lost.len())].contains(&true);
            if !touched || rms_dbfs(&truth[range.clone()]) < -40.0 {
                continue;
            }
            let (a, b) = (self.bands_db(&truth[range.clone()]), self.bands_db(&filled[range]));
            let square: f32 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
            sum += (square / BANDS as f32).sqrt();
            count += 1;
        }
        (sum, count)
    }
}

/// Clicks at the edges of gaps, and how many edges there were.
fn count_clicks(truth: &[i16], filled: &[i16], lost: &[bool]) -> (usize, usize) {
    let step = |wave: &[i16], at: usize| (i32::from(wave[at]) - i32::from(wave[at - 1])).abs();
    let (mut clicks, mut edges) = (0, 0);
    for (frame, pair) in lost.windows(2).enumerate() {
        let edge = (frame + 1) * FRAME;
        if pair[0] == pair[1] || edge + 81 > filled.len() {
            continue;
        }
        let usual = (edge - 80..edge + 80).map(|at| step(truth, at)).max().unwrap_or(0);
        let found = (edge - 1..=edge + 1).map(|at| step(filled, at)).max().unwrap_or(0);
        edges += 1;
        clicks += usize::from(found * 2 > usual * 3 + 100);
    }
    (clicks, edges)
}

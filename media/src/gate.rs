//! Is what is heard louder than echo and noise explain? Levels only: what is behind the echo filter against what was sent.
//!
//! Residual echo follows the level of what was sent. The gate learns by how much it lies below (a high quantile), starts with
//! the worst case, and learns slowly upward while it is open, because then a caller may be speaking. Whether it is speech
//! is deliberately not asked here.

use crate::echo::BLOCK;
use crate::level::{QUIETEST_DBFS, power_dbfs};

/// What the gate is told about one block of 10 ms.
#[derive(Clone, Copy, Debug)]
pub struct GateBlock<'a> {
    /// As it was heard, in sample units.
    pub heard: &'a [f32; BLOCK],
    /// What the echo filter left of it.
    pub error: &'a [f32; BLOCK],
    /// What was sent in the same time.
    pub sent: &'a [f32; BLOCK],
    /// The path of the echo has changed in this block.
    pub path_changed: bool,
    /// The line's own noise, dBFS.
    pub floor_dbfs: f32,
}

/// What the gate says about a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateReading {
    /// Level of what the echo filter left, above 200 Hz, dBFS.
    pub level_dbfs: f32,
    /// The same of each half of the block.
    pub halves_dbfs: [f32; 2],
    /// By how much the level is above what echo and noise explain and the margin; the gate opens at 0, dB.
    pub above_db: f32,
    /// The gate is open: now, or not longer than 96 ms ago.
    pub open: bool,
}

/// Follows one call.
#[derive(Clone, Debug)]
pub struct EchoGate {
    clear: HighPass,
    raw: HighPass,
    /// Levels of the last blocks sent, dBFS. They go round.
    sent: [f32; REACH],
    next: usize,
    residue: Quantile,
    /// The same without the filter, for the time after the path of the echo has changed.
    unfiltered: Quantile,
    /// Blocks for which the gate without filter must be open as well.
    armed: u32,
    /// Blocks in which there was enough echo to learn from.
    practised: u32,
    since_open: u32,
    caller_dbfs: Option<f32>,
}

impl EchoGate {
    /// A gate that assumes the worst.
    pub fn new() -> Self {
        Self {
            clear: HighPass::default(),
            raw: HighPass::default(),
            sent: [QUIETEST_DBFS; REACH],
            next: 0,
            residue: Quantile { db: WORST_DB, share: 0.95 },
            unfiltered: Quantile { db: 0.0, share: 0.98 },
            armed: 0,
            practised: 0,
            since_open: u32::MAX,
            caller_dbfs: None,
        }
    }

    /// Takes the next block.
    pub fn push(&mut self, block: &GateBlock<'_>) -> GateReading {
        self.sent[self.next] = power_dbfs(mean_square(block.sent));
        self.next = (self.next + 1) % REACH;
        let clear = self.clear.run(block.error);
        let (first, second) = clear.split_at(BLOCK / 2);
        let halves = [first, second].map(half_mean_square);
        let level = power_dbfs(0.5 * (halves[0] + halves[1]));
        let raw = power_dbfs(mean_square(&self.raw.run(block.heard)));
        if block.path_changed {
            self.armed = ARMED_BLOCKS;
        }
        let sent = self.sent_dbfs();
        let above = level - self.explained(sent);
        let above_raw = raw - (sent + self.unfiltered.db).max(LEAST_DBFS) - RAW_MARGIN_DB;
        if sent > AUDIBLE_DBFS {
            self.practised = self.practised.saturating_add(1);
            let step = if self.practised < QUICK_BLOCKS { QUICK_DB } else { SLOW_DB };
            // Noise says nothing of echo but that it is no louder.
            let heard_echo = if level < block.floor_dbfs + NOISE_DB { LEAST_RESIDUE_DB } else { level - sent };
            if self.practised > REACH as u32 {
                self.residue.learn(heard_echo, step, above >= 0.0, WORST_DB);
            }
            self.unfiltered.learn(raw - sent, step, above_raw >= 0.0, 0.0);
        }
        let above = if self.armed > 0 { above.min(above_raw) } else { above };
        self.armed = self.armed.saturating_sub(1);
        let above = above.min(level - self.least_of_caller());
        self.since_open = if above >= 0.0 { 0 } else { self.since_open.saturating_add(1) };
        let halves_dbfs = halves.map(power_dbfs);
        GateReading { level_dbfs: level, halves_dbfs, above_db: above, open: self.since_open < HOLD_BLOCKS }
    }

    /// Loudest of what was sent in the last 330 ms, dBFS.
    pub fn sent_dbfs(&self) -> f32 {
        self.sent.iter().copied().fold(QUIETEST_DBFS, f32::max)
    }

    /// By how much residual echo lies below what was sent, dB: -45 to -16.
    pub fn residue_db(&self) -> f32 {
        self.residue.db
    }

    /// Whether a second of sent audio has been learned from.
    pub fn is_trained(&self) -> bool {
        self.practised >= TRAINED_BLOCKS
    }

    /// Whether the path of the echo has changed within the last 2 s.
    pub fn is_armed(&self) -> bool {
        self.armed > 0
    }

    /// From now on a caller is at least as loud as this less 11 dB, dBFS.
    pub fn set_caller(&mut self, dbfs: f32) {
        self.caller_dbfs = Some(dbfs.clamp(QUIETEST_DBFS, 0.0));
    }

    /// A voice that is too quiet to be the caller speaks to a silent bot: given long enough it is the caller after all.
    pub(crate) fn doubt_caller(&mut self) {
        self.caller_dbfs = self.caller_dbfs.map(|caller| (caller - DOUBT_DB).max(QUIETEST_DBFS));
    }

    /// The caller's level as set, dBFS.
    pub fn caller_dbfs(&self) -> Option<f32> {
        self.caller_dbfs
    }

    /// What opened the gate was no caller: echo is taken to be 1.5 dB louder.
    pub fn was_mistaken(&mut self) {
        self.residue.db = (self.residue.db + MISTAKE_DB).min(WORST_DB);
    }

    /// The level that residual echo reaches by itself, dBFS.
    pub(crate) fn residue_dbfs(&self) -> f32 {
        self.sent_dbfs() + self.residue.db
    }

    /// The level below which nobody is taken for the caller, dBFS.
    pub(crate) fn least_of_caller(&self) -> f32 {
        self.caller_dbfs.map_or(LEAST_UNKNOWN_DBFS, |caller| caller - BELOW_CALLER_DB)
    }

    /// The level that echo and noise explain, and the margin, dBFS.
    fn explained(&self, sent: f32) -> f32 {
        (sent + self.residue.db).max(LEAST_DBFS) + MARGIN_DB
    }
}

impl Default for EchoGate {
    fn default() -> Self {
        Self::new()
    }
}

/// A running quantile: each value moves it a little, up more than down.
#[derive(Clone, Copy, Debug)]
struct Quantile {
    db: f32,
    share: f32,
}

impl Quantile {
    fn learn(&mut self, value: f32, step: f32, open: bool, most: f32) {
        let up = if open { self.share / OPEN_SLOWER } else { self.share };
        self.db += if value > self.db { up * step } else { -(1.0 - self.share) * step };
        self.db = self.db.clamp(LEAST_RESIDUE_DB, most);
    }
}

/// First order, 200 Hz: hum and wind are no voice.
#[derive(Clone, Copy, Debug, Default)]
struct HighPass {
    input: f32,
    output: f32,
}

impl HighPass {
    fn run(&mut self, samples: &[f32; BLOCK]) -> [f32; BLOCK] {
        samples.map(|sample| {
            self.output = POLE * (self.output + sample - self.input);
            self.input = sample;
            self.output
        })
    }
}

fn mean_square(samples: &[f32; BLOCK]) -> f32 {
    crate::dot(samples, samples) / BLOCK as f32
}

fn half_mean_square(samples: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    for group in samples.as_chunks::<8>().0 {
        for (lane, sample) in lanes.iter_mut().zip(group) {
            *lane += sample * sample;
        }
    }
    lanes.iter().sum::<f32>() / (BLOCK / 2) as f32
}

const _: () = assert!(BLOCK.is_multiple_of(16));
const POLE: f32 = 0.85;
/// 330 ms: the tail of the echo filter and the block itself.
const REACH: usize = 33;
const WORST_DB: f32 = -16.0;
const LEAST_RESIDUE_DB: f32 = -45.0;
/// Quieter than this, echo says nothing about its path, dBFS.
const AUDIBLE_DBFS: f32 = -45.0;
/// Nothing quieter opens the gate, dBFS.
const LEAST_DBFS: f32 = -50.0;
const MARGIN_DB: f32 = 3.0;
const RAW_MARGIN_DB: f32 = 2.0;
/// What is less than so much above the line's noise is taken for noise, dB.
const NOISE_DB: f32 = 6.0;
/// Nobody is quieter whose level is not known, dBFS.
const LEAST_UNKNOWN_DBFS: f32 = -42.0;
const BELOW_CALLER_DB: f32 = 11.0;
/// For each window: 3 dB in 10 s.
const DOUBT_DB: f32 = 0.01;
const MISTAKE_DB: f32 = 1.5;
const QUICK_BLOCKS: u32 = 200;
const QUICK_DB: f32 = 3.0;
const SLOW_DB: f32 = 0.1;
const OPEN_SLOWER: f32 = 20.0;
const ARMED_BLOCKS: u32 = 200;
const TRAINED_BLOCKS: u32 = 100;
const HOLD_BLOCKS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::ComfortNoise;

    fn noise(source: &mut ComfortNoise) -> [f32; BLOCK] {
        let mut samples = [0; BLOCK];
        source.fill(&mut samples);
        samples.map(f32::from)
    }

    /// `seconds` of sent noise at -20 dBFS whose residue is at `residue` dBFS.
    fn listen(gate: &mut EchoGate, seconds: usize, residue: f32) -> usize {
        let (mut sent, mut error) = (ComfortNoise::new(1, -20.0), ComfortNoise::new(2, residue));
        let mut open = 0;
        for _ in 0..100 * seconds {
            let (sent, error) = (noise(&mut sent), noise(&mut error));
            let block =
                GateBlock { heard: &error, error: &error, sent: &sent, path_changed: false, floor_dbfs: QUIETEST_DBFS };
            open += usize::from(gate.push(&block).open);
        }
        open
    }

    #[test]
    fn residual_echo_is_learned_and_a_louder_voice_opens() {
        let mut gate = EchoGate::new();
        assert_eq!(listen(&mut gate, 4, -50.0), 0);
        assert!((-45.0..-28.0).contains(&gate.residue_db()) && gate.is_trained(), "{}", gate.residue_db());
        assert_eq!(listen(&mut gate, 2, -50.0), 0);
        assert!(listen(&mut gate, 1, -36.0) > 90);
    }

    #[test]
    fn at_first_the_worst_is_assumed() {
        let mut gate = EchoGate::new();
        assert_eq!(listen(&mut gate, 1, -38.0), 0);
        let mut gate = EchoGate::new();
        assert!(listen(&mut gate, 1, -28.0) > 80);
    }

    #[test]
    fn after_another_path_the_raw_level_counts_too() {
        let mut gate = EchoGate::new();
        let (mut sent, mut echo) = (ComfortNoise::new(1, -20.0), ComfortNoise::new(2, -38.0));
        let quiet = [0.0; BLOCK];
        for _ in 0..1000 {
            let (sent, heard) = (noise(&mut sent), noise(&mut echo));
            gate.push(&GateBlock {
                heard: &heard,
                error: &quiet,
                sent: &sent,
                path_changed: false,
                floor_dbfs: QUIETEST_DBFS,
            });
        }
        let mut open = 0;
        for block in 0..100 {
            let (sent, heard) = (noise(&mut sent), noise(&mut echo));
            let changed = GateBlock {
                heard: &heard,
                error: &heard,
                sent: &sent,
                path_changed: block == 0,
                floor_dbfs: QUIETEST_DBFS,
            };
            open += usize::from(gate.push(&changed).open);
        }
        assert!(open < 5 && gate.is_armed(), "{open}");
    }

    #[test]
    fn a_known_caller_shuts_out_the_far_end_of_the_room() {
        let mut gate = EchoGate::new();
        listen(&mut gate, 4, -60.0);
        gate.set_caller(-20.0);
        assert_eq!(listen(&mut gate, 1, -38.0), 0);
        assert!(listen(&mut gate, 1, -26.0) > 80);
        let before = gate.residue_db();
        gate.was_mistaken();
        assert_eq!(gate.residue_db(), (before + 1.5).min(-16.0));
    }

    /// A bot that speaks for a second at -20 dBFS and for half of one at -42 dBFS, over noise at -55 dBFS.
    #[test]
    fn noise_of_the_line_is_no_echo() {
        let learned = |floor_dbfs| {
            let mut gate = EchoGate::new();
            let (mut loud, mut quiet) = (ComfortNoise::new(1, -20.0), ComfortNoise::new(2, -42.0));
            let mut line = ComfortNoise::new(3, -55.0);
            for block in 0..1500 {
                let sent = noise(if block % 150 < 100 { &mut loud } else { &mut quiet });
                let error = noise(&mut line);
                gate.push(&GateBlock { heard: &error, error: &error, sent: &sent, path_changed: false, floor_dbfs });
            }
            gate.residue_db()
        };
        assert!(learned(-56.0) < -40.0, "{}", learned(-56.0));
        // Were the noise not known it would look like echo 13 dB below what is sent.
        assert!(learned(QUIETEST_DBFS) > -20.0, "{}", learned(QUIETEST_DBFS));
    }
}

//! The shape of sound: every 10 ms the logarithm of the energy in all and in four bands, and how alike two shapes are.

use std::f32::consts::TAU;

/// Log energies (decibel) of one 10 ms block: all, then the bands from low to high.
pub(super) type Block = [f32; DIMENSIONS];

/// Whether there is more than line noise in a block (about -45 dBFS).
pub(super) fn is_voiced(block: &Block) -> bool {
    block[0] > VOICED_DB
}

/// Makes blocks from 8 kHz samples.
pub(super) struct Features {
    filters: [BandPass; DIMENSIONS - 1],
    sums: Block,
    count: usize,
}

impl Default for Features {
    fn default() -> Self {
        Self { filters: CENTRES.map(BandPass::new), sums: [0.0; DIMENSIONS], count: 0 }
    }
}

impl Features {
    pub(super) fn push(&mut self, sample: i16) -> Option<Block> {
        let x = f32::from(sample);
        let [all, bands @ ..] = &mut self.sums;
        *all += x * x;
        for (sum, filter) in bands.iter_mut().zip(&mut self.filters) {
            *sum += filter.pass(x).powi(2);
        }
        self.count += 1;
        if self.count < BLOCK {
            return None;
        }
        let block = self.sums.map(|sum| 10.0 * (sum / BLOCK as f32 + 1.0).log10());
        (self.sums, self.count) = ([0.0; DIMENSIONS], 0);
        Some(block)
    }
}

/// A run of blocks.
#[derive(Clone, Default)]
pub(super) struct Shape(Vec<Block>);

impl Shape {
    /// The shape of an utterance without the silence around it; `None` if there is nothing else.
    pub(super) fn of(samples: &[i16]) -> Option<Self> {
        let mut features = Features::default();
        let blocks: Vec<Block> = samples.iter().filter_map(|&s| features.push(s)).collect();
        let first = blocks.iter().position(is_voiced)?;
        let last = blocks.iter().rposition(is_voiced)?;
        Some(Self(blocks).part(first, last + 1))
    }

    pub(super) fn push(&mut self, block: Block) {
        self.0.push(block);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn part(&self, from: usize, to: usize) -> Self {
        Self(self.0.get(from..to.min(self.0.len())).unwrap_or_default().to_vec())
    }

    /// Quiet parts differ by noise alone; below [`DEPTH_DB`] under the loudest they count as equal.
    fn floored(&self) -> Vec<Block> {
        let mut floors = [f32::MIN; DIMENSIONS];
        for block in &self.0 {
            floors.iter_mut().zip(block).for_each(|(floor, value)| *floor = floor.max(value - DEPTH_DB));
        }
        let floor = |block: &Block| {
            let mut out = *block;
            out.iter_mut().zip(floors).for_each(|(value, floor)| *value = value.max(floor));
            out
        };
        self.0.iter().map(floor).collect()
    }
}

/// Where a heard shape lies in a known one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    /// -1.0 to 1.0.
    pub score: f32,
    /// Block of the known shape at which the heard one begins.
    pub offset: isize,
}

/// The best place for `heard` in `known`; `None` if it is too short or too long to tell.
pub(super) fn best_match(heard: &Shape, known: &Shape) -> Option<Match> {
    if heard.len() < SHORTEST || heard.len() > known.len() + known.len() / 6 + MARGIN.unsigned_abs() {
        return None;
    }
    let (heard, known) = (heard.floored(), known.floored());
    let last = isize::try_from(known.len().saturating_sub(heard.len())).ok()? + MARGIN;
    let candidates = (-MARGIN..=last).filter_map(|offset| correlation(&heard, &known, offset));
    candidates.max_by(|a, b| a.score.total_cmp(&b.score))
}

/// Correlation over the overlap, each band about its own mean; parts that do not overlap count as unlike.
fn correlation(heard: &[Block], known: &[Block], offset: isize) -> Option<Match> {
    let skip_heard = usize::try_from(-offset).unwrap_or(0);
    let skip_known = usize::try_from(offset).unwrap_or(0);
    let (a, b) = (heard.get(skip_heard..)?, known.get(skip_known..)?);
    let count = a.len().min(b.len());
    let (a, b) = (a.get(..count)?, b.get(..count)?);
    if count < SHORTEST {
        return None;
    }
    let means = |blocks: &[Block]| {
        let mut sums = [0.0; DIMENSIONS];
        for block in blocks {
            sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value);
        }
        sums.map(|sum| sum / count as f32)
    };
    let (mean_a, mean_b) = (means(a), means(b));
    let (mut ab, mut aa, mut bb) = (0.0, 1e-6, 1e-6);
    for (x, y) in a.iter().zip(b) {
        for (((x, y), mean_x), mean_y) in x.iter().zip(y).zip(mean_a).zip(mean_b) {
            let (x, y) = (x - mean_x, y - mean_y);
            ab += x * y;
            aa += x * x;
            bb += y * y;
        }
    }
    let overlap = count as f32 / heard.len() as f32;
    Some(Match { score: ab / f32::sqrt(aa * bb) * overlap.sqrt(), offset })
}

/// A second-order band-pass (RBJ's cookbook form) at 8 kHz.
struct BandPass {
    b0: f32,
    a1: f32,
    a2: f32,
    x: [f32; 2],
    y: [f32; 2],
}

impl BandPass {
    fn new(hz: f32) -> Self {
        let omega = TAU * hz / 8000.0;
        let alpha = omega.sin() / (2.0 * QUALITY);
        let a0 = 1.0 + alpha;
        Self { b0: alpha / a0, a1: -2.0 * omega.cos() / a0, a2: (1.0 - alpha) / a0, x: [0.0; 2], y: [0.0; 2] }
    }

    fn pass(&mut self, x: f32) -> f32 {
        let y = self.b0 * (x - self.x[1]) - self.a1 * self.y[0] - self.a2 * self.y[1];
        self.x = [x, self.x[0]];
        self.y = [y, self.y[0]];
        y
    }
}

const DIMENSIONS: usize = 5;
const CENTRES: [f32; DIMENSIONS - 1] = [450.0, 1000.0, 1900.0, 2900.0];
const QUALITY: f32 = 1.4;
/// Samples in 10 ms.
const BLOCK: usize = 80;
/// Mean square of about -45 dBFS, in decibel over one step.
const VOICED_DB: f32 = 45.0;
const DEPTH_DB: f32 = 30.0;
/// Blocks; less than 150 ms says too little.
const SHORTEST: usize = 15;
/// Blocks by which a heard shape may begin early or end late.
const MARGIN: isize = 8;

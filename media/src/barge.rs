//! One call's ear while something is said to the caller: echo filter, gate, noise floor and speech network in one object.
//!
//! It says what is heard in each 32 ms and how sure that is. Whether to hold, duck, stop or resume is deliberately absent: that
//! is a matter of the dialog and belongs to whoever has the floor.

use crate::caller::CallerLevel;
use crate::echo::{BLOCK, Cleaned, EchoFilter};
use crate::edge::EdgeWatch;
use crate::gate::{EchoGate, GateBlock, GateReading};
use crate::inband;
use crate::level::{NoiseFloor, QUIETEST_DBFS};
use crate::reference::SentReference;
use crate::silero::{CONTEXT, Network, State, WINDOW};
use crate::speech::SpeechEdge;
use crate::{FRAME_MS, Frame, Moment};

/// Why evidence should weigh less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weakness {
    /// Less than a second of sent audio has been learned from.
    pub untrained: bool,
    /// Echo comes back at less than 20 dB below what is sent, and the filter leaves more of it than 30 dB below.
    pub loud_echo: bool,
    /// The path of the echo has changed within the last 2 s.
    pub path_changed: bool,
}

impl Weakness {
    /// Whether there is any reason.
    pub fn any(self) -> bool {
        self.untrained || self.loud_echo || self.path_changed
    }
}

/// What 32 ms say about the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Probability of speech; 0 where it was too quiet to ask.
    pub probability: f32,
    /// It was louder than echo and noise explain within the last 96 ms.
    pub gate_open: bool,
    /// Loudest 10 ms behind the echo filter, above 200 Hz, dBFS.
    pub level_dbfs: f32,
    /// Noise floor behind the echo filter, dBFS.
    pub floor_dbfs: f32,
    /// Probable speech with the gate open: a window of speech.
    pub speech: bool,
    /// The first such window: reason to fall silent for the moment.
    pub first: bool,
    /// Six of the last ten windows are speech, for the first time since `first`: reason to give up the floor.
    pub commit: bool,
    /// 256 ms without a window of speech after `first`.
    pub released: bool,
    /// Windows of speech in a row, up to now; where evidence is weak, two are worth what one is elsewhere.
    pub in_a_row: u8,
    /// The caller began or ceased to speak, with the true times of both; whether or not anything is being said to them.
    pub edge: Option<SpeechEdge>,
    /// Reasons to doubt.
    pub weakness: Weakness,
}

/// Follows one caller. After construction it allocates nothing.
pub struct Ear {
    filter: EchoFilter,
    gate: EchoGate,
    floor: NoiseFloor,
    network: State,
    window: [f32; WINDOW],
    filled: usize,
    /// The windows before.
    lookback: [[f32; WINDOW]; LOOKBACK],
    /// How many windows the network has not heard, because it was asleep.
    missed: usize,
    /// Windows for which the network still listens.
    awake: u32,
    /// Of this window: its loudest block, and by how much the gate was exceeded.
    loudest_dbfs: f32,
    above_db: f32,
    last: Option<Cleaned>,
    /// The last windows, the newest lowest: 1 is speech.
    windows: u32,
    /// Since `first`, until released.
    holding: bool,
    committed: bool,
    /// Since the last decision about who spoke.
    caller: CallerLevel,
    /// While nothing was sent: there is no echo then, and who speaks to a silent bot is the caller.
    alone: CallerLevel,
    /// The last window is a voice, however loud.
    voice: bool,
    /// Windows for which a key still sounds like a voice to the network.
    after_key: u8,
    edges: EdgeWatch,
    reference: SentReference,
    /// What was heard so far; the time of those who have no other.
    heard: Moment,
    /// Whoever speaks is the caller until they fall silent; their level may take longer to know.
    confirmed: bool,
}

impl Ear {
    /// An ear that has heard nothing. It takes 105 KB.
    pub fn new(network: &'static Network) -> Self {
        inband::prepare();
        Self {
            filter: EchoFilter::new(),
            gate: EchoGate::new(),
            floor: NoiseFloor::new(ASSUMED_FLOOR_DBFS),
            network: State::new(network),
            window: [0.0; WINDOW],
            filled: 0,
            lookback: [[0.0; WINDOW]; LOOKBACK],
            missed: 0,
            awake: 0,
            loudest_dbfs: QUIETEST_DBFS,
            above_db: QUIETEST_DBFS,
            last: None,
            windows: 0,
            holding: false,
            committed: false,
            caller: CallerLevel::default(),
            alone: CallerLevel::default(),
            confirmed: false,
            voice: false,
            after_key: 0,
            edges: EdgeWatch::new(),
            reference: SentReference::new(),
            heard: Moment::ZERO,
        }
    }

    /// These 20 ms play from `at` on: see [`SentReference::sent`].
    pub fn sent(&mut self, frame: &Frame, at: Moment) {
        self.reference.sent(frame, at);
    }

    /// Nothing of what plays from `at` on was played after all.
    pub fn cleared(&mut self, at: Moment) {
        self.reference.cleared(at);
    }

    /// Takes the next 20 ms that were heard, whose last packet arrived at `arrival`; evidence when they complete a window.
    pub fn heard(&mut self, frame: &Frame, arrival: Moment) -> Option<Evidence> {
        let sent = self.reference.heard_until(arrival);
        self.compare(frame, &sent, arrival)
    }

    /// Takes 20 ms that were heard and the 20 ms that were sent in that time, where who calls knows both. Times are
    /// those of what was heard, from 0.
    pub fn packet(&mut self, heard: &Frame, sent: &Frame) -> Option<Evidence> {
        self.heard += Moment::from_millis(u64::from(FRAME_MS));
        self.compare(heard, sent, self.heard)
    }

    /// Whether speech is going on: an onset came last, no offset.
    pub fn is_speaking(&self) -> bool {
        self.edges.is_speaking()
    }

    /// The echo filter's last block.
    pub fn cleaned(&self) -> Option<&Cleaned> {
        self.last.as_ref()
    }

    /// Someone did take the floor: what was heard of late was the caller, whose level is known from now on.
    pub fn confirm_caller(&mut self) {
        self.confirmed = true;
        if let Some(dbfs) = self.caller.dbfs() {
            let known = self.gate.caller_dbfs().unwrap_or(dbfs);
            self.gate.set_caller((0.5 * (known + dbfs)).max(known - MOST_LOWERED_DB));
            self.caller = CallerLevel::default();
            self.confirmed = false;
        }
    }

    /// The caller's level, once confirmed, dBFS.
    pub fn caller_dbfs(&self) -> Option<f32> {
        self.gate.caller_dbfs()
    }

    /// It was nobody: the gate becomes stricter, and what was heard is forgotten.
    pub fn was_mistaken(&mut self) {
        self.gate.was_mistaken();
        self.caller = CallerLevel::default();
        self.let_go();
    }

    /// Forgets the windows so far, so that the next one of speech is the first one.
    pub fn let_go(&mut self) {
        (self.windows, self.holding, self.committed, self.confirmed) = (0, false, false, false);
    }

    fn compare(&mut self, heard: &Frame, sent: &Frame, at: Moment) -> Option<Evidence> {
        let mut evidence = None;
        let mut halves = [[QUIETEST_DBFS; 2]; 2];
        let (heard, sent) = (heard.map(f32::from), sent.map(f32::from));
        let blocks = heard.as_chunks::<BLOCK>().0.iter().zip(sent.as_chunks::<BLOCK>().0);
        let (mut loudest, mut above) = (QUIETEST_DBFS, QUIETEST_DBFS);
        for ((heard, sent), halves) in blocks.zip(&mut halves) {
            let cleaned = self.filter.process(heard, sent);
            let Cleaned { error, path_changed, .. } = cleaned;
            self.last = Some(cleaned);
            let error = &error;
            let floor_dbfs = self.floor.dbfs();
            let reading = self.gate.push(&GateBlock { heard, error, sent, path_changed, floor_dbfs });
            *halves = reading.halves_dbfs;
            loudest = loudest.max(reading.level_dbfs);
            above = above.max(reading.above_db);
            self.loudest_dbfs = self.loudest_dbfs.max(reading.level_dbfs);
            self.above_db = self.above_db.max(reading.above_db);
            if reading.level_dbfs > self.floor.dbfs().max(QUIETEST_ASKED_DBFS) + ASKED_ABOVE_DB {
                self.awake = AWAKE_WINDOWS;
            }
            evidence = self.collect(error, reading).or(evidence);
        }
        self.floor.push(loudest);
        self.edges.levels(halves.as_flattened(), at);
        if let Some(evidence) = &mut evidence {
            let residue = if self.filter.is_active() { self.gate.residue_dbfs() } else { QUIETEST_DBFS };
            evidence.edge = self.edges.window(self.voice, residue.max(evidence.floor_dbfs), at);
        }
        if evidence.is_none() && above >= 0.0 { self.look_early(loudest, above) } else { evidence }
    }

    fn collect(&mut self, error: &[f32; BLOCK], reading: GateReading) -> Option<Evidence> {
        let mut evidence = None;
        let mut rest = &error[..];
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(WINDOW - self.filled));
            for (place, sample) in self.window[self.filled..].iter_mut().zip(part) {
                *place = (sample / FULL_SCALE).clamp(-1.0, 1.0);
            }
            self.filled += part.len();
            rest = after;
            if self.filled == WINDOW {
                self.filled = 0;
                evidence = Some(self.judge(reading));
            }
        }
        evidence
    }

    /// A packet may complete no window: where somebody may just have begun, its end is looked at all the same, with what it overlaps
    /// of the window before. Only what needs no doubt counts.
    fn look_early(&mut self, level_dbfs: f32, above_db: f32) -> Option<Evidence> {
        let weakness = self.weakness();
        let asleep = self.awake == 0 || self.missed > 0 || self.filled < CONTEXT;
        if self.holding || self.after_key > 0 || asleep || !self.filter.is_active() || weakness.any() {
            return None;
        }
        let before = &self.lookback[LOOKBACK - 1];
        let mut window = self.window;
        window.rotate_left(self.filled);
        let context = before[..self.filled].last_chunk()?;
        let probability = self.network.probe(context, &window);
        if probability < self.threshold(level_dbfs, above_db) || is_key(&window) || self.is_bot() {
            return None;
        }
        (self.windows, self.holding) = (self.windows << 1 | 1, true);
        Some(Evidence { level_dbfs, first: true, ..self.evidence(probability, true, true) })
    }

    /// What is clearly louder than anything that is explained is more likely speech before the network is asked.
    fn threshold(&self, level_dbfs: f32, above_db: f32) -> f32 {
        let clear = level_dbfs > self.floor.dbfs() + CLEAR_OF_NOISE_DB && above_db > CLEAR_OF_GATE_DB;
        if clear { CLEAR_THRESHOLD } else { THRESHOLD }
    }

    fn judge(&mut self, reading: GateReading) -> Evidence {
        let probability = self.probability();
        let level_dbfs = core::mem::replace(&mut self.loudest_dbfs, QUIETEST_DBFS);
        let above_db = core::mem::replace(&mut self.above_db, QUIETEST_DBFS);
        // Where nothing was sent of late, nothing has to be told from echo, nor a bystander from a caller; a caller whose level is
        // known has it all the same.
        let loud_enough = self.caller_dbfs().is_none() || level_dbfs >= self.gate.least_of_caller();
        let alone = self.filter.silent_ms() > ALONE_MS;
        let gate_open = reading.open || (alone && self.awake > 0 && loud_enough);
        let voice = probability >= self.threshold(level_dbfs, above_db);
        if voice && alone && !loud_enough {
            self.gate.doubt_caller();
        }
        // Whose turn ends is asked of the caller alone: how loud they usually are does not say when they cease.
        self.voice = voice && (reading.open || (!self.filter.is_active() && self.awake > 0));
        let key = gate_open && is_key(&self.window);
        self.after_key = if key { AFTER_KEY } else { self.after_key.saturating_sub(1) };
        let speech = voice && gate_open && self.after_key == 0 && !self.is_bot();
        if speech {
            self.learn_level(level_dbfs, alone);
        }
        self.windows = self.windows << 1 | u32::from(speech);
        let first = speech && !self.holding;
        self.holding |= first;
        let commit = self.holding && !self.committed && (self.windows & TEN).count_ones() >= SIX;
        self.committed |= commit;
        let released = self.holding && self.windows & EIGHT == 0;
        if released {
            (self.holding, self.committed, self.confirmed) = (false, false, false);
        }
        Evidence { level_dbfs, first, commit, released, ..self.evidence(probability, gate_open, speech) }
    }

    /// What this window says by itself.
    fn evidence(&self, probability: f32, gate_open: bool, speech: bool) -> Evidence {
        Evidence {
            probability,
            gate_open,
            level_dbfs: QUIETEST_DBFS,
            floor_dbfs: self.floor.dbfs(),
            speech,
            first: false,
            commit: false,
            released: false,
            in_a_row: self.windows.trailing_ones() as u8,
            edge: None,
            weakness: self.weakness(),
        }
    }

    /// A window of speech at this level.
    fn learn_level(&mut self, dbfs: f32, alone: bool) {
        self.caller.hear(dbfs);
        if self.confirmed {
            self.confirm_caller();
        }
        if alone {
            self.alone.hear(dbfs);
            if let Some(dbfs) = self.alone.dbfs() {
                self.gate.set_caller(dbfs);
            }
        }
    }

    fn weakness(&self) -> Weakness {
        let erl_db = self.last.as_ref().and_then(|cleaned| cleaned.erl_db);
        Weakness {
            untrained: self.filter.is_active() && !self.gate.is_trained(),
            loud_echo: erl_db.is_some_and(|erl| erl < LOUD_ECHO_DB) && self.gate.residue_db() > LOUD_RESIDUE_DB,
            path_changed: self.gate.is_armed(),
        }
    }

    /// Whether what sounds like a voice is the bot itself: by another path than before, or distorted. Of a voice that is held for
    /// a caller's already, distortion is not suspected.
    fn is_bot(&mut self) -> bool {
        !self.committed && self.filter.follow().is_some_and(|fit| fit.moved || !self.holding)
    }

    /// Asks the network, unless it has been quiet. When it wakes it hears the last windows first.
    fn probability(&mut self) -> f32 {
        let probability = if self.awake == 0 {
            self.missed = self.missed.saturating_add(1);
            0.0
        } else {
            self.awake -= 1;
            let missed = core::mem::take(&mut self.missed).min(LOOKBACK);
            for window in &self.lookback[LOOKBACK - missed..] {
                self.network.probability(window);
            }
            self.network.probability(&self.window)
        };
        self.lookback.rotate_left(1);
        self.lookback[LOOKBACK - 1] = self.window;
        probability
    }
}

impl core::fmt::Debug for Ear {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Ear").field("holding", &self.holding).field("windows", &self.windows).finish_non_exhaustive()
    }
}

fn is_key(window: &[f32; WINDOW]) -> bool {
    inband::may_be_key(&window.map(|sample| sample * FULL_SCALE))
}

const FULL_SCALE: f32 = 32768.0;
/// Probability from which a window is speech: of any sound, and of one that is this far above noise and gate, dB.
const THRESHOLD: f32 = 0.5;
const CLEAR_THRESHOLD: f32 = 0.2;
const CLEAR_OF_NOISE_DB: f32 = 15.0;
const CLEAR_OF_GATE_DB: f32 = 6.0;
/// 128 ms.
const AFTER_KEY: u8 = 4;
const TEN: u32 = (1 << 10) - 1;
const SIX: u32 = 6;
const EIGHT: u32 = (1 << 8) - 1;
/// Longer than the pauses between sentences.
const ALONE_MS: u32 = 1000;
const LOUD_ECHO_DB: f32 = 20.0;
const LOUD_RESIDUE_DB: f32 = -30.0;
/// A confirmed interruption may raise the caller's level to any other and lower it by so much, dB: it may have been a bystander's.
const MOST_LOWERED_DB: f32 = 1.5;
const ASSUMED_FLOOR_DBFS: f32 = -60.0;
/// The network is asked about sound this far above the noise floor, dB, and never below this level, dBFS.
const ASKED_ABOVE_DB: f32 = 3.0;
const QUIETEST_ASKED_DBFS: f32 = -66.0;
/// 320 ms.
const AWAKE_WINDOWS: u32 = 10;
const LOOKBACK: usize = 2;

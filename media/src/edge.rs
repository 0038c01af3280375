//! Onsets and offsets of speech with their true times, from the network's windows and the levels behind the echo filter.
//!
//! The network says that it is speech, a window late; the energy says since when. An offset is dated by the fall of the energy,
//! because the network holds on to a word for 100 ms and more. Whether an onset is worth stopping for is absent.

use crate::Moment;
use crate::blocks::{BLOCK_MS, Blocks};
use crate::speech::SpeechEdge;

#[derive(Clone, Debug)]
pub(crate) struct EdgeWatch {
    blocks: Blocks,
    /// The last windows, the newest lowest: 1 is speech.
    windows: u32,
    speaking: bool,
    /// Arrival of the last window of speech.
    last_speech: Moment,
    /// Until then one window of speech goes on with what was said.
    resumes_until: Moment,
}

impl EdgeWatch {
    pub(crate) fn new() -> Self {
        Self {
            blocks: Blocks::new(),
            windows: 0,
            speaking: false,
            last_speech: Moment::ZERO,
            resumes_until: Moment::ZERO,
        }
    }

    /// Takes the levels of the 5 ms blocks of a packet that arrived at `at`, dBFS.
    pub(crate) fn levels(&mut self, levels: &[f32], at: Moment) {
        self.blocks.push(levels.iter().copied(), at);
    }

    /// Takes the network's judgement of a window; `explained` is the level that noise and echo reach by themselves, dBFS.
    pub(crate) fn window(&mut self, speech: bool, explained: f32, at: Moment) -> Option<SpeechEdge> {
        self.windows = self.windows << 1 | u32::from(speech);
        if speech {
            self.last_speech = at;
        }
        let least = explained + RISE_DB;
        if self.speaking { self.offset(least, at) } else { self.onset(least, at) }
    }

    pub(crate) fn is_speaking(&self) -> bool {
        self.speaking
    }

    fn onset(&mut self, least: f32, at: Moment) -> Option<SpeechEdge> {
        let wanted = if at < self.resumes_until { 1 } else { ONSET_WINDOWS };
        if self.windows & 1 == 0 || (self.windows & ONSET_AMONG).count_ones() < wanted {
            return None;
        }
        let (quiet, _) = self.blocks.quiet_for(least, DROP_DB);
        if quiet > STILL_LOUD {
            // The network still remembers a word that is over.
            return None;
        }
        self.speaking = true;
        let began = self.blocks.began(least, DROP_DB).unwrap_or(at);
        Some(SpeechEdge::Onset { began, at })
    }

    fn offset(&mut self, least: f32, at: Moment) -> Option<SpeechEdge> {
        let (quiet, fell) = self.blocks.quiet_for(least, DROP_DB);
        // In noise the network hears the ends of words that are below its level; elsewhere it is only late.
        let noisy = self.blocks.loudest_dbfs() - least < CLEAR_DB;
        let hears_on = self.windows & NEWEST != 0 && quiet < LONGEST_TAIL;
        let fell = fell.filter(|_| quiet >= RELEASE && !(noisy && hears_on));
        if fell.is_none() && self.windows & UNLIKELY != 0 {
            return None;
        }
        self.speaking = false;
        self.windows = 0;
        self.resumes_until = at + RESUMES;
        // Noise as loud as the end of a word hides the fall; the network is late by this much.
        let by_network = self.last_speech.saturating_sub(NETWORK_HOLDS);
        let ended = fell.map_or(by_network, |fell| if noisy { fell.max(by_network) } else { fell });
        Some(SpeechEdge::Offset { ended, at })
    }
}

/// Windows of speech that make an onset, among the last four.
const ONSET_WINDOWS: u32 = 2;
const ONSET_AMONG: u32 = (1 << 4) - 1;
/// 160 ms without a window of speech end it, whatever the level.
const UNLIKELY: u32 = (1 << 5) - 1;
const NETWORK_HOLDS: Moment = Moment::from_millis(60);
/// Level above noise and echo that belongs to a word, dB.
const RISE_DB: f32 = 4.5;
/// Sound this far below the loudest of the last words is silence, dB.
const DROP_DB: f32 = 30.0;
/// 60 ms of silence make an offset.
const RELEASE: usize = 60 / BLOCK_MS;
/// Speech this much louder than noise and echo ends where its energy falls, dB.
const CLEAR_DB: f32 = 18.0;
const NEWEST: u32 = 0b11;
/// 320 ms: whatever the network says, this was no end of a word.
const LONGEST_TAIL: usize = 320 / BLOCK_MS;
const STILL_LOUD: usize = 40 / BLOCK_MS;
/// A pause within what is said.
const RESUMES: Moment = Moment::from_millis(1500);

//! The queue of speech that waits to be heard, and the exact account of what was heard of it.
//!
//! Sentences come as shared chunks of 8 kHz audio and leave as 20 ms frames. Interruption is a method:
//! the next frame fades and the account says, to the sample, where the caller stopped listening. The
//! chunks of the sentence being spoken are kept until it is over, so that it can be resumed earlier.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{FRAME, Frame, PER_MS};

/// Names a sentence from synthesis to transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SentenceId(pub u32);

/// Names a place in the queue whose passing is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkId(pub u32);

/// How much the queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutConfig {
    /// Chunks, silences and marks, those of the current sentence included.
    pub items: usize,
    /// Audio that waits, ms.
    pub queued_ms: u32,
}

impl Default for PlayoutConfig {
    fn default() -> Self {
        Self { items: 512, queued_ms: 120_000 }
    }
}

/// The queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("playout queue is full: {items} items, {queued_ms} ms")]
pub struct Full {
    pub items: usize,
    pub queued_ms: u32,
}

/// The sentence to resume is not held any more, or the offset lies beyond what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sentence {} cannot be resumed at sample {offset}", sentence.0)]
pub struct CannotResume {
    pub sentence: SentenceId,
    pub offset: u64,
}

/// What a pulled frame holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Samples that came from chunks; the rest is silence.
    pub voiced: usize,
    /// The sentence whose first sample is in this frame.
    pub started: Option<SentenceId>,
    /// The sentence whose last sample is in this frame or was in the one before.
    pub finished: Option<SentenceId>,
    /// The mark passed in this frame.
    pub mark: Option<MarkId>,
    /// A sentence has begun and its next chunk has not come.
    pub underrun: bool,
}

/// How much of a sentence was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentencePlayed {
    pub sentence: SentenceId,
    /// Samples pulled, those of the last fade included.
    pub played: u64,
    /// Samples that were pushed.
    pub pushed: u64,
    /// Whether the last chunk had been pushed.
    pub complete: bool,
}

/// Bounded queue of sentences, played frame by frame.
#[derive(Debug)]
pub struct Playout {
    items: VecDeque<Item>,
    /// The item being played, and the samples of it that are gone.
    cursor: usize,
    offset: usize,
    ledger: VecDeque<SentencePlayed>,
    current: Option<SentenceId>,
    owed_finish: Option<SentenceId>,
    state: State,
    fade_in: usize,
    duck: Duck,
    tail: Tail,
    queued: u64,
    limits: PlayoutConfig,
}

impl Playout {
    /// An empty queue; all its memory is taken here.
    pub fn new(config: PlayoutConfig) -> Self {
        Self {
            items: VecDeque::with_capacity(config.items),
            cursor: 0,
            offset: 0,
            ledger: VecDeque::with_capacity(REMEMBERED),
            current: None,
            owed_finish: None,
            state: State::Playing,
            fade_in: 0,
            duck: Duck::default(),
            tail: Tail::default(),
            queued: 0,
            limits: config,
        }
    }

    /// Appends a chunk of `sentence`; `last` says that no more of it follows.
    ///
    /// # Errors
    /// [`Full`] if the queue holds too many items or too much audio; nothing is taken then.
    pub fn push(&mut self, sentence: SentenceId, chunk: Arc<[i16]>, last: bool) -> Result<(), Full> {
        let length = chunk.len() as u64;
        self.admit(length)?;
        let entry = self.entry(sentence);
        entry.pushed += length;
        entry.complete |= last;
        self.items.push_back(Item::Chunk { sentence, chunk, last });
        self.queued += length;
        Ok(())
    }

    /// Appends silence, such as the pause between two sentences.
    ///
    /// # Errors
    /// [`Full`] as for [`Playout::push`].
    pub fn push_silence(&mut self, ms: u32) -> Result<(), Full> {
        let length = u64::from(ms) * PER_MS as u64;
        self.admit(length)?;
        self.items.push_back(Item::Silence { length: usize::try_from(length).unwrap_or(usize::MAX) });
        self.queued += length;
        Ok(())
    }

    /// Appends a mark, reported by the pull that passes it.
    ///
    /// # Errors
    /// [`Full`] as for [`Playout::push`].
    pub fn push_mark(&mut self, mark: MarkId) -> Result<(), Full> {
        self.admit(0)?;
        self.items.push_back(Item::Mark(mark));
        Ok(())
    }

    /// Fills the next 20 ms.
    pub fn pull(&mut self, frame: &mut Frame) -> Pulled {
        frame.fill(0);
        if self.tail.left > 0 {
            return Pulled { voiced: self.tail.drain(frame), ..Pulled::default() };
        }
        match self.state {
            State::Paused => Pulled::default(),
            State::Playing => self.play(frame),
        }
    }

    /// Empties the queue; the next frame fades out within 10 ms.
    ///
    /// Returns the account of every sentence that was in the queue or played lately, oldest first.
    pub fn stop(&mut self) -> impl ExactSizeIterator<Item = SentencePlayed> + '_ {
        // A queue that is held has faded out before.
        if self.state == State::Playing {
            self.capture_tail(FADE_OUT);
        }
        self.items.clear();
        (self.cursor, self.offset, self.queued) = (0, 0, 0);
        (self.current, self.owed_finish) = (None, None);
        self.state = State::Playing;
        self.fade_in = 0;
        self.duck = Duck::default();
        self.ledger.iter().copied()
    }

    /// Holds the queue at its place; the next frame fades out within 10 ms.
    pub fn pause(&mut self) {
        if self.state == State::Playing {
            self.capture_tail(FADE_OUT);
            self.state = State::Paused;
        }
    }

    /// Goes on where it was paused, fading in over 20 ms.
    pub fn resume(&mut self) {
        if self.state == State::Paused {
            self.state = State::Playing;
            self.fade_in = FADE_IN;
        }
    }

    /// Goes on at `offset` samples into `sentence`, fading in over 20 ms.
    ///
    /// # Errors
    /// [`CannotResume`] if that part of the sentence is not held; the queue stays paused.
    pub fn resume_at(&mut self, sentence: SentenceId, offset: u64) -> Result<(), CannotResume> {
        let (index, within) = self.find(sentence, offset).ok_or(CannotResume { sentence, offset })?;
        (self.cursor, self.offset) = (index, within);
        self.current = Some(sentence);
        self.entry(sentence).played = offset;
        self.queued = self.ahead();
        self.tail.left = 0;
        self.state = State::Playing;
        self.fade_in = FADE_IN;
        Ok(())
    }

    /// Drops what came of `sentence`, the last one that was pushed, behind its first `length` samples, as far as it has not
    /// been played. Gives how much of it is left.
    pub fn shorten(&mut self, sentence: SentenceId, length: u64) -> u64 {
        let entry = self.entry(sentence);
        let mut surplus = entry.pushed - length.max(entry.played).min(entry.pushed);
        entry.pushed -= surplus;
        let left = entry.pushed;
        while let Some(Item::Chunk { sentence: held, chunk, .. }) = self.items.back_mut() {
            if surplus == 0 || *held != sentence {
                break;
            }
            let kept = (chunk.len() as u64).saturating_sub(surplus);
            surplus -= chunk.len() as u64 - kept;
            *chunk = chunk[..kept as usize].into();
            if kept == 0 && self.cursor + 1 < self.items.len() {
                self.items.pop_back();
            }
        }
        self.queued = self.ahead();
        left
    }

    /// Plays 12 dB quieter from now on, or as loud as before; the change takes 20 ms.
    pub fn duck(&mut self, on: bool) {
        self.duck.on = on;
    }

    /// Goes back over the last `samples` that were pulled, silence between sentences included, as far as they are held: of
    /// earlier sentences that is a second. Nothing of a fade is played any more.
    pub fn rewind(&mut self, samples: u64) {
        self.owed_finish = None;
        let mut left = samples + core::mem::take(&mut self.tail.left) as u64;
        while left > 0 {
            if self.offset == 0 {
                let Some(before) = self.cursor.checked_sub(1) else { break };
                self.cursor = before;
                self.offset = self.items[before].length() as usize;
                continue;
            }
            let step = left.min(self.offset as u64);
            self.offset -= step as usize;
            self.queued += step;
            left -= step;
            self.current = match self.items[self.cursor] {
                Item::Chunk { sentence, .. } => Some(sentence),
                Item::Silence { .. } | Item::Mark(_) => None,
            };
            if let Some(sentence) = self.current {
                let entry = self.entry(sentence);
                entry.played = entry.played.saturating_sub(step);
            }
        }
    }

    /// The quietest place of `sentence` among the samples `from..to` of it: where one word most likely ends and another
    /// begins. `None` where that part is not held.
    pub fn quietest(&self, sentence: SentenceId, from: u64, to: u64) -> Option<u64> {
        let places = (from..to).step_by(QUIET_STEP);
        let power = |at: u64| Some((at + QUIET_STEP as u64 / 2, self.power(sentence, at)?));
        places.filter_map(power).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
    }

    /// Whether the queue is held.
    pub fn is_paused(&self) -> bool {
        self.state == State::Paused
    }

    /// Whether nothing waits and no fade is going on.
    pub fn is_idle(&self) -> bool {
        self.cursor == self.items.len() && self.tail.left == 0
    }

    /// The sentence being spoken.
    pub fn current(&self) -> Option<SentenceId> {
        self.current
    }

    /// Samples of `sentence` that were pulled; 0 if it is unknown or long gone.
    pub fn played(&self, sentence: SentenceId) -> u64 {
        self.ledger.iter().find(|entry| entry.sentence == sentence).map_or(0, |entry| entry.played)
    }

    /// Audio that waits, ms.
    pub fn queued_ms(&self) -> u32 {
        u32::try_from(self.queued / PER_MS as u64).unwrap_or(u32::MAX)
    }

    fn admit(&self, length: u64) -> Result<(), Full> {
        let limit = u64::from(self.limits.queued_ms) * PER_MS as u64;
        if self.items.len() >= self.limits.items || self.queued + length > limit {
            return Err(Full { items: self.items.len(), queued_ms: self.queued_ms() });
        }
        Ok(())
    }

    /// The account of `sentence`, opened if there is none; the oldest makes room.
    fn entry(&mut self, sentence: SentenceId) -> &mut SentencePlayed {
        let known = self.ledger.iter().rposition(|entry| entry.sentence == sentence);
        let index = known.unwrap_or_else(|| {
            if self.ledger.len() == REMEMBERED {
                self.ledger.pop_front();
            }
            self.ledger.push_back(SentencePlayed { sentence, played: 0, pushed: 0, complete: false });
            self.ledger.len() - 1
        });
        &mut self.ledger[index]
    }

    fn play(&mut self, frame: &mut Frame) -> Pulled {
        let mut pulled = Pulled { finished: self.owed_finish.take(), ..Pulled::default() };
        let mut filled = 0;
        while filled < FRAME {
            match self.items.get(self.cursor) {
                Some(Item::Chunk { sentence, .. }) if self.must_wait(*sentence, &pulled) => break,
                Some(Item::Mark(_)) if pulled.mark.is_some() => break,
                Some(_) => filled += self.play_item(&mut frame[filled..], &mut pulled),
                None => {
                    pulled.underrun = self.current.is_some();
                    break;
                }
            }
        }
        self.finish_empty_items(&mut pulled);
        self.fade(frame);
        pulled
    }

    /// A frame reports one beginning, and one end that the next frame may report.
    fn must_wait(&self, sentence: SentenceId, pulled: &Pulled) -> bool {
        self.current != Some(sentence) && (pulled.started.is_some() || self.owed_finish.is_some())
    }

    /// Plays from the item at the cursor and returns how many samples were filled.
    fn play_item(&mut self, room: &mut [i16], pulled: &mut Pulled) -> usize {
        let (length, total) = match &self.items[self.cursor] {
            Item::Mark(mark) => {
                pulled.mark = Some(*mark);
                (0, 0)
            }
            Item::Silence { length } => ((length - self.offset).min(room.len()), *length),
            Item::Chunk { sentence, chunk, .. } => {
                let sentence = *sentence;
                let rest = &chunk[self.offset..];
                let (length, total) = (rest.len().min(room.len()), chunk.len());
                room[..length].copy_from_slice(&rest[..length]);
                self.account(sentence, length, pulled);
                (length, total)
            }
        };
        self.offset += length;
        self.queued = self.queued.saturating_sub(length as u64);
        if self.offset == total {
            self.next_item(pulled);
        }
        length
    }

    fn account(&mut self, sentence: SentenceId, length: usize, pulled: &mut Pulled) {
        let entry = self.entry(sentence);
        let first = entry.played == 0;
        entry.played += length as u64;
        pulled.voiced += length;
        if self.current != Some(sentence) {
            self.current = Some(sentence);
            if first {
                pulled.started = Some(sentence);
            }
            self.forget_before(sentence);
        }
    }

    fn next_item(&mut self, pulled: &mut Pulled) {
        if let Some(Item::Chunk { sentence, last: true, .. }) = self.items.get(self.cursor) {
            let finished = Some(*sentence);
            match pulled.finished {
                None => pulled.finished = finished,
                Some(_) => self.owed_finish = finished,
            }
            self.current = None;
        }
        self.cursor += 1;
        self.offset = 0;
    }

    /// An empty last chunk ends its sentence in the frame that holds the sentence's last sample.
    fn finish_empty_items(&mut self, pulled: &mut Pulled) {
        while let Some(Item::Chunk { sentence, chunk, .. }) = self.items.get(self.cursor) {
            if !chunk.is_empty() || pulled.finished.is_some() || self.current != Some(*sentence) {
                break;
            }
            self.next_item(pulled);
        }
        if self.current.is_none() || pulled.finished.is_some() {
            pulled.underrun = false;
        }
    }

    /// Drops the played items of earlier sentences but for the last second; those of the current one stay for a resume.
    fn forget_before(&mut self, sentence: SentenceId) {
        let earlier = |item: &Item| !matches!(item, Item::Chunk { sentence: held, .. } if *held == sentence);
        let played = self.items.iter().take(self.cursor).take_while(|item| earlier(item));
        let mut held: u64 = played.map(Item::length).sum();
        while let Some(front) = self.items.front().filter(|front| self.cursor > 0 && earlier(front)) {
            held -= front.length().min(held);
            if held < REWOUND {
                break;
            }
            self.items.pop_front();
            self.cursor -= 1;
        }
    }

    /// Mean power of 10 ms of a sentence.
    fn power(&self, sentence: SentenceId, at: u64) -> Option<f32> {
        let (index, within) = self.find(sentence, at)?;
        let Item::Chunk { chunk, .. } = self.items.get(index)? else { return None };
        let part = chunk.get(within..chunk.len().min(within + QUIET_STEP))?;
        let sum: f32 = part.iter().map(|&sample| f32::from(sample) * f32::from(sample)).sum();
        Some(sum / part.len().max(1) as f32)
    }

    /// Item and offset of a sample of a sentence that is still held.
    fn find(&self, sentence: SentenceId, offset: u64) -> Option<(usize, usize)> {
        let of = |item: &Item| matches!(item, Item::Chunk { sentence: held, .. } if *held == sentence);
        let held: u64 = self.items.iter().filter(|item| of(item)).map(Item::length).sum();
        let pushed = self.ledger.iter().find(|entry| entry.sentence == sentence)?.pushed;
        let mut left = usize::try_from(offset.checked_sub(pushed - held.min(pushed))?).ok()?;
        for (index, item) in self.items.iter().enumerate() {
            if let Item::Chunk { sentence: held, chunk, .. } = item
                && *held == sentence
            {
                if left < chunk.len() {
                    return Some((index, left));
                }
                left -= chunk.len();
            }
        }
        None
    }

    fn ahead(&self) -> u64 {
        let all: u64 = self.items.iter().skip(self.cursor).map(Item::length).sum();
        all - self.offset as u64
    }

    fn fade(&mut self, frame: &mut Frame) {
        for sample in frame.iter_mut().take(self.fade_in) {
            let gain = 1.0 - self.fade_in as f32 / FADE_IN as f32;
            *sample = crate::to_sample(f32::from(*sample) * gain);
            self.fade_in -= 1;
        }
        self.duck.apply(frame);
    }

    /// Takes the next samples out of the current chunk, to be faded in the next frame.
    fn capture_tail(&mut self, length: usize) {
        if self.tail.left > 0 || self.current.is_none() {
            return;
        }
        let mut frame = [0; FRAME];
        let before = self.fade_in;
        let mut pulled = Pulled::default();
        let mut filled = 0;
        while let Some(Item::Chunk { sentence, .. }) = self.items.get(self.cursor) {
            if filled == length || self.current != Some(*sentence) {
                break;
            }
            filled += self.play_item(&mut frame[filled..length], &mut pulled);
        }
        self.fade_in = before;
        self.fade(&mut frame);
        self.tail.set(&frame[..filled]);
    }
}

#[derive(Debug)]
enum Item {
    Chunk { sentence: SentenceId, chunk: Arc<[i16]>, last: bool },
    Silence { length: usize },
    Mark(MarkId),
}

impl Item {
    fn length(&self) -> u64 {
        match self {
            Self::Chunk { chunk, .. } => chunk.len() as u64,
            Self::Silence { length } => *length as u64,
            Self::Mark(_) => 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Playing,
    Paused,
}

/// The gain of a bot that is to be quieter, on its way from one level to the other.
#[derive(Debug)]
struct Duck {
    on: bool,
    gain: f32,
}

impl Default for Duck {
    fn default() -> Self {
        Self { on: false, gain: 1.0 }
    }
}

impl Duck {
    fn apply(&mut self, frame: &mut Frame) {
        if !self.on && self.gain >= 1.0 {
            return;
        }
        for sample in frame {
            self.gain = if self.on { (self.gain - DUCK_STEP).max(DUCKED) } else { (self.gain + DUCK_STEP).min(1.0) };
            *sample = crate::to_sample(f32::from(*sample) * self.gain);
        }
    }
}

/// The last samples after an interruption, faded to nothing.
#[derive(Debug)]
struct Tail {
    samples: [i16; FADE_OUT],
    left: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self { samples: [0; FADE_OUT], left: 0 }
    }
}

impl Tail {
    fn set(&mut self, samples: &[i16]) {
        self.left = samples.len();
        for (index, (kept, &sample)) in self.samples.iter_mut().zip(samples).enumerate() {
            let gain = 1.0 - (index + 1) as f32 / (samples.len() + 1) as f32;
            *kept = crate::to_sample(f32::from(sample) * gain);
        }
    }

    fn drain(&mut self, frame: &mut Frame) -> usize {
        let length = core::mem::take(&mut self.left);
        frame[..length].copy_from_slice(&self.samples[..length]);
        length
    }
}

const FADE_OUT: usize = 10 * PER_MS;
const FADE_IN: usize = 20 * PER_MS;
/// -12 dB.
const DUCKED: f32 = 0.25;
/// From one level to the other in 20 ms.
const DUCK_STEP: f32 = (1.0 - DUCKED) / (20 * PER_MS) as f32;
/// Of earlier sentences a second is kept.
const REWOUND: u64 = 1000 * PER_MS as u64;
const QUIET_STEP: usize = 10 * PER_MS;
/// Sentences whose account is kept.
const REMEMBERED: usize = 64;

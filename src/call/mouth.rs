//! What the bot is saying: utterances waiting, sentences being made, samples queued, words heard. Pure.
//!
//! Utterances are spoken in the order in which they were asked for. At most one sentence is made ahead of the one
//! that is playing, so that an interruption wastes little.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::playout::{Playout, SentenceId};
use offhook_media::{FRAME, Frame, RATE_HZ};

use crate::dialog::Utterance;
use crate::dialog::transcript::{Spoken, heard_and_unheard};
use crate::safety::said::Cleared;

/// A sentence that a voice must be asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub sentence: SentenceId,
    pub text: Cleared,
    pub voice: Option<Arc<str>>,
    pub rate: f32,
}

/// What pulling one frame came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The frame holds something of ours (a pause between sentences counts).
    pub audible: bool,
    /// The last sample of everything asked for so far is in this frame or was before.
    pub finished: bool,
    /// A sentence's audio did not arrive in time.
    pub underrun: bool,
}

/// What the caller did and did not hear of the current answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    pub heard: String,
    pub unheard: String,
}

/// See the module's header.
pub struct Mouth {
    waiting: VecDeque<Utterance>,
    playout: Playout,
    spoken: Vec<Sentence>,
    next_id: u32,
    making: bool,
}

impl Mouth {
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            playout: Playout::new(PLAYOUT_CHUNKS),
            spoken: Vec::with_capacity(8),
            next_id: 0,
            making: false,
        }
    }

    /// Speaks after whatever is already queued. Refuses when unreasonably much is waiting.
    #[must_use]
    pub fn say(&mut self, utterance: Utterance) -> bool {
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        self.waiting.push_back(utterance);
        true
    }

    /// The next sentence to make, if it is time for one. Ready audio goes straight to the playout on the way.
    pub fn next_wanted(&mut self) -> Option<Wanted> {
        while !self.making && self.ahead() < 2 {
            let sentence = SentenceId(self.next_id);
            match self.waiting.pop_front()? {
                Utterance::Audio { samples, words } => self.queue_ready(sentence, words, samples),
                Utterance::Sentence { text, .. } if text.is_empty() => {}
                Utterance::Sentence { text, voice, rate } => {
                    self.begin(sentence, Some(text.clone()));
                    self.making = true;
                    return Some(Wanted { sentence, text, voice, rate });
                }
            }
        }
        None
    }

    /// Audio of the sentence being made.
    #[must_use]
    pub fn audio(&mut self, sentence: SentenceId, samples: Arc<[i16]>) -> bool {
        self.playout.push(sentence, samples, false).is_ok()
    }

    /// All audio of the sentence has come; a micro-pause follows it if anything else does.
    pub fn audio_ended(&mut self, sentence: SentenceId) {
        self.making = false;
        self.playout.finish(sentence);
        if let Some(spoken) = self.find(sentence) {
            spoken.complete = true;
        }
        if !self.waiting.is_empty() {
            self.pause();
        }
    }

    /// No voice could make the sentence: what there is of it plays out. Gives its text back.
    pub fn failed(&mut self, sentence: SentenceId) -> Option<Cleared> {
        self.audio_ended(sentence);
        self.find(sentence).and_then(|spoken| spoken.text.clone())
    }

    /// Takes the next 20 ms.
    pub fn pull(&mut self, frame: &mut Frame) -> Pull {
        let pulled = self.playout.pull(frame);
        Pull {
            audible: pulled.voiced > 0 || self.playout.queued_samples() > 0,
            finished: self.is_idle(),
            underrun: pulled.underrun && self.making,
        }
    }

    /// Whether nothing is being said or made.
    pub fn is_idle(&self) -> bool {
        !self.making && self.waiting.is_empty() && self.playout.queued_samples() == 0
    }

    /// Samples of the sentence that have gone out.
    pub fn has_begun(&self) -> bool {
        self.spoken.iter().any(|s| self.playout.played(s.id) > 0)
    }

    /// Silences the bot: the next frame fades out over 10 ms, everything else is dropped. `unheard` is what the far
    /// side has been sent and has not played.
    pub fn stop(&mut self, unheard: Duration) -> Cut {
        let cut = self.cut(unheard);
        self.playout.stop();
        self.waiting.clear();
        self.making = false;
        self.forget();
        cut
    }

    /// Ends the current answer after it was heard to its end, and gives its text.
    pub fn heard_out(&mut self) -> String {
        let cut = self.cut(Duration::ZERO);
        self.forget();
        cut.heard
    }

    fn cut(&self, unheard: Duration) -> Cut {
        let mut unplayed = samples(unheard);
        let mut spoken: Vec<Spoken> = self.spoken.iter().rev().map(|s| s.as_spoken(&self.playout, &mut unplayed)).collect();
        spoken.reverse();
        let never_made = self.waiting.iter().filter_map(|utterance| match utterance {
            Utterance::Sentence { text, .. } => Some(Spoken::not_begun(text.as_str())),
            Utterance::Audio { words, .. } => words.as_ref().map(|w| Spoken::not_begun(w.as_str())),
        });
        spoken.extend(never_made);
        let (heard, unheard) = heard_and_unheard(&spoken);
        Cut { heard, unheard }
    }

    fn queue_ready(&mut self, sentence: SentenceId, words: Option<Cleared>, samples: Arc<[i16]>) {
        self.begin(sentence, words);
        if self.playout.push(sentence, samples, true).is_err() {
            return;
        }
        if let Some(spoken) = self.find(sentence) {
            spoken.complete = true;
        }
        if !self.waiting.is_empty() {
            self.pause();
        }
    }

    fn begin(&mut self, id: SentenceId, text: Option<Cleared>) {
        self.next_id = self.next_id.wrapping_add(1);
        self.spoken.push(Sentence { id, text, complete: false });
    }

    fn find(&mut self, id: SentenceId) -> Option<&mut Sentence> {
        self.spoken.iter_mut().find(|s| s.id == id)
    }

    /// Sentences that have audio queued and have not been played to their end.
    fn ahead(&self) -> usize {
        self.spoken.iter().filter(|s| !self.playout.is_finished(s.id)).count()
    }

    fn pause(&mut self) {
        // A full playout plays sentences without a pause between them, which is harmless.
        let _ = self.playout.push_silence(SENTENCE_PAUSE_MS);
    }

    fn forget(&mut self) {
        self.spoken.clear();
        self.playout.forget_finished();
    }
}

impl Default for Mouth {
    fn default() -> Self {
        Self::new()
    }
}

/// The pause between two sentences.
pub const SENTENCE_PAUSE_MS: u32 = 200;

/// Chunks that the playout can hold; voices hand over 100 ms or more at once.
const PLAYOUT_CHUNKS: usize = 256;

/// Utterances that may wait; a flow's longest prompt is far below.
const MAX_WAITING: usize = 256;

struct Sentence {
    id: SentenceId,
    text: Option<Cleared>,
    complete: bool,
}

impl Sentence {
    /// `unplayed` samples at the end of what was sent were not heard; whatever falls on this sentence is taken off.
    fn as_spoken(&self, playout: &Playout, unplayed: &mut u64) -> Spoken {
        let sent = playout.played(self.id);
        let lost = sent.min(*unplayed);
        *unplayed -= lost;
        Spoken {
            text: self.text.as_ref().map(|t| t.as_str().to_owned()).unwrap_or_default(),
            total_samples: self.complete.then(|| playout.pushed(self.id)),
            played_samples: sent - lost,
        }
    }
}

fn samples(span: Duration) -> u64 {
    let per_second = u64::from(RATE_HZ);
    span.as_secs() * per_second + u64::from(span.subsec_micros()) * per_second / 1_000_000
}

const _: () = assert!(FRAME == 160);

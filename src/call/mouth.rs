//! What the bot is saying: utterances waiting, sentences being made, samples queued, words heard. Pure.
//!
//! Utterances are spoken in the order in which they were asked for. At most one sentence is made ahead of the one
//! that is playing, so that an interruption wastes little.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use offhook_media::playout::{Playout, PlayoutConfig, SentenceId};
use offhook_media::{Frame, RATE_HZ};

use super::exchange::append;
use crate::dialog::Utterance;
use crate::dialog::transcript::{Heard, Spoken, cut_word, heard};
use crate::providers::WordTime;
use crate::providers::timing::estimated;
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
    /// Samples of it that are speech.
    pub voiced: usize,
    /// A sentence was played to its end: it may be time to make the next one.
    pub played_out: bool,
    /// The last sample of everything asked for so far is in this frame or was before.
    pub finished: bool,
}

/// What the caller did and did not hear of the current answer.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// As it may be kept.
    pub heard: String,
    /// As it may be kept.
    pub unheard: String,
    /// What was not heard, as it would be spoken.
    pub rest: String,
}

impl Cut {
    fn add(&mut self, more: &Heard) {
        append(&mut self.heard, &more.heard);
        append(&mut self.unheard, &more.unheard);
        append(&mut self.rest, &more.rest);
    }
}

/// See the module's header.
pub struct Mouth {
    waiting: VecDeque<Utterance>,
    playout: Playout,
    spoken: VecDeque<Sentence>,
    /// Of sentences of this answer that are not held any more.
    earlier: Cut,
    next_id: u32,
    /// The sentence that a voice is at work on.
    making: Option<SentenceId>,
    /// Some of the current answer has gone out.
    begun: bool,
}

impl Mouth {
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            playout: Playout::new(PLAYOUT),
            spoken: VecDeque::with_capacity(MAX_SPOKEN),
            earlier: Cut::default(),
            next_id: 0,
            making: None,
            begun: false,
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
        while self.making.is_none() && self.ahead() < 2 {
            let sentence = SentenceId(self.next_id);
            match self.waiting.pop_front()? {
                Utterance::Audio { samples, words } => self.queue_ready(sentence, words, samples),
                Utterance::Sentence { text, .. } if text.is_empty() => {}
                Utterance::Sentence { text, voice, rate } => {
                    self.begin(sentence, Some(text.clone()));
                    self.making = Some(sentence);
                    return Some(Wanted { sentence, text, voice, rate });
                }
            }
        }
        None
    }

    /// The sentence that a voice is at work on.
    pub const fn making(&self) -> Option<SentenceId> {
        self.making
    }

    /// How long what is queued will play.
    pub fn queued(&self) -> Duration {
        Duration::from_millis(self.playout.queued_ms().into())
    }

    /// Audio of the sentence being made; of any other one it comes too late and is left out. `false`: no room for it.
    #[must_use]
    pub fn audio(&mut self, sentence: SentenceId, samples: Arc<[i16]>) -> bool {
        if self.making != Some(sentence) {
            return true;
        }
        self.set_apart(sentence);
        let length = samples.len() as u64;
        let taken = self.playout.push(sentence, samples, false).is_ok();
        if let Some(spoken) = self.find(sentence).filter(|_| taken) {
            spoken.pushed += length;
        }
        taken
    }

    /// When words of the sentence being made are heard.
    pub fn word_times(&mut self, sentence: SentenceId, words: Vec<WordTime>) {
        if let Some(spoken) = self.find(sentence) {
            let moved = words.into_iter().map(|time| spoken.moved(time)).collect::<Vec<_>>();
            spoken.times.extend(moved);
        }
    }

    /// Another voice goes on with the sentence being made: what came of it behind `keep` samples is dropped, as far as
    /// the caller has not heard it. `false`: it is not being made.
    pub fn rejoined(&mut self, sentence: SentenceId, keep: u64) -> bool {
        if self.making != Some(sentence) {
            return false;
        }
        let Some((place, reached)) = self.find(sentence).map(|spoken| (spoken.place(keep), spoken.reached)) else {
            return false;
        };
        let left = self.playout.shorten(sentence, place.max(reached));
        if let Some(spoken) = self.find(sentence) {
            spoken.pushed = left;
            spoken.times.retain(|time| time.samples.start < place);
            spoken.joins.push((keep, left.saturating_sub(keep)));
        }
        true
    }

    /// Whether a voice has made nothing of words that can be spoken.
    pub fn is_mute(&self, sentence: SentenceId) -> bool {
        let speakable = |text: &Cleared| text.as_str().chars().any(char::is_alphanumeric);
        let of = |spoken: &&Sentence| spoken.id == sentence;
        self.spoken.iter().find(of).is_some_and(|s| s.pushed == 0 && s.text.as_ref().is_some_and(speakable))
    }

    /// All audio of the sentence has come. `false`: it was not being made.
    pub fn audio_ended(&mut self, sentence: SentenceId) -> bool {
        if self.making != Some(sentence) {
            return false;
        }
        self.making = None;
        self.complete(sentence, Arc::from([]));
        true
    }

    /// No voice could make the sentence: what there is of it plays out. Gives its text back if it was being made.
    pub fn failed(&mut self, sentence: SentenceId) -> Option<Cleared> {
        let known = self.audio_ended(sentence);
        let spoken = self.find(sentence).filter(|_| known)?;
        spoken.failed = true;
        spoken.text.clone()
    }

    /// Takes the next 20 ms.
    pub fn pull(&mut self, frame: &mut Frame) -> Pull {
        let pulled = self.playout.pull(frame);
        let resting = self.playout.is_paused();
        // A sentence without audio begins and ends unheard.
        self.begun |= pulled.voiced > 0 && self.spoken.iter().any(|spoken| self.playout.played(spoken.id) > 0);
        let done = pulled.finished.and_then(|id| self.find(id));
        let played_out = done.is_some_and(|done| !std::mem::replace(&mut done.played_out, true));
        Pull {
            played_out,
            voiced: pulled.voiced,
            audible: pulled.voiced > 0 || (self.begun && !resting && !self.playout.is_idle()),
            finished: self.is_idle() && !resting,
        }
    }

    /// Whether nothing is being said or made.
    pub fn is_idle(&self) -> bool {
        self.making.is_none() && self.waiting.is_empty() && self.playout.is_idle()
    }

    /// Whether anything of ours is being said or made, the fade of what was cut off left out.
    pub fn has_more(&self) -> bool {
        let plays = !self.playout.is_idle() && !self.spoken.is_empty();
        plays || self.making.is_some() || !self.waiting.is_empty()
    }

    /// Whether any of the current answer has gone out.
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether any of the current answer was asked for: [`Mouth::heard_out`] has something to tell.
    pub fn has_spoken(&self) -> bool {
        !self.spoken.is_empty()
    }

    /// Silences the bot: the next frame fades out over 10 ms, everything else is dropped. `unheard` is what the far
    /// side has been sent and has not played.
    pub fn stop(&mut self, unheard: Duration) -> Cut {
        let cut = self.cut(unheard);
        let _ = self.playout.stop();
        self.waiting.clear();
        self.making = None;
        self.forget();
        cut
    }

    /// Stops where it is, fading out over 10 ms; nothing is lost.
    pub fn rest(&mut self) {
        self.playout.pause();
    }

    /// The 20 ms of a resting mouth: the fade, then silence. `true` when there is something to hear.
    pub fn pull_resting(&mut self, frame: &mut Frame) -> bool {
        self.playout.pull(frame).voiced > 0
    }

    /// Goes on with the sentence that was being said, from its beginning where that is still held.
    pub fn go_on(&mut self) {
        self.resume(Duration::MAX);
    }

    /// The last `dropped` of what was sent before the mouth came to rest did not reach the caller: it is still to be said.
    pub fn not_heard(&mut self, dropped: Duration) {
        if self.playout.is_paused() && !dropped.is_zero() {
            self.playout.rewind(samples(dropped));
        }
    }

    /// Goes on after a rest of `rested`, with the word in which it stopped; after a long one with the whole sentence.
    pub fn resume(&mut self, rested: Duration) {
        let at = self.playout.current().map(|sentence| (sentence, self.resumes_at(sentence, rested)));
        if at.is_none_or(|(sentence, offset)| !self.says_again(sentence, offset)) {
            self.playout.resume();
        }
    }

    /// Quieter, or as loud as before.
    pub fn duck(&mut self, on: bool) {
        self.playout.duck(on);
    }

    /// What was heard by now, and what was not.
    pub fn so_far(&self) -> Cut {
        self.cut(Duration::ZERO)
    }

    /// Whether what is being said is a question, or all but over.
    pub fn is_asking(&self) -> bool {
        let last = self.waiting.is_empty() && self.making.is_none();
        let question = self.spoken.back().and_then(|spoken| spoken.text.as_ref()).is_some_and(|text| {
            text.as_str()
                .trim_end_matches(|c: char| !c.is_alphanumeric() && !QUESTION_MARKS.contains(&c))
                .ends_with(QUESTION_MARKS)
        });
        let in_last_sentence =
            self.playout.current().is_none_or(|id| self.spoken.back().is_some_and(|last| last.id == id));
        last && self.begun && (self.queued() <= NEARLY_OVER || (question && in_last_sentence))
    }

    /// Whether the last sentence was made to its end.
    pub fn was_whole(&self) -> bool {
        self.spoken.back().is_none_or(|spoken| !spoken.failed)
    }

    /// Ends the current answer after it was heard to its end. Unheard is what no voice could make of it.
    pub fn heard_out(&mut self) -> Cut {
        let cut = self.cut(Duration::ZERO);
        self.forget();
        cut
    }

    /// The beginning of the word that was being said: by its share of the text, moved to where it is quietest.
    fn resumes_at(&self, sentence: SentenceId, rested: Duration) -> u64 {
        if rested > LONG_REST {
            return 0;
        }
        let played = self.playout.played(sentence);
        let spoken = self.spoken.iter().find(|spoken| spoken.id == sentence);
        let word = spoken.and_then(|spoken| cut_word(&spoken.as_spoken(played, &mut 0)));
        let (from, to) = match word {
            Some(word) => {
                (word.began.saturating_sub(BEFORE_A_WORD).max(word.earliest), played.min(word.began + INTO_A_WORD))
            }
            None => (played.saturating_sub(LONG_WORD), played),
        };
        self.playout.quietest(sentence, from, to).unwrap_or(word.map_or(played, |word| word.began)).min(played)
    }

    /// Goes on earlier in a sentence than it had come. What was heard of it stays heard, however far it comes this time.
    /// `false`: that part is not held any more.
    fn says_again(&mut self, sentence: SentenceId, offset: u64) -> bool {
        let played = self.playout.played(sentence);
        let again = self.playout.resume_at(sentence, offset).is_ok();
        if let Some(spoken) = self.find(sentence).filter(|_| again) {
            spoken.reached = spoken.reached.max(played);
        }
        again
    }

    fn cut(&self, unheard: Duration) -> Cut {
        let mut unplayed = samples(unheard);
        let mut spoken: Vec<Spoken<'_>> = Vec::with_capacity(self.spoken.len() + self.waiting.len());
        for sentence in self.spoken.iter().rev() {
            spoken.push(sentence.as_heard(self.playout.played(sentence.id), &mut unplayed));
        }
        spoken.reverse();
        spoken.extend(self.waiting.iter().map(|utterance| {
            let text = match utterance {
                Utterance::Sentence { text, .. } => Some(text),
                Utterance::Audio { words, .. } => words.as_ref(),
            };
            as_spoken(text, None, 0)
        }));
        let mut cut = self.earlier.clone();
        cut.add(&heard(&spoken));
        cut
    }

    /// What was heard of the first sentence is all that will be.
    fn let_go_of_first(&mut self) {
        let Some(first) = self.spoken.pop_front() else { return };
        self.earlier.add(&heard(&[first.as_heard(self.playout.played(first.id), &mut 0)]));
    }

    fn queue_ready(&mut self, sentence: SentenceId, words: Option<Cleared>, samples: Arc<[i16]>) {
        let times = words.as_ref().map_or_else(Vec::new, |words| estimated(words.as_str(), &samples));
        self.begin(sentence, words);
        self.set_apart(sentence);
        let length = samples.len() as u64;
        if let Some(spoken) = self.find(sentence) {
            spoken.pushed = length;
            spoken.times = times;
        }
        self.complete(sentence, samples);
    }

    /// A micro-pause before a sentence that follows another one.
    fn set_apart(&mut self, sentence: SentenceId) {
        let is_new = self.find(sentence).is_some_and(|spoken| spoken.pushed == 0);
        if is_new && !self.playout.is_idle() {
            // A full playout plays sentences without a pause between them, which is harmless.
            let _ = self.playout.push_silence(SENTENCE_PAUSE_MS);
        }
    }

    /// The last audio of a sentence.
    fn complete(&mut self, sentence: SentenceId, last: Arc<[i16]>) {
        let queued = self.playout.push(sentence, last, true).is_ok();
        if let Some(spoken) = self.find(sentence) {
            spoken.complete = true;
            // Nothing of it will play: it must not be waited for.
            spoken.played_out |= !queued || spoken.pushed == 0;
        }
    }

    fn begin(&mut self, id: SentenceId, text: Option<Cleared>) {
        self.next_id = self.next_id.wrapping_add(1);
        if self.spoken.len() == MAX_SPOKEN {
            self.let_go_of_first();
        }
        self.spoken.push_back(Sentence {
            id,
            text,
            times: Vec::new(),
            joins: Vec::new(),
            pushed: 0,
            reached: 0,
            complete: false,
            failed: false,
            played_out: false,
        });
    }

    fn find(&mut self, id: SentenceId) -> Option<&mut Sentence> {
        self.spoken.iter_mut().find(|s| s.id == id)
    }

    /// Sentences that have not been played to their end.
    fn ahead(&self) -> usize {
        self.spoken.iter().filter(|s| !s.played_out).count()
    }

    fn forget(&mut self) {
        self.spoken.clear();
        self.earlier = Cut::default();
        self.begun = false;
    }
}

impl Default for Mouth {
    fn default() -> Self {
        Self::new()
    }
}

/// The pause between two sentences.
pub const SENTENCE_PAUSE_MS: u32 = 200;

/// After a rest that is longer than this a caller has lost the thread.
const LONG_REST: Duration = Duration::from_millis(1500);

/// How far the beginning of a word may be from where its share of the text puts it. Looked for further back, the word
/// before it is heard twice more often than the beginning of this one is saved: 50 and 120 ms.
const BEFORE_A_WORD: u64 = 50 * RATE_HZ as u64 / 1000;
const INTO_A_WORD: u64 = 120 * RATE_HZ as u64 / 1000;

/// 500 ms: where nothing is known of the words.
const LONG_WORD: u64 = 500 * RATE_HZ as u64 / 1000;

/// So little is left to say that callers answer.
const NEARLY_OVER: Duration = Duration::from_secs(1);

const QUESTION_MARKS: [char; 3] = ['?', '？', '؟'];

/// Voices hand over 100 ms or more at once; the longest sentence is below a minute.
const PLAYOUT: PlayoutConfig = PlayoutConfig { items: 256, queued_ms: 120_000 };

/// Utterances that may wait; a flow's longest prompt is far below.
const MAX_WAITING: usize = 256;

/// Sentences of one answer that are held; what was heard of older ones is known.
const MAX_SPOKEN: usize = 32;

struct Sentence {
    id: SentenceId,
    text: Option<Cleared>,
    /// When its words are heard, as far as that is known.
    times: Vec<WordTime>,
    /// Where other voices went on, in samples of what was made, and how much later that is heard: the beginning of a word
    /// that the one before had not finished was out already.
    joins: Vec<(u64, u64)>,
    /// Samples that a voice has made of it.
    pushed: u64,
    /// How far it had been heard before parts of it were said again.
    reached: u64,
    complete: bool,
    /// `complete`, but without the rest of the text.
    failed: bool,
    played_out: bool,
}

impl Sentence {
    /// Where a sample of what voices made is heard.
    fn place(&self, made: u64) -> u64 {
        let join = self.joins.iter().rev().find(|(from, _)| *from <= made);
        made + join.map_or(0, |(_, later)| *later)
    }

    fn moved(&self, time: WordTime) -> WordTime {
        let later = self.place(time.samples.start) - time.samples.start;
        WordTime { samples: time.samples.start + later..time.samples.end + later, ..time }
    }

    /// As [`Sentence::as_spoken`], with what was heard of it before parts were said again.
    fn as_heard(&self, sent: u64, unplayed: &mut u64) -> Spoken<'_> {
        let spoken = self.as_spoken(sent, unplayed);
        Spoken { played_samples: spoken.played_samples.max(self.reached), ..spoken }
    }

    /// `unplayed` samples at the end of what was sent were not heard; whatever falls on this sentence is taken off.
    fn as_spoken(&self, sent: u64, unplayed: &mut u64) -> Spoken<'_> {
        let lost = sent.min(*unplayed);
        *unplayed -= lost;
        let total = (self.complete && !self.failed).then_some(self.pushed);
        Spoken { times: &self.times, ..as_spoken(self.text.as_ref(), total, sent - lost) }
    }
}

fn as_spoken(text: Option<&Cleared>, total_samples: Option<u64>, played_samples: u64) -> Spoken<'_> {
    Spoken {
        text: text.map_or("", Cleared::as_str),
        private: text.is_some_and(Cleared::is_private),
        times: &[],
        total_samples,
        played_samples,
    }
}

fn samples(span: Duration) -> u64 {
    let per_second = u64::from(RATE_HZ);
    span.as_secs() * per_second + u64::from(span.subsec_micros()) * per_second / 1_000_000
}

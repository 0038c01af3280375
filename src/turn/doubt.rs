//! A caller who seems to break in: what is known of it so far, and what that comes to.
//!
//! While in doubt the bot is held or only quieter, and nothing is lost by waiting: it commits on speech, words or the clock,
//! and otherwise goes on. What holding and going on mean for what is played is somebody else's business.

use std::time::Duration;

use offhook_media::barge::Evidence;

use super::Moment;
use super::backchannel::Said;

/// What showed that the caller wants the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Enough of what was heard is speech.
    Speech,
    /// Recognised words that ask for the floor.
    Words,
    /// A word that always stops the bot.
    StopWord,
    Key,
    /// Sound went on for as long as the bot is held in doubt.
    Cap,
}

/// Why the bot goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It was too short for speech: a cough, a click, noise.
    Silence,
    /// The caller meant "go on".
    Backchannel,
    /// It was speech, and the recogniser has no words for it. Should they come after all, they interrupt by themselves.
    NoWords,
}

/// What a doubt comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Commit(Sign),
    Resume(Mistake),
}

/// How words weigh in the doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// The bot asked something, and any word may be the answer.
    pub asked: bool,
    /// A recogniser listens: words will come of speech.
    pub has_ears: bool,
}

/// See the module's header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Doubt {
    /// When the caller's sound began, as estimated.
    pub onset: Moment,
    /// Since when the bot is held, or quieter.
    since: Moment,
    last_speech: Moment,
    /// 250 ms without speech have been judged.
    quiet: bool,
    /// It was speech, whatever follows.
    was_speech: bool,
    said: Said,
    context: Context,
}

impl Doubt {
    pub(super) fn new(onset: Moment, context: Context, now: Moment) -> Self {
        Self { onset, since: now, last_speech: now, quiet: false, was_speech: false, said: Said::default(), context }
    }

    /// The bot is held from now on: the doubt has all of its time again.
    pub(super) const fn escalate(&mut self, now: Moment) {
        self.since = now;
    }

    /// The onset is better known now: of what began within the last second before the doubt.
    pub(super) fn began(&mut self, at: Moment) {
        if at < self.since && at + LONGEST_ONSET >= self.since {
            self.onset = at;
        }
    }

    /// A window of speech.
    pub(super) const fn speech(&mut self, now: Moment) {
        self.last_speech = now;
        self.quiet = false;
    }

    /// All that was recognised since the caller began.
    pub(super) const fn words(&mut self, said: Said) {
        self.said = said;
    }

    /// When [`Doubt::verdict`] has to be asked again.
    pub(super) fn deadline(&self) -> Moment {
        let cap = self.cap();
        if self.quiet { cap } else { cap.min(self.last_speech + RELEASE) }
    }

    /// What it comes to by now; `None`: not known yet.
    pub(super) fn verdict(&mut self, windows: Windows, now: Moment) -> Option<Verdict> {
        self.quiet = now >= self.last_speech + RELEASE;
        let Context { asked, has_ears } = self.context;
        self.was_speech |= windows.are_speech(asked);
        let is_speech = self.was_speech;
        if let Some(sign) = self.sign_of_words(is_speech) {
            return Some(Verdict::Commit(sign));
        }
        if is_speech && (asked || !has_ears) {
            return Some(Verdict::Commit(Sign::Speech));
        }
        let words_may_come = has_ears && (is_speech || (asked && windows.any_two()));
        if self.quiet && self.said.only_backchannels() {
            return Some(Verdict::Resume(Mistake::Backchannel));
        }
        if self.quiet && !words_may_come {
            return Some(Verdict::Resume(Mistake::Silence));
        }
        (now >= self.cap()).then_some(match (self.quiet, is_speech) {
            (false, _) => Verdict::Commit(Sign::Cap),
            (true, true) => Verdict::Resume(Mistake::NoWords),
            (true, false) => Verdict::Resume(Mistake::Silence),
        })
    }

    /// A listener's word that is not over yet is worth waiting for.
    fn cap(&self) -> Moment {
        self.since + if self.said.only_backchannels() { LISTENING_CAP } else { CAP }
    }

    fn sign_of_words(&self, is_speech: bool) -> Option<Sign> {
        let Said { words, backchannels, stop } = self.said;
        let others = words.saturating_sub(backchannels);
        // One word may be a recogniser's guess at a noise; not when there was speech, or it has ended.
        let enough = others >= 2 || (others == 1 && (is_speech || self.quiet)) || (self.context.asked && words > 0);
        match (stop, enough) {
            (true, _) => Some(Sign::StopWord),
            (false, true) => Some(Sign::Words),
            (false, false) => None,
        }
    }
}

/// Which of the last windows of 32 ms were speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Windows(u32);

impl Windows {
    pub(super) const fn none() -> Self {
        Self(0)
    }

    pub(super) fn push(&mut self, evidence: &Evidence) {
        self.0 = self.0 << 1 | u32::from(evidence.speech);
    }

    /// The last two were speech.
    pub(super) const fn two_in_a_row(self) -> bool {
        self.0 & 0b11 == 0b11
    }

    fn any_two(self) -> bool {
        self.0.count_ones() >= 2
    }

    /// Six of the last ten; while a question is open four of eight, so that "yes" and "two" are heard.
    const fn are_speech(self, asked: bool) -> bool {
        let (of, least) = if asked { (8, 4) } else { (10, 6) };
        (self.0 & ((1 << of) - 1)).count_ones() >= least
    }
}

/// Without speech for this long the sound is over.
const RELEASE: Duration = Duration::from_millis(250);

/// How long the bot is held in doubt.
const CAP: Duration = Duration::from_millis(700);

/// The same once a word was recognised that means "go on".
const LISTENING_CAP: Duration = Duration::from_millis(1000);

const LONGEST_ONSET: Duration = Duration::from_secs(1);

//! The caller's words of the current turn, as a recogniser gives them: finals that stay, one interim that may change.

use std::time::Duration;

use super::Moment;
use super::exchange::append;
use crate::providers::Recognised;
use crate::telemetry::pii::Pii;

/// Collects the words of one caller turn. Pure.
#[derive(Debug, Default)]
pub struct Words {
    finals: String,
    interim: String,
    /// Where in the recogniser's audio the interim words end.
    end: Duration,
    final_at: Option<Moment>,
    changed_at: Option<Moment>,
    /// How often the words have changed in all.
    revision: u64,
    answered: Option<Answered>,
    /// The lowest of those of the finals.
    confidence: Option<f32>,
}

/// Words that were taken before they had settled: their final form may still come, and is no new turn.
#[derive(Debug)]
struct Answered {
    words: String,
    /// Where in the recogniser's audio they ended.
    end: Duration,
    /// Not later than this.
    until: Moment,
    /// However they go on: the caller has pressed a key since.
    by_key: bool,
}

impl Words {
    /// Words that may still change.
    pub fn interim(&mut self, words: &Recognised, now: Moment) {
        let Some(text) = self.news(words, now) else { return };
        if self.interim != text {
            self.interim = text;
            self.end = words.end;
            self.changed(now);
        }
    }

    /// Words that stay; they replace the interim ones. Empty finals only clear the interim.
    pub fn settle(&mut self, words: &Recognised, now: Moment) {
        let news = self.news(words, now);
        if news.as_ref().is_none_or(|news| news.len() < words.text.expose().trim().len()) {
            self.answered = None;
        }
        let Some(text) = news else { return };
        self.changed(now);
        self.interim.clear();
        if text.is_empty() || self.finals.len() + text.len() > MAX_BYTES {
            return;
        }
        append(&mut self.finals, &text);
        self.final_at = Some(now);
        self.confidence = Some(self.confidence.map_or(words.confidence, |before| before.min(words.confidence)));
    }

    /// How sure the recogniser is of the words that have settled, by those that it is least sure of.
    pub const fn confidence(&self) -> Option<f32> {
        self.confidence
    }

    /// The turn that these words were taken for goes on after all.
    pub fn put_back(&mut self, words: Option<&Pii<String>>, now: Moment) {
        let mut all = words.map(|words| words.expose().clone()).unwrap_or_default();
        append(&mut all, &self.finals);
        self.finals = all;
        self.changed(now);
    }

    /// Another session listens from now on: its audio begins at zero.
    pub fn new_session(&mut self) {
        self.end = Duration::ZERO;
        if let Some(answered) = &mut self.answered {
            answered.end = Duration::ZERO;
        }
    }

    /// Counts the changes of the words.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// When the words of this turn changed last.
    pub const fn changed_at(&self) -> Option<Moment> {
        self.changed_at
    }

    /// Whether nothing heard so far may still change, and something was heard.
    pub fn settled(&self) -> bool {
        self.interim.is_empty() && !self.finals.is_empty()
    }

    /// When the latest final words came.
    pub const fn final_at(&self) -> Option<Moment> {
        self.final_at
    }

    /// Everything heard so far, interim words included.
    pub fn so_far(&self) -> Option<Pii<String>> {
        let text = match (self.finals.is_empty(), self.interim.is_empty()) {
            (true, true) => return None,
            (false, true) => self.finals.clone(),
            (true, false) => self.interim.clone(),
            (false, false) => format!("{} {}", self.finals, self.interim),
        };
        Some(Pii::new(text))
    }

    /// Takes the turn's words and begins the next turn.
    pub fn take(&mut self, now: Moment) -> Option<Pii<String>> {
        let text = self.so_far();
        self.begin_again(now, false);
        text
    }

    /// Forgets what was said before a key: keys and speech are not mixed in one answer.
    pub fn drop_for_key(&mut self, now: Moment) {
        self.begin_again(now, true);
    }

    fn begin_again(&mut self, now: Moment, by_key: bool) {
        let words = normal(&self.interim);
        let (end, revision) = (self.end, self.revision + 1);
        let answered = (!words.is_empty()).then_some(Answered { words, end, until: now + LATE, by_key });
        *self = Self { answered, end, revision, ..Self::default() };
    }

    fn changed(&mut self, now: Moment) {
        self.changed_at = Some(now);
        self.revision += 1;
    }

    /// What is new in these words. `None`: nothing is, they are those that were answered, as they settle.
    fn news(&mut self, words: &Recognised, now: Moment) -> Option<String> {
        let all = words.text.expose().trim();
        let Some(answered) = self.answered.as_mut().filter(|answered| now <= answered.until) else {
            return Some(all.to_owned());
        };
        let letters = normal(all);
        // A recogniser that thinks again of what was said changes nothing in an answer that was given.
        let of_then = words.end <= answered.end + SEAM && !letters.is_empty();
        if of_then || letters == answered.words {
            return None;
        }
        if !letters.starts_with(&answered.words) {
            return Some(all.to_owned());
        }
        if answered.by_key {
            return None;
        }
        // It tells the turn from its beginning, and the turn goes on.
        answered.until = now + LATE;
        Some(behind(all, &answered.words).to_owned())
    }
}

/// What follows in `text` behind the letters of its beginning.
fn behind<'a>(text: &'a str, letters: &str) -> &'a str {
    let mut left = letters.chars().count();
    let end = text.char_indices().find(|(_, c)| {
        if left == 0 {
            return c.is_alphanumeric();
        }
        left -= if c.is_alphanumeric() { c.to_lowercase().count().min(left) } else { 0 };
        false
    });
    end.map_or("", |(at, _)| text.get(at..).unwrap_or_default())
}

/// Letters and digits only: recognisers add marks and capitals as words settle.
fn normal(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How late words may settle and still be those of the turn that was answered.
const LATE: Duration = Duration::from_secs(4);

/// By how much the end of a word moves as it settles.
const SEAM: Duration = Duration::from_millis(200);

/// A turn's words beyond this are not kept: nobody answers ten minutes of monologue by its first words.
const MAX_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn heard(text: &str) -> Recognised {
        Recognised {
            text: Pii::new(text.to_owned()),
            confidence: 1.0,
            start: Duration::ZERO,
            end: Duration::from_millis(100 * u64::try_from(text.len()).unwrap()),
        }
    }

    #[test]
    fn finals_replace_interims_and_are_joined() {
        let mut words = Words::default();
        words.interim(&heard("I need"), Duration::ZERO);
        assert!(!words.settled());
        words.settle(&heard("I need a"), Duration::from_secs(1));
        words.interim(&heard("doctor"), Duration::from_secs(1));
        assert_eq!(words.so_far().map(Pii::into_exposed).as_deref(), Some("I need a doctor"));
        words.settle(&heard("doctor."), Duration::from_secs(2));
        assert!(words.settled());
        assert_eq!(words.final_at(), Some(Duration::from_secs(2)));
        let at = Duration::from_secs(3);
        assert_eq!(words.take(at).map(Pii::into_exposed).as_deref(), Some("I need a doctor."));
        assert_eq!(words.take(at), None);
    }

    #[test]
    fn words_that_were_answered_before_they_settled_are_not_heard_again() {
        let at = Duration::from_secs;
        let mut words = Words::default();
        words.interim(&heard("book it"), at(1));
        assert!(words.take(at(2)).is_some());
        words.settle(&heard("Book it."), at(3));
        assert_eq!(words.so_far(), None);
        words.settle(&heard("Book it."), at(4));
        assert_eq!(words.take(at(5)).map(Pii::into_exposed).as_deref(), Some("Book it."));
        words.interim(&heard("I need"), at(6));
        assert!(words.take(at(6)).is_some());
        words.interim(&heard("I need a doctor"), at(7));
        assert_eq!(words.so_far().map(Pii::into_exposed).as_deref(), Some("a doctor"), "what was not answered");
        words.settle(&heard("I need a doctor, now."), at(7));
        assert_eq!(words.take(at(7)).map(Pii::into_exposed).as_deref(), Some("a doctor, now."));
        words.interim(&heard("I need"), at(8));
        words.drop_for_key(at(8));
        words.settle(&heard("I need a doctor"), at(9));
        assert_eq!(words.so_far(), None);
        words.interim(&heard("no"), at(20));
        assert!(words.take(at(20)).is_some());
        words.settle(&heard("No."), at(25));
        assert!(words.settled(), "too late to be the same");
    }

    #[test]
    fn a_recogniser_that_thinks_again_changes_nothing_in_an_answer_given() {
        let at = Duration::from_secs;
        let mut words = Words::default();
        words.interim(&heard("look it up"), at(1));
        assert!(words.take(at(2)).is_some());
        words.settle(&heard("book a cup"), at(3));
        assert_eq!(words.so_far(), None);
        words.settle(&Recognised { end: at(5), ..heard("two") }, at(5));
        assert!(words.settled());
    }

    #[test]
    fn words_that_are_put_back_are_followed_by_the_next() {
        let at = Duration::from_secs;
        let mut words = Words::default();
        words.interim(&heard("I need"), at(1));
        let taken = words.take(at(2));
        words.interim(&heard("I need a doctor"), at(3));
        words.put_back(taken.as_ref(), at(3));
        assert_eq!(words.so_far().map(Pii::into_exposed).as_deref(), Some("I need a doctor"));
        assert!(!words.settled());
    }
}

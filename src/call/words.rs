//! The caller's words of the current turn, as a recogniser gives them: finals that stay, one interim that may change.

use std::time::Duration;

use super::Moment;
use crate::providers::Recognised;
use crate::telemetry::pii::Pii;

/// Collects the words of one caller turn. Pure.
#[derive(Debug, Default)]
pub struct Words {
    finals: String,
    interim: String,
    final_at: Option<Moment>,
    answered: Option<Answered>,
}

/// Words that were taken before they had settled: their final form may still come, and is no new turn.
#[derive(Debug)]
struct Answered {
    words: String,
    /// Not later than this.
    until: Moment,
    /// However they go on: the caller has pressed a key since.
    by_key: bool,
}

impl Words {
    /// Words that may still change.
    pub fn interim(&mut self, words: &Recognised, now: Moment) {
        if self.repeats(words, now) {
            return;
        }
        self.interim.clear();
        self.interim.push_str(words.text.expose().trim());
    }

    /// Words that stay; they replace the interim ones. Empty finals only clear the interim.
    pub fn settle(&mut self, words: &Recognised, now: Moment) {
        if self.repeats(words, now) {
            self.answered = None;
            return;
        }
        self.interim.clear();
        let text = words.text.expose().trim();
        if text.is_empty() || self.finals.len() + text.len() > MAX_BYTES {
            return;
        }
        if !self.finals.is_empty() {
            self.finals.push(' ');
        }
        self.finals.push_str(text);
        self.final_at = Some(now);
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
        let answered = (!words.is_empty()).then_some(Answered { words, until: now + LATE, by_key });
        *self = Self { answered, ..Self::default() };
    }

    fn repeats(&self, words: &Recognised, now: Moment) -> bool {
        self.answered.as_ref().filter(|answered| now <= answered.until).is_some_and(|answered| {
            let words = normal(words.text.expose());
            if answered.by_key { words.starts_with(&answered.words) } else { words == answered.words }
        })
    }
}

/// Letters and digits only: recognisers add marks and capitals as words settle.
fn normal(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// How late words may settle and still be those of the turn that was answered.
const LATE: Duration = Duration::from_secs(4);

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
            end: Duration::from_millis(100),
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
        words.settle(&heard("I need a doctor"), at(7));
        assert!(words.take(at(7)).is_some(), "more was said than was answered");
        words.interim(&heard("I need"), at(8));
        words.drop_for_key(at(8));
        words.settle(&heard("I need a doctor"), at(9));
        assert_eq!(words.so_far(), None);
        words.interim(&heard("no"), at(20));
        assert!(words.take(at(20)).is_some());
        words.settle(&heard("No."), at(25));
        assert!(words.settled(), "too late to be the same");
    }
}

//! The caller's words of the current turn, as a recogniser gives them: finals that stay, one interim that may change.

use super::Moment;
use crate::providers::Recognised;
use crate::telemetry::pii::Pii;

/// Collects the words of one caller turn. Pure.
#[derive(Debug, Default)]
pub struct Words {
    finals: String,
    interim: String,
    final_at: Option<Moment>,
}

impl Words {
    /// Words that may still change.
    pub fn interim(&mut self, words: &Recognised) {
        self.interim.clear();
        self.interim.push_str(words.text.expose().trim());
    }

    /// Words that stay; they replace the interim ones. Empty finals only clear the interim.
    pub fn settle(&mut self, words: &Recognised, now: Moment) {
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
    pub fn take(&mut self) -> Option<Pii<String>> {
        let text = self.so_far();
        *self = Self::default();
        text
    }
}

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
        words.interim(&heard("I need"));
        assert!(!words.settled());
        words.settle(&heard("I need a"), Duration::from_secs(1));
        words.interim(&heard("doctor"));
        assert_eq!(words.so_far().map(Pii::into_exposed).as_deref(), Some("I need a doctor"));
        words.settle(&heard("doctor."), Duration::from_secs(2));
        assert!(words.settled());
        assert_eq!(words.final_at(), Some(Duration::from_secs(2)));
        assert_eq!(words.take().map(Pii::into_exposed).as_deref(), Some("I need a doctor."));
        assert_eq!(words.take(), None);
    }
}

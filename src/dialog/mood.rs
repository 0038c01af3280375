//! How a caller feels about the conversation, from their words, from how sure the recogniser is and from the rhythm of
//! their answers; and what a flow does about it: slower speech, a word of encouragement, a line to the model.
//!
//! Rules, no model: a mood must be known before the answer is asked for. Deliberately absent: guesses from the voice.

use std::time::Duration;

use serde_json::json;

use super::flow::{Ask, Prompt};
use super::runner::Dialog;
use super::{Moment, words};
use crate::providers::Language;
use crate::telemetry::pii::Pii;

/// `moods:` of a flow.
#[derive(Clone, Debug)]
pub(super) struct Moods {
    /// How much slower a frustrated caller is spoken to.
    pub rate: f32,
    /// Said before an answer, one after the other.
    pub encourage: Vec<Prompt>,
    /// What the model is told meanwhile.
    pub system: String,
}

/// The caller's mood as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Temper {
    score: u32,
    frustrated: bool,
    /// Turns since the last encouragement.
    since_encouraged: u32,
    encouraged: usize,
    /// The recogniser's confidence in the words that come next.
    pub confidence: Option<f32>,
    /// When our last words had been heard.
    pub spoken_at: Option<Moment>,
}

/// What a turn tells of the mood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// Words of frustration.
    Words,
    /// The recogniser is not sure of what it heard.
    Unclear,
    /// One or two words, at once: an answer that wants to be over.
    Curt,
    /// Nothing of it.
    None,
    /// Words of joy or thanks.
    Glad,
}

impl Sign {
    fn of(said: &str, confidence: Option<f32>, after: Option<Duration>, language: &Language) -> Self {
        let said = words::normal(said);
        let has = |phrases: &[&str]| phrases.iter().any(|phrase| format!(" {said} ").contains(&format!(" {phrase} ")));
        let (bad, good) = match language.primary() {
            "fr" => (&FRENCH[..], &FRENCH_GLAD[..]),
            "rw" => (&KINYARWANDA[..], &KINYARWANDA_GLAD[..]),
            _ => (&ENGLISH[..], &ENGLISH_GLAD[..]),
        };
        let short = said.split(' ').count() <= 2;
        match () {
            () if has(bad) => Self::Words,
            () if confidence.is_some_and(|sure| sure < UNSURE) => Self::Unclear,
            () if has(good) => Self::Glad,
            () if short && after.is_some_and(|after| after < QUICK) => Self::Curt,
            () => Self::None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Unclear => "unclear",
            Self::Curt => "curt",
            Self::None => "none",
            Self::Glad => "glad",
        }
    }
}

impl Temper {
    /// Whether the mood has changed by this sign.
    fn feel(&mut self, sign: Sign) -> bool {
        self.score = match sign {
            Sign::Words => self.score.saturating_add(FRUSTRATED_AT),
            Sign::Unclear | Sign::Curt => self.score.saturating_add(1),
            Sign::None => self.score.saturating_sub(1),
            Sign::Glad => 0,
        };
        self.score = self.score.min(MOST);
        let before = self.frustrated;
        // It takes more to be frustrated than to stay so.
        self.frustrated = self.score >= if before { 1 } else { FRUSTRATED_AT };
        before != self.frustrated
    }
}

impl Dialog {
    /// How sure the recogniser is of the words of the turn that is told next, from 0 to 1.
    pub const fn heard_with(&mut self, confidence: Option<f32>) {
        self.temper.confidence = confidence;
    }

    /// `calm` or `frustrated`.
    pub(super) const fn mood(&self) -> &'static str {
        if self.temper.frustrated { "frustrated" } else { "calm" }
    }

    /// The caller has said something.
    pub(super) fn feel(&mut self, said: &Pii<String>, now: Moment) {
        let confidence = self.temper.confidence.take();
        if self.flow.moods.is_none() {
            return;
        }
        let after = self.temper.spoken_at.map(|at| now.saturating_sub(at));
        let sign = Sign::of(said.expose(), confidence, after, &self.language());
        self.temper.since_encouraged = self.temper.since_encouraged.saturating_add(1);
        if self.temper.feel(sign) {
            self.temper.since_encouraged = u32::MAX;
            self.event("mood", Some(Pii::new(json!({ "mood": self.mood(), "why": sign.as_str() }))));
        }
    }

    /// The step's rate, slower for who is frustrated.
    pub(super) fn rate(&self, of_step: f32) -> f32 {
        match &self.flow.moods {
            Some(moods) if self.temper.frustrated => (of_step * moods.rate).max(0.5),
            _ => of_step,
        }
    }

    /// A word of encouragement for who is frustrated: at once, and then not at every turn.
    pub(super) fn encouragement(&mut self) -> Option<Prompt> {
        let moods = self.flow.moods.as_ref().filter(|_| self.temper.frustrated)?;
        if self.temper.since_encouraged < ENCOURAGED_EVERY {
            return None;
        }
        let next = moods.encourage.get(self.temper.encouraged % moods.encourage.len().max(1)).cloned()?;
        self.temper.encouraged += 1;
        self.temper.since_encouraged = 0;
        Some(next)
    }

    /// The model's instructions, with what the mood and the missing words add.
    pub(super) fn instructions(&self, ask: &Ask, missing: &str) -> String {
        let mut system = ask.system.clone();
        if let Some(moods) = self.flow.moods.as_ref().filter(|_| self.temper.frustrated) {
            system = format!("{system}\n\n{}", moods.system);
        }
        if !missing.is_empty() {
            system = format!(
                "{system}\n\nThe caller left out: {missing}. They were told so already. Say their sentence correctly \
                 once, as if in passing, and go on with what they meant."
            );
        }
        system
    }
}

/// Below this a recogniser's confidence is low.
const UNSURE: f32 = 0.6;
/// From the end of our words to the end of a short answer.
const QUICK: Duration = Duration::from_millis(2000);
const FRUSTRATED_AT: u32 = 2;
const MOST: u32 = 4;
/// Turns between two encouragements.
const ENCOURAGED_EVERY: u32 = 3;

const ENGLISH: [&str; 26] = [
    "too hard",
    "too difficult",
    "i cant",
    "i can not",
    "i cannot",
    "i give up",
    "this is stupid",
    "stupid",
    "i hate",
    "frustrated",
    "frustrating",
    "annoying",
    "i dont understand",
    "dont get it",
    "i dont know",
    "im confused",
    "confusing",
    "not working",
    "you dont understand",
    "im tired",
    "boring",
    "leave me",
    "forget it",
    "im lost",
    "ugh",
    "too fast",
];
const ENGLISH_GLAD: [&str; 10] =
    ["thank you", "thanks", "great", "i like", "i understand", "now i see", "fun", "easy", "good", "happy"];
const FRENCH: [&str; 12] = [
    "trop difficile",
    "trop dur",
    "je ne peux pas",
    "je narrive pas",
    "jabandonne",
    "je ne comprends pas",
    "je comprends pas",
    "je ne sais pas",
    "énervant",
    "ça marche pas",
    "fatigué",
    "trop vite",
];
const FRENCH_GLAD: [&str; 6] = ["merci", "super", "génial", "je comprends", "facile", "jaime"];
const KINYARWANDA: [&str; 6] = ["birakomeye", "sinumva", "simbizi", "ndananiwe", "birambiwe", "sinshobora"];
const KINYARWANDA_GLAD: [&str; 4] = ["murakoze", "ndabyumva", "byiza", "biroroshye"];

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(said: &str, confidence: f32, after_ms: u64) -> Sign {
        Sign::of(said, Some(confidence), Some(Duration::from_millis(after_ms)), &Language::default())
    }

    #[test]
    fn words_confidence_and_rhythm_are_signs() {
        assert_eq!(sign("This is too hard, I can't do it", 0.9, 3000), Sign::Words);
        assert_eq!(sign("I went to the market", 0.4, 3000), Sign::Unclear);
        assert_eq!(sign("market", 0.9, 800), Sign::Curt);
        assert_eq!(sign("market", 0.9, 4000), Sign::None);
        assert_eq!(sign("Thank you, that was good", 0.9, 800), Sign::Glad);
        assert_eq!(sign("candy", 0.9, 9000), Sign::None, "a phrase fits as whole words");
        let french = Language::parse("fr").unwrap();
        assert_eq!(Sign::of("C'est trop difficile !", None, None, &french), Sign::Words);
        assert_eq!(Sign::of("Sinumva", None, None, &Language::parse("rw").unwrap()), Sign::Words);
    }

    #[test]
    fn one_bad_word_or_two_small_signs_frustrate_and_good_turns_calm() {
        let mut temper = Temper::default();
        assert!(!temper.feel(Sign::Curt));
        assert!(temper.feel(Sign::Unclear) && temper.frustrated);
        assert!(!temper.feel(Sign::None) && temper.frustrated);
        assert!(temper.feel(Sign::None) && !temper.frustrated);
        assert!(temper.feel(Sign::Words));
        assert!(temper.feel(Sign::Glad) && !temper.frustrated);
        for _ in 0..9 {
            let _ = temper.feel(Sign::Words);
        }
        let turns = (0..).take_while(|_| !temper.feel(Sign::None)).count();
        assert_eq!(turns, 3, "frustration does not build up without end");
    }
}

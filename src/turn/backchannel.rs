//! What words mean while the bot speaks: "go on", "stop", or something to answer.
//!
//! Lists per language; a flow may bring its own. Only single words and short phrases are known: what a sentence means is
//! the model's business.

use std::sync::Arc;

/// What was recognised of a caller who speaks over the bot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Words in all.
    pub words: usize,
    /// Of these, words that mean "go on, I am listening".
    pub backchannels: usize,
    /// A word or phrase among them always stops the bot.
    pub stop: bool,
}

impl Said {
    pub const fn only_backchannels(self) -> bool {
        self.words > 0 && self.words == self.backchannels
    }
}

/// The lists of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lexicon {
    /// The primary subtag of the language: `en`.
    language: String,
    stop_words: Option<Arc<[String]>>,
    backchannels: Option<Arc<[String]>>,
}

impl Lexicon {
    /// The lists that come with a language (its primary subtag); the flow's own take their place.
    pub fn new(language: &str, stop_words: Option<Arc<[String]>>, backchannels: Option<Arc<[String]>>) -> Self {
        Self { language: language.to_owned(), stop_words, backchannels }
    }

    /// Counts what was said.
    pub fn judge(&self, text: &str) -> Said {
        let words = words(text);
        let mut said = Said { words: words.len(), ..Said::default() };
        let mut rest = &words[..];
        while !rest.is_empty() {
            said.stop |= self.longest(rest, self.stop_words.as_deref(), stop_words(&self.language)) > 0;
            let length = self.longest(rest, self.backchannels.as_deref(), backchannels(&self.language));
            said.backchannels += length;
            rest = rest.get(length.max(1)..).unwrap_or_default();
        }
        said
    }

    /// Words of the longest phrase of a list that `said` begins with.
    fn longest(&self, said: &[String], own: Option<&[String]>, built_in: &[&str]) -> usize {
        let length = |phrase: &str| {
            let phrase = words(phrase);
            if said.starts_with(&phrase) { phrase.len() } else { 0 }
        };
        match own {
            Some(own) => own.iter().map(|phrase| length(phrase)).max().unwrap_or(0),
            None => built_in.iter().map(|phrase| length(phrase)).max().unwrap_or(0),
        }
    }
}

/// Lower-case, without marks; "uh-huh" is one word.
fn words(text: &str) -> Vec<String> {
    let bare = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    text.split_whitespace().map(bare).filter(|word: &String| !word.is_empty()).collect()
}

fn backchannels(language: &str) -> &'static [&'static str] {
    match language {
        "fr" => &FRENCH,
        "es" => &SPANISH,
        "rw" => &KINYARWANDA,
        "sw" => &SWAHILI,
        _ => &ENGLISH,
    }
}

fn stop_words(language: &str) -> &'static [&'static str] {
    match language {
        "fr" => &["stop", "arrête", "arrêtez", "attends", "attendez", "taisez-vous", "une seconde", "un instant"],
        "es" => &["stop", "para", "pare", "espera", "espere", "un momento", "cállate", "basta"],
        "rw" => &["hagarara", "ceceka", "tegereza", "rekera aho", "stop"],
        "sw" => &["simama", "acha", "subiri", "ngoja", "nyamaza", "stop"],
        _ => &["stop", "wait", "hold on", "hang on", "one moment", "be quiet", "shut up", "excuse me"],
    }
}

const ENGLISH: [&str; 30] = [
    "uh-huh",
    "mm-hmm",
    "mhm",
    "mm",
    "mmm",
    "hm",
    "hmm",
    "uh",
    "um",
    "ah",
    "aha",
    "oh",
    "yeah",
    "yep",
    "yes",
    "ok",
    "okay",
    "right",
    "sure",
    "i see",
    "got it",
    "all right",
    "alright",
    "oh okay",
    "good",
    "great",
    "fine",
    "cool",
    "exactly",
    "true",
];

const FRENCH: [&str; 22] = [
    "hum",
    "hmm",
    "hm",
    "mm",
    "mhm",
    "euh",
    "ah",
    "oh",
    "oui",
    "ouais",
    "ok",
    "okay",
    "d'accord",
    "d accord",
    "entendu",
    "bien",
    "très bien",
    "je vois",
    "voilà",
    "ah bon",
    "exact",
    "bon",
];

const SPANISH: [&str; 22] = [
    "ajá",
    "aja",
    "mm",
    "mhm",
    "hm",
    "hmm",
    "eh",
    "ah",
    "oh",
    "sí",
    "si",
    "ok",
    "okay",
    "vale",
    "claro",
    "bueno",
    "bien",
    "ya",
    "ya veo",
    "de acuerdo",
    "entiendo",
    "perfecto",
];

const KINYARWANDA: [&str; 16] = [
    "mm",
    "mhm",
    "hmm",
    "eh",
    "ee",
    "eee",
    "ego",
    "yego",
    "ok",
    "okay",
    "ni byo",
    "nibyo",
    "sawa",
    "ndabyumva",
    "ndumva",
    "ah",
];

const SWAHILI: [&str; 18] = [
    "mm",
    "mhm",
    "hmm",
    "eh",
    "ee",
    "eeh",
    "ah",
    "aha",
    "ndiyo",
    "ndio",
    "sawa",
    "sawa sawa",
    "ok",
    "okay",
    "haya",
    "naelewa",
    "nimeelewa",
    "vizuri",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn said(language: &str, text: &str) -> (usize, usize, bool) {
        let Said { words, backchannels, stop } = Lexicon::new(language, None, None).judge(text);
        (words, backchannels, stop)
    }

    #[test]
    fn listening_sounds_are_told_from_words() {
        for (language, text) in [
            ("en", "Uh-huh."),
            ("en", "Yeah, okay."),
            ("en", "Oh, I see."),
            ("fr", "Oui, d'accord."),
            ("es", "Sí, claro."),
            ("rw", "Yego, ni byo."),
            ("sw", "Sawa sawa."),
            ("de", "okay"),
        ] {
            let judged = Lexicon::new(language, None, None).judge(text);
            assert!(judged.only_backchannels() && !judged.stop, "{language} {text}: {judged:?}");
        }
        assert_eq!(said("en", "Okay, but when?"), (3, 1, false));
        assert_eq!(said("en", ""), (0, 0, false));
        assert!(!Said::default().only_backchannels());
    }

    #[test]
    fn words_that_stop_are_found_anywhere() {
        assert_eq!(said("en", "Okay, hold on a second."), (5, 1, true));
        assert_eq!(said("en", "I hold onto it"), (4, 0, false));
        assert!(said("fr", "Oui, attendez !").2);
        assert!(said("sw", "Subiri kidogo").2);
    }

    #[test]
    fn the_lists_of_a_flow_take_the_place_of_the_language() {
        let own = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect::<Arc<[String]>>());
        let lexicon = Lexicon::new("en", own(&["operator"]), own(&[]));
        assert!(lexicon.judge("operator please").stop);
        assert_eq!(lexicon.judge("okay stop"), Said { words: 2, backchannels: 0, stop: false });
    }
}

//! Words of the program's own, in the languages that it knows: for what no flow has written words for.
//!
//! Deliberately absent: a language in the place of another one. Where there are no words, a flow or the configuration
//! brings them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::DrainWords;
use crate::providers::Language;
use crate::safety::said::{Cleared, clear};

/// What may have to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    /// The call is recorded.
    Recorded,
    /// The question whether it may be.
    MayWeRecord,
    /// The recording that the caller was told of has failed.
    NotRecorded,
    /// The server goes down.
    Closing,
}

impl Usual {
    /// The words in this language, where we have them.
    pub fn words(self, language: &Language) -> Option<&'static str> {
        let (_, words) = WORDS.iter().find(|(primary, _)| *primary == language.primary())?;
        Some(match self {
            Self::Recorded => words.recorded,
            Self::MayWeRecord => words.may_we_record,
            Self::NotRecorded => words.not_recorded,
            Self::Closing => words.closing,
        })
    }

    /// The languages of [`Usual::words`], as primary subtags (RFC 5646).
    pub fn languages() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|(primary, _)| *primary)
    }
}

/// What callers hear when the server goes down, each in their own language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastWords {
    /// The same on every line, spoken as the line speaks.
    Everywhere(Cleared),
    /// By language tag; ours where there are none.
    ByLanguage(Arc<BTreeMap<String, Cleared>>),
}

impl LastWords {
    /// None where nothing is to be said at all.
    pub fn new(config: &DrainWords) -> Option<Self> {
        match config {
            DrainWords::Everywhere(text) => Some(Self::Everywhere(clear(text))).filter(|_| !text.trim().is_empty()),
            DrainWords::ByLanguage(texts) => {
                let words = texts.iter().map(|(tag, text)| (tag.clone(), clear(text)));
                Some(Self::ByLanguage(Arc::new(words.collect())))
            }
        }
    }

    /// The words for a caller who is spoken to in `language`, and the language that they are in: English where there are
    /// none in theirs. None where the configuration wants silence in it.
    pub fn spoken_in(&self, language: &Language) -> Option<(Cleared, Language)> {
        let (words, language) = match self {
            Self::Everywhere(words) => (words.clone(), language.clone()),
            Self::ByLanguage(own) => {
                let of = |language: &Language| {
                    let own = own.get(language.tag()).or_else(|| own.get(language.primary())).cloned();
                    own.or_else(|| Usual::Closing.words(language).map(clear)).map(|words| (words, language.clone()))
                };
                of(language).or_else(|| of(&Language::default()))?
            }
        };
        Some((words, language)).filter(|(words, _)| !words.is_empty())
    }
}

struct Words {
    recorded: &'static str,
    may_we_record: &'static str,
    not_recorded: &'static str,
    closing: &'static str,
}

const WORDS: [(&str, Words); 4] = [
    (
        "en",
        Words {
            recorded: "This call is recorded.",
            may_we_record: "May we record this call? Say yes or press 1 to agree. Say no or press 2, and it is not recorded.",
            not_recorded: "I told you that this call is recorded. The recording has stopped, and the call goes on without it.",
            closing: "I am sorry, this service has to stop for a moment. Please call again in a few minutes. Goodbye.",
        },
    ),
    (
        "fr",
        Words {
            recorded: "Cet appel est enregistré.",
            may_we_record: "Pouvons-nous enregistrer cet appel ? Dites oui ou appuyez sur 1 pour accepter. Dites non ou appuyez sur 2, et il ne sera pas enregistré.",
            not_recorded: "Je vous ai dit que cet appel est enregistré. L'enregistrement s'est arrêté, et l'appel continue sans lui.",
            closing: "Je suis désolé, ce service doit s'arrêter un instant. Veuillez rappeler dans quelques minutes. Au revoir.",
        },
    ),
    (
        "sw",
        Words {
            recorded: "Simu hii inarekodiwa.",
            may_we_record: "Je, tunaweza kurekodi simu hii? Sema ndiyo au bonyeza 1 kukubali. Sema hapana au bonyeza 2, na haitarekodiwa.",
            not_recorded: "Nilikuambia kwamba simu hii inarekodiwa. Kurekodi kumesimama, na simu inaendelea bila kurekodiwa.",
            closing: "Samahani, huduma hii inasimama kwa muda. Tafadhali piga tena baada ya dakika chache. Kwaheri.",
        },
    ),
    (
        "rw",
        Words {
            recorded: "Iki kiganiro kirafatwa amajwi.",
            may_we_record: "Twemererwa gufata amajwi y'iki kiganiro? Vuga yego cyangwa ukande 1 niba ubyemeye. Vuga oya cyangwa ukande 2, ntabwo afatwa.",
            not_recorded: "Nakubwiye ko iki kiganiro gifatwa amajwi. Gufata amajwi byahagaze, ikiganiro kirakomeza nta majwi afatwa.",
            closing: "Mutwihanganire, iyi serivisi igiye guhagarara akanya gato. Mwongere muhamagare mu minota mike. Murabeho.",
        },
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_all_words_and_an_unknown_one_has_none() {
        let all = [Usual::Recorded, Usual::MayWeRecord, Usual::NotRecorded, Usual::Closing];
        for primary in Usual::languages() {
            let regional = Language::parse(&format!("{primary}-RW")).unwrap();
            let words: Vec<&str> = all.iter().filter_map(|usual| usual.words(&regional)).collect();
            assert_eq!(words.len(), all.len(), "{primary}");
            assert!(words.iter().all(|words| words.len() > 10 && words.ends_with(['.', '?'])), "{words:?}");
        }
        assert_eq!(Usual::Closing.words(&Language::parse("de").unwrap()), None);
    }

    #[test]
    fn last_words_are_the_callers_languages_own() {
        let language = |tag: &str| Language::parse(tag).unwrap();
        let spoken = |config: &DrainWords, tag: &str| {
            let spoken = LastWords::new(config)?.spoken_in(&language(tag))?;
            Some((spoken.0.as_str().to_owned(), spoken.1.tag().to_owned()))
        };
        let usual = DrainWords::default();
        let (words, tag) = spoken(&usual, "fr-RW").unwrap();
        assert!(words.starts_with("Je suis désolé") && tag == "fr-RW", "{words}");
        let (words, tag) = spoken(&usual, "de").unwrap();
        assert!(words.starts_with("I am sorry") && tag == Language::default().tag(), "{words} in {tag}");
        let own = [("de", "Auf Wiederhören."), ("fr", "")].map(|(tag, text)| (tag.to_owned(), text.to_owned()));
        let own = DrainWords::ByLanguage(own.into());
        assert_eq!(spoken(&own, "de-AT"), Some(("Auf Wiederhören.".to_owned(), "de-AT".to_owned())));
        assert_eq!(spoken(&own, "fr"), None, "silence in one language");
        assert!(spoken(&own, "sw").unwrap().0.starts_with("Samahani"));
        let one = DrainWords::Everywhere("Wir schließen.".to_owned());
        assert_eq!(spoken(&one, "de").unwrap().1, "de");
        assert_eq!(LastWords::new(&DrainWords::Everywhere(String::new())), None);
    }
}

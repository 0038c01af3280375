//! What the form of a caller's last words says about whether more will come. Pure, and small on purpose: the last word
//! and the mark behind it tell most of it, and a list can be read by whoever wonders why a turn did not end.
//!
//! Deliberately absent: what the words mean. Whether they answer the question is told by the dialog.

/// How a stretch of words ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the middle of something: a filler, an article, a conjunction, a comma.
    Unfinished,
    /// Neither way.
    Plain,
    /// As a sentence does, with its mark.
    Finished,
}

/// The form of `words` in a language, given as its primary tag such as `en`. Of a language without a list only the marks
/// are read.
pub fn form(words: &str, language: &str) -> Form {
    let words = words.trim_end();
    let mark = Mark::of(words);
    let last = last_word(words);
    let lists = LANGUAGES.iter().find(|lists| lists.language == language);
    let is_in = |list: fn(&Lists) -> &'static [&'static str]| lists.is_some_and(|l| list(l).contains(&last.as_str()));
    match mark {
        Mark::Question => Form::Finished,
        Mark::Comma => Form::Unfinished,
        // A recogniser that is cut off puts a full stop behind anything; behind these words no sentence ends.
        Mark::Stop | Mark::None if is_in(|l| l.never_last) => Form::Unfinished,
        Mark::Stop => Form::Finished,
        Mark::None if is_in(|l| l.seldom_last) => Form::Unfinished,
        Mark::None => Form::Plain,
    }
}

enum Mark {
    None,
    Stop,
    Question,
    Comma,
}

impl Mark {
    fn of(words: &str) -> Self {
        if words.ends_with("...") {
            return Self::Comma;
        }
        match words.chars().next_back() {
            Some('.' | '!' | '\u{3002}') => Self::Stop,
            Some('?' | '\u{ff1f}' | '\u{61f}') => Self::Question,
            Some(',' | ':' | ';' | '-' | '\u{2013}' | '\u{2014}' | '\u{2026}') => Self::Comma,
            _ => Self::None,
        }
    }
}

/// Lower case, with the apostrophes inside it made one kind.
fn last_word(words: &str) -> String {
    let inside = |c: char| c.is_alphanumeric() || c == '\'' || c == '\u{2019}';
    let trimmed = words.trim_end_matches(|c: char| !c.is_alphanumeric());
    let begin =
        trimmed.rfind(|c: char| !inside(c)).map_or(0, |at| at + trimmed[at..].chars().next().map_or(1, char::len_utf8));
    let lower = |c: char| if c == '\u{2019}' { '\'' } else { c };
    trimmed.get(begin..).unwrap_or_default().chars().flat_map(char::to_lowercase).map(lower).collect()
}

struct Lists {
    language: &'static str,
    /// Fillers, articles, possessives, conjunctions, titles: more comes, whatever the mark.
    never_last: &'static [&'static str],
    /// Prepositions, auxiliaries, verbs that want an object: more comes unless there is a mark.
    seldom_last: &'static [&'static str],
}

const LANGUAGES: [Lists; 5] = [
    Lists {
        language: "en",
        never_last: &[
            "um", "uh", "er", "erm", "uhm", "hmm", "a", "an", "the", "my", "your", "our", "their", "its", "and", "or",
            "but", "because", "since", "until", "if", "when", "while", "although", "unless", "than", "whether", "as",
            "to", "of", "i", "i'm", "i'd", "i've", "i'll", "we're", "we'd", "it's", "that's", "there's", "mr", "mrs",
            "ms", "dr", "every", "some", "any",
        ],
        seldom_last: &[
            "in", "at", "on", "for", "with", "from", "by", "about", "into", "after", "before", "between", "under",
            "during", "through", "against", "towards", "over", "near", "without", "is", "are", "was", "were", "be",
            "been", "am", "have", "has", "had", "do", "does", "did", "can", "could", "will", "would", "should", "may",
            "might", "must", "want", "need", "like", "wanna", "gonna", "so", "that", "which", "who", "what", "where",
            "how", "why", "we", "you", "he", "she", "they", "it", "his", "her", "this", "these", "those", "not",
            "just", "also", "well", "please", "maybe", "actually", "let", "let's",
        ],
    },
    Lists {
        language: "fr",
        never_last: &[
            "euh", "heu", "hum", "le", "la", "les", "l", "un", "une", "des", "du", "de", "d", "mon", "ma", "mes",
            "ton", "ta", "tes", "son", "sa", "ses", "notre", "nos", "votre", "vos", "leur", "leurs", "et", "ou",
            "mais", "donc", "car", "parce", "que", "qu", "si", "quand", "lorsque", "comme", "je", "j", "il", "ils",
            "au", "aux", "ce", "cet", "cette", "ces", "c'est", "chez", "monsieur", "madame",
        ],
        seldom_last: &[
            "en", "dans", "avec", "pour", "par", "sur", "sous", "sans", "entre", "vers", "depuis", "avant", "est",
            "sont", "suis", "ai", "a", "avons", "avez", "ont", "veux", "voudrais", "voulais", "peux", "pourrais",
            "dois", "faut", "aimerais", "nous", "vous", "on", "tu", "elle", "qui", "où", "dont", "ne", "pas", "alors",
            "ben", "bah", "enfin", "aussi", "très",
        ],
    },
    Lists {
        language: "es",
        never_last: &[
            "eh", "em", "este", "el", "los", "las", "un", "una", "unos", "unas", "mi", "mis", "tu", "tus", "su", "sus",
            "nuestro", "nuestra", "y", "e", "o", "u", "pero", "porque", "que", "si", "cuando", "aunque", "como", "de",
            "del", "al", "a", "yo", "señor", "señora",
        ],
        seldom_last: &[
            "la", "en", "con", "por", "para", "sin", "sobre", "entre", "hasta", "desde", "es", "son", "soy", "está",
            "estoy", "he", "ha", "hay", "quiero", "quería", "quisiera", "necesito", "puedo", "podría", "tengo", "me",
            "te", "se", "lo", "le", "nos", "pues", "bueno", "no", "muy", "donde", "quien",
        ],
    },
    Lists {
        language: "sw",
        never_last: &[
            "na", "au", "lakini", "kwa", "ya", "wa", "la", "za", "cha", "vya", "pa", "kama", "ili", "kwamba", "kwani",
            "sababu", "katika", "eh", "aa", "mm", "bwana", "bibi",
        ],
        seldom_last: &[
            "ni",
            "si",
            "hadi",
            "mpaka",
            "bila",
            "kuhusu",
            "baada",
            "kabla",
            "nataka",
            "ningependa",
            "naomba",
            "nina",
            "niko",
            "yaani",
            "halafu",
            "kisha",
            "pia",
            "hii",
            "hiyo",
            "yangu",
            "wangu",
        ],
    },
    Lists {
        language: "rw",
        never_last: &[
            "na", "n", "no", "ariko", "cyangwa", "kuko", "ngo", "ko", "mu", "ku", "kwa", "wa", "ya", "za", "cya",
            "bya", "rwa", "ba", "y", "w", "by", "iyo", "niba", "kugira", "eh", "hmm", "bwana", "madamu",
        ],
        seldom_last: &[
            "ni",
            "si",
            "nka",
            "kugeza",
            "nyuma",
            "mbere",
            "hamwe",
            "ndashaka",
            "nifuza",
            "nashakaga",
            "mfite",
            "ubwo",
            "noneho",
            "kandi",
            "hanyuma",
            "uyu",
            "iyi",
            "aha",
            "iki",
            "cyane",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_and_its_mark_tell() {
        for (words, language, expected) in [
            ("I would like to book an appointment.", "en", Form::Finished),
            ("Where are you from?", "en", Form::Finished),
            ("I would like to", "en", Form::Unfinished),
            ("I would like to.", "en", Form::Unfinished),
            ("My name is", "en", Form::Unfinished),
            ("Yes, it is.", "en", Form::Finished),
            ("Well, um", "en", Form::Unfinished),
            ("I\u{2019}m", "en", Form::Unfinished),
            ("on Monday,", "en", Form::Unfinished),
            ("on Monday...", "en", Form::Unfinished),
            ("on Monday", "en", Form::Plain),
            ("The album", "en", Form::Plain),
            ("Je voudrais prendre un rendez-vous pour", "fr", Form::Unfinished),
            ("C\u{2019}est", "fr", Form::Unfinished),
            ("Quiero una cita para", "es", Form::Unfinished),
            ("Ningependa kuzungumza na", "sw", Form::Unfinished),
            ("Ndashaka kuvugana na", "rw", Form::Unfinished),
            ("Ich möchte gern einen", "de", Form::Plain),
            ("", "en", Form::Plain),
            ("...", "en", Form::Unfinished),
        ] {
            assert_eq!(form(words, language), expected, "{words}");
        }
    }

    #[test]
    fn a_word_is_in_one_list_of_its_language() {
        for lists in &LANGUAGES {
            for word in lists.never_last {
                assert!(!lists.seldom_last.contains(word), "{} in {}", word, lists.language);
                assert_eq!(last_word(word), *word, "as it would be heard");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_a_form(text in ".{0,60}") {
            let _ = form(&text, "en");
        }
    }
}

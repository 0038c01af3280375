//! Text to pieces worth speaking one by one: whole sentences, and for a first answer the first clause, so that the
//! voice can begin while a language model still writes.
//!
//! Rules over characters, no dictionary: a full stop ends a sentence only where white space and no small letter
//! follow, and not after a title, an initial or a list number. Doubt keeps text together; length is bounded anyway.

/// Splits fixed text into sentences, each at most [`MAX_CHARS`] characters, without surrounding white space.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = boundary(rest, false, true).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        if is_speakable(piece) {
            found.push(piece.trim_end());
        }
        rest = tail.trim_start();
    }
    found
}

/// Collects the tokens of a streamed answer and gives back sentences as soon as they are certain.
#[derive(Debug)]
pub struct Chunker {
    held: String,
    /// Nothing was given back yet: a clause will do.
    first: bool,
}

impl Chunker {
    pub const fn new() -> Self {
        Self { held: String::new(), first: true }
    }

    /// Takes the next token, of any length. Holds at most [`MAX_CHARS`] characters back.
    pub fn push(&mut self, token: &str) -> Vec<String> {
        self.held.push_str(token);
        self.drain(false)
    }

    /// The answer has ended: whatever is held is complete.
    pub fn finish(&mut self) -> Vec<String> {
        let mut found = self.drain(true);
        let rest = std::mem::take(&mut self.held);
        if is_speakable(&rest) {
            found.push(rest.trim().to_owned());
        }
        self.first = true;
        found
    }

    fn drain(&mut self, complete: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = self.held.trim_start();
        while let Some(end) = boundary(rest, self.first, complete) {
            let (piece, tail) = rest.split_at(end);
            if is_speakable(piece) {
                found.push(piece.trim().to_owned());
                self.first = false;
            }
            rest = tail.trim_start();
        }
        self.held = rest.to_owned();
        found
    }
}

impl Default for Chunker {
    fn default() -> Self {
        Self::new()
    }
}

/// The byte at which the first piece of `text` ends, when that is certain.
fn boundary(text: &str, clause_will_do: bool, complete: bool) -> Option<usize> {
    let mut last_space = None;
    for (count, (at, c)) in text.char_indices().enumerate() {
        if count >= MAX_CHARS {
            return Some(last_space.unwrap_or(at));
        }
        let after = at + c.len_utf8();
        if c.is_whitespace() && at > 0 {
            last_space = Some(at);
        }
        let head = text.get(..at).unwrap_or_default();
        let tail = text.get(after..).unwrap_or_default();
        let end = match c {
            '.' | '…' | '!' | '?' | '؟' | '।' | '።' => sentence_end(head, c, tail, complete),
            '。' | '！' | '？' | '｡' => Some(closing(tail)),
            '\n' => paragraph_end(tail, complete),
            ',' | ';' | ':' | '—' | '–' | '，' | '、' | '；' | '：' if clause_will_do => {
                clause_end(head, c, tail)
            }
            _ => None,
        };
        if let Some(more) = end {
            return Some(after + more);
        }
    }
    None
}

/// Whether a stop after `head` ends a sentence; gives the length of what still belongs to it (closing quotes).
fn sentence_end(head: &str, stop: char, tail: &str, complete: bool) -> Option<usize> {
    let closed = closing(tail);
    let beyond = tail.get(closed..).unwrap_or_default();
    let Some(next) = beyond.chars().next() else {
        return complete.then_some(closed);
    };
    if !next.is_whitespace() {
        return None;
    }
    let gap = beyond.len() - beyond.trim_start().len();
    if beyond.get(..gap).is_some_and(|gap| gap.contains('\n')) {
        return Some(closed);
    }
    let Some(following) = beyond.trim_start().chars().next() else {
        return complete.then_some(closed);
    };
    if following.is_lowercase() || is_stop(following) {
        return None;
    }
    (stop != '.' || !keeps_going(head, following)).then_some(closed)
}

/// A stop that belongs to the word before it: a title, an initial, a list number.
fn keeps_going(head: &str, following: char) -> bool {
    let word = head.rsplit(char::is_whitespace).next().unwrap_or_default();
    let word = word.trim_start_matches(['(', '"', '“', '«', '\'']);
    let line = head.rsplit('\n').next().unwrap_or_default().trim();
    let lower = word.to_lowercase();
    let is_marker = !word.is_empty()
        && line == word
        && word.chars().count() <= 3
        && (word.chars().all(|c| c.is_ascii_digit()) || word.chars().count() == 1);
    let mut letters = word.chars();
    let is_initial = letters.next().is_some_and(char::is_uppercase) && letters.next().is_none();
    is_marker
        || is_initial
        || TITLES.contains(&lower.as_str())
        || (BEFORE_NUMBERS.contains(&lower.as_str()) && following.is_numeric())
}

fn paragraph_end(tail: &str, complete: bool) -> Option<usize> {
    let line = tail.trim_start_matches([' ', '\t', '\r']);
    let mut chars = line.chars();
    match chars.next() {
        None => complete.then_some(0),
        Some('\n' | '-' | '*' | '•') => Some(0),
        Some(digit) if digit.is_ascii_digit() => {
            let mark = chars.find(|c| !c.is_ascii_digit())?;
            matches!(mark, '.' | ')').then_some(0)
        }
        Some(_) => None,
    }
}

fn clause_end(head: &str, mark: char, tail: &str) -> Option<usize> {
    let wide = matches!(mark, '，' | '、' | '；' | '：');
    let length = head.trim().chars().count();
    let long_enough = head.split_whitespace().count() >= 3 || length >= 25 || (wide && length >= 8);
    let parted = wide || tail.starts_with(char::is_whitespace);
    (parted && long_enough).then_some(0)
}

/// The bytes of closing quotes and brackets at the start of `tail`, and of further stops.
fn closing(tail: &str) -> usize {
    let mut end = 0;
    for (at, c) in tail.char_indices() {
        match c {
            '"' | '\'' | '”' | '’' | ')' | ']' | '»' | '」' | '』' | '）' | '！' | '？' | '。' => {
                end = at + c.len_utf8()
            }
            c if is_stop(c) => end = at + c.len_utf8(),
            // French sets a space before the closing quote.
            ' ' | '\u{a0}' | '\u{202f}' if tail.get(at + c.len_utf8()..).is_some_and(|t| t.starts_with('»')) => {}
            _ => break,
        }
    }
    end
}

fn is_stop(c: char) -> bool {
    matches!(c, '.' | '…' | '!' | '?' | '؟' | '।' | '።')
}

fn is_speakable(piece: &str) -> bool {
    piece.chars().any(char::is_alphanumeric) || piece.contains('{')
}

/// The longest piece, in characters.
pub const MAX_CHARS: usize = crate::safety::said::MAX_CHARS;

/// Words whose stop never ends a sentence. Lower case.
const TITLES: [&str; 22] = [
    "mr", "mrs", "ms", "dr", "prof", "rev", "st", "sr", "vs", "e.g", "i.e", "approx", "dept", "mme", "mlle", "cf",
    "p.ex", "bzw", "z.b", "hr", "fr", "ext",
];
/// Words whose stop ends no sentence when a number follows.
const BEFORE_NUMBERS: [&str; 8] = ["no", "nr", "fig", "tel", "art", "vol", "pp", "ch"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn streamed(text: &str) -> Vec<String> {
        let mut chunker = Chunker::new();
        let mut found = Vec::new();
        for c in text.chars() {
            found.extend(chunker.push(&c.to_string()));
        }
        found.extend(chunker.finish());
        found
    }

    #[test]
    fn sentences_end_where_they_should() {
        let cases: [(&str, &[&str]); 14] = [
            ("Hello there. How are you? Fine!", &["Hello there.", "How are you?", "Fine!"]),
            ("Dr. Smith sees you at 9.30 a.m. on 3.5 mg.", &["Dr. Smith sees you at 9.30 a.m. on 3.5 mg."]),
            ("We open at 9 a.m. We close at 5 p.m.", &["We open at 9 a.m.", "We close at 5 p.m."]),
            ("See www.example.org. Then call.", &["See www.example.org.", "Then call."]),
            ("1. Open it. 2. Close it.", &["1. Open it.", "2. Close it."]),
            ("J. R. Smith left. He ran.", &["J. R. Smith left.", "He ran."]),
            ("Take approx. 5 of them, e.g. Monday.", &["Take approx. 5 of them, e.g. Monday."]),
            ("Room No. 5 is free. No. It is taken.", &["Room No. 5 is free.", "No.", "It is taken."]),
            ("\"Stop!\" he said. \"Go on.\" Then", &["\"Stop!\" he said.", "\"Go on.\"", "Then"]),
            ("Bonjour ! Vous allez bien ? « Oui. » Merci.", &["Bonjour !", "Vous allez bien ?", "« Oui. »", "Merci."]),
            ("您好。请问您需要什么？谢谢！", &["您好。", "请问您需要什么？", "谢谢！"]),
            ("Well... maybe. Wait... What?", &["Well... maybe.", "Wait...", "What?"]),
            ("Items:\n- one\n- two\n\nDone", &["Items:", "- one", "- two", "Done"]),
            (" ... \n ", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(sentences(text), expected, "{text}");
        }
    }

    #[test]
    fn the_first_chunk_is_a_clause_and_the_rest_are_sentences() {
        let text = "Well, we are open today, from nine to five. On Sunday, and on holidays, we are closed.";
        let expected = ["Well, we are open today,", "from nine to five.", "On Sunday, and on holidays, we are closed."];
        assert_eq!(streamed(text), expected);
        assert_eq!(streamed("Yes. We do."), ["Yes.", "We do."]);
        assert_eq!(streamed("It costs 1,000 francs today"), ["It costs 1,000 francs today"]);
    }

    #[test]
    fn a_stop_waits_for_what_follows() {
        let mut chunker = Chunker::new();
        assert!(chunker.push("It is 3.").is_empty());
        assert!(chunker.push("5 mg").is_empty());
        assert!(chunker.push(". ").is_empty());
        assert_eq!(chunker.push("Take"), ["It is 3.5 mg."]);
        assert_eq!(chunker.finish(), ["Take"]);
    }

    #[test]
    fn length_is_bounded_with_and_without_spaces() {
        for text in ["word ".repeat(1000), "x".repeat(5000), "é,".repeat(900)] {
            let pieces = streamed(&text);
            assert!(pieces.iter().all(|piece| piece.chars().count() <= MAX_CHARS));
            assert_eq!(pieces.concat().replace(' ', ""), text.replace(' ', ""));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_but_white_space_and_lone_marks(text in "\\PC{0,300}") {
            let letters = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&streamed(&text).concat()), letters(&text));
            prop_assert_eq!(letters(&sentences(&text).concat()), letters(&text));
        }

        #[test]
        fn token_size_changes_nothing(text in "[a-zA-Z0-9 .,!?\n]{0,200}", size in 1_usize..9) {
            let mut chunker = Chunker::new();
            let mut found = Vec::new();
            let chars: Vec<char> = text.chars().collect();
            for token in chars.chunks(size) {
                found.extend(chunker.push(&token.iter().collect::<String>()));
            }
            found.extend(chunker.finish());
            prop_assert_eq!(found.concat().replace(char::is_whitespace, ""), streamed(&text).concat().replace(char::is_whitespace, ""));
        }
    }
}

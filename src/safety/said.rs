//! The only door through which text becomes speech: [`Cleared`] can be made nowhere else.
//!
//! The policy here is small: length is capped, markup and control characters are taken out. The type is what
//! matters; whatever is added to the policy later holds for everything that is ever spoken.

use std::fmt;
use std::sync::Arc;

/// Text that may be spoken to a caller.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cleared {
    text: Arc<str>,
    private: bool,
}

impl Cleared {
    /// What is spoken.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What may be kept of it, shown, or told to a model.
    pub fn kept(&self) -> &str {
        if self.private && !self.text.is_empty() { WITHHELD } else { &self.text }
    }

    /// Whether it may be spoken and nothing else.
    pub const fn is_private(&self) -> bool {
        self.private
    }

    /// The same words, to be spoken and nothing else: they hold what a caller was asked for in confidence.
    #[must_use]
    pub fn in_private(mut self) -> Self {
        self.private = true;
        self
    }

    /// What stands from this byte on, as private as the whole; nothing where no character begins there.
    #[must_use]
    pub fn rest(&self, from: usize) -> Self {
        Self { text: self.text.get(from..).unwrap_or_default().into(), private: self.private }
    }

    /// Whether nothing speakable is left.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Digits are masked: what is said to a caller may read their own numbers back. Private words are not printed.
impl fmt::Debug for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked: String = self.kept().chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
        write!(f, "Cleared({masked:?})")
    }
}

/// Makes text speakable: markup and control characters go, white space is folded, at most [`MAX_CHARS`] stay
/// (cut at a word).
pub fn clear(text: &str) -> Cleared {
    let plain = strip_markup(text);
    let folded = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    Cleared { text: cap(&folded).into(), private: false }
}

/// What stands in a record for words that are not kept.
pub const WITHHELD: &str = "[withheld]";

/// The longest text spoken in one piece, in characters.
pub const MAX_CHARS: usize = 600;

fn strip_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        let (before, tag) = rest.split_at(open);
        push_speakable(&mut plain, before);
        rest = match tag.find('>') {
            Some(close) if looks_like_tag(tag) => {
                plain.push(' ');
                tag.get(close + 1..).unwrap_or_default()
            }
            _ => tag.get(1..).unwrap_or_default(),
        };
    }
    push_speakable(&mut plain, rest);
    plain
}

fn looks_like_tag(tag: &str) -> bool {
    tag.chars().nth(1).is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'))
}

fn push_speakable(plain: &mut String, text: &str) {
    plain.extend(text.chars().filter_map(|c| match c {
        '*' | '_' | '`' | '#' | '|' | '~' | '<' | '>' | '{' | '}' | '[' | ']' | '\\' => None,
        c if c.is_control() => Some(' '),
        c => Some(c),
    }));
}

fn cap(text: &str) -> &str {
    let Some((end, _)) = text.char_indices().nth(MAX_CHARS) else {
        return text;
    };
    let head = text.get(..end).unwrap_or_default();
    head.rfind(' ').and_then(|space| head.get(..space)).unwrap_or(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_are_not_spoken() {
        assert_eq!(clear("**Hello** <break time=\"9s\"/>there\u{7}\n# you").as_str(), "Hello there you");
        assert_eq!(clear("2 < 3 and 5 > 4").as_str(), "2 3 and 5 4");
    }

    #[test]
    fn long_text_is_cut_at_a_word() {
        let cleared = clear(&"word ".repeat(500));
        assert!(cleared.as_str().chars().count() <= MAX_CHARS);
        assert!(cleared.as_str().ends_with("word"));
    }

    #[test]
    fn digits_are_masked_when_printed() {
        assert_eq!(format!("{:?}", clear("call 0788 123")), "Cleared(\"call #### ###\")");
        let private = clear("four seven one one").in_private();
        assert_eq!((private.as_str(), private.kept()), ("four seven one one", WITHHELD));
        assert_eq!(format!("{private:?}"), "Cleared(\"[withheld]\")");
        assert_eq!((private.rest(5).as_str(), private.rest(5).is_private()), ("seven one one", true));
        assert!(clear("caf\u{e9}").rest(4).is_empty(), "inside a character");
    }
}

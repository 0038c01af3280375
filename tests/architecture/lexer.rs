//! Rust source as words and marks, without comments and without what stands in strings: enough to follow paths and
//! braces, so that the tests beside it cannot be fooled by a comment.

/// A word (identifier, keyword, number) or a single mark, and its line (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// Strings and characters become the one token `"`; lifetimes lose their quote.
pub fn tokens(source: &str) -> Vec<Token> {
    Lexer { chars: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() }.run()
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn run(mut self) -> Vec<Token> {
        while let Some(c) = self.peek(0) {
            match c {
                '/' if self.peek(1) == Some('/') => self.skip_while(|c| c != '\n'),
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(),
                '\'' => self.quote(),
                c if c.is_alphanumeric() || c == '_' => self.word(),
                c => {
                    if !c.is_whitespace() {
                        self.push(c.to_string());
                    }
                    self.step();
                }
            }
        }
        self.tokens
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn step(&mut self) {
        self.line += usize::from(self.peek(0) == Some('\n'));
        self.at += 1;
    }

    fn push(&mut self, text: String) {
        self.tokens.push(Token { text, line: self.line });
    }

    fn skip_while(&mut self, more: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&more) {
            self.step();
        }
    }

    /// Comments of this kind nest.
    fn block_comment(&mut self) {
        let mut depth = 0;
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('*')) => (depth, self.at) = (depth + 1, self.at + 2),
                ('*', Some('/')) => (depth, self.at) = (depth - 1, self.at + 2),
                _ => self.step(),
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.push("\"".to_owned());
        self.step();
        while let Some(c) = self.peek(0) {
            self.step();
            match c {
                '\\' => self.step(),
                '"' => return,
                _ => {}
            }
        }
    }

    /// A raw string; `self.at` stands on its first `#` or quote.
    fn raw_string(&mut self) {
        self.push("\"".to_owned());
        let begin = self.at;
        self.skip_while(|c| c == '#');
        let hashes = self.at - begin;
        self.step();
        while let Some(c) = self.peek(0) {
            self.step();
            if c == '"' && (0..hashes).all(|n| self.peek(n) == Some('#')) {
                self.at += hashes;
                return;
            }
        }
    }

    /// A character, or the quote of a lifetime.
    fn quote(&mut self) {
        let is_char = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.step();
        if !is_char {
            return;
        }
        self.push("\"".to_owned());
        if self.peek(0) == Some('\\') {
            self.step();
        }
        self.step();
        self.skip_while(|c| c != '\'');
        self.step();
    }

    fn word(&mut self) {
        let begin = self.at;
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let word: String = self.chars[begin..self.at].iter().collect();
        let raw = matches!(word.as_str(), "r" | "br" | "cr");
        let hashes = (0..).take_while(|&n| self.peek(n) == Some('#')).count();
        match self.peek(0) {
            Some('"') if matches!(word.as_str(), "b" | "c") => self.string(),
            Some('\'') if word == "b" => self.quote(),
            _ if raw && self.peek(hashes) == Some('"') => self.raw_string(),
            _ => self.push(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn comments_strings_and_lifetimes_do_not_mislead() {
        let source = "a // b\n/* c /* d */ e */ \"f \\\" g\" r#\"h \" i\"# 'j' '\\'' &'k l b'{' b\"m\" '\\u{7d}' n";
        let found: Vec<String> = tokens(source).into_iter().map(|token| token.text).collect();
        assert_eq!(found, ["a", "\"", "\"", "\"", "\"", "&", "k", "l", "\"", "\"", "\"", "n"]);
        assert_eq!(tokens("a\n\"b\nc\"\nd").last().map(|token| token.line), Some(4));
    }
}

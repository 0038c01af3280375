//! The product's own source files: their rooms, the paths they name, their functions, their tests set aside.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::lexer::{Token, tokens};

/// One file below `src/`, `sip/src/` or `media/src/`.
pub struct Source {
    /// Relative to the repository, `/`-separated.
    pub path: String,
    pub text: String,
    /// Without what is compiled for tests only.
    pub tokens: Vec<Token>,
    /// Compiled for tests only, as a whole.
    pub is_test: bool,
    /// Lines of code that are not for tests only.
    pub lines: usize,
}

/// A path that a file names, from the root of a crate of ours: `["call", "leg", "Leg"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub segments: Vec<String>,
    pub line: usize,
}

/// A function and how many lines it takes.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// Every source file of the product.
pub fn sources() -> Vec<Source> {
    let mut all: Vec<Source> = ["src", "sip/src", "media/src"].iter().flat_map(|dir| files(dir)).map(read).collect();
    let test_files: HashSet<String> = all.iter().flat_map(Source::test_modules).collect();
    for source in &mut all {
        source.is_test = test_files
            .iter()
            .any(|test| source.path == format!("{test}.rs") || source.path.starts_with(&format!("{test}/")));
    }
    all
}

/// Every `.rs` file below a directory of the repository; none when it is absent.
pub fn files(dir: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(repository().join(dir)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| match path.is_dir() {
            true => files(&relative(&path)),
            false if path.extension().is_some_and(|ext| ext == "rs") => vec![path],
            false => Vec::new(),
        })
        .collect()
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned()
}

fn read(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let all = tokens(&text);
    let (tokens, test_lines) = without_tests(&all);
    let lines = text.lines().count() - test_lines;
    Source { path: relative(&path), text, tokens, is_test: false, lines }
}

impl Source {
    /// The room of `src/` that the file belongs to: `src/call/shard/pacer.rs` is in `call`, `src/config.rs` in `config`.
    pub fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split('/').next()?.trim_end_matches(".rs"))
    }

    /// Every path to one of our crates that the code names, `use` lines and others alike; `super` is followed.
    pub fn named(&self) -> Vec<Named> {
        let mut named = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            let begins = at < 2 || self.word(at - 1) != ":" || self.word(at - 2) != ":";
            let root = match token.text.as_str() {
                "crate" => Vec::new(),
                "super" => self.module(),
                "offhook" if self.path.starts_with("src/") => Vec::new(),
                "offhook_sip" => vec!["offhook_sip".to_owned()],
                "offhook_media" => vec!["offhook_media".to_owned()],
                _ => continue,
            };
            if begins && (token.text == "super" || (self.word(at + 1) == ":" && self.word(at + 2) == ":")) {
                self.follow(at, root, &mut named);
            }
        }
        named
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let starts = (0..self.tokens.len()).filter(|&at| self.word(at) == "fn" && is_word(self.word(at + 1)));
        starts
            .filter_map(|at| {
                let open = (at..self.tokens.len()).find(|&n| matches!(self.word(n), "{" | ";"))?;
                let close = closing(&self.tokens, open)?;
                let (first, last) = (self.tokens[at].line, self.tokens[close].line);
                Some(Function { name: self.word(at + 1).to_owned(), line: first, lines: last - first + 1 })
            })
            .collect()
    }

    /// The lines at which one of these words stands in the code.
    pub fn lines_with(&self, words: &[&str]) -> Vec<(usize, String)> {
        let found = self.tokens.iter().filter(|token| words.contains(&token.text.as_str()));
        found.map(|token| (token.line, token.text.clone())).collect()
    }

    /// Whether the marks and words at `at` read as `pattern`.
    pub fn reads(&self, at: usize, pattern: &[&str]) -> bool {
        pattern.iter().enumerate().all(|(n, wanted)| self.word(at + n) == *wanted)
    }

    pub fn word(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    /// The modules around the file's code: `src/call/shard/pacer.rs` is `call::shard::pacer`.
    fn module(&self) -> Vec<String> {
        let (root, inside) = match self.path.split_once("src/") {
            Some(("", inside)) => (None, inside),
            Some((library, inside)) => (Some(format!("offhook_{}", library.trim_end_matches('/'))), inside),
            None => (None, self.path.as_str()),
        };
        let parts = inside.trim_end_matches(".rs").split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main"));
        root.into_iter().chain(parts.map(str::to_owned)).collect()
    }

    /// Reads the path that begins at `at`, with every branch of its braces.
    fn follow(&self, at: usize, mut path: Vec<String>, named: &mut Vec<Named>) {
        let mut at = at;
        if self.word(at) == "super" {
            path.pop();
        }
        while self.reads(at + 1, &[":", ":"]) {
            at += 3;
            match self.word(at) {
                "super" => drop(path.pop()),
                "{" => return self.follow_branches(at, &path, named),
                word => path.push(word.to_owned()),
            }
        }
        named.push(Named { segments: path, line: self.tokens[at].line });
    }

    fn follow_branches(&self, open: usize, path: &[String], named: &mut Vec<Named>) {
        let Some(close) = closing(&self.tokens, open) else { return };
        let mut at = open + 1;
        while at < close {
            let begins = matches!(self.word(at - 1), "{" | ",");
            if begins && is_word(self.word(at)) {
                let mut path = path.to_vec();
                if self.word(at) != "self" {
                    path.push(self.word(at).to_owned());
                }
                self.follow(at, path, named);
            }
            // An inner brace has been followed by now.
            at = match self.word(at) {
                "{" => closing(&self.tokens, at).unwrap_or(close) + 1,
                _ => at + 1,
            };
        }
    }

    /// The modules beside this file that it declares for tests only, as paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let all = tokens(&self.text);
        let home = self.path.trim_end_matches("/mod.rs").trim_end_matches("/lib.rs").trim_end_matches(".rs").to_owned();
        let declared = |at: usize| {
            let end = at + CFG_TEST.len();
            let is_cfg =
                CFG_TEST.iter().enumerate().all(|(n, wanted)| all.get(at + n).is_some_and(|t| t.text == *wanted));
            let name = all.get(end + 1)?;
            (is_cfg && all.get(end)?.text == "mod" && all.get(end + 2)?.text == ";")
                .then(|| format!("{home}/{}", name.text))
        };
        (0..all.len()).filter_map(declared).collect()
    }
}

const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The brace that closes the one at `open`; none when there is no brace.
fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (token.text == "}").then_some(at);
        }
    }
    None
}

/// The tokens without items under `#[cfg(test)]`, and how many lines those items take.
fn without_tests(all: &[Token]) -> (Vec<Token>, usize) {
    let (mut kept, mut at, mut lines) = (Vec::new(), 0, 0);
    while at < all.len() {
        let is_cfg = CFG_TEST.iter().enumerate().all(|(n, wanted)| all.get(at + n).is_some_and(|t| t.text == *wanted));
        if !is_cfg {
            kept.push(all[at].clone());
            at += 1;
            continue;
        }
        let body = (at..all.len()).find(|&n| matches!(all[n].text.as_str(), "{" | ";")).unwrap_or(all.len() - 1);
        let last = closing(all, body).unwrap_or(body);
        lines += all[last].line - all[at].line + 1;
        at = last + 1;
    }
    (kept, lines)
}

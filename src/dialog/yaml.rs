//! YAML as a tree that knows its lines, so that every complaint about a flow can name file, line and key.
//!
//! Derived `Deserialize` types lose the path of a key in their errors; here a reader asks a mapping for each key it
//! knows, and whatever was not asked for is an error. Nothing about flows is known in this file.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_saphyr::Spanned;

/// What is wrong in a flow or line file, in one line: `file:line: key: expected what`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {key}: expected {expected}")]
pub struct FlowError {
    /// The file as it was named to the loader.
    pub file: String,
    /// Counts from 1.
    pub line: u64,
    /// The path of the key, such as `steps.main.menu.choices[0].goto`; `(file)` for the file as a whole.
    pub key: String,
    /// What belongs there, and what was found.
    pub expected: String,
}

/// Where a value stands: enough to complain about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub file: String,
    pub line: u64,
    pub key: String,
}

impl At {
    pub fn file(file: &str) -> Self {
        Self { file: file.to_owned(), line: 1, key: WHOLE_FILE.to_owned() }
    }

    pub fn error(&self, expected: impl Into<String>) -> FlowError {
        FlowError { file: self.file.clone(), line: self.line, key: self.key.clone(), expected: expected.into() }
    }

    /// The place of a key within this mapping.
    pub fn child(&self, key: &str, line: u64) -> Self {
        let path = if self.key == WHOLE_FILE { key.to_owned() } else { format!("{}.{key}", self.key) };
        Self { file: self.file.clone(), line, key: path }
    }
}

/// One value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: At,
    value: Tree,
}

/// Reads one document.
///
/// # Errors
/// Not YAML, more than one document, a key twice, tabs as indentation, more than [`MAX_BYTES`], aliases or nesting
/// beyond the limits.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, FlowError> {
    let whole = At::file(file);
    if text.len() > MAX_BYTES {
        return Err(whole.error(format!("at most {MAX_BYTES} bytes, found {}", text.len())));
    }
    let tree: Spanned<Tree> =
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| syntax_error(&whole, &error))?;
    Ok(Node { at: At { line: line_of(&tree), ..whole }, value: tree.value })
}

impl Node {
    /// The value as text. Numbers and truth values are refused: `+250` or `007` unquoted would lose characters.
    pub fn text(&self) -> Result<&str, FlowError> {
        match &self.value {
            Tree::Text(text) => Ok(text),
            Tree::Whole(_) | Tree::Real(_) | Tree::Truth(_) => {
                Err(self.at.error(format!("text in quotes, found {}", self.value.kind())))
            }
            other => Err(self.at.error(format!("text, found {}", other.kind()))),
        }
    }

    pub fn truth(&self) -> Result<bool, FlowError> {
        match self.value {
            Tree::Truth(value) => Ok(value),
            ref other => Err(self.at.error(format!("true or false, found {}", other.kind()))),
        }
    }

    /// A whole number within bounds, both included.
    pub fn whole(&self, least: u32, most: u32) -> Result<u32, FlowError> {
        let found = match self.value {
            Tree::Whole(value) => match u32::try_from(value) {
                Ok(value) if (least..=most).contains(&value) => return Ok(value),
                _ => value.to_string(),
            },
            ref other => other.kind().to_owned(),
        };
        Err(self.at.error(format!("a whole number from {least} to {most}, found {found}")))
    }

    /// A number within bounds, both included.
    pub fn number(&self, least: f32, most: f32) -> Result<f32, FlowError> {
        let found = match self.value {
            Tree::Whole(value) => match i16::try_from(value) {
                Ok(small) if (least..=most).contains(&f32::from(small)) => return Ok(f32::from(small)),
                _ => value.to_string(),
            },
            Tree::Real(value) => {
                #[expect(clippy::cast_possible_truncation, reason = "a setting's precision does not matter")]
                let narrow = value as f32;
                if (least..=most).contains(&narrow) {
                    return Ok(narrow);
                }
                value.to_string()
            }
            ref other => other.kind().to_owned(),
        };
        Err(self.at.error(format!("a number from {least} to {most}, found {found}")))
    }

    /// One telephone key: `1`, `"0"`, `"*"`, `"#"`.
    pub fn one_char(&self) -> Option<char> {
        match &self.value {
            Tree::Text(text) => {
                let mut chars = text.chars();
                chars.next().filter(|_| chars.next().is_none())
            }
            Tree::Whole(value) => u32::try_from(*value).ok().and_then(|v| char::from_digit(v, 10)),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, Tree::Null)
    }

    pub fn is_text(&self) -> bool {
        matches!(self.value, Tree::Text(_))
    }

    pub fn is_map(&self) -> bool {
        matches!(self.value, Tree::Map(_))
    }

    pub fn is_list(&self) -> bool {
        matches!(self.value, Tree::List(_))
    }

    /// The value as JSON, without its places.
    pub fn json(&self) -> Json {
        self.value.json()
    }

    /// The items of a list.
    pub fn list(&self) -> Result<Vec<Node>, FlowError> {
        let Tree::List(items) = &self.value else {
            return Err(self.at.error(format!("a list, found {}", self.value.kind())));
        };
        let place = |(index, item): (usize, &Spanned<Tree>)| Node {
            at: At { line: line_of(item), key: format!("{}[{index}]", self.at.key), file: self.at.file.clone() },
            value: item.value.clone(),
        };
        Ok(items.iter().enumerate().map(place).collect())
    }

    /// A mapping whose keys are given by the language; see [`Fields`].
    pub fn fields(&self) -> Result<Fields, FlowError> {
        Ok(Fields { at: self.at.clone(), rest: self.entries()? })
    }

    /// A mapping whose keys the author chooses, in the order of the file.
    pub fn entries(&self) -> Result<Vec<(String, Node)>, FlowError> {
        let Tree::Map(entries) = &self.value else {
            return Err(self.at.error(format!("a mapping, found {}", self.value.kind())));
        };
        let place = |(key, value): &(Spanned<String>, Spanned<Tree>)| {
            let at = self.at.child(&key.value, key.referenced.line());
            (key.value.clone(), Node { at, value: value.value.clone() })
        };
        Ok(entries.iter().map(place).collect())
    }
}

/// A mapping that is read key by key; what is left in the end is unknown.
pub(super) struct Fields {
    pub at: At,
    rest: Vec<(String, Node)>,
}

impl Fields {
    pub fn take(&mut self, key: &str) -> Option<Node> {
        let index = self.rest.iter().position(|(name, _)| name == key)?;
        Some(self.rest.remove(index).1)
    }

    pub fn has(&self, key: &str) -> bool {
        self.rest.iter().any(|(name, _)| name == key)
    }

    pub fn need(&mut self, key: &str, what: &str) -> Result<Node, FlowError> {
        let at = self.at.child(key, self.at.line);
        self.take(key).ok_or_else(|| at.error(format!("{what}, found nothing")))
    }

    /// # Errors
    /// Names the first key that nothing asked for, and the keys that exist.
    pub fn finish(self, known: &str) -> Result<(), FlowError> {
        match self.rest.first() {
            None => Ok(()),
            Some((_, node)) => Err(node.at.error(format!("a known key ({known})"))),
        }
    }
}

#[derive(Clone, Debug)]
enum Tree {
    Null,
    Truth(bool),
    Whole(i64),
    Real(f64),
    Text(String),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl Tree {
    fn json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Truth(truth) => (*truth).into(),
            Self::Whole(whole) => (*whole).into(),
            Self::Real(real) => (*real).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(|item| item.value.json()).collect(),
            Self::Map(entries) => entries.iter().map(|(key, value)| (key.value.clone(), value.value.json())).collect(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Truth(_) => "true or false",
            Self::Whole(_) | Self::Real(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Truth(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(i64::try_from(value).map_or_else(|_| Tree::Text(value.to_string()), Tree::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Real(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}

fn line_of(spanned: &Spanned<Tree>) -> u64 {
    spanned.referenced.line().max(1)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            max_nodes: 50_000,
            max_events: 200_000,
            max_aliases: 50,
            max_anchors: 50,
            max_recorded_anchor_events: 5_000,
            max_documents: 1,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 5_000, max_replay_stack_depth: 4 },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn syntax_error(whole: &At, error: &serde_saphyr::Error) -> FlowError {
    use serde_saphyr::Error as Yaml;
    let line = error.location().map_or(1, |at| at.line().max(1));
    let (key, expected) = match error.without_snippet() {
        Yaml::DuplicateMappingKey { key, .. } => {
            (key.clone().unwrap_or_else(|| WHOLE_FILE.to_owned()), "one value, found the key twice".to_owned())
        }
        other => {
            let said = other.to_string();
            (WHOLE_FILE.to_owned(), format!("YAML: {}", said.lines().next().unwrap_or_default()))
        }
    };
    FlowError { file: whole.file.clone(), line, key, expected }
}

/// The largest file that is read, in bytes.
pub(super) const MAX_BYTES: usize = 1_000_000;
const WHOLE_FILE: &str = "(file)";

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse("f.yaml", text).err().map_or_else(|| "accepted".to_owned(), |e| e.to_string())
    }

    #[test]
    fn every_value_knows_its_line_and_key() {
        let node = parse("f.yaml", "a: 1\nb:\n  - x\n  - y: no\n").unwrap();
        let entries = node.entries().unwrap();
        assert_eq!((entries[0].1.at.line, entries[0].1.at.key.as_str()), (1, "a"));
        assert_eq!(entries[1].1.at.line, 2);
        let items = entries[1].1.list().unwrap();
        assert_eq!((items[1].at.line, items[1].at.key.as_str()), (4, "b[1]"));
        let inner = items[1].entries().unwrap();
        assert_eq!(inner[0].1.at.key, "b[1].y");
        assert_eq!(inner[0].1.text().unwrap(), "no");
    }

    #[test]
    fn broken_yaml_is_an_error_with_its_line() {
        assert!(
            error("a: 1\nb: 2\na: 3\n").starts_with("f.yaml:3: a: expected one value"),
            "{}",
            error("a: 1\nb: 2\na: 3\n")
        );
        assert!(error("a:\n\tb: 1\n").starts_with("f.yaml:2: (file): expected YAML"), "{}", error("a:\n\tb: 1\n"));
        assert!(error("a: [1, 2\n").starts_with("f.yaml:"));
        assert!(error("a: &x 1\n<<: *x\n").starts_with("f.yaml:2"));
        assert!(error("--- \na: 1\n---\nb: 1\n").starts_with("f.yaml:"));
        assert!(error("a: !secret 1\n").starts_with("f.yaml:1"));
    }

    #[test]
    fn an_alias_bomb_and_a_huge_file_are_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let previous = level - 1;
            let aliases = vec![format!("*a{previous}"); 9].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(error(&bomb).starts_with("f.yaml:"), "{}", error(&bomb));
        assert!(error(&"# long comment\n".repeat(100_000)).starts_with("f.yaml:1: (file): expected at most 1000000"));
        assert!(error(&"[".repeat(1000)).starts_with("f.yaml:1"));
    }
}

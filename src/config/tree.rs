//! A configuration layer as a tree in which every key knows where it was written.
//!
//! Layers are merged as trees, so that an error in the merged result can still name the file and line, the variable or
//! the `--set` that is at fault. Deliberately without schema: what keys exist is said by the structs of each room.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Where a key was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the built-in default holds.
    BuiltIn,
    File {
        path: Arc<str>,
        line: u64,
    },
    /// An environment variable, by name.
    Variable(Arc<str>),
    /// `--set`, by its key path.
    Set(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Set(path) => write!(f, "--set {path}"),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub origin: Origin,
}

/// What may stand in a layer. Any text may be a secret, so `Debug` tells its length only.
#[derive(Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A string of a YAML file.
    Str(String),
    /// The text of a variable or `--set`; what it stands for is decided by the field that reads it, so that a token
    /// made of digits stays a token.
    Text(String),
    Seq(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    /// Where the key itself stands; errors about unknown keys point here.
    pub origin: Origin,
    pub node: Node,
}

impl Node {
    /// A layer that says nothing.
    pub fn empty() -> Self {
        Self { value: Value::Map(Vec::new()), origin: Origin::BuiltIn }
    }

    /// Reads one YAML document; `name` is what errors and origins call it.
    ///
    /// # Errors
    /// The line and what is wrong with it. Never quotes the line: it may hold a secret.
    pub fn parse_yaml(name: &str, text: &str) -> Result<Self, (Origin, String)> {
        let path: Arc<str> = name.into();
        let at = |line| Origin::File { path: Arc::clone(&path), line };
        if text.len() > MAX_YAML_BYTES {
            return Err((at(1), format!("{} bytes, expected at most {MAX_YAML_BYTES}", text.len())));
        }
        let raw: Option<Raw> = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let line = error.location().map_or(1, |location| location.line());
            (at(line), first_line(&error.to_string()))
        })?;
        Ok(raw.map_or_else(Self::empty, |raw| raw.into_node(&path)))
    }

    /// Writes `text` at a dotted path; maps on the way are made. Where a list stands, or a number is named where
    /// nothing does, an item is named by its place from 0 (one more than there are appends) or by its `name`.
    pub fn insert(&mut self, path: &[&str], text: &str, origin: &Origin) {
        let Some((key, rest)) = path.split_first() else {
            *self = Self { value: Value::Text(text.to_owned()), origin: origin.clone() };
            return;
        };
        if self.is_nothing() && key.parse::<usize>().is_ok() {
            *self = Self { value: Value::Seq(Vec::new()), origin: origin.clone() };
        }
        if let Some(item) = self.item(key, origin) {
            return item.insert(rest, text, origin);
        }
        if !matches!(self.value, Value::Map(_)) {
            *self = Self { value: Value::Map(Vec::new()), origin: origin.clone() };
        }
        let Value::Map(entries) = &mut self.value else { return };
        let place = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
            entries.push(Entry {
                key: (*key).to_owned(),
                origin: origin.clone(),
                node: Self { value: Value::Map(Vec::new()), origin: origin.clone() },
            });
            entries.len() - 1
        });
        if let Some(entry) = entries.get_mut(place) {
            entry.origin = origin.clone();
            entry.node.insert(rest, text, origin);
        }
    }

    /// Whether nothing was written here yet.
    fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Null) || matches!(&self.value, Value::Map(entries) if entries.is_empty())
    }

    /// The item of a list that a path names; the one after the last is made.
    fn item(&mut self, key: &str, origin: &Origin) -> Option<&mut Self> {
        let Value::Seq(items) = &mut self.value else { return None };
        let place = match key.parse::<usize>() {
            Ok(place) => place,
            Err(_) => items.iter().position(|item| item.is_named(key))?,
        };
        if place == items.len() {
            items.push(Self { value: Value::Map(Vec::new()), origin: origin.clone() });
        }
        items.get_mut(place)
    }

    fn is_named(&self, name: &str) -> bool {
        match self.at("name").map(|node| &node.value) {
            Some(Value::Str(text) | Value::Text(text)) => text == name,
            _ => false,
        }
    }

    /// Lays `over` on top: maps are merged by key, anything else is replaced. A map key that is present but empty
    /// (`sip:` with every line below it commented out) says nothing.
    pub fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Map(below), Value::Map(above)) => {
                for entry in above {
                    match below.iter_mut().find(|known| known.key == entry.key) {
                        Some(known) => {
                            known.origin = entry.origin;
                            known.node.merge(entry.node);
                        }
                        None => below.push(entry),
                    }
                }
            }
            (Value::Map(_), Value::Null) => {}
            (_, value) => *self = Self { value, origin: over.origin },
        }
    }

    /// The node at a dotted path such as `sip.trunks[0].name`, when some layer wrote it.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split(['.', '[']).try_fold(self, |node, key| match &node.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            Value::Seq(items) => items.get(key.strip_suffix(']')?.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => fmt::Debug::fmt(value, f),
            Self::Int(_) | Self::Uint(_) | Self::Float(_) => f.write_str("[number]"),
            Self::Str(text) | Self::Text(text) => write!(f, "[text of {} bytes]", text.len()),
            Self::Seq(items) => f.debug_list().entries(items).finish(),
            Self::Map(entries) => f.debug_map().entries(entries.iter().map(|e| (&e.key, &e.node))).finish(),
        }
    }
}

/// The largest file that is read as configuration, in bytes.
pub const MAX_YAML_BYTES: usize = 1 << 20;

/// A YAML node with its position, before the file's name is known.
struct Raw(Spanned<RawValue>);

enum RawValue {
    Scalar(Value),
    Seq(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl Raw {
    fn into_node(self, path: &Arc<str>) -> Node {
        let Spanned { value, referenced, .. } = self.0;
        let origin = Origin::File { path: Arc::clone(path), line: referenced.line() };
        let value = match value {
            RawValue::Scalar(value) => value,
            RawValue::Seq(items) => Value::Seq(items.into_iter().map(|item| item.into_node(path)).collect()),
            RawValue::Map(entries) => Value::Map(entries.into_iter().map(|(key, raw)| entry(path, key, raw)).collect()),
        };
        Node { value, origin }
    }
}

fn entry(path: &Arc<str>, key: Spanned<String>, raw: Raw) -> Entry {
    let origin = Origin::File { path: Arc::clone(path), line: key.referenced.line() };
    Entry { key: key.value, origin, node: raw.into_node(path) }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Int(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Uint(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Str(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(RawValue::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        let mut entries: Vec<(Spanned<String>, Raw)> = Vec::new();
        while let Some((key, raw)) = map.next_entry::<Spanned<String>, Raw>()? {
            if entries.iter().any(|(known, _)| known.value == key.value) {
                return Err(A::Error::custom(format!("key `{}` stands twice in this section", key.value)));
            }
            entries.push((key, raw));
        }
        Ok(RawValue::Map(entries))
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_its_line() {
        let node = Node::parse_yaml("a.yaml", "# comment\nsip:\n  listen: x\n\n  t1_ms: 5\n").unwrap();
        let origin = |path: &str| node.at(path).unwrap().origin.to_string();
        assert_eq!(origin("sip.listen"), "a.yaml:3");
        assert_eq!(origin("sip.t1_ms"), "a.yaml:5");
        let Value::Map(entries) = &node.value else { panic!("a map") };
        assert_eq!(entries[0].origin.to_string(), "a.yaml:2");
    }

    #[test]
    fn malformed_yaml_names_its_line_and_not_its_text() {
        for (text, line) in [
            ("a: 1\nb: [s3cret, 2\n", None),
            ("a: 1\na: 2\n", Some(2)),
            ("a:\n\t- s3cret\n", Some(2)),
            ("a: 1\n---\nb: 2\n", None),
        ] {
            let (origin, message) = Node::parse_yaml("a.yaml", text).unwrap_err();
            assert!(!message.contains("s3cret") && !message.contains('\n'), "{message}");
            if let Some(line) = line {
                assert_eq!(origin, Origin::File { path: "a.yaml".into(), line }, "{message}");
            }
        }
    }

    #[test]
    fn later_layers_win_by_key() {
        let mut below = Node::parse_yaml("a.yaml", "sip: {listen: x, t1_ms: 5}\nrtp:\n").unwrap();
        below.merge(Node::parse_yaml("b.yaml", "sip:\n  t1_ms: 6\n").unwrap());
        below.merge(Node::parse_yaml("c.yaml", "sip:\n").unwrap());
        below.insert(&["sip", "listen"], "y", &Origin::Variable("V".into()));
        assert_eq!(below.at("sip.t1_ms").unwrap().origin.to_string(), "b.yaml:2");
        assert_eq!(below.at("sip.listen").unwrap().value, Value::Text("y".to_owned()));
    }

    #[test]
    fn items_of_a_list_are_named_by_place_or_name() {
        let mut node = Node::parse_yaml("a.yaml", "trunks:\n  - name: one\n  - {name: two, port: 5}\n").unwrap();
        let origin = Origin::Variable("V".into());
        node.insert(&["trunks", "0", "port"], "6", &origin);
        node.insert(&["trunks", "two", "port"], "7", &origin);
        node.insert(&["trunks", "2", "name"], "three", &origin);
        node.insert(&["networks", "0"], "::1", &origin);
        let text = |path: &str| match &node.at(path).unwrap().value {
            Value::Text(text) | Value::Str(text) => text.clone(),
            _ => panic!("{path} is text"),
        };
        assert_eq!(
            ["trunks[0].port", "trunks[1].port", "trunks[1].name", "trunks[2].name", "networks[0]"].map(text),
            ["6", "7", "two", "three", "::1"]
        );
        assert_eq!(node.at("trunks[0].name").unwrap().origin.to_string(), "a.yaml:2");
        // No such item: the list is no list any more, which its reader refuses.
        node.insert(&["trunks", "4", "name"], "five", &origin);
        assert!(matches!(node.at("trunks").unwrap().value, Value::Map(_)));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", ")));
        }
        assert!(Node::parse_yaml("a.yaml", &text).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[a-c:\\n \\-\\[\\]{}&*!|>'\"#,0-9.]{0,80}") {
            let _ = Node::parse_yaml("a.yaml", &text);
        }
    }
}

//! Reads room structs out of a merged tree; an error carries the key's path and where it was written.
//!
//! This is a serde deserializer of our own because the merged tree mixes typed YAML values with the bare text of
//! variables and `--set`, and because a wrong value must never be quoted where it may be a secret.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::tree::{Entry, Node, Origin, Value};

/// Reads `T` from the tree.
///
/// # Errors
/// The first key that does not fit, with its path, its origin and what was expected.
pub fn read<T: DeserializeOwned>(node: &Node) -> Result<T, Misfit> {
    read_noting_absent(node).map(|(value, _)| value)
}

/// Like [`read`], and names every key of `T` that no layer wrote.
///
/// # Errors
/// As [`read`].
pub fn read_noting_absent<T: DeserializeOwned>(node: &Node) -> Result<(T, Vec<String>), Misfit> {
    let absent = RefCell::new(Vec::new());
    let value = T::deserialize(Reader { node, path: Path::Root, absent: &absent })?;
    Ok((value, absent.into_inner()))
}

/// A key that does not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Misfit {
    pub expected: String,
    /// Dotted path and origin, once known.
    pub place: Option<(String, Origin)>,
}

impl Misfit {
    fn at(mut self, path: &Path<'_>, origin: &Origin) -> Self {
        self.place.get_or_insert_with(|| (path.to_string(), origin.clone()));
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((path, origin)) if path.is_empty() => write!(f, "{origin}: {}", self.expected),
            Some((path, origin)) => write!(f, "{origin}: {path}: {}", self.expected),
            None => f.write_str(&self.expected),
        }
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { expected: message.to_string(), place: None }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("expected {expected}"))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("unknown key, expected {}", one_of(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("expected {}, found `{variant}`", one_of(expected)))
    }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => "no key here".to_owned(),
        [name] => format!("`{name}`"),
        names => format!("one of {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// The way from the root to a node.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(above, key) => write!(f, "{above}.{key}"),
            Self::Index(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

struct Reader<'a> {
    node: &'a Node,
    path: Path<'a>,
    absent: &'a RefCell<Vec<String>>,
}

impl<'a> Reader<'a> {
    fn misfit(&self, expected: &str) -> Misfit {
        Misfit { expected: format!("expected {expected}"), place: None }.at(&self.path, &self.node.origin)
    }

    fn located<T>(&self, result: Result<T, Misfit>) -> Result<T, Misfit> {
        result.map_err(|misfit| misfit.at(&self.path, &self.node.origin))
    }

    fn any<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Misfit> {
        self.located(match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::Uint(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Str(value) | Value::Text(value) => visitor.visit_str(value),
            Value::Seq(items) => visitor.visit_seq(self.items(items)),
            Value::Map(entries) => visitor.visit_map(self.entries(entries)),
        })
    }

    fn whole<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Misfit> {
        let Value::Text(text) = &self.node.value else { return self.any(visitor) };
        if let Ok(value) = text.parse() {
            return self.located(visitor.visit_u64(value));
        }
        let value = text.parse().map_err(|_| self.misfit("a whole number"))?;
        self.located(visitor.visit_i64(value))
    }

    fn fraction<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Misfit> {
        let Value::Text(text) = &self.node.value else { return self.any(visitor) };
        let value: f64 = text.parse().map_err(|_| self.misfit("a number"))?;
        self.located(visitor.visit_f64(value))
    }

    fn text<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Str(value) | Value::Text(value) => self.located(visitor.visit_str(value)),
            _ => Err(self.misfit("text (in quotes if it looks like a number)")),
        }
    }

    fn items(&self, items: &'a [Node]) -> Items<'a> {
        Items { items: items.iter().enumerate(), path: self.path, absent: self.absent }
    }

    fn entries(&self, entries: &'a [Entry]) -> Entries<'a> {
        Entries { entries: entries.iter(), current: None, path: self.path, absent: self.absent }
    }

    /// What the text of a variable or `--set` stands for where a list or section belongs: YAML in brackets, or items
    /// separated by commas.
    fn unfolded(&self, text: &str) -> Result<Node, Misfit> {
        let origin = &self.node.origin;
        if text.starts_with(['[', '{']) {
            let mut node = Node::parse_yaml("", text).map_err(|_| self.misfit("a YAML list or section"))?;
            relabel(&mut node, origin);
            return Ok(node);
        }
        let item = |text: &str| Node { value: Value::Text(text.trim().to_owned()), origin: origin.clone() };
        let items = text.split(',').filter(|text| !text.trim().is_empty()).map(item).collect();
        Ok(Node { value: Value::Seq(items), origin: origin.clone() })
    }

    fn seq<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Seq(items) => self.located(visitor.visit_seq(self.items(items))),
            Value::Text(text) => {
                let node = self.unfolded(text)?;
                let reader = Reader { node: &node, path: self.path, absent: self.absent };
                reader.any(visitor)
            }
            _ => Err(self.misfit("a list")),
        }
    }

    fn section<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Map(entries) => self.located(visitor.visit_map(self.entries(entries))),
            Value::Null => self.located(visitor.visit_map(self.entries(&[]))),
            Value::Text(text) if text.starts_with('{') => {
                let node = self.unfolded(text)?;
                let reader = Reader { node: &node, path: self.path, absent: self.absent };
                reader.any(visitor)
            }
            _ => Err(self.misfit("a section with keys of its own")),
        }
    }

    fn note_absent(&self, fields: &[&str]) {
        let written: &[Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        let absent = fields.iter().filter(|field| !written.iter().any(|entry| entry.key == **field));
        self.absent.borrow_mut().extend(absent.map(|field| Path::Key(&self.path, field).to_string()));
    }
}

fn relabel(node: &mut Node, origin: &Origin) {
    node.origin = origin.clone();
    match &mut node.value {
        Value::Seq(items) => items.iter_mut().for_each(|item| relabel(item, origin)),
        Value::Map(entries) => {
            for entry in entries {
                entry.origin = origin.clone();
                relabel(&mut entry.node, origin);
            }
        }
        _ => {}
    }
}

macro_rules! forward {
    ($to:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            self.$to(visitor)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Misfit;

    forward!(any: deserialize_any);
    forward!(whole: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64);
    forward!(fraction: deserialize_f32 deserialize_f64);
    forward!(text: deserialize_char deserialize_str deserialize_string deserialize_identifier deserialize_bytes
        deserialize_byte_buf);
    forward!(seq: deserialize_seq);
    forward!(section: deserialize_map);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let value = match &self.node.value {
            Value::Bool(value) => *value,
            Value::Text(text) if text == "true" => true,
            Value::Text(text) if text == "false" => false,
            _ => return Err(self.misfit("`true` or `false`")),
        };
        self.located(visitor.visit_bool(value))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            Value::Text(text) if text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        self.any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        let (path, origin) = (self.path, &self.node.origin);
        visitor.visit_newtype_struct(Reader { ..self }).map_err(|misfit: Misfit| misfit.at(&path, origin))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.note_absent(fields);
        self.section(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Str(text) | Value::Text(text) => {
                let name: StrDeserializer<'_, Misfit> = text.as_str().into_deserializer();
                self.located(visitor.visit_enum(name))
            }
            Value::Map(entries) if entries.len() == 1 => {
                self.located(visitor.visit_enum(MapAccessDeserializer::new(self.entries(entries))))
            }
            _ => Err(self.misfit("a name")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    path: Path<'a>,
    absent: &'a RefCell<Vec<String>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = Path::Index(&self.path, index);
        seed.deserialize(Reader { node, path, absent: self.absent })
            .map(Some)
            .map_err(|misfit| misfit.at(&path, &node.origin))
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
    path: Path<'a>,
    absent: &'a RefCell<Vec<String>>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        self.current = Some(entry);
        let name: StrDeserializer<'_, Misfit> = entry.key.as_str().into_deserializer();
        let path = Path::Key(&self.path, &entry.key);
        seed.deserialize(name).map(Some).map_err(|misfit| misfit.at(&path, &entry.origin))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Misfit> {
        let Some(entry) = self.current.take() else {
            return Err(de::Error::custom("a value was read before its key"));
        };
        let path = Path::Key(&self.path, &entry.key);
        seed.deserialize(Reader { node: &entry.node, path, absent: self.absent })
            .map_err(|misfit| misfit.at(&path, &entry.node.origin))
    }
}

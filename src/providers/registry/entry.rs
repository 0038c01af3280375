//! What is known of a provider, as data: what it does, in which languages and where, what it costs and what limits it has.
//! Read from `apis_database.yaml` or given to the API; every field is closed or bounded.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::providers::Language;

/// The file: a list of entries, each under an id of its own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    pub providers: Vec<Entry>,
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub id: Id,
    pub category: Category,
    /// What people call it.
    pub title: String,
    /// The client of this program that speaks to it; without one it is known and not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// Whose key it takes; none is the client's own section of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Id>,
    /// None is the address of the client's section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<String>,
    /// Tags; empty is every language.
    #[serde(default)]
    pub languages: Vec<Tag>,
    /// Where it is served from; empty is everywhere.
    #[serde(default)]
    pub regions: Vec<Id>,
    pub quality: Quality,
    /// None is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub capabilities: Vec<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Stt,
    Tts,
    Llm,
    Translation,
    VectorDb,
    Audio,
    Telephony,
    MedicalKnowledge,
}

/// A client in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Client {
    Deepgram,
    Openai,
    Anthropic,
    Embedded,
}

/// What is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// US dollars; of a model for what it is told.
    pub usd: Usd,
    pub per: Unit,
    /// Of a model for what it says; none costs the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_usd: Option<Usd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Minute,
    ThousandCharacters,
    MillionTokens,
    Request,
}

/// Absent where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// What may be spent on it in a UTC day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_day: Option<Usd>,
}

impl Category {
    pub const ALL: [Self; 8] = [
        Self::Stt,
        Self::Tts,
        Self::Llm,
        Self::Translation,
        Self::VectorDb,
        Self::Audio,
        Self::Telephony,
        Self::MedicalKnowledge,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Tts => "tts",
            Self::Llm => "llm",
            Self::Translation => "translation",
            Self::VectorDb => "vector_db",
            Self::Audio => "audio",
            Self::Telephony => "telephony",
            Self::MedicalKnowledge => "medical_knowledge",
        }
    }
}

impl Client {
    /// The section of the configuration that says where and by which key it is reached.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Deepgram => "deepgram",
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Embedded => "embedded",
        }
    }

    const fn serves(self, category: Category) -> bool {
        match self {
            Self::Deepgram => matches!(category, Category::Stt | Category::Tts),
            Self::Openai => matches!(category, Category::Stt | Category::Tts | Category::Llm),
            Self::Anthropic => matches!(category, Category::Llm),
            Self::Embedded => matches!(category, Category::Tts),
        }
    }
}

impl Unit {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::ThousandCharacters => "1000 characters",
            Self::MillionTokens => "million tokens",
            Self::Request => "request",
        }
    }
}

impl Price {
    /// What one unit costs when a model is told three tokens for each that it says.
    pub fn typical_usd(&self) -> f64 {
        let output = self.output_usd.unwrap_or(self.usd).0;
        if self.per == Unit::MillionTokens { (3.0 * self.usd.0 + output) / 4.0 } else { self.usd.0 }
    }
}

impl Entry {
    /// What holds between fields.
    ///
    /// # Errors
    /// The field and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if let Some(client) = self.client
            && !client.serves(self.category)
        {
            return Err(format!("client: {} does not serve {}", client.section(), self.category.as_str()));
        }
        if self.title.is_empty() || self.title.len() > 100 {
            return Err("title: expected 1 to 100 bytes".to_owned());
        }
        if let Some(url) = &self.base_url {
            let is_plain = url.starts_with("https://") || url.starts_with("http://");
            if !is_plain || url.contains('@') || url.len() > 300 {
                return Err(
                    "base_url: expected an address such as https://api.example.com/v1, without a user".to_owned()
                );
            }
        }
        let wanted = match self.category {
            Category::Stt => Some(Unit::Minute),
            Category::Tts => Some(Unit::ThousandCharacters),
            Category::Llm => Some(Unit::MillionTokens),
            _ => None,
        };
        match (self.price, wanted) {
            (Some(price), Some(unit)) if price.per != unit => {
                Err(format!("price.per: expected {} for {}", name_of(unit), self.category.as_str()))
            }
            _ => Ok(()),
        }
    }
}

fn name_of(unit: Unit) -> &'static str {
    match unit {
        Unit::Minute => "minute",
        Unit::ThousandCharacters => "thousand_characters",
        Unit::MillionTokens => "million_tokens",
        Unit::Request => "request",
    }
}

/// A name: `a-z`, `0-9`, `-`, `_` and `.`, at most 64 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Id(String);

impl Id {
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        if !(1..=64).contains(&text.len()) || !text.bytes().all(is_plain) {
            return Err("expected a name of a-z, 0-9, -, _ and ., at most 64 characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(pub Language);

impl Serialize for Tag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.tag())
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Language::parse(&String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

/// An amount, 0 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct Usd(pub f64);

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let usd = f64::deserialize(deserializer)?;
        let is_price = usd.is_finite() && (0.0..=1e6).contains(&usd);
        is_price.then_some(Self(usd)).ok_or_else(|| serde::de::Error::custom("expected US dollars from 0 to 1000000"))
    }
}

/// How good it is, 1 (a makeshift) to 5 (the best that is known).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Quality(pub u8);

impl<'de> Deserialize<'de> for Quality {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let quality = u8::deserialize(deserializer)?;
        let is_grade = (1..=5).contains(&quality);
        is_grade.then_some(Self(quality)).ok_or_else(|| serde::de::Error::custom("expected 1 to 5"))
    }
}

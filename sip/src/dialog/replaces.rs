//! The value of Replaces (RFC 3891): which call a new one takes the place of.
//!
//! Tags are named from the point of view of whoever receives the field. Whether a call may be replaced is the
//! endpoint's to decide.

use super::{Dialog, DialogId};
use crate::message::percent_decode;
use std::fmt;

/// A dialog as a Replaces field names it. `Debug` shows nothing of it: who knows it can take the call over.
#[derive(Clone, PartialEq, Eq)]
pub struct Replaces {
    call_id: String,
    to_tag: String,
    from_tag: String,
    early_only: bool,
}

/// Why a Replaces value was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReplaces {
    #[error("Replaces: not a Call-ID")]
    CallId,
    #[error("Replaces: to-tag and from-tag must each stand once")]
    Tags,
    #[error("Replaces: parameter is malformed")]
    Parameter,
}

impl Replaces {
    /// Reads `call-id;to-tag=x;from-tag=y[;early-only]` (section 6.1).
    ///
    /// # Errors
    /// Where the Call-ID or a tag is missing or stands twice, or a parameter is no parameter.
    pub fn parse(value: &str) -> Result<Self, BadReplaces> {
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next().filter(|id| is_word(id)).ok_or(BadReplaces::CallId)?;
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for part in parts {
            let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name.trim(), Some(value)));
            let slot = match name.to_ascii_lowercase().as_str() {
                "to-tag" => &mut to_tag,
                "from-tag" => &mut from_tag,
                "early-only" => {
                    early_only = true;
                    continue;
                }
                "" => return Err(BadReplaces::Parameter),
                _ => continue,
            };
            let tag = value.map(str::trim).filter(|tag| is_word(tag)).ok_or(BadReplaces::Parameter)?;
            if slot.replace(tag.to_owned()).is_some() {
                return Err(BadReplaces::Tags);
            }
        }
        let (Some(to_tag), Some(from_tag)) = (to_tag, from_tag) else { return Err(BadReplaces::Tags) };
        Ok(Self { call_id: call_id.to_owned(), to_tag, from_tag, early_only })
    }

    /// Reads the `Replaces` among the headers of a Refer-To URI; `None` where there is none.
    ///
    /// # Errors
    /// As [`Replaces::parse`].
    pub(crate) fn among(headers: &str) -> Result<Option<Self>, BadReplaces> {
        let named = headers.split('&').filter_map(|header| header.split_once('='));
        let mut found = named.filter(|(name, _)| percent_decode(name).eq_ignore_ascii_case("Replaces"));
        let Some((_, value)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(BadReplaces::Parameter);
        }
        Self::parse(&percent_decode(value)).map(Some)
    }

    /// True where only a call that is not answered yet may be replaced.
    pub const fn is_early_only(&self) -> bool {
        self.early_only
    }

    /// The dialog of ours that is meant. A from-tag of 0 also stands for a peer without tags.
    pub(crate) fn ids(&self) -> impl Iterator<Item = DialogId> + use<'_> {
        let id = |remote_tag: &str| DialogId {
            call_id: self.call_id.clone(),
            local_tag: self.to_tag.clone(),
            remote_tag: remote_tag.to_owned(),
        };
        let untagged = (self.from_tag == "0").then(|| id(""));
        std::iter::once(id(&self.from_tag)).chain(untagged)
    }

    /// How the other end of a dialog of ours finds it.
    pub(crate) fn of(dialog: &Dialog) -> Self {
        let DialogId { call_id, local_tag, remote_tag } = dialog.id();
        let to_tag = if remote_tag.is_empty() { "0".to_owned() } else { remote_tag };
        Self { call_id, to_tag, from_tag: local_tag, early_only: false }
    }

    /// The value as a URI header carries it.
    pub(crate) fn escaped(&self) -> String {
        let mut text = String::new();
        for byte in self.to_string().bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        text
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)?;
        if self.early_only { f.write_str(";early-only") } else { Ok(()) }
    }
}

impl fmt::Debug for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replaces(..)")
    }
}

/// One word of printable ASCII without what separates values.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b";,=\"".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let one = Replaces::parse("98732@sip.example.com ;from-tag=r33th4x0r ;to-tag=ff87ff").unwrap();
        assert_eq!(one.to_string(), "98732@sip.example.com;to-tag=ff87ff;from-tag=r33th4x0r");
        let two = Replaces::parse("87134@171.161.34.23;to-tag=24796;From-Tag=0;early-only").unwrap();
        assert!(two.is_early_only());
        let tags: Vec<_> = two.ids().map(|id| id.remote_tag).collect();
        assert_eq!(tags, ["0", ""]);
    }

    #[test]
    fn what_names_no_dialog_is_refused() {
        use BadReplaces::{CallId, Parameter, Tags};
        for (text, wanted) in [
            ("", CallId),
            (";to-tag=1;from-tag=2", CallId),
            ("a b;to-tag=1;from-tag=2", CallId),
            ("a;to-tag=1", Tags),
            ("a;from-tag=1", Tags),
            ("a;to-tag=1;from-tag=2;to-tag=3", Tags),
            ("a;to-tag=;from-tag=2", Parameter),
            ("a;to-tag;from-tag=2", Parameter),
            ("a;to-tag=1;from-tag=2;", Parameter),
        ] {
            assert_eq!(Replaces::parse(text), Err(wanted), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}|[a-z;=@,%0-9&-]{0,60}") {
            if let Ok(read) = Replaces::parse(&text) {
                prop_assert_eq!(Replaces::parse(&read.to_string()).unwrap(), read.clone());
                let headers = format!("Subject=x&replaces={}", read.escaped());
                prop_assert_eq!(Replaces::among(&headers), Ok(Some(read)));
            }
            Replaces::among(&text).ok();
        }
    }
}

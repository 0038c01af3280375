//! The `application/x-www-form-urlencoded` body of a webhook. It names callers, so nothing of it is printed.

use std::fmt;

/// The parameters of a webhook, in the order they came; a name may come more than once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a body (WHATWG URL standard, section 5.1).
    ///
    /// # Errors
    /// What does not fit and at which byte; never a value.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        if body.len() > MAX_FORM {
            return Err(FormError::TooLong { len: body.len() });
        }
        let mut pairs = Vec::new();
        let mut at = 0;
        for pair in body.split(|b| *b == b'&') {
            if pairs.len() == MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            if !pair.is_empty() {
                let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
                let (name, value) = pair.split_at(equals);
                let name = decode(name, at)?;
                pairs.push((name, decode(value.strip_prefix(b"=").unwrap_or_default(), at + equals + 1)?));
            }
            at += pair.len() + 1;
        }
        Ok(Self(pairs))
    }

    /// The first value of a name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

impl FromIterator<(String, String)> for Form {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// Names only: the values are callers' numbers and places.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("form of {len} bytes, at most {MAX_FORM} are read")]
    TooLong { len: usize },
    #[error("more than {MAX_PARAMETERS} parameters")]
    TooMany,
    #[error("byte {at}: `%` without two hexadecimal digits")]
    Escape { at: usize },
    #[error("the name or value at byte {at} is not UTF-8")]
    NotUtf8 { at: usize },
}

/// Longest body read, in bytes.
pub const MAX_FORM: usize = 64 * 1024;
/// Most parameters read; Twilio sends about 30.
pub const MAX_PARAMETERS: usize = 256;

fn decode(text: &[u8], at: usize) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let place = FormError::Escape { at: at + text.len() - rest.len() - 1 };
                let mut digit = || rest.next().and_then(|b| char::from(*b).to_digit(16)).ok_or(place);
                let value = digit()? * 16 + digit()?;
                bytes.push(u8::try_from(value).map_err(|_| place)?);
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| FormError::NotUtf8 { at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_escapes_pluses_and_repeated_names() {
        let form = Form::parse(b"From=%2B250788&Name=Am%C3%A9lie+B&x=1&x=2&empty=&&bare").unwrap();
        assert_eq!(form.value("From"), Some("+250788"));
        assert_eq!(form.value("Name"), Some("Am\u{e9}lie B"));
        assert_eq!(form.pairs().iter().filter(|(name, _)| name == "x").count(), 2);
        assert_eq!((form.value("empty"), form.value("bare"), form.value("none")), (Some(""), Some(""), None));
        assert!(!format!("{form:?}").contains("250788"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(Form::parse(b"a=1&b=%2"), Err(FormError::Escape { at: 6 }));
        assert_eq!(Form::parse(b"a=%zz"), Err(FormError::Escape { at: 2 }));
        assert_eq!(Form::parse(b"a=%ff"), Err(FormError::NotUtf8 { at: 2 }));
        assert_eq!(Form::parse("a=1&".repeat(257).as_bytes()), Err(FormError::TooMany));
        assert_eq!(Form::parse(&vec![b'a'; MAX_FORM + 1]), Err(FormError::TooLong { len: MAX_FORM + 1 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&body);
        }

        #[test]
        fn escaped_text_reads_back(name in "\\PC{1,8}", value in "\\PC{0,8}") {
            let escape = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
            let form = Form::parse(format!("{}={}", escape(&name), escape(&value)).as_bytes()).unwrap();
            prop_assert_eq!(form.pairs(), &[(name, value)]);
        }
    }
}

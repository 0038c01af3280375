//! `Pii<T>` keeps personal data out of anything that is printed.
//!
//! Caller numbers, names and words cross rooms only inside this wrapper. It deliberately has no `Display` of its
//! content, no `Serialize` and no `Deref`: whoever needs the content says so with `expose`, which is easy to find.

use std::fmt;

/// A value that identifies or was said by a person.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Pii<T>(T);

impl<T> Pii<T> {
    /// Wraps a value where it enters the process.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The content, for the few places whose job needs it (a vendor request, the record store, a prompt).
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The content by value; see [`Pii::expose`].
    pub fn into_exposed(self) -> T {
        self.0
    }

    /// The same guard over a value made from the content.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Pii<U> {
        Pii(make(self.0))
    }
}

impl<T> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[pii]")
    }
}

impl<T> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[pii]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_prints_its_content() {
        let number = Pii::new("+250788123456".to_owned());
        assert_eq!(format!("{number} {number:?}"), "[pii] [pii]");
        assert_eq!(number.expose(), "+250788123456");
    }
}

//! The header fields of a message in their order, and where the first of each known name stands: most questions are
//! about names that are not there, or stand once.

use super::header::HeaderName;
use std::ops::Range;

/// One header field: where its name and its trimmed value stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: HeaderName,
    pub(crate) spelled: Range<usize>,
    pub(crate) value: Range<usize>,
}

#[derive(Clone)]
pub(crate) struct Fields {
    list: Vec<Field>,
    /// Index into `list` by name; `NONE` where there is none.
    first: [u16; HeaderName::COUNT],
}

impl Fields {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity), first: [NONE; HeaderName::COUNT] }
    }

    #[inline]
    pub(crate) fn push(&mut self, field: Field) {
        if let Some(first) = self.first.get_mut(field.name.index()).filter(|first| **first == NONE) {
            *first = u16::try_from(self.list.len()).unwrap_or(NONE);
        }
        self.list.push(field);
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Field> {
        self.list.iter()
    }

    #[inline]
    pub(crate) fn first(&self, name: HeaderName) -> Option<&Field> {
        self.list.get(usize::from(self.first_index(name)))
    }

    /// All fields of this name in their order.
    pub(crate) fn named(&self, name: HeaderName) -> impl Iterator<Item = &Field> {
        let from = self.list.get(usize::from(self.first_index(name))..).unwrap_or_default();
        from.iter().filter(move |field| field.name == name)
    }

    fn first_index(&self, name: HeaderName) -> u16 {
        self.first.get(name.index()).copied().unwrap_or(NONE)
    }
}

/// Beyond the most fields a message may have.
const NONE: u16 = u16::MAX;

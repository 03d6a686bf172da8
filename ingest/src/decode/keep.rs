//! In what form the payload of a rejected record is kept.
//!
//! Servers refuse documents that nest too deep, and old ones refuse names that look like operators or paths. A letter
//! that holds such a payload as a document could never be written, and its lane would stand still.

use ::bson::{RawBsonRef, RawDocument};

use super::payload::Payload;

/// Documents in documents, at most, of what is kept as one. Servers store 180, and whoever reads a document level by
/// level needs room for each.
const MAX_DEPTH: usize = 32;

/// How a payload is kept. Each form is taken by more servers than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keep {
    /// As a text or a document, where that loses nothing.
    Readable,
    /// As its bytes.
    Bytes,
    /// Not at all: its length and SHA-256 are.
    Nothing,
}

impl Keep {
    /// The form to begin with: readable, unless a server may refuse that.
    #[must_use]
    pub fn of(payload: &Payload) -> Self {
        match payload {
            Payload::Document(document) | Payload::Change(document) if !is_plain(document, MAX_DEPTH) => {
                Keep::Bytes
            }
            _ => Keep::Readable,
        }
    }

    /// The form to try when the server has refused this one; `None`: there is none left.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Keep::Readable => Some(Keep::Bytes),
            Keep::Bytes => Some(Keep::Nothing),
            Keep::Nothing => None,
        }
    }
}

/// Whether every server takes the document inside another: it decodes, has no more than so many levels, and no name
/// that is empty, begins with `$` or holds a dot.
fn is_plain(document: &RawDocument, levels: usize) -> bool {
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('$') && !name.contains('.');
    document
        .iter()
        .all(|element| element.is_ok_and(|(name, value)| is_name(name.as_str()) && fits(value, levels)))
}

fn fits(value: RawBsonRef<'_>, levels: usize) -> bool {
    match (value, levels.checked_sub(1)) {
        (RawBsonRef::Document(inner), Some(levels)) => is_plain(inner, levels),
        (RawBsonRef::Array(inner), Some(levels)) => inner
            .into_iter()
            .all(|value| value.is_ok_and(|value| fits(value, levels))),
        (RawBsonRef::Document(_) | RawBsonRef::Array(_), None) => false,
        // Its scope is a document too; nobody needs to read it.
        (RawBsonRef::JavaScriptCodeWithScope(_), _) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use ::bson::{Bson, Document, RawDocumentBuf, doc};

    use super::*;

    fn nested(levels: usize, array: bool) -> Document {
        (0..levels).fold(doc! {"leaf": 1}, |inner, _| match array {
            true => doc! {"a": [inner]},
            false => doc! {"a": inner},
        })
    }

    fn keep(document: &Document) -> Keep {
        Keep::of(&Payload::Document(
            RawDocumentBuf::try_from(document).expect("encodes"),
        ))
    }

    #[test]
    fn what_a_server_may_refuse_is_kept_as_bytes() {
        let deep = |levels| Bson::Document(nested(levels, false));
        for (document, expected) in [
            (doc! {}, Keep::Readable),
            (doc! {"a": {"b": [1, {"c": "$where"}]}}, Keep::Readable),
            (doc! {"deep": deep(MAX_DEPTH - 1)}, Keep::Readable),
            (nested(MAX_DEPTH, false), Keep::Readable),
            (nested(MAX_DEPTH + 1, false), Keep::Bytes),
            (nested(MAX_DEPTH / 2, true), Keep::Readable),
            (nested(MAX_DEPTH / 2 + 1, true), Keep::Bytes),
            (nested(178, false), Keep::Bytes),
            (doc! {"$where": "1"}, Keep::Bytes),
            (doc! {"a": [{"b": {"$gt": 1}}]}, Keep::Bytes),
            (doc! {"a.b": 1}, Keep::Bytes),
            (doc! {"a": {"": 1}}, Keep::Bytes),
        ] {
            assert_eq!(keep(&document), expected, "{document}");
        }
    }

    #[test]
    fn each_refusal_leaves_less_to_refuse() {
        let forms: Vec<Keep> = std::iter::successors(Some(Keep::Readable), |keep| keep.next()).collect();
        assert_eq!(forms, [Keep::Readable, Keep::Bytes, Keep::Nothing]);
        assert!(forms.is_sorted());
    }
}

//! The order of `_id`s that no `Bson` holds.

use bson::spec::ElementType;
use bson::{Bson, Document, JavaScriptCodeWithScope, RawDocument, RawDocumentBuf, doc};

use super::order;
use crate::lane::DocumentKey;

use std::cmp::Ordering;

/// Compares two `_id`s as the server's `_id` index does.
pub(super) fn compare(one: &DocumentKey, other: &DocumentKey) -> Ordering {
    match (one, other) {
        (DocumentKey::Plain(one), DocumentKey::Plain(other)) => order::compare(one, other),
        (one, other) => order::compare(&shadow(one), &shadow(other)),
    }
}

/// The place of the `_id`'s type among all types.
pub(super) fn rank(key: &DocumentKey) -> u8 {
    match key {
        DocumentKey::Plain(value) => order::rank(value),
        bytes => order::rank(&shadow(bytes)),
    }
}

/// A value that compares with the shadows of others as the key does with them: every byte of a text stands for itself,
/// as the character with its number, and characters are in the order of their numbers.
fn shadow(key: &DocumentKey) -> Bson {
    let shadow = match key {
        DocumentKey::Plain(value) => {
            RawDocumentBuf::try_from(&doc! {"_id": value.clone()}).map(|raw| shadow_of(&raw))
        }
        DocumentKey::Bytes(raw) => Ok(shadow_of(raw)),
    };
    let value = shadow.ok().and_then(|shadow| shadow.into_iter().next());
    value.map_or(Bson::Null, |(_, value)| value)
}

fn expanded(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The shadow of a document, as far as its elements can be told apart.
fn shadow_of(document: &RawDocument) -> Document {
    let mut shadow = Document::new();
    let Some(mut rest) = document.as_bytes().get(4..) else {
        return shadow;
    };
    while let Some((name, value, behind)) = element(rest) {
        shadow.insert(name, value);
        rest = behind;
    }
    shadow
}

/// The first of these elements, and what lies behind it.
fn element(bytes: &[u8]) -> Option<(String, Bson, &[u8])> {
    let (kind, bytes) = bytes.split_first()?;
    let kind = ElementType::from(*kind)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (name, bytes) = (expanded(&bytes[..end]), &bytes[end + 1..]);
    let (value, behind) = bytes.split_at_checked(size(kind, bytes)?)?;
    Some((name, value_of(kind, value)?, behind))
}

/// How many bytes a value has.
fn size(kind: ElementType, bytes: &[u8]) -> Option<usize> {
    let length = || usize::try_from(i32::from_le_bytes(*bytes.first_chunk()?)).ok();
    let text = |from: usize| Some(from + bytes.get(from..)?.iter().position(|byte| *byte == 0)? + 1);
    Some(match kind {
        ElementType::Undefined | ElementType::Null | ElementType::MinKey | ElementType::MaxKey => 0,
        ElementType::Boolean => 1,
        ElementType::Int32 => 4,
        ElementType::Double | ElementType::DateTime | ElementType::Timestamp | ElementType::Int64 => 8,
        ElementType::ObjectId => 12,
        ElementType::Decimal128 => 16,
        ElementType::String | ElementType::JavaScriptCode | ElementType::Symbol => 4 + length()?,
        ElementType::EmbeddedDocument | ElementType::Array | ElementType::JavaScriptCodeWithScope => {
            length()?
        }
        ElementType::Binary => 5 + length()?,
        ElementType::DbPointer => 16 + length()?,
        ElementType::RegularExpression => text(text(0)?)?,
    })
}

fn value_of(kind: ElementType, value: &[u8]) -> Option<Bson> {
    let text = || value.get(4..value.len().checked_sub(1)?).map(expanded);
    let inner = || RawDocument::from_bytes(value).ok().map(shadow_of);
    Some(match kind {
        ElementType::String | ElementType::Symbol => text()?.into(),
        ElementType::JavaScriptCode => Bson::JavaScriptCode(text()?),
        ElementType::EmbeddedDocument => inner()?.into(),
        ElementType::Array => Bson::Array(inner()?.into_iter().map(|(_, value)| value).collect()),
        // What these hold is not compared.
        ElementType::JavaScriptCodeWithScope => Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: String::new(),
            scope: Document::new(),
        }),
        kind => {
            let alone = crate::lane::single(kind, "_id", value)?;
            let value = alone.get("_id").ok()??;
            Bson::try_from(value).ok()?
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> RawDocumentBuf {
        let length = i32::try_from(bytes.len() + 1).expect("short").to_le_bytes();
        let value = [&length, bytes, &[0]].concat();
        crate::lane::single(ElementType::String, "_id", &value).expect("a document")
    }

    fn key(bytes: &[u8]) -> DocumentKey {
        DocumentKey::of(&text(bytes)).expect("an id")
    }

    fn inside(document: &RawDocument) -> DocumentKey {
        let outer = crate::lane::single(ElementType::EmbeddedDocument, "_id", document.as_bytes());
        DocumentKey::of(&outer.expect("a document")).expect("an id")
    }

    #[test]
    fn other_types_come_before_and_behind_as_ever() {
        let broken = key(b"a\xff");
        assert!(matches!(broken, DocumentKey::Bytes(_)));
        assert_eq!(rank(&broken), order::rank(&"a".into()));
        let plain = |value: Bson| DocumentKey::Plain(value);
        for below in [
            Bson::MinKey,
            Bson::Null,
            7.into(),
            f64::INFINITY.into(),
            "a".into(),
            "a\u{7f}".into(),
        ] {
            assert_eq!(compare(&plain(below), &broken), Ordering::Less);
        }
        for above in [
            "b".into(),
            doc! {}.into(),
            bson::oid::ObjectId::from_bytes([0; 12]).into(),
            Bson::MaxKey,
        ] {
            assert_eq!(compare(&plain(above), &broken), Ordering::Greater);
        }
    }

    proptest! {
        #[test]
        fn texts_are_in_the_order_of_their_bytes(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            let (a, b) = (a.as_slice(), b.as_slice());
            prop_assert_eq!(compare(&key(a), &key(b)), a.cmp(b));
            prop_assert_eq!(compare(&inside(&text(a)), &inside(&text(b))), a.cmp(b));
        }
    }
}

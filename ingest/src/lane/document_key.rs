//! The `_id` of a document, whatever its bytes are.

use std::borrow::Cow;

use bson::oid::ObjectId;
use bson::spec::{BinarySubtype, ElementType};
use bson::{Binary, Bson, RawBsonRef, RawDocument, RawDocumentBuf, doc, rawdoc};
use rollup::event::{DocumentId, Value};

/// The `_id` of a document. MongoDB stores what a driver sends, a text that is no UTF-8 too: such a document is
/// rejected when it is judged, and until then it is one like any other.
#[derive(Debug, Clone, PartialEq)]
pub enum DocumentKey {
    /// A value as it was sent.
    Plain(Bson),
    /// One that no [`Bson`] holds: a document whose only element it is, `_id`.
    Bytes(RawDocumentBuf),
}

impl DocumentKey {
    /// The `_id` of this document; `None`: it has none, or no server could have sent it.
    #[must_use]
    pub fn of(document: &RawDocument) -> Option<Self> {
        let bytes = raw_id(document)?;
        let value = bytes
            .iter()
            .next()?
            .ok()
            .and_then(|(_, value)| Bson::try_from(value).ok());
        // One with a field twice would lose one of them.
        let is_whole = |value: &Bson| {
            !matches!(value, Bson::Document(_))
                || RawDocumentBuf::try_from(&doc! {"_id": value.clone()}).is_ok_and(|again| again == bytes)
        };
        Some(match value {
            Some(value) if is_whole(&value) => Self::Plain(value),
            _ => Self::Bytes(bytes),
        })
    }
}

impl From<Bson> for DocumentKey {
    fn from(value: Bson) -> Self {
        Self::Plain(value)
    }
}

/// The `_id` of a document, alone, as its bytes.
#[must_use]
pub fn raw_id(document: &RawDocument) -> Option<RawDocumentBuf> {
    // What lies before an element: of the document its length, of each element its type, name and value.
    let mut at = 4;
    for element in document.iter_elements() {
        let element = element.ok()?;
        let name = element.key().as_str();
        let value = at + 1 + name.len() + 1;
        let end = value + element.size();
        if name == "_id" {
            let id = single(
                element.element_type(),
                "_id",
                document.as_bytes().get(value..end)?,
            )?;
            // Alone it is as long as it was among others.
            let is_whole = id.iter_elements().next().is_some_and(|again| again.is_ok());
            return is_whole.then_some(id);
        }
        at = end;
    }
    None
}

/// The `_id` that this value is.
pub(crate) fn document_id(value: RawBsonRef<'_>) -> DocumentId<'_> {
    match value {
        RawBsonRef::String(id) => DocumentId::Text(Cow::Borrowed(id)),
        RawBsonRef::ObjectId(id) => DocumentId::ObjectId(id.bytes()),
        RawBsonRef::Int32(number) => DocumentId::Integer(number.into()),
        RawBsonRef::Int64(number) => DocumentId::Integer(number),
        RawBsonRef::Double(number) => DocumentId::of_number(&Value::Float(number)),
        RawBsonRef::Decimal128(number) => {
            DocumentId::of_number(&Value::decimal128(number.to_string().into()))
        }
        RawBsonRef::Binary(binary) => match (binary.subtype, binary.bytes.try_into()) {
            (BinarySubtype::Uuid, Ok(bytes)) => DocumentId::Uuid(bytes),
            (BinarySubtype::UuidOld, Ok(bytes)) => DocumentId::LegacyUuid(bytes),
            _ => DocumentId::Unsupported,
        },
        _ => DocumentId::Unsupported,
    }
}

/// This `_id`, alone; `None`: it can name no event.
pub(crate) fn of_document_id(id: &DocumentId<'_>) -> Option<RawDocumentBuf> {
    let uuid = |subtype, bytes: &[u8; 16]| {
        let bytes = bytes.to_vec();
        rawdoc! {"_id": Binary { subtype, bytes }}
    };
    Some(match id {
        DocumentId::Text(text) => rawdoc! {"_id": text.as_ref()},
        DocumentId::ObjectId(bytes) => rawdoc! {"_id": ObjectId::from_bytes(*bytes)},
        DocumentId::Uuid(bytes) => uuid(BinarySubtype::Uuid, bytes),
        DocumentId::LegacyUuid(bytes) => uuid(BinarySubtype::UuidOld, bytes),
        DocumentId::Integer(number) => rawdoc! {"_id": *number},
        DocumentId::None | DocumentId::Unsupported => return None,
    })
}

/// A document with one element of this type.
pub(crate) fn single(kind: ElementType, name: &str, value: &[u8]) -> Option<RawDocumentBuf> {
    let mut bytes = Vec::with_capacity(value.len() + name.len() + 7);
    bytes.extend([0; 4]);
    bytes.push(kind as u8);
    bytes.extend(name.as_bytes());
    bytes.push(0);
    bytes.extend(value);
    bytes.push(0);
    let length = i32::try_from(bytes.len()).ok()?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(document: &bson::Document) -> Option<DocumentKey> {
        DocumentKey::of(&RawDocumentBuf::try_from(document).expect("encodes"))
    }

    #[test]
    fn an_id_is_found_wherever_it_stands() {
        let id = ObjectId::from_bytes([7; 12]);
        for (document, expected) in [
            (doc! {"_id": id}, Bson::from(id)),
            (doc! {"a": "x", "b": {"_id": 1}, "_id": "id"}, "id".into()),
            (doc! {"a": [1, 2.5], "_id": {"x": 1}}, doc! {"x": 1}.into()),
        ] {
            assert_eq!(key(&document), Some(expected.into()));
        }
        assert_eq!(key(&doc! {"a": 1}), None);
    }

    #[test]
    fn what_no_value_holds_stays_bytes() {
        let text = |text: &[u8]| {
            let length = i32::try_from(text.len() + 1).expect("short").to_le_bytes();
            single(ElementType::String, "_id", &[&length, text, &[0]].concat()).expect("a document")
        };
        assert_eq!(DocumentKey::of(&text(b"a")), Some(Bson::from("a").into()));
        let broken = text(b"a\xff");
        assert_eq!(DocumentKey::of(&broken), Some(DocumentKey::Bytes(broken)));
        let mut twice = RawDocumentBuf::new();
        twice.append(bson::raw::cstr!("x"), 1);
        twice.append(bson::raw::cstr!("x"), 2);
        let twice = single(ElementType::EmbeddedDocument, "_id", twice.as_bytes()).expect("a document");
        assert_eq!(DocumentKey::of(&twice), Some(DocumentKey::Bytes(twice)));
    }
}

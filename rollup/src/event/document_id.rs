//! The `_id` of an event's document, as databases hold it and as connectors write it.

use std::borrow::Cow;

use super::extended_json::{Extended, scalar};
use super::hex::{object_id, uuid};
use super::value::Value;

/// The `_id` of an event's document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DocumentId<'a> {
    /// The payload is not a document of a collection.
    #[default]
    None,
    /// A text.
    Text(Cow<'a, str>),
    /// An ObjectId.
    ObjectId([u8; 12]),
    /// A UUID.
    Uuid([u8; 16]),
    /// A UUID as drivers wrote it long ago: the order of its bytes depends on the driver.
    LegacyUuid([u8; 16]),
    /// A number without a fraction, whatever its type is: the database takes them for the same.
    Integer(i64),
    /// A type that cannot name an event.
    Unsupported,
}

impl<'a> DocumentId<'a> {
    /// An `_id` as JSON, or as Extended JSON.
    #[must_use]
    pub fn read(json: &'a str) -> Self {
        match json.as_bytes() {
            b"null" => Self::None,
            [b'{', ..] => match serde_json::from_str::<Extended<'_>>(json) {
                Ok(Extended::ObjectId(bytes)) => Self::ObjectId(bytes),
                Ok(Extended::Uuid(bytes)) => Self::Uuid(bytes),
                Ok(Extended::LegacyUuid(bytes)) => Self::LegacyUuid(bytes),
                Ok(Extended::Value(Value::Absent)) => Self::None,
                Ok(Extended::Value(value)) => Self::of_number(&value),
                Err(_) => Self::Unsupported,
            },
            _ => match scalar(json) {
                Some(Value::Text(text)) => Self::Text(text),
                Some(value) => Self::of_number(&value),
                None => Self::Unsupported,
            },
        }
    }

    /// A number as an `_id`.
    #[must_use]
    pub fn of_number(value: &Value<'_>) -> Self {
        value.whole().map_or(Self::Unsupported, Self::Integer)
    }

    /// The form in which two are compared: connectors write an ObjectId or a UUID as its text, so each is the same `_id`
    /// as its text.
    #[must_use]
    pub fn canonical(self) -> Self {
        match self {
            Self::Text(text) => object_id(&text)
                .map(Self::ObjectId)
                .or_else(|| uuid(&text).map(Self::Uuid))
                .unwrap_or(Self::Text(text)),
            other => other,
        }
    }

    /// The same, which nothing borrows.
    #[must_use]
    pub fn into_owned(self) -> DocumentId<'static> {
        match self {
            Self::None => DocumentId::None,
            Self::Text(text) => DocumentId::Text(text.into_owned().into()),
            Self::ObjectId(bytes) => DocumentId::ObjectId(bytes),
            Self::Uuid(bytes) => DocumentId::Uuid(bytes),
            Self::LegacyUuid(bytes) => DocumentId::LegacyUuid(bytes),
            Self::Integer(number) => DocumentId::Integer(number),
            Self::Unsupported => DocumentId::Unsupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_in_every_form_that_connectors_write() {
        let object_id = DocumentId::ObjectId([
            0x6b, 0x07, 0x2a, 0xce, 0xda, 0x11, 0x45, 0x60, 0x5b, 0x9c, 0xae, 0x50,
        ]);
        let uuid = DocumentId::Uuid([
            0xc8, 0xed, 0xab, 0xc3, 0xf7, 0x38, 0x4c, 0xa3, 0xb6, 0x8d, 0xab, 0x92, 0xa9, 0x14, 0x78, 0xa3,
        ]);
        for (json, expected) in [
            (r#"{"$oid": "6b072aceda1145605b9cae50"}"#, object_id.clone()),
            (r#""6B072ACEDA1145605B9CAE50""#, object_id),
            (
                r#"{"$uuid": "c8edabc3-f738-4ca3-b68d-ab92a91478a3"}"#,
                uuid.clone(),
            ),
            (
                r#"{"$binary": {"base64": "yO2rw/c4TKO2jauSqRR4ow==", "subType": "04"}}"#,
                uuid.clone(),
            ),
            (
                r#"{"$binary": "yO2rw/c4TKO2jauSqRR4ow==", "$type": "04"}"#,
                uuid.clone(),
            ),
            (r#""c8edabc3-f738-4ca3-b68d-ab92a91478a3""#, uuid),
            ("7", DocumentId::Integer(7)),
            ("7.0", DocumentId::Integer(7)),
            (r#"{"$numberInt": "7"}"#, DocumentId::Integer(7)),
            (r#"{"$numberLong": "7"}"#, DocumentId::Integer(7)),
            (r#"{"$numberDouble": "7.0"}"#, DocumentId::Integer(7)),
            (r#""text-id""#, DocumentId::Text("text-id".into())),
            (r#""a\"b""#, DocumentId::Text("a\"b".into())),
            ("null", DocumentId::None),
        ] {
            assert_eq!(DocumentId::read(json).canonical(), expected, "{json}");
        }
        let legacy =
            DocumentId::read(r#"{"$binary": {"base64": "yO2rw/c4TKO2jauSqRR4ow==", "subType": "03"}}"#);
        assert!(matches!(legacy.canonical(), DocumentId::LegacyUuid(_)));
    }

    #[test]
    fn what_cannot_name_an_event_is_no_id_and_no_fault_of_the_record() {
        for json in [
            "7.5",
            "18446744073709551615",
            "1e400",
            "true",
            "[1]",
            "{}",
            r#"{"_data": "82"}"#,
            r#"{"$oid": "6b07"}"#,
            r#"{"$oid": "6b072aceda1145605b9cae5g"}"#,
            r#"{"$oid": 7}"#,
            r#"{"$oid": "6b072aceda1145605b9cae50", "a": 1}"#,
            r#"{"$uuid": "c8edabc3f7384ca3b68dab92a91478a3"}"#,
            r#"{"$binary": {"base64": "AQ==", "subType": "04"}}"#,
            r#"{"$binary": {"base64": "yO2rw/c4TKO2jauSqRR4ow==", "subType": "00"}}"#,
            r#"{"$binary": "yO2rw/c4TKO2jauSqRR4ow=="}"#,
            r#"{"$date": 7}"#,
        ] {
            assert_eq!(DocumentId::read(json), DocumentId::Unsupported, "{json}");
        }
    }

    #[test]
    fn only_the_text_of_an_object_id_or_a_uuid_is_one() {
        for text in [
            "6b072aceda1145605b9cae5",
            "6b072aceda1145605b9cae500",
            "+b072aceda1145605b9cae50",
            "c8edabc3-f738-4ca3-b68d-ab92a91478a",
            "c8edabc3-f738-4ca3-b68d-ab92a91478a3x",
            "c8edabc3-f7384-ca3-b68d-ab92a91478a3",
            "c8edabc3-f738-4ca3-b68d-ab92a91478ag",
            "7",
        ] {
            let id = DocumentId::Text(text.into());
            assert_eq!(id.clone().canonical(), id, "{text}");
        }
    }
}

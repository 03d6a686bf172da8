//! The questions that page a collection in the order of `_id`, across BSON types.
//!
//! A comparison finds only values of its operand's type: `{_id: {$gt: "z"}}` finds no `ObjectId`, although all of
//! them come after every string. So what lies above an `_id` is asked for type by type, in their order. Each
//! question is a range of the index that is read from its begin; the sort costs nothing. One `$expr` could ask for
//! all types at once, but walks the whole index for every page; `min` starts at the right place, but what it finds
//! comes in no order that every server keeps to.

use bson::spec::{BinarySubtype, ElementType};
use bson::{Binary, Bson, DateTime, Document, RawDocument, RawDocumentBuf, Timestamp, doc, oid::ObjectId};

use super::bytes::rank;
use super::order;
use crate::lane::{DocumentKey, single};

/// The filters that together find every document above this `_id`, in order; `None`: every document. As bytes, since
/// an `_id` may be no value.
pub(super) fn above(bound: Option<&DocumentKey>) -> Vec<RawDocumentBuf> {
    let Some(bound) = bound else {
        return vec![RawDocumentBuf::new()];
    };
    let higher = types().into_iter().filter(|(of, _)| *of > rank(bound));
    let same = match bound {
        // There is one of each; and NaN, the least number, compares with none.
        DocumentKey::Plain(Bson::MinKey | Bson::MaxKey | Bson::Null | Bson::Undefined) => None,
        DocumentKey::Plain(value) if is_nan(value) => raw(&numbers()),
        DocumentKey::Plain(value) => raw(&doc! {"_id": {"$gt": value.clone()}}),
        DocumentKey::Bytes(alone) => greater(alone),
    };
    same.into_iter()
        .chain(higher.filter_map(|(_, all)| raw(&all)))
        .collect()
}

fn raw(filter: &Document) -> Option<RawDocumentBuf> {
    RawDocumentBuf::try_from(filter).ok()
}

/// The filter of what is greater than this `_id`, given alone.
fn greater(alone: &RawDocument) -> Option<RawDocumentBuf> {
    let element = alone.iter_elements().next()?.ok()?;
    // Behind the length, the type and the name; before the end.
    let value = alone.as_bytes().get(9..alone.as_bytes().len() - 1)?;
    let greater = single(element.element_type(), "$gt", value)?;
    single(ElementType::EmbeddedDocument, "_id", greater.as_bytes())
}

/// The filters that find all `_id`s of a type, with the place of the type in the order.
fn types() -> Vec<(u8, Document)> {
    let least = |value: Bson| (order::rank(&value), doc! {"_id": {"$gte": value}});
    let only = |value: Bson| (order::rank(&value), doc! {"_id": value});
    let binary = Binary {
        subtype: BinarySubtype::Generic,
        bytes: Vec::new(),
    };
    let types = vec![
        only(Bson::MinKey),
        only(Bson::Null),
        only(Bson::Double(f64::NAN)),
        (order::rank(&Bson::Double(0.0)), numbers()),
        least(Bson::String(String::new())),
        least(Bson::Document(Document::new())),
        least(Bson::Binary(binary)),
        least(Bson::ObjectId(ObjectId::from_bytes([0; 12]))),
        least(Bson::Boolean(false)),
        least(Bson::DateTime(DateTime::MIN)),
        least(Bson::Timestamp(Timestamp {
            time: 0,
            increment: 0,
        })),
        // These have no least value that could be written down.
        (DB_POINTER, doc! {"_id": {"$type": "dbPointer"}}),
        least(Bson::JavaScriptCode(String::new())),
        (CODE_WITH_SCOPE, doc! {"_id": {"$type": "javascriptWithScope"}}),
        only(Bson::MaxKey),
    ];
    debug_assert!(types.is_sorted_by_key(|(rank, _)| *rank));
    types
}

/// The places of the types whose values cannot be made here.
const DB_POINTER: u8 = 13;
const CODE_WITH_SCOPE: u8 = 15;

fn numbers() -> Document {
    doc! {"_id": {"$gte": f64::NEG_INFINITY}}
}

fn is_nan(value: &Bson) -> bool {
    match value {
        Bson::Double(number) => number.is_nan(),
        Bson::Decimal128(number) => number.to_string().contains("NaN"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use bson::JavaScriptCodeWithScope;

    use super::super::order::{compare, rank};
    use super::*;

    /// Whether a server finds this `_id` with this filter.
    fn finds(filter: &RawDocumentBuf, id: &Bson) -> bool {
        let filter = Document::try_from(filter.as_ref()).expect("a document");
        let Some(condition) = filter.get("_id") else {
            return true;
        };
        let (operator, operand) = match condition {
            Bson::Document(condition) => condition.iter().next().expect("an operator"),
            only => return compare(id, only).is_eq(),
        };
        let is_comparable = rank(id) == rank(operand) && !is_nan(id) && !is_nan(operand);
        match (operator.as_str(), operand) {
            ("$gt", operand) => is_comparable && compare(id, operand) == Ordering::Greater,
            ("$gte", operand) => is_comparable && compare(id, operand) != Ordering::Less,
            ("$type", Bson::String(name)) => match name.as_str() {
                "dbPointer" => matches!(id, Bson::DbPointer(_)),
                "javascriptWithScope" => matches!(id, Bson::JavaScriptCodeWithScope(_)),
                other => panic!("{other}"),
            },
            (operator, _) => panic!("{operator}"),
        }
    }

    fn ids() -> Vec<Bson> {
        let binary = |subtype, bytes: &[u8]| {
            Bson::Binary(Binary {
                subtype,
                bytes: bytes.to_vec(),
            })
        };
        let timestamp = |time| Bson::Timestamp(Timestamp { time, increment: 1 });
        let pointer = r#"{"$dbPointer": {"$ref": "a.b", "$id": {"$oid": "0123456789abcdef01234567"}}}"#;
        let pointer: serde_json::Value = serde_json::from_str(pointer).expect("JSON");
        vec![
            Bson::MinKey,
            Bson::Null,
            Bson::Double(f64::NAN),
            Bson::Double(f64::NEG_INFINITY),
            Bson::Int64(-7),
            Bson::Double(-0.5),
            Bson::Int32(0),
            Bson::Decimal128("0.5".parse().expect("a decimal")),
            Bson::Double(f64::INFINITY),
            "".into(),
            "a".into(),
            Bson::Symbol("b".into()),
            "\u{10ffff}".into(),
            doc! {}.into(),
            doc! {"a": 1}.into(),
            doc! {"a": "x"}.into(),
            binary(BinarySubtype::Generic, b""),
            binary(BinarySubtype::Generic, b"a"),
            binary(BinarySubtype::Uuid, &[0xff; 16]),
            ObjectId::from_bytes([0; 12]).into(),
            ObjectId::from_bytes([0xff; 12]).into(),
            false.into(),
            true.into(),
            DateTime::MIN.into(),
            DateTime::from_millis(0).into(),
            DateTime::MAX.into(),
            timestamp(0),
            timestamp(u32::MAX),
            Bson::try_from(pointer).expect("a pointer"),
            Bson::JavaScriptCode(String::new()),
            Bson::JavaScriptCode("x".into()),
            Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code: String::new(),
                scope: Document::new(),
            }),
            Bson::MaxKey,
        ]
    }

    #[test]
    fn every_id_above_a_bound_is_found_once_and_in_order() {
        let ids = ids();
        assert!(
            ids.is_sorted_by(|one, other| compare(one, other).is_lt()),
            "the order that the server has"
        );
        for (at, bound) in ids.iter().enumerate() {
            let filters = above(Some(&bound.clone().into()));
            let found = filters
                .iter()
                .flat_map(|filter| ids.iter().filter(|id| finds(filter, id)));
            let found: Vec<String> = found.map(|id| format!("{id:?}")).collect();
            let expected: Vec<String> = ids[at + 1..].iter().map(|id| format!("{id:?}")).collect();
            assert_eq!(found, expected, "above {bound:?}");
        }
        assert_eq!(above(None), [RawDocumentBuf::new()]);
    }

    #[test]
    fn above_an_id_that_is_no_value_is_asked_for_by_its_bytes() {
        let broken = single(ElementType::String, "_id", b"\x03\0\0\0a\xff\0").expect("a document");
        let filters = above(DocumentKey::of(&broken).as_ref());
        let same = filters[0].get_document("_id").expect("a condition");
        assert_eq!(
            crate::lane::raw_id(&filters[0]).map(|id| id.as_bytes().len()),
            Some(filters[0].as_bytes().len())
        );
        let element = same.iter_elements().next().expect("an element").expect("a frame");
        assert_eq!(
            (element.key().as_str(), element.element_type()),
            ("$gt", ElementType::String)
        );
        assert!(same.as_bytes().ends_with(b"\x03\0\0\0a\xff\0\0"));
        assert_eq!(filters[1..], above(Some(&Bson::from("a").into()))[1..]);
    }
}

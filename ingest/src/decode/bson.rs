//! Documents of the events collection.

use std::borrow::Cow;

use ::bson::raw::RawBinaryRef;
use ::bson::spec::BinarySubtype;
use ::bson::{RawBsonRef, RawDocument};
use rollup::event::{DocumentId, Field, RawEvent, Reason, Reject, Value};

pub(super) fn read(document: &RawDocument) -> Result<RawEvent<'_>, Reject> {
    let mut event = RawEvent::default();
    for element in document {
        // A damaged element or a text that is not UTF-8: MongoDB stores what a driver sends.
        let (name, value) = element.map_err(|_| Reject::record(Reason::InvalidUtf8))?;
        match name.as_str() {
            "_id" => event.document_id = document_id(value),
            name => {
                if let Some(field) = Field::from_name(name) {
                    event.set(field, field_value(value));
                }
            }
        }
    }
    Ok(event)
}

pub(super) fn document_id(value: RawBsonRef<'_>) -> DocumentId<'_> {
    match value {
        RawBsonRef::String(id) => DocumentId::Text(Cow::Borrowed(id)),
        RawBsonRef::ObjectId(_) | RawBsonRef::Int32(_) | RawBsonRef::Int64(_) => DocumentId::Value,
        RawBsonRef::Binary(binary) if is_uuid(binary) => DocumentId::Value,
        _ => DocumentId::Unsupported,
    }
}

/// A UUID, as drivers write it now or as they did long ago.
fn is_uuid(binary: RawBinaryRef<'_>) -> bool {
    matches!(binary.subtype, BinarySubtype::Uuid | BinarySubtype::UuidOld) && binary.bytes.len() == 16
}

fn field_value(value: RawBsonRef<'_>) -> Value<'_> {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => Value::Absent,
        RawBsonRef::Boolean(value) => Value::Bool(value),
        RawBsonRef::Int32(value) => Value::Integer(value.into()),
        RawBsonRef::Int64(value) => Value::Integer(value),
        RawBsonRef::Double(value) => Value::Float(value),
        RawBsonRef::Decimal128(value) => decimal(value.to_string()),
        RawBsonRef::String(value) => Value::Text(Cow::Borrowed(value)),
        RawBsonRef::DateTime(value) => Value::Date(value.timestamp_millis()),
        RawBsonRef::Array(_) => Value::Other("an array"),
        RawBsonRef::Document(_) => Value::Other("an object"),
        RawBsonRef::ObjectId(_) => Value::Other("an ObjectId"),
        RawBsonRef::Binary(_) => Value::Other("binary data"),
        _ => Value::Other("of a type that no field has"),
    }
}

/// A decimal number, as it says itself; what is none is a double that is none.
fn decimal(text: String) -> Value<'static> {
    match text.as_str() {
        "NaN" => Value::Float(f64::NAN),
        "Infinity" => Value::Float(f64::INFINITY),
        "-Infinity" => Value::Float(f64::NEG_INFINITY),
        _ => Value::number(text.into()),
    }
}

//! Documents of the events collection.

use std::borrow::Cow;

use ::bson::{RawBsonRef, RawDocument};
use rollup::event::{Field, RawEvent, Reason, Reject, Value};

use crate::lane::document_id;

pub(super) fn read(document: &RawDocument) -> Result<RawEvent<'_>, Reject> {
    let mut event = RawEvent::default();
    for element in document {
        // A damaged element or a text that is not UTF-8: MongoDB stores what a driver sends.
        let (name, value) = element.map_err(|_| Reject::record(Reason::InvalidUtf8))?;
        match name.as_str() {
            "_id" => event.set_document_id(document_id(value)),
            name => {
                if let Some(field) = Field::from_name(name) {
                    event.set(field, field_value(value));
                }
            }
        }
    }
    Ok(event)
}

fn field_value(value: RawBsonRef<'_>) -> Value<'_> {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => Value::Absent,
        RawBsonRef::Boolean(value) => Value::Bool(value),
        RawBsonRef::Int32(value) => Value::Integer(value.into()),
        RawBsonRef::Int64(value) => Value::Integer(value),
        RawBsonRef::Double(value) => Value::Float(value),
        RawBsonRef::Decimal128(value) => Value::decimal128(value.to_string().into()),
        RawBsonRef::String(value) => Value::Text(Cow::Borrowed(value)),
        RawBsonRef::DateTime(value) => Value::Date(value.timestamp_millis()),
        RawBsonRef::Array(_) => Value::Other("an array"),
        RawBsonRef::Document(_) => Value::Other("an object"),
        RawBsonRef::ObjectId(_) => Value::Other("an ObjectId"),
        RawBsonRef::Binary(_) => Value::Other("binary data"),
        _ => Value::Other("of a type that no field has"),
    }
}

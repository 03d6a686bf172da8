//! Values as JSON; and MongoDB Extended JSON, for those that JSON has no form for: each an object with a name that begins
//! with `$`.
//!
//! Connectors write it in three ways: relaxed, canonical, and the older mix of Java drivers (`{"$date": 1767607200000}`
//! beside `{"$numberLong": "2"}`). All are read. Source: the MongoDB Extended JSON specification, version 2.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::hex::{object_id, uuid};
use super::value::Value;

/// What an object stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Extended<'a> {
    /// A value that a field may have; an object, where it stands for nothing else.
    Value(Value<'a>),
    ObjectId([u8; 12]),
    Uuid([u8; 16]),
    LegacyUuid([u8; 16]),
}

const OBJECT: Extended<'static> = Extended::Value(Value::Other("an object"));

/// Reads an object to its end. One that is malformed is an object like any other, never a fault of its record.
fn read<'de, A: MapAccess<'de>>(mut map: A) -> Result<Extended<'de>, A::Error> {
    let Some(name) = map.next_key::<Name>()? else {
        return Ok(OBJECT);
    };
    if name == Name::Other {
        map.next_value::<IgnoredAny>()?;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        return Ok(OBJECT);
    }
    let value = map.next_value::<&RawValue>()?.get();
    let second = map.next_entry::<Name, &RawValue>()?;
    let mut is_more = false;
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
        is_more = true;
    }
    Ok(match second {
        _ if is_more => OBJECT,
        None => of(name, value),
        // The older form of binary data.
        Some((Name::Type, sub_type)) if name == Name::Binary => {
            binary(text(value), text(sub_type.get())).unwrap_or(OBJECT)
        }
        Some(_) => OBJECT,
    })
}

impl<'de> Deserialize<'de> for Extended<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Extended<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                read(map)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A name that says of what type a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Int,
    Double,
    Decimal,
    Date,
    ObjectId,
    Uuid,
    Binary,
    Type,
    Undefined,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(match name {
                    "$numberInt" | "$numberLong" => Name::Int,
                    "$numberDouble" => Name::Double,
                    "$numberDecimal" => Name::Decimal,
                    "$date" => Name::Date,
                    "$oid" => Name::ObjectId,
                    "$uuid" => Name::Uuid,
                    "$binary" => Name::Binary,
                    "$type" => Name::Type,
                    "$undefined" => Name::Undefined,
                    _ => Name::Other,
                })
            }
        }
        deserializer.deserialize_str(Text)
    }
}

fn of(name: Name, json: &str) -> Extended<'_> {
    let found = match name {
        Name::Int => match scalar(json) {
            Some(Value::Text(digits)) => digits.parse().ok().map(Value::Integer),
            Some(Value::Integer(number)) => Some(Value::Integer(number)),
            _ => None,
        },
        Name::Double => match scalar(json) {
            Some(Value::Text(digits)) => double(&digits).map(Value::Float),
            Some(number @ (Value::Integer(_) | Value::Float(_))) => Some(number),
            _ => None,
        },
        Name::Decimal => text(json).map(Value::decimal128),
        Name::Date => date(json).map(Value::Date),
        Name::Undefined => (json == "true").then_some(Value::Absent),
        Name::ObjectId => {
            return text(json)
                .and_then(|text| object_id(&text))
                .map_or(OBJECT, Extended::ObjectId);
        }
        Name::Uuid => {
            return text(json)
                .and_then(|text| uuid(&text))
                .map_or(OBJECT, Extended::Uuid);
        }
        Name::Binary => return new_binary(json).unwrap_or(OBJECT),
        Name::Type | Name::Other => None,
    };
    found.map_or(OBJECT, Extended::Value)
}

/// A text, a number or a flag. Anything else is none, and is not looked into: each level would begin a parser of its own,
/// and an input of many levels would end the process.
pub(super) fn scalar(json: &str) -> Option<Value<'_>> {
    match json.as_bytes() {
        [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => {
            Some(Value::Text(Cow::Borrowed(&json[1..json.len() - 1])))
        }
        [b'"', ..] => serde_json::from_str(json)
            .ok()
            .map(|text: String| Value::Text(text.into())),
        [b'-' | b'0'..=b'9', ..] => match json.parse() {
            Ok(number) => Some(Value::Integer(number)),
            Err(_) => json
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .map(Value::Float),
        },
        b"true" => Some(Value::Bool(true)),
        b"false" => Some(Value::Bool(false)),
        _ => None,
    }
}

/// The text that this JSON is.
pub(super) fn text(json: &str) -> Option<Cow<'_, str>> {
    match scalar(json) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// A double as a text: digits, or one of the three that are no numbers.
fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        digits
            if digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) =>
        {
            digits.parse().ok()
        }
        _ => None,
    }
}

/// An instant: milliseconds, those in one more object, or an RFC 3339 text.
fn date(json: &str) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Long<'a> {
        #[serde(borrow, rename = "$numberLong")]
        millis: &'a RawValue,
    }
    match json.as_bytes() {
        [b'{', ..] => {
            let long: Long<'_> = serde_json::from_str(json).ok()?;
            text(long.millis.get())?.parse().ok()
        }
        _ => match scalar(json)? {
            Value::Integer(millis) => Some(millis),
            Value::Text(text) => {
                let instant = DateTime::parse_from_rfc3339(&text).ok()?;
                Some(instant.timestamp_millis())
            }
            _ => None,
        },
    }
}

fn new_binary(json: &str) -> Option<Extended<'static>> {
    #[derive(serde::Deserialize)]
    struct Binary<'a> {
        #[serde(borrow)]
        base64: &'a RawValue,
        #[serde(borrow, rename = "subType")]
        sub_type: &'a RawValue,
    }
    let Binary { base64, sub_type } = serde_json::from_str(json).ok()?;
    binary(text(base64.get()), text(sub_type.get()))
}

/// Binary data: a UUID, or some that no field has.
fn binary(base64: Option<Cow<'_, str>>, sub_type: Option<Cow<'_, str>>) -> Option<Extended<'static>> {
    let bytes = BASE64_STANDARD.decode(base64?.as_bytes()).ok()?;
    let uuid = || bytes.as_slice().try_into().ok();
    let uuid = match u8::from_str_radix(&sub_type?, 16).ok()? {
        4 => uuid().map(Extended::Uuid),
        3 => uuid().map(Extended::LegacyUuid),
        _ => None,
    };
    Some(uuid.unwrap_or(Extended::Value(Value::Other("binary data"))))
}

impl<'a, 'de: 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Value::Absent)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Value::Integer(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                let too_large = |_| Value::Decimal(value.to_string().into());
                Ok(i64::try_from(value).map_or_else(too_large, Value::Integer))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Value::Float(value))
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Value::Text(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Value::Text(Cow::Owned(value.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Other("an array"))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Ok(match read(map)? {
                    Extended::Value(value) => value,
                    Extended::ObjectId(_) => Value::Other("an ObjectId"),
                    Extended::Uuid(_) | Extended::LegacyUuid(_) => Value::Other("binary data"),
                })
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DocumentId, Field, RawEvent};

    #[test]
    fn a_value_is_what_its_type_says() {
        for (json, expected) in [
            (r#"{"$numberLong": "2"}"#, Value::Integer(2)),
            (r#"{"$numberLong": 2}"#, Value::Integer(2)),
            (r#"{"$numberInt": "-5"}"#, Value::Integer(-5)),
            (r#"{"$numberDouble": "5.0"}"#, Value::Float(5.0)),
            (
                r#"{"$numberDouble": "-Infinity"}"#,
                Value::Float(f64::NEG_INFINITY),
            ),
            (r#"{"$numberDecimal": "0.001"}"#, Value::Decimal("0.001".into())),
            (r#"{"$numberDecimal": "12"}"#, Value::Integer(12)),
            (r#"{"$date": 1767607200000}"#, Value::Date(1_767_607_200_000)),
            (
                r#"{"$date": {"$numberLong": "1767607200000"}}"#,
                Value::Date(1_767_607_200_000),
            ),
            (
                r#"{"$date": "2026-01-05T10:00:00Z"}"#,
                Value::Date(1_767_607_200_000),
            ),
            (r#"{"$undefined": true}"#, Value::Absent),
            (
                r#"{"$oid": "6b072aceda1145605b9cae50"}"#,
                Value::Other("an ObjectId"),
            ),
            (
                r#"{"$uuid": "c8edabc3-f738-4ca3-b68d-ab92a91478a3"}"#,
                Value::Other("binary data"),
            ),
            (
                r#"{"$binary": {"base64": "AQ==", "subType": "00"}}"#,
                Value::Other("binary data"),
            ),
        ] {
            assert_eq!(serde_json::from_str::<Value<'_>>(json).expect("JSON"), expected);
        }
        let nan = serde_json::from_str(r#"{"$numberDouble": "NaN"}"#).expect("JSON");
        assert!(matches!(nan, Value::Float(value) if value.is_nan()));
    }

    #[test]
    fn what_is_malformed_is_an_object() {
        for json in [
            "{}",
            r#"{"a": 1}"#,
            r#"{"a": 1, "$numberLong": "2"}"#,
            r#"{"$numberLong": "2", "a": 1}"#,
            r#"{"$numberLong": "2", "$numberLong": "2"}"#,
            r#"{"$numberLong": "2.5"}"#,
            r#"{"$numberLong": {}}"#,
            r#"{"$numberDouble": "much"}"#,
            r#"{"$numberDecimal": 1}"#,
            r#"{"$date": true}"#,
            r#"{"$date": 1e999}"#,
            r#"{"$date": "x"}"#,
            r#"{"$numberDouble": "nan"}"#,
            r#"{"$numberDouble": "inf"}"#,
            r#"{"$numberLong": {"$numberLong": "5"}}"#,
            r#"{"$undefined": false}"#,
            r#"{"$type": "04"}"#,
            r#"{"$binary": 1}"#,
            r#"{"$binary": {"base64": "?", "subType": "04"}}"#,
            r#"{"$oid": "6b072aceda1145605b9cae50", "b": {"c": [1]}, "d": 2}"#,
        ] {
            let value: Value<'_> = serde_json::from_str(json).expect("JSON");
            assert_eq!(value, Value::Other("an object"), "{json}");
        }
    }

    /// However deep it is: what is looked into has two levels.
    #[test]
    fn an_input_of_many_levels_takes_no_more_room_than_one_of_few() {
        let small_stack = std::thread::Builder::new().stack_size(256 << 10);
        let test = || {
            for name in [
                "$date",
                "$oid",
                "$uuid",
                "$binary",
                "$numberInt",
                "$numberLong",
                "$numberDouble",
                "$numberDecimal",
                "other",
            ] {
                let levels = 10_000;
                let json = format!(
                    "{}1{}",
                    format!("{{\"{name}\":").repeat(levels),
                    "}".repeat(levels)
                );
                let event = format!(r#"{{"userId":{json},"inputTokens":{json},"_id":{json}}}"#);
                let event: RawEvent<'_> = serde_json::from_str(&event).expect("an object");
                for field in [Field::UserId, Field::InputTokens] {
                    assert_eq!(*event.get(field), Value::Other("an object"), "{name}");
                }
                assert_eq!(*event.document_id(), DocumentId::Unsupported, "{name}");
            }
        };
        let tested = small_stack.spawn(test).expect("starts").join();
        tested.expect("no level is one too many");
    }
}

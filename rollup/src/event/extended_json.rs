//! Values as JSON; and MongoDB Extended JSON, for those that JSON has no form for: each an object with a name that begins
//! with `$`.
//!
//! Connectors write it in three ways: relaxed, canonical, and the older mix of Java drivers (`{"$date": 1767607200000}`
//! beside `{"$numberLong": "2"}`). All are read. Source: the MongoDB Extended JSON specification, version 2.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
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
pub(super) fn read<'de, A: MapAccess<'de>>(mut map: A) -> Result<Extended<'de>, A::Error> {
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

fn of<'a>(name: Name, json: &'a str) -> Extended<'a> {
    let value = || serde_json::from_str::<Value<'a>>(json).ok();
    let found = match name {
        Name::Int => match value() {
            Some(Value::Text(digits)) => digits.parse().ok().map(Value::Integer),
            Some(Value::Integer(number)) => Some(Value::Integer(number)),
            _ => None,
        },
        Name::Double => match value() {
            // Those that are no numbers are written as `NaN`, `Infinity` and `-Infinity`.
            Some(Value::Text(digits)) => digits.parse().ok().map(Value::Float),
            Some(number @ (Value::Integer(_) | Value::Float(_))) => Some(number),
            _ => None,
        },
        Name::Decimal => text(json).map(Value::decimal128),
        Name::Date => match value() {
            Some(Value::Integer(millis)) => Some(Value::Date(millis)),
            // RFC 3339, as any text in such a field.
            Some(Value::Text(text)) => Some(Value::Text(text)),
            _ => None,
        },
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

fn text(json: &str) -> Option<Cow<'_, str>> {
    match serde_json::from_str(json) {
        Ok(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn new_binary(json: &str) -> Option<Extended<'static>> {
    #[derive(serde::Deserialize)]
    struct Binary<'a> {
        #[serde(borrow, default)]
        base64: Value<'a>,
        #[serde(borrow, default, rename = "subType")]
        sub_type: Value<'a>,
    }
    match serde_json::from_str(json) {
        Ok(Binary {
            base64: Value::Text(base64),
            sub_type: Value::Text(sub_type),
        }) => binary(Some(base64), Some(sub_type)),
        _ => None,
    }
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
                Value::Text("2026-01-05T10:00:00Z".into()),
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
}

//! JSON as it was sent. A member that is there twice is there twice: which of the two is meant nobody knows.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::pointer::Pointer;

/// A value of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Truth,
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The member with this name. `None`: there is none, or more than one.
    pub(crate) fn member(&self, name: &str) -> Option<&Json> {
        let Json::Object(members) = self else {
            return None;
        };
        let mut named = members.iter().filter(|(known, _)| known == name);
        match (named.next(), named.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Whether there is a member with this name, however often.
    pub(crate) fn has(&self, name: &str) -> bool {
        matches!(self, Json::Object(members) if members.iter().any(|(known, _)| known == name))
    }

    /// What a pointer leads to. `None`: nothing, or more than one thing.
    pub(crate) fn at(&self, pointer: &Pointer) -> Option<&Json> {
        pointer.names().iter().try_fold(self, |value, name| match value {
            Json::List(items) => items.get(index(name)?),
            other => other.member(name),
        })
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The number of an item of a list, in the one way in which a pointer may write it.
fn index(name: &str) -> Option<usize> {
    let index: usize = name.parse().ok()?;
    (index.to_string() == name).then_some(index)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsSent)
    }
}

struct AsSent;

#[expect(
    clippy::cast_precision_loss,
    reason = "exact for instants until the year 285 million"
)]
impl<'de> Visitor<'de> for AsSent {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Truth)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        serde_json::from_str(text).expect("json")
    }

    #[test]
    fn a_pointer_leads_to_one_value_or_to_none() {
        let value = json(
            r#"{"a": {"b": [7, {"c": "x"}], "twice": 1, "twice": 2}, "a/b": true, "n": null, "twice": {"c": 1},
                "twice": {"c": 1}}"#,
        );
        let number = |number| Some(Json::Number(number));
        for (pointer, expected) in [
            ("/a/b/0", number(7.0)),
            ("/a/b/1/c", Some(Json::Text("x".to_owned()))),
            ("/a~1b", Some(Json::Truth)),
            ("/n", Some(Json::Null)),
            ("/a/b/00", None),
            ("/a/b/+1", None),
            ("/a/b/2", None),
            ("/a/b/c", None),
            ("/a/twice", None),
            ("/twice/c", None),
            ("/n/a", None),
            ("/nothing", None),
        ] {
            let found = value.at(&pointer.parse().expect("a pointer"));
            assert_eq!(found, expected.as_ref(), "{pointer}");
        }
    }

    /// What goes too deep is refused by the parser, and does not end the process.
    #[test]
    fn there_is_an_end_to_depth() {
        let deep = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
        assert!(serde_json::from_str::<Json>(&deep).is_err());
    }
}

//! The fields as an emitter wrote them, before anything is checked.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A field of the event contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs, reason = "the names are those of the contract")]
pub enum Field {
    EventId,
    Type,
    CompletedAt,
    Source,
    OrganizationId,
    AgentSlug,
    UserId,
    Model,
    Provider,
    TeamId,
    ApiKeyId,
    Kind,
    Outcome,
    InputTokens,
    OutputTokens,
    TotalTokens,
    CachedInputTokens,
    CacheWriteTokens,
    ReasoningTokens,
    AudioMillis,
    Characters,
    Images,
    Cost,
    CostNanos,
    CostEstimateCents,
    Currency,
    TestMode,
    /// The `_id` of the event's document; never read from a JSON payload.
    DocumentId,
}

const FIELDS: usize = Field::DocumentId as usize;

impl Field {
    /// The field's name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Field::EventId => "eventId",
            Field::Type => "type",
            Field::CompletedAt => "completedAt",
            Field::Source => "source",
            Field::OrganizationId => "organizationId",
            Field::AgentSlug => "agentSlug",
            Field::UserId => "userId",
            Field::Model => "model",
            Field::Provider => "provider",
            Field::TeamId => "teamId",
            Field::ApiKeyId => "apiKeyId",
            Field::Kind => "kind",
            Field::Outcome => "outcome",
            Field::InputTokens => "inputTokens",
            Field::OutputTokens => "outputTokens",
            Field::TotalTokens => "totalTokens",
            Field::CachedInputTokens => "cachedInputTokens",
            Field::CacheWriteTokens => "cacheWriteTokens",
            Field::ReasoningTokens => "reasoningTokens",
            Field::AudioMillis => "audioMillis",
            Field::Characters => "characters",
            Field::Images => "images",
            Field::Cost => "cost",
            Field::CostNanos => "costNanos",
            Field::CostEstimateCents => "costEstimateCents",
            Field::Currency => "currency",
            Field::TestMode => "testMode",
            Field::DocumentId => "_id",
        }
    }

    /// Whether it holds a quantity or an amount, of which every digit counts.
    const fn is_number(self) -> bool {
        matches!(
            self,
            Field::InputTokens
                | Field::OutputTokens
                | Field::TotalTokens
                | Field::CachedInputTokens
                | Field::CacheWriteTokens
                | Field::ReasoningTokens
                | Field::AudioMillis
                | Field::Characters
                | Field::Images
                | Field::Cost
                | Field::CostNanos
                | Field::CostEstimateCents
        )
    }

    /// The field of a payload with this name, if the contract has one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "eventId" => Field::EventId,
            "type" => Field::Type,
            "completedAt" => Field::CompletedAt,
            "source" => Field::Source,
            "organizationId" => Field::OrganizationId,
            "agentSlug" => Field::AgentSlug,
            "userId" => Field::UserId,
            "model" => Field::Model,
            "provider" => Field::Provider,
            "teamId" => Field::TeamId,
            "apiKeyId" => Field::ApiKeyId,
            "kind" => Field::Kind,
            "outcome" => Field::Outcome,
            "inputTokens" => Field::InputTokens,
            "outputTokens" => Field::OutputTokens,
            "totalTokens" => Field::TotalTokens,
            "cachedInputTokens" => Field::CachedInputTokens,
            "cacheWriteTokens" => Field::CacheWriteTokens,
            "reasoningTokens" => Field::ReasoningTokens,
            "audioMillis" => Field::AudioMillis,
            "characters" => Field::Characters,
            "images" => Field::Images,
            "cost" => Field::Cost,
            "costNanos" => Field::CostNanos,
            "costEstimateCents" => Field::CostEstimateCents,
            "currency" => Field::Currency,
            "testMode" => Field::TestMode,
            _ => return None,
        })
    }
}

/// One value as it was written, in the types that the wire formats share.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value<'a> {
    /// Not there, or null: the contract makes no difference.
    #[default]
    Absent,
    /// A boolean.
    Bool(bool),
    /// An integer of up to 64 bits.
    Integer(i64),
    /// A double that says what it is in binary.
    Float(f64),
    /// Any other number, as it was written: a decimal.
    Decimal(Cow<'a, str>),
    /// A text.
    Text(Cow<'a, str>),
    /// A BSON date: milliseconds since 1970-01-01T00:00:00Z.
    Date(i64),
    /// A type that no field of the contract has, and what people call it: `an array`, `an object` …
    Other(&'static str),
}

impl<'a> Value<'a> {
    /// The number with this text.
    #[must_use]
    pub fn number(text: Cow<'a, str>) -> Self {
        match text.parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Decimal(text),
        }
    }
}

/// The `_id` of an event's document.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum DocumentId<'a> {
    /// The payload is not a document of a collection.
    #[default]
    None,
    /// A text.
    Text(Cow<'a, str>),
    /// An ObjectId, a UUID or an integer.
    Value,
    /// A type that cannot name an event.
    Unsupported,
}

/// What an emitter wrote into each field of the contract. Fields outside the contract are ignored.
#[derive(Debug, Clone, Default)]
pub struct RawEvent<'a> {
    /// Boxed: on its way from the parser to its rules an event is moved half a dozen times.
    values: Box<[Value<'a>; FIELDS]>,
    /// The first field that was there twice.
    pub(super) duplicate: Option<Field>,
    /// The `_id` of the document that holds the event.
    pub document_id: DocumentId<'a>,
    /// The `source` of the CloudEvent that holds the event: another one's ids are others.
    pub emitter: Option<Cow<'a, str>>,
}

impl<'a> RawEvent<'a> {
    /// Stores what was written into a field.
    pub fn set(&mut self, field: Field, value: Value<'a>) {
        let before = std::mem::replace(&mut self.values[field as usize], value);
        if !matches!(before, Value::Absent) {
            self.duplicate.get_or_insert(field);
        }
    }

    /// Whether a field was there twice: nobody knows which of them was meant.
    #[must_use]
    pub const fn has_duplicate(&self) -> bool {
        self.duplicate.is_some()
    }

    /// What was written into a field.
    #[must_use]
    pub fn get(&self, field: Field) -> &Value<'a> {
        &self.values[field as usize]
    }

    /// Takes out what was written into a field.
    pub fn take(&mut self, field: Field) -> Value<'a> {
        std::mem::take(&mut self.values[field as usize])
    }
}

impl<'de> Deserialize<'de> for RawEvent<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = RawEvent<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut event = RawEvent::default();
                while let Some(field) = map.next_key::<Name>()? {
                    match field.0 {
                        Some(field) if field.is_number() => {
                            event.set(field, map.next_value::<Written<'_>>()?.0);
                        }
                        Some(field) => event.set(field, map.next_value()?),
                        None => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(event)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The name of a field, resolved without copying it.
struct Name(Option<Field>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(Field::from_name(name)))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A JSON value with every digit that was written: no float ever stands for a number that has more digits than a float,
/// and a number that no type holds is a fault of its field, not of the record.
struct Written<'a>(Value<'a>);

impl<'de> Deserialize<'de> for Written<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        match text.as_bytes() {
            [b'-' | b'0'..=b'9', ..] => Ok(Value::number(Cow::Borrowed(text))),
            [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => {
                Ok(Value::Text(Cow::Borrowed(&text[1..text.len() - 1])))
            }
            _ => serde_json::from_str(text).map_err(D::Error::custom),
        }
        .map(Self)
    }
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
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other("an object"))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

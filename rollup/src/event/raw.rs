//! The fields as an emitter wrote them, before anything is checked.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::document_id::DocumentId;
use super::extended_json::text;
use super::value::Value;

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
    /// The `_id` of the event's document.
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

    /// Its bit among those of all fields.
    const fn bit(self) -> u32 {
        1 << self as usize
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
            "_id" => Field::DocumentId,
            _ => return None,
        })
    }
}

/// What an emitter wrote into each field of the contract. Fields outside the contract are ignored.
#[derive(Debug, Clone, Default)]
pub struct RawEvent<'a> {
    /// Boxed: on its way from the parser to its rules an event is moved half a dozen times.
    values: Box<[Value<'a>; FIELDS]>,
    /// Which fields were there, with a value or without.
    seen: u32,
    /// The first field that was there twice.
    pub(super) duplicate: Option<Field>,
    /// The `_id` of the document that holds the event.
    pub(super) document_id: DocumentId<'a>,
    /// The `source` of the CloudEvent that holds the event: another one's ids are others.
    pub emitter: Option<Cow<'a, str>>,
}

impl<'a> RawEvent<'a> {
    /// Stores what was written into a field.
    pub fn set(&mut self, field: Field, value: Value<'a>) {
        self.values[field as usize] = value;
        self.see(field);
    }

    fn see(&mut self, field: Field) {
        if self.seen & field.bit() != 0 {
            self.duplicate.get_or_insert(field);
        }
        self.seen |= field.bit();
    }

    /// Stores what was written as the `_id` of the document.
    pub fn set_document_id(&mut self, id: DocumentId<'a>) {
        self.document_id = id;
        self.see(Field::DocumentId);
    }

    /// The `_id` of the document that holds the event.
    #[must_use]
    pub const fn document_id(&self) -> &DocumentId<'a> {
        &self.document_id
    }

    /// The same, which nothing borrows.
    #[must_use]
    pub fn into_owned(self) -> RawEvent<'static> {
        RawEvent {
            values: Box::new(self.values.map(Value::into_owned)),
            seen: self.seen,
            duplicate: self.duplicate,
            document_id: self.document_id.into_owned(),
            emitter: self.emitter.map(|emitter| emitter.into_owned().into()),
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
        self.seen &= !field.bit();
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
                        Some(Field::DocumentId) => {
                            // A number that no type holds is no fault of the record: there may be an id beside it.
                            let json = map.next_value::<&RawValue>()?;
                            event.set_document_id(DocumentId::read(json.get()));
                        }
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
        let json = <&RawValue>::deserialize(deserializer)?.get();
        match json.as_bytes() {
            [b'-' | b'0'..=b'9', ..] => Ok(Value::number(Cow::Borrowed(json))),
            _ => match text(json) {
                Some(text) => Ok(Value::Text(text)),
                None => serde_json::from_str(json).map_err(D::Error::custom),
            },
        }
        .map(Self)
    }
}

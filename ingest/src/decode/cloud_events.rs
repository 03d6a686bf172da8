//! CloudEvents 1.0: structured JSON, and Kafka's binary mode with its `ce_*` headers.
//!
//! | attribute | field |
//! |---|---|
//! | `id` | `eventId`; one in the data must be the same |
//! | `type` | `type`, whatever the data says |
//! | `time` | `completedAt`; without it, that of the data |
//! | `source` | none, but a part of the event's identity: ours is in the data |
//! | `data` | the rest |

use rollup::event::{COMPLETED, CORRECTED, Field, RawEvent, Reason, Reject, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::content_type::Format;
use super::headers::{Header, header};
use super::json;

/// The version that is read here.
const VERSION: &str = "1.0";

/// The attributes that become fields.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    id: Value<'a>,
    r#type: Value<'a>,
    time: Value<'a>,
    source: Value<'a>,
}

impl<'a> Attributes<'a> {
    /// Those in the headers of a record in binary mode; `None` where it is in none.
    pub(super) fn of(headers: &'a [Header]) -> Result<Option<Self>, Reject> {
        let value = |name: &str| header(headers, name);
        let once = |name: &str, field: Field| {
            let is_it = |header: &&Header| header.0.eq_ignore_ascii_case(name);
            match headers.iter().filter(is_it).count() {
                0 | 1 => Ok(value(name)?.map_or(Value::Absent, |text| Value::Text(text.into()))),
                _ => Err(Reject::field(Reason::DuplicateField, field)),
            }
        };
        let attributes = Self {
            id: once("ce_id", Field::EventId)?,
            r#type: once("ce_type", Field::Type)?,
            time: once("ce_time", Field::CompletedAt)?,
            source: once("ce_source", Field::Source)?,
        };
        let version = value("ce_specversion")?;
        let any = version.is_some() || attributes.id != Value::Absent || attributes.r#type != Value::Absent;
        if !any {
            return Ok(None);
        }
        let version = version.map_or(Value::Absent, |text| Value::Text(text.into()));
        check_version(&version)?;
        Ok(Some(attributes))
    }

    /// Whether the type is one that this ledger books; also where it is no type at all, to be rejected.
    pub(super) fn is_booked(&self) -> bool {
        match &self.r#type {
            Value::Text(name) if !name.is_empty() => [COMPLETED, CORRECTED].contains(&name.as_ref()),
            _ => true,
        }
    }

    /// The event without its data.
    pub(super) fn alone(self) -> RawEvent<'a> {
        let mut event = RawEvent::default();
        event.set(Field::Type, self.r#type);
        event
    }

    /// The event that the data describes.
    pub(super) fn with_data(self, mut event: RawEvent<'a>) -> Result<RawEvent<'a>, Reject> {
        // Both are required of a CloudEvent; our own field would be optional.
        for (value, field) in [(&self.id, Field::EventId), (&self.r#type, Field::Type)] {
            match value {
                Value::Absent => return Err(Reject::field(Reason::MissingField, field)),
                Value::Text(text) if text.is_empty() => return Err(Reject::field(Reason::EmptyText, field)),
                _ => {}
            }
        }
        let own_id = event.take(Field::EventId);
        if own_id != Value::Absent && own_id != self.id {
            return Err(Reject::field(Reason::IdMismatch, Field::EventId).value(&own_id));
        }
        event.set(Field::EventId, self.id);
        // Ids are unique within it: the same id of another emitter is another event.
        match self.source {
            Value::Absent => {}
            Value::Text(emitter) => event.emitter = Some(emitter),
            other => return Err(Reject::named(Reason::WrongType, "source").value(&other)),
        }
        event.take(Field::Type);
        event.set(Field::Type, self.r#type);
        if self.time != Value::Absent {
            event.take(Field::CompletedAt);
            event.set(Field::CompletedAt, self.time);
        }
        Ok(event)
    }
}

/// A CloudEvent as one JSON object.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    specversion: Value<'a>,
    #[serde(borrow, default)]
    id: Value<'a>,
    #[serde(borrow, default)]
    r#type: Value<'a>,
    #[serde(borrow, default)]
    time: Value<'a>,
    #[serde(borrow, default)]
    source: Value<'a>,
    #[serde(borrow, default)]
    datacontenttype: Value<'a>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data_base64: Value<'a>,
}

pub(super) fn structured(text: &str) -> Result<RawEvent<'_>, Reject> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| json::malformed(&error))?;
    check_version(&envelope.specversion)?;
    let attributes = Attributes {
        id: envelope.id,
        r#type: envelope.r#type,
        time: envelope.time,
        source: envelope.source,
    };
    if !attributes.is_booked() {
        return Ok(attributes.alone());
    }
    let is_json = match &envelope.datacontenttype {
        Value::Absent => true,
        Value::Text(content_type) => Format::of(content_type) == Format::Json,
        _ => false,
    };
    if !is_json {
        let reject = Reject::named(Reason::UnsupportedContentType, "datacontenttype");
        return Err(reject.value(&envelope.datacontenttype));
    }
    if envelope.data_base64 != Value::Absent {
        return Err(Reject::named(Reason::UnsupportedContentType, "data_base64"));
    }
    let data = envelope
        .data
        .ok_or_else(|| Reject::named(Reason::MissingField, "data"))?
        .get();
    if !data.starts_with('{') {
        return Err(Reject::named(Reason::WrongType, "data"));
    }
    attributes.with_data(json::read(data.as_bytes())?)
}

fn check_version(version: &Value<'_>) -> Result<(), Reject> {
    let reject = |reason| Err(Reject::named(reason, "specversion").value(version));
    match version {
        Value::Text(text) if text == VERSION => Ok(()),
        Value::Absent => reject(Reason::MissingField),
        _ => reject(Reason::InvalidValue),
    }
}

#[cfg(test)]
mod tests;

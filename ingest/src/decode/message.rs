//! Kafka records: plain JSON, CloudEvents in either mode, or what connectors write. Headers say which; without any the
//! value does.

use std::borrow::Cow;

use rollup::event::{Field, RawEvent, Reason, Reject, Skip, Value, shown};

use super::connector::Envelope;
use super::content_type::Format;
use super::found::Found;
use super::framing::{first, unframed};
use super::headers::{Header, header};
use super::{batch, cloud_events, json};

/// Reads a record that holds one event. One of several was split where it was taken in, and is here only if it could
/// not be.
pub(super) fn read<'a>(value: Option<&'a [u8]>, headers: &'a [Header]) -> Result<Found<'a>, Reject> {
    let Some(value) = value else {
        return Ok(Found::Skipped(Skip::Tombstone));
    };
    if headers.is_empty() {
        return alone(value, headers);
    }
    let content_type = header(headers, "content-type")?;
    let format = content_type.map_or(Format::Json, Format::of);
    if format == Format::CloudEvent {
        return cloud_events::structured(json::text(unframed(present(value)?)?)?).map(Found::Event);
    }
    if format != Format::CloudEventBatch
        && let Some(attributes) = cloud_events::Attributes::of(headers)?
    {
        if !attributes.is_booked() {
            // Whatever it carries: it is no usage.
            return Ok(Found::Event(attributes.alone()));
        }
        supported(format, content_type)?;
        let data = json::read(unframed(present(value)?)?)?;
        return attributes.with_data(data).map(Found::Event);
    }
    let value = present(value)?;
    supported(format, content_type)?;
    alone(value, headers)
}

/// A value that says itself what it is.
fn alone<'a>(value: &'a [u8], headers: &[Header]) -> Result<Found<'a>, Reject> {
    match batch::events(present(value)?, headers)? {
        None => plain(unframed(value)?, true),
        Some(events) if events.is_empty() => Ok(Found::Skipped(Skip::EmptyBatch)),
        Some(_) => Err(Reject::record(Reason::InvalidJson).found("is an array where one event is read")),
    }
}

/// An object that is the event itself, or holds it. `is_whole`: it may still be what Kafka Connect wrapped.
fn plain(value: &[u8], is_whole: bool) -> Result<Found<'_>, Reject> {
    if is_whole
        && first(value) == Some(b'"')
        && let Ok(text) = serde_json::from_slice::<String>(value)
        && first(text.as_bytes()) == Some(b'{')
    {
        return plain(text.as_bytes(), false).map(Found::into_owned);
    }
    let event = json::read(value)?;
    // Only what does not say what every event does is looked at twice.
    let is_absent = |field| *event.get(field) == Value::Absent;
    if !is_absent(Field::EventId) || !is_absent(Field::OrganizationId) {
        return Ok(Found::Event(event));
    }
    enveloped(value, event, is_whole)
}

fn enveloped<'a>(value: &'a [u8], event: RawEvent<'a>, is_whole: bool) -> Result<Found<'a>, Reject> {
    let envelope = serde_json::from_slice::<Envelope<'_>>(value).unwrap_or_default();
    if envelope.specversion != Value::Absent {
        return cloud_events::structured(json::text(value)?).map(Found::Event);
    }
    if let Some(found) = envelope.open() {
        return found;
    }
    match envelope.payload().filter(|_| is_whole) {
        Some(Cow::Borrowed(payload)) => plain(payload.as_bytes(), false),
        Some(Cow::Owned(payload)) => plain(payload.as_bytes(), false).map(Found::into_owned),
        None => Ok(Found::Event(event)),
    }
}

fn present(value: &[u8]) -> Result<&[u8], Reject> {
    match value {
        [] => Err(Reject::record(Reason::EmptyRecord)),
        value => Ok(value),
    }
}

fn supported(format: Format, content_type: Option<&str>) -> Result<(), Reject> {
    match (format, content_type) {
        (Format::Unsupported, Some(name)) => {
            let found = format_args!("is of the type `{}`", shown(name));
            Err(Reject::record(Reason::UnsupportedContentType).found(found))
        }
        _ => Ok(()),
    }
}

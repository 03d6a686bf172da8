//! Kafka records: plain JSON, or CloudEvents in either mode. Headers say which; without any the value does.

use rollup::event::{Field, RawEvent, Reason, Reject, Value};

use super::content_type::Format;
use super::headers::{Header, header};
use super::{cloud_events, json};

pub(super) fn read<'a>(value: Option<&'a [u8]>, headers: &'a [Header]) -> Result<RawEvent<'a>, Reject> {
    if headers.is_empty() {
        return plain(present(value)?);
    }
    let format = match header(headers, "content-type")? {
        Some(name) => Format::of(name),
        None => Format::Json,
    };
    if format == Format::CloudEvent {
        return cloud_events::structured(json::text(present(value)?)?);
    }
    if let Some(attributes) = cloud_events::Attributes::of(headers)? {
        if !attributes.is_booked() {
            // Whatever it carries: it is no usage.
            return Ok(attributes.alone());
        }
        supported(format)?;
        return attributes.with_data(json::read(present(value)?)?);
    }
    let value = present(value)?;
    supported(format)?;
    plain(value)
}

/// An object that holds the event itself, or a CloudEvent that nothing announced.
fn plain(value: &[u8]) -> Result<RawEvent<'_>, Reject> {
    let event = json::read(value)?;
    // Only what has no identity of ours is looked at twice.
    if *event.get(Field::EventId) == Value::Absent && cloud_events::is_structured(value) {
        return cloud_events::structured(json::text(value)?);
    }
    Ok(event)
}

fn present(value: Option<&[u8]>) -> Result<&[u8], Reject> {
    value
        .filter(|value| !value.is_empty())
        .ok_or(Reject::record(Reason::EmptyRecord))
}

fn supported(format: Format) -> Result<(), Reject> {
    if format == Format::Unsupported {
        Err(Reject::record(Reason::UnsupportedContentType))
    } else {
        Ok(())
    }
}

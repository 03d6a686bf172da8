//! Kafka records: plain JSON, or CloudEvents in either mode. Headers say which; without any the value does.

use rollup::event::{Field, RawEvent, Reason, Reject, Value, shown};

use super::content_type::Format;
use super::headers::{Header, header};
use super::{cloud_events, json};

pub(super) fn read<'a>(value: Option<&'a [u8]>, headers: &'a [Header]) -> Result<RawEvent<'a>, Reject> {
    if headers.is_empty() {
        return plain(present(value)?);
    }
    let content_type = header(headers, "content-type")?;
    let format = content_type.map_or(Format::Json, Format::of);
    if format == Format::CloudEvent {
        return cloud_events::structured(json::text(present(value)?)?);
    }
    if let Some(attributes) = cloud_events::Attributes::of(headers)? {
        if !attributes.is_booked() {
            // Whatever it carries: it is no usage.
            return Ok(attributes.alone());
        }
        supported(format, content_type)?;
        return attributes.with_data(json::read(present(value)?)?);
    }
    let value = present(value)?;
    supported(format, content_type)?;
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
        .ok_or_else(|| Reject::record(Reason::EmptyRecord))
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

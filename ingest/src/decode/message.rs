//! Kafka records: plain JSON, or CloudEvents in either mode. Headers say which; without any the value does.

use rollup::event::{Field, RawEvent, Reason, Reject, Value, shown};

use super::{cloud_events, json};

/// A header as it was read: its name and its value.
pub(super) type Header = (String, Vec<u8>);

/// What a content type says of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    /// A whole CloudEvent as JSON.
    CloudEvent,
    Unsupported,
}

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

/// The text of a header; `None` where it is not there, or empty.
pub(super) fn header<'a>(headers: &'a [Header], name: &str) -> Result<Option<&'a str>, Reject> {
    let found = headers
        .iter()
        .find(|(header, _)| header.eq_ignore_ascii_case(name));
    let text = found.map(|(_, value)| json::text(value)).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// Whether a content type is JSON, and so can hold an event.
pub(super) fn is_json(content_type: &str) -> bool {
    Format::of(content_type) == Format::Json
}

impl Format {
    fn of(content_type: &str) -> Self {
        let mut parts = content_type.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let other_charset = parts
            .filter_map(|parameter| parameter.split_once('='))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
            .any(|(_, charset)| {
                let charset = charset.trim().trim_matches('"');
                !["utf-8", "utf8", "us-ascii"]
                    .iter()
                    .any(|known| charset.eq_ignore_ascii_case(known))
            });
        match media_type.as_str() {
            _ if other_charset => Format::Unsupported,
            "application/cloudevents+json" => Format::CloudEvent,
            name if name.starts_with("application/cloudevents") => Format::Unsupported,
            "application/json" | "text/json" => Format::Json,
            name if name.starts_with("application/") && name.ends_with("+json") => Format::Json,
            _ => Format::Unsupported,
        }
    }
}

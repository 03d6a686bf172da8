//! Records that hold several events: a JSON array, or a batch of CloudEvents.

use rollup::event::{Reason, Reject};
use serde_json::value::RawValue;

use super::content_type::{CLOUD_EVENT, Format};
use super::framing::{first, unframed};
use super::headers::{Header, header};
use super::payload::Payload;
use super::{cloud_events, json};

/// The most events in a record. So many that are events do not fit into the largest record, so whoever sends more sends
/// something else; and each of them costs more than its bytes.
const MAX_EVENTS: usize = 4_096;

/// The records that a record of several events stands for, in order. Empty: it is one record, as it is.
pub(super) fn split(value: &[u8], headers: &[Header]) -> Vec<Payload> {
    // Of every record this is asked: what is no array needs no look at its headers.
    if !unframed(value).is_ok_and(|value| first(value) == Some(b'[')) {
        return Vec::new();
    }
    let Ok(Some(events)) = events(value, headers) else {
        return Vec::new();
    };
    // Of the headers only this one says something of an event that is alone.
    let is_cloud_event = format(headers) == Ok(Format::CloudEventBatch);
    let headers = || match is_cloud_event {
        true => vec![("content-type".to_owned(), CLOUD_EVENT.into())],
        false => Vec::new(),
    };
    let one = |event: &RawValue| Payload::Message {
        value: Some(event.get().into()),
        headers: headers(),
    };
    events.into_iter().map(one).collect()
}

/// The events of a record of several, none of them read yet; `None`: it is no such record.
///
/// # Errors
/// When it says that it is one and is not, or holds too many.
pub(super) fn events<'a>(value: &'a [u8], headers: &[Header]) -> Result<Option<Vec<&'a RawValue>>, Reject> {
    let format = format(headers)?;
    // Without such a content type the frame and the first byte say enough.
    let is_announced = format == Format::CloudEventBatch;
    let value = match (is_announced, unframed(value)) {
        (_, Ok(value)) if is_announced || first(value) == Some(b'[') => value,
        (true, Err(reject)) => return Err(reject),
        _ => return Ok(None),
    };
    let is_another = matches!(format, Format::CloudEvent | Format::Unsupported);
    if is_another || (!is_announced && cloud_events::Attributes::of(headers)?.is_some()) {
        return Ok(None);
    }
    let events: Vec<&RawValue> = serde_json::from_str(json::text(value)?).map_err(|error| {
        let reject = json::malformed(&error);
        if error.is_data() {
            return Reject::record(Reason::InvalidJson).found("is no array, as its content type says");
        }
        reject
    })?;
    match events.len() {
        0..=MAX_EVENTS => Ok(Some(events)),
        many => Err(Reject::record(Reason::TooLarge).found(format_args!("holds {many} events"))),
    }
}

fn format(headers: &[Header]) -> Result<Format, Reject> {
    Ok(header(headers, "content-type")?.map_or(Format::Json, Format::of))
}

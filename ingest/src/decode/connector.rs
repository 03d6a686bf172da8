//! What connectors put on a topic when they copy a collection: an envelope with a document in it.
//!
//! | envelope | known by | an event | skipped | rejected: `image_missing` |
//! |---|---|---|---|---|
//! | Debezium | `op` | `c` and `r`, in `after` | `d` | `u`: only a part of the document is there, or only its new state |
//! | MongoDB's source connector | `operationType` and `documentKey` | `insert`, in `fullDocument` | `delete` | any other |
//! | Kafka Connect's own, of a value with its schema | `payload` | what is in it | | |
//!
//! A document may be there as an object, or as a text that holds one.

use std::borrow::Cow;

use rollup::event::{RawEvent, Reason, Reject, Skip, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::found::Found;

/// What tells the envelopes from each other, and what is in them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Envelope<'a> {
    /// A CloudEvent.
    #[serde(borrow)]
    pub(super) specversion: Value<'a>,
    #[serde(borrow)]
    op: Value<'a>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    operation_type: Value<'a>,
    #[serde(borrow)]
    document_key: Option<&'a RawValue>,
    #[serde(borrow)]
    full_document: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// What a connector says with it; `None`: it is no connector's.
    pub(super) fn open(&self) -> Option<Result<Found<'a>, Reject>> {
        if self.op != Value::Absent {
            return Some(self.debezium());
        }
        match &self.operation_type {
            Value::Text(operation) if self.document_key.is_some() => Some(self.mongodb(operation)),
            _ => None,
        }
    }

    /// The value that Kafka Connect wrapped, as JSON; `None`: there is none.
    pub(super) fn payload(&self) -> Option<Cow<'a, str>> {
        self.payload.and_then(unquoted)
    }

    fn debezium(&self) -> Result<Found<'a>, Reject> {
        match &self.op {
            Value::Text(op) => match op.as_ref() {
                "c" | "r" => document(self.after, "after"),
                "u" => Err(Reject::record(Reason::ImageMissing)),
                "d" => Ok(Found::Skipped(Skip::Deleted)),
                _ => Err(Reject::named(Reason::InvalidValue, "op").text(op)),
            },
            other => Err(Reject::named(Reason::WrongType, "op").value(other)),
        }
    }

    fn mongodb(&self, operation: &str) -> Result<Found<'a>, Reject> {
        match operation {
            "insert" => document(self.full_document, "fullDocument"),
            "delete" => Ok(Found::Skipped(Skip::Deleted)),
            _ => Err(Reject::record(Reason::ImageMissing)),
        }
    }
}

/// The event that a document is.
fn document<'a>(json: Option<&'a RawValue>, name: &'static str) -> Result<Found<'a>, Reject> {
    let json = json.ok_or_else(|| Reject::record(Reason::ImageMissing))?;
    let event = match unquoted(json) {
        Some(Cow::Borrowed(object)) => serde_json::from_str(object),
        Some(Cow::Owned(object)) => serde_json::from_str(&object).map(RawEvent::into_owned),
        None => return Err(Reject::named(Reason::WrongType, name)),
    };
    event
        .map(Found::Event)
        .map_err(|_| Reject::named(Reason::InvalidJson, name).found("is no JSON object"))
}

/// The object that this JSON is, or that the text holds which it is.
fn unquoted(json: &RawValue) -> Option<Cow<'_, str>> {
    match json.get().as_bytes() {
        [b'{', ..] => Some(Cow::Borrowed(json.get())),
        [b'"', ..] => serde_json::from_str::<String>(json.get()).ok().map(Cow::Owned),
        _ => None,
    }
}

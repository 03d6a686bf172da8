//! From what a source read to what the contract says of it.

mod batch;
mod bson;
mod cloud_events;
mod connector;
mod content_type;
mod found;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod headers;
mod json;
mod keep;
mod message;
mod name;
mod payload;

use ::bson::RawDocument;
use rollup::event::{About, Checked, Field, RawEvent, Reason, Reject, Rules, Skip, Value, validate};

pub use keep::Keep;
pub(crate) use name::document_identity;
pub use name::{Name, shown};
pub(crate) use payload::hashed;
pub use payload::{Payload, hex};

use crate::lane::{of_document_id, raw_id};
use found::Found;

impl Payload {
    /// The records that it stands for, in order, where it holds several events. Empty: it is one, as it is.
    #[must_use]
    pub fn split(&self) -> Vec<Self> {
        match self {
            Payload::Message {
                value: Some(value),
                headers,
            } => batch::split(value, headers),
            _ => Vec::new(),
        }
    }

    /// What the record is about, as far as it says so.
    #[must_use]
    pub fn about(&self) -> About {
        let raw = match self {
            Payload::Message { value, headers } => match message::read(value.as_deref(), headers) {
                Ok(Found::Event(event)) => Some(event),
                Ok(Found::Skipped(_)) | Err(_) => None,
            },
            Payload::Document(document) => bson::read(document).ok(),
            Payload::Change(change) => change
                .get_document("fullDocument")
                .ok()
                .and_then(|document| bson::read(document).ok()),
            Payload::Oversized { .. } => None,
        };
        raw.map(About::of).unwrap_or_default()
    }

    /// Reads the record, and checks it by every rule that does not depend on the clock or on other records.
    #[must_use]
    pub fn check(&self, rules: &Rules) -> Read<'_> {
        match self {
            Payload::Message { value, headers } => {
                check_message(message::read(value.as_deref(), headers), rules)
            }
            Payload::Document(document) => check_document(document, rules),
            Payload::Change(change) => check_change(change, rules),
            Payload::Oversized {
                length, document_id, ..
            } => {
                let reject = Reject::record(Reason::TooLarge);
                let mut read = Read::rejected(match length {
                    Some(length) => reject.found(format_args!("has {length} bytes")),
                    None => reject,
                });
                read.name = Name::of_document(document_id.clone());
                read
            }
        }
    }
}

fn check_change<'a>(change: &'a RawDocument, rules: &Rules) -> Read<'a> {
    match change.get_str("operationType") {
        Ok("insert") => match change.get_document("fullDocument") {
            Ok(document) => check_document(document, rules),
            Err(_) => Read::rejected(Reject::record(Reason::ImageMissing)),
        },
        // A delete leaves the bill as it is.
        Ok("delete") => Read::skipped(Skip::Deleted),
        // Without both images of a change nobody can say what it changes.
        _ => Read::rejected(Reject::record(Reason::ImageMissing)),
    }
}

fn check_message<'a>(found: Result<Found<'a>, Reject>, rules: &Rules) -> Read<'a> {
    match found {
        Ok(Found::Event(event)) => {
            let id = of_document_id(event.document_id());
            let mut read = check(event, rules);
            if let Some(id) = id.filter(|_| read.needs_document_id()) {
                read.name.copied_from(id);
            }
            read
        }
        Ok(Found::Skipped(skip)) => Read::skipped(skip),
        Err(reject) => Read::rejected(reject),
    }
}

pub(crate) fn check_document<'a>(document: &'a RawDocument, rules: &Rules) -> Read<'a> {
    let event = match bson::read(document) {
        Ok(event) => event,
        Err(reject) => {
            let mut read = Read::rejected(reject);
            read.name.document_id = raw_id(document);
            return read;
        }
    };
    let mut read = check(event, rules);
    if read.needs_document_id() {
        read.name.document_id = raw_id(document);
    }
    read
}

fn check<'a>(raw: RawEvent<'a>, rules: &Rules) -> Read<'a> {
    Read {
        source: Source::of(raw.get(Field::Source)),
        name: Name::of(&raw),
        checked: validate(raw, rules),
    }
}

/// A record as it was read, and what the contract says of it.
#[derive(Debug)]
pub struct Read<'a> {
    /// Which service emitted it.
    pub source: Source,
    /// What it is known by, as far as that could be read.
    pub name: Name<'a>,
    /// An event, a skip, or a rejection.
    pub checked: Result<Checked<'a>, Reject>,
}

impl Read<'_> {
    /// Whether the `_id` of its document says something of it: as its identity, or to people.
    const fn needs_document_id(&self) -> bool {
        !self.name.has_event_id() || self.checked.is_err()
    }

    fn skipped(skip: Skip) -> Self {
        Self {
            source: Source::Unknown,
            name: Name::default(),
            checked: Ok(Checked::Skipped(skip)),
        }
    }

    fn rejected(reject: Reject) -> Self {
        Self {
            source: Source::Unknown,
            name: Name::default(),
            checked: Err(reject),
        }
    }
}

/// The emitting service as metrics name it: a closed set, however many services there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The chat service.
    Chat,
    /// The workflow service.
    Workflow,
    /// The OpenAI-compatible gateway.
    OpenaiCompat,
    /// Any other.
    Other,
    /// It could not be read.
    Unknown,
}

impl Source {
    /// Every label.
    pub const ALL: [Source; 5] = [
        Source::Chat,
        Source::Workflow,
        Source::OpenaiCompat,
        Source::Other,
        Source::Unknown,
    ];

    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Source::Chat => "chat",
            Source::Workflow => "workflow",
            Source::OpenaiCompat => "openai-compat",
            Source::Other => "other",
            Source::Unknown => "unknown",
        }
    }

    fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Text(text) => match text.as_ref() {
                "chat" => Source::Chat,
                "workflow" => Source::Workflow,
                "openai-compat" => Source::OpenaiCompat,
                "" => Source::Unknown,
                _ => Source::Other,
            },
            _ => Source::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;

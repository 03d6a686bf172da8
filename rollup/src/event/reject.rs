//! Rejections, and the sentences that say them.

use std::borrow::Cow;
use std::fmt;

use super::raw::Field;
use super::reason::Reason;
use super::value::Value;
use crate::inert::beginning;

/// The most characters of a value that a sentence shows.
const SHOWN: usize = 40;

/// A rejected record: why, and which field is at fault (`None`: the record as a whole).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// The field at fault, under its name in the contract.
    pub field: Option<&'static str>,
    /// What was found, where that is more than the reason says.
    found: Option<Box<str>>,
}

impl Reject {
    /// A rejection for one field.
    #[must_use]
    pub const fn field(reason: Reason, field: Field) -> Self {
        Self::named(reason, field.name())
    }

    /// A rejection for what the contract of another format calls by this name.
    #[must_use]
    pub const fn named(reason: Reason, name: &'static str) -> Self {
        Self {
            reason,
            field: Some(name),
            found: None,
        }
    }

    /// A rejection of the record as a whole.
    #[must_use]
    pub const fn record(reason: Reason) -> Self {
        Self {
            reason,
            field: None,
            found: None,
        }
    }

    /// Says what was found: a predicate, such as ``is `12,50` ``. What it quotes of a record is [`shown`].
    #[must_use]
    pub fn found(mut self, predicate: impl fmt::Display) -> Self {
        self.found = Some(predicate.to_string().into());
        self
    }

    /// Says which value was found.
    #[must_use]
    pub fn value(self, value: &Value<'_>) -> Self {
        match value {
            Value::Absent => self,
            Value::Bool(value) => self.found(format_args!("is {value}")),
            Value::Integer(value) => self.found(format_args!("is {value}")),
            Value::Float(value) => self.found(format_args!("is {}", shown(&format!("{value:?}")))),
            Value::Decimal(text) => self.found(format_args!("is {}", shown(text))),
            Value::Text(text) => self.text(text),
            Value::Date(_) => self.found("is a date"),
            Value::Other(kind) => self.found(format_args!("is {kind}")),
        }
    }

    /// Says which text was found.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.found(format_args!("is `{}`", shown(text)))
    }

    /// One sentence: what was found, and what to send instead. However large the record, it is short; whatever the
    /// record holds, it is safe to be shown.
    #[must_use]
    pub fn message(&self) -> String {
        let subject = self
            .field
            .map_or(Cow::Borrowed("the record"), |name| format!("`{name}`").into());
        let found = self.found.as_deref().unwrap_or(self.reason.in_words());
        let remedy = self.reason.remedy(self.field);
        format!("{subject} {found}: {remedy}")
    }
}

/// A value as a sentence may show it: cut, and inert.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    beginning(text, SHOWN)
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "`{field}`: {}", self.reason.code()),
            None => f.write_str(self.reason.code()),
        }
    }
}

impl Reason {
    /// What it says of a field, or of a record, where nothing more is known.
    const fn in_words(self) -> &'static str {
        match self {
            Reason::InvalidJson => "is no JSON object",
            Reason::InvalidUtf8 => "is no UTF-8",
            Reason::EmptyRecord => "has no value",
            Reason::UnsupportedContentType => "is of a type that is not read here",
            Reason::MissingField => "is missing",
            Reason::WrongType => "is of another type",
            Reason::InvalidValue => "is of another form",
            Reason::EmptyText => "is empty",
            Reason::TooLong => "is too long",
            Reason::ControlCharacter => "holds a control character",
            Reason::ReservedValue => "is a reserved name",
            Reason::OutOfRange => "is out of range",
            Reason::SubsetExceedsTotal => "is larger than the whole",
            Reason::TotalMismatch => "is not the sum of input and output",
            Reason::CostConflict => "is not the only cost",
            Reason::CurrencyMismatch => "is not the ledger's",
            Reason::DuplicateField => "is there twice",
            Reason::IdMismatch => "is not the `id` of the CloudEvent",
            Reason::IdReused => "is that of an event that is counted, with other quantities",
            Reason::TooOld => "is too long ago",
            Reason::InTheFuture => "is ahead of the ledger's clock",
            Reason::UnsupportedType => "is not booked by this version",
            Reason::ImageMissing => "is a change of a document, without what the document was and is",
            Reason::TooLarge => "is too large",
            Reason::Overflow => "would take a counter of the ledger beyond 64 bits",
            Reason::Unstorable => "leads to what the ledger's server refuses",
        }
    }

    /// What to send instead.
    fn remedy(self, field: Option<&'static str>) -> &'static str {
        match self {
            Reason::InvalidJson => "one JSON object (`NaN` is no JSON, `null` is)",
            Reason::InvalidUtf8 => "texts in UTF-8",
            Reason::EmptyRecord => "a JSON object",
            Reason::UnsupportedContentType => "`application/json`, or a CloudEvent as JSON",
            Reason::MissingField
            | Reason::WrongType
            | Reason::InvalidValue
            | Reason::EmptyText
            | Reason::TooLong
            | Reason::OutOfRange => form(field),
            Reason::ControlCharacter => "a text without control characters",
            Reason::ReservedValue => "another name, as `__…__` are the ledger's own; or none",
            Reason::SubsetExceedsTotal => "the whole includes its parts",
            Reason::TotalMismatch => "the sum, or no total",
            Reason::CostConflict => "one of `cost`, `costNanos` and `costEstimateCents`",
            Reason::CurrencyMismatch => "amounts in the ledger's currency",
            Reason::DuplicateField => "each field once",
            Reason::IdMismatch => "the same id in both, or none in the data",
            Reason::IdReused => "an id of its own for each request",
            Reason::TooOld => "a time since 2000, and within the maximum age of events",
            Reason::InTheFuture => "a time not more than 5 minutes ahead",
            Reason::UnsupportedType => "it is kept, to be replayed by a version that does",
            Reason::ImageMissing => "a document of its own for each request, inserted once",
            Reason::TooLarge => "at most 262144 bytes, and 4096 events",
            Reason::Overflow => "smaller quantities",
            Reason::Unstorable => "the log says why the server does",
        }
    }
}

/// What a field takes.
fn form(field: Option<&'static str>) -> &'static str {
    let Some(name) = field else {
        return "an event of the contract";
    };
    match name {
        "eventId" => "a text of 1 to 128 characters, of its own for each request",
        "_id" => {
            "a text of 1 to 128 characters, an ObjectId, a UUID or an integer; or an `eventId` beside it"
        }
        "organizationId" => "a text of 1 to 128 characters",
        "completedAt" => "an RFC 3339 time such as `2026-01-05T10:00:00Z`, or milliseconds since 1970",
        "source" => "`chat`, `workflow`, `openai-compat`, or up to 32 of a-z, 0-9 and `-`",
        "kind" => "`llm`, `embedding`, `image`, `transcription`, `speech` or `connector`",
        "outcome" => "`completed`, `failed` or `aborted`",
        "inputTokens" | "outputTokens" | "totalTokens" | "cachedInputTokens" | "cacheWriteTokens"
        | "reasoningTokens" | "audioMillis" | "characters" | "images" | "costNanos" => {
            "an integer from 0 to 10^15"
        }
        "cost" => "a decimal with a point, from 0 to 1000000",
        "costEstimateCents" => "a number from 0 to 100000000",
        "testMode" => "true or false",
        "specversion" => "`1.0`",
        "op" => "`c`, `r`, `u` or `d`",
        "data" | "after" | "fullDocument" => "the event, a JSON object",
        _ => "a text of at most 128 characters",
    }
}

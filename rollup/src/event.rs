//! The contract of an event: a finished request, as an emitter describes it.
//!
//! Decoding is split in two. A decoder of a wire format (JSON, BSON, CloudEvents) fills a [`RawEvent`] with
//! the values of the emitter; [`validate`] is the only judge of it, so that every format obeys the same
//! rules. Nothing is clamped, defaulted or guessed beyond the contract: an event that breaks a rule is
//! rejected with a [`Reason`] and the name of the field.

mod raw;
mod reject;
mod validate;

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::counters::Counters;

pub use raw::{DocumentId, Field, RawEvent, Value};
pub use reject::{Reject, shown};
pub use validate::{About, Rules, validate};

/// Stands for an agent or a user that the event does not name.
pub const UNATTRIBUTED: &str = "__unattributed__";
/// Stands for a model or a provider that the event does not name.
pub const UNKNOWN: &str = "__unknown__";
/// Stands for a team or an API key that the event does not name.
pub const NONE: &str = "__none__";

/// The `type` of a finished request; that of an event without one.
pub const COMPLETED: &str = "request.completed";
/// The `type` of a correction of one.
pub const CORRECTED: &str = "request.corrected";

/// The largest quantity that one event may report, also for a cost in nano-units.
pub const MAX_QUANTITY: i64 = 1_000_000_000_000_000;
/// The longest text, in characters.
pub const MAX_TEXT_CHARS: usize = 128;
/// The largest record, in bytes.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;
/// 2000-01-01T00:00:00Z in milliseconds: no request completed before.
pub const MIN_COMPLETED_AT_MS: i64 = 946_684_800_000;
/// How far an emitter's clock may be ahead of ours.
pub const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// What a request was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Kind {
    /// A call of a language model.
    #[default]
    Llm,
    /// Texts to vectors.
    Embedding,
    /// Generated images.
    Image,
    /// Speech to text.
    Transcription,
    /// Text to speech.
    Speech,
    /// A call of a connected system.
    Connector,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [
        Kind::Llm,
        Kind::Embedding,
        Kind::Image,
        Kind::Transcription,
        Kind::Speech,
        Kind::Connector,
    ];

    /// The name used in events, rows and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Llm => "llm",
            Kind::Embedding => "embedding",
            Kind::Image => "image",
            Kind::Transcription => "transcription",
            Kind::Speech => "speech",
            Kind::Connector => "connector",
        }
    }
}

/// The dimensions of a row besides its period. `S` is a borrowed text while decoding and an owned one in
/// a fold. No part is ever absent: a sentinel stands for what the event did not say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dimensions<S> {
    /// Whose usage it is.
    pub organization: S,
    /// The assistant, or [`UNATTRIBUTED`].
    pub agent: S,
    /// Who serves the model, or [`UNKNOWN`].
    pub provider: S,
    /// The model, or [`UNKNOWN`].
    pub model: S,
    /// The person, or [`UNATTRIBUTED`].
    pub user: S,
    /// The person's team, or [`NONE`].
    pub team: S,
    /// The API key, or [`NONE`].
    pub api_key: S,
    /// The emitting service.
    pub source: S,
    /// What the request was.
    pub kind: Kind,
}

impl<S> Dimensions<S> {
    /// The same dimensions with every text converted.
    pub fn map<'s, T>(&'s self, mut convert: impl FnMut(&'s S) -> T) -> Dimensions<T> {
        Dimensions {
            organization: convert(&self.organization),
            agent: convert(&self.agent),
            provider: convert(&self.provider),
            model: convert(&self.model),
            user: convert(&self.user),
            team: convert(&self.team),
            api_key: convert(&self.api_key),
            source: convert(&self.source),
            kind: self.kind,
        }
    }
}

/// What makes an event the same event when it is seen again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The emitter's own id; the same id again, wherever it is, is a duplicate.
    EventId(Cow<'a, str>),
    /// The `_id` of the event's document. MongoDB keeps it unique, so it needs no memory here.
    Document,
}

/// A valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// What makes it the same event when it is seen again.
    pub identity: Identity<'a>,
    /// When the request completed: milliseconds since 1970-01-01T00:00:00Z. Decides the period.
    pub completed_at_ms: i64,
    /// Who used what.
    pub dimensions: Dimensions<Cow<'a, str>>,
    /// How much of it.
    pub counters: Counters,
    /// Whether its cost had more decimals than are kept.
    pub is_cost_rounded: bool,
}

/// A record that is no usage by rule, and is only counted as skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// `type` is not one that this ledger books.
    OtherType,
    /// `testMode` is true.
    TestMode,
    /// Completed before the instant at which this ledger starts.
    BeforeStart,
    /// The deletion of an event's document: the bill stays as it is.
    Deleted,
}

/// What a structurally valid record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<'a> {
    /// Usage to be booked.
    Event(Event<'a>),
    /// No usage, by rule.
    Skipped(Skip),
}

/// Why a record cannot be booked. The name is stored with the dead letter and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The record is no JSON object in UTF-8.
    InvalidJson,
    /// The record is not UTF-8.
    InvalidUtf8,
    /// The record has no payload, or an empty one.
    EmptyRecord,
    /// The content type is not one that is read here.
    UnsupportedContentType,
    /// A required field is missing or null.
    MissingField,
    /// A field has another type than the contract says.
    WrongType,
    /// A field is not of the form that the contract says.
    InvalidValue,
    /// A required text is empty.
    EmptyText,
    /// A text has more than 128 characters.
    TooLong,
    /// A text holds a control character.
    ControlCharacter,
    /// A text is of the form `__…__`, which is reserved.
    ReservedValue,
    /// A quantity is negative or above 10^15, or a cost is.
    OutOfRange,
    /// A part is larger than the whole that includes it.
    SubsetExceedsTotal,
    /// The total that was stated is not the sum of input and output.
    TotalMismatch,
    /// More than one of the cost fields is there.
    CostConflict,
    /// The currency is not the ledger's.
    CurrencyMismatch,
    /// A field is there twice.
    DuplicateField,
    /// The CloudEvents id and the event's own differ.
    IdMismatch,
    /// Completed before 2000, or longer ago than the configured maximum age.
    TooOld,
    /// Completed more than five minutes ahead of the ledger's clock.
    InTheFuture,
    /// A kind of event that this version does not book yet. Kept, to be replayed by one that does.
    UnsupportedType,
    /// A change of an event document whose images are not there.
    ImageMissing,
    /// The record is larger than 256 KiB.
    TooLarge,
    /// Booking it would overflow a stored counter.
    Overflow,
    /// The ledger's server refuses what follows from it.
    Unstorable,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 25] = [
        Reason::InvalidJson,
        Reason::InvalidUtf8,
        Reason::EmptyRecord,
        Reason::UnsupportedContentType,
        Reason::MissingField,
        Reason::WrongType,
        Reason::InvalidValue,
        Reason::EmptyText,
        Reason::TooLong,
        Reason::ControlCharacter,
        Reason::ReservedValue,
        Reason::OutOfRange,
        Reason::SubsetExceedsTotal,
        Reason::TotalMismatch,
        Reason::CostConflict,
        Reason::CurrencyMismatch,
        Reason::DuplicateField,
        Reason::IdMismatch,
        Reason::TooOld,
        Reason::InTheFuture,
        Reason::UnsupportedType,
        Reason::ImageMissing,
        Reason::TooLarge,
        Reason::Overflow,
        Reason::Unstorable,
    ];

    /// The code stored with a dead letter.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Reason::InvalidJson => "invalid_json",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::EmptyRecord => "empty_record",
            Reason::UnsupportedContentType => "unsupported_content_type",
            Reason::MissingField => "missing_field",
            Reason::WrongType => "wrong_type",
            Reason::InvalidValue => "invalid_value",
            Reason::EmptyText => "empty_text",
            Reason::TooLong => "too_long",
            Reason::ControlCharacter => "control_character",
            Reason::ReservedValue => "reserved_value",
            Reason::OutOfRange => "out_of_range",
            Reason::SubsetExceedsTotal => "subset_exceeds_total",
            Reason::TotalMismatch => "total_mismatch",
            Reason::CostConflict => "cost_conflict",
            Reason::CurrencyMismatch => "currency_mismatch",
            Reason::DuplicateField => "duplicate_field",
            Reason::IdMismatch => "id_mismatch",
            Reason::TooOld => "too_old",
            Reason::InTheFuture => "in_the_future",
            Reason::UnsupportedType => "unsupported_type",
            Reason::ImageMissing => "image_missing",
            Reason::TooLarge => "too_large",
            Reason::Overflow => "overflow",
            Reason::Unstorable => "unstorable",
        }
    }
}

/// Checks the rules that depend on the clock. That is done once, when an event is first committed, and never
/// again: the stored verdict is the truth for every recount.
///
/// # Errors
/// When the event completed before 2000, longer ago than `max_age`, or more than five minutes after `now`.
pub fn check_time(
    completed_at_ms: i64,
    now: DateTime<Utc>,
    max_age: Option<TimeDelta>,
) -> Result<(), Reject> {
    let now_ms = now.timestamp_millis();
    let oldest_ms = max_age.map_or(i64::MIN, |age| now_ms.saturating_sub(age.num_milliseconds()));
    let reject = |reason, than: String| {
        let at = instant_in_words(completed_at_ms);
        Err(Reject::field(reason, Field::CompletedAt).found(format_args!("is {at}, {than}")))
    };
    let earliest_ms = MIN_COMPLETED_AT_MS.max(oldest_ms);
    if completed_at_ms < earliest_ms {
        return reject(
            Reason::TooOld,
            format!("before {}", instant_in_words(earliest_ms)),
        );
    }
    if completed_at_ms > now_ms.saturating_add(MAX_CLOCK_SKEW.num_milliseconds()) {
        return reject(
            Reason::InTheFuture,
            format!("and it was {}", instant_in_words(now_ms)),
        );
    }
    Ok(())
}

fn instant_in_words(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(at) => at.to_rfc3339_opts(SecondsFormat::Secs, true),
        None => format!("{ms} ms since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_once_with_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<&str> = Reason::ALL.into_iter().map(Reason::code).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(
            Reason::ALL
                .into_iter()
                .enumerate()
                .all(|(at, reason)| reason as usize == at)
        );
        assert_eq!(Reason::ALL.last(), Some(&Reason::Unstorable), "the last of all");
    }

    #[test]
    fn the_clock_rules_hold_at_their_edges() {
        let now = "2026-03-01T12:00:00Z"
            .parse::<DateTime<Utc>>()
            .expect("an instant");
        let now_ms = now.timestamp_millis();
        let day = Some(TimeDelta::days(1));
        let reason = |at, age| check_time(at, now, age).err().map(|reject| reject.reason);
        assert_eq!(reason(MIN_COMPLETED_AT_MS, None), None);
        assert_eq!(reason(MIN_COMPLETED_AT_MS - 1, None), Some(Reason::TooOld));
        assert_eq!(reason(now_ms - 86_400_000, day), None);
        assert_eq!(reason(now_ms - 86_400_001, day), Some(Reason::TooOld));
        assert_eq!(reason(now_ms + 300_000, day), None);
        assert_eq!(reason(now_ms + 300_001, day), Some(Reason::InTheFuture));
        assert_eq!(reason(i64::MAX, None), Some(Reason::InTheFuture));
        assert_eq!(reason(i64::MIN, None), Some(Reason::TooOld));
    }
}

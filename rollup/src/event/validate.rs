//! Which raw events are events.

use std::borrow::Cow;

use chrono::DateTime;

use super::{
    COMPLETED, CORRECTED, Checked, Dimensions, DocumentId, Event, Field, Identity, Kind, MAX_QUANTITY,
    MAX_TEXT_CHARS, NONE, RawEvent, Reason, Reject, Skip, UNATTRIBUTED, UNKNOWN, Value,
};
use crate::counters::{Counter, Counters};
use crate::money::{AmountError, Nanos};

/// The ledger's own settings that an event is checked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// ISO 4217 code of the ledger's currency.
    pub currency: String,
    /// Events completed before this instant (ms) are skipped: another ledger has them.
    pub start_at_ms: Option<i64>,
}

/// Checks a raw event by every rule that does not depend on the clock.
///
/// What is no usage by rule (another type, test mode, before the ledger's start) is skipped before its
/// other fields are looked at: they say nothing that would be booked.
///
/// # Errors
/// Names the first rule that is broken, and the field.
pub fn validate<'a>(mut raw: RawEvent<'a>, rules: &Rules) -> Result<Checked<'a>, Reject> {
    if let Some(field) = raw.duplicate {
        return Err(Reject::field(Reason::DuplicateField, field));
    }
    match optional_text(&mut raw, Field::Type)?.as_deref() {
        None | Some(COMPLETED) => {}
        Some(CORRECTED) => return Err(Reject::field(Reason::UnsupportedType, Field::Type)),
        Some(_) => return Ok(Checked::Skipped(Skip::OtherType)),
    }
    if flag(&mut raw, Field::TestMode)? {
        return Ok(Checked::Skipped(Skip::TestMode));
    }
    let completed_at_ms = instant(&mut raw, Field::CompletedAt)?;
    if rules.start_at_ms.is_some_and(|start| completed_at_ms < start) {
        return Ok(Checked::Skipped(Skip::BeforeStart));
    }
    let identity = identity(&mut raw)?;
    let kind = kind(&mut raw)?;
    let dimensions = Dimensions {
        organization: required(dimension(&mut raw, Field::OrganizationId)?, Field::OrganizationId)?,
        agent: dimension(&mut raw, Field::AgentSlug)?.unwrap_or(Cow::Borrowed(UNATTRIBUTED)),
        provider: dimension(&mut raw, Field::Provider)?.unwrap_or(Cow::Borrowed(UNKNOWN)),
        model: dimension(&mut raw, Field::Model)?.unwrap_or(Cow::Borrowed(UNKNOWN)),
        user: dimension(&mut raw, Field::UserId)?.unwrap_or(Cow::Borrowed(UNATTRIBUTED)),
        team: dimension(&mut raw, Field::TeamId)?.unwrap_or(Cow::Borrowed(NONE)),
        api_key: dimension(&mut raw, Field::ApiKeyId)?.unwrap_or(Cow::Borrowed(NONE)),
        source: source(&mut raw)?,
        kind,
    };
    let counters = counters(&mut raw, rules)?;
    Ok(Checked::Event(Event {
        identity,
        completed_at_ms,
        dimensions,
        counters,
    }))
}

/// What a raw event is about, whether or not it is an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Whose usage it is, where that could be read.
    pub organization: Option<String>,
    /// When the request completed, in milliseconds, where that could be read.
    pub completed_at_ms: Option<i64>,
}

impl About {
    /// Reads what can be read.
    #[must_use]
    pub fn of(mut raw: RawEvent<'_>) -> Self {
        let organization = dimension(&mut raw, Field::OrganizationId);
        Self {
            organization: organization.ok().flatten().map(Cow::into_owned),
            completed_at_ms: instant(&mut raw, Field::CompletedAt).ok(),
        }
    }
}

fn identity<'a>(raw: &mut RawEvent<'a>) -> Result<Identity<'a>, Reject> {
    // An empty `eventId` is an id that its emitter forgot to fill, never "absent": the field is required.
    if *raw.get(Field::EventId) != Value::Absent {
        let id = required(optional_text(raw, Field::EventId)?, Field::EventId)?;
        return Ok(Identity::EventId(id));
    }
    match std::mem::take(&mut raw.document_id) {
        DocumentId::None => Err(Reject::field(Reason::MissingField, Field::EventId)),
        DocumentId::ObjectId => Ok(Identity::Document),
        DocumentId::Text(id) if id.is_empty() => Err(Reject::field(Reason::EmptyText, Field::DocumentId)),
        DocumentId::Text(id) => check_text(&id, Field::DocumentId).map(|()| Identity::Document),
        DocumentId::Unsupported => Err(Reject::field(Reason::WrongType, Field::DocumentId)),
    }
}

fn kind(raw: &mut RawEvent<'_>) -> Result<Kind, Reject> {
    match optional_text(raw, Field::Kind)? {
        None => Ok(Kind::default()),
        Some(name) => Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or(Reject::field(Reason::InvalidValue, Field::Kind)),
    }
}

fn source<'a>(raw: &mut RawEvent<'a>) -> Result<Cow<'a, str>, Reject> {
    let source = required(optional_text(raw, Field::Source)?, Field::Source)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if source.len() <= 32 && source.bytes().all(plain) {
        Ok(source)
    } else {
        Err(Reject::field(Reason::InvalidValue, Field::Source))
    }
}

fn counters(raw: &mut RawEvent<'_>, rules: &Rules) -> Result<Counters, Reject> {
    let mut counters = Counters::default();
    counters[Counter::Requests] = 1;
    match optional_text(raw, Field::Outcome)?.as_deref() {
        None | Some("completed") => {}
        Some("failed") => counters[Counter::FailedRequests] = 1,
        Some("aborted") => counters[Counter::AbortedRequests] = 1,
        Some(_) => return Err(Reject::field(Reason::InvalidValue, Field::Outcome)),
    }
    for (field, counter) in [
        (Field::InputTokens, Counter::InputTokens),
        (Field::OutputTokens, Counter::OutputTokens),
        (Field::CachedInputTokens, Counter::CachedInputTokens),
        (Field::CacheWriteTokens, Counter::CacheWriteTokens),
        (Field::ReasoningTokens, Counter::ReasoningTokens),
        (Field::AudioMillis, Counter::AudioMillis),
        (Field::Characters, Counter::Characters),
        (Field::Images, Counter::Images),
    ] {
        counters[counter] = quantity(raw, field)?.unwrap_or(0);
    }
    let cached = counters[Counter::CachedInputTokens];
    if cached + counters[Counter::CacheWriteTokens] > counters[Counter::InputTokens] {
        let field = if cached > counters[Counter::InputTokens] {
            Field::CachedInputTokens
        } else {
            Field::CacheWriteTokens
        };
        return Err(Reject::field(Reason::SubsetExceedsTotal, field));
    }
    if counters[Counter::ReasoningTokens] > counters[Counter::OutputTokens] {
        return Err(Reject::field(Reason::SubsetExceedsTotal, Field::ReasoningTokens));
    }
    counters[Counter::TotalTokens] = counters[Counter::InputTokens] + counters[Counter::OutputTokens];
    match cost(raw, rules)? {
        Some(nanos) => counters[Counter::CostNanos] = nanos,
        None => counters[Counter::UnpricedRequests] = 1,
    }
    Ok(counters)
}

/// The cost in nano-units, or `None` where the event has none: unpriced, which is not zero.
fn cost(raw: &mut RawEvent<'_>, rules: &Rules) -> Result<Option<i64>, Reject> {
    if optional_text(raw, Field::Currency)?.is_some_and(|currency| currency != rules.currency) {
        return Err(Reject::field(Reason::CurrencyMismatch, Field::Currency));
    }
    let amount = optional_text(raw, Field::Cost)?;
    let nanos = quantity(raw, Field::CostNanos)?;
    let cents = match raw.take(Field::CostEstimateCents) {
        Value::Text(text) if text.is_empty() => None,
        Value::Absent => None,
        Value::Integer(cents) => Some(cents.to_string()),
        // `{}` of a float is the shortest decimal that reads back as the same float, without an exponent.
        Value::Float(cents) if cents.is_finite() => Some(cents.to_string()),
        Value::Float(_) => return Err(Reject::field(Reason::InvalidValue, Field::CostEstimateCents)),
        _ => return Err(Reject::field(Reason::WrongType, Field::CostEstimateCents)),
    };
    match (amount, nanos, cents) {
        (None, None, None) => Ok(None),
        (Some(amount), None, None) => amount_in_range(Nanos::parse_units(&amount), Field::Cost).map(Some),
        (None, Some(nanos), None) => Ok(Some(nanos)),
        (None, None, Some(cents)) => {
            amount_in_range(Nanos::parse_cents(&cents), Field::CostEstimateCents).map(Some)
        }
        (Some(_), _, _) => Err(Reject::field(Reason::CostConflict, Field::Cost)),
        (None, Some(_), Some(_)) => Err(Reject::field(Reason::CostConflict, Field::CostNanos)),
    }
}

fn amount_in_range(amount: Result<Nanos, AmountError>, field: Field) -> Result<i64, Reject> {
    match amount {
        Ok(Nanos(nanos)) => i64::try_from(nanos)
            .ok()
            .filter(|nanos| (0..=MAX_QUANTITY).contains(nanos))
            .ok_or(Reject::field(Reason::OutOfRange, field)),
        Err(AmountError::OutOfRange) => Err(Reject::field(Reason::OutOfRange, field)),
        Err(AmountError::Malformed | AmountError::TooPrecise) => {
            Err(Reject::field(Reason::InvalidValue, field))
        }
    }
}

fn required<T>(value: Option<T>, field: Field) -> Result<T, Reject> {
    value.ok_or(Reject::field(Reason::MissingField, field))
}

/// A text that names a dimension. Sentinels are reserved for what events do not say.
fn dimension<'a>(raw: &mut RawEvent<'a>, field: Field) -> Result<Option<Cow<'a, str>>, Reject> {
    let text = optional_text(raw, field)?;
    match &text {
        Some(text) if text.len() >= 4 && text.starts_with("__") && text.ends_with("__") => {
            Err(Reject::field(Reason::ReservedValue, field))
        }
        _ => Ok(text),
    }
}

/// A text, or `None` where it is absent or, in an optional field, empty.
fn optional_text<'a>(raw: &mut RawEvent<'a>, field: Field) -> Result<Option<Cow<'a, str>>, Reject> {
    let is_required = matches!(field, Field::EventId | Field::Source | Field::OrganizationId);
    match raw.take(field) {
        Value::Absent => Ok(None),
        Value::Text(text) if text.is_empty() && is_required => Err(Reject::field(Reason::EmptyText, field)),
        Value::Text(text) if text.is_empty() => Ok(None),
        Value::Text(text) => check_text(&text, field).map(|()| Some(text)),
        _ => Err(Reject::field(Reason::WrongType, field)),
    }
}

fn check_text(text: &str, field: Field) -> Result<(), Reject> {
    // A text of at most 128 bytes has at most 128 characters.
    if text.len() > MAX_TEXT_CHARS && text.chars().count() > MAX_TEXT_CHARS {
        return Err(Reject::field(Reason::TooLong, field));
    }
    let has_control = if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    };
    if has_control {
        Err(Reject::field(Reason::ControlCharacter, field))
    } else {
        Ok(())
    }
}

fn flag(raw: &mut RawEvent<'_>, field: Field) -> Result<bool, Reject> {
    match raw.take(field) {
        Value::Absent => Ok(false),
        Value::Bool(value) => Ok(value),
        Value::Text(text) if text.is_empty() => Ok(false),
        _ => Err(Reject::field(Reason::WrongType, field)),
    }
}

/// An integer between 0 and [`MAX_QUANTITY`].
fn quantity(raw: &mut RawEvent<'_>, field: Field) -> Result<Option<i64>, Reject> {
    match raw.take(field) {
        Value::Text(text) if text.is_empty() => Ok(None),
        Value::Absent => Ok(None),
        value => match whole(&value, field)? {
            number @ 0..=MAX_QUANTITY => Ok(Some(number)),
            _ => Err(Reject::field(Reason::OutOfRange, field)),
        },
    }
}

/// A number without a fraction: JavaScript writes `7` as the double `7.0`.
fn whole(value: &Value<'_>, field: Field) -> Result<i64, Reject> {
    /// 2^63, the first whole double that is no `i64`.
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Integer(number) => Ok(*number),
        Value::Float(number) if !number.is_finite() || number.fract() != 0.0 => {
            Err(Reject::field(Reason::InvalidValue, field))
        }
        Value::Float(number) if number.abs() >= TOO_LARGE => Err(Reject::field(Reason::OutOfRange, field)),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "whole and within the range of `i64`"
        )]
        Value::Float(number) => Ok(*number as i64),
        _ => Err(Reject::field(Reason::WrongType, field)),
    }
}

/// An instant in milliseconds: an RFC 3339 text, a BSON date, or an integer.
fn instant(raw: &mut RawEvent<'_>, field: Field) -> Result<i64, Reject> {
    match raw.take(field) {
        Value::Absent => Err(Reject::field(Reason::MissingField, field)),
        Value::Date(millis) => Ok(millis),
        Value::Text(text) if text.is_empty() => Err(Reject::field(Reason::EmptyText, field)),
        Value::Text(text) => DateTime::parse_from_rfc3339(&text)
            .map(|instant| instant.timestamp_millis())
            .map_err(|_| Reject::field(Reason::InvalidValue, field)),
        value => whole(&value, field),
    }
}

#[cfg(test)]
mod tests;

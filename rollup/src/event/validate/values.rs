//! What was written into a field, as a value of the type that the field has.

use std::borrow::Cow;

use chrono::DateTime;

use crate::event::contract::MAX_TEXT_CHARS;
use crate::event::raw::{Field, RawEvent};
use crate::event::reason::Reason;
use crate::event::reject::Reject;
use crate::event::value::Value;

pub(super) fn required<T>(value: Option<T>, field: Field) -> Result<T, Reject> {
    value.ok_or_else(|| Reject::field(Reason::MissingField, field))
}

/// A text, or `None` where it is absent or, in an optional field, empty.
pub(super) fn optional_text<'a>(
    raw: &mut RawEvent<'a>,
    field: Field,
) -> Result<Option<Cow<'a, str>>, Reject> {
    let is_required = matches!(field, Field::EventId | Field::Source | Field::OrganizationId);
    match raw.take(field) {
        Value::Absent => Ok(None),
        Value::Text(text) if text.is_empty() && is_required => Err(Reject::field(Reason::EmptyText, field)),
        Value::Text(text) if text.is_empty() => Ok(None),
        Value::Text(text) => check_text(&text, field).map(|()| Some(text)),
        value => Err(Reject::field(Reason::WrongType, field).value(&value)),
    }
}

pub(super) fn check_text(text: &str, field: Field) -> Result<(), Reject> {
    // A text of at most 128 bytes has at most 128 characters.
    if text.len() > MAX_TEXT_CHARS {
        let characters = text.chars().count();
        if characters > MAX_TEXT_CHARS {
            let found = format_args!("has {characters} characters");
            return Err(Reject::field(Reason::TooLong, field).found(found));
        }
    }
    let has_control = if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    };
    if has_control {
        Err(Reject::field(Reason::ControlCharacter, field).text(text))
    } else {
        Ok(())
    }
}

pub(super) fn flag(raw: &mut RawEvent<'_>, field: Field) -> Result<bool, Reject> {
    match raw.take(field) {
        Value::Absent => Ok(false),
        Value::Bool(value) => Ok(value),
        Value::Text(text) if text.is_empty() => Ok(false),
        value => Err(Reject::field(Reason::WrongType, field).value(&value)),
    }
}

/// An instant in milliseconds: an RFC 3339 text, a BSON date, or an integer.
pub(super) fn instant(raw: &mut RawEvent<'_>, field: Field) -> Result<i64, Reject> {
    match raw.take(field) {
        Value::Absent => Err(Reject::field(Reason::MissingField, field)),
        Value::Date(millis) => Ok(millis),
        Value::Text(text) if text.is_empty() => Err(Reject::field(Reason::EmptyText, field)),
        Value::Text(text) => DateTime::parse_from_rfc3339(&text)
            .map(|instant| instant.timestamp_millis())
            .map_err(|_| Reject::field(Reason::InvalidValue, field).text(&text)),
        value => whole(&value, field),
    }
}

/// A number without a fraction.
pub(super) fn whole(value: &Value<'_>, field: Field) -> Result<i64, Reject> {
    value
        .whole()
        .map_err(|reason| Reject::field(reason, field).value(value))
}

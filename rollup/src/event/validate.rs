//! The rules by which a raw event is an event.

mod quantities;
mod rules;
mod values;

use std::borrow::Cow;

use super::contract::{
    COMPLETED, CORRECTED, Checked, Dimensions, Event, Identity, Kind, NONE, Skip, UNATTRIBUTED, UNKNOWN,
};
use super::document_id::DocumentId;
use super::raw::{Field, RawEvent};
use super::reason::Reason;
use super::reject::Reject;
use super::value::Value;
use quantities::{Usage, usage};
use values::{check_text, flag, instant, optional_text, required};

pub use rules::Rules;

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
        Some(CORRECTED) => return Err(Reject::field(Reason::UnsupportedType, Field::Type).text(CORRECTED)),
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
    let Usage {
        counters,
        is_cost_rounded,
    } = usage(&mut raw, kind, rules)?;
    Ok(Checked::Event(Event {
        identity,
        completed_at_ms,
        dimensions,
        counters,
        is_cost_rounded,
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
        DocumentId::Text(id) if id.is_empty() => Err(Reject::field(Reason::EmptyText, Field::DocumentId)),
        DocumentId::Text(id) => {
            check_text(&id, Field::DocumentId).map(|()| Identity::Document(DocumentId::Text(id)))
        }
        id @ (DocumentId::ObjectId(_)
        | DocumentId::Uuid(_)
        | DocumentId::LegacyUuid(_)
        | DocumentId::Integer(_)) => Ok(Identity::Document(id)),
        DocumentId::Unsupported => Err(Reject::field(Reason::WrongType, Field::DocumentId)),
    }
}

fn kind(raw: &mut RawEvent<'_>) -> Result<Kind, Reject> {
    match optional_text(raw, Field::Kind)? {
        None => Ok(Kind::default()),
        Some(name) => Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Reject::field(Reason::InvalidValue, Field::Kind).text(&name)),
    }
}

fn source<'a>(raw: &mut RawEvent<'a>) -> Result<Cow<'a, str>, Reject> {
    let source = required(optional_text(raw, Field::Source)?, Field::Source)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if source.len() <= 32 && source.bytes().all(plain) {
        Ok(source)
    } else {
        Err(Reject::field(Reason::InvalidValue, Field::Source).text(&source))
    }
}

/// A text that names a dimension. Sentinels are reserved for what events do not say.
fn dimension<'a>(raw: &mut RawEvent<'a>, field: Field) -> Result<Option<Cow<'a, str>>, Reject> {
    let text = optional_text(raw, field)?;
    match &text {
        Some(text) if text.len() >= 4 && text.starts_with("__") && text.ends_with("__") => {
            Err(Reject::field(Reason::ReservedValue, field).text(text))
        }
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests;

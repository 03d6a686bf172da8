//! What a record is known by, as far as that could be read.

use std::borrow::Cow;

use ::bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use rollup::event::{DocumentId, Field, MAX_TEXT_CHARS, RawEvent, Value};

use crate::identity::{Identity, IdentityHash};
use crate::lane::{document_id, raw_id};

/// What a record says of its identity, whether or not it is an event.
#[derive(Debug, Default)]
pub struct Name<'a> {
    /// The event's own id, as it was written.
    pub event_id: Option<Cow<'a, str>>,
    /// The `_id` of its document, alone.
    pub document_id: Option<RawDocumentBuf>,
    organization: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    /// The CloudEvent's own source.
    emitter: Option<Cow<'a, str>>,
    /// The document is in another place: this is a copy of it.
    is_copy: bool,
    /// There is an `eventId` of whatever kind: it is the identity, and no `_id` takes its place.
    has_event_id: bool,
    /// A field was there twice, or none could be read: nobody knows its identity.
    is_ambiguous: bool,
}

impl<'a> Name<'a> {
    pub(super) fn of(raw: &RawEvent<'a>) -> Self {
        let text = |field| match raw.get(field) {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        Self {
            event_id: text(Field::EventId),
            document_id: None,
            organization: text(Field::OrganizationId),
            source: text(Field::Source),
            emitter: raw.emitter.clone(),
            is_copy: false,
            has_event_id: *raw.get(Field::EventId) != Value::Absent,
            is_ambiguous: raw.has_duplicate(),
        }
    }

    /// Whether its emitter gave it an id, of whatever kind.
    pub(super) const fn has_event_id(&self) -> bool {
        self.has_event_id
    }

    /// It is a copy of the document with this `_id`.
    pub(super) fn copied_from(&mut self, document_id: RawDocumentBuf) {
        self.document_id = Some(document_id);
        self.is_copy = true;
    }

    /// What is known of a record of which only this `_id` is.
    pub(super) fn of_document(document_id: Option<RawDocumentBuf>) -> Self {
        Self {
            document_id,
            is_ambiguous: true,
            ..Self::default()
        }
    }

    /// Its identity; `None`: it could not be read.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        if self.is_ambiguous {
            return None;
        }
        if self.has_event_id {
            let emitter = self.emitter.as_deref().unwrap_or_default();
            let (organization, source) = (self.organization.as_deref()?, self.source.as_deref()?);
            let id = self.event_id.as_deref()?;
            return Some(Identity::Event(IdentityHash::of_event(
                organization,
                source,
                emitter,
                id,
            )));
        }
        let of_document = if self.is_copy {
            Identity::Copy
        } else {
            Identity::Document
        };
        self.document().map(of_document)
    }

    /// Its document, where it has one whose `_id` can be an identity.
    #[must_use]
    pub fn document(&self) -> Option<IdentityHash> {
        self.document_id.as_deref().and_then(document_identity)
    }
}

/// Whether an `_id` can be an event's identity.
fn is_identity(id: &DocumentId<'_>) -> bool {
    match id {
        DocumentId::Text(text) => !text.is_empty() && text.chars().nth(MAX_TEXT_CHARS).is_none(),
        DocumentId::ObjectId(_)
        | DocumentId::Uuid(_)
        | DocumentId::LegacyUuid(_)
        | DocumentId::Integer(_) => true,
        DocumentId::None | DocumentId::Unsupported => false,
    }
}

/// The identity of a document by its `_id`, given in a document; `None`: it cannot be one.
pub(crate) fn document_identity(key: &RawDocument) -> Option<IdentityHash> {
    let id = raw_id(key)?;
    let value = id.iter().next()?.ok()?.1;
    is_identity(&document_id(value)).then(|| IdentityHash::of_document(&id))
}

/// An `_id` for people, at most so many characters of it.
#[must_use]
pub fn shown(id: &RawDocument) -> Option<String> {
    let value = id.into_iter().next()?.ok()?.1;
    let text = match value {
        RawBsonRef::String(text) => text.to_owned(),
        RawBsonRef::ObjectId(id) => id.to_hex(),
        RawBsonRef::Int32(value) => value.to_string(),
        RawBsonRef::Int64(value) => value.to_string(),
        other => {
            let value = ::bson::Bson::try_from(other).ok()?;
            match &value {
                ::bson::Bson::Binary(binary) => match binary.to_uuid() {
                    Ok(uuid) => uuid.to_string(),
                    Err(_) => value.into_canonical_extjson().to_string(),
                },
                _ => value.into_canonical_extjson().to_string(),
            }
        }
    };
    Some(text.chars().take(MAX_TEXT_CHARS).collect())
}

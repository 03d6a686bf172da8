//! The column of ids: texts that are hexadecimal numbers as their bytes.

use std::borrow::Cow;

use super::Damaged;
use super::varint::{Reader, Writer};
use crate::event::{DocumentId, Identity};

/// How an id is written. The numbers are stored.
const EVENT_TEXT: u8 = 0;
const EVENT_UUID: u8 = 1;
const EVENT_OBJECT_ID: u8 = 2;
const DOCUMENT_TEXT: u8 = 3;
const DOCUMENT_OBJECT_ID: u8 = 4;
const DOCUMENT_UUID: u8 = 5;
const DOCUMENT_LEGACY_UUID: u8 = 6;
const DOCUMENT_INTEGER: u8 = 7;
const NONE: u8 = 8;

/// The two columns of ids: of which kind each is, and what it is.
pub(super) fn write(id: &Identity<'_>, kinds: &mut Writer, ids: &mut Writer) {
    match id {
        Identity::EventId(text) => match Short::of(text) {
            Some(Short::Uuid(bytes)) => fixed(EVENT_UUID, &bytes, kinds, ids),
            Some(Short::ObjectId(bytes)) => fixed(EVENT_OBJECT_ID, &bytes, kinds, ids),
            None => {
                kinds.byte(EVENT_TEXT);
                ids.text(text);
            }
        },
        Identity::Document(DocumentId::Text(text)) => {
            kinds.byte(DOCUMENT_TEXT);
            ids.text(text);
        }
        Identity::Document(DocumentId::ObjectId(bytes)) => fixed(DOCUMENT_OBJECT_ID, bytes, kinds, ids),
        Identity::Document(DocumentId::Uuid(bytes)) => fixed(DOCUMENT_UUID, bytes, kinds, ids),
        Identity::Document(DocumentId::LegacyUuid(bytes)) => fixed(DOCUMENT_LEGACY_UUID, bytes, kinds, ids),
        Identity::Document(DocumentId::Integer(number)) => {
            kinds.byte(DOCUMENT_INTEGER);
            ids.signed(*number);
        }
        Identity::Document(DocumentId::None | DocumentId::Unsupported) => kinds.byte(NONE),
    }
}

fn fixed(kind: u8, bytes: &[u8], kinds: &mut Writer, ids: &mut Writer) {
    kinds.byte(kind);
    ids.bytes(bytes);
}

pub(super) fn read<'a>(kind: u8, ids: &mut Reader<'a>) -> Result<Identity<'a>, Damaged> {
    Ok(match kind {
        EVENT_TEXT => Identity::EventId(Cow::Borrowed(ids.text()?)),
        EVENT_UUID => Identity::EventId(Short::Uuid(ids.array()?).text().into()),
        EVENT_OBJECT_ID => Identity::EventId(Short::ObjectId(ids.array()?).text().into()),
        DOCUMENT_TEXT => Identity::Document(DocumentId::Text(Cow::Borrowed(ids.text()?))),
        DOCUMENT_OBJECT_ID => Identity::Document(DocumentId::ObjectId(ids.array()?)),
        DOCUMENT_UUID => Identity::Document(DocumentId::Uuid(ids.array()?)),
        DOCUMENT_LEGACY_UUID => Identity::Document(DocumentId::LegacyUuid(ids.array()?)),
        DOCUMENT_INTEGER => Identity::Document(DocumentId::Integer(ids.signed()?)),
        NONE => Identity::Document(DocumentId::None),
        _ => return Err(Damaged::Format("the kind of an id is not known")),
    })
}

/// A text that is the usual one of so many bytes.
enum Short {
    Uuid([u8; 16]),
    ObjectId([u8; 12]),
}

impl Short {
    /// Only in lower case: the text is read as it was written.
    fn of(text: &str) -> Option<Self> {
        if !matches!(text.len(), 24 | 36) || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        match DocumentId::Text(text.into()).canonical() {
            DocumentId::Uuid(bytes) => Some(Self::Uuid(bytes)),
            DocumentId::ObjectId(bytes) => Some(Self::ObjectId(bytes)),
            _ => None,
        }
    }

    fn text(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let (bytes, dashes): (&[u8], &[usize]) = match self {
            Short::Uuid(bytes) => (bytes, &[4, 6, 8, 10]),
            Short::ObjectId(bytes) => (bytes, &[]),
        };
        let mut text = String::with_capacity(36);
        for (at, byte) in bytes.iter().enumerate() {
            if dashes.contains(&at) {
                text.push('-');
            }
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }
}

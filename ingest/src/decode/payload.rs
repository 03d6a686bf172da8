//! What a source read, before anything of it is understood.

use ::bson::{RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use rollup::event::MAX_RECORD_BYTES;
use sha2::{Digest, Sha256};

use super::name::document_identity;
use crate::lane::{DocumentKey, raw_id};

/// What was read, as it was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// A Kafka record.
    Message {
        /// The record's value; `None` for a tombstone.
        value: Option<Vec<u8>>,
        /// The record's headers, in order.
        headers: Vec<(String, Vec<u8>)>,
    },
    /// An event's document, as the history scan found it.
    Document(RawDocumentBuf),
    /// A change of an event's document: the change stream's own document.
    Change(RawDocumentBuf),
    /// What is left of a record that is too large to be kept.
    Oversized {
        /// Where it was in its lane.
        place: String,
        /// Its bytes; `None` where the server did not even say that.
        length: Option<usize>,
        /// The SHA-256 of its bytes; `None` where they were never here.
        sha256: Option<[u8; 32]>,
        /// Its first bytes.
        head: Vec<u8>,
        /// The `_id` of its document, alone, where that is known and can be an identity.
        document_id: Option<RawDocumentBuf>,
    },
}

/// What a header takes besides its name and value.
const HEADER_BYTES: usize = 32;
/// Bytes that are kept of a record that is too large.
const HEAD_BYTES: usize = 1024;

impl Payload {
    /// Bytes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Payload::Message { value, headers } => {
                let header = |(name, value): &(String, Vec<u8>)| HEADER_BYTES + name.len() + value.len();
                value.as_ref().map_or(0, Vec::len) + headers.iter().map(header).sum::<usize>()
            }
            Payload::Document(document) | Payload::Change(document) => document.as_bytes().len(),
            Payload::Oversized { head, .. } => head.len(),
        }
    }

    /// Where the record was in its lane, as far as it says so itself: a name that no other record of the
    /// lane has. A Kafka record is known by its offset and says nothing.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Payload::Message { .. } => String::new(),
            Payload::Document(document) => match DocumentKey::of(document) {
                Some(DocumentKey::Plain(id)) => {
                    bounded(format!("history/{}", id.into_canonical_extjson()), "history/")
                }
                Some(DocumentKey::Bytes(id)) => hashed("history/", id.as_bytes()),
                None => hashed("history/", document.as_bytes()),
            },
            Payload::Change(change) => match change
                .get_document("_id")
                .and_then(|token| token.get_str("_data"))
            {
                Ok(data) => bounded(data.to_owned(), ""),
                Err(_) => hashed("", change.as_bytes()),
            },
            Payload::Oversized { place, .. } => place.clone(),
        }
    }

    /// The `_id` of the event's document, alone, where the record is that document or its insert.
    #[must_use]
    pub fn document_id(&self) -> Option<RawDocumentBuf> {
        match self {
            Payload::Document(document) => raw_id(document),
            Payload::Change(change) if operation(change) == Some("insert") => {
                raw_id(change.get_document("documentKey").ok()?)
            }
            Payload::Change(_) | Payload::Message { .. } | Payload::Oversized { .. } => None,
        }
    }

    /// When the database made the change that this is.
    #[must_use]
    pub fn cluster_time(&self) -> Option<Timestamp> {
        match self {
            Payload::Change(change) => change.get_timestamp("clusterTime").ok(),
            _ => None,
        }
    }

    /// The document that was deleted, if the record says that one was: its `_id`, and what was in it where that is
    /// known.
    #[must_use]
    pub fn deleted(&self) -> Option<(&RawDocument, Option<&RawDocument>)> {
        match self {
            Payload::Change(change) if operation(change) == Some("delete") => {
                let before = change.get_document("fullDocumentBeforeChange").ok();
                Some((change.get_document("documentKey").ok()?, before))
            }
            _ => None,
        }
    }

    /// The record, or what is kept of it where it is larger than any record may be. Called where records
    /// are read, so that their number bounds their memory.
    #[must_use]
    pub fn cut(self) -> Self {
        let (bytes, length) = (self.record(), self.length());
        if length <= MAX_RECORD_BYTES || matches!(self, Payload::Oversized { .. }) {
            return self;
        }
        if let Payload::Change(change) = &self
            && operation(change) == Some("delete")
        {
            // It leaves the bill as it is: what is so large was never counted.
            return Payload::Change(rawdoc! {"operationType": "delete"});
        }
        Payload::Oversized {
            place: self.place(),
            length: Some(length),
            sha256: Some(Sha256::digest(bytes).into()),
            head: bytes[..HEAD_BYTES.min(bytes.len())].to_vec(),
            document_id: self.document_id().filter(|id| document_identity(id).is_some()),
        }
    }

    /// What tells a record whose bytes are not kept: its length, and their SHA-256. `None`: it is not known.
    #[must_use]
    pub fn digest(&self) -> (Option<usize>, Option<[u8; 32]>) {
        match self {
            Payload::Oversized { length, sha256, .. } => (*length, *sha256),
            whole => (Some(whole.length()), Some(Sha256::digest(whole.record()).into())),
        }
    }

    /// The record's own bytes: those of the event, where it is a change of one.
    fn record(&self) -> &[u8] {
        match self {
            Payload::Message { value, .. } => value.as_deref().unwrap_or_default(),
            Payload::Document(document) => document.as_bytes(),
            Payload::Change(change) => change
                .get_document("fullDocument")
                .map_or(change.as_bytes(), RawDocument::as_bytes),
            Payload::Oversized { head, .. } => head,
        }
    }

    /// What counts against the limit of a record.
    fn length(&self) -> usize {
        match self {
            Payload::Message { .. } => self.size(),
            whole => whole.record().len(),
        }
    }
}

fn operation(change: &RawDocument) -> Option<&str> {
    change.get_str("operationType").ok()
}

/// The longest name of a place, in bytes.
const MAX_PLACE: usize = 512;

/// A name, or its hash where it is too long.
fn bounded(name: String, prefix: &str) -> String {
    match name.len() <= MAX_PLACE {
        true => name,
        false => hashed(prefix, name.as_bytes()),
    }
}

/// The name of what has no readable one.
pub(crate) fn hashed(prefix: &str, bytes: &[u8]) -> String {
    format!("{prefix}sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Bytes as people compare them.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

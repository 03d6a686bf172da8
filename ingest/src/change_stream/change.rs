//! A change of the stream.

use bson::{Document, RawBsonRef, RawDocumentBuf, Timestamp};

use super::interrupt::Interrupt;
use super::large::LEFT_OUT;
use crate::decode::Payload;
use crate::lane::{DocumentKey, Position};
use crate::source::{GrantId, Record};

/// A change, with what the source itself needs of it.
pub(super) struct Change {
    pub(super) token: Document,
    pub(super) time: Timestamp,
    pub(super) operation: Operation,
    /// The `_id` of the changed document.
    pub(super) document: Option<DocumentKey>,
    pub(super) raw: RawDocumentBuf,
    /// The length of the largest image, where it was left out.
    pub(super) left_out: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Insert,
    Modify,
    Delete,
    /// The collection is gone.
    End,
}

impl Change {
    pub(super) fn read(raw: RawDocumentBuf) -> Result<Self, Interrupt> {
        let broken =
            |error: &dyn std::fmt::Display| Interrupt::Away(format!("a change event is damaged: {error}"));
        let operation = match raw.get_str("operationType").map_err(|error| broken(&error))? {
            "insert" => Operation::Insert,
            "update" | "replace" => Operation::Modify,
            "delete" => Operation::Delete,
            _ => Operation::End,
        };
        let token = raw.get_document("_id").map_err(|error| broken(&error))?;
        let token = Document::try_from(token).map_err(|error| broken(&error))?;
        let time = raw.get_timestamp("clusterTime").map_err(|error| broken(&error))?;
        let document = match raw.get_document("documentKey") {
            Ok(key) => DocumentKey::of(key),
            Err(_) if operation == Operation::End => None,
            Err(error) => return Err(broken(&error)),
        };
        let left_out = match raw.get(LEFT_OUT) {
            Ok(Some(RawBsonRef::Int32(bytes))) => usize::try_from(bytes).ok(),
            Ok(Some(RawBsonRef::Int64(bytes))) => usize::try_from(bytes).ok(),
            _ => None,
        };
        Ok(Self {
            token,
            time,
            operation,
            document,
            raw,
            left_out,
        })
    }

    pub(super) fn into_record(self, lane: GrantId, next: Position) -> Record {
        let source_time_ms = i64::from(self.time.time) * 1000;
        let payload = match (self.left_out, Payload::Change(self.raw)) {
            (Some(length), change) if self.operation != Operation::Delete => Payload::Oversized {
                place: change.place(),
                length: Some(length),
                sha256: None,
                head: Vec::new(),
                document_id: change.document_id(),
            },
            (_, change) => change.cut(),
        };
        Record {
            lane,
            payload,
            next,
            source_time_ms,
            // More events of the same second may follow.
            as_of_ms: Some(source_time_ms - 1),
            index: None,
            historical: false,
            last: None,
        }
    }
}

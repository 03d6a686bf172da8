//! A document of the journal as it is read, without its entries.

use std::hash::Hasher;

use ingest::dedupe::Generation;
use ingest::identity::CountedId;
use ingest::lane::{ContentId, JournalHead, JournalId};
use mongodb::bson::{Binary, DateTime, RawDocument};
use serde::Deserialize;
use twox_hash::XxHash3_64;

/// How many windows there are: of events, of scanned and of deleted documents, in stored order.
pub(super) const WINDOWS: usize = 3;

/// See the module.
#[derive(Debug, Deserialize)]
pub(super) struct StoredJournal {
    #[serde(rename = "_id")]
    id: StoredId,
    format: i32,
    pub(super) previous: Option<i64>,
    commits: Vec<Boundary>,
    /// The version of the quantities beside the ids.
    quantities: i32,
    events: Binary,
    scanned: Binary,
    deleted: Binary,
    checksum: i64,
}

#[derive(Debug, Deserialize)]
struct StoredId {
    generation: i64,
    seq: i64,
}

/// One commit.
#[derive(Debug, Deserialize)]
struct Boundary {
    seq: i64,
    content: i64,
    ids: [usize; WINDOWS],
    newest: [Option<DateTime>; WINDOWS],
}

impl StoredJournal {
    /// Reads a document of which only the entries may be left out.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn read(raw: &RawDocument) -> Result<Self, String> {
        let document: Self = mongodb::bson::deserialize_from_slice(raw.as_bytes())
            .map_err(|error| format!("a document cannot be read: {error}"))?;
        let JournalId { generation, seq } = document.id();
        let named = format!("the document of generation {generation} and seq {seq}");
        if document.checksum != checksum(raw) {
            return Err(format!("{named} is not what was written"));
        }
        if document.format != super::FORMAT {
            let (found, known) = (document.format, super::FORMAT);
            return Err(format!(
                "{named} has the format {found}; this program knows {known}"
            ));
        }
        Ok(document)
    }

    pub(super) const fn id(&self) -> JournalId {
        JournalId {
            generation: self.id.generation,
            seq: self.id.seq,
        }
    }

    /// What the next one, or the fence, calls it.
    pub(super) fn head(&self) -> Option<JournalHead> {
        let last = self.commits.last()?;
        Some(JournalHead {
            id: self.id(),
            content: ContentId(last.content),
        })
    }

    /// The ids of each window, commit by commit; `None`: they are not those of its commits.
    pub(super) fn generations(&self) -> Option<[Vec<Generation>; WINDOWS]> {
        let read = |window: usize, packed: &Binary| {
            let ids = CountedId::unpack(&packed.bytes, self.quantities)?;
            self.of_window(window, &ids)
        };
        Some([
            read(0, &self.events)?,
            read(1, &self.scanned)?,
            read(2, &self.deleted)?,
        ])
    }

    fn of_window(&self, window: usize, mut ids: &[CountedId]) -> Option<Vec<Generation>> {
        let mut generations = Vec::new();
        for commit in &self.commits {
            let (own, rest) = ids.split_at_checked(commit.ids[window])?;
            ids = rest;
            if !own.is_empty() {
                generations.push(Generation {
                    newest_ms: commit.newest[window]?.timestamp_millis(),
                    written: JournalId {
                        seq: commit.seq,
                        ..self.id()
                    },
                    ids: own.to_vec(),
                });
            }
        }
        ids.is_empty().then_some(generations)
    }
}

/// Of every element as it is stored, but the entries, which have a checksum of their own, and itself.
pub(super) fn checksum(document: &RawDocument) -> i64 {
    let mut hash = XxHash3_64::default();
    let bytes = document.as_bytes();
    // What lies before an element: of the document its length, of each element its type, name and value.
    let mut at = 4;
    for element in document.iter_elements().flatten() {
        let name = element.key().as_str();
        let end = at + 1 + name.len() + 1 + element.size();
        if !["entries", "checksum"].contains(&name) {
            hash.write(bytes.get(at..end).unwrap_or_default());
        }
        at = end;
    }
    hash.finish().cast_signed()
}

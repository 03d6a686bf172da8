//! What the dead letters of a lane that are open say.

use std::hash::BuildHasherDefault;

use hashbrown::{HashMap, HashSet};

use super::uniform::Uniform;
use crate::identity::{IdentityHash, Quantities};

/// What the open dead letters of a lane say of their event id. Kept for as long as they are open, however old.
///
/// | | a valid event with this id | a replay of one of them |
/// |---|---|---|
/// | `Uncounted` | is counted, and closes them | is counted, and closes the others |
/// | `Counted` | is a duplicate, or `id_reused` | ends as a duplicate, or stays as `id_reused` |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectedIdState {
    /// No event with this id is known to be counted.
    Uncounted,
    /// One was counted before the letter came, with these quantities.
    Counted(Quantities),
}

/// What the dead letters of a lane that are open say: of identities, and of documents.
#[derive(Debug, Clone, Default)]
pub struct RejectedIds {
    ids: HashMap<IdentityHash, OpenLetters, BuildHasherDefault<Uniform>>,
    /// The `_id`s of the documents that were rejected, whatever their events are known by.
    documents: HashSet<IdentityHash, BuildHasherDefault<Uniform>>,
}

/// The open letters of one identity.
#[derive(Debug, Clone, Copy, Default)]
struct OpenLetters {
    /// Some wait for an event that counts.
    wait: bool,
    /// Others came after one that did, with these quantities.
    counted: Option<Quantities>,
}

impl RejectedIds {
    /// A letter is open, of this identity and of this document, where it has one.
    pub fn open(
        &mut self,
        identity: Option<IdentityHash>,
        document: Option<IdentityHash>,
        state: RejectedIdState,
    ) {
        if let Some(identity) = identity {
            self.open_id(identity, state);
        }
        self.documents.extend(document);
    }

    /// A letter is open under this identity.
    pub fn open_id(&mut self, id: IdentityHash, state: RejectedIdState) {
        let letters = self.ids.entry(id).or_default();
        match state {
            RejectedIdState::Uncounted => letters.wait = true,
            RejectedIdState::Counted(quantities) => letters.counted = Some(quantities),
        }
    }

    /// An event is counted under this identity. Whether letters waited for it: they are closed.
    pub fn close(&mut self, id: IdentityHash) -> bool {
        let Some(letters) = self.ids.get_mut(&id) else {
            return false;
        };
        let closes = std::mem::take(&mut letters.wait);
        if letters.counted.is_none() {
            self.ids.remove(&id);
        }
        closes
    }

    /// A document was counted: none of its letters matters any more.
    pub fn close_document(&mut self, document: IdentityHash) {
        self.documents.remove(&document);
    }

    /// What is known of an identity with open letters; `None`: there are none.
    #[must_use]
    pub fn state(&self, id: IdentityHash) -> Option<RejectedIdState> {
        let letters = self.ids.get(&id)?;
        // A letter that waits says more than one that was told of an event, which then perhaps did not count.
        Some(match letters.counted {
            Some(quantities) if !letters.wait => RejectedIdState::Counted(quantities),
            _ => RejectedIdState::Uncounted,
        })
    }

    /// Whether letters of this document are open.
    #[must_use]
    pub fn has_document(&self, document: IdentityHash) -> bool {
        self.documents.contains(&document)
    }

    /// Identities with open letters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

//! A dead letter as a document of `usageDeadLetters`.

use chrono::{DateTime, Utc};
use ingest::dedupe::RejectedIdState;
use ingest::identity::Quantities;
use ingest::ledger::ReplayRequest;
use mongodb::bson::{Bson, Document};

use super::payload;

/// A dead letter as it is stored: whole, since people are shown whatever it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredLetter(Document);

impl From<Document> for StoredLetter {
    fn from(stored: Document) -> Self {
        Self(stored)
    }
}

impl StoredLetter {
    fn text(&self, name: &str) -> &str {
        self.0.get_str(name).unwrap_or_default()
    }

    /// Its id: the lane, and where the record was in it.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text("_id")
    }

    /// One of [`STATES`](super::which::STATES).
    #[must_use]
    pub fn state(&self) -> &str {
        self.text("state")
    }

    /// What closed it; `None`: it is not closed.
    #[must_use]
    pub fn closed_by(&self) -> Option<&str> {
        self.0.get_str("closedBy").ok()
    }

    /// What became of its record when it was judged again, where that closed it.
    #[must_use]
    pub fn outcome(&self) -> Option<&str> {
        self.0.get_str("outcome").ok()
    }

    /// Why the record was rejected: a code.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.text("reason")
    }

    /// The field at fault; `None`: the record as a whole is.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.get_str("field").ok()
    }

    /// Why the record was rejected, in a sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        self.text("message")
    }

    /// The event's own id, or the `_id` of its document, as far as it is kept; empty where neither could be read.
    #[must_use]
    pub fn event_or_document_id(&self) -> &str {
        match self.text("eventId") {
            "" => self.text("documentId"),
            id => id,
        }
    }

    /// When the record was rejected.
    #[must_use]
    pub fn rejected_at(&self) -> Option<DateTime<Utc>> {
        self.0.get_datetime("rejectedAt").ok().map(|at| at.to_chrono())
    }

    /// The quantities of the event that was counted before it under its identity; `None`: none was.
    #[must_use]
    pub fn counted_before(&self) -> Option<Quantities> {
        match state(self.0.get_bool("countedBefore").ok(), |name| {
            self.0.get_i32(name).ok()
        }) {
            RejectedIdState::Counted(quantities) => Some(quantities),
            RejectedIdState::Uncounted => None,
        }
    }

    /// What is needed to judge it again.
    ///
    /// # Errors
    /// Why that cannot be: its payload was not kept, or is damaged.
    pub fn replay_request(&self) -> Result<ReplayRequest, String> {
        payload::read(&self.0)
    }

    /// All of it, as relaxed extended JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        Bson::Document(self.0.clone()).into_relaxed_extjson()
    }
}

/// What a stored letter says of its identity.
pub(super) fn state(counted_before: Option<bool>, number: impl Fn(&str) -> Option<i32>) -> RejectedIdState {
    if counted_before != Some(true) {
        return RejectedIdState::Uncounted;
    }
    let quantities = number("countedQuantities").zip(number("quantitiesVersion"));
    let quantities = quantities.map(|(stored, version)| Quantities::from_stored(stored, version));
    RejectedIdState::Counted(quantities.unwrap_or(Quantities::UNKNOWN))
}

//! A dead letter as a document of `usageDeadLetters`.

use chrono::{DateTime, Utc};
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

    /// One of [`STATES`](super::STATES).
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

    /// The event's own id, as far as it is kept; empty where none could be read.
    #[must_use]
    pub fn event_id(&self) -> &str {
        self.text("eventId")
    }

    /// When the record was rejected.
    #[must_use]
    pub fn rejected_at(&self) -> Option<DateTime<Utc>> {
        self.0.get_datetime("rejectedAt").ok().map(|at| at.to_chrono())
    }

    /// Whether an event with its id was counted before it.
    #[must_use]
    pub fn is_counted_before(&self) -> bool {
        matches!(self.0.get_bool("countedBefore"), Ok(true))
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

//! Which letters are meant: their states, and what a person says of them.

use mongodb::bson::{Bson, DateTime, Document, doc};

/// The states of letters.
pub const STATES: [&str; 4] = ["open", LOST, "replay", "closed"];

/// The states that a person means by one of them, or by none: what is lost is open, too.
pub(super) fn meant(state: Option<&str>) -> &[&str] {
    match state {
        None => &STATES,
        Some("open") => &STATES[..2],
        Some(state) => STATES
            .iter()
            .find(|known| **known == state)
            .map_or(&[], std::slice::from_ref),
    }
}

/// The states of letters that wait for something.
pub(super) const OPEN: [&str; 3] = ["open", "replay", LOST];
/// The state of letters that can never be judged, since their payload was not kept, or not for so long.
pub const LOST: &str = "lost";

/// Which letters a person means. What is not said does not matter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Which {
    /// Those with these ids.
    pub ids: Vec<String>,
    /// Of this lane.
    pub lane: Option<String>,
    /// Rejected for this reason.
    pub reason: Option<String>,
    /// Of the event with this id.
    pub event_id: Option<String>,
    /// Of the document with this `_id`, as it is shown.
    pub document_id: Option<String>,
    /// Rejected at or after this instant.
    pub since: Option<DateTime>,
    /// Rejected before this instant.
    pub until: Option<DateTime>,
}

impl Which {
    /// The letters, of those in these states.
    pub(super) fn filter(&self, states: &[&str]) -> Document {
        let mut filter = Document::new();
        if !self.ids.is_empty() {
            let ids: Vec<Bson> = self.ids.iter().map(Bson::from).collect();
            filter.insert("_id", among(&ids));
        }
        let texts = [("lane", self.lane.as_deref()), ("reason", self.reason.as_deref())];
        for (name, text) in texts {
            if let Some(text) = text {
                filter.insert(name, text);
            }
        }
        for (name, id) in [("eventId", &self.event_id), ("documentId", &self.document_id)] {
            if let Some(id) = id {
                filter.insert(name, id);
            }
        }
        // Named one by one, so that those of each are found by an index in the order of their time.
        let states: Vec<Bson> = states.iter().copied().map(Bson::from).collect();
        filter.insert("state", among(&states));
        let mut rejected = Document::new();
        rejected.extend(self.since.map(|since| ("$gte".to_owned(), Bson::from(since))));
        rejected.extend(self.until.map(|until| ("$lt".to_owned(), Bson::from(until))));
        if !rejected.is_empty() {
            filter.insert("rejectedAt", rejected);
        }
        filter
    }
}

/// One of these. One alone is a plain equality: not every server finds an index for `$in`.
pub(super) fn among(values: &[Bson]) -> Bson {
    match values {
        [one] => one.clone(),
        several => doc! {"$in": several}.into(),
    }
}

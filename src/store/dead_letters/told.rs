//! What others are told of letters: that some have another state, and how many wait.

use ingest::ledger::FenceError;
use mongodb::bson::{Document, doc};
use mongodb::error::Result as DriverResult;

use super::which::{OPEN, Which};
use crate::store::answer::{WORK, answer};
use crate::store::{DEAD_LETTERS, FENCES, Store};

/// The change of a fence whose lane has so many letters in another state.
pub(super) fn changed(letters: i64) -> Document {
    doc! {"$inc": {"letters": letters}}
}

impl Store {
    /// Tells readers that letters of these lanes have another state.
    pub(super) async fn tell_of_letters(&self, lanes: Document) -> DriverResult<()> {
        let fences = self.collection(FENCES);
        fences.update_many(lanes, changed(1)).await.map(drop)
    }

    /// How many letters wait.
    ///
    /// # Errors
    /// When they cannot be counted in time.
    pub async fn count_open_letters(&self) -> Result<u64, FenceError> {
        let letters = self.collection(DEAD_LETTERS);
        let waiting = letters.count_documents(Which::default().filter(&OPEN));
        answer(waiting.max_time(WORK).into_future()).await
    }

    /// What the fences say of changes of letters: another number, other letters.
    ///
    /// # Errors
    /// When they cannot be read in time.
    pub async fn letter_changes(&self) -> Result<i64, FenceError> {
        let fences = self.collection(FENCES);
        let found = fences
            .find(doc! {})
            .projection(doc! {"letters": 1})
            .max_time(WORK);
        let mut fences = answer(found.into_future()).await?;
        let mut changes = 0_i64;
        while answer(fences.advance()).await? {
            changes = changes.wrapping_add(fences.current().get_i64("letters").unwrap_or(0));
        }
        Ok(changes)
    }
}

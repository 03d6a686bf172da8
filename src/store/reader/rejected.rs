//! Counting dead letters that wait, where they are.

use std::collections::BTreeMap;

use api::reader::{ReadError, Scope, Span, Whose};
use mongodb::bson::{Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};

use super::asking::{READ_TIME, failed};
use super::pipeline;
use super::snapshot::Snapshot;
use crate::store::REJECTED;

impl Snapshot {
    /// How many wait in these days, by reason. Indexes hold all that is asked for: there may be very many, and their
    /// payloads are not looked at.
    pub(super) async fn count_rejected(
        &self,
        whose: &Whose,
        days: Span,
    ) -> Result<BTreeMap<String, u64>, ReadError> {
        let stages = [
            doc! {"$match": waiting(whose, days)},
            doc! {"$group": {"_id": "$reason", "events": {"$sum": 1_i64}}},
        ];
        let mut session = self.instant.session(&self.store).await?;
        let letters = self.store.collection(REJECTED);
        let counting = letters.aggregate(stages).max_time(READ_TIME);
        let counted = counting.session(&mut *session).with_type::<RawDocumentBuf>();
        let mut cursor = counted.await.map_err(|error| failed(&error))?;
        let mut reasons = BTreeMap::new();
        while cursor
            .advance(&mut session)
            .await
            .map_err(|error| failed(&error))?
        {
            let counted = reason(cursor.current());
            let malformed = || ReadError::Malformed("a dead letter without a reason".into());
            reasons.extend([counted.ok_or_else(malformed)?]);
        }
        Ok(reasons)
    }
}

/// Those of the letters that wait.
fn waiting(whose: &Whose, days: Span) -> Document {
    let mut filter = match whose {
        Whose::Nobody => doc! {"organizationId": null},
        Whose::Of(these @ Scope::Organizations(_)) => pipeline::owner(these),
        Whose::Of(all @ Scope::AllExcept(_)) => {
            let mut all = pipeline::owner(all);
            all.insert("organizationId", doc! {"$gt": ""});
            all
        }
    };
    filter.insert(
        "day",
        doc! {"$gte": days.first.to_string(), "$lte": days.last.to_string()},
    );
    filter
}

fn reason(counted: &RawDocument) -> Option<(String, u64)> {
    let reason = counted.get_str("_id").ok()?;
    let events = match counted.get("events").ok()?? {
        RawBsonRef::Int64(events) => u64::try_from(events).ok()?,
        // Not every server keeps the type of what it sums.
        RawBsonRef::Int32(events) => u64::try_from(events).ok()?,
        _ => return None,
    };
    Some((reason.to_owned(), events))
}

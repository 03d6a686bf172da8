//! Rows become what their entries say, step by step: each step is one transaction of a job.

use chrono::{DateTime, Utc};
use mongodb::bson::{DateTime as BsonTime, Document, doc};
use rollup::audit::key::{Row, RowKey, Table};
use rollup::audit::repair::{Narrow, Step};
use rollup::counters::Counter;
use rollup::fold::{Delta, LedgerRow, RollupRow, RowDelta};
use rollup::period::Calendar;

use super::writing::{Author, RowChanges, Rows, WriteError};
use crate::store::writes::Writes;
use crate::store::{Error, LEDGER, REPAIRS, ROLLUPS, Store, errors};

/// The `_id` of the one document of `usageRepairs`.
const REBUILD: &str = "rebuild";

/// A step as it is written.
pub(super) struct Repair<'a> {
    pub(super) step: &'a Step,
    /// Names this step: random. Who does not know whether it was applied finds it, or not.
    pub(super) content: i64,
    pub(super) calendar: Calendar,
    pub(super) revision: i64,
    pub(super) at: DateTime<Utc>,
}

impl Store {
    /// The content of the last step that was applied.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn last_repair(&self) -> Result<Option<i64>, Error> {
        let repairs = self.collection(REPAIRS);
        let last = repairs.find_one(doc! {"_id": REBUILD}).await;
        let last = last.map_err(errors::unusable)?;
        Ok(last.and_then(|last| last.get_i64("content").ok()))
    }
}

impl Repair<'_> {
    /// Everything of the step, in the transaction of these writes.
    pub(super) async fn write(&self, store: &Store, writes: &mut Writes<'_>) -> Result<(), WriteError> {
        // Before anything is added: they are matched as they were read.
        let narrowed: Vec<Document> = self.step.narrowed.iter().map(narrow).collect();
        writes.update_all(LEDGER, &narrowed).await?;
        let rows = Rows::new(store.clone(), self.calendar);
        let delta = self.delta();
        let author = Author::Job {
            revision: self.revision,
        };
        let told = self
            .step
            .taken_for
            .iter()
            .map(|(whose, period)| (&**whose, *period));
        rows.add_and_tell(writes, &RowChanges::from(&delta), told, author, self.at)
            .await?;
        for (table, collection) in [(Table::Rollups, ROLLUPS), (Table::Ledger, LEDGER)] {
            let of = |key: &&RowKey| key.table == table;
            let renamed: Vec<Document> = self
                .step
                .renamed
                .iter()
                .filter(of)
                .filter_map(|key| rename(key, &self.calendar))
                .collect();
            writes.update_all(collection, &renamed).await?;
            let empty = self.step.without_entries.iter().filter(of).map(remove_if_empty);
            let strays = self.step.strays.iter().filter(of).map(remove);
            writes
                .delete_all(collection, &empty.chain(strays).collect::<Vec<_>>())
                .await?;
        }
        let last = doc! {
            "q": {"_id": REBUILD}, "upsert": true,
            "u": {"$set": {"content": self.content, "revision": self.revision, "at": BsonTime::from_chrono(self.at)}},
        };
        writes.update(REPAIRS, &[last]).await?;
        Ok(())
    }

    /// What is added, as commits add it. Rows that only get other fields are among these: their versions change too.
    fn delta(&self) -> Delta {
        let mut delta = Delta::default();
        let renamed = self.step.renamed.iter().map(|key| (key, &RowDelta::NOTHING));
        for (key, booked) in renamed.chain(&self.step.added) {
            let (id, booked) = (key.id.to_string(), *booked);
            match key.row() {
                Some(Row::Ledger(period, dimensions)) => {
                    let row = LedgerRow {
                        period,
                        dimensions,
                        booked,
                    };
                    delta.ledger.insert(id, row);
                }
                Some(Row::Rollup(named)) => {
                    let row = RollupRow {
                        period: named.period,
                        organization: named.organization,
                        marginal: named.marginal,
                        value: named.value,
                        provider: named.provider,
                        booked,
                    };
                    delta.rollups.insert(id, row);
                }
                None => {}
            }
        }
        delta
    }
}

fn rename(key: &RowKey, calendar: &Calendar) -> Option<Document> {
    let row = key.row()?;
    let fields = row.fields().into_iter();
    let mut fields: Document = fields
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let start = calendar.start_of(row.period());
    fields.insert("periodStart", BsonTime::from_chrono(start));
    Some(doc! {"q": {"_id": &*key.id}, "u": {"$set": fields}})
}

fn narrow((key, narrow): (&RowKey, &Narrow)) -> Document {
    let time = |ms: Option<i64>| ms.map(BsonTime::from_millis);
    let (shown, (first, last)) = (narrow.shown_ms, narrow.entries_ms);
    let mut which = doc! {
        "_id": &*key.id, "firstEventAt": time(shown.first), "lastEventAt": time(shown.last),
        "updatedAt": time(shown.updated),
    };
    let counters = Counter::ALL.map(|counter| (counter.name().to_owned(), narrow.counters[counter].into()));
    which.extend(counters);
    doc! {"q": which, "u": {"$set": {"firstEventAt": time(Some(first)), "lastEventAt": time(Some(last))}}}
}

fn remove(key: &RowKey) -> Document {
    doc! {"q": {"_id": &*key.id}, "limit": 1}
}

/// Whatever a lane has added meanwhile stays.
fn remove_if_empty(key: &RowKey) -> Document {
    let mut which = doc! {"_id": &*key.id};
    which.extend(Counter::ALL.map(|counter| (counter.name().to_owned(), 0_i64.into())));
    doc! {"q": which, "limit": 1}
}

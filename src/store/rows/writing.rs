//! Additions to rows, in the transaction of their author.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use ingest::lane::ContentId;
use ingest::server_error::{Act, DUPLICATE_KEY, Fault};
use mongodb::bson::{DateTime as BsonTime, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use rollup::counters::Overflow;
use rollup::fold::{Delta, LedgerRow, Marginal, RollupRow};
use rollup::key;
use rollup::period::{Calendar, Period};
use uuid::Uuid;

use super::presence::{KnownRows, Ordered, Presence, Probe};
use super::statements::{Row, Writer};
use crate::store::writes::{CHUNK, Writes};
use crate::store::{LEDGER, META, ROLLUPS, Store, errors, meta};

/// How long one commit may ask which rows are there.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// Who writes rows.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum Author {
    /// Lanes, whose fences the same transaction moves to this content.
    Lanes(ContentId),
    /// Whoever is not a lane, and read the ledger at this revision.
    Job {
        /// As `usageMeta` had it.
        revision: i64,
    },
}

impl Author {
    /// The version of what is written. Of lanes the content's id, which is random, too: that the same content is
    /// tried again changes nothing.
    fn version(self) -> i64 {
        match self {
            Author::Lanes(content) => content.0,
            Author::Job { .. } => Uuid::new_v4().as_u64_pair().1.cast_signed(),
        }
    }
}

/// Why rows were not written. Nothing of the transaction is applied.
#[derive(Debug)]
pub(in crate::store) enum WriteError {
    /// A row is there that was known not to be, or the other way round.
    RowExists,
    /// Another job moved the revision: what was read may not be so any more.
    RevisionMoved,
    /// An operation failed.
    Failed(Fault),
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        WriteError::Failed(fault)
    }
}

impl From<Overflow> for WriteError {
    fn from(_: Overflow) -> Self {
        WriteError::Failed(Fault {
            act: Act::Overflow,
            ..Fault::wait("a counter would not fit 64 bits")
        })
    }
}

/// What is added to rows, in the order of their `_id`s.
#[derive(Debug)]
pub(in crate::store) struct RowChanges<'a> {
    ledger: Vec<(&'a str, &'a LedgerRow)>,
    rollups: Vec<(&'a str, &'a RollupRow)>,
}

impl<'a> From<&'a Delta> for RowChanges<'a> {
    fn from(Delta { ledger, rollups }: &'a Delta) -> Self {
        Self {
            ledger: ledger.iter().map(|(id, row)| (&**id, row)).collect(),
            rollups: rollups.iter().map(|(id, row)| (&**id, row)).collect(),
        }
    }
}

impl RowChanges<'_> {
    /// The organizations and periods whose version no rollup among these carries.
    fn without_version(&self) -> BTreeSet<(&str, Period)> {
        let mut changed = BTreeSet::new();
        let mut last = None;
        for (_, row) in &self.ledger {
            // Rows of one organization and period are neighbours.
            if last.replace((row.organization(), row.period())) != Some((row.organization(), row.period())) {
                changed.insert((row.organization(), row.period()));
            }
        }
        changed.extend(
            self.rollups
                .iter()
                .map(|(_, row)| (row.organization(), row.period())),
        );
        for (_, row) in self.rollups.iter().filter(|(_, row)| row.holds_version()) {
            changed.remove(&(row.organization(), row.period()));
        }
        changed
    }
}

/// The rows of the ledger, for one who writes them.
#[derive(Debug, Clone)]
pub(in crate::store) struct Rows {
    /// Outside of transactions.
    store: Store,
    calendar: Calendar,
    known: Arc<Mutex<KnownRows>>,
}

impl Rows {
    pub(in crate::store) fn new(store: Store, calendar: Calendar) -> Self {
        Self {
            store,
            calendar,
            known: Arc::default(),
        }
    }

    pub(in crate::store) const fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    fn known(&self) -> MutexGuard<'_, KnownRows> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks which rows are there, where that is worth it. What is not answered, or not in time, is not known: no
    /// transaction depends on it.
    pub(in crate::store) async fn probe_rows(&self, changes: &RowChanges<'_>) {
        let (ledger, rollups) = {
            let known = self.known();
            (known.probes(&changes.ledger), known.probes(&changes.rollups))
        };
        let asked = async {
            self.ask(LEDGER, ledger).await?;
            self.ask(ROLLUPS, rollups).await
        };
        match tokio::time::timeout(PROBE_TIME, asked).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = errors::message(&error);
                tracing::debug!(error, "which rows are there is not known");
            }
            Err(_) => tracing::debug!("which rows are there is not known in time: the next commit asks on"),
        }
    }

    async fn ask(&self, collection: &str, probes: Vec<Probe>) -> mongodb::error::Result<()> {
        for probe in probes {
            let Range { start, end } = match probe.marginal {
                None => key::span(&probe.organization, probe.period, probe.period),
                Some(marginal) => key::of_marginal(&probe.organization, probe.period, marginal),
            };
            let limit = i64::try_from(probe.most + 1).unwrap_or(i64::MAX);
            let mut cursor = self
                .store
                .collection(collection)
                .find(doc! {"_id": {"$gte": start, "$lt": end}})
                .projection(doc! {"_id": 1})
                .limit(limit)
                .await?;
            let mut ids = Vec::new();
            while cursor.advance().await? {
                let id = cursor.current().get_str("_id").unwrap_or_default();
                ids.push(id.to_owned());
            }
            self.known().learn(probe, &ids);
        }
        Ok(())
    }

    /// Adds to rows, and tells readers that it did: the door.
    ///
    /// # Errors
    /// Nothing of the transaction may be committed then.
    pub(in crate::store) async fn add(
        &self,
        writes: &mut Writes<'_>,
        changes: &RowChanges<'_>,
        author: Author,
        at: DateTime<Utc>,
    ) -> Result<(), WriteError> {
        self.add_and_tell(writes, changes, std::iter::empty(), author, at)
            .await
    }

    /// The same, and tells readers of these organizations and periods too.
    ///
    /// # Errors
    /// Nothing of the transaction may be committed then.
    pub(super) async fn add_and_tell<'o>(
        &self,
        writes: &mut Writes<'_>,
        changes: &'o RowChanges<'_>,
        others: impl Iterator<Item = (&'o str, Period)>,
        author: Author,
        at: DateTime<Utc>,
    ) -> Result<(), WriteError> {
        if let Author::Job { revision } = author {
            raise_revision(writes, revision).await?;
        }
        let writer = Writer {
            calendar: &self.calendar,
            at: BsonTime::from_chrono(at),
            version: author.version(),
        };
        // What everybody adds to comes before what is a lot of work: a conflict shows there.
        self.write(writes, ROLLUPS, &changes.rollups, &writer).await?;
        self.write(writes, LEDGER, &changes.ledger, &writer).await?;
        let others: Vec<(&str, Period)> = changes.without_version().into_iter().chain(others).collect();
        for others in others.chunks(CHUNK) {
            let total = |(organization, period): &(&str, Period)| {
                key::rollup(organization, *period, Marginal::Organization, organization, None)
            };
            let touches = others.iter().map(|other| Ok(writer.touch(&total(other))));
            update(writes, ROLLUPS, touches).await?;
        }
        Ok(())
    }

    /// Adds to rows: inserts where they are known to be absent, updates where they are known to be there, upserts of
    /// all others.
    async fn write<R: Row>(
        &self,
        writes: &mut Writes<'_>,
        collection: &str,
        rows: &Ordered<'_, R>,
        writer: &Writer<'_>,
    ) -> Result<(), WriteError> {
        let presence = self.known().presence(rows);
        let rows = rows.iter().zip(presence);
        let (new, others): (Vec<_>, Vec<_>) = rows.partition(|(_, known)| *known == Presence::Absent);
        for rows in new.chunks(CHUNK) {
            let documents = rows.iter().map(|((id, row), _)| writer.insert(id, *row));
            let documents = documents.collect::<Result<RawArrayBuf, _>>()?;
            let command = rawdoc! {"insert": collection, "documents": documents, "ordered": true};
            match writes.command(command).await? {
                Err(refused) if refused.code == DUPLICATE_KEY => return Err(WriteError::RowExists),
                answer => answer.map_err(|refused| Fault::from(&refused))?,
            };
        }
        for rows in others.chunks(CHUNK) {
            let statements = rows.iter().map(|((id, row), known)| match known {
                Presence::There => writer.add(id, *row),
                Presence::Unknown | Presence::Absent => writer.upsert(id, *row),
            });
            // A row that is not there any more would swallow what is added to it.
            if update(writes, collection, statements).await? != rows.len() {
                return Err(WriteError::RowExists);
            }
        }
        Ok(())
    }

    /// What was added is committed: its rows are there.
    pub(in crate::store) fn committed(&self, changes: &RowChanges<'_>) {
        self.known().committed(&changes.ledger, &changes.rollups);
    }

    /// One of these rows was not what it was known to be.
    pub(in crate::store) fn mistaken(&self, changes: &RowChanges<'_>) {
        self.known().mistaken(&changes.ledger, &changes.rollups);
    }

    /// Somebody else may have written.
    pub(in crate::store) fn forget(&self) {
        self.known().forget();
    }
}

/// One command of updates. How many rows it matched or inserted.
async fn update(
    writes: &mut Writes<'_>,
    collection: &str,
    statements: impl Iterator<Item = Result<RawDocumentBuf, Overflow>>,
) -> Result<usize, WriteError> {
    let statements = statements.collect::<Result<RawArrayBuf, _>>()?;
    let command = rawdoc! {"update": collection, "updates": statements, "ordered": true};
    let written = writes.command(command).await?;
    Ok(written.map_err(|refused| Fault::from(&refused))?)
}

/// Moves the revision of the ledger on from what a job read.
async fn raise_revision(writes: &mut Writes<'_>, revision: i64) -> Result<(), WriteError> {
    match writes.update(META, &[meta::next_revision(revision)]).await? {
        1 => Ok(()),
        _ => Err(WriteError::RevisionMoved),
    }
}

#[cfg(test)]
mod tests {
    use rollup::counters::Sums;
    use rollup::fold::RowDelta;
    use rollup::period::Granularity;

    use super::*;

    #[test]
    fn every_organization_and_period_that_is_changed_gets_a_version() {
        let day = |key| Period::parse(Granularity::Daily, key).expect(key);
        let rollup = |organization: &str, day: Period, marginal: Marginal, value: &str| {
            let row = RollupRow {
                period: day,
                organization: organization.into(),
                marginal,
                value: value.into(),
                provider: None,
                booked: RowDelta {
                    sums: Sums::default(),
                    first_event_ms: 0,
                    last_event_ms: 0,
                },
            };
            (key::rollup(organization, day, marginal, value, None), row)
        };
        let (one, two) = (day("2026-01-05"), day("2026-01-06"));
        let mut delta = Delta::default();
        delta.rollups.extend([
            rollup("acme", one, Marginal::Organization, "acme"),
            rollup("acme", one, Marginal::User, "u"),
            rollup("acme", two, Marginal::User, "u"),
            rollup("beta", one, Marginal::Agent, "a"),
        ]);
        let changes = RowChanges::from(&delta);
        assert_eq!(
            changes.without_version(),
            BTreeSet::from([("acme", two), ("beta", one)])
        );
    }
}

//! Rows, entries and fences as they are stored at one instant, for those who compare them.
//!
//! A transaction changes all of them or none. So of one instant the rows are the sums of exactly the entries that are
//! there, and the fences name the newest of these, whatever is going on.

use chrono::{DateTime, NaiveDate, Utc};
use ingest::lane::{JournalId, LaneId};
use ingest::server_error::{Act, Fault, Place, is_of_snapshot};
use mongodb::bson::{DateTime as BsonTime, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, doc};
use mongodb::error::Error as DriverError;
use mongodb::options::ReadConcern;
use mongodb::{ClientSession, SessionCursor};
use rollup::audit::compare::{StoredRow, Times, WrongField};
use rollup::audit::key::{Begin, Row, RowKey, Table};
use rollup::counters::{Counter, Counters};
use rollup::event::MAX_CLOCK_SKEW;
use rollup::fold::Grouping;
use rollup::kept::Kept;
use rollup::key;
use rollup::period::Calendar;

use super::instant;
use crate::store::fences::StoredFence;
use crate::store::journal::Found;
use crate::store::meta::{self, Meta};
use crate::store::pools::Pool;
use crate::store::schema::whole_from;
use crate::store::{DEAD_LETTERS, Error, FENCES, LEDGER, META, ROLLUPS, Store, errors};

/// Rows that the server sends at once.
const BATCH: u32 = 5_000;
/// Bytes of the journal that are read at once, about.
const JOURNAL_BYTES: usize = 16 << 20;

/// The way to everything that is stored.
#[derive(Debug, Clone)]
pub struct Audit {
    store: Store,
    /// Whether the server keeps instants that are over.
    keeps: bool,
}

/// Why an instant was not read.
#[derive(Debug)]
pub enum ReadFault {
    /// It is kept no more: another one must be read, and less of it.
    Gone,
    /// It passes by itself: another one may be read.
    Passing(String),
    /// It cannot be read.
    Failed(Error),
}

impl From<DriverError> for ReadFault {
    fn from(error: DriverError) -> Self {
        match (
            errors::code(&error),
            Fault::of(&error, Place::Outside).act,
            errors::unusable(&error),
        ) {
            (Some(code), ..) if is_of_snapshot(code) => ReadFault::Gone,
            (_, Act::Wait | Act::RetrySame | Act::RetryWhole, told) => ReadFault::Passing(told.to_string()),
            (.., told) => ReadFault::Failed(told),
        }
    }
}

/// What kind of ledger it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The granularities that are kept, the finest first.
    pub kept: Vec<Kept>,
    /// Which rows entries are of.
    pub grouping: Grouping,
    /// How often a job has changed rows.
    pub revision: i64,
    /// The first day of whose entries none are gone because they were old; `None`: all are there.
    pub reach: Option<NaiveDate>,
}

/// One instant.
pub struct Moment {
    store: Store,
    session: ClientSession,
    /// When, by the cluster's clock; `None`: the server does not say.
    pub at: Option<Timestamp>,
    /// The fences.
    pub fences: Vec<StoredFence>,
    /// The ledger.
    pub ledger: Described,
}

/// Rows that follow each other.
#[derive(Debug)]
pub struct RowPage {
    /// The rows, in order.
    pub rows: Vec<StoredRow>,
    /// The last of them; `None`: no others follow.
    pub up_to: Option<RowKey>,
}

impl Store {
    /// The way to everything that is stored, over connections of its own.
    ///
    /// # Errors
    /// When there can be no second client, or the server does not say whether it keeps snapshots.
    pub async fn audit(&self) -> Result<Audit, Error> {
        let store = self.apart(Pool::Reader, 2, |options| {
            // Of a snapshot session the driver keeps whatever level is set.
            options.read_concern = Some(ReadConcern::snapshot());
        })?;
        let keeps = instant::are_kept(&store).await?;
        Ok(Audit { store, keeps })
    }
}

impl Audit {
    /// The instant of now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn moment(&self) -> Result<Moment, ReadFault> {
        let begun = instant::begin(&self.store, self.keeps).await;
        let mut session = begun.map_err(|error| ReadFault::Passing(error.to_string()))?;
        let fences = self.store.database.collection::<StoredFence>(FENCES);
        let found = fences.find(doc! {}).sort(doc! {"_id": 1});
        let mut cursor = found.session(&mut session).await?;
        let mut fences = Vec::new();
        while cursor.advance(&mut session).await? {
            fences.push(cursor.deserialize_current()?);
        }
        let meta = self.store.database.collection::<Meta>(META);
        let meta = meta.find_one(meta::ledger()).session(&mut session).await?;
        Ok(Moment {
            store: self.store.clone(),
            at: session.snapshot_time(),
            session,
            fences,
            ledger: meta.as_ref().and_then(described).ok_or_else(|| {
                ReadFault::Failed(Error::Unusable(format!(
                    "`{META}` does not describe a ledger: `usage-ledger migrate` makes one"
                )))
            })?,
        })
    }
}

fn described(meta: &Meta) -> Option<Described> {
    let (kept, grouping) = (meta.kept()?, meta.grouping()?);
    // An entry is kept from five minutes before its completion on, or from later on.
    let reach = match meta.horizon {
        Some(horizon) => {
            let begin = horizon.to_chrono().checked_add_signed(MAX_CLOCK_SKEW)?;
            Some(whole_from(grouping.calendar(), begin))
        }
        None => None,
    };
    Some(Described {
        kept,
        grouping,
        revision: meta.revision,
        reach,
    })
}

impl Moment {
    /// The lanes that have entries.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn lanes(&mut self) -> Result<Vec<LaneId>, ReadFault> {
        Ok(self.store.lanes_in_journal(&mut self.session).await?)
    }

    /// The last document of a lane that lies before this instant, by its own time, and how many events were counted
    /// until its end; `None`: none lies before.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn last_before(
        &mut self,
        lane: &LaneId,
        before: DateTime<Utc>,
    ) -> Result<Option<(JournalId, i64)>, ReadFault> {
        let (before, session) = (BsonTime::from_chrono(before), &mut self.session);
        Ok(self.store.last_before(lane, before, session).await?)
    }

    /// Documents of a lane's journal from this one on. Whether these are all.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn journal(
        &mut self,
        lane: &LaneId,
        from: Option<JournalId>,
    ) -> Result<(Vec<Found>, bool), ReadFault> {
        let session = &mut self.session;
        Ok(self
            .store
            .documents_from(lane, from, JOURNAL_BYTES, session)
            .await?)
    }

    /// How many letters the lane's tally counts: all but those that a replay has closed. `None`: this user may not read
    /// letters.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub async fn letters(&mut self, lane: &LaneId) -> Result<Option<i64>, ReadFault> {
        let letters = self.store.collection(DEAD_LETTERS);
        let mut counts = [0; 2];
        let replayed = doc! {"lane": lane.as_str(), "state": "closed", "closedBy": "replay"};
        for (count, which) in counts.iter_mut().zip([doc! {"lane": lane.as_str()}, replayed]) {
            let counted = letters.count_documents(which).session(&mut self.session).await;
            *count = match counted {
                Err(error) if errors::is_right_missing(&error) => return Ok(None),
                counted => i64::try_from(counted?).unwrap_or(i64::MAX),
            };
        }
        Ok(Some(counts[0] - counts[1]))
    }

    /// About how many rows there are, of both collections.
    ///
    /// # Errors
    /// When nobody says so.
    pub async fn about_rows(&self) -> Result<u64, ReadFault> {
        let mut rows = 0;
        for name in [LEDGER, ROLLUPS] {
            rows += self
                .store
                .database
                .collection::<RawDocumentBuf>(name)
                .estimated_document_count()
                .read_concern(ReadConcern::local())
                .await?;
        }
        Ok(rows)
    }

    /// The rows after this one, of all organizations or of one: so many, at most.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn rows(
        &mut self,
        after: Option<&RowKey>,
        organization: Option<&str>,
        most: usize,
    ) -> Result<RowPage, ReadFault> {
        let mut ledger = self.ask(Table::Ledger, after, organization, most).await?;
        let mut rollups = self.ask(Table::Rollups, after, organization, most).await?;
        let mut next = [
            self.next(&mut ledger, Table::Ledger).await?,
            self.next(&mut rollups, Table::Rollups).await?,
        ];
        let mut rows: Vec<StoredRow> = Vec::new();
        while rows.len() < most {
            let is_ledger = match &next {
                [None, None] => return Ok(RowPage { rows, up_to: None }),
                [Some(_), None] => true,
                [None, Some(_)] => false,
                [Some(one), Some(other)] => one.key < other.key,
            };
            let (at, cursor, table) = match is_ledger {
                true => (0, &mut ledger, Table::Ledger),
                false => (1, &mut rollups, Table::Rollups),
            };
            rows.extend(next[at].take());
            next[at] = self.next(cursor, table).await?;
        }
        let up_to = rows.last().map(|row| row.key.clone());
        Ok(RowPage { rows, up_to })
    }

    async fn next(
        &mut self,
        cursor: &mut SessionCursor<RawDocumentBuf>,
        table: Table,
    ) -> Result<Option<StoredRow>, ReadFault> {
        let calendar = self.ledger.grouping.calendar();
        Ok(match cursor.advance(&mut self.session).await? {
            true => Some(read(table, cursor.current(), calendar)?),
            false => None,
        })
    }

    async fn ask(
        &mut self,
        table: Table,
        after: Option<&RowKey>,
        organization: Option<&str>,
        most: usize,
    ) -> Result<SessionCursor<RawDocumentBuf>, ReadFault> {
        // No `_id` that is no text: the validators keep them out.
        let mut range = match after.map(|after| after.rest_of(table)) {
            None => doc! {"$gte": ""},
            Some(Begin::At(id)) => doc! {"$gte": id},
            Some(Begin::After(id)) => doc! {"$gt": id},
        };
        if let Some(organization) = organization {
            let all = key::all_of(organization);
            if after.is_none() {
                range.insert("$gte", all.start);
            }
            range.insert("$lt", all.end);
        }
        let collection = self.store.rows(match table {
            Table::Ledger => LEDGER,
            Table::Rollups => ROLLUPS,
        });
        let found = collection
            .find(doc! {"_id": range})
            .sort(doc! {"_id": 1})
            .limit(i64::try_from(most).unwrap_or(i64::MAX))
            .batch_size(BATCH);
        Ok(found.session(&mut self.session).await?)
    }
}

/// A row as it is, whatever it holds.
fn read(table: Table, row: &RawDocument, calendar: &Calendar) -> Result<StoredRow, DriverError> {
    let (mut counters, mut found) = (Counters::default(), [false; Counter::ALL.len()]);
    let mut unreadable = Vec::new();
    let (mut texts, mut times, mut start) = (Vec::new(), Times::default(), None);
    for element in row {
        let (name, value) = element?;
        let name = name.as_str();
        if let Some(counter) = Counter::ALL.into_iter().find(|counter| counter.name() == name) {
            found[counter as usize] = true;
            match value {
                RawBsonRef::Int64(number) => counters[counter] = number,
                RawBsonRef::Int32(number) => counters[counter] = number.into(),
                other => unreadable.push((counter, format!("{other:?}").into())),
            }
            continue;
        }
        match (name, value) {
            ("firstEventAt", RawBsonRef::DateTime(at)) => times.first = Some(at.timestamp_millis()),
            ("lastEventAt", RawBsonRef::DateTime(at)) => times.last = Some(at.timestamp_millis()),
            ("updatedAt", RawBsonRef::DateTime(at)) => times.updated = Some(at.timestamp_millis()),
            ("periodStart", RawBsonRef::DateTime(at)) => start = Some(at),
            (name, RawBsonRef::String(text)) => texts.push((name, text)),
            _ => {}
        }
    }
    let missing = Counter::ALL
        .into_iter()
        .filter(|counter| !found[*counter as usize]);
    unreadable.extend(missing.map(|counter| (counter, "missing".into())));
    let text = |name: &str| {
        texts
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, text)| *text)
    };
    let key = RowKey::new(table, text("_id").unwrap_or_default());
    let mut read = StoredRow::read(key, counters, unreadable, times, text);
    let period = read.row.as_ref().map(Row::period);
    let wanted = period.map(|period| BsonTime::from_chrono(calendar.start_of(period)));
    if let Some(wanted) = wanted.filter(|wanted| start != Some(*wanted)) {
        let told = |at: BsonTime| {
            at.try_to_rfc3339_string()
                .unwrap_or_else(|_| at.to_string())
                .into()
        };
        read.wrong_fields.push(WrongField {
            name: "periodStart",
            stored: start.map(told),
            expected: told(wanted),
        });
    }
    Ok(read)
}

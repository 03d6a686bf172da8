//! The rows as the reader asks for them: every answer from one snapshot, summed where the rows are.
//!
//! The first read of a snapshot session decides its instant; every further read of the answer names that
//! instant in a session of its own, so that reads of one answer run side by side. Sums of 64-bit counters
//! that outgrow 64 bits come back as floating point: they are refused, never shown.

mod pipeline;

use std::sync::Arc;
use std::time::Duration;

use api::reader::{
    Freshness, Gap, Group, Key, Lane, Mark, Query, ReadError, Rows, Scope, Snapshot as Port, Span,
};
use chrono::{DateTime as Instant, NaiveDate, Utc};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, doc};
use mongodb::error::{Error as DriverError, ErrorKind};
use mongodb::options::{CollectionOptions, ReadConcern};
use mongodb::{ClientSession, Collection, SessionCursor};
use rollup::counters::Counters;
use rollup::fold::Set;
use rollup::period::{Granularity, Period};
use sha2::{Digest, Sha256};

use super::{FENCES, LEDGER, META, ROLLUPS, Store};

/// How long the server may work on one read.
const READ_TIME: Duration = Duration::from_secs(30);
/// Groups that the server sends at once.
const BATCH: u32 = 10_000;
/// Codes of the server that pass by themselves: it is stepping down, too busy, or the snapshot is too old.
const PASSING: [i32; 12] = [50, 89, 91, 112, 189, 239, 246, 262, 10107, 11600, 11602, 13435];

/// The ledger at one instant.
#[derive(Debug, Clone)]
pub struct Snapshot {
    store: Store,
    at: Timestamp,
    freshness: Arc<Freshness>,
}

impl api::reader::Reader for Store {
    type Snapshot = Snapshot;

    async fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let mut session = self
            .client
            .start_session()
            .snapshot(true)
            .await
            .map_err(|error| failed(&error))?;
        let fences = all(&mut session, &self.snapshot_of(FENCES), doc! {}).await?;
        let at = session
            .snapshot_time()
            .ok_or_else(|| ReadError::Malformed("the server does not tell the time of a snapshot".into()))?;
        let meta = all(&mut session, &self.snapshot_of(META), doc! {"_id": "ledger"}).await?;
        let [meta] = meta.as_slice() else {
            return Err(ReadError::Malformed(format!(
                "`{META}` does not describe a ledger"
            )));
        };
        Ok(Snapshot {
            store: self.clone(),
            at,
            freshness: Arc::new(freshness(&document(meta)?, &fences)?),
        })
    }
}

impl Store {
    /// A collection read as of a snapshot. The driver leaves a read concern that is there already, such as
    /// the database's, as it is, also in a snapshot session: it must be this one from the start.
    fn snapshot_of(&self, name: &str) -> Collection<RawDocumentBuf> {
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::snapshot())
            .build();
        self.database.collection_with_options(name, options)
    }
}

impl Snapshot {
    async fn session(&self) -> Result<ClientSession, ReadError> {
        let session = self
            .store
            .client
            .start_session()
            .snapshot(true)
            .snapshot_time(self.at);
        session.await.map_err(|error| failed(&error))
    }

    async fn open(self, query: Query) -> Result<Reading, ReadError> {
        let mut session = self.session().await?;
        let collection = match query.rows {
            Rows::Ledger => self.store.snapshot_of(LEDGER),
            Rows::Rollups(_) => self.store.snapshot_of(ROLLUPS),
        };
        let cursor = collection
            .aggregate(pipeline::of(&query))
            .allow_disk_use(true)
            .batch_size(BATCH)
            .max_time(READ_TIME)
            .session(&mut session)
            .with_type::<RawDocumentBuf>()
            .await
            .map_err(|error| failed(&error))?;
        Ok(Reading {
            session,
            cursor,
            query,
            rows: 0,
        })
    }
}

/// An aggregation that is being read.
struct Reading {
    session: ClientSession,
    cursor: SessionCursor<RawDocumentBuf>,
    query: Query,
    rows: u64,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Group, Self)>, ReadError> {
        if self
            .cursor
            .advance(&mut self.session)
            .await
            .map_err(|error| failed(&error))?
        {
            let (group, rows) = group(self.cursor.current(), &self.query)?;
            self.rows += rows;
            return Ok(Some((group, self)));
        }
        if self.rows > self.query.row_limit {
            return Err(ReadError::TooManyRows(self.query.row_limit));
        }
        Ok(None)
    }
}

impl Port for Snapshot {
    fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    fn sums(&self, query: Query) -> impl Stream<Item = Result<Group, ReadError>> + Send + 'static {
        stream::once(self.clone().open(query))
            .map_ok(|reading| stream::try_unfold(reading, Reading::next))
            .try_flatten()
            .boxed()
    }

    async fn mark(&self, organization: &str, cover: &[Span]) -> Result<Mark, ReadError> {
        let scope = Scope::Organizations(vec![organization.to_owned()]);
        let filter = pipeline::rows_in(Rows::Rollups(Set::Organization), &scope, cover, &Document::new());
        let mut session = self.session().await?;
        let mut rows = all(&mut session, &self.store.snapshot_of(ROLLUPS), filter).await?;
        rows.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        let mut digest = Sha256::new();
        for row in &rows {
            digest.update(row.as_bytes());
        }
        Ok(Mark(digest.finalize().into()))
    }

    async fn bounds(&self, scope: &Scope) -> Result<Option<(NaiveDate, NaiveDate)>, ReadError> {
        Ok(self.edge(scope, 1).await?.zip(self.edge(scope, -1).await?))
    }
}

impl Snapshot {
    /// The first day with rows, in this direction.
    async fn edge(&self, scope: &Scope, direction: i32) -> Result<Option<NaiveDate>, ReadError> {
        let mut filter = pipeline::owner(scope);
        filter.extend(doc! {"granularity": Granularity::Daily.name(), "set": Set::Organization.name()});
        let mut session = self.session().await?;
        let row = self
            .store
            .snapshot_of(ROLLUPS)
            .find_one(filter)
            .sort(doc! {"periodKey": direction})
            .projection(doc! {"_id": 0, "periodKey": 1})
            .max_time(READ_TIME)
            .session(&mut session)
            .await
            .map_err(|error| failed(&error))?;
        row.map(|row| {
            let key = row.get_str("periodKey").unwrap_or_default();
            let day = Period::parse(Granularity::Daily, key).map(Period::first_day);
            day.ok_or_else(|| ReadError::Malformed(format!("`{key}` is no day")))
        })
        .transpose()
    }
}

/// Reads all of a small result.
async fn all(
    session: &mut ClientSession,
    collection: &Collection<RawDocumentBuf>,
    filter: Document,
) -> Result<Vec<RawDocumentBuf>, ReadError> {
    let find = collection.find(filter).max_time(READ_TIME).session(&mut *session);
    let mut cursor = find.await.map_err(|error| failed(&error))?;
    let mut found = Vec::new();
    while cursor.advance(session).await.map_err(|error| failed(&error))? {
        found.push(cursor.current().to_owned());
    }
    Ok(found)
}

/// Reads one group, and how many rows it is made of.
fn group(found: &RawDocument, query: &Query) -> Result<(Group, u64), ReadError> {
    let malformed = |what: &str| ReadError::Malformed(format!("a sum without {what}"));
    let id = match found.get("_id") {
        Ok(Some(RawBsonRef::Document(id))) => Some(id),
        _ => None,
    };
    let text = |name: &str| {
        id.and_then(|id| id.get_str(name).ok())
            .ok_or_else(|| malformed(name))
    };
    let key: Key = (0..query.group_by.len())
        .map(|at| text(&pipeline::part(at)).map(Into::into))
        .collect::<Result<_, _>>()?;
    let period = match query.by_period {
        true => {
            let granularity = text(pipeline::GRANULARITY)?
                .parse()
                .map_err(|_| malformed("a granularity"))?;
            let period = Period::parse(granularity, text(pipeline::PERIOD)?);
            Some(period.ok_or_else(|| malformed("a period"))?)
        }
        false => None,
    };
    let mut counters = Counters::default();
    for counter in &query.counters {
        counters[*counter] = match found.get(counter.name()) {
            Ok(Some(RawBsonRef::Int64(sum))) => sum,
            Ok(Some(RawBsonRef::Int32(sum))) => sum.into(),
            Ok(Some(RawBsonRef::Double(_) | RawBsonRef::Decimal128(_))) => {
                return Err(ReadError::Overflow(*counter));
            }
            _ => return Err(malformed(counter.name())),
        };
    }
    let rows = match found.get(pipeline::ROWS) {
        Ok(Some(RawBsonRef::Int32(rows))) => u64::try_from(rows).ok(),
        Ok(Some(RawBsonRef::Int64(rows))) => u64::try_from(rows).ok(),
        _ => None,
    };
    let group = Group {
        key,
        period,
        counters,
    };
    Ok((group, rows.ok_or_else(|| malformed("a count of its rows"))?))
}

fn document(raw: &RawDocumentBuf) -> Result<Document, ReadError> {
    Document::try_from(raw.as_ref()).map_err(|error| ReadError::Malformed(error.to_string()))
}

/// What the fences say of the lanes that the source has.
///
/// Rows change only where a record was read, or where an operator's command moved the revision: a mark of
/// these numbers is a mark of all rows.
fn freshness(meta: &Document, fences: &[RawDocumentBuf]) -> Result<Freshness, ReadError> {
    let mut digest = Sha256::new();
    digest.update(format!("{:?}", meta.get("revision")));
    let mut known = Vec::new();
    for fence in fences {
        let fence = document(fence)?;
        let name = fence.get_str("_id").unwrap_or_default().to_owned();
        known.push((name, fence));
    }
    known.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    for (name, fence) in &known {
        digest.update(format!(
            "{name:?} {:?} {:?}",
            fence.get("read"),
            fence.get("counted")
        ));
    }
    let names = meta.get_array("lanes").map(Vec::as_slice).unwrap_or_default();
    let mut lanes = Vec::with_capacity(names.len());
    for name in names.iter().filter_map(Bson::as_str) {
        digest.update(format!("{name:?}"));
        let fence = known
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, fence)| fence);
        lanes.push(lane(name, fence));
    }
    Ok(Freshness {
        lanes,
        mark: Mark(digest.finalize().into()),
    })
}

/// A lane without a fence was never read.
fn lane(name: &str, fence: Option<&Document>) -> Lane {
    let instant = |of: &Document, name: &str| -> Option<Instant<Utc>> {
        of.get_datetime(name).ok().map(|at| at.to_chrono())
    };
    let gaps = fence
        .and_then(|fence| fence.get_array("gaps").ok())
        .into_iter()
        .flatten();
    Lane {
        name: name.to_owned(),
        watermark: fence.and_then(|fence| instant(fence, "watermark")),
        scanning: fence.is_some_and(|fence| fence.get_bool("scanning").unwrap_or(false)),
        gaps: gaps
            .filter_map(Bson::as_document)
            .filter_map(|gap| {
                Some(Gap {
                    from: instant(gap, "from")?,
                    to: instant(gap, "to")?,
                })
            })
            .collect(),
    }
}

fn failed(error: &DriverError) -> ReadError {
    let cause = Arc::new(error.clone());
    let passing = match &*error.kind {
        ErrorKind::ServerSelection { .. }
        | ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. } => true,
        ErrorKind::Command(command) => PASSING.contains(&command.code),
        _ => false,
    };
    if passing {
        ReadError::Unavailable(cause)
    } else {
        ReadError::Failed(cause)
    }
}

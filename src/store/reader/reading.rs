//! Reading the groups of a query.
//!
//! Rows that are groups of their own, and rows of which there are few, are found and come as they are: that is
//! quicker than to have them summed. All others are summed where they are.

use std::collections::BTreeMap;
use std::vec::IntoIter;

use api::reader::{Group, Key, Query, ReadError};
use api::rows::Rows;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use mongodb::SessionCursor;
use mongodb::bson::{Document, RawDocumentBuf};
use rollup::counters::Sums;
use rollup::period::Period;

use super::asking::{BATCH, GROUPS_TIME, failed};
use super::instant::Session;
use super::pipeline::{self, Plan};
use super::row;
use super::rows_read::Counting;
use super::snapshot::Snapshot;
use crate::store::{LEDGER, ROLLUPS};

/// The most rows that are summed here: more are better summed where they are.
const MOST_FOUND: u64 = 50_000;

/// The groups of a query, as they are read.
pub(super) fn groups(
    snapshot: Snapshot,
    query: Query,
) -> impl Stream<Item = Result<Group, ReadError>> + Send + 'static {
    let groups = async move {
        let plan = pipeline::plan(&query);
        let are_few = matches!(plan, Plan::Few(_));
        let mut reading = Box::new(Reading::begin(snapshot, query, plan).await?);
        if are_few {
            if let Some(groups) = reading.sums().await? {
                return Ok(stream::iter(groups.into_iter().map(Ok)).left_stream());
            }
            reading.begin_again();
        }
        Ok(stream::try_unfold(reading, Reading::next).right_stream())
    };
    stream::once(groups).try_flatten().boxed()
}

/// A query that is being read.
struct Reading {
    snapshot: Snapshot,
    session: Session,
    cursor: Option<SessionCursor<RawDocumentBuf>>,
    /// What is still to be found, one after the other.
    filters: IntoIter<Document>,
    /// What is still to be aggregated.
    pipeline: Option<Vec<Document>>,
    /// Whether what arrives are sums.
    are_sums: bool,
    fields: Vec<&'static str>,
    query: Query,
    rows: u64,
    counting: Counting,
}

impl Reading {
    async fn begin(snapshot: Snapshot, query: Query, plan: Plan) -> Result<Self, ReadError> {
        let (filters, pipeline) = match plan {
            Plan::Rows(filters) | Plan::Few(filters) => (filters, None),
            Plan::Sums(stages) => (Vec::new(), Some(stages)),
        };
        Ok(Self {
            session: snapshot.instant.session(&snapshot.store).await?,
            counting: match query.rows {
                Rows::Ledger => snapshot.rows_read.of_ledger(),
                Rows::Rollups(_) => snapshot.rows_read.of_rollups(),
            },
            snapshot,
            cursor: None,
            filters: filters.into_iter(),
            are_sums: pipeline.is_some(),
            pipeline,
            fields: pipeline::fields(&query),
            query,
            rows: 0,
        })
    }

    /// Asks for what comes next. Whether there was anything left to ask for.
    async fn ask(&mut self) -> Result<bool, ReadError> {
        let collection = self.snapshot.store.rows(match self.query.rows {
            Rows::Ledger => LEDGER,
            Rows::Rollups(_) => ROLLUPS,
        });
        let cursor = if let Some(stages) = self.pipeline.take() {
            let aggregate = collection
                .aggregate(stages)
                .allow_disk_use(true)
                .batch_size(BATCH)
                .max_time(GROUPS_TIME);
            aggregate
                .session(&mut *self.session)
                .with_type::<RawDocumentBuf>()
                .await
        } else if let Some(filter) = self.filters.next() {
            let find = collection.find(filter).batch_size(BATCH).max_time(GROUPS_TIME);
            find.session(&mut *self.session).await
        } else {
            return Ok(false);
        };
        self.cursor = Some(cursor.map_err(|error| failed(&error))?);
        Ok(true)
    }

    async fn next(mut self: Box<Self>) -> Result<Option<(Group, Box<Self>)>, ReadError> {
        Ok(self.advance().await?.map(|group| (group, self)))
    }

    async fn advance(&mut self) -> Result<Option<Group>, ReadError> {
        loop {
            if let Some(cursor) = &mut self.cursor {
                let more = cursor.advance(&mut self.session).await;
                if more.map_err(|error| failed(&error))? {
                    return self.group().map(Some);
                }
                self.cursor = None;
            }
            if !self.ask().await? {
                return Ok(None);
            }
        }
    }

    /// The group that the cursor is at.
    fn group(&mut self) -> Result<Group, ReadError> {
        let Some(cursor) = &self.cursor else {
            return Err(ReadError::Malformed("nothing where a row was".into()));
        };
        let (group, rows) = if self.are_sums {
            row::summed(cursor.current(), &self.query)?
        } else {
            let group = row::group(cursor.current(), &self.fields, self.query.by_period)?;
            (group, 1)
        };
        self.rows += rows;
        self.counting.add(rows);
        if self.rows > self.query.row_limit {
            return Err(ReadError::TooManyRows(self.query.row_limit));
        }
        Ok(group)
    }

    /// Reads rows of which there should be few, and sums them here. `None`: there are many.
    async fn sums(&mut self) -> Result<Option<Vec<Group>>, ReadError> {
        let mut sums: BTreeMap<(Key, Option<Period>), Sums> = BTreeMap::new();
        while let Some(group) = self.advance().await? {
            if self.rows > MOST_FOUND {
                return Ok(None);
            }
            sums.entry((group.key, group.period))
                .or_default()
                .add(&group.counters);
        }
        let groups = sums.into_iter().map(|((key, period), sums)| {
            Ok(Group {
                key,
                period,
                counters: sums.narrow().map_err(|error| ReadError::Overflow(error.0))?,
            })
        });
        groups.collect::<Result<_, _>>().map(Some)
    }

    /// Leaves it to the server to sum everything.
    fn begin_again(&mut self) {
        self.cursor = None;
        self.filters = Vec::new().into_iter();
        self.pipeline = Some(pipeline::of(&self.query));
        self.are_sums = true;
        self.rows = 0;
    }
}

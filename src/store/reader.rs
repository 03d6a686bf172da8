//! The rows as the reader asks for them: every answer from one snapshot.
//!
//! A snapshot is an instant of the cluster's clock. The state that a majority had then is read in snapshot sessions, one
//! for each read: no transaction is open meanwhile, so an answer may take as long as the server keeps that instant (300 s
//! unless `minSnapshotHistoryWindowInSeconds` says otherwise). Sums of 64-bit counters that outgrow 64 bits come back as
//! floating point: they are refused, never shown.

mod asking;
pub mod audit;
mod instant;
mod pipeline;
mod reading;
mod rejected;
mod row;
mod rows_read;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::reader::{
    Freshness, Gap, Group, Lane, PeriodTotals, Query, ReadError, Scope, Snapshot as Port, Span, Version,
    Whose,
};
use api::rows::Rows;
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::{Stream, TryStreamExt};
use mongodb::bson::{Bson, Document, deserialize_from_document, doc};
use mongodb::options::ReadConcern;
use rollup::fold::Marginal;
use rollup::kept::Kept;
use rollup::period::{Granularity, Period};
use sha2::{Digest, Sha256};

pub use rows_read::RowsRead;
pub use snapshot::Snapshot;

use asking::{BATCH, READ_TIME, failed};
use instant::Instant;

use super::meta::Meta;
use super::pools::Pool;
use super::{Error, FENCES, META, ROLLUPS, Store, Verified};

/// The reader's way to the ledger: over connections of its own, so that no question is in the way of a commit.
#[derive(Debug, Clone)]
pub struct Reader {
    store: Store,
    /// Whether the server keeps instants that are over.
    keeps: bool,
    rows_read: RowsRead,
}

impl Store {
    /// The reader of this ledger, for at most so many questions at the same time; more of them wait.
    ///
    /// # Errors
    /// When there can be no second client, or the server does not say whether it keeps snapshots.
    pub async fn reader(&self, questions: u32, rows_read: RowsRead) -> Result<Reader, Error> {
        // One more, for how fresh the ledger is: everybody waits for that.
        let store = self.apart(Pool::Reader, questions + 1, |options| {
            // Of a snapshot session the driver keeps whatever level is set.
            options.read_concern = Some(ReadConcern::snapshot());
        })?;
        let keeps = instant::are_kept(&store).await?;
        if !keeps {
            tracing::warn!(
                "this server does not keep snapshots: each answer is read in a transaction, and breaks off where it \
                 takes longer than the server lets those live"
            );
        }
        Ok(Reader {
            store,
            keeps,
            rows_read,
        })
    }
}

impl api::reader::Reader for Reader {
    type Snapshot = Snapshot;

    async fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let mut session = instant::begin(&self.store, self.keeps).await?;
        let fences = self.store.collection(FENCES);
        let find = fences.find(doc! {}).max_time(READ_TIME).session(&mut session);
        let mut cursor = find.await.map_err(|error| failed(&error))?;
        let fences: Vec<Document> = cursor
            .stream(&mut session)
            .try_collect()
            .await
            .map_err(|error| failed(&error))?;
        let meta = self.store.collection(META);
        let meta = meta
            .find_one(doc! {"_id": "ledger"})
            .max_time(READ_TIME)
            .session(&mut session)
            .await
            .map_err(|error| failed(&error))?
            .ok_or_else(|| ReadError::Malformed(format!("`{META}` does not describe a ledger")))?;
        Ok(Snapshot {
            store: self.store.clone(),
            instant: Instant::of(session, self.keeps)?,
            freshness: Arc::new(Freshness {
                later: later(&meta)?,
                ..freshness(&meta, &fences)
            }),
            rows_read: self.rows_read.clone(),
        })
    }
}

impl Port for Snapshot {
    fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    fn for_others(&self) -> Option<Self> {
        self.instant.is_kept().then(|| self.clone())
    }

    fn sums(&self, query: Query) -> impl Stream<Item = Result<Group, ReadError>> + Send + 'static {
        reading::groups(self.clone(), query)
    }

    async fn period_totals(&self, organization: &str, span: Span) -> Result<Vec<PeriodTotals>, ReadError> {
        let scope = Scope::Organizations(vec![organization.to_owned()]);
        let filter = pipeline::rows_in(
            Rows::Rollups(Marginal::Organization),
            &scope,
            &[span],
            &Document::new(),
        );
        let mut session = self.instant.session(&self.store).await?;
        let rollups = self.store.rows(ROLLUPS);
        let find = rollups
            .find(filter)
            .max_time(READ_TIME)
            .batch_size(BATCH)
            .session(&mut *session);
        let mut cursor = find.await.map_err(|error| failed(&error))?;
        let (mut found, mut rows_read) = (Vec::new(), self.rows_read.of_rollups());
        while cursor
            .advance(&mut session)
            .await
            .map_err(|error| failed(&error))?
        {
            rows_read.add(1);
            let row = cursor.current();
            let group = row::group(row, &[], true)?;
            let period = group.period.ok_or_else(|| row::malformed("a period"))?;
            found.push(PeriodTotals {
                period,
                counters: group.counters,
                version: Version(Sha256::digest(row.as_bytes()).into()),
            });
        }
        Ok(found)
    }

    async fn rejected(&self, whose: &Whose, days: Span) -> Result<BTreeMap<String, u64>, ReadError> {
        self.count_rejected(whose, days).await
    }

    async fn bounds(&self, scope: &Scope) -> Result<Option<(NaiveDate, NaiveDate)>, ReadError> {
        Ok(self.edge(scope, 1).await?.zip(self.edge(scope, -1).await?))
    }
}

impl Snapshot {
    /// The first day with rows, in this direction.
    async fn edge(&self, scope: &Scope, direction: i32) -> Result<Option<NaiveDate>, ReadError> {
        let mut filter = pipeline::owner(scope);
        filter.extend(doc! {"granularity": Granularity::Daily.name(), "set": Marginal::Organization.name()});
        let mut session = self.instant.session(&self.store).await?;
        let row = self
            .store
            .collection(ROLLUPS)
            .find_one(filter)
            .sort(doc! {"periodKey": direction})
            .projection(doc! {"_id": 0, "periodKey": 1})
            .max_time(READ_TIME)
            .session(&mut *session)
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

/// What the fences say of the lanes that the source has.
///
/// Rows change only where a record was read, a dead letter was counted, or an operator's command moved the
/// revision: a version of these numbers is a version of all rows. Whatever changes dead letters raises `letters`.
fn freshness(meta: &Document, fences: &[Document]) -> Freshness {
    let (mut digest, mut letters) = (Sha256::new(), Sha256::new());
    digest.update(format!("{:?}", meta.get("revision")));
    let known: BTreeMap<&str, &Document> = fences
        .iter()
        .map(|fence| (fence.get_str("_id").unwrap_or_default(), fence))
        .collect();
    for (name, fence) in &known {
        digest.update(format!(
            "{name:?} {:?} {:?}",
            fence.get("read"),
            fence.get("counted")
        ));
        letters.update(format!("{name:?} {:?}", fence.get("letters")));
    }
    let names = meta.get_array("lanes").map(Vec::as_slice).unwrap_or_default();
    let mut lanes = Vec::with_capacity(names.len());
    for name in names.iter().filter_map(Bson::as_str) {
        digest.update(format!("{name:?}"));
        lanes.push(lane(name, known.get(name).copied()));
    }
    Freshness {
        lanes,
        later: Vec::new(),
        version: Version(digest.finalize().into()),
        letters: Version(letters.finalize().into()),
        verified: Verified::read(meta).map(|verified| api::reader::Verified {
            at: verified.at,
            from: verified.from,
            to: verified.to,
            is_clean: verified.is_clean(),
        }),
    }
}

/// The granularities that were switched on later.
fn later(meta: &Document) -> Result<Vec<Kept>, ReadError> {
    let stored = deserialize_from_document::<Meta>(meta.clone()).ok();
    let kept = stored.and_then(|meta| meta.kept());
    let kept = kept.ok_or_else(|| ReadError::Malformed(format!("`{META}` does not name granularities")))?;
    Ok(kept.into_iter().filter(|kept| kept.since.is_some()).collect())
}

/// A lane without a fence was never read.
fn lane(name: &str, fence: Option<&Document>) -> Lane {
    let instant = |of: &Document, name: &str| -> Option<DateTime<Utc>> {
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

#[cfg(test)]
mod tests {
    use mongodb::bson::DateTime as BsonTime;

    use super::*;

    fn fence(name: &str, read: i64) -> Document {
        let gap = doc! {"from": BsonTime::from_millis(1_000), "to": BsonTime::from_millis(2_000)};
        doc! {
            "_id": name, "read": read, "scanning": false, "watermark": BsonTime::from_millis(5_000), "seq": read * 7,
            "gaps": [gap],
        }
    }

    #[test]
    fn a_lane_is_what_its_fence_says_and_one_without_was_never_read() {
        let meta = doc! {"lanes": ["kafka/t/0", "kafka/t/1"]};
        let known = freshness(&meta, &[fence("kafka/t/0", 3), fence("kafka/gone/0", 9)]);
        assert_eq!(known.lanes.len(), 2, "an old source's fence is no lane");
        assert_eq!(known.lanes[0].watermark, DateTime::from_timestamp_millis(5_000));
        assert_eq!(known.lanes[0].gaps.len(), 1);
        assert_eq!((known.lanes[1].watermark, known.lanes[1].scanning), (None, false));
    }

    #[test]
    fn what_was_compared_is_told_only_where_all_of_it_is_there() {
        let at = BsonTime::from_millis(3_600_000);
        let mut verified = doc! {
            "at": at, "from": "2026-01-04", "to": "2026-01-05", "clean": false, "differences": 2_i64, "rows": 9_i64,
            "entries": 7_i64,
        };
        let told = |verified: &Document| freshness(&doc! {"lanes": [], "verified": verified}, &[]).verified;
        let found = told(&verified).expect("told");
        assert_eq!((found.at, found.is_clean), (at.to_chrono(), false));
        assert_eq!(
            (found.from.to_string(), found.to.to_string()),
            ("2026-01-04".into(), "2026-01-05".into())
        );
        verified.insert("differences", 0_i64);
        assert!(told(&verified).is_some_and(|verified| verified.is_clean));
        verified.remove("to");
        assert_eq!(told(&verified), None);
        assert_eq!(freshness(&doc! {"lanes": []}, &[]).verified, None);
    }

    #[test]
    fn the_version_moves_with_what_was_read_and_not_with_idle_commits() {
        let meta = doc! {"lanes": ["a"]};
        let version = |meta: &Document, fence: Document| freshness(meta, &[fence]).version;
        let before = version(&meta, fence("a", 3));
        let mut idle = fence("a", 3);
        idle.insert("seq", 99);
        idle.insert("watermark", BsonTime::from_millis(9_000));
        assert_eq!(version(&meta, idle), before);
        assert_ne!(version(&meta, fence("a", 4)), before);
        assert_ne!(version(&meta, fence("b", 3)), before);
        // A dead letter that was judged again was read long ago.
        let mut replayed = fence("a", 3);
        replayed.insert("counted", 1);
        assert_ne!(version(&meta, replayed), before);
        let mut closed = fence("a", 3);
        closed.insert("letters", 1_i64);
        let letters = |fence: Document| freshness(&meta, &[fence]).letters;
        assert_ne!(letters(closed.clone()), letters(fence("a", 3)));
        assert_eq!(version(&meta, closed), before, "rows are what they were");
        assert_eq!(letters(fence("a", 4)), letters(fence("a", 3)));
        assert_ne!(
            version(&doc! {"lanes": ["a"], "revision": 1_i64}, fence("a", 3)),
            before
        );
    }
}

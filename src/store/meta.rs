//! `usageMeta`: the description of this ledger.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use ingest::lane::LaneId;
use ingest::ledger::FenceError;
use ingest::server_error::DUPLICATE_KEY;
use mongodb::bson::{Bson, DateTime as BsonTime, Document, doc};
use mongodb::error::Result as DriverResult;
use rollup::fold::Grouping;
use rollup::kept::Kept;
use rollup::period::Granularity;
use serde::Deserialize;

use super::answer::{WORK, answer};
use super::{META, Store, VERSION, errors};
use crate::config::Identity;

/// The `_id` of the one document.
pub(super) const LEDGER: &str = "ledger";

/// What a ledger is, as it is stored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    /// Of everything stored.
    pub(super) schema_version: Bson,
    #[serde(default)]
    pub(super) time_zone: String,
    #[serde(default)]
    pub(super) currency: String,
    #[serde(default)]
    granularities: Vec<StoredGranularity>,
    /// The lanes of the source.
    #[serde(default)]
    pub(super) lanes: Vec<String>,
    /// How often a job changed rows.
    #[serde(default)]
    pub(super) revision: i64,
    /// Entries that were kept until this instant or longer are there; others may be gone.
    pub(super) horizon: Option<BsonTime>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct StoredGranularity {
    name: String,
    /// The first day of which it is whole.
    since: Option<String>,
}

/// The granularities as they are stored.
pub(super) fn stored_granularities(kept: &[Kept]) -> Bson {
    let stored = kept.iter().map(|kept| {
        let mut stored = doc! {"name": kept.granularity.name()};
        stored.extend(
            kept.since
                .map(|since| ("since".to_owned(), since.to_string().into())),
        );
        stored
    });
    stored.collect::<Vec<_>>().into()
}

impl Meta {
    /// The version of everything stored; -1 where it is no whole number.
    pub(super) fn version(&self) -> i64 {
        let version = &self.schema_version;
        let whole = version.as_i64().or_else(|| version.as_i32().map(i64::from));
        whole.unwrap_or(-1)
    }

    /// The granularities, the finest first; `None`: nobody can tell.
    pub(super) fn kept(&self) -> Option<Vec<Kept>> {
        let kept = self.granularities.iter().map(|stored| {
            let since = stored.since.as_deref().map(str::parse).transpose().ok()?;
            let granularity = stored.name.parse().ok()?;
            Some(Kept { granularity, since })
        });
        let mut kept = kept.collect::<Option<Vec<Kept>>>()?;
        kept.sort_unstable_by_key(|kept| kept.granularity);
        Some(kept)
    }

    /// Which rows events are booked to; `None`: nobody can tell.
    pub(super) fn grouping(&self) -> Option<Grouping> {
        let kept: Vec<Granularity> = self.kept()?.iter().map(|kept| kept.granularity).collect();
        Grouping::new(self.time_zone.parse().ok()?, &kept).ok()
    }
}

/// The one document.
pub(super) fn ledger() -> Document {
    doc! {"_id": LEDGER}
}

/// What the last comparison of rows with their entries has found, whichever worker made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    /// When it ended.
    pub(crate) at: DateTime<Utc>,
    /// Rows of periods that have any of these days were compared.
    pub(crate) from: NaiveDate,
    /// The last of them.
    pub(crate) to: NaiveDate,
    /// Rows, and documents of journal, fences and letters, that were not what they must be.
    pub(crate) differences: u64,
    /// Rows that were compared.
    pub(crate) rows: u64,
    /// Entries of the journal.
    pub(crate) entries: u64,
    /// When the last one ended that found nothing; not written where this one did not.
    pub(crate) clean_at: Option<DateTime<Utc>>,
}

impl Verified {
    /// As it is stored; `None`: it was never written, or not by this program.
    pub(super) fn read(meta: &Document) -> Option<Self> {
        let stored = meta.get_document("verified").ok()?;
        let day = |name| stored.get_str(name).ok()?.parse().ok();
        let number = |name| u64::try_from(stored.get_i64(name).ok()?).ok();
        Some(Self {
            at: stored.get_datetime("at").ok()?.to_chrono(),
            from: day("from")?,
            to: day("to")?,
            differences: number("differences")?,
            rows: number("rows")?,
            entries: number("entries")?,
            clean_at: stored.get_datetime("cleanAt").ok().map(|at| at.to_chrono()),
        })
    }

    /// Whether nothing was wrong.
    pub(crate) const fn is_clean(&self) -> bool {
        self.differences == 0
    }
}

impl Store {
    /// What the last comparison has found, in any process; `None`: there was none.
    pub(crate) async fn verified(&self) -> Result<Option<Verified>, FenceError> {
        let meta = self.collection(META);
        let read = meta
            .find_one(ledger())
            .projection(doc! {"verified": 1})
            .max_time(WORK);
        let meta = answer(read.into_future()).await?;
        Ok(meta.as_ref().and_then(Verified::read))
    }

    /// Notes what a comparison has found.
    pub(crate) async fn note_verified(&self, verified: &Verified) -> Result<(), FenceError> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let time = |at: DateTime<Utc>| BsonTime::from_millis(at.timestamp_millis());
        let mut set = doc! {
            "verified.at": time(verified.at), "verified.from": verified.from.to_string(),
            "verified.to": verified.to.to_string(), "verified.clean": verified.is_clean(),
            "verified.differences": number(verified.differences), "verified.rows": number(verified.rows),
            "verified.entries": number(verified.entries),
        };
        if let Some(clean_at) = verified.clean_at {
            set.insert("verified.cleanAt", time(clean_at));
        }
        let meta = self.collection(META);
        let noted = meta
            .find_one_and_update(ledger(), doc! {"$set": set})
            .projection(doc! {"_id": 1})
            .max_time(WORK);
        answer(noted.into_future()).await.map(drop)
    }

    /// What this ledger is; `None`: there is none.
    pub(super) async fn meta(&self) -> DriverResult<Option<Meta>> {
        self.database.collection::<Meta>(META).find_one(ledger()).await
    }

    /// The reason for which the ledger cannot be read within this time, as `/readyz` shows it; `None`: it can.
    pub async fn trouble_within(&self, time: Duration) -> Option<&'static str> {
        let meta = self.collection(META);
        let read = meta.find_one(ledger()).projection(doc! {"_id": 1});
        match tokio::time::timeout(time, async { read.await }).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(errors::readiness(&error)),
            Err(_) => Some(errors::UNREACHABLE),
        }
    }

    /// Writes what this ledger is: the last that makes it one.
    pub(super) async fn describe(&self, identity: &Identity) -> DriverResult<()> {
        let Identity { grouping, currency } = identity;
        let kept: Vec<Kept> = grouping
            .granularities()
            .iter()
            .copied()
            .map(Kept::always)
            .collect();
        let meta = doc! {
            "schemaVersion": VERSION, "timeZone": grouping.calendar().zone_name(), "currency": currency,
            "granularities": stored_granularities(&kept), "lanes": [], "revision": 0_i64,
        };
        let once = self
            .collection(META)
            .update_one(ledger(), doc! {"$setOnInsert": meta})
            .upsert(true)
            .await;
        match once {
            // Another process was faster: what it wrote is checked next.
            Err(error) if errors::code(&error) != Some(DUPLICATE_KEY) => Err(error),
            _ => Ok(()),
        }
    }

    /// Notes which kind of source feeds this ledger.
    pub(super) async fn note_source(&self, kind: &str) -> DriverResult<()> {
        self.collection(META)
            .update_one(ledger(), doc! {"$set": {"source": kind}})
            .await
            .map(drop)
    }

    /// Notes which lanes the source has.
    pub(super) async fn topology(&self, lanes: &[LaneId]) -> Result<(), FenceError> {
        let lanes: Vec<Bson> = lanes.iter().map(|lane| Bson::from(lane.as_str())).collect();
        let meta = self.collection(META);
        let stored = meta
            .find_one_and_update(ledger(), doc! {"$set": {"lanes": lanes}})
            .projection(doc! {"_id": 1})
            .max_time(WORK);
        answer(stored.into_future()).await.map(drop)
    }
}

/// Moves the revision on from what a job read; matches nothing where another one was faster.
pub(super) fn next_revision(revision: i64) -> Document {
    doc! {"q": {"_id": LEDGER, "revision": revision}, "u": {"$inc": {"revision": 1_i64}}}
}

//! Granularities that are switched on later, and filled.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use mongodb::bson::{Document, doc};
use rollup::event::MAX_CLOCK_SKEW;
use rollup::fold::Grouping;
use rollup::kept::Kept;
use rollup::period::Calendar;
use tokio::time::sleep;

use crate::store::connection::server_time;
use crate::store::meta;
use crate::store::rows::WriteError;
use crate::store::writes::Writes;
use crate::store::{Error, FENCES, META, Store, errors};

/// How often somebody else may be faster.
const ATTEMPTS: usize = 30;
/// The pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(100);

impl Store {
    /// Keeps these granularities from now on, too. Whoever counts goes on by them: each fence moves with it.
    pub(super) async fn keep_more(&self, ours: &Grouping) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let Some((revision, kept)) = self.kept().await? else {
                return Ok(());
            };
            let has = |kept: &[Kept], of| kept.iter().any(|kept| kept.granularity == of);
            let ours_too = |kept: &Kept| ours.granularities().contains(&kept.granularity);
            let missing = || ours.granularities().iter().filter(|of| !has(&kept, **of));
            // Whether the setting may lack one of these is the next question.
            if missing().next().is_none() || !kept.iter().all(ours_too) {
                return Ok(());
            }
            let now = server_time(&self.client)
                .await
                .map_err(errors::unusable)?
                .to_chrono();
            let since = Some(whole_from(ours.calendar(), now + MAX_CLOCK_SKEW));
            let mut wanted = kept.clone();
            wanted.extend(missing().map(|granularity| Kept {
                granularity: *granularity,
                since,
            }));
            wanted.sort_unstable_by_key(|kept| kept.granularity);
            for granularity in missing() {
                tracing::info!(%granularity, "is kept from now on; `usage-ledger rebuild` fills what came before");
            }
            let moved = vec![doc! {"q": {}, "u": {"$inc": {"epoch": 1_i64}}, "multi": true}];
            match self.set_kept(revision, &wanted, &moved).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // Lanes commit all the time, and each holds its fence meanwhile. Whoever has to take its lane again leaves
                // a moment in which none does.
                Err(Error::Passing(why)) => {
                    tracing::debug!(why, "lanes are in the way: they are taken from their workers");
                    let fences = self.collection(FENCES);
                    let taken = fences.update_many(doc! {}, doc! {"$inc": {"epoch": 1_i64}}).await;
                    taken.map_err(errors::unusable)?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            sleep(PAUSE).await;
        }
        Err(Error::Passing(
            "other jobs change the ledger all the time: try again when they are done".into(),
        ))
    }

    /// Notes that every granularity is filled from this day on, or from ever on; unless another job was faster. Whether
    /// it was noted.
    ///
    /// # Errors
    /// When it is not noted, or nobody knows whether it was.
    pub async fn note_filled(&self, revision: i64, from: Option<NaiveDate>) -> Result<bool, Error> {
        let Some((_, mut kept)) = self.kept().await? else {
            return Ok(false);
        };
        if kept.iter().all(|kept| kept.since.is_none() || kept.since <= from) {
            return Ok(true);
        }
        for kept in kept.iter_mut().filter(|kept| kept.since.is_some()) {
            kept.since = from.min(kept.since);
        }
        self.set_kept(revision, &kept, &[]).await
    }

    async fn kept(&self) -> Result<Option<(i64, Vec<Kept>)>, Error> {
        let meta = self.meta().await.map_err(errors::unusable)?;
        Ok(meta.and_then(|meta| {
            let kept = meta.kept()?;
            Some((meta.revision, kept))
        }))
    }

    /// One transaction of a job. Whether it was: another one may have been faster.
    async fn set_kept(&self, revision: i64, kept: &[Kept], fences: &[Document]) -> Result<bool, Error> {
        let set = doc! {
            "q": {"_id": meta::LEDGER, "revision": revision},
            "u": {"$set": {"granularities": meta::stored_granularities(kept)}, "$inc": {"revision": 1_i64}},
        };
        self.transaction(async |writes: &mut Writes<'_>| {
            if writes.update(META, &[set]).await? != 1 {
                return Err(WriteError::RevisionMoved);
            }
            writes.update_all(FENCES, fences).await?;
            Ok(())
        })
        .await
    }
}

/// The first day of which nothing happened before this instant.
pub(in crate::store) fn whole_from(calendar: &Calendar, instant: DateTime<Utc>) -> NaiveDate {
    let day = calendar.day_of(instant);
    day.succ_opt().unwrap_or(day)
}

//! Rows become what their entries say, while lanes go on.
//!
//! ```text
//! FENCES   one that was set back goes on where its journal ends
//! READ     rows beside their entries, page by page, as `verify` does, all under one revision
//! CHANGE   of each organization that is read: differences are added, step by step, each a transaction that moves the
//!          revision to the next
//! ```
//! A difference does not change by what lanes add, and each step leaves rows nearer to their entries. So whoever is killed
//! begins again and finds what is left; and so does whoever finds that another job moved the revision.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use ingest::lane::LaneId;
use rollup::audit::compare::Difference;
use rollup::audit::key::Row;
use rollup::audit::repair::{Order, Repair, Step, plan};
use rollup::period::Period;
use tokio::time::sleep;
use uuid::Uuid;

use crate::store::reader::audit::Described;
use crate::store::{self, Store};
use crate::verify::finding::Finding;
use crate::verify::pass::{Error, Pass, unread};
use crate::verify::progress::Progress;
use crate::verify::scope::Scope;

/// What a difference takes in memory, about.
const DIFFERENCE: usize = 1_024;
/// Statements of one transaction.
const STATEMENTS: usize = 1_000;
/// Attempts at one.
const ATTEMPTS: u32 = 10;
/// The first pause between two; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(50);

/// What is to be done, and with what.
pub struct Rebuild<'a> {
    /// The ledger.
    pub store: &'a Store,
    /// Which rows.
    pub scope: Scope,
    /// Bytes of sums that are held in memory.
    pub memory: usize,
    /// Only say what would be done.
    pub is_dry: bool,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
}

/// What was done, or would be.
#[derive(Debug, Default)]
pub struct Done {
    /// Rows that were changed, one that was changed in several steps as often.
    pub rows: u64,
    /// Rows that are nobody's, and were removed.
    pub strays: u64,
    /// Transactions.
    pub steps: u64,
    /// Rows that are left as they are: a counter is no number.
    pub unreadable: Vec<String>,
    /// Rows from which nothing was taken away.
    pub kept: u64,
    /// What is wrong besides rows.
    pub findings: Vec<Finding>,
    /// What could not be compared, and why.
    pub not_compared: Vec<(String, String)>,
}

/// How many differences can be held: what parents need follows from all those of an organization.
struct Room {
    left: usize,
    /// There was no room for one of this organization.
    full: Option<String>,
}

impl Room {
    fn of(memory: usize, held: usize) -> Self {
        let most = (memory / DIFFERENCE).max(STATEMENTS);
        let left = most.saturating_sub(held);
        Self { left, full: None }
    }

    fn takes(&mut self, difference: &Difference) -> bool {
        let takes = self.left > 0;
        self.left = self.left.saturating_sub(1);
        if !takes && self.full.is_none() {
            let organization = difference.row.as_ref().map_or("nobody", Row::organization);
            self.full = Some(organization.to_owned());
        }
        takes
    }

    fn check(self) -> Result<(), Error> {
        match self.full {
            None => Ok(()),
            Some(organization) => Err(Error::GivenUp(format!(
                "more rows, also of `{organization}`, are not what they must be than USAGE_LEDGER_VERIFY_MEMORY holds; name \
                 fewer days by `--from` and `--to`, or one `--organization`, or raise it"
            ))),
        }
    }
}

/// How an attempt at the whole ended.
enum Ended {
    Done,
    /// Another job was faster: what was read may not be so any more.
    Moved,
}

impl Rebuild<'_> {
    /// Sets the fences of these lanes right, of one lane or of all, where they were set back. Which.
    ///
    /// # Errors
    /// When the journal cannot be read, or a fence cannot be written.
    pub async fn fences(&self, only: Option<&LaneId>, progress: Progress) -> Result<Vec<String>, Error> {
        if !self.is_any_behind(only).await? {
            return Ok(Vec::new());
        }
        let mut pass = Pass::begin(self.store, self.scope.clone(), self.memory, progress).await?;
        let fences = pass.to_the_end().await?;
        let mut set = Vec::new();
        for (lane, chain) in pass
            .chains()
            .filter(|(lane, _)| only.is_none_or(|only| only == *lane))
        {
            let fence = fences.iter().find(|fence| fence.lane == lane.as_str());
            if chain.is_end_damaged(fence) {
                return Err(Error::GivenUp(format!(
                    "where `{lane}` was is not known: the newest document of its journal is damaged. Restore it from a \
                     backup, or delete it; then `usage-ledger rebuild` sets the fence, and takes back what it counted"
                )));
            }
            let Some(end) = chain.beyond(fence) else {
                continue;
            };
            if !self.is_dry && !self.store.set_ahead(lane, fence, end).await? {
                return Err(Error::GivenUp(format!(
                    "the lane `{lane}` was moved just now; look again and repeat"
                )));
            }
            set.push(format!("`{lane}`, to its commit {}", end.head.id.seq));
        }
        Ok(set)
    }

    /// Whether the journal of any lane goes on beyond its fence.
    async fn is_any_behind(&self, only: Option<&LaneId>) -> Result<bool, Error> {
        let mut moment = self.store.audit().await?.moment().await.map_err(unread)?;
        let lanes = moment.lanes().await.map_err(unread)?;
        if let Some(only) = only
            && !lanes.contains(only)
            && !moment.fences.iter().any(|fence| fence.lane == only.as_str())
        {
            return Err(Error::GivenUp(format!(
                "there is no lane `{only}`: `usage-ledger lanes list` names them"
            )));
        }
        for lane in lanes {
            let mut fences = moment.fences.iter();
            let fence = fences.find(|fence| fence.lane == lane.as_str()).cloned();
            if self.store.is_behind(&lane, &fence.unwrap_or_default()).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes rows what their entries say.
    ///
    /// # Errors
    /// When the ledger cannot be read or written. What was done until then stays, and is right.
    pub async fn rows(&self, progress: impl Fn() -> Progress) -> Result<Done, Error> {
        let mut done = Done::default();
        while let Ended::Moved = self.once(progress(), &mut done).await? {
            tracing::info!("another job changed rows meanwhile: what is left is looked for again");
            let Done {
                rows, strays, steps, ..
            } = done;
            done = Done {
                rows,
                strays,
                steps,
                ..Done::default()
            };
        }
        Ok(done)
    }

    async fn once(&self, progress: Progress, done: &mut Done) -> Result<Ended, Error> {
        let mut scope = self.scope.with_siblings();
        scope.fills = true;
        let mut pass = Pass::begin(self.store, scope, self.memory, progress).await?;
        let mut ledger = pass.ledger().clone();
        // Those of one organization, as far as they were read.
        let mut pending: Vec<Difference> = Vec::new();
        loop {
            let (mut ready, mut room) = (Vec::new(), Room::of(self.memory, pending.len()));
            let page = pass.page(|difference| {
                let prefix = difference.key.prefix();
                if pending.first().is_some_and(|first| first.key.prefix() != prefix) {
                    ready.push(std::mem::take(&mut pending));
                }
                if room.takes(&difference) {
                    pending.push(difference);
                }
            });
            let Some(page) = page.await? else { break };
            room.check()?;
            if page.revision != ledger.revision {
                return Ok(Ended::Moved);
            }
            let goes_on = |last: &Difference| {
                let up_to = page.up_to.as_ref();
                up_to.is_some_and(|up_to| up_to.prefix() == last.key.prefix())
            };
            if pending.last().is_some_and(|last| !goes_on(last)) {
                ready.push(std::mem::take(&mut pending));
            }
            for differences in ready {
                let repair = self.plan(&differences, &ledger, page.lost_until_ms);
                done.unreadable
                    .extend(repair.unreadable.iter().map(|key| key.id.to_string()));
                done.kept += repair.kept.len() as u64;
                for step in &repair.steps {
                    if !self.is_dry && !self.apply(&mut ledger, step).await? {
                        return Ok(Ended::Moved);
                    }
                    done.steps += 1;
                    done.rows += (step.added.len() + step.renamed.len()) as u64;
                    done.strays += step.strays.len() as u64;
                }
            }
            if let Some(end) = page.end {
                done.findings = end.findings;
                done.not_compared = end.not_compared;
            }
        }
        self.note_filled(&ledger, pass.reach()).await
    }

    /// Whatever was switched on later is there now, as far as there are entries.
    async fn note_filled(&self, ledger: &Described, reach: Option<NaiveDate>) -> Result<Ended, Error> {
        if self.is_dry || !self.scope.is_all() {
            return Ok(Ended::Done);
        }
        Ok(match self.store.note_filled(ledger.revision, reach).await {
            Ok(true) => Ended::Done,
            // It was not noted, or nobody knows whether it was: what is left is looked for again, and this.
            Ok(false) | Err(store::Error::Passing(_)) => Ended::Moved,
            Err(error) => return Err(error.into()),
        })
    }

    fn plan(&self, differences: &[Difference], ledger: &Described, lost_until_ms: Option<i64>) -> Repair {
        let repairs = |period: Period| self.scope.days.meet(period);
        let may_be_lost = |period: Period| {
            let begin_ms = ledger.grouping.calendar().start_of(period).timestamp_millis();
            lost_until_ms.is_some_and(|until_ms| begin_ms <= until_ms)
        };
        let order = Order {
            granularities: ledger.grouping.granularities(),
            repairs: &repairs,
            may_be_lost: &may_be_lost,
            most: STATEMENTS,
        };
        plan(differences, &order)
    }

    /// Makes a step permanent, once. Whether that was possible: another job may have been faster.
    async fn apply(&self, ledger: &mut Described, step: &Step) -> Result<bool, Error> {
        let content = Uuid::new_v4().as_u64_pair().1.cast_signed();
        let mut attempt = 0;
        let is_applied = loop {
            let failed = match self.store.repair_rows(ledger, step, content, (self.now)()).await {
                Ok(true) => break true,
                // An attempt whose outcome was not known may have done it.
                Ok(false) => break self.store.last_repair().await? == Some(content),
                Err(failed) => failed,
            };
            attempt += 1;
            let passes = matches!(failed, store::Error::Passing(_));
            if attempt >= ATTEMPTS || (!passes && attempt >= ATTEMPTS / 3) {
                return Err(failed.into());
            }
            let why = failed.to_string();
            tracing::debug!(
                why,
                "a step was not made permanent, or nobody knows: the same again"
            );
            sleep(PAUSE * 2_u32.pow(attempt)).await;
        };
        ledger.revision += i64::from(is_applied);
        Ok(is_applied)
    }
}

//! The one transaction that makes a batch permanent.
//!
//! ```text
//! 1  move the fences   {_id, epoch, seq} → seq + 1, position, counters      matched ≠ all → nothing is written
//! 2  add to the rows   rollups, then the ledger, sorted by _id, in chunks: inserts where a row is known not to be
//!                      there, plain updates where it is known to be there, upserts of all others
//! 3  ids and letters   insert the ids of this commit, delete those out of the window, keep the rejects, close
//!                      the letters that were judged again or whose event was counted
//! 4  commit
//! ```
//! The fences come first: where they do not match, the transaction is cheap to throw away; where they do, an
//! earlier attempt whose outcome was unknown is known not to have been applied, and never will be, since it
//! would have conflicted.

mod metrics;
mod phases;
mod transaction;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime as Instant, Utc};
use futures_util::TryStreamExt;
use ingest::journal::Merge;
use ingest::lane::{ContentId, JournalId, LaneId, Resolution, Standing, resolve};
use ingest::ledger::{Acquired, Applied, Attempt, Commit, CommitError, FenceError, Ledger, ReplayRequest};
use ingest::server_error::{Act, Fault, Place};
use ingest::source::Stop;
use mongodb::bson::{DateTime, doc};
use mongodb::options::ReadConcern;
use rollup::period::Calendar;
use tokio::time::Instant as Moment;

use phases::Phase;
use transaction::{AttemptError, Attempts, Work};

pub use metrics::CommitMetrics;

use super::acquire::{Move, Moved};
use super::answer::{ANSWER, answer, silence};
use super::errors;
use super::fences::StoredFence;
use super::leases::{Lead, Leases};
use super::rows::{RowChanges, Rows};
use super::{Error, Store};

/// Attempts at the same content before the batch is halved. Pauses between them grow to as long as a commit takes:
/// whoever conflicts meets a transaction that holds a row until it ends, and a smaller batch would meet it too.
const ATTEMPTS: usize = 8;
/// The same where attempts are dear: together they took a tenth of what one may.
const DEAR_ATTEMPTS: usize = 3;

/// The ledger that the worker writes to.
#[derive(Debug, Clone)]
pub struct MongoLedger {
    store: Store,
    rows: Rows,
    leases: Leases,
    attempts: Attempts,
    metrics: CommitMetrics,
    /// Fences that we moved, and of which a majority has yet to tell.
    moved: Arc<Mutex<BTreeMap<LaneId, Moved>>>,
}

impl MongoLedger {
    /// A ledger in this store, with periods of this calendar, for a worker with these leases.
    ///
    /// # Errors
    /// When there can be no further client.
    pub fn open(
        store: Store,
        calendar: Calendar,
        leases: Leases,
        metrics: CommitMetrics,
    ) -> Result<Self, Error> {
        let rows = Rows::new(store.clone(), calendar);
        Ok(Self {
            attempts: Attempts::open(&store, rows.clone(), leases.clone())?,
            store,
            rows,
            leases,
            metrics,
            moved: Arc::default(),
        })
    }

    /// Moves the fence of a lane, unless we did and it is not known yet what came of it.
    async fn acquire_led(&self, lane: &LaneId) -> Result<Acquired, FenceError> {
        let before = self.moved().remove(lane);
        let mut moved = match before {
            Some(moved) => moved,
            None => match self.store.move_fence(lane, &self.leases).await? {
                Move::Done(moved) => moved,
                Move::LeasedTo(held) => return Ok(held),
            },
        };
        let acquired = self.store.load(lane, &mut moved, self.leases.life()).await;
        if acquired.is_err() {
            self.moved().insert(lane.clone(), moved);
        }
        acquired
    }

    fn moved(&self) -> MutexGuard<'_, BTreeMap<LaneId, Moved>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit was applied: its rows are there, and letters that were too many to be closed with it follow.
    async fn applied(&self, work: &Work<'_>, started: Moment) -> Applied {
        let took = started.elapsed();
        work.watch.enter(Phase::Letters);
        self.rows.committed(&work.rows);
        let rest = self.store.close_the_rest(work.commit);
        if tokio::time::timeout(ANSWER, rest).await.is_err() {
            tracing::warn!("letters of counted events stay open for now: the database does not answer");
        }
        Applied { took }
    }

    /// Which ids of a commit are in the ledger already; or why that is not known, or was so only for a moment.
    async fn held(&self, commit: &Commit) -> Result<Fault, CommitError> {
        match tokio::time::timeout(ANSWER, self.store.held(commit)).await {
            // Whoever had it did not commit, or has it no longer.
            Ok(Ok(held)) if held.is_empty() => Ok(Fault::retry("an id was in the way")),
            Ok(Ok(held)) => Err(CommitError::DuplicateIds(held)),
            Ok(Err(failure)) => Ok(failure),
            Err(_) => Ok(silence()),
        }
    }

    /// Reads off the fences what became of an attempt that did not match them, or whose outcome is in doubt.
    ///
    /// Only an attempt that was *fenced* says who owns which lane: its own statements would have conflicted
    /// with an earlier attempt that is still on its way. And only the server's own word that there is no such
    /// transaction says that nothing can come after it.
    async fn settle(&self, commit: &Commit, broken: AttemptError) -> Settled {
        let open = || Fault::retry("the outcome of a commit is not known yet");
        let told = tokio::time::timeout(ANSWER, self.resolution(commit)).await;
        match (told.unwrap_or_else(|_| Err(silence())), broken) {
            (Err(failure), _) => Settled::Open(failure),
            (Ok(Resolution::Applied), _) => Settled::Applied,
            (Ok(Resolution::Lost(lanes)), AttemptError::Fenced) => Settled::Lost(lanes),
            (Ok(Resolution::NotApplied), AttemptError::Failed(failure)) if failure.is_aborted => {
                Settled::NotApplied(failure)
            }
            // Fenced by what a majority does not have yet: nothing of it is too large, and nothing is known.
            (Ok(Resolution::NotApplied), AttemptError::Fenced) => Settled::Open(Fault::wait(
                "a fence was moved, and a majority does not have it yet",
            )),
            (Ok(_), AttemptError::Failed(failure)) if failure.act != Act::RetrySame => Settled::Open(failure),
            (Ok(_), _) => Settled::Open(open()),
        }
    }

    /// Asks the fences, by majority, what became of a commit.
    async fn resolution(&self, commit: &Commit) -> Result<Resolution, Fault> {
        let moves = commit.moves();
        let ids: Vec<&str> = moves.iter().map(|expected| expected.lane.as_str()).collect();
        let failed = |error| Fault::of(&error, Place::Outside);
        let found = self
            .store
            .typed_fences()
            .find(doc! {"_id": {"$in": ids}})
            .projection(doc! {"epoch": 1, "seq": 1, "content": 1})
            .read_concern(ReadConcern::majority())
            .await;
        let fences: Vec<StoredFence> = found.map_err(failed)?.try_collect().await.map_err(failed)?;
        let standing = |fence: StoredFence| {
            let content = fence.content.map(ContentId);
            let (epoch, seq) = (fence.epoch, fence.seq);
            (LaneId::from_stored(&fence.lane), Standing { epoch, seq, content })
        };
        let stored: HashMap<LaneId, Standing> = fences.into_iter().map(standing).collect();
        Ok(resolve(&moves, commit.content, |lane| stored.get(lane).copied()))
    }
}

/// What is known of a commit after its fences were asked.
enum Settled {
    Applied,
    Lost(Vec<LaneId>),
    /// It was not applied and never will be.
    NotApplied(Fault),
    /// Nobody knows yet.
    Open(Fault),
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(10))
        .with_jitter()
        .with_max_times(ATTEMPTS - 1)
        .build()
}

impl Ledger for MongoLedger {
    fn alive(&self) {
        self.leases.life().touch();
    }

    fn lost(&self, lane: &LaneId) {
        self.leases.lost(lane);
    }

    async fn acquire(&self, lane: &LaneId) -> Result<Acquired, FenceError> {
        let led = match answer(self.leases.lead(lane)).await? {
            Lead::Ours(led) => led,
            Lead::LeasedTo { owner, left } => return Ok(Acquired::LeasedTo { owner, ask_in: left }),
        };
        let acquired = self.acquire_led(lane).await?;
        if matches!(acquired, Acquired::Granted(_)) {
            led.keep();
            // Whoever had it until now has written to its rows.
            self.rows.forget();
        }
        Ok(acquired)
    }

    async fn release(&self, lane: &LaneId, epoch: i64) -> Result<(), FenceError> {
        match self.store.release(lane, epoch).await? {
            true => answer(self.leases.follow(lane)).await?,
            // Not ours any more, and not ours to lead.
            false => self.leases.lost(lane),
        }
        Ok(())
    }

    async fn leave(&self) -> Result<(), FenceError> {
        answer(self.leases.leave()).await
    }

    async fn stopped(
        &self,
        lane: &LaneId,
        epoch: i64,
        stop: &Stop,
        at: Instant<Utc>,
    ) -> Result<(), FenceError> {
        self.store.stopped(lane, epoch, stop, at).await
    }

    async fn is_stopped(&self, lane: &LaneId) -> Result<bool, FenceError> {
        self.store.is_stopped(lane).await
    }

    async fn forget_journal(&self, lanes: &[LaneId], before: Instant<Utc>) -> Result<u64, FenceError> {
        self.store
            .forget_journal(lanes, DateTime::from_chrono(before))
            .await
    }

    async fn mergeable(
        &self,
        lane: &LaneId,
        from: JournalId,
        newest: JournalId,
        now: Instant<Utc>,
    ) -> Result<Option<Merge>, FenceError> {
        self.store.mergeable(lane, from, newest, now).await
    }

    async fn topology(&self, lanes: &[LaneId]) -> Result<(), FenceError> {
        self.store.topology(lanes).await
    }

    async fn replay_requests(
        &self,
        lanes: &[LaneId],
        max_letters: usize,
        max_bytes: usize,
    ) -> Result<Vec<ReplayRequest>, FenceError> {
        self.store.marked_letters(lanes, max_letters, max_bytes).await
    }

    async fn drop_payloads(&self, lanes: &[LaneId], before: Instant<Utc>) -> Result<u64, FenceError> {
        self.store
            .drop_payloads(lanes, DateTime::from_chrono(before))
            .await
    }

    async fn commit(
        &self,
        commit: &Commit,
        patience: Duration,
        attempt: &mut Attempt,
    ) -> Result<Applied, CommitError> {
        let (mut pauses, mut tries, began) = (pauses(), 0, Moment::now());
        let timed = self.metrics.begin();
        let watch = &timed.watch;
        let work = Work {
            commit,
            rows: RowChanges::from(&commit.delta),
            watch: watch.clone(),
        };
        loop {
            let started = Moment::now();
            let broken = match self.attempts.make(&work, patience, attempt).await {
                Ok(()) => {
                    *attempt = Attempt::Fresh;
                    return Ok(self.applied(&work, started).await);
                }
                Err(broken) => broken,
            };
            self.metrics.aborted(&broken);
            watch.enter(Phase::Settle);
            let failure = match broken {
                AttemptError::Outdated(lane) => return Err(CommitError::Lost(vec![lane])),
                AttemptError::DuplicateIds => self.held(commit).await?,
                AttemptError::RowExists => {
                    tracing::debug!(
                        "somebody else wrote or removed some of these rows; the same is written by upserts"
                    );
                    self.rows.mistaken(&work.rows);
                    Fault::retry("a row was not what it was known to be")
                }
                AttemptError::Failed(failure) if !attempt.is_in_doubt() => failure,
                broken => match self.settle(commit, broken).await {
                    Settled::Applied => {
                        *attempt = Attempt::Fresh;
                        return Ok(self.applied(&work, started).await);
                    }
                    Settled::Lost(lanes) => {
                        *attempt = Attempt::Fresh;
                        return Err(CommitError::Lost(lanes));
                    }
                    Settled::NotApplied(failure) => {
                        *attempt = Attempt::Fresh;
                        failure
                    }
                    Settled::Open(failure) => failure,
                },
            };
            tries += 1;
            // A conflict, or an outcome that is still open: the same content again, after a moment. Its fences
            // either match, or tell that it was applied.
            let is_dear = tries >= DEAR_ATTEMPTS && began.elapsed() > patience / 10;
            let pause = match failure.act {
                Act::RetrySame | Act::RetryWhole if !is_dear => pauses.next(),
                _ => None,
            };
            match pause {
                Some(pause) => {
                    watch.enter(Phase::Pause);
                    tokio::time::sleep(pause).await;
                }
                // Gone again and again, for as long as one attempt may take: perhaps by age.
                None if failure.act == Act::RetryWhole && began.elapsed() >= patience => {
                    return Err(CommitError::TooMuch(failure.why));
                }
                None => return Err(errors::commit(failure)),
            }
        }
    }
}

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

mod booking;
mod known;
mod rows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime as Instant, Utc};
use ingest::dedupe::Scope;
use ingest::lane::{LaneId, Resolution, resolve};
use ingest::ledger::{Acquired, Commit, CommitError, Doubt, FenceError, LaneCommit, Ledger, Marked};
use ingest::source::Stop;
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use mongodb::options::{ReadConcern, WriteConcern};
use rollup::counters::Overflow;
use rollup::period::Calendar;

use booking::Work;
use known::Known;

use super::convert::WindowName;
use super::failure::{self, Failure};
use super::unique::Changes;
use super::{DEAD_LETTERS, DEDUPE, EVENT_IDS, FENCES, LEDGER, ROLLUPS, Store, convert, letters};

/// Statements in one command.
const CHUNK: usize = 1_000;
/// Attempts at the same content before the batch is halved. Pauses between them grow to as long as a commit takes:
/// whoever conflicts meets a transaction that holds a row until it ends, and a smaller batch would meet it too.
const ATTEMPTS: usize = 8;
/// An attempt that takes longer is given up, and its outcome asked for. Longer than a transaction lives.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(90);

/// The ledger that the worker writes to.
#[derive(Debug, Clone)]
pub struct MongoLedger {
    store: Store,
    calendar: Calendar,
    known: Arc<Mutex<Known>>,
}

/// Why one attempt failed.
enum Broken {
    /// A fence did not match: nothing was written.
    Fenced,
    /// A letter that was judged again is not marked any more: nothing was written.
    Stale(LaneId),
    /// An id is in the ledger already: nothing was written.
    Held,
    /// A row is there that was known not to be, or the other way round: nothing was written.
    Mistaken,
    /// An operation failed: nothing was written, unless the failure is [`Failure::Unknown`].
    Failed(Failure),
}

/// A statement that the server refused.
struct Refused {
    code: i32,
    told: String,
}

/// `DuplicateKey`.
const DUPLICATE_KEY: i32 = 11000;

impl From<Refused> for Broken {
    fn from(refused: Refused) -> Self {
        Broken::Failed(Failure::of_code(refused.code, refused.told, false))
    }
}

impl From<mongodb::error::Error> for Broken {
    fn from(error: mongodb::error::Error) -> Self {
        Broken::Failed(Failure::of(&error))
    }
}

impl From<Overflow> for Broken {
    fn from(_: Overflow) -> Self {
        Broken::Failed(Failure::Overflow)
    }
}

impl MongoLedger {
    /// A ledger in this store, with periods of this calendar.
    #[must_use]
    pub fn new(store: Store, calendar: Calendar) -> Self {
        Self {
            store,
            calendar,
            known: Arc::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One attempt. `doubt` is cleared as soon as the fences match: see the module.
    async fn attempt(&self, work: &Work<'_>, doubt: &mut Doubt) -> Result<(), Broken> {
        self.explore(work).await;
        let mut session = self.store.sessions.take().await?;
        let done = self.transact(&mut session, work, doubt).await;
        // A session whose transaction may be open still is given up, and ended by the driver.
        if !matches!(done, Err(Broken::Failed(_))) {
            self.store.sessions.give_back(session);
        }
        done
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one transaction")]
    async fn transact(
        &self,
        session: &mut ClientSession,
        work: &Work<'_>,
        doubt: &mut Doubt,
    ) -> Result<(), Broken> {
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority())
            .await?;
        let written = self.write(session, work, doubt).await;
        if let Err(broken) = written {
            // Whatever abort says, a transaction that is not committed is not applied.
            if let Err(error) = session.abort_transaction().await {
                tracing::debug!(%error, "a transaction was left to be aborted by the server");
            }
            return Err(broken);
        }
        // From here on until the server has answered, the outcome is not known.
        doubt.0 = true;
        match session.commit_transaction().await {
            Ok(()) => Ok(()),
            Err(error) => Err(Broken::Failed(Failure::of_commit(&error))),
        }
    }

    async fn write(
        &self,
        session: &mut ClientSession,
        work: &Work<'_>,
        doubt: &mut Doubt,
    ) -> Result<(), Broken> {
        let commit = work.commit;
        let used = session.id().clone();
        let fences: Vec<Document> = commit
            .lanes
            .iter()
            .map(|lane| convert::fence_move(lane, &used))
            .collect();
        let lanes = fences.len();
        if self.update(session, FENCES, &fences).await? != lanes {
            return Err(Broken::Fenced);
        }
        doubt.0 = false;
        // What may stand in the way comes before what is a lot of work.
        if commit.scope == Scope::Ledger {
            self.unite(session, commit).await?;
        }
        let at = DateTime::from_chrono(commit.at);
        self.book(session, work).await?;
        self.keep_letters(session, commit, at).await?;
        self.close_letters(session, commit, at).await?;
        self.remember(session, commit).await?;
        Ok(())
    }

    async fn keep_letters(
        &self,
        session: &mut ClientSession,
        commit: &Commit,
        at: DateTime,
    ) -> Result<(), Broken> {
        let mut kept = Vec::new();
        for lane in commit.lanes.iter().filter(|lane| !lane.letters.is_empty()) {
            let taken = self.store.other_letters(session, lane).await?;
            kept.extend(
                lane.letters
                    .iter()
                    .map(|letter| letters::keep(lane, letter, &taken, &self.calendar, at)),
            );
        }
        self.update_all(session, DEAD_LETTERS, kept).await
    }

    /// Makes the ids that are counted unique in the whole ledger.
    async fn unite(&self, session: &mut ClientSession, commit: &Commit) -> Result<(), Broken> {
        let Changes {
            inserts,
            updates,
            deletes,
        } = Changes::of(commit);
        for (command, list, statements, at_once) in [
            ("insert", "documents", inserts, CHUNK),
            ("update", "updates", updates, CHUNK),
            // Each names many ids.
            ("delete", "deletes", deletes, 1),
        ] {
            for statements in statements.chunks(at_once) {
                let command = doc! {command: EVENT_IDS, list: statements, "ordered": true};
                match self.write_command(session, raw(&command)?).await? {
                    Ok(_) => {}
                    Err(refused) if refused.code == DUPLICATE_KEY => return Err(Broken::Held),
                    Err(refused) => return Err(refused.into()),
                }
            }
        }
        Ok(())
    }

    async fn close_letters(
        &self,
        session: &mut ClientSession,
        commit: &Commit,
        at: DateTime,
    ) -> Result<(), Broken> {
        // All of these before any of those: a replay of one lane may be of a letter that another closes.
        for lane in &commit.lanes {
            let id = &lane.fence.lane;
            let replayed = lane
                .replayed
                .iter()
                .map(|letter| letters::replayed(id, letter, at));
            for statements in replayed.collect::<Vec<_>>().chunks(CHUNK) {
                if self.update(session, DEAD_LETTERS, statements).await? != statements.len() {
                    return Err(Broken::Stale(id.clone()));
                }
            }
        }
        let mut closed = Vec::new();
        for lane in &commit.lanes {
            for event_ids in lane.closes.chunks(CHUNK) {
                let which = letters::open_under(&lane.fence.lane, commit.scope, event_ids);
                let ids = self.store.some_letters(session, which).await?;
                closed.extend((!ids.is_empty()).then(|| letters::superseded(ids, at)));
            }
        }
        self.update_all(session, DEAD_LETTERS, closed).await
    }

    async fn remember(&self, session: &mut ClientSession, commit: &Commit) -> Result<(), Broken> {
        let dedupe = self.store.collection(DEDUPE);
        let windows = |lane| {
            let lane: &LaneCommit = lane;
            [
                (WindowName::Events, &lane.events),
                (WindowName::Scanned, &lane.scanned),
            ]
            .map(|(name, window)| (lane, name, window))
        };
        let changes: Vec<_> = commit.lanes.iter().flat_map(windows).collect();
        let ids: Vec<Document> = changes
            .iter()
            .filter_map(|(lane, name, window)| convert::ids(lane, *name, window))
            .collect();
        if !ids.is_empty() {
            dedupe.insert_many(ids).session(&mut *session).await?;
        }
        for (lane, name, window) in changes {
            if let Some(horizon_ms) = window.forget_before_ms {
                let horizon = DateTime::from_millis(horizon_ms);
                let old = doc! {
                    "lane": lane.fence.lane.as_str(), "window": name.name(), "newest": {"$lt": horizon},
                };
                dedupe.delete_many(old).session(&mut *session).await?;
            }
        }
        Ok(())
    }

    async fn update_all(
        &self,
        session: &mut ClientSession,
        collection: &str,
        statements: Vec<Document>,
    ) -> Result<(), Broken> {
        for statements in statements.chunks(CHUNK) {
            self.update(session, collection, statements).await?;
        }
        Ok(())
    }

    /// One `update` command with many statements. How many documents it matched or inserted.
    async fn update(
        &self,
        session: &mut ClientSession,
        collection: &str,
        statements: &[Document],
    ) -> Result<usize, Broken> {
        let command = doc! {"update": collection, "updates": statements, "ordered": true};
        Ok(self.write_command(session, raw(&command)?).await??)
    }

    /// One command that writes. How many documents it matched or inserted; or the statement that the server
    /// refused.
    async fn write_command(
        &self,
        session: &mut ClientSession,
        command: RawDocumentBuf,
    ) -> Result<Result<usize, Refused>, Broken> {
        let database = &self.store.database;
        let answer = match database.run_raw_command(command).session(session).await {
            // Not every server tells it as an error of the statement.
            Err(error) if failure::code(&error) == Some(DUPLICATE_KEY) => {
                return Ok(Err(Refused {
                    code: DUPLICATE_KEY,
                    told: failure::message(&error),
                }));
            }
            answer => answer?,
        };
        if let Ok([Bson::Document(error), ..]) = answer.get_array("writeErrors").map(Vec::as_slice) {
            return Ok(Err(Refused {
                code: error.get_i32("code").unwrap_or(0),
                told: error.get_str("errmsg").unwrap_or("a write failed").to_owned(),
            }));
        }
        let matched = answer.get_i32("n").map_err(|_| {
            Broken::Failed(Failure::Fatal("the server's answer to a write has no `n`".into()))
        })?;
        Ok(Ok(usize::try_from(matched).unwrap_or(0)))
    }

    /// Reads off the fences what became of an attempt that did not match them, or whose outcome is in doubt.
    ///
    /// Only an attempt that was *fenced* says who owns which lane: its own statements would have conflicted
    /// with an earlier attempt that is still on its way. And only the server's own word that there is no such
    /// transaction says that nothing can come after it.
    async fn settle(&self, commit: &Commit, broken: Broken, was_in_doubt: bool) -> Settled {
        let open = || Failure::Unknown("the outcome of a commit is not known yet".into());
        match (self.resolution(commit).await, broken) {
            (Err(failure), _) => Settled::Open(failure),
            (Ok(Resolution::Applied), Broken::Fenced) if !was_in_doubt => {
                // Our epoch, and a commit that is not ours: another hand has written here.
                Settled::Lost(commit.lanes.iter().map(|lane| lane.fence.lane.clone()).collect())
            }
            (Ok(Resolution::Applied), _) => Settled::Applied,
            (Ok(Resolution::Lost(lanes)), Broken::Fenced) => Settled::Lost(lanes),
            (
                Ok(Resolution::NotApplied),
                Broken::Failed(failure @ (Failure::Conflict(_) | Failure::TooMuch(_))),
            ) => Settled::NotApplied(failure),
            (Ok(_), Broken::Failed(failure @ Failure::Fatal(_))) => Settled::Open(failure),
            (Ok(_), _) => Settled::Open(open()),
        }
    }

    /// Asks the fences, by majority, what became of a commit.
    async fn resolution(&self, commit: &Commit) -> Result<Resolution, Failure> {
        let moves = commit.moves();
        let ids: Vec<&str> = moves.iter().map(|expected| expected.lane.as_str()).collect();
        let mut stored = std::collections::HashMap::new();
        let mut cursor = self
            .store
            .collection(FENCES)
            .find(doc! {"_id": {"$in": ids}})
            .projection(doc! {"epoch": 1, "seq": 1})
            .read_concern(ReadConcern::majority())
            .await
            .map_err(|error| Failure::of(&error))?;
        while cursor.advance().await.map_err(|error| Failure::of(&error))? {
            let fence = cursor.current();
            if let (Ok(id), Ok(epoch), Ok(seq)) =
                (fence.get_str("_id"), fence.get_i64("epoch"), fence.get_i64("seq"))
            {
                stored.insert(LaneId::from_stored(id), (epoch, seq));
            }
        }
        Ok(resolve(&moves, |lane| stored.get(lane).copied()))
    }
}

fn raw(command: &Document) -> Result<RawDocumentBuf, mongodb::error::Error> {
    Ok(RawDocumentBuf::try_from(command)?)
}

/// What is known of a commit after its fences were asked.
enum Settled {
    Applied,
    Lost(Vec<LaneId>),
    /// It was not applied and never will be.
    NotApplied(Failure),
    /// Nobody knows yet.
    Open(Failure),
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(10))
        .with_jitter()
        .with_max_times(ATTEMPTS - 1)
        .build()
}

impl Ledger for MongoLedger {
    async fn acquire(&self, lane: &LaneId, lease: Option<Duration>) -> Result<Acquired, FenceError> {
        let acquired = self.store.acquire(lane, lease).await?;
        if matches!(acquired, Acquired::Granted(_)) {
            // Whoever had it until now has written to its rows.
            self.known().forget();
        }
        Ok(acquired)
    }

    async fn renew(&self, lane: &LaneId, epoch: i64) -> Result<bool, FenceError> {
        self.store.renew(lane, epoch).await
    }

    async fn release(&self, lane: &LaneId, epoch: i64) -> Result<(), FenceError> {
        self.store.release(lane, epoch).await
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

    async fn topology(&self, lanes: &[LaneId]) -> Result<(), FenceError> {
        self.store.topology(lanes).await
    }

    async fn marked(
        &self,
        lanes: &[LaneId],
        max_letters: usize,
        max_bytes: usize,
    ) -> Result<Vec<Marked>, FenceError> {
        self.store.marked_letters(lanes, max_letters, max_bytes).await
    }

    async fn commit(&self, commit: &Commit, doubt: &mut Doubt) -> Result<(), CommitError> {
        let mut pauses = pauses();
        let work = Work::of(commit);
        loop {
            let was_in_doubt = doubt.0;
            let broken = match tokio::time::timeout(ATTEMPT_TIMEOUT, self.attempt(&work, doubt)).await {
                Ok(Ok(())) => {
                    doubt.0 = false;
                    self.known().committed(&work.ledger, &work.rollups);
                    self.store.close_the_rest(commit).await;
                    return Ok(());
                }
                Ok(Err(broken)) => broken,
                Err(_) => Broken::Failed(Failure::Away("the database does not answer".into())),
            };
            let failure = match broken {
                Broken::Stale(lane) => return Err(CommitError::Lost(vec![lane])),
                Broken::Held => match self.store.held(commit).await {
                    // Whoever had it did not commit, or has it no longer.
                    Ok(held) if held.is_empty() => Failure::Conflict("an id was in the way".into()),
                    Ok(held) => return Err(CommitError::Held(held)),
                    Err(failure) => failure,
                },
                Broken::Mistaken => {
                    tracing::debug!(
                        "somebody else wrote or removed some of these rows; the same is written by upserts"
                    );
                    self.known().mistaken(&work.ledger, &work.rollups);
                    Failure::Conflict("a row was not what it was known to be".into())
                }
                Broken::Failed(failure) if !doubt.0 => failure,
                broken => match self.settle(commit, broken, was_in_doubt).await {
                    Settled::Applied => {
                        doubt.0 = false;
                        self.known().committed(&work.ledger, &work.rollups);
                        return Ok(());
                    }
                    Settled::Lost(lanes) => {
                        doubt.0 = false;
                        return Err(CommitError::Lost(lanes));
                    }
                    Settled::NotApplied(failure) => {
                        doubt.0 = false;
                        failure
                    }
                    Settled::Open(failure) => failure,
                },
            };
            // A conflict, or an outcome that is still open: the same content again, after a moment. Its fences
            // either match, or tell that it was applied.
            let pause = match failure {
                Failure::Conflict(_) | Failure::Unknown(_) => pauses.next(),
                _ => None,
            };
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failure.into()),
            }
        }
    }
}

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

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime as Instant, Utc};
use ingest::dedupe::Scope;
use ingest::lane::{ContentId, LaneId, Resolution, Standing, resolve};
use ingest::ledger::{Acquired, Applied, Commit, CommitError, Doubt, FenceError, LaneCommit, Ledger, Marked};
use ingest::server_error::{Act, Answer, DUPLICATE_KEY, Fault, Place};
use ingest::source::Stop;
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::options::{ReadConcern, WriteConcern};
use rollup::counters::Overflow;
use rollup::period::Calendar;
use tokio::time::Instant as Moment;

use booking::Work;
use known::Known;

use super::convert::WindowName;
use super::failure;
use super::leases::{Lead, Leases};
use super::session::Sessions;
use super::unique::Changes;
use super::{DEAD_LETTERS, DEDUPE, EVENT_IDS, FENCES, LEDGER, ROLLUPS, Store, convert, letters};

/// Statements in one command.
const CHUNK: usize = 1_000;
/// Attempts at the same content before the batch is halved. Pauses between them grow to as long as a commit takes:
/// whoever conflicts meets a transaction that holds a row until it ends, and a smaller batch would meet it too.
const ATTEMPTS: usize = 8;
/// The same where attempts are dear: together they took a tenth of what one may.
const DEAR_ATTEMPTS: usize = 3;
/// How long the answer to a commit is waited for before its outcome is asked for. Longer than a transaction lives.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a commit that is waited for shows that the worker lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// How long the answer to a question beside the transaction is waited for. A connection whose server is gone without a
/// word stays silent for a quarter of an hour.
const ANSWER: Duration = Duration::from_secs(10);
/// How long aborting a transaction may take before its session is ended instead.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The ledger that the worker writes to.
#[derive(Debug, Clone)]
pub struct MongoLedger {
    store: Store,
    calendar: Calendar,
    leases: Leases,
    sessions: Sessions,
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
    /// An operation failed: nothing was written, unless it was the commit itself.
    Failed(Fault),
}

impl From<Answer> for Broken {
    /// A statement was refused, or not replicated as it should.
    fn from(refused: Answer) -> Self {
        Broken::Failed(Fault::from(&refused))
    }
}

impl From<mongodb::error::Error> for Broken {
    fn from(error: mongodb::error::Error) -> Self {
        Broken::Failed(Fault::of(&error, Place::Transaction))
    }
}

impl From<Overflow> for Broken {
    fn from(_: Overflow) -> Self {
        Broken::Failed(Fault {
            act: Act::Overflow,
            ..Fault::wait("a counter would not fit 64 bits")
        })
    }
}

impl MongoLedger {
    /// A ledger in this store, with periods of this calendar, for a worker with these leases.
    #[must_use]
    pub fn new(store: Store, calendar: Calendar, leases: Leases) -> Self {
        Self {
            sessions: Sessions::new(store.client.clone(), leases.clone()),
            store,
            calendar,
            leases,
            known: Arc::default(),
        }
    }

    /// A commit was applied: its rows are there, and letters that were too many to be closed with it follow.
    async fn applied(&self, work: &Work<'_>, started: Moment) -> Applied {
        let took = started.elapsed();
        self.known().committed(&work.ledger, &work.rollups);
        let rest = self.store.close_the_rest(work.commit);
        if tokio::time::timeout(ANSWER, rest).await.is_err() {
            tracing::warn!("letters of counted events stay open for now: the database does not answer");
        }
        Applied { took }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One attempt. `doubt` is cleared as soon as the fences match: see the module.
    async fn attempt(&self, work: &Work<'_>, patience: Duration, doubt: &mut Doubt) -> Result<(), Broken> {
        self.explore(work).await;
        let taken = tokio::time::timeout(patience, self.sessions.take()).await;
        let mut session = taken.map_err(|_| Broken::Failed(silence()))??;
        let written = tokio::time::timeout(patience, self.begin(&mut session, work, doubt)).await;
        let Ok(written) = written else {
            return Err(Broken::Failed(self.give_up(session, *doubt).await));
        };
        let done = match written {
            Ok(()) => self.end(&mut session, doubt).await,
            Err(broken) => {
                self.abort(session).await;
                return Err(broken);
            }
        };
        match &done {
            // Nobody knows whether its transaction is open still.
            Err(Broken::Failed(fault)) if fault.act == Act::Wait => {
                self.sessions.give_up(session).await;
            }
            _ => self.sessions.give_back(session),
        }
        done
    }

    /// Everything before the commit: nothing of it is applied.
    #[expect(clippy::disallowed_methods, reason = "this is the one transaction")]
    async fn begin(
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
        self.write(session, work, doubt).await
    }

    /// Commits. Until the server has answered, the outcome is not known.
    async fn end(&self, session: &mut ClientSession, doubt: &mut Doubt) -> Result<(), Broken> {
        doubt.0 = true;
        let commit = session.commit_transaction().into_future();
        let mut commit = pin!(tokio::time::timeout(COMMIT_TIMEOUT, commit));
        let mut signs = tokio::time::interval(SIGN_OF_LIFE);
        let committed = loop {
            tokio::select! {
                committed = &mut commit => break committed,
                _ = signs.tick() => self.leases.life().touch(),
            }
        };
        match committed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Broken::Failed(Fault::of(&error, Place::Commit))),
            Err(_) => Err(Broken::Failed(silence())),
        }
    }

    /// Throws the transaction away. Whatever comes of that, one that is not committed is not applied.
    async fn abort(&self, mut session: ClientSession) {
        let aborted = tokio::time::timeout(ABORT_TIMEOUT, session.abort_transaction().into_future()).await;
        match aborted {
            Ok(Ok(())) => self.sessions.give_back(session),
            Ok(Err(error)) => {
                tracing::debug!(
                    error = failure::message(&error),
                    "a transaction was left to be aborted by the server"
                );
                self.sessions.give_back(session);
            }
            Err(_) => {
                self.sessions.give_up(session).await;
            }
        }
    }

    /// An attempt took too long, and its commit was not asked for: it will never be applied. What that means: while
    /// the server answers, that it was too much.
    async fn give_up(&self, session: ClientSession, doubt: Doubt) -> Fault {
        // Not merely aborted: of that the driver says neither whether it was sent nor what came of it.
        self.sessions.give_up(session).await;
        if self.leases.answers().await && !doubt.0 {
            Fault {
                act: Act::TakeLess,
                ..Fault::wait("the attempt took too long, and was given up")
            }
        } else {
            silence()
        }
    }

    async fn write(
        &self,
        session: &mut ClientSession,
        work: &Work<'_>,
        doubt: &mut Doubt,
    ) -> Result<(), Broken> {
        let commit = work.commit;
        let fences: Vec<Document> = commit
            .lanes
            .iter()
            .map(|lane| convert::fence_move(lane, commit.content))
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
    ) -> Result<Result<usize, Answer>, Broken> {
        let database = &self.store.database;
        let answer = database.run_raw_command(command).session(session).await;
        self.leases.life().touch();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => match Answer::of(&error) {
                // Not every server tells it as an error of the statement.
                Some(refused) if refused.code == DUPLICATE_KEY => return Ok(Err(refused)),
                _ => return Err(error.into()),
            },
        };
        if let Some(refused) = Answer::within(&answer) {
            return Ok(Err(refused));
        }
        let matched = answer
            .get_i32("n")
            .map_err(|_| Broken::Failed(Fault::wait("the server's answer to a write has no `n`")))?;
        Ok(Ok(usize::try_from(matched).unwrap_or(0)))
    }

    /// Reads off the fences what became of an attempt that did not match them, or whose outcome is in doubt.
    ///
    /// Only an attempt that was *fenced* says who owns which lane: its own statements would have conflicted
    /// with an earlier attempt that is still on its way. And only the server's own word that there is no such
    /// transaction says that nothing can come after it.
    async fn settle(&self, commit: &Commit, broken: Broken) -> Settled {
        let open = || Fault::retry("the outcome of a commit is not known yet");
        let told = tokio::time::timeout(ANSWER, self.resolution(commit)).await;
        match (told.unwrap_or_else(|_| Err(silence())), broken) {
            (Err(failure), _) => Settled::Open(failure),
            (Ok(Resolution::Applied), _) => Settled::Applied,
            (Ok(Resolution::Lost(lanes)), Broken::Fenced) => Settled::Lost(lanes),
            (Ok(Resolution::NotApplied), Broken::Failed(failure)) if failure.is_aborted => {
                Settled::NotApplied(failure)
            }
            (Ok(_), Broken::Failed(failure)) if failure.act != Act::RetrySame => Settled::Open(failure),
            (Ok(_), _) => Settled::Open(open()),
        }
    }

    /// Asks the fences, by majority, what became of a commit.
    async fn resolution(&self, commit: &Commit) -> Result<Resolution, Fault> {
        let moves = commit.moves();
        let ids: Vec<&str> = moves.iter().map(|expected| expected.lane.as_str()).collect();
        let mut stored = std::collections::HashMap::new();
        let mut cursor = self
            .store
            .collection(FENCES)
            .find(doc! {"_id": {"$in": ids}})
            .projection(doc! {"epoch": 1, "seq": 1, "content": 1})
            .read_concern(ReadConcern::majority())
            .await
            .map_err(|error| Fault::of(&error, Place::Outside))?;
        while cursor
            .advance()
            .await
            .map_err(|error| Fault::of(&error, Place::Outside))?
        {
            let fence = cursor.current();
            if let (Ok(id), Ok(epoch), Ok(seq)) =
                (fence.get_str("_id"), fence.get_i64("epoch"), fence.get_i64("seq"))
            {
                let content = fence.get_i64("content").ok().map(ContentId);
                stored.insert(LaneId::from_stored(id), Standing { epoch, seq, content });
            }
        }
        Ok(resolve(&moves, commit.content, |lane| stored.get(lane).copied()))
    }
}

/// What it means that nobody answers.
fn silence() -> Fault {
    Fault::wait("the database does not answer")
}

fn raw(command: &Document) -> Result<RawDocumentBuf, mongodb::error::Error> {
    Ok(RawDocumentBuf::try_from(command)?)
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

    fn forget(&self, lane: &LaneId) {
        self.leases.forget(lane);
    }

    async fn acquire(&self, lane: &LaneId) -> Result<Acquired, FenceError> {
        let led = match self.leases.lead(lane).await {
            Ok(Lead::Ours(led)) => led,
            Ok(Lead::Held { owner, left }) => return Ok(Acquired::Held { owner, ask_in: left }),
            Err(error) => return Err(failure::fence(&error)),
        };
        let acquired = self.store.acquire(lane, &self.leases).await?;
        if matches!(acquired, Acquired::Granted(_)) {
            led.keep();
            // Whoever had it until now has written to its rows.
            self.known().forget();
        }
        Ok(acquired)
    }

    async fn release(&self, lane: &LaneId, epoch: i64) -> Result<(), FenceError> {
        if self.store.release(lane, epoch).await? {
            let followed = self.leases.follow(lane).await;
            followed.map_err(|error| failure::fence(&error))?;
        }
        Ok(())
    }

    async fn leave(&self) -> Result<(), FenceError> {
        let left = self.leases.leave().await;
        left.map_err(|error| failure::fence(&error))
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

    async fn commit(
        &self,
        commit: &Commit,
        patience: Duration,
        doubt: &mut Doubt,
    ) -> Result<Applied, CommitError> {
        let (mut pauses, mut tries, began) = (pauses(), 0, Moment::now());
        let work = Work::of(commit);
        loop {
            let started = Moment::now();
            let broken = match self.attempt(&work, patience, doubt).await {
                Ok(()) => {
                    *doubt = Doubt::default();
                    return Ok(self.applied(&work, started).await);
                }
                Err(broken) => broken,
            };
            let failure = match broken {
                Broken::Stale(lane) => return Err(CommitError::Lost(vec![lane])),
                Broken::Held => match tokio::time::timeout(ANSWER, self.store.held(commit)).await {
                    // Whoever had it did not commit, or has it no longer.
                    Ok(Ok(held)) if held.is_empty() => Fault::retry("an id was in the way"),
                    Ok(Ok(held)) => return Err(CommitError::Held(held)),
                    Ok(Err(failure)) => failure,
                    Err(_) => silence(),
                },
                Broken::Mistaken => {
                    tracing::debug!(
                        "somebody else wrote or removed some of these rows; the same is written by upserts"
                    );
                    self.known().mistaken(&work.ledger, &work.rollups);
                    Fault::retry("a row was not what it was known to be")
                }
                Broken::Failed(failure) if !doubt.0 => failure,
                broken => match self.settle(commit, broken).await {
                    Settled::Applied => {
                        *doubt = Doubt::default();
                        return Ok(self.applied(&work, started).await);
                    }
                    Settled::Lost(lanes) => {
                        *doubt = Doubt::default();
                        return Err(CommitError::Lost(lanes));
                    }
                    Settled::NotApplied(failure) => {
                        *doubt = Doubt::default();
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
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failure::commit(failure)),
            }
        }
    }
}

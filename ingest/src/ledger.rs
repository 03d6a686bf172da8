//! The port through which batches become permanent.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rollup::event::{About, MAX_TEXT_CHARS, Reject};
use rollup::fold::{Delta, Grouping};
use rollup::journal::Packed;

use crate::decode::{Keep, Name, Payload, shown};
use crate::dedupe::{ExistingId, Generation, RejectedIdState, Remember, Scope, Windows};
use crate::identity::{CountedId, Identity, IdentityHash};
use crate::journal::Merge;
use crate::lane::{ContentId, Fence, FenceMove, JournalHead, JournalId, LaneId, LastRecord, Position};
use crate::source::Stop;

pub use crate::hold::Refusal;
pub use crate::outcome::{Outcome, Tally};

/// The ids that people know a record by, at most [`MAX_TEXT_CHARS`] characters of each: emitters may write ids of any
/// length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShownIds {
    /// The event's own, where one could be read.
    pub event_id: Option<String>,
    /// The `_id` of its document, where it has one.
    pub document_id: Option<String>,
}

impl ShownIds {
    /// Those of a record.
    #[must_use]
    pub fn of(name: &Name<'_>) -> Self {
        let event_id = name.event_id.as_deref();
        Self {
            event_id: event_id.map(|id| id.chars().take(MAX_TEXT_CHARS).collect()),
            document_id: name.document_id.as_deref().and_then(shown),
        }
    }
}

/// A rejected record, with everything that is needed to judge it again.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Where it was in its lane; unique within it.
    pub place: String,
    /// The reason, and the field at fault.
    pub reject: Reject,
    /// The record as it was read.
    pub payload: Payload,
    /// The form in which that is kept.
    pub keep: Keep,
    /// Its identity, where that could be read: what closes it.
    pub identity: Option<Identity>,
    /// The document, where it has one, whatever its event is known by.
    pub document: Option<IdentityHash>,
    /// The ids as people know them.
    pub names: ShownIds,
    /// The state in which the identity was known.
    pub known: RejectedIdState,
    /// The organization and time of the record, as far as they could be read.
    pub about: About,
    /// When the source took it in, in milliseconds.
    pub source_time_ms: i64,
}

/// A dead letter that is to be judged again: a person said so.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayRequest {
    /// Its lane.
    pub lane: LaneId,
    /// Where it was in its lane.
    pub place: String,
    /// The record as it was read.
    pub payload: Payload,
    /// The hash of its identity, where that could be read.
    pub identity: Option<IdentityHash>,
    /// When the source took it in, in milliseconds.
    pub source_time_ms: i64,
}

/// The result of judging a dead letter again.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayResult {
    /// Where it was in its lane.
    pub place: String,
    /// The outcome that closes it, or the reason for which it stays open.
    pub result: Result<Outcome, Reject>,
}

/// The journal of a commit and lane.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalCommit {
    /// Which document it is.
    pub id: JournalId,
    /// The one before it; `None`: it is the first.
    pub previous: Option<JournalHead>,
    /// What was counted.
    pub entries: Packed,
    /// What became of all records of the lane, these among them.
    pub tally: Tally,
    /// The first document that holds an id which is still known; this one, where no other does.
    pub window_from: JournalId,
}

/// The part of one lane in a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneCommit {
    /// The fence that must still be ours, and how it moves.
    pub fence: FenceMove,
    /// Where reading goes on after this commit; `None` leaves it as it is.
    pub position: Option<Position>,
    /// The last record, where the source wants to recognise it (Kafka).
    pub last: Option<LastRecord>,
    /// Every event that reached the source up to this instant (ms) is counted after this commit.
    pub watermark_ms: Option<i64>,
    /// The outcomes of the records.
    pub tally: Tally,
    /// What it counted, event by event; `None`: it judged nothing, and only moves a position.
    pub journal: Option<JournalCommit>,
    /// What it does to the journal's older documents. Each must be as it was read.
    pub merge: Option<Merge>,
    /// The ids that were counted: the emitters' own, and those of copied documents.
    pub events: Remember,
    /// The documents that the history scan took in.
    pub scanned: Remember,
    /// The documents that were deleted after they were counted.
    pub deleted: Remember,
    /// Of the ids that were counted, those that must be new in the whole ledger; only in [`Scope::Ledger`].
    pub unique: Vec<CountedId>,
    /// The ids that leave the window of event ids; only in [`Scope::Ledger`].
    pub dropped: Vec<IdentityHash>,
    /// The rejected records.
    pub letters: Vec<DeadLetter>,
    /// Dead letters that were judged again. Each must be marked still.
    pub replayed: Vec<ReplayResult>,
    /// Ids of counted events that close every dead letter that is open under them: those of this lane, or in
    /// [`Scope::Ledger`] of any.
    pub closes: Vec<Identity>,
}

impl LaneCommit {
    /// Of the identities under which it closes letters, the emitters' own ids.
    #[must_use]
    pub fn closed_event_ids(&self) -> HashSet<IdentityHash> {
        self.closes
            .iter()
            .filter_map(|identity| identity.event())
            .collect()
    }
}

/// One transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The lanes in it.
    pub lanes: Vec<LaneCommit>,
    /// The rows of all lanes, merged.
    pub delta: Delta,
    /// How far ids are unique.
    pub scope: Scope,
    /// Names this content: the fences take it, and tell by it whether it was applied.
    pub content: ContentId,
    /// The clock when it was built.
    pub at: DateTime<Utc>,
}

impl Commit {
    /// The fences that it moves.
    #[must_use]
    pub fn moves(&self) -> Vec<FenceMove> {
        self.lanes.iter().map(|lane| lane.fence.clone()).collect()
    }
}

/// A commit was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// How long the attempt took that was; those before it do not count.
    pub took: Duration,
}

/// The state of the attempts at a commit that were made before. While the outcome of one is in doubt only the same
/// content may be tried again: a part of it would be counted on top of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attempt {
    /// None was applied, and none will be.
    #[default]
    Fresh,
    /// One may have been applied without our knowing.
    InDoubt,
}

impl Attempt {
    /// Whether an earlier one may have been applied.
    #[must_use]
    pub const fn is_in_doubt(self) -> bool {
        matches!(self, Attempt::InDoubt)
    }
}

/// A commit was not applied. Each variant says who must act.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// These lanes belong to another process. Cut them out; the rest may be tried again.
    #[error("lost {} of the lanes", .0.len())]
    Lost(Vec<LaneId>),
    /// A counter would not fit 64 bits. Halve, to find the booking.
    #[error("a stored counter would overflow")]
    Overflow,
    /// These ids are held already ([`Scope::Ledger`]). Judge their events by that, and fold again.
    #[error("{} of the ids are in the ledger already", .0.len())]
    DuplicateIds(Vec<(IdentityHash, ExistingId)>),
    /// Somebody else was in the way, again and again. Halve: a shorter commit meets fewer.
    #[error("a conflict: {0}")]
    Conflict(String),
    /// Time, cache or size. Take less.
    #[error("too much for one transaction: {0}")]
    TooMuch(String),
    /// The server refuses a statement that a record leads to. Halve, to find it.
    #[error("a record cannot be written: {0}")]
    BadRecord(String),
    /// The database is away, or gives an error that no table knows. Try the same again, for as long as it takes.
    #[error("the database is away: {0}")]
    Away(String),
    /// Keep the same, and try again now and then: a person must act.
    #[error("the ledger cannot be written: {why}")]
    Refused {
        /// The thing to be mended.
        reason: Refusal,
        /// The words of the server.
        why: String,
    },
}

/// The ledger did not answer a question beside commits.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The database is away, or gives an error that no table knows. Try again, for as long as it takes.
    #[error("the database is away: {0}")]
    Away(String),
    /// Try again now and then: a person must act.
    #[error("the fence cannot be read or written: {why}")]
    Refused {
        /// The thing to be mended.
        reason: Refusal,
        /// The words of the server.
        why: String,
    },
}

/// A lane that is ours.
#[derive(Debug)]
pub struct Granted {
    /// Its fence.
    pub fence: Fence,
    /// The ids of its windows, oldest commit first.
    pub windows: Windows<Vec<Generation>>,
    /// Which rows its events are booked to, until the fence is moved.
    pub grouping: Grouping,
    /// Its journal is not what was written: nothing more may be counted. The windows are empty then.
    pub damage: Option<Stop>,
}

/// The answer to an attempt to acquire a lane.
#[derive(Debug)]
pub enum Acquired {
    /// The lane is ours from here on.
    Granted(Granted),
    /// Another process leads under a lease that has not run out; or a commit of a worker that lives is in the way.
    LeasedTo {
        /// Who.
        owner: String,
        /// After which it is worth asking again, at the latest.
        ask_in: Duration,
    },
}

/// The store of the ledger.
///
/// The guarantee that every implementation gives: a commit is applied as a whole, at most once, and only
/// while every fence in it is where the commit expects it.
pub trait Ledger: Send + Sync + 'static {
    /// The loop got something done: an attempt, a poll or an idle step ended. The leases of this worker are renewed
    /// beside the loop, and only while it does.
    fn alive(&self);

    /// The lane was lost, stopped, or is the source's no longer: its lease, where it has one, is renewed no longer and runs
    /// out.
    fn lost(&self, lane: &LaneId);

    /// Makes a lane ours: raises its epoch, which shuts out every earlier owner. Where the source assigns no lanes,
    /// only where the lease of the present leader has run out, by the clock of the store. A commit that is in the way
    /// is ended by force only where the lease of its worker is over.
    fn acquire(&self, lane: &LaneId) -> impl Future<Output = Result<Acquired, FenceError>> + Send;

    /// Gives a lane back, so that another process need not wait for the lease to run out.
    fn release(&self, lane: &LaneId, epoch: i64) -> impl Future<Output = Result<(), FenceError>> + Send;

    /// The worker ends in good order, all its lanes given back: its own lease is removed.
    fn leave(&self) -> impl Future<Output = Result<(), FenceError>> + Send;

    /// Stores that a lane stopped, and why, for `lanes list`. A lane that stopped for the same reason before did so then.
    fn stopped(
        &self,
        lane: &LaneId,
        epoch: i64,
        stop: &Stop,
        at: DateTime<Utc>,
    ) -> impl Future<Output = Result<(), FenceError>> + Send;

    /// Whether it is stored that a lane stopped, and nobody has said since how it goes on. Writes nothing.
    fn is_stopped(&self, lane: &LaneId) -> impl Future<Output = Result<bool, FenceError>> + Send;

    /// The next documents of a lane's journal, behind `from` and before its newest, that are to become one; `None`: there
    /// are not enough of them yet.
    fn mergeable(
        &self,
        lane: &LaneId,
        from: JournalId,
        newest: JournalId,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<Option<Merge>, FenceError>> + Send;

    /// Stores which lanes the source has.
    fn topology(&self, lanes: &[LaneId]) -> impl Future<Output = Result<(), FenceError>> + Send;

    /// The dead letters of these lanes that are marked to be judged again: at most so many, and about so many
    /// bytes of them.
    fn replay_requests(
        &self,
        lanes: &[LaneId],
        max_letters: usize,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Vec<ReplayRequest>, FenceError>> + Send;

    /// Drops the payloads of open letters of these lanes that were rejected before this instant: a bounded number of
    /// them, the oldest first. How many.
    fn drop_payloads(
        &self,
        lanes: &[LaneId],
        before: DateTime<Utc>,
    ) -> impl Future<Output = Result<u64, FenceError>> + Send;

    /// Deletes documents of the journal of these lanes that are older than this and that no window needs: a bounded number
    /// of them, the oldest first. How many. It is stored before that what is older cannot be proved.
    fn forget_journal(
        &self,
        lanes: &[LaneId],
        before: DateTime<Utc>,
    ) -> impl Future<Output = Result<u64, FenceError>> + Send;

    /// Applies a commit. An attempt that has not come to its end after `patience` is given up
    /// ([`CommitError::TooMuch`]), unless its end was asked for.
    fn commit(
        &self,
        commit: &Commit,
        patience: Duration,
        attempt: &mut Attempt,
    ) -> impl Future<Output = Result<Applied, CommitError>> + Send;
}

//! What a source says to the loop, and what the loop answers.
//!
//! A source owns its connection in one task or thread and speaks through one bounded channel: where the
//! channel is full the source waits, and that is all the back-pressure there is. It never drops a record,
//! and it never counts one.

use std::fmt;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::decode::Payload;
use crate::lane::{Fence, LaneId, LastRecord, Position};
use crate::ledger::Refusal;

/// Names one time that a lane was granted. Records under an older grant are dropped unread, so nothing
/// that was on its way when a lane was lost can reach the lane's next life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey(pub u64);

/// One record of a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The grant under which it was read.
    pub lane: LaneKey,
    /// What was read.
    pub payload: Payload,
    /// The lane's position when this record and all before it are done.
    pub next: Position,
    /// When the source took it in, in milliseconds.
    pub source_time_ms: i64,
    /// Everything that reached the source up to this instant (ms) lies at or before this record, if the
    /// source can tell.
    pub as_of_ms: Option<i64>,
    /// Taken in by the scan of what was there before the stream: `maxAge` does not apply.
    pub historical: bool,
    /// What recognises the record later, where the source wants that.
    pub last: Option<LastRecord>,
}

/// A lane that was granted to us.
#[derive(Debug)]
pub struct Grant {
    /// Under which records are sent.
    pub key: LaneKey,
    /// Where to go on.
    pub fence: Fence,
    /// Cancelled when the lane is lost. A source to which the lane is still assigned asks for it again.
    pub lost: CancellationToken,
    /// The position of the last commit, for tools that show it elsewhere. Never read back.
    pub committed: watch::Receiver<Option<Position>>,
}

/// Why a lane stopped. It goes on only when a person says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// The change stream's history is gone: the oplog no longer reaches back to the token.
    HistoryLost,
    /// The collection was dropped or renamed, or its database dropped.
    Invalidated,
    /// The partition no longer has the records after our position.
    OffsetOutOfRange,
    /// The topic was deleted or recreated, or has fewer partitions.
    TopicChanged,
}

impl StopReason {
    /// The reason as `/readyz` and `lanes list` show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            StopReason::HistoryLost => "history_lost",
            StopReason::Invalidated => "invalidated",
            StopReason::OffsetOutOfRange => "offset_out_of_range",
            StopReason::TopicChanged => "topic_changed",
        }
    }
}

/// A lane's stop: why, and what a person needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    /// Why.
    pub reason: StopReason,
    /// What was found.
    pub detail: String,
    /// Where the lane could go on without a gap, if the source knows such a position.
    pub resumable: Option<Position>,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

/// What a source says.
#[derive(Debug)]
pub enum Signal {
    /// The source has these lanes now; sent once at first, and when they change.
    Topology(Vec<LaneId>),
    /// The source was given this lane and wants to know where to go on. Answered when it is ours.
    Assigned {
        /// Which.
        lane: LaneId,
        /// Where the answer goes.
        reply: oneshot::Sender<Grant>,
    },
    /// The source no longer has these lanes, granted or not. Nothing more is committed for them.
    Revoked {
        /// Which.
        lanes: Vec<LaneId>,
        /// Answered when the loop has let go of them.
        reply: oneshot::Sender<()>,
    },
    /// Records, in the order of each lane.
    Records(Vec<Record>),
    /// All records of the lane were sent, up to this instant: the lane is idle.
    Idle {
        /// Which.
        lane: LaneKey,
        /// Where reading would go on.
        next: Position,
        /// Everything that reached the source up to this instant (ms) was sent. `None`: the source
        /// cannot tell yet.
        as_of_ms: Option<i64>,
    },
    /// The lane cannot go on, and must not skip ahead. Where it is granted, what was read of it is committed
    /// first, and then it is let go of.
    Stopped {
        /// Which.
        lane: LaneId,
        /// Why.
        stop: Stop,
    },
    /// The source is away, or is back again (`None`).
    Away(Option<String>),
    /// The source may not be read: a person must act. It is tried again by itself.
    Refused {
        /// What is to be mended.
        reason: Refusal,
        /// What the server said.
        why: String,
    },
    /// The source cannot go on at all: the process stops.
    Failed(String),
}

/// The loop's end of a source.
pub type Signals = mpsc::Receiver<Signal>;

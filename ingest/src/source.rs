//! What a source says to the loop, and what the loop answers.
//!
//! A source owns its connection in one task or thread and speaks through one bounded channel: where the
//! channel is full the source waits, and that is all the back-pressure there is. It never drops a record,
//! and it never counts one.
//!
//! Only that lanes are the source's no longer goes another way, past everything that waits: a group does not go on
//! before its members have let go. So each signal is numbered, and one about the life of a lane from before the lane was
//! revoked is dropped. Records need no number: the grant that they were read under is over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::decode::Payload;
use crate::hold::Refusal;
use crate::lane::{Fence, LaneId, LastRecord, Position};

/// Names one time that a lane was granted. Records under an older grant are dropped unread, so nothing
/// that was on its way when a lane was lost can reach the lane's next life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId(pub u64);

/// One record of a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The grant under which it was read.
    pub lane: GrantId,
    /// What was read.
    pub payload: Payload,
    /// Which of the events of what was read it is, where that held several.
    pub index: Option<u32>,
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
    pub key: GrantId,
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
    /// The lane's journal is not what was written: duplicates could not be told from new events.
    JournalDamaged,
    /// The lane's journal goes on beyond its fence: it was set back, and would count again.
    FenceBehind,
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
            StopReason::JournalDamaged => "journal_damaged",
            StopReason::FenceBehind => "fence_behind",
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
pub enum SourceEvent {
    /// The source has these lanes now; sent once at first, and when they change.
    Topology(Vec<LaneId>),
    /// The source was given this lane and wants to know where to go on. Answered when it is ours.
    Assigned {
        /// Which.
        lane: LaneId,
        /// Where the answer goes.
        reply: oneshot::Sender<Grant>,
    },
    /// The source knows which lanes are its own. They may be none, and are told one by one where there are any.
    Joined,
    /// Records, in the order of each lane.
    Records(Vec<Record>),
    /// All records of the lane were sent, up to this instant: the lane is idle.
    Idle {
        /// Which.
        lane: GrantId,
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

/// A channel between a source and the loop that holds so many signals.
#[must_use]
pub fn channel(signals: usize) -> (Voice, Signals) {
    let (say, said) = mpsc::channel(signals);
    let (revoke, revoked) = mpsc::unbounded_channel();
    let voice = Voice {
        say,
        revoke,
        numbers: Arc::default(),
    };
    let signals = Signals {
        said,
        revoked,
        over: BTreeMap::new(),
    };
    (voice, signals)
}

/// Nobody listens any more.
#[derive(Debug, thiserror::Error)]
#[error("the loop has ended")]
pub struct Closed;

/// The source's end.
#[derive(Debug, Clone)]
pub struct Voice {
    say: mpsc::Sender<Said>,
    revoke: mpsc::UnboundedSender<Revoked>,
    numbers: Arc<AtomicU64>,
}

/// A signal in its place among the others of its source.
#[derive(Debug)]
pub struct Said {
    number: u64,
    signal: SourceEvent,
}

/// The source no longer has these lanes, granted or not. Nothing more is committed for them.
#[derive(Debug)]
pub(crate) struct Revoked {
    number: u64,
    pub(crate) lanes: Vec<LaneId>,
    /// Answered when the loop has let go of them.
    pub(crate) reply: oneshot::Sender<()>,
}

impl Voice {
    /// Says it, as soon as there is room.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn send(&self, signal: SourceEvent) -> Result<(), Closed> {
        self.say.send(self.number(signal)).await.map_err(|_| Closed)
    }

    /// Says at once, and past everything that was said before, that the source has these lanes no longer. Answered when
    /// the loop has let go of them; dropped where the loop is gone, and there is nobody to wait for.
    #[must_use]
    pub fn revoke(&self, lanes: Vec<LaneId>) -> oneshot::Receiver<()> {
        let (reply, done) = oneshot::channel();
        let revoked = Revoked {
            number: self.next(),
            lanes,
            reply,
        };
        if self.revoke.send(revoked).is_err() {
            tracing::debug!("lanes were revoked after the loop had ended");
        }
        done
    }

    /// Gives a signal its place, for a source that keeps it until there is room.
    pub(crate) fn number(&self, signal: SourceEvent) -> Said {
        Said {
            number: self.next(),
            signal,
        }
    }

    /// Where signals go that have their place.
    pub(crate) const fn sender(&self) -> &mpsc::Sender<Said> {
        &self.say
    }

    fn next(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// For how many signals there is room.
    #[must_use]
    pub fn room(&self) -> usize {
        self.say.capacity()
    }

    /// Whether nobody listens any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.say.is_closed()
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&self) {
        self.say.closed().await;
    }
}

/// The loop's end of a source.
#[derive(Debug)]
pub struct Signals {
    pub(crate) said: mpsc::Receiver<Said>,
    pub(crate) revoked: mpsc::UnboundedReceiver<Revoked>,
    /// When lanes were revoked last.
    over: BTreeMap<LaneId, u64>,
}

impl Signals {
    /// Takes note of a revocation: what was said of its lanes before does not hold any more.
    pub(crate) fn note(&mut self, revoked: &Revoked) {
        for lane in &revoked.lanes {
            self.over.insert(lane.clone(), revoked.number);
        }
    }

    /// The signal, if it still holds.
    pub(crate) fn holds(&self, said: Said) -> Option<SourceEvent> {
        let is_over = match &said.signal {
            SourceEvent::Assigned { lane, .. } | SourceEvent::Stopped { lane, .. } => {
                self.over.get(lane).is_some_and(|revoked| *revoked > said.number)
            }
            _ => false,
        };
        (!is_over).then_some(said.signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(lane: &LaneId) -> SourceEvent {
        let (reply, _) = oneshot::channel();
        SourceEvent::Assigned {
            lane: lane.clone(),
            reply,
        }
    }

    fn stopped(lane: &LaneId) -> SourceEvent {
        let stop = Stop {
            reason: StopReason::TopicChanged,
            detail: String::new(),
            resumable: None,
        };
        SourceEvent::Stopped {
            lane: lane.clone(),
            stop,
        }
    }

    #[tokio::test]
    async fn a_revocation_overtakes_what_was_said_of_its_lanes_and_nothing_that_is_said_after_it() {
        let (voice, mut signals) = channel(16);
        let lanes = [LaneId::kafka("t", 0), LaneId::kafka("t", 1)];
        for lane in &lanes {
            voice.send(asked(lane)).await.expect("there is room");
            voice.send(stopped(lane)).await.expect("there is room");
        }
        let done = voice.revoke(vec![lanes[0].clone()]);
        voice.send(stopped(&lanes[0])).await.expect("there is room");
        voice.send(asked(&lanes[0])).await.expect("there is room");
        let revoked = signals.revoked.try_recv().expect("is there before all else");
        signals.note(&revoked);
        let mut held = Vec::new();
        while let Ok(said) = signals.said.try_recv() {
            held.extend(signals.holds(said).map(|signal| match signal {
                SourceEvent::Assigned { lane, .. } => (lane, "asked"),
                SourceEvent::Stopped { lane, .. } => (lane, "stopped"),
                other => panic!("{other:?}"),
            }));
        }
        let [first, second] = lanes;
        let expected = [
            (second.clone(), "asked"),
            (second, "stopped"),
            (first.clone(), "stopped"),
            (first, "asked"),
        ];
        assert_eq!(held, expected);
        drop((revoked, signals));
        assert!(done.await.is_err(), "nobody is waited for who is gone");
        assert!(voice.revoke(Vec::new()).await.is_err());
    }
}

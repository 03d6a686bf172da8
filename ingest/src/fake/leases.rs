//! Who lives, who leads, and whose transaction keeps which fences.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::lane::LaneId;
use crate::lease;
use crate::ledger::Commit;

/// For how long the database keeps the transaction of a client that died.
const LIFETIME: TimeDelta = TimeDelta::seconds(60);

/// A lease, by the clock of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLease {
    /// Whose it is.
    pub owner: String,
    /// When it was renewed last.
    pub renewed: DateTime<Utc>,
    /// For how long it holds then.
    pub length: Duration,
}

impl StoredLease {
    fn remaining(&self, now: DateTime<Utc>) -> Option<Duration> {
        lease::remaining(self.renewed, self.length, now)
    }
}

/// A transaction that has matched its fences and has not ended.
#[derive(Debug)]
struct Open {
    owner: String,
    lanes: Vec<LaneId>,
    since: DateTime<Utc>,
}

/// Everything of that.
#[derive(Debug, Default)]
pub(super) struct Leases {
    workers: BTreeMap<String, StoredLease>,
    leaders: BTreeMap<LaneId, StoredLease>,
    open: BTreeMap<u64, Open>,
    opened: u64,
    /// Owners of transactions that were ended by force.
    ended: Vec<String>,
}

/// Why a lane cannot be taken now.
pub(super) struct InTheWay {
    pub(super) owner: String,
    pub(super) ask_in: Duration,
}

impl Leases {
    pub(super) fn leader(&self, lane: &LaneId) -> Option<&StoredLease> {
        self.leaders.get(lane)
    }

    pub(super) fn ended(&self) -> &[String] {
        &self.ended
    }

    /// The worker lives, and leads what it led, where nobody took that.
    pub(super) fn renew(
        &mut self,
        owner: &str,
        led: &BTreeSet<LaneId>,
        length: Duration,
        now: DateTime<Utc>,
    ) {
        let renewed = StoredLease {
            owner: owner.to_owned(),
            renewed: now,
            length,
        };
        for (lane, leader) in &mut self.leaders {
            if leader.owner == owner && led.contains(lane) {
                *leader = renewed.clone();
            }
        }
        self.workers.insert(owner.to_owned(), renewed);
    }

    /// Makes this worker the leader of a lane, unless another one leads.
    pub(super) fn lead(
        &mut self,
        lane: &LaneId,
        owner: &str,
        length: Duration,
        now: DateTime<Utc>,
    ) -> Result<(), InTheWay> {
        let other = self.leaders.get(lane).filter(|leader| leader.owner != owner);
        if let Some((leader, ask_in)) = other.and_then(|leader| Some((leader, leader.remaining(now)?))) {
            return Err(InTheWay {
                owner: leader.owner.clone(),
                ask_in,
            });
        }
        let (owner, renewed) = (owner.to_owned(), now);
        self.leaders.insert(
            lane.clone(),
            StoredLease {
                owner,
                renewed,
                length,
            },
        );
        Ok(())
    }

    pub(super) fn follow(&mut self, lane: &LaneId, owner: &str) {
        self.leaders
            .retain(|led, leader| led != lane || leader.owner != owner);
    }

    pub(super) fn leave(&mut self, owner: &str) {
        self.workers.remove(owner);
        self.leaders.retain(|_, leader| leader.owner != owner);
    }

    /// Makes the fence of a lane movable: ends the transaction that keeps it, where its worker's lease is over.
    pub(super) fn clear(&mut self, lane: &LaneId, now: DateTime<Utc>) -> Result<(), InTheWay> {
        let keeps = |open: &Open| open.lanes.contains(lane) && now - open.since < LIFETIME;
        while let Some((id, open)) = self.open.iter().find(|(_, open)| keeps(open)) {
            let (id, owner) = (*id, open.owner.clone());
            let worker = self.workers.get(&owner);
            if let Some(ask_in) = worker.and_then(|worker| worker.remaining(now)) {
                return Err(InTheWay { owner, ask_in });
            }
            self.open.remove(&id);
            self.ended.push(owner);
        }
        Ok(())
    }

    /// A transaction has matched its fences.
    pub(super) fn open(&mut self, owner: &str, commit: &Commit, now: DateTime<Utc>) -> u64 {
        self.opened += 1;
        self.open.insert(
            self.opened,
            Open {
                owner: owner.to_owned(),
                lanes: commit.lanes.iter().map(|lane| lane.fence.lane.clone()).collect(),
                since: now,
            },
        );
        self.opened
    }

    /// The transaction ends. Whether it was there still.
    pub(super) fn close(&mut self, id: u64, now: DateTime<Utc>) -> bool {
        let open = self.open.remove(&id);
        open.is_some_and(|open| now - open.since < LIFETIME)
    }
}

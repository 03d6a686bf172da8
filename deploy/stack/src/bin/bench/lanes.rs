//! Lanes without a source: what they counted is written through the ledger that the worker writes to.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use ingest::dedupe::{Generation, Remember, Scope};
use ingest::identity::CountedId;
use ingest::lane::{ContentId, Fence, FenceMove, JournalHead, JournalId, LaneId};
use ingest::ledger::{Acquired, Attempt, Commit, JournalCommit, LaneCommit, Ledger as _, Tally};
use prometheus::Registry;
use rollup::fold::Delta;
use rollup::journal::Packed;
use rollup::period::Calendar;
use testkit::{Error, Result};
use tokio::task::JoinSet;
use usage_ledger::config::{self, Process};
use usage_ledger::store::Store;
use usage_ledger::store::leases;
use usage_ledger::store::ledger::{CommitMetrics, MongoLedger};
use usage_ledger::store::schema::Change;

const LEASE: Duration = Duration::from_secs(10);
/// For as long as one attempt at a commit may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Lanes {
    ledger: MongoLedger,
    lanes: Vec<(LaneId, Fence)>,
    /// Ends with it.
    _keeper: JoinSet<()>,
}

/// Makes the collections of a ledger.
pub(crate) async fn prepare(uri: &str, database: &str) -> Result<()> {
    let (process, store) = open(uri, database).await?;
    let prepared = store.prepare(&process.identity, None, Change::Create);
    prepared.await.map_err(failed)
}

async fn open(uri: &str, database: &str) -> Result<(Process, Store)> {
    let given = [("MONGODB_URI", uri), ("MONGODB_DATABASE", database)];
    let given: BTreeMap<&str, String> = given.map(|(name, value)| (name, value.to_owned())).into();
    let process: Process = config::parse(&given).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        failed(problems.join(", "))
    })?;
    let store = Store::open(&process.database).await.map_err(failed)?;
    Ok((process, store))
}

impl Lanes {
    /// Takes these lanes of a ledger.
    pub(crate) async fn acquire(uri: &str, database: &str, lanes: Vec<LaneId>) -> Result<Self> {
        let (_, store) = open(uri, database).await?;
        let leases = leases::Leases::open(&store, LEASE, leases::Lanes::Assigned).map_err(failed)?;
        let metrics = CommitMetrics::register(&Registry::new()).map_err(failed)?;
        let ledger = MongoLedger::open(store, Calendar::UTC, leases.clone(), metrics).map_err(failed)?;
        let mut keeper = JoinSet::new();
        keeper.spawn(leases.keep());
        let mut acquired = Vec::new();
        for lane in lanes {
            match ledger.acquire(&lane).await.map_err(failed)? {
                Acquired::Granted(granted) => acquired.push((lane, granted.fence)),
                Acquired::LeasedTo { owner, .. } => return Err(failed(format!("{lane} belongs to {owner}"))),
            }
        }
        Ok(Self {
            ledger,
            lanes: acquired,
            _keeper: keeper,
        })
    }

    /// One commit of a lane, of entries that were counted and their ids. Their rows are not written.
    pub(crate) async fn commit(&mut self, lane: usize, entries: Packed, ids: Vec<CountedId>) -> Result<()> {
        self.ledger.alive();
        let (at, content) = (testkit::now(), ContentId(rand::random()));
        let (name, fence) = &mut self.lanes[lane];
        let id = JournalId {
            generation: fence.generation,
            seq: fence.seq + 1,
        };
        let tally = Tally {
            counted: i64::try_from(entries.entries).map_err(failed)?,
            ..Tally::default()
        };
        let remembered = |ids| Remember {
            ids: Generation {
                newest_ms: at.timestamp_millis(),
                written: id,
                ids,
            },
            forget_before_ms: None,
        };
        let journal = JournalCommit {
            id,
            previous: fence.journal,
            entries,
            tally: fence.tally + tally,
            window_from: JournalId {
                seq: 1,
                generation: id.generation,
            },
        };
        let commit = Commit {
            lanes: vec![LaneCommit {
                fence: FenceMove {
                    lane: name.clone(),
                    epoch: fence.epoch,
                    seq: fence.seq,
                },
                position: None,
                last: None,
                watermark_ms: None,
                tally,
                journal: Some(journal),
                merge: None,
                events: remembered(ids),
                scanned: remembered(Vec::new()),
                deleted: remembered(Vec::new()),
                unique: Vec::new(),
                dropped: Vec::new(),
                letters: Vec::new(),
                replayed: Vec::new(),
                closes: Vec::new(),
            }],
            delta: Delta::default(),
            scope: Scope::Lane,
            content,
            at,
        };
        let mut attempt = Attempt::Fresh;
        let applied = self.ledger.commit(&commit, PATIENCE, &mut attempt);
        applied.await.map_err(failed)?;
        fence.seq = id.seq;
        fence.journal = Some(JournalHead { id, content });
        fence.tally = fence.tally + tally;
        Ok(())
    }

    /// Gives the lanes back.
    pub(crate) async fn release(self) -> Result<()> {
        for (lane, fence) in &self.lanes {
            self.ledger.release(lane, fence.epoch).await.map_err(failed)?;
        }
        self.ledger.leave().await.map_err(failed)
    }
}

fn failed(error: impl Display) -> Error {
    Error::Other(error.to_string())
}

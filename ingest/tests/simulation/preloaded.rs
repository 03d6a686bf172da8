//! Commits that no loop made.

use std::time::Duration;

use ingest::dedupe::{Generation, Remember, Scope};
use ingest::fake::FakeLedger;
use ingest::lane::{ContentId, FenceMove, LaneId};
use ingest::ledger::{Acquired, Attempt, Commit, LaneCommit, Ledger, Tally};
use rollup::fold::{Delta, Fold};

use crate::oracle::preset;
use crate::world::settings;

/// A row that is nearly full before anything is read.
pub(crate) async fn book_beforehand(ledger: &FakeLedger) {
    let policy = settings().policy;
    let mut fold = Fold::new(policy.grouping);
    fold.add(&preset().event()).expect("inside the calendar");
    let mut delta = Delta::default();
    fold.close_into(&mut delta);
    commit_alone(ledger, "beforehand", delta).await;
}

/// A commit of a lane that nobody reads.
pub(crate) async fn commit_alone(ledger: &FakeLedger, lane: &str, delta: Delta) {
    let lane = LaneId::from_stored(lane);
    let Ok(Acquired::Granted((fence, _))) = ledger.acquire(&lane).await else {
        panic!("expected the lane `{lane}`");
    };
    let nothing = || Remember {
        ids: Generation::of(std::iter::empty()),
        forget_before_ms: None,
    };
    let (epoch, seq) = (fence.epoch, fence.seq);
    let lane = LaneCommit {
        fence: FenceMove { lane, epoch, seq },
        position: None,
        last: None,
        watermark_ms: None,
        tally: Tally::default(),
        events: nothing(),
        scanned: nothing(),
        deleted: nothing(),
        unique: Vec::new(),
        dropped: Vec::new(),
        letters: Vec::new(),
        replayed: Vec::new(),
        closes: Vec::new(),
    };
    let commit = Commit {
        lanes: vec![lane],
        delta,
        scope: Scope::Lane,
        content: ContentId(0),
        at: chrono::DateTime::UNIX_EPOCH,
    };
    ledger
        .commit(&commit, Duration::MAX, &mut Attempt::Fresh)
        .await
        .expect("applied");
}

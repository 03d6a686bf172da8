//! Commits that no loop made.

use std::time::Duration;

use ingest::dedupe::{Generation, Remember, Scope};
use ingest::fake::FakeLedger;
use ingest::lane::{ContentId, FenceMove, JournalId, LaneId};
use ingest::ledger::{Acquired, Attempt, Commit, Granted, JournalCommit, LaneCommit, Ledger, Tally};
use rollup::event::{DocumentId, Identity};
use rollup::fold::{Delta, Fold, Grouping};
use rollup::journal::{Change, Entry, Packed, Packer, Place, RowRef};
use rollup::period::Granularity;

use crate::oracle::preset;

/// A row that is nearly full before anything is read.
pub(crate) async fn book_beforehand(ledger: &FakeLedger) {
    let mut fold = Fold::new(Grouping::default());
    fold.add(&preset().event()).expect("inside the calendar");
    let mut delta = Delta::default();
    fold.close_into(&mut delta);
    commit_alone(ledger, "beforehand", delta).await;
}

/// A commit of a lane that nobody reads.
pub(crate) async fn commit_alone(ledger: &FakeLedger, lane: &str, delta: Delta) {
    let lane = LaneId::from_stored(lane);
    let Ok(Acquired::Granted(Granted { fence, .. })) = ledger.acquire(&lane).await else {
        panic!("expected the lane `{lane}`");
    };
    let id = JournalId {
        generation: fence.generation,
        seq: fence.seq + 1,
    };
    let nothing = || Remember {
        ids: Generation::of(id, std::iter::empty()),
        forget_before_ms: None,
    };
    let (epoch, seq) = (fence.epoch, fence.seq);
    let lane = LaneCommit {
        fence: FenceMove { lane, epoch, seq },
        position: None,
        last: None,
        watermark_ms: None,
        tally: Tally::default(),
        journal: Some(JournalCommit {
            id,
            previous: fence.journal,
            entries: openings(&delta),
            tally: fence.tally,
            window_from: id,
        }),
        events: nothing(),
        merge: None,
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

/// The rows of a commit as balances.
fn openings(delta: &Delta) -> Packed {
    let rows = delta.ledger.values();
    let rows: Vec<_> = rows
        .filter(|row| row.period.granularity() == Granularity::Daily)
        .collect();
    let mut packer = Packer::default();
    for (at, row) in rows.iter().enumerate() {
        packer.push(&Entry {
            commit: 0,
            change: Change::Opening,
            place: Place { offset: -1, index: 0 },
            completed_at_ms: row.booked.first_event_ms,
            row: at,
            counters: row.booked.sums.narrow().expect("fits"),
            id: Identity::Document(DocumentId::None),
        });
    }
    let rows: Vec<RowRef<'_>> = rows.iter().map(|row| (row.period, &row.dimensions)).collect();
    packer.pack(Granularity::Daily, &rows)
}

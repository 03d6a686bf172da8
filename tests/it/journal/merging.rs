//! Small documents become one, and nothing else changes by that.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ingest::dedupe::{Generation, Remember, Scope};
use ingest::journal::Merge;
use ingest::lane::{ContentId, Fence, FenceMove, JournalId, LaneId};
use ingest::ledger::{Acquired, Attempt, Commit, CommitError, LaneCommit, Ledger as _, Tally};
use mongodb::bson::doc;
use prometheus::Registry;
use rollup::fold::Delta;
use rollup::period::Calendar;
use testkit::world::World;
use usage_ledger::config::{self, Given};
use usage_ledger::store::Store;
use usage_ledger::store::leases::{Lanes, Leases};
use usage_ledger::store::ledger::{CommitMetrics, MongoLedger};

use super::{assert_entries, ids, numbered, three_documents};

/// A worker without a source.
async fn ledger(world: &World) -> MongoLedger {
    let given = Given::from([
        ("MONGODB_URI", world.uri.clone()),
        ("MONGODB_DATABASE", world.name.clone()),
    ]);
    let store = Store::open(&config::parse(&given).expect("settings"))
        .await
        .expect("opens");
    let leases = Leases::open(&store, Duration::from_secs(10), Lanes::Assigned).expect("opens");
    let metrics = CommitMetrics::register(&Registry::new()).expect("metrics");
    MongoLedger::open(store, Calendar::UTC, leases, metrics).expect("opens")
}

/// A commit of a lane that does nothing but this.
fn commit(lane: &LaneId, fence: &Fence, merge: Merge) -> Commit {
    let nothing = || Remember {
        ids: Generation::of(JournalId::default(), std::iter::empty()),
        forget_before_ms: None,
    };
    let lane = LaneCommit {
        fence: FenceMove {
            lane: lane.clone(),
            epoch: fence.epoch,
            seq: fence.seq,
        },
        position: None,
        last: None,
        watermark_ms: None,
        tally: Tally::default(),
        journal: None,
        merge: Some(merge),
        events: nothing(),
        scanned: nothing(),
        deleted: nothing(),
        unique: Vec::new(),
        dropped: Vec::new(),
        letters: Vec::new(),
        replayed: Vec::new(),
        closes: Vec::new(),
    };
    Commit {
        lanes: vec![lane],
        delta: Delta::default(),
        scope: Scope::Lane,
        content: ContentId(rand::random()),
        at: now(),
    }
}

fn now() -> DateTime<Utc> {
    testkit::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn documents_of_some_time_ago_become_one_and_the_window_is_as_before() {
    let world = three_documents("journal_merged").await;
    let lane = LaneId::change_stream(&world.name, "requestEvents");
    let ledger = ledger(&world).await;
    let Ok(Acquired::Granted(granted)) = ledger.acquire(&lane).await else {
        panic!("nobody else has it");
    };
    let fence = granted.fence;
    let newest = fence.journal.expect("three documents").id;
    let look = async |ahead: TimeDelta| {
        let found = ledger
            .mergeable(&lane, fence.merged_up_to, newest, now() + ahead)
            .await;
        found.expect("reads")
    };
    assert_eq!(look(TimeDelta::zero()).await, None, "they are new");
    assert_eq!(look(TimeDelta::minutes(30)).await, None, "they are few");
    let merge = look(TimeDelta::hours(2)).await.expect("an hour is long enough");
    assert_eq!(
        merge.replaced.len(),
        2,
        "the newest is the one that the fence names"
    );

    // Somebody edited one of them meanwhile.
    let before = ids(&world).await;
    let journal = world.collection("usageJournal");
    let edit = async |edit: i64| {
        let change = doc! {"$set": {"edit": edit}};
        journal
            .update_one(doc! {"_id": &before[0]}, change)
            .await
            .expect("edits");
    };
    edit(1).await;
    let mut attempt = Attempt::Fresh;
    let outdated = commit(&lane, &fence, merge.clone());
    let refused = ledger
        .commit(&outdated, Duration::from_secs(20), &mut attempt)
        .await;
    assert!(matches!(refused, Err(CommitError::Lost(lost)) if lost == [lane.clone()]));
    assert_eq!(ids(&world).await, before);
    edit(0).await;

    let merging = commit(&lane, &fence, merge);
    let merged = ledger
        .commit(&merging, Duration::from_secs(20), &mut attempt)
        .await;
    merged.expect("is applied");
    assert_eq!(ids(&world).await, before[1..]);
    assert_entries(&world).await;
    let upto = world.fence().await.expect("a fence");
    let upto = upto.get_document("mergedUpTo").expect("an id").clone();
    assert_eq!(upto.get_i64("seq").ok(), before[1].get_i64("seq").ok());
    ledger.release(&lane, fence.epoch).await.expect("gives it back");

    let _worker = world.ready(&[]).await;
    for number in 1..=3 {
        let mut again = numbered(number);
        again.insert("_id", format!("again {number}"));
        world.insert_one(again).await;
    }
    world.wait_tally([6, 3, 3, 0, 0]).await;
}

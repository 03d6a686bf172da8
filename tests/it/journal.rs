//! The journal: every number is the sum of its entries, whatever happened.

mod merging;

use std::collections::BTreeMap;

use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};
use rollup::counters::{Counter, Sums};
use rollup::journal::Journal;
use rollup::key;
use testkit::eventually;
use testkit::product::Product;
use testkit::world::{World, admin, event, resume};

/// Every row of the finest granularity is the sum of its entries, and no entry is without its row.
pub(crate) async fn assert_entries(world: &World) {
    let (rows, entries) = (days(world).await, entries(world).await);
    for (id, sums) in &entries {
        assert_eq!(rows.get(id), Some(sums), "the entries of {id}");
    }
    let alone: Vec<&String> = rows.keys().filter(|id| !entries.contains_key(*id)).collect();
    assert_eq!(alone, Vec::<&String>::new(), "rows without entries");
}

/// The rows of the ledger by their `_id`, of the finest granularity.
async fn days(world: &World) -> BTreeMap<String, Sums> {
    let rows = world.collection("usageLedger");
    let finest = match rows
        .find_one(doc! {"granularity": "hourly"})
        .await
        .expect("reads")
    {
        Some(_) => "hourly",
        None => "daily",
    };
    let mut cursor = rows.find(doc! {"granularity": finest}).await.expect("reads");
    let mut days = BTreeMap::new();
    while cursor.advance().await.expect("reads") {
        let row: Document = cursor.deserialize_current().expect("a row");
        let mut sums = Sums::default();
        for counter in Counter::ALL {
            sums[counter] = row.get_i64(counter.name()).expect("a counter").into();
        }
        days.insert(row.get_str("_id").expect("an id").to_owned(), sums);
    }
    days
}

async fn entries(world: &World) -> BTreeMap<String, Sums> {
    let mut cursor = world
        .collection("usageJournal")
        .find(doc! {})
        .await
        .expect("reads");
    let mut entries: BTreeMap<String, Sums> = BTreeMap::new();
    while cursor.advance().await.expect("reads") {
        let document = cursor.deserialize_current().expect("a document");
        let packed = document.get_binary_generic("entries").expect("entries");
        let journal = Journal::open(packed).expect("whole");
        for (organization, _) in journal.organizations() {
            let (rows, of_organization) = journal.of(organization).expect("whole");
            for entry in of_organization {
                let row = &rows[entry.row];
                let sums = entries
                    .entry(key::ledger(row.period, &row.dimensions))
                    .or_default();
                sums.add(&entry.counters);
            }
        }
    }
    entries
}

/// A ledger whose only lane has three documents of one event each, `e-1` to `e-3`, and no worker.
async fn three_documents(name: &str) -> World {
    let world = World::new(name).await;
    let mut worker = world.ready(&[]).await;
    for number in 1..=3 {
        world.insert_one(numbered(number)).await;
        world.wait_tally([number, number, 0, 0, 0]).await;
    }
    worker.stop(testkit::PATIENCE).await.expect("drains");
    assert_entries(&world).await;
    assert_eq!(ids(&world).await.len(), 3);
    world
}

fn numbered(number: i64) -> Document {
    let mut event = event("acme");
    event.insert("eventId", format!("e-{number}"));
    event
}

/// The `_id`s of the journal's documents, in order.
async fn ids(world: &World) -> Vec<Document> {
    let journal = world.collection("usageJournal");
    let mut cursor = journal.find(doc! {}).sort(doc! {"_id": 1}).await.expect("reads");
    let mut ids = Vec::new();
    while cursor.advance().await.expect("reads") {
        let document: Document = cursor.deserialize_current().expect("a document");
        ids.push(document.get_document("_id").expect("an id").clone());
    }
    ids
}

/// A worker that stops the lane for this reason, and counts nothing.
async fn stops_as(world: &World, reason: &str) -> Product {
    let worker = world.start("run", &[]);
    eventually(reason, || async {
        let (status, body) = admin(&worker, "/readyz").await;
        status == 503 && body.contains(reason)
    })
    .await;
    assert_eq!(admin(&worker, "/healthz").await.0, 200);
    world.wait_stopped().await;
    worker
}

/// A lane whose journal is damaged counts nothing, since it could not tell duplicates; it goes on when a person says so,
/// and then knows what was counted since.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_damaged_journal_stops_its_lane() {
    let lost = |at: usize| move |ids: Vec<Document>| (ids[at].clone(), None);
    let flipped = |ids: Vec<Document>| {
        let bytes = vec![7; 16];
        let subtype = BinarySubtype::Generic;
        let change = doc! {"$set": {"events": Binary { subtype, bytes }}};
        (ids[1].clone(), Some(change))
    };
    type Damage = Box<dyn Fn(Vec<Document>) -> (Document, Option<Document>)>;
    let damages: [(&str, Damage); 4] = [
        ("journal_oldest", Box::new(lost(0))),
        ("journal_middle", Box::new(lost(1))),
        ("journal_newest", Box::new(lost(2))),
        ("journal_flipped", Box::new(flipped)),
    ];
    for (name, damage) in damages {
        let world = three_documents(name).await;
        let (id, change) = damage(ids(&world).await);
        let journal = world.collection("usageJournal");
        match change {
            Some(change) => drop(
                journal
                    .update_one(doc! {"_id": id}, change)
                    .await
                    .expect("damages"),
            ),
            None => drop(journal.delete_one(doc! {"_id": id}).await.expect("deletes")),
        }
        let mut worker = stops_as(&world, "journal_damaged").await;
        world.insert_one(numbered(4)).await;
        let lane = format!("mongodb/{}.requestEvents", world.name);
        let (code, told) = resume(&lane, "now", world.variables(&[])).await;
        assert!(code == 1 && told.contains("--from fence"), "{told}");
        assert_eq!(world.tally().await, [3, 3, 0, 0, 0]);

        let (code, told) = resume(&lane, "fence", world.variables(&[])).await;
        assert!(code == 0 && told.contains("counted again"), "{told}");
        worker.wait_ready(testkit::PATIENCE).await.expect("goes on");
        world.wait_tally([4, 4, 0, 0, 0]).await;
        worker.stop(testkit::PATIENCE).await.expect("drains");
        // Whoever has the lane next finds it whole.
        let _worker = world.ready(&[]).await;
        let mut again = numbered(4);
        again.insert("_id", "another document");
        world.insert_one(again).await;
        world.wait_tally([5, 4, 1, 0, 0]).await;
    }
}

/// A fence that was restored from before counts nothing again: the journal knows better.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_fence_that_was_set_back_stops_its_lane() {
    let world = World::new("fence_behind").await;
    let mut worker = world.ready(&[]).await;
    world.insert_one(numbered(1)).await;
    world.wait_tally([1, 1, 0, 0, 0]).await;
    let before = world.fence().await.expect("a fence");
    world.insert_one(numbered(2)).await;
    world.wait_tally([2, 2, 0, 0, 0]).await;
    worker.stop(testkit::PATIENCE).await.expect("drains");
    let fences = world.collection("usageFences");
    let same = doc! {"_id": before.get_str("_id").expect("a lane")};
    fences.replace_one(same, before).await.expect("restores");

    let _worker = stops_as(&world, "fence_behind").await;
    let lane = format!("mongodb/{}.requestEvents", world.name);
    for from in ["now", "earliest", "fence"] {
        let (code, told) = resume(&lane, from, world.variables(&[])).await;
        assert!(code == 1 && told.contains("rebuild"), "{told}");
    }
    for requests in world.requests().await {
        assert_eq!(requests, 2);
    }
}

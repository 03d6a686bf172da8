//! Rows that somebody else changes while a worker believes to know them.

use mongodb::bson::{Document, doc};
use testkit::world::{World, event};

/// What the rows of a collection hold of these filters, in requests.
async fn requests(world: &World, collection: &str, filter: Document) -> Vec<i64> {
    let mut cursor = world.collection(collection).find(filter).await.expect("reads");
    let mut requests = Vec::new();
    while cursor.advance().await.expect("reads") {
        let row = cursor.deserialize_current().expect("a row");
        requests.push(row.get_i64("requests").expect("a counter"));
    }
    requests
}

/// A worker adds to rows that it has written before without looking whether they are there. One that somebody
/// removed must not swallow what is added to it: it is booked whole again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_row_that_somebody_removed_is_booked_whole_again() {
    let world = World::new("rows_removed").await;
    let mut worker = world.ready(&[]).await;
    let book = async |worker: &mut _, read: u64| {
        let mut event = event("acme");
        event.insert("eventId", format!("e-{read}"));
        world.insert_one(event).await;
        world.wait_read(worker, read).await;
    };
    book(&mut worker, 1).await;
    book(&mut worker, 2).await;
    for (collection, removed) in [
        ("usageLedger", doc! {"granularity": "daily"}),
        ("usageRollups", doc! {"granularity": "weekly", "set": "user"}),
    ] {
        let rows = world.collection(collection);
        let whole = rows
            .find_one(removed.clone())
            .await
            .expect("reads")
            .expect("a row");
        let deleted = rows.delete_many(removed.clone()).await.expect("deletes");
        assert_eq!(deleted.deleted_count, 1);
        let read = u64::try_from(world.fence_number("read").await).expect("a count");
        book(&mut worker, read + 1).await;
        let anew = rows
            .find_one(removed.clone())
            .await
            .expect("reads")
            .expect("a row");
        assert!(
            whole.keys().all(|name| anew.contains_key(name)),
            "{anew} is as whole as {whole}"
        );
        assert_eq!(
            anew.get_i64("requests").expect("a counter"),
            1,
            "{collection}: only what came after"
        );
        book(&mut worker, read + 2).await;
        assert_eq!(
            requests(&world, collection, removed.clone()).await,
            [2],
            "{collection}"
        );
    }
    // What nobody touched has everything.
    let rest = doc! {"granularity": "monthly"};
    assert_eq!(requests(&world, "usageLedger", rest.clone()).await, [6]);
    assert_eq!(requests(&world, "usageRollups", rest).await, [6; 5]);
    let tally = ["read", "counted", "duplicate", "skipped", "deadLetter"];
    for (name, expected) in tally.into_iter().zip([6, 6, 0, 0, 0]) {
        assert_eq!(world.fence_number(name).await, expected, "{name}");
    }
}

//! Changes of event documents that are no inserts, and documents that are too large.

use std::collections::BTreeMap;

use mongodb::bson::doc;

use testkit::world::{World, event};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn changes_without_images_are_dead_letters_and_deletes_leave_the_bill() {
    let world = World::new("changes").await;
    let mut worker = world.ready(&[]).await;
    let events = world.collection("requestEvents");
    for id in ["a", "b", "c"] {
        let mut event = event("acme");
        event.insert("_id", id);
        world.insert_one(event).await;
    }
    world.wait_read(&mut worker, 3).await;
    events
        .update_one(doc! {"_id": "a"}, doc! {"$set": {"inputTokens": 99}})
        .await
        .expect("updates");
    let mut replacement = event("acme");
    replacement.insert("inputTokens", 77);
    events
        .replace_one(doc! {"_id": "b"}, replacement)
        .await
        .expect("replaces");
    events.delete_one(doc! {"_id": "c"}).await.expect("deletes");
    world.wait_read(&mut worker, 6).await;
    assert_eq!(
        world.reasons().await,
        BTreeMap::from([(("image_missing".to_owned(), String::new()), 2)])
    );
    assert_eq!(world.fence_number("skipped").await, 1);
    for (what, sums) in world.sums(doc! {}).await {
        assert_eq!((sums["requests"], sums["inputTokens"]), (3, 30), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_document_that_is_too_large_is_cut_and_kept_by_its_hash() {
    let world = World::new("too_large").await;
    let mut large = event("acme");
    large.insert("prompt", "x".repeat(300 * 1024));
    world.insert_one(large.clone()).await;
    let mut worker = world.ready(&[]).await;
    world.wait_read(&mut worker, 1).await;
    world.insert_one(large).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 3).await;
    assert_eq!(world.fence_number("counted").await, 1);
    let letters = world.letters().await;
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!(letter.get_str("reason").expect("a reason"), "too_large");
        assert!(letter.get_i64("length").expect("a length") > 300 * 1024);
        assert_eq!(letter.get_str("sha256").expect("a hash").len(), 64);
        let payload = letter.get_binary_generic("payload").expect("its head");
        assert_eq!(payload.len(), 1024);
    }
}

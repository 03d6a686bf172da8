//! What makes an event the same event when it is seen again, in the program as it runs.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, doc};
use testkit::world::{World, event};

/// A document of the events collection.
fn document(id: impl Into<Bson>) -> Document {
    let mut document = event("acme");
    document.insert("_id", id);
    document
}

async fn delete(world: &World, id: impl Into<Bson>) {
    let events = world.collection("requestEvents");
    let deleted = events.delete_one(doc! {"_id": id.into()}).await.expect("deletes");
    assert_eq!(deleted.deleted_count, 1);
}

/// Insert, delete, insert under the same `_id`: MongoDB keeps an `_id` unique only while its document is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_document_that_is_inserted_again_is_counted_once() {
    let world = World::new("identity_again").await;
    let mut worker = world.ready(&[]).await;
    let id = ObjectId::new();
    world.insert_one(document(id)).await;
    delete(&world, id).await;
    world.insert_one(document(id)).await;
    // read counted duplicate skipped deadLetter
    world.wait_tally([3, 1, 1, 1, 0]).await;

    // Whoever has the lane next knows it, too.
    delete(&world, id).await;
    world.wait_tally([4, 1, 1, 2, 0]).await;
    worker.stop(testkit::PATIENCE).await.expect("drains");
    let _worker = world.ready(&[]).await;
    world.insert_one(document(id)).await;
    world.wait_tally([5, 1, 2, 2, 0]).await;
}

/// Where the collection keeps what its documents were, an `_id` that comes again with other quantities is no duplicate;
/// and a document that never counted is not remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn with_images_a_document_is_told_from_another_one_under_its_id() {
    let world = World::new("identity_images").await;
    let create = doc! {"create": "requestEvents", "changeStreamPreAndPostImages": {"enabled": true}};
    world.database.run_command(create).await.expect("creates");
    let _worker = world.ready(&[]).await;
    let (id, test) = (ObjectId::new(), ObjectId::new());
    world.insert_one(document(id)).await;
    delete(&world, id).await;
    let mut other = document(id);
    other.insert("inputTokens", 11);
    world.insert_one(other).await;
    world.wait_tally([3, 1, 0, 1, 1]).await;
    assert_eq!(
        world
            .letters_where(doc! {"reason": "id_reused", "field": "_id"})
            .await,
        1
    );

    let mut tried = document(test);
    tried.insert("testMode", true);
    world.insert_one(tried).await;
    delete(&world, test).await;
    world.insert_one(document(test)).await;
    world.wait_tally([6, 2, 0, 3, 1]).await;
}

/// A document that was rejected is deleted, mended, and inserted again under its `_id`: that closes its letter.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_mended_document_closes_the_letter_of_its_id() {
    let world = World::new("identity_mended").await;
    let _worker = world.ready(&[]).await;
    let id = ObjectId::new();
    let mut broken = document(id);
    broken.insert("inputTokens", -1);
    world.insert_one(broken).await;
    world.wait_tally([1, 0, 0, 0, 1]).await;
    let (code, told) = world
        .letters_command(&["list", "--document-id", &id.to_hex()])
        .await;
    assert!(
        code == 0 && told.contains("out_of_range `inputTokens`") && told.contains(&id.to_hex()),
        "{told}"
    );

    delete(&world, id).await;
    world.insert_one(document(id)).await;
    world.wait_tally([3, 1, 0, 1, 1]).await;
    assert_eq!(
        world
            .letters_where(doc! {"state": "closed", "closedBy": "event"})
            .await,
        1
    );
    let (code, told) = world
        .letters_command(&["replay", "--document-id", &id.to_hex()])
        .await;
    assert!(code == 0 && told.contains("0 marked"), "{told}");
    assert_eq!(world.fence_number("counted").await, 1);
}

/// A document that was rejected without an identity that could be read was not counted: mended, it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_document_without_a_readable_identity_is_counted_when_it_is_mended() {
    let world = World::new("identity_unreadable").await;
    let _worker = world.ready(&[]).await;
    let broken: [(ObjectId, Document); 2] = [
        (ObjectId::new(), doc! {"eventId": 7}),
        (ObjectId::new(), doc! {"note": "x".repeat(300 * 1024)}),
    ];
    for (id, wrong) in &broken {
        let mut broken = document(*id);
        broken.extend(wrong.clone());
        world.insert_one(broken).await;
    }
    world.wait_tally([2, 0, 0, 0, 2]).await;
    for (id, _) in &broken {
        let (_, told) = world
            .letters_command(&["list", "--document-id", &id.to_hex()])
            .await;
        assert!(told.contains(&id.to_hex()), "{told}");
        delete(&world, *id).await;
        world.insert_one(document(*id)).await;
    }
    world.wait_tally([6, 2, 0, 2, 2]).await;
}

/// UUIDs in both subtypes, integers and texts are identities as ObjectIds are; fractions, dates and documents are none.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_kind_of_id_that_names_one_document_is_an_identity() {
    let world = World::new("identity_kinds").await;
    let _worker = world.ready(&[]).await;
    let uuid = |subtype, first: u8| Binary {
        subtype,
        bytes: (first..first + 16).collect(),
    };
    let identities: [Bson; 6] = [
        ObjectId::from_bytes([7; 12]).into(),
        "request-7".into(),
        7_i32.into(),
        i64::MAX.into(),
        uuid(BinarySubtype::Uuid, 0).into(),
        uuid(BinarySubtype::UuidOld, 16).into(),
    ];
    for id in identities.clone() {
        world.insert_one(document(id)).await;
    }
    world.wait_tally([6, 6, 0, 0, 0]).await;
    for id in identities {
        delete(&world, id.clone()).await;
        // An integer is a number, of whatever width.
        let again = id.as_i32().map_or(id, |integer| i64::from(integer).into());
        world.insert_one(document(again)).await;
    }
    world.wait_tally([18, 6, 6, 6, 0]).await;
    for id in [
        1.5.into(),
        Bson::from(doc! {"a": 1}),
        Bson::DateTime(mongodb::bson::DateTime::from_millis(0)),
    ] {
        world.insert_one(document(id)).await;
    }
    world.wait_tally([21, 6, 6, 6, 3]).await;
    assert_eq!(
        world
            .letters_where(doc! {"reason": "wrong_type", "field": "_id"})
            .await,
        3
    );
}

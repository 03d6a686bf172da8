//! What was in the collection before the first start is taken in exactly once with the live stream.

use std::collections::BTreeMap;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, Timestamp, doc, oid::ObjectId};

use testkit::eventually;
use testkit::world::{World, event};

/// Documents with an `_id` of each kind; every third number has no `eventId` and cannot be an event.
fn documents(from: i64, count: i64) -> Vec<Document> {
    let document = |at: i64| {
        let mut event = event(if at % 2 == 0 { "even" } else { "odd" });
        match at % 4 {
            0 => event.insert("_id", format!("request-{at}")),
            1 => event.insert("_id", ObjectId::new()),
            2 => event.insert("_id", Bson::Double(at as f64 + 0.5)),
            _ => event.insert("_id", at),
        };
        if matches!(at % 4, 2 | 3) && at % 3 != 0 {
            event.insert("eventId", format!("event-{at}"));
        }
        event
    };
    (from..from + count).map(document).collect()
}

/// Documents with an `_id` of every other type, and numbers and texts at the edges of theirs. Only those of
/// texts and `ObjectId`s can be events.
fn rare() -> Vec<Document> {
    let binary = |subtype, bytes: &[u8]| {
        Bson::Binary(Binary {
            subtype,
            bytes: bytes.to_vec(),
        })
    };
    let ids = [
        Bson::MinKey,
        Bson::Null,
        Bson::Double(f64::NAN),
        Bson::Double(f64::NEG_INFINITY),
        Bson::Double(f64::INFINITY),
        Bson::Decimal128("0.25".parse().expect("a decimal")),
        Bson::from("\u{10ffff}"),
        doc! {}.into(),
        doc! {"a": 1, "b": "x"}.into(),
        binary(BinarySubtype::Generic, b""),
        binary(BinarySubtype::Uuid, &[7; 16]),
        ObjectId::from_bytes([0; 12]).into(),
        ObjectId::from_bytes([0xff; 12]).into(),
        false.into(),
        true.into(),
        DateTime::from_millis(-1).into(),
        DateTime::from_millis(1).into(),
        Bson::Timestamp(Timestamp {
            time: 7,
            increment: 1,
        }),
        Bson::JavaScriptCode("x".into()),
        Bson::MaxKey,
    ];
    let document = |id: Bson| {
        let mut event = event("odd");
        event.insert("_id", id);
        event
    };
    ids.into_iter().map(document).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn mixed_ids_are_counted_once_with_live_inserts_through_a_kill() {
    kill_at("history", &[2_500]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: each of the kills waits for a lease to run out"]
async fn mixed_ids_are_counted_once_with_live_inserts_through_many_kills() {
    kill_at("history_killed", &[600, 2_500, 5_200, 9_000, 11_800]).await;
}

/// The worker is killed whenever it has read so many documents.
async fn kill_at(name: &str, goals: &[i64]) {
    let world = World::new(name).await;
    let events = world.collection("requestEvents");
    let (mut before, live) = (documents(0, 12_000), documents(12_000, 3_000));
    before.extend(rare());
    for documents in before.chunks(1_000) {
        events.insert_many(documents).await.expect("inserts");
    }
    let settings = [("BATCH_MAX_EVENTS", "300"), ("BATCH_MAX_AGE", "5ms")];
    let mut worker = world.start("ingest", &settings);
    let inserts = async {
        for documents in live.chunks(100) {
            events.insert_many(documents).await.expect("inserts");
        }
    };
    let kills = async {
        for goal in goals {
            eventually("progress", || async { world.fence_number("read").await >= *goal }).await;
            worker.process().kill9().expect("kills");
            worker = world.start("ingest", &settings);
        }
    };
    tokio::join!(inserts, kills);
    let all: Vec<&Document> = before.iter().chain(&live).collect();
    let is_event = |document: &&&Document| {
        let id = document.get("_id");
        let is_uuid = |binary: &Binary| {
            matches!(binary.subtype, BinarySubtype::Uuid | BinarySubtype::UuidOld) && binary.bytes.len() == 16
        };
        matches!(
            id,
            Some(Bson::String(_) | Bson::ObjectId(_) | Bson::Int32(_) | Bson::Int64(_))
        ) || matches!(id, Some(Bson::Binary(binary)) if is_uuid(binary))
            || document.contains_key("eventId")
    };
    let expected = all.iter().filter(is_event).count();
    world.wait_read(&mut worker, all.len() as u64).await;
    for (what, sums) in world.sums(doc! {}).await {
        assert_eq!(sums["requests"], expected as i128, "{what}");
    }
    let letters = BTreeMap::from([(("wrong_type".to_owned(), "_id".to_owned()), all.len() - expected)]);
    assert_eq!(world.reasons().await, letters);
    assert_eq!(
        world.fence_number("read").await,
        i64::try_from(all.len()).expect("fits")
    );
}

/// A new event id is new, and a known one is known, across the border between history and stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_event_id_of_the_history_is_known_to_the_stream() {
    let world = World::new("history_ids").await;
    let with_id = |id: &str| {
        let mut event = event("acme");
        event.insert("eventId", id);
        event
    };
    for id in ["a", "b", "a"] {
        world.insert_one(with_id(id)).await;
    }
    let mut worker = world.ready(&[]).await;
    world.wait_read(&mut worker, 3).await;
    for id in ["b", "c"] {
        world.insert_one(with_id(id)).await;
    }
    world.wait_read(&mut worker, 5).await;
    assert_eq!(
        (
            world.fence_number("counted").await,
            world.fence_number("duplicate").await
        ),
        (3, 2)
    );
    // Known also to the process that comes after.
    worker.process().kill9().expect("kills");
    let mut worker = world.ready(&[]).await;
    world.insert_one(with_id("c")).await;
    world.wait_read(&mut worker, 6).await;
    assert_eq!(
        (
            world.fence_number("counted").await,
            world.fence_number("duplicate").await
        ),
        (3, 3)
    );
}

/// `maxAge` is for what arrives; history may be as old as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_maximum_age_is_not_applied_to_history() {
    let world = World::new("history_age").await;
    world.insert_one(event("acme")).await;
    let mut worker = world.ready(&[("MAX_AGE", "1h")]).await;
    world.wait_read(&mut worker, 1).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 2).await;
    assert_eq!(world.fence_number("counted").await, 1);
    let too_old = (("too_old".to_owned(), "completedAt".to_owned()), 1);
    assert_eq!(world.reasons().await, BTreeMap::from([too_old]));
}

//! What connectors and gateways put on a topic, in the program as it runs.

use mongodb::bson::doc;
use serde_json::Value;

use super::Topic;

/// Records as two connectors really wrote them.
const RECORDS: &str = include_str!("../../data/connectors.jsonl");

/// Three documents, each in several forms: what a connector sends again, in whichever form, is known by the document's
/// `eventId`, or else by its `_id`.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_document_that_connectors_copy_is_counted_once() {
    let topic = Topic::new("connectors", 1).await;
    let world = &topic.world;
    let sender = topic.sender();
    let send_all = || {
        for line in RECORDS.lines() {
            let record: Value = serde_json::from_str(line).expect("JSON");
            let (key, value) = (
                record["key"].as_str().expect("a key"),
                record["value"].to_string(),
            );
            sender.send(0, key, Some(value.as_bytes())).expect("sends");
        }
        sender.send(0, "a tombstone", None).expect("sends");
        sender.flush().expect("arrives");
    };
    let mut worker = topic.worker(&[]);
    send_all();
    // read counted duplicate skipped deadLetter
    world.wait_tally([13, 3, 6, 2, 2]).await;
    for (reason, field) in [("image_missing", None), ("missing_field", Some("completedAt"))] {
        let letters = world.letters_where(doc! {"reason": reason, "field": field}).await;
        assert_eq!(letters, 1, "{reason}");
    }

    // A connector that begins again, and whoever has the partition next.
    worker.stop(super::LEAVE).await.expect("drains");
    let _worker = topic.worker(&[("DEDUPE_SCOPE", "ledger")]);
    send_all();
    world.wait_tally([26, 3, 15, 4, 4]).await;
    crate::journal::assert_entries(world).await;
    for (what, sums) in world.sums(doc! {"organizationId": "conn"}).await {
        let sums = ["requests", "inputTokens", "outputTokens", "costNanos"].map(|counter| sums[counter]);
        assert_eq!(sums, [3, 15, 6, 3_000_000], "{what}");
    }
}

/// The same `_id` names another document on another partition: nobody says that it is the same collection's.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_id_of_a_document_is_one_within_its_partition() {
    let topic = Topic::new("connector_lanes", 2).await;
    let sender = topic.sender();
    let _worker = topic.worker(&[("DEDUPE_SCOPE", "ledger")]);
    let document =
        br#"{"_id":7,"completedAt":1767607200000,"source":"chat","organizationId":"acme","inputTokens":10}"#;
    let other =
        br#"{"_id":7,"completedAt":1767607200000,"source":"chat","organizationId":"acme","inputTokens":11}"#;
    for (partition, value) in [(0, &document[..]), (1, document), (0, document), (1, other)] {
        sender.send(partition, "7", Some(value)).expect("sends");
    }
    sender.flush().expect("arrives");
    let expected = [("read", 4), ("counted", 2), ("duplicate", 1), ("deadLetter", 1)];
    for (counter, count) in expected {
        testkit::eventually(counter, || async { topic.sum(counter).await == count }).await;
    }
    let reused = doc! {"reason": "id_reused", "field": "_id", "documentId": "7", "lane": topic.lane(1)};
    assert_eq!(topic.world.letters_where(reused).await, 1);
}

/// A record of many events that is committed in pieces, by a worker that is killed between them: each event is counted
/// once, and each letter has the place of its event.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_record_of_several_events_is_taken_up_where_it_was_left() {
    let topic = Topic::new("several", 1).await;
    let world = &topic.world;
    let events = |from: usize| {
        let one = |number: usize| match number % 10 {
            9 => format!(r#"{{"eventId":"e-{number}"}}"#),
            _ => super::event(&format!("e-{number}")),
        };
        let events: Vec<String> = (from..from + 2_000).map(one).collect();
        format!("[{}]", events.join(",\n"))
    };
    let framed = [b"\0\0\0\0\x07".as_slice(), events(2_000).as_bytes()].concat();
    let sender = topic.sender();
    sender.send(0, "acme", Some(events(0).as_bytes())).expect("sends");
    sender.send(0, "acme", Some(&framed)).expect("sends");
    sender.send(0, "acme", Some(b"[]")).expect("sends");
    sender.flush().expect("arrives");
    let small = [("BATCH_MAX_EVENTS", "3")];
    for next in [0, 1] {
        let worker = topic.worker(&small);
        testkit::eventually("a part of a record is committed", || async {
            let fence = topic.fence(0).await;
            let index = fence.get_i64("index").unwrap_or(0);
            fence.get_i64("next").unwrap_or(-1) == next && (50..1_950).contains(&index)
        })
        .await;
        drop(worker);
        assert!(topic.sum("counted").await < 3_600);
    }
    let _worker = topic.worker(&[]);
    world.wait_tally([4_001, 3_600, 0, 1, 400]).await;
    let fence = topic.fence(0).await;
    assert_eq!(
        (fence.get_i64("next").ok(), fence.get_i64("index").ok()),
        (Some(3), Some(0))
    );
    for place in ["0.9", "0.1999", "1.9"] {
        assert_eq!(world.letters_where(doc! {"place": place}).await, 1, "{place}");
    }
    crate::journal::assert_entries(world).await;
    for (what, sums) in world.sums(doc! {"organizationId": "acme"}).await {
        assert_eq!(sums["inputTokens"], 36_000, "{what}");
    }
}

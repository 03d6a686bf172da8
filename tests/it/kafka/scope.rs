//! Copies of an event that come by another partition than the first.

use mongodb::bson::doc;

use super::{Topic, event};
use testkit::world::run;
use testkit::{PATIENCE, eventually};

const PARTITIONS: i32 = 4;
/// Different events.
const EVENTS: u64 = 3_000;

/// Sends every event once to each of two partitions, and every tenth broken to a third.
fn send(topic: &Topic) -> i64 {
    let sender = topic.sender();
    let mut records = 0;
    let mut to = |partition: u64, payload: &str| {
        let partition = i32::try_from(partition).expect("few") % PARTITIONS;
        sender
            .send(partition, "any", Some(payload.as_bytes()))
            .expect("sends");
        records += 1;
    };
    for number in 0..EVENTS {
        let whole = event(&format!("e-{number}"));
        if number % 10 == 0 {
            to(
                number + 2,
                &whole.replace("\"inputTokens\":10", "\"inputTokens\":-1"),
            );
        }
        to(number, &whole);
        // Far behind the first, or close to it.
        to(
            number + 1 + number % 3,
            &event(&format!("e-{}", number.wrapping_mul(7) % EVENTS)),
        );
    }
    sender.flush().expect("arrives");
    records
}

/// With ids that are unique in the whole ledger, and workers that share the partitions and are killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_scope_ledger_an_event_is_counted_once_whatever_partitions_it_comes_by() {
    let topic = Topic::new("scope_ledger", u16::try_from(PARTITIONS).expect("few")).await;
    let settings = [
        ("DEDUPE_SCOPE", "ledger"),
        ("BATCH_MAX_EVENTS", "200"),
        (
            "KAFKA_PROPERTIES",
            "session.timeout.ms=6000,heartbeat.interval.ms=500",
        ),
    ];
    let mut workers = [topic.worker(&settings), topic.worker(&settings)];
    let records = send(&topic);
    eventually("some is counted", || async { topic.sum("counted").await >= 500 }).await;
    workers[0].process().kill9().expect("killed");
    workers[0] = topic.worker(&settings);
    eventually("everything is read", || async {
        topic.sum("read").await >= records
    })
    .await;

    let (events, broken) = (
        i64::try_from(EVENTS).expect("few"),
        i64::try_from(EVENTS / 10).expect("few"),
    );
    assert_eq!(topic.sum("read").await, records);
    assert_eq!(topic.sum("counted").await, events);
    assert_eq!(topic.sum("deadLetter").await, broken);
    assert_eq!(topic.sum("duplicate").await, records - events - broken);
    let requests = |sums: std::collections::BTreeMap<String, std::collections::BTreeMap<String, i128>>| {
        sums.into_values()
            .map(|counters| counters["requests"])
            .collect::<Vec<_>>()
    };
    let sums = requests(topic.world.sums(doc! {}).await);
    assert!(
        sums.iter().all(|requests| *requests == i128::from(events)),
        "{sums:?}"
    );
    let ids = topic.world.collection("usageEventIds");
    assert_eq!(
        ids.count_documents(doc! {"counted": true}).await.expect("counts"),
        EVENTS
    );

    // Those letters that came before their event was counted are closed; of the others a replay says the same as
    // before, and nothing is counted.
    let (_, told) = run(&["dead-letters", "replay", "--all"], topic.world.variables(&[])).await;
    assert!(told.contains("marked"), "{told}");
    eventually("they are judged again", || async {
        let letters = topic.world.collection("usageDeadLetters");
        letters
            .count_documents(doc! {"state": "replay"})
            .await
            .expect("counts")
            == 0
    })
    .await;
    assert_eq!(topic.sum("counted").await, events);
    for worker in &mut workers {
        worker.stop(PATIENCE).await.expect("drains");
    }
}

/// A topic that was recreated has its offsets again: what is rejected now does not vanish under what was then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_kept_beside_one_of_another_record_at_its_offset() {
    let topic = Topic::new("letters_again", 1).await;
    let (code, told) = run(
        &["migrate"],
        topic
            .world
            .variables(&[("SOURCE", "kafka"), ("KAFKA_BROKERS", "unused")]),
    )
    .await;
    assert_eq!(code, 0, "{told}");
    let letters = topic.world.collection("usageDeadLetters");
    let then = doc! {
        "_id": format!("{}/0", topic.lane(0)), "lane": topic.lane(0), "place": "0", "state": "closed",
        "sourceTime": mongodb::bson::DateTime::from_millis(1_000),
    };
    letters.insert_one(then).await.expect("inserts");
    let sender = topic.sender();
    sender.send(0, "any", Some(b"broken")).expect("sends");
    sender.flush().expect("arrives");
    let mut worker = topic.worker(&[]);
    eventually("it is rejected", || async { topic.sum("deadLetter").await == 1 }).await;
    assert_eq!(letters.count_documents(doc! {}).await.expect("counts"), 2);
    let (_, told) = run(&["dead-letters", "replay", "--all"], topic.world.variables(&[])).await;
    assert!(told.contains("1 marked"), "{told}");
    eventually("it is judged again", || async {
        letters
            .count_documents(doc! {"replayedAt": {"$exists": true}})
            .await
            .expect("counts")
            == 1
    })
    .await;
    worker.stop(PATIENCE).await.expect("drains");
}

/// What the default scope does not know, it says: the same id on another partition counts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_scope_lane_a_copy_is_known_in_the_partition_of_the_first() {
    let topic = Topic::new("scope_lane", 2).await;
    let sender = topic.sender();
    for partition in [0, 0, 1] {
        sender
            .send(partition, "any", Some(event("e-1").as_bytes()))
            .expect("sends");
    }
    sender.flush().expect("arrives");
    let mut worker = topic.worker(&[]);
    eventually("everything is read", || async { topic.sum("read").await == 3 }).await;
    assert_eq!((topic.sum("counted").await, topic.sum("duplicate").await), (2, 1));
    worker.stop(PATIENCE).await.expect("drains");
}

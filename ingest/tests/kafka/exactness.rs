//! Every record is counted once, whoever reads it.

use rdkafka::producer::Producer as _;
use rollup::counters::Counter;

use crate::world::World;
use testkit::{PATIENCE, eventually, now, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_is_read_from_its_beginning_and_each_event_counted_once() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "beginning", 4).await;
    let producer = world.producer(&[]);
    for partition in 0..4_u64 {
        let first = partition * 1_000;
        let partition = i32::try_from(partition).expect("fits");
        producer.send_events(partition, first..first + 1_000);
        producer.send_events(partition, first + 200..first + 250);
    }
    producer.flush();
    let worker = world.worker(&[]);
    world.wait_read(4_200).await;
    producer.send_events(2, 2_000..2_003);
    producer.send_events(2, 9_000..9_007);
    producer.flush();
    world.wait_read(4_210).await;
    let tally = world.tally();
    assert_eq!((tally.counted, tally.duplicate), (4_007, 203));
    assert_eq!(world.requests(), 4_007);
    assert_eq!(world.sum(Counter::InputTokens), 40_070);
    assert_eq!(world.topology(), 4);
    world.wait_fresh().await;
    worker.wait_ready().await;
    worker.stop().await;
    assert_eq!(world.next(2), Some(1_060));

    // Another worker goes on where the ledger is, whatever Kafka believes.
    producer.send_events(0, 10..20);
    producer.send_events(0, 20_000..20_005);
    producer.flush();
    let worker = world.worker(&[]);
    world.wait_read(4_225).await;
    assert_eq!(world.requests(), 4_012);
    worker.stop().await;
}

/// Aborted records are not events, and markers of transactions move the end without a record.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn aborted_transactions_are_not_counted_and_open_ones_hold_the_freshness() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "transactions", 2).await;
    let producer = world.producer(&[("transactional.id", "t1")]);
    producer
        .inner()
        .init_transactions(PATIENCE)
        .expect("a coordinator");
    let worker = world.worker(&[]);
    for (round, commits) in [true, false, true, false].into_iter().enumerate() {
        producer.inner().begin_transaction().expect("begins");
        let first = round as u64 * 100;
        producer.send_events(0, first..first + 100);
        producer.flush();
        if commits {
            producer.inner().commit_transaction(PATIENCE).expect("commits");
        } else {
            producer.inner().abort_transaction(PATIENCE).expect("aborts");
        }
    }
    world.wait_read(200).await;
    world.wait_fresh().await;
    assert_eq!(world.requests(), 200);
    // 400 records and 4 markers.
    assert_eq!(world.next(0), Some(404));

    producer.inner().begin_transaction().expect("begins");
    producer.send_events(0, 1_000..1_010);
    producer.flush();
    let arrived_ms = now().timestamp_millis();
    // In this order: both partitions are fetched together, and asked together where they end.
    let outside = world.producer(&[]);
    outside.send_events(0, 2_000..2_001);
    outside.flush();
    outside.send_events(1, 3_000..3_001);
    outside.flush();
    let sent_ms = now().timestamp_millis();
    eventually("the other partition is counted up to a later look", || async {
        world.watermark_ms(1).is_some_and(|as_of| as_of >= sent_ms)
    })
    .await;
    assert!(world.watermark_ms(0).is_some_and(|as_of| as_of <= arrived_ms));
    assert_eq!(world.data_as_of_ms(), world.watermark_ms(0));
    assert_eq!(world.next(1), Some(1));
    assert_eq!(
        world.requests(),
        201,
        "what lies behind an open transaction waits for it"
    );
    producer.inner().commit_transaction(PATIENCE).expect("commits");
    world.wait_read(212).await;
    world.wait_fresh().await;
    worker.stop().await;
    // The fence is behind a marker, and the last record before it.
    let worker = world.worker(&[]);
    world.wait_fresh().await;
    eventually("ready", || async { worker.reasons().is_empty() }).await;
    assert_eq!(world.tally().read(), 212);
    worker.stop().await;
}

/// Members join and leave under load; lanes move between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_join_and_leave_count_every_event_once() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "members", 8).await;
    let producer = world.producer(&[]);
    let mut workers = vec![world.worker(&[])];
    let mut sent = 0;
    for round in 0..12_u64 {
        for partition in 0..8 {
            let first = round * 10_000 + u64::try_from(partition).expect("fits") * 1_000;
            producer.send_events(partition, first..first + 250);
            producer.send_events(partition, first + 100..first + 110);
            sent += 260;
        }
        producer.flush();
        match round {
            1 | 3 | 6 => workers.push(world.worker(&[])),
            2 | 5 | 8 => workers.remove(0).stop().await,
            _ => eventually("half is read", || async { world.tally().read() > sent / 2 }).await,
        }
    }
    world.wait_read(sent).await;
    world.wait_fresh().await;
    let tally = world.tally();
    assert_eq!(tally.counted, 12 * 8 * 250);
    assert_eq!(world.requests(), 12 * 8 * 250);
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(world.tally(), tally);
}

//! A partition that cannot be read on stops its lane; nothing is skipped, and the others go on.

use ingest::lane::Position;
use ingest::source::StopReason;

use crate::world::World;
use testkit::{eventually, now, shared};

/// Everything that a worker reads of `count` events in each partition is counted; then it leaves.
async fn count_and_leave(world: &World, partitions: i32, count: u64) {
    let producer = world.producer(&[]);
    for partition in 0..partitions {
        let first = u64::try_from(partition).expect("fits") * count;
        producer.send_events(partition, first..first + count);
    }
    producer.flush();
    let worker = world.worker(&[]);
    world
        .wait_read(i64::from(partitions) * i64::try_from(count).expect("fits"))
        .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_recreated_with_fewer_records_stops_the_lane() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "recreated-short", 2).await;
    count_and_leave(&world, 2, 10).await;
    world.delete().await;
    eventually_created(&world, 2).await;
    let producer = world.producer(&[]);
    producer.send_events(0, 100..105);
    producer.flush();
    let worker = world.worker(&[]);
    worker.wait_reason("topic_changed").await;
    eventually("the stop is stored", || async {
        world
            .stopped(0)
            .is_some_and(|(reason, _)| reason == StopReason::TopicChanged)
    })
    .await;
    assert_eq!(world.tally().read(), 20, "nothing of another topic is counted");
    // A person says how to go on.
    world.ledger.resume(&world.lane(0), None);
    world.ledger.resume(&world.lane(1), None);
    world.wait_read(25).await;
    worker.wait_ready().await;
    worker.stop().await;
}

/// As many records as before: only the records themselves can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_recreated_with_as_many_records_stops_the_lane() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "recreated-long", 1).await;
    count_and_leave(&world, 1, 10).await;
    world.delete().await;
    eventually_created(&world, 1).await;
    let producer = world.producer(&[]);
    producer.send_events(0, 100..150);
    producer.flush();
    let worker = world.worker(&[]);
    worker.wait_reason("topic_changed").await;
    eventually("the stop is stored", || async { world.stopped(0).is_some() }).await;
    assert_eq!(world.tally().read(), 10);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_deleted_while_it_is_read_stops_every_lane_of_it() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "deleted", 2).await;
    let producer = world.producer(&[]);
    producer.send_events(0, 0..10);
    producer.flush();
    let worker = world.worker(&[]);
    world.wait_read(10).await;
    world.wait_fresh().await;
    worker.wait_ready().await;
    world.delete().await;
    worker.wait_reason("topic_changed").await;
    // Also after the group has taken the partitions away.
    eventually("the group has taken them away", || async {
        worker.counter("usage_ledger_lanes_revoked_total") >= 2.0
    })
    .await;
    worker.wait_reason("topic_changed").await;
    eventually_created(&world, 2).await;
    producer.send_events(0, 100..105);
    producer.flush();
    let sent_ms = now().timestamp_millis();
    // Lane 1 never counted anything, so it can be read; lane 0 is not what it was, whatever is there now.
    eventually("lane 1 is read", || async {
        world.watermark_ms(1).is_some_and(|as_of| as_of >= sent_ms)
    })
    .await;
    eventually(
        "lane 0 was looked at again, and stopped for what is there",
        || async {
            world
                .stopped(0)
                .is_some_and(|(_, detail)| detail.starts_with("the partition ends at offset 5"))
        },
    )
    .await;
    eventually("nothing else is wrong", || async {
        worker.reasons() == ["topic_changed"]
    })
    .await;
    assert_eq!(world.tally().read(), 10);
    worker.stop().await;
}

/// Recreated while it is read, within a moment: the end of the partition tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_recreated_while_it_is_read_stops_its_lanes() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "replaced", 1).await;
    let producer = world.producer(&[]);
    producer.send_events(0, 0..100);
    producer.flush();
    let worker = world.worker(&[]);
    world.wait_read(100).await;
    world.delete().await;
    eventually_created(&world, 1).await;
    let producer = world.producer(&[]);
    producer.send_events(0, 1_000..1_050);
    producer.flush();
    worker.wait_reason("topic_changed").await;
    assert_eq!(world.tally().read(), 100);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn records_deleted_before_they_were_read_stop_the_lane_and_no_other() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "trimmed", 2).await;
    count_and_leave(&world, 2, 10).await;
    let producer = world.producer(&[]);
    producer.send_events(0, 100..120);
    producer.send_events(1, 200..220);
    producer.flush();
    world.trim(0, 15).await;
    let worker = world.worker(&[]);
    worker.wait_reason("offset_out_of_range").await;
    world.wait_read(40).await;
    assert_eq!(world.next(0), Some(10), "nothing was skipped");
    assert_eq!(world.next(1), Some(30));
    world.ledger.resume(&world.lane(0), Some(Position::offset(15)));
    world.wait_read(55).await;
    worker.wait_ready().await;
    worker.stop().await;
}

/// Retention that took the last record that was read, and none that was not, is no gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn records_deleted_after_they_were_read_are_no_reason_to_stop() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "retained", 1).await;
    count_and_leave(&world, 1, 10).await;
    world.trim(0, 10).await;
    let producer = world.producer(&[]);
    producer.send_events(0, 100..105);
    producer.flush();
    let worker = world.worker(&[]);
    world.wait_read(15).await;
    worker.wait_ready().await;
    // And while it is read.
    world.trim(0, 15).await;
    producer.send_events(0, 200..205);
    producer.flush();
    world.wait_read(20).await;
    world.wait_fresh().await;
    assert_eq!(worker.reasons(), [""; 0]);
    worker.stop().await;
}

/// Records that were deleted under the reader's feet: the broker says so, and does not say which partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn records_deleted_while_the_loop_was_busy_stop_the_lane() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "outrun", 2).await;
    let producer = world.producer(&[]);
    // Small fetches, so that the reader asks for the records only when it needs them.
    let small = [
        ("fetch.message.max.bytes", "10000"),
        ("queued.max.messages.kbytes", "1"),
        ("queued.min.messages", "1"),
    ];
    let worker = world.worker(&small);
    producer.send_events(0, 0..10);
    producer.send_events(1, 1_000_000..1_000_010);
    producer.flush();
    world.wait_read(20).await;
    world.ledger.hold(true);
    producer.send_events(0, 10..100_000);
    producer.flush();
    worker.wait_full().await;
    world.trim(0, 90_000).await;
    world.ledger.hold(false);
    worker.wait_reason("offset_out_of_range").await;
    producer.send_events(1, 1_000_010..1_000_020);
    producer.flush();
    eventually("the other lane goes on", || async { world.next(1) == Some(20) }).await;
    assert_eq!(
        Some(world.tally_of(0).counted),
        world.next(0),
        "what was read is counted, and nothing was skipped"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn more_partitions_are_picked_up() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "grown", 1).await;
    let worker = world.worker(&[]);
    let producer = world.producer(&[]);
    producer.send_events(0, 0..10);
    producer.flush();
    world.wait_read(10).await;
    world.grow(3).await;
    let producer = world.producer(&[]);
    for partition in 0..3 {
        let first = 100 * (u64::try_from(partition).expect("fits") + 1);
        producer.send_events(partition, first..first + 10);
    }
    producer.flush();
    world.wait_read(40).await;
    world.wait_fresh().await;
    assert_eq!(world.topology(), 3);
    worker.stop().await;
}

/// A deleted topic takes a moment to be gone.
async fn eventually_created(world: &World, partitions: i32) {
    eventually("created again", || world.try_create(partitions)).await;
}

//! MongoDB stands still while far more arrives than a worker may hold. How much memory it takes then is measured by
//! `make bench`.

use testkit::kafka::member::SilentMember;
use testkit::mongodb::{Mongo, Options};

use super::{LEAVE, Topic, event};
use testkit::eventually;
use testkit::product::Product;
use testkit::world::World;

/// Bytes of a record.
const RECORD: usize = 128 * 1024;
/// Records: 200 MiB. A worker may take 32 MiB of librdkafka's, 64 signals of at most 1 MiB and a record, and three
/// batches of 8 MiB.
const RECORDS: i64 = 1_600;
/// The records of a batch of 8 MiB. One batch is on its way, and one is full.
const BATCH: u64 = 64;

/// Records that are folded and not committed.
async fn pending(worker: &Product) -> u64 {
    let metrics = worker.metrics().await.expect("metrics");
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix("usage_ledger_pending_events "));
    value.expect("the metric").parse().expect("a whole number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_takes_a_bounded_part_of_what_waits_and_stays_in_its_group() {
    let broker = testkit::shared::broker().await;
    let mut mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let world = World::on(&mongo, "kafka_pressure").await;
    let topic = Topic::on(&broker, world, "pressure", 4).await;
    let quick = [
        ("session.timeout.ms", "3000"),
        ("heartbeat.interval.ms", "500"),
        ("max.poll.interval.ms", "6000"),
    ];
    let properties = quick.map(|(name, value)| format!("{name}={value}")).join(",");
    let mut worker = topic.worker(&[("KAFKA_PROPERTIES", &properties)]);
    for partition in 0..4 {
        let first = u64::try_from(partition).expect("fits");
        topic.send(partition, first..first + 1);
        topic.wait_next(partition, 1).await;
    }
    mongo.pause().expect("freezes");
    let sender = topic.sender();
    let padding = "x".repeat(RECORD);
    for number in 0..RECORDS {
        let record = event(&format!("large-{number}")).replacen('{', &format!(r#"{{"x":"{padding}","#), 1);
        let partition = i32::try_from(number % 4).expect("fits");
        sender
            .send(partition, "acme", Some(record.as_bytes()))
            .expect("sends");
    }
    sender.flush().expect("arrives");
    eventually("a batch is full, and waits", || async {
        pending(&worker).await >= BATCH
    })
    .await;
    // Longer than a member may be silent: one that fell silent later is put out of its group.
    let silent = SilentMember::join(&topic.brokers, &topic.name, "silent", &quick).expect("joins");
    eventually("a silent member is put out", || async {
        silent.is_out().expect("an answer")
    })
    .await;
    let taken = pending(&worker).await;
    assert!(taken <= 2 * BATCH, "{taken} records taken of {RECORDS}");
    mongo.resume().expect("goes on");
    for partition in 0..4 {
        topic.wait_next(partition, 1 + RECORDS / 4).await;
        let epoch = topic.fence(partition).await.get_i64("epoch").expect("a number");
        assert_eq!(epoch, 1, "the worker was never put out of its group");
    }
    assert_eq!(topic.sum("counted").await, 4 + RECORDS);
    worker.stop(LEAVE).await.expect("leaves");
}

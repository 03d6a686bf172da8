//! A batch that is damaged on the broker's disk.

use testkit::kafka::{Broker, Options};

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_damaged_batch_is_waited_for_and_the_other_partition_goes_on() {
    damage(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: the other partition is suspected, too, and waits longer each time"]
async fn a_damaged_batch_is_waited_for_and_the_other_partition_goes_on_and_on() {
    damage(5).await;
}

/// A batch that is damaged on the broker's disk is never passed over, whatever follows it. The other partition is
/// sent more this often, and each time waited for.
async fn damage(rounds: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let options = Options {
        properties: vec![("log.dirs".into(), data.display().to_string())],
        ..Options::default()
    };
    let mut broker = Broker::start(options).await.expect("Kafka starts");
    let world = World::new(&broker, "damaged", 2).await;
    let producer = world.producer(&[]);
    for batch in 0..3 {
        producer.send_events(0, batch * 10..batch * 10 + 10);
        producer.flush();
    }
    broker.stop().await.expect("stops");
    let log = data.join("damaged-0/00000000000000000000.log");
    let flip = || {
        let mut bytes = std::fs::read(&log).expect("the log");
        let id = b"\"e-15\"";
        let at = bytes
            .windows(id.len())
            .position(|window| window == id)
            .expect("the event");
        bytes[at + 3] ^= 1;
        std::fs::write(&log, &bytes).expect("writes");
        at
    };
    let at = flip();
    broker.restart().await.expect("restarts");
    let worker = world.worker(&[]);
    producer.send_events(1, 1_000..1_010);
    producer.flush();
    world.wait_read(20).await;
    worker.wait_reason("source_unreachable").await;
    assert_eq!(world.next(0), Some(10));
    let frozen = world.data_as_of_ms();
    let mut sent = 20;
    for round in 0..rounds {
        producer.send_events(1, 2_000 + round * 10..2_010 + round * 10);
        producer.flush();
        sent += 10;
        world.wait_read(sent).await;
    }
    assert_eq!(world.data_as_of_ms(), frozen);
    // Repaired, say from a replica.
    let mut bytes = std::fs::read(&log).expect("the log");
    bytes[at + 3] ^= 1;
    std::fs::write(&log, &bytes).expect("writes");
    sent += 20;
    world.wait_read(sent).await;
    worker.wait_ready().await;
    assert_eq!(world.requests(), i128::from(sent));
    worker.stop().await;
}

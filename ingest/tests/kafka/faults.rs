//! The loop stands still, lanes are taken away, the broker goes and comes back, and records are poison.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use testkit::kafka::member::SilentMember;
use testkit::kafka::{Broker, Options};

use crate::world::{World, event};
use testkit::{eventually, now, shared};

/// A session that outlasts the patience of a test: who waits for its end fails.
const LONG_SESSION: [(&str, &str); 2] = [
    ("session.timeout.ms", "300000"),
    ("max.poll.interval.ms", "300000"),
];

/// The ledger is away while far more arrives than the process may hold; the member stays in its group.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_ledger_that_stands_still_pauses_the_partitions_and_loses_nothing() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "pressure", 4).await;
    let quick = [
        ("session.timeout.ms", "3000"),
        ("heartbeat.interval.ms", "500"),
        ("max.poll.interval.ms", "4000"),
    ];
    let worker = world.worker(&quick);
    let producer = world.producer(&[]);
    world.ledger.hold(true);
    let mut sent = 0;
    for round in 0..20_u64 {
        for partition in 0..4 {
            let first = round * 100_000 + u64::try_from(partition).expect("fits") * 10_000;
            producer.send_events(partition, first..first + 5_000);
            sent += 5_000;
        }
    }
    producer.flush();
    worker.wait_full().await;
    // Longer than a member may be silent: one that fell silent later is put out of its group.
    let silent = SilentMember::join(&world.brokers, &world.topic, "silent", &quick).expect("joins");
    eventually("a silent member is put out", || async {
        silent.is_out().expect("an answer")
    })
    .await;
    assert_eq!(world.tally().read(), 0);
    world.ledger.hold(false);
    world.wait_read(sent).await;
    assert_eq!(world.requests(), i128::from(sent));
    for partition in 0..4 {
        assert_eq!(world.epoch(partition), 1, "the lane was never lost");
    }
    world.wait_fresh().await;
    worker.stop().await;
}
/// Nobody else begins with a partition before its member has let go of it: that waits for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_partition_goes_to_another_member_while_the_ledger_stands_still() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "handed-over", 2).await;
    let worker = world.worker(&LONG_SESSION);
    let producer = world.producer(&[]);
    for partition in 0..2 {
        let first = u64::try_from(partition).expect("fits") * 1_000_000;
        producer.send_events(partition, first..first + 100);
    }
    producer.flush();
    world.wait_read(200).await;
    world.ledger.hold(true);
    for partition in 0..2 {
        let first = u64::try_from(partition).expect("fits") * 1_000_000;
        producer.send_events(partition, first + 100..first + 100_000);
    }
    producer.flush();
    worker.wait_full().await;
    let ours = [
        &LONG_SESSION[..],
        &[("partition.assignment.strategy", "cooperative-sticky")],
    ]
    .concat();
    // It has a partition before the ledger goes on.
    let other = SilentMember::join(&world.brokers, &world.topic, &world.topic, &ours).expect("joins");
    assert_eq!(worker.counter("usage_ledger_lanes_revoked_total"), 1.0);
    world.ledger.hold(false);
    drop(other);
    world.wait_read(200_000).await;
    assert_eq!(world.requests(), 200_000);
    worker.stop().await;
}

/// Somebody else raises the epoch of a lane that the group still has assigned to us.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lane_that_was_taken_away_is_asked_for_again_and_goes_on_exactly() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "stolen", 2).await;
    let worker = world.worker(&[]);
    let producer = world.producer(&[]);
    let mut sent = 0;
    for round in 0..6_u64 {
        for partition in 0..2 {
            let first = round * 10_000 + u64::try_from(partition).expect("fits") * 5_000;
            producer.send_events(partition, first..first + 1_000);
            sent += 1_000;
        }
        producer.flush();
        if round % 2 == 1 {
            world.ledger.steal(&world.lane(1));
        }
        world.wait_read(sent).await;
    }
    assert_eq!(world.requests(), i128::from(sent));
    assert!(world.epoch(1) >= 6);
    assert_eq!(world.epoch(0), 1, "no other lane was touched");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broker_that_is_killed_and_returns_is_waited_for() {
    let mut broker = Broker::start(Options::default()).await.expect("Kafka starts");
    let world = World::new(&broker, "restart", 2).await;
    let worker = world.worker(&LONG_SESSION);
    let producer = world.producer(&[]);
    producer.send_events(0, 0..1_000);
    producer.flush();
    world.wait_read(1_000).await;
    worker.wait_ready().await;
    broker.kill9().expect("kills");
    let killed_ms = now().timestamp_millis();
    worker.wait_reason("source_unreachable").await;
    world.wait_rounds(2).await;
    assert!(
        world.data_as_of_ms().is_some_and(|as_of| as_of <= killed_ms),
        "nobody knows what reached the source"
    );
    broker.restart().await.expect("restarts");
    producer.send_events(1, 1_000..2_000);
    producer.flush();
    world.wait_read(2_000).await;
    worker.wait_ready().await;
    world.wait_fresh().await;
    assert_eq!(world.requests(), 2_000);
    // A drain does not wait for a broker that is away: not for its return, and not for the end of the session.
    broker.kill9().expect("kills");
    worker.stop().await;
}

/// The group need not wait for the session of a member that left in good order, and lag tools see its work.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_member_that_leaves_tells_the_group_and_shows_its_positions() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "leaves", 1).await;
    let first = world.worker(&LONG_SESSION);
    let producer = world.producer(&[]);
    producer.send_events(0, 0..100);
    producer.flush();
    world.wait_read(100).await;
    let second = world.worker(&LONG_SESSION);
    first.stop().await;
    producer.send_events(0, 100..200);
    producer.flush();
    world.wait_read(200).await;
    second.stop().await;

    let mut config = ClientConfig::new();
    let consumer: BaseConsumer = config
        .set("bootstrap.servers", &world.brokers)
        .set("group.id", &world.topic)
        .create()
        .expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition(&world.topic, 0);
    let shown = consumer
        .committed_offsets(list, Duration::from_secs(10))
        .expect("offsets");
    assert_eq!(shown.elements()[0].offset(), Offset::Offset(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn poison_is_kept_with_a_reason_and_the_lane_goes_on() {
    let broker = shared::broker().await;
    let world = World::new(&broker, "poison", 1).await;
    let producer = world.producer(&[("message.max.bytes", "2000000")]);
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(300 * 1024));
    let values: [Option<&[u8]>; 5] = [
        None,
        Some(b""),
        Some(b"\xff\xfe"),
        Some(b"{"),
        Some(large.as_bytes()),
    ];
    for value in values {
        let mut record = BaseRecord::<str, [u8]>::to(&world.topic).partition(0).key("acme");
        record.payload = value;
        producer.send_bytes(record);
    }
    let avro = OwnedHeaders::new().insert(Header {
        key: "content-type",
        value: Some("application/avro"),
    });
    let good = event("e-1", "acme");
    producer.send_record(
        BaseRecord::to(&world.topic)
            .partition(0)
            .key("acme")
            .payload(good.as_str())
            .headers(avro),
    );
    let with_headers = OwnedHeaders::new()
        .insert(Header {
            key: "trace",
            value: Some("a"),
        })
        .insert(Header::<&str> {
            key: "nothing",
            value: None,
        });
    producer.send_record(
        BaseRecord::to(&world.topic)
            .partition(0)
            .key("acme")
            .payload(good.as_str())
            .headers(with_headers),
    );
    producer.flush();
    let worker = world.worker(&[]);
    world.wait_read(7).await;
    let tally = world.tally();
    // A record without a value is what follows a deletion.
    assert_eq!((tally.counted, tally.skipped, tally.dead_letter), (1, 1, 5));
    let letters = world.ledger.read(|stored| stored.letters.clone());
    let reasons: Vec<_> = letters
        .values()
        .map(|stored| (stored.letter.place.as_str(), stored.letter.reject.reason.code()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("1", "empty_record"),
            ("2", "invalid_utf8"),
            ("3", "invalid_json"),
            ("4", "too_large"),
            ("5", "unsupported_content_type"),
        ]
    );
    assert_eq!(world.next(0), Some(7));
    assert_eq!(world.stopped(0), None);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_that_is_made_later_is_waited_for() {
    let broker = shared::broker().await;
    let world = World::without_topic(&broker, "later");
    let worker = world.worker(&[]);
    worker.wait_reason("source_unreachable").await;
    world.create(1).await;
    let producer = world.producer(&[]);
    producer.send_events(0, 0..10);
    producer.flush();
    world.wait_read(10).await;
    worker.wait_ready().await;
    worker.stop().await;
}

//! The newer protocol of consumer groups (KIP-848), in which the broker assigns.

use testkit::kafka::{Broker, Options};
use testkit::product::Product;
use testkit::world::World;
use testkit::{eventually, shared};

use super::{LEAVE, Topic};

const NEWER: (&str, &str) = ("KAFKA_PROPERTIES", "group.protocol=consumer");
const PARTITIONS: i32 = 6;

/// Sends to every partition, and waits until it is read. Their offsets are their numbers.
async fn round(topic: &Topic, number: u64) {
    for partition in 0..PARTITIONS {
        let first = u64::try_from(partition).expect("fits") * 1_000_000 + number * 100;
        topic.send(partition, first..first + 100);
    }
    read(topic, number).await;
}

async fn read(topic: &Topic, number: u64) {
    for partition in 0..PARTITIONS {
        let end = i64::try_from(number * 100 + 100).expect("fits");
        topic.wait_next(partition, end).await;
    }
}

/// Waits until every one of these has a lane, and nobody else.
async fn share(topic: &Topic, workers: &mut [&mut Product]) {
    let mut pids: Vec<String> = workers
        .iter_mut()
        .map(|worker| format!("{}/", worker.process().pid()))
        .collect();
    pids.sort();
    eventually("the group is shared", || async {
        let mut owners = Vec::new();
        for partition in 0..PARTITIONS {
            let fence = topic.fence(partition).await;
            let owner = fence.get_str("owner").unwrap_or_default().to_owned();
            owners.push(owner.split_inclusive('/').next().unwrap_or_default().to_owned());
        }
        owners.sort();
        owners.dedup();
        owners == pids
    })
    .await;
}

async fn assert_exact(topic: &Topic, rounds: i64) {
    let all = rounds * 100 * i64::from(PARTITIONS);
    assert_eq!((topic.sum("read").await, topic.sum("counted").await), (all, all));
    for (what, sums) in topic.world.sums(mongodb::bson::doc! {}).await {
        let all = i128::from(all);
        assert_eq!((sums["requests"], sums["inputTokens"]), (all, all * 10), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_group_whose_broker_assigns_is_joined_and_left() {
    let broker = shared::broker().await;
    let world = World::new("kafka_newer").await;
    let topic = Topic::on(&broker, world, "newer", 6).await;
    let mut first = topic.worker(&[NEWER]);
    round(&topic, 0).await;
    let mut second = topic.worker(&[NEWER]);
    share(&topic, &mut [&mut first, &mut second]).await;
    round(&topic, 1).await;
    first.stop(LEAVE).await.expect("leaves");
    share(&topic, &mut [&mut second]).await;
    round(&topic, 2).await;
    second.stop(LEAVE).await.expect("leaves");
    assert_exact(&topic, 3).await;
}

/// The broker says for how long a member may be silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: starts a broker of its own, and waits for sessions to run out"]
async fn members_of_a_group_whose_broker_assigns_join_leave_and_are_killed() {
    let properties = [
        ("group.consumer.min.session.timeout.ms", "2000"),
        ("group.consumer.session.timeout.ms", "3000"),
        ("group.consumer.min.heartbeat.interval.ms", "500"),
        ("group.consumer.heartbeat.interval.ms", "500"),
    ];
    let options = Options {
        properties: properties
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Options::default()
    };
    let broker = Broker::start(options).await.expect("a broker");
    let world = World::new("kafka_newer_storm").await;
    let topic = Topic::on(&broker, world, "newer-storm", 6).await;
    let worker = || topic.worker(&[NEWER, ("BATCH_MAX_EVENTS", "20")]);
    let (mut first, mut second) = (worker(), worker());
    share(&topic, &mut [&mut first, &mut second]).await;
    round(&topic, 0).await;
    for number in [1_u64, 3, 5] {
        // One joins while there is much to do, another one is killed; and then one leaves.
        let mut third = worker();
        for partition in 0..PARTITIONS {
            let start = u64::try_from(partition).expect("fits") * 1_000_000 + number * 100;
            topic.send(partition, start..start + 100);
        }
        first.process().kill9().expect("kills");
        read(&topic, number).await;
        share(&topic, &mut [&mut second, &mut third]).await;
        round(&topic, number + 1).await;
        second.stop(LEAVE).await.expect("leaves");
        share(&topic, &mut [&mut third]).await;
        (first, second) = (third, worker());
        share(&topic, &mut [&mut first, &mut second]).await;
    }
    let tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let groups = broker.tool(tool, &["--list", "--type"]).await.expect("lists");
    let ours = groups.lines().find(|line| line.contains("newer-storm"));
    assert!(ours.is_some_and(|line| line.contains("Consumer")), "{groups}");
    first.stop(LEAVE).await.expect("leaves");
    second.stop(LEAVE).await.expect("leaves");
    assert_exact(&topic, 7).await;
}

//! A group or a topic that refuses this worker: it is not ready, says why and what to do, and goes on by itself when it is
//! let in.

use testkit::kafka::member::SilentMember;
use testkit::kafka::{Broker, Listener, Options};
use testkit::product::Product;
use testkit::world::{World, admin};
use testkit::{PATIENCE, eventually, net, shared};

use super::{LEAVE, Topic};

const NEWER: &str = "group.protocol=consumer";

/// Waits until the worker is not ready for this reason, and has said these words.
async fn refused(worker: &Product, reason: &str, words: &[&str]) {
    eventually(&format!("{reason} {words:?}"), || async {
        let (status, body) = admin(worker, "/readyz").await;
        let said = worker.said();
        status == 503 && body.contains(reason) && words.iter().all(|word| said.contains(word))
    })
    .await;
}

/// Sends these events to the only partition, and waits until they are counted.
async fn read(topic: &Topic, numbers: std::ops::Range<u64>) {
    let next = i64::try_from(numbers.end).expect("fits");
    topic.send(0, numbers);
    topic.wait_next(0, next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_session_longer_than_the_broker_allows_is_said() {
    let topic = Topic::new("refused-session", 1).await;
    let longer = "session.timeout.ms=3600000,max.poll.interval.ms=3600000";
    let mut worker = topic.worker(&[("KAFKA_PROPERTIES", longer)]);
    refused(
        &worker,
        "group_refused",
        &["Invalid session timeout", "group.max.session.timeout.ms"],
    )
    .await;
    worker.stop(LEAVE).await.expect("leaves");
}

/// Another program reads with the same group, and shares its partitions in another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_another_protocol_is_said_and_joined_when_it_is_free() {
    let topic = Topic::new("refused-protocol", 1).await;
    let strategy = [("partition.assignment.strategy", "range")];
    let other = SilentMember::join(&topic.brokers, &topic.name, &topic.name, &strategy).expect("joins");
    let mut worker = topic.worker(&[]);
    refused(
        &worker,
        "group_refused",
        &["Inconsistent group protocol", "USAGE_LEDGER_KAFKA_GROUP"],
    )
    .await;
    assert_eq!(topic.sum("read").await, 0);
    drop(other);
    worker.wait_ready(PATIENCE).await.expect("joins");
    read(&topic, 0..10).await;
    worker.stop(LEAVE).await.expect("leaves");
}

/// A group takes in one member; the next one waits for its place.
async fn full(name: &str, properties: &str) {
    let limits = [("group.max.size", "1"), ("group.consumer.max.size", "1")];
    let options = Options {
        properties: limits.map(|(name, value)| (name.into(), value.into())).into(),
        ..Options::default()
    };
    let broker = Broker::start(options).await.expect("a broker");
    let topic = Topic::on(&broker, World::new(&format!("kafka_{name}")).await, name, 1).await;
    one_after_the_other(&topic, properties, &["maximum size", "stop a worker"]).await;
}

/// Of two workers the second is refused with these words, and joins when the first has left.
async fn one_after_the_other(topic: &Topic, properties: &str, words: &[&str]) {
    let properties = ("KAFKA_PROPERTIES", properties);
    let mut first = topic.worker(&[properties]);
    first.wait_ready(PATIENCE).await.expect("ready");
    read(topic, 0..10).await;
    let mut second = topic.worker(&[properties]);
    refused(&second, "group_refused", words).await;
    assert_eq!(admin(&first, "/readyz").await.0, 200);
    first.stop(LEAVE).await.expect("leaves");
    read(topic, 10..20).await;
    second.wait_ready(PATIENCE).await.expect("joins");
    assert_eq!(topic.sum("counted").await, 20);
    second.stop(LEAVE).await.expect("leaves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_group_that_is_full_is_said_and_joined_when_there_is_room() {
    full("refused-full", "client.id=worker").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: the member waits half a minute before it joins anew"]
async fn a_brokers_group_that_is_full_is_said_and_joined_when_there_is_room() {
    full("refused-full-newer", NEWER).await;
}

/// In the newer protocol the older worker keeps a name that two workers have.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: the member waits half a minute before it joins anew"]
async fn a_name_that_another_worker_has_is_said_and_taken_when_it_is_free() {
    let topic = Topic::new("refused-name", 1).await;
    let named = "group.protocol=consumer,group.instance.id=worker-1";
    one_after_the_other(&topic, named, &["group.instance.id"]).await;
}

/// More workers than partitions: the group has taken them in, and has nothing for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_gets_no_partition_is_ready() {
    for (name, properties) in [("spare", "client.id=worker"), ("spare-newer", NEWER)] {
        let broker = shared::broker().await;
        let world = World::new(&format!("kafka_{name}")).await;
        let topic = Topic::on(&broker, world, name, 1).await;
        let properties = ("KAFKA_PROPERTIES", properties);
        let mut first = topic.worker(&[properties]);
        first.wait_ready(PATIENCE).await.expect("ready");
        let mut second = topic.worker(&[properties]);
        second.wait_ready(PATIENCE).await.expect("ready");
        read(&topic, 0..10).await;
        for worker in [&mut first, &mut second] {
            assert_eq!(admin(worker, "/readyz").await.0, 200);
            worker.stop(LEAVE).await.expect("leaves");
        }
    }
}

/// A broker on which only what is allowed is: to anybody by the plain way in, to `worker` by the other.
async fn strict(port: u16) -> Broker {
    let properties = [
        ("sasl.enabled.mechanisms", "PLAIN"),
        (
            "listener.name.users.plain.sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_worker=\"secret\";",
        ),
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("super.users", "User:ANONYMOUS"),
    ];
    let options = Options {
        listeners: vec![Listener {
            name: "USERS".into(),
            protocol: "SASL_PLAINTEXT".into(),
            port,
        }],
        properties: properties.map(|(name, value)| (name.into(), value.into())).into(),
        ..Options::default()
    };
    Broker::start(options).await.expect("a broker")
}

/// Gives or takes away a right of `worker` on these, such as `--group NAME`; `change` is `--add` or `--remove`.
async fn right(broker: &Broker, change: &str, operation: &str, on: &[&str]) {
    let mut arguments = vec![
        change,
        "--allow-principal",
        "User:worker",
        "--operation",
        operation,
    ];
    arguments.extend(on);
    if change == "--remove" {
        arguments.push("--force");
    }
    let changed = broker.tool("org.apache.kafka.tools.AclCommand", &arguments).await;
    changed.expect("a right");
}

/// A worker that logs in as `worker`, on this broker and its other port.
fn worker(topic: &Topic, port: u16, more: &str) -> Product {
    let brokers = net::loopback(port).to_string();
    let properties = format!(
        "{more},security.protocol=sasl_plaintext,sasl.mechanisms=PLAIN,sasl.username=worker,sasl.password=secret"
    );
    topic.worker(&[("KAFKA_BROKERS", &brokers), ("KAFKA_PROPERTIES", &properties)])
}

fn no_topic(name: &str) -> String {
    format!("allow this user READ on the topic `{name}`")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_without_rights_says_so_and_reads_when_it_has_them() {
    let (name, port) = ("refused-rights", net::free_port().expect("a port"));
    let broker = strict(port).await;
    let topic = Topic::on(&broker, World::new("kafka_refused-rights").await, name, 1).await;
    let mut worker = worker(&topic, port, "client.id=worker");
    refused(&worker, "not_authorized", &[&no_topic(name)]).await;
    right(&broker, "--add", "Read", &["--topic", name, "--group", name]).await;
    worker.wait_ready(PATIENCE).await.expect("reads");
    read(&topic, 0..10).await;
    worker.stop(LEAVE).await.expect("leaves");
    assert!(!worker.said().contains("secret"));
}

/// One right after the other is given, and the last one is taken away again.
async fn rights(name: &str, more: &str) {
    let port = net::free_port().expect("a port");
    let broker = strict(port).await;
    let topic = Topic::on(&broker, World::new(&format!("kafka_{name}")).await, name, 1).await;
    let mut worker = worker(&topic, port, more);
    refused(&worker, "not_authorized", &[&no_topic(name)]).await;
    right(&broker, "--add", "Describe", &["--topic", name]).await;
    let no_group = format!("allow this user READ on the group `{name}`");
    refused(&worker, "not_authorized", &[&no_group]).await;
    right(&broker, "--add", "Read", &["--group", name]).await;
    // It is assigned now, and still may not read.
    eventually("it has the lane", || async { !topic.fence(0).await.is_empty() }).await;
    refused(&worker, "not_authorized", &[]).await;
    right(&broker, "--add", "Read", &["--topic", name]).await;
    worker.wait_ready(PATIENCE).await.expect("reads");
    read(&topic, 0..10).await;
    right(&broker, "--remove", "Read", &["--topic", name]).await;
    topic.send(0, 10..20);
    refused(&worker, "not_authorized", &[]).await;
    assert_eq!(topic.sum("counted").await, 10);
    right(&broker, "--add", "Read", &["--topic", name]).await;
    worker.wait_ready(PATIENCE).await.expect("reads");
    topic.wait_next(0, 20).await;
    assert_eq!(topic.sum("counted").await, 20);
    worker.stop(LEAVE).await.expect("leaves");
    assert!(!worker.said().contains("password") && !worker.said().contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: rights are given and taken one by one"]
async fn rights_that_are_missing_are_said_one_by_one_and_taken_up_when_they_are_given() {
    rights("refused-one-by-one", "client.id=worker").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: the member waits half a minute before it joins anew"]
async fn rights_that_are_missing_in_a_brokers_group_are_said_and_taken_up() {
    rights("refused-rights-newer", NEWER).await;
}

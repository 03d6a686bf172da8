//! Against a real Kafka broker: records survive a kill, and a proxy in front of it is obeyed.

use testkit::kafka::{Broker, Options};
use testkit::net;
use testkit::proxy::Link;

const READ: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

async fn read(broker: &Broker, topic: &str, count: &str) -> String {
    let arguments = [
        "--topic",
        topic,
        "--from-beginning",
        "--max-messages",
        count,
        "--timeout-ms",
        "20000",
    ];
    broker.tool(READ, &arguments).await.expect("records")
}

async fn send(broker: &Broker, topic: &str, value: &str) {
    let mut producer = broker.producer(topic).expect("a producer");
    producer.send([("key", value.to_owned())]).await.expect("sent");
    producer.close().await.expect("arrived");
}

#[tokio::test]
async fn records_survive_a_kill() {
    let mut broker = Broker::start(Options::default()).await.expect("a broker");
    broker
        .create_topic("events", 2, &["cleanup.policy=delete"])
        .await
        .expect("a topic");
    send(&broker, "events", "{\"first\":1}").await;
    broker.kill9().expect("killed");
    broker.restart().await.expect("restarted");
    send(&broker, "events", "{\"second\":2}").await;
    let records = read(&broker, "events", "2").await;
    assert!(
        records.contains("first") && records.contains("second"),
        "{records}"
    );
}

#[tokio::test]
async fn clients_go_through_the_proxy_that_is_advertised() {
    let port = net::free_port().expect("a port");
    let options = Options {
        advertised: Some(port),
        ..Options::default()
    };
    let broker = Broker::start(options).await.expect("a broker");
    let proxy = Link::start_on(port, broker.address().expect("ours"))
        .await
        .expect("a proxy");
    broker.create_topic("events", 1, &[]).await.expect("a topic");
    send(&broker, "events", "{\"through\":1}").await;
    proxy.down().await;
    let refused = broker.create_topic("others", 1, &[]);
    let refused = tokio::time::timeout(std::time::Duration::from_secs(3), refused).await;
    assert!(!matches!(refused, Ok(Ok(()))), "went around the proxy");
    proxy.pass().await;
    assert!(read(&broker, "events", "1").await.contains("through"));
}

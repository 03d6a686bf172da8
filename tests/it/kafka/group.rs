//! Members of the group come and go.

use super::{LEAVE, Topic};
use testkit::world::run;
use testkit::{PATIENCE, eventually};

/// Nobody has to wait for the session of a member that left in good order.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_stops_tells_the_group_and_the_next_one_goes_on_at_once() {
    let topic = Topic::new("leaves", 4).await;
    let patient = ("KAFKA_PROPERTIES", "session.timeout.ms=300000");
    let mut first = topic.worker(&[patient]);
    first.wait_ready(PATIENCE).await.expect("ready");
    topic.send(0, 0..100);
    topic.wait_next(0, 100).await;
    first.stop(LEAVE).await.expect("leaves");
    assert!(!first.said().contains("could not be told"), "{}", first.said());
    let mut second = topic.worker(&[patient]);
    topic.send(0, 100..200);
    topic.wait_next(0, 200).await;
    assert_eq!(topic.sum("counted").await, 200);
    second.stop(LEAVE).await.expect("leaves");
}

/// A member with a name of its own comes back as itself, even after it was killed: nobody waits for its session.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_static_member_that_was_killed_comes_back_as_itself_at_once() {
    let topic = Topic::new("static", 2).await;
    let named = (
        "KAFKA_PROPERTIES",
        "group.instance.id=worker-1,session.timeout.ms=300000",
    );
    let mut first = topic.worker(&[named]);
    topic.send(0, 0..100);
    topic.wait_next(0, 100).await;
    first.process().kill9().expect("kills");
    let mut second = topic.worker(&[named]);
    topic.send(0, 100..200);
    topic.send(1, 1_000..1_100);
    topic.wait_next(0, 200).await;
    topic.wait_next(1, 100).await;
    assert_eq!(topic.sum("counted").await, 300);
    second.stop(LEAVE).await.expect("leaves");
}

/// What exactness rests on is not for the operator to set; every mistake is said at once, by the name of its variable.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn properties_that_the_protocol_owns_are_refused_at_the_start() {
    let variables = [
        ("SOURCE", "kafka"),
        ("KAFKA_BROKERS", "127.0.0.1:1"),
        (
            "KAFKA_PROPERTIES",
            "isolation.level=read_uncommitted,enable.auto.commit=true,sasl.mechanisms=OAUTHBEARER,client.rack=a,\
             group.protocol=consumer,session.timeout.ms=6000",
        ),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (code, told) = run(&["ingest"], variables.into()).await;
    assert_eq!(code, 64, "{told}");
    for name in [
        "`isolation.level`",
        "`enable.auto.commit`",
        "`sasl.mechanisms`",
        "`session.timeout.ms`",
    ] {
        let line = told.lines().find(|line| line.contains(name));
        assert!(
            line.is_some_and(|line| line.contains("USAGE_LEDGER_KAFKA_PROPERTIES")),
            "{told}"
        );
    }
    assert!(!told.contains("client.rack"), "{told}");
}

/// Two workers with one name: the older one is put out for good by the group. It waits, says why, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: the member waits half a minute before it joins anew"]
async fn a_member_that_the_group_put_out_waits_and_comes_back() {
    let topic = Topic::new("fenced", 1).await;
    let named = ("KAFKA_PROPERTIES", "group.instance.id=worker-1");
    let mut first = topic.worker(&[named]);
    topic.send(0, 0..100);
    topic.wait_next(0, 100).await;
    let mut second = topic.worker(&[named]);
    eventually("the first says why it waits", || async {
        first.said().contains("can do nothing more")
    })
    .await;
    topic.send(0, 100..200);
    topic.wait_next(0, 200).await;
    second.stop(LEAVE).await.expect("leaves");
    topic.send(0, 200..300);
    topic.wait_next(0, 300).await;
    assert_eq!(topic.sum("counted").await, 300);
    first.stop(LEAVE).await.expect("leaves");
}

//! A lane that cannot go on stops, says so with the remedy, and goes on when a person says how.

use super::{LEAVE, Topic};
use testkit::world::{admin, resume, run};
use testkit::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_topic_made_again_with_fewer_partitions_stops_until_a_person_says_how_to_go_on() {
    let topic = Topic::new("again", 2).await;
    topic.send(0, 0..20);
    topic.send(1, 1_000..1_020);
    let mut worker = topic.worker(&[]);
    topic.wait_next(0, 20).await;
    topic.wait_next(1, 20).await;
    worker.stop(LEAVE).await.expect("leaves");

    let broker = testkit::shared::broker().await;
    broker.delete_topic(&topic.name).await.expect("deletes");
    eventually("the topic is made again", || async {
        broker.create_topic(&topic.name, 1, &[]).await.is_ok()
    })
    .await;
    topic.send(0, 2_000..2_030);
    let mut worker = topic.worker(&[]);
    eventually("the lane stops", || async {
        let (status, body) = admin(&worker, "/readyz").await;
        status == 503 && body.contains("topic_changed")
    })
    .await;
    assert_eq!(admin(&worker, "/healthz").await.0, 200);
    eventually("the stop is stored", || async {
        topic.fence(0).await.contains_key("stopped")
    })
    .await;
    let remedy = format!("usage-ledger lanes resume --lane {}", topic.lane(0));
    assert!(worker.said().contains(&remedy), "{}", worker.said());
    assert_eq!(topic.sum("read").await, 40, "nothing of another topic is counted");

    let (code, told) = run(&["lanes", "list"], topic.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains(&topic.lane(0)) && told.contains("stopped: topic_changed"),
        "{told}"
    );
    let lane = topic.lane(0);
    let (code, told) = resume(&lane, "earliest", topic.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    worker.wait_ready(PATIENCE).await.expect("goes on");
    topic.wait_next(0, 30).await;
    assert_eq!(topic.sum("counted").await, 70);
    worker.stop(LEAVE).await.expect("leaves");
}

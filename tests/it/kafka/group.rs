//! Members of the group come and go.

use super::{LEAVE, Topic, said};
use crate::world::PATIENCE;

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
    assert!(
        !said(&mut first).contains("could not be told"),
        "{}",
        said(&mut first)
    );
    let mut second = topic.worker(&[patient]);
    topic.send(0, 100..200);
    topic.wait_next(0, 200).await;
    assert_eq!(topic.sum("counted").await, 200);
    second.stop(LEAVE).await.expect("leaves");
}

//! Two processes on one change stream: one leads, the other waits.

use std::time::Duration;

use testkit::eventually;
use testkit::world::{World, admin, event};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_standby_is_ready_and_takes_over_when_the_leader_dies() {
    let world = World::new("standby").await;
    let mut leader = world.ready(&[]).await;
    let mut standby = world.ready(&[]).await;
    let owns = |pid: u32| {
        let fence = world.fence();
        async move {
            fence.await.is_some_and(|fence| {
                fence
                    .get_str("owner")
                    .is_ok_and(|owner| owner.starts_with(&format!("{pid}/")))
            })
        }
    };
    assert!(owns(leader.process().pid()).await);
    world.insert_one(event("acme")).await;
    world.wait_read(&mut leader, 1).await;
    assert_eq!(admin(&standby, "/readyz").await.0, 200, "a standby is ready");
    assert_eq!(world.fence_number("epoch").await, 1, "the leader keeps the lane");

    leader.process().kill9().expect("kills");
    world.insert_one(event("acme")).await;
    world.wait_read(&mut standby, 2).await;
    let pid = standby.process().pid();
    assert!(owns(pid).await);
    assert_eq!(world.fence_number("counted").await, 2);

    // One that stops in good order gives the lane back at once.
    let mut next = world.ready(&[("LEASE", "1h")]).await;
    standby.stop(Duration::from_secs(20)).await.expect("drains");
    let pid = next.process().pid();
    eventually("the lane is handed over", || owns(pid)).await;
}

/// A leader that was frozen past its lease and wakes up writes nothing, and becomes the standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_zombie_writes_nothing() {
    let world = World::new("zombie").await;
    let mut zombie = world.ready(&[]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut zombie, 1).await;
    zombie.process().pause().expect("freezes");
    let mut heir = world.ready(&[]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut heir, 2).await;
    zombie.process().resume().expect("wakes up");
    let lost = || async {
        let metrics = zombie.metrics().await.unwrap_or_default();
        metrics
            .lines()
            .any(|line| line == "usage_ledger_lanes_lost_total 1")
    };
    eventually("the zombie sees that it was replaced", lost).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut heir, 3).await;
    assert_eq!(
        (
            world.fence_number("read").await,
            world.fence_number("counted").await
        ),
        (3, 3)
    );
}

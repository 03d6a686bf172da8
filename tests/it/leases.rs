//! Leases apart from commits: a slow leader leads on, a dead or frozen one is followed.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use testkit::eventually;
use testkit::mongodb::{Mongo, Options};
use testkit::product::Product;
use testkit::proxy::{Command, Proxy, Rule};
use testkit::world::{World, event};

const LEASE: (&str, &str) = ("LEASE", "2s");

/// A database behind a proxy, and the way around it.
struct Stand {
    world: World,
    direct: String,
    proxy: Proxy,
    _mongo: Mongo,
}

impl Stand {
    async fn new(name: &str) -> Self {
        // Of its own: while a transaction is held open, others on the embedded server wait for news.
        let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
        let proxy = mongo.proxy().await.expect("a proxy");
        let mut world = World::on(&mongo, name).await;
        let direct = std::mem::replace(&mut world.uri, mongo.proxied_uri(&proxy));
        Self {
            world,
            direct,
            proxy,
            _mongo: mongo,
        }
    }

    /// More arrives, and the commit that counts it is held in the middle.
    async fn hold_a_commit(&mut self) -> Rule {
        let rows = Command::named("update")
            .collection("usageLedger")
            .in_transaction();
        let held = self.proxy.when(rows).once().hold().arm();
        self.insert(50).await;
        held.wait_fired(1).await;
        held
    }

    /// A worker that does not go through the proxy.
    async fn direct(&mut self, more: &[(&str, &str)]) -> Product {
        std::mem::swap(&mut self.world.uri, &mut self.direct);
        let worker = self.world.ready(more).await;
        std::mem::swap(&mut self.world.uri, &mut self.direct);
        worker
    }

    /// Inserts events of one organization.
    async fn insert(&self, count: usize) {
        let events: Vec<Document> = (0..count).map(|_| event("acme")).collect();
        let events = self.world.collection("requestEvents").insert_many(events).await;
        events.expect("inserts");
    }

    /// Counts what is asked, and does nothing to it.
    fn count(&self, command: Command) -> Rule {
        self.proxy.when(command).arm()
    }

    async fn assert_counted(&self, count: i128) {
        let sums = self.world.sums(doc! {}).await;
        assert_eq!(sums.len(), 18);
        for (what, sums) in sums {
            assert_eq!(sums["requests"], count, "{what}");
        }
        let count = i64::try_from(count).expect("fits");
        assert_eq!(
            (
                self.world.fence_number("read").await,
                self.world.fence_number("counted").await
            ),
            (count, count)
        );
    }
}

fn asks_majority(command: &Document) -> bool {
    let concern = command.get_document("readConcern");
    concern.is_ok_and(|concern| concern.get_str("level").is_ok_and(|level| level == "majority"))
}

async fn lost(worker: &Product) -> bool {
    let metrics = worker.metrics().await.unwrap_or_default();
    !metrics
        .lines()
        .any(|line| line == "usage_ledger_lanes_lost_total 0")
}

/// Lessons D21 and D23: commits of twice the lease, a standby that looks time and again, and a database whose majority
/// is slow to have anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d21_d23_a_leader_whose_commits_outlast_its_lease_leads_on() {
    let stand = Stand::new("slow_commits").await;
    let mut leader = stand.world.ready(&[LEASE, ("BATCH_MAX_EVENTS", "100")]).await;
    stand.insert(1).await;
    stand.world.wait_read(&mut leader, 1).await;
    let ended = stand.count(Command::named("killSessions"));
    let looked = stand.count(Command::named("find").collection("usageLeases"));
    let waited = stand.count(
        Command::named("find")
            .collection("usageLeases")
            .matching(asks_majority),
    );
    stand
        .proxy
        .when(Command::named("commitTransaction"))
        .delay(Duration::from_secs(4));
    let mut standby = stand.world.ready(&[LEASE]).await;
    stand.insert(150).await;
    stand.world.wait_read(&mut leader, 151).await;
    assert_eq!(
        stand.world.fence_number("epoch").await,
        1,
        "the leader keeps the lane"
    );
    assert!(!lost(&leader).await && !lost(&standby).await);
    assert_eq!((ended.matched(), waited.matched()), (0, 0));
    assert!(looked.matched() > 0, "a standby looks");
    stand.assert_counted(151).await;
    // In good order: the server is shared, and one that is killed here has a transaction open.
    stand.proxy.pass().await;
    for worker in [&mut leader, &mut standby] {
        worker.stop(Duration::from_secs(30)).await.expect("drains");
    }
}

/// The leader dies with its transaction open: who follows ends that, and counts what it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_leader_that_dies_in_its_commit_is_followed_and_counted_once() {
    let mut stand = Stand::new("dies_in_commit").await;
    let mut leader = stand.world.ready(&[LEASE]).await;
    stand.insert(50).await;
    stand.world.wait_read(&mut leader, 50).await;
    let mut standby = stand.direct(&[LEASE]).await;
    stand.hold_a_commit().await;
    leader.process().kill9().expect("kills");
    stand.world.wait_read(&mut standby, 100).await;
    stand.assert_counted(100).await;
    assert_eq!(stand.world.fence_number("epoch").await, 2);
}

/// A leader that is frozen in the middle of its transaction is followed; when it wakes up it writes nothing, and waits
/// like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_leader_frozen_in_its_commit_is_followed_and_writes_nothing() {
    let mut stand = Stand::new("frozen_in_commit").await;
    let mut zombie = stand.world.ready(&[LEASE]).await;
    stand.insert(50).await;
    stand.world.wait_read(&mut zombie, 50).await;
    let mut heir = stand.direct(&[LEASE]).await;
    let held = stand.hold_a_commit().await;
    zombie.process().pause().expect("freezes");
    stand.world.wait_read(&mut heir, 100).await;
    held.let_go();
    zombie.process().resume().expect("wakes up");
    eventually("the zombie sees that it was followed", || lost(&zombie)).await;
    stand.insert(50).await;
    stand.world.wait_read(&mut heir, 150).await;
    stand.assert_counted(150).await;
    assert_eq!(stand.world.fence_number("epoch").await, 2, "the zombie waits");
}

/// Leases are there while their workers are, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_stops_leaves_no_lease_and_one_long_dead_is_cleared_away() {
    let world = World::new("leases_go").await;
    let leases = world.collection("usageLeases");
    let owners = async || {
        let mut owners = Vec::new();
        let mut cursor = leases.find(doc! {}).await.expect("reads");
        while cursor.advance().await.expect("reads") {
            let lease: Document = cursor.deserialize_current().expect("a lease");
            assert!(
                lease.get_i64("lengthMs").is_ok() && lease.get_datetime("renewedAt").is_ok(),
                "{lease}"
            );
            owners.push(lease.get_str("_id").expect("an id").to_owned());
        }
        owners.sort();
        owners
    };
    let long_ago = mongodb::bson::DateTime::from_millis(1_700_000_000_000);
    for (id, length_ms) in [("1/long dead", 10_000_i64), ("2/asleep for years", 1 << 50)] {
        let lease = doc! {"_id": id, "renewedAt": long_ago, "lengthMs": length_ms};
        leases.insert_one(lease).await.expect("inserts");
    }
    let mut worker = world.ready(&[LEASE]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    let own = format!("{}/", worker.process().pid());
    let lane = format!("mongodb/{}.requestEvents", world.name);
    eventually("the dead is cleared away", || async { owners().await.len() == 3 }).await;
    let found = owners().await;
    assert!(
        found.contains(&lane) && found.iter().any(|id| id.starts_with(&own)),
        "{found:?}"
    );
    worker.stop(Duration::from_secs(20)).await.expect("drains");
    assert_eq!(owners().await, ["2/asleep for years"]);
}

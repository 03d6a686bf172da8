//! A server that is slow and takes only so much in one transaction: what it can take at all is counted, and once.

mod attempts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::doc;
use testkit::kafka::records::Sender;
use testkit::mongodb::{Mongo, Options};
use testkit::product::Product;
use testkit::proxy::{Command, Proxy, Rule};
use testkit::traffic::Item;
use testkit::workload::{Event, Keys, Workload};
use testkit::world::{World, truth};
use testkit::{PATIENCE, eventually, shared};

const LEASE: (&str, &str) = ("LEASE", "2s");
/// Statements that the server takes in one transaction.
const CACHE: usize = 5_000;
/// What most transactions hold at least where a commit has a second of latency: fewer would waste it.
const LEAST: i64 = 500;

/// A database behind a proxy.
struct Stand {
    world: World,
    proxy: Proxy,
    _mongo: Arc<Mongo>,
}

impl Stand {
    /// On a server of its own: leases of two seconds are not for one that others load.
    async fn alone(name: &str) -> Self {
        let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
        Self::on(Arc::new(mongo), name).await
    }

    async fn on(mongo: Arc<Mongo>, name: &str) -> Self {
        let proxy = mongo.proxy().await.expect("a proxy");
        let mut world = World::on(&mongo, name).await;
        world.uri = mongo.proxied_uri(&proxy);
        Self {
            world,
            proxy,
            _mongo: mongo,
        }
    }

    /// The server is slow, far away, and has a small cache. What is too large is counted.
    fn slow_down(&self) -> Rule {
        self.proxy
            .when(Command::named("commitTransaction"))
            .delay_per_transaction_statement(Duration::from_micros(200))
            .delay(Duration::from_secs(1));
        self.proxy.small_cache(CACHE)
    }

    /// Waits until this many are read, for as long as it goes on. The limits of the workers that own lanes, as they were
    /// meanwhile.
    async fn wait_read(&self, workers: &mut [Product], records: u64) -> Vec<i64> {
        let records = i64::try_from(records).expect("fits");
        let (mut since, mut before, mut limits) = (Instant::now(), 0, Vec::new());
        loop {
            let read = self.world.sum_of_lanes("read").await;
            if read > before {
                (since, before) = (Instant::now(), read);
                for worker in &mut *workers {
                    worker.process().check().expect("runs");
                    if metric(worker, "usage_ledger_lanes ").await > 0 {
                        limits.push(metric(worker, "usage_ledger_batch_rows_limit ").await);
                    }
                }
            }
            if read >= records {
                return limits;
            }
            assert!(since.elapsed() < PATIENCE, "stuck at {read} of {records}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// No lane changed hands, few transactions were too large, and most were neither that nor small.
    async fn assert_quiet(&self, workers: &[Product], mut limits: Vec<i64>, too_large: &Rule) {
        for worker in workers {
            let lost = metric(worker, "usage_ledger_lanes_lost_total ").await;
            assert_eq!(lost, 0, "no worker died\n{}", worker.said());
        }
        limits.sort_unstable();
        let middle = limits[limits.len() / 2];
        let most = i64::try_from(CACHE).expect("fits");
        assert!((LEAST..most).contains(&middle), "{limits:?}");
        let seen = self.proxy.seen();
        let commits = seen
            .iter()
            .filter(|seen| seen.name == "commitTransaction")
            .count();
        let thrown_away = usize::try_from(too_large.fired()).expect("fits");
        assert!(
            thrown_away * 5 < commits,
            "{thrown_away} beside {commits} commits"
        );
    }

    /// In good order, and at full speed.
    async fn end(self, workers: &mut [Product]) {
        self.proxy.pass().await;
        for worker in workers {
            worker.stop(Duration::from_secs(30)).await.expect("drains");
        }
    }
}

fn typical(count: usize) -> impl Iterator<Item = Event> {
    Workload::new(Keys::TYPICAL, "2026-01-05T10:00:00Z".parse().expect("an instant")).take(count)
}

/// A number of a worker's metrics.
async fn metric(worker: &Product, name: &str) -> i64 {
    let metrics = worker.metrics().await.expect("metrics");
    let mut lines = metrics.lines();
    let number = lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

/// A leader and a standby, on a history and as many that come meanwhile.
async fn leader_and_standby(name: &str, count: usize) {
    let stand = Stand::alone(name).await;
    let too_large = stand.slow_down();
    let items: Vec<Item> = typical(count).map(|event| event.item()).collect();
    let truth = truth(&items);
    let (history, live) = items.split_at(count / 2);
    stand.world.insert(history).await;
    let leader = stand.world.start("ingest", &[LEASE]);
    eventually("the first leads", || async {
        stand.world.fence_number("epoch").await == 1
    })
    .await;
    let standby = stand.world.start("ingest", &[LEASE]);
    let mut workers = [leader, standby];
    let ((), limits) = tokio::join!(
        stand.world.insert(live),
        stand.wait_read(&mut workers, truth.read)
    );
    stand.world.wait_read(&mut workers[0], truth.read).await;
    stand.assert_quiet(&workers, limits, &too_large).await;
    assert_eq!(
        stand.world.fence_number("epoch").await,
        1,
        "the leader keeps the lane"
    );
    stand.world.assert_truth(&truth).await;
    crate::journal::assert_entries(&stand.world).await;
    stand.end(&mut workers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d20_d21_what_a_slow_server_can_take_is_counted_by_who_leads() {
    leader_and_standby("slow_server", 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: ten times as many events"]
async fn d20_d21_200_000_events_are_counted_by_who_leads_a_slow_server() {
    leader_and_standby("slow_server_200_000", 200_000).await;
}

/// Two workers share the partitions; an organization is in one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: the same from Kafka"]
async fn d20_d21_what_a_slow_server_can_take_is_counted_by_two_kafka_workers() {
    const PARTITIONS: u16 = 4;
    let broker = shared::broker().await;
    let stand = Stand::alone("slow_server_kafka").await;
    let too_large = stand.slow_down();
    broker
        .create_topic("slow-server", PARTITIONS, &[])
        .await
        .expect("a topic");
    let settings = [
        LEASE,
        ("SOURCE", "kafka"),
        ("KAFKA_BROKERS", broker.brokers()),
        ("KAFKA_TOPIC", "slow-server"),
        ("KAFKA_GROUP", "slow-server"),
    ];
    let mut workers = [(); 2].map(|()| stand.world.start("ingest", &settings));
    for worker in &workers {
        eventually("each has its share", || async {
            let metrics = worker.metrics().await.unwrap_or_default();
            metrics.lines().any(|line| line == "usage_ledger_lanes 2")
        })
        .await;
    }
    let events: Vec<Event> = typical(20_000).collect();
    let items: Vec<Item> = events.iter().map(Event::item).collect();
    let truth = truth(&items);
    let brokers = broker.brokers().to_owned();
    let sent = tokio::task::spawn_blocking(move || send(&brokers, &events, i32::from(PARTITIONS)));
    let limits = stand.wait_read(&mut workers, truth.read).await;
    sent.await.expect("no panic");
    stand.assert_quiet(&workers, limits, &too_large).await;
    stand.world.assert_sums(&truth).await;
    crate::journal::assert_entries(&stand.world).await;
    stand.end(&mut workers).await;
}

fn send(brokers: &str, events: &[Event], partitions: i32) {
    let sender = Sender::new(brokers, "slow-server", &[]).expect("a producer");
    for event in events {
        let sum: i32 = event.key().bytes().map(i32::from).sum();
        let json = event.json();
        sender
            .send(sum % partitions, event.key(), Some(json.as_bytes()))
            .expect("sends");
    }
    sender.flush().expect("arrives");
}

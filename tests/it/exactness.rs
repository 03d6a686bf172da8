//! Totals equal the set of distinct events, whatever happens on the way.

use std::path::PathBuf;
use std::time::Duration;

use mongodb::bson::doc;
use testkit::trace::{Spread, Trace};
use testkit::traffic::{Generator, Item, Options};

use testkit::world::{World, event, rejections, truth};

fn trace(name: &str) -> Vec<Item> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/azure-llm-2023")
        .join(name);
    let spread = Spread {
        organizations: 2,
        agents: 5,
        users: 40,
        models: 3,
    };
    Trace::open(&path).expect("a trace").items(spread).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn real_requests_are_exact_through_kills_and_two_workers() {
    let mut history = trace("code.csv");
    let live = history.split_off(history.len() / 2);
    kill_the_leader("trace", 2, &history, &live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: three times as many requests, and each of the kills waits for a lease to run out"]
async fn real_requests_are_exact_through_20_kills_and_two_workers() {
    let (code, conversation) = (trace("code.csv"), trace("conv.csv"));
    let all = truth(&[code.as_slice(), &conversation].concat()).totals;
    assert_eq!(
        (all.requests, all.input_tokens, all.output_tokens),
        (28_185, 40_421_844, 4_334_561)
    );
    kill_the_leader("trace_20", 20, &code, &conversation).await;
}

/// Two workers run at once, on a history and what comes meanwhile, and one of them is killed this often: always the
/// one that leads.
async fn kill_the_leader(name: &str, kills: i64, history: &[Item], live: &[Item]) {
    let world = World::new(name).await;
    let items = [history, live].concat();
    let truth = truth(&items);
    world.insert(history).await;
    let settings = [("BATCH_MAX_EVENTS", "400"), ("BATCH_MAX_AGE", "20ms")];
    let mut workers = vec![world.start("ingest", &settings), world.start("ingest", &settings)];
    let total = i64::try_from(items.len()).expect("fits");
    let arriving = async {
        for items in live.chunks(1_000) {
            world.insert(items).await;
        }
    };
    let killing = async {
        for kill in 1..=kills {
            let goal = total * kill / (kills + 2);
            testkit::eventually("progress", || async { world.fence_number("read").await >= goal }).await;
            let owner = world
                .fence()
                .await
                .and_then(|fence| fence.get_str("owner").ok().map(str::to_owned));
            let leads = |pid: u32| {
                owner
                    .as_ref()
                    .is_some_and(|owner| owner.starts_with(&format!("{pid}/")))
            };
            let leader = workers
                .iter_mut()
                .position(|worker| leads(worker.process().pid()))
                .unwrap_or(0);
            workers[leader].process().kill9().expect("kills");
            workers[leader] = world.start("ingest", &settings);
        }
    };
    tokio::join!(arriving, killing);
    world.wait_read(&mut workers[0], truth.read).await;
    world.assert_truth(&truth).await;
    crate::journal::assert_entries(&world).await;
    for worker in &mut workers {
        worker.stop(Duration::from_secs(20)).await.expect("drains");
    }
    world.assert_truth(&truth).await;
    crate::journal::assert_entries(&world).await;
    assert!(
        world.fence_number("epoch").await > kills / 2,
        "the leader was never killed"
    );
}

/// Late, duplicate, skipped and invalid events of three services: each ends where it must.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_event_of_mixed_traffic_ends_where_it_must() {
    let world = World::new("traffic").await;
    let mut generator = Generator::new(Options {
        invalid: 0.05,
        ..Options::default()
    });
    let now = "2026-03-01T12:00:00Z".parse().expect("an instant");
    let items: Vec<Item> = (0..4_000).map(|_| generator.item(now)).collect();
    let truth = truth(&items);
    assert!(truth.duplicate > 0 && truth.skipped > 0 && truth.dead_letter > 0);
    let mut worker = world.ready(&[]).await;
    world.insert(&items).await;
    world.wait_read(&mut worker, truth.read).await;
    world.assert_truth(&truth).await;
    crate::journal::assert_entries(&world).await;
    assert_eq!(world.reasons().await, rejections(&items));
    let metrics = testkit::check::results(&worker.metrics().await.expect("metrics"));
    assert_eq!(
        testkit::check::result_differences(&truth, &metrics),
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_simultaneous_completions_are_one_row_per_granularity_with_both_counted() {
    let world = World::new("simultaneous").await;
    let mut worker = world.ready(&[("BATCH_MAX_EVENTS", "1")]).await;
    tokio::join!(world.insert_one(event("acme")), world.insert_one(event("acme")));
    world.wait_read(&mut worker, 2).await;
    for (what, sums) in world.sums(doc! {}).await {
        assert_eq!((sums["rows"], sums["requests"]), (1, 2), "{what}");
        assert_eq!(
            (sums["inputTokens"], sums["totalTokens"], sums["costNanos"]),
            (20, 30, 30),
            "{what}"
        );
    }
}

/// A worker inserts rows that it knows not to be there. Where somebody else was faster, it adds to theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rows_that_another_hand_wrote_meanwhile_are_added_to() {
    let world = World::new("another_hand").await;
    let mut worker = world.ready(&[("BATCH_MAX_AGE", "1s")]).await;
    let by = |user: usize| {
        let mut event = event("acme");
        event.insert("userId", format!("user-{user}"));
        event
    };
    let users = 200;
    let events = world.collection("requestEvents");
    events.insert_many((0..users).map(by)).await.expect("inserts");
    world.wait_read(&mut worker, users as u64).await;

    // The same rows for somebody new, as another process would write them.
    let ours = doc! {"$or": [{"userId": "user-0"}, {"set": "user", "value": "user-0"}]};
    let mut written = 0;
    for name in ["usageLedger", "usageRollups"] {
        let mut rows = world.collection(name).find(ours.clone()).await.expect("reads");
        while rows.advance().await.expect("reads") {
            let mut row = rows.deserialize_current().expect("a row");
            for field in ["_id", "userId", "value"] {
                if let Ok(text) = row.get_str(field) {
                    let text = text.replace("user-0", "user-new");
                    row.insert(field, text);
                }
            }
            world.collection(name).insert_one(row).await.expect("inserts");
            written += 1;
        }
    }
    assert_eq!(
        written, 6,
        "three granularities, of the ledger and of the rollups"
    );

    let mut more: Vec<_> = (users..users + 50).map(by).collect();
    let mut theirs = by(0);
    theirs.insert("userId", "user-new");
    more.push(theirs);
    events.insert_many(more).await.expect("inserts");
    world.wait_read(&mut worker, users as u64 + 51).await;

    let new = doc! {"$or": [{"userId": "user-new"}, {"set": "user", "value": "user-new"}]};
    for (what, sums) in world.sums(new).await {
        assert_eq!(
            (sums["rows"], sums["requests"], sums["totalTokens"]),
            (1, 2, 30),
            "{what}"
        );
    }
    let sums = world.sums(doc! {}).await;
    for what in [
        "ledger daily",
        "ledger weekly",
        "ledger monthly",
        "user daily",
        "user monthly",
    ] {
        let expected = users as i128 + 51;
        assert_eq!(
            (sums[what]["rows"], sums[what]["requests"]),
            (expected, expected + 1),
            "{what}, with the request of the other hand"
        );
    }
    assert_eq!(sums["organization daily"]["requests"], users as i128 + 51);
}

//! Parents equal the sum of their children in every answer, while writers run.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use api::reader::{Query, ReadError, Reader, Scope, Snapshot, Span};
use api::rows::{Dimension, Rows};
use chrono::{DateTime, Days, TimeDelta, Utc};
use futures_util::TryStreamExt;
use prometheus::Registry;
use rollup::counters::{Counter, Sums};
use rollup::fold::Marginal;
use rollup::period::{Granularity, Period};
use serde_json::Value;
use testkit::traffic::{Generator, Item, Options};
use usage_ledger::config::{self, Given};
use usage_ledger::store::reader::RowsRead;
use usage_ledger::store::{self, Store};

use testkit::eventually;
use testkit::mongodb::{self as server, Mongo};
use testkit::world::{World, truth};

const EVENTS: usize = 2_500;
/// Writers go on whenever readers have seen something new.
const CHUNK: usize = 500;

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test goes by the machine's clock"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Events of the last forty days, so that writers touch months, weeks and days alike.
fn traffic(seed: u64) -> Vec<Item> {
    let start = now() - Days::new(40);
    let step = TimeDelta::days(40) / i32::try_from(EVENTS).expect("fits");
    Generator::new(Options::plain(seed))
        .spaced(start, step)
        .take(EVENTS)
        .collect()
}

async fn reader(world: &World) -> store::reader::Reader {
    let given = Given::from([
        ("MONGODB_URI", world.uri.clone()),
        ("MONGODB_DATABASE", world.name.clone()),
    ]);
    let database = config::parse(&given).expect("settings");
    let store = Store::open(&database).await.expect("a store");
    let rows_read = RowsRead::register(&Registry::new()).expect("registers");
    store.reader(1, rows_read).await.expect("a reader")
}

/// Everything that was ever booked for these organizations, summed from rows of one kind.
fn everything(rows: Rows, scope: Scope, granularity: Granularity) -> Query {
    let period = |day: &str| Period::holding(granularity, day.parse().expect(day));
    Query {
        rows,
        scope,
        cover: vec![Span {
            first: period("2000-01-01"),
            last: period("2099-12-31"),
        }],
        filters: BTreeMap::new(),
        group_by: Vec::new(),
        by_period: false,
        keys: None,
        counters: Counter::ALL.to_vec(),
        order: None,
        row_limit: 1_000_000,
    }
}

/// The query is refused for its budget of rows.
async fn assert_over_budget(snapshot: &impl Snapshot, query: Query) {
    let limit = query.row_limit;
    let refused = snapshot
        .sums(query)
        .try_collect::<Vec<_>>()
        .await
        .expect_err("too many");
    assert!(
        matches!(refused, ReadError::TooManyRows(most) if most == limit),
        "{refused}"
    );
}

/// The port itself: every marginal and every granularity of one snapshot has the same sums.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_set_of_a_snapshot_has_the_same_sums_while_writers_run() {
    let world = World::new("reader_port").await;
    let mut worker = world
        .ready(&[("BATCH_MAX_EVENTS", "100"), ("BATCH_MAX_AGE", "5ms")])
        .await;
    let items = traffic(11);
    let truth = truth(&items);
    let reader = reader(&world).await;
    let newest = Cell::new(0);
    let writing = async {
        for items in items.chunks(CHUNK) {
            let before = newest.get();
            world.insert(items).await;
            eventually("some of it is seen", || async { newest.get() > before }).await;
        }
    };
    let mut seen = Vec::new();
    let reading = async {
        let total = i128::from(truth.totals.requests);
        while seen.last() != Some(&total) {
            let snapshot = reader.snapshot().await.expect("a snapshot");
            let kinds = Marginal::ALL.map(Rows::Rollups).into_iter().chain([Rows::Ledger]);
            let mut all: Vec<(String, Sums)> = Vec::new();
            for rows in kinds {
                for granularity in [Granularity::Daily, Granularity::Weekly, Granularity::Monthly] {
                    let query = everything(rows, Scope::AllExcept(Vec::new()), granularity);
                    let groups: Vec<_> = snapshot.sums(query).try_collect().await.expect("sums");
                    let mut sums = Sums::default();
                    groups.iter().for_each(|group| sums.add(&group.counters));
                    all.push((format!("{rows:?} {granularity}"), sums));
                }
            }
            for (what, sums) in &all {
                assert_eq!(*sums, all[0].1, "{what} differs from {}", all[0].0);
            }
            newest.set(all[0].1[Counter::Requests]);
            seen.push(newest.get());
        }
    };
    tokio::join!(writing, tokio::time::timeout(testkit::PATIENCE, reading))
        .1
        .expect("everything arrives");
    assert!(seen.is_sorted(), "a later snapshot never shows less");
    seen.dedup();
    assert!(seen.len() >= EVENTS / CHUNK, "read while writers ran: {seen:?}");
    worker.stop(testkit::PATIENCE).await.expect("stops");
}

fn requests(value: &Value) -> i64 {
    value["totals"]["requests"].as_i64().expect("requests")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// Compares the parts of each answer with its whole.
fn compare(route: &str, answer: &Value) {
    let whole = requests(answer);
    let sum = |items: &Value| list(items).iter().map(requests).sum::<i64>();
    match route {
        "series" => {
            assert_eq!(sum(&answer["buckets"]), whole);
            for bucket in list(&answer["buckets"]) {
                assert_eq!(sum(&bucket["groups"]), requests(bucket), "{bucket}");
            }
        }
        "breakdown" => {
            let rest = answer["other"]
                .as_object()
                .map_or(0, |_| requests(&answer["other"]));
            assert_eq!(sum(&answer["rows"]) + rest, whole);
        }
        "table" => {
            assert_eq!(sum(&answer["rows"]), whole);
            let columns = list(&answer["columnTotals"])
                .iter()
                .map(|totals| totals["requests"].as_i64().expect("a number"));
            assert_eq!(columns.sum::<i64>(), whole);
        }
        "summary" => assert!(answer["unattributed"]["requests"].as_i64().expect("a number") <= whole),
        other => panic!("nothing compares `{other}`"),
    }
}

/// The same over HTTP, with everything that is remembered in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_equal_their_parents_in_every_answer_while_writers_run() {
    let world = World::new("reader_http").await;
    let mut worker = world
        .ready(&[("BATCH_MAX_EVENTS", "100"), ("BATCH_MAX_AGE", "5ms")])
        .await;
    let items = traffic(12);
    let truth = truth(&items);
    let organization = truth
        .organizations
        .keys()
        .next()
        .expect("an organization")
        .clone();
    let rounds = Cell::new(0);
    {
        let product = &worker;
        let writing = async {
            for items in items.chunks(CHUNK) {
                let before = rounds.get();
                world.insert(items).await;
                eventually("every question is asked", || async { rounds.get() > before }).await;
            }
        };
        let reading = async {
            let expected = i64::try_from(truth.organizations[&organization].requests).expect("fits");
            let questions: [(&str, &[(&str, &str)]); 6] = [
                ("series", &[("groupBy", "agent"), ("granularity", "weekly")]),
                ("series", &[("groupBy", "user"), ("granularity", "monthly")]),
                ("breakdown", &[("by", "user"), ("limit", "7")]),
                ("breakdown", &[("by", "model"), ("source", "chat")]),
                ("table", &[("scope", "organization"), ("granularity", "monthly")]),
                ("summary", &[]),
            ];
            let mut whole = 0;
            while whole < expected {
                for (route, query) in questions {
                    let mut query: Vec<(&str, String)> = query
                        .iter()
                        .map(|(name, value)| (*name, (*value).to_owned()))
                        .collect();
                    query.push(("organizationId", organization.clone()));
                    query.push(("preset", "90d".to_owned()));
                    let answer = product
                        .ask(&format!("/v1/usage/{route}"), &query)
                        .await
                        .expect("an answer");
                    compare(route, &answer);
                    if route == "summary" {
                        whole = requests(&answer);
                    }
                    // Below the rate that one caller may ask at.
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
                rounds.set(rounds.get() + 1);
            }
        };
        tokio::join!(writing, tokio::time::timeout(testkit::PATIENCE, reading))
            .1
            .expect("everything arrives");
    }
    worker.stop(testkit::PATIENCE).await.expect("stops");
}

/// A late event in a closed period is in the answers as soon as the ledger says that it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_event_is_seen_as_soon_as_the_answer_claims_it() {
    // A server of its own: SecantusDB's streams stand still, and say nothing, while anybody has a transaction open.
    let mongo = Mongo::start(server::Options::default())
        .await
        .expect("MongoDB starts");
    let world = World::on(&mongo, "reader_late").await;
    let mut worker = world.ready(&[]).await;
    let today = now();
    let event = |days: u64| {
        let mut event = testkit::world::event("acme");
        let at = today - Days::new(days);
        event.insert("completedAt", mongodb::bson::DateTime::from_chrono(at));
        event
    };
    world.insert_one(event(0)).await;
    let ask = async || {
        let query = [
            ("organizationId", "acme".to_owned()),
            ("by", "user".to_owned()),
            ("preset", "90d".to_owned()),
        ];
        worker
            .ask("/v1/usage/breakdown", &query)
            .await
            .expect("an answer")
    };
    eventually("the first event", || async { requests(&ask().await) == 1 }).await;
    for late in 1..=5 {
        world.insert_one(event(late * 15)).await;
        let inserted = now();
        eventually("the late event", || async {
            let answer = ask().await;
            let counted = requests(&answer) == i64::try_from(late).expect("fits") + 1;
            let as_of = answer["dataAsOf"]
                .as_str()
                .and_then(|at| at.parse::<DateTime<Utc>>().ok());
            // The promise: whatever reached the source before `dataAsOf` is in the answer.
            assert!(
                counted || as_of.is_none_or(|at| at <= inserted + TimeDelta::seconds(1)),
                "{answer}"
            );
            counted
        })
        .await;
    }
    worker.stop(testkit::PATIENCE).await.expect("stops");
}

/// What one process remembers is no older than what another one has booked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_event_that_another_process_booked_is_seen() {
    let world = World::new("reader_two").await;
    let mut worker = world.ready(&[]).await;
    let event = |days: u64, user: &str| {
        let mut event = testkit::world::event("acme");
        let at = now() - Days::new(days);
        event.insert("completedAt", mongodb::bson::DateTime::from_chrono(at));
        event.insert("userId", user);
        event
    };
    world.insert_one(event(0, "u1")).await;
    world.insert_one(event(40, "u1")).await;
    world.wait_read(&mut worker, 2).await;
    let mut reader = world.start("serve", &[]);
    reader.wait_ready(testkit::PATIENCE).await.expect("ready");
    let ask = async || {
        let query = [
            ("organizationId", "acme".to_owned()),
            ("by", "user".to_owned()),
            ("preset", "90d".to_owned()),
        ];
        let answer = reader.ask("/v1/usage/breakdown", &query).await;
        list(&answer.expect("an answer")["rows"])
            .iter()
            .map(requests)
            .collect::<Vec<_>>()
    };
    assert_eq!((ask().await, ask().await), (vec![2], vec![2]));
    world.insert_one(event(60, "u2")).await;
    world.insert_one(event(60, "u2")).await;
    world.insert_one(event(60, "u2")).await;
    world.wait_read(&mut worker, 5).await;
    assert_eq!(ask().await, [3, 2]);
    reader.stop(testkit::PATIENCE).await.expect("stops");
    worker.stop(testkit::PATIENCE).await.expect("stops");
}

/// The dimensions of a group, read back from the store as they were written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_groups_by_every_dimension() {
    let world = World::new("reader_groups").await;
    let mut worker = world.ready(&[]).await;
    let mut event = testkit::world::event("acme");
    event.insert("model", "meta/llama%3");
    event.insert("teamId", "$where");
    world.insert_one(event).await;
    world.wait_read(&mut worker, 1).await;
    let snapshot = reader(&world).await.snapshot().await.expect("a snapshot");
    let scope = || Scope::Organizations(vec!["acme".to_owned()]);
    let mut query = everything(Rows::Ledger, scope(), Granularity::Daily);
    query.group_by = vec![
        Dimension::Organization,
        Dimension::Model,
        Dimension::Team,
        Dimension::Kind,
        Dimension::Source,
    ];
    query.by_period = true;
    let groups: Vec<_> = snapshot.sums(query).try_collect().await.expect("sums");
    assert_eq!(groups.len(), 1);
    let key: Vec<&str> = groups[0].key.iter().map(|part| &**part).collect();
    assert_eq!(key, ["acme", "meta/llama%3", "$where", "llm", "chat"]);
    assert_eq!(
        groups[0].period.map(|period| period.to_string()).as_deref(),
        Some("2026-01-05")
    );

    // By their ids, and limited.
    let mut query = everything(Rows::Rollups(Marginal::Model), scope(), Granularity::Monthly);
    query.group_by = vec![Dimension::Model, Dimension::Provider];
    query.keys = Some(vec![Box::new(["meta/llama%3".into(), "p1".into()])]);
    let groups: Vec<_> = snapshot.sums(query.clone()).try_collect().await.expect("sums");
    assert_eq!(groups[0].counters[Counter::CostNanos], 15);
    query.row_limit = 0;
    assert_over_budget(&snapshot, query).await;

    let bounds = snapshot.bounds(&scope()).await.expect("bounds").expect("days");
    assert_eq!(bounds.0, bounds.1);
    worker.stop(testkit::PATIENCE).await.expect("stops");
}

/// A person's rows are few; those of a service that books for everybody may be most of all. Both have their sums.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_very_many_rows_has_the_same_sums() {
    let world = World::new("reader_many").await;
    let mut worker = world.ready(&[]).await;
    world.insert_one(testkit::world::event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    let ledger = world.collection("usageLedger");
    let daily = mongodb::bson::doc! {"granularity": "daily"};
    let row = ledger.find_one(daily).await.expect("reads").expect("a row");
    let id = row.get_str("_id").expect("an id").to_owned();
    let more = 51_000_i64;
    for keys in (0..more).collect::<Vec<_>>().chunks(5_000) {
        let rows = keys.iter().map(|key| {
            let mut row = row.clone();
            row.insert("_id", format!("{id}/{key}"));
            row.insert("apiKeyId", format!("key-{}", key % 7));
            row
        });
        ledger.insert_many(rows).await.expect("inserts");
    }
    let snapshot = reader(&world).await.snapshot().await.expect("a snapshot");
    let scope = Scope::Organizations(vec!["acme".to_owned()]);
    let mut query = everything(Rows::Ledger, scope, Granularity::Daily);
    query.filters.insert(Dimension::User, vec!["u1".to_owned()]);
    query.group_by = vec![Dimension::User, Dimension::ApiKey];
    let groups: Vec<_> = snapshot.sums(query.clone()).try_collect().await.expect("sums");
    assert_eq!(groups.len(), 8, "seven keys and none");
    let requests = groups.iter().map(|group| group.counters[Counter::Requests]);
    assert_eq!(requests.sum::<i64>(), more + 1);
    // The budget is of all rows, however they are read.
    query.row_limit = 50_500;
    assert_over_budget(&snapshot, query).await;
    worker.stop(testkit::PATIENCE).await.expect("stops");
}

/// Sums that outgrow 64 bits are refused; the server would show them rounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sum_beyond_64_bits_is_an_error_and_never_rounded() {
    let world = World::new("reader_overflow").await;
    let mut worker = world.ready(&[]).await;
    for day in [0_u64, 1] {
        let mut event = testkit::world::event("acme");
        let at = now() - Days::new(day);
        event.insert("completedAt", mongodb::bson::DateTime::from_chrono(at));
        world.insert_one(event).await;
    }
    world.wait_read(&mut worker, 2).await;
    let filter = mongodb::bson::doc! {"set": "organization", "granularity": "daily"};
    let huge = mongodb::bson::doc! {"$set": {"inputTokens": i64::MAX}};
    world
        .collection("usageRollups")
        .update_many(filter, huge)
        .await
        .expect("updates");
    let query = [("organizationId", "acme".to_owned()), ("preset", "7d".to_owned())];
    let refused = worker
        .ask("/v1/usage/summary", &query)
        .await
        .expect_err("refused")
        .to_string();
    assert!(refused.contains("500") && !refused.contains("e18"), "{refused}");
    worker.stop(testkit::PATIENCE).await.expect("stops");
}

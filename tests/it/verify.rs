//! `verify` names what is not the sum of its entries, and nothing else.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::FindOneOptions;
use serde_json::Value;
use testkit::proxy::Command;
use testkit::world::{World, event, items, run};
use testkit::{eventually, shared};

use crate::long_answers::keep_instants;

/// How long a worker may take to leave.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs `verify` with these arguments: its exit code, and what it says as JSON.
pub(crate) async fn verify(variables: Vec<(String, String)>, arguments: &[&str]) -> (i32, Value) {
    let (code, told) = run(&[&["verify", "--json"], arguments].concat(), variables).await;
    let json = told.lines().find(|line| line.starts_with("{\"clean\""));
    let json = json.unwrap_or_else(|| panic!("{code}: {told}"));
    (code, serde_json::from_str(json).expect("JSON"))
}

/// Fails unless everything is as it must be.
pub(crate) async fn assert_clean(variables: Vec<(String, String)>) {
    // Few rows and little memory at once: many pages, and sums in files.
    let variables = [variables, vec![("VERIFY_MEMORY".into(), "1MiB".into())]].concat();
    let (code, report) = verify(variables, &[]).await;
    assert_eq!(
        (code, &report["differences"]),
        (0, &serde_json::json!([])),
        "{report:#}"
    );
    assert_eq!(report["clean"], true);
}

/// What is named, as collection and counter.
pub(crate) fn named(report: &Value) -> Vec<(String, String)> {
    let differences = report["differences"].as_array().expect("differences");
    let text = |of: &Value| of.as_str().expect("a text").to_owned();
    let mut named: Vec<_> = differences
        .iter()
        .map(|one| (text(&one["collection"]), text(&one["counter"])))
        .collect();
    named.sort();
    named.dedup();
    named
}

/// The differences of a row.
pub(crate) fn of_row<'a>(report: &'a Value, id: &str) -> Vec<&'a Value> {
    let differences = report["differences"].as_array().expect("differences");
    differences.iter().filter(|one| one["_id"] == id).collect()
}

/// Some row of a collection: that of this number, or of what is left of it.
pub(crate) async fn some(world: &World, collection: &str, which: Document, number: u64) -> Document {
    let collection = world.collection(collection);
    let all = collection.count_documents(which.clone()).await.expect("counts");
    let options = FindOneOptions::builder()
        .sort(doc! {"_id": 1})
        .skip(number % all)
        .build();
    let found = collection.find_one(which).with_options(options);
    found.await.expect("reads").expect("a row")
}

pub(crate) fn id(row: &Document) -> String {
    row.get_str("_id").expect("an id").to_owned()
}

/// Adds to a row without a word.
pub(crate) async fn change(world: &World, collection: &str, id: &str, change: Document) {
    let changed = world
        .collection(collection)
        .update_one(doc! {"_id": id}, change)
        .await;
    assert_eq!(changed.expect("changes").matched_count, 1, "{id}");
}

pub(crate) async fn remove(world: &World, collection: &str, id: &str) {
    let removed = world.collection(collection).delete_one(doc! {"_id": id}).await;
    assert_eq!(removed.expect("removes").deleted_count, 1, "{id}");
}

/// A worker of its own has booked these many events of the usual mix.
pub(crate) async fn booked(name: &str, count: usize) -> World {
    let world = World::new(name).await;
    let mut worker = world.ready(&[("BATCH_MAX_EVENTS", "40")]).await;
    let items = items(11, count);
    world.insert(&items).await;
    let read = testkit::world::truth(&items).read;
    world.wait_read(&mut worker, read).await;
    worker.stop(DRAIN).await.expect("drains");
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_row_that_is_not_the_sum_of_its_entries_is_named() {
    let world = booked("verify_rows", 400).await;
    assert_clean(world.variables(&[])).await;
    let day = some(&world, "usageLedger", doc! {"granularity": "daily"}, 3).await;
    let week = some(&world, "usageLedger", doc! {"granularity": "weekly"}, 5).await;
    let rollup = some(&world, "usageRollups", doc! {"set": "user"}, 7).await;
    let removed = some(&world, "usageRollups", doc! {"set": "model"}, 2).await;
    let renamed = some(&world, "usageLedger", doc! {"granularity": "monthly"}, 4).await;
    let mut nobodys = some(&world, "usageLedger", doc! {"granularity": "daily"}, 9).await;
    let mut doubled = some(&world, "usageRollups", doc! {"set": "organization"}, 0).await;
    change(
        &world,
        "usageLedger",
        &id(&day),
        doc! {"$inc": {"costNanos": 5_i64}},
    )
    .await;
    change(
        &world,
        "usageLedger",
        &id(&week),
        doc! {"$inc": {"inputTokens": -7_i64}},
    )
    .await;
    change(
        &world,
        "usageRollups",
        &id(&rollup),
        doc! {"$inc": {"requests": 1_i64}},
    )
    .await;
    change(
        &world,
        "usageLedger",
        &id(&renamed),
        doc! {"$set": {"userId": "somebody"}},
    )
    .await;
    remove(&world, "usageRollups", &id(&removed)).await;
    let user = format!("/{}/", nobodys.get_str("userId").expect("a user"));
    let nobody = id(&nobodys).replacen(&user, "/nobody/", 1);
    nobodys.extend(doc! {"_id": &nobody, "userId": "nobody"});
    doubled.insert("_id", format!("{}/again", id(&doubled)));
    for (collection, row) in [("usageLedger", &nobodys), ("usageRollups", &doubled)] {
        world
            .collection(collection)
            .insert_one(row)
            .await
            .expect("inserts");
    }

    let (code, report) = verify(world.variables(&[]), &[]).await;
    assert_eq!((code, &report["clean"]), (2, &Value::from(false)), "{report:#}");
    let only = |row: &Document, counter: &str| {
        let id = id(row);
        let found = of_row(&report, &id);
        assert_eq!(found.len(), 1, "{id}: {found:?}");
        assert_eq!(found[0]["counter"], counter);
        let expected = row.get_i64(counter).expect("a counter");
        assert_eq!(found[0]["expected"], expected, "{id}");
        assert_eq!(found[0]["periodKey"], row.get_str("periodKey").expect("a period"));
        assert_eq!(
            found[0]["organizationId"],
            row.get_str("organizationId").expect("one")
        );
    };
    only(&day, "costNanos");
    only(&week, "inputTokens");
    only(&rollup, "requests");
    let wrong = of_row(&report, &id(&renamed));
    assert_eq!((wrong.len(), &wrong[0]["counter"]), (1, &Value::from("userId")));
    assert!(
        of_row(&report, &id(&removed))
            .iter()
            .all(|one| one["stored"].is_null())
    );
    assert!(of_row(&report, &nobody).iter().all(|one| one["expected"] == 0));
    let strays = of_row(&report, &id(&doubled));
    assert!(strays.iter().any(|one| one["counter"] == "_id"), "{strays:?}");
    let rows = [&day, &week, &rollup, &removed, &renamed].map(id);
    let named: usize = rows
        .iter()
        .chain([&nobody, &id(&doubled)])
        .map(|id| of_row(&report, id).len())
        .sum();
    assert_eq!(
        report["differenceCount"], named as u64,
        "nothing else: {report:#}"
    );

    // Of a part only what is in it is named.
    let organization = day.get_str("organizationId").expect("one");
    let key = day.get_str("periodKey").expect("a day");
    let part = ["--organization", organization, "--from", key, "--to", key];
    let (code, report) = verify(world.variables(&[]), &part).await;
    assert_eq!(code, 2);
    assert_eq!(of_row(&report, &id(&day)).len(), 1);
    let is_of_part = |one: &Value| one["organizationId"] == organization;
    assert!(
        report["differences"]
            .as_array()
            .expect("some")
            .iter()
            .all(is_of_part)
    );

    let (code, told) = run(&["verify"], world.variables(&[])).await;
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("costNanos") && told.contains("drift:"), "{told}");
    let (code, told) = run(
        &["verify", "--from", "2026-02-01", "--to", "2026-01-01"],
        world.variables(&[]),
    )
    .await;
    assert_eq!(code, 64, "{told}");
    let (code, told) = run(&["verify", "--from=-0005-01-01"], world.variables(&[])).await;
    assert_eq!(code, 64, "{told}");
    let (code, told) = run(
        &["verify", "--organization", "nobody-at-all"],
        world.variables(&[]),
    )
    .await;
    assert!(code == 1 && told.contains("nothing was compared"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_journal_that_is_not_whole_and_fences_that_disagree_are_named() {
    let world = booked("verify_journal", 400).await;
    let fences = world.collection("usageFences");
    let whole = world.fence().await.expect("a fence");
    let journal = world.collection("usageJournal");
    let documents = journal.count_documents(doc! {}).await.expect("counts");
    assert!(documents > 4, "{documents}");
    let restore = async || {
        fences
            .replace_one(doc! {"_id": whole.get_str("_id").expect("a lane")}, &whole)
            .await
            .expect("restores");
    };
    let text = |collection: &str, counter: &str| (collection.to_owned(), counter.to_owned());

    for (set, expected) in [
        (doc! {"$inc": {"read": 1_i64}}, vec![text("usageFences", "read")]),
        (
            doc! {"$inc": {"duplicate": 1_i64, "read": 1_i64}},
            vec![text("usageFences", "duplicate")],
        ),
        (
            doc! {"$unset": {"journal": ""}},
            vec![text("usageFences", "journal")],
        ),
        (
            doc! {"$inc": {"journal.seq": -1_i64, "seq": -1_i64}},
            vec![text("usageFences", "journal")],
        ),
    ] {
        fences.update_one(doc! {}, set.clone()).await.expect("changes");
        let (code, report) = verify(world.variables(&[]), &[]).await;
        assert_eq!((code, named(&report)), (2, expected), "{set}: {report:#}");
        restore().await;
    }
    let letter = some(&world, "usageDeadLetters", doc! {}, 0).await;
    remove(&world, "usageDeadLetters", &id(&letter)).await;
    let (code, report) = verify(world.variables(&[]), &[]).await;
    assert_eq!(
        (code, named(&report)),
        (2, vec![text("usageDeadLetters", "letters")]),
        "{report:#}"
    );
    world
        .collection("usageDeadLetters")
        .insert_one(&letter)
        .await
        .expect("restores");
    assert_clean(world.variables(&[])).await;

    // Each byte of a document is looked at.
    let document = some(&world, "usageJournal", doc! {"days.0": {"$exists": true}}, 1).await;
    let which = doc! {"_id": document.get_document("_id").expect("an id")};
    journal
        .update_one(which.clone(), doc! {"$inc": {"tally.counted": 1_i64}})
        .await
        .expect("damages");
    let (code, report) = verify(world.variables(&[]), &[]).await;
    assert_eq!(code, 2);
    assert!(
        named(&report).contains(&text("usageJournal", "checksum")),
        "{report:#}"
    );
    assert!(
        report["notCompared"].to_string().contains("missing or damaged"),
        "{report:#}"
    );
    journal.delete_one(which).await.expect("deletes");
    let (code, report) = verify(world.variables(&[]), &[]).await;
    assert_eq!(code, 2);
    let found = named(&report);
    assert!(found.contains(&text("usageJournal", "previous")), "{report:#}");
    assert!(found.contains(&text("usageLedger", "requests")), "{report:#}");
    journal.insert_one(document).await.expect("restores");
    assert_clean(world.variables(&[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn there_is_no_false_alarm_while_workers_take_over_from_each_other() {
    no_false_alarm("verify_live", 6_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: ten times as many events"]
async fn there_is_no_false_alarm_over_60_000_events() {
    no_false_alarm("verify_long", 60_000).await;
}

/// Two workers on one change stream, one of which is killed again and again, and letters that are judged again, all of them.
async fn no_false_alarm(name: &str, count: usize) {
    let world = World::new(name).await;
    let mut workers = [world.ready(&[]).await, world.ready(&[]).await];
    let items = items(23, count);
    let expected = i64::try_from(testkit::world::truth(&items).read).expect("fits");
    let traffic = async {
        for (turn, items) in items.chunks(500).enumerate() {
            world.insert(items).await;
            if turn % 3 == 2 {
                let worker = &mut workers[turn % 2];
                worker.process().kill9().expect("kills");
                *worker = world.ready(&[]).await;
            }
            if turn % 4 == 3 {
                let (code, told) = world.letters_command(&["replay", "--all"]).await;
                assert_eq!(code, 0, "{told}");
            }
        }
        eventually("everything is read", || async {
            world.fence_number("read").await >= expected
        })
        .await;
    };
    let checked = AtomicU32::new(0);
    let checks = async {
        loop {
            assert_clean(world.variables(&[])).await;
            checked.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = traffic => {}
        () = checks => {}
    }
    let checked = checked.into_inner();
    assert!(checked > 3, "{checked}");
    assert_clean(world.variables(&[])).await;
    // With nobody at work, and nothing in it.
    for mut worker in workers {
        worker.stop(DRAIN).await.expect("drains");
    }
    assert_clean(world.variables(&[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_empty_ledger_is_clean_and_no_ledger_is_not() {
    let world = World::new("verify_empty").await;
    let (code, told) = run(&["verify"], world.variables(&[])).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("migrate"), "{told}");
    let worker = world.ready(&[]).await;
    assert_clean(world.variables(&[])).await;
    world.insert_one(event("acme")).await;
    drop(worker);
    assert_clean(world.variables(&[])).await;
}

/// Instants that are gone are read anew, and less of them; and a server that keeps instants is asked for one only once.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_instant_that_is_gone_is_read_anew() {
    let mut world = booked("verify_gone", 200).await;
    let mongo = shared::mongo().await;
    for keeps in [false, true] {
        let proxy = mongo.proxy().await.expect("a proxy");
        if keeps {
            keep_instants(&proxy);
        }
        world.uri = mongo.proxied_uri(&proxy);
        let rows = Command::named("find").collection("usageRollups").in_session();
        let gone = proxy.when(rows).reply_error(239, "SnapshotTooOld").first(2).arm();
        let journal = Command::named("find").collection("usageJournal").in_session();
        let away = proxy
            .when(journal)
            .reply_error(91, "ShutdownInProgress")
            .nth(3)
            .arm();
        assert_clean(world.variables(&[])).await;
        assert_eq!((gone.fired(), away.fired()), (2, 1), "{keeps}");
    }
}

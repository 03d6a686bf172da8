//! `rebuild` makes rows what their entries say, whatever goes on meanwhile, and says what it cannot.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::DateTime;
use mongodb::bson::{Document, doc};
use testkit::product::Product;
use testkit::proxy::Command;
use testkit::world::{World, event, items, run, start, truth};
use testkit::{eventually, shared};

use crate::verify::{assert_clean, booked, change, id, of_row, remove, some, verify};

const DRAIN: Duration = Duration::from_secs(20);

pub(crate) async fn rebuild(world: &World, arguments: &[&str]) -> (i32, String) {
    run(&[&["rebuild"], arguments].concat(), world.variables(&[])).await
}

/// Damages rows of every kind, so many of each.
pub(crate) async fn damage(world: &World, times: u64) {
    for turn in 0..times {
        for (collection, which, how) in [
            (
                "usageLedger",
                doc! {"granularity": "daily"},
                doc! {"$inc": {"costNanos": 5_i64, "requests": -1_i64}},
            ),
            (
                "usageLedger",
                doc! {"granularity": "weekly"},
                doc! {"$inc": {"inputTokens": -7_i64}},
            ),
            (
                "usageLedger",
                doc! {"granularity": "monthly"},
                doc! {"$set": {"userId": "somebody"}},
            ),
            (
                "usageLedger",
                doc! {"granularity": "weekly"},
                doc! {"$set": {"periodStart": mongodb::bson::DateTime::from_millis(7)}},
            ),
            (
                "usageRollups",
                doc! {"set": "user"},
                doc! {"$inc": {"requests": 1_i64}},
            ),
            (
                "usageRollups",
                doc! {"set": "organization"},
                doc! {"$mul": {"totalTokens": 2_i64}},
            ),
        ] {
            let row = some(world, collection, which, turn * 3).await;
            change(world, collection, &id(&row), how).await;
        }
        for (collection, which) in [
            ("usageLedger", doc! {"granularity": "daily"}),
            ("usageLedger", doc! {"granularity": "monthly"}),
            ("usageRollups", doc! {"set": "model"}),
        ] {
            let row = some(world, collection, which, turn * 3 + 1).await;
            remove(world, collection, &id(&row)).await;
        }
        let mut nobodys = some(world, "usageLedger", doc! {"granularity": "daily"}, turn * 3 + 1).await;
        let user = format!("/{}/", nobodys.get_str("userId").expect("a user"));
        let nobody = format!("nobody-{turn}");
        let other = id(&nobodys).replacen(&user, &format!("/{nobody}/"), 1);
        nobodys.extend(doc! {"_id": other, "userId": nobody});
        let mut doubled = some(world, "usageRollups", doc! {"set": "organization"}, 0).await;
        doubled.insert("_id", format!("{}/again-{turn}", id(&doubled)));
        for (collection, row) in [("usageLedger", &nobodys), ("usageRollups", &doubled)] {
            // One that was killed may have left that of before.
            let rows = world.collection(collection);
            let put = rows.replace_one(doc! {"_id": id(row)}, row).upsert(true);
            put.await.expect("puts");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_row_becomes_what_its_entries_say() {
    let world = booked("rebuild_rows", 400).await;
    let expected = truth(&items(11, 400));
    damage(&world, 5).await;
    // One that is damaged already, and says that it is older than its entries.
    let row = some(&world, "usageLedger", doc! {"granularity": "daily"}, 12).await;
    let old = mongodb::bson::DateTime::from_millis(1);
    let older = doc! {"$set": {"firstEventAt": old}, "$inc": {"images": 1_i64}};
    change(&world, "usageLedger", &id(&row), older).await;
    let (code, before) = verify(world.variables(&[]), &[]).await;
    assert_eq!(code, 2);
    let (code, told) = rebuild(&world, &["--dry-run"]).await;
    assert!(code == 0 && told.contains("would be changed"), "{told}");
    let (_, after) = verify(world.variables(&[]), &[]).await;
    assert_eq!(before, after, "nothing was changed");

    let (code, told) = rebuild(&world, &[]).await;
    assert!(code == 0 && told.contains("were changed"), "{told}");
    assert!(!told.contains("not to be mended"), "{told}");
    assert_clean(world.variables(&[])).await;
    world.assert_truth(&expected).await;
    crate::journal::assert_entries(&world).await;
    let mended = some(&world, "usageLedger", doc! {"_id": id(&row)}, 0).await;
    assert_eq!(mended.get("firstEventAt"), row.get("firstEventAt"));
    for (collection, gone) in [
        ("usageLedger", doc! {"userId": {"$regex": "^nobody"}}),
        ("usageRollups", doc! {"_id": {"$regex": "again"}}),
    ] {
        let left = world.collection(collection).count_documents(gone).await;
        assert_eq!(left.expect("counts"), 0, "{collection}");
    }
    let (code, told) = rebuild(&world, &[]).await;
    assert!(
        code == 0 && told.contains("0 rows and rollups were changed"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn of_a_part_nothing_else_is_changed() {
    let world = booked("rebuild_part", 400).await;
    let one = some(&world, "usageLedger", doc! {"granularity": "daily"}, 0).await;
    let organization = one.get_str("organizationId").expect("one");
    let others = doc! {"granularity": "daily", "organizationId": {"$ne": organization}};
    let other = some(&world, "usageLedger", others, 0).await;
    for row in [&one, &other] {
        change(
            &world,
            "usageLedger",
            &id(row),
            doc! {"$inc": {"requests": 3_i64}},
        )
        .await;
    }
    let day = one.get_str("periodKey").expect("a day");
    let part = ["--organization", organization, "--from", day, "--to", day];
    let (code, told) = rebuild(&world, &part).await;
    assert_eq!(code, 0, "{told}");
    let (_, report) = verify(world.variables(&[]), &[]).await;
    assert_eq!(report["differenceCount"], 1, "{report:#}");
    assert_eq!(of_row(&report, &id(&other)).len(), 1);
}

/// Waits until a program has ended by itself, or kills it after a while.
pub(crate) async fn kill_after(product: &mut Product, after: Duration) -> bool {
    let ended = product.process().wait_ended(after).await;
    if ended.is_err() {
        product.process().kill9().expect("kills");
    }
    ended.is_ok()
}

/// With live traffic, and killed again and again: what is left in the end is what the journal says, and nothing was added
/// twice. Several at once are in nobody's way.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_may_be_killed_at_any_time_while_lanes_go_on() {
    let world = World::new("rebuild_killed").await;
    let mut worker = world.ready(&[]).await;
    let all = items(29, 4_000);
    world.insert(&all[..1_000]).await;
    world.wait_read(&mut worker, truth(&all[..1_000]).read).await;
    damage(&world, 20).await;
    let traffic = async {
        for items in all[1_000..].chunks(100) {
            world.insert(items).await;
            tokio::task::yield_now().await;
        }
    };
    let repairs = async {
        for turn in 1..8 {
            let mut product = start(&["rebuild"], world.variables(&[]));
            kill_after(&mut product, Duration::from_millis(150 * turn)).await;
            damage(&world, 1).await;
        }
        let arguments: [&[&str]; 3] = [&[]; 3];
        let at_once = arguments.map(|arguments| rebuild(&world, arguments));
        for (code, told) in futures_util::future::join_all(at_once).await {
            assert_eq!(code, 0, "{told}");
        }
    };
    tokio::join!(traffic, repairs);
    let expected = truth(&all);
    world.wait_read(&mut worker, expected.read).await;
    assert_clean(world.variables(&[])).await;
    world.assert_truth(&expected).await;
    worker.stop(DRAIN).await.expect("drains");
}

/// A fence of an old dump: the lane stops, is set right from its journal, and counts nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_fence_that_was_set_back_goes_on_where_its_journal_ends() {
    let world = World::new("rebuild_fence").await;
    let mut worker = world.ready(&[("BATCH_MAX_EVENTS", "40")]).await;
    let all = items(31, 600);
    world.insert(&all[..300]).await;
    world.wait_read(&mut worker, truth(&all[..300]).read).await;
    worker.stop(DRAIN).await.expect("drains");
    let old = world.fence().await.expect("a fence");
    let mut worker = world.ready(&[("BATCH_MAX_EVENTS", "40")]).await;
    world.insert(&all[300..]).await;
    let expected = truth(&all);
    world.wait_read(&mut worker, expected.read).await;
    worker.stop(DRAIN).await.expect("drains");
    let lane = old.get_str("_id").expect("a lane").to_owned();
    let fences = world.collection("usageFences");
    fences
        .replace_one(doc! {"_id": &lane}, &old)
        .await
        .expect("sets back");

    let worker = world.start("run", &[]);
    world.wait_stopped().await;
    let (code, report) = verify(world.variables(&[]), &[]).await;
    assert_eq!(code, 2, "{report:#}");
    assert_eq!(report["differenceCount"], 1, "{report:#}");
    assert_eq!(report["differences"][0]["counter"], "journal");
    let (code, told) = rebuild(&world, &["--lane", "kafka/none/0"]).await;
    assert!(code == 1 && told.contains("there is no lane"), "{told}");
    let (code, told) = rebuild(&world, &["--lane", &lane]).await;
    assert!(code == 0 && told.contains(&lane), "{told}");
    assert_clean(world.variables(&[])).await;
    eventually("the lane goes on", || async {
        let fence = world.fence().await.expect("a fence");
        !fence.contains_key("stopped") && fence.get_str("owner").is_ok()
    })
    .await;
    world.insert_one(event("acme")).await;
    eventually("an event more is read", || async {
        world.fence_number("read").await == i64::try_from(expected.read).expect("fits") + 1
    })
    .await;
    assert_clean(world.variables(&[])).await;
    drop(worker);
}

/// The sums of all rows.
async fn sums(world: &World) -> BTreeMap<String, BTreeMap<String, i128>> {
    let mut sums = world.sums(Document::new()).await;
    for counters in sums.values_mut() {
        // Each change sets it anew.
        counters.remove("version");
    }
    sums
}

/// What a lost document counted stays in the rows, and what is missing comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn where_documents_are_lost_nothing_is_taken_away() {
    let world = booked("rebuild_lost", 400).await;
    let before = sums(&world).await;
    let document = some(&world, "usageJournal", doc! {"days.0": {"$exists": true}}, 2).await;
    let which = doc! {"_id": document.get_document("_id").expect("an id")};
    let journal = world.collection("usageJournal");
    journal.delete_one(which).await.expect("deletes");
    // Of a row that the lost document has nothing to do with.
    let (_, report) = verify(world.variables(&[]), &[]).await;
    let rows = world.collection("usageLedger");
    let mut cursor = rows.find(doc! {"granularity": "daily"}).await.expect("reads");
    let mut short = None;
    while cursor.advance().await.expect("reads") {
        let row = cursor.deserialize_current().expect("a row");
        if of_row(&report, &id(&row)).is_empty() {
            short = Some(row);
        }
    }
    let short = short.expect("a row of other documents");
    change(
        &world,
        "usageLedger",
        &id(&short),
        doc! {"$inc": {"requests": -1_i64}},
    )
    .await;
    let (code, told) = rebuild(&world, &[]).await;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("nothing was taken away"), "{told}");
    assert!(
        told.contains("not to be mended from the journal") && told.contains("previous"),
        "{told}"
    );
    assert_eq!(sums(&world).await, before, "what it counted is still there");
}

/// What readers remember of a row does not outlive its repair.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn readers_see_what_was_mended_at_once() {
    let world = World::new("rebuild_reader").await;
    let mut worker = world.ready(&[]).await;
    let mut event = event("acme");
    let at = DateTime::parse_from_rfc3339("2026-01-05T10:00:00Z").expect("an instant");
    event.insert("completedAt", mongodb::bson::DateTime::from_chrono(at));
    world.insert_one(event).await;
    world.wait_read(&mut worker, 1).await;
    let api = worker.api().to_owned();
    let requests = async || {
        let question = "organizationId=acme&from=2026-01-05&to=2026-01-05&by=user";
        let url = format!("{api}/v1/usage/breakdown?{question}");
        let (_, answer) = worker.get(&url).await.expect("answers");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        answer["rows"][0]["totals"]["requests"].as_i64()
    };
    let row = some(
        &world,
        "usageRollups",
        doc! {"set": "user", "granularity": "daily"},
        0,
    )
    .await;
    change(
        &world,
        "usageRollups",
        &id(&row),
        doc! {"$inc": {"requests": 4_i64}},
    )
    .await;
    // What it has seen it remembers.
    assert_eq!(requests().await, Some(5));
    let (code, told) = rebuild(&world, &[]).await;
    assert_eq!(code, 0, "{told}");
    assert_eq!(requests().await, Some(1), "{}", worker.said());
}

/// The answer to a commit is lost, before the server has made it permanent and after: what is added is added once.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_step_of_which_nobody_knows_whether_it_was_applied_is_applied_once() {
    let mut world = booked("rebuild_unknown", 200).await;
    let expected = truth(&items(11, 200));
    let mongo = shared::mongo().await;
    for is_applied in [false, true] {
        damage(&world, 2).await;
        let proxy = mongo.proxy().await.expect("a proxy");
        let direct = std::mem::replace(&mut world.uri, mongo.proxied_uri(&proxy));
        let commits = Command::named("commitTransaction");
        let fault = proxy.when(commits).reply_error(99_999, "NobodyKnows");
        let fault = match is_applied {
            true => fault.after_server().first(2).arm(),
            false => fault.aborting_transaction().first(2).arm(),
        };
        let (code, told) = rebuild(&world, &[]).await;
        assert_eq!(code, 0, "{told}");
        assert!(fault.fired() > 0);
        world.uri = direct;
        assert_clean(world.variables(&[])).await;
        world.assert_truth(&expected).await;
    }
}

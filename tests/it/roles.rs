//! With authentication on: every part of the program does with the rights that are written down for it, and what is
//! missing is said.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use testkit::mongodb::{Mongo, Options};
use testkit::product::Product;
use testkit::traffic::{Identity, Item, Options as Mix};
use testkit::world::{World, admin, event, items_of, resume, run, truth};
use testkit::{PATIENCE, eventually, process};

const DRAIN: Duration = Duration::from_secs(20);

/// A server that asks who is there, and a database on it.
struct Guarded {
    mongo: Mongo,
    /// As root sees it.
    root: World,
}

impl Guarded {
    async fn new(name: &str) -> Self {
        let options = Options {
            login: Some(("root".into(), "secret".into())),
            ..Options::default()
        };
        let mongo = Mongo::start(options).await.expect("MongoDB starts");
        let root = World::on(&mongo, name).await;
        Self { mongo, root }
    }

    async fn admin(&self, command: Document) {
        let admin = self.root.database.client().database("admin");
        admin.run_command(command).await.expect("root may");
    }

    /// The same database, as a new user with these roles.
    async fn user(&self, name: &str, roles: Vec<Bson>) -> World {
        self.admin(doc! {"createUser": name, "pwd": "secret", "roles": roles})
            .await;
        let mut world = World::again(&self.mongo, "as_user").await;
        world.name.clone_from(&self.root.name);
        world.uri = self.root.uri.replace("root:secret@", &format!("{name}:secret@"));
        let client = Client::with_uri_str(&world.uri).await.expect("a client");
        world.database = client.database(&world.name);
        world
    }

    /// The same database, as a new user with nothing but a shipped role.
    async fn shipped(&self, file: &str) -> World {
        let role = self.role(file);
        let name = role.get_str("createRole").expect("a name").to_owned();
        self.admin(role).await;
        self.user(file, vec![name.into()]).await
    }

    /// A role document as it is shipped, for this database.
    fn role(&self, file: &str) -> Document {
        let path = format!("{}/deploy/roles/{file}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("reads");
        let here = text.replace(r#""db": "usage""#, &format!(r#""db": "{}""#, self.root.name));
        serde_json::from_str(&here).expect("JSON")
    }
}

/// A built-in role on a database.
fn built_in(role: &str, database: &str) -> Bson {
    doc! {"role": role, "db": database}.into()
}

fn items(seed: u64, count: usize) -> Vec<Item> {
    let mix = Mix {
        seed,
        prefix: format!("roles-{seed}"),
        identity: Identity::EventId,
        invalid: 0.05,
        // Not every id is remembered here.
        duplicates: 0.0,
        ..Mix::default()
    };
    items_of(mix, count)
}

async fn ready(world: &World, command: &str, more: &[(&str, &str)]) -> Product {
    let mut product = world.start(command, more);
    product.wait_ready(PATIENCE).await.expect("ready");
    product
}

async fn migrate(world: &World) -> (i32, String) {
    run(&["migrate"], world.variables(&[])).await
}

async fn requests(reader: &Product, organization: &str) -> serde_json::Value {
    let question = format!("/v1/usage/summary?organizationId={organization}&from=2026-01-01&to=2026-03-31");
    let answer = reader.get(&format!("{}{question}", reader.api())).await;
    let (status, body) = answer.expect("answers");
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    answer["totals"]["requests"].clone()
}

fn log(product: &mut Product) -> String {
    process::log_after(product.process().log(), 0)
}

/// The lane stops, goes on by this user's order, and an event more arrives.
async fn stop_and_resume(guarded: &Guarded, world: &World) {
    let events = guarded.root.collection("requestEvents");
    events.drop().await.expect("drops");
    guarded.root.wait_stopped().await;
    let lane = format!("mongodb/{}.requestEvents", world.name);
    let (code, told) = resume(&lane, "earliest", world.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    guarded.root.insert_one(event("acme")).await;
}

/// Rows are compared and mended by users who may do just that.
async fn prove_and_mend(guarded: &Guarded) {
    let root = &guarded.root;
    let rows = root.collection("usageRollups");
    let (verifier, rebuilder) = (
        guarded.shipped("verification").await,
        guarded.shipped("rebuild").await,
    );
    let (code, told) = run(&["verify"], verifier.variables(&[])).await;
    assert!(code == 0 && !told.contains("not compared"), "{told}");
    let stray = doc! {"$inc": {"requests": 1_i64}, "$set": {"value": "nobody"}};
    rows.update_one(doc! {"set": "user"}, stray)
        .await
        .expect("changes");
    rows.delete_one(doc! {"set": "model"}).await.expect("deletes");
    let (code, told) = run(&["verify"], verifier.variables(&[])).await;
    assert_eq!(code, 2, "{told}");
    let (code, told) = run(&["rebuild"], verifier.variables(&[])).await;
    assert_eq!(code, 1, "it only reads: {told}");
    let (code, told) = run(&["rebuild"], rebuilder.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
    let (code, told) = run(&["verify"], rebuilder.variables(&[])).await;
    assert_eq!(code, 0, "{told}");
}

/// Worker, reader and migration, each with its role document and nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_shipped_role_is_enough_for_its_part() {
    let guarded = Guarded::new("shipped").await;
    let (code, told) = migrate(&guarded.shipped("migration").await).await;
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("about to create `usageLedger` (`createCollection`)"),
        "{told}"
    );
    let world = guarded.shipped("worker").await;
    // With ids of the whole ledger, of which it forgets some, it writes the most.
    let settings = [
        ("DEDUPE_SCOPE", "ledger"),
        ("DEDUPE_MAX_IDS", "100"),
        ("BATCH_MAX_EVENTS", "50"),
        ("VERIFY_EVERY", "1h"),
    ];
    let mut worker = ready(&world, "ingest", &settings).await;
    let mut all = items(1, 300);
    guarded.root.insert(&all).await;
    guarded.root.wait_read(&mut worker, truth(&all).read).await;

    // A dead worker is followed: what it left behind is removed.
    worker.process().kill9().expect("kills");
    let more = items(2, 300);
    guarded.root.insert(&more).await;
    all.extend(more);
    let mut worker = ready(&world, "ingest", &settings).await;
    let truth = truth(&all);
    guarded.root.wait_read(&mut worker, truth.read).await;
    guarded.root.assert_truth(&truth).await;
    crate::journal::assert_entries(&guarded.root).await;

    // Letters are marked, judged, and stay what they are.
    let (code, told) = world.letters_command(&["replay", "--all"]).await;
    assert_eq!(code, 0, "{told}");
    eventually("judged again", || async {
        guarded.root.letters_where(doc! {"state": "replay"}).await == 0
    })
    .await;
    guarded.root.assert_truth(&truth).await;
    crate::journal::assert_entries(&guarded.root).await;

    let reader = guarded.shipped("reader").await;
    let mut serving = ready(&reader, "serve", &[]).await;
    let (organization, totals) = truth.organizations.iter().next().expect("an organization");
    assert_eq!(requests(&serving, organization).await, totals.requests);
    let (code, told) = run(&["lanes", "list"], reader.variables(&[])).await;
    assert!(code == 0 && told.contains("running"), "{told}");

    // The worker compares by itself, which needs no more.
    let clean = doc! {"verified.clean": true};
    let meta = guarded.root.collection("usageMeta");
    eventually("it has compared", || async {
        meta.find_one(clean.clone()).await.expect("reads").is_some()
    })
    .await;
    prove_and_mend(&guarded).await;
    stop_and_resume(&guarded, &world).await;
    guarded.root.wait_read(&mut worker, truth.read + 1).await;
    // The oplog is none of it: what it would tell is left out, and that is said once.
    // It is looked at when somebody asks.
    let path = worker.process().log().to_owned();
    eventually("it is said", || async {
        let (_, metrics) = admin(&worker, "/metrics").await;
        assert!(
            !metrics.contains("usage_ledger_oplog_window_seconds"),
            "{metrics}"
        );
        process::log_after(&path, 0).contains("`find` on `local.oplog.rs`")
    })
    .await;
    let said = log(&mut worker).matches("`find` on `local.oplog.rs`").count();
    assert_eq!(said, 1);
    worker.stop(DRAIN).await.expect("drains");
    let leases = guarded.root.collection("usageLeases");
    let ours = doc! {"session": {"$exists": true}};
    let left = leases.count_documents(ours).await.expect("counts");
    assert!(left <= 1, "only the killed worker's lease is left: {left}");
    for product in [&mut worker, &mut serving] {
        let log = log(product);
        assert!(!log.contains("Unauthorized"), "{log}");
    }
}

/// The first start creates everything; the events are in a database that is only read.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_built_in_roles_are_enough_too() {
    let guarded = Guarded::new("built_in").await;
    let name = guarded.root.name.clone();
    let app = format!("{name}_app");
    let events = guarded.root.database.client().database(&app);
    events.create_collection("events").await.expect("creates");
    let rights = vec![built_in("readWrite", &name), built_in("read", &app)];
    let world = guarded.user("worker", rights).await;
    let elsewhere = format!("{app}.events");
    let mut worker = ready(&world, "run", &[("EVENTS_COLLECTION", &elsewhere)]).await;
    events
        .collection("events")
        .insert_one(event("acme"))
        .await
        .expect("inserts");
    guarded.root.wait_read(&mut worker, 1).await;
    let reader = guarded.user("reader", vec![built_in("read", &name)]).await;
    let mut serving = ready(&reader, "serve", &[]).await;
    assert_eq!(requests(&serving, "acme").await, 1);
    for product in [&mut worker, &mut serving] {
        let log = log(product);
        assert!(!log.contains("Unauthorized"), "{log}");
    }
    worker.stop(DRAIN).await.expect("drains");
    // Of the events nothing but these two is needed.
    let stream = doc! {"resource": {"db": &app, "collection": "events"}, "actions": ["find", "changeStream"]};
    let follow = doc! {"createRole": "follow", "privileges": [stream], "roles": []};
    let role = guarded.role("worker");
    let name = role.get_str("createRole").expect("a name").to_owned();
    guarded.admin(follow).await;
    guarded.admin(role).await;
    let narrow = guarded.user("narrow", vec![name.into(), "follow".into()]).await;
    let mut worker = ready(&narrow, "ingest", &[("EVENTS_COLLECTION", &elsewhere)]).await;
    events
        .collection("events")
        .insert_one(event("acme"))
        .await
        .expect("inserts");
    guarded.root.wait_read(&mut worker, 2).await;
    // What is as it should be is not asked for.
    let (code, told) = migrate(&world).await;
    assert!(code == 0 && !told.contains("about to change"), "{told}");
}

/// `collMod` is no part of `readWrite`, and is needed only where a validator is another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn migrate_says_what_it_does_and_which_right_that_takes() {
    let guarded = Guarded::new("migrating").await;
    let name = guarded.root.name.clone();
    let plain = guarded.user("plain", vec![built_in("readWrite", &name)]).await;
    for is_first in [true, false] {
        let (code, told) = migrate(&plain).await;
        assert_eq!(code, 0, "{told}");
        assert_eq!(told.contains("about to"), is_first, "{told}");
    }
    let other = doc! {"collMod": "usageRollups", "validator": {"_id": {"$exists": true}}};
    guarded.root.database.run_command(other).await.expect("root may");
    let (code, told) = migrate(&plain).await;
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("about to change the validator of `usageRollups` (`collMod`)"),
        "{told}"
    );
    let sentence = format!("lacks a right: 13 Unauthorized: may not collMod on {name}.usageRollups");
    assert!(
        told.contains(&sentence) && !told.contains("credentials"),
        "{told}"
    );
    let migration = guarded.shipped("migration").await;
    let (code, told) = migrate(&migration).await;
    assert_eq!(code, 0, "{told}");
    let incomplete = doc! {"_id": "v1/x", "organizationId": "acme"};
    let rollups = guarded.root.collection("usageRollups");
    rollups
        .insert_one(incomplete)
        .await
        .expect_err("the validator is back");
}

/// Whoever may not see the options of collections may complete a ledger still: what they hide is left as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn migrate_does_without_what_it_may_not_see() {
    let guarded = Guarded::new("hidden").await;
    let hidden = |privilege: &Bson| {
        let mut privilege = privilege.as_document().expect("a privilege").clone();
        let actions = privilege.get_array_mut("actions").expect("actions");
        actions.retain(|action| action.as_str() != Some("listCollections"));
        privilege
    };
    let mut role = guarded.role("migration");
    let privileges: Vec<Document> = role
        .get_array("privileges")
        .expect("privileges")
        .iter()
        .map(hidden)
        .collect();
    role.insert("privileges", privileges);
    guarded.admin(role).await;
    let world = guarded
        .user("migration", vec!["usageLedgerMigration".into()])
        .await;
    for is_first in [true, false] {
        let (code, told) = migrate(&world).await;
        assert_eq!(code, 0, "{told}");
        assert_eq!(told.contains("about to"), is_first, "{told}");
        assert!(
            told.contains("13 Unauthorized: may not listCollections on"),
            "{told}"
        );
    }
    guarded.root.ready(&[]).await;
}

/// An index of the same keys that holds, refuses or deletes something else is no index of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_index_with_other_options_is_named() {
    let world = World::new("other_index").await;
    let (code, told) = migrate(&world).await;
    assert_eq!(code, 0, "{told}");
    let days = "days_1_greatest_-1";
    let journal = world.collection("usageJournal");
    journal.drop_index(days).await.expect("drops");
    let other = doc! {
        "createIndexes": "usageJournal",
        "indexes": [{"key": {"days": 1, "greatest": -1}, "name": days, "unique": true}],
    };
    world.database.run_command(other).await.expect("creates");
    for command in ["migrate", "serve", "run"] {
        let (code, told) = run(&[command], world.variables(&[])).await;
        assert_eq!(code, 1, "{told}");
        let sentence = format!(
            "the index `{days}` of `usageJournal` has the options {{ \"unique\": true }}, and needs {{}}; drop it, \
             with `db.usageJournal.dropIndex(\"{days}\")`"
        );
        assert!(told.contains(&sentence), "{told}");
    }
    journal.drop_index(days).await.expect("drops");
    let (code, told) = migrate(&world).await;
    assert!(
        code == 0 && told.contains("of `usageJournal` (`createIndex`)"),
        "{told}"
    );
    assert_eq!(told.matches("about to").count(), 1, "{told}");
    world.ready(&[]).await;
}

/// Who only reads cannot write, whatever they run, and sees no payloads of dead letters.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reader_cannot_write() {
    let guarded = Guarded::new("reading").await;
    let (code, told) = migrate(&guarded.root).await;
    assert_eq!(code, 0, "{told}");
    let reader = guarded.shipped("reader").await;
    let refused = |error: mongodb::error::Error| match *error.kind {
        ErrorKind::Command(command) => command.code,
        other => panic!("no refusal: {other}"),
    };
    let rejected = reader.collection("usageRejected").find_one(doc! {}).await;
    assert_eq!(rejected.expect("reads"), None, "how many, and of what");
    for name in ["usageLedger", "usageRollups", "usageFences", "usageMeta"] {
        let collection = reader.collection(name);
        collection.find_one(doc! {}).await.expect("reads");
        let inserted = collection.insert_one(doc! {"_id": 1}).await;
        assert_eq!(refused(inserted.expect_err("refused")), 13, "{name}");
        let updated = collection.update_one(doc! {}, doc! {"$set": {"a": 1}}).await;
        assert_eq!(refused(updated.expect_err("refused")), 13, "{name}");
        let deleted = collection.delete_many(doc! {}).await;
        assert_eq!(refused(deleted.expect_err("refused")), 13, "{name}");
    }
    let letters = reader.collection("usageDeadLetters").find_one(doc! {}).await;
    assert_eq!(refused(letters.expect_err("refused")), 13);
    let (code, told) = run(&["run"], reader.variables(&[])).await;
    assert_eq!(code, 1, "{told}");
    let sentence = format!(
        "lacks a right: 13 Unauthorized: may not find on {}.requestEvents",
        reader.name
    );
    assert!(
        told.contains(&sentence) && !told.contains("credentials"),
        "{told}"
    );
    let mut nobody = guarded.user("nobody", vec![]).await;
    nobody.uri = nobody.uri.replace("nobody:secret@", "");
    let (code, told) = migrate(&nobody).await;
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("MongoDB wants a user, and USAGE_LEDGER_MONGODB_URI names none"),
        "{told}"
    );
}

/// A worker whose role lacks one right, which nothing at the start asks for.
async fn lacking(guarded: &Guarded) -> Product {
    let (code, told) = migrate(&guarded.root).await;
    assert_eq!(code, 0, "{told}");
    let world = guarded.shipped("worker").await;
    guarded
        .admin(rows_of_worker("revokePrivilegesFromRole", guarded))
        .await;
    let worker = ready(&world, "ingest", &[]).await;
    guarded.root.insert_one(event("acme")).await;
    eventually("not ready: not_authorized", || async {
        let (status, body) = admin(&worker, "/readyz").await;
        status == 503 && body.contains("not_authorized")
    })
    .await;
    assert_eq!(admin(&worker, "/healthz").await.0, 200);
    worker
}

/// Takes the right to write rows away, or gives it.
fn rows_of_worker(command: &str, guarded: &Guarded) -> Document {
    let rows = doc! {"db": &guarded.root.name, "collection": "usageLedger"};
    let rights = doc! {"resource": rows, "actions": ["insert", "update"]};
    doc! {command: "usageLedgerWorker", "privileges": [rights]}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_right_that_is_missing_is_said_and_nothing_is_lost() {
    let guarded = Guarded::new("lacking").await;
    let mut worker = lacking(&guarded).await;
    let log = log(&mut worker);
    let sentence = format!("on {}.usageLedger", guarded.root.name);
    assert!(log.contains("13 Unauthorized: may not "), "{log}");
    assert!(log.contains(&sentence), "{log}");
    assert!(!log.contains("credentials"), "{log}");
    assert_eq!(guarded.root.fence_number("read").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: it is tried again after 30 s"]
async fn a_worker_goes_on_when_the_right_is_given() {
    let guarded = Guarded::new("given").await;
    let mut worker = lacking(&guarded).await;
    guarded
        .admin(rows_of_worker("grantPrivilegesToRole", &guarded))
        .await;
    guarded.root.wait_read(&mut worker, 1).await;
    worker.wait_ready(PATIENCE).await.expect("ready again");
    assert_eq!(guarded.root.fence_number("counted").await, 1);
    assert!(!log(&mut worker).contains("credentials"));
}

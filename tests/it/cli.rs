//! The command line: what is wrong is said in one clear sentence, with an exit code that says who must act.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use testkit::mongodb::{Mongo, Options};
use testkit::process;
use testkit::proxy::{Command, Proxy};
use testkit::world::{World, event, run};

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A database behind a proxy of its own.
async fn behind_proxy(name: &str) -> (Arc<Mongo>, World, Proxy) {
    let mongo = testkit::shared::mongo().await;
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(&mongo, name).await;
    world.uri = mongo.proxied_uri(&proxy);
    (mongo, world, proxy)
}

#[tokio::test]
async fn wrong_settings_are_all_reported_at_once_with_64() {
    let wrong = variables(&[
        ("SOURCE", "rabbit"),
        ("BATCH_MAX_AGE", "soon"),
        ("MONGODB_URI", "mongodb://u:geheim@h"),
    ]);
    for command in [&["run"][..], &["config", "check"]] {
        let (code, told) = run(command, wrong.clone()).await;
        assert_eq!(code, 64, "{told}");
        for variable in [
            "USAGE_LEDGER_SOURCE",
            "USAGE_LEDGER_BATCH_MAX_AGE",
            "USAGE_LEDGER_AUTH",
        ] {
            assert!(told.contains(variable), "{variable}: {told}");
        }
        assert!(!told.contains("geheim"), "{told}");
    }
    let (code, told) = run(&["run", "--api-addr"], Vec::new()).await;
    assert_eq!(code, 64, "{told}");
    let (code, told) = run(
        &["run"],
        variables(&[("AUTH", "off"), ("MONGODB_URI", "postgres://x")]),
    )
    .await;
    assert_eq!(code, 64, "{told}");
    assert!(told.contains("USAGE_LEDGER_MONGODB_URI"), "{told}");
    let (code, told) = run(
        &["config", "check"],
        variables(&[("AUTH", "off"), ("MONGODB_URI", "mongodb://u:geheim@h")]),
    )
    .await;
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("USAGE_LEDGER_MONGODB_URI=<redacted>") && !told.contains("geheim"),
        "{told}"
    );
}

#[tokio::test]
async fn an_unreachable_server_is_one_sentence_and_1() {
    let port = testkit::net::free_port().expect("a port");
    let uri = format!("mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=500");
    let (code, told) = run(&["run"], variables(&[("AUTH", "off"), ("MONGODB_URI", &uri)])).await;
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("MongoDB cannot be reached (USAGE_LEDGER_MONGODB_URI)"),
        "{told}"
    );
}

/// A name that nobody knows is no wrong setting: it may be known in a moment.
#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_one_sentence_and_1() {
    for uri in [
        "mongodb://nowhere.invalid/?serverSelectionTimeoutMS=500",
        "mongodb+srv://nowhere.invalid/?serverSelectionTimeoutMS=500",
    ] {
        let (code, told) = run(&["run"], variables(&[("AUTH", "off"), ("MONGODB_URI", uri)])).await;
        assert_eq!(code, 1, "{told}");
        assert!(
            told.contains("MongoDB cannot be reached (USAGE_LEDGER_MONGODB_URI)"),
            "{told}"
        );
    }
}

/// At the start a right that is missing ends the program, and is told as what it is.
#[tokio::test]
async fn a_missing_right_at_the_start_is_one_sentence_and_1() {
    let (_mongo, world, proxy) = behind_proxy("start_rights").await;
    let mut ready = world.ready(&[]).await;
    ready.stop(Duration::from_secs(20)).await.expect("drains");
    for (command, collection) in [
        ("find", "usageMeta"),
        ("update", "usageMeta"),
        ("find", "requestEvents"),
        ("aggregate", "requestEvents"),
    ] {
        let said =
            format!(r#"not authorized on usage to execute command {{ {command}: "{collection}", x: 1 }}"#);
        let fault = proxy
            .when(Command::named(command).collection(collection))
            .reply_error(13, "Unauthorized")
            .message(said)
            .arm();
        let (code, told) = run(&["run"], world.variables(&[])).await;
        fault.stop();
        assert_eq!(code, 1, "{told}");
        let sentence = format!("lacks a right: 13 Unauthorized: may not {command} on usage.{collection}");
        assert!(
            told.contains(&sentence) && !told.contains("credentials"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_no_replica_set_is_one_sentence_and_1() {
    let (_mongo, mut world, proxy) = behind_proxy("standalone").await;
    for hello in ["hello", "isMaster", "ismaster"] {
        proxy.when(Command::named(hello)).edit_reply(|reply| {
            for field in ["setName", "hosts", "me", "primary", "setVersion", "electionId"] {
                reply.remove(field);
            }
        });
    }
    world.uri = format!("mongodb://{}/", proxy.address());
    let (code, told) = run(&["run"], world.variables(&[])).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("MongoDB is not a replica set"), "{told}");
}

/// An election or a busy server at the start is nobody's fault: the program waits for its end.
#[tokio::test]
async fn what_passes_by_itself_is_waited_for_at_the_start() {
    let (_mongo, world, proxy) = behind_proxy("start_busy").await;
    let busy = proxy
        .when(Command::named("find").collection("usageMeta"))
        .first(2)
        .reply_error(365, "TemporarilyUnavailable")
        .arm();
    let mut worker = world.ready(&[]).await;
    assert_eq!(busy.fired(), 2);
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    // Whoever does one thing says why it is not done.
    proxy
        .when(Command::named("find").collection("usageMeta"))
        .reply_error(365, "TemporarilyUnavailable");
    let (code, told) = run(&["migrate"], world.variables(&[])).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("365 TemporarilyUnavailable"), "{told}");
}

#[tokio::test]
async fn wrong_credentials_are_one_sentence_and_1() {
    let options = Options {
        login: Some(("ledger".into(), "right".into())),
        ..Options::default()
    };
    let mongo = Mongo::start(options).await.expect("MongoDB starts");
    let world = World::on(&mongo, "credentials").await;
    let wrong = world.uri.replace("ledger:right@", "ledger:geheim@");
    let (code, told) = run(&["run"], variables(&[("AUTH", "off"), ("MONGODB_URI", &wrong)])).await;
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("refused the credentials") && !told.contains("geheim"),
        "{told}"
    );
    let mut right = world.ready(&[]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut right, 1).await;
}

/// What cannot be followed exactly is refused, whatever the user may know of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_view_a_time_series_and_a_collation_are_refused_by_name() {
    let (_mongo, world, proxy) = behind_proxy("unfit").await;
    let collation = doc! {"locale": "en", "strength": 2};
    for options in [
        doc! {"create": "plain"},
        doc! {"create": "collated", "collation": collation},
        doc! {"create": "viewed", "viewOn": "plain", "pipeline": []},
        doc! {"create": "series", "timeseries": {"timeField": "completedAt"}},
    ] {
        world.database.run_command(options).await.expect("creates");
    }
    let refused = async |name: &str, why: &str| {
        let (code, told) = run(&["run"], world.variables(&[("EVENTS_COLLECTION", name)])).await;
        assert_eq!(code, 1, "{told}");
        let told_of = format!("`{}.{name}` (USAGE_LEDGER_EVENTS_COLLECTION) {why}", world.name);
        assert!(told.contains(&told_of), "{told}");
    };
    refused("collated", "has the collation `en`").await;
    refused("viewed", "is a view").await;
    refused("series", "is a time-series collection").await;
    // Whoever may not list collections knows at least the names and kinds of those that he may read.
    let whole = |command: &Document| !command.contains_key("nameOnly");
    let refusal = Command::named("listCollections").matching(whole);
    proxy.when(refusal).reply_error(13, "Unauthorized");
    refused("viewed", "is a view").await;
    let mut worker = world.ready(&[("EVENTS_COLLECTION", "plain")]).await;
    let log = process::log_after(worker.process().log(), 0);
    assert!(log.contains("has a collation cannot be told"), "{log}");
}

#[tokio::test]
async fn an_unknown_collection_of_another_database_is_an_error() {
    let world = World::new("elsewhere").await;
    let elsewhere = format!("{}_app.events", world.name);
    let settings = [("EVENTS_COLLECTION", elsewhere.as_str())];
    let (code, told) = run(&["run"], world.variables(&settings)).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("there is no collection `events`"), "{told}");
    let database = world.database.client().database(&format!("{}_app", world.name));
    database.create_collection("events").await.expect("creates");
    let mut worker = world.ready(&settings).await;
    database
        .collection("events")
        .insert_one(event("acme"))
        .await
        .expect("inserts");
    world.wait_read(&mut worker, 1).await;
}

#[tokio::test]
async fn a_second_program_on_a_port_is_one_sentence_and_1() {
    let world = World::new("port").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let taken = listener.local_addr().expect("an address").to_string();
    let arguments = ["run", "--api-addr", &taken];
    let (code, told) = run(&arguments, world.variables(&[])).await;
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains(&format!(
            "cannot listen on {taken} (USAGE_LEDGER_API_ADDR): another program"
        )),
        "{told}"
    );
}

#[tokio::test]
async fn the_schema_is_created_checked_and_refused() {
    let world = World::new("schema").await;
    let (code, told) = run(&["serve"], world.variables(&[])).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("usage-ledger migrate"), "{told}");
    for _ in 0..2 {
        let (code, told) = run(&["migrate"], world.variables(&[])).await;
        assert_eq!(code, 0, "{told}");
    }
    let incomplete = doc! {"_id": "v1/x", "organizationId": "acme"};
    world
        .collection("usageLedger")
        .insert_one(incomplete)
        .await
        .expect_err("the validator refuses it");
    for (name, value) in [
        ("TIME_ZONE", "Europe/Berlin"),
        ("CURRENCY", "EUR"),
        ("GRANULARITIES", "daily"),
    ] {
        let (code, told) = run(&["run"], world.variables(&[(name, value)])).await;
        assert_eq!(code, 64, "{told}");
        assert!(
            told.contains(&format!("USAGE_LEDGER_{name}: the ledger has")),
            "{told}"
        );
    }
    world
        .collection("usageLedger")
        .drop_indexes()
        .await
        .expect("drops");
    let (code, told) = run(&["run"], world.variables(&[])).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("run `usage-ledger migrate`"), "{told}");
    let version = doc! {"$set": {"schemaVersion": 99}};
    world
        .collection("usageMeta")
        .update_one(doc! {}, version)
        .await
        .expect("updates");
    for command in ["migrate", "run"] {
        let (code, told) = run(&[command], world.variables(&[])).await;
        assert_eq!(code, 1, "{told}");
        assert!(told.contains("schema version 99"), "{told}");
    }
}

/// Another source has fed the ledger: where the new one begins has to be said.
#[tokio::test]
async fn a_second_source_needs_to_be_told_where_to_begin() {
    let world = World::new("second_source").await;
    let mut worker = world.ready(&[]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut worker, 1).await;
    worker.stop(Duration::from_secs(20)).await.expect("drains");
    world
        .database
        .create_collection("otherEvents")
        .await
        .expect("creates");
    let (code, told) = run(&["run"], world.variables(&[("EVENTS_COLLECTION", "otherEvents")])).await;
    assert_eq!(code, 64, "{told}");
    assert!(told.contains("USAGE_LEDGER_START_AT"), "{told}");
    let begun = [
        ("EVENTS_COLLECTION", "otherEvents"),
        ("START_AT", "2026-02-01T00:00:00Z"),
    ];
    let mut worker = world.ready(&begun).await;
    // Completed before the start: another ledger has it.
    world
        .collection("otherEvents")
        .insert_one(event("acme"))
        .await
        .expect("inserts");
    let skipped = || async {
        let fence = world
            .collection("usageFences")
            .find_one(doc! {"_id": {"$regex": "otherEvents$"}})
            .await;
        fence
            .expect("reads")
            .is_some_and(|fence| fence.get_i64("skipped").is_ok_and(|skipped| skipped == 1))
    };
    worker
        .process()
        .wait_until("skipped", testkit::PATIENCE, skipped)
        .await
        .expect("skips");
    assert_eq!(world.sums(doc! {}).await["ledger daily"]["requests"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sigterm_drains_what_was_read_and_exits_0() {
    let world = World::new("sigterm").await;
    let mut worker = world.ready(&[("BATCH_MAX_AGE", "1h")]).await;
    world.insert_one(event("acme")).await;
    let pending = || async {
        let metrics = worker.metrics().await.unwrap_or_default();
        metrics
            .lines()
            .any(|line| line == "usage_ledger_pending_events 1")
    };
    testkit::eventually("folded", pending).await;
    assert_eq!(world.fence_number("counted").await, 0);
    worker.stop(Duration::from_secs(20)).await.expect("exits with 0");
    assert_eq!(world.fence_number("counted").await, 1);
}

//! What was refused is usage too: answers tell of it, and stop telling of it at once when it is counted.

use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};
use testkit::product::Product;
use testkit::world::{World, admin};
use testkit::{eventually, process};

use crate::reader_routes::event;

/// An event that completed so many days ago, with this field set to something else.
fn broken(organization: &str, days_ago: u64, field: &str, value: impl Into<Bson>) -> Document {
    let mut document = event(organization, days_ago, &[]);
    document.insert(field, value.into());
    document
}

async fn ask(reader: &Product, question: &str) -> Value {
    let url = format!("{}/v1/usage/{question}", reader.api());
    let (status, body) = reader.get(&url).await.expect("an answer");
    assert_eq!(status, 200, "{question}: {body}");
    serde_json::from_str(&body).expect("json")
}

async fn rejected(reader: &Product, question: &str) -> Value {
    ask(reader, question).await["rejected"].clone()
}

/// A worker, and a reader in a process of its own.
async fn processes(world: &World) -> (Product, Product) {
    let worker = world.ready(&[("MAX_AGE", "3d")]).await;
    let mut reader = world.start("serve", &[]);
    reader.wait_ready(testkit::PATIENCE).await.expect("ready");
    (worker, reader)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_whose_every_event_is_refused_is_told_so_until_they_are_counted() {
    let world = World::new("rejected_all").await;
    let (mut worker, reader) = processes(&world).await;
    for document in [
        broken("acme", 0, "cost", "12,50"),
        broken("acme", 0, "cost", "free"),
        event("acme", 5, &[]),
        event("acme", 40, &[]),
        // Seconds where milliseconds are meant: of the day on which it came.
        broken("acme", 0, "completedAt", 1_790_000_000_i64),
        event("other", 1, &[]),
    ] {
        world.insert_one(document).await;
    }
    world.wait_tally([6, 1, 0, 0, 5]).await;
    let week = "summary?organizationId=acme&preset=7d";
    let all = json!({"events": 4, "reasons": {"invalid_value": 2, "too_old": 2}});
    for process in [&worker, &reader] {
        let summary = ask(process, week).await;
        assert_eq!(summary["totals"]["requests"], json!(0));
        assert_eq!(summary["rejected"], all);
    }
    assert_eq!(
        rejected(&reader, "summary?organizationId=other&preset=7d").await["events"],
        json!(0)
    );
    metrics_have(
        &worker,
        &[
            "open 5",
            "total{reason=\"too_old\"} 3",
            "total{reason=\"overflow\"} 0",
        ],
    )
    .await;
    let log = process::log_after(worker.process().log(), 0);
    for reason in ["too_old", "invalid_value"] {
        let look = format!("`usage-ledger dead-letters list --reason {reason}`");
        assert!(log.contains(&look), "{log}");
    }
    let longer = rejected(&reader, "series?organizationId=acme&preset=90d").await;
    assert_eq!(longer["reasons"]["too_old"], json!(3));

    // A replay that changes nothing, and one that counts: answers of either process say so at once.
    let (_, told) = world.letters_command(&["replay", "--reason", "too_old"]).await;
    assert!(told.contains("3 marked"), "{told}");
    judged_again(&world, 3).await;
    assert_eq!(rejected(&reader, week).await, all);
    worker.stop(testkit::PATIENCE).await.expect("drains");
    let mut worker = world.ready(&[]).await;
    assert_eq!(rejected(&worker, week).await, all);
    let (_, told) = world.letters_command(&["replay", "--reason", "too_old"]).await;
    assert!(told.contains("3 marked"), "{told}");
    // The one with the wrong unit stays.
    world.wait_tally([6, 3, 0, 0, 3]).await;
    for process in [&worker, &reader] {
        let summary = ask(process, week).await;
        assert_eq!(summary["totals"]["requests"], json!(1));
        assert_eq!(
            summary["rejected"],
            json!({"events": 3, "reasons": {"invalid_value": 2, "too_old": 1}})
        );
    }
    metrics_have(&worker, &["open 3"]).await;
    worker.stop(testkit::PATIENCE).await.expect("drains");
}

/// Waits until these metrics of dead letters have these values.
async fn metrics_have(worker: &Product, expected: &[&str]) {
    eventually(&format!("the metrics {expected:?}"), || async {
        let (_, told) = admin(worker, "/metrics").await;
        let mut lines = expected
            .iter()
            .map(|line| format!("usage_ledger_dead_letters_{line}"));
        lines.all(|line| told.lines().any(|told| told == line))
    })
    .await;
}

/// Waits until so many letters that stayed were judged again.
async fn judged_again(world: &World, letters: u64) {
    eventually("they are judged again", || async {
        let stayed = doc! {"state": "open", "replayedAt": {"$exists": true}};
        world.letters_where(stayed).await == letters
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_no_organization_is_told_to_staff() {
    let world = World::new("rejected_nobody").await;
    let (mut worker, reader) = processes(&world).await;
    let mut nameless = event("", 1, &[]);
    nameless.remove("organizationId");
    for document in [
        nameless,
        broken("", 1, "organizationId", 7),
        doc! {"what": "no event at all"},
        broken("acme", 1, "inputTokens", -1),
    ] {
        world.insert_one(document).await;
    }
    world.wait_tally([4, 0, 0, 0, 4]).await;
    let platform = json!({"events": 1, "reasons": {"out_of_range": 1}, "withoutOrganization": 3});
    for question in ["table?scope=platform&preset=7d", "meta?preset=7d"] {
        assert_eq!(rejected(&reader, question).await, platform, "{question}");
    }
    let of_acme = "summary?organizationId=acme&preset=7d";
    assert_eq!(
        rejected(&reader, of_acme).await,
        json!({"events": 1, "reasons": {"out_of_range": 1}})
    );
    assert_eq!(
        rejected(&reader, "meta?organizationId=other&preset=7d").await,
        json!({"events": 0, "reasons": {}, "withoutOrganization": 3})
    );
    worker.stop(testkit::PATIENCE).await.expect("drains");
}

/// An event closes more letters than its transaction takes: those that follow are not told of either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_are_closed_after_their_event_leave_no_answer_behind() {
    const LETTERS: i64 = 2_500;
    let world = World::new("rejected_many").await;
    let (mut worker, reader) = processes(&world).await;
    let mut whole = event("acme", 0, &[("eventId", "undefined")]);
    let mut documents = vec![whole.clone(); usize::try_from(LETTERS).expect("few")];
    for document in &mut documents {
        document.insert("inputTokens", -1);
    }
    let events = world.collection("requestEvents");
    events.insert_many(documents).await.expect("inserts");
    world.wait_tally([LETTERS, 0, 0, 0, LETTERS]).await;
    let today = "summary?organizationId=acme&preset=7d";
    assert_eq!(rejected(&reader, today).await["events"], json!(LETTERS));
    whole.insert("inputTokens", 1);
    world.insert_one(whole).await;
    // Whatever is asked meanwhile is remembered.
    eventually("answers tell of none", || async {
        rejected(&reader, today).await["events"] == json!(0)
    })
    .await;
    assert_eq!(
        world.letters_where(doc! {"state": "closed"}).await,
        LETTERS.unsigned_abs()
    );
    worker.stop(testkit::PATIENCE).await.expect("drains");
}

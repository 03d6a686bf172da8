//! Hours of the running program, in a zone whose clock skips one and shows one twice; and its CSV, whole.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use mongodb::bson::{DateTime as BsonTime, Document};
use serde_json::Value;
use testkit::product::Product;
use testkit::world::World;

use crate::reader_routes::{SECRET, ask, send, staff};

/// More than a series in JSON names.
const MODELS: i64 = 50;
const FILTERS: [&str; 6] = [
    "",
    "&userId=u1",
    "&agentSlug=a1",
    "&model=m07&provider=p1",
    "&kind=llm",
    "&agentSlug=a0&userId=u3",
];

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().expect(text)
}

fn event(at: DateTime<Utc>, n: i64) -> Document {
    let mut event = testkit::world::event("acme");
    event.insert("completedAt", BsonTime::from_chrono(at));
    event.insert("model", format!("m{:02}", n % MODELS));
    event.insert("userId", format!("u{}", n % 7));
    event.insert("agentSlug", format!("a{}", n % 3));
    event.insert("inputTokens", n);
    event
}

/// Usage of four weeks around the end of summer time, at hours that differ from day to day, and what is there on the
/// two days whose clock is set.
fn usage() -> Vec<Document> {
    let start = instant("2025-10-06T00:10:00Z");
    let often = (0..600).map(|n| event(start + TimeDelta::minutes(67 * n), n));
    let set = [
        "2025-03-30T00:30:00Z",
        "2025-03-30T01:30:00Z",
        "2025-10-26T00:30:00Z",
        "2025-10-26T01:30:00Z",
        "2025-10-26T02:30:00Z",
    ];
    often.chain(set.map(|at| event(instant(at), 1))).collect()
}

async fn running() -> (World, Product) {
    let world = World::new("hours").await;
    let variables = [
        ("AUTH", "jwt"),
        ("JWT_SECRET", SECRET),
        ("GRANULARITIES", "hourly,daily,weekly,monthly"),
        ("TIME_ZONE", "Europe/Berlin"),
    ];
    let mut product = world.ready(&variables).await;
    let usage = usage();
    let count = usage.len() as u64;
    let events = world.collection("requestEvents");
    events.insert_many(usage).await.expect("inserts");
    world.wait_read(&mut product, count).await;
    (world, product)
}

/// The buckets with requests, and how many there are in all.
fn used(series: &Value) -> (BTreeMap<&str, i64>, usize) {
    let buckets = series["buckets"].as_array().expect("buckets");
    let requests = |bucket: &Value| bucket["totals"]["requests"].as_i64().expect("a count");
    let used = buckets.iter().filter(|bucket| requests(bucket) > 0);
    let used = used.map(|bucket| (bucket["periodKey"].as_str().expect("a key"), requests(bucket)));
    (used.collect(), buckets.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_are_those_of_the_clock_and_add_up_to_days() {
    let (_world, mut product) = running().await;
    the_days_whose_clock_is_set(&product).await;
    whatever_the_buckets_the_sums_are_one(&product).await;
    csv_is_whole(&product).await;
    product.stop(testkit::PATIENCE).await.expect("stops");
}

async fn the_days_whose_clock_is_set(product: &Product) {
    for (day, hours, expected) in [
        (
            "2025-03-30",
            23,
            &[("2025-03-30T01", 1), ("2025-03-30T03", 1)][..],
        ),
        ("2025-10-26", 24, &[("2025-10-26T02", 2), ("2025-10-26T03", 1)]),
    ] {
        let path = format!(
            "series?organizationId=acme&granularity=hourly&from={day}&to={day}&model=m01&agentSlug=a1&userId=u1"
        );
        let (status, series) = ask(product, &path, &staff(day)).await;
        assert_eq!(status, 200, "{series}");
        let (used, count) = used(&series);
        assert_eq!(used, expected.iter().copied().collect(), "{day}");
        assert_eq!(count, hours, "{day}");
        assert_eq!(series["range"]["timeZone"], "Europe/Berlin");
    }
}

async fn whatever_the_buckets_the_sums_are_one(product: &Product) {
    let range = "organizationId=acme&from=2025-10-03&to=2025-11-02";
    for (n, filter) in FILTERS.into_iter().enumerate() {
        let token = staff(&format!("sums {n}"));
        let (_, summary) = ask(product, &format!("summary?{range}{filter}"), &token).await;
        assert!(
            summary["totals"]["requests"].as_i64() > Some(0),
            "{filter}: {summary}"
        );
        for granularity in ["hourly", "daily", "weekly", "monthly"] {
            let query = format!("{range}{filter}&granularity={granularity}");
            let (_, plain) = ask(product, &format!("series?{query}"), &token).await;
            assert_eq!(plain["totals"], summary["totals"], "{query}");
            for group in ["agent", "model", "user", "source"] {
                let (_, series) = ask(product, &format!("series?{query}&groupBy={group}"), &token).await;
                assert_eq!(series["totals"], summary["totals"], "{query} {group}");
                let mut requests = 0;
                for bucket in series["buckets"].as_array().expect("buckets") {
                    let groups = bucket["groups"].as_array().expect("groups").iter();
                    let of = |group: &Value| group["totals"]["requests"].as_i64().expect("a count");
                    let sum: i64 = groups.map(of).sum();
                    assert_eq!(bucket["totals"]["requests"], sum, "{query} {group}: {bucket}");
                    requests += sum;
                }
                assert_eq!(summary["totals"]["requests"], requests, "{query} {group}");
            }
            let (_, table) = ask(product, &format!("table?scope=organization&{query}"), &token).await;
            assert_eq!(table["totals"], summary["totals"], "{query}");
        }
    }
    let (status, problem) = ask(
        product,
        "series?organizationId=acme&granularity=hourly&from=2025-10-03&to=2025-11-03",
        &staff("too long"),
    )
    .await;
    assert_eq!(
        (status, problem["parameter"].as_str()),
        (422, Some("granularity"))
    );
}

/// The lines of a table, without the one of names, and the number of a column.
fn read(text: &str) -> (Vec<Vec<String>>, impl Fn(&str) -> usize) {
    let mut lines = text
        .lines()
        .map(|line| line.split(',').map(str::to_owned).collect());
    let names: Vec<String> = lines.next().expect("names");
    let at = move |name: &str| names.iter().position(|column| column == name).expect("a column");
    (lines.collect(), at)
}

async fn csv_is_whole(product: &Product) {
    let bearer = format!("Bearer {}", staff("csv"));
    let range = "organizationId=acme&from=2025-10-03&to=2025-11-02";
    for (granularity, buckets) in [("hourly", 31 * 24), ("daily", 31)] {
        let query = format!("series?{range}&granularity={granularity}");
        let (_, series) = ask(product, &query, &staff(granularity)).await;
        let (used, count) = used(&series);
        assert_eq!(count, buckets);
        let path = format!("{query}&groupBy=model");
        let headers = [("authorization", bearer.as_str())];
        let accept = [headers[0], ("accept", "text/csv")];
        let plain = send(product, &path, &accept).await.bytes().await.expect("whole");
        let file = send(product, &format!("{path}&format=csv"), &headers).await;
        assert_eq!(
            file.headers()["content-disposition"],
            "attachment; filename=\"usage-series-acme-2025-10-03-2025-11-02.csv\""
        );
        let file = file.bytes().await.expect("whole");
        assert_eq!(
            file.strip_prefix("\u{feff}".as_bytes()),
            Some(&plain[..]),
            "{path}"
        );
        let (lines, at) = read(std::str::from_utf8(&plain).expect("text"));
        let models = usize::try_from(MODELS).expect("few");
        assert_eq!(
            lines.len(),
            buckets * models,
            "{path}: every model in every bucket"
        );
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for line in &lines {
            let requests: i64 = line[at("requests")].parse().expect("a count");
            *sums.entry(&line[at("periodKey")]).or_default() += requests;
        }
        sums.retain(|_, requests| *requests > 0);
        assert_eq!(sums, used, "{path}");
    }
}

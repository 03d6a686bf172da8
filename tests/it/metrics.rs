//! What `/metrics` of worker and reader say of traffic whose truth is known.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use mongodb::bson::{DateTime, Document, doc};
use testkit::product::Product;
use testkit::proxy::Command;
use testkit::world::World;
use testkit::{PATIENCE, eventually, now, tools};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// The samples of a text, by metric and labels as they are written.
struct Samples(BTreeMap<String, f64>);

impl Samples {
    async fn of(product: &Product) -> Self {
        let text = product.metrics().await.expect("metrics");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        };
        Self(samples.map(sample).collect())
    }

    fn find(&self, name: &str) -> Option<f64> {
        self.0.get(&format!("usage_ledger_{name}")).copied()
    }

    fn get(&self, name: &str) -> f64 {
        self.find(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    /// The sum over the labels of a metric.
    fn sum(&self, name: &str) -> f64 {
        let name = format!("usage_ledger_{name}{{");
        let samples = self.0.iter().filter(|(sample, _)| sample.starts_with(&name));
        samples.map(|(_, value)| value).sum()
    }

    /// Compares these samples with what they must be.
    fn assert(&self, expected: &[(&str, u32)]) {
        for (name, value) in expected {
            assert!(
                (self.get(name) - f64::from(*value)).abs() < 1e-9,
                "{name}: {} and not {value}",
                self.get(name)
            );
        }
    }
}

/// An event of an organization of its own, which completed so long ago: no other adds to its rows.
fn event(n: i64, age_ms: i64) -> Document {
    let mut event = testkit::world::event(&format!("organization-{n}"));
    event.insert(
        "completedAt",
        DateTime::from_millis(now().timestamp_millis() - age_ms),
    );
    event.insert("eventId", format!("event-{n}"));
    event
}

fn broken(n: i64, edit: impl FnOnce(&mut Document)) -> Document {
    let mut event = event(n, MINUTE_MS);
    edit(&mut event);
    event
}

/// Twelve events that count, of which nine are late for a window of half an hour; two duplicates, and five that are
/// rejected.
fn traffic() -> Vec<Document> {
    let ages = [
        (3, MINUTE_MS),
        (2, 45 * MINUTE_MS),
        (4, 120 * MINUTE_MS),
        (1, 2 * DAY_MS),
        (1, 10 * DAY_MS),
        (1, 40 * DAY_MS),
    ];
    let ages = ages
        .into_iter()
        .flat_map(|(times, age_ms)| std::iter::repeat_n(age_ms, times));
    let mut traffic: Vec<_> = (0..).zip(ages).map(|(n, age_ms)| event(n, age_ms)).collect();
    traffic.extend([traffic[0].clone(), traffic[5].clone()]);
    traffic.extend((100..103).map(|n| broken(n, |event| drop(event.insert("cost", "free")))));
    traffic.extend((103..105).map(|n| broken(n, |event| drop(event.remove("organizationId")))));
    traffic
}

async fn count(world: &World, collection: &str) -> u32 {
    let count = world.collection(collection).count_documents(doc! {}).await;
    u32::try_from(count.expect("counts")).expect("few")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_metrics_say_is_what_became_of_the_traffic() {
    let world = World::new("metrics").await;
    let mut worker = world.start("ingest", &[("DEDUPE_WINDOW", "30m"), ("BATCH_MAX_EVENTS", "4")]);
    worker.wait_ready(PATIENCE).await.expect("ready");
    let traffic = traffic();
    world
        .collection("requestEvents")
        .insert_many(&traffic)
        .await
        .expect("inserts");
    world.wait_tally([19, 12, 2, 0, 5]).await;
    eventually("the letters were counted", || async {
        Samples::of(&worker).await.find("dead_letters_open") == Some(5.0)
    })
    .await;
    let samples = Samples::of(&worker).await;
    samples.assert(&[
        ("events_total{result=\"counted\",source=\"chat\"}", 12),
        ("events_total{result=\"duplicate\",source=\"chat\"}", 2),
        ("dead_letters_total{reason=\"invalid_value\"}", 3),
        ("dead_letters_total{reason=\"missing_field\"}", 2),
        ("dead_letters_total{reason=\"overflow\"}", 0),
        ("late_events_total{age=\"under_1h\"}", 2),
        ("late_events_total{age=\"1h_to_1d\"}", 4),
        ("late_events_total{age=\"1d_to_7d\"}", 1),
        ("late_events_total{age=\"7d_to_30d\"}", 1),
        ("late_events_total{age=\"over_30d\"}", 1),
        (
            "rows_written_total{kind=\"ledger\"}",
            count(&world, "usageLedger").await,
        ),
        (
            "rows_written_total{kind=\"rollup\"}",
            count(&world, "usageRollups").await,
        ),
        ("rows_written_total{kind=\"dead_letter\"}", 5),
        ("rows_written_total{kind=\"event_id\"}", 0),
        ("commit_events_sum", 19),
        ("lane_state{state=\"running\"}", 1),
        ("lanes", 1),
    ]);
    assert!(
        count(&world, "usageLedger").await >= 3 * 12,
        "three granularities of each"
    );
    assert_eq!(samples.sum("lane_state").to_string(), "1");
    assert!(samples.get("commit_statements_sum") >= samples.sum("rows_written_total"));
    assert!(samples.get("dedupe_bytes") >= 20.0 * samples.get("dedupe_ids"));
    the_phases_are_the_whole(&samples);
    for pool in ["main", "commits", "leases", "readiness"] {
        let waits = format!("mongodb_pool_wait_seconds_count{{pool=\"{pool}\"}}");
        assert!(samples.get(&waits) > 0.0, "{pool}");
    }
    is_closed_and_clean(&worker).await;
    worker.stop(PATIENCE).await.expect("drains");
}

/// Phases add up to what commits took.
fn the_phases_are_the_whole(samples: &Samples) {
    let (phases, all) = (
        samples.sum("commit_phase_seconds_sum"),
        samples.get("commit_duration_seconds_sum"),
    );
    assert!(
        phases <= all && all - phases < 0.05 * all + 0.01,
        "{phases} of {all}"
    );
    let commits = samples.get("commits_total{outcome=\"applied\"}");
    let committed = samples.get("commit_phase_seconds_count{phase=\"commit\"}");
    assert!(committed >= commits && commits > 0.0, "{committed} of {commits}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reader_tells_how_it_answered_and_from_what() {
    let world = World::new("metrics_reader").await;
    let mut worker = world.ready(&[]).await;
    let events: Vec<_> = (0..3).map(|n| event(n, MINUTE_MS)).collect();
    world
        .collection("requestEvents")
        .insert_many(&events)
        .await
        .expect("inserts");
    world.wait_read(&mut worker, 3).await;
    worker.stop(PATIENCE).await.expect("drains");
    let mut reader = world.start("serve", &[]);
    reader.wait_ready(PATIENCE).await.expect("ready");
    let ask = async |question: &str| {
        let url = format!("{}/v1/usage/{question}", reader.api());
        reader.get(&url).await.expect("an answer").0
    };
    let week = "summary?organizationId=organization-1&preset=7d";
    let statuses = [
        ask(week).await,
        ask(week).await,
        ask("summary?organizationId=x&preset=never").await,
    ];
    assert_eq!(statuses, [200, 200, 400]);
    let samples = Samples::of(&reader).await;
    samples.assert(&[
        (
            "http_requests_total{route=\"/v1/usage/summary\",status=\"2xx\"}",
            2,
        ),
        (
            "http_requests_total{route=\"/v1/usage/summary\",status=\"4xx\"}",
            1,
        ),
        (
            "http_requests_total{route=\"/v1/usage/summary\",status=\"5xx\"}",
            0,
        ),
        (
            "http_request_duration_seconds_count{route=\"/v1/usage/summary\",status=\"2xx\"}",
            2,
        ),
        (
            "http_request_duration_seconds_count{route=\"/v1/usage/summary\",status=\"4xx\"}",
            1,
        ),
        (
            "http_request_duration_seconds_count{route=\"/v1/usage/table\",status=\"2xx\"}",
            0,
        ),
        ("reader_answers_total{result=\"hit\"}", 1),
        ("reader_answers_total{result=\"miss\"}", 1),
    ]);
    let read = samples.get("reader_rows_read_total{kind=\"rollup\"}");
    assert!(read >= 1.0, "{read}");
    assert!(samples.get("reader_parts_total{result=\"miss\"}") >= 1.0);
    assert!(samples.get("mongodb_pool_wait_seconds_count{pool=\"reader\"}") >= 1.0);
    assert_eq!(ask(week).await, 200);
    let again = Samples::of(&reader)
        .await
        .get("reader_rows_read_total{kind=\"rollup\"}");
    assert_eq!(
        again.to_string(),
        read.to_string(),
        "what is remembered is not read again"
    );
    is_closed_and_clean(&reader).await;
    reader.stop(PATIENCE).await.expect("stops");
}

/// A lane that stopped has a position that grows older, and the oplog is told beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_is_as_old_as_what_the_server_wrote_since() {
    let world = World::alone("metrics_oplog").await;
    let mut worker = world.start("ingest", &[]);
    worker.wait_ready(PATIENCE).await.expect("ready");
    world.insert_one(event(1, MINUTE_MS)).await;
    world.wait_tally([1, 1, 0, 0, 0]).await;
    world.collection("requestEvents").drop().await.expect("drops");
    world.wait_stopped().await;
    // As MongoDB makes them; SecantusDB's say nothing of their time.
    let then = u32::try_from(now().timestamp() - 100).expect("before 2106");
    let token = doc! {"$set": {"token": {"_data": format!("82{then:08X}000000012B0229296E04")}}};
    let fences = world.collection("usageFences");
    fences.update_one(doc! {}, token).await.expect("updates");
    let is_told = async || {
        let samples = Samples::of(&worker).await;
        let age = samples.find("resume_token_age_seconds").unwrap_or(0.0);
        let window = samples.find("oplog_window_seconds").unwrap_or(0.0);
        (99.0..200.0).contains(&age) && window > 0.0
    };
    eventually("the oplog and the position in it are told", is_told).await;
    let samples = Samples::of(&worker).await;
    samples.assert(&[
        ("lane_state{state=\"stopped\"}", 1),
        ("lane_state{state=\"running\"}", 0),
    ]);
    is_closed_and_clean(&worker).await;
    worker.stop(PATIENCE).await.expect("drains");
}

/// A transaction that somebody was in the way of is told as what it is, and its time is that of a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_is_told_by_reason() {
    let mongo = testkit::mongodb::Mongo::start(testkit::mongodb::Options::default());
    let mongo = mongo.await.expect("MongoDB starts");
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(&mongo, "metrics_aborts").await;
    world.uri = mongo.proxied_uri(&proxy);
    let mut worker = world.start("ingest", &[]);
    worker.wait_ready(PATIENCE).await.expect("ready");
    let fences = Command::named("update")
        .collection("usageFences")
        .in_transaction();
    let conflict = proxy.when(fences).once().reply_error(112, "WriteConflict");
    let conflict = conflict
        .labels(["TransientTransactionError"])
        .aborting_transaction()
        .arm();
    world.insert_one(event(1, MINUTE_MS)).await;
    conflict.wait_fired(1).await;
    world.wait_tally([1, 1, 0, 0, 0]).await;
    let samples = Samples::of(&worker).await;
    samples.assert(&[
        ("commit_aborts_total{reason=\"conflict\"}", 1),
        ("commit_aborts_total{reason=\"fenced\"}", 0),
        ("commit_phase_seconds_count{phase=\"pause\"}", 1),
        ("commit_phase_seconds_count{phase=\"abort\"}", 1),
    ]);
    the_phases_are_the_whole(&samples);
    worker.stop(PATIENCE).await.expect("drains");
}

/// Every label and every value of it is in the list of the page, and Prometheus' own check finds nothing.
async fn is_closed_and_clean(product: &Product) {
    let text = product.metrics().await.expect("metrics");
    let page = include_str!("../../src/metrics.md");
    let rows: BTreeMap<_, BTreeSet<_>> = page.lines().filter_map(listed).collect();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a sample"));
        let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for label in labels.map_or("", |(labels, _)| labels).split_terminator(',') {
            let (label, value) = label.split_once('=').expect("a value");
            let value = value.trim_matches('"');
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part));
            let is_listed = [Some(name), base].into_iter().flatten().any(|name| {
                let values = rows.get(&(name, label));
                values.is_some_and(|values| values.contains(value))
            });
            assert!(is_listed || ["le", "version"].contains(&label), "{line}");
        }
    }
    let promtool = tools::on_path("promtool").or_else(|| tools::from_folder("deploy/bin/promtool"));
    let promtool = promtool.expect("`deploy/setup.sh test` fetches promtool");
    let mut check = tokio::process::Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut input = check.stdin.take().expect("its input");
    tokio::io::AsyncWriteExt::write_all(&mut input, text.as_bytes())
        .await
        .expect("takes the text");
    drop(input);
    let checked = check.wait_with_output().await.expect("promtool ends");
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(checked.status.success() && said.trim().is_empty(), "{said}");
}

/// A row of the page's list of labels.
fn listed(line: &str) -> Option<((&str, &str), BTreeSet<&str>)> {
    let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
    let (name, label, values) = (cells.next()?, cells.next()?, cells.next()?);
    let name = name.trim_matches('`');
    let values = values.split(' ').map(|value| value.trim_matches('`')).collect();
    let is_row = name.starts_with("usage_ledger_") && !name.contains('{');
    is_row.then_some(((name, label.trim_matches('`')), values))
}

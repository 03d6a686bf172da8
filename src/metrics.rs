//! The page of metrics is what the code registers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::reader::{Freshness, Group, PeriodTotals, Query, ReadError, Reader, Scope, Snapshot, Span, Whose};
use api::{Access, Jwt, Key, Settings};
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::{Stream, stream};
use ingest::health::Health;
use ingest::metrics::Metrics;
use prometheus::Registry;
use prometheus::proto::MetricFamily;
use rollup::clock::Clock;
use rollup::period::Calendar;

use crate::oplog::OplogGauges;
use crate::store::Verified;
use crate::store::ledger::CommitMetrics;
use crate::store::pools::PoolWaits;
use crate::store::reader::RowsRead;
use crate::verify::gauges::Gauges;
use crate::{certificate, open_letters, telemetry};

/// The page, and where what is made of it begins.
const PAGE: &str = "src/metrics.md";
const MADE: &str = "see the test in src/metrics.rs. -->\n";

/// A reader that is never asked.
#[derive(Clone)]
struct Nobody;

/// What nobody has.
#[derive(Clone)]
enum Nothing {}

impl Reader for Nobody {
    type Snapshot = Nothing;

    async fn snapshot(&self) -> Result<Nothing, ReadError> {
        Err(ReadError::Malformed("nobody asks".into()))
    }
}

impl Snapshot for Nothing {
    fn freshness(&self) -> &Freshness {
        match *self {}
    }

    fn for_others(&self) -> Option<Self> {
        match *self {}
    }

    fn sums(&self, _: Query) -> impl Stream<Item = Result<Group, ReadError>> + Send + 'static {
        stream::empty()
    }

    async fn period_totals(&self, _: &str, _: Span) -> Result<Vec<PeriodTotals>, ReadError> {
        match *self {}
    }

    async fn rejected(&self, _: &Whose, _: Span) -> Result<BTreeMap<String, u64>, ReadError> {
        match *self {}
    }

    async fn bounds(&self, _: &Scope) -> Result<Option<(NaiveDate, NaiveDate)>, ReadError> {
        match *self {}
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(|| DateTime::<Utc>::UNIX_EPOCH)
}

/// What every process shows.
fn process() -> Registry {
    let registry = Registry::new();
    telemetry::build_info(&registry).expect("registers");
    let waits = PoolWaits::new().expect("metrics");
    waits.register(&registry).expect("registers");
    registry
        .register(Box::new(api::admin::ready_gauge()))
        .expect("registers");
    registry
}

/// What a worker on a change stream that also verifies shows beside that.
fn worker() -> Registry {
    let registry = Registry::new();
    Metrics::register(&registry, Health::default(), clock()).expect("registers");
    CommitMetrics::register(&registry).expect("registers");
    open_letters::gauge(&registry).expect("registers").set(Some(0));
    let oplog = OplogGauges::register(&registry).expect("registers");
    oplog.set(Some(Duration::ZERO), Some(Duration::ZERO));
    let verified = Verified {
        at: DateTime::UNIX_EPOCH,
        from: NaiveDate::default(),
        to: NaiveDate::default(),
        differences: 0,
        rows: 0,
        entries: 0,
        clean_at: Some(DateTime::UNIX_EPOCH),
    };
    let gauges = Gauges::register(&registry).expect("registers");
    gauges.show(Some(&verified));
    registry
}

/// What a reader with a certificate and a key set shows beside that.
fn reader() -> Registry {
    let registry = Registry::new();
    RowsRead::register(&registry).expect("registers");
    certificate::gauge(&registry).expect("registers");
    let access = Access::Jwt(Jwt::new(Key::Jwks {
        address: "https://issuer.test/keys".into(),
        may_be_plain: false,
    }));
    let settings = Settings::new(Calendar::UTC, "USD", access);
    drop(api::router(settings, Nobody, clock(), &registry).expect("settings"));
    registry
}

/// The values of each label of a metric.
fn labels(family: &MetricFamily) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut labels: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for label in family.get_metric().iter().flat_map(|metric| metric.get_label()) {
        labels.entry(label.name()).or_default().insert(label.value());
    }
    labels
}

fn row(family: &MetricFamily) -> String {
    let labels = labels(family).into_keys().collect::<Vec<_>>().join(",");
    let labels = if labels.is_empty() {
        labels
    } else {
        format!("{{{labels}}}")
    };
    let kind = format!("{:?}", family.get_field_type()).to_lowercase();
    format!(
        "| `{}{labels}` | {kind} | {} |\n",
        family.name(),
        family.help().replace('|', "\\|")
    )
}

/// What the page says below its marker.
fn made() -> String {
    let mut page = String::new();
    let parts = [
        ("Every process", process()),
        ("The worker", worker()),
        ("The reader", reader()),
    ];
    for (title, registry) in &parts {
        let rows: String = registry.gather().iter().map(row).collect();
        write!(page, "\n## {title}\n\n| metric | type | |\n|---|---|---|\n{rows}").expect("text");
    }
    page.push_str("\n## Labels\n\n| metric | label | values |\n|---|---|---|\n");
    for family in parts.iter().flat_map(|(_, registry)| registry.gather()) {
        for (label, values) in labels(&family) {
            let values: Vec<_> = values.into_iter().map(|value| format!("`{value}`")).collect();
            // Another one in each release.
            let values = if label == "version" {
                "that of the build".to_owned()
            } else {
                values.join(" ")
            };
            writeln!(page, "| `{}` | `{label}` | {values} |", family.name()).expect("text");
        }
    }
    page
}

fn read(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn the_page_is_made_from_the_code() {
    let page = read(PAGE);
    let (own, stored) = page.split_once(MADE).expect("the marker");
    let made = made();
    if stored != made {
        let fresh = std::env::temp_dir().join("usage-ledger-metrics.md");
        fs::write(&fresh, format!("{own}{MADE}{made}")).expect("writes");
        panic!(
            "{PAGE} is not what the code registers. Refresh it: cp {} {PAGE}",
            fresh.display()
        );
    }
}

/// What other pages say of metrics, they say of metrics that there are.
#[tokio::test]
async fn every_metric_that_a_page_names_is_there() {
    let families: Vec<_> = [process(), worker(), reader()]
        .iter()
        .flat_map(Registry::gather)
        .collect();
    let names: BTreeSet<&str> = families.iter().map(MetricFamily::name).collect();
    let is_there = |word: &str| {
        let parts = ["", "_sum", "_count", "_bucket"];
        parts
            .iter()
            .any(|part| word.strip_suffix(part).is_some_and(|name| names.contains(name)))
    };
    let mut missing = Vec::new();
    for page in ["README.md", PAGE] {
        let text = read(page);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named = words.filter(|word| word.starts_with("usage_ledger_"));
        missing.extend(
            named
                .filter(|word| !is_there(word))
                .map(|word| format!("{page}: {word}")),
        );
    }
    assert_eq!(missing, Vec::<String>::new());
}

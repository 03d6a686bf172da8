//! Alerts and dashboard as a real Prometheus sees them: every query of a panel has data from a running program.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use testkit::process::{Process, Spec};
use testkit::product::Product;
use testkit::scratch::Scratch;
use testkit::wait::eventually;
use testkit::world::{World, items};
use testkit::{net, tools};

const DASHBOARD: &str = include_str!("../../deploy/helm/usage-ledger/files/dashboard.json");
const RULES: &str = include_str!("../../deploy/helm/usage-ledger/files/rules.yaml");
/// What only a reader with a certificate, or with keys of an issuer, has.
const NOT_HERE: [&str; 2] = [
    "usage_ledger_certificate_expiry_timestamp_seconds",
    "usage_ledger_jwks_age_seconds",
];

/// What some of the metrics are about.
const VERIFIES: (&str, &str) = ("VERIFY_EVERY", "1h");

/// Title and query of each panel, as Grafana would ask it.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let asked = move |target: Value| {
            let query = target["expr"].as_str().expect("a query");
            let query = query.replace("$__rate_interval", "10s").replace("$job", ".*");
            (title.clone(), query)
        };
        targets.into_iter().map(asked)
    };
    panels.iter().flat_map(of_panel).collect()
}

/// The metrics that a text names, without the parts of histograms.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let named = words.filter(|word| word.starts_with("usage_ledger_"));
    let bare = |word: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        let bare = parts.iter().find_map(|part| word.strip_suffix(part));
        bare.unwrap_or(word).to_owned()
    };
    named.map(bare).collect()
}

/// Prometheus, and what it scrapes.
struct Place {
    world: World,
    product: Product,
    prometheus: String,
    _process: Process,
    _folder: Scratch,
}

impl Place {
    async fn new() -> Self {
        let world = World::alone("monitoring").await;
        let product = world.ready(&[VERIFIES]).await;
        let folder = Scratch::new("prometheus").expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let target = product.admin().trim_start_matches("http://");
        let configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yaml]\nscrape_configs:\n  - \
             job_name: usage-ledger\n    static_configs: [{{targets: [\"{target}\"]}}]\n"
        );
        fs::write(path("prometheus.yml"), configuration).expect("written");
        fs::write(path("rules.yaml"), RULES).expect("written");
        let program = tools::from_folder("deploy/bin/prometheus").or_else(|| tools::on_path("prometheus"));
        let address = net::loopback(net::free_port().expect("a port")).to_string();
        let spec = Spec::new(
            "prometheus",
            program.expect("Prometheus: deploy/setup.sh deploy"),
            path("log"),
        )
        .arg(format!("--config.file={}", path("prometheus.yml")))
        .arg(format!("--storage.tsdb.path={}", path("data")))
        .arg(format!("--web.listen-address={address}"));
        let ready = spec.spawn_until("Server is ready", Duration::from_secs(30));
        Self {
            world,
            product,
            prometheus: format!("http://{address}"),
            _process: ready.await.expect("starts"),
            _folder: folder,
        }
    }

    async fn asked(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/{path}", self.prometheus), query);
        let (status, text) = self
            .product
            .get(url.expect("a URL").as_str())
            .await
            .expect("answers");
        assert_eq!(status, 200, "{query:?}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The panels whose query has no data.
    async fn without_data(&self) -> Vec<(String, String)> {
        let mut without = Vec::new();
        for (title, query) in queries() {
            if metrics_in(&query)
                .iter()
                .any(|name| NOT_HERE.contains(&name.as_str()))
            {
                continue;
            }
            let answer = self.asked("query", &[("query", &query)]).await;
            let results = answer["data"]["result"].as_array().expect("results");
            let is_number = |result: &Value| result["value"][1].as_str().is_some_and(|value| value != "NaN");
            if !results.iter().any(is_number) {
                without.push((title, query));
            }
        }
        without
    }
}

#[tokio::test]
async fn every_panel_has_data_and_every_rule_is_evaluated() {
    let place = Place::new().await;
    let mut traffic = items(7, 4_000).into_iter();
    let organization = "org-1";
    let question = format!(
        "{}/v1/usage/summary?organizationId={organization}",
        place.product.api()
    );
    let mut without = queries();
    // Traffic goes on: a rate needs counters that move between two looks.
    for _ in 0..200 {
        let some: Vec<_> = traffic.by_ref().take(20).collect();
        place.world.insert(&some).await;
        let (status, _) = place.product.get(&question).await.expect("answers");
        assert_eq!(status, 200);
        without = place.without_data().await;
        if without.is_empty() {
            break;
        }
    }
    assert_eq!(without, Vec::new(), "have no data");
    let evaluated = async || {
        let answer = place.asked("rules", &[]).await;
        let groups = answer["data"]["groups"].as_array().expect("groups").clone();
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().expect("rules"));
        let health: BTreeSet<String> = rules
            .map(|rule| rule["health"].as_str().expect("a health").to_owned())
            .collect();
        assert!(!health.contains("err"), "{answer}");
        health == BTreeSet::from(["ok".to_owned()])
    };
    eventually("every rule is evaluated", evaluated).await;
}

/// A metric that is renamed makes alerts silent.
#[tokio::test]
async fn every_metric_that_is_asked_for_is_there() {
    let world = World::alone("monitoring_names").await;
    let product = world.ready(&[VERIFIES]).await;
    let question = format!("{}/v1/usage/summary?organizationId=acme", product.api());
    product.get(&question).await.expect("answers");
    let asked: BTreeSet<String> = metrics_in(RULES).union(&metrics_in(DASHBOARD)).cloned().collect();
    let missing = async || {
        let there = metrics_in(&product.metrics().await.expect("metrics"));
        let missing = asked
            .iter()
            .filter(|name| !there.contains(*name) && !NOT_HERE.contains(&name.as_str()));
        // What a rule records is no metric of the program.
        missing
            .filter(|name| !name.contains(':'))
            .cloned()
            .collect::<Vec<_>>()
    };
    let all = async || missing().await.is_empty();
    eventually("all metrics", all).await;
}

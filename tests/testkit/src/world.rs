//! What every test stands on: a server, a database of its own, workers, and the truth to compare with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use ::mongodb::bson::{Bson, DateTime, Document, doc};
use ::mongodb::{Collection, Database};

use crate::mongodb::{self as server, Mongo};
use crate::product::{self, Product, Settings};
use crate::traffic::{Generator, Item, Options, Truth, Verdict};
use crate::wait::{PATIENCE, eventually};
use crate::{net, process, shared};

/// A database of a test's own on the shared server, or on one that it may break.
pub struct World {
    _server: Option<Arc<Mongo>>,
    /// Where its workers find the server: perhaps through a proxy.
    pub uri: String,
    /// Of the database.
    pub name: String,
    /// The database, straight from the server.
    pub database: Database,
}

impl World {
    /// A database on the shared server.
    pub async fn new(name: &str) -> Self {
        let mongo = shared::mongo().await;
        let world = Self::on(&mongo, name).await;
        Self {
            _server: Some(mongo),
            ..world
        }
    }

    /// A database on a server of its own, whose oplog is short: the embedded server reads all of it for any part of it.
    pub async fn alone(name: &str) -> Self {
        let started = Mongo::start(server::Options::default()).await;
        let mongo = Arc::new(started.expect("MongoDB starts"));
        let world = Self::on(&mongo, name).await;
        Self {
            _server: Some(mongo),
            ..world
        }
    }

    /// A database on this server.
    ///
    /// # Panics
    /// When another test of this process has the same one: each would count what the other one sends.
    pub async fn on(mongo: &Mongo, name: &str) -> Self {
        static TAKEN: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());
        let this = (mongo.uri().to_owned(), name.to_owned());
        let is_new = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(this);
        assert!(is_new, "another test has the database `it_{name}`");
        Self::again(mongo, name).await
    }

    /// A database that a world of this test has already.
    pub async fn again(mongo: &Mongo, name: &str) -> Self {
        let client = mongo.client().await.expect("a client");
        let name = format!("it_{name}");
        Self {
            _server: None,
            uri: mongo.uri().to_owned(),
            database: client.database(&name),
            name,
        }
    }

    /// A collection of the database.
    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// Variables of a worker on this database, quick to notice a lost leader, and then these.
    pub fn variables(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = [
            ("MONGODB_URI", self.uri.as_str()),
            ("MONGODB_DATABASE", self.name.as_str()),
            ("AUTH", "off"),
            ("LEASE", "1s"),
        ];
        own.iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Starts the program.
    pub fn start(&self, command: &str, more: &[(&str, &str)]) -> Product {
        start(&[command], self.variables(more))
    }

    /// Starts a worker with a reader, and waits until it is ready.
    pub async fn ready(&self, more: &[(&str, &str)]) -> Product {
        let mut product = self.start("run", more);
        product.wait_ready(PATIENCE).await.expect("ready");
        product
    }

    /// Inserts events into the events collection.
    pub async fn insert(&self, items: &[Item]) {
        let documents: Vec<Document> = items.iter().map(Item::document).collect();
        for documents in documents.chunks(1_000) {
            self.collection("requestEvents")
                .insert_many(documents)
                .await
                .expect("inserts");
        }
    }

    /// Inserts one document into the events collection.
    pub async fn insert_one(&self, document: Document) {
        self.collection("requestEvents")
            .insert_one(document)
            .await
            .expect("inserts");
    }

    /// The only fence, or `None` before there is one.
    pub async fn fence(&self) -> Option<Document> {
        self.collection("usageFences")
            .find_one(doc! {})
            .await
            .expect("reads")
    }

    /// Waits until the stop of the only lane is stored.
    pub async fn wait_stopped(&self) {
        eventually("the stop is stored", || async {
            self.fence()
                .await
                .is_some_and(|fence| fence.contains_key("stopped"))
        })
        .await;
    }

    /// A number of the only fence; 0 before there is one.
    pub async fn fence_number(&self, name: &str) -> i64 {
        self.fence()
            .await
            .and_then(|fence| fence.get_i64(name).ok())
            .unwrap_or(0)
    }

    /// Waits until the fence has read this many records, and the history is taken in.
    pub async fn wait_read(&self, product: &mut Product, records: u64) {
        let records = i64::try_from(records).expect("fits");
        let read = || async {
            let Some(fence) = self.fence().await else {
                return false;
            };
            fence.get_i64("read").unwrap_or(0) >= records && !fence.get_bool("scanning").unwrap_or(true)
        };
        product
            .process()
            .wait_until("done reading", PATIENCE, read)
            .await
            .expect("reads everything");
    }

    /// The sums of each granularity of the ledger and of each set and granularity of the rollups, by counter.
    pub async fn sums(&self, filter: Document) -> BTreeMap<String, BTreeMap<String, i128>> {
        let mut sums: BTreeMap<String, BTreeMap<String, i128>> = BTreeMap::new();
        for collection in ["usageLedger", "usageRollups"] {
            let mut rows = self
                .collection(collection)
                .find(filter.clone())
                .await
                .expect("reads");
            while rows.advance().await.expect("reads") {
                let row = rows.deserialize_current().expect("a row");
                let set = row.get_str("set").unwrap_or("ledger");
                let name = format!("{set} {}", row.get_str("granularity").expect("a granularity"));
                let of_set = sums.entry(name).or_default();
                for (counter, value) in &row {
                    if let Bson::Int64(value) = value {
                        *of_set.entry(counter.clone()).or_default() += i128::from(*value);
                    }
                }
                *of_set.entry("rows".into()).or_default() += 1;
            }
        }
        sums
    }

    /// Compares the sums with the truth: every granularity and every set, of each organization and of all.
    pub async fn assert_sums(&self, truth: &Truth) {
        let organizations = truth
            .organizations
            .iter()
            .map(|(name, totals)| (Some(name.as_str()), totals));
        for (organization, totals) in organizations.chain([(None, &truth.totals)]) {
            let filter = organization.map_or_else(Document::new, |name| doc! {"organizationId": name});
            let sums = self.sums(filter).await;
            assert_eq!(
                sums.len(),
                18,
                "three granularities of the ledger and of five sets: {:?}",
                sums.keys()
            );
            for (what, counters) in sums {
                for (counter, expected) in totals.integers() {
                    assert_eq!(
                        counters[counter],
                        i128::from(expected),
                        "{counter} of {what} of {organization:?}"
                    );
                }
                let cost = i128::try_from(totals.cost_nanos).expect("fits");
                assert_eq!(counters["costNanos"], cost, "cost of {what} of {organization:?}");
            }
        }
    }

    /// Compares everything stored with the truth: the sums, the four counters of the only fence, and the dead
    /// letters.
    pub async fn assert_truth(&self, truth: &Truth) {
        self.assert_sums(truth).await;
        let fence = self.fence().await.expect("a fence");
        for (name, expected) in [
            ("read", truth.read),
            ("counted", truth.counted),
            ("duplicate", truth.duplicate),
            ("skipped", truth.skipped),
            ("deadLetter", truth.dead_letter),
        ] {
            assert_eq!(
                fence.get_i64(name).expect(name),
                i64::try_from(expected).expect("fits"),
                "{name}"
            );
        }
        assert_eq!(self.letters().await.len() as u64, truth.dead_letter);
    }

    /// The tally of the only fence: read, counted, duplicate, skipped, dead letters.
    pub async fn tally(&self) -> [i64; 5] {
        let mut tally = [0; 5];
        for (at, name) in ["read", "counted", "duplicate", "skipped", "deadLetter"]
            .into_iter()
            .enumerate()
        {
            tally[at] = self.fence_number(name).await;
        }
        tally
    }

    /// Waits until the tally is this.
    pub async fn wait_tally(&self, expected: [i64; 5]) {
        eventually(&format!("the tally {expected:?}"), || async {
            self.tally().await == expected
        })
        .await;
    }

    /// Requests of each granularity of the ledger and each set of the rollups.
    pub async fn requests(&self) -> Vec<i128> {
        let sums = self.sums(Document::new()).await;
        sums.values().map(|counters| counters["requests"]).collect()
    }

    /// How many letters there are in a state, closed by this.
    pub async fn letters_where(&self, filter: Document) -> u64 {
        let letters = self.collection("usageDeadLetters");
        letters.count_documents(filter).await.expect("counts")
    }

    /// Runs `dead-letters` with these arguments.
    pub async fn letters_command(&self, arguments: &[&str]) -> (i32, String) {
        run(&[&["dead-letters"], arguments].concat(), self.variables(&[])).await
    }

    /// A counter over all lanes.
    pub async fn sum_of_lanes(&self, name: &str) -> i64 {
        let mut sum = 0;
        let fences = self.collection("usageFences").find(doc! {}).await;
        let mut fences = fences.expect("reads");
        while fences.advance().await.expect("reads") {
            let fence: Document = fences.deserialize_current().expect("a fence");
            sum += fence.get_i64(name).expect("a number");
        }
        sum
    }

    /// All dead letters.
    pub async fn letters(&self) -> Vec<Document> {
        let mut letters = Vec::new();
        let mut cursor = self
            .collection("usageDeadLetters")
            .find(doc! {})
            .await
            .expect("reads");
        while cursor.advance().await.expect("reads") {
            letters.push(cursor.deserialize_current().expect("a letter"));
        }
        letters
    }

    /// How many dead letters there are for each reason and field.
    pub async fn reasons(&self) -> BTreeMap<(String, String), usize> {
        let mut reasons = BTreeMap::new();
        for letter in self.letters().await {
            let text = |name: &str| letter.get_str(name).unwrap_or("").to_owned();
            *reasons.entry((text("reason"), text("field"))).or_default() += 1;
        }
        reasons
    }
}

/// Starts the program with these arguments and variables, on free ports.
pub fn start(arguments: &[&str], variables: Vec<(String, String)>) -> Product {
    Product::start(Settings {
        program: product::program().expect("the program is built"),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        variables,
        api_port: net::free_port().expect("a port"),
        admin_port: net::free_port().expect("a port"),
    })
    .expect("the program starts")
}

/// Runs the program to its end: its exit code and what it printed.
pub async fn run(arguments: &[&str], variables: Vec<(String, String)>) -> (i32, String) {
    let mut product = start(arguments, variables);
    let status = product.process().wait_ended(PATIENCE).await.expect("ends");
    (
        status.code().unwrap_or(-1),
        process::log_after(product.process().log(), 0),
    )
}

/// Lets a stopped lane go on from there, over its gap: the program's exit code and what it printed.
pub async fn resume(lane: &str, from: &str, variables: Vec<(String, String)>) -> (i32, String) {
    run(
        &["lanes", "resume", "--lane", lane, "--from", from, "--accept-gap"],
        variables,
    )
    .await
}

/// The status and body of a path of the admin port; 0 while nobody answers.
pub async fn admin(product: &Product, path: &str) -> (u16, String) {
    match product.get(&format!("{}{path}", product.admin())).await {
        Ok((status, body)) => (status, body),
        Err(_) => (0, String::new()),
    }
}

/// So many events of the usual mix.
pub fn items(seed: u64, count: usize) -> Vec<Item> {
    let options = Options {
        seed,
        ..Options::default()
    };
    items_of(options, count)
}

/// So many events of this mix.
pub fn items_of(options: Options, count: usize) -> Vec<Item> {
    let mut generator = Generator::new(options);
    let now = "2026-03-01T12:00:00Z".parse().expect("an instant");
    (0..count).map(|_| generator.item(now)).collect()
}

/// The truth about these events.
pub fn truth(items: &[Item]) -> Truth {
    let mut truth = Truth::default();
    items.iter().for_each(|item| truth.add(item));
    truth
}

/// The reason and field of each event that must be rejected.
pub fn rejections(items: &[Item]) -> BTreeMap<(String, String), usize> {
    let mut reasons = BTreeMap::new();
    for item in items {
        if let Verdict::Rejected { reason, field } = item.verdict {
            *reasons.entry((reason.to_owned(), field.to_owned())).or_default() += 1;
        }
    }
    reasons
}

/// A plain event of one organization, without an identity.
pub fn event(organization: &str) -> Document {
    doc! {
        "completedAt": DateTime::from_millis(1_767_607_200_000), "source": "chat", "organizationId": organization,
        "agentSlug": "support", "userId": "u1", "model": "m1", "provider": "p1", "inputTokens": 10, "outputTokens": 5,
        "cost": "0.000000015",
    }
}

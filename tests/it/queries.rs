//! What the program asks MongoDB reads no more than it returns, by more than a constant factor.
//!
//! The list of questions is not written down: it is what passes a proxy while the program is used in every way. Each
//! shape of a question is then explained on a database with much that it must not read. A question of a new shape is
//! found by itself, as long as something here makes the program ask it.
//!
//! SecantusDB explains as MongoDB would plan, and counts what that plan reads; what it really does may be more.

mod question;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;
use testkit::eventually;
use testkit::mongodb::{Mongo, Options};
use testkit::product::Product;
use testkit::proxy::{Command, Proxy};
use testkit::world::{World, resume, run};

use self::question::{Question, is_inherent};
use crate::reader_routes::{SECRET, ask, event, staff, token};

/// All of them: hours are asked for, too.
const GRANULARITIES: (&str, &str) = ("GRANULARITIES", "hourly,daily,weekly,monthly");

/// What passes a proxy.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Passed>>);

#[derive(Default)]
struct Passed {
    /// One question of each shape.
    questions: BTreeMap<String, Question>,
    /// Commands of which it is not known what they read.
    strange: Vec<Document>,
}

impl Heard {
    /// Listens to what is asked of a database.
    fn listen(proxy: &Proxy, database: &str) -> Self {
        let heard = Self::default();
        let own = heard.clone();
        let listen = move |command: &Document| {
            let mut passed = own.0.lock().unwrap_or_else(PoisonError::into_inner);
            match Question::all(command) {
                Some(questions) => {
                    let by_shape = questions
                        .into_iter()
                        .map(|question| (question.shape.clone(), question));
                    passed.questions.extend(by_shape);
                }
                None => passed.strange.push(command.clone()),
            }
            // It only listens.
            false
        };
        let all = Command::any().database(database).matching(listen);
        proxy.when(all).delay(std::time::Duration::ZERO);
        heard
    }

    fn take(&self) -> Passed {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The program, used through a proxy.
struct Use {
    world: World,
    variables: Vec<(&'static str, &'static str)>,
}

impl Use {
    async fn worker(&self, more: &[(&'static str, &'static str)]) -> Product {
        self.world
            .ready(&[self.variables.as_slice(), more].concat())
            .await
    }

    /// Events of many users on several days, some of them broken, and whole ones that close their letters.
    async fn consume(&self, worker: &mut Product, round: usize) {
        let read = self.world.fence_number("read").await;
        let mut documents = Vec::new();
        for number in 0..120 {
            let user = format!("u{}", number % 40);
            let agent = format!("a{}", number % 3);
            let organization = if number % 10 == 0 { "other" } else { "acme" };
            let mut document = event(
                organization,
                number % 4,
                &[("userId", &user), ("agentSlug", &agent)],
            );
            if number % 3 == 0 {
                document.insert("eventId", format!("e-{round}-{number}"));
            }
            documents.push(document);
        }
        let with_id = |name: &str| {
            let mut document = event("acme", 0, &[]);
            document.insert("eventId", format!("{name}-{round}"));
            document
        };
        let broken = |name: &str| {
            let mut document = with_id(name);
            document.insert("inputTokens", -1);
            document
        };
        documents.extend(["x", "y", "z"].map(broken));
        documents.push(event("", 0, &[]));
        let count = documents.len() as u64;
        let events = self.world.collection("requestEvents");
        events.insert_many(documents).await.expect("inserts");
        let read = u64::try_from(read).expect("a count");
        self.world.wait_read(worker, read + count).await;
        // One alone, and two in one commit.
        self.world.insert_one(with_id("x")).await;
        events
            .insert_many([with_id("y"), with_id("z")])
            .await
            .expect("inserts");
        self.world.wait_read(worker, read + count + 3).await;
    }

    /// Every route, with every filter and what is grouped by what.
    async fn read(&self, worker: &Product) {
        let filters = [
            "",
            "&agentSlug=a1",
            "&agentSlug=a1&agentSlug=a2",
            "&model=m1",
            "&provider=p1",
            "&provider=p1&model=m1",
            "&userId=u1",
            "&userId=u1&userId=u2",
            "&userId=__unattributed__",
            "&source=chat",
            "&teamId=__none__",
            "&apiKeyId=__none__",
            "&kind=llm",
            "&agentSlug=a1&model=m1",
            "&userId=u1&agentSlug=a1",
        ];
        let mut paths = vec!["meta?organizationId=acme".to_owned(), "meta".to_owned()];
        for filter in filters {
            let whose = "organizationId=acme&preset=7d";
            paths.push(format!("summary?{whose}{filter}"));
            let all = ["hourly", "daily", "weekly", "monthly"];
            for granularity in if filter.is_empty() { &all[..] } else { &all[..2] } {
                paths.push(format!("series?{whose}&granularity={granularity}{filter}"));
                paths.push(format!(
                    "table?scope=platform&preset=7d&granularity={granularity}{filter}"
                ));
                paths.push(format!(
                    "table?scope=organization&{whose}&granularity={granularity}{filter}"
                ));
            }
            let all = ["user", "agent", "team", "model", "apiKey", "source", "kind"];
            for by in if filter.is_empty() { &all[..] } else { &all[..3] } {
                paths.push(format!("breakdown?{whose}&by={by}{filter}&limit=2"));
            }
            paths.push(format!("breakdown?{whose}&by=user&include=teams{filter}"));
            for granularity in ["hourly", "daily"] {
                paths.push(format!(
                    "series?{whose}&groupBy=user&granularity={granularity}{filter}"
                ));
            }
        }
        paths.push("table?scope=agent&organizationId=acme&agentSlug=a1".to_owned());
        for (number, path) in paths.iter().enumerate() {
            let (status, answer) = ask(worker, path, &staff(&number.to_string())).await;
            assert!(matches!(status, 200 | 422), "{path}: {answer}");
        }
        let person =
            |role: &str| token(&json!({"sub": "u1", "organizations": {"acme": role, "other": role}}));
        for (path, role) in [
            ("me?organizationId=acme", "member"),
            ("me?organizationId=acme&teamId=__none__", "member"),
            ("meta", "admin"),
        ] {
            let (status, answer) = ask(worker, path, &person(role)).await;
            assert_eq!(status, 200, "{path}: {answer}");
        }
    }

    /// The commands that look at letters and mark them, with every filter.
    async fn command(&self) {
        let letter = self.world.letters().await.remove(0);
        let id = letter.get_str("_id").expect("an id");
        let lane = letter.get_str("lane").expect("a lane");
        let filters: [&[&str]; 9] = [
            &[],
            &["--id", id],
            &["--id", id, "--id", "nothing/here"],
            &["--lane", lane],
            &["--reason", "out_of_range"],
            &["--event-id", "x-0"],
            &["--since", "2026-01-01T00:00:00Z"],
            &["--until", "2026-01-01T00:00:00Z"],
            &[
                "--lane",
                lane,
                "--reason",
                "out_of_range",
                "--since",
                "2026-01-01T00:00:00Z",
            ],
        ];
        for filter in filters {
            for state in if filter.is_empty() {
                &["open", "replay", "closed", "any"][..]
            } else {
                &["open", "any"]
            } {
                self.run(&[&["dead-letters", "list", "--state", state], filter].concat())
                    .await;
            }
            let all: &[&str] = if filter.is_empty() { &["--all"] } else { &[] };
            if filter.is_empty() {
                self.run(&["dead-letters", "replay", "--dry-run", "--all"]).await;
            }
            self.run(&[&["dead-letters", "replay"], filter, all].concat())
                .await;
        }
        self.run(&["dead-letters", "show", id]).await;
        self.run(&["lanes", "list"]).await;
        self.run(&["migrate"]).await;
    }

    async fn run(&self, arguments: &[&str]) {
        let (code, told) = run(arguments, self.world.variables(&[GRANULARITIES])).await;
        assert_eq!(code, 0, "{arguments:?}: {told}");
    }

    /// Loses the history of the lane, and lets it go on.
    async fn resume(&self, worker: &Product) {
        self.world
            .collection("requestEvents")
            .drop()
            .await
            .expect("drops");
        self.world.wait_stopped().await;
        let lane = self.world.fence().await.expect("a fence");
        let lane = lane.get_str("_id").expect("a name");
        let (code, told) = resume(lane, "now", self.world.variables(&[GRANULARITIES])).await;
        assert_eq!(code, 0, "{told}");
        eventually("it goes on", || async {
            testkit::world::admin(worker, "/readyz").await.0 == 200
        })
        .await;
    }
}

/// Puts much into each collection that no question here is about.
async fn fill(world: &World) {
    const MUCH: usize = 400;
    for name in ["usageLedger", "usageRollups"] {
        let rows = world.collection(name);
        let all = every(&rows).await;
        let mut more = Vec::new();
        for number in 0..MUCH {
            let row = &all[number * 7 % all.len()];
            let text = |field: &str| row.get_str(field).expect(field).to_owned();
            let id: Vec<String> = text("_id").split('/').map(str::to_owned).collect();
            let filler = format!("filler-{number}");
            // Of another organization, another period, another agent; of another user or value.
            for (field, part, value) in [
                ("organizationId", 1, filler.clone()),
                ("periodKey", 3, format!("1{number:03}")),
                (
                    if name == "usageLedger" {
                        "agentSlug"
                    } else {
                        "value"
                    },
                    if name == "usageLedger" { 4 } else { 5 },
                    filler.clone(),
                ),
            ] {
                let mut row = row.clone();
                let mut id = id.clone();
                id[part].clone_from(&value);
                row.insert(field, value);
                if name == "usageLedger" {
                    id[7].clone_from(&filler);
                    row.insert("userId", &filler);
                }
                row.insert("_id", id.join("/"));
                more.push(row);
            }
        }
        insert(&rows, more).await;
    }
    for (name, changes) in [
        (
            "usageDeadLetters",
            vec![
                doc! {"state": "closed"},
                doc! {"state": "open", "lane": "kafka/filler/0", "open": "kafka/filler/0", "reason": "filler"},
                doc! {"state": "replay", "lane": "kafka/filler/1", "open": "kafka/filler/1"},
                // Of another organization, of another day, and of nobody.
                doc! {"state": "lost", "open": "kafka/filler/2", "organizationId": "filler"},
                doc! {"state": "lost", "open": "kafka/filler/3", "organizationId": "acme", "day": "1999-01-01"},
                doc! {"state": "lost", "open": "kafka/filler/4", "organizationId": null, "day": "1999-01-01"},
            ],
        ),
        (
            "usageJournal",
            vec![doc! {"_id": {"lane": "kafka/filler/0"}, "days": [1_i64, 2_i64]}],
        ),
        ("usageEventIds", vec![doc! {"lane": "kafka/filler/0"}]),
        ("requestEvents", vec![doc! {"filler": true}]),
    ] {
        let documents = world.collection(name);
        let one = documents
            .find_one(doc! {})
            .await
            .expect("reads")
            .unwrap_or_default();
        let mut more = Vec::new();
        for number in 0..MUCH {
            for (at, change) in changes.iter().enumerate() {
                let mut document = one.clone();
                document.remove("open");
                document.extend(change.clone());
                document
                    .extend(doc! {"_id": format!("filler/{number}/{at}"), "eventId": format!("f-{number}")});
                document.insert(
                    "rejectedAt",
                    DateTime::from_millis(i64::try_from(number).expect("small")),
                );
                more.push(document);
            }
        }
        insert(&documents, more).await;
    }
}

async fn every(collection: &Collection<Document>) -> Vec<Document> {
    let mut cursor = collection.find(doc! {}).await.expect("reads");
    let mut all = Vec::new();
    while cursor.advance().await.expect("reads") {
        all.push(cursor.deserialize_current().expect("a document"));
    }
    all
}

async fn insert(collection: &Collection<Document>, documents: Vec<Document>) {
    let distinct: BTreeMap<String, Document> = documents
        .into_iter()
        .map(|document| (document.get_str("_id").expect("an id").to_owned(), document))
        .collect();
    for documents in distinct.into_values().collect::<Vec<_>>().chunks(1_000) {
        collection.insert_many(documents).await.expect("inserts");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_reads_more_than_it_returns() {
    let mongo = Mongo::start(Options::default()).await.expect("MongoDB starts");
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(&mongo, "queries").await;
    world.uri = mongo.proxied_uri(&proxy);
    let heard = Heard::listen(&proxy, &world.name);
    let variables = vec![
        ("AUTH", "jwt"),
        ("JWT_SECRET", SECRET),
        ("JWT_ISSUER", "me"),
        ("JWT_AUDIENCE", "usage"),
        ("EXCLUDED_ORGANIZATIONS", "internal"),
        GRANULARITIES,
    ];
    let used = Use { world, variables };
    for id in ["history-1", "history-2"] {
        let mut document = event("acme", 3, &[]);
        document.insert("_id", id);
        used.world.insert_one(document).await;
    }
    let mut worker = used.worker(&[]).await;
    used.world.wait_read(&mut worker, 2).await;
    used.consume(&mut worker, 0).await;
    used.read(&worker).await;
    used.command().await;
    worker.stop(testkit::PATIENCE).await.expect("drains");
    let mut worker = used.worker(&[("DEDUPE_SCOPE", "ledger")]).await;
    used.consume(&mut worker, 1).await;
    used.resume(&worker).await;
    worker.stop(testkit::PATIENCE).await.expect("drains");

    let Passed { questions, strange } = heard.take();
    assert!(strange.is_empty(), "what do these read? {strange:?}");
    fill(&used.world).await;
    let client = used.world.database.client();
    let mut faults = Vec::new();
    for question in questions.values().filter(|question| !is_inherent(question)) {
        faults.extend(question.fault(client, &used.world.name).await);
    }
    eprintln!("{} shapes of questions", questions.len());
    assert!(faults.is_empty(), "{:#?}", faults);
    assert!(questions.len() > 50, "{:#?}", questions.keys());
}

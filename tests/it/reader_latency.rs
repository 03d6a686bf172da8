//! How long the reader takes over a large ledger. Run by hand, on a machine with nothing else to do:
//!
//! ```text
//! cargo test --release --test it reader_latency -- --ignored --nocapture
//! ```
//!
//! One organization, 20,000 users, 50 agents, 20 models, 90 days: a million daily rows, written as the
//! ledger would have written them, beside the million events that they are made of. Each question is asked
//! 1,000 times over 16 connections.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Days, NaiveTime, Utc};
use futures_util::TryStreamExt;
use jsonwebtoken::{EncodingKey, Header, encode};
use mongodb::bson::{Bson, DateTime as BsonTime, Document, doc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rollup::counters::{Counter, Sums};
use rollup::period::{Calendar, Granularity, Period};
use serde_json::{Value, json};
use stack::product::Product;

use crate::world::World;

const USERS: usize = 20_000;
const ROWS_PER_USER: usize = 50;
const AGENTS: usize = 50;
const MODELS: usize = 20;
const DAYS: u64 = 90;
const CONNECTIONS: usize = 16;
const REQUESTS: usize = 1_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const GRANULARITIES: [Granularity; 3] = [Granularity::Daily, Granularity::Weekly, Granularity::Monthly];

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test goes by the machine's clock"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// One request, and the row of each granularity that it is booked to.
struct Used {
    at: DateTime<Utc>,
    agent: String,
    user: String,
    model: usize,
    sums: Sums,
}

impl Used {
    fn any(rng: &mut StdRng, user: usize, today: DateTime<Utc>) -> Self {
        let mut sums = Sums::default();
        let (input, output) = (rng.random_range(100..5_000), rng.random_range(10..900));
        for (counter, value) in [
            (Counter::Requests, 1),
            (Counter::InputTokens, input),
            (Counter::OutputTokens, output),
            (Counter::TotalTokens, input + output),
            (Counter::CostNanos, input * 150 + output * 600),
        ] {
            sums[counter] = value;
        }
        Self {
            at: today - Days::new(rng.random_range(0..DAYS)),
            agent: format!("agent-{:02}", rng.random_range(0..AGENTS)),
            user: format!("user-{user:05}"),
            model: rng.random_range(0..MODELS),
            sums,
        }
    }

    fn model(&self) -> (String, String) {
        (
            format!("model-{:02}", self.model),
            format!("provider-{}", self.model % 4),
        )
    }

    fn event(&self, id: usize) -> Document {
        let (model, provider) = self.model();
        doc! {
            "_id": format!("evt-{id}"), "organizationId": "acme", "source": "chat", "agentSlug": &self.agent,
            "userId": &self.user, "model": model, "provider": provider,
            "completedAt": BsonTime::from_chrono(self.at), "inputTokens": number(&self.sums, Counter::InputTokens),
            "outputTokens": number(&self.sums, Counter::OutputTokens),
            "costNanos": number(&self.sums, Counter::CostNanos),
        }
    }
}

fn number(sums: &Sums, counter: Counter) -> i64 {
    i64::try_from(sums[counter]).expect("fits")
}

/// What all rows of a period have in common.
fn row(id: String, period: Period, sums: &Sums, fields: Document) -> Document {
    let mut row = doc! {
        "_id": id, "organizationId": "acme", "granularity": period.granularity().name(),
        "periodKey": period.to_string(), "periodStart": BsonTime::from_chrono(Calendar::UTC.start_of(period)),
        "schemaVersion": 1, "updatedAt": BsonTime::from_millis(0),
    };
    row.extend(fields);
    row.extend(Counter::ALL.map(|counter| (counter.name().to_owned(), Bson::Int64(number(sums, counter)))));
    row
}

type Rollups = HashMap<(Period, &'static str, String, String), Sums>;

fn rollup_rows(rollups: &Rollups) -> Vec<Document> {
    let rows = rollups.iter().map(|((period, set, value, provider), sums)| {
        let mut fields = doc! {"set": *set, "value": value};
        let mut id = format!("v1/acme/{}/{period}/{set}/{value}", period.granularity());
        if *set == "model" {
            fields.insert("provider", provider);
            id = format!("{id}/{provider}");
        }
        row(id, *period, sums, fields)
    });
    rows.collect()
}

/// The rows and the events of a chunk of users. Rows of users and of the ledger are theirs alone; the other
/// sets are collected.
async fn write_users(world: &World, rng: &mut StdRng, users: std::ops::Range<usize>, shared: &mut Rollups) {
    let today = now().date_naive().and_time(NaiveTime::MIN).and_utc();
    let mut ledger: HashMap<(Period, String, String, usize), Sums> = HashMap::new();
    let mut own = Rollups::new();
    let mut events = Vec::new();
    for user in users {
        for n in 0..ROWS_PER_USER {
            let used = Used::any(rng, user, today);
            events.push(used.event(user * ROWS_PER_USER + n));
            let (model, provider) = used.model();
            for granularity in GRANULARITIES {
                let period = Calendar::UTC.period_of(granularity, used.at);
                let key = (period, used.agent.clone(), used.user.clone(), used.model);
                ledger.entry(key).or_default().merge(&used.sums);
                let add = |rollups: &mut Rollups, set, value: &str, provider: &str| {
                    let key = (period, set, value.to_owned(), provider.to_owned());
                    rollups.entry(key).or_default().merge(&used.sums);
                };
                add(&mut own, "user", &used.user, "");
                add(shared, "organization", "acme", "");
                add(shared, "agent", &used.agent, "");
                add(shared, "model", &model, &provider);
                add(shared, "source", "chat", "");
            }
        }
    }
    let ledger: Vec<Document> = ledger
        .iter()
        .map(|((period, agent, user, model), sums)| {
            let (model, provider) = (format!("model-{model:02}"), format!("provider-{}", model % 4));
            let id = format!(
                "v1/acme/{}/{period}/{agent}/{provider}/{model}/{user}/__none__/__none__/chat/llm",
                period.granularity()
            );
            let fields = doc! {
                "agentSlug": agent, "provider": provider, "model": model, "userId": user, "teamId": "__none__",
                "apiKeyId": "__none__", "source": "chat", "kind": "llm",
            };
            row(id, *period, sums, fields)
        })
        .collect();
    world
        .collection("usageLedger")
        .insert_many(ledger)
        .await
        .expect("inserts");
    world
        .collection("usageRollups")
        .insert_many(rollup_rows(&own))
        .await
        .expect("inserts");
    world
        .collection("rawEvents")
        .insert_many(events)
        .await
        .expect("inserts");
}

/// A token of staff, new for every run: the rate limit is each caller's own.
fn token(subject: &str) -> String {
    let claims = json!({"sub": subject, "exp": 4_000_000_000_u64, "platformRole": "staff",
                        "organizations": {"acme": "member"}});
    encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .expect("a token")
}

async fn ask(client: &reqwest::Client, url: &str, token: &str) -> (Duration, Value) {
    let start = Instant::now();
    let answer = client
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .expect("an answer");
    let status = answer.status();
    let body = answer.bytes().await.expect("a body");
    let took = start.elapsed();
    assert!(
        status.is_success(),
        "{url}: {status} {}",
        String::from_utf8_lossy(&body)
    );
    (took, serde_json::from_slice(&body).expect("json"))
}

/// The latencies of so many requests over so many connections, sorted.
async fn load(
    url: impl Fn(usize) -> String + Clone + Send + 'static,
    requests: usize,
    run: &str,
) -> Vec<Duration> {
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (url, token) = (url.clone(), token(&format!("{run}-{connection}")));
        tasks.spawn(async move {
            let client = reqwest::Client::new();
            let mut taken = Vec::new();
            for n in (connection..requests).step_by(CONNECTIONS) {
                taken.push(ask(&client, &url(n), &token).await.0);
            }
            taken
        });
    }
    let mut taken: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    taken.sort_unstable();
    taken
}

fn shown(taken: &[Duration]) -> String {
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = ((taken.len() - 1) as f64 * share) as usize;
        format!("{:7.1}", taken[index].as_secs_f64() * 1_000.0)
    };
    format!("p50 {} ms  p99 {} ms  max {} ms", at(0.5), at(0.99), at(1.0))
}

/// The same question, asked of the events.
async fn raw(world: &World, group: &str) -> Duration {
    let from = now().date_naive() - Days::new(DAYS - 1);
    let from = BsonTime::from_chrono(from.and_time(NaiveTime::MIN).and_utc());
    let mut sums = doc! {"_id": group};
    for counter in ["inputTokens", "outputTokens", "costNanos"] {
        sums.insert(counter, doc! {"$sum": format!("${counter}")});
    }
    let stages = [
        doc! {"$match": {"organizationId": "acme", "completedAt": {"$gte": from}}},
        doc! {"$group": sums},
    ];
    let start = Instant::now();
    let groups = world
        .collection("rawEvents")
        .aggregate(stages)
        .await
        .expect("aggregates");
    let groups: Vec<Document> = groups.try_collect().await.expect("groups");
    assert!(!groups.is_empty());
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: takes about ten minutes"]
async fn reader_latency_over_a_million_daily_rows() {
    let world = World::new("latency").await;
    let variables = [("AUTH", "jwt"), ("JWT_SECRET", SECRET)];
    // A worker makes the ledger and its fence, and is gone before the rows are written: the server would be
    // busy leading its change stream past them.
    let mut worker = world.ready(&variables).await;
    worker.stop(crate::world::PATIENCE).await.expect("stops");
    let start = Instant::now();
    let mut rng = StdRng::seed_from_u64(7);
    let mut shared = Rollups::new();
    for first in (0..USERS).step_by(200) {
        write_users(&world, &mut rng, first..first + 200, &mut shared).await;
    }
    world
        .collection("usageRollups")
        .insert_many(rollup_rows(&shared))
        .await
        .expect("inserts");
    let keys = doc! {"organizationId": 1, "completedAt": 1};
    let index = mongodb::IndexModel::builder().keys(keys).build();
    world
        .collection("rawEvents")
        .create_index(index)
        .await
        .expect("an index");
    let daily = world
        .collection("usageLedger")
        .count_documents(doc! {"granularity": "daily"})
        .await
        .expect("counts");
    println!(
        "{daily} daily rows of {} users written in {:.0?}",
        USERS,
        start.elapsed()
    );
    let mut product = world.start("serve", &variables);
    product.wait_ready(crate::world::PATIENCE).await.expect("ready");
    measure(&world, &product).await;
    product.stop(crate::world::PATIENCE).await.expect("stops");
}

async fn measure(world: &World, product: &Product) {
    let base = format!("{}/v1/usage", product.api());
    let client = reqwest::Client::new();
    let questions = [
        ("summary", "summary?organizationId=acme&preset=90d", Some("null")),
        ("series by day", "series?organizationId=acme&preset=90d", None),
        (
            "series by week, agents",
            "series?organizationId=acme&preset=90d&granularity=weekly&groupBy=agent",
            None,
        ),
        (
            "breakdown by agent",
            "breakdown?organizationId=acme&preset=90d&by=agent",
            Some("$agentSlug"),
        ),
        (
            "breakdown by model",
            "breakdown?organizationId=acme&preset=90d&by=model",
            Some("$model"),
        ),
        (
            "breakdown by user, 50",
            "breakdown?organizationId=acme&preset=90d&by=user",
            Some("$userId"),
        ),
        (
            "table of agents, months",
            "table?organizationId=acme&preset=90d&scope=organization&granularity=monthly",
            None,
        ),
        (
            "summary of one user",
            "summary?organizationId=acme&preset=90d&userId=user-00042",
            None,
        ),
        ("meta", "meta?organizationId=acme", None),
    ];
    println!("\nthe same question again, {REQUESTS} times over {CONNECTIONS} connections");
    for (name, question, group) in questions {
        let url = format!("{base}/{question}");
        let first = ask(&client, &url, &token(&format!("first {name}"))).await.0;
        let again = {
            let url = url.clone();
            load(move |_| url.clone(), REQUESTS, name).await
        };
        let events = match group {
            Some(group) => format!(
                "from events {:8.1} ms",
                raw(world, group).await.as_secs_f64() * 1_000.0
            ),
            None => String::new(),
        };
        println!(
            "{name:26} first {:8.1} ms  {}  {events}",
            first.as_secs_f64() * 1_000.0,
            shown(&again)
        );
    }
    println!("\nanother question each time, over sums that are remembered");
    for (name, question) in [
        (
            "breakdown by agent",
            "breakdown?organizationId=acme&preset=90d&by=agent",
        ),
        (
            "breakdown by model",
            "breakdown?organizationId=acme&preset=90d&by=model",
        ),
        (
            "breakdown by user",
            "breakdown?organizationId=acme&preset=90d&by=user",
        ),
    ] {
        let url = format!("{base}/{question}");
        let taken = load(
            move |n| format!("{url}&limit={}", n + 1),
            REQUESTS,
            &format!("other {name}"),
        )
        .await;
        println!("{name:26} {}", shown(&taken));
    }
    println!("\nthe same question while usage of today is booked, ten commits a second");
    let writing = async {
        for n in 0_u64.. {
            book(world, n).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let asking = async {
        for (name, question, _) in questions {
            let url = format!("{base}/{question}");
            let taken = load(move |_| url.clone(), REQUESTS / 2, &format!("live {name}")).await;
            println!("{name:26} {}", shown(&taken));
        }
    };
    tokio::select! {
        () = writing => {}
        () = asking => {}
    }
}

/// Books one request of today as a worker would: to the rows of every set, with the fence.
async fn book(world: &World, n: u64) {
    let mut rows = Vec::new();
    for granularity in GRANULARITIES {
        let period = Calendar::UTC.period_of(granularity, now());
        let values = [
            ("organization", "acme".to_owned()),
            ("agent", format!("agent-{:02}", n % 50)),
            ("model", format!("model-{0:02}/provider-{1}", n % 20, n % 4)),
            ("user", format!("user-{:05}", n * 7_919 % 20_000)),
            ("source", "chat".to_owned()),
        ];
        for (set, value) in values {
            rows.push(doc! {"_id": format!("v1/acme/{granularity}/{period}/{set}/{value}")});
        }
    }
    let change = doc! {"$inc": {"requests": 1_i64}, "$currentDate": {"updatedAt": true}};
    for row in rows {
        // A user without usage today has no row yet: it is not made here.
        world
            .collection("usageRollups")
            .update_one(row, change.clone())
            .await
            .expect("updates");
    }
    let fence = doc! {"$inc": {"read": 1_i64, "seq": 1_i64}};
    world
        .collection("usageFences")
        .update_one(doc! {}, fence)
        .await
        .expect("updates");
}

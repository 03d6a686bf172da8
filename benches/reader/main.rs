//! How long the reader takes over a large ledger: `make bench-reader`, on a machine with nothing else to do.
//!
//! One organization, 20,000 users, 50 agents, 20 models, 90 days: a million daily rows, beside the million
//! events that they are made of. The program is the released one, as a process of its own. What is asked,
//! and how often, stands above each table; the tables go to the standard output.

mod load;
mod outcome;
mod raw;
mod seed;

use std::time::{Duration, Instant};

use chrono::{DateTime, Days, Utc};
use mongodb::Database;
use mongodb::bson::{Document, doc};
use testkit::mongodb::{Mongo, Options};
use testkit::product::{Product, Settings};

use load::{CONNECTIONS, REQUESTS, SECRET, Taken, milliseconds};
use outcome::Outcome;
use raw::Raw;

const DATABASE: &str = "usage_ledger_bench";
const PATIENCE: Duration = Duration::from_secs(120);
const BETWEEN_COMMITS: Duration = Duration::from_millis(100);

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test goes by the machine's clock"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A question.
struct Question {
    name: &'static str,
    route: &'static str,
    /// What is asked again and again.
    same: &'static str,
    /// The same, as the events answer it.
    raw: Option<Raw>,
    /// What makes each of the others another question.
    others: &'static str,
    other: Vec<String>,
}

/// Twenty-five begins and forty ends in ninety days.
fn another_range(n: usize) -> String {
    let today = now().date_naive();
    let from = today - Days::new(seed::DAYS - 1) + Days::new(n as u64 % 25);
    let to = today - Days::new(n as u64 / 25);
    format!("from={from}&to={to}")
}

fn another_user(n: usize) -> String {
    format!("preset=90d&userId=user-{:05}", n * 19 % seed::USERS)
}

fn two_agents(n: usize) -> String {
    let one = n % seed::AGENTS;
    let other = (one + 1 + n / seed::AGENTS) % seed::AGENTS;
    format!("preset=90d&agentSlug=agent-{one:02}&agentSlug=agent-{other:02}")
}

fn questions(pages: &[String]) -> Vec<Question> {
    let day = |format: &str| doc! {"$dateToString": {"date": "$completedAt", "format": format}};
    let with_agent = |period: Document| doc! {"period": period, "agent": "$agentSlug"};
    let one_user = || Raw {
        filter: doc! {"userId": "user-00019"},
        ..Raw::by("acme")
    };
    let page = Raw {
        limit: Some(50),
        ..Raw::by("$userId")
    };
    let ask = |name, route, raw| Question {
        name,
        route,
        same: "preset=90d",
        raw,
        others: "range",
        other: (0..REQUESTS).map(another_range).collect(),
    };
    let other = |others, other: fn(usize) -> String, question| Question {
        others,
        other: (0..REQUESTS).map(other).collect(),
        ..question
    };
    let paged = |question| Question {
        others: "page",
        other: pages.to_vec(),
        ..question
    };
    let user = Question {
        same: "preset=90d&userId=user-00019",
        ..ask("summary of one user", "summary?", Some(one_user()))
    };
    let weeks = with_agent(day("%G-%V"));
    let months = with_agent(day("%Y-%m"));
    let users = "breakdown?by=user&";
    vec![
        ask("summary", "summary?", Some(Raw::by("acme"))),
        other("user", another_user, user),
        other(
            "two agents",
            two_agents,
            ask("series by day", "series?", Some(Raw::by(day("%Y-%m-%d")))),
        ),
        ask(
            "series by week and agent",
            "series?granularity=weekly&groupBy=agent&",
            Some(Raw::by(weeks)),
        ),
        ask(
            "breakdown by agent",
            "breakdown?by=agent&",
            Some(Raw::by("$agentSlug")),
        ),
        ask(
            "breakdown by model",
            "breakdown?by=model&",
            Some(Raw::by("$model")),
        ),
        paged(ask("breakdown by user, 50 of 20,000", users, Some(page))),
        paged(ask(
            "the same with teams",
            "breakdown?by=user&include=teams&",
            None,
        )),
        ask("the same, by its range", "breakdown?by=user&limit=49&", None),
        ask(
            "table of agents by month",
            "table?scope=organization&granularity=monthly&",
            Some(Raw::by(months)),
        ),
        ask("me", "me?", Some(one_user())),
        ask("meta", "meta?", None),
    ]
}

impl Question {
    fn url(&self, base: &str, query: &str) -> String {
        format!("{base}/v1/usage/{}organizationId=acme&{query}", self.route)
    }

    /// Who asks over a connection: somebody who has usage, where it is about oneself.
    fn who(&self, run: &str) -> impl Fn(usize) -> String {
        let (run, name) = (run.to_owned(), self.name);
        move |connection| match name {
            "me" => format!("user-{:05}", connection * 100 + run.len()),
            name => format!("{run} {name} {connection}"),
        }
    }

    async fn again(&self, base: &str, run: &str) -> String {
        let url = self.url(base, self.same);
        cell(load::run(self.who(run), move |_| url.clone()).await)
    }

    async fn others(&self, base: &str) -> String {
        let urls: Vec<String> = self.other.iter().map(|query| self.url(base, query)).collect();
        cell(load::run(self.who("others"), move |n| urls[n].clone()).await)
    }
}

/// What was not answered is no number; why is said beside the table.
fn cell(taken: Outcome<Taken>) -> String {
    taken.map_or_else(
        |error| {
            eprintln!("{error}");
            "failed".to_owned()
        },
        |taken| taken.shown(),
    )
}

/// Where a thousand pages of users start: nobody has asked for the fifty users after any of them.
async fn pages(base: &str) -> Outcome<Vec<String>> {
    let mut starts = Vec::new();
    let mut cursor = String::new();
    while starts.len() < REQUESTS {
        let url =
            format!("{base}/v1/usage/breakdown?organizationId=acme&preset=90d&by=user&limit=19{cursor}");
        let page = load::once(&url, &format!("pages {}", starts.len() / 50)).await?;
        let next = page["nextCursor"].as_str().ok_or("too few users")?;
        cursor = format!("&cursor={next}");
        starts.push(format!("preset=90d{cursor}"));
    }
    Ok(starts)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mongo = Mongo::start(Options {
        user_server: true,
        ..Options::default()
    })
    .await?;
    let database = mongo.client().await?.database(DATABASE);
    database.drop().await?;
    let outcome = bench(&mongo, &database).await;
    database.drop().await?;
    outcome
}

async fn bench(mongo: &Mongo, database: &Database) -> Outcome<()> {
    eprintln!("{}", mongo.description());
    // A worker makes the ledger and its fence, and is gone before the rows are written: the server would be
    // busy leading its change stream past them.
    let mut worker = start(mongo, "run")?;
    worker.wait_ready(PATIENCE).await?;
    worker.stop(PATIENCE).await?;
    drop(worker);
    let began = Instant::now();
    let daily = seed::write(database, now()).await?;
    eprintln!("{daily} daily rows written in {:.0?}", began.elapsed());
    let mut product = start(mongo, "serve")?;
    product.wait_ready(PATIENCE).await?;
    let cores = std::thread::available_parallelism()?;
    println!(
        "{daily} daily rows of {} users; {}; {cores} cores for it, the reader and who asks.\n",
        seed::USERS,
        mongo.description()
    );
    measure(database, product.api()).await?;
    product.stop(PATIENCE).await?;
    Ok(())
}

fn start(mongo: &Mongo, command: &str) -> Outcome<Product> {
    let variables = [
        ("MONGODB_URI", mongo.uri()),
        ("MONGODB_DATABASE", DATABASE),
        ("AUTH", "jwt"),
        ("JWT_SECRET", SECRET),
    ];
    Ok(Product::start(Settings {
        program: env!("CARGO_BIN_EXE_usage-ledger").into(),
        arguments: vec![command.to_owned()],
        variables: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        api_port: testkit::net::free_port()?,
        admin_port: testkit::net::free_port()?,
    })?)
}

async fn measure(database: &Database, base: &str) -> Outcome<()> {
    let questions = questions(&pages(base).await?);
    println!(
        "{REQUESTS} requests over {CONNECTIONS} connections, p50 / p99 in ms (in brackets: how many requests a minute \
         was enough for). *Again*: the same question each time, while nothing is booked. *Live*: the same, while \
         usage of today is booked ten times a second. *Others*: another one each time. *Events*: the same question \
         asked once of the raw events, over an index.\n"
    );
    println!("| question | again | live | others | by | events |\n|---|---|---|---|---|---|");
    for question in &questions {
        eprintln!("{} …", question.name);
        // The first one makes what the others find remembered.
        if let Err(error) = load::once(&question.url(base, question.same), "first").await {
            eprintln!("{error}");
        }
        let again = question.again(base, "again").await;
        let others = question.others(base).await;
        let live = tokio::select! {
            live = question.again(base, "live") => live,
            broken = writing(database) => return Err(broken),
        };
        let events = match &question.raw {
            Some(raw) => milliseconds(raw::ask(database, now(), raw).await?),
            None => String::new(),
        };
        let (name, by) = (question.name, question.others);
        println!("| {name} | {again} | {live} | {others} | {by} | {events} |");
    }
    Ok(())
}

/// Books usage of today, for ever.
async fn writing(database: &Database) -> Box<dyn std::error::Error + Send + Sync> {
    for n in 0_u64.. {
        if let Err(error) = seed::book(database, now(), n).await {
            return error;
        }
        tokio::time::sleep(BETWEEN_COMMITS).await;
    }
    unreachable!("there are enough numbers")
}

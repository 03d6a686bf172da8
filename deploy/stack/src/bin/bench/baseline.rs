//! The usual way: for each event, one upsert with `$inc` per granularity, each durable by itself.
//!
//! It is spared the other work of the program: it gets its events as values and need not read or parse them, keeps no
//! rollups, no position and no event ids, and so counts a duplicate twice.

use std::time::{Duration, Instant};

use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{Acknowledgment, CollectionOptions, WriteConcern};
use mongodb::{Collection, Database};
use testkit::traffic::Usage;
use testkit::workload::{Event, Keys, Workload};
use testkit::{Error, Result};
use tokio::task::JoinSet;

use crate::environment::Environment;

/// Workers at once: one consumer, and one per partition.
pub(crate) const WORKERS: [usize; 2] = [1, 8];
/// Events that they have to share.
const EVENTS: usize = 100_000;
/// For how long they are measured.
const TIME: Duration = Duration::from_secs(3);

/// Events per second of this many workers.
pub(crate) async fn run(environment: &Environment, keys: Keys, workers: usize) -> Result<f64> {
    let database = environment.database();
    let rows = rows(&database);
    let mut shares: Vec<Vec<Event>> = (0..workers).map(|_| Vec::new()).collect();
    for event in Workload::new(keys, testkit::now()).take(EVENTS) {
        shares[partition(event.key(), workers)].push(event);
    }
    let (mut working, start) = (JoinSet::new(), Instant::now());
    for share in shares {
        working.spawn(work(rows.clone(), share, start));
    }
    let mut done = 0_u32;
    while let Some(worker) = working.join_next().await {
        done += worker.map_err(|error| Error::Other(error.to_string()))??;
    }
    let rate = f64::from(done) / start.elapsed().as_secs_f64();
    database.drop().await?;
    Ok(rate)
}

fn rows(database: &Database) -> Collection<Document> {
    let majority = WriteConcern::builder().w(Acknowledgment::Majority).build();
    let options = CollectionOptions::builder().write_concern(majority).build();
    database.collection_with_options("usageLedger", options)
}

/// Where an event's key belongs: all events of an organization to one worker, so that no two write one row.
fn partition(key: &str, workers: usize) -> usize {
    key.bytes().map(usize::from).sum::<usize>() % workers
}

/// Counts events until the time is over or there are no more; how many.
async fn work(rows: Collection<Document>, events: Vec<Event>, start: Instant) -> Result<u32> {
    let mut done = 0;
    for event in events {
        if start.elapsed() >= TIME {
            break;
        }
        for (granularity, period) in periods(&event.usage) {
            let (row, update) = upsert(&event.usage, granularity, &period);
            rows.update_one(row, update).upsert(true).await?;
        }
        done += 1;
    }
    Ok(done)
}

fn periods(usage: &Usage) -> [(&'static str, String); 3] {
    [("daily", "%Y-%m-%d"), ("weekly", "%G-W%V"), ("monthly", "%Y-%m")]
        .map(|(granularity, format)| (granularity, usage.completed_at.format(format).to_string()))
}

fn upsert(usage: &Usage, granularity: &str, period: &str) -> (Document, Document) {
    let dimensions = [
        ("organizationId", Some(&usage.organization)),
        ("agentSlug", usage.agent.as_ref()),
        ("provider", usage.provider.as_ref()),
        ("model", usage.model.as_ref()),
        ("userId", usage.user.as_ref()),
        ("teamId", usage.team.as_ref()),
        ("apiKeyId", usage.api_key.as_ref()),
        ("source", Some(&usage.source)),
    ]
    .map(|(name, value)| (name, value.map_or("", String::as_str)));
    let parts: Vec<&str> = dimensions.iter().map(|(_, value)| *value).collect();
    let mut fields: Document = dimensions
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect();
    fields.extend(doc! {"granularity": granularity, "periodKey": period, "kind": usage.kind});
    let quantity = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let sums = doc! {
        "requests": 1_i64,
        "inputTokens": quantity(usage.input_tokens),
        "cachedInputTokens": quantity(usage.cached_input_tokens),
        "outputTokens": quantity(usage.output_tokens),
        "reasoningTokens": quantity(usage.reasoning_tokens),
        "totalTokens": quantity(usage.input_tokens + usage.output_tokens),
        "costNanos": quantity(usage.cost_nanos.unwrap_or(0)),
    };
    let at = DateTime::from_chrono(usage.completed_at);
    let row = doc! {"_id": format!("{granularity}/{period}/{}", parts.join("/"))};
    (
        row,
        doc! {"$inc": sums, "$setOnInsert": fields, "$set": {"updatedAt": at}},
    )
}

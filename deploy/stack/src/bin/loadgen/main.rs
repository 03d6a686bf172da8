//! Only the traffic: sends request-completed events somewhere, and says what their right totals are.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use testkit::feed::{self, Feed, FeedOptions};
use testkit::kafka::Producer;
use testkit::sink::Sink;
use testkit::traffic::Truth;
use testkit::{Error, Result};

const EXAMPLES: &str = "Examples:
  loadgen --collection usage.requestEvents --count 10000
  loadgen --rate 500 --duration 1m --seed 7
  loadgen --trace tests/data/azure-llm-2023/code.csv --organizations 1
  loadgen --brokers 127.0.0.1:9092 --topic request-events --count 100000";

/// Sends request-completed events to a MongoDB collection or a Kafka topic, and prints as JSON what a
/// ledger must make of them.
///
/// The events are those of three services of an AI platform: chat, workflow and openai-compat. Some come
/// late, some come twice, some are invalid, unless --plain is given. The same --seed gives the same
/// requests; --prefix begins their ids: another run into the same place needs another seed or prefix.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, after_help = EXAMPLES)]
struct Arguments {
    /// The MongoDB to write to
    #[arg(
        long,
        env = "USAGE_LEDGER_MONGODB_URI",
        default_value = "mongodb://127.0.0.1:27017"
    )]
    uri: String,
    /// The collection to insert into, as database.collection
    #[arg(long, default_value = "usage.requestEvents")]
    collection: String,
    /// Kafka brokers to send to, instead of MongoDB; needs Java and the jars of deploy/setup.sh kafka
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// The Kafka topic, which must be there
    #[arg(long, default_value = "request-events", requires = "brokers")]
    topic: String,
    /// Events per second [default: as fast as they are taken]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How many events [default: 1000, or as long as --duration, or the whole trace]
    #[arg(long)]
    count: Option<u64>,
    /// For how long, such as 30s or 5m
    #[arg(long, value_parser = feed::duration)]
    duration: Option<Duration>,
    /// Begins every event id
    #[arg(long, default_value = "load")]
    prefix: String,
    #[command(flatten)]
    feed: FeedOptions,
}

/// The most events that are made before they are sent.
const BATCH: u64 = 1_000;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(truth) => {
            println!("{truth}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<String> {
    let mut feed = arguments.feed.open(&arguments.prefix)?;
    let log = tempfile::NamedTempFile::new().map_err(|error| Error::Other(format!("make a log: {error}")))?;
    let mut sink = sink(&arguments, log.path().to_owned()).await?;
    let mut truth = Truth::default();
    tokio::select! {
        sent = send(&arguments, &mut feed, &mut sink, &mut truth) => sent?,
        _ = tokio::signal::ctrl_c() => eprintln!("loadgen: stopped; a batch may be on its way, uncounted"),
    }
    sink.close().await?;
    serde_json::to_string_pretty(&truth).map_err(|error| Error::Other(error.to_string()))
}

async fn sink(arguments: &Arguments, log: PathBuf) -> Result<Sink> {
    if let Some(brokers) = &arguments.brokers {
        return Ok(Sink::Topic(Producer::connect(brokers, &arguments.topic, &log)?));
    }
    let (database, collection) = arguments
        .collection
        .split_once('.')
        .ok_or_else(|| Error::Other("--collection: expected database.collection".to_owned()))?;
    let client = mongodb::Client::with_uri_str(&arguments.uri).await?;
    Ok(Sink::Collection(client.database(database).collection(collection)))
}

async fn send(arguments: &Arguments, feed: &mut Feed, sink: &mut Sink, truth: &mut Truth) -> Result<()> {
    let endless = arguments.duration.is_some() || matches!(feed, Feed::Recorded(_));
    let most = arguments.count.unwrap_or(if endless { u64::MAX } else { 1_000 });
    let start = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while truth.read < most
        && arguments
            .duration
            .is_none_or(|duration| start.elapsed() < duration)
    {
        let due = match arguments.rate {
            None => u64::MAX,
            Some(rate) => {
                ticks.tick().await;
                feed::due(rate, start.elapsed())
            }
        };
        let count = due.min(most).saturating_sub(truth.read).min(BATCH);
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let items = feed.take(wanted, testkit::now());
        sink.send(&items).await?;
        truth.extend(&items);
        if items.len() < wanted {
            break;
        }
    }
    Ok(())
}

//! Only the traffic: sends request-completed events somewhere, and says their right totals.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use testkit::feed::{self, Feed, FeedOptions};
use testkit::sink::{Sink, Target};
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
    #[command(flatten)]
    target: Target,
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
    let mut sink = arguments.target.open(log.path()).await?;
    let mut truth = Truth::default();
    tokio::select! {
        sent = send(&arguments, &mut feed, &mut sink, &mut truth) => sent?,
        _ = tokio::signal::ctrl_c() => eprintln!("loadgen: stopped; a batch may be on its way, uncounted"),
    }
    sink.close().await?;
    serde_json::to_string_pretty(&truth).map_err(|error| Error::Other(error.to_string()))
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

//! What a worker's CPU costs per event, from the poll to the fold, beside a loop that only polls and parses.
//!
//! Both read the same topic of a real broker, with the same settings of the client, one after the other,
//! several times. The CPU is that of the whole process, the client's own threads included. The worker is the
//! real source and the real loop, and commits to the ledger in memory: what MongoDB costs is not in it.

mod bare;
mod run;
mod topic;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use testkit::kafka::{Broker, Options};
use testkit::measure::{Number, Runs};
use testkit::workload::Keys;
use testkit::{Error, Result};

use run::Done;
use topic::Topic;

/// Events in the topic.
const EVENTS: u64 = 500_000;
/// Runs of each.
const RUNS: usize = 5;
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    match compare().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("poll_to_fold: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn compare() -> Result<()> {
    let broker = Broker::start(Options {
        user_brokers: true,
        ..Options::default()
    })
    .await?;
    eprintln!("{}", broker.description());
    let topic = Topic::filled(&broker, Keys::HOT, EVENTS).await?;
    let (mut worker, mut bare) = (Runs::default(), Runs::default());
    for run in 1..=RUNS {
        worker.add(measured(worker::run(&topic, run)).await?);
        bare.add(measured(bare::run(&topic)).await?);
        eprintln!(
            "run {run} of {RUNS}: {} and {} so far",
            worker.show("µs"),
            bare.show("µs")
        );
    }
    topic.delete(&broker).await?;
    println!("| what | usage-ledger | beside it | ratio |\n|---|---|---|---|");
    println!(
        "| worker CPU per event, poll to fold, hot | {} | {}: a loop that only polls and parses | {} × |",
        worker.show("µs"),
        bare.show("µs"),
        Number(worker.median() / bare.median())
    );
    Ok(())
}

/// The CPU per event, in microseconds, that the process needs until this is done.
async fn measured(reading: impl Future<Output = Result<Done>>) -> Result<f64> {
    let done = tokio::time::timeout(PATIENCE, reading)
        .await
        .map_err(|_| Error::Other(format!("a run is not done after {} s", PATIENCE.as_secs())))??;
    let events = u32::try_from(EVENTS).unwrap_or(u32::MAX);
    Ok((done.cpu / events).as_secs_f64() * 1e6)
}

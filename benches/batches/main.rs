//! How fast the ledger is written in transactions of fixed sizes, and in those whose size is learned: `make bench`, on a
//! machine with nothing else to do. The table goes to the standard output. `cargo bench --bench batches -- --load typical`
//! measures one workload.
//!
//! The source, the loop and the ledger are the program's own, in this process: the program itself always learns. Each
//! size gets an empty database and a topic that holds more than it can take in its time. *hot* counts its ids in scope
//! `ledger`: in scope `lane` its batches have a few dozen statements, whatever their limit. What is learned is measured
//! several times between the sizes: each number alone is off by some percent, and the best of many is rather too high.

mod environment;
mod worker;

use std::process::ExitCode;

use testkit::kafka::{self, Broker};
use testkit::measure::Number;
use testkit::mongodb::{self, Mongo};
use testkit::workload::{Keys, Workload};
use testkit::{Error, Result};

use environment::Environment;
use worker::Ran;

/// Statements of a transaction.
const SIZES: [usize; 8] = [250, 500, 1_000, 2_000, 4_000, 8_000, 12_000, 20_000];
/// Sizes that are measured between two runs of what is learned.
const BETWEEN: usize = 3;
const PARTITIONS: u16 = 8;
/// Events that are made before they are sent.
const BATCH: usize = 5_000;
/// What is counted.
struct Load {
    keys: Keys,
    scope: &'static str,
    /// Counted before anything is measured: until then a size is being learned. By events and not by time, since a ledger
    /// gets slower with the rows that it has.
    first: u32,
    /// More than are counted while one size is measured.
    events: u32,
}

const LOADS: [Load; 2] = [
    Load {
        keys: Keys::TYPICAL,
        scope: "lane",
        first: 30_000,
        events: 200_000,
    },
    Load {
        keys: Keys::HOT,
        scope: "ledger",
        first: 500_000,
        events: 1_500_000,
    },
];

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("batches: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let loads = loads(std::env::args().skip(1))?;
    let mongo = Mongo::start(mongodb::Options {
        user_server: true,
        ..mongodb::Options::default()
    })
    .await?;
    let broker = Broker::start(kafka::Options {
        user_brokers: true,
        ..kafka::Options::default()
    })
    .await?;
    eprintln!("{}\n{}", mongo.description(), broker.description());
    let name = format!("usage-ledger-batches-{}", testkit::now().format("%Y%m%d-%H%M%S"));
    let mut environment = Environment {
        mongo,
        broker,
        topic: String::new(),
        scope: "",
        first: 0,
        events: 0,
    };
    println!("| statements of a transaction | events/s | of the best fixed size |\n|---|---|---|");
    for load in loads {
        environment.topic = format!("{name}-{}", load.keys.name);
        (environment.scope, environment.first, environment.events) = (load.scope, load.first, load.events);
        fill(&environment, load).await?;
        sweep(&environment, load).await?;
        environment.broker.delete_topic(&environment.topic).await?;
    }
    Ok(())
}

/// The workloads that are asked for. What cargo itself says to a benchmark is left alone.
fn loads(mut arguments: impl Iterator<Item = String>) -> Result<Vec<&'static Load>> {
    let only = arguments
        .find(|argument| argument == "--load")
        .map(|_| arguments.next());
    let asked = |load: &&Load| {
        only.as_ref()
            .is_none_or(|name| name.as_deref() == Some(load.keys.name))
    };
    let loads: Vec<_> = LOADS.iter().filter(asked).collect();
    if loads.is_empty() {
        return Err(Error::Other("--load is followed by `typical` or `hot`".into()));
    }
    Ok(loads)
}

async fn fill(environment: &Environment, load: &Load) -> Result<()> {
    environment
        .broker
        .create_topic(&environment.topic, PARTITIONS, &[])
        .await?;
    let events = usize::try_from(load.events).unwrap_or(usize::MAX);
    let mut workload = Workload::new(load.keys, testkit::now()).take(events);
    let mut producer = environment.broker.producer(&environment.topic)?;
    loop {
        let batch: Vec<_> = workload.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return producer.close().await;
        }
        producer
            .send(batch.iter().map(|event| (event.key(), event.json())))
            .await?;
    }
}

async fn sweep(environment: &Environment, load: &Load) -> Result<()> {
    let (mut fixed, mut learned) = (Vec::new(), Vec::new());
    for sizes in SIZES.chunks(BETWEEN) {
        let ran = worker::run(environment, None).await?;
        eprintln!(
            "{}, learned: {} events/s, {} at last",
            load.keys.name,
            Number(ran.rate),
            ran.limit
        );
        learned.push(ran);
        for size in sizes {
            let ran = worker::run(environment, Some(*size)).await?;
            eprintln!("{}, {size}: {} events/s", load.keys.name, Number(ran.rate));
            fixed.push((*size, ran.rate));
        }
    }
    print(load, &fixed, &learned)
}

fn print(load: &Load, fixed: &[(usize, f64)], learned: &[Ran]) -> Result<()> {
    let best = fixed.iter().map(|(_, rate)| *rate).reduce(f64::max);
    let best = best.ok_or_else(|| Error::Other("nothing was measured".into()))?;
    let row = |size: String, rate: f64| {
        println!(
            "| {}, scope `{}`: {size} | {} | {} % |",
            load.keys.name,
            load.scope,
            Number(rate),
            Number(rate / best * 100.0)
        );
    };
    for (size, rate) in fixed {
        row(size.to_string(), *rate);
    }
    for ran in learned {
        row(format!("**learned**, {} at last", ran.limit), ran.rate);
    }
    Ok(())
}

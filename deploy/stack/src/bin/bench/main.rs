//! Measures the real program against real servers: events per second into the durable ledger, beside the usual
//! way of counting, and memory. Prints rows of a Markdown table.

mod baseline;
mod environment;
mod lanes;
mod made;
mod memory;
mod program;
mod repair;
mod verify;
mod versions;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use testkit::Result;
use testkit::measure::{Number, Runs};
use testkit::workload::Keys;

use environment::{Environment, Topic};
use program::Ran;
use verify::Case;

/// Measures usage-ledger on this machine, beside the usual way of counting: for each event, one `$inc` upsert per
/// granularity. Both are measured one after the other, several times, and the medians are printed as rows of a
/// Markdown table.
///
/// MongoDB is USAGE_LEDGER_MONGODB_URI if set, else `mongod` (MONGOD, PATH), else SecantusDB as installed by
/// deploy/setup.sh; Kafka is USAGE_LEDGER_KAFKA_BROKERS if set, else one that is started here.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// What is measured
    #[arg(long, value_delimiter = ',', default_value = "memory,speed")]
    what: Vec<What>,
    /// Runs of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Where duplicates are looked for, as USAGE_LEDGER_DEDUPE_SCOPE; the first is compared with the usual way
    #[arg(long, value_delimiter = ',', default_value = "lane,ledger")]
    scopes: Vec<String>,
    /// Events of the hot workload
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    hot: u32,
    /// Events of the typical workload
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    typical: u32,
    /// Event ids in the window whose memory is measured, in millions
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    ids: u32,
    /// Another version of the program, which is measured in turns with this one, in place of the usual way
    #[arg(long)]
    against: Option<PathBuf>,
    /// Events of a topic each of which is a commit of its own; only with `--against`
    #[arg(long, default_value_t = 2_000)]
    single: u32,
    /// Which comparisons are measured by `--what verify`
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "merged,commits,scattered,program"
    )]
    cases: Vec<Case>,
    /// What USAGE_LEDGER_VERIFY_MEMORY is for them, in MiB
    #[arg(long, default_value_t = 512)]
    verify_memory: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The window of ids, and what is resident
    Memory,
    /// Events a second into the ledger, beside the usual way
    Speed,
    /// Rows made again from their entries, beside the events as they are counted
    Repair,
    /// Rows compared with the entries of the journal; needs no Kafka
    Verify,
}

#[tokio::main]
async fn main() -> ExitCode {
    let measured = async {
        let arguments = Arguments::parse();
        if arguments.what.contains(&What::Verify) {
            verify::measure(&arguments.cases, arguments.verify_memory << 20).await?;
        }
        if arguments.what == [What::Verify] {
            return Ok(());
        }
        let environment = Environment::start().await?;
        let measured = measure(&arguments, &environment).await;
        environment.end().await?;
        measured
    };
    tokio::select! {
        measured = measured => match measured {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench: {error}");
                ExitCode::FAILURE
            }
        },
        _ = tokio::signal::ctrl_c() => {
            eprintln!("bench: stopped");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments, environment: &Environment) -> Result<()> {
    let mut memory = None;
    if arguments.what.contains(&What::Memory) {
        memory = Some(memory::measure(environment, arguments.ids).await?);
    }
    if arguments.what.contains(&What::Speed) {
        for (keys, events) in [(Keys::HOT, arguments.hot), (Keys::TYPICAL, arguments.typical)] {
            let topic = environment.fill(keys, events).await?;
            match &arguments.against {
                Some(other) => versions::compare(arguments.runs, environment, &topic, None, other).await?,
                None => compare(arguments, environment, &topic).await?,
            }
        }
        if let Some(other) = &arguments.against {
            let topic = environment.fill(Keys::TYPICAL, arguments.single).await?;
            versions::compare(arguments.runs, environment, &topic, Some(1), other).await?;
        }
    }
    if arguments.what.contains(&What::Repair) {
        repair::measure(environment, arguments.runs, arguments.typical).await?;
    }
    memory.iter().for_each(memory::Memory::print);
    Ok(())
}

/// What the runs of one setting of the program came to.
#[derive(Default)]
struct Measured {
    rate: Runs,
    cpu: Runs,
    peak: Runs,
}

impl Measured {
    fn add(&mut self, ran: &Ran) {
        self.rate.add(ran.events_per_second);
        self.cpu.add(ran.cpu_per_event.as_secs_f64() * 1e6);
        self.peak.add(memory::mebibytes(ran.peak));
    }
}

/// The program in each scope, and the usual way, in turns.
async fn compare(arguments: &Arguments, environment: &Environment, topic: &Topic) -> Result<()> {
    let name = topic.keys.name;
    let mut scopes: Vec<Measured> = arguments.scopes.iter().map(|_| Measured::default()).collect();
    let mut baselines = baseline::WORKERS.map(|_| Runs::default());
    for run in 1..=arguments.runs {
        for (scope, measured) in arguments.scopes.iter().zip(&mut scopes) {
            measured.add(&program::run(environment, topic, scope).await?);
            eprintln!(
                "{name}, scope {scope}, run {run} of {}: {} so far",
                arguments.runs,
                measured.rate.show("events/s")
            );
        }
        for (workers, rates) in baseline::WORKERS.into_iter().zip(&mut baselines) {
            rates.add(baseline::run(environment, topic.keys, workers).await?);
            eprintln!(
                "{name}, the usual way, {workers} at once: {} so far",
                rates.show("events/s")
            );
        }
    }
    print(name, &arguments.scopes, &scopes, &baselines);
    Ok(())
}

/// The first scope beside the usual way, and the others beside the first.
fn print(name: &str, scopes: &[String], measured: &[Measured], baselines: &[Runs]) {
    let first = measured.first().map_or(0.0, |measured| measured.rate.median());
    for (at, (scope, measured)) in scopes.iter().zip(measured).enumerate() {
        let rate = measured.rate.show("events/s");
        let row = format!("| into the durable ledger, {name}, scope `{scope}` | {rate} |");
        if at > 0 {
            let slower = Number(measured.rate.median() / first);
            println!("{row} scope `{}` | {slower} × |", scopes[0]);
            continue;
        }
        for (workers, rates) in baseline::WORKERS.into_iter().zip(baselines) {
            println!(
                "{row} {}: one `$inc` upsert per event and granularity, {workers} at once | {} × |",
                rates.show("events/s"),
                Number(first / rates.median())
            );
        }
    }
    for (scope, measured) in scopes.iter().zip(measured) {
        let (cpu, peak) = (measured.cpu.show("µs"), measured.peak.show("MiB"));
        println!("| CPU per event of the whole program, {name}, scope `{scope}` | {cpu} | | |");
        println!("| resident at most under load, {name}, scope `{scope}` | {peak} | | |");
    }
}

//! The demo: real servers, the real product, traffic whose right totals are known, and both side by side.

mod environment;
mod own;
mod run;
mod screen;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use testkit::feed::{self, FeedOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;

/// Shows usage-ledger at work: starts what it needs on this machine, sends it requests of an AI platform,
/// and compares its totals with the truth, exactly.
///
/// MongoDB is USAGE_LEDGER_MONGODB_URI if set, else `mongod` (MONGOD, PATH), else SecantusDB as installed by
/// deploy/setup.sh. End it with Ctrl-C: it stops sending, waits until the ledger has caught up, compares,
/// and removes everything that it started. The exit code is 0 if all totals are equal.
#[derive(Debug, Parser)]
#[command(name = "demo", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Requests per second [default: 200, or what the server keeps up with: 20 for SecantusDB's build in Python]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// End by itself after this time, such as 30s or 5m [default: run until Ctrl-C or the trace's end]
    #[arg(long, value_parser = feed::duration)]
    duration: Option<Duration>,
    /// The way by which requests reach the ledger
    #[arg(long, value_enum, default_value_t = Source::ChangeStream)]
    source: Source,
    #[command(flatten)]
    feed: FeedOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends one event of your own to where a running demo reads events; the demo prints the line to use
    Send(own::Event),
}

/// How events reach the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// A MongoDB collection, watched by a change stream
    ChangeStream,
    /// A Kafka topic
    Kafka,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Send(event)) = &arguments.command {
        return match event.send().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("demo send: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let (stop, stopped) = channel::channel(false);
    let told = async {
        // The first asks for the comparison, the second for the end.
        for _ in 0..2 {
            asked_to_stop().await;
            stop.send_replace(true);
        }
    };
    tokio::select! {
        result = run::run(&arguments, stopped) => match result {
            Ok(run::End::Equal | run::End::NotStarted) => ExitCode::SUCCESS,
            Ok(run::End::Different) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("\ndemo: {error}");
                ExitCode::FAILURE
            }
        },
        () = told => {
            eprintln!("\ndemo: ended at once, without a comparison");
            ExitCode::FAILURE
        }
    }
}

async fn asked_to_stop() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

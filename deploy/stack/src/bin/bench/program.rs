//! The program at work: a topic that is full already, into a ledger that is empty.

use std::path::Path;
use std::time::{Duration, Instant};

use mongodb::Database;
use testkit::measure::Used;
use testkit::product::Product;
use testkit::{Error, Result};

use crate::environment::{Environment, Topic};

/// How often the program's own count is looked at.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(300);
const DRAIN: Duration = Duration::from_secs(30);

/// What a run came to.
pub(crate) struct Ran {
    /// From the first commit to the last: start-up is not in it.
    pub(crate) events_per_second: f64,
    /// CPU of the program over the same events.
    pub(crate) cpu_per_event: Duration,
    /// The most bytes in memory.
    pub(crate) peak: u64,
}

pub(crate) async fn run(environment: &Environment, topic: &Topic, scope: &str) -> Result<Ran> {
    let database = environment.database();
    let ran = run_into(environment, topic, scope, &database, None, None).await?;
    database.drop().await?;
    Ok(ran)
}

/// The same into this database, with so many events a commit at most, by this version of the program.
pub(crate) async fn run_into(
    environment: &Environment,
    topic: &Topic,
    scope: &str,
    database: &Database,
    most: Option<u32>,
    version: Option<&Path>,
) -> Result<Ran> {
    let mut program = environment.version(&topic.name, database.name(), scope, most, version)?;
    let pid = program.process().pid();
    let (begun, first) = wait(&mut program, 1).await?;
    let before = Used::by(pid)?;
    let (ended, last) = wait(&mut program, topic.events.into()).await?;
    let after = Used::by(pid)?;
    program.stop(DRAIN).await?;
    let events = u32::try_from(last - first).unwrap_or(u32::MAX).max(1);
    Ok(Ran {
        events_per_second: f64::from(events) / (ended - begun).as_secs_f64(),
        cpu_per_event: (after.cpu - before.cpu) / events,
        peak: after.peak,
    })
}

/// Waits until this many events are counted; when that was, and how many they were.
async fn wait(program: &mut Product, events: u64) -> Result<(Instant, u64)> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        program.process().check()?;
        // It may not listen yet.
        if let Ok(metrics) = program.metrics().await {
            let counted = counted(&metrics)?;
            if counted >= events {
                return Ok((Instant::now(), counted));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    let log = program.process().last_lines();
    Err(Error::Other(format!(
        "{events} events are not counted after {PATIENCE:?}:\n{log}"
    )))
}

/// The events that are counted. Anything else has no place here: no event comes twice or is wrong.
fn counted(metrics: &str) -> Result<u64> {
    let mut counted = 0;
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("usage_ledger_events_total{"))
    {
        let value: u64 = line
            .rsplit_once(' ')
            .and_then(|(_, value)| value.parse().ok())
            .ok_or_else(|| Error::Other(format!("no number in `{line}`")))?;
        if line.contains("result=\"counted\"") {
            counted += value;
        } else if value > 0 {
            return Err(Error::Other(format!("an event was not counted: {line}")));
        }
    }
    Ok(counted)
}

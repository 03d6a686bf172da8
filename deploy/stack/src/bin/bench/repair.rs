//! How fast rows come back from their entries, beside how fast the same events were counted.

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use testkit::measure::{Number, Runs};
use testkit::workload::Keys;
use testkit::{Error, Result};

use crate::environment::Environment;
use crate::program;

/// How long `rebuild` may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Counts events of the typical workload, takes all rows away, and has them made again.
pub(crate) async fn measure(environment: &Environment, runs: u32, events: u32) -> Result<()> {
    let topic = environment.fill(Keys::TYPICAL, events).await?;
    let (mut counted, mut repaired) = (Runs::default(), Runs::default());
    for run in 1..=runs {
        let database = environment.database();
        let ran = program::run_into(environment, &topic, "lane", &database, None, None).await?;
        counted.add(ran.events_per_second);
        for rows in ["usageLedger", "usageRollups"] {
            database.collection::<Document>(rows).delete_many(doc! {}).await?;
        }
        let began = Instant::now();
        let mut rebuild = environment.command("rebuild", database.name())?;
        let ended = rebuild.process().wait_ended(PATIENCE).await?;
        if !ended.success() {
            let log = rebuild.process().last_lines();
            return Err(Error::Other(format!("`rebuild` ended with {ended}:\n{log}")));
        }
        repaired.add(f64::from(events) / began.elapsed().as_secs_f64());
        database.drop().await?;
        eprintln!(
            "repair, run {run} of {runs}: {} counted, {} repaired so far",
            counted.show("events/s"),
            repaired.show("events/s")
        );
    }
    println!(
        "| rows made again by `rebuild`, typical | {} | {}: the same events as they are counted | {} × |",
        repaired.show("events/s"),
        counted.show("events/s"),
        Number(repaired.median() / counted.median())
    );
    Ok(())
}

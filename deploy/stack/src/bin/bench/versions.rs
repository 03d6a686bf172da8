//! This version of the program and another one, in turns.

use std::path::Path;

use mongodb::Database;
use mongodb::bson::{RawDocumentBuf, doc};
use testkit::Result;
use testkit::measure::{Number, Runs};

use crate::environment::{Environment, Topic};
use crate::program::{self, Ran};

/// What one version came to.
#[derive(Default)]
struct Measured {
    rate: Runs,
    cpu: Runs,
    /// Bytes of what is kept of each event: the journal, or ids alone.
    kept: Runs,
}

impl Measured {
    fn add(&mut self, topic: &Topic, ran: &Ran, kept: u64) {
        self.rate.add(ran.events_per_second);
        self.cpu.add(ran.cpu_per_event.as_secs_f64() * 1e6);
        self.kept.add(number(kept) / f64::from(topic.events));
    }
}

#[allow(clippy::cast_precision_loss, reason = "shown to people")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}

/// Both on the same topic. `most` is how many events a commit has at most.
pub(crate) async fn compare(
    runs: u32,
    environment: &Environment,
    topic: &Topic,
    most: Option<u32>,
    other: &Path,
) -> Result<()> {
    let [mut own, mut others] = <[Measured; 2]>::default();
    let how = most.map_or_else(
        || topic.keys.name.to_owned(),
        |most| format!("{}, {most} a commit", topic.keys.name),
    );
    for run in 1..=runs {
        for (program, measured) in [(None, &mut own), (Some(other), &mut others)] {
            let database = environment.database();
            let ran = program::run_into(environment, topic, "lane", &database, most, program).await?;
            measured.add(topic, &ran, kept(&database).await?);
            database.drop().await?;
        }
        eprintln!(
            "{how}, run {run} of {runs}: {} beside {}",
            own.rate.show("events/s"),
            others.rate.show("events/s")
        );
    }
    for (what, unit, own, other) in [
        ("into the durable ledger", "events/s", &own.rate, &others.rate),
        ("CPU per event", "µs", &own.cpu, &others.cpu),
        ("kept of each event", "bytes", &own.kept, &others.kept),
    ] {
        let ratio = Number(own.median() / other.median());
        println!(
            "| {what}, {how} | {} | {} | {ratio} × |",
            own.show(unit),
            other.show(unit)
        );
    }
    Ok(())
}

/// Bytes of the documents that say what was counted, whichever version wrote them.
async fn kept(database: &Database) -> Result<u64> {
    let mut bytes = 0;
    for name in ["usageJournal", "usageDedupe"] {
        let mut found = database.collection::<RawDocumentBuf>(name).find(doc! {}).await?;
        while found.advance().await? {
            bytes += found.current().as_bytes().len() as u64;
        }
    }
    Ok(bytes)
}

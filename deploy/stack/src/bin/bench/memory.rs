//! Resident memory of the program: idle, with a window of event ids, and under back-pressure.

use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc};
use testkit::kafka::records::Sender;
use testkit::measure::{Number, Used};
use testkit::mongodb::{self as server, Mongo};
use testkit::product::Product;
use testkit::{Error, Result};

use crate::environment::{Environment, PARTITIONS};

const READY: Duration = Duration::from_secs(90);
const DRAIN: Duration = Duration::from_secs(30);
/// Until an idle program has settled.
const SETTLES: Duration = Duration::from_secs(3);
/// Ids in one stored commit: as many as a full batch has.
const COMMIT: u32 = 10_000;
const ID_BYTES: usize = 16;
/// What waits under back-pressure: half a gigabyte, in records of this many bytes.
const RECORDS: u16 = 4_096;
const RECORD: usize = 128 * 1024;
/// How often a program under pressure is looked at. One that is no larger than at the last look takes no more.
const LOOK: Duration = Duration::from_secs(2);
/// What a settled program may still grow by from one look to the next, in bytes.
const SETTLED: u64 = 1024 * 1024;

/// In MiB.
pub(crate) struct Memory {
    idle: f64,
    per_million: f64,
    millions: u32,
    /// `None` where the server is the user's own, which is not stopped.
    pressed: Option<f64>,
}

#[allow(clippy::cast_precision_loss, reason = "shown to people")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

impl Memory {
    pub(crate) fn print(&self) {
        println!("| resident idle | {} MiB | | |", Number(self.idle));
        println!(
            "| resident per million ids of the window, with {} million | {} MiB | | |",
            self.millions,
            Number(self.per_million)
        );
        if let Some(pressed) = self.pressed {
            println!(
                "| resident at most under back-pressure, half a GB waiting | {} MiB | | |",
                Number(pressed)
            );
        }
    }
}

/// The same program on the same idle topic, without a window and with one.
pub(crate) async fn measure(environment: &Environment, millions: u32) -> Result<Memory> {
    let (topic, database) = (environment.empty_topic().await?, environment.database());
    let idle = resident(environment, &topic, &database, 0).await?;
    let ids = millions * 1_000_000;
    remember(&database, ids).await?;
    let full = resident(environment, &topic, &database, ids).await?;
    database.drop().await?;
    let pressed = if environment.is_users() {
        eprintln!(
            "not measured: memory under back-pressure, for which a server is frozen; this one is yours"
        );
        None
    } else {
        Some(under_pressure(environment).await?)
    };
    Ok(Memory {
        pressed,
        idle,
        per_million: (full - idle) / f64::from(millions),
        millions,
    })
}

async fn resident(environment: &Environment, topic: &str, database: &Database, ids: u32) -> Result<f64> {
    let mut program = environment.program(topic, database.name(), "")?;
    program.wait_ready(READY).await?;
    // Ready is also who has no partitions yet.
    wait_for(&mut program, format!("usage_ledger_lanes {PARTITIONS}")).await?;
    wait_for(&mut program, format!("usage_ledger_dedupe_ids {ids}")).await?;
    tokio::time::sleep(SETTLES).await;
    let resident = mebibytes(Used::by(program.process().pid())?.resident);
    program.stop(DRAIN).await?;
    eprintln!("resident with {ids} ids: {} MiB", Number(resident));
    Ok(resident)
}

/// The most that was resident while the database stood still, and half a gigabyte waited in the topic.
async fn under_pressure(environment: &Environment) -> Result<f64> {
    let mut mongo = Mongo::start(server::Options::default()).await?;
    let topic = environment.empty_topic().await?;
    let mut program = environment.program_on(mongo.uri(), &topic, &environment.fresh(), "")?;
    program.wait_ready(READY).await?;
    wait_for(&mut program, format!("usage_ledger_lanes {PARTITIONS}")).await?;
    mongo.pause()?;
    let brokers = environment.brokers().to_owned();
    tokio::task::spawn_blocking(move || send_large(&brokers, &topic))
        .await
        .map_err(|error| Error::Other(error.to_string()))??;
    let pid = program.process().pid();
    let mut before = 0;
    loop {
        let used = Used::by(pid)?;
        if used.resident.abs_diff(before) < SETTLED {
            eprintln!(
                "resident at most under back-pressure: {} MiB",
                Number(mebibytes(used.peak))
            );
            // Dropping it kills it: it could not drain.
            return Ok(mebibytes(used.peak));
        }
        before = used.resident;
        tokio::time::sleep(LOOK).await;
    }
}

fn send_large(brokers: &str, topic: &str) -> Result<()> {
    let sender = Sender::new(brokers, topic, &[])?;
    let padding = "x".repeat(RECORD);
    for number in 0..RECORDS {
        let event = format!(
            r#"{{"x":"{padding}","eventId":"large-{number}","completedAt":1767607200000,"source":"chat","organizationId":"acme"}}"#
        );
        sender.send(i32::from(number % PARTITIONS), "acme", Some(event.as_bytes()))?;
    }
    sender.flush()
}

/// Waits until the program's metrics have this line.
async fn wait_for(program: &mut Product, line: String) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < READY {
        if program.metrics().await?.lines().any(|found| found == line) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = program.process().last_lines();
    Err(Error::Other(format!("never: `{line}`\n{log}")))
}

/// Stores a window, as commits would have, spread over the lanes.
async fn remember(database: &Database, ids: u32) -> Result<()> {
    let fences = database.collection::<Document>("usageFences");
    let lanes = fences.distinct("_id", doc! {}).await?;
    let now = DateTime::from_chrono(testkit::now());
    let commits = (0..ids / COMMIT).zip(lanes.iter().filter_map(|lane| lane.as_str()).cycle());
    let stored: Vec<Document> = commits
        .map(|(commit, lane)| {
            let bytes: Vec<u8> = (0..COMMIT)
                .flat_map(|_| rand::random::<[u8; ID_BYTES]>())
                .collect();
            let ids = Binary {
                subtype: BinarySubtype::Generic,
                bytes,
            };
            doc! {
                "_id": format!("{lane}/events/{commit}"), "lane": lane, "window": "events",
                "seq": i64::from(commit), "newest": now, "ids": ids,
            }
        })
        .collect();
    for some in stored.chunks(20) {
        database
            .collection::<Document>("usageDedupe")
            .insert_many(some)
            .await?;
    }
    Ok(())
}

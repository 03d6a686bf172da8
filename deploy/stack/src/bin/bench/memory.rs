//! Resident memory of the program: idle, and with a window of event ids.

use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc};
use testkit::measure::{Number, Used};
use testkit::product::Product;
use testkit::{Error, Result};

use crate::stand::{PARTITIONS, Stand};

const READY: Duration = Duration::from_secs(90);
const DRAIN: Duration = Duration::from_secs(30);
/// Until an idle program has settled.
const SETTLES: Duration = Duration::from_secs(3);
/// Ids in one stored commit: as many as a full batch has.
const COMMIT: u32 = 10_000;
const ID_BYTES: usize = 16;

/// In MiB.
pub(crate) struct Memory {
    idle: f64,
    per_million: f64,
    millions: u32,
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
    }
}

/// The same program on the same idle topic, without a window and with one.
pub(crate) async fn measure(stand: &Stand, millions: u32) -> Result<Memory> {
    let (topic, database) = (stand.empty_topic().await?, stand.database());
    let idle = resident(stand, &topic, &database, 0).await?;
    let ids = millions * 1_000_000;
    remember(&database, ids).await?;
    let full = resident(stand, &topic, &database, ids).await?;
    database.drop().await?;
    Ok(Memory {
        idle,
        per_million: (full - idle) / f64::from(millions),
        millions,
    })
}

async fn resident(stand: &Stand, topic: &str, database: &Database, ids: u32) -> Result<f64> {
    let mut program = stand.program(topic, database.name(), "")?;
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

//! Resident memory of the program: idle, with a window of event ids, and under back-pressure.

use std::time::{Duration, Instant};

use ingest::identity::{CountedId, IdentityHash, Quantities};
use ingest::lane::LaneId;
use mongodb::Database;
use rollup::event::Kind;
use testkit::kafka::records::Sender;
use testkit::measure::{Number, Used};
use testkit::mongodb::{self as server, Mongo};
use testkit::product::Product;
use testkit::{Error, Result};

use crate::environment::{Environment, PARTITIONS};
use crate::lanes::Lanes;
use crate::made::{Made, Size};

/// Tens of millions of ids take their time.
const READY: Duration = Duration::from_secs(600);
const DRAIN: Duration = Duration::from_secs(30);
/// Until an idle program has settled.
const SETTLES: Duration = Duration::from_secs(3);
/// Ids in one document of the journal: about a megabyte with their entries, as in a merged one.
const DOCUMENT: u32 = 20_000;
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
    full: f64,
    /// The most while the window was loaded.
    peak: f64,
    /// From the start until every id was known.
    ready: Duration,
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
        let millions = self.millions;
        println!(
            "| resident per million ids of the window, with {millions} million | {} MiB | | |",
            Number((self.full - self.idle) / f64::from(millions))
        );
        println!(
            "| resident with {millions} million ids, and at most while they are loaded | {} MiB, {} MiB | | |",
            Number(self.full),
            Number(self.peak)
        );
        println!(
            "| from the start until {millions} million ids are known | {} s | | |",
            Number(self.ready.as_secs_f64())
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
    let (idle, ..) = resident(environment, &topic, &database, 0).await?;
    let ids = millions * 1_000_000;
    remember(environment, &topic, &database, ids).await?;
    let (full, peak, ready) = resident(environment, &topic, &database, ids).await?;
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
        full,
        peak,
        ready,
        millions,
    })
}

/// Resident memory with this many ids, the most until then, and how long it took to know them.
async fn resident(
    environment: &Environment,
    topic: &str,
    database: &Database,
    ids: u32,
) -> Result<(f64, f64, Duration)> {
    let started = Instant::now();
    let mut program = environment.program(topic, database.name(), "")?;
    program.wait_ready(READY).await?;
    // Ready is also who has no partitions yet.
    wait_for(&mut program, format!("usage_ledger_lanes {PARTITIONS}")).await?;
    wait_for(&mut program, format!("usage_ledger_dedupe_ids {ids}")).await?;
    let ready = started.elapsed();
    tokio::time::sleep(SETTLES).await;
    let used = Used::by(program.process().pid())?;
    program.stop(DRAIN).await?;
    let (resident, peak) = (mebibytes(used.resident), mebibytes(used.peak));
    eprintln!(
        "resident with {ids} ids: {} MiB, at most {} MiB, known after {ready:.1?} and {:.1?} of CPU",
        Number(resident),
        Number(peak),
        used.cpu
    );
    Ok((resident, peak, ready))
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

/// Has the lanes count so many events, in documents as they are after merging.
async fn remember(environment: &Environment, topic: &str, database: &Database, ids: u32) -> Result<()> {
    let names = (0..PARTITIONS).map(|partition| LaneId::kafka(topic, partition.into()));
    let mut lanes = Lanes::acquire(environment.uri(), database.name(), names.collect()).await?;
    let mut made = Made::new(Size {
        organizations: PARTITIONS,
        users: 1_000,
        days: 1,
        in_order: true,
        entries: ids.into(),
    });
    for document in 0..ids / DOCUMENT {
        let lane = document % u32::from(PARTITIONS);
        let (entries, counters) = made.document(lane, DOCUMENT);
        let ids = counters.iter().map(|counters| CountedId {
            id: random_id(),
            quantities: Quantities::of(Kind::Llm, counters),
        });
        let ids = ids.collect();
        let lane = usize::try_from(lane).unwrap_or_default();
        lanes.commit(lane, entries, ids).await?;
    }
    lanes.release().await
}

fn random_id() -> IdentityHash {
    let bytes: [u8; IdentityHash::BYTES] = rand::random();
    IdentityHash::from_bytes(&bytes).expect("as many bytes as it has")
}

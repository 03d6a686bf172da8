//! The program, on a server that holds rows and journal.

use std::time::{Duration, Instant};

use ingest::identity::{CountedId, IdentityHash, Quantities};
use ingest::lane::LaneId;
use mongodb::Database;
use mongodb::bson::{Bson, DateTime, Document, doc};
use rollup::audit::key::{RowKey, Table};
use rollup::counters::Counter;
use rollup::event::Kind;
use rollup::fold::RowDelta;
use rollup::period::Calendar;
use testkit::measure::Used;
use testkit::mongodb::{self as server, Mongo};
use testkit::process::{Spec, log_after};
use testkit::scratch::Scratch;
use testkit::{Error, Result, product};

use super::{Compared, Rate};
use crate::lanes::{self, Lanes};
use crate::made::{LANES, Made, Size};

/// Rows that are written at once.
const ROWS: usize = 10_000;
/// How often the program is looked at.
const LOOK: Duration = Duration::from_millis(20);
const NAME: &str = "usage_ledger_bench";

pub(super) async fn compare(size: Size, of_document: u32, memory: usize) -> Result<Compared> {
    let mongo = Mongo::start(server::Options {
        // Nobody reads it.
        oplog_entries: 10_000,
        ..server::Options::default()
    })
    .await?;
    eprintln!("{}", mongo.description());
    let database = mongo.client().await?.database(NAME);
    let mut made = Made::new(size);
    let started = Instant::now();
    lanes::prepare(mongo.uri(), NAME).await?;
    write_journal(&mut made, of_document, mongo.uri()).await?;
    eprintln!("the journal is written after {:.1?}", started.elapsed());
    let rows = write_rows(&made, &database).await?;
    eprintln!("{rows} rows are written after {:.1?}", started.elapsed());
    verify(mongo.uri(), memory, size, rows).await
}

async fn write_journal(made: &mut Made, of_document: u32, uri: &str) -> Result<()> {
    let names = (0..LANES).map(|lane| LaneId::kafka("made", lane.into()));
    let mut lanes = Lanes::acquire(uri, NAME, names.collect()).await?;
    let mut lane = 0;
    while !made.is_done() {
        let (entries, counters) = made.document(lane, of_document);
        let ids = counters.iter().map(|counters| CountedId {
            id: IdentityHash::from_bytes(&rand::random::<[u8; IdentityHash::BYTES]>())
                .expect("as many bytes as it has"),
            quantities: Quantities::of(Kind::Llm, counters),
        });
        lanes.commit(lane as usize, entries, ids.collect()).await?;
        lane = (lane + 1) % u32::from(LANES);
    }
    lanes.release().await
}

/// How many there are.
async fn write_rows(made: &Made, database: &Database) -> Result<u64> {
    let mut count = 0;
    let mut pending: [Vec<Document>; 2] = Default::default();
    for organization in made.organizations() {
        for (key, booked) in made.rows(organization)? {
            pending[usize::from(key.table == Table::Rollups)].push(document(&key, &booked)?);
            count += 1;
        }
        for (name, rows) in ["usageLedger", "usageRollups"].into_iter().zip(&mut pending) {
            for rows in rows.chunks(ROWS) {
                database.collection::<Document>(name).insert_many(rows).await?;
            }
            rows.clear();
        }
    }
    Ok(count)
}

/// A row as it is stored.
fn document(key: &RowKey, booked: &RowDelta) -> Result<Document> {
    let failed = |what: String| Error::Other(what);
    let row = key
        .row()
        .ok_or_else(|| failed(format!("no row is `{}`", key.id)))?;
    let counters = booked.sums.narrow().map_err(|error| failed(error.to_string()))?;
    let start = DateTime::from_chrono(Calendar::UTC.start_of(row.period()));
    let mut document = doc! {"_id": &*key.id, "periodStart": start, "schemaVersion": 1, "updatedAt": start};
    document.extend(
        row.fields()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Bson::from(value))),
    );
    document.extend(Counter::ALL.map(|counter| (counter.name().to_owned(), Bson::Int64(counters[counter]))));
    if key.table == Table::Ledger {
        document.extend(doc! {
            "firstEventAt": DateTime::from_millis(booked.first_event_ms),
            "lastEventAt": DateTime::from_millis(booked.last_event_ms),
        });
    }
    Ok(document)
}

/// Runs the program, and reads how far it is from what it says every few seconds.
async fn verify(uri: &str, memory: usize, size: Size, rows: u64) -> Result<Compared> {
    let folder = Scratch::new("verify")?;
    let settings = [
        ("MONGODB_URI", uri.to_owned()),
        ("MONGODB_DATABASE", NAME.to_owned()),
        ("VERIFY_MEMORY", memory.to_string()),
    ];
    let mut spec = Spec::new("usage-ledger", product::program()?, folder.path().join("log"))
        .arg("verify")
        .forget_env("USAGE_LEDGER_");
    for (name, value) in settings {
        spec = spec.env(format!("USAGE_LEDGER_{name}"), value);
    }
    let (started, mut process) = (Instant::now(), spec.spawn()?);
    let mut used = Used::by(process.pid())?;
    let mut told: Vec<(Duration, Duration, (u64, u64))> = Vec::new();
    let status = loop {
        if let Some(status) = process.ended()? {
            break status;
        }
        // It may be ending.
        used = Used::by(process.pid()).unwrap_or(used);
        let said = log_after(process.log(), 0);
        if let Some(now) = said.lines().filter_map(progress).next_back()
            && told.last().is_none_or(|(.., last)| *last != now)
        {
            told.push((started.elapsed(), used.cpu, now));
        }
        tokio::time::sleep(LOOK).await;
    };
    if !status.success() {
        return Err(Error::Other(format!("{status}:\n{}", process.last_lines())));
    }
    eprintln!("{}", process.last_lines());
    let took = started.elapsed();
    let before = told.iter().rev().find(|(.., (_, rows))| *rows == 0);
    let first = told.iter().find(|(.., (_, rows))| *rows > 0);
    let (&(summing, cpu, (summed, _)), &(at, _, (_, compared))) = before.zip(first).ok_or_else(|| {
        Error::Other(format!(
            "it took {took:.1?}: too little to see how far it was in between"
        ))
    })?;
    // What was not told of yet at that line took as long.
    let entries_cpu = cpu.mul_f64(Rate::of(size.entries, summing).0 / Rate::of(summed, summing).0);
    Ok(Compared {
        entries: size.entries,
        rows,
        took,
        summed: Rate::of(summed, summing),
        compared: Rate::of(rows - compared, took - at),
        cpu: [entries_cpu, used.cpu.saturating_sub(entries_cpu)],
        peak: used.peak,
    })
}

/// The entries and rows of a line such as `7 of about 9 entries summed, 0 of about 9 rows compared`.
fn progress(line: &str) -> Option<(u64, u64)> {
    let mut numbers = line.split_ascii_whitespace().filter_map(|word| word.parse().ok());
    let (entries, _, rows) = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some((entries, rows))
}

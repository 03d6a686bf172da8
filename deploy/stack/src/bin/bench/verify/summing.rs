//! In this process: documents from a file, rows as they are asked for.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read as _, Seek as _, Write as _};
use std::time::{Duration, Instant};

use rollup::audit::compare::{self, StoredRow, Times};
use rollup::audit::key::{Row, RowKey};
use rollup::audit::sums::{Files, RowSums};
use rollup::fold::{Grouping, RowDelta};
use testkit::measure::Used;
use testkit::{Error, Result};
use usage_ledger::verify::entries::Summing;
use usage_ledger::verify::scope::Scope;

use super::{Compared, Rate};
use crate::made::{LANES, Made, Size};

/// Rows that are compared at once: as many as a page has at most.
const PAGE: usize = 50_000;

struct Unnamed;

impl Files for Unnamed {
    type File = File;

    fn file(&mut self) -> std::io::Result<File> {
        tempfile::tempfile()
    }
}

pub(super) fn compare(size: Size, of_document: u32, memory: usize) -> Result<Compared> {
    let mut made = Made::new(size);
    let mut documents = write(&mut made, of_document)?;
    let sums = RowSums::new(memory, Unnamed);
    let mut summing = Summing::new(Scope::default(), Grouping::default(), sums);
    // What was the most until now is of no interest.
    fs::write("/proc/self/clear_refs", "5").map_err(failed)?;
    let (started, before) = (Instant::now(), Used::by(std::process::id())?);
    while let Some(packed) = read(&mut documents)? {
        summing.add(&packed, 0).map_err(failed)?.map_err(failed)?;
    }
    summing.sums().map_err(failed)?;
    let summed = started.elapsed();
    let after = Used::by(std::process::id())?;
    let (rows, compared, cpu) = compare_rows(&made, &mut summing)?;
    Ok(Compared {
        entries: summing.entries(),
        rows,
        took: summed + compared,
        summed: Rate::of(size.entries, summed),
        compared: Rate::of(rows, compared),
        cpu: [after.cpu - before.cpu, cpu],
        peak: Used::by(std::process::id())?.peak,
    })
}

fn write(made: &mut Made, of_document: u32) -> Result<BufReader<File>> {
    let started = Instant::now();
    let mut file = BufWriter::new(tempfile::tempfile().map_err(failed)?);
    let mut lanes = (0..u32::from(LANES)).cycle();
    let (mut bytes, mut documents) = (0, 0_u64);
    while !made.is_done() {
        let (packed, _) = made.document(lanes.next().unwrap_or_default(), of_document);
        let length = u32::try_from(packed.bytes.len()).map_err(failed)?;
        file.write_all(&length.to_le_bytes()).map_err(failed)?;
        file.write_all(&packed.bytes).map_err(failed)?;
        bytes += packed.bytes.len();
        documents += 1;
    }
    let mut file = file.into_inner().map_err(failed)?;
    file.rewind().map_err(failed)?;
    eprintln!(
        "{documents} documents of {bytes} bytes are made after {:.1?}",
        started.elapsed()
    );
    Ok(BufReader::new(file))
}

fn read(documents: &mut BufReader<File>) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match documents.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(failed)?,
    }
    let mut packed = vec![0; usize::try_from(u32::from_le_bytes(length)).map_err(failed)?];
    documents.read_exact(&mut packed).map_err(failed)?;
    Ok(Some(packed))
}

/// How many rows were compared, in what time and CPU time: making them is not in it.
fn compare_rows(made: &Made, summing: &mut Summing<Unnamed>) -> Result<(u64, Duration, Duration)> {
    let (mut compared, mut took, mut cpu) = (0, Duration::ZERO, Duration::ZERO);
    let mut page = |rows: Vec<StoredRow>, is_last: bool| -> Result<()> {
        let up_to = rows.last().filter(|_| !is_last).map(|row| row.key.clone());
        let (started, before) = (Instant::now(), Used::by(std::process::id())?);
        let mut difference = None;
        let sums = summing.sums().map_err(failed)?;
        compared += compare::page(rows, up_to.as_ref(), sums, |found, _| {
            difference = Some(found);
            Ok(())
        })
        .map_err(failed)?;
        took += started.elapsed();
        cpu += Used::by(std::process::id())?.cpu - before.cpu;
        match difference {
            Some(found) => Err(Error::Other(format!("no row may differ: {found:?}"))),
            None => Ok(()),
        }
    };
    let mut rows = Vec::new();
    for organization in made.organizations() {
        for (key, booked) in made.rows(organization)? {
            rows.push(stored(key, &booked)?);
            if rows.len() == PAGE {
                page(std::mem::take(&mut rows), false)?;
            }
        }
    }
    page(rows, true)?;
    Ok((compared, took, cpu))
}

fn stored(key: RowKey, booked: &RowDelta) -> Result<StoredRow> {
    let counters = booked.sums.narrow().map_err(failed)?;
    let fields = key.row().as_ref().map(Row::fields).unwrap_or_default();
    let text = |name: &str| {
        let field = fields.iter().find(|(other, _)| *other == name);
        field.map(|(_, value)| value.as_str())
    };
    Ok(StoredRow::read(key, counters, Vec::new(), Times::default(), text))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Other(error.to_string())
}

//! How fast rows are compared with their entries, and in how much memory.
//!
//! Nothing is ingested: rows and journal are made as they would have come out. *In this process* there is no server:
//! documents come from a file, rows as they are asked for, and only summing and comparing are timed. *The program* is
//! `usage-ledger verify` on a server that holds them.

mod ledger;
mod summing;

use std::time::Duration;

use clap::ValueEnum;
use testkit::Result;
use testkit::measure::Number;

use crate::made::Size;
use crate::memory::mebibytes;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// In this process: 10 million entries of 100,000 daily rows, in documents as merged ones are
    Merged,
    /// The same in documents as commits leave them
    Commits,
    /// The same, where each document has entries of every day
    Scattered,
    /// In this process: 100 million entries, and 10 million rows and rollups, which are more than memory holds
    Spilled,
    /// The program on a server: 20 million entries, and more than 100,000 rows and rollups
    Program,
    /// The same: 100 million entries, and 10 million rows and rollups
    Large,
}

/// Entries in a document, as after merging: about a megabyte with their ids.
const MERGED: u32 = 20_000;
/// Entries in a document, as a commit of the usual size leaves it.
const COMMIT: u32 = 1_000;

impl Case {
    fn size(self) -> Size {
        let (entries, users, days) = match self {
            Case::Merged | Case::Commits | Case::Scattered => (10_000_000, 52, 30),
            Case::Program => (20_000_000, 16, 30),
            Case::Spilled | Case::Large => (100_000_000, 2_080, 30),
        };
        Size {
            organizations: 64,
            users,
            days,
            in_order: self != Case::Scattered,
            entries,
        }
    }

    /// Entries of a document.
    const fn document(self) -> u32 {
        match self {
            Case::Commits => COMMIT,
            _ => MERGED,
        }
    }
}

/// What comparing came to.
pub(crate) struct Compared {
    entries: u64,
    rows: u64,
    took: Duration,
    /// Entries and rows a second.
    summed: Rate,
    compared: Rate,
    /// CPU time until the entries were summed, and after that.
    cpu: [Duration; 2],
    /// The most bytes in memory.
    peak: u64,
}

/// So many a second.
pub(crate) struct Rate(f64);

impl Rate {
    #[allow(clippy::cast_precision_loss, reason = "shown to people")]
    fn of(count: u64, took: Duration) -> Self {
        Self(count as f64 / took.as_secs_f64())
    }
}

/// Measures these, one after the other.
pub(crate) async fn measure(cases: &[Case], memory: usize) -> Result<()> {
    println!(
        "| case | entries | rows and rollups | entries/s summed | rows/s compared | took | CPU for each million entries, rows | resident at most |\n|---|---|---|---|---|---|---|---|"
    );
    for case in cases {
        let compared = match case {
            Case::Program | Case::Large => ledger::compare(case.size(), case.document(), memory).await?,
            _ => summing::compare(case.size(), case.document(), memory)?,
        };
        print(*case, &compared);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "shown to people")]
fn print(case: Case, compared: &Compared) {
    let name = case.to_possible_value();
    let per_million = |cpu: Duration, count: u64| Number(cpu.as_secs_f64() * 1e6 / count as f64);
    println!(
        "| {} | {} | {} | {} | {} | {} s | {} s, {} s | {} MiB |",
        name.as_ref().map_or("", |name| name.get_name()),
        Number(compared.entries as f64),
        Number(compared.rows as f64),
        Number(compared.summed.0),
        Number(compared.compared.0),
        Number(compared.took.as_secs_f64()),
        per_million(compared.cpu[0], compared.entries),
        per_million(compared.cpu[1], compared.rows),
        Number(mebibytes(compared.peak)),
    );
}

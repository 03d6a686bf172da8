//! Tables as CSV has them: a line of column names, and lines of texts.

mod cell;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use rollup::counters::Counter;

pub(crate) use self::cell::text_cell;
use crate::problem::Problem;
use crate::reader::Key;
use crate::totals::{Figure, Money, Totals, shown_name};

/// A line of a table.
pub(crate) type Line = Vec<String>;

/// A table of texts, line by line.
pub(crate) struct CsvTable {
    pub(crate) columns: Vec<&'static str>,
    pub(crate) lines: BoxStream<'static, Result<Line, Problem>>,
}

impl CsvTable {
    /// A table that is in memory already.
    pub(crate) fn of(
        columns: Vec<&'static str>,
        lines: impl IntoIterator<Item = Line, IntoIter: Send + 'static>,
    ) -> Self {
        let lines = stream::iter(lines.into_iter().map(Ok)).boxed();
        Self { columns, lines }
    }

    /// A table that is still being read.
    pub(crate) fn read(
        columns: Vec<&'static str>,
        lines: impl Stream<Item = Result<Line, Problem>> + Send + 'static,
    ) -> Self {
        let lines = lines.boxed();
        Self { columns, lines }
    }
}

/// The parts of a group's key as cells.
pub(crate) fn key_cells(key: &Key) -> impl Iterator<Item = String> {
    key.iter().map(|part| text_cell(part))
}

/// The columns of [`totals_cells`].
pub(crate) fn totals_columns() -> impl Iterator<Item = &'static str> {
    Counter::ALL.into_iter().map(shown_name).chain(["currency"])
}

/// The counters of a line of a table. A cost that nobody knows is an empty cell.
pub(crate) fn totals_cells(totals: &Totals) -> impl Iterator<Item = String> {
    let counters = Counter::ALL.map(|counter| match totals.figure(counter) {
        Figure::Money(money) => cost_cell(money),
        Figure::Count(count) => count.to_string(),
    });
    counters
        .into_iter()
        .chain([totals.currency().as_str().to_owned()])
}

/// Money as a cell, without its currency.
pub(crate) fn cost_cell(cost: Option<Money>) -> String {
    cost.map(|cost| cost.amount().to_string()).unwrap_or_default()
}

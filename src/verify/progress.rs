//! How far it is, told now and then where it takes long.

use std::time::Duration;

use tokio::time::Instant;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub struct Progress {
    tell: Box<dyn FnMut(&str) + Send + Sync>,
    began: Instant,
    told: Instant,
    entries: u64,
    rows: u64,
    all_entries: u64,
    all_rows: u64,
}

impl Progress {
    /// Begins now.
    pub fn new(tell: impl FnMut(&str) + Send + Sync + 'static) -> Self {
        Self {
            tell: Box::new(tell),
            began: Instant::now(),
            told: Instant::now(),
            entries: 0,
            rows: 0,
            all_entries: 0,
            all_rows: 0,
        }
    }

    /// There are about so many.
    pub(super) const fn expect(&mut self, entries: u64, rows: u64) {
        (self.all_entries, self.all_rows) = (entries, rows);
    }

    /// So many entries were summed, in all.
    pub(super) fn summed(&mut self, entries: u64) {
        self.entries = entries;
        self.told();
    }

    /// So many rows more were compared.
    pub(super) fn compared(&mut self, rows: u64) {
        self.rows += rows;
        self.told();
    }

    fn told(&mut self) {
        if self.told.elapsed() < EVERY {
            return;
        }
        self.told = Instant::now();
        let line = line(
            (self.entries, self.all_entries),
            (self.rows, self.all_rows),
            self.began.elapsed(),
        );
        (self.tell)(&line);
    }
}

/// An entry and a row take about as long.
fn line(entries: (u64, u64), rows: (u64, u64), took: Duration) -> String {
    let done = entries.0 + rows.0;
    let left = (entries.1 + rows.1).saturating_sub(done);
    let seconds = took.as_secs().saturating_mul(left) / done.max(1);
    format!(
        "{} of about {} entries summed, {} of about {} rows compared; about {} left",
        entries.0,
        entries.1.max(entries.0),
        rows.0,
        rows.1.max(rows.0),
        humantime::format_duration(Duration::from_secs(seconds)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_estimated_from_what_is_done() {
        let line = line((500, 1_000), (0, 1_000), Duration::from_secs(10));
        assert_eq!(
            line,
            "500 of about 1000 entries summed, 0 of about 1000 rows compared; about 30s left"
        );
    }
}

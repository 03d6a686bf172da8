//! What became of records.

use std::ops::Add;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Booked.
    Counted,
    /// Known already.
    Duplicate,
    /// No usage, by rule.
    Skipped,
    /// Rejected, with a reason.
    DeadLetter,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 4] = [
        Outcome::Counted,
        Outcome::Duplicate,
        Outcome::Skipped,
        Outcome::DeadLetter,
    ];

    /// The value of the metrics' label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Counted => "counted",
            Outcome::Duplicate => "duplicate",
            Outcome::Skipped => "skipped",
            Outcome::DeadLetter => "dead_letter",
        }
    }
}

/// What became of the records of a batch. The four add up to the records read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Booked.
    pub counted: i64,
    /// Known already.
    pub duplicate: i64,
    /// No usage, by rule.
    pub skipped: i64,
    /// Rejected, kept with a reason.
    pub dead_letter: i64,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            counted: self.counted + other.counted,
            duplicate: self.duplicate + other.duplicate,
            skipped: self.skipped + other.skipped,
            dead_letter: self.dead_letter + other.dead_letter,
        }
    }
}

impl Tally {
    /// The records read.
    #[must_use]
    pub const fn read(&self) -> i64 {
        self.counted + self.duplicate + self.skipped + self.dead_letter
    }

    /// Adds records of one outcome.
    pub const fn count(&mut self, outcome: Outcome, records: i64) {
        *match outcome {
            Outcome::Counted => &mut self.counted,
            Outcome::Duplicate => &mut self.duplicate,
            Outcome::Skipped => &mut self.skipped,
            Outcome::DeadLetter => &mut self.dead_letter,
        } += records;
    }
}

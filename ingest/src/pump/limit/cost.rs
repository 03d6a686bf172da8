//! What the statements of a commit cost, told from what every commit costs.

use std::collections::VecDeque;

use super::sample::{Sample, count};

/// Commits that the estimate goes by.
const SAMPLES: usize = 16;
/// Commits of one size that say what it takes.
const ENOUGH: usize = 3;
/// Sizes that are further apart than this tell the fixed cost from the other.
const APART: f64 = 1.35;

/// The last commits.
#[derive(Debug, Default)]
pub(super) struct Cost {
    samples: VecDeque<Sample>,
    /// The last estimate of the fixed part, in seconds: commits of one size cannot tell.
    fixed: Option<f64>,
}

impl Cost {
    pub(super) fn add(&mut self, sample: Sample) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Seconds that a statement adds in commits of at least so many, as far as they can be told from those that every
    /// commit takes: for that commits of two sizes must have been seen. Medians: one slow commit changes neither.
    pub(super) fn each(&mut self, full: f64) -> Option<f64> {
        let sizes = self.samples.iter().map(|sample| count(sample.statements));
        let apart = sizes.fold(0.0, f64::max) / APART;
        if let (Some((few, short)), Some((many, long))) =
            (self.middle(|n| n < apart), self.middle(|n| n >= apart))
        {
            let each = ((long - short) / (many - few)).max(0.0);
            self.fixed = Some((short - each * few).max(0.0));
        }
        let (many, long) = self.middle(|n| n >= full)?;
        self.fixed.map(|fixed| (long - fixed).max(0.0) / many)
    }

    /// The medians of the sizes and times of these commits, where they are enough.
    fn middle(&self, of: impl Fn(f64) -> bool) -> Option<(f64, f64)> {
        let these = || self.samples.iter().filter(|sample| of(count(sample.statements)));
        let sizes: Vec<f64> = these().map(|sample| count(sample.statements)).collect();
        let times: Vec<f64> = these().map(|sample| sample.took.as_secs_f64()).collect();
        (sizes.len() >= ENOUGH).then(|| (median(sizes), median(times)))
    }
}

/// The middle of some values: between the two where there is none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    f64::midpoint(values[middle], values[(values.len() - 1) / 2])
}

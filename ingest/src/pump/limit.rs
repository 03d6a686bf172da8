//! How many statements a transaction may have, learned from what commits cost.
//!
//! A commit takes `fixed + statements × each`, and `each` grows with the transaction where the server's cache is small:
//! no number fits every server. So the limit follows the part of a commit's time that grows with its statements:
//!
//! ```text
//! what was seen                                     the limit
//! statements × each above the target, by a quarter  shrinks to what fits, by half at most
//! nothing is known yet                              doubles from a small start until records a second fall, and goes
//!                                                   back to where they were most
//! afterwards                                        stays; now and then a step up or down is tried
//! an abort for time, size or cache                  half of what was aborted, and for a while stays below that
//! conflicts again and again                         half of what was tried
//! ```
//! `fixed` never shrinks it: a slow network asks for larger transactions, not for smaller ones. Only commits that were
//! as large as the limit let them be say anything about growing. There is no least limit: whatever can be committed at
//! all is, down to a single record.

use std::collections::VecDeque;
use std::time::Duration;

/// Commits that the estimate goes by.
const SAMPLES: usize = 16;
/// The first limit.
const START: f64 = 1_000.0;
/// A commit that came this close to the limit was held by it.
const FULL: f64 = 0.7;
/// Commits at one size before it is compared with another.
const ENOUGH: usize = 3;
/// How much more a size must bring to be taken: less is noise.
const BETTER: f64 = 1.05;
/// What is this much better, one commit says.
const FAR_BETTER: f64 = 1.5;
/// What is this much worse is over the top.
const FAR_WORSE: f64 = 0.75;
/// Sizes that may be worse than a smaller one, one after the other, before doubling ends: what rises slowly does not
/// rise with every commit.
const WORSE_IN_A_ROW: u8 = 2;
/// A step up, and by its inverse down.
const STEP: f64 = 1.4;
/// Full commits between two trials of another size.
const REST: usize = 16;
/// Sizes that are further apart than this tell the fixed cost from the other.
const APART: f64 = 1.35;
/// A step that is smaller is none.
const NO_STEP: f64 = 1.2;
/// How far above what seems to fit it may stay: the estimate is no better than that.
const OVER: f64 = 1.25;
/// Full commits below an abort's size before a larger one is tried again; doubled with every abort of one that
/// was.
const FIRST_WAIT: usize = 64;
const LONGEST_WAIT: usize = 1_024;

/// What an applied commit cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Its statements.
    pub(super) statements: usize,
    /// Its records.
    pub(super) records: usize,
    /// The attempt that was applied.
    pub(super) took: Duration,
    /// The same with the attempts before it that were not.
    pub(super) in_all: Duration,
}

impl Sample {
    /// Records a second, of what was spent in all. Not statements: a larger batch needs fewer of them for a record, since
    /// more records share rows.
    fn rate(&self) -> f64 {
        count(self.records) / self.in_all.as_secs_f64().max(1e-6)
    }
}

/// The limit of a process. Times are those of one server: a worker has one.
#[derive(Debug)]
pub(super) struct Limit {
    target: f64,
    most: f64,
    limit: f64,
    samples: VecDeque<Sample>,
    /// The last estimate of the fixed part, in seconds: commits of one size cannot tell.
    fixed: Option<f64>,
    course: Course,
    /// Full commits at the present limit.
    since: usize,
    /// Rates at the present size, where it is compared.
    rates: Vec<f64>,
    /// Which way is tried next.
    down: bool,
    ceiling: Option<Ceiling>,
    /// Nothing is learned.
    is_fixed: bool,
}

/// What is being found out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Course {
    /// Doubling: the size where most was committed yet, how much that was, and how many sizes since were worse.
    Start { best: f64, rate: f64, worse: u8 },
    /// Nothing, for so many more full commits.
    Rest { left: usize },
    /// The rate of the present size, to try the other next.
    Measure,
    /// Whether this size is better than the one before.
    Try { before: f64, rate: f64 },
}

impl Course {
    const START: Self = Course::Start {
        best: 1.0,
        rate: 0.0,
        worse: 0,
    };
}

/// A size that the server did not take.
#[derive(Debug, Clone, Copy)]
struct Ceiling {
    at: f64,
    /// Full commits until more is tried.
    left: usize,
    wait: usize,
    /// Nothing as large as the limit was taken since: further aborts are of the same finding out.
    is_new: bool,
}

impl Limit {
    /// A limit that nothing was learned for yet: at most `most` statements, of which the growing part should take
    /// `target`.
    pub(super) fn new(target: Duration, most: usize) -> Self {
        let most = count(most).max(1.0);
        Self {
            target: target.as_secs_f64(),
            most,
            limit: START.min(most),
            samples: VecDeque::with_capacity(SAMPLES),
            fixed: None,
            course: Course::START,
            since: 0,
            rates: Vec::new(),
            down: true,
            ceiling: None,
            is_fixed: false,
        }
    }

    /// A limit that stays as it is, whatever commits cost.
    pub(super) fn fixed(statements: usize) -> Self {
        let learned = Self::new(Duration::MAX, statements);
        Self {
            limit: learned.most,
            is_fixed: true,
            ..learned
        }
    }

    /// Statements that a transaction may have; at least 1.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and a number of statements"
    )]
    pub(super) fn statements(&self) -> usize {
        self.limit as usize
    }

    /// A commit was applied.
    pub(super) fn applied(&mut self, sample: Sample) {
        let is_full = count(sample.statements) >= self.limit * FULL;
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        if !is_full {
            return;
        }
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.is_new = false;
            ceiling.left = ceiling.left.saturating_sub(1);
            if ceiling.left == 0 {
                ceiling.at *= STEP;
                ceiling.left = ceiling.wait;
            }
        }
        self.since += 1;
        let most = self.most_that_fits();
        if self.limit > most * OVER && self.since >= ENOUGH {
            self.go_to(most.max(self.limit / 2.0), Course::Rest { left: REST });
        } else {
            self.explore(sample.rate(), most);
        }
    }

    /// The server did not take a commit of so many statements: its time, its size or its cache.
    pub(super) fn too_much(&mut self, statements: usize) {
        let wait = match self.ceiling {
            None => FIRST_WAIT,
            Some(ceiling) if ceiling.is_new => ceiling.wait,
            Some(ceiling) => (ceiling.wait * 2).min(LONGEST_WAIT),
        };
        self.ceiling = Some(Ceiling {
            at: count(statements) * 0.9,
            left: wait,
            wait,
            is_new: true,
        });
        self.halve(statements);
    }

    /// A commit of so many statements met conflicts again and again.
    pub(super) fn contended(&mut self, statements: usize) {
        self.halve(statements);
    }

    fn halve(&mut self, statements: usize) {
        let half = (count(statements) / 2.0).min(self.limit).max(1.0);
        // From there it grows as at the start: what was in the way may have gone.
        self.go_to(half, Course::START);
    }

    fn go_to(&mut self, limit: f64, course: Course) {
        if !self.is_fixed {
            self.limit = limit.clamp(1.0, self.most);
        }
        self.course = course;
        self.rates.clear();
        self.since = 0;
    }

    /// The most statements whose growing part stays within the target, that the server takes, and that are allowed.
    fn most_that_fits(&mut self) -> f64 {
        let fits = match self.each() {
            Some(each) if each > 0.0 => self.target / each,
            _ => f64::INFINITY,
        };
        let taken = self.ceiling.map_or(f64::INFINITY, |ceiling| ceiling.at);
        fits.min(taken).min(self.most).max(1.0)
    }

    /// Seconds that a statement adds, as far as they can be told from those that every commit takes: for that commits of
    /// two sizes must have been seen. Medians: one slow commit changes neither.
    fn each(&mut self) -> Option<f64> {
        let sizes = self.samples.iter().map(|sample| count(sample.statements));
        let apart = sizes.fold(0.0, f64::max) / APART;
        if let (Some((few, short)), Some((many, long))) =
            (self.middle(|n| n < apart), self.middle(|n| n >= apart))
        {
            let each = ((long - short) / (many - few)).max(0.0);
            self.fixed = Some((short - each * few).max(0.0));
        }
        let full = self.limit * FULL;
        let (many, long) = self.middle(|n| n >= full)?;
        self.fixed.map(|fixed| (long - fixed).max(0.0) / many)
    }

    /// The medians of the sizes and times of these commits, where they are enough.
    fn middle(&self, of: impl Fn(f64) -> bool) -> Option<(f64, f64)> {
        let these = || self.samples.iter().filter(|sample| of(count(sample.statements)));
        let mut sizes: Vec<f64> = these().map(|sample| count(sample.statements)).collect();
        let mut times: Vec<f64> = these().map(|sample| sample.took.as_secs_f64()).collect();
        (sizes.len() >= ENOUGH).then(|| (median(&mut sizes), median(&mut times)))
    }

    /// Climbs to where most records a second are committed.
    fn explore(&mut self, rate: f64, most: f64) {
        match self.course {
            Course::Start { rate: before, .. } if rate > before * FAR_BETTER => self.compare(rate, most),
            Course::Rest { left: 0 } => self.course = Course::Measure,
            Course::Rest { left } => self.course = Course::Rest { left: left - 1 },
            Course::Start { .. } | Course::Measure | Course::Try { .. } => {
                self.rates.push(rate);
                if self.rates.len() == ENOUGH {
                    let rate = median(&mut self.rates);
                    self.compare(rate, most);
                }
            }
        }
    }

    /// So many were written a second at this size.
    fn compare(&mut self, rate: f64, most: f64) {
        match self.course {
            Course::Start {
                best,
                rate: before,
                worse,
            } => {
                let (best, top) = if rate > before {
                    (self.limit, rate)
                } else {
                    (best, before)
                };
                let worse = if rate * BETTER < top { worse + 1 } else { 0 };
                let next = (self.limit * 2.0).min(most);
                let is_over = rate < top * FAR_WORSE || worse == WORSE_IN_A_ROW;
                if is_over || next < self.limit * NO_STEP {
                    self.go_to(best, Course::Rest { left: REST });
                } else {
                    self.go_to(
                        next,
                        Course::Start {
                            best,
                            rate: top,
                            worse,
                        },
                    );
                }
            }
            _ => self.step(rate, most),
        }
    }

    /// Takes this size or goes back to the one before, and on by a step.
    fn step(&mut self, rate: f64, most: f64) {
        let here = self.limit;
        let step = if self.down { 1.0 / STEP } else { STEP };
        match self.course {
            Course::Try { before, rate: was } if rate <= was * BETTER => {
                self.down = !self.down;
                self.go_to(before, Course::Rest { left: REST });
            }
            // On in this direction, for as long as it is worth it.
            _ => {
                let next = (here * step).min(most);
                if next < here * NO_STEP && next > here / NO_STEP {
                    self.down = true;
                    self.go_to(here, Course::Rest { left: REST });
                } else {
                    self.go_to(next, Course::Try { before: here, rate });
                }
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "statements of one transaction")]
fn count(statements: usize) -> f64 {
    statements as f64
}

/// The middle one; 0 where there is none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;

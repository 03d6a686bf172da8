//! How many statements a transaction may have, learned from what commits cost.
//!
//! A commit takes `fixed + statements × each`, and `each` grows with the transaction where the server's cache is small:
//! no number fits every server. So the limit follows the part of a commit's time that grows with its statements:
//!
//! ```text
//! what was seen                                     the limit
//! statements × each above the target, by a quarter  shrinks to what fits, by half at most
//! nothing is known yet                              doubles from a small start until far fewer records a second are
//!                                                   committed, and goes back to where they were most
//! afterwards                                        stays; now and then the next larger or smaller one is tried in
//!                                                   turns with it, and taken once it is surely better
//! an abort for time, size or cache                  half of what was aborted, and for a while stays below that
//! conflicts again and again                         half of what was tried
//! ```
//! `fixed` never shrinks it: a slow network asks for larger transactions, not for smaller ones. Only commits that were
//! as large as the limit let them be say anything about growing. There is no least limit: whatever can be committed at
//! all is, down to a single record.

mod climb;
mod cost;
mod sample;

use std::time::Duration;

use climb::Climb;
use cost::Cost;
pub(super) use sample::Sample;
use sample::count;

/// The first limit.
const START: f64 = 1_000.0;
/// A commit that came this close to the limit was held by it.
const FULL: f64 = 0.8;
/// How far above what seems to fit it may stay: the estimate is no better than that.
const OVER: f64 = 1.25;
/// A size that the server did not take is tried again when it has grown by this.
const CEILING_STEP: f64 = 1.4;
/// Full commits below an abort's size before a larger one is tried again; doubled with every abort of one that
/// was.
const FIRST_WAIT: usize = 64;
const LONGEST_WAIT: usize = 1_024;

/// The limit of a process. Times are those of one server: a worker has one.
#[derive(Debug)]
pub(super) struct Limit {
    target: f64,
    most: f64,
    cost: Cost,
    climb: Climb,
    ceiling: Option<Ceiling>,
    /// Nothing is learned.
    is_fixed: bool,
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
            cost: Cost::default(),
            climb: Climb::new(START.min(most), target.as_secs_f64()),
            ceiling: None,
            is_fixed: false,
        }
    }

    /// A limit that stays as it is, whatever commits cost.
    pub(super) fn fixed(statements: usize) -> Self {
        Self {
            is_fixed: true,
            ..Self::new(Duration::MAX, statements)
        }
    }

    /// Statements that a transaction may have; at least 1.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and a number of statements"
    )]
    pub(super) fn statements(&self) -> usize {
        self.limit() as usize
    }

    fn limit(&self) -> f64 {
        if self.is_fixed {
            self.most
        } else {
            self.climb.next().clamp(1.0, self.most)
        }
    }

    /// A commit was applied.
    pub(super) fn applied(&mut self, sample: Sample) {
        self.cost.add(sample);
        if count(sample.statements) < self.limit() * FULL {
            return;
        }
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.is_new = false;
            ceiling.left = ceiling.left.saturating_sub(1);
            if ceiling.left == 0 {
                ceiling.at *= CEILING_STEP;
                ceiling.left = ceiling.wait;
            }
        }
        let (most, size) = (self.most_that_fits(), self.climb.kept());
        if size > most * OVER {
            self.climb.start(most.max(size / 2.0));
        } else {
            self.climb.full(&sample, most);
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
        let half = (count(statements) / 2.0).min(self.limit()).max(1.0);
        // From there it grows as at the start: what was in the way may have gone.
        self.climb.start(half);
    }

    /// The most statements whose growing part stays within the target, that the server takes, and that are allowed.
    fn most_that_fits(&mut self) -> f64 {
        let fits = match self.cost.each(self.climb.kept() * FULL) {
            Some(each) if each > 0.0 => self.target / each,
            _ => f64::INFINITY,
        };
        let taken = self.ceiling.map_or(f64::INFINITY, |ceiling| ceiling.at);
        fits.min(taken).min(self.most).max(1.0)
    }
}

#[cfg(test)]
mod tests;

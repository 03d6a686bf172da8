//! The way to the size at which most records a second are committed.
//!
//! A ledger gets slower with what it has, and two commits of one size differ by more than two sizes do. So a size is
//! compared with the turns of the other before and after its own: what the ledger got slower meanwhile cancels out. A
//! turn counts its records and seconds in all, and not what its commits are in the middle: a server stands still now and
//! then, which few small commits meet and every large one. And the smaller a difference, the more comparisons it needs.

use super::sample::{Sample, count};

/// Commits of a turn, at least: one size may have been folded before, and a single commit says little.
const COMMITS: usize = 2;
/// The same while sizes double: what a statement costs is told from as many.
const COMMITS_OF_DOUBLING: usize = 3;
/// A turn while sizes double is this much shorter: what comes next is better as a rule.
const SHORTER: f64 = 4.0;
/// What is this much worse than the best while sizes double is over the top. Not less: what rises slowly does not rise with
/// every turn.
const FAR_WORSE: f64 = 0.6;
/// A step up, and by its inverse down. Not more: what is folded already is cut where it is more than half as large again.
const STEP: f64 = 1.5;
/// A step that is smaller is none.
const NO_STEP: f64 = 1.2;
/// How much more a size must bring to be taken, as a logarithm, after one comparison; after four half of that.
const GAIN: f64 = 0.2;
/// What brings this much more, as a logarithm, needs no second turn to compare with.
const FAR_GAIN: f64 = 0.4;
/// Comparisons that count; older ones fade.
const COMPARISONS: f64 = 64.0;
/// Full commits between two comparisons; doubled with each that changes nothing.
const REST: usize = 4;
const LONGEST_REST: usize = 64;

/// Commits of one size.
#[derive(Debug, Clone, Copy)]
struct Turn {
    size: f64,
    commits: usize,
    records: f64,
    seconds: f64,
}

impl Turn {
    fn of(size: f64) -> Self {
        Self {
            size,
            commits: 0,
            records: 0.0,
            seconds: 0.0,
        }
    }

    fn add(&mut self, sample: &Sample) {
        self.commits += 1;
        self.records += count(sample.records);
        self.seconds += sample.in_all.as_secs_f64();
    }

    /// Both turns of a size.
    fn and(self, other: &Self) -> Self {
        Self {
            size: self.size,
            commits: self.commits + other.commits,
            records: self.records + other.records,
            seconds: self.seconds + other.seconds,
        }
    }

    /// Records a second, of what was spent in all. Not statements: a larger batch needs fewer of them for a record, since
    /// more records share rows.
    fn rate(&self) -> f64 {
        self.records / self.seconds.max(1e-6)
    }

    /// How much more it brought than the size of the turns before and after it, as a logarithm.
    fn gain(&self, before: &Self, after: &Self) -> f64 {
        self.rate().ln() - f64::midpoint(before.rate().ln(), after.rate().ln())
    }
}

/// What is known of the next size in one direction.
#[derive(Debug, Clone, Copy, Default)]
struct Lead {
    /// How much more it brings than this one, as a logarithm.
    gain: f64,
    comparisons: f64,
}

impl Lead {
    fn add(&mut self, gain: f64) {
        self.comparisons = (self.comparisons + 1.0).min(COMPARISONS);
        // What one comparison says is bounded: the server may have stood still.
        self.gain += (gain.clamp(-FAR_GAIN, FAR_GAIN) - self.gain) / self.comparisons;
    }

    fn is_sure(&self) -> bool {
        self.gain * self.comparisons.sqrt() > GAIN
    }

    /// The same, seen from the other size.
    fn reversed(self) -> Self {
        Self {
            gain: -self.gain,
            ..self
        }
    }
}

/// What is being found out.
#[derive(Debug, Clone, Copy)]
enum Course {
    /// Doubling, up to here yet; and the best size before.
    Double { here: Turn, best: Turn },
    /// Whether this is as far over the top as it seems: the best once more, then this.
    Doubt {
        here: Turn,
        best: Turn,
        best_again: Turn,
        here_again: Turn,
    },
    /// Nothing, for so many more full commits.
    Rest { left: usize },
    /// Whether the other size is better than the one that is kept to.
    Compare { before: Turn, other: Turn, after: Turn },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Climb {
    /// Seconds of a turn, at least.
    turn: f64,
    /// The size that is kept to.
    size: f64,
    course: Course,
    above: Lead,
    below: Lead,
    /// Which way is tried next.
    down: bool,
    rest: usize,
}

impl Climb {
    /// From this size upwards; turns of so many seconds.
    pub(super) fn new(size: f64, turn: f64) -> Self {
        Self {
            turn,
            size,
            course: Course::Double {
                here: Turn::of(size),
                best: Turn::of(size),
            },
            above: Lead::default(),
            below: Lead::default(),
            down: true,
            rest: REST,
        }
    }

    /// Doubles from this size on; nothing is known of any other.
    pub(super) fn start(&mut self, size: f64) {
        *self = Self::new(size, self.turn);
    }

    /// The size that the next commits may have.
    pub(super) fn next(&self) -> f64 {
        match &self.course {
            Course::Doubt { best, best_again, .. } if !self.is_short_turn(best_again) => best.size,
            Course::Compare { before, other, .. } if self.is_turn(before) && !self.is_turn(other) => {
                other.size
            }
            _ => self.size,
        }
    }

    /// The size that is kept to while no other is tried.
    pub(super) fn kept(&self) -> f64 {
        self.size
    }

    /// A commit was as large as it might be. No size above `most` is tried.
    pub(super) fn full(&mut self, sample: &Sample, most: f64) {
        let mut course = self.course;
        match &mut course {
            Course::Double { here, .. } => here.add(sample),
            Course::Doubt {
                best_again,
                here_again,
                ..
            } => {
                let best_is_done = self.is_short_turn(best_again);
                (if best_is_done { here_again } else { best_again }).add(sample);
            }
            Course::Rest { left } => *left = left.saturating_sub(1),
            Course::Compare { before, other, after } => {
                let size = count(sample.statements);
                // By its size: it may have been folded before its turn came.
                let is_other = (size / other.size).ln().abs() < (size / self.size).ln().abs();
                let is_after = self.is_turn(other);
                (if is_other {
                    other
                } else if is_after {
                    after
                } else {
                    before
                })
                .add(sample);
            }
        }
        self.course = course;
        self.go_on(most);
    }

    /// Takes the next course where this one is through.
    fn go_on(&mut self, most: f64) {
        match self.course {
            Course::Double { here, best } if self.is_short_turn(&here) => {
                if here.rate() < best.rate() * FAR_WORSE {
                    // The best may have been lucky, or the server may have stood still meanwhile.
                    self.course = Course::Doubt {
                        here,
                        best,
                        best_again: Turn::of(best.size),
                        here_again: Turn::of(here.size),
                    };
                } else {
                    self.double(here, best, most);
                }
            }
            Course::Doubt {
                here,
                best,
                best_again,
                here_again,
            } if self.is_short_turn(&here_again) => {
                let (here, best) = (here.and(&here_again), best.and(&best_again));
                if here.rate() < best.rate() * FAR_WORSE {
                    self.size = best.size;
                    self.course = Course::Rest { left: REST };
                } else {
                    self.double(here, best, most);
                }
            }
            Course::Rest { left: 0 } => self.compare(Turn::of(self.size), most),
            Course::Compare { before, other, after } if self.is_turn(&other) => {
                let at_once = other.gain(&before, &before);
                if self.is_turn(&after) {
                    self.conclude(other, other.gain(&before, &after), most);
                } else if at_once > FAR_GAIN {
                    self.conclude(other, at_once, most);
                }
            }
            _ => {}
        }
    }

    fn is_turn(&self, turn: &Turn) -> bool {
        turn.commits >= COMMITS && turn.seconds >= self.turn
    }

    fn is_short_turn(&self, turn: &Turn) -> bool {
        turn.commits >= COMMITS_OF_DOUBLING && turn.seconds >= self.turn / SHORTER
    }

    /// Doubles once more, where that is possible.
    fn double(&mut self, here: Turn, best: Turn, most: f64) {
        let next = (here.size * 2.0).min(most);
        if next < here.size * NO_STEP {
            self.compare(here, most);
        } else {
            let best = if here.rate() > best.rate() { here } else { best };
            self.size = next;
            self.course = Course::Double {
                here: Turn::of(next),
                best,
            };
        }
    }

    /// Compares the size that is kept to, of which there may have been a turn, with the next in one direction.
    fn compare(&mut self, before: Turn, most: f64) {
        let (above, below) = ((self.size * STEP).min(most), self.size / STEP);
        let (is_above, is_below) = (above > self.size * NO_STEP, below >= 1.0);
        self.down = if self.down {
            is_below
        } else {
            is_below && !is_above
        };
        self.course = if is_above || is_below {
            Course::Compare {
                before,
                other: Turn::of(if self.down { below } else { above }),
                after: Turn::of(self.size),
            }
        } else {
            Course::Rest { left: LONGEST_REST }
        };
    }

    /// Takes the other size, or goes back to the one before for a while.
    fn conclude(&mut self, other: Turn, gain: f64, most: f64) {
        let (ahead, behind) = if self.down {
            (&mut self.below, &mut self.above)
        } else {
            (&mut self.above, &mut self.below)
        };
        ahead.add(gain);
        if ahead.is_sure() {
            *behind = ahead.reversed();
            *ahead = Lead::default();
            self.size = other.size;
            self.rest = REST;
            // On in this direction, for as long as it is worth it. Not from the turn that was won: it may have been lucky.
            self.compare(Turn::of(other.size), most);
        } else {
            self.course = Course::Rest { left: self.rest };
            self.rest = (self.rest * 2).min(LONGEST_REST);
            self.down = !self.down;
        }
    }
}

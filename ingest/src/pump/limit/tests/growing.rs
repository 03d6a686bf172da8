//! The limit against a ledger that gets slower with what it has, behind a loop that folds the next batch while one
//! commits: what is learned, and what finding it out costs.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use proptest::prelude::*;

use super::super::{Limit, Sample, count};
use super::{EVENT, MOST, TARGET};

/// How the cost of a statement goes by the size of its transaction.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// It stays the same: the fixed part alone makes a difference.
    Rising,
    /// Every doubling beyond this size makes it dearer by a twentieth.
    Top(f64),
    /// There is one best size, and half or twice of it is dearer by a quarter.
    Peak(f64),
}

/// A ledger of which the best size is known. What is seen of it is noise for the most part, as on a real server, where the
/// times of commits of 1,000 statements differed by a third and more: it stands still now and then, which a small commit
/// seldom meets and a large one always.
#[derive(Debug, Clone, Copy)]
struct Ledger {
    shape: Shape,
    /// Seconds of a commit without statements.
    fixed: f64,
    /// Seconds of a statement where it is cheapest.
    each: f64,
    /// How much more all costs after the first 100,000 statements; later it grows ever more slowly.
    growth: f64,
    /// By how much a commit may take more or less.
    spread: f64,
    /// Seconds for which it stands still, in the mean, a fifth of the time in all.
    still: f64,
}

/// A typical load on a real server: most events have rows of their own.
const TYPICAL: Ledger = Ledger {
    shape: Shape::Rising,
    fixed: 0.06,
    each: 50e-6,
    growth: 0.15,
    spread: 0.1,
    still: 0.1,
};

/// A hot one: little more than an id an event.
const HOT: Ledger = Ledger {
    shape: Shape::Rising,
    fixed: 0.008,
    each: 18e-6,
    growth: 0.04,
    spread: 0.1,
    still: 0.02,
};

impl Ledger {
    /// Seconds that a commit takes when so many statements were written before.
    fn takes(&self, size: f64, written: f64) -> f64 {
        (self.fixed + self.grows(size)) * self.slower(written)
    }

    /// Seconds for its statements, while nothing is written yet.
    fn grows(&self, size: f64) -> f64 {
        let dearer = match self.shape {
            Shape::Rising => 1.0,
            Shape::Top(at) => 1.0 + 0.05 * (size / at).log2().max(0.0),
            Shape::Peak(at) => 1.0 + 0.25 * (size / at).log2().powi(2),
        };
        size * self.each * dearer
    }

    fn slower(&self, written: f64) -> f64 {
        1.0 + self.growth * (written / 100_000.0).sqrt()
    }

    /// Seconds of a statement at the best of the sizes whose growing part stays within the target.
    fn best(&self, written: f64) -> f64 {
        let sizes = [
            250.0, 500.0, 1_000.0, 1_400.0, 2_000.0, 4_000.0, 8_000.0, 12_000.0, 20_000.0,
        ];
        let within = |size: &f64| self.grows(*size) * self.slower(written) <= TARGET.as_secs_f64();
        let each = sizes
            .iter()
            .filter(|size| within(size))
            .map(|size| self.takes(*size, written) / size);
        each.fold(f64::INFINITY, f64::min)
    }

    /// What is seen of a commit that takes so long.
    fn seen(&self, takes: f64, random: &mut Rng) -> Duration {
        let mut seen = takes * (1.0 + self.spread * (random.f64() * 2.0 - 1.0));
        let mut at = 0.0;
        loop {
            at += -random.f64().max(1e-9).ln() * self.still * 4.0;
            if at > takes {
                return Duration::from_secs_f64(seen);
            }
            seen += -random.f64().max(1e-9).ln() * self.still;
        }
    }
}

/// The loop: what it has folded already was bounded by the limit of before.
struct Loop {
    limit: Limit,
    /// Parts of a batch that was cut.
    queue: VecDeque<usize>,
    folded: usize,
    written: f64,
}

impl Loop {
    fn new() -> Self {
        Self {
            limit: Limit::new(TARGET, MOST),
            queue: VecDeque::new(),
            folded: 0,
            written: 0.0,
        }
    }

    /// Commits so many statements, and says what part of the best size's speed that came to.
    fn run(&mut self, ledger: &Ledger, statements: f64, random: &mut Rng) -> f64 {
        let (end, mut spent, mut best) = (self.written + statements, 0.0, 0.0);
        while self.written < end {
            let size = self.next();
            let takes = ledger.takes(count(size), self.written);
            spent += takes;
            best += count(size) * ledger.best(self.written);
            let took = ledger.seen(takes, random);
            self.limit.applied(Sample {
                statements: size,
                records: size,
                took,
                in_all: took,
            });
            self.written += count(size);
        }
        best / spent
    }

    /// The batch that is committed next. What was folded grows to the limit of now, and is cut where it is far beyond.
    fn next(&mut self) -> usize {
        let limit = self.limit.statements();
        let mut next = self
            .queue
            .pop_front()
            .unwrap_or_else(|| std::mem::take(&mut self.folded).max(limit + EVENT));
        while next > limit / 2 * 3 + 64 {
            self.queue.push_front(next / 2);
            next -= next / 2;
        }
        self.folded = self.folded.max(limit + EVENT);
        next
    }
}

/// What part of the best size's speed was reached within `measured` statements behind `first`, in runs of other noise: the
/// least first.
fn reached(ledger: &Ledger, first: f64, measured: f64, runs: u64) -> Vec<f64> {
    let run = |seed| {
        let mut random = Rng::with_seed(seed);
        let mut pump = Loop::new();
        pump.run(ledger, first, &mut random);
        pump.run(ledger, measured, &mut random)
    };
    let mut parts: Vec<f64> = (0..runs).map(run).collect();
    parts.sort_by(f64::total_cmp);
    parts
}

fn mean(parts: &[f64]) -> f64 {
    parts.iter().sum::<f64>() / count(parts.len())
}

/// Behind half a minute, and within the next: what `cargo bench --bench batches` measures on a real one.
#[test]
fn it_soon_reaches_the_best_size_of_a_real_server() {
    for (name, ledger) in [("typical", TYPICAL), ("hot", HOT)] {
        let parts = reached(&ledger, 140_000.0, 170_000.0, 100);
        assert!(mean(&parts) > 0.97, "{name}: {}", mean(&parts));
        assert!(parts[5] > 0.93, "{name}: {parts:?}");
    }
}

/// Behind some minutes. What finding it out costs counts.
#[test]
fn it_reaches_the_best_size_whatever_the_shape() {
    for load in [TYPICAL, HOT] {
        // Where most is fixed there is no peak.
        let cheap = Ledger {
            fixed: load.fixed / 10.0,
            ..load
        };
        for at in [1_000.0, 4_000.0, 20_000.0] {
            for ledger in [
                Ledger {
                    shape: Shape::Top(at),
                    ..load
                },
                Ledger {
                    shape: Shape::Peak(at),
                    ..cheap
                },
            ] {
                let parts = reached(&ledger, 3_000_000.0, 1_000_000.0, 40);
                assert!(mean(&parts) > 0.95, "{ledger:?}: {}", mean(&parts));
                assert!(parts[2] > 0.87, "{ledger:?}: {parts:?}");
            }
        }
    }
}

/// Tops that begin far below the largest size are left out: what falls by less than a twentieth with each step is not told
/// from chance for an hour.
fn ledgers() -> impl Strategy<Value = Ledger> {
    let at = |least: f64| least..20_000.0;
    let shape = prop_oneof![
        Just(Shape::Rising),
        at(2_000.0).prop_map(Shape::Top),
        at(500.0).prop_map(Shape::Peak)
    ];
    (shape, 0.001..0.1, 10e-6..60e-6, 0.0..0.15, 0.0..0.2, 0.01..0.06).prop_map(
        |(shape, fixed, each, growth, spread, still)| Ledger {
            shape,
            fixed,
            each,
            growth,
            spread,
            still,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// None is far off, however much is noise, and wherever the target binds.
    #[test]
    fn it_comes_near_the_best_size_of_any_server(ledger in ledgers()) {
        let second = 1.0 / ledger.best(0.0);
        let parts = reached(&ledger, 400.0 * second, 100.0 * second, 8);
        prop_assert!(mean(&parts) > 0.85, "{}", mean(&parts));
    }
}

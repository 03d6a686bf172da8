//! What happens when.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::scale::{SESSION, WORKERS};

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A worker joins.
    Join(usize),
    /// A worker is asked to leave.
    Leave(usize),
    /// A worker is killed.
    Kill(usize),
    /// A worker freezes.
    Freeze(usize),
    /// A frozen worker wakes up.
    Thaw(usize),
    /// The broker is killed and started again.
    KillBroker,
    /// The database is killed and started again.
    KillMongo,
}

/// The storm of a seed: all workers run at its end, and each kind of act comes at least once.
pub(super) fn plan(seed: u64, length: Duration) -> Vec<(Duration, Act)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut plan = vec![
        (length * 2 / 5, Act::KillBroker),
        (length * 7 / 10, Act::KillMongo),
    ];
    for worker in 0..WORKERS {
        let mut at = millis(&mut rng, 0, 2_000);
        plan.push((at, Act::Join(worker)));
        let mut kind = worker;
        loop {
            at += rng.random_range(length / 30..length / 9);
            let (down, up, away) = match kind % 3 {
                0 => (
                    Act::Leave(worker),
                    Act::Join(worker),
                    millis(&mut rng, 500, 6_000),
                ),
                1 => (Act::Kill(worker), Act::Join(worker), millis(&mut rng, 0, 6_000)),
                // Long enough for the group to give its partitions to others, and for these to read them.
                _ => (
                    Act::Freeze(worker),
                    Act::Thaw(worker),
                    SESSION + millis(&mut rng, 500, 7_000),
                ),
            };
            if at + away > length {
                break;
            }
            plan.extend([(at, down), (at + away, up)]);
            at += away;
            kind = rng.random_range(0..3);
        }
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

fn millis(rng: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.random_range(least..most))
}

#[test]
fn every_storm_has_each_kind_of_act_and_ends_with_all_workers() {
    for (seed, seconds) in [(1, 20), (1, 125), (2, 125), (3, 125), (4, 125)] {
        let acts = plan(seed, Duration::from_secs(seconds));
        let some = |is: fn(&Act) -> bool| acts.iter().filter(|(_, act)| is(act)).count();
        let downs = [
            some(|act| matches!(act, Act::Leave(_))),
            some(|act| matches!(act, Act::Kill(_))),
            some(|act| matches!(act, Act::Freeze(_))),
        ];
        assert!(downs.iter().all(|count| *count > 0), "{acts:?}");
        let ups = some(|act| matches!(act, Act::Join(_) | Act::Thaw(_)));
        assert_eq!(ups, downs.iter().sum::<usize>() + WORKERS);
        assert_eq!(some(|act| matches!(act, Act::KillBroker | Act::KillMongo)), 2);
    }
}

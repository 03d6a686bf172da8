//! How much of a machine a pass takes: beside a worker it must be in nobody's way.

use std::time::Duration;

/// Work for a while, then rest in proportion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// For so long it works before it rests, about: no instant is held open meanwhile.
    pub(super) at_once: Duration,
    /// The rest, in multiples of the work before it.
    rest: u32,
}

impl Pace {
    /// Without a rest: somebody waits for it.
    pub const FULL: Self = Self {
        at_once: Duration::MAX,
        rest: 0,
    };
    /// A quarter of a core at most: work is on one core at a time, and waiting for the server counts as work.
    pub const QUARTER: Self = Self {
        at_once: Duration::from_millis(500),
        rest: 3,
    };

    /// How long to rest after so much work.
    pub(super) const fn rest_after(self, work: Duration) -> Duration {
        work.saturating_mul(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_time_is_work() {
        for work in [0, 1, 500, 30_000].map(Duration::from_millis) {
            let rest = Pace::QUARTER.rest_after(work);
            assert_eq!((work + rest) / 4, work);
            assert_eq!(Pace::FULL.rest_after(work), Duration::ZERO);
        }
    }
}

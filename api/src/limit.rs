//! How often one caller may ask.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::problem::{Kind, Problem};
use crate::settings::Limits;

/// After so many requests the callers who have not come for a while are forgotten.
const SWEEP_EVERY: u32 = 4_096;

/// Who is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// A person.
    Subject(String),
    /// Whoever comes from an address without saying who it is.
    Address(Option<IpAddr>),
}

/// Counts the requests of each caller.
pub(crate) struct RateLimit {
    limiter: DefaultKeyedRateLimiter<Name>,
    clock: DefaultClock,
    requests: AtomicU32,
}

impl RateLimit {
    pub(crate) fn new(limits: &Limits) -> Self {
        let at_least_one = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(limits.requests_per_second))
            .allow_burst(at_least_one(limits.request_burst));
        Self {
            limiter: DefaultKeyedRateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            requests: AtomicU32::new(0),
        }
    }

    /// Counts one request, or says when to come again.
    pub(crate) fn take(&self, name: &Name) -> Result<(), Problem> {
        if self.requests.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(name).map_err(|refused| {
            let wait = refused.wait_time_from(self.clock.now());
            Problem::new(
                Kind::RateLimited,
                "more requests than one caller may make: come again later",
            )
            .retry_after(wait.as_secs() + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_does_not_use_up_what_others_may() {
        let limit = RateLimit::new(&Limits {
            requests_per_second: 1,
            request_burst: 3,
            ..Limits::default()
        });
        let (one, other) = (Name::Subject("u1".into()), Name::Address(None));
        for _ in 0..3 {
            assert_eq!(limit.take(&one), Ok(()));
        }
        assert_eq!(limit.take(&one).expect_err("too many").status(), 429);
        assert_eq!(limit.take(&other), Ok(()));
    }
}

//! The rate at which one caller may ask.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::problem::{Kind, Problem};
use crate::settings::Limits;

/// After so many requests the callers who have not come for a while are forgotten.
const SWEEP_EVERY: u32 = 4_096;

/// The name under which requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// A person.
    Subject(String),
    /// Everybody without a token from one place.
    Place(Option<IpAddr>),
    /// Everybody who loads public pages, from one place.
    Visitor(Option<IpAddr>),
}

impl Name {
    /// Everybody without a token from the place of this address.
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        Name::Place(address.map(place))
    }

    /// Everybody who loads public pages, from the place of this address.
    pub(crate) fn visiting(address: Option<IpAddr>) -> Self {
        Name::Visitor(address.map(place))
    }
}

/// Addresses that one machine can choose among are one place: with IPv6, all that its network gives it.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
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
        let (one, other) = (Name::Subject("u1".into()), Name::at(None));
        for _ in 0..3 {
            assert_eq!(limit.take(&one), Ok(()));
        }
        assert_eq!(limit.take(&one).expect_err("too many").status(), 429);
        assert_eq!(limit.take(&other), Ok(()));
    }

    #[test]
    fn a_machine_is_one_place_whatever_address_it_takes() {
        let of = |text: &str| place(text.parse().expect(text)).to_string();
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2::1", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ] {
            assert_eq!(of(address), expected, "{address}");
        }
    }
}

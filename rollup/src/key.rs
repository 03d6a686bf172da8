//! The canonical `_id` of a stored row.
//!
//! ```text
//! ledger   v1/<organization>/<granularity>/<period>/<agent>/<provider>/<model>/<user>/<team>/<apiKey>/<source>/<kind>
//! rollup   v1/<organization>/<granularity>/<period>/<set>/<value>[/<provider>]
//! ```
//! In each part `%` is written `%25` and `/` is written `%2F`; nothing else is escaped. So the key is
//! readable, no two rows share one, and the rows of one organization and period are neighbours.
//! Released keys never change: another form would get another version.
//!
//! Rows that are neighbours are found by ranges of keys. A range ends where the separator would be followed by
//! the next character, `0`; so it holds exactly the keys that begin with these parts, whatever characters are in
//! them.

mod reading;

use std::ops::Range;

use crate::event::Dimensions;
use crate::marginal::Marginal;
use crate::period::Period;

pub use reading::{Named, read_ledger, read_rollup};

const VERSION: &str = "v1";

/// The `_id` of a row of the ledger.
#[must_use]
pub fn ledger<S: AsRef<str>>(period: Period, dimensions: &Dimensions<S>) -> String {
    let [organization, parts @ ..] = dimensions.texts();
    let mut key = prefix(organization.as_ref(), period);
    for part in parts {
        push(&mut key, part.as_ref());
    }
    push(&mut key, dimensions.kind.name());
    key
}

/// The `_id` of a rollup. `provider` is given for [`Marginal::Model`].
#[must_use]
pub fn rollup(
    organization: &str,
    period: Period,
    marginal: Marginal,
    value: &str,
    provider: Option<&str>,
) -> String {
    let mut key = prefix(organization, period);
    push(&mut key, marginal.name());
    push(&mut key, value);
    if let Some(provider) = provider {
        push(&mut key, provider);
    }
    key
}

/// The keys of all rows of an organization, of either collection, from one period to another of the same length,
/// both included.
#[must_use]
pub fn span(organization: &str, first: Period, last: Period) -> Range<String> {
    beginning_with(prefix(organization, first)).start..beginning_with(prefix(organization, last)).end
}

/// The keys of all rows of an organization, of either collection.
#[must_use]
pub fn all_of(organization: &str) -> Range<String> {
    let mut key = String::from(VERSION);
    push(&mut key, organization);
    beginning_with(key)
}

/// The keys of the rows of the ledger that an agent of an organization has in one period.
#[must_use]
pub fn of_agent(organization: &str, period: Period, agent: &str) -> Range<String> {
    let mut key = prefix(organization, period);
    push(&mut key, agent);
    beginning_with(key)
}

/// The keys of the rollups of one marginal of an organization in one period.
#[must_use]
pub fn of_marginal(organization: &str, period: Period, marginal: Marginal) -> Range<String> {
    let mut key = prefix(organization, period);
    push(&mut key, marginal.name());
    beginning_with(key)
}

/// The keys that have these parts, and more.
fn beginning_with(parts: String) -> Range<String> {
    format!("{parts}/")..format!("{parts}0")
}

fn prefix(organization: &str, period: Period) -> String {
    let mut key = String::with_capacity(160);
    key.push_str(VERSION);
    push(&mut key, organization);
    push(&mut key, period.granularity().name());
    push(&mut key, &period.to_string());
    key
}

fn push(key: &mut String, part: &str) {
    key.push('/');
    let mut rest = part;
    while let Some(at) = rest.find(['%', '/']) {
        key.push_str(&rest[..at]);
        key.push_str(if rest.as_bytes()[at] == b'%' { "%25" } else { "%2F" });
        rest = &rest[at + 1..];
    }
    key.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::period::Granularity;
    use proptest::prelude::*;

    fn dimensions(parts: [&str; 8]) -> Dimensions<String> {
        Dimensions::of(parts.map(str::to_owned), Kind::Llm)
    }

    /// Released keys: a change here splits every existing row in two.
    #[test]
    fn golden_keys() {
        let parts = [
            "acme",
            "support-bot",
            "openai",
            "meta/llama-3",
            "u1",
            "__none__",
            "100%",
            "chat",
        ];
        for (granularity, key, expected) in [
            (
                Granularity::Daily,
                "2026-01-05",
                "v1/acme/daily/2026-01-05/support-bot/openai/meta%2Fllama-3/u1/__none__/100%25/chat/llm",
            ),
            (
                Granularity::Weekly,
                "2026-W02",
                "v1/acme/weekly/2026-W02/support-bot/openai/meta%2Fllama-3/u1/__none__/100%25/chat/llm",
            ),
            (
                Granularity::Hourly,
                "2026-01-05T13",
                "v1/acme/hourly/2026-01-05T13/support-bot/openai/meta%2Fllama-3/u1/__none__/100%25/chat/llm",
            ),
        ] {
            let period = Period::parse(granularity, key).expect("a key");
            assert_eq!(ledger(period, &dimensions(parts)), expected);
        }
        let month = Period::parse(Granularity::Monthly, "2026-01").expect("a key");
        assert_eq!(
            rollup("acme", month, Marginal::Model, "meta/llama-3", Some("open%ai")),
            "v1/acme/monthly/2026-01/model/meta%2Fllama-3/open%25ai"
        );
        assert_eq!(
            rollup("acme", month, Marginal::Organization, "acme", None),
            "v1/acme/monthly/2026-01/organization/acme"
        );
    }

    proptest! {
        /// Lesson L1: two different rows never share a key, whatever their parts hold.
        #[test]
        fn l1_keys_do_not_collide(
            one in prop::array::uniform8("[a/%2F5]{0,3}"),
            other in prop::array::uniform8("[a/%2F5]{0,3}"),
        ) {
            let day = Period::parse(Granularity::Daily, "2026-01-05").expect("a key");
            let key = |parts: &[String; 8]| ledger(day, &dimensions(parts.each_ref().map(String::as_str)));
            prop_assert_eq!(one == other, key(&one) == key(&other));
        }

        /// Characters before, of and after the separator, and such as sort far from it.
        #[test]
        fn a_range_holds_exactly_the_keys_that_begin_with_its_parts(
            sought in (TEXT, TEXT, days(), days()),
            rows in prop::collection::vec((TEXT, TEXT, periods()), 1..20),
        ) {
            let (organization, agent, one, other) = sought;
            let (first, last) = (one.min(other), one.max(other));
            let span = span(&organization, first, last);
            let of_agent = of_agent(&organization, first, &agent);
            let of_marginal = of_marginal(&organization, first, Marginal::Agent);
            let own = (organization.clone(), agent.clone(), first);
            for (whose, what, period) in rows.into_iter().chain([own]) {
                let parts = [&*whose, &*what, "p", "m", "u", "t", "k", "s"];
                let rollups = Marginal::ALL.map(|marginal| (marginal, rollup(&whose, period, marginal, &what, Some("p"))));
                let row = ledger(period, &dimensions(parts));
                let is_in_span = whose == organization
                    && period.granularity() == first.granularity()
                    && (first..=last).contains(&period);
                let is_own = whose == organization && period == first;
                prop_assert_eq!(span.contains(&row), is_in_span, "{}", row);
                prop_assert_eq!(all_of(&organization).contains(&row), whose == organization, "{}", row);
                prop_assert_eq!(of_agent.contains(&row), is_own && what == agent, "{}", row);
                for (marginal, key) in rollups {
                    prop_assert_eq!(span.contains(&key), is_in_span, "{}", key);
                    prop_assert_eq!(of_marginal.contains(&key), is_own && marginal == Marginal::Agent, "{}", key);
                }
            }
        }
    }

    const TEXT: &str = "[ !%./0-2a~é\u{ffff}\u{10ffff}]{0,3}";

    fn days() -> impl Strategy<Value = Period> {
        (0..4_u64).prop_map(|day| {
            let first = chrono::NaiveDate::from_ymd_opt(2026, 1, 31).expect("a day");
            Period::holding(Granularity::Daily, first + chrono::Days::new(day))
        })
    }

    fn periods() -> impl Strategy<Value = Period> {
        (days(), prop::sample::select(Granularity::ALL.to_vec()))
            .prop_map(|(day, granularity)| day.widened(granularity))
    }
}

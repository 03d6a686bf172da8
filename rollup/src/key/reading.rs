//! What a key says.

use crate::event::{Dimensions, Kind};
use crate::marginal::Marginal;
use crate::period::{Granularity, Period};

use super::{VERSION, ledger, rollup};

/// A rollup, as its key names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Whose usage.
    pub organization: Box<str>,
    /// The period.
    pub period: Period,
    /// Which marginal.
    pub marginal: Marginal,
    /// Its value.
    pub value: Box<str>,
    /// The provider, where the marginal is [`Marginal::Model`].
    pub provider: Option<Box<str>>,
}

/// The row of the ledger that a key names; `None`: it is the key of no row.
#[must_use]
pub fn read_ledger(key: &str) -> Option<(Period, Dimensions<Box<str>>)> {
    let parts = parts(key)?;
    let [
        organization,
        granularity,
        period,
        agent,
        provider,
        model,
        user,
        team,
        api_key,
        source,
        kind,
    ] = <[Box<str>; 11]>::try_from(parts).ok()?;
    let kind = *Kind::ALL.iter().find(|known| known.name() == &*kind)?;
    let period = read_period(&granularity, &period)?;
    let texts = [organization, agent, provider, model, user, team, api_key, source];
    let dimensions = Dimensions::of(texts, kind);
    (ledger(period, &dimensions) == key).then_some((period, dimensions))
}

/// The rollup that a key names; `None`: it is the key of none.
#[must_use]
pub fn read_rollup(key: &str) -> Option<Named> {
    let mut parts = parts(key)?.into_iter();
    let (organization, granularity, period) = (parts.next()?, parts.next()?, parts.next()?);
    let (set, value, provider) = (parts.next()?, parts.next()?, parts.next());
    let marginal = Marginal::ALL
        .into_iter()
        .find(|marginal| marginal.name() == &*set)?;
    let is_whole = (marginal == Marginal::Model) == provider.is_some()
        && (marginal != Marginal::Organization || value == organization);
    let period = read_period(&granularity, &period)?;
    let same = rollup(&organization, period, marginal, &value, provider.as_deref());
    (is_whole && same == key).then_some(Named {
        organization,
        period,
        marginal,
        value,
        provider,
    })
}

fn read_period(granularity: &str, key: &str) -> Option<Period> {
    Period::parse(granularity.parse::<Granularity>().ok()?, key)
}

/// The parts behind the version.
fn parts(key: &str) -> Option<Vec<Box<str>>> {
    let parts = key.strip_prefix(VERSION)?.strip_prefix('/')?;
    let part = |part: &str| part.replace("%2F", "/").replace("%25", "%").into();
    Some(parts.split('/').map(part).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "[a/%2F5é]{0,4}";

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_written(
            texts in prop::array::uniform8(TEXT),
            day in 0..800_u64,
            granularity in prop::sample::select(&Granularity::ALL[..]),
            marginal in prop::sample::select(&Marginal::ALL[..]),
            kind in prop::sample::select(&Kind::ALL[..]),
        ) {
            let first = chrono::NaiveDate::from_ymd_opt(2025, 1, 1).expect("a day");
            let period = Period::holding(Granularity::Daily, first + chrono::Days::new(day)).widened(granularity);
            let [organization, agent, provider, model, user, team, api_key, source] = texts.map(Box::<str>::from);
            let dimensions = Dimensions { organization, agent, provider, model, user, team, api_key, source, kind };
            let key = ledger(period, &dimensions);
            prop_assert_eq!(read_ledger(&key), Some((period, dimensions.clone())));
            prop_assert_eq!(read_rollup(&key), None);
            let (value, provider) = marginal.of(&dimensions);
            let key = rollup(&dimensions.organization, period, marginal, value, provider.map(|text| &**text));
            let named = read_rollup(&key).expect("a key");
            prop_assert_eq!((named.period, named.marginal, &named.value), (period, marginal, value));
            prop_assert_eq!((&named.organization, named.provider.as_ref()), (&dimensions.organization, provider));
        }

        #[test]
        fn no_text_is_too_much_for_a_reader(text: String, tail in "[v1/%a25F-]{0,40}") {
            for key in [text, tail.clone(), format!("v1/a/daily/2026-01-05/{tail}")] {
                if let Some((period, dimensions)) = read_ledger(&key) {
                    prop_assert_eq!(ledger(period, &dimensions), key.as_str());
                }
                if let Some(named) = read_rollup(&key) {
                    let Named { organization, period, marginal, value, provider } = named;
                    prop_assert_eq!(rollup(&organization, period, marginal, &value, provider.as_deref()), key.as_str());
                }
            }
        }
    }

    #[test]
    fn a_key_that_nobody_would_write_is_none() {
        for key in [
            "",
            "v1",
            "v2/acme/monthly/2026-01/organization/acme",
            "v1/acme/monthly/2026-1/organization/acme",
            "v1/acme/monthly/2026-01/organization/beta",
            "v1/acme/monthly/2026-01/agent/a/p",
            "v1/acme/monthly/2026-01/model/m",
            "v1/acme/monthly/2026-01/agent/a%41%2f",
            "v1/acme/monthly/2026-01/agent",
        ] {
            assert_eq!(read_rollup(key), None, "{key}");
        }
        assert!(read_rollup("v1/acme/monthly/2026-01/organization/acme").is_some());
    }
}

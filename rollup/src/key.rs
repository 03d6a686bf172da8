//! The canonical `_id` of a stored row.
//!
//! ```text
//! ledger   v1/<organization>/<granularity>/<period>/<agent>/<provider>/<model>/<user>/<team>/<apiKey>/<source>/<kind>
//! rollup   v1/<organization>/<granularity>/<period>/<set>/<value>[/<provider>]
//! ```
//! In each part `%` is written `%25` and `/` is written `%2F`; nothing else is escaped. So the key is
//! readable, no two rows share one, and the rows of one organization and period are neighbours.
//! Released keys never change: another form would get another version.

use crate::event::Dimensions;
use crate::fold::Set;
use crate::period::Period;

const VERSION: &str = "v1";

/// The `_id` of a row of the ledger.
#[must_use]
pub fn ledger<S: AsRef<str>>(period: Period, dimensions: &Dimensions<S>) -> String {
    let mut key = prefix(dimensions.organization.as_ref(), period);
    for part in [
        &dimensions.agent,
        &dimensions.provider,
        &dimensions.model,
        &dimensions.user,
        &dimensions.team,
        &dimensions.api_key,
        &dimensions.source,
    ] {
        push(&mut key, part.as_ref());
    }
    push(&mut key, dimensions.kind.name());
    key
}

/// The `_id` of a rollup. `provider` is given where the set is [`Set::Model`].
#[must_use]
pub fn rollup(organization: &str, period: Period, set: Set, value: &str, provider: Option<&str>) -> String {
    let mut key = prefix(organization, period);
    push(&mut key, set.name());
    push(&mut key, value);
    if let Some(provider) = provider {
        push(&mut key, provider);
    }
    key
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
        let [organization, agent, provider, model, user, team, api_key, source] = parts.map(str::to_owned);
        Dimensions {
            organization,
            agent,
            provider,
            model,
            user,
            team,
            api_key,
            source,
            kind: Kind::Llm,
        }
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
            rollup("acme", month, Set::Model, "meta/llama-3", Some("open%ai")),
            "v1/acme/monthly/2026-01/model/meta%2Fllama-3/open%25ai"
        );
        assert_eq!(
            rollup("acme", month, Set::Organization, "acme", None),
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
    }
}

//! The parameters that all questions share: organization, days and filters.

use chrono::NaiveDate;
use rollup::event::Kind;
use rollup::period::{Calendar, Granularity};

use crate::parameter::{Form, Parameter, Parameters, date};
use crate::problem::Problem;
use crate::range::{Preset, Range};
use crate::rows::{Dimension, Filters};

pub(crate) const ORGANIZATION: Parameter = Parameter::required("organizationId", Form::Text, "Whose usage.");
pub(crate) const OPTIONAL_ORGANIZATION: Parameter =
    Parameter::optional("organizationId", Form::Text, "Whose usage.");
const FROM: Parameter = Parameter::optional("from", Form::Date, "The first day, together with `to`.");
const TO: Parameter = Parameter::optional("to", Form::Date, "The last day, included, together with `from`.");
const PRESET: Parameter = Parameter::optional(
    "preset",
    Form::Choice(&Preset::NAMES),
    "A range relative to today, in place of `from` and `to`. Without either: `30d`.",
);
const TIME_ZONE: Parameter = Parameter::optional(
    "timeZone",
    Form::Zone,
    "The ledger's own time zone. Another one is refused: its days are not stored.",
);
pub(crate) const GRANULARITY: Parameter = Parameter::optional(
    "granularity",
    Form::Choice(&[
        Granularity::ALL[0].name(),
        Granularity::ALL[1].name(),
        Granularity::ALL[2].name(),
        Granularity::ALL[3].name(),
    ]),
    "The length of a bucket, `daily` unless given. Totals do not depend on it. `hourly` is answered for up to 31 days, \
     where the ledger keeps hours: `/v1/usage/meta` says which granularities it keeps.",
);
pub(crate) const FORMAT: Parameter = Parameter::optional(
    "format",
    Form::Choice(&["json", "csv"]),
    "The form of the answer, whatever the header `Accept` says. `csv` is for spreadsheets, which cannot send one: a \
     file with a name and a byte-order mark.",
);
pub(crate) const AGENT: Parameter = Parameter::filter(
    "agentSlug",
    Form::Text,
    "Only these assistants; `__unattributed__` is one of them.",
);
const PROVIDER: Parameter = Parameter::filter(
    "provider",
    Form::Text,
    "Only these providers; `__unknown__` is one of them.",
);
const MODEL: Parameter = Parameter::filter(
    "model",
    Form::Text,
    "Only these models; `__unknown__` is one of them.",
);
pub(crate) const USER: Parameter = Parameter::filter(
    "userId",
    Form::Text,
    "Only these users; `__unattributed__` is one of them.",
);
const TEAM: Parameter = Parameter::filter(
    "teamId",
    Form::Text,
    "Only these teams; `__none__` is one of them.",
);
const API_KEY: Parameter = Parameter::filter(
    "apiKeyId",
    Form::Text,
    "Only these API keys; `__none__` is one of them.",
);
const SOURCE: Parameter = Parameter::filter("source", Form::Service, "Only what these services emitted.");
const KIND: Parameter = Parameter::filter(
    "kind",
    Form::Choice(&[
        Kind::ALL[0].name(),
        Kind::ALL[1].name(),
        Kind::ALL[2].name(),
        Kind::ALL[3].name(),
        Kind::ALL[4].name(),
        Kind::ALL[5].name(),
    ]),
    "Only requests of these kinds.",
);

/// Which days.
pub(crate) const DAYS: &[&Parameter] = &[&FROM, &TO, &PRESET, &TIME_ZONE];
/// The filters, except for [`USER`]: `/me` is about one user only.
pub(crate) const FILTERS: &[&Parameter] = &[&AGENT, &PROVIDER, &MODEL, &TEAM, &API_KEY, &SOURCE, &KIND];

/// The dimensions that can be filtered by: all but the organization, which has a parameter of its own.
pub(crate) const FILTERED: &[Dimension] = Dimension::ALL.split_at(1).1;

/// The days of a question, as they were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Days {
    pub(crate) range: Range,
    pub(crate) preset: Option<Preset>,
}

impl Days {
    /// Reads the days. A zone that is not the ledger's is refused: its days are not what is stored.
    pub(crate) fn parse(
        parameters: &Parameters,
        calendar: &Calendar,
        today: NaiveDate,
    ) -> Result<Self, Problem> {
        if let Some(zone) = parameters.one(TIME_ZONE.name)
            && zone != calendar.zone_name()
        {
            let detail = format!("expected the ledger's own time zone, `{}`", calendar.zone_name());
            return Err(Problem::parameter(TIME_ZONE.name, detail));
        }
        let named = |name| parameters.one(name).and_then(date);
        let preset = parameters.typed::<Preset>(PRESET.name)?;
        match (named(FROM.name), named(TO.name), preset) {
            (None, None, preset) => {
                let preset = preset.unwrap_or(Preset::ThirtyDays);
                Ok(Self {
                    range: preset.range(today),
                    preset: Some(preset),
                })
            }
            (_, _, Some(_)) => Err(Problem::parameter(
                PRESET.name,
                "expected either `preset`, or `from` and `to`",
            )),
            (Some(from), Some(to), None) if from <= to => Ok(Self {
                range: Range { from, to },
                preset: None,
            }),
            (Some(_), Some(_), None) => Err(Problem::parameter(FROM.name, "expected `from` not after `to`")),
            (Some(_), None, None) => Err(Problem::parameter(TO.name, "expected `to` together with `from`")),
            (None, Some(_), None) => Err(Problem::parameter(
                FROM.name,
                "expected `from` together with `to`",
            )),
        }
    }
}

/// Reads the filters: any of the values of one field, and all of the fields.
pub(crate) fn filters(parameters: &Parameters) -> Filters {
    FILTERED
        .iter()
        .copied()
        .filter_map(|dimension| {
            let mut values: Vec<String> = parameters.all(dimension.name()).map(str::to_owned).collect();
            values.sort_unstable();
            values.dedup();
            (!values.is_empty()).then_some((dimension, values))
        })
        .collect()
}

/// Reads the granularity of buckets.
pub(crate) fn granularity(parameters: &Parameters) -> Result<Granularity, Problem> {
    Ok(parameters.typed(GRANULARITY.name)?.unwrap_or(Granularity::Daily))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[&Parameter] = &[&FROM, &TO, &PRESET, &TIME_ZONE, &AGENT, &KIND];

    fn days(query: &str) -> Result<Days, Problem> {
        let today = "2026-09-28".parse().expect("a day");
        Days::parse(&Parameters::parse(Some(query), &[TABLE])?, &Calendar::UTC, today)
    }

    #[test]
    fn days_are_both_dates_or_a_preset_or_the_last_thirty() {
        let shown = |query: &str| {
            let days = days(query).expect(query);
            format!(
                "{} {} {:?}",
                days.range.from,
                days.range.to,
                days.preset.map(Preset::name)
            )
        };
        assert_eq!(shown(""), r#"2026-08-30 2026-09-28 Some("30d")"#);
        assert_eq!(
            shown("preset=7d&timeZone=UTC"),
            r#"2026-09-22 2026-09-28 Some("7d")"#
        );
        assert_eq!(
            shown("from=2026-01-01&to=2026-01-01"),
            "2026-01-01 2026-01-01 None"
        );
        for (query, name) in [
            ("from=2026-01-01", "to"),
            ("to=2026-01-01", "from"),
            ("from=2026-01-02&to=2026-01-01", "from"),
            ("from=2026-01-01&to=2026-01-02&preset=7d", "preset"),
            ("to=2026-01-02&preset=7d", "preset"),
            ("preset=6d", "preset"),
        ] {
            assert_eq!(days(query).expect_err(query).at_fault(), Some(name), "{query}");
        }
    }

    /// Lesson C3: a `timezone` parameter widened the range, and totals were up to nine times too high.
    #[test]
    fn c3_a_time_zone_is_the_ledgers_own_or_refused() {
        for (query, name) in [
            ("timeZone=Europe/Berlin", "timeZone"),
            ("timeZone=utc", "timeZone"),
            ("timeZone=Etc/UTC", "timeZone"),
            ("timezone=UTC", "timezone"),
            ("timeZone=%2B02:00", "timeZone"),
        ] {
            assert_eq!(days(query).expect_err(query).at_fault(), Some(name), "{query}");
        }
    }

    #[test]
    fn every_kind_can_be_filtered_by() {
        for kind in Kind::ALL {
            let query = format!("kind={}&agentSlug=b&agentSlug=a&agentSlug=b", kind.name());
            let filters = filters(&Parameters::parse(Some(&query), &[TABLE]).expect(&query));
            assert_eq!(filters[&Dimension::Kind], [kind.name()]);
            assert_eq!(filters[&Dimension::Agent], ["a", "b"]);
        }
    }
}

//! The members that every answer has around those of its route.

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use rollup::period::Calendar;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::question::Days;
use crate::range::Preset;
use crate::reader::{Freshness, Gap, Lane};
use crate::rejected::Rejections;

/// What every answer starts with.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Question)]
pub(crate) struct Head<'a> {
    /// Whose usage; null where it is not one organization's.
    organization_id: Option<&'a str>,
    range: ShownRange,
    /// Spans of time with events missing, where the range touches one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<ShownGap>>, nullable = false)]
    gaps: Vec<ShownGap>,
    #[serde(flatten)]
    #[schema(ignore)]
    rejections: Option<Rejections>,
}

/// The days of an answer, both included.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Range)]
struct ShownRange {
    /// The first day.
    #[schema(value_type = String, format = Date)]
    from: NaiveDate,
    /// The last day.
    #[schema(value_type = String, format = Date)]
    to: NaiveDate,
    /// The name under which it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    preset: Option<Preset>,
    /// The ledger's time zone.
    time_zone: &'static str,
}

/// A span of time with events missing.
#[derive(Serialize, ToSchema)]
#[schema(as = Gap)]
struct ShownGap {
    /// Its begin.
    #[schema(value_type = String, format = DateTime)]
    from: Instant,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    to: Instant,
}

/// How fresh an answer is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Freshness)]
pub(crate) struct Fresh {
    /// When the answer was given.
    #[schema(value_type = String, format = DateTime)]
    generated_at: Instant,
    /// The instant up to which every event that reached the source is in the answer.
    #[schema(value_type = Option<String>, format = DateTime)]
    data_as_of: Option<Instant>,
    /// How long ago that is.
    lag_seconds: Option<f64>,
}

/// An instant as answers have it, to the millisecond.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant(pub(crate) DateTime<Utc>);

impl Instant {
    pub(crate) fn text(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// The least watermark of the source's lanes. Not known before the first commit, while a history is being
/// taken in, or while a lane has none.
fn as_of(freshness: &Freshness) -> Option<DateTime<Utc>> {
    let watermark = |lane: &Lane| lane.watermark.filter(|_| !lane.scanning);
    let known: Option<Vec<_>> = freshness.lanes.iter().map(watermark).collect();
    known?.into_iter().min()
}

impl<'a> Head<'a> {
    /// The start of an answer about this organization, if it is one's, in a ledger of this time zone.
    pub(crate) fn new(
        organization_id: Option<&'a str>,
        days: &Days,
        time_zone: &'static str,
        gaps: &[Gap],
        rejections: Option<Rejections>,
    ) -> Self {
        let shown = |gap: &Gap| ShownGap {
            from: Instant(gap.from),
            to: Instant(gap.to),
        };
        Self {
            organization_id,
            range: ShownRange {
                from: days.range.from,
                to: days.range.to,
                preset: days.preset,
                time_zone,
            },
            gaps: gaps.iter().map(shown).collect(),
            rejections,
        }
    }
}

impl Fresh {
    /// The freshness of an answer that is given now.
    pub(crate) fn new(freshness: &Freshness, now: DateTime<Utc>) -> Self {
        let data_as_of = as_of(freshness);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of centuries are exact")]
        let seconds = |lag: TimeDelta| lag.num_milliseconds().max(0) as f64 / 1000.0;
        Self {
            generated_at: Instant(now),
            data_as_of: data_as_of.map(Instant),
            lag_seconds: data_as_of.map(|at| seconds(now - at)),
        }
    }

    /// The instant up to which everything is in the answer, as it is shown.
    pub(crate) fn data_as_of(&self) -> Option<String> {
        self.data_as_of.map(Instant::text)
    }
}

/// The gaps that a range touches. Events of a gap may have completed on any of its days.
pub(crate) fn gaps(freshness: &Freshness, days: &Days, calendar: &Calendar) -> Vec<Gap> {
    let touches =
        |gap: &Gap| calendar.day_of(gap.from) <= days.range.to && calendar.day_of(gap.to) >= days.range.from;
    let mut gaps: Vec<Gap> = freshness
        .lanes
        .iter()
        .flat_map(|lane| &lane.gaps)
        .copied()
        .filter(touches)
        .collect();
    gaps.sort_unstable();
    gaps.dedup();
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::Range;

    #[test]
    fn an_answer_is_as_fresh_as_its_stalest_lane() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0);
        let lane = |watermark, scanning| Lane {
            watermark,
            scanning,
            ..Lane::default()
        };
        let as_of = |lanes: Vec<Lane>| {
            as_of(&Freshness {
                lanes,
                ..Freshness::default()
            })
        };
        assert_eq!(as_of(vec![lane(at(5), false), lane(at(3), false)]), at(3));
        assert_eq!(as_of(vec![lane(at(5), false), lane(None, false)]), None);
        assert_eq!(as_of(vec![lane(at(5), false), lane(at(9), true)]), None);
        assert_eq!(as_of(vec![]), None);
    }

    #[test]
    fn a_gap_is_told_where_the_range_touches_it() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect(text);
        let gap = Gap {
            from: at("2026-01-05T23:00:00Z"),
            to: at("2026-01-07T01:00:00Z"),
        };
        let freshness = Freshness {
            lanes: vec![Lane {
                gaps: vec![gap],
                ..Lane::default()
            }],
            ..Freshness::default()
        };
        let touched = |from: &str, to: &str| {
            let range = Range {
                from: from.parse().expect(from),
                to: to.parse().expect(to),
            };
            !gaps(&freshness, &Days { range, preset: None }, &Calendar::UTC).is_empty()
        };
        assert!(touched("2026-01-01", "2026-01-05"));
        assert!(touched("2026-01-06", "2026-01-06"));
        assert!(touched("2026-01-07", "2026-01-31"));
        assert!(!touched("2026-01-01", "2026-01-04"));
        assert!(!touched("2026-01-08", "2026-01-31"));
    }
}

//! The periods of answers over time, as they are asked for and shown.

use chrono::NaiveDate;
use rollup::kept::Kept;
use rollup::period::Granularity;
use serde::Serialize;
use utoipa::ToSchema;

use crate::bucket::{Bucket, MAX_BUCKETS, MAX_HOURLY_DAYS, buckets};
use crate::problem::{Kind, Problem};
use crate::query::QueryContext;
use crate::question::GRANULARITY;
use crate::range::Range;
use crate::route::Common;

/// A period, cut to the range.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Period)]
pub(crate) struct Head {
    /// `2026-01-05T13`, `2026-01-05`, `2026-W02` or `2026-01`.
    period_key: String,
    /// The first day that is counted.
    #[schema(value_type = String, format = Date)]
    start: NaiveDate,
    /// The last day that is counted.
    #[schema(value_type = String, format = Date)]
    end: NaiveDate,
    /// The period is over.
    complete: bool,
    /// The range cuts the period.
    partial: bool,
}

impl From<&Bucket> for Head {
    fn from(bucket: &Bucket) -> Self {
        Self {
            period_key: bucket.period.to_string(),
            start: bucket.start,
            end: bucket.end,
            complete: bucket.complete,
            partial: bucket.partial,
        }
    }
}

impl Head {
    pub(crate) const COLUMNS: [&'static str; 5] = ["periodKey", "start", "end", "complete", "partial"];

    pub(crate) fn cells(&self) -> [String; 5] {
        [
            self.period_key.clone(),
            self.start.to_string(),
            self.end.to_string(),
            self.complete.to_string(),
            self.partial.to_string(),
        ]
    }
}

/// The buckets of a question, or why there are none.
pub(super) fn buckets_of<S>(
    common: &Common,
    granularity: Granularity,
    context: &QueryContext<S>,
) -> Result<Vec<Bucket>, Problem> {
    let range = common.days.range;
    if granularity == Granularity::Hourly {
        check_hours(range, &context.kept)?;
    }
    buckets(range, granularity, &context.calendar, context.now).ok_or_else(|| {
        let detail = format!(
            "the range has more than {MAX_BUCKETS} {granularity} buckets: ask for a shorter range or longer buckets"
        );
        Problem::new(Kind::TooMuch, detail)
    })
}

/// Refuses hours that are not kept, and too many of them. Weeks and months are sums of days, also where they are not
/// kept; hours are not.
fn check_hours(range: Range, kept: &[Kept]) -> Result<(), Problem> {
    let mut granularities = kept.iter();
    let Some(hourly) = granularities.find(|kept| kept.granularity == Granularity::Hourly) else {
        let kept: Vec<&str> = kept.iter().map(|kept| kept.granularity.name()).collect();
        let detail = format!(
            "`hourly` is not kept by this ledger, which keeps `{}`",
            kept.join("`, `")
        );
        return Err(Problem::parameter(GRANULARITY.name, detail));
    };
    if let Some(since) = hourly.since.filter(|since| range.from < *since) {
        let detail =
            format!("`hourly` is kept from {since} on: ask for days from then on, or for longer buckets");
        return Err(Problem::parameter(GRANULARITY.name, detail));
    }
    let days = range.days();
    if days > MAX_HOURLY_DAYS {
        let detail = format!(
            "`hourly` is answered for up to {MAX_HOURLY_DAYS} days, and the range has {days}: ask for a shorter range \
             or longer buckets"
        );
        return Err(Problem::new(Kind::TooMuch, detail).about(GRANULARITY.name));
    }
    Ok(())
}

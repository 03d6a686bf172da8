//! A series by groups as CSV: every bucket, and in it every group.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, Stream, TryStreamExt};
use rollup::counters::Sums;
use rollup::period::{Granularity, Period};

use super::Series;
use crate::bucket::Bucket;
use crate::csv_table::{Line, key_cells, totals_cells};
use crate::group_by::GroupBy;
use crate::problem::Problem;
use crate::query::{GroupQuery, QueryContext};
use crate::range::Range;
use crate::reader::{Key, Snapshot};
use crate::route::Common;
use crate::routes::periods::Head;
use crate::totals::Totals;

/// About how many cells are read at once.
const CELLS: usize = 8_192;
const HOURS_OF_DAY: usize = 24;

/// The lines of a series, read a few buckets at a time: however many groups there are, little is held besides them.
pub(super) fn lines<S: Snapshot>(
    series: Series,
    by: GroupBy,
    common: Common,
    context: QueryContext<S>,
    buckets: &[Bucket],
    keys: Vec<Key>,
) -> impl Stream<Item = Result<Line, Problem>> + Send + 'static {
    let at_once = CELLS / keys.len().max(1);
    let pieces = pieces(series.granularity, buckets, at_once).into_iter();
    let keys: Arc<[Key]> = keys.into();
    let state = (series, common, context, pieces);
    let pages = stream::try_unfold(state, move |(series, common, context, mut pieces)| {
        let keys = Arc::clone(&keys);
        async move {
            let Some(piece) = pieces.next() else {
                return Ok::<_, Problem>(None);
            };
            let sums = sums(&series, by, &common, &context, &piece).await?;
            let lines = lines_of(piece, keys, sums, common.clone());
            Ok(Some((stream::iter(lines), (series, common, context, pieces))))
        }
    });
    pages.try_flatten()
}

/// The sums of the groups of one bucket.
type Groups = HashMap<Key, Sums>;

/// The sums of the groups of consecutive buckets.
async fn sums<S: Snapshot>(
    series: &Series,
    by: GroupBy,
    common: &Common,
    context: &QueryContext<S>,
    piece: &[Bucket],
) -> Result<HashMap<Period, Groups>, Problem> {
    let mut sums: HashMap<Period, Groups> = HashMap::new();
    let Some((first, last)) = piece.first().zip(piece.last()) else {
        return Ok(sums);
    };
    let is_hour = series.granularity == Granularity::Hourly && piece.len() == 1;
    let group_query = GroupQuery {
        bucket: Some(series.granularity),
        hour: is_hour.then_some(first.period),
        ..GroupQuery::groups(&common.filters, by.dimensions())
    };
    let range = Range {
        from: first.start,
        to: last.end,
    };
    context
        .each(range, &group_query, |key, period, piece| {
            if let Some(period) = period {
                let groups = sums.entry(period).or_default();
                groups.entry(key.clone()).or_default().merge(piece);
            }
            Ok(())
        })
        .await?;
    Ok(sums)
}

/// The lines of consecutive buckets, made one by one: their texts take more than their sums.
fn lines_of(
    piece: Vec<Bucket>,
    keys: Arc<[Key]>,
    mut sums: HashMap<Period, Groups>,
    common: Common,
) -> impl Iterator<Item = Result<Line, Problem>> {
    piece.into_iter().flat_map(move |bucket| {
        let head = Head::from(&bucket).cells();
        let groups = sums.remove(&bucket.period).unwrap_or_default();
        let (keys, currency) = (Arc::clone(&keys), common.currency);
        (0..keys.len()).map(move |at| {
            let key = &keys[at];
            let totals = Totals::of(&groups.get(key).copied().unwrap_or_default(), currency)?;
            let line = head.iter().cloned().chain(key_cells(key));
            Ok(line.chain(totals_cells(&totals)).collect())
        })
    })
}

/// The buckets that are read together: as many as may be at once, or one. A question is about days, or about one hour:
/// hours are taken one by one, or by whole days.
fn pieces(granularity: Granularity, buckets: &[Bucket], at_once: usize) -> Vec<Vec<Bucket>> {
    let of_a_day = match granularity {
        Granularity::Hourly => HOURS_OF_DAY,
        _ => 1,
    };
    if at_once < of_a_day {
        return buckets.iter().map(|bucket| vec![*bucket]).collect();
    }
    let days: Vec<&[Bucket]> = buckets.chunk_by(|one, other| one.start == other.start).collect();
    days.chunks(at_once / of_a_day).map(<[_]>::concat).collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;
    use rollup::period::Calendar;

    use super::*;
    use crate::bucket::buckets;

    proptest! {
        #[test]
        fn pieces_are_the_buckets_in_their_order_and_hours_of_whole_days_or_alone(
            granularity in prop::sample::select(Granularity::ALL.to_vec()),
            days in 1_u64..32,
            at_once in 0_usize..100,
        ) {
            let berlin: Calendar = "Europe/Berlin".parse().expect("a zone");
            let from = "2026-03-15".parse().expect("a day");
            let range = Range { from, to: from + chrono::Days::new(days - 1) };
            let buckets = buckets(range, granularity, &berlin, DateTime::UNIX_EPOCH).expect("few");
            let pieces = pieces(granularity, &buckets, at_once);
            prop_assert_eq!(pieces.concat(), buckets.clone());
            for piece in &pieces {
                prop_assert!(piece.len() <= at_once.max(1));
                let days = piece[0].start..=piece[piece.len() - 1].start;
                let of_these_days = buckets.iter().filter(|bucket| days.contains(&bucket.start));
                prop_assert!(piece.len() == 1 || of_these_days.count() == piece.len());
            }
        }
    }
}

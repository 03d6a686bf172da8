//! The groups of a range that are kept in memory, in two parts: the days before today rarely change.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use rollup::counters::Sums;
use rollup::period::Period;

use super::context::{GroupQuery, QueryContext};
use super::part::{Part, group_bytes};
use crate::cache::CacheKey;
use crate::problem::Problem;
use crate::range::Range;
use crate::reader::{Group, Key, Query, Snapshot};

impl<S: Snapshot> QueryContext<S> {
    /// The parts of a range, remembered ones among them: the days before today, which rarely change, and those
    /// from today on. `None`: they do not fit in memory.
    pub(super) async fn parts(
        &self,
        organization: &str,
        range: Range,
        group_query: &GroupQuery<'_>,
    ) -> Result<Option<Vec<Arc<Part>>>, Problem> {
        let (past, current) = range.split(self.today);
        let mut parts = Vec::new();
        for range in past.into_iter().chain(current) {
            parts.push(Box::pin(self.part(organization, self.query(range, group_query))).await?);
        }
        let fits = parts.iter().all(|part| matches!(**part, Part::Groups(_)));
        Ok(fits.then_some(parts))
    }

    async fn part(&self, organization: &str, query: Query) -> Result<Arc<Part>, Problem> {
        let version = self.version(organization, &query.cover).await?;
        let key = CacheKey::of(&(&query, version));
        let parts = &self.remembered.parts;
        let made = parts.get_or_make(key, async {
            let (mut groups, mut bytes) = (Vec::new(), 0);
            let mut stream = pin!(self.snapshot().sums(query));
            while let Some(group) = stream.try_next().await? {
                bytes += group_bytes(&group);
                if bytes <= parts.largest() {
                    groups.push(group);
                } else {
                    // Read on all the same: whether there are too many rows shows at the end.
                    groups = Vec::new();
                }
            }
            let fits = bytes <= parts.largest();
            Ok(if fits {
                Part::Groups(groups)
            } else {
                Part::TooLarge
            })
        });
        made.await
    }
}

/// Hands over every group of the parts of a range: once, or where sums are per bucket in pieces that add up.
pub(super) fn each_of(
    parts: &[Arc<Part>],
    group_query: &GroupQuery<'_>,
    mut take: impl FnMut(&Key, Option<Period>, &Sums) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let bucket = |group: &Group| Some(group.period?.widened(group_query.bucket?));
    let mut groups = parts.iter().flat_map(|part| part.groups());
    if group_query.bucket.is_some() || parts.len() == 1 {
        return groups.try_for_each(|group| take(&group.key, bucket(group), &group.counters.into()));
    }
    let mut merged: HashMap<&Key, Sums> = HashMap::new();
    for group in groups {
        merged.entry(&group.key).or_default().add(&group.counters);
    }
    merged
        .into_iter()
        .try_for_each(|(key, sums)| take(key, None, &sums))
}

//! The order of groups, and the rest after a page of them.
//!
//! The order is the same everywhere: by the metric, largest first, then by tokens, then by name. It is
//! total, so that a page can end at any group and the next one start right after it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use rollup::counters::{Counter, Counters, Overflow, Sums};

use crate::key_interner::KeyInterner;
use crate::period_columns::PeriodColumns;
use crate::reader::Key;

/// The metric that groups are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Sort {
    #[default]
    Cost,
    Tokens,
    Requests,
}

impl Sort {
    pub(crate) const NAMES: [&'static str; 3] = ["cost", "tokens", "requests"];

    pub(crate) const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    pub(crate) const fn counter(self) -> Counter {
        match self {
            Sort::Cost => Counter::CostNanos,
            Sort::Tokens => Counter::TotalTokens,
            Sort::Requests => Counter::Requests,
        }
    }
}

impl FromStr for Sort {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        [Sort::Cost, Sort::Tokens, Sort::Requests]
            .into_iter()
            .find(|sort| sort.name() == name)
            .ok_or(())
    }
}

/// Where a group stands in a ranking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) metric: i64,
    pub(crate) tokens: i64,
    pub(crate) key: Key,
}

impl Position {
    fn borrowed(&self) -> (i64, i64, &Key) {
        (self.metric, self.tokens, &self.key)
    }
}

/// Ranked groups come first where they are less.
fn order(one: (i64, i64, &Key), other: (i64, i64, &Key)) -> Ordering {
    (other.0, other.1)
        .cmp(&(one.0, one.1))
        .then_with(|| one.2.cmp(other.2))
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.borrowed(), other.borrowed())
    }
}

/// A ranked group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranked {
    pub(crate) position: Position,
    pub(crate) counters: Counters,
}

impl Ranked {
    pub(crate) fn new(sort: Sort, key: Key, counters: Counters) -> Self {
        let position = Position {
            metric: counters[sort.counter()],
            tokens: counters[Counter::TotalTokens],
            key,
        };
        Self { position, counters }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.position.cmp(&other.position)
    }
}

/// Takes groups in any order and keeps one page of them, in memory for one page.
#[derive(Debug)]
pub(crate) struct TopGroups {
    sort: Sort,
    after: Option<Position>,
    limit: usize,
    /// The best so far, the worst of them on top.
    page: BinaryHeap<Ranked>,
    following: Sums,
    following_count: u64,
    totals: Sums,
}

/// A page of a ranking.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The groups of this page, in order.
    pub(crate) rows: Vec<Ranked>,
    /// How many groups follow this page, and their sums.
    pub(crate) other: Option<(u64, Sums)>,
    /// The sums of all groups, on whatever page.
    pub(crate) totals: Sums,
}

/// All groups with usage in their order, in as few bytes as they need.
pub(crate) struct RankedGroups {
    sort: Sort,
    keys: Arc<KeyInterner>,
    /// Whether nobody else holds the keys.
    has_own_keys: bool,
    rows: PeriodColumns,
    totals: Sums,
}

impl RankedGroups {
    /// Ranks groups, each under its number.
    pub(crate) fn of(sort: Sort, keys: Arc<KeyInterner>, groups: &[(u32, Counters)]) -> Self {
        let interned = keys.interned();
        let place = |at: usize| {
            let (number, counters) = &groups[at];
            (
                counters[sort.counter()],
                counters[Counter::TotalTokens],
                *number,
                at,
            )
        };
        let mut places: Vec<_> = (0..groups.len()).map(place).collect();
        places.sort_unstable_by(|one, other| {
            let place = |of: &(i64, i64, u32, usize)| (of.0, of.1, interned.key(of.2));
            order(place(one), place(other))
        });
        drop(interned);
        let mut totals = Sums::default();
        groups.iter().for_each(|(_, counters)| totals.add(counters));
        let column = |counter| places.iter().map(|place| groups[place.3].1[counter]).collect();
        Self {
            sort,
            rows: PeriodColumns::of(
                places.iter().map(|place| place.2).collect(),
                Counter::ALL.map(column),
            ),
            has_own_keys: Arc::strong_count(&keys) == 1,
            keys,
            totals,
        }
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let keys = if self.has_own_keys { self.keys.bytes() } else { 0 };
        self.rows.bytes() + keys
    }

    /// A group by its place.
    pub(crate) fn group(&self, at: usize) -> Ranked {
        let key = self.keys.interned().key(self.rows.number(at)).clone();
        Ranked::new(self.sort, key, self.rows.counters(at))
    }

    /// The page of at most `limit` groups after a position.
    pub(crate) fn page(&self, after: Option<&Position>, limit: usize) -> Page {
        let start = after.map_or(0, |after| self.place_after(after));
        let end = self.len().min(start + limit);
        let sum = |places: Range<usize>| {
            let mut sums = Sums::default();
            places.for_each(|at| sums.add(&self.rows.counters(at)));
            sums
        };
        // The shorter side is summed, and the other one is what it leaves.
        let rest = if end > self.len() / 2 {
            sum(end..self.len())
        } else {
            self.totals.without(&sum(0..end))
        };
        Page {
            rows: (start..end).map(|at| self.group(at)).collect(),
            other: (end < self.len()).then_some(((self.len() - end) as u64, rest)),
            totals: self.totals,
        }
    }

    /// The place of the first group after a position.
    fn place_after(&self, after: &Position) -> usize {
        let interned = self.keys.interned();
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let metric = self.rows.counter(middle, self.sort.counter());
            let tokens = self.rows.counter(middle, Counter::TotalTokens);
            let place = (metric, tokens, interned.key(self.rows.number(middle)));
            if order(place, after.borrowed()).is_le() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl TopGroups {
    /// The page of at most `limit` groups that starts after a position.
    pub(crate) fn new(sort: Sort, after: Option<Position>, limit: usize) -> Self {
        Self {
            sort,
            after,
            limit,
            page: BinaryHeap::new(),
            following: Sums::default(),
            following_count: 0,
            totals: Sums::default(),
        }
    }

    /// Takes a group. One without usage does not count as a group.
    pub(crate) fn take(&mut self, key: &Key, sums: &Sums) -> Result<(), Overflow> {
        if sums.is_zero() {
            return Ok(());
        }
        self.totals.merge(sums);
        let counters = sums.narrow()?;
        let place = (counters[self.sort.counter()], counters[Counter::TotalTokens], key);
        if self
            .after
            .as_ref()
            .is_some_and(|after| order(place, after.borrowed()).is_le())
        {
            return Ok(());
        }
        self.following_count += 1;
        self.following.merge(sums);
        let full = self.page.len() == self.limit;
        if full
            && self
                .page
                .peek()
                .is_some_and(|worst| order(place, worst.position.borrowed()).is_gt())
        {
            return Ok(());
        }
        self.page.push(Ranked::new(self.sort, key.clone(), counters));
        if full {
            self.page.pop();
        }
        Ok(())
    }

    /// The page.
    pub(crate) fn finish(self) -> Page {
        let rows = self.page.into_sorted_vec();
        let mut shown = Sums::default();
        rows.iter().for_each(|row| shown.add(&row.counters));
        let rest = self.following.without(&shown);
        let left = self.following_count - rows.len() as u64;
        Page {
            rows,
            other: (left > 0).then_some((left, rest)),
            totals: self.totals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str) -> Key {
        Box::new([name.into()])
    }

    fn sums(cost: i128, tokens: i128) -> Sums {
        let mut sums = Sums::default();
        sums[Counter::CostNanos] = cost;
        sums[Counter::TotalTokens] = tokens;
        sums[Counter::Requests] = 1;
        sums
    }

    fn names(page: &Page) -> Vec<String> {
        page.rows
            .iter()
            .map(|row| row.position.key[0].to_string())
            .collect()
    }

    /// Lesson L9: sort by tokens hid image and audio cost.
    #[test]
    fn l9_the_default_order_is_cost_then_tokens_then_name() {
        let mut top = TopGroups::new(Sort::default(), None, 10);
        for (name, cost, tokens) in [
            ("b", 5, 1),
            ("a", 5, 1),
            ("images", 9, 0),
            ("chatty", 1, 1_000),
            ("c", 5, 2),
        ] {
            top.take(&key(name), &sums(cost, tokens)).expect("fits");
        }
        assert_eq!(names(&top.finish()), ["images", "c", "a", "b", "chatty"]);
    }

    proptest! {
        #[test]
        fn pages_tile_the_ranking_and_their_totals_add_up(
            groups in prop::collection::btree_map("[a-e]{1,2}", (0_i128..4, 0_i128..3), 0..40),
            limit in 1_usize..7,
            sort in prop::sample::select(vec![Sort::Cost, Sort::Tokens, Sort::Requests]),
        ) {
            let mut expected: Vec<Ranked> = groups
                .iter()
                .map(|(name, (cost, tokens))| Ranked::new(sort, key(name), sums(*cost, *tokens).narrow().expect("fits")))
                .collect();
            expected.sort();
            let keys = Arc::<KeyInterner>::default();
            let numbers = keys.numbers(expected.iter().rev().map(|ranked| ranked.position.key.clone()).collect());
            let numbered: Vec<_> = numbers.into_iter().zip(expected.iter().rev().map(|ranked| ranked.counters)).collect();
            let ranked = RankedGroups::of(sort, keys, &numbered);
            prop_assert_eq!((0..ranked.len()).map(|at| ranked.group(at)).collect::<Vec<_>>(), expected.clone());
            let mut seen: Vec<Ranked> = Vec::new();
            let mut after = None;
            loop {
                let mut top = TopGroups::new(sort, after.clone(), limit);
                for (name, (cost, tokens)) in &groups {
                    top.take(&key(name), &sums(*cost, *tokens)).expect("fits");
                }
                let page = top.finish();
                prop_assert_eq!(&page, &ranked.page(after.as_ref(), limit));
                let whole = page.totals;
                seen.extend(page.rows);
                // Lesson C9: what is on this page, before it and after it is the whole, on every page.
                let mut sum = Sums::default();
                seen.iter().for_each(|row| sum.add(&row.counters));
                let Some((count, rest)) = page.other else {
                    prop_assert_eq!(sum, whole);
                    break;
                };
                sum.merge(&rest);
                prop_assert_eq!(sum, whole);
                prop_assert_eq!(usize::try_from(count).expect("few") + seen.len(), expected.len());
                after = seen.last().map(|row| row.position.clone());
            }
            prop_assert_eq!(seen, expected);
        }
    }
}

//! Which rows are there already, as far as this process knows.
//!
//! Only the speed of a commit depends on it, never what it writes:
//!
//! ```text
//! what is known       statement    where that is wrong
//! nothing             upsert       cannot be
//! it is not there     insert       11000: nothing of the transaction is applied. The same again, by upserts.
//! ```
//! Rows come in groups: those of one organization and period, and of one set where they are rollups. A group that
//! a commit adds much to is asked for once. Where it holds few rows beside those of the commit they are remembered,
//! each by a hash, and so is whatever is added later: what is not among them is not there. Another process may write
//! rows too: after a mistake the groups of the commit are upserted to for good, and with each lane that is acquired
//! everything is forgotten, since somebody else has written to its rows meanwhile.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use rollup::fold::{LedgerRow, RollupRow, Set};
use rollup::period::Period;

use super::rows::Row;

/// A group is asked for when a commit adds to so many of its rows: with fewer, asking costs more than it gains.
const WORTH_ASKING: usize = 32;
/// Rows that a group may hold for each of the commit's, to be remembered: reading one costs less than a third of
/// what is gained with one that is new.
const READ_FOR_EACH: usize = 2;
/// The most rows and groups that are remembered, about 20 bytes each.
const MOST: usize = 1_000_000;

/// Which rows are known. See the module.
#[derive(Debug, Default)]
pub(super) struct Known {
    groups: Groups,
    hasher: RandomState,
    /// Rows and groups that are remembered.
    size: usize,
    /// Counts commits.
    now: u64,
}

/// What a group is of, within an organization; without a set it is of the ledger.
type Kind = (Period, Option<Set>);

#[derive(Debug)]
struct Group {
    /// The rows that are there: these and no others. `None`: nobody knows.
    rows: Option<HashSet<u64>>,
    /// The last commit that added to it.
    used: u64,
}

impl Group {
    /// What it takes of [`MOST`].
    fn size(&self) -> usize {
        1 + self.rows.as_ref().map_or(0, HashSet::len)
    }
}

/// A group that is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) organization: Box<str>,
    pub(super) period: Period,
    pub(super) set: Option<Set>,
    /// With more rows than this it is not remembered.
    pub(super) most: usize,
}

/// Rows of a commit by their `_id`s, and in their order.
pub(super) type Rows<'a, R> = [(&'a str, &'a R)];

impl Known {
    /// The groups that are worth being asked for, and never were.
    pub(super) fn unasked<R: Row>(&self, rows: &Rows<'_, R>) -> Vec<Ask> {
        groups(rows)
            .filter(|group| group.len() >= WORTH_ASKING && self.group(group[0].1).is_none())
            .map(|group| Ask {
                organization: group[0].1.organization().into(),
                period: group[0].1.period(),
                set: group[0].1.set(),
                most: group.len() * READ_FOR_EACH,
            })
            .collect()
    }

    /// Takes in the answer: the `_id`s of the rows that are there.
    pub(super) fn learn(&mut self, ask: Ask, ids: &[String]) {
        let group = Group {
            rows: (ids.len() <= ask.most).then(|| ids.iter().map(|id| self.hasher.hash_one(id)).collect()),
            used: self.now,
        };
        self.size += group.size();
        let kinds = self.groups.entry(ask.organization).or_default();
        kinds.insert((ask.period, ask.set), group);
    }

    /// For each row, whether it is known not to be there.
    pub(super) fn absent<R: Row>(&self, rows: &Rows<'_, R>) -> Vec<bool> {
        let mut absent = Vec::with_capacity(rows.len());
        for group in groups(rows) {
            let there = self.group(group[0].1).and_then(|group| group.rows.as_ref());
            absent.extend(
                group
                    .iter()
                    .map(|(id, _)| there.is_some_and(|there| !there.contains(&self.hasher.hash_one(id)))),
            );
        }
        absent
    }

    /// These rows were committed: they are there. Where too much is remembered, groups to which this commit did
    /// not add are forgotten first.
    pub(super) fn committed(&mut self, ledger: &Rows<'_, LedgerRow>, rollups: &Rows<'_, RollupRow>) {
        self.now += 1;
        self.remember(ledger);
        self.remember(rollups);
        if self.size > MOST {
            let now = self.now;
            self.retain(|group| group.used == now);
        }
        if self.size > MOST {
            self.forget();
        }
    }

    fn remember<R: Row>(&mut self, rows: &Rows<'_, R>) {
        for group in groups(rows) {
            let Some(known) = find(&mut self.groups, group[0].1) else {
                continue;
            };
            known.used = self.now;
            if let Some(there) = &mut known.rows {
                let before = there.len();
                there.extend(group.iter().map(|(id, _)| self.hasher.hash_one(id)));
                self.size += there.len() - before;
            }
        }
    }

    /// One of these rows was known not to be there, and is: nobody knows of their groups from here on.
    pub(super) fn mistaken(&mut self, ledger: &Rows<'_, LedgerRow>, rollups: &Rows<'_, RollupRow>) {
        self.give_up(ledger);
        self.give_up(rollups);
    }

    fn give_up<R: Row>(&mut self, rows: &Rows<'_, R>) {
        for group in groups(rows) {
            let known = find(&mut self.groups, group[0].1);
            let rows = known.and_then(|known| known.rows.take());
            self.size -= rows.map_or(0, |rows| rows.len());
        }
    }

    /// Forgets everything: somebody else may have written.
    pub(super) fn forget(&mut self) {
        self.retain(|_| false);
    }

    fn retain(&mut self, keep: impl Fn(&Group) -> bool) {
        self.size = 0;
        self.groups.retain(|_, kinds| {
            kinds.retain(|_, group| keep(group));
            self.size += kinds.values().map(Group::size).sum::<usize>();
            !kinds.is_empty()
        });
    }

    fn group(&self, row: &impl Row) -> Option<&Group> {
        self.groups
            .get(row.organization())?
            .get(&(row.period(), row.set()))
    }
}

/// The groups of each organization.
type Groups = HashMap<Box<str>, HashMap<Kind, Group>>;

fn find<'a>(groups: &'a mut Groups, row: &impl Row) -> Option<&'a mut Group> {
    groups
        .get_mut(row.organization())?
        .get_mut(&(row.period(), row.set()))
}

/// Rows of one group are neighbours: their `_id`s begin alike.
fn groups<'a, 'r, R: Row>(rows: &'r Rows<'a, R>) -> impl Iterator<Item = &'r Rows<'a, R>> {
    rows.chunk_by(|(_, one), (_, other)| {
        one.period() == other.period()
            && one.set() == other.set()
            && one.organization() == other.organization()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rollup::counters::Sums;
    use rollup::fold::Booked;
    use rollup::key;
    use rollup::period::Granularity;

    use super::*;

    fn day(key: &str) -> Period {
        Period::parse(Granularity::Daily, key).expect(key)
    }

    /// Rollups of these users, as a commit has them.
    fn users(
        organization: &str,
        day: Period,
        users: impl IntoIterator<Item = usize>,
    ) -> Vec<(String, RollupRow)> {
        let row = |user: usize| {
            let value = format!("u{user:04}");
            let row = RollupRow {
                period: day,
                organization: organization.into(),
                set: Set::User,
                value: value.as_str().into(),
                provider: None,
                booked: Booked {
                    sums: Sums::default(),
                    first_event_ms: 0,
                    last_event_ms: 0,
                },
            };
            (key::rollup(organization, day, Set::User, &value, None), row)
        };
        let mut rows: Vec<_> = users.into_iter().map(row).collect();
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        rows.dedup_by(|(one, _), (other, _)| one == other);
        rows
    }

    fn borrowed(rows: &[(String, RollupRow)]) -> Vec<(&str, &RollupRow)> {
        rows.iter().map(|(id, row)| (id.as_str(), row)).collect()
    }

    fn ids(rows: &[(String, RollupRow)]) -> Vec<String> {
        rows.iter().map(|(id, _)| id.clone()).collect()
    }

    #[test]
    fn a_group_is_asked_for_once_and_only_where_a_commit_adds_much_to_it() {
        let mut known = Known::default();
        let few = users("few", day("2026-01-05"), 0..WORTH_ASKING - 1);
        let many = users("many", day("2026-01-05"), 0..WORTH_ASKING);
        let rows = [few, many].concat();
        let rows = borrowed(&rows);
        let asks = known.unasked(&rows);
        let expected = Ask {
            organization: "many".into(),
            period: day("2026-01-05"),
            set: Some(Set::User),
            most: WORTH_ASKING * READ_FOR_EACH,
        };
        assert_eq!(asks, [expected]);
        assert_eq!(
            known.absent(&rows),
            vec![false; rows.len()],
            "nothing is known yet"
        );
        for ask in asks {
            known.learn(ask, &[rows[rows.len() - 1].0.to_owned()]);
        }
        assert_eq!(known.unasked(&rows), []);
        let absent = known.absent(&rows).iter().filter(|absent| **absent).count();
        assert_eq!(
            absent,
            WORTH_ASKING - 1,
            "all of the large group but the one that is there"
        );
    }

    #[test]
    fn a_group_with_many_rows_is_not_remembered() {
        let mut known = Known::default();
        let rows = users("acme", day("2026-01-05"), 0..WORTH_ASKING);
        let rows = borrowed(&rows);
        let ask = known.unasked(&rows).remove(0);
        let there = ids(&users("acme", day("2026-01-05"), 1_000..1_001 + ask.most));
        known.learn(ask, &there);
        assert_eq!(known.absent(&rows), vec![false; rows.len()]);
        assert_eq!(known.unasked(&rows), [], "and not asked for again");
    }

    #[test]
    fn after_a_mistake_and_after_a_lane_changed_hands_nothing_is_taken_for_granted() {
        let mut known = Known::default();
        let rows = users("acme", day("2026-01-05"), 0..WORTH_ASKING);
        let rows = borrowed(&rows);
        let learn = |known: &mut Known| {
            for ask in known.unasked(&rows) {
                known.learn(ask, &[]);
            }
        };
        learn(&mut known);
        assert_eq!(known.absent(&rows), vec![true; rows.len()]);
        known.mistaken(&[], &rows);
        learn(&mut known);
        assert_eq!(known.absent(&rows), vec![false; rows.len()]);
        known.forget();
        learn(&mut known);
        assert_eq!(known.absent(&rows), vec![true; rows.len()]);
    }

    #[test]
    fn memory_is_bounded_and_what_is_not_used_goes_first() {
        let mut known = Known::default();
        let mut commit = |day: Period, size: usize| {
            let rows = users("acme", day, 0..WORTH_ASKING);
            let rows = borrowed(&rows);
            for ask in known.unasked(&rows) {
                known.learn(ask, &[]);
            }
            known.size += size;
            known.committed(&[], &rows);
            known.absent(&rows).iter().any(|absent| *absent)
        };
        assert!(!commit(day("2026-01-05"), 0));
        commit(day("2026-01-06"), MOST);
        let old = users("acme", day("2026-01-05"), [9_999]);
        let new = users("acme", day("2026-01-06"), [9_999]);
        assert_eq!(known.absent(&borrowed(&old)), [false], "forgotten");
        assert_eq!(known.absent(&borrowed(&new)), [true], "remembered");
        assert!(known.size <= MOST);
    }

    proptest! {
        /// Whoever writes alone is never mistaken, and knows every row that is not there once it has asked.
        #[test]
        fn a_single_writer_is_never_mistaken(
            commits in prop::collection::vec((0..3_usize, prop::collection::vec(0..200_usize, 1..80)), 1..12),
        ) {
            let mut known = Known::default();
            let mut there: HashSet<String> = HashSet::new();
            for (organization, of) in commits {
                let organization = ["a", "a/b", "c"][organization];
                let rows = users(organization, day("2026-01-05"), of);
                let rows = borrowed(&rows);
                for ask in known.unasked(&rows) {
                    let begin = format!("v1/{}/", organization.replace('/', "%2F"));
                    let ids: Vec<String> = there.iter().filter(|id| id.starts_with(&begin)).cloned().collect();
                    known.learn(ask, &ids);
                }
                for ((id, row), absent) in rows.iter().zip(known.absent(&rows)) {
                    let remembered = known.group(*row).is_some_and(|group| group.rows.is_some());
                    prop_assert_eq!(absent, remembered && !there.contains(*id));
                }
                there.extend(rows.iter().map(|(id, _)| (*id).to_owned()));
                known.committed(&[], &rows);
                let sizes = known.groups.values().flat_map(HashMap::values);
                let size: usize = sizes.map(Group::size).sum();
                prop_assert_eq!(known.size, size);
            }
        }
    }
}

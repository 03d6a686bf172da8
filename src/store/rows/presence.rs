//! The rows that are there already, as far as this process knows.
//!
//! Only the speed of a commit depends on it, never what it writes:
//!
//! ```text
//! what is known       statement        where that is wrong
//! nothing             upsert           cannot be
//! it is not there     insert           11000:              nothing of the transaction is applied,
//! it is there         plain `$inc`     fewer are matched:  and the same is written by upserts
//! ```
//! Rows come in groups: those of one organization and period, and of one marginal where they are rollups. Committed
//! rows are there. A group that a commit adds much to is also asked for, once: where it holds few rows beside those of
//! the commit, all others are known not to be there. Rows are remembered by a hash each: two with one hash
//! are one of the cases above. Another process may write rows too, or remove some: after a mistake the groups of the
//! commit are upserted to for a while, and with each lane that is acquired everything is forgotten, since somebody
//! else has written to its rows meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use rollup::fold::{LedgerRow, Marginal, RollupRow};
use rollup::period::Period;

use super::statements::Row;

/// A group is asked for when a commit adds to so many of its rows: with fewer, asking costs more than it gains.
const WORTH_ASKING: usize = 32;
/// Rows that a group may hold for each of the commit's, to be known whole: reading one costs less than a third of
/// what is gained with one that is new.
const READ_FOR_EACH: usize = 2;
/// The most rows that are remembered, about 20 bytes each.
const MOST: usize = 1_000_000;
/// What a group takes besides its rows, in rows.
const GROUP_SIZE: usize = 8;
/// For so many commits a group is upserted to after a mistake.
const GIVEN_UP_FOR: u64 = 64;

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Unknown,
    Absent,
    There,
}

/// Which rows are known. See the module.
#[derive(Debug, Default)]
pub(super) struct KnownRows {
    groups: Groups,
    hasher: RandomState,
    /// What is remembered, in rows.
    size: usize,
    /// Counts commits.
    now: u64,
}

/// What a group is of, within an organization; without a marginal it is of the ledger.
type Kind = (Period, Option<Marginal>);

#[derive(Debug, Default)]
struct Group {
    /// Rows that are there.
    there: HashSet<u64>,
    extent: Extent,
    /// The last commit that added to it.
    used: u64,
}

/// What is known of the other rows of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Extent {
    /// Nobody asked.
    #[default]
    NotProbed,
    /// There are too many to be known.
    Large,
    /// There are none.
    Whole,
    /// A mistake was made: nothing is taken for granted until so many commits were counted.
    GivenUp(u64),
}

impl Group {
    /// What it takes of [`MOST`].
    fn size(&self) -> usize {
        GROUP_SIZE + self.there.len()
    }

    fn presence(&self, hash: u64) -> Presence {
        if self.there.contains(&hash) {
            Presence::There
        } else if self.extent == Extent::Whole {
            Presence::Absent
        } else {
            Presence::Unknown
        }
    }
}

/// A group that is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) organization: Box<str>,
    pub(super) period: Period,
    pub(super) marginal: Option<Marginal>,
    /// With more rows than this it is not known whole.
    pub(super) most: usize,
}

/// Rows of a commit by their `_id`s, and in their order.
pub(super) type Ordered<'a, R> = [(&'a str, &'a R)];

impl KnownRows {
    /// The groups that are worth being asked for, and never were.
    pub(super) fn probes<R: Row>(&self, rows: &Ordered<'_, R>) -> Vec<Probe> {
        let is_due = |row: &R| {
            let group = self.group(row);
            group.is_none_or(|group| match group.extent {
                Extent::NotProbed => true,
                Extent::GivenUp(until) => until <= self.now,
                Extent::Large | Extent::Whole => false,
            })
        };
        groups(rows)
            .filter(|group| group.len() >= WORTH_ASKING && is_due(group[0].1))
            .map(|group| Probe {
                organization: group[0].1.organization().into(),
                period: group[0].1.period(),
                marginal: group[0].1.marginal(),
                most: group.len() * READ_FOR_EACH,
            })
            .collect()
    }

    /// Takes in the answer: the `_id`s of the rows that are there, or one more than was asked for.
    pub(super) fn learn(&mut self, probe: Probe, ids: &[String]) {
        let extent = match ids.len() <= probe.most {
            true => Extent::Whole,
            false => Extent::Large,
        };
        let kinds = self.groups.entry(probe.organization).or_default();
        let group = kinds.entry((probe.period, probe.marginal)).or_insert_with(|| {
            self.size += GROUP_SIZE;
            Group::default()
        });
        let before = group.there.len();
        if extent == Extent::Whole {
            // What was known before may have been removed by somebody else.
            group.there = ids.iter().map(|id| self.hasher.hash_one(id)).collect();
        }
        group.extent = extent;
        group.used = self.now;
        self.size = self.size + group.there.len() - before;
    }

    /// What is known of each row.
    pub(super) fn presence<R: Row>(&self, rows: &Ordered<'_, R>) -> Vec<Presence> {
        let mut known = Vec::with_capacity(rows.len());
        for rows in groups(rows) {
            let group = self.group(rows[0].1);
            known.extend(rows.iter().map(|(id, _)| match group {
                Some(group) => group.presence(self.hasher.hash_one(id)),
                None => Presence::Unknown,
            }));
        }
        known
    }

    /// These rows were committed: they are there. Where too much is remembered, what was not added to for the
    /// longest is forgotten.
    pub(super) fn committed(&mut self, ledger: &Ordered<'_, LedgerRow>, rollups: &Ordered<'_, RollupRow>) {
        self.now += 1;
        self.remember(ledger);
        self.remember(rollups);
        if self.size > MOST {
            self.forget_the_oldest(MOST / 2);
        }
    }

    fn remember<R: Row>(&mut self, rows: &Ordered<'_, R>) {
        for rows in groups(rows) {
            let row = rows[0].1;
            let kinds = match self.groups.get_mut(row.organization()) {
                Some(kinds) => kinds,
                None => self.groups.entry(row.organization().into()).or_default(),
            };
            let group = kinds.entry((row.period(), row.marginal())).or_insert_with(|| {
                self.size += GROUP_SIZE;
                Group::default()
            });
            group.used = self.now;
            match group.extent {
                Extent::GivenUp(until) if until > self.now => continue,
                Extent::GivenUp(_) => group.extent = Extent::NotProbed,
                _ => {}
            }
            let before = group.there.len();
            group
                .there
                .extend(rows.iter().map(|(id, _)| self.hasher.hash_one(id)));
            self.size += group.there.len() - before;
        }
    }

    /// What was known of one of these rows was wrong: their groups are given up for a while.
    pub(super) fn mistaken(&mut self, ledger: &Ordered<'_, LedgerRow>, rollups: &Ordered<'_, RollupRow>) {
        self.give_up(ledger);
        self.give_up(rollups);
    }

    fn give_up<R: Row>(&mut self, rows: &Ordered<'_, R>) {
        for rows in groups(rows) {
            let row = rows[0].1;
            let kinds = self.groups.get_mut(row.organization());
            if let Some(group) = kinds.and_then(|kinds| kinds.get_mut(&(row.period(), row.marginal()))) {
                self.size -= group.there.len();
                group.there = HashSet::new();
                group.extent = Extent::GivenUp(self.now + GIVEN_UP_FOR);
            }
        }
    }

    /// Forgets everything: somebody else may have written.
    pub(super) fn forget(&mut self) {
        self.groups.clear();
        self.size = 0;
    }

    /// Forgets what was not added to for the longest, until so much is left.
    fn forget_the_oldest(&mut self, most: usize) {
        let mut by_age: BTreeMap<u64, usize> = BTreeMap::new();
        for group in self.groups.values().flat_map(HashMap::values) {
            *by_age.entry(group.used).or_default() += group.size();
        }
        let mut newest_forgotten = 0;
        for (used, size) in by_age {
            if self.size <= most {
                break;
            }
            self.size -= size;
            newest_forgotten = used;
        }
        self.groups.retain(|_, kinds| {
            kinds.retain(|_, group| group.used > newest_forgotten);
            !kinds.is_empty()
        });
    }

    fn group(&self, row: &impl Row) -> Option<&Group> {
        self.groups
            .get(row.organization())?
            .get(&(row.period(), row.marginal()))
    }
}

/// The groups of each organization.
type Groups = HashMap<Box<str>, HashMap<Kind, Group>>;

/// Rows of one group are neighbours: their `_id`s begin alike.
fn groups<'a, 'r, R: Row>(rows: &'r Ordered<'a, R>) -> impl Iterator<Item = &'r Ordered<'a, R>> {
    rows.chunk_by(|(_, one), (_, other)| {
        one.period() == other.period()
            && one.marginal() == other.marginal()
            && one.organization() == other.organization()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rollup::counters::Sums;
    use rollup::fold::RowDelta;
    use rollup::key;
    use rollup::period::Granularity;

    use super::Presence::{Absent, There, Unknown};
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
                marginal: Marginal::User,
                value: value.as_str().into(),
                provider: None,
                booked: RowDelta {
                    sums: Sums::default(),
                    first_event_ms: 0,
                    last_event_ms: 0,
                },
            };
            (key::rollup(organization, day, Marginal::User, &value, None), row)
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
        let mut known = KnownRows::default();
        let few = users("few", day("2026-01-05"), 0..WORTH_ASKING - 1);
        let many = users("many", day("2026-01-05"), 0..WORTH_ASKING);
        let rows = [few, many].concat();
        let rows = borrowed(&rows);
        let probes = known.probes(&rows);
        let expected = Probe {
            organization: "many".into(),
            period: day("2026-01-05"),
            marginal: Some(Marginal::User),
            most: WORTH_ASKING * READ_FOR_EACH,
        };
        assert_eq!(probes, [expected]);
        assert_eq!(
            known.presence(&rows),
            vec![Unknown; rows.len()],
            "nothing is known yet"
        );
        for probe in probes {
            known.learn(probe, &[rows[rows.len() - 1].0.to_owned()]);
        }
        assert_eq!(known.probes(&rows), []);
        let mut expected = vec![Unknown; WORTH_ASKING - 1];
        expected.extend([Absent; WORTH_ASKING - 1]);
        expected.push(There);
        assert_eq!(known.presence(&rows), expected);
    }

    #[test]
    fn what_was_committed_is_there_and_nothing_is_known_of_the_rest_of_its_group() {
        let mut known = KnownRows::default();
        let rows = users("acme", day("2026-01-05"), 0..2);
        known.committed(&[], &borrowed(&rows));
        let more = users("acme", day("2026-01-05"), 0..3);
        assert_eq!(known.presence(&borrowed(&more)), [There, There, Unknown]);
        let other = users("acme", day("2026-01-06"), 0..1);
        assert_eq!(known.presence(&borrowed(&other)), [Unknown]);
    }

    #[test]
    fn a_group_with_many_rows_is_not_known_whole() {
        let mut known = KnownRows::default();
        let rows = users("acme", day("2026-01-05"), 0..WORTH_ASKING);
        let rows = borrowed(&rows);
        let probe = known.probes(&rows).remove(0);
        let there = ids(&users("acme", day("2026-01-05"), 1_000..1_001 + probe.most));
        known.learn(probe, &there);
        assert_eq!(known.presence(&rows), vec![Unknown; rows.len()]);
        assert_eq!(known.probes(&rows), [], "and not asked for again");
        known.committed(&[], &rows);
        assert_eq!(known.presence(&rows), vec![There; rows.len()]);
    }

    #[test]
    fn after_a_mistake_and_after_a_lane_changed_hands_nothing_is_taken_for_granted() {
        let mut known = KnownRows::default();
        let rows = users("acme", day("2026-01-05"), 0..WORTH_ASKING);
        let rows = borrowed(&rows);
        let learn = |known: &mut KnownRows| {
            let probes = known.probes(&rows);
            probes.into_iter().map(|probe| known.learn(probe, &[])).count()
        };
        assert_eq!(learn(&mut known), 1);
        assert_eq!(known.presence(&rows), vec![Absent; rows.len()]);
        known.mistaken(&[], &rows);
        for _ in 1..GIVEN_UP_FOR {
            assert_eq!(learn(&mut known), 0);
            assert_eq!(known.presence(&rows), vec![Unknown; rows.len()]);
            known.committed(&[], &rows);
        }
        known.committed(&[], &rows);
        assert_eq!(known.presence(&rows), vec![There; rows.len()], "for a while");
        assert_eq!(learn(&mut known), 1);
        assert_eq!(
            known.presence(&rows),
            vec![Absent; rows.len()],
            "as was told last"
        );
        known.forget();
        assert_eq!(known.presence(&rows), vec![Unknown; rows.len()]);
    }

    #[test]
    fn memory_is_bounded_and_what_is_not_used_goes_first() {
        let mut known = KnownRows::default();
        let days = ["2026-01-05", "2026-01-06", "2026-01-07"].map(|key| users("acme", day(key), 0..9));
        for rows in &days {
            known.committed(&[], &borrowed(rows));
        }
        known.committed(&[], &borrowed(&days[0]));
        assert_eq!(known.size, 3 * (GROUP_SIZE + 9));
        known.forget_the_oldest(2 * (GROUP_SIZE + 9));
        let seen = days.each_ref().map(|rows| known.presence(&borrowed(rows))[0]);
        assert_eq!(seen, [There, Unknown, There]);
        known.size += MOST;
        known.committed(&[], &borrowed(&days[0]));
        assert!(known.groups.is_empty(), "no less can be forgotten");
    }

    proptest! {
        /// Whoever writes alone is never mistaken, and knows every row of a group once it has asked.
        #[test]
        fn a_single_writer_is_never_mistaken(
            commits in prop::collection::vec((0..3_usize, prop::collection::vec(0..200_usize, 1..80)), 1..12),
        ) {
            let mut known = KnownRows::default();
            let mut there: HashSet<String> = HashSet::new();
            for (organization, of) in commits {
                let organization = ["a", "a/b", "c"][organization];
                let rows = users(organization, day("2026-01-05"), of);
                let rows = borrowed(&rows);
                for probe in known.probes(&rows) {
                    let range = key::of_marginal(organization, day("2026-01-05"), Marginal::User);
                    let ids: Vec<String> = there.iter().filter(|id| range.contains(*id)).cloned().collect();
                    known.learn(probe, &ids);
                }
                for ((id, row), presence) in rows.iter().zip(known.presence(&rows)) {
                    let is_whole = known.group(*row).is_some_and(|group| group.extent == Extent::Whole);
                    match there.contains(*id) {
                        true => prop_assert_eq!(presence, There),
                        false => prop_assert_eq!(presence, if is_whole { Absent } else { Unknown }),
                    }
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

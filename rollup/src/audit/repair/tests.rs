use std::collections::BTreeMap;

use chrono::NaiveDate;
use proptest::prelude::*;

use super::super::compare::{self, StoredRow};
use super::super::key::Table;
use super::super::sums::RowSums;
use super::super::sums::tests::InMemory;
use super::*;
use crate::event::{Dimensions, Kind};

const GRANULARITIES: [Granularity; 3] = [Granularity::Daily, Granularity::Weekly, Granularity::Monthly];

/// One request of a user on a day of two months and three weeks.
type Entry = (u8, u8);

fn booked(requests: i128) -> RowDelta {
    let mut sums = Sums::default();
    sums[Counter::Requests] = requests;
    RowDelta {
        sums,
        first_event_ms: 0,
        last_event_ms: 0,
    }
}

/// All rows that an entry is part of; the first is the finest.
fn rows((day, user): Entry) -> Vec<RowKey> {
    let first = NaiveDate::from_ymd_opt(2026, 1, 30).expect("a day");
    let period = Period::holding(Granularity::Daily, first + chrono::Days::new(u64::from(day % 6)));
    let text = |text: &str| Box::from(text);
    let dimensions = Dimensions {
        organization: text("acme"),
        agent: text(if user.is_multiple_of(2) { "even" } else { "odd" }),
        provider: text("p"),
        model: text("m"),
        user: format!("u{}", user % 4).into(),
        team: text("t"),
        api_key: text("k"),
        source: text("chat"),
        kind: Kind::Llm,
    };
    let mut delta = Delta::default();
    delta.book(&GRANULARITIES, period, &dimensions, &booked(1));
    let mut keys: Vec<RowKey> = rows_of(delta).map(|(key, _)| key).collect();
    let finest = crate::key::ledger(period, &dimensions);
    keys.sort_by_key(|key| *key.id != *finest);
    keys
}

/// The ledger in memory.
#[derive(Debug, Clone, Default)]
struct Ledger {
    entries: Vec<Entry>,
    rows: BTreeMap<RowKey, i128>,
}

#[derive(Debug, Clone)]
enum Damage {
    Change(usize, i8),
    Delete(usize),
    /// A row of nobody, of this day.
    Add(u8, i8),
    /// What can be the row of nothing.
    Stray(i8),
}

impl Ledger {
    fn book(&mut self, entry: Entry) {
        self.entries.push(entry);
        for key in rows(entry) {
            *self.rows.entry(key).or_default() += 1;
        }
    }

    fn damage(&mut self, damage: &Damage) {
        let at = |place: usize| self.rows.keys().nth(place % self.rows.len().max(1)).cloned();
        match damage {
            Damage::Change(place, by) => {
                if let Some(key) = at(*place) {
                    *self.rows.entry(key).or_default() += i128::from(*by);
                }
            }
            Damage::Delete(place) => {
                at(*place).and_then(|key| self.rows.remove(&key));
            }
            Damage::Add(day, requests) => {
                let mut key = rows((*day, 0)).swap_remove(0);
                key.id = key.id.replace("/u0/", "/nobody/").into();
                self.rows.insert(key, (*requests).into());
            }
            Damage::Stray(requests) => {
                let key = RowKey::new(Table::Rollups, "v1/acme/what");
                self.rows.insert(key, (*requests).into());
            }
        }
    }

    /// As rows are compared.
    fn differences(&self) -> Vec<Difference> {
        let mut sums = RowSums::new(1_000, InMemory);
        for key in self.entries.iter().flat_map(|entry| rows(*entry)) {
            sums.add(key, &booked(1)).expect("adds");
        }
        let stored = self.rows.iter().map(|(key, requests)| {
            let mut counters = Counters::default();
            counters[Counter::Requests] = i64::try_from(*requests).expect("small");
            let fields = key.row().map(|row| row.fields()).unwrap_or_default();
            StoredRow::read(key.clone(), counters, Vec::new(), Times::default(), |name| {
                let mut fields = fields.iter();
                fields
                    .find(|(field, _)| *field == name)
                    .map(|(_, value)| value.as_str())
            })
        });
        let mut found = Vec::new();
        compare::page(stored, None, &mut sums, |difference, _| {
            found.push(difference);
            Ok(())
        })
        .expect("compares");
        found
    }

    fn apply(&mut self, step: &Step) {
        for (key, booked) in &step.added {
            *self.rows.entry(key.clone()).or_default() += booked.sums[Counter::Requests];
        }
        self.rows.retain(|key, requests| {
            let goes = *requests == 0 && step.without_entries.contains(key);
            !goes && !step.strays.contains(key)
        });
    }

    /// By how much each parent differs from its children.
    fn gaps(&self) -> BTreeMap<RowKey, i128> {
        let mut gaps: BTreeMap<RowKey, i128> = BTreeMap::new();
        for (key, requests) in &self.rows {
            let Some(row) = key.row() else { continue };
            match &row {
                Row::Ledger(period, dimensions) if period.granularity() == Granularity::Daily => {
                    let mut delta = Delta::default();
                    delta.book(&GRANULARITIES, *period, dimensions, &booked(*requests));
                    for (parent, booked) in rows_of(delta).filter(|(parent, _)| parent != key) {
                        *gaps.entry(parent).or_default() -= booked.sums[Counter::Requests];
                    }
                }
                _ => *gaps.entry(key.clone()).or_default() += requests,
            }
        }
        gaps
    }
}

fn order<'a>(repairs: &'a dyn Fn(Period) -> bool, lost: &'a dyn Fn(Period) -> bool) -> Order<'a> {
    Order {
        granularities: &GRANULARITIES,
        repairs,
        may_be_lost: lost,
        most: 40,
    }
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = prop_oneof![
        4 => (any::<usize>(), -3..4_i8).prop_map(|(place, by)| Damage::Change(place, by)),
        2 => any::<usize>().prop_map(Damage::Delete),
        1 => (any::<u8>(), 1..4_i8).prop_map(|(day, requests)| Damage::Add(day, requests)),
        1 => (1..4_i8).prop_map(Damage::Stray),
    ];
    prop::collection::vec(damage, 0..12)
}

/// No parent differs from its children by more than it did.
fn assert_no_wider(before: &BTreeMap<RowKey, i128>, after: &BTreeMap<RowKey, i128>) {
    for (key, gap) in after {
        let before = before.get(key).copied().unwrap_or_default();
        assert!(gap.abs() <= before.abs(), "{key:?}: {before} became {gap}");
    }
}

proptest! {
    /// Lanes add while rows are read and changed; whoever repairs is killed somewhere, and begins again.
    #[test]
    fn after_a_repair_every_row_is_the_sum_of_its_entries(
        entries in prop::collection::vec(any::<Entry>(), 0..30),
        damages in damages(),
        meanwhile in prop::collection::vec(any::<Entry>(), 0..10),
        killed_after in 0..6_usize,
    ) {
        let mut ledger = Ledger::default();
        entries.into_iter().for_each(|entry| ledger.book(entry));
        damages.iter().for_each(|damage| ledger.damage(damage));
        let mut meanwhile = meanwhile.into_iter();
        for steps in [killed_after, usize::MAX] {
            let repair = plan(&ledger.differences(), &order(&|_| true, &|_| false));
            for step in repair.steps.iter().take(steps) {
                prop_assert!(step.len() <= 40);
                meanwhile.by_ref().take(2).for_each(|entry| ledger.book(entry));
                let gaps = ledger.gaps();
                ledger.apply(step);
                assert_no_wider(&gaps, &ledger.gaps());
            }
        }
        prop_assert_eq!(ledger.differences(), []);
        // What came to nothing is gone.
        prop_assert!(ledger.rows.keys().all(|key| key.row().is_some()));
    }

    /// Of a part only its rows are changed, and their parents are what their children are.
    #[test]
    fn a_repair_of_some_days_leaves_the_others(
        entries in prop::collection::vec(any::<Entry>(), 1..30),
        damages in damages(),
        day in 0..6_u8,
    ) {
        let mut ledger = Ledger::default();
        entries.into_iter().for_each(|entry| ledger.book(entry));
        damages.iter().for_each(|damage| ledger.damage(damage));
        let finest = |key: &RowKey| match key.row() {
            Some(Row::Ledger(period, _)) if period.granularity() == Granularity::Daily => Some(period),
            _ => None,
        };
        let day = rows((day, 0)).iter().find_map(finest).expect("a day");
        let before = ledger.clone();
        let repairs = |period: Period| period == day;
        let repair = plan(&ledger.differences(), &order(&repairs, &|_| false));
        repair.steps.iter().for_each(|step| ledger.apply(step));
        for (key, requests) in &ledger.rows {
            if finest(key).is_some_and(|period| period != day) {
                prop_assert_eq!(before.rows.get(key), Some(requests), "{:?}", key);
            }
        }
        prop_assert!(ledger.differences().iter().all(|difference| finest(&difference.key) != Some(day)));
        for (key, gap) in ledger.gaps() {
            let is_touched = repair.steps.iter().any(|step| step.added.contains_key(&key));
            prop_assert!(gap == 0 || !is_touched, "{:?}", key);
        }
    }

    /// Rows of days that are gone come back, and whatever holds them is right all the time.
    #[test]
    fn parents_that_are_right_stay_right_while_their_children_come_back(
        entries in prop::collection::vec(any::<Entry>(), 1..60),
        gone in any::<u64>(),
    ) {
        let mut ledger = Ledger::default();
        entries.into_iter().for_each(|entry| ledger.book(entry));
        let is_day = |key: &RowKey| matches!(
            key.row(), Some(Row::Ledger(period, _)) if period.granularity() == Granularity::Daily
        );
        let right = ledger.rows.clone();
        let mut number = 0;
        ledger.rows.retain(|key, _| {
            number += 1;
            !is_day(key) || gone & (1 << (number % 64)) == 0
        });
        let order = Order { most: 20, ..order(&|_| true, &|_| false) };
        for step in &plan(&ledger.differences(), &order).steps {
            ledger.apply(step);
            for (key, requests) in ledger.rows.iter().filter(|(key, _)| !is_day(key)) {
                prop_assert_eq!(right.get(key), Some(requests), "{:?}", key);
            }
        }
        prop_assert_eq!(ledger.rows, right);
    }

    /// Where entries may be lost no row of the finest granularity becomes less, and no parent differs by more.
    #[test]
    fn where_entries_may_be_lost_nothing_is_taken_away(
        entries in prop::collection::vec(any::<Entry>(), 1..30),
        damages in damages(),
        lost in 0..10_usize,
    ) {
        let mut ledger = Ledger::default();
        entries.into_iter().for_each(|entry| ledger.book(entry));
        ledger.entries.truncate(lost);
        damages.iter().for_each(|damage| ledger.damage(damage));
        let before = ledger.clone();
        let repair = plan(&ledger.differences(), &order(&|_| true, &|_| true));
        repair.steps.iter().for_each(|step| ledger.apply(step));
        let finest = |key: &RowKey| matches!(
            key.row(), Some(Row::Ledger(period, _)) if period.granularity() == Granularity::Daily
        );
        for (key, requests) in before.rows.iter().filter(|(key, _)| finest(key)) {
            prop_assert!(ledger.rows.get(key).unwrap_or(&0) >= requests, "{:?}", key);
        }
        for difference in ledger.differences().iter().filter(|difference| finest(&difference.key)) {
            prop_assert!(repair.kept.contains(&difference.key));
        }
        assert_no_wider(&before.gaps(), &ledger.gaps());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Several at once, each of which may sleep for as long as it likes: no step is applied but in the state that its
    /// reading showed, and none twice.
    #[test]
    fn who_reads_what_another_one_has_changed_applies_nothing(
        entries in prop::collection::vec(any::<Entry>(), 0..20),
        damages in damages(),
        meanwhile in prop::collection::vec(any::<Entry>(), 0..10),
        turns in prop::collection::vec((0..3_usize, any::<bool>()), 0..12),
    ) {
        let mut ledger = Ledger::default();
        entries.into_iter().for_each(|entry| ledger.book(entry));
        damages.iter().for_each(|damage| ledger.damage(damage));
        let (mut meanwhile, mut revision) = (meanwhile.into_iter(), 0);
        // Of each job, the revision that it read under, and the steps that it has left.
        let mut jobs: [Option<(u64, Vec<Step>)>; 3] = [const { None }; 3];
        let until_done = (0..3).map(|job| (job, true)).cycle();
        for (job, goes_on) in turns.into_iter().chain(until_done) {
            meanwhile.next().into_iter().for_each(|entry| ledger.book(entry));
            let Some((read_under, mut steps)) = jobs[job].take().filter(|_| goes_on) else {
                // It begins, or was killed and begins again.
                let mut steps = plan(&ledger.differences(), &order(&|_| true, &|_| false)).steps;
                if steps.is_empty() {
                    break;
                }
                steps.reverse();
                jobs[job] = Some((revision, steps));
                continue;
            };
            // Where another one was faster it reads anew.
            if let Some(step) = steps.pop().filter(|_| read_under == revision) {
                let gaps = ledger.gaps();
                ledger.apply(&step);
                assert_no_wider(&gaps, &ledger.gaps());
                revision += 1;
                jobs[job] = Some((revision, steps));
            }
        }
        prop_assert_eq!(ledger.differences(), []);
    }
}

#[test]
fn times_are_narrowed_where_they_are_wider_than_those_of_the_entries_and_none_of_these_is_lost() {
    let key = rows((0, 0)).swap_remove(0);
    let shown = |first, last| Times {
        first: Some(first),
        last: Some(last),
        updated: Some(99),
    };
    let narrowed = |times: Times, is_lost: bool| {
        let fields = key.row().map(|row| row.fields()).unwrap_or_default();
        let stored = StoredRow::read(key.clone(), Counters::default(), Vec::new(), times, |name| {
            let mut fields = fields.iter();
            fields
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.as_str())
        });
        let expected = RowDelta {
            first_event_ms: 10,
            last_event_ms: 20,
            ..booked(1)
        };
        let difference = Difference {
            key: key.clone(),
            row: key.row(),
            stored: Some(stored),
            expected: Some(expected),
        };
        let lost = |_| is_lost;
        let repair = plan(&[difference], &order(&|_| true, &lost));
        let narrow = repair.steps[0].narrowed.get(&key).copied();
        narrow.map(|narrow| (narrow.shown_ms, narrow.entries_ms))
    };
    assert_eq!(narrowed(shown(10, 20), false), None);
    assert_eq!(narrowed(shown(12, 20), false), None, "that is only widened");
    assert_eq!(narrowed(shown(5, 15), false), Some((shown(5, 15), (10, 20))));
    assert_eq!(narrowed(shown(10, 25), false), Some((shown(10, 25), (10, 20))));
    assert_eq!(narrowed(shown(5, 25), true), None);
    assert_eq!(narrowed(Times::default(), false), None);
}

/// A granularity that is filled later has no entries of what is lost: its parents keep what they hold.
#[test]
fn what_is_lost_is_not_taken_from_parents_either() {
    let day = rows((0, 0)).swap_remove(0);
    let hour = RowKey::new(
        Table::Ledger,
        day.id.replace("/daily/2026-01-30/", "/hourly/2026-01-30T07/"),
    );
    let stored = |requests: i64| {
        let mut counters = Counters::default();
        counters[Counter::Requests] = requests;
        let fields = day.row().map(|row| row.fields()).unwrap_or_default();
        StoredRow::read(day.clone(), counters, Vec::new(), Times::default(), |name| {
            let mut fields = fields.iter();
            fields
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.as_str())
        })
    };
    let difference = |key: &RowKey, stored, expected| Difference {
        key: key.clone(),
        row: key.row(),
        stored,
        expected: Some(booked(expected)),
    };
    let differences = [difference(&hour, None, 6), difference(&day, Some(stored(10)), 6)];
    let order = Order {
        granularities: &[Granularity::Hourly, Granularity::Daily],
        ..order(&|_| true, &|_| true)
    };
    let repair = plan(&differences, &order);
    assert_eq!(repair.kept, std::slice::from_ref(&day));
    let step = &repair.steps[0];
    assert_eq!(
        step.added.get(&hour).map(|added| added.sums[Counter::Requests]),
        Some(6)
    );
    assert_eq!(step.added.get(&day), None);
}

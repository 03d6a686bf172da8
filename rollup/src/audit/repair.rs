//! The changes by which the rows of an organization become what they must be.
//!
//! While rows are read and changed, lanes add to them. A difference does not change by that: it is added. A row of the
//! finest granularity gets its difference, and in the same step each of its parents gets that difference too. What a parent
//! is wrong by itself, its difference without those of its children, goes with the steps that touch it, no more of it in
//! each than brings the parent to where it must be; parents that none touched get theirs last. So no parent ever differs
//! from its children by more than before; and one that was right stays right all the time where its children lack
//! something, and none has too much.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{Difference, Times};
use super::key::{Row, RowKey, Table, rows_of};
use crate::counters::{Counter, Counters, Sums};
use crate::fold::{Delta, RowDelta};
use crate::period::{Granularity, Period};

/// What one transaction changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What is added to which rows.
    pub added: BTreeMap<RowKey, RowDelta>,
    /// Those of them that go where nothing is left in them: they have no entries.
    pub without_entries: BTreeSet<RowKey>,
    /// Rows whose fields are set to what their `_id`s say.
    pub renamed: BTreeSet<RowKey>,
    /// What can be the row of nothing: it goes.
    pub strays: BTreeSet<RowKey>,
    /// Rows whose times are set to those of their entries, if nothing was added to them meanwhile: before anything is
    /// added.
    pub narrowed: BTreeMap<RowKey, Narrow>,
    /// Whose rows, and of which period, these were taken for.
    pub taken_for: BTreeSet<(Box<str>, Period)>,
}

/// Times that are wider than those of the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Narrow {
    /// The counters that were read with them.
    pub counters: Counters,
    /// As they were read.
    pub shown_ms: Times,
    /// The first and the last completion of the entries, in milliseconds.
    pub entries_ms: (i64, i64),
}

impl Narrow {
    /// `None`: they are no wider, or nobody knows.
    fn of(difference: &Difference) -> Option<Self> {
        let (stored, expected) = (difference.stored.as_ref()?, difference.expected?);
        let shown = stored.times_ms;
        let entries_ms = (expected.first_event_ms, expected.last_event_ms);
        let is_wider = shown.first? < entries_ms.0 || shown.last? > entries_ms.1;
        (is_wider && stored.key.table == Table::Ledger).then_some(Self {
            counters: stored.counters,
            shown_ms: shown,
            entries_ms,
        })
    }
}

impl Step {
    /// Its statements.
    #[must_use]
    pub fn len(&self) -> usize {
        let fields = self.renamed.len() + self.strays.len() + self.taken_for.len();
        self.added.len() + self.without_entries.len() + self.narrowed.len() + fields
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The repair of one organization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// One after the other.
    pub steps: Vec<Step>,
    /// Rows that cannot be compared: they are left as they are.
    pub unreadable: Vec<RowKey>,
    /// Rows from which nothing was taken away, although entries for a part of them were not found.
    pub kept: Vec<RowKey>,
}

/// What is to be repaired, and how far.
pub struct Order<'a> {
    /// Those that are kept, the finest first.
    pub granularities: &'a [Granularity],
    /// Whether rows of the finest granularity of this period are repaired. Of all others the differences must be there,
    /// where they share a parent with one that is.
    pub repairs: &'a dyn Fn(Period) -> bool,
    /// Whether entries of this period may be lost: nothing is taken away from its rows then.
    pub may_be_lost: &'a dyn Fn(Period) -> bool,
    /// Statements of a step, at most.
    pub most: usize,
}

/// Plans the repair of an organization, all of whose differences these are.
#[must_use]
pub fn plan(differences: &[Difference], order: &Order<'_>) -> Repair {
    let mut planning = Planning::begin(differences, order);
    let finest: Vec<&Difference> = differences
        .iter()
        .filter(|difference| is_finest(difference, order))
        .collect();
    for difference in finest {
        planning.row(difference);
    }
    planning.rest();
    planning.end()
}

fn is_finest(difference: &Difference, order: &Order<'_>) -> bool {
    let finest = order.granularities.first();
    matches!(&difference.row, Some(Row::Ledger(period, _)) if Some(&period.granularity()) == finest)
}

/// What a parent lacks.
#[derive(Debug, Clone, Copy, Default)]
struct Lack {
    /// Of itself.
    own: Sums,
    /// Of its children, as far as they get it.
    of_children: Sums,
    /// A step has some of it.
    is_touched: bool,
}

impl Lack {
    /// What the parent gets when a child gets this.
    fn with_child(&mut self, child: &Sums) -> Sums {
        let mut gets = *child;
        let left = self.of_children.without(child);
        for counter in Counter::ALL {
            let own = self.own[counter];
            // What it lacks in all, and what it would then lack without a part of its own: as near as possible to between
            // that and nothing.
            let (before, without_own) = (own + self.of_children[counter], left[counter]);
            let nearest = without_own.clamp(before.min(0), before.max(0));
            let kept = (nearest - without_own).clamp(own.min(0), own.max(0));
            gets[counter] += own - kept;
            self.own[counter] = kept;
        }
        self.of_children = left;
        self.is_touched = true;
        gets
    }
}

struct Planning<'a> {
    order: &'a Order<'a>,
    by_key: BTreeMap<&'a RowKey, &'a Difference>,
    /// What parents still lack.
    parents: BTreeMap<RowKey, Lack>,
    step: Step,
    repair: Repair,
}

impl<'a> Planning<'a> {
    fn begin(differences: &'a [Difference], order: &'a Order<'a>) -> Self {
        let mut planning = Self {
            order,
            by_key: differences.iter().map(|one| (&one.key, one)).collect(),
            parents: BTreeMap::new(),
            step: Step::default(),
            repair: Repair::default(),
        };
        let (finest, others): (Vec<_>, Vec<_>) = differences
            .iter()
            .filter(|difference| difference.is_readable())
            .partition(|difference| is_finest(difference, order));
        let parents = &mut planning.parents;
        for difference in others {
            let lack = parents.entry(difference.key.clone()).or_default();
            lack.own.merge(&difference.missing());
        }
        for difference in finest {
            let gets = planning
                .gets(difference)
                .map(|(gets, _)| gets)
                .unwrap_or_default();
            for (parent, whole) in parents_of(difference, difference.missing(), order) {
                let lack = planning.parents.entry(parent).or_default();
                lack.own = lack.own.without(&whole.sums);
                lack.of_children.merge(&gets);
            }
        }
        planning.keep_days();
        planning
    }

    /// Where hours are kept they may be younger than what is lost: what days and their parents hold may then be all that is
    /// left of it. Of days that have no hours nothing is taken away either way.
    fn keep_days(&mut self) {
        let has_hours = self.order.granularities.first() < Some(&Granularity::Daily);
        let lost = |key: &RowKey| {
            key.row()
                .is_some_and(|row| (self.order.may_be_lost)(row.period()))
        };
        for (key, lack) in self.parents.iter_mut().filter(|(key, _)| has_hours && lost(key)) {
            let mut all = lack.own;
            all.merge(&lack.of_children);
            let mut kept = all;
            if take_nothing(&mut kept) {
                lack.own.merge(&kept.without(&all));
                self.repair.kept.push(key.clone());
            }
        }
    }

    /// What a row of the finest granularity gets, and whether that is all but what it holds too much: entries may be lost.
    /// `None`: it is not repaired.
    fn gets(&self, difference: &Difference) -> Option<(Sums, bool)> {
        let period = difference.row.as_ref().map(Row::period)?;
        let mut missing = difference.missing();
        if !(self.order.repairs)(period) || !difference.is_readable() {
            return None;
        }
        let is_kept = (self.order.may_be_lost)(period) && take_nothing(&mut missing);
        Some((missing, is_kept))
    }

    /// A row of the finest granularity, with its parents.
    fn row(&mut self, difference: &Difference) {
        let Some((missing, is_kept)) = self.gets(difference) else {
            return;
        };
        if is_kept {
            self.repair.kept.push(difference.key.clone());
        }
        if missing.is_zero() && !has_wrong_fields(difference) {
            return;
        }
        let mut together = Step::default();
        self.add(&mut together, &difference.key, missing, difference);
        if !missing.is_zero() {
            for (parent, child) in parents_of(difference, missing, self.order) {
                let lack = self.parents.entry(parent.clone()).or_default();
                let sums = lack.with_child(&child.sums);
                self.add(&mut together, &parent, sums, difference);
            }
        }
        self.join(together);
    }

    /// What no step has yet.
    fn rest(&mut self) {
        for (key, lack) in std::mem::take(&mut self.parents) {
            if lack.is_touched && lack.own.is_zero() {
                continue;
            }
            let Some(difference) = self.by_key.get(&key).copied() else {
                // It is right, and wrong by itself only as far as a child is that is left as it is.
                continue;
            };
            let mut step = Step::default();
            self.add(&mut step, &key, lack.own, difference);
            self.join(step);
        }
    }

    /// Adds to a row in a step. Times are those of the entries.
    fn add(&mut self, step: &mut Step, key: &RowKey, sums: Sums, child: &Difference) {
        let own = self.by_key.get(key).copied();
        if own.is_some_and(|own| !own.is_readable()) {
            return;
        }
        let mut booked = own.unwrap_or(child).expected.unwrap_or(RowDelta::NOTHING);
        booked.sums = sums;
        let stored = own.and_then(|own| own.stored.as_ref());
        step.taken_for
            .extend(stored.and_then(|row| row.taken_for.clone()));
        if own.is_some_and(|own| own.row.is_none()) {
            step.strays.insert(key.clone());
            return;
        }
        if own.is_some_and(has_wrong_fields) {
            step.renamed.insert(key.clone());
        }
        if sums.is_zero() {
            return;
        }
        if own.is_some_and(|own| own.expected.is_none()) {
            step.without_entries.insert(key.clone());
        }
        let may_be_lost = |own: &&Difference| {
            let period = own.row.as_ref().map(Row::period);
            period.is_none_or(|period| (self.order.may_be_lost)(period))
        };
        if let Some(narrow) = own.filter(|own| !may_be_lost(own)).and_then(Narrow::of) {
            step.narrowed.insert(key.clone(), narrow);
        }
        step.added.insert(key.clone(), booked);
    }

    /// Makes them part of the present step, or of the next one.
    fn join(&mut self, together: Step) {
        if self.step.len() + together.len() > self.order.most {
            self.close();
        }
        for (key, booked) in together.added {
            self.step
                .added
                .entry(key)
                .and_modify(|sum| sum.merge(&booked))
                .or_insert(booked);
        }
        self.step.without_entries.extend(together.without_entries);
        self.step.renamed.extend(together.renamed);
        self.step.strays.extend(together.strays);
        self.step.narrowed.extend(together.narrowed);
        self.step.taken_for.extend(together.taken_for);
    }

    fn close(&mut self) {
        let mut step = std::mem::take(&mut self.step);
        // What came to nothing within the step.
        step.added.retain(|_, booked| !booked.sums.is_zero());
        if !step.is_empty() {
            self.repair.steps.push(step);
        }
    }

    fn end(mut self) -> Repair {
        self.close();
        let unreadable = self.by_key.values().filter(|one| !one.is_readable());
        self.repair.unreadable = unreadable.map(|one| one.key.clone()).collect();
        self.repair
    }
}

fn has_wrong_fields(difference: &Difference) -> bool {
    difference
        .stored
        .as_ref()
        .is_some_and(|row| !row.wrong_fields.is_empty())
}

fn parents_of(difference: &Difference, missing: Sums, order: &Order<'_>) -> Vec<(RowKey, RowDelta)> {
    let booked = RowDelta {
        sums: missing,
        ..RowDelta::NOTHING
    };
    parents(&difference.key, order.granularities, &booked)
}

/// All rows and rollups of these granularities that hold a row of the ledger, but itself, and what it adds to each.
#[must_use]
pub fn parents(key: &RowKey, granularities: &[Granularity], booked: &RowDelta) -> Vec<(RowKey, RowDelta)> {
    let Some(Row::Ledger(period, dimensions)) = key.row() else {
        return Vec::new();
    };
    let mut delta = Delta::default();
    delta.book(granularities, period, &dimensions, booked);
    rows_of(delta).filter(|(parent, _)| parent != key).collect()
}

/// Leaves only what is to be added. Whether anything was to be taken away.
fn take_nothing(missing: &mut Sums) -> bool {
    let mut is_any = false;
    for counter in Counter::ALL {
        if missing[counter] < 0 {
            missing[counter] = 0;
            is_any = true;
        }
    }
    is_any
}

#[cfg(test)]
mod tests;

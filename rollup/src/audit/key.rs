//! Rows of both collections in one order: organization by organization, the ledger before the rollups, by their `_id`s.

use std::cmp::Ordering;

use crate::event::Dimensions;
use crate::fold::{Delta, RowDelta};
use crate::key;
use crate::period::Period;

/// A collection of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Rows of the ledger.
    Ledger,
    /// Rollups.
    Rollups,
}

/// A row, whichever collection it is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// Its collection.
    pub table: Table,
    /// Its `_id`.
    pub id: Box<str>,
}

/// What a row is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A row of the ledger.
    Ledger(Period, Dimensions<Box<str>>),
    /// A rollup.
    Rollup(key::Named),
}

impl Row {
    /// Whose usage.
    #[must_use]
    pub fn organization(&self) -> &str {
        match self {
            Row::Ledger(_, dimensions) => &dimensions.organization,
            Row::Rollup(named) => &named.organization,
        }
    }

    /// The period.
    #[must_use]
    pub const fn period(&self) -> Period {
        match self {
            Row::Ledger(period, _) => *period,
            Row::Rollup(named) => named.period,
        }
    }

    /// The fields that the row has besides its counters, by which it is found.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let period = self.period();
        let mut fields = vec![
            ("organizationId", self.organization().to_owned()),
            ("granularity", period.granularity().name().to_owned()),
            ("periodKey", period.to_string()),
        ];
        match self {
            Row::Ledger(_, of) => fields.extend([
                ("agentSlug", of.agent.to_string()),
                ("provider", of.provider.to_string()),
                ("model", of.model.to_string()),
                ("userId", of.user.to_string()),
                ("teamId", of.team.to_string()),
                ("apiKeyId", of.api_key.to_string()),
                ("source", of.source.to_string()),
                ("kind", of.kind.name().to_owned()),
            ]),
            Row::Rollup(named) => {
                fields.extend([
                    ("set", named.marginal.name().to_owned()),
                    ("value", named.value.to_string()),
                ]);
                fields.extend(named.provider.iter().map(|of| ("provider", of.to_string())));
            }
        }
        fields
    }
}

impl RowKey {
    /// A row of a collection.
    pub fn new(table: Table, id: impl Into<Box<str>>) -> Self {
        Self { table, id: id.into() }
    }

    /// What the row is of; `None`: its `_id` is none that a row can have.
    #[must_use]
    pub fn row(&self) -> Option<Row> {
        match self.table {
            Table::Ledger => {
                key::read_ledger(&self.id).map(|(period, dimensions)| Row::Ledger(period, dimensions))
            }
            Table::Rollups => key::read_rollup(&self.id).map(Row::Rollup),
        }
    }

    /// How the `_id`s of its organization begin. Of an `_id` that names none, itself.
    #[must_use]
    pub fn prefix(&self) -> &str {
        let mut slashes = self.id.match_indices('/').skip(1);
        slashes.next().map_or(&*self.id, |(at, _)| &self.id[..=at])
    }
}

/// Where the rows of a collection begin that come after a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// With this `_id`.
    At(String),
    /// With the one after this `_id`.
    After(String),
}

impl RowKey {
    /// Where the rows of a collection begin that come after this one.
    #[must_use]
    pub fn rest_of(&self, table: Table) -> Begin {
        let prefix = self.prefix();
        match (self.table, table) {
            (of, table) if of == table => Begin::After(self.id.to_string()),
            (Table::Ledger, _) => Begin::At(prefix.to_owned()),
            // Behind all rows of the organization. See the ranges of `crate::key`.
            _ => match prefix.strip_suffix('/') {
                Some(organization) if prefix.matches('/').count() > 1 => {
                    Begin::At(format!("{organization}0"))
                }
                _ => Begin::After(prefix.to_owned()),
            },
        }
    }
}

impl Ord for RowKey {
    fn cmp(&self, other: &Self) -> Ordering {
        // Keys of one organization are neighbours in each collection: the order of two others is that of their `_id`s.
        if self.table == other.table || self.prefix() != other.prefix() {
            self.id.cmp(&other.id).then(self.table.cmp(&other.table))
        } else {
            self.table.cmp(&other.table)
        }
    }
}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The rows of a delta, and what it adds to each.
pub fn rows_of(delta: Delta) -> impl Iterator<Item = (RowKey, RowDelta)> {
    // Copied: a text that is cut to its length where it is leaves a hole in memory that fits nothing.
    let key = |table: Table, id: String| RowKey::new(table, id.as_str());
    let ledger = delta.ledger.into_iter();
    let ledger = ledger.map(move |(id, row)| (key(Table::Ledger, id), row.booked));
    let rollups = delta.rollups.into_iter();
    ledger.chain(rollups.map(move |(id, row)| (key(Table::Rollups, id), row.booked)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = RowKey> {
        let table = prop::sample::select(vec![Table::Ledger, Table::Rollups]);
        (table, "(v1/[a/.0]{0,2}/[a/]{0,2}|[v1/a.0]{0,4})").prop_map(|(table, id)| RowKey::new(table, id))
    }

    proptest! {
        /// Each collection by its `_id`s, and nothing of one organization between two rows of another.
        #[test]
        fn the_order_is_that_of_each_collection_and_organization_by_organization(
            mut keys in prop::collection::vec(keys(), 0..20),
        ) {
            keys.sort();
            for table in [Table::Ledger, Table::Rollups] {
                prop_assert!(keys.iter().filter(|key| key.table == table).is_sorted_by_key(|key| &key.id));
            }
            let mut seen: Vec<(&str, Table)> = keys.iter().map(|key| (key.prefix(), key.table)).collect();
            seen.dedup();
            let mut once = seen.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(seen, once);
        }

        #[test]
        fn what_comes_after_a_row_begins_where_it_says(row in keys(), other in keys()) {
            let comes = match row.rest_of(other.table) {
                Begin::At(id) => *other.id >= *id,
                Begin::After(id) => *other.id > *id,
            };
            prop_assert_eq!(comes, other > row, "{:?} {:?}", row, other);
        }

        #[test]
        fn the_order_is_one(one in keys(), two in keys(), three in keys()) {
            prop_assert_eq!(one.cmp(&two), two.cmp(&one).reverse());
            prop_assert_eq!(one == two, one.cmp(&two).is_eq());
            if one <= two && two <= three {
                prop_assert!(one <= three);
            }
        }
    }
}

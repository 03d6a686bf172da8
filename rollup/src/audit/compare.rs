//! What rows are not: stored rows beside what they must be.

use std::io;

use super::key::{Row, RowKey};
use super::sums::{Files, RowSums};
use crate::counters::{Counter, Counters, Sums};
use crate::fold::RowDelta;
use crate::period::Period;

/// A row as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// Its collection and `_id`.
    pub key: RowKey,
    /// What the `_id` names; `None`: nothing that a row can be of.
    pub row: Option<Row>,
    /// Its counters; 0 where one cannot be read.
    pub counters: Counters,
    /// The counters that are no whole numbers of 64 bits, and what they are instead.
    pub unreadable: Vec<(Counter, Box<str>)>,
    /// The fields that are not those of its `_id`.
    pub wrong_fields: Vec<WrongField>,
    /// When its events completed, and when it was changed.
    pub times_ms: Times,
    /// Where its fields are not those of its `_id`: whose rows it is taken for, and of which period.
    pub taken_for: Option<(Box<str>, Period)>,
}

/// The times of a row, in milliseconds, where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// The first completion.
    pub first: Option<i64>,
    /// The last completion.
    pub last: Option<i64>,
    /// The last change.
    pub updated: Option<i64>,
}

/// A field that is not what the `_id` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongField {
    /// Which.
    pub name: &'static str,
    /// What it is; `None`: missing, or no text.
    pub stored: Option<Box<str>>,
    /// What it must be.
    pub expected: Box<str>,
}

impl StoredRow {
    /// As if it were the sum of its entries.
    #[must_use]
    pub fn booked(&self) -> RowDelta {
        RowDelta {
            sums: self.counters.into(),
            first_event_ms: self.times_ms.first.unwrap_or(i64::MAX),
            last_event_ms: self.times_ms.last.unwrap_or(i64::MIN),
        }
    }

    /// A row whose fields are read one by one.
    pub fn read<'a>(
        key: RowKey,
        counters: Counters,
        unreadable: Vec<(Counter, Box<str>)>,
        times_ms: Times,
        text: impl Fn(&str) -> Option<&'a str>,
    ) -> Self {
        let row = key.row();
        let fields = row.as_ref().map(Row::fields).unwrap_or_default();
        let wrong = fields.into_iter().filter_map(|(name, expected)| {
            let stored = text(name);
            (stored != Some(expected.as_str())).then(|| WrongField {
                name,
                stored: stored.map(Into::into),
                expected: expected.into(),
            })
        });
        let wrong_fields: Vec<WrongField> = wrong.collect();
        let is_wrong = row.is_none() || !wrong_fields.is_empty();
        Self {
            taken_for: is_wrong.then(|| taken_for(&text)).flatten(),
            wrong_fields,
            key,
            row,
            counters,
            unreadable,
            times_ms,
        }
    }
}

fn taken_for<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Option<(Box<str>, Period)> {
    let granularity = text("granularity")?.parse().ok()?;
    let period = Period::parse(granularity, text("periodKey")?)?;
    Some((text("organizationId")?.into(), period))
}

/// A row that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its collection and `_id`.
    pub key: RowKey,
    /// What the `_id` names.
    pub row: Option<Row>,
    /// As it is; `None`: there is no such row.
    pub stored: Option<StoredRow>,
    /// As its entries say; `None`: it has none.
    pub expected: Option<RowDelta>,
}

/// A number, or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a counter.
    Number(i128),
    /// Of a field.
    Text(Box<str>),
    /// It is not there.
    Missing,
}

/// One thing of a row that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The counter or field.
    pub name: &'static str,
    /// As it is.
    pub stored: Value,
    /// As it must be.
    pub expected: Value,
}

impl Difference {
    /// What must be added to the counters.
    #[must_use]
    pub fn missing(&self) -> Sums {
        let expected = self.expected.map(|booked| booked.sums).unwrap_or_default();
        match &self.stored {
            Some(stored) => expected.without(&stored.counters.into()),
            None => expected,
        }
    }

    /// What the row holds beyond the entries that are there: as if it were one more of them. `None`: nothing.
    #[must_use]
    pub fn opening(&self) -> Option<RowDelta> {
        let missing = self.missing();
        let stored = self.stored.as_ref().map_or(RowDelta::NOTHING, StoredRow::booked);
        (!missing.is_zero()).then(|| RowDelta {
            sums: Sums::ZERO.without(&missing),
            ..stored
        })
    }

    /// Whether nothing is wrong with it but that it holds more than its entries.
    #[must_use]
    pub fn is_only_more(&self) -> bool {
        let missing = self.missing();
        let is_readable = self.is_readable() && self.row.is_some();
        let stored = self.stored.as_ref();
        is_readable
            && stored.is_some_and(|row| row.wrong_fields.is_empty())
            && Counter::ALL.into_iter().all(|counter| missing[counter] <= 0)
    }

    /// Whether each of its counters can be read, and what it lacks can be added to it: no other row is ever changed.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.stored.as_ref().is_none_or(|row| row.unreadable.is_empty()) && self.missing().narrow().is_ok()
    }

    /// Everything that is wrong with it.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let expected = self.expected.map(|booked| booked.sums).unwrap_or_default();
        if self.row.is_none() {
            faults.push(Fault {
                name: "_id",
                stored: Value::Text(self.key.id.clone()),
                expected: Value::Missing,
            });
        }
        if let Some(stored) = &self.stored {
            faults.extend(stored.wrong_fields.iter().map(|field| Fault {
                name: field.name,
                stored: field.stored.clone().map_or(Value::Missing, Value::Text),
                expected: Value::Text(field.expected.clone()),
            }));
            faults.extend(stored.unreadable.iter().map(|(counter, text)| Fault {
                name: counter.name(),
                stored: Value::Text(text.clone()),
                expected: Value::Number(expected[*counter]),
            }));
        }
        let is_unreadable = |counter: Counter| {
            let mut unreadable = self.stored.iter().flat_map(|row| &row.unreadable);
            unreadable.any(|(other, _)| *other == counter)
        };
        let missing = self.missing();
        let wrong = Counter::ALL
            .into_iter()
            .filter(|counter| missing[*counter] != 0 && !is_unreadable(*counter));
        faults.extend(wrong.map(|counter| Fault {
            name: counter.name(),
            stored: match &self.stored {
                Some(row) => Value::Number(row.counters[counter].into()),
                None => Value::Missing,
            },
            expected: Value::Number(expected[counter]),
        }));
        faults
    }
}

/// Compares the rows of a page, which come in order, with what they must be: all that come before and the last. `up_to`
/// is where the page ends; `None`: no rows follow. How many rows were compared.
///
/// Whoever is told of a difference may add to rows that come later.
///
/// # Errors
/// When sums cannot be written or read back.
pub fn page<F: Files>(
    rows: impl IntoIterator<Item = StoredRow>,
    up_to: Option<&RowKey>,
    sums: &mut RowSums<F>,
    mut found: impl FnMut(Difference, &mut RowSums<F>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut compared = 0;
    let mut tell = |difference: Option<Difference>, sums: &mut RowSums<F>| {
        compared += 1;
        difference.map_or(Ok(()), |difference| found(difference, sums))
    };
    for stored in rows {
        let mut expected = None;
        while let Some((key, booked)) = sums.next(Some(&stored.key))? {
            if key == stored.key {
                expected = Some(booked);
            } else {
                tell(absent(key, booked), sums)?;
            }
        }
        tell(there(stored, expected), sums)?;
    }
    while let Some((key, booked)) = sums.next(up_to)? {
        tell(absent(key, booked), sums)?;
    }
    up_to.into_iter().for_each(|end| sums.pass(end));
    Ok(compared)
}

/// A row that is not there is as good as one of zeros.
fn absent(key: RowKey, booked: RowDelta) -> Option<Difference> {
    (!booked.sums.is_zero()).then(|| Difference {
        row: key.row(),
        key,
        stored: None,
        expected: Some(booked),
    })
}

fn there(stored: StoredRow, expected: Option<RowDelta>) -> Option<Difference> {
    let difference = Difference {
        key: stored.key.clone(),
        row: stored.row.clone(),
        expected,
        stored: Some(stored),
    };
    (!difference.faults().is_empty()).then_some(difference)
}

#[cfg(test)]
mod tests {
    use super::super::key::Table;
    use super::super::sums::tests::InMemory;
    use super::*;

    fn key(user: &str) -> RowKey {
        RowKey::new(Table::Rollups, format!("v1/acme/daily/2026-01-05/user/{user}"))
    }

    fn booked(requests: i64) -> RowDelta {
        let mut sums = Sums::default();
        sums[Counter::Requests] = requests.into();
        RowDelta {
            sums,
            first_event_ms: 0,
            last_event_ms: 0,
        }
    }

    fn stored(key: RowKey, requests: i64) -> StoredRow {
        let mut counters = Counters::default();
        counters[Counter::Requests] = requests;
        let fields = key.row().map(|row| row.fields()).unwrap_or_default();
        StoredRow::read(key, counters, Vec::new(), Times::default(), |name| {
            let field = fields.iter().find(|(other, _)| *other == name);
            field.map(|(_, value)| value.as_str())
        })
    }

    fn faults(rows: Vec<StoredRow>, entries: &[(&str, i64)], up_to: Option<&RowKey>) -> Vec<String> {
        let mut sums = RowSums::new(1 << 20, InMemory);
        for (user, requests) in entries {
            sums.add(key(user), &booked(*requests)).expect("adds");
        }
        let mut faults = Vec::new();
        page(rows, up_to, &mut sums, |difference, _| {
            faults.extend(difference.faults().into_iter().map(|fault| {
                let Fault {
                    name,
                    stored,
                    expected,
                } = fault;
                format!("{} {name} {stored:?} {expected:?}", difference.key.id)
            }));
            Ok(())
        })
        .expect("compares");
        faults
    }

    #[test]
    fn each_kind_of_difference_is_told() {
        let row = |user: &str| stored(key(user), 3);
        let id = "v1/acme/daily/2026-01-05/user";
        assert_eq!(faults(vec![row("a")], &[("a", 1), ("a", 2)], None), [""; 0]);
        assert_eq!(faults(vec![], &[("a", 0)], None), [""; 0], "as good as there");
        assert_eq!(
            faults(
                vec![row("b"), row("d")],
                &[("a", 2), ("b", 1), ("c", 9), ("e", 1)],
                None
            ),
            [
                format!("{id}/a requests Missing Number(2)"),
                format!("{id}/b requests Number(3) Number(1)"),
                format!("{id}/c requests Missing Number(9)"),
                format!("{id}/d requests Number(3) Number(0)"),
                format!("{id}/e requests Missing Number(1)"),
            ]
        );
        assert_eq!(
            faults(vec![row("b")], &[("b", 3), ("c", 9)], Some(&key("b"))),
            [""; 0]
        );
        let mut other = row("a");
        other.wrong_fields.push(WrongField {
            name: "value",
            stored: None,
            expected: "a".into(),
        });
        other.unreadable.push((Counter::Images, "1.5".into()));
        assert_eq!(
            faults(vec![other], &[("a", 3)], None),
            [
                format!("{id}/a value Missing Text(\"a\")"),
                format!("{id}/a images Text(\"1.5\") Number(0)"),
            ]
        );
        let nobodys = stored(RowKey::new(Table::Rollups, "x"), 0);
        assert_eq!(faults(vec![nobodys], &[], None), ["x _id Text(\"x\") Missing"]);
    }

    #[test]
    fn a_field_that_is_not_that_of_the_id_is_found() {
        let mut row = StoredRow::read(
            key("a"),
            Counters::default(),
            Vec::new(),
            Times::default(),
            |name| {
                (name != "set").then_some(match name {
                    "organizationId" => "beta",
                    "granularity" => "daily",
                    "periodKey" => "2026-01-05",
                    _ => "a",
                })
            },
        );
        row.wrong_fields.sort_by_key(|field| field.name);
        let wrong: Vec<_> = row.wrong_fields.iter().map(|field| field.name).collect();
        assert_eq!(wrong, ["organizationId", "set"]);
    }
}

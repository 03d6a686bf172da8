//! Sums of rows of the finest granularities, while their entries come in: in little memory, and without a row's `_id`.
//!
//! An entry is part of one such row and, over it, of every row and rollup of its parents. So entries are summed here, by
//! rows whose texts are numbers, and each row is added to its parents once, when there is no room for more.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::counters::{Counter, Counters};
use crate::event::{Dimensions, Kind};
use crate::fold::{Delta, RowDelta};
use crate::journal::Summed;
use crate::period::{Granularity, Period};

/// What a row takes in memory besides its texts, with its place in the index.
const ROW: usize = size_of::<Held>() + 10;
/// What a text takes besides its bytes.
const TEXT: usize = size_of::<Box<str>>() + 16 + 10;
/// Rows that are added to their parents at once.
const AT_ONCE: usize = 1_000;

/// Sums by row. See the module.
#[derive(Debug, Default)]
pub struct Finest {
    hasher: DefaultHashBuilder,
    texts: Texts,
    index: HashTable<u32>,
    rows: Vec<Held>,
    /// Those that need more than 64 bits.
    large: Vec<(Key, RowDelta)>,
}

/// What a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    /// Those of the dimensions.
    texts: [u32; 8],
    kind: Kind,
    period: Period,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    key: Key,
    sums: Counters,
    first_event_ms: i64,
    last_event_ms: i64,
}

impl Held {
    /// Adds to it, where the sums fit. Whether they do.
    fn add(&mut self, sums: &Counters, booked: &RowDelta) -> bool {
        let mut all = Counters::default();
        for counter in Counter::ALL {
            let Some(sum) = self.sums[counter].checked_add(sums[counter]) else {
                return false;
            };
            all[counter] = sum;
        }
        self.sums = all;
        self.first_event_ms = self.first_event_ms.min(booked.first_event_ms);
        self.last_event_ms = self.last_event_ms.max(booked.last_event_ms);
        true
    }

    fn booked(&self) -> RowDelta {
        RowDelta {
            sums: self.sums.into(),
            first_event_ms: self.first_event_ms,
            last_event_ms: self.last_event_ms,
        }
    }
}

impl Finest {
    /// Adds what entries of an organization come to.
    pub fn add(&mut self, organization: &str, summed: &Summed<'_>) {
        let organization = self.texts.number(organization);
        let texts: Vec<u32> = summed.texts.iter().map(|text| self.texts.number(text)).collect();
        for sum in &summed.rows {
            let [agent, provider, model, user, team, api_key, source] = sum.row.texts.map(|at| texts[at]);
            let key = Key {
                texts: [organization, agent, provider, model, user, team, api_key, source],
                kind: sum.row.kind,
                period: sum.row.period,
            };
            self.add_row(key, &sum.booked);
        }
    }

    /// Adds rows of the finest granularity.
    pub fn add_rows(&mut self, delta: &Delta) {
        for row in delta.ledger.values() {
            let key = Key {
                texts: row.dimensions.texts().map(|text| self.texts.number(text)),
                kind: row.dimensions.kind,
                period: row.period,
            };
            self.add_row(key, &row.booked);
        }
    }

    fn add_row(&mut self, key: Key, booked: &RowDelta) {
        let Ok(sums) = booked.sums.narrow() else {
            self.large.push((key, *booked));
            return;
        };
        let (rows, hasher) = (&mut self.rows, &self.hasher);
        let entry = self.index.entry(
            hasher.hash_one(key),
            |at| rows[*at as usize].key == key,
            |at| hasher.hash_one(rows[*at as usize].key),
        );
        match entry {
            Entry::Occupied(at) => {
                if !rows[*at.get() as usize].add(&sums, booked) {
                    self.large.push((key, *booked));
                }
            }
            Entry::Vacant(place) => {
                place.insert(u32::try_from(rows.len()).expect("more rows than there is memory for"));
                rows.push(Held {
                    key,
                    sums,
                    first_event_ms: booked.first_event_ms,
                    last_event_ms: booked.last_event_ms,
                });
            }
        }
    }

    /// The bytes that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.len() * ROW + self.large.len() * size_of::<(Key, RowDelta)>() + self.texts.bytes
    }

    /// Every row with all its parents, of these granularities, the first of which is that of the rows: some rows at a time, those that share parents together.
    /// Nothing is left.
    pub fn widened(&mut self, granularities: &[Granularity]) -> impl Iterator<Item = Delta> {
        let Self {
            texts,
            mut rows,
            large,
            ..
        } = std::mem::take(self);
        // Rows that share parents are neighbours: those of an organization, and of each of its users.
        let place = |Key {
                         texts: [organization, _, _, _, user, ..],
                         ..
                     }: &Key| (*organization, *user);
        rows.sort_unstable_by_key(|row| (place(&row.key), row.key));
        let held = rows.into_iter().map(|row| (row.key, row.booked()));
        let mut all = held.chain(large).peekable();
        std::iter::from_fn(move || {
            all.peek()?;
            let mut delta = Delta::default();
            for (key, booked) in all.by_ref().take(AT_ONCE) {
                delta.book(granularities, key.period, &key.dimensions(&texts), &booked);
            }
            Some(delta)
        })
    }
}

impl Key {
    fn dimensions(&self, texts: &Texts) -> Dimensions<Box<str>> {
        let texts = self.texts.map(|number| texts.texts[number as usize].clone());
        Dimensions::of(texts, self.kind)
    }
}

/// Texts, each of which is held once.
#[derive(Debug, Default)]
struct Texts {
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    texts: Vec<Box<str>>,
    bytes: usize,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        let (texts, hasher) = (&mut self.texts, &self.hasher);
        let entry = self.index.entry(
            hasher.hash_one(text),
            |at| &*texts[*at as usize] == text,
            |at| hasher.hash_one(&*texts[*at as usize]),
        );
        match entry {
            Entry::Occupied(at) => *at.get(),
            Entry::Vacant(place) => {
                let number = u32::try_from(texts.len()).expect("more texts than there is memory for");
                place.insert(number);
                texts.push(text.into());
                self.bytes += text.len() + TEXT;
                number
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::super::key::{RowKey, rows_of};
    use super::*;
    use crate::event::{DocumentId, Identity};
    use crate::journal::{Change, Entry as Journaled, Journal, Packer, Place, Row, RowRef};

    fn row((organization, user, hour): (u8, u8, u8)) -> Row {
        let day =
            NaiveDate::from_ymd_opt(2026, 1, 30).expect("a day") + chrono::Days::new(u64::from(hour) / 24);
        let text = |text: &str| Box::from(text);
        Row {
            period: Period::at(Granularity::Hourly, day, u32::from(hour) % 24).expect("an hour"),
            dimensions: Dimensions {
                organization: text(["a", "b"][usize::from(organization % 2)]),
                agent: format!("u{}", user % 2).into(),
                provider: text("p"),
                model: text("m"),
                user: format!("u{user}").into(),
                team: text("a"),
                api_key: text(""),
                source: text("u1"),
                kind: Kind::Llm,
            },
        }
    }

    /// A value of an entry: some are so large that few of them fit 64 bits.
    fn value() -> impl Strategy<Value = i64> {
        prop_oneof![3 => -5..5_i64, 1 => (i64::MAX - 2)..=i64::MAX]
    }

    fn all(deltas: impl IntoIterator<Item = Delta>) -> BTreeMap<RowKey, RowDelta> {
        let mut all = BTreeMap::new();
        for (key, booked) in deltas.into_iter().flat_map(rows_of) {
            all.entry(key)
                .and_modify(|sum: &mut RowDelta| sum.merge(&booked))
                .or_insert(booked);
        }
        all
    }

    proptest! {
        /// Every entry booked by itself is the oracle.
        #[test]
        fn rows_and_their_parents_are_the_sums_of_all_entries(
            documents in prop::collection::vec(
                prop::collection::vec(((0..2_u8, 0..3_u8, 0..96_u8), value(), 0..50_i64), 0..30),
                0..6,
            ),
        ) {
            let granularities = Granularity::ALL;
            let (mut finest, mut naive) = (Finest::default(), Delta::default());
            for entries in documents {
                let rows: Vec<Row> = entries.iter().map(|(of, ..)| row(*of)).collect();
                let mut packer = Packer::default();
                for (at, (_, value, at_ms)) in entries.iter().enumerate() {
                    let mut counters = Counters::default();
                    counters[Counter::CostNanos] = *value;
                    packer.push(&Journaled {
                        commit: 0,
                        change: Change::Corrected,
                        place: Place { offset: 0, index: 0 },
                        completed_at_ms: *at_ms,
                        row: at,
                        counters,
                        id: Identity::Document(DocumentId::None),
                    });
                    let booked = RowDelta { sums: counters.into(), first_event_ms: *at_ms, last_event_ms: *at_ms };
                    naive.book(&granularities, rows[at].period, &rows[at].dimensions, &booked);
                }
                let rows: Vec<RowRef<'_>> = rows.iter().map(|row| (row.period, &row.dimensions)).collect();
                let journal = Journal::open(&packer.pack(Granularity::Hourly, &rows).bytes).expect("whole");
                for (organization, _) in journal.organizations() {
                    finest.add(organization, &journal.sums_of(organization, 0).expect("whole"));
                }
            }
            prop_assert_eq!(all(finest.widened(&granularities)), all([naive]));
            prop_assert_eq!(finest.bytes(), 0);
            prop_assert_eq!(finest.widened(&granularities).count(), 0);
        }
    }
}

//! Rows of one marginal, column by column, in as few bytes as their values need.
//!
//! The key of each row is a number of a [`KeyInterner`]: no text is looked at while rows are added up.

use rollup::counters::{Counter, Counters, Sums};

use crate::key_interner::KeyInterner;
use crate::reader::Key;

const COUNTERS: usize = Counter::ALL.len();

/// The values of one counter.
enum Column {
    I8(Box<[i8]>),
    I16(Box<[i16]>),
    I32(Box<[i32]>),
    I64(Box<[i64]>),
}

impl Column {
    /// Takes the narrowest form. `None`: they are all zero.
    fn of(values: Vec<i64>) -> Option<Self> {
        fn narrow<T: TryFrom<i64>>(values: &[i64]) -> Option<Box<[T]>> {
            values.iter().map(|value| T::try_from(*value).ok()).collect()
        }
        if values.iter().all(|value| *value == 0) {
            return None;
        }
        let narrowed = narrow(&values).map(Column::I8);
        let narrowed = narrowed.or_else(|| narrow(&values).map(Column::I16));
        let narrowed = narrowed.or_else(|| narrow(&values).map(Column::I32));
        Some(narrowed.unwrap_or_else(|| Column::I64(values.into())))
    }

    fn get(&self, at: usize) -> i64 {
        match self {
            Column::I8(values) => values[at].into(),
            Column::I16(values) => values[at].into(),
            Column::I32(values) => values[at].into(),
            Column::I64(values) => values[at],
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Column::I8(values) => values.len(),
            Column::I16(values) => size_of_val::<[i16]>(values),
            Column::I32(values) => size_of_val::<[i32]>(values),
            Column::I64(values) => size_of_val::<[i64]>(values),
        }
    }

    fn add_to(&self, sums: &mut [i128], numbers: &[u32]) {
        fn add<T: Copy + Into<i128>>(values: &[T], sums: &mut [i128], numbers: &[u32]) {
            for (number, value) in numbers.iter().zip(values) {
                sums[*number as usize] += (*value).into();
            }
        }
        match self {
            Column::I8(values) => add(values, sums, numbers),
            Column::I16(values) => add(values, sums, numbers),
            Column::I32(values) => add(values, sums, numbers),
            Column::I64(values) => add(values, sums, numbers),
        }
    }
}

/// A set of numbers, one bit for each.
#[derive(Default)]
pub(crate) struct Numbers(Vec<u64>);

impl Numbers {
    fn insert(&mut self, number: u32) {
        let at = number as usize / 64;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        self.0[at] |= 1 << (number % 64);
    }

    /// Adds all of another set.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (bits, more) in self.0.iter_mut().zip(&other.0) {
            *bits |= more;
        }
    }

    /// Whether a number is in it.
    pub(crate) fn contains(&self, number: u32) -> bool {
        let bits = self.0.get(number as usize / 64);
        bits.is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }
}

/// The rows of a period, or of a ranking: each with a number, in the order in which they were taken.
pub(crate) struct PeriodColumns {
    numbers: Box<[u32]>,
    columns: [Option<Column>; COUNTERS],
    /// The numbers with requests, where no row has less than none.
    active: Option<Numbers>,
}

impl PeriodColumns {
    /// Takes rows.
    pub(crate) fn of(numbers: Vec<u32>, columns: [Vec<i64>; COUNTERS]) -> Self {
        let requests = &columns[Counter::Requests as usize];
        let active = requests.iter().all(|requests| *requests >= 0).then(|| {
            let mut active = Numbers::default();
            for (number, requests) in numbers.iter().zip(requests) {
                if *requests > 0 {
                    active.insert(*number);
                }
            }
            active
        });
        Self {
            active,
            numbers: numbers.into(),
            columns: columns.map(Column::of),
        }
    }

    /// The numbers of rows with requests. `None`: a row has less than none.
    pub(crate) fn active(&self) -> Option<&Numbers> {
        self.active.as_ref()
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The number of a row.
    pub(crate) fn number(&self, at: usize) -> u32 {
        self.numbers[at]
    }

    /// One counter of a row.
    pub(crate) fn counter(&self, at: usize, counter: Counter) -> i64 {
        self.columns[counter as usize]
            .as_ref()
            .map_or(0, |column| column.get(at))
    }

    /// The counters of a row.
    pub(crate) fn counters(&self, at: usize) -> Counters {
        let mut counters = Counters::default();
        for counter in Counter::ALL {
            counters[counter] = self.counter(at, counter);
        }
        counters
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let columns = self.columns.iter().flatten().map(Column::bytes);
        let active = self
            .active
            .as_ref()
            .map_or(0, |active| active.0.len() * size_of::<u64>());
        size_of_val::<[u32]>(&self.numbers) + columns.sum::<usize>() + active
    }
}

/// Rows that are being taken in.
#[derive(Default)]
pub(crate) struct Rows {
    keys: Vec<Key>,
    columns: [Vec<i64>; COUNTERS],
    bytes: usize,
}

impl Rows {
    pub(crate) fn push(&mut self, key: Key, counters: &Counters) {
        self.bytes += Self::bytes_of(&key);
        self.keys.push(key);
        for counter in Counter::ALL {
            self.columns[counter as usize].push(counters[counter]);
        }
    }

    /// About how many bytes a row takes until it has its final form.
    pub(crate) fn bytes_of(key: &Key) -> usize {
        let parts = key.iter().map(|part| part.len() + size_of::<Box<str>>());
        size_of::<Counters>() + size_of::<Key>() + parts.sum::<usize>()
    }

    /// About how many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows in their final form.
    pub(crate) fn finish(self, keys: &KeyInterner) -> PeriodColumns {
        PeriodColumns::of(keys.numbers(self.keys), self.columns)
    }
}

/// The sums of the columns of several periods, of one interner.
pub(crate) struct Merged {
    /// Which numbers have a row.
    seen: Vec<bool>,
    /// One sum per number, where the counter is not zero everywhere.
    columns: [Vec<i128>; COUNTERS],
}

impl Merged {
    /// Adds periods up, each number by itself.
    pub(crate) fn of<'a>(
        periods: impl Iterator<Item = &'a PeriodColumns> + Clone,
        counters: &[Counter],
    ) -> Self {
        let highest = periods.clone().flat_map(|period| period.numbers.iter().max());
        let count = highest.max().map_or(0, |highest| *highest as usize + 1);
        let mut merged = Self {
            seen: vec![false; count],
            columns: Default::default(),
        };
        for period in periods {
            for number in &period.numbers {
                merged.seen[*number as usize] = true;
            }
            for counter in counters {
                if let Some(column) = &period.columns[*counter as usize] {
                    let sums = &mut merged.columns[*counter as usize];
                    sums.resize(count, 0);
                    column.add_to(sums, &period.numbers);
                }
            }
        }
        merged
    }

    /// Every number that has a row, with its sums.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Sums)> {
        let seen = (0_u32..).zip(&self.seen).filter(|(_, seen)| **seen);
        seen.map(|(number, _)| {
            let mut sums = Sums::default();
            for counter in Counter::ALL {
                if let Some(sum) = self.columns[counter as usize].get(number as usize) {
                    sums[counter] = *sum;
                }
            }
            (number, sums)
        })
    }
}

//! Entries of a known ledger, and the rows that they must come to: nobody counts them.
//!
//! Each user of an organization has one row a day. What an entry says follows from its row and from how many the row had
//! before, so the sums of a row follow from how many it has.

use std::collections::HashMap;

use chrono::{Days, NaiveDate};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rollup::audit::key::{RowKey, rows_of};
use rollup::counters::{Counter, Counters, Sums};
use rollup::event::{Dimensions, DocumentId, Identity, Kind};
use rollup::fold::{Delta, RowDelta};
use rollup::journal::{Change, Entry, Packed, Packer, Place, RowRef};
use rollup::period::{Granularity, Period};
use testkit::{Error, Result};

pub(crate) const GRANULARITIES: [Granularity; 3] =
    [Granularity::Daily, Granularity::Weekly, Granularity::Monthly];
/// Lanes, each with organizations of its own.
pub(crate) const LANES: u16 = 8;
const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// A multiple of the lanes.
    pub(crate) organizations: u16,
    /// Of each organization.
    pub(crate) users: u32,
    pub(crate) days: u32,
    /// Whether entries come day by day, as in a journal; else each may be of any day.
    pub(crate) in_order: bool,
    pub(crate) entries: u64,
}

/// See the module.
pub(crate) struct Made {
    size: Size,
    first_day: NaiveDate,
    rng: StdRng,
    done: u64,
    /// How many entries each row has.
    counts: Vec<u32>,
}

impl Made {
    pub(crate) fn new(size: Size) -> Self {
        let rows = u64::from(size.organizations) * u64::from(size.users) * u64::from(size.days);
        Self {
            size,
            first_day: testkit::now().date_naive() - Days::new(size.days.into()),
            rng: StdRng::seed_from_u64(7),
            done: 0,
            counts: vec![0; usize::try_from(rows).expect("memory for a number of each row")],
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done >= self.size.entries
    }

    /// The next entries of a lane, and what each of them adds.
    pub(crate) fn document(&mut self, lane: u32, entries: u32) -> (Packed, Vec<Counters>) {
        let (mut packer, mut added) = (Packer::default(), Vec::new());
        let (mut rows, mut index) = (Vec::new(), HashMap::new());
        for number in 0..entries {
            let (row, day) = self.draw(lane);
            let counters = self.count(row);
            let next = index.len();
            let at = *index.entry(row).or_insert(next);
            if at == next {
                rows.push((self.period(day), self.dimensions(row)));
            }
            packer.push(&Entry {
                commit: 0,
                change: Change::Completed,
                place: Place {
                    offset: i64::try_from(self.done).unwrap_or(i64::MAX),
                    index: 0,
                },
                completed_at_ms: self.day_ms(day) + i64::from(number) * 40 % DAY_MS,
                row: at,
                counters,
                id: Identity::Document(DocumentId::Uuid(self.rng.random())),
            });
            added.push(counters);
            self.done += 1;
        }
        let rows: Vec<RowRef<'_>> = rows.iter().map(|(period, of)| (*period, of)).collect();
        (packer.pack(GRANULARITIES[0], &rows), added)
    }

    /// A row of a lane, and its day.
    fn draw(&mut self, lane: u32) -> (usize, u32) {
        let Size {
            organizations,
            users,
            days,
            in_order,
            entries,
        } = self.size;
        let day = match in_order {
            true => u32::try_from(self.done * u64::from(days) / entries).unwrap_or(u32::MAX),
            false => self.rng.random_range(0..days),
        };
        let day = day.min(days - 1);
        let of_lane = u32::from(organizations / LANES);
        let organization = self.rng.random_range(0..of_lane) * u32::from(LANES) + lane;
        let user = organization * users + self.rng.random_range(0..users);
        let row = user as usize * days as usize + day as usize;
        (row, day)
    }

    fn count(&mut self, row: usize) -> Counters {
        let counters = counters(row, self.counts[row]);
        self.counts[row] += 1;
        counters
    }

    fn period(&self, day: u32) -> Period {
        Period::holding(GRANULARITIES[0], self.first_day + Days::new(day.into()))
    }

    fn day_ms(&self, day: u32) -> i64 {
        let first = i64::from(self.first_day.to_epoch_days());
        (first + i64::from(day)) * DAY_MS
    }

    fn dimensions(&self, row: usize) -> Dimensions<Box<str>> {
        let user = row / self.size.days as usize;
        let model = user * 7 % 20;
        Dimensions {
            organization: format!("organization-{:05}", user / self.size.users as usize).into(),
            agent: format!("agent-{:02}", user * 3 % 50).into(),
            provider: format!("provider-{}", model % 4).into(),
            model: format!("model-{model:02}").into(),
            user: format!("user-{user:07}").into(),
            team: format!("team-{:02}", user % 40).into(),
            api_key: "__none__".into(),
            source: ["chat", "workflow", "openai-compat"][user % 3].into(),
            kind: Kind::Llm,
        }
    }

    /// Every row and rollup of an organization, in order.
    pub(crate) fn rows(&self, organization: u16) -> Result<impl Iterator<Item = (RowKey, RowDelta)>> {
        let of_each = self.size.users as usize * self.size.days as usize;
        let first = usize::from(organization) * of_each;
        let mut delta = Delta::default();
        for row in (first..first + of_each).filter(|row| self.counts[*row] > 0) {
            let day = u32::try_from(row % self.size.days as usize)
                .map_err(|error| Error::Other(error.to_string()))?;
            let mut sums = Sums::default();
            (0..self.counts[row]).for_each(|number| sums.add(&counters(row, number)));
            let booked = RowDelta {
                sums,
                first_event_ms: self.day_ms(day),
                last_event_ms: self.day_ms(day) + DAY_MS - 1,
            };
            delta.book(&GRANULARITIES, self.period(day), &self.dimensions(row), &booked);
        }
        Ok(rows_of(delta))
    }

    pub(crate) fn organizations(&self) -> std::ops::Range<u16> {
        0..self.size.organizations
    }
}

/// What the entry of this number adds to a row.
fn counters(row: usize, number: u32) -> Counters {
    let mixed = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ u64::from(number).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let part =
        |shift: u32, below: i64| i64::from(u16::try_from(mixed >> shift & 0xffff).unwrap_or(0)) % below;
    let (input, output) = (100 + part(8, 4_900), 10 + part(24, 890));
    let mut counters = Counters::default();
    for (counter, value) in [
        (Counter::Requests, 1),
        (Counter::FailedRequests, i64::from(part(40, 50) == 0)),
        (Counter::InputTokens, input),
        (Counter::CachedInputTokens, input / 2),
        (Counter::OutputTokens, output),
        (Counter::ReasoningTokens, output / 4),
        (Counter::TotalTokens, input + output),
        (Counter::CostNanos, input * 250 + output * 2_000),
    ] {
        counters[counter] = value;
    }
    counters
}

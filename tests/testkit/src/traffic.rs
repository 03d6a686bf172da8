//! Request-completed events whose right totals are known.
//!
//! A [`Generator`] plays three services (chat, workflow, openai-compat) for several organizations. It is
//! pure: the same options and the same instants give the same events, byte for byte. Each [`Item`] says
//! what a ledger must do with it ([`Verdict`]) and what it adds ([`Usage`]), so that a [`Truth`] can be
//! summed beside the ledger and compared with its answers.
//!
//! Nothing here uses the ledger's own code: a truth that shared its mistakes would prove nothing.

mod invalid;
mod item;
mod population;
mod truth;
mod usage;

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

pub use item::{Identity, Item, Verdict};
pub use truth::Truth;
pub use usage::{Outcome, Totals, Usage, decimal};

use item::Draft;
pub(crate) use item::{CostForm, TimeForm, render};
use population::Population;

/// How many of the last counted events may come again.
const MEMORY: usize = 500;

/// The mix. Shares are parts of one; what remains is counted.
#[derive(Debug, Clone)]
pub struct Options {
    /// The same seed gives the same events.
    pub seed: u64,
    /// Begins every event id; runs into the same collection need different ones.
    pub prefix: String,
    /// What events are known by.
    pub identity: Identity,
    /// How many organizations (at least one).
    pub organizations: usize,
    /// How many users each of them has (at least one).
    pub users: usize,
    /// Events that come again.
    pub duplicates: f64,
    /// Events that must be skipped by rule: test mode, or another type.
    pub skipped: f64,
    /// Events that must be rejected.
    pub invalid: f64,
    /// Events that completed days before they arrive (of those counted).
    pub late: f64,
    /// The most days that a late event is late.
    pub late_days: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            prefix: "evt".to_owned(),
            identity: Identity::EventId,
            organizations: 3,
            users: 40,
            duplicates: 0.04,
            skipped: 0.02,
            invalid: 0.01,
            late: 0.03,
            late_days: 6,
        }
    }
}

impl Options {
    /// Only events to be counted, none of them late.
    #[must_use]
    pub fn plain(seed: u64) -> Self {
        Self {
            seed,
            duplicates: 0.0,
            skipped: 0.0,
            invalid: 0.0,
            late: 0.0,
            ..Self::default()
        }
    }
}

/// Makes events.
#[derive(Debug)]
pub struct Generator {
    options: Options,
    rng: StdRng,
    population: Population,
    made: u64,
    recent: VecDeque<Item>,
}

impl Generator {
    /// From the beginning.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let rng = StdRng::seed_from_u64(options.seed);
        let population = Population::new(options.organizations, options.users);
        Self {
            options,
            rng,
            population,
            made: 0,
            recent: VecDeque::with_capacity(MEMORY),
        }
    }

    /// The organizations that events are made for.
    #[must_use]
    pub fn organizations(&self) -> &[String] {
        self.population.organizations()
    }

    /// The next event; it arrives at `now`, and most complete then.
    pub fn item(&mut self, now: DateTime<Utc>) -> Item {
        self.made += 1;
        let number = self.made;
        let Options {
            duplicates,
            skipped,
            invalid,
            ..
        } = self.options;
        let roll = self.rng.random::<f64>();
        if roll < duplicates && !self.recent.is_empty() && self.options.identity == Identity::EventId {
            let again = self.rng.random_range(0..self.recent.len());
            return self.recent[again].again(number);
        }
        let draft = self.draft(number, now);
        if roll < duplicates {
            return self.remember(draft.counted());
        }
        if roll < duplicates + skipped {
            return if self.rng.random_bool(0.7) {
                draft.test_mode()
            } else {
                draft.of_other_type()
            };
        }
        if roll < duplicates + skipped + invalid {
            let flaw = self.rng.random_range(0..invalid::COUNT);
            return invalid::apply(flaw, draft);
        }
        self.remember(draft.counted())
    }

    /// Events that arrive `step` apart, from `start` on; without end.
    pub fn spaced(mut self, start: DateTime<Utc>, step: TimeDelta) -> impl Iterator<Item = Item> {
        let mut now = start;
        std::iter::from_fn(move || {
            let item = self.item(now);
            now += step;
            Some(item)
        })
    }

    fn draft(&mut self, number: u64, now: DateTime<Utc>) -> Draft {
        let late = self.rng.random_bool(self.options.late.clamp(0.0, 1.0));
        let days = if late {
            self.rng.random_range(1..=self.options.late_days.max(1))
        } else {
            0
        };
        // To the millisecond: that is what every form of the field can say.
        let at =
            DateTime::from_timestamp_millis((now - TimeDelta::days(days)).timestamp_millis()).unwrap_or(now);
        let usage = self.population.usage(&mut self.rng, at);
        let time_form = match self.rng.random_range(0..100) {
            0..60 => TimeForm::Text,
            60..75 => TimeForm::TextWithOffset,
            _ => TimeForm::Millis,
        };
        let cost_form = match self.rng.random_range(0..5) {
            0 => CostForm::Amount,
            1 => CostForm::Exponent,
            2 => CostForm::Number,
            3 => CostForm::Nanos,
            _ => CostForm::Cents,
        };
        Draft {
            prefix: self.options.prefix.clone(),
            seed: self.options.seed,
            number,
            identity: self.options.identity,
            arrives: now,
            time_form,
            cost_form,
            usage,
        }
    }

    fn remember(&mut self, item: Item) -> Item {
        if self.recent.len() == MEMORY {
            self.recent.pop_front();
        }
        self.recent.push_back(item.clone());
        item
    }
}

#[cfg(test)]
mod tests;

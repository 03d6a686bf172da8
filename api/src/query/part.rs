//! The memory between answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use rollup::fold::Marginal;

use crate::cache::{Cache, Weighed};
use crate::key_interner::{Found, KeyInterner, KeyInterners};
use crate::period_columns::PeriodColumns;
use crate::ranking::RankedGroups;
use crate::reader::{Group, Key, PeriodTotals};

/// Remembered parts of answers, by everything they depend on.
pub(crate) type Parts = Cache<Part>;

/// A part of answers.
pub(crate) enum Part {
    /// Every row of a marginal in a period.
    PeriodColumns(Box<PeriodColumns>),
    /// The columns of several periods were read at once, and are remembered one by one.
    Ahead,
    /// Every group of a part of a range.
    Groups(Vec<Group>),
    /// Every group with usage of a whole range, ranked.
    Ranked(Box<RankedGroups>),
    /// More rows or groups than are kept in memory.
    TooLarge,
}

/// The totals of an organization in a period, if there are any.
pub(crate) struct Known(pub(crate) Option<PeriodTotals>);

/// Dead letters by the code of their reason, as they are remembered.
pub(crate) struct Reasons(pub(crate) BTreeMap<String, u64>);

impl Reasons {
    pub(crate) fn events(&self) -> u64 {
        self.0.values().sum()
    }
}

/// The memory of a reader. Each kind has its own room: so states of the ledger, which pass by the dozen, do not
/// push out rows that stay.
pub(crate) struct Remembered {
    /// The totals of periods, by the state of the ledger.
    pub(crate) states: Cache<Known>,
    pub(crate) parts: Parts,
    /// Rankings: each is as large as the columns of several periods, and quickly made from them.
    pub(crate) rankings: Parts,
    /// What was refused, by the state of the dead letters.
    pub(crate) rejected: Cache<Reasons>,
    pub(crate) interners: KeyInterners,
}

impl Remembered {
    /// The interner of a marginal, and the edition that its numbers belong to. `None`: it has too many keys.
    pub(super) fn interner(
        &self,
        organization: &str,
        marginal: Marginal,
    ) -> Option<(Arc<KeyInterner>, usize)> {
        let Found {
            interner,
            is_new_edition,
        } = self.interners.of(organization, marginal);
        if is_new_edition {
            // They would hold the keys of earlier editions, which nobody asks for any more.
            self.rankings.clear();
        }
        interner
    }
}

impl Part {
    /// The rows, as far as they are held.
    pub(crate) fn period_columns(&self) -> Option<&PeriodColumns> {
        match self {
            Part::PeriodColumns(columns) => Some(columns),
            _ => None,
        }
    }

    /// The groups, as far as they are held.
    pub(crate) fn groups(&self) -> &[Group] {
        match self {
            Part::Groups(groups) => groups,
            _ => &[],
        }
    }

    /// The ranked groups, as far as they are held.
    pub(crate) fn ranked(&self) -> Option<&RankedGroups> {
        match self {
            Part::Ranked(ranked) => Some(ranked),
            _ => None,
        }
    }
}

impl Weighed for Part {
    fn weight(&self) -> usize {
        let held = match self {
            Part::Ahead | Part::TooLarge => 0,
            Part::PeriodColumns(columns) => size_of::<PeriodColumns>() + columns.bytes(),
            Part::Groups(groups) => groups.iter().map(group_bytes).sum(),
            Part::Ranked(ranked) => size_of::<RankedGroups>() + ranked.bytes(),
        };
        size_of::<Self>() + held
    }
}

impl Weighed for Known {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl Weighed for Reasons {
    fn weight(&self) -> usize {
        let reason = |code: &String| size_of::<(String, u64)>() + code.len();
        size_of::<Self>() + self.0.keys().map(reason).sum::<usize>()
    }
}

/// About how many bytes a group takes.
pub(crate) fn group_bytes(group: &Group) -> usize {
    size_of::<Group>() + key_bytes(&group.key)
}

fn key_bytes(key: &Key) -> usize {
    key.iter().map(|part| part.len() + size_of::<Box<str>>()).sum()
}

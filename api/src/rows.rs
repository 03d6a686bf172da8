//! The rows that answer a question. They are chosen here, and nowhere else.
//!
//! A marginal has few rows and answers questions about its own dimension only. The ledger, whose rows have every
//! dimension, answers all others.

use std::collections::BTreeMap;

use rollup::event::{NONE, UNATTRIBUTED, UNKNOWN};
use rollup::fold::Marginal;

/// A property that rows are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// The organization that used it.
    Organization,
    /// The assistant.
    Agent,
    /// The provider of the model.
    Provider,
    /// The model.
    Model,
    /// The person.
    User,
    /// The person's team.
    Team,
    /// The API key.
    ApiKey,
    /// The emitting service.
    Source,
    /// The kind of the request.
    Kind,
}

impl Dimension {
    /// Every dimension. The organization comes first.
    pub const ALL: [Dimension; 9] = [
        Dimension::Organization,
        Dimension::Agent,
        Dimension::Provider,
        Dimension::Model,
        Dimension::User,
        Dimension::Team,
        Dimension::ApiKey,
        Dimension::Source,
        Dimension::Kind,
    ];

    /// The name of the dimension in rows, questions and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Dimension::Organization => "organizationId",
            Dimension::Agent => "agentSlug",
            Dimension::Provider => "provider",
            Dimension::Model => "model",
            Dimension::User => "userId",
            Dimension::Team => "teamId",
            Dimension::ApiKey => "apiKeyId",
            Dimension::Source => "source",
            Dimension::Kind => "kind",
        }
    }
}

/// Where the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rows {
    /// `usageLedger`: rows with every dimension.
    Ledger,
    /// `usageRollups`: rows of one marginal.
    Rollups(Marginal),
}

/// The dimensions of the rows of a marginal, in the order of their keys. Their `value` is of the first.
#[must_use]
pub const fn dimensions(marginal: Marginal) -> &'static [Dimension] {
    match marginal {
        Marginal::Organization => &[],
        Marginal::Agent => &[Dimension::Agent],
        Marginal::Model => &[Dimension::Model, Dimension::Provider],
        Marginal::User => &[Dimension::User],
        Marginal::Source => &[Dimension::Source],
    }
}

/// Values that dimensions may have.
pub(crate) type Filters = BTreeMap<Dimension, Vec<String>>;

/// Whether a value stands for something that no event named.
pub(crate) fn is_sentinel(value: &str) -> bool {
    [UNATTRIBUTED, UNKNOWN, NONE].contains(&value)
}

/// The rows that answer a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answering {
    /// Their collection.
    pub(crate) rows: Rows,
    /// Whether they are of the ledger and of named users only: these are few, in periods of any length. The rows
    /// without a user may be most of all.
    pub(crate) are_few: bool,
}

/// The rows that answer a question with these filters about these groups.
pub(crate) fn answering(filters: &Filters, group_by: &[Dimension]) -> Answering {
    let rows = Rows::with(filters.keys().chain(group_by).copied());
    let users = filters.get(&Dimension::User);
    let are_named = users.is_some_and(|users| !users.iter().any(|user| is_sentinel(user)));
    Answering {
        rows,
        are_few: rows == Rows::Ledger && are_named,
    }
}

impl Rows {
    /// The smallest collection with rows of these dimensions.
    pub(crate) fn with(dimensions: impl IntoIterator<Item = Dimension>) -> Rows {
        let mut marginal = Marginal::Organization;
        for dimension in dimensions {
            let needed = match dimension {
                Dimension::Organization => continue,
                Dimension::Agent => Marginal::Agent,
                Dimension::Model | Dimension::Provider => Marginal::Model,
                Dimension::User => Marginal::User,
                Dimension::Source => Marginal::Source,
                Dimension::Team | Dimension::ApiKey | Dimension::Kind => return Rows::Ledger,
            };
            if marginal != Marginal::Organization && marginal != needed {
                return Rows::Ledger;
            }
            marginal = needed;
        }
        Rows::Rollups(marginal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marginals_answer_what_they_hold_and_the_ledger_the_rest() {
        use Dimension::{Agent, ApiKey, Kind, Model, Organization, Provider, Source, User};
        for (dimensions, rows) in [
            (&[][..], Rows::Rollups(Marginal::Organization)),
            (&[Organization], Rows::Rollups(Marginal::Organization)),
            (&[Organization, Agent], Rows::Rollups(Marginal::Agent)),
            (&[Provider], Rows::Rollups(Marginal::Model)),
            (&[Model, Provider, Model], Rows::Rollups(Marginal::Model)),
            (&[User, User], Rows::Rollups(Marginal::User)),
            (&[Source], Rows::Rollups(Marginal::Source)),
            (&[Agent, Model], Rows::Ledger),
            (&[User, Source], Rows::Ledger),
            (&[Kind], Rows::Ledger),
            (&[ApiKey], Rows::Ledger),
        ] {
            assert_eq!(Rows::with(dimensions.iter().copied()), rows, "{dimensions:?}");
        }
    }
}

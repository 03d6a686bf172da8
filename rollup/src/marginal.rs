//! By what rollups are kept.

use crate::event::Dimensions;

/// A marginal of an organization's usage that is kept as rollups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Marginal {
    /// The organization as a whole.
    Organization,
    /// Per agent.
    Agent,
    /// Per model and provider.
    Model,
    /// Per user.
    User,
    /// Per emitting service.
    Source,
}

impl Marginal {
    /// Every marginal.
    pub const ALL: [Marginal; 5] = [
        Marginal::Organization,
        Marginal::Agent,
        Marginal::Model,
        Marginal::User,
        Marginal::Source,
    ];

    /// The name under which the marginal is stored, in the field `set`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Marginal::Organization => "organization",
            Marginal::Agent => "agent",
            Marginal::Model => "model",
            Marginal::User => "user",
            Marginal::Source => "source",
        }
    }

    /// The value of this marginal for a row, and the provider where it belongs to the value.
    pub(crate) fn of<S>(self, dimensions: &Dimensions<S>) -> (&S, Option<&S>) {
        match self {
            Marginal::Organization => (&dimensions.organization, None),
            Marginal::Agent => (&dimensions.agent, None),
            Marginal::Model => (&dimensions.model, Some(&dimensions.provider)),
            Marginal::User => (&dimensions.user, None),
            Marginal::Source => (&dimensions.source, None),
        }
    }
}

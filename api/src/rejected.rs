//! Refused events: they wait as dead letters, and are in no sum.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Grant;
use crate::cache::CacheKey;
use crate::query::{QueryContext, Reasons};
use crate::range::Range;
use crate::reader::{ReadError, Snapshot, Span, Whose};
use crate::route::{Common, Tells};

/// What is missing in the figures, since it was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rejections {
    rejected: Rejected,
}

/// Events of the range that were refused, and are not in the figures. Filters do not apply: what an event was about is
/// not known for sure.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Rejected {
    /// How many of them name an organization that the answer is about.
    events: u64,
    /// The same, by the code of the reason.
    reasons: BTreeMap<String, u64>,
    /// How many more there are that name no organization. To staff: in answers about the whole platform, and in `meta`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    without_organization: Option<u64>,
}

impl Rejections {
    /// Those of the days that a question is about, as far as its route tells of them.
    pub(crate) async fn read<S: Snapshot>(
        tells: Tells,
        common: &Common,
        context: &QueryContext<S>,
    ) -> Result<Option<Self>, ReadError> {
        if tells == Tells::Nothing {
            return Ok(None);
        }
        let range = common.days.range;
        let reasons = context.rejected(Whose::Of(context.scope.clone()), range).await?;
        let is_of_everybody = common.grant == Grant::Everybody;
        let without_organization = match is_of_everybody || (tells == Tells::OfAll && common.is_staff) {
            true => Some(context.rejected(Whose::Nobody, range).await?.events()),
            false => None,
        };
        let rejected = Rejected {
            events: reasons.events(),
            reasons: reasons.0.clone(),
            without_organization,
        };
        Ok(Some(Self { rejected }))
    }
}

impl<S: Snapshot> QueryContext<S> {
    /// Dead letters change more seldom than rows, and all answers about the same days tell of the same.
    async fn rejected(&self, whose: Whose, range: Range) -> Result<Arc<Reasons>, ReadError> {
        let days = Span::of_days(range.from, range.to);
        let key = CacheKey::of(&(&whose, days, self.snapshot().freshness().letters));
        let read = async { self.snapshot().rejected(&whose, days).await.map(Reasons) };
        self.remembered.rejected.get_or_make(key, read).await
    }
}

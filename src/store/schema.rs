//! The schema: `migrate` creates it, every start checks it, and another ledger is refused.

mod difference;
mod granularities;
mod index;
mod wanted;

use std::collections::BTreeMap;

use ingest::lane::LaneId;
use ingest::server_error::{COMMAND_NOT_SUPPORTED_ON_VIEW, NAMESPACE_NOT_FOUND};
use mongodb::bson::{Document, doc};
use rollup::fold::Grouping;
use rollup::period::Granularity;

pub(super) use granularities::whole_from;

use super::listing::{Listing, listing};
use super::{Error, FENCES, LEDGER, META, ROLLUPS, Store, VERSION, errors};
use crate::config::{Identity, Problem, Source};
use difference::{Difference, Present, Step, Validator, differences};
use wanted::{View, Wanted};

/// What a database holds, as far as a ledger is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing of a ledger, or only what an interrupted creation left.
    Empty,
    /// A ledger of this version.
    Current,
    /// Rows, but no description of them: an older ledger.
    Legacy,
    /// A ledger of another version.
    Version(i64),
}

/// What a command may do to the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Create what is missing (`migrate`).
    Create,
    /// Create a whole ledger where there is nothing at all (`run`, `ingest`).
    CreateIfEmpty,
    /// Nothing (`serve`).
    Check,
}

impl Store {
    /// Brings the schema into the state that a command needs, and checks that this process and the ledger
    /// agree on what the ledger is. `source`: where its events come from, where that is known.
    ///
    /// # Errors
    /// When the schema is missing, older, newer or damaged, or a setting differs from what was fixed.
    pub async fn prepare(
        &self,
        identity: &Identity,
        source: Option<&Source>,
        change: Change,
    ) -> Result<(), Error> {
        match (self.state().await.map_err(errors::unusable)?, change) {
            (State::Empty, Change::Create | Change::CreateIfEmpty) => {
                self.create(source).await?;
                self.describe(identity).await.map_err(errors::unusable)?;
            }
            (State::Current, Change::Create) => {
                self.create(source).await?;
                self.keep_more(&identity.grouping).await?;
            }
            (State::Current, Change::CreateIfEmpty | Change::Check) => self.check_indexes().await?,
            (State::Empty, Change::Check) => {
                return Err(Error::Unusable(format!(
                    "there is no ledger in the database `{}`; create it with `usage-ledger migrate`, or start \
                     `usage-ledger run`",
                    self.database.name()
                )));
            }
            (State::Legacy, _) => {
                return Err(Error::Unusable(format!(
                    "`{LEDGER}` holds rows of an older ledger, which this version of `usage-ledger migrate` does not \
                     convert; use another USAGE_LEDGER_MONGODB_DATABASE, with USAGE_LEDGER_START_AT"
                )));
            }
            (State::Version(version), _) => {
                return Err(Error::Unusable(format!(
                    "the ledger has schema version {version}, this program knows version {VERSION}; \
                     run `usage-ledger migrate` of the newer program"
                )));
            }
        }
        self.check_identity(identity).await
    }

    /// What the database holds.
    async fn state(&self) -> mongodb::error::Result<State> {
        if let Some(meta) = self.meta().await? {
            return Ok(match meta.version() {
                version if version == i64::from(VERSION) => State::Current,
                version => State::Version(version),
            });
        }
        for collection in [LEDGER, ROLLUPS, FENCES] {
            if self.collection(collection).find_one(doc! {}).await?.is_some() {
                return Ok(State::Legacy);
            }
        }
        Ok(State::Empty)
    }

    /// Makes everything as it should be, and says before what it is about to do. What is as it should be is not asked
    /// for: the right to change it may not be there. Safe to run twice, at once, and after an interruption.
    async fn create(&self, source: Option<&Source>) -> Result<(), Error> {
        let wanted = wanted::database(self.database.name(), source);
        let present = self.look(&wanted).await.map_err(errors::unusable)?;
        let mut steps = Vec::new();
        for wanted in &wanted {
            for difference in differences(wanted, present.get(&wanted.name)) {
                match difference {
                    Difference::Step(step) => steps.push(step),
                    other @ (Difference::Options { .. } | Difference::NoView { .. }) => {
                        return Err(Error::Unusable(other.message()));
                    }
                }
            }
        }
        for step in &steps {
            tracing::info!("about to {step}");
        }
        for step in steps {
            self.take(step).await.map_err(errors::unusable)?;
        }
        Ok(())
    }

    /// Does one step.
    async fn take(&self, step: Step) -> mongodb::error::Result<()> {
        match step {
            Step::Collection {
                collection,
                validator,
                view,
            } => {
                let mut create = self.database.create_collection(collection);
                if let Some(View { on, pipeline }) = view {
                    create = create.view_on(on.to_owned()).pipeline(pipeline);
                }
                if let Some(validator) = validator {
                    create = create.validator(validator);
                }
                match create.await {
                    // Another process was faster, and does the same.
                    Err(error) if !errors::exists_already(&error) => Err(error),
                    _ => Ok(()),
                }
            }
            Step::Validator {
                collection,
                validator,
            } => {
                let command = doc! {"collMod": collection, "validator": validator};
                self.database.run_command(command).await.map(drop)
            }
            Step::Index { collection, index } => {
                let indexed = self.collection(&collection);
                indexed.create_index(index.model()).await.map(drop)
            }
        }
    }

    /// Those of the collections that are there, as they are.
    async fn look(&self, wanted: &[Wanted]) -> mongodb::error::Result<BTreeMap<String, Present>> {
        let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        let mut present = self.listed(&names).await?;
        // None are asked for of what may be a view.
        for wanted in wanted.iter().filter(|wanted| !wanted.indexes.is_empty()) {
            if let Some(present) = present.get_mut(&wanted.name) {
                present.indexes = self.indexes_of(&wanted.name).await?;
            }
        }
        Ok(present)
    }

    /// Those of the collections that are there, without their indexes.
    async fn listed(&self, names: &[&str]) -> mongodb::error::Result<BTreeMap<String, Present>> {
        let Listing { collections, hidden } = listing(&self.database, names).await?;
        if let Some(why) = &hidden {
            tracing::warn!(why, "validators are not compared, and are left as they are");
        }
        let validator = |listed: &Document| match &hidden {
            Some(_) => Validator::Unknown,
            None => {
                let options = listed.get_document("options");
                let validator = options.and_then(|options| options.get_document("validator"));
                Validator::Is(validator.ok().cloned())
            }
        };
        let present = |listed: &Document| {
            let present = Present {
                validator: validator(listed),
                indexes: Vec::new(),
                is_view: listed.get_str("type").is_ok_and(|kind| kind == "view"),
            };
            Ok((listed.get_str("name")?.to_owned(), present))
        };
        collections.iter().map(present).collect()
    }

    /// The indexes of a collection, as the server tells them.
    async fn indexes_of(&self, collection: &str) -> mongodb::error::Result<Vec<Document>> {
        let mut cursor = self.collection(collection).list_indexes().await?;
        let mut indexes = Vec::new();
        while cursor.advance().await? {
            indexes.push(cursor.deserialize_current()?);
        }
        indexes
            .iter()
            .map(|index| Ok(mongodb::bson::serialize_to_document(index)?))
            .collect()
    }

    /// Whether everything is there that this program reads and writes by. Asks for nothing but indexes, which whoever
    /// may read may see.
    async fn check_indexes(&self) -> Result<(), Error> {
        for wanted in wanted::ledger() {
            let (indexes, is_view) = match self.indexes_of(&wanted.name).await {
                Ok(indexes) => (Some(indexes), false),
                Err(error) => match errors::code(&error) {
                    Some(NAMESPACE_NOT_FOUND) => (None, false),
                    Some(COMMAND_NOT_SUPPORTED_ON_VIEW) => (Some(Vec::new()), true),
                    _ => return Err(errors::unusable(error)),
                },
            };
            let present = indexes.map(|indexes| Present {
                validator: Validator::Unknown,
                indexes,
                is_view,
            });
            if let Some(difference) = differences(&wanted, present.as_ref()).first() {
                return Err(Error::Unusable(difference.message()));
            }
        }
        Ok(())
    }

    /// Time zone and currency are what a ledger is for ever; granularities are added by `migrate`.
    async fn check_identity(&self, identity: &Identity) -> Result<(), Error> {
        let meta = self.meta().await.map_err(errors::unusable)?;
        let meta = meta.ok_or_else(|| {
            Error::Unusable(format!(
                "`{META}` does not describe a ledger; run `usage-ledger migrate`"
            ))
        })?;
        let names = |granularities: &[Granularity]| {
            let names: Vec<&str> = granularities.iter().map(|one| one.name()).collect();
            names.join(",")
        };
        let kept = meta.grouping();
        let kept = kept.as_ref().map(Grouping::granularities).unwrap_or_default();
        let wanted = identity.grouping.granularities();
        let is_more = !kept.is_empty() && kept.iter().all(|kept| wanted.contains(kept));
        let (kept, wanted) = (names(kept), names(wanted));
        let kept_for_ever = match is_more {
            true => "`usage-ledger migrate` adds granularities",
            false => "no granularity can be taken away",
        };
        let for_ever = "that cannot change";
        let zone = identity.grouping.calendar().zone_name();
        for (variable, fixed, ours, rule) in [
            ("TIME_ZONE", meta.time_zone.as_str(), zone, for_ever),
            (
                "CURRENCY",
                meta.currency.as_str(),
                identity.currency.as_str(),
                for_ever,
            ),
            ("GRANULARITIES", kept.as_str(), wanted.as_str(), kept_for_ever),
        ] {
            if fixed != ours {
                return Err(Error::Setting(Problem {
                    variable: format!("USAGE_LEDGER_{variable}"),
                    message: format!("the ledger has `{fixed}`, and {rule}; got `{ours}`"),
                }));
            }
        }
        Ok(())
    }

    /// Where another source has fed this ledger, its past must not be counted again: the first start of a
    /// new one needs to be told where to begin. Also notes the source.
    ///
    /// # Errors
    /// When `USAGE_LEDGER_START_AT` is needed and not set.
    pub async fn enter_source(
        &self,
        starts_at_ms: Option<i64>,
        kind: &str,
        lane: Option<&LaneId>,
    ) -> Result<(), Error> {
        let (mut ours, mut others) = (false, None);
        for fence in self.fences().await? {
            let id = LaneId::from_stored(&fence.lane);
            if id.source() == kind && lane.is_none_or(|lane| *lane == id) {
                ours = true;
            } else if fence.seq > 0 {
                others = Some(id);
            }
        }
        if let (false, Some(other), None) = (ours, others, starts_at_ms) {
            return Err(Error::Setting(Problem {
                variable: "USAGE_LEDGER_START_AT".into(),
                message: format!(
                    "expected an instant: this ledger was fed by `{other}` before, and what that counted must not be \
                     counted again"
                ),
            }));
        }
        // Whoever may not write is told so at the start.
        self.note_source(kind).await.map_err(errors::unusable)
    }
}

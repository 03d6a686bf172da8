//! What `migrate` creates, what every start checks, and what is refused.

use ingest::lane::LaneId;
use mongodb::IndexModel;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;
use rollup::counters::Counter;
use rollup::fold::Marginal;

use super::{DEAD_LETTERS, DEDUPE, EVENT_IDS, Error, FENCES, LEASES, LEDGER, META, ROLLUPS, Store, failure};
use crate::config::{Config, Identity, Problem};

/// The version of everything stored.
pub const VERSION: i32 = 1;

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

/// The indexes of a collection besides `_id`, each by its keys. Those of rows hold only fields that never change once
/// a row is written, so that adding to a counter touches no index.
///
/// The rows of the ledger of an organization and a span of periods are neighbours by their `_id`. Rollups are not:
/// the marginal (`set`) stands behind the period there.
fn indexes(collection: &str) -> Vec<Document> {
    match collection {
        // One person's own usage must not cost a scan of the organization's.
        LEDGER => vec![doc! {"organizationId": 1, "granularity": 1, "userId": 1, "periodKey": 1}],
        ROLLUPS => vec![
            doc! {"organizationId": 1, "granularity": 1, "set": 1, "periodKey": 1},
            // Of all organizations: everything, and what fits a filter.
            doc! {"granularity": 1, "set": 1, "periodKey": 1, "value": 1},
            of_providers(),
        ],
        DEDUPE => vec![
            doc! {"lane": 1, "seq": 1},
            doc! {"lane": 1, "window": 1, "newest": 1},
        ],
        // As they are listed: those of a state, the newest first.
        DEAD_LETTERS => vec![
            doc! {"state": 1, "rejectedAt": -1, "_id": 1},
            doc! {"state": 1, "reason": 1, "rejectedAt": -1, "_id": 1},
            doc! {"lane": 1, "state": 1, "rejectedAt": -1, "_id": 1},
            doc! {"eventHash": 1, "state": 1, "rejectedAt": -1, "_id": 1},
            open_letters(),
        ],
        _ => vec![],
    }
}

/// The index of the rollups of models by their provider: no other marginal has one.
fn of_providers() -> Document {
    doc! {"granularity": 1, "provider": 1, "periodKey": 1}
}

/// The index of the letters that are open.
fn open_letters() -> Document {
    doc! {"organizationId": 1, "day": 1, "reason": 1}
}

/// Which documents an index holds, where not all.
fn held_by(index: &Document) -> Option<Document> {
    if *index == of_providers() {
        Some(doc! {"set": Marginal::Model.name()})
    } else if *index == open_letters() {
        Some(doc! {"open": {"$exists": true}})
    } else {
        None
    }
}

/// The validator of a collection: nothing that is not a whole row gets in, whoever writes it.
fn validator(collection: &str) -> Option<Document> {
    let dimensions: &[&str] = match collection {
        LEDGER => &[
            "organizationId",
            "granularity",
            "periodKey",
            "agentSlug",
            "provider",
            "model",
            "userId",
            "teamId",
            "apiKeyId",
            "source",
            "kind",
        ],
        ROLLUPS => &["organizationId", "granularity", "periodKey", "set", "value"],
        _ => return None,
    };
    let mut properties = doc! {"_id": {"bsonType": "string"}, "periodStart": {"bsonType": "date"}};
    let mut required = vec![Bson::from("_id"), Bson::from("periodStart")];
    for name in dimensions {
        properties.insert(*name, doc! {"bsonType": "string"});
        required.push((*name).into());
    }
    for counter in Counter::ALL {
        properties.insert(counter.name(), doc! {"bsonType": "long"});
        required.push(counter.name().into());
    }
    Some(doc! {"$jsonSchema": {"bsonType": "object", "required": required, "properties": properties}})
}

const COLLECTIONS: [&str; 8] = [
    LEDGER,
    ROLLUPS,
    FENCES,
    LEASES,
    DEDUPE,
    EVENT_IDS,
    DEAD_LETTERS,
    META,
];

impl Store {
    /// Brings the schema into the state that a command needs, and checks that this process and the ledger
    /// agree on what the ledger is.
    ///
    /// # Errors
    /// When the schema is missing, older, newer or damaged, or a setting differs from what was fixed.
    pub async fn prepare(&self, config: &Config, change: Change) -> Result<(), Error> {
        match (self.state().await.map_err(failure::unusable)?, change) {
            (State::Empty, Change::Create | Change::CreateIfEmpty) | (State::Current, Change::Create) => {
                self.create(config).await.map_err(failure::unusable)?;
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
        self.check_identity(&config.identity).await
    }

    /// What the database holds.
    async fn state(&self) -> mongodb::error::Result<State> {
        if let Some(meta) = self.collection(META).find_one(doc! {"_id": "ledger"}).await? {
            let version = meta.get("schemaVersion").and_then(integer).unwrap_or(-1);
            return Ok(if version == i64::from(VERSION) {
                State::Current
            } else {
                State::Version(version)
            });
        }
        for collection in [LEDGER, ROLLUPS, FENCES] {
            if self.collection(collection).find_one(doc! {}).await?.is_some() {
                return Ok(State::Legacy);
            }
        }
        Ok(State::Empty)
    }

    /// Creates what is missing. Safe to run twice, at once, and after an interruption: the description of the
    /// ledger comes last.
    async fn create(&self, config: &Config) -> mongodb::error::Result<()> {
        let existing = self.database.list_collection_names().await?;
        for collection in COLLECTIONS {
            if !existing.iter().any(|name| name == collection) {
                match self.database.create_collection(collection).await {
                    Err(error) if !failure::exists_already(&error) => return Err(error),
                    _ => tracing::info!(collection, "created"),
                }
            }
            if let Some(validator) = validator(collection) {
                self.database
                    .run_command(doc! {"collMod": collection, "validator": validator})
                    .await?;
            }
            let models = indexes(collection).into_iter().map(|keys| {
                let options = IndexOptions::builder()
                    .partial_filter_expression(held_by(&keys))
                    .build();
                IndexModel::builder().keys(keys).options(options).build()
            });
            for model in models {
                self.collection(collection).create_index(model).await?;
            }
        }
        let Identity { grouping, currency } = &config.identity;
        let granularities: Vec<&str> = grouping
            .granularities()
            .iter()
            .map(|granularity| granularity.name())
            .collect();
        let meta = doc! {
            "schemaVersion": VERSION, "timeZone": grouping.calendar().zone_name(), "currency": currency,
            "granularities": granularities, "source": config.source.name(), "lanes": [],
        };
        let once = self
            .collection(META)
            .update_one(doc! {"_id": "ledger"}, doc! {"$setOnInsert": meta})
            .upsert(true)
            .await;
        match once {
            // Another process was faster: what it wrote is checked next.
            Err(error) if failure::code(&error) != Some(11000) => Err(error),
            _ => Ok(()),
        }
    }

    async fn check_indexes(&self) -> Result<(), Error> {
        for collection in COLLECTIONS {
            let mut missing = indexes(collection);
            let mut cursor = self
                .collection(collection)
                .list_indexes()
                .await
                .map_err(|error| incomplete(collection, &error))?;
            while cursor.advance().await.map_err(failure::unusable)? {
                let index = cursor.deserialize_current().map_err(failure::unusable)?;
                missing.retain(|keys| !same_keys(keys, &index.keys));
            }
            if let Some(keys) = missing.first() {
                return Err(Error::Unusable(format!(
                    "the index {keys} of `{collection}` is missing; run `usage-ledger migrate`"
                )));
            }
        }
        Ok(())
    }

    /// Time zone, currency and granularities are what a ledger is for ever.
    async fn check_identity(&self, identity: &Identity) -> Result<(), Error> {
        let meta = self
            .collection(META)
            .find_one(doc! {"_id": "ledger"})
            .await
            .map_err(failure::unusable)?
            .ok_or_else(|| {
                Error::Unusable(format!(
                    "`{META}` does not describe a ledger; run `usage-ledger migrate`"
                ))
            })?;
        let granularities = |names: &[Bson]| {
            names
                .iter()
                .filter_map(Bson::as_str)
                .collect::<Vec<_>>()
                .join(",")
        };
        let fixed = granularities(
            meta.get_array("granularities")
                .map(Vec::as_slice)
                .unwrap_or_default(),
        );
        let ours: Vec<&str> = identity
            .grouping
            .granularities()
            .iter()
            .map(|granularity| granularity.name())
            .collect();
        for (variable, fixed, ours) in [
            (
                "TIME_ZONE",
                meta.get_str("timeZone").unwrap_or_default(),
                identity.grouping.calendar().zone_name(),
            ),
            (
                "CURRENCY",
                meta.get_str("currency").unwrap_or_default(),
                identity.currency.as_str(),
            ),
            ("GRANULARITIES", fixed.as_str(), ours.join(",").as_str()),
        ] {
            if fixed != ours {
                return Err(Error::Setting(Problem {
                    variable: format!("USAGE_LEDGER_{variable}"),
                    message: format!(
                        "the ledger was created with `{fixed}`, and that cannot change; got `{ours}`"
                    ),
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
        config: &Config,
        kind: &str,
        lane: Option<&LaneId>,
    ) -> Result<(), Error> {
        let started = |fence: &Document| fence.get_i64("seq").unwrap_or(0) > 0;
        let mut cursor = self
            .collection(FENCES)
            .find(doc! {})
            .await
            .map_err(failure::unusable)?;
        let (mut ours, mut others) = (false, None);
        while cursor.advance().await.map_err(failure::unusable)? {
            let fence = cursor.deserialize_current().map_err(failure::unusable)?;
            let id = LaneId::from_stored(fence.get_str("_id").unwrap_or_default());
            let is_ours = id.source() == kind && lane.is_none_or(|lane| *lane == id);
            if is_ours {
                ours = true;
            } else if started(&fence) {
                others = Some(id);
            }
        }
        if let (false, Some(other), None) = (ours, others, config.start_at) {
            return Err(Error::Setting(Problem {
                variable: "USAGE_LEDGER_START_AT".into(),
                message: format!(
                    "expected an instant: this ledger was fed by `{other}` before, and what that counted must not be \
                     counted again"
                ),
            }));
        }
        self.collection(META)
            .update_one(
                doc! {"_id": "ledger"},
                doc! {"$set": {"source": config.source.name()}},
            )
            .await
            .map(drop)
            .map_err(failure::unusable)
    }
}

fn integer(value: &Bson) -> Option<i64> {
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

/// Servers answer with int32 or double directions.
fn same_keys(keys: &Document, other: &Document) -> bool {
    keys.keys().eq(other.keys())
}

fn incomplete(collection: &str, error: &mongodb::error::Error) -> Error {
    match failure::code(error) {
        Some(26) => Error::Unusable(format!(
            "the collection `{collection}` is missing; run `usage-ledger migrate`"
        )),
        _ => failure::unusable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_index_of_rows_holds_a_field_that_changes() {
        let changing: Vec<&str> = Counter::ALL
            .into_iter()
            .map(Counter::name)
            .chain(["updatedAt", "lastEventAt", "firstEventAt", "version"])
            .collect();
        for collection in [LEDGER, ROLLUPS] {
            for keys in indexes(collection) {
                assert!(
                    keys.keys().all(|key| !changing.contains(&key.as_str())),
                    "{collection} {keys}"
                );
            }
        }
    }
}

//! The ledger in MongoDB: the only place that names its collections and writes them.
//!
//! A module for each collection, with its documents; and one for each way in which several of them are used:
//!
//! * [`fences`], `leases`, `windows`, `event_ids`, [`dead_letters`], `meta`, `rows`: the collections
//! * [`schema`]: creation, checks and refusals
//! * [`lanes`]: the remedy for a stopped lane
//! * [`leases`]: the workers that live, and the leader among them
//! * [`ledger`]: the one transaction that makes a batch permanent
//! * [`dead_letters`]: rejected records, and their replay
//! * [`reader`]: the rows as the reader asks for them

pub mod dead_letters;
pub mod fences;
pub mod lanes;
pub mod leases;
pub mod ledger;
pub mod reader;
pub mod schema;

mod acquire;
mod answer;
mod convert;
mod event_ids;
mod events;
mod failure;
mod listing;
mod meta;
mod rows;
mod session;
mod windows;
mod writes;

use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, Database};

use crate::config::{Database as Settings, Problem, Secret};

/// Rows of the ledger.
pub const LEDGER: &str = "usageLedger";
/// Rollups.
pub const ROLLUPS: &str = "usageRollups";
/// One document per lane.
pub const FENCES: &str = "usageFences";
/// Workers that live, and those of them that lead change streams.
pub const LEASES: &str = "usageLeases";
/// Ids of counted events, a document per commit and lane.
pub const DEDUPE: &str = "usageDedupe";
/// Ids of counted events that are unique in the whole ledger (`USAGE_LEDGER_DEDUPE_SCOPE=ledger`).
pub const EVENT_IDS: &str = "usageEventIds";
/// Rejected records.
pub const DEAD_LETTERS: &str = "usageDeadLetters";
/// A view of the rejected records that wait: of each its organization, day and reason, and nothing of its content.
pub const REJECTED: &str = "usageRejected";
/// The description of this ledger.
pub const META: &str = "usageMeta";

/// Connections for readiness, at most.
const READINESS_CONNECTIONS: u32 = 2;
/// How long an operation looks for a server before it says that there is none.
const FIND_SERVER: Duration = Duration::from_secs(5);
/// MongoDB 6.0.
const OLDEST_WIRE_VERSION: i32 = 17;

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong: exit 64.
    #[error("{0}")]
    Setting(Problem),
    /// The program cannot start or go on: exit 1.
    #[error("{0}")]
    Unusable(String),
    /// The server answers, with an error that passes by itself. A caller with time asks again; exit 1 for all others.
    #[error("{0}")]
    Passing(String),
}

/// A connection to the database of one ledger.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    database: Database,
    /// Names this process in the fences and the leases.
    owner: String,
    /// The options that the client was made from.
    options: ClientOptions,
}

impl Store {
    /// Connects, and makes sure that the server can keep the promises made here.
    ///
    /// # Errors
    /// When the URI is wrong, nobody answers, the credentials are refused, or the server is no replica set.
    pub async fn connect(uri: &Secret, database: &str) -> Result<Self, Error> {
        let options = options(uri).await?;
        let client = Client::with_options(options.clone()).map_err(|error| failure::no_client(&error))?;
        let database = client.database(database);
        let owner = format!("{}/{}", std::process::id(), uuid::Uuid::new_v4());
        let store = Self {
            client,
            database,
            owner,
            options,
        };
        store.check_server().await?;
        Ok(store)
    }

    /// Connects as the configuration says.
    ///
    /// # Errors
    /// See [`Store::connect`].
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        Self::connect(&settings.uri, &settings.name).await
    }

    /// The same ledger over at most so many connections of its own, made from these options: other callers are not in
    /// the way, and no session of theirs is met there.
    ///
    /// # Errors
    /// When there can be no further client.
    fn apart(&self, connections: u32, change: impl FnOnce(&mut ClientOptions)) -> Result<Self, Error> {
        let mut options = self.options.clone();
        options.max_pool_size = Some(connections);
        options.min_pool_size = None;
        change(&mut options);
        let client = Client::with_options(options.clone()).map_err(failure::unusable)?;
        Ok(Self {
            database: client.database(self.database.name()),
            client,
            owner: self.owner.clone(),
            options,
        })
    }

    /// The same ledger over connections that nothing else uses: for readiness, which is to be told under any load.
    ///
    /// # Errors
    /// When there can be no further client.
    pub fn for_readiness(&self) -> Result<Self, Error> {
        self.apart(READINESS_CONNECTIONS, |_| {})
    }

    /// The client, for the source that reads events beside the ledger.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The reason for which the ledger cannot be read within this time, as `/readyz` shows it; `None`: it can.
    pub async fn trouble_within(&self, time: Duration) -> Option<&'static str> {
        let meta = self.collection(META);
        let read = meta.find_one(meta::ledger()).projection(doc! {"_id": 1});
        match tokio::time::timeout(time, async { read.await }).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(failure::readiness(&error)),
            Err(_) => Some(failure::UNREACHABLE),
        }
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    async fn check_server(&self) -> Result<(), Error> {
        let hello = hello(&self.client).await.map_err(failure::unusable)?;
        if !is_sharded(&hello) && !hello.contains_key("setName") {
            return Err(Error::Unusable(
                "MongoDB is not a replica set, so it has neither transactions nor change streams; a single server \
                 becomes one with `mongod --replSet rs0` and `rs.initiate()`"
                    .into(),
            ));
        }
        if hello.get_i32("maxWireVersion").unwrap_or(0) < OLDEST_WIRE_VERSION {
            return Err(Error::Unusable("MongoDB is older than 6.0".into()));
        }
        // `hello` needs no log-in: this does.
        self.collection(META)
            .find_one(doc! {})
            .await
            .map(drop)
            .map_err(failure::unusable)
    }
}

/// The server's own description.
async fn hello(client: &Client) -> mongodb::error::Result<Document> {
    client.database("admin").run_command(doc! {"hello": 1}).await
}

/// Whether it is a router of a sharded cluster that said so.
fn is_sharded(hello: &Document) -> bool {
    hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid")
}

/// The server's clock, which also writes what `$currentDate` sets.
async fn server_time(client: &Client) -> mongodb::error::Result<DateTime> {
    Ok(*hello(client).await?.get_datetime("localTime")?)
}

async fn options(uri: &Secret) -> Result<ClientOptions, Error> {
    let mut options = ClientOptions::parse(uri.reveal())
        .await
        .map_err(|error| failure::no_client(&error))?;
    let weaker = options
        .write_concern
        .as_ref()
        .is_some_and(|concern| *concern != WriteConcern::majority())
        || options
            .read_concern
            .as_ref()
            .is_some_and(|concern| *concern != ReadConcern::majority())
        || options.selection_criteria.as_ref().is_some_and(|criteria| {
            !matches!(
                criteria,
                SelectionCriteria::ReadPreference(ReadPreference::Primary)
            )
        });
    if weaker {
        tracing::warn!(
            "`w`, `readConcern` and `readPreference` of USAGE_LEDGER_MONGODB_URI are overridden: a ledger is written \
             and read by majority, from the primary"
        );
    }
    options.write_concern = Some(WriteConcern::majority());
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.app_name.get_or_insert_with(|| "usage-ledger".into());
    options.server_selection_timeout.get_or_insert(FIND_SERVER);
    options.connect_timeout.get_or_insert(FIND_SERVER);
    Ok(options)
}

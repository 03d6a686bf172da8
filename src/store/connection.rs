//! The connection to the database of one ledger, and what is asked of its server.

use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, Database};

use super::errors::{self, Error};
use super::names::META;
use super::pools::{Pool, PoolWaits};
use crate::config::{Database as Settings, Secret};

/// Connections for readiness, at most.
const READINESS_CONNECTIONS: u32 = 2;
/// How long an operation looks for a server before it says that there is none.
const FIND_SERVER: Duration = Duration::from_secs(5);
/// MongoDB 6.0.
const OLDEST_WIRE_VERSION: i32 = 17;

/// A connection to the database of one ledger.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) client: Client,
    pub(super) database: Database,
    /// Names this process in the fences and the leases.
    pub(super) owner: String,
    /// The options that the client was made from.
    options: ClientOptions,
    waits: PoolWaits,
}

impl Store {
    /// Connects, and makes sure that the server can keep the promises made here.
    ///
    /// # Errors
    /// When the URI is wrong, nobody answers, the credentials are refused, or the server is no replica set.
    pub async fn connect(uri: &Secret, database: &str) -> Result<Self, Error> {
        let waits = PoolWaits::new().map_err(|error| Error::Unusable(error.to_string()))?;
        let mut options = options(uri).await?;
        options.cmap_event_handler = Some(waits.listener(Pool::Main));
        let client = Client::with_options(options.clone()).map_err(|error| errors::no_client(&error))?;
        let database = client.database(database);
        let owner = format!("{}/{}", std::process::id(), uuid::Uuid::new_v4());
        let store = Self {
            client,
            database,
            owner,
            options,
            waits,
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

    /// How long operations of this store, and of those made from it, wait for connections.
    pub(crate) const fn waits(&self) -> &PoolWaits {
        &self.waits
    }

    /// The same ledger over a pool of at most so many connections of its own, made from these options: other callers are not in
    /// the way, and no session of theirs is met there.
    ///
    /// # Errors
    /// When there can be no further client.
    pub(super) fn apart(
        &self,
        pool: Pool,
        connections: u32,
        change: impl FnOnce(&mut ClientOptions),
    ) -> Result<Self, Error> {
        let mut options = self.options.clone();
        options.max_pool_size = Some(connections);
        options.cmap_event_handler = Some(self.waits.listener(pool));
        options.min_pool_size = None;
        change(&mut options);
        let client = Client::with_options(options.clone()).map_err(errors::unusable)?;
        Ok(Self {
            database: client.database(self.database.name()),
            client,
            owner: self.owner.clone(),
            options,
            waits: self.waits.clone(),
        })
    }

    /// The same ledger over connections that nothing else uses: for readiness, which is to be told under any load.
    ///
    /// # Errors
    /// When there can be no further client.
    pub fn for_readiness(&self) -> Result<Self, Error> {
        self.apart(Pool::Readiness, READINESS_CONNECTIONS, |_| {})
    }

    /// The client, for the source that reads events beside the ledger.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    async fn check_server(&self) -> Result<(), Error> {
        let hello = hello(&self.client).await.map_err(errors::unusable)?;
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
            .map_err(errors::unusable)
    }
}

/// The server's own description.
pub(super) async fn hello(client: &Client) -> mongodb::error::Result<Document> {
    client.database("admin").run_command(doc! {"hello": 1}).await
}

/// Whether it is a router of a sharded cluster that said so.
pub(super) fn is_sharded(hello: &Document) -> bool {
    hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid")
}

/// The server's clock, which also writes what `$currentDate` sets.
pub(super) async fn server_time(client: &Client) -> mongodb::error::Result<DateTime> {
    Ok(*hello(client).await?.get_datetime("localTime")?)
}

async fn options(uri: &Secret) -> Result<ClientOptions, Error> {
    let mut options = ClientOptions::parse(uri.reveal())
        .await
        .map_err(|error| errors::no_client(&error))?;
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

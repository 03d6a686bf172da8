//! The proxy before a real MongoDB, against the real driver: each thing that it can do, and that nothing else happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::{Client, ClientSession, Collection};
use testkit::mongodb::Mongo;
use testkit::proxy::{Command, Proxy};

mod answers;
mod matching;
mod network;
mod presents;
mod time;

/// A proxy before the server that all tests share, and a collection of the test's own on both sides of it.
struct Setting {
    mongo: Arc<Mongo>,
    proxy: Proxy,
    client: Client,
    /// Through the proxy.
    far: Collection<Document>,
    /// Around it.
    near: Collection<Document>,
}

impl Setting {
    async fn new(name: &str) -> Self {
        Self::with(name, "").await
    }

    /// With more options in the URI, each after an `&`.
    async fn with(name: &str, options: &str) -> Self {
        let mongo = testkit::shared::mongo().await;
        let proxy = mongo.proxy().await.expect("a proxy");
        let uri = format!("{}&appName={name}{options}", mongo.proxied_uri(&proxy));
        let client = Client::with_uri_str(uri).await.expect("a client");
        let database = format!("proxy_{name}");
        let direct = mongo.client().await.expect("a client").database(&database);
        // A collection cannot be made in a transaction everywhere.
        direct.create_collection("notes").await.expect("made");
        Self {
            far: client.database(&database).collection("notes"),
            near: direct.collection("notes"),
            mongo,
            proxy,
            client,
        }
    }

    async fn stored(&self) -> u64 {
        self.near.count_documents(doc! {}).await.expect("counted")
    }

    #[expect(clippy::disallowed_methods, reason = "transactions of these tests' own")]
    async fn transaction(&self) -> ClientSession {
        let mut session = self.client.start_session().await.expect("a session");
        session.start_transaction().await.expect("started");
        session
    }

    async fn insert_in(&self, session: &mut ClientSession, id: i32) -> Result<(), Error> {
        let inserted = self.far.insert_one(doc! {"_id": id}).session(session).await;
        inserted.map(drop)
    }
}

fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        _ => None,
    }
}

//! The instant that a snapshot holds.
//!
//! MongoDB keeps instants for a while after they are over, and reads any of them when it is asked to. Other servers that
//! speak its protocol answer the same question with the state of now, or not at all: of those a transaction that only
//! reads is the one way to see an instant twice.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use api::reader::ReadError;
use ingest::server_error::{INVALID_OPTIONS, is_of_snapshot};
use mongodb::ClientSession;
use mongodb::bson::{Timestamp, doc};
use mongodb::error::Error as DriverError;
use mongodb::options::{ReadConcern, SessionOptions};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::asking::failed;
use crate::store::{Error, META, Store, errors};

/// An instant that can be read.
#[derive(Clone)]
pub(super) enum Instant {
    /// The server keeps it: each read has a session of its own.
    Kept(Timestamp),
    /// A transaction holds it: its reads take turns.
    InTurn(Arc<Mutex<ClientSession>>),
}

/// A session in which an instant is read.
pub(super) enum Session {
    Own(ClientSession),
    InTurn(OwnedMutexGuard<ClientSession>),
}

impl Deref for Session {
    type Target = ClientSession;

    fn deref(&self) -> &ClientSession {
        match self {
            Session::Own(session) => session,
            Session::InTurn(session) => session,
        }
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut ClientSession {
        match self {
            Session::Own(session) => session,
            Session::InTurn(session) => session,
        }
    }
}

/// Whether the server keeps instants: asked for one that is over, it reads that, or says that it is kept no more. Others
/// say that they read what is there now.
pub(super) async fn are_kept(store: &Store) -> Result<bool, Error> {
    let now = match read_at(store, None).await {
        Ok(now) => now,
        Err(error) => return failed_to_keep(&error),
    };
    let Some(now) = now else {
        return Ok(false);
    };
    let over = Timestamp {
        time: now.time.saturating_sub(1),
        increment: 1,
    };
    match read_at(store, Some(over)).await {
        Ok(read) => Ok(read == Some(over)),
        Err(error) => failed_to_keep(&error),
    }
}

fn failed_to_keep(error: &DriverError) -> Result<bool, Error> {
    match errors::code(error) {
        Some(code) if is_of_snapshot(code) => Ok(true),
        Some(INVALID_OPTIONS) => Ok(false),
        _ => Err(errors::unusable(error)),
    }
}

/// Reads something, and tells of which instant it is.
async fn read_at(store: &Store, at: Option<Timestamp>) -> Result<Option<Timestamp>, DriverError> {
    let mut options = SessionOptions::default();
    options.snapshot = Some(true);
    options.snapshot_time = at;
    let mut session = store.client.start_session().with_options(options).await?;
    let meta = store.collection(META);
    let read = meta.find_one(doc! {}).projection(doc! {"_id": 1});
    read.session(&mut session).await?;
    Ok(session.snapshot_time())
}

/// A session whose first read chooses the instant that all its others read.
#[expect(
    clippy::disallowed_methods,
    reason = "it only reads: the one transaction that writes is the ledger's"
)]
pub(super) async fn begin(store: &Store, keeps: bool) -> Result<ClientSession, ReadError> {
    let session = store.client.start_session();
    let session = if keeps { session.snapshot(true) } else { session };
    let mut session = session.await.map_err(|error| failed(&error))?;
    if !keeps {
        let begun = session.start_transaction().read_concern(ReadConcern::snapshot());
        begun.await.map_err(|error| failed(&error))?;
    }
    Ok(session)
}

impl Instant {
    /// The instant that a session has read.
    pub(super) fn of(session: ClientSession, keeps: bool) -> Result<Self, ReadError> {
        if !keeps {
            return Ok(Self::InTurn(Arc::new(Mutex::new(session))));
        }
        let at = session.snapshot_time();
        let at =
            at.ok_or_else(|| ReadError::Malformed("a read does not say which instant it is of".into()))?;
        Ok(Self::Kept(at))
    }

    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    /// A session for one read.
    pub(super) async fn session(&self, store: &Store) -> Result<Session, ReadError> {
        match self {
            Self::Kept(at) => {
                let session = store.client.start_session().snapshot(true).snapshot_time(*at);
                session.await.map(Session::Own).map_err(|error| failed(&error))
            }
            // Whoever drops the last of them ends the transaction.
            Self::InTurn(session) => Ok(Session::InTurn(Arc::clone(session).lock_owned().await)),
        }
    }
}

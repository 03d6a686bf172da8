//! The session of this process's transactions.
//!
//! A server keeps the transaction of a client that died open until it outlives its limit (60 s), and with it
//! the fences and rows that it touched. So all commits of a process use one session, which its lease names; a
//! worker that takes a lane over, and finds that transaction in the way and that lease over, ends it. Safety never
//! depends on it: the fences decide.

use std::sync::{Arc, Mutex, PoisonError};

use mongodb::error::Result;
use mongodb::{Client, ClientSession};

use super::leases::Leases;

/// Holds the session while no commit uses it.
#[derive(Clone)]
pub(super) struct Sessions {
    client: Client,
    leases: Leases,
    idle: Arc<Mutex<Option<ClientSession>>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    pub(super) fn new(client: Client, leases: Leases) -> Self {
        Self {
            client,
            leases,
            idle: Arc::default(),
        }
    }

    /// Takes the session, or begins another where it was given up: dropped, since nobody knows whether its transaction
    /// is open still. The lease of this worker names it before it is used, and what the former one left open is ended.
    pub(super) async fn take(&self) -> Result<ClientSession> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let session = match idle {
            Some(session) => session,
            None => self.client.start_session().await?,
        };
        self.leases.record(session.id()).await?;
        Ok(session)
    }

    /// Gives a session back that is not in a transaction.
    pub(super) fn give_back(&self, session: ClientSession) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    /// Ends a session whose transaction may be open still, so that it is not in the way of the next attempt.
    pub(super) async fn give_up(&self, session: ClientSession) {
        self.leases.end(session.id()).await;
    }
}

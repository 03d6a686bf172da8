//! The session of this process's transactions.
//!
//! A server keeps the transaction of a client that died open until it outlives its limit (60 s), and with it
//! the fences and rows that it touched. So all commits of a process use one session, whose id is written into
//! the fences; who takes a lane over ends that session first. Safety never depends on it: the fences decide.

use std::sync::{Arc, Mutex, PoisonError};

use mongodb::bson::{Document, doc};
use mongodb::error::Result;
use mongodb::{Client, ClientSession};

/// Holds the session while no commit uses it.
#[derive(Clone)]
pub(super) struct Sessions {
    client: Client,
    idle: Arc<Mutex<Option<ClientSession>>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            idle: Arc::default(),
        }
    }

    /// Takes the session, or begins another where it is in use or was given up.
    pub(super) async fn take(&self) -> Result<ClientSession> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        match idle {
            Some(session) => Ok(session),
            None => self.client.start_session().await,
        }
    }

    /// Gives a session back that is not in a transaction.
    pub(super) fn give_back(&self, session: ClientSession) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    /// The id of the session that the next commit will use.
    pub(super) async fn id(&self) -> Result<Document> {
        let session = self.take().await?;
        let id = session.id().clone();
        self.give_back(session);
        Ok(id)
    }

    /// Ends the session of another process, and whatever transaction it left open.
    pub(super) async fn end(&self, id: &Document) -> Result<()> {
        let command = doc! {"killSessions": [id.clone()]};
        self.client.database("admin").run_command(command).await.map(drop)
    }
}

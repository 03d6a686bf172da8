//! The lease of a piece of work that one worker does at a time.

use ingest::lease;
use mongodb::bson::doc;
use mongodb::error::Result;
use tokio::time::{Instant, sleep, timeout};

use super::{END, Leases, RENEWAL};
use crate::store::{Error, errors};

/// It is this worker's turn, for as long as the lease is renewed. Clones are the same turn.
#[derive(Debug, Clone)]
pub struct Turn {
    leases: Leases,
    id: &'static str,
}

impl Leases {
    /// Takes the turn, where no other worker has it.
    ///
    /// # Errors
    /// When the lease cannot be read or written.
    pub async fn turn(&self, id: &'static str) -> std::result::Result<Option<Turn>, Error> {
        let taken = async {
            match self.look(id).await? {
                Ok(free) => self.take(&free).await,
                Err(_) => Ok(false),
            }
        };
        let is_ours: Result<bool> = taken.await;
        let turn = Turn {
            leases: self.clone(),
            id,
        };
        Ok(is_ours.map_err(errors::unusable)?.then_some(turn))
    }
}

impl Turn {
    /// Renews it. Ends when it is lost: another worker has taken it, or may.
    pub async fn keep(&self) {
        let length = self.leases.0.length;
        let every = lease::renew_every(length);
        let mut renewed = Instant::now();
        while renewed.elapsed() < length {
            sleep(every).await;
            let began = Instant::now();
            match timeout(every.max(RENEWAL), self.renew()).await {
                Ok(Ok(true)) => renewed = began,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::debug!(error = errors::message(&error), "a turn was not renewed"),
                Err(_) => tracing::debug!("a turn was not renewed: the database does not answer"),
            }
        }
    }

    /// Whether it is still ours.
    async fn renew(&self) -> Result<bool> {
        let ours = doc! {"_id": self.id, "owner": &self.leases.0.owner};
        let renewed = doc! {"$currentDate": {"renewedAt": true}};
        let told = self.leases.0.leases.update_one(ours, renewed).await?;
        Ok(told.matched_count > 0)
    }

    /// Gives it back. Where that fails it runs out by itself.
    pub async fn give_back(self) {
        let ours = doc! {"_id": self.id, "owner": &self.leases.0.owner};
        let given = self.leases.0.leases.delete_one(ours);
        match timeout(END, async { given.await }).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(error = errors::message(&error), "a turn was not given back"),
            Err(_) => tracing::debug!("a turn was not given back: the database does not answer"),
        }
    }
}

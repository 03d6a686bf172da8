//! Servers that the tests of one process share: started by the first that asks, ended with the last that uses it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::Result;
use crate::kafka::{self, Broker};
use crate::mongodb::{self, Mongo};

static MONGO: Shared<Mongo> = Shared::new();
static BROKER: Shared<Broker> = Shared::new();

/// The MongoDB that tests share, each with a database of its own. A test that breaks its server has one for itself.
///
/// # Panics
/// When it cannot be started.
pub async fn mongo() -> Arc<Mongo> {
    MONGO.get(|| Mongo::start(mongodb::Options::default())).await
}

/// The Kafka that tests share, each with topics of its own.
///
/// # Panics
/// When it cannot be started.
pub async fn broker() -> Arc<Broker> {
    BROKER.get(|| Broker::start(kafka::Options::default())).await
}

struct Shared<T> {
    starting: tokio::sync::Mutex<()>,
    running: Mutex<Weak<T>>,
}

impl<T> Shared<T> {
    const fn new() -> Self {
        Self {
            starting: tokio::sync::Mutex::const_new(()),
            running: Mutex::new(Weak::new()),
        }
    }

    async fn get<F: Future<Output = Result<T>>>(&self, start: impl FnOnce() -> F) -> Arc<T> {
        let _starting = self.starting.lock().await;
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        if let Some(server) = running {
            return server;
        }
        let server = Arc::new(start().await.expect("a server starts"));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&server);
        server
    }
}

//! One reading of the ledger's freshness for all who ask at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::query::Opener;
use crate::reader::{Freshness, ReadError, Reader};

/// Reads how fresh the ledger is. A question gets a reading that was begun after it, and shares the reading with all
/// questions that came before that begin.
pub(crate) struct SharedFreshness<R> {
    reader: R,
    arrivals: AtomicU64,
    last: Mutex<Option<Shared>>,
}

struct Shared {
    /// Everybody who arrived before this number may use it.
    before: u64,
    result: Result<Arc<Freshness>, ReadError>,
}

impl<R: Reader> SharedFreshness<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            arrivals: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// Opens snapshots when they are needed.
    pub(crate) fn opener(&self) -> Opener<R::Snapshot> {
        let reader = self.reader.clone();
        Arc::new(move || {
            let reader = reader.clone();
            Box::pin(async move { reader.snapshot().await })
        })
    }

    /// The freshness of the ledger, read after this was called.
    pub(crate) async fn read(&self) -> Result<Arc<Freshness>, ReadError> {
        let arrival = self.arrivals.fetch_add(1, Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some(shared) = last.as_ref().filter(|shared| arrival < shared.before) {
            return shared.result.clone();
        }
        let before = self.arrivals.load(Ordering::SeqCst);
        let result = self.reader.freshness().await.map(Arc::new);
        *last = Some(Shared {
            before,
            result: result.clone(),
        });
        result
    }
}

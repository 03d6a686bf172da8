//! One opening of a snapshot for all who ask at the same time.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::reader::{ReadError, Reader, Snapshot};

/// Opens snapshots of the ledger. A question gets one whose opening was begun after it, and shares it with all questions
/// that came before that begin.
pub(crate) struct SharedSnapshot<R: Reader> {
    reader: R,
    arrivals: AtomicU64,
    last: Mutex<Option<Shared<R::Snapshot>>>,
}

struct Shared<S> {
    /// Everybody who arrived before this number may use it.
    before: u64,
    opened: Result<S, ReadError>,
}

impl<R: Reader> SharedSnapshot<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            arrivals: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// A snapshot, opened after this was called.
    pub(crate) async fn open(&self) -> Result<R::Snapshot, ReadError> {
        let arrival = self.arrivals.fetch_add(1, Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some(shared) = last.as_ref().filter(|shared| arrival < shared.before) {
            return shared.opened.clone();
        }
        let before = self.arrivals.load(Ordering::SeqCst);
        let opened = self.reader.snapshot().await;
        let shared = match &opened {
            Ok(snapshot) => snapshot.for_others().map(Ok),
            Err(error) => Some(Err(error.clone())),
        };
        *last = shared.map(|opened| Shared { before, opened });
        opened
    }
}

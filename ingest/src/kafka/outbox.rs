//! What is on its way to the loop, and what happens when the loop is busy.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;

use crate::lane::LaneId;
use crate::source::{Said, SourceEvent, Voice};

/// How long the poller waits for the loop before it pauses the partitions. A pause throws away what was
/// fetched ahead, so it is for a loop that stands still, not for one that is merely slower than Kafka.
const PATIENCE: Duration = Duration::from_secs(1);

/// Signals in the order in which they must arrive.
#[derive(Debug)]
pub(super) struct Outbox {
    voice: Voice,
    waiting: VecDeque<Said>,
    runtime: Handle,
}

impl Outbox {
    pub(super) const fn new(voice: Voice, runtime: Handle) -> Self {
        Self {
            voice,
            waiting: VecDeque::new(),
            runtime,
        }
    }

    /// Puts a signal behind the others.
    pub(super) fn push(&mut self, signal: SourceEvent) {
        self.waiting.push_back(self.voice.number(signal));
    }

    /// Says, past everything that waits, that lanes are not ours; nobody waits for that.
    pub(super) fn revoke(&self, lanes: Vec<LaneId>) {
        drop(self.voice.revoke(lanes));
    }

    /// Whether everything was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.voice.is_closed()
    }

    /// Hands over what the loop has room for, waiting a moment for it if `patient`. Whether that was all.
    pub(super) fn deliver(&mut self, patient: bool) -> bool {
        while let Some(signal) = self.waiting.pop_front() {
            match self.voice.sender().try_send(signal) {
                Ok(()) => {}
                Err(TrySendError::Full(signal)) if patient => {
                    let room = self.voice.sender().reserve();
                    let waited = self
                        .runtime
                        .block_on(async { tokio::time::timeout(PATIENCE, room).await });
                    match waited {
                        Ok(Ok(room)) => room.send(signal),
                        Ok(Err(_)) => return true,
                        Err(_) => {
                            self.waiting.push_front(signal);
                            return false;
                        }
                    }
                }
                Err(TrySendError::Full(signal)) => {
                    self.waiting.push_front(signal);
                    return false;
                }
                // Nobody listens: nothing is waited for.
                Err(TrySendError::Closed(_)) => return true,
            }
        }
        true
    }
}

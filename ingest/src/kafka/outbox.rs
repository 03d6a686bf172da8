//! What is on its way to the loop, and what happens when the loop is busy.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::source::Signal;

/// How long the poller waits for the loop before it pauses the partitions. A pause throws away what was
/// fetched ahead, so it is for a loop that stands still, not for one that is merely slower than Kafka.
const PATIENCE: Duration = Duration::from_secs(1);

/// Signals in the order in which they must arrive.
#[derive(Debug)]
pub(super) struct Outbox {
    signals: mpsc::Sender<Signal>,
    waiting: VecDeque<Signal>,
    runtime: Handle,
}

impl Outbox {
    pub(super) const fn new(signals: mpsc::Sender<Signal>, runtime: Handle) -> Self {
        Self {
            signals,
            waiting: VecDeque::new(),
            runtime,
        }
    }

    /// Puts a signal behind the others.
    pub(super) fn push(&mut self, signal: Signal) {
        self.waiting.push_back(signal);
    }

    /// Whether everything was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.signals.is_closed()
    }

    /// Hands over what the loop has room for, waiting a moment for it if `patient`. Whether that was all.
    pub(super) fn deliver(&mut self, patient: bool) -> bool {
        while let Some(signal) = self.waiting.pop_front() {
            match self.signals.try_send(signal) {
                Ok(()) => {}
                Err(TrySendError::Full(signal)) if patient => {
                    let room = self.signals.reserve();
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

//! The state of one connection, and how long it may last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::held::Held;

/// How long a connection may be in which state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From a connection's begin, or from the first byte of a later request, to the end of that head.
    pub(super) head: Duration,
    /// Without a request.
    pub(super) idle: Duration,
    /// Without anything being taken of an answer.
    pub(super) write: Duration,
    /// The same, while the program stops.
    pub(super) last_write: Duration,
    /// Without an answer under way, once the peer was told to go.
    pub(super) parting: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(30),
            last_write: Duration::from_secs(5),
            parting: Duration::from_secs(1),
        }
    }
}

/// What a connection comes to when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer is told to go.
    Parting,
    /// The connection is closed.
    Cut,
}

/// What is known of a connection.
#[derive(Debug)]
struct State {
    /// Since when no answer is under way.
    quiet_since: Instant,
    /// The head of a request was read.
    has_asked: bool,
    /// A request came by HTTP/2, where bytes are heard without anybody asking.
    is_http2: bool,
    /// When the first byte of the next request was heard.
    head_since: Option<Instant>,
    /// Since when the socket takes nothing.
    stalled_since: Option<Instant>,
    /// When the peer was told to go.
    parting_since: Option<Instant>,
    /// The answers under way: since when each waits for the peer, if it does not wait for us.
    answers: BTreeMap<u64, Option<Instant>>,
    next_answer: u64,
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            quiet_since: now,
            has_asked: false,
            is_http2: false,
            head_since: None,
            stalled_since: None,
            parting_since: None,
            answers: BTreeMap::new(),
            next_answer: 0,
        }
    }

    /// When the connection's time is over as things are, and what follows. `None`: it waits for us.
    fn deadline(&self, patience: &Patience) -> Option<(Instant, End)> {
        let (write, begin) = match self.parting_since {
            Some(since) => (patience.last_write, Some(since)),
            None => (patience.write, None),
        };
        let untaken = self.answers.values().chain([&self.stalled_since]).flatten();
        let cut = untaken.map(|since| ((*since).max(begin.unwrap_or(*since)) + write, End::Cut));
        cut.chain(self.quiet_deadline(patience)).min_by_key(|(at, _)| *at)
    }

    /// Since when the connection waits for its peer alone. `None`: it waits for us.
    fn waits_since(&self) -> Option<Instant> {
        let mut untaken = self.answers.values();
        untaken.try_fold(self.quiet_since, |latest, since| Some(latest.max((*since)?)))
    }

    fn quiet_deadline(&self, patience: &Patience) -> Option<(Instant, End)> {
        if !self.answers.is_empty() {
            return None;
        }
        if let Some(since) = self.parting_since {
            return Some((since.max(self.quiet_since) + patience.parting, End::Cut));
        }
        let head_since = if self.has_asked {
            self.head_since
        } else {
            Some(self.quiet_since)
        };
        let idle = self.quiet_since + patience.idle;
        let head = head_since.map(|since| since + patience.head);
        Some((head.map_or(idle, |head| head.min(idle)), End::Parting))
    }
}

/// A connection that is looked after.
#[derive(Debug)]
pub(super) struct Watch {
    state: Mutex<State>,
    patience: Patience,
    /// Somebody else needs its place.
    evicted: Notify,
}

impl Watch {
    pub(super) fn new(patience: Patience, now: Instant) -> Self {
        Self {
            state: Mutex::new(State::new(now)),
            patience,
            evicted: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the connection's time is over as things are, and what follows.
    pub(super) fn deadline(&self) -> Option<(Instant, End)> {
        self.state().deadline(&self.patience)
    }

    /// Bytes came in.
    pub(super) fn heard(&self, now: Instant) {
        let mut state = self.state();
        if state.answers.is_empty() && !state.is_http2 {
            state.head_since.get_or_insert(now);
        }
    }

    /// The socket took bytes, or would not.
    pub(super) fn wrote(&self, took: bool, now: Instant) {
        let mut state = self.state();
        if took {
            state.stalled_since = None;
            // With one answer at a time, what the socket takes is of that one.
            if !state.is_http2 {
                state
                    .answers
                    .values_mut()
                    .flatten()
                    .for_each(|since| *since = now);
            }
        } else {
            state.stalled_since.get_or_insert(now);
        }
    }

    /// The peer was told to go.
    pub(super) fn part(&self, now: Instant) {
        self.state().parting_since.get_or_insert(now);
    }

    /// The head of a request was read: an answer is under way until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> UnderWay {
        let mut state = self.state();
        state.has_asked = true;
        state.is_http2 = is_http2;
        state.head_since = None;
        let number = state.next_answer;
        state.next_answer += 1;
        state.answers.insert(number, None);
        drop(state);
        UnderWay {
            watch: Arc::clone(self),
            number,
            _held: None,
        }
    }

    /// Since when the connection waits for its peer alone. `None`: it waits for us.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.state().waits_since()
    }

    /// Gives the connection's place to another.
    pub(super) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Resolves when the connection is to give its place to another.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// An answer that is being made or sent. It ends with its last byte, wherever that waits to be sent.
#[derive(Debug)]
pub(super) struct UnderWay {
    watch: Arc<Watch>,
    number: u64,
    /// What the caller may have only so much of at once.
    _held: Option<Held>,
}

impl UnderWay {
    /// Keeps this until the answer has been sent.
    pub(super) fn hold(&mut self, held: Option<Held>) {
        self._held = held;
    }

    /// Something of the answer is ready, and waits for the peer.
    pub(super) fn waits_for_peer(&self, now: Instant) {
        self.set(Some(now));
    }

    /// Nothing of the answer is ready: the peer waits for us.
    pub(super) fn waits_for_us(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        self.watch.state().answers.insert(self.number, since);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        state.answers.remove(&self.number);
        state.quiet_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        write: Duration::from_secs(30),
        last_write: Duration::from_secs(5),
        parting: Duration::from_secs(1),
    };

    #[tokio::test]
    async fn every_state_of_a_connection_ends_but_the_one_that_waits_for_us() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let new = || State {
            quiet_since: begin,
            ..State::new(begin)
        };
        let asked = || State {
            has_asked: true,
            ..new()
        };
        let answering = |since: &[Option<u64>]| State {
            answers: (0..).zip(since.iter().map(|since| since.map(at))).collect(),
            ..asked()
        };
        for (name, state, expected) in [
            ("silent, or half a preface", new(), Some((10, End::Parting))),
            ("idle after an answer", asked(), Some((60, End::Parting))),
            (
                "half a second head",
                State {
                    head_since: Some(at(20)),
                    ..asked()
                },
                Some((30, End::Parting)),
            ),
            (
                "half a head at the end of idleness",
                State {
                    head_since: Some(at(55)),
                    ..asked()
                },
                Some((60, End::Parting)),
            ),
            ("an answer is made", answering(&[None]), None),
            (
                "an answer is not taken",
                answering(&[Some(7)]),
                Some((37, End::Cut)),
            ),
            (
                "one of two answers is not taken",
                answering(&[None, Some(7)]),
                Some((37, End::Cut)),
            ),
            (
                "the socket takes nothing",
                State {
                    stalled_since: Some(at(3)),
                    ..answering(&[None])
                },
                Some((33, End::Cut)),
            ),
            (
                "the last bytes are not taken",
                State {
                    stalled_since: Some(at(3)),
                    ..asked()
                },
                Some((33, End::Cut)),
            ),
            (
                "told to go while idle",
                State {
                    parting_since: Some(at(40)),
                    ..asked()
                },
                Some((41, End::Cut)),
            ),
            (
                "told to go, then answered",
                State {
                    parting_since: Some(at(40)),
                    quiet_since: at(50),
                    ..asked()
                },
                Some((51, End::Cut)),
            ),
            (
                "told to go while an answer is made",
                State {
                    parting_since: Some(at(40)),
                    ..answering(&[None])
                },
                None,
            ),
            (
                "told to go while an answer is not taken",
                State {
                    parting_since: Some(at(40)),
                    ..answering(&[Some(20)])
                },
                Some((45, End::Cut)),
            ),
        ] {
            let expected = expected.map(|(seconds, end)| (at(seconds), end));
            assert_eq!(state.deadline(&PATIENCE), expected, "{name}");
        }
        // Who waits for us gives its place to nobody.
        for (state, expected) in [
            (new(), Some(0)),
            (answering(&[Some(7)]), Some(7)),
            (answering(&[Some(7), Some(9)]), Some(9)),
            (answering(&[Some(7), None]), None),
        ] {
            assert_eq!(state.waits_since(), expected.map(at));
        }
    }
}

//! Turns to be worked on: every caller who waits gets one before any caller gets a second one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::limit::Name;

/// Turns to work on questions, so many at once.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits, each with their questions in order. Who comes first is next.
    waiting: VecDeque<(Name, VecDeque<oneshot::Sender<Turn>>)>,
}

/// The right to work on a question, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    /// `None`: it was handed on.
    turns: Option<Arc<Turns>>,
}

impl Turns {
    pub(crate) fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: at_once,
                waiting: VecDeque::new(),
            }),
        })
    }

    /// Waits for a turn of this caller.
    pub(crate) async fn take(self: &Arc<Self>, name: &Name) -> Turn {
        let waiting = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                None
            } else {
                Some(state.wait(name))
            }
        };
        let Some(turn) = waiting else {
            return self.turn();
        };
        match turn.await {
            Ok(turn) => turn,
            Err(_) => {
                unreachable!("a waiting caller is never dropped but with the turns, which this one holds")
            }
        }
    }

    fn turn(self: &Arc<Self>) -> Turn {
        Turn {
            turns: Some(Arc::clone(self)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, name: &Name) -> oneshot::Receiver<Turn> {
        let (sender, turn) = oneshot::channel();
        match self.waiting.iter_mut().find(|(waiting, _)| waiting == name) {
            Some((_, questions)) => questions.push_back(sender),
            None => self.waiting.push_back((name.clone(), VecDeque::from([sender]))),
        }
        turn
    }

    /// The next who waits. Who has more questions waits for the next one behind all others.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        loop {
            let (name, mut questions) = self.waiting.pop_front()?;
            // Who gave up waiting needs no turn.
            questions.retain(|question| !question.is_closed());
            let next = questions.pop_front();
            if !questions.is_empty() {
                self.waiting.push_back((name, questions));
            }
            if next.is_some() {
                return next;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else {
            return;
        };
        loop {
            let next = {
                let mut state = turns.state();
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else {
                return;
            };
            match next.send(turns.turn()) {
                Ok(()) => return,
                // It gave up at this very moment.
                Err(mut turn) => turn.turns = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    type Waiting<'a> = Pin<Box<dyn Future<Output = Turn> + 'a>>;

    fn name(text: &str) -> Name {
        Name::Subject(text.to_owned())
    }

    /// Asks for a turn, and waits where there is none.
    fn ask<'a>(turns: &'a Arc<Turns>, name: &'a Name) -> Waiting<'a> {
        let mut waiting: Waiting<'a> = Box::pin(turns.take(name));
        match (&mut waiting).now_or_never() {
            Some(turn) => Box::pin(std::future::ready(turn)),
            None => waiting,
        }
    }

    #[test]
    fn who_asks_once_does_not_wait_behind_who_asks_for_much() {
        let turns = Turns::new(2);
        let (flood, one, other) = (name("flood"), name("one"), name("other"));
        let mut held: Vec<Turn> = Vec::new();
        let mut flooding: VecDeque<_> = (0..100).map(|_| ask(&turns, &flood)).collect();
        for _ in 0..2 {
            let first = flooding.pop_front().expect("waits");
            held.push(first.now_or_never().expect("a turn"));
        }
        let (mut one, mut other) = (ask(&turns, &one), ask(&turns, &other));
        assert!((&mut one).now_or_never().is_none());
        // The flood came first, and gets the first free turn. The next two are the others'.
        held.pop();
        let third = flooding.pop_front().expect("waits").now_or_never();
        held.push(third.expect("a turn"));
        held.pop();
        let one = (&mut one).now_or_never().expect("the second free turn");
        drop(one);
        assert!((&mut other).now_or_never().is_some(), "the third free turn");
    }

    proptest! {
        /// Whatever is asked, given up and given back: so many at once, and none is lost.
        #[test]
        fn no_turn_is_lost_and_none_is_made_up(steps in prop::collection::vec((0_u8..3, 0_usize..4, any::<prop::sample::Index>()), 0..200)) {
            const AT_ONCE: usize = 3;
            let names: Vec<Name> = (0..4).map(|n| name(&n.to_string())).collect();
            let turns = Turns::new(AT_ONCE);
            let (mut waiting, mut held): (Vec<Waiting<'_>>, Vec<Turn>) = (Vec::new(), Vec::new());
            for (step, who, which) in steps {
                match step {
                    0 => waiting.push(Box::pin(turns.take(&names[who]))),
                    1 if !waiting.is_empty() => drop(waiting.swap_remove(which.index(waiting.len()))),
                    2 if !held.is_empty() => drop(held.swap_remove(which.index(held.len()))),
                    _ => {}
                }
                let mut still = Vec::new();
                for mut one in waiting {
                    match (&mut one).now_or_never() {
                        Some(turn) => held.push(turn),
                        None => still.push(one),
                    }
                }
                waiting = still;
                prop_assert!(held.len() <= AT_ONCE);
                prop_assert!(held.len() == AT_ONCE || waiting.is_empty(), "a free turn, and somebody waits");
            }
            drop((waiting, held));
            prop_assert_eq!(turns.state().free, AT_ONCE);
        }
    }
}

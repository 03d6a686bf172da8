use rollup::counters::Counters;
use rollup::event::Kind;

use super::*;

const WRITTEN: JournalId = JournalId {
    generation: 0,
    seq: 1,
};

fn hash(id: &str) -> IdentityHash {
    IdentityHash::of_event("acme", "chat", "", id)
}

fn counted(id: &str) -> CountedId {
    CountedId {
        id: hash(id),
        quantities: some(),
    }
}

fn some() -> Quantities {
    Quantities::of(Kind::Llm, &Counters::default())
}

fn generation(newest_ms: i64, ids: &[&str]) -> Generation {
    Generation {
        newest_ms,
        written: JournalId {
            generation: 0,
            seq: newest_ms,
        },
        ids: ids.iter().map(|id| counted(id)).collect(),
    }
}

#[test]
fn an_id_is_known_from_its_fold_until_its_commit_leaves_the_window() {
    let mut window = Window::load(vec![generation(1_000, &["a"])]);
    assert!(!window.insert(counted("a")));
    assert!(window.insert(counted("b")));
    assert!(!window.insert(counted("b")));
    let remember = window.remember(
        generation(2_000, &["b"]),
        Some(2_000),
        1_000,
        10,
        Some(Forget::MOST),
    );
    assert_eq!(remember.forget_before_ms, None);
    window.committed(&remember);
    assert_eq!(window.horizon_ms(2_000, 1_000, 10), 1_000);
    window.expire(1_000);
    assert!(
        !window.insert(counted("a")),
        "exactly as old as the window is inside it"
    );
    window.expire(1_001);
    assert!(window.insert(counted("a")));
    assert!(!window.insert(counted("b")));
}

#[test]
fn after_a_long_rest_a_window_is_forgotten_in_pieces() {
    let id = counted("a");
    let commits = (0..2_500).map(|ms| Generation {
        newest_ms: ms,
        written: WRITTEN,
        ids: vec![id],
    });
    let mut window = Window::load(commits.collect());
    for left in [1_500, 500, 0] {
        let remember = window.remember(
            Generation::of(WRITTEN, std::iter::empty()),
            Some(90_000),
            1_000,
            10,
            Some(Forget::MOST),
        );
        let horizon = remember.forget_before_ms.expect("something is due");
        assert!(window.ids_before(horizon).len() <= 1_000);
        window.committed(&remember);
        assert_eq!(window.commits.len(), left);
    }
}

#[test]
fn too_many_ids_shrink_the_window_by_whole_commits() {
    let window = Window::load(vec![
        generation(1_000, &["a", "b"]),
        generation(2_000, &["c", "d"]),
    ]);
    assert_eq!(window.horizon_ms(2_000, 5_000, 4), -3_000);
    assert_eq!(window.horizon_ms(2_000, 5_000, 3), 1_001);
    assert_eq!(window.horizon_ms(2_000, 5_000, 1), 2_001);
    assert_eq!(window.oldest_ms(), Some(1_000));
}

#[test]
fn a_window_says_how_far_it_reaches() {
    let mut window = Window::load(vec![generation(1_000, &["a", "b"])]);
    assert_eq!(window.reach_ms(5_000), 5_000);
    let mut commit = |newest_ms, id: &str, max_ids| {
        window.insert(counted(id));
        let remember = window.remember(
            generation(newest_ms, &[id]),
            Some(newest_ms),
            5_000,
            max_ids,
            Some(Forget::MOST),
        );
        window.committed(&remember);
        window.reach_ms(5_000)
    };
    assert_eq!(commit(7_000, "c", 10), 5_000, "forgotten by its time");
    assert_eq!(commit(9_000, "d", 1), 1_999, "cut to what may be held");
}

/// A letter that is judged again is remembered from then on, also where the lane is days behind.
#[test]
fn a_replay_ahead_of_its_lane_takes_nothing_else_with_it() {
    let mut window = Window::load(vec![generation(1_000, &["a"])]);
    let replayed = window.remember(
        generation(90_000, &["replayed"]),
        None,
        10_000,
        10,
        Some(Forget::MOST),
    );
    window.insert(counted("replayed"));
    window.committed(&replayed);
    for (ms, id) in [(2_000, "b"), (3_000, "c")] {
        window.insert(counted(id));
        let remember = window.remember(generation(ms, &[id]), Some(ms), 10_000, 3, Some(Forget::MOST));
        window.committed(&remember);
    }
    assert!(!window.contains(hash("a")), "the oldest made room");
    for id in ["replayed", "b", "c"] {
        assert!(window.contains(hash(id)), "{id}");
    }
}

/// One row of the table of [`RejectedIdState`] after the other.
#[test]
fn what_an_open_letter_says_of_its_id() {
    let [a, b] = ["a", "b"].map(|id| Identity::Event(hash(id)));
    let mut windows = Windows::<Window>::default();
    assert_eq!(windows.reject(Some(a), None), RejectedIdState::Uncounted);
    assert_eq!(windows.counted(a), None, "what was rejected may still be counted");
    assert_eq!(windows.reject(Some(a), None), RejectedIdState::Uncounted);
    assert!(windows.count(a, some()), "and closes its letters");
    assert_eq!(windows.counted(a), Some(some()));

    let known = RejectedIdState::Counted(some());
    assert!(!windows.count(b, some()), "no letter is open");
    assert_eq!(windows.reject(Some(b), None), known);
    windows.events.forget(b.hash());
    assert_eq!(
        windows.counted(b),
        Some(some()),
        "however old, while its letter is open"
    );
    assert_eq!(windows.reject(Some(b), None), known);
}

#[test]
fn a_document_is_remembered_from_its_deletion_unless_it_was_rejected() {
    let [a, b] = ["a", "b"].map(|id| Identity::Document(hash(id)));
    let mut windows = Windows::<Window>::default();
    assert!(!windows.count(a, some()));
    assert_eq!(
        windows.counted(a),
        None,
        "MongoDB keeps it unique while it is there"
    );
    assert!(windows.delete(counted("a")));
    assert_eq!(windows.counted(a), Some(some()));
    assert_eq!(
        windows.counted(Identity::Event(a.hash())),
        None,
        "ids of the two kinds are never compared"
    );

    assert_eq!(
        windows.reject(Some(b), Some(b.hash())),
        RejectedIdState::Uncounted
    );
    assert!(!windows.delete(counted("b")), "it was not counted");
    assert_eq!(windows.counted(b), None);
    assert!(
        windows.count(b, some()),
        "mended, and inserted again, it closes its letter"
    );
}

/// A document in its collection is unique there; a copy of one on a topic may come again.
#[test]
fn a_copy_of_a_document_is_remembered_and_the_document_is_not() {
    let mut windows = Windows::<Window>::default();
    let (a, b) = (hash("a"), hash("b"));
    let open = RejectedIdState::Uncounted;
    assert_eq!(windows.reject(Some(Identity::Copy(a)), Some(a)), open);
    assert!(windows.count(Identity::Copy(a), some()), "it closes the letter");
    assert!(!windows.rejected.has_document(a));
    assert_eq!(windows.counted(Identity::Copy(a)), Some(some()));
    windows.uncount(Identity::Copy(a));
    assert_eq!(windows.counted(Identity::Copy(a)), None);
    assert!(!windows.count(Identity::Document(b), some()));
    assert_eq!(windows.counted(Identity::Document(b)), None);
}

#[test]
fn a_letter_that_came_after_an_event_is_not_closed_by_it_nor_by_a_later_one() {
    let id = Identity::Event(hash("a"));
    let mut windows = Windows::<Window>::default();
    assert_eq!(windows.reject(Some(id), None), RejectedIdState::Uncounted);
    assert!(windows.count(id, some()));
    let known = RejectedIdState::Counted(some());
    assert_eq!(windows.reject(Some(id), None), known, "the id was reused");
    assert_eq!(windows.rejected.state(id.hash()), Some(known));
    windows.uncount(id);
    assert_eq!(windows.counted(id), None, "the event did not count after all");
    assert!(windows.count(id, some()), "that closes the letter of the event");
    assert_eq!(
        windows.rejected.state(id.hash()),
        Some(known),
        "and leaves the other"
    );
}

#[test]
fn a_document_that_is_deleted_again_is_known_for_a_window_from_then_on() {
    let mut window = Window::default();
    let mut commit = |newest_ms: i64| {
        window.insert(counted("a"));
        let remember = window.remember(
            generation(newest_ms, &["a"]),
            Some(newest_ms),
            1_000,
            10,
            Some(Forget::MOST),
        );
        window.committed(&remember);
    };
    commit(1_000);
    commit(1_900);
    commit(2_800);
    let mut at = |ms: i64| {
        let nothing = Generation::of(WRITTEN, std::iter::empty());
        let remember = window.remember(nothing, Some(ms), 1_000, 10, Some(Forget::MOST));
        window.committed(&remember);
        window.contains(hash("a"))
    };
    assert!(at(3_800));
    assert!(!at(3_801));
}

#[test]
fn quantities_that_are_known_are_not_forgotten_by_a_deletion_that_tells_none() {
    let mut windows = Windows::<Window>::default();
    assert!(windows.delete(counted("a")));
    let unknown = CountedId {
        quantities: Quantities::UNKNOWN,
        ..counted("a")
    };
    assert!(windows.delete(unknown));
    assert_eq!(windows.counted(Identity::Document(hash("a"))), Some(some()));
}

/// The naive window: every commit as it came, looked through each time.
#[derive(Debug, Default)]
struct Naive {
    folded: Vec<CountedId>,
    commits: Vec<Generation>,
}

impl Naive {
    fn get(&self, id: IdentityHash) -> bool {
        let committed = self.commits.iter().flat_map(|commit| &commit.ids);
        self.folded.iter().chain(committed).any(|known| known.id == id)
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Ids are folded, and committed with this newest time.
    Commit(Vec<u8>, i64),
    /// Ids are folded, and one of them turns out not to count.
    Uncount(u8),
    Expire(i64),
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    use proptest::prelude::*;
    prop_oneof![
        4 => (prop::collection::vec(0..40_u8, 0..6), 0..100_i64).prop_map(|(ids, at)| Step::Commit(ids, at)),
        1 => (0..40_u8).prop_map(Step::Uncount),
        2 => (0..100_i64).prop_map(Step::Expire),
    ]
}

proptest::proptest! {
    /// Whatever the order of commits, replays and expiries is, an id is known for as long as one of its commits is.
    #[test]
    fn a_window_knows_what_a_naive_one_knows(steps in proptest::collection::vec(step(), 0..24)) {
        let (mut window, mut naive, mut seq) = (Window::default(), Naive::default(), 0);
        let id = |number: u8| counted(&number.to_string());
        for step in steps {
            match step {
                Step::Commit(ids, newest_ms) => {
                    seq += 1;
                    let mut ids: Vec<CountedId> = ids.into_iter().map(id).collect();
                    ids.sort_by_key(|id| id.id);
                    ids.dedup();
                    for id in &ids {
                        proptest::prop_assert_eq!(window.insert(*id), !naive.get(id.id));
                        naive.folded.push(*id);
                    }
                    let written = JournalId { generation: 0, seq };
                    let generation = Generation { newest_ms, written, ids };
                    window.committed(&Remember { ids: generation.clone(), forget_before_ms: None });
                    naive.folded.clear();
                    naive.commits.extend((!generation.ids.is_empty()).then_some(generation));
                }
                Step::Uncount(number) if !naive.get(id(number).id) => {
                    window.insert(id(number));
                    window.forget(id(number).id);
                }
                Step::Uncount(_) => {}
                Step::Expire(before) => {
                    window.expire(before);
                    naive.commits.retain(|commit| commit.newest_ms >= before);
                }
            }
            for number in 0..40 {
                proptest::prop_assert_eq!(window.contains(id(number).id), naive.get(id(number).id));
            }
            let first = naive.commits.iter().map(|commit| commit.written).min();
            proptest::prop_assert_eq!(window.first(), first);
            let oldest = naive.commits.iter().map(|commit| commit.newest_ms).min();
            proptest::prop_assert_eq!(window.oldest_ms(), oldest);
            let again = Window::load(naive.commits.clone());
            proptest::prop_assert_eq!(again.len(), window.len());
        }
    }
}

#[test]
fn a_window_grows_with_its_ids_and_holds_each_once() {
    assert_eq!(Window::default().bytes(), 0);
    let ids = (0..100_000).map(|number: u32| (counted(&number.to_string()), 0));
    let window = Window::load(vec![Generation::of(WRITTEN, ids)]);
    let of_each = window.bytes() / window.len();
    assert!((21..=26).contains(&of_each), "{of_each} bytes");
}

use super::*;

fn generation(newest_ms: i64, ids: &[&str]) -> Generation {
    Generation {
        newest_ms,
        ids: ids.iter().map(|id| EventHash::of(id)).collect(),
    }
}

#[test]
fn of_an_id_of_any_length_its_hash_and_the_beginning_are_kept() {
    let long = "ä".repeat(250_000);
    let name = EventName::of(&long);
    assert_eq!((name.text, name.hash), ("ä".repeat(128), EventHash::of(&long)));
    assert_eq!(EventName::of("id").text, "id");
}

/// Stored for as long as a window is: a change would forget every id.
#[test]
fn golden_hash_and_packing() {
    let hash = EventHash::of("request-1");
    assert_eq!(EventHash::unpack(&hash.to_bytes()), Some(vec![hash]));
    assert_eq!(EventHash::unpack(&hash.to_bytes()[1..]), None);
    assert_eq!(EventHash::from_bytes(&hash.to_bytes()), Some(hash));
    assert_eq!(EventHash::from_bytes(&hash.to_bytes()[1..]), None);
    assert_eq!(hash.to_bytes()[..4], Sha256::digest(b"request-1")[..4]);
}

#[test]
fn an_id_is_known_from_its_fold_until_its_commit_leaves_the_window() {
    let mut window = Window::load(vec![generation(1_000, &["a"])]);
    assert!(!window.insert(EventHash::of("a")));
    assert!(window.insert(EventHash::of("b")));
    assert!(!window.insert(EventHash::of("b")));
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
        !window.insert(EventHash::of("a")),
        "exactly as old as the window is inside it"
    );
    window.expire(1_001);
    assert!(window.insert(EventHash::of("a")));
    assert!(!window.insert(EventHash::of("b")));
}

#[test]
fn after_a_long_rest_a_window_is_forgotten_in_pieces() {
    let id = EventHash::of("a");
    let commits = (0..2_500).map(|ms| Generation {
        newest_ms: ms,
        ids: vec![id],
    });
    let mut window = Window::load(commits.collect());
    for left in [1_500, 500, 0] {
        let remember = window.remember(
            Generation::of(std::iter::empty()),
            Some(90_000),
            1_000,
            10,
            Some(Forget::MOST),
        );
        let horizon = remember.forget_before_ms.expect("something is due");
        assert!(window.ids_before(horizon).len() <= 1_000);
        window.committed(&remember);
        assert_eq!(window.generations.len(), left);
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
        window.insert(EventHash::of(id));
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
    window.insert(EventHash::of("replayed"));
    window.committed(&replayed);
    for (ms, id) in [(2_000, "b"), (3_000, "c")] {
        window.insert(EventHash::of(id));
        let remember = window.remember(generation(ms, &[id]), Some(ms), 10_000, 3, Some(Forget::MOST));
        window.committed(&remember);
    }
    assert!(!window.contains(EventHash::of("a")), "the oldest made room");
    for id in ["replayed", "b", "c"] {
        assert!(window.contains(EventHash::of(id)), "{id}");
    }
}

/// One row of the table of [`RejectedIdState`] after the other.
#[test]
fn what_an_open_letter_says_of_its_id() {
    let (a, b) = (EventHash::of("a"), EventHash::of("b"));
    let mut windows = Windows::<Window>::default();
    assert_eq!(windows.reject(a), RejectedIdState::Uncounted);
    assert!(!windows.is_known(a), "what was rejected may still be counted");
    assert_eq!(windows.reject(a), RejectedIdState::Uncounted);
    assert!(windows.count(a), "and closes its letters");
    assert!(windows.is_known(a));

    assert!(!windows.count(b), "no letter is open");
    assert_eq!(windows.reject(b), RejectedIdState::Counted);
    windows.events.forget(b);
    assert!(windows.is_known(b), "however old, while its letter is open");
    assert_eq!(windows.reject(b), RejectedIdState::Counted);
}

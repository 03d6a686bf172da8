use super::*;
use crate::counters::{Counter, Counters};
use crate::event::{DocumentId, Identity, Kind, UNATTRIBUTED};
use proptest::prelude::*;
use std::collections::HashMap;

fn grouping(granularities: &[Granularity]) -> Grouping {
    Grouping::new("Europe/Berlin".parse().expect("a zone"), granularities).expect("with daily")
}

fn event(at_ms: i64, parts: [&'static str; 4], tokens: i64) -> Event<'static> {
    let [organization, agent, model, user] = parts.map(Cow::Borrowed);
    let fixed = Cow::Borrowed;
    let mut counters = Counters::default();
    counters[Counter::Requests] = 1;
    counters[Counter::InputTokens] = tokens;
    counters[Counter::TotalTokens] = tokens;
    let dimensions = Dimensions {
        organization,
        agent,
        provider: fixed("p"),
        model,
        user,
        team: fixed("t"),
        api_key: fixed("k"),
        source: fixed("chat"),
        kind: Kind::Llm,
    };
    Event {
        identity: Identity::Document(DocumentId::None),
        completed_at_ms: at_ms,
        dimensions,
        counters,
        is_cost_rounded: false,
    }
}

fn fold(grouping: &Grouping, events: &[Event<'_>]) -> Delta {
    let mut fold = Fold::new(grouping.clone());
    for event in events {
        fold.add(event).expect("inside the calendar");
    }
    let mut delta = Delta::default();
    fold.close_into(&mut delta);
    delta
}

/// Lesson L2: one event feeds every granularity. Lesson L4: and each of them once.
#[test]
fn l2_l4_one_event_is_booked_once_per_granularity_and_set() {
    let delta = fold(
        &grouping(&Granularity::ALL),
        &[event(1_767_607_200_000, ["o", "a", "m", "u"], 5)],
    );
    let keys: Vec<_> = delta
        .ledger
        .keys()
        .map(|key| key.split('/').nth(3).expect("a period"))
        .collect();
    assert_eq!(keys, ["2026-01-05", "2026-01-05T11", "2026-01", "2026-W02"]);
    assert_eq!(delta.rollups.len(), Granularity::ALL.len() * Marginal::ALL.len());
    assert!(
        delta
            .ledger
            .values()
            .all(|row| row.booked.sums[Counter::InputTokens] == 5)
    );
    assert!(
        delta
            .rollups
            .values()
            .all(|row| row.booked.sums[Counter::Requests] == 1)
    );
}

#[test]
fn two_completions_of_one_key_are_one_row_with_both_counted() {
    let events = [
        event(1_767_607_200_000, ["o", "a", "m", "u"], 5),
        event(1_767_607_100_000, ["o", "a", "m", "u"], 7),
    ];
    let delta = fold(&grouping(&[Granularity::Daily]), &events);
    let [row] = delta.ledger.values().collect::<Vec<_>>()[..] else {
        panic!("one row")
    };
    assert_eq!(row.booked.sums[Counter::InputTokens], 12);
    assert_eq!(
        (row.booked.first_event_ms, row.booked.last_event_ms),
        (1_767_607_100_000, 1_767_607_200_000)
    );
}

#[test]
fn a_sum_beyond_64_bits_is_an_error_and_never_a_wrap() {
    let events = [
        event(0, ["o", "a", "m", "u"], i64::MAX),
        event(0, ["o", "a", "m", "u"], 1),
    ];
    assert_eq!(
        fold(&grouping(&[Granularity::Daily]), &events[..1]).check(),
        Ok(())
    );
    let overflow = fold(&grouping(&[Granularity::Daily]), &events).check();
    assert_eq!(overflow, Err(Overflow(Counter::InputTokens)));
}

#[test]
fn totals_need_days() {
    assert_eq!(
        Grouping::new(Calendar::UTC, &[Granularity::Weekly]),
        Err(DailyMissing)
    );
}

fn any_event() -> impl Strategy<Value = Event<'static>> {
    let pick = |values: &'static [&'static str]| prop::sample::select(values);
    let parts = (
        pick(&["o1", "o/2"]),
        pick(&["a", "a/b", UNATTRIBUTED]),
        pick(&["m", "a"]),
        pick(&["u1", "u2", "a/b"]),
    );
    let instant = 1_766_000_000_000_i64..1_769_000_000_000;
    (instant, parts, 0..i64::MAX / 4).prop_map(|(at, (organization, agent, model, user), tokens)| {
        event(at, [organization, agent, model, user], tokens)
    })
}

proptest! {
    /// Against a naive oracle of big integers in a hash map, for every granularity and marginal.
    /// Lessons D4: where a batch ends changes nothing.
    #[test]
    fn d4_the_fold_equals_the_oracle_wherever_batches_end(
        events in prop::collection::vec(any_event(), 0..60),
        cut in 0..60_usize,
    ) {
        let grouping = grouping(&Granularity::ALL);
        let cut = cut.min(events.len());
        let mut delta = Delta::default();
        for part in [&events[..cut], &events[cut..]] {
            let mut fold = Fold::new(grouping.clone());
            for event in part {
                fold.add(event).expect("inside the calendar");
            }
            let mut own = Delta::default();
            fold.close_into(&mut own);
            prop_assert!(own.ledger.len() + own.rollups.len() <= fold.statements());
            prop_assert!(fold.statements() <= part.len() * 4 * (1 + Marginal::ALL.len()));
            fold.close_into(&mut delta);
        }

        let mut rows: HashMap<String, i128> = HashMap::new();
        let mut rollups: HashMap<(String, String, &str, String), i128> = HashMap::new();
        for event in &events {
            let instant = DateTime::from_timestamp_millis(event.completed_at_ms).expect("in range");
            let d = &event.dimensions;
            let tokens = i128::from(event.counters[Counter::InputTokens]);
            for granularity in Granularity::ALL {
                let period = grouping.calendar().period_of(granularity, instant);
                *rows.entry(format!("{period} {d:?}")).or_default() += tokens;
                for (marginal, value) in [
                    ("organization", d.organization.to_string()),
                    ("agent", d.agent.to_string()),
                    ("model", format!("{}|{}", d.model, d.provider)),
                    ("user", d.user.to_string()),
                    ("source", d.source.to_string()),
                ] {
                    *rollups.entry((d.organization.to_string(), period.to_string(), marginal, value)).or_default() += tokens;
                }
            }
        }
        prop_assert_eq!(delta.ledger.len(), rows.len());
        for row in delta.ledger.values() {
            let name = format!("{} {:?}", row.period, row.dimensions.map(|text| Cow::Borrowed(&**text)));
            prop_assert_eq!(Some(&row.booked.sums[Counter::InputTokens]), rows.get(&name));
        }
        prop_assert_eq!(delta.rollups.len(), rollups.len());
        for row in delta.rollups.values() {
            let value = row.provider.as_ref().map_or(row.value.to_string(), |p| format!("{}|{p}", row.value));
            let name = (row.organization.to_string(), row.period.to_string(), row.marginal.name(), value);
            prop_assert_eq!(Some(&row.booked.sums[Counter::InputTokens]), rollups.get(&name));
        }
    }

    /// A stored decimal never depends on the order of events.
    #[test]
    fn reordering_changes_nothing(mut events in prop::collection::vec(any_event(), 0..30), by in 0..30_usize) {
        let grouping = grouping(&[Granularity::Daily, Granularity::Weekly]);
        let before = fold(&grouping, &events);
        let by = by.min(events.len());
        events.rotate_left(by);
        prop_assert_eq!(before, fold(&grouping, &events));
    }
}

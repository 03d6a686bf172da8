use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::*;

fn start() -> DateTime<Utc> {
    "2026-03-01T00:00:00Z".parse().expect("an instant")
}

fn made(options: Options, count: usize) -> Vec<Item> {
    Generator::new(options)
        .spaced(start(), TimeDelta::milliseconds(5))
        .take(count)
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_one_others() {
    let first = made(Options::default(), 500);
    assert_eq!(first, made(Options::default(), 500));
    assert_ne!(
        first,
        made(
            Options {
                seed: 2,
                ..Options::default()
            },
            500
        )
    );
}

#[test]
fn everything_ends_in_one_of_four_and_organizations_add_up() {
    let items = made(Options::default(), 20_000);
    let mut truth = Truth::default();
    truth.extend(&items);
    assert_eq!(truth.read, 20_000);
    assert_eq!(
        truth.results().map(|(_, count)| count).iter().sum::<u64>(),
        truth.read
    );
    assert!(truth.results().iter().all(|(_, count)| *count > 0), "{truth:?}");
    let requests: u64 = truth.organizations.values().map(|totals| totals.requests).sum();
    let cost: u128 = truth.organizations.values().map(|totals| totals.cost_nanos).sum();
    assert_eq!((requests, cost), (truth.counted, truth.totals.cost_nanos));
    assert_eq!(truth.reasons.values().sum::<u64>(), truth.dead_letter);
    assert_eq!(truth.organizations.len(), 3);
}

#[test]
fn duplicates_are_the_same_event_in_another_document() {
    let items = made(Options::default(), 5_000);
    let mut seen = HashMap::new();
    let mut documents = BTreeSet::new();
    for item in &items {
        assert!(
            documents.insert(item.document_id.to_string()),
            "{}",
            item.document_id
        );
        match &item.verdict {
            Verdict::Counted(_) => {
                let earlier = seen.insert(item.event["eventId"].to_string(), item.json());
                assert_eq!(earlier, None);
            }
            Verdict::Duplicate => {
                assert_eq!(seen.get(&item.event["eventId"].to_string()), Some(&item.json()))
            }
            _ => {}
        }
    }
}

#[test]
fn the_mix_has_all_that_emitters_send() {
    let items = made(Options::default(), 20_000);
    let some = |what: &dyn Fn(&Item) -> bool| items.iter().any(what);
    for field in [
        "cost",
        "costNanos",
        "costEstimateCents",
        "teamId",
        "apiKeyId",
        "cachedInputTokens",
        "images",
    ] {
        assert!(some(&|item| item.event.contains_key(field)), "{field}");
    }
    let usages: Vec<&Usage> = items
        .iter()
        .filter_map(|item| match &item.verdict {
            Verdict::Counted(usage) => Some(&**usage),
            _ => None,
        })
        .collect();
    let kinds: BTreeSet<_> = usages.iter().map(|usage| usage.kind).collect();
    assert_eq!(kinds, BTreeSet::from(["embedding", "image", "llm"]));
    let sources: BTreeSet<_> = usages.iter().map(|usage| usage.source.as_str()).collect();
    assert_eq!(sources, BTreeSet::from(["chat", "openai-compat", "workflow"]));
    assert!(
        usages
            .iter()
            .any(|usage| usage.completed_at < start() - TimeDelta::days(5))
    );
    for absent in [
        |usage: &Usage| usage.agent.is_none(),
        |usage: &Usage| usage.user.is_none(),
        |usage: &Usage| usage.model.is_none(),
        |usage: &Usage| usage.cost_nanos.is_none(),
        |usage: &Usage| usage.outcome == Outcome::Failed && usage.input_tokens > 0,
        |usage: &Usage| usage.outcome == Outcome::Failed && usage.input_tokens + usage.images == 0,
        |usage: &Usage| usage.outcome == Outcome::Completed && usage.input_tokens + usage.images == 0,
        |usage: &Usage| usage.outcome == Outcome::Aborted,
    ] {
        assert!(usages.iter().any(|usage| absent(usage)));
    }
}

#[test]
fn every_form_of_cost_says_the_same_amount() {
    for item in made(Options::default(), 5_000) {
        let Verdict::Counted(usage) = &item.verdict else {
            continue;
        };
        let nanos = item
            .event
            .get("costNanos")
            .map(|value| value.as_u64().expect("an integer"));
        let amount = item.event.get("cost").map(|value| match value {
            Value::Number(number) => digits(&number.as_f64().expect("a double").to_string(), 9),
            text => match text.as_str().expect("a text").strip_suffix("e-09") {
                Some(nanos) => nanos.parse().expect("digits"),
                None => digits(text.as_str().expect("a text"), 9),
            },
        });
        let cents = item
            .event
            .get("costEstimateCents")
            .map(|value| digits(&value.as_f64().expect("a number").to_string(), 7));
        assert_eq!(nanos.or(amount).or(cents), usage.cost_nanos);
    }
}

/// A decimal text in units of its `places`th decimal.
fn digits(text: &str, places: usize) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= places, "{text}");
    format!("{whole}{fraction:0<places$}").parse().expect("digits")
}

#[test]
fn documents_carry_dates_and_doubles_as_emitters_write_them() {
    let items = made(Options::plain(3), 1_000);
    let documents: Vec<_> = items.iter().map(Item::document).collect();
    assert!(
        documents
            .iter()
            .any(|document| document.get_datetime("completedAt").is_ok())
    );
    assert!(
        documents
            .iter()
            .any(|document| document.get_i64("completedAt").is_ok())
    );
    assert!(
        documents
            .iter()
            .any(|document| document.get_str("completedAt").is_ok())
    );
    for document in &documents {
        let chat = document.get_str("source").expect("a source") == "chat";
        if let Some(tokens) = document.get("inputTokens") {
            assert_eq!(tokens.as_f64().is_some(), chat);
        }
    }
    assert!(
        documents
            .iter()
            .any(|document| document.get_object_id("_id").is_ok())
    );
    assert!(documents.iter().any(|document| document.get_str("_id").is_ok()));
}

#[test]
fn known_by_its_document_no_event_has_an_id_or_comes_again() {
    let items = made(
        Options {
            identity: Identity::Document,
            duplicates: 0.5,
            ..Options::default()
        },
        1_000,
    );
    assert!(items.iter().all(|item| !item.event.contains_key("eventId")));
    assert!(!items.iter().any(|item| item.verdict == Verdict::Duplicate));
}

#[test]
fn every_flaw_changes_the_field_it_is_rejected_for() {
    let mut generator = Generator::new(Options::plain(9));
    let mut reasons = BTreeSet::new();
    for flaw in 0..invalid::COUNT {
        let draft = generator.draft(1, start());
        let sound = generator.draft(1, start()).counted();
        let item = invalid::apply(flaw, draft);
        let Verdict::Rejected { reason, field } = item.verdict else {
            panic!("{flaw} is not rejected")
        };
        assert_ne!(item.event.get(field), sound.event.get(field), "{reason} {field}");
        reasons.insert((reason, field));
    }
    assert_eq!(reasons.len(), invalid::COUNT);
}

#[test]
fn amounts_have_nine_decimals() {
    assert_eq!(decimal(0), "0.000000000");
    assert_eq!(decimal(12_345_678_901), "12.345678901");
    let unpriced = Totals {
        requests: 2,
        unpriced_requests: 2,
        ..Totals::default()
    };
    assert_eq!(unpriced.cost(), None);
    assert_eq!(Totals::default().cost().as_deref(), Some("0.000000000"));
}

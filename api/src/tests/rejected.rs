//! Refused events are told beside the counted ones.

use rollup::event::Reason;
use serde_json::{Value, json};

use super::{World, bearing, person, staff};
use crate::fake::{Letter, used};

const NOW: &str = "2026-09-28T12:00:00Z";

const fn letter(day: &'static str, reason: &'static str, organization: Option<&'static str>) -> Letter {
    Letter {
        day,
        reason,
        organization,
    }
}

const OF_ACME: [Letter; 3] = [
    letter("2026-09-01", "too_old", Some("acme")),
    letter("2026-09-28", "invalid_value", Some("acme")),
    letter("2026-09-28", "invalid_value", Some("acme")),
];
const OTHERS: [Letter; 4] = [
    letter("2026-09-28", "too_old", Some("other")),
    letter("2026-09-28", "too_old", Some("internal")),
    letter("2026-09-28", "invalid_json", None),
    letter("2026-08-01", "invalid_json", None),
];

fn world() -> World {
    let world = World::with(NOW, |settings| {
        settings.excluded_organizations = vec!["internal".into()];
        settings.access = crate::Access::Jwt(crate::Jwt::new(crate::Key::Secret(super::SECRET.to_owned())));
    });
    world.reader.set_letters([&OF_ACME[..], &OTHERS].concat());
    world
}

async fn rejected(world: &World, question: &str, token: &str) -> Value {
    let reply = world
        .send(&format!("/v1/usage/{question}"), &bearing(token))
        .await;
    assert_eq!(reply.status, 200, "{question}: {}", reply.text);
    reply.json()["rejected"].clone()
}

#[tokio::test]
async fn every_answer_tells_what_was_refused_of_its_organization_and_days() {
    let world = world();
    let admin = person("a", json!({"acme": "admin"}));
    let expected = json!({"events": 3, "reasons": {"invalid_value": 2, "too_old": 1}});
    for question in [
        "summary?organizationId=acme",
        // Filters do not apply.
        "summary?organizationId=acme&agentSlug=a1",
        "series?organizationId=acme",
        "breakdown?organizationId=acme&by=agent",
        "table?scope=organization&organizationId=acme",
        "table?scope=agent&organizationId=acme&agentSlug=a1",
        "meta?organizationId=acme",
        "meta",
    ] {
        assert_eq!(rejected(&world, question, &admin).await, expected, "{question}");
    }
    let today = "summary?organizationId=acme&from=2026-09-28&to=2026-09-28";
    assert_eq!(
        rejected(&world, today, &admin).await,
        json!({"events": 2, "reasons": {"invalid_value": 2}})
    );
    let before = "summary?organizationId=acme&from=2026-09-02&to=2026-09-27";
    assert_eq!(
        rejected(&world, before, &admin).await,
        json!({"events": 0, "reasons": {}})
    );
    assert_eq!(
        rejected(&world, "me?organizationId=acme", &admin).await,
        Value::Null,
        "whose a refused event is nobody knows"
    );
}

#[tokio::test]
async fn the_platform_is_told_of_everybody_and_of_what_names_nobody() {
    let world = world();
    let staff = staff();
    let all = json!({"invalid_value": 2, "too_old": 2});
    for question in ["table?scope=platform", "meta"] {
        let expected = json!({"events": 4, "reasons": all, "withoutOrganization": 1});
        assert_eq!(rejected(&world, question, &staff).await, expected, "{question}");
    }
    let of_other = json!({"events": 1, "reasons": {"too_old": 1}});
    assert_eq!(
        rejected(&world, "summary?organizationId=other", &staff).await,
        of_other
    );
    // What names nobody may be of this organization: that is for staff to find out.
    assert_eq!(
        rejected(&world, "meta?organizationId=other", &staff).await,
        json!({"events": 1, "reasons": {"too_old": 1}, "withoutOrganization": 1})
    );
}

#[tokio::test]
async fn no_answer_outlives_a_change_of_the_letters() {
    let world = World::at(NOW);
    world.reader.book([used("2026-09-28")]);
    world.reader.set_letters(OF_ACME);
    let target = "/v1/usage/summary?organizationId=acme";
    let first = world.send(target, &[]).await;
    let tag = first.header("etag").expect("a tag").to_owned();
    let known = [("if-none-match", tag.as_str())];
    assert_eq!(world.send(target, &known).await.status, 304);
    world.reader.set_letters(OF_ACME[..1].to_vec());
    let second = world.send(target, &known).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.json()["rejected"]["events"], json!(1));
    // Another letter in the place of one makes no other sum.
    world.reader.set_letters(OTHERS);
    assert_eq!(world.ask("summary", "").await["rejected"]["events"], json!(0));
}

#[tokio::test]
async fn answers_about_the_same_days_count_letters_once() {
    let world = World::at(NOW);
    world.reader.set_letters(OF_ACME);
    for (route, query) in [("summary", ""), ("series", ""), ("breakdown", "by=user")] {
        world.ask(route, query).await;
    }
    assert_eq!(world.reader.take_letter_reads(), 1);
    world.reader.book([used("2026-09-28")]);
    world.ask("summary", "").await;
    assert_eq!(world.reader.take_letter_reads(), 0, "rows are not letters");
    world.reader.set_letters([]);
    world.ask("summary", "").await;
    assert_eq!(world.reader.take_letter_reads(), 1);
}

#[test]
fn the_page_has_words_for_every_reason() {
    for language in ["en", "de"] {
        let path = format!("{}/dashboard/src/i18n/{language}.ts", env!("CARGO_MANIFEST_DIR"));
        let words = std::fs::read_to_string(path).expect("reads");
        for reason in Reason::ALL {
            let code = reason.code();
            assert!(words.contains(&format!("      {code}: \"")), "{language}: {code}");
        }
    }
}

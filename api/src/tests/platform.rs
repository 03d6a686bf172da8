//! The table of all organizations: from rollups, or not at all.

use serde_json::{Value, json};

use super::World;
use crate::fake::used;
use crate::rows::{Dimension, Rows};

const NOW: &str = "2026-09-28T10:00:00Z";

fn world() -> World {
    let world = World::with(NOW, |settings| {
        settings.excluded_organizations = vec!["internal".into()];
    });
    let usage = |organization: &str, agent: &str, model: &str, provider: &str| {
        used("2026-09-28")
            .with(Dimension::Organization, organization)
            .with(Dimension::Agent, agent)
            .with(Dimension::Model, model)
            .with(Dimension::Provider, provider)
            .with(Dimension::User, "u1")
            .with(Dimension::Team, "t1")
    };
    world.reader.book([
        usage("acme", "a", "m", "p"),
        usage("acme", "a", "m", "q"),
        usage("acme", "b", "n", "p"),
        usage("other", "a", "n", "q"),
        usage("other", "b", "n", "q"),
        usage("internal", "a", "m", "p"),
    ]);
    world
}

/// Requests by organization.
fn requests(table: &Value) -> Vec<(String, u64)> {
    let rows = table["rows"].as_array().expect("rows");
    let mut requests: Vec<(String, u64)> = rows
        .iter()
        .map(|row| {
            let name = row["organizationId"].as_str().expect("a name").to_owned();
            (name, row["totals"]["requests"].as_u64().expect("a number"))
        })
        .collect();
    requests.sort();
    requests
}

#[tokio::test]
async fn what_rollups_can_filter_by_is_answered_from_them() {
    let world = world();
    for (filter, acme, other) in [
        ("", 3, 2),
        ("&agentSlug=a", 2, 1),
        ("&agentSlug=a&agentSlug=b", 3, 2),
        ("&model=m", 2, 0),
        ("&provider=p", 2, 0),
        ("&provider=q&model=m&model=n", 1, 2),
        ("&userId=u1", 3, 2),
        ("&userId=nobody", 0, 0),
        ("&source=chat", 3, 2),
    ] {
        let target = format!("/v1/usage/table?scope=platform&preset=7d{filter}");
        let reply = world.send(&target, &[]).await;
        assert_eq!(reply.status, 200, "{filter}: {}", reply.text);
        let expected = [("acme", acme), ("other", other)].into_iter();
        let expected: Vec<(String, u64)> = expected
            .filter(|(_, requests)| *requests > 0)
            .map(|(name, requests)| (name.to_owned(), requests))
            .collect();
        assert_eq!(requests(&reply.json()), expected, "{filter}");
        for query in world.reader.take_queries() {
            assert!(
                matches!(query.rows, Rows::Rollups(_)),
                "{filter}: {:?}",
                query.rows
            );
        }
    }
}

#[tokio::test]
async fn what_rollups_cannot_filter_by_is_asked_per_organization() {
    let world = world();
    for (filter, parameter, named) in [
        ("teamId=t1", json!("teamId"), "`teamId`"),
        ("apiKeyId=__none__", json!("apiKeyId"), "`apiKeyId`"),
        ("kind=llm", json!("kind"), "`kind`"),
        ("agentSlug=a&kind=llm", json!("kind"), "`kind`"),
        (
            "agentSlug=a&model=m",
            Value::Null,
            "`agentSlug` and `model` together",
        ),
        (
            "provider=p&userId=u1",
            Value::Null,
            "`provider` and `userId` together",
        ),
    ] {
        let target = format!("/v1/usage/table?scope=platform&{filter}");
        let reply = world.send(&target, &[]).await;
        assert_eq!(reply.status, 422, "{filter}: {}", reply.text);
        let problem = reply.json();
        assert_eq!(problem["parameter"], parameter, "{filter}");
        let detail = problem["detail"].as_str().expect("a sentence");
        assert!(
            detail.contains(named) && detail.contains("`organizationId`"),
            "{filter}: {detail}"
        );
        // Of one organization it is answered.
        let target = format!("/v1/usage/table?scope=organization&organizationId=acme&preset=7d&{filter}");
        assert_eq!(world.send(&target, &[]).await.status, 200, "{filter}");
    }
    let asked = world.reader.take_queries();
    assert!(
        asked
            .iter()
            .all(|query| query.scope != crate::reader::Scope::AllExcept(vec!["internal".into()])),
        "nothing is read in vain: {asked:?}"
    );
}

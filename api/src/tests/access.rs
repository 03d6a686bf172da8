//! The answer of each route to each kind of caller.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{SECRET, World, bearing, column, person, staff, token};
use crate::fake::{FakeReader, used};
use crate::reader::Lane;
use crate::router::entries;
use crate::rows::Dimension;

const NOW: &str = "2026-09-28T12:00:00Z";

/// Every route with what it needs to be asked; `#` stands for an organization.
const QUESTIONS: [(&str, &str); 8] = [
    ("/v1/usage/summary", "organizationId=#"),
    ("/v1/usage/series", "organizationId=#"),
    ("/v1/usage/breakdown", "organizationId=#&by=agent"),
    ("/v1/usage/table", "scope=platform"),
    ("/v1/usage/table", "scope=organization&organizationId=#"),
    ("/v1/usage/table", "scope=agent&organizationId=#&agentSlug=a"),
    ("/v1/usage/me", "organizationId=#"),
    ("/v1/usage/meta", "organizationId=#"),
];

async fn statuses(world: &World, token: &str, organization: &str) -> String {
    let mut statuses = Vec::new();
    for (path, query) in QUESTIONS {
        let target = format!("{path}?{}", query.replace('#', organization));
        statuses.push(world.send(&target, &bearing(token)).await.status.to_string());
    }
    statuses.join(" ")
}

#[tokio::test]
async fn the_rules_hold_on_every_route() {
    let world = World::guarded(NOW);
    let member = person("u1", json!({"a": "member"}));
    let admin = person("u1", json!({"a": "admin"}));
    let owner = person("u1", json!({"a": "owner"}));
    for (name, token, organization, expected) in [
        ("owner", &owner, "a", "200 200 200 403 200 200 200 200"),
        ("admin", &admin, "a", "200 200 200 403 200 200 200 200"),
        ("admin elsewhere", &admin, "b", "403 403 403 403 403 403 403 403"),
        ("member", &member, "a", "403 403 403 403 403 403 200 403"),
        (
            "member elsewhere",
            &member,
            "b",
            "403 403 403 403 403 403 403 403",
        ),
        ("staff", &staff(), "a", "200 200 200 200 200 200 200 200"),
    ] {
        assert_eq!(statuses(&world, token, organization).await, expected, "{name}");
    }
    let off = World::at(NOW);
    assert_eq!(statuses(&off, "", "a").await, "200 200 200 200 200 200 403 200");
}

/// Walks the table that the router is made of: a route cannot be added without being asked here.
#[tokio::test]
async fn every_route_is_closed_to_who_has_no_valid_token() {
    let world = World::guarded(NOW);
    let expired = token(&json!({"sub": "u1", "exp": 1, "platformRole": "staff"}));
    for entry in entries::<FakeReader>() {
        let path = entry.described.path;
        assert!(
            QUESTIONS.iter().any(|(known, _)| *known == path),
            "{path} has no line in the matrix"
        );
        assert!(path.starts_with("/v1/"), "{path}");
        for headers in [
            &[][..],
            &bearing("Bearer x"),
            &bearing(SECRET),
            &bearing(&expired),
        ] {
            let reply = world.send(path, headers).await;
            assert_eq!(reply.status, 401, "{path}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{path}");
        }
        // A member of another organization gets through nowhere: refused, or asked to say for what.
        let stranger = person("u1", json!({"elsewhere": "member"}));
        let reply = world
            .send(&format!("{path}?organizationId=acme"), &bearing(&stranger))
            .await;
        assert!(matches!(reply.status, 400 | 403), "{path}: {}", reply.status);
        assert_eq!(world.reader.snapshots(), 0, "nothing is read for a stranger");
    }
    assert_eq!(world.send("/v1/usage/nothing", &[]).await.status, 401);
    // A good signature alone opens nothing, and is told what is missing; what the claim holds is not repeated.
    for organizations in [
        json!({}),
        json!("secret-text"),
        json!([{"id": "secret-text"}]),
        json!({"secret-text": 7}),
    ] {
        let nobody = person("u1", organizations);
        let targets = entries::<FakeReader>()
            .into_iter()
            .map(|entry| entry.described.path);
        for path in targets.chain(["/v1/usage/nothing"]) {
            let reply = world.send(path, &bearing(&nobody)).await;
            assert_eq!(reply.status, 403, "{path}");
            let detail = reply.json()["detail"].as_str().expect("a detail").to_owned();
            assert!(
                detail.contains("`organizations`") && !reply.text.contains("secret-text"),
                "{detail}"
            );
        }
    }
    assert_eq!(world.reader.snapshots(), 0, "nothing is read for nobody");
    assert_eq!(
        world.send("/v1/usage/nothing", &bearing(&staff())).await.status,
        404
    );
}

#[tokio::test]
async fn one_sees_ones_own_usage_and_nobody_elses() {
    let world = World::guarded(NOW);
    let by = |user: &str, organization: &str| {
        used("2026-09-28")
            .with(Dimension::User, user)
            .with(Dimension::Organization, organization)
            .with(Dimension::Agent, "a")
    };
    world
        .reader
        .book([by("u1", "acme"), by("u2", "acme"), by("u1", "other")]);
    let member = person("u1", json!({"acme": "member"}));
    let reply = world.send("/v1/usage/me", &bearing(&member)).await.json();
    assert_eq!(
        (&reply["userId"], &reply["organizationId"]),
        (&json!("u1"), &json!("acme"))
    );
    assert_eq!(reply["totals"]["requests"], json!(1));
    assert_eq!(
        (&reply["activeUsers"], &reply["activeAgents"]),
        (&json!(1), &json!(1))
    );
    let csv = [("authorization", member.as_str()), ("accept", "text/csv")];
    let csv = world.send("/v1/usage/me", &csv).await;
    let lines: Vec<&str> = csv.text.lines().collect();
    assert!(lines[0].starts_with("userId,span,from,to,"), "{}", lines[0]);
    assert!(lines[1].starts_with("u1,current,"), "{}", lines[1]);
    assert_eq!((csv.status, lines.len()), (200, 3));
    let other = world.send("/v1/usage/me?userId=u2", &bearing(&member)).await;
    assert_eq!(
        (other.status, other.json()["parameter"].as_str()),
        (400, Some("userId"))
    );
    let two = person("u1", json!({"acme": "member", "other": "member"}));
    assert_eq!(
        world.send("/v1/usage/me", &bearing(&two)).await.json()["parameter"],
        "organizationId"
    );
    assert_eq!(
        world
            .send("/v1/usage/me?organizationId=other", &bearing(&two))
            .await
            .status,
        200
    );
    let nobody = person("__unattributed__", json!({"acme": "member"}));
    assert_eq!(world.send("/v1/usage/me", &bearing(&nobody)).await.status, 403);
}

/// Two people ask the same question at the same time, and each gets an answer of their own.
#[tokio::test]
async fn a_remembered_answer_is_not_shown_to_another_person() {
    let world = World::guarded(NOW);
    world
        .reader
        .book([used("2026-09-28").with(Dimension::User, "u1")]);
    let ask = async |subject: &str| {
        let token = person(subject, json!({"acme": "member"}));
        world.send("/v1/usage/me", &bearing(&token)).await.json()["totals"]["requests"].clone()
    };
    assert_eq!((ask("u1").await, ask("u2").await), (json!(1), json!(0)));
    let admin = person("u2", json!({"acme": "admin"}));
    let query = "/v1/usage/summary?organizationId=acme";
    assert_eq!(world.send(query, &bearing(&admin)).await.status, 200);
    let stranger = person("u3", json!({"other": "admin"}));
    assert_eq!(world.send(query, &bearing(&stranger)).await.status, 403);
}

#[tokio::test]
async fn the_description_is_about_what_one_may_read() {
    let world = World::guarded(NOW);
    let from = |organization: &str, source: &str, day: &str| {
        used(day)
            .with(Dimension::Organization, organization)
            .with(Dimension::Source, source)
    };
    world.reader.book([
        from("acme", "chat", "2026-09-28"),
        from("other", "secret-service", "2026-09-20"),
    ]);
    let meta = async |token: &str, query: &str| {
        world
            .send(&format!("/v1/usage/meta{query}"), &bearing(token))
            .await
    };
    let admin = person("u1", json!({"acme": "admin"}));
    let own = meta(&admin, "").await.json();
    assert_eq!(
        (&own["sources"], &own["oldestPeriod"]),
        (&json!(["chat"]), &json!("2026-09-28"))
    );
    assert_eq!(
        meta(&staff(), "").await.json()["sources"],
        json!(["chat", "secret-service"])
    );
    assert_eq!(meta(&admin, "?organizationId=other").await.status, 403);
    world.reader.set_lanes(vec![Lane {
        name: "mongodb/usage.requestEvents".into(),
        ..Lane::default()
    }]);
    // Lanes are named after hosts and collections: that is for staff, also where the answer is remembered.
    for (token, names_lanes) in [(&admin, false), (&staff(), true), (&admin, false)] {
        let reply = meta(token, "?organizationId=acme").await;
        assert_eq!(reply.json().get("lanes").is_some(), names_lanes);
        let headers = [("authorization", token.as_str()), ("accept", "text/csv")];
        let csv = world.send("/v1/usage/meta?organizationId=acme", &headers).await;
        assert_eq!(csv.text.contains("\r\nlane,"), names_lanes, "{}", csv.text);
    }
}

/// A page of somebody else, open in a browser on this machine, names its own host, whatever that means there.
#[tokio::test]
async fn without_tokens_only_this_machine_is_answered() {
    let (open, guarded) = (World::at(NOW), World::guarded(NOW));
    for path in [
        "/",
        "/docs/",
        "/openapi.json",
        "/robots.txt",
        "/nothing",
        "/v1/usage/meta",
        "/v1/usage/nothing",
    ] {
        for (host, is_answered) in [
            ("localhost:8080", true),
            ("[::1]", true),
            ("rebound.example.com", false),
            ("127.0.0.1.example.com", false),
        ] {
            let ask = async |world: &World| {
                let request = Request::get(path).header("host", host).body(Body::empty());
                let before = world.reader.snapshots();
                let status = world.request(request.expect("a request")).await.status;
                assert!(
                    status != 403 || world.reader.snapshots() == before,
                    "nothing is read"
                );
                status
            };
            assert_eq!(ask(&open).await != 403, is_answered, "{path} of {host}");
            assert_ne!(ask(&guarded).await, 403, "{path} of {host}");
        }
    }
}

#[tokio::test]
async fn the_platform_leaves_out_whom_it_is_told_to_and_says_so() {
    let world = World::with(NOW, |settings| {
        settings.excluded_organizations = vec!["internal".to_owned()]
    });
    let of = |organization: &str| used("2026-09-28").with(Dimension::Organization, organization);
    world
        .reader
        .book([of("internal"), of("acme"), of("__unattributed__")]);
    let table = world.send("/v1/usage/table?scope=platform", &[]).await.json();
    assert_eq!(table["excludedOrganizations"], json!(["internal"]));
    assert_eq!(
        column(&table["rows"], "organizationId"),
        ["acme", "__unattributed__"]
    );
    assert_eq!(table["organizationId"], Value::Null);
    let drilled = world
        .send("/v1/usage/table?scope=organization&organizationId=internal", &[])
        .await
        .json();
    assert_eq!(
        drilled["totals"]["requests"],
        json!(1),
        "it is booked, and can be asked for"
    );
}

//! Every route of the running program, over a real database: what it answers, to whom, and in which form.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use mongodb::bson::{DateTime as BsonTime, Document};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use testkit::product::Product;

use testkit::world::World;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test goes by the machine's clock"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

pub(crate) fn token(claims: &Value) -> String {
    let mut all = json!({"sub": "u1", "exp": 4_000_000_000_u64, "iss": "me", "aud": "usage"});
    let members = claims.as_object().expect("an object").clone();
    all.as_object_mut().expect("an object").extend(members);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &all, &key).expect("a token")
}

/// Somebody new each time: the reader limits how often one may ask.
pub(crate) fn staff(name: &str) -> String {
    token(&json!({"sub": format!("staff {name}"), "platformRole": "staff"}))
}

pub(crate) fn event(organization: &str, days_ago: u64, fields: &[(&str, &str)]) -> Document {
    let mut event = testkit::world::event(organization);
    event.insert("completedAt", BsonTime::from_chrono(now() - Days::new(days_ago)));
    for (name, value) in fields {
        event.insert(*name, *value);
    }
    event
}

async fn running(name: &str, events: Vec<Document>) -> (World, Product) {
    let world = World::new(name).await;
    let variables = [
        ("AUTH", "jwt"),
        ("JWT_SECRET", SECRET),
        ("JWT_ISSUER", "me"),
        ("JWT_AUDIENCE", "usage"),
        ("EXCLUDED_ORGANIZATIONS", "internal"),
    ];
    let mut product = world.ready(&variables).await;
    let count = events.len() as u64;
    for event in events {
        world.insert_one(event).await;
    }
    world.wait_read(&mut product, count).await;
    (world, product)
}

pub(crate) async fn send(product: &Product, path: &str, headers: &[(&str, &str)]) -> Response {
    let client = reqwest::Client::new();
    let request = client.get(format!("{}/v1/usage/{path}", product.api()));
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.expect("an answer")
}

pub(crate) async fn ask(product: &Product, path: &str, token: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let response = send(product, path, &[("authorization", &bearer)]).await;
    let (status, kind) = (
        response.status().as_u16(),
        response.headers()["content-type"].clone(),
    );
    let expected = if status == 200 {
        "application/json"
    } else {
        "application/problem+json"
    };
    assert_eq!(kind, expected, "{path}");
    let body = response.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).expect("json"))
}

/// Presets, granularities, breakdowns and tables: each shows the sums of the days that it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_preset_shows_the_days_that_it_names_on_every_route() {
    let days: Vec<u64> = (0..400).step_by(3).collect();
    let agents = ["support", "=1+1"];
    let events = days.iter().map(|day| {
        let agent = agents[usize::try_from(*day).expect("small") % 2];
        event("acme", *day, &[("agentSlug", agent)])
    });
    let (_world, mut product) = running("reader_presets", events.collect()).await;
    let today = now().date_naive();
    let booked: BTreeMap<_, u64> = days.iter().map(|day| (today - Days::new(*day), 1)).collect();
    for preset in [
        "7d",
        "30d",
        "90d",
        "month-to-date",
        "last-month",
        "last-6-months",
        "year-to-date",
    ] {
        let token = staff(preset);
        let query = format!("organizationId=acme&preset={preset}");
        let (_, summary) = ask(&product, &format!("summary?{query}"), &token).await;
        let day = |range: &Value, name: &str| -> NaiveDate {
            range[name].as_str().expect("a day").parse().expect("a day")
        };
        let sum = |range: &Value| -> u64 {
            booked
                .range(day(range, "from")..=day(range, "to"))
                .map(|(_, n)| n)
                .sum()
        };
        assert_eq!(summary["totals"]["requests"], sum(&summary["range"]), "{preset}");
        let previous = &summary["previous"];
        assert_eq!(
            previous["totals"]["requests"],
            sum(&previous["range"]),
            "{preset}"
        );
        for granularity in ["daily", "weekly", "monthly"] {
            let query = format!("{query}&granularity={granularity}");
            let (_, series) = ask(&product, &format!("series?{query}&groupBy=agent"), &token).await;
            assert_eq!(series["totals"], summary["totals"], "{preset} {granularity}");
            let (_, table) = ask(&product, &format!("table?scope=organization&{query}"), &token).await;
            assert_eq!(table["totals"], summary["totals"], "{preset} {granularity}");
        }
        for by in ["agent", "model", "user", "team", "apiKey", "source", "kind"] {
            let (_, ranked) = ask(&product, &format!("breakdown?{query}&by={by}&limit=1"), &token).await;
            assert_eq!(ranked["totals"], summary["totals"], "{preset} {by}");
        }
    }
    // Hours are in no day.
    for route in ["series?", "table?scope=organization&"] {
        let path = format!("{route}organizationId=acme&granularity=hourly&preset=7d");
        let (status, problem) = ask(&product, &path, &staff("hours")).await;
        assert_eq!(
            (status, &problem["parameter"]),
            (400, &json!("granularity")),
            "{path}"
        );
    }
    product.stop(testkit::PATIENCE).await.expect("stops");
}

/// CSV of every route: whole, with a line of names, and no cell that a spreadsheet would run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_answers_in_csv_and_to_head() {
    let mut events: Vec<Document> = (0..120)
        .map(|n| {
            event(
                "acme",
                1,
                &[
                    ("userId", &format!("@u{n:03}")),
                    ("teamId", &format!("t{}", n % 7)),
                ],
            )
        })
        .collect();
    events.push(event("acme", 1, &[("userId", "@u000"), ("teamId", "a \"b\", c")]));
    events.push(event("internal", 1, &[]));
    let (_world, mut product) = running("reader_csv", events).await;
    let bearer = format!("Bearer {}", staff("csv"));
    for (path, lines, first) in [
        ("summary?organizationId=acme", 3, "current"),
        ("series?organizationId=acme&preset=7d", 8, ""),
        (
            "series?organizationId=acme&preset=7d&groupBy=user",
            1 + 7 * 120,
            "",
        ),
        ("breakdown?organizationId=acme&by=user", 121, "'@u000"),
        (
            "breakdown?organizationId=acme&by=user&include=teams",
            121,
            "'@u000,\"[\"\"a \\\"\"b\\\"\", c\"\",\"\"t0\"\"]\",2,",
        ),
        ("breakdown?organizationId=acme&by=model", 2, "m1,p1,121,"),
        ("table?scope=platform&preset=7d", 8, "acme,"),
        (
            "table?scope=organization&organizationId=acme&preset=7d",
            8,
            "support,",
        ),
        ("me?organizationId=acme", 3, "staff csv,current,"),
        ("meta", 42, "dimension,agentSlug"),
    ] {
        let headers = [("authorization", bearer.as_str()), ("accept", "text/csv")];
        let response = send(&product, path, &headers).await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "text/csv; charset=utf-8; header=present"
        );
        assert!(response.headers().contains_key("usage-data-as-of"), "{path}");
        let text = response.text().await.expect("a table");
        assert_eq!(text.lines().count(), lines, "{path}: {text}");
        let line = text.lines().nth(1).expect("a line");
        assert!(line.starts_with(first), "{path}: {line}");

        let head = reqwest::Client::new()
            .request(Method::HEAD, format!("{}/v1/usage/{path}", product.api()))
            .header("authorization", &bearer);
        let head = head.send().await.expect("an answer");
        assert!(
            head.status().is_success() && head.headers().contains_key("etag"),
            "{path}"
        );
        assert!(head.bytes().await.expect("nothing").is_empty());
    }
    let (_, platform) = ask(&product, "table?scope=platform", &staff("platform")).await;
    assert_eq!(platform["excludedOrganizations"], json!(["internal"]));
    assert_eq!(platform["rows"].as_array().map(Vec::len), Some(1));
    for (filter, status, requests) in [
        ("agentSlug=support", 200, json!(121)),
        ("model=m1&provider=p1", 200, json!(121)),
        ("provider=p1", 200, json!(121)),
        ("userId=@u000", 200, json!(2)),
        ("source=workflow", 200, json!(0)),
        ("teamId=t1", 422, Value::Null),
        ("userId=@u000&model=m1", 422, Value::Null),
    ] {
        let path = format!("table?scope=platform&{filter}");
        let (got, answer) = ask(&product, &path, &staff("filters")).await;
        assert_eq!(
            (got, &answer["totals"]["requests"]),
            (status, &requests),
            "{filter}: {answer}"
        );
    }
    product.stop(testkit::PATIENCE).await.expect("stops");
}

/// Nobody reads what is not theirs, whatever was remembered for somebody else a moment ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_an_answer_that_was_made_for_somebody_else() {
    let events = vec![
        event("acme", 0, &[("userId", "u1")]),
        event("acme", 0, &[("userId", "u1")]),
        event("acme", 0, &[("userId", "u2")]),
        event("other", 0, &[("userId", "u1")]),
    ];
    let (_world, mut product) = running("reader_access", events).await;
    let person =
        |subject: &str, organizations: Value| token(&json!({"sub": subject, "organizations": organizations}));
    let (owner, admin) = (
        person("o", json!({"acme": "owner"})),
        person("a", json!({"other": "admin"})),
    );
    let (one, two) = (
        person("u1", json!({"acme": "member"})),
        person("u2", json!({"acme": "member"})),
    );
    let routes = [
        "summary?",
        "series?",
        "breakdown?by=user&",
        "breakdown?by=user&include=teams&",
        "table?scope=organization&",
        "meta?",
    ];
    for route in routes {
        let path = format!("{route}organizationId=acme");
        assert_eq!(ask(&product, &path, &owner).await.0, 200, "{path}");
        for stranger in [&admin, &one] {
            let (status, problem) = ask(&product, &path, stranger).await;
            assert_eq!(status, 403, "{path}");
            assert!(!problem.to_string().contains("u2"), "{problem}");
        }
        // With the tag of what the owner saw as well.
        let bearer = format!("Bearer {owner}");
        let seen = send(&product, &path, &[("authorization", &bearer)]).await;
        let tag = seen.headers()["etag"].to_str().expect("a tag").to_owned();
        let again = send(
            &product,
            &path,
            &[("authorization", &bearer), ("if-none-match", &tag)],
        )
        .await;
        assert_eq!(again.status().as_u16(), 304, "{path}");
        assert!(again.headers().contains_key("usage-data-as-of"));
        let bearer = format!("Bearer {admin}");
        let stolen = send(
            &product,
            &path,
            &[("authorization", &bearer), ("if-none-match", &tag)],
        )
        .await;
        assert_eq!(stolen.status().as_u16(), 403, "{path}");
    }
    for (token, requests) in [(&one, 2), (&two, 1), (&one, 2)] {
        let (status, own) = ask(&product, "me", token).await;
        assert_eq!((status, &own["totals"]["requests"]), (200, &json!(requests)));
    }
    // A cursor grants nothing, and continues nobody else's question.
    let (_, page) = ask(&product, "breakdown?by=user&organizationId=acme&limit=1", &owner).await;
    let cursor = page["nextCursor"].as_str().expect("a cursor");
    let forged = format!("breakdown?by=user&organizationId=acme&limit=1&cursor={cursor}");
    assert_eq!(ask(&product, &forged, &admin).await.0, 403);
    let moved = format!("breakdown?by=user&organizationId=other&limit=1&cursor={cursor}");
    let (status, problem) = ask(&product, &moved, &admin).await;
    assert_eq!((status, &problem["parameter"]), (400, &json!("cursor")));
    for (claims, status) in [
        (json!({"aud": "another", "platformRole": "staff"}), 401),
        (json!({"iss": "another", "platformRole": "staff"}), 401),
        (json!({"exp": 1_000_000_000, "platformRole": "staff"}), 401),
        (json!({"platformRole": "Staff"}), 403),
    ] {
        let got = ask(&product, "table?scope=platform", &token(&claims)).await.0;
        assert_eq!(got, status, "{claims}");
    }
    product.stop(testkit::PATIENCE).await.expect("stops");
}

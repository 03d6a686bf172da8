//! The rules of every request, and the description of the routes.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::{World, bearing, person, staff};
use crate::fake::{FakeReader, used};
use crate::router::entries;

const NOW: &str = "2026-09-28T12:00:00Z";

#[tokio::test]
async fn malformed_questions_are_refused_by_name_and_never_break_anything() {
    let world = World::at(NOW);
    let long = "x".repeat(10_240);
    for (query, name) in [
        ("organizationId=$gt".to_owned(), "organizationId"),
        ("organizationId[$ne]=acme".to_owned(), "organizationId[$ne]"),
        (
            "organizationId=%7B%22%24gt%22%3A%22%22%7D".to_owned(),
            "organizationId",
        ),
        ("organizationId=%5B%24ne%5D".to_owned(), "organizationId"),
        (format!("organizationId={long}"), "organizationId"),
        (format!("organizationId=acme&agentSlug={long}"), "agentSlug"),
        ("organizationId=acme&agentSlug=".to_owned(), "agentSlug"),
        ("organizationId=acme&agentSlug=%00".to_owned(), "agentSlug"),
        ("organizationId=acme&agentSlug=%c3%28".to_owned(), "agentSlug"),
        ("organizationId=acme&source=Chat".to_owned(), "source"),
        ("organizationId=acme&from=yesterday&to=today".to_owned(), "from"),
        (
            "organizationId=acme&from=2026-02-30&to=2026-03-01".to_owned(),
            "from",
        ),
        (
            "organizationId=acme&organizationId=other".to_owned(),
            "organizationId",
        ),
        ("organizationId=acme&limit=5".to_owned(), "limit"),
        ("organizationId=acme&_method=DELETE".to_owned(), "_method"),
        ("organizationId=acme&preset=7d&preset=7d".to_owned(), "preset"),
        ("".to_owned(), "organizationId"),
    ] {
        let reply = world.send(&format!("/v1/usage/summary?{query}"), &[]).await;
        assert_eq!(reply.status, 400, "{query}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        let problem = reply.json();
        assert_eq!(problem["parameter"], name, "{query}");
        assert_eq!(problem["status"], json!(400));
        assert!(
            reply.text.len() < 600,
            "nothing long comes back: {}",
            reply.text.len()
        );
    }
    let long_name = world
        .send(&format!("/v1/usage/summary?organizationId=acme&{long}=1"), &[])
        .await;
    assert_eq!(long_name.status, 400);
    assert_eq!(
        world.reader.snapshots(),
        0,
        "nothing is read for what is malformed"
    );
}

#[tokio::test]
async fn other_methods_and_addresses_and_bodies_are_problems_too() {
    let world = World::at(NOW);
    for (method, target, status) in [
        (Method::POST, "/v1/usage/summary", 405),
        (Method::DELETE, "/v1/usage/summary?organizationId=acme", 405),
        (Method::GET, "/v1/usage", 404),
        (Method::GET, "/v2/usage/summary", 404),
        (Method::GET, "/docs/nothing", 404),
        (Method::GET, "/v1/usage/summary/", 404),
        (Method::GET, "/../../etc/passwd", 404),
        (Method::POST, "/nothing", 404),
    ] {
        let request = Request::builder()
            .method(&method)
            .uri(target)
            .header("host", "localhost")
            .body(Body::empty())
            .expect("a request");
        let reply = world.request(request).await;
        assert!(
            reply.status == status || (method == Method::POST && reply.status == 405),
            "{method} {target}: {}",
            reply.status
        );
        assert_eq!(
            reply.header("content-type"),
            Some("application/problem+json"),
            "{method} {target}"
        );
    }
    let request = Request::get("/v1/usage/summary?organizationId=acme")
        .header("host", "localhost")
        .header("content-length", "1000000");
    assert_eq!(
        world
            .request(request.body(Body::empty()).expect("a request"))
            .await
            .status,
        413
    );
    assert_eq!(
        world
            .send("/v1/usage/meta", &[("accept", "image/png")])
            .await
            .status,
        406
    );
}

#[tokio::test]
async fn one_caller_is_slowed_down_and_told_when_to_come_again() {
    let world = World::with(NOW, |settings| {
        settings.access = crate::Access::Jwt(crate::Jwt::new(crate::Key::Secret(super::SECRET.to_owned())));
        settings.limits.request_burst = 3;
        settings.limits.requests_per_second = 1;
    });
    let (one, other) = (
        person("u1", json!({"acme": "admin"})),
        person("u2", json!({"acme": "admin"})),
    );
    for _ in 0..3 {
        assert_eq!(world.send("/v1/usage/meta", &bearing(&one)).await.status, 200);
    }
    let slowed = world.send("/v1/usage/meta", &bearing(&one)).await;
    assert_eq!(slowed.status, 429);
    assert!(
        slowed
            .header("retry-after")
            .is_some_and(|seconds| seconds.parse::<u64>().is_ok_and(|s| s >= 1))
    );
    assert_eq!(world.send("/v1/usage/meta", &bearing(&other)).await.status, 200);
    // Who guesses tokens is slowed down as well.
    let guesses = futures_util::future::join_all((0..4).map(|_| world.send("/v1/usage/meta", &[]))).await;
    assert_eq!(
        guesses.iter().map(|reply| reply.status).collect::<Vec<_>>(),
        [401, 401, 401, 429]
    );
    // So is who loads what is public, by itself: that takes nothing from what the same place may ask.
    let pages = ["/openapi.json", "/docs/", "/", "/robots.txt"];
    let loads = futures_util::future::join_all(pages.map(|page| world.send(page, &[]))).await;
    assert_eq!(
        loads.iter().map(|reply| reply.status).collect::<Vec<_>>(),
        [200, 200, 200, 429]
    );
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_ended() {
    #[derive(Clone)]
    struct Stuck;
    impl crate::reader::Reader for Stuck {
        type Snapshot = crate::fake::Frozen;
        async fn snapshot(&self) -> Result<Self::Snapshot, crate::reader::ReadError> {
            std::future::pending().await
        }
    }
    let settings = crate::Settings::new(rollup::period::Calendar::UTC, "USD", crate::Access::Off);
    let clock = || chrono::DateTime::UNIX_EPOCH;
    let registry = prometheus::Registry::new();
    let router = crate::router(settings, Stuck, std::sync::Arc::new(clock), &registry).expect("settings");
    let request = Request::get("/v1/usage/meta")
        .header("host", "localhost")
        .body(Body::empty())
        .expect("a request");
    let started = tokio::time::Instant::now();
    let response = tower::ServiceExt::oneshot(router, request)
        .await
        .expect("infallible");
    assert_eq!(response.status(), 503);
    assert_eq!(started.elapsed(), Duration::from_secs(30));
}

#[tokio::test]
async fn metrics_have_labels_from_closed_sets() {
    let world = World::at(NOW);
    world.reader.book([used("2026-09-28")]);
    for target in [
        "/v1/usage/summary?organizationId=acme",
        "/v1/usage/summary?organizationId=somebody-else",
        "/v1/usage/nothing/of/mine",
        "/whatever/free/text",
        "/docs/",
        "/v1/usage/summary",
    ] {
        world.send(target, &[]).await;
    }
    let mut labels = BTreeSet::new();
    for family in world.registry.gather() {
        for metric in family.get_metric() {
            labels.extend(metric.get_label().iter().map(|label| label.value().to_owned()));
        }
    }
    let known: BTreeSet<String> = entries::<FakeReader>()
        .iter()
        .map(|entry| entry.described.path)
        .chain(crate::pages::PATHS)
        .chain(["none", "hit", "miss", "2xx", "3xx", "4xx", "5xx"])
        .map(str::to_owned)
        .collect();
    assert_eq!(labels, known, "all from the start, and no other");
}

#[tokio::test]
async fn the_document_describes_every_route_and_nothing_else() {
    let world = World::guarded(NOW);
    let document = world.send("/openapi.json", &[]).await.json();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    let described: BTreeSet<&str> = document["paths"]
        .as_object()
        .expect("paths")
        .keys()
        .map(String::as_str)
        .collect();
    let routes = entries::<FakeReader>();
    assert_eq!(
        described,
        routes.iter().map(|entry| entry.described.path).collect()
    );
    // Whatever is referred to is there.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
    for (path, item) in document["paths"].as_object().expect("paths") {
        let parameters = item["get"]["parameters"].as_array().expect("parameters");
        let format = parameters.iter().find(|parameter| parameter["name"] == "format");
        let forms = format.map(|format| &format["schema"]["enum"]);
        assert_eq!(forms, Some(&json!(["json", "csv"])), "{path}");
        for parameter in parameters {
            assert_eq!(parameter["in"], "query");
            assert!(
                parameter["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{path}"
            );
        }
        let granularity = parameters
            .iter()
            .find(|parameter| parameter["name"] == "granularity");
        if let Some(granularity) = granularity {
            let all = json!(["hourly", "daily", "weekly", "monthly"]);
            assert_eq!(granularity["schema"]["enum"], all, "{path}");
        }
        for status in ["200", "304", "400", "401", "403", "422", "429", "500", "503"] {
            assert!(item["get"]["responses"].get(status).is_some(), "{path} {status}");
        }
    }
}

/// Each answer has the members that its schema requires, and no other.
#[tokio::test]
async fn answers_are_as_described() {
    let world = World::with(NOW, |settings| {
        settings.access = crate::Access::Jwt(crate::Jwt::new(crate::Key::Secret(super::SECRET.to_owned())));
        settings.granularities = rollup::period::Granularity::ALL.to_vec();
    });
    world
        .reader
        .book((0..30).map(|n| used("2026-09-28").with(crate::rows::Dimension::Agent, &format!("a{n}"))));
    let document = world.send("/openapi.json", &[]).await.json();
    let staff = staff();
    for (path, query) in [
        ("/v1/usage/summary", "organizationId=acme"),
        ("/v1/usage/series", "organizationId=acme&groupBy=agent"),
        (
            "/v1/usage/series",
            "organizationId=acme&granularity=hourly&preset=7d",
        ),
        ("/v1/usage/breakdown", "organizationId=acme&by=agent&limit=3"),
        ("/v1/usage/breakdown", "organizationId=acme&by=user&include=teams"),
        ("/v1/usage/table", "scope=platform"),
        ("/v1/usage/me", "organizationId=acme"),
        ("/v1/usage/meta", ""),
    ] {
        let reply = world.send(&format!("{path}?{query}"), &bearing(&staff)).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        let schema =
            &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        conforms(&document, schema, &reply.json(), path);
    }
    let problem = world.send("/v1/usage/meta?x=1", &bearing(&staff)).await.json();
    conforms(
        &document,
        &json!({"$ref": "#/components/schemas/Problem"}),
        &problem,
        "a problem",
    );
}

/// Checks the part of JSON Schema that the document uses.
fn conforms(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document
            .pointer(&reference[1..])
            .unwrap_or_else(|| panic!("{reference}"));
        return conforms(document, target, value, at);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().for_each(|part| conforms(document, part, value, at));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let of_type = |choice: &Value| (choice["type"] == "null") == value.is_null();
        let choice = choices.iter().find(|choice| of_type(choice));
        return conforms(
            document,
            choice.unwrap_or_else(|| panic!("{at}: {value}")),
            value,
            at,
        );
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>(),
        kind => kind.as_str().into_iter().collect(),
    };
    let fits =
        allowed.is_empty() || allowed.contains(&kind) || (kind == "integer" && allowed.contains(&"number"));
    assert!(fits, "{at}: expected {allowed:?}, got {value}");
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().expect("a name");
        assert!(value.get(name).is_some(), "{at}: `{name}` is missing");
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        if let Some(schema) = schema["properties"].get(name) {
            conforms(document, schema, value, &format!("{at}.{name}"));
        }
    }
    for (n, value) in value.as_array().into_iter().flatten().enumerate() {
        conforms(document, &schema["items"], value, &format!("{at}[{n}]"));
    }
}

#[tokio::test]
async fn the_pages_are_public_and_load_nothing_from_elsewhere() {
    let world = World::guarded(NOW);
    for target in [
        "/",
        "/docs/",
        "/docs/swagger-initializer.js",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
        "/openapi.json",
    ] {
        let reply = world.send(target, &[]).await;
        assert_eq!(reply.status, 200, "{target}");
        let policy = reply.header("content-security-policy").expect("a policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
            "{policy}"
        );
        assert!(
            target.starts_with("/docs") || !policy.contains("unsafe"),
            "{target}: {policy}"
        );
    }
    for (target, lifetime) in [
        ("/", "no-cache"),
        ("/robots.txt", "no-cache"),
        ("/docs/", "no-cache"),
        ("/docs/swagger-ui-bundle.js", "no-cache"),
        ("/docs/swagger-ui.css", "no-cache"),
        ("/openapi.json", "no-cache"),
    ] {
        let plain = world.send(target, &[]).await;
        assert_eq!(plain.header("cache-control"), Some(lifetime), "{target}");
        let tag = plain.header("etag").expect("a tag").to_owned();
        for (headers, status) in [
            (
                [("if-none-match", tag.as_str()), ("accept-encoding", "gzip")],
                304,
            ),
            (
                [
                    ("if-none-match", "W/\"another\""),
                    ("accept-encoding", "identity"),
                ],
                200,
            ),
        ] {
            let again = world.send(target, &headers).await;
            assert_eq!(again.status, status, "{target}");
            assert_eq!(again.header("etag"), Some(tag.as_str()), "{target}");
        }
    }
    let page = world.send("/docs/", &[]).await.text;
    assert!(!page.contains("://"), "{page}");
    assert!(
        !page.replace("<script src=", "").contains("<script>"),
        "no inline script"
    );
    let start = world.send("/docs/swagger-initializer.js", &[]).await.text;
    assert!(start.contains("\"../openapi.json\""), "{start}");
}

/// A proxy may have put all of it below a path, which nobody tells the reader: what leads from one place to another says
/// how to get there from where one is.
#[tokio::test]
async fn nothing_that_is_sent_leads_to_the_root_of_the_host() {
    let world = World::guarded(NOW);
    assert_eq!(world.send("/docs", &[]).await.header("location"), Some("docs/"));
    let document = world.send("/openapi.json", &[]).await.json();
    assert_eq!(document["servers"], json!([{"url": "."}]));
    for target in [
        "/",
        "/index.html",
        "/docs/",
        "/docs/index.html",
        "/docs/swagger-initializer.js",
    ] {
        let reply = world.send(target, &[]).await;
        if reply.status == 404 {
            assert_eq!(
                target, "/index.html",
                "there is none where the page was not built"
            );
            continue;
        }
        for absolute in ["=\"/", "='/", "url: \"/", "\"url\": \"/", "\"url\":\"/", "(/"] {
            assert!(
                !reply.text.contains(absolute),
                "{target} has {absolute}: {}",
                reply.text
            );
        }
    }
    for target in ["/nothing", "/docs/nothing", "/v1/usage/nothing"] {
        let problem = world.send(target, &bearing(&staff())).await.json();
        let kind = problem["type"].as_str().expect("a type");
        assert!(kind.starts_with("urn:"), "{kind}");
    }
}

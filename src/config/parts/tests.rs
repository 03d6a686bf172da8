use std::io;
use std::path::Path;

use super::*;
use crate::config::{Given, Problem, SETTINGS};

type All = (Process, Worker, (Reader, Verify));

fn parse<T: Part>(pairs: &[(&'static str, &str)]) -> Result<T, Vec<String>> {
    let given = pairs.iter();
    let given: Given = given.map(|(name, value)| (*name, (*value).to_owned())).collect();
    crate::config::parse(&given).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn is_stream(source: &Source, expected_database: &str, expected_collection: &str) -> bool {
    matches!(source, Source::ChangeStream { database, collection }
        if database == expected_database && collection == expected_collection)
}

#[test]
fn defaults_are_those_of_the_table() {
    let (process, worker, _) = parse::<All>(&[("AUTH", "off")]).expect("valid");
    assert_eq!(process.database.uri.reveal(), "mongodb://127.0.0.1:27017");
    assert!(is_stream(&worker.source, "usage", "requestEvents"));
    assert_eq!(worker.limits.max_bytes, 8 * 1024 * 1024);
    assert_eq!(worker.limits.max_age, Duration::from_millis(250));
    assert_eq!(worker.dedupe.window, Duration::from_secs(86_400));
    let Rules { event, max_age } = worker.rules;
    assert_eq!((event.start_at_ms, max_age), (None, None));
    assert!(
        parse::<(Process, Worker)>(&[]).is_ok(),
        "a command that serves nothing needs no key"
    );
}

#[test]
fn all_problems_are_reported_at_once_each_naming_its_variable() {
    let problems = parse::<All>(&[
        ("SOURCE", "rabbit"),
        ("API_ADDR", "0.0.0.0:8080"),
        ("AUTH", "off"),
        ("BATCH_MAX_AGE", "soon"),
        ("TIME_ZONE", "Mars/Olympus"),
        ("GRANULARITIES", "weekly,yearly"),
        ("CURRENCY", "usd"),
        ("DEDUPE_MAX_IDS", "0"),
        ("START_AT", "2026-01-01"),
    ])
    .expect_err("wrong");
    let variables: Vec<_> = problems
        .iter()
        .filter_map(|problem| problem.split(':').next())
        .collect();
    let mut expected = vec![
        "USAGE_LEDGER_SOURCE",
        "USAGE_LEDGER_AUTH",
        "USAGE_LEDGER_BATCH_MAX_AGE",
        "USAGE_LEDGER_DEDUPE_MAX_IDS",
        "USAGE_LEDGER_START_AT",
        "USAGE_LEDGER_GRANULARITIES",
        "USAGE_LEDGER_GRANULARITIES",
        "USAGE_LEDGER_CURRENCY",
        "USAGE_LEDGER_TIME_ZONE",
    ];
    expected.sort_unstable();
    let mut variables = variables;
    variables.sort_unstable();
    assert_eq!(variables, expected, "{problems:#?}");
}

#[test]
fn access_is_closed_unless_it_is_said_how() {
    let problems = parse::<All>(&[]).expect_err("no key");
    assert!(
        problems[0].starts_with("USAGE_LEDGER_AUTH: `jwt` needs one of"),
        "{problems:?}"
    );
    let secret = "0123456789abcdef0123456789abcdef";
    assert!(parse::<Reader>(&[("JWT_SECRET", secret), ("JWT_JWKS_URL", "https://x")]).is_err());
    assert!(matches!(
        parse::<Reader>(&[("JWT_SECRET", secret), ("API_ADDR", "0.0.0.0:80")])
            .expect("valid")
            .access,
        api::Access::Jwt(_)
    ));
}

/// What `run` would refuse when it starts is found before.
#[test]
fn keys_that_are_no_good_are_named_by_their_variables_and_not_shown() {
    let secret = "0123456789abcdef0123456789abcdef";
    let audience = ("JWT_AUDIENCE", "usage");
    let plain = ("JWT_JWKS_PLAIN_HTTP", "true");
    let set = |address| ("JWT_JWKS_URL", address);
    for (given, expected) in [
        (&[("JWT_SECRET", &secret[..31])][..], Some("JWT_SECRET")),
        (&[("JWT_SECRET", "s")], Some("JWT_SECRET")),
        (&[("JWT_SECRET", secret)], None),
        (&[("JWT_PUBLIC_KEY", "geheim")], Some("JWT_PUBLIC_KEY")),
        (&[set("geheim"), audience], Some("JWT_JWKS_URL")),
        (
            &[set("ftp://u:geheim@keys.example.com/"), audience],
            Some("JWT_JWKS_URL"),
        ),
        (&[set("https://u:geheim@keys.example.com/")], Some("JWT_AUDIENCE")),
        (&[set("https://u:geheim@keys.example.com/"), audience], None),
        (
            &[set("http://u:geheim@keys.example.com/"), audience],
            Some("JWT_JWKS_URL"),
        ),
        (
            &[set("http://u:geheim@10.0.0.7/"), audience],
            Some("JWT_JWKS_URL"),
        ),
        (
            &[set("http://localhost.example.com/"), audience],
            Some("JWT_JWKS_URL"),
        ),
        (&[set("http://u:geheim@keys.example.com/"), audience, plain], None),
        (&[set("http://localhost:8080/keys"), audience], None),
        (&[set("http://127.0.0.1:8080/keys"), audience], None),
        (&[set("http://[::1]:8080/keys"), audience], None),
        (
            &[("JWT_SECRET", secret), ("JWT_JWKS_PLAIN_HTTP", "yes")],
            Some("JWT_JWKS_PLAIN_HTTP"),
        ),
        (
            &[("JWT_SECRET", secret), ("MONGODB_URI", "postgres://u:geheim@h")],
            Some("MONGODB_URI"),
        ),
        (
            &[("JWT_SECRET", secret), ("MONGODB_URI", "mongodb://u:geheim@h:x")],
            Some("MONGODB_URI"),
        ),
    ] {
        match (parse::<All>(given), expected) {
            (Ok(config), None) => assert!(!format!("{config:?}").contains("geheim"), "{config:?}"),
            (Err(problems), Some(variable)) => {
                assert_eq!(problems.len(), 1, "{given:?}: {problems:?}");
                let named = format!("USAGE_LEDGER_{variable}: ");
                assert!(problems[0].starts_with(&named), "{given:?}: {problems:?}");
                assert!(!problems[0].contains("geheim"), "{problems:?}");
            }
            (got, _) => panic!("{given:?}: {:?}", got.err()),
        }
    }
}

#[test]
fn where_tokens_say_what_can_be_set() {
    let secret = ("JWT_SECRET", "0123456789abcdef0123456789abcdef");
    let claims = |more: &[(&'static str, &str)]| {
        let read = parse::<Reader>(&[&[secret], more].concat()).map(|reader| reader.access);
        read.map(|access| match access {
            api::Access::Jwt(jwt) => jwt.claims,
            api::Access::Off => panic!("tokens are checked"),
        })
    };
    assert_eq!(claims(&[]), Ok(api::Claims::default()), "the table's defaults");
    let set = claims(&[
        ("JWT_ORGANIZATIONS_CLAIM", "/https:~1~1example.com~1orgs"),
        ("JWT_ADMIN_ROLES", "billing-admin, Usage.Admin"),
        ("JWT_STAFF_CLAIM", "/realm_access/roles"),
        ("JWT_STAFF_VALUE", "operator"),
    ]);
    let expected = api::Claims {
        organizations: "/https:~1~1example.com~1orgs".parse().expect("a pointer"),
        admin_roles: vec!["billing-admin".to_owned(), "Usage.Admin".to_owned()],
        staff: "/realm_access/roles".parse().expect("a pointer"),
        staff_value: "operator".to_owned(),
    };
    assert_eq!(set, Ok(expected));
    let wrong = [
        ("JWT_ORGANIZATIONS_CLAIM", "https://example.com/orgs"),
        ("JWT_ADMIN_ROLES", " , "),
        ("JWT_STAFF_CLAIM", "/a~2"),
    ];
    let named = |problems: &[String]| {
        let variables = problems
            .iter()
            .filter_map(|problem| Some(problem.split_once(':')?.0.to_owned()));
        variables.collect::<Vec<_>>()
    };
    let expected = wrong.map(|(name, _)| variable(name));
    let mut problems = named(&claims(&wrong).expect_err("wrong"));
    problems.sort_unstable();
    let mut sorted = expected.clone();
    sorted.sort_unstable();
    assert_eq!(problems, sorted);
    // Also where there is no key to check tokens with.
    let problems = named(&parse::<Reader>(&wrong).expect_err("wrong"));
    assert!(
        expected.iter().all(|variable| problems.contains(variable)),
        "{problems:?}"
    );
    assert!(problems.contains(&variable("AUTH")), "{problems:?}");
}

/// A file that cannot be read is one problem, and not also a missing key.
#[test]
fn a_secret_whose_file_is_no_good_is_one_problem() {
    let problem = Problem {
        variable: "USAGE_LEDGER_JWT_SECRET_FILE".to_owned(),
        message: "unreadable".to_owned(),
    };
    let given = Given::new();
    let none = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let read = Parser::new(&given, vec![problem.clone()], &none).read::<All>();
    assert_eq!(read.expect_err("no key"), [problem]);
}

#[test]
fn properties_may_hold_commas_and_are_never_shown() {
    let given = Given::from([(
        "KAFKA_PROPERTIES",
        r"sasl.password=a\,b=c, client.id=y".to_owned(),
    )]);
    let none = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let mut parser = Parser::new(&given, Vec::new(), &none);
    let expected = [("sasl.password", "a,b=c"), ("client.id", "y")];
    assert_eq!(
        parser.properties("KAFKA_PROPERTIES"),
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    let kafka = [("SOURCE", "kafka"), ("KAFKA_BROKERS", "k:9092")];
    let set = |properties| parse::<Source>(&[kafka[0], kafka[1], ("KAFKA_PROPERTIES", properties)]);
    let config = set(r"sasl.password=a\,b=c,client.id=y").expect("valid");
    assert!(!format!("{config:?}").contains("a,b=c"));
    assert!(!set("geheim").expect_err("no key").concat().contains("geheim"));
    let owned = set("enable.auto.commit=true")
        .expect_err("the protocol's own")
        .concat();
    assert!(
        owned.starts_with("USAGE_LEDGER_KAFKA_PROPERTIES") && owned.contains("enable.auto.commit"),
        "{owned}"
    );
}

#[test]
fn an_events_collection_may_be_in_another_database() {
    let source = parse::<Source>(&[("EVENTS_COLLECTION", "app.request.events")]).expect("valid");
    assert!(is_stream(&source, "app", "request.events"));
}

/// A person who is told of a setting can rely on it.
#[test]
fn every_setting_is_used_by_some_part_and_none_is_in_two_sections() {
    let sections = <All as Part>::sections();
    for setting in SETTINGS {
        assert!(sections.contains(&setting.section), "{}", setting.name);
    }
    let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SETTINGS.len());
}

/// A setting that is read is one of the part's sections: else it would be read and could not be set.
#[test]
fn a_part_reads_no_setting_of_other_sections() {
    fn check<T: Part>(part: &str) {
        let sections = T::sections();
        for setting in SETTINGS
            .iter()
            .filter(|setting| !sections.contains(&setting.section))
        {
            let problems = parse::<T>(&[("AUTH", "off"), (setting.name, "\u{1}no value of anything")]);
            let named = problems.err().unwrap_or_default().concat();
            assert!(!named.contains(&setting.variable()), "{part}: {}", setting.name);
        }
    }
    check::<Database>("database");
    check::<(Database, Identity, Source)>("migrate");
    check::<(Database, Source)>("resume");
    check::<(Database, Rules)>("replay");
    check::<(Process, Worker)>("ingest");
    check::<(Process, Reader)>("serve");
}

#[test]
fn rows_are_compared_on_a_schedule_only_where_one_is_set() {
    let schedule = |pairs: &[(&'static str, &str)]| parse::<Worker>(pairs).map(|worker| worker.verify);
    assert_eq!(schedule(&[]), Ok(None));
    assert_eq!(schedule(&[("VERIFY_DAYS", "7")]), Ok(None));
    let two_days = |every| Schedule {
        every: Duration::from_secs(every),
        days: 2,
        memory: 512 << 20,
    };
    assert_eq!(schedule(&[("VERIFY_EVERY", "1h")]), Ok(Some(two_days(3_600))));
    assert_eq!(schedule(&[("VERIFY_EVERY", "1m")]), Ok(Some(two_days(60))));
    let problems = schedule(&[("VERIFY_EVERY", "59s"), ("VERIFY_DAYS", "0")]).expect_err("too often");
    assert_eq!(problems[0], "USAGE_LEDGER_VERIFY_EVERY: expected at least `1m`");
    assert!(problems[1].starts_with("USAGE_LEDGER_VERIFY_DAYS: expected a whole number from 1"));
}

#[test]
fn a_certificate_has_its_key_or_there_is_none() {
    let certificate = |pairs: &[(&'static str, &str)]| {
        let open = [("AUTH", "off")];
        let read = parse::<Reader>(&[&open[..], pairs].concat());
        read.map(|reader| reader.certificate.map(|found| found.pair.expires()))
    };
    let (cert, key) = (("API_TLS_CERT", "/c"), ("API_TLS_KEY", "/k"));
    assert_eq!(certificate(&[]), Ok(None));
    assert_eq!(
        certificate(&[("API_TLS_CERT", ""), ("API_TLS_KEY", "")]),
        Ok(None)
    );
    let said = |problems: &[&str]| Err(problems.iter().map(|said| (*said).to_owned()).collect());
    assert_eq!(
        certificate(&[cert]),
        said(&["USAGE_LEDGER_API_TLS_KEY: expected a file beside that of USAGE_LEDGER_API_TLS_CERT"])
    );
    assert_eq!(
        certificate(&[key]),
        said(&["USAGE_LEDGER_API_TLS_CERT: expected a file beside that of USAGE_LEDGER_API_TLS_KEY"])
    );
    assert_eq!(
        certificate(&[cert, key]),
        said(&[
            "USAGE_LEDGER_API_TLS_CERT: the file `/c` cannot be read: entity not found",
            "USAGE_LEDGER_API_TLS_KEY: the file `/k` cannot be read: entity not found",
        ])
    );
}

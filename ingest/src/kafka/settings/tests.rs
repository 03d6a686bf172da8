use super::*;

fn parse(properties: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let properties = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings::new("127.0.0.1:1", "request-events", "usage-ledger", properties)
        .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
}

#[test]
fn what_the_protocol_owns_cannot_be_set() {
    let mut given: Vec<(&str, &str)> = OWNED.to_vec();
    given.extend([
        STRATEGY,
        ("auto.commit.enable", "true"),
        ("group.id", "x"),
        ("bootstrap.servers", "x"),
    ]);
    let messages = parse(&given).expect_err("refused");
    assert_eq!(messages.len(), given.len(), "{messages:?}");
    for (message, (name, _)) in messages.iter().zip(given) {
        assert!(
            message.starts_with(&format!("`{name}` cannot be set")),
            "{message}"
        );
    }
}

#[test]
fn a_member_that_crashed_is_missed_after_ten_seconds_unless_told_otherwise() {
    let times = |properties: &[(&str, &str)]| {
        let member = parse(properties).expect("accepted").member();
        let of = |name: &str| member.get(name).map(str::to_owned).expect("set");
        (of("session.timeout.ms"), of("heartbeat.interval.ms"))
    };
    let pair = |session: &str, heartbeat: &str| (session.to_owned(), heartbeat.to_owned());
    assert_eq!(times(&[]), pair("10000", "3000"));
    assert_eq!(times(&[("session.timeout.ms", "6000")]), pair("6000", "2000"));
    assert_eq!(times(&[("session.timeout.ms", "45000")]), pair("45000", "3000"));
    let both = [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "500")];
    assert_eq!(times(&both), pair("3000", "500"));
}

#[test]
fn in_the_newer_protocol_the_broker_decides() {
    let newer = [("group.protocol", "consumer"), ("group.instance.id", "worker-1")];
    let settings = parse(&newer).expect("accepted");
    let member = settings.member();
    for name in [
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "partition.assignment.strategy",
    ] {
        assert_eq!(member.get(name), None, "{name}");
    }
    assert_eq!(member.get("group.protocol"), Some("consumer"));
    settings
        .observer()
        .create::<BaseConsumer>()
        .expect("one that only looks");
    let refused = [
        ("group.protocol", "consumer"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "500"),
        ("partition.assignment.strategy", "range"),
        ("isolation.level", "read_uncommitted"),
    ];
    let messages = parse(&refused).expect_err("refused");
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert!(messages[0].contains("group.consumer.session.timeout.ms"));
    let messages = parse(&[("group.protocol", "newest")]).expect_err("refused");
    assert!(messages[0].contains("group.protocol"), "{messages:?}");
}

#[test]
fn every_problem_is_told_at_once_and_secrets_are_not() {
    let messages = parse(&[
        ("no.such.property", "1"),
        ("session.timeout.ms", "soon"),
        ("client.rack", "a"),
        ("client.rack", "b"),
    ])
    .expect_err("refused");
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(messages[0].starts_with("property 1 "), "{messages:?}");
    assert!(messages[1].contains("session.timeout.ms"));
    assert_eq!(messages[2], "`client.rack` is there twice");
    // A comma that nobody escaped: the password ends before it.
    let messages = parse(&[
        ("sasl.password", "hunter"),
        ("two", "hunter"),
        ("client.id", "a"),
        ("security.protocol", "hunter"),
    ])
    .expect_err("refused");
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(
        messages[0].starts_with("property 2 ") && messages[0].contains(r"`\,`"),
        "{messages:?}"
    );
    assert!(messages[1].contains("security.protocol"), "{messages:?}");
    assert!(!messages.concat().contains("two") && !messages.concat().contains("hunter"));
    let settings = parse(&[("sasl.password", "hunter2")]).expect("accepted");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn properties_that_are_only_wrong_together_are_found_without_a_broker() {
    let messages = parse(&[
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanisms", "PLAIN"),
    ])
    .map_err(|messages| messages.concat());
    assert!(messages.is_err_and(|message| message.contains("sasl.username")));
}

#[test]
fn tokens_need_somebody_who_gives_them() {
    let messages = parse(&[
        ("sasl.mechanism", "OAUTHBEARER"),
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
    ]);
    assert!(messages.is_err_and(|messages| messages[0].contains("sasl.oauthbearer.method=oidc")));
}

#[test]
fn tls_and_every_sasl_mechanism_are_built_in() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        parse(&[
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanisms", mechanism),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
        ])
        .unwrap_or_else(|problems| panic!("{mechanism}: {problems:?}"));
    }
    parse(&[
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanisms", "OAUTHBEARER"),
        ("sasl.oauthbearer.method", "oidc"),
        ("sasl.oauthbearer.client.id", "c"),
        ("sasl.oauthbearer.client.secret", "s"),
        ("sasl.oauthbearer.token.endpoint.url", "http://127.0.0.1:1/token"),
    ])
    .expect("OAUTHBEARER");
    parse(&[("group.instance.id", "worker-1"), ("session.timeout.ms", "6000")]).expect("static membership");
}

#[test]
fn names_are_checked() {
    let problems = Settings::new("a,,b", "^requests.*", "", Vec::new()).expect_err("wrong");
    let settings: Vec<Setting> = problems.iter().map(|problem| problem.setting).collect();
    assert_eq!(settings, [Setting::Brokers, Setting::Topic, Setting::Group]);
}

//! What the operator may set of Kafka, and what the protocol keeps for itself.

use std::collections::BTreeSet;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::lane::LaneId;

/// Properties that exactness rests on: where reading begins and goes on is stored in the ledger, and nowhere
/// else.
const OWNED: [(&str, &str); 6] = [
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("fetch.queue.backoff.ms", "10"),
];

/// How the group shares its partitions, in its classic protocol. In the newer one (KIP-848) the broker does.
const STRATEGY: (&str, &str) = ("partition.assignment.strategy", "cooperative-sticky");
const PROTOCOL: &str = "group.protocol";
/// What the broker decides in the newer protocol: librdkafka refuses to be told.
const BROKERS_OWN: [(&str, &str); 2] = [
    ("session.timeout.ms", "group.consumer.session.timeout.ms"),
    ("heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
];
/// For how long a member that says nothing keeps its partitions: librdkafka's own 45 s are long after a crash.
const SESSION_MS: u32 = 10_000;
/// How often a member says something, at least.
const HEARTBEAT_MS: u32 = 3_000;
/// Properties of a member of a group; who only looks is none.
const MEMBERS_OWN: [&str; 3] = ["group.instance.id", "group.remote.assignor", PROTOCOL];

/// Other names of properties that are owned.
const ALIASES: [(&str, &str); 1] = [("auto.commit.enable", "enable.auto.commit")];

/// Properties that have a setting of their own.
const ELSEWHERE: [(&str, &str); 3] = [
    ("bootstrap.servers", "the brokers"),
    ("metadata.broker.list", "the brokers"),
    ("group.id", "the group"),
];

/// What the operator may set otherwise. The queues bound the memory, in KiB and bytes.
const DEFAULTS: [(&str, &str); 7] = [
    ("client.id", "usage-ledger"),
    ("queued.max.messages.kbytes", "32768"),
    ("fetch.max.bytes", "16777216"),
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    ("check.crcs", "true"),
];

/// A topic as a consumer group reads it.
#[derive(Clone)]
pub struct Settings {
    brokers: String,
    topic: String,
    group: String,
    properties: Vec<(String, String)>,
}

/// Which of the settings is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The bootstrap servers.
    Brokers,
    /// The topic.
    Topic,
    /// The consumer group.
    Group,
    /// More properties.
    Properties,
}

/// A setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub setting: Setting,
    /// What was expected. Never holds a secret.
    pub message: String,
}

impl Settings {
    /// Settings that librdkafka accepts. Nothing is connected to.
    ///
    /// # Errors
    /// Names every setting that is wrong.
    pub fn new(
        brokers: &str,
        topic: &str,
        group: &str,
        properties: Vec<(String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        // Before any client is made. Else OpenSSL cleans up when the process exits, under threads of librdkafka that are
        // still at work: they outlive the last client.
        openssl_sys::init();
        let mut problems = Vec::new();
        let mut problem = |setting, message: String| problems.push(Problem { setting, message });
        if brokers.split(',').any(|broker| broker.trim().is_empty()) {
            problem(
                Setting::Brokers,
                "expected bootstrap servers such as `kafka-1:9092,kafka-2:9092`".into(),
            );
        }
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if topic.is_empty()
            || topic.len() > 249
            || [".", ".."].contains(&topic)
            || !topic.bytes().all(is_legal)
        {
            problem(
                Setting::Topic,
                format!("expected the name of a topic, got `{topic}`"),
            );
        }
        if group.is_empty() {
            problem(Setting::Group, "expected the name of a consumer group".into());
        }
        for message in wrong_properties(&properties)
            .into_iter()
            .chain(no_token(&properties))
        {
            problem(Setting::Properties, message);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let settings = Self {
            brokers: brokers.into(),
            topic: topic.into(),
            group: group.into(),
            properties,
        };
        settings.try_out().map_err(|message| {
            vec![Problem {
                setting: Setting::Properties,
                message,
            }]
        })?;
        Ok(settings)
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The consumer group.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// The lane of a partition.
    #[must_use]
    pub fn lane(&self, partition: i32) -> LaneId {
        LaneId::kafka(&self.topic, partition)
    }

    /// The configuration of the member of the group.
    pub(super) fn member(&self) -> ClientConfig {
        let mut config = self.base();
        config.set("bootstrap.servers", &self.brokers);
        config.set("group.id", &self.group);
        for (name, value) in OWNED {
            config.set(name, value);
        }
        if !self.is_brokers_group() {
            let (name, value) = STRATEGY;
            config.set(name, value);
            self.keep_time(&mut config);
        }
        config
    }

    /// The timeouts of a member, where they are not set.
    fn keep_time(&self, config: &mut ClientConfig) {
        let given = self.property("session.timeout.ms");
        if given.is_none() {
            config.set("session.timeout.ms", SESSION_MS.to_string());
        }
        if self.property("heartbeat.interval.ms").is_none() {
            let session = given.and_then(|given| given.parse().ok()).unwrap_or(SESSION_MS);
            let heartbeat = (session / 3).clamp(1, HEARTBEAT_MS);
            config.set("heartbeat.interval.ms", heartbeat.to_string());
        }
    }

    /// Whether the group shares its partitions by the newer protocol, in which the broker assigns them.
    pub(super) fn is_brokers_group(&self) -> bool {
        is_brokers_group(&self.properties)
    }

    fn property(&self, name: &str) -> Option<&str> {
        property(&self.properties, name)
    }

    /// The configuration of a client that only looks: it belongs to no group, and sees every record that a
    /// partition holds, also those of open transactions.
    pub(super) fn observer(&self) -> ClientConfig {
        let mut config = self.base();
        for name in MEMBERS_OWN {
            config.remove(name);
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("isolation.level", "read_uncommitted");
        config.set("allow.auto.create.topics", "false");
        config
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        for (name, value) in DEFAULTS {
            config.set(name, value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// Some properties are only wrong together. Without brokers and group a client can be made that connects
    /// to nothing.
    fn try_out(&self) -> Result<(), String> {
        let mut config = self.member();
        config.remove("bootstrap.servers");
        config.remove("group.id");
        match config.create::<BaseConsumer>() {
            Ok(_) => Ok(()),
            Err(KafkaError::ClientCreation(why)) => Err(why),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.properties.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Settings")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("properties", &names)
            .finish()
    }
}

fn property<'a>(properties: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = properties.iter().find(|(set, _)| set == name);
    found.map(|(_, value)| value.as_str())
}

fn is_brokers_group(properties: &[(String, String)]) -> bool {
    property(properties, PROTOCOL).is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"))
}

fn wrong_properties(properties: &[(String, String)]) -> Vec<String> {
    let by_broker = is_brokers_group(properties);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, (name, value)) in properties.iter().enumerate() {
        if is_unknown(name) {
            // The name is not shown: it may be what follows a comma in a password.
            wrong.push(format!(
                "property {} is none that librdkafka knows (a comma in a value is written `\\,`)",
                index + 1
            ));
            continue;
        }
        let real = ALIASES
            .iter()
            .find(|(alias, _)| alias == name)
            .map_or(name.as_str(), |(_, real)| real);
        let fixed = OWNED.iter().chain([&STRATEGY]);
        let owned = fixed.clone().find(|(owned, _)| *owned == real);
        let brokers = BROKERS_OWN.iter().find(|(other, _)| by_broker && other == name);
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| other == name);
        if let Some((_, fixed)) = owned {
            wrong.push(format!("`{name}` cannot be set: it is always `{fixed}`"));
        } else if let Some((_, other)) = elsewhere {
            wrong.push(format!(
                "`{name}` cannot be set here: {other} have a setting of their own"
            ));
        } else if let Some((_, other)) = brokers {
            wrong.push(format!(
                "`{name}` cannot be set with `group.protocol=consumer`: `{other}` of the broker holds"
            ));
        } else if !seen.insert(name) {
            wrong.push(format!("`{name}` is there twice"));
        } else {
            wrong.extend(refused(name, value));
        }
    }
    wrong
}

/// A client that logs in by tokens and has no way to get one waits for ever, without a word.
fn no_token(properties: &[(String, String)]) -> Option<String> {
    let is = |name: &str, value: &str| {
        properties
            .iter()
            .any(|(set, to)| set == name && to.eq_ignore_ascii_case(value))
    };
    let by_token = ["sasl.mechanisms", "sasl.mechanism"]
        .iter()
        .any(|name| is(name, "OAUTHBEARER"));
    let found = by_token && !is("sasl.oauthbearer.method", "oidc");
    found.then(|| "`sasl.mechanisms`: OAUTHBEARER needs `sasl.oauthbearer.method=oidc`".into())
}

/// Whether the value of a property is never shown.
fn is_secret(name: &str) -> bool {
    ["password", "secret", "key", "token", "pem", "config"]
        .iter()
        .any(|word| name.contains(word))
}

/// Why librdkafka does not take a property at all.
fn error_of(name: &str, value: &str) -> Option<KafkaError> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    config.create_native_config().err()
}

/// Whether librdkafka has no property of this name.
fn is_unknown(name: &str) -> bool {
    // A name with a NUL does not even get to librdkafka.
    name.contains('\0')
        || matches!(
            error_of(name, ""),
            Some(KafkaError::ClientConfig(
                RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN,
                ..
            ))
        )
}

/// Why librdkafka does not take a property's value.
fn refused(name: &str, value: &str) -> Option<String> {
    match error_of(name, value)? {
        // The description may repeat the value, which may be a secret at the wrong place. A number is none, and a
        // range says little without it.
        KafkaError::ClientConfig(_, description, _, _)
            if !is_secret(name) && (value.parse::<i64>().is_ok() || !description.contains(value)) =>
        {
            Some(format!("`{name}`: {}", description.trim()))
        }
        _ => Some(format!("`{name}` has a value that librdkafka does not take")),
    }
}

#[cfg(test)]
mod tests {
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
        parse(&[("group.instance.id", "worker-1"), ("session.timeout.ms", "6000")])
            .expect("static membership");
    }

    #[test]
    fn names_are_checked() {
        let problems = Settings::new("a,,b", "^requests.*", "", Vec::new()).expect_err("wrong");
        let settings: Vec<Setting> = problems.iter().map(|problem| problem.setting).collect();
        assert_eq!(settings, [Setting::Brokers, Setting::Topic, Setting::Group]);
    }
}

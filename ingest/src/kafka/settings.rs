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

    /// The lanes of partitions.
    pub(super) fn lanes(&self, partitions: impl IntoIterator<Item = i32>) -> Vec<LaneId> {
        let lane = |partition| self.lane(partition);
        partitions.into_iter().map(lane).collect()
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
mod tests;

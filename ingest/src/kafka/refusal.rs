//! What a broker does not let this member do, until somebody acts.

use rdkafka::error::RDKafkaErrorCode;

use super::hindrance::{By, Hindrance};
use super::settings::Settings;
use crate::ledger::Refusal;

/// Who refuses what by this error, and what is to be done; `None`: it passes by itself, as a rebalance does, or says what
/// nobody knows.
pub(super) fn of(code: RDKafkaErrorCode, why: &str, settings: &Settings) -> Option<(By, Hindrance)> {
    use RDKafkaErrorCode as Code;
    let (topic, group) = (settings.topic(), settings.group());
    let (by, reason, remedy) = match code {
        Code::GroupAuthorizationFailed => (
            By::Group,
            Refusal::NotAuthorized,
            format!("allow this user READ on the group `{group}`"),
        ),
        Code::TopicAuthorizationFailed => (
            By::Topic,
            Refusal::NotAuthorized,
            format!("allow this user READ on the topic `{topic}`"),
        ),
        Code::InconsistentGroupProtocol | Code::UnknownProtocol | Code::UnsupportedAssignor => (
            By::Group,
            Refusal::GroupRefused,
            format!(
                "the other members of the group `{group}` share its partitions in another way, or the broker does not know \
                 the one that is asked for: give the workers a group of their own (USAGE_LEDGER_KAFKA_GROUP), or look at \
                 group.protocol and group.remote.assignor in USAGE_LEDGER_KAFKA_PROPERTIES"
            ),
        ),
        Code::InvalidSessionTimeout => (
            By::Group,
            Refusal::GroupRefused,
            "set session.timeout.ms in USAGE_LEDGER_KAFKA_PROPERTIES to what lies between the broker's \
             group.min.session.timeout.ms and group.max.session.timeout.ms"
                .to_owned(),
        ),
        Code::GroupMaxSizeReached => (
            By::Group,
            Refusal::GroupRefused,
            format!(
                "the group `{group}` is full: stop a worker, or raise the broker's group.max.size (with \
                 group.protocol=consumer: group.consumer.max.size)"
            ),
        ),
        Code::InvalidGroupId => (
            By::Group,
            Refusal::GroupRefused,
            format!("the broker takes no group of the name `{group}`: change USAGE_LEDGER_KAFKA_GROUP"),
        ),
        Code::FencedInstanceId | Code::UnreleasedInstanceId => (
            By::Group,
            Refusal::GroupRefused,
            "another worker has the same group.instance.id (USAGE_LEDGER_KAFKA_PROPERTIES): each needs one of its own"
                .to_owned(),
        ),
        Code::UnsupportedVersion | Code::UnsupportedFeature if settings.is_brokers_group() => (
            By::Group,
            Refusal::GroupRefused,
            "the broker does not know this protocol of groups: leave group.protocol out of USAGE_LEDGER_KAFKA_PROPERTIES, or \
             upgrade the broker"
                .to_owned(),
        ),
        _ => return None,
    };
    Some((by, Hindrance::Refused(reason, format!("{why}: {remedy}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_test_per_row_of_what_a_broker_refuses() {
        use RDKafkaErrorCode as Code;
        let settings = |properties: &[(&str, &str)]| {
            let properties = properties
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()));
            Settings::new("127.0.0.1:1", "events", "workers", properties.collect()).expect("accepted")
        };
        let (classic, newer) = (settings(&[]), settings(&[("group.protocol", "consumer")]));
        let group = |reason| Some((By::Group, reason));
        let table = [
            (
                Code::GroupAuthorizationFailed,
                group(Refusal::NotAuthorized),
                "`workers`",
            ),
            (
                Code::TopicAuthorizationFailed,
                Some((By::Topic, Refusal::NotAuthorized)),
                "`events`",
            ),
            (
                Code::InconsistentGroupProtocol,
                group(Refusal::GroupRefused),
                "USAGE_LEDGER_KAFKA_GROUP",
            ),
            (
                Code::InvalidSessionTimeout,
                group(Refusal::GroupRefused),
                "group.max.session.timeout.ms",
            ),
            (
                Code::GroupMaxSizeReached,
                group(Refusal::GroupRefused),
                "group.max.size",
            ),
            (Code::InvalidGroupId, group(Refusal::GroupRefused), "`workers`"),
            (
                Code::FencedInstanceId,
                group(Refusal::GroupRefused),
                "group.instance.id",
            ),
            (
                Code::UnreleasedInstanceId,
                group(Refusal::GroupRefused),
                "group.instance.id",
            ),
            (
                Code::UnsupportedAssignor,
                group(Refusal::GroupRefused),
                "group.remote.assignor",
            ),
            (Code::RebalanceInProgress, None, ""),
            (Code::CoordinatorLoadInProgress, None, ""),
            (Code::BrokerTransportFailure, None, ""),
        ];
        for (code, expected, told) in table {
            for settings in [&classic, &newer] {
                let found = of(code, "the broker's words", settings);
                let is_expected = match (&found, expected) {
                    (None, None) => true,
                    (Some((by, Hindrance::Refused(reason, why))), Some(expected)) => {
                        (*by, *reason) == expected
                            && why.starts_with("the broker's words: ")
                            && why.contains(told)
                    }
                    _ => false,
                };
                assert!(is_expected, "{code:?}: {found:?}");
            }
        }
        assert_eq!(of(Code::UnsupportedVersion, "", &classic), None);
        assert!(of(Code::UnsupportedVersion, "", &newer).is_some());
    }
}

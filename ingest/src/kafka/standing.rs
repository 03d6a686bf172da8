//! How this member stands with its group and its topic, and when the loop is to be told. Pure: it is told what was met.

use std::time::{Duration, Instant};

use super::hindrance::{By, Hindrance};
use crate::hold::HOLD;
use crate::source::SourceEvent;

/// In the newer protocol a member that gets no partition hears nothing of the group. Who was not refused for so long is
/// in: a refusal comes with the first answer.
const UNREFUSED: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Standing {
    /// Whether the broker shares the group's partitions, and says nothing to a member that gets none.
    is_brokers_group: bool,
    /// The group has taken this member in.
    is_member: bool,
    /// Whether the loop knows that.
    is_announced: bool,
    /// Why the group does not.
    group: Option<Hindrance>,
    /// Why what is assigned gives nothing.
    topic: Option<Hindrance>,
    /// Why the topic cannot be looked at.
    pub(super) watch: Option<Hindrance>,
    /// Since when nothing was in the way.
    unrefused_since: Instant,
    /// What the loop was told last, and when.
    told: Option<(Hindrance, Instant)>,
}

impl Standing {
    /// A member that is to join; why the one before it ended.
    pub(super) fn new(is_brokers_group: bool, before: Option<Hindrance>, now: Instant) -> Self {
        Self {
            is_brokers_group,
            is_member: false,
            is_announced: false,
            told: before.clone().map(|before| (before, now)),
            group: before,
            topic: None,
            watch: None,
            unrefused_since: now,
        }
    }

    /// The group has taken this member in, and assigned partitions, perhaps none.
    pub(super) fn taken_in(&mut self) {
        self.is_member = true;
        self.group = None;
    }

    /// A partition gave something.
    pub(super) fn read(&mut self) {
        self.topic = None;
    }

    /// The broker refused.
    pub(super) fn refuse(&mut self, by: By, why: Hindrance) {
        match by {
            By::Group => self.group = Some(why),
            By::Topic => self.topic = Some(why),
        }
    }

    /// What is to be said now. `has_partitions`: some are assigned; `stalled`: why one of them gives nothing.
    pub(super) fn news(
        &mut self,
        has_partitions: bool,
        stalled: Option<String>,
        now: Instant,
    ) -> Vec<SourceEvent> {
        if self.watch.is_some() {
            self.unrefused_since = now;
        }
        if self.is_brokers_group && !self.is_member && now - self.unrefused_since >= UNREFUSED {
            self.taken_in();
        }
        let mut news = Vec::new();
        if self.is_member && !self.is_announced {
            self.is_announced = true;
            news.push(SourceEvent::Joined);
        }
        let by_broker = match has_partitions {
            // They are read until the group takes them away.
            true => self.topic.clone(),
            false => self.group.clone(),
        };
        // A refusal that the watch meets is one of this moment; the group's may be over, and shows only where it takes
        // the member in.
        let wrong = self
            .watch
            .clone()
            .filter(Hindrance::is_refusal)
            .or(by_broker)
            .or_else(|| self.watch.clone())
            .or_else(|| stalled.map(Hindrance::Away));
        match wrong {
            Some(wrong) => {
                let is_said = |(told, at): &(Hindrance, Instant)| match &wrong {
                    Hindrance::Away(_) => !told.is_refusal(),
                    // What somebody must mend is said again and again.
                    Hindrance::Refused(..) => *told == wrong && now - *at < HOLD,
                };
                if !self.told.as_ref().is_some_and(is_said) {
                    self.told = Some((wrong.clone(), now));
                    news.push(wrong.signal());
                }
            }
            None if self.is_member && self.told.take().is_some() => news.push(SourceEvent::Away(None)),
            None => {}
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::Refusal;

    /// What is said, in words.
    fn words(signals: Vec<SourceEvent>) -> Vec<String> {
        let word = |signal| match signal {
            SourceEvent::Joined => "joined".to_owned(),
            SourceEvent::Away(why) => why.unwrap_or_else(|| "back".to_owned()),
            SourceEvent::Refused { reason, .. } => reason.name().to_owned(),
            other => panic!("{other:?}"),
        };
        signals.into_iter().map(word).collect()
    }

    fn refusal(reason: Refusal) -> Hindrance {
        Hindrance::Refused(reason, "why".to_owned())
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn a_group_that_refuses_is_said_until_it_takes_the_member_in() {
        let start = Instant::now();
        let mut standing = Standing::new(false, None, start);
        assert_eq!(words(standing.news(false, None, start)), NOTHING);
        for _ in 0..3 {
            // The client says it every second.
            standing.refuse(By::Group, refusal(Refusal::GroupRefused));
        }
        assert_eq!(words(standing.news(false, None, start)), ["group_refused"]);
        let soon = start + HOLD / 2;
        assert_eq!(words(standing.news(false, None, soon)), NOTHING);
        assert_eq!(words(standing.news(false, None, start + HOLD)), ["group_refused"]);
        standing.refuse(By::Group, refusal(Refusal::NotAuthorized));
        assert_eq!(
            words(standing.news(false, None, start + HOLD)),
            ["not_authorized"]
        );
        // Fewer partitions than members: none are assigned, and it is taken in all the same.
        standing.taken_in();
        assert_eq!(
            words(standing.news(false, None, start + HOLD)),
            ["joined", "back"]
        );
        assert_eq!(words(standing.news(false, None, start + HOLD * 9)), NOTHING);
    }

    #[test]
    fn a_member_that_still_has_its_partitions_reads_them_whatever_the_group_says() {
        let start = Instant::now();
        let mut standing = Standing::new(false, None, start);
        standing.taken_in();
        assert_eq!(words(standing.news(true, None, start)), ["joined"]);
        standing.refuse(By::Group, refusal(Refusal::NotAuthorized));
        assert_eq!(words(standing.news(true, None, start)), NOTHING);
        assert_eq!(words(standing.news(false, None, start)), ["not_authorized"]);
    }

    #[test]
    fn a_topic_that_may_not_be_read_is_said_until_it_gives_something() {
        let start = Instant::now();
        let mut standing = Standing::new(false, None, start);
        standing.taken_in();
        standing.refuse(By::Topic, refusal(Refusal::NotAuthorized));
        assert_eq!(
            words(standing.news(true, None, start)),
            ["joined", "not_authorized"]
        );
        // Another partition is assigned.
        standing.taken_in();
        assert_eq!(words(standing.news(true, None, start)), NOTHING);
        standing.read();
        assert_eq!(words(standing.news(true, None, start)), ["back"]);
        assert_eq!(words(standing.news(true, Some("still".into()), start)), ["still"]);
        standing.watch = Some(refusal(Refusal::NotAuthorized));
        assert_eq!(words(standing.news(true, None, start)), ["not_authorized"]);
    }

    /// The broker says nothing to a member that gets no partition.
    #[test]
    fn a_member_of_a_brokers_group_is_in_when_nothing_was_in_the_way_for_a_while() {
        let start = Instant::now();
        let before = Some(refusal(Refusal::GroupRefused));
        let mut standing = Standing::new(true, before, start);
        standing.watch = Some(Hindrance::Away("the broker is away".into()));
        let back = start + UNREFUSED * 2;
        assert_eq!(
            words(standing.news(false, None, back)),
            NOTHING,
            "the loop knows already"
        );
        standing.watch = None;
        assert_eq!(words(standing.news(false, None, back + UNREFUSED / 2)), NOTHING);
        assert_eq!(
            words(standing.news(false, None, back + UNREFUSED)),
            ["joined", "back"]
        );
    }
}

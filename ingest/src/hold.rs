//! How what passes by itself is waited for, and what only a person can mend.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// What only a person can mend while the process runs. It keeps what it has, and tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// A right is missing, or the credentials are no longer good.
    NotAuthorized,
    /// The server takes no such write, or no more of them: a validator, a quota, a setting.
    WriteRefused,
    /// The consumer group does not take this member in.
    GroupRefused,
}

impl Refusal {
    /// The reason as `/readyz` shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::NotAuthorized => "not_authorized",
            Refusal::WriteRefused => "write_refused",
            Refusal::GroupRefused => "group_refused",
        }
    }
}

/// How long until it is tried again.
pub(crate) const HOLD: Duration = Duration::from_secs(30);
/// How often it is said, at most.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// Pauses between attempts at what passes by itself: longer each time, and never the same for two processes.
pub(crate) fn pauses(least: Duration, most: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(least)
        .with_max_delay(most)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The same for a ledger that is away.
pub(crate) fn while_away() -> ExponentialBackoff {
    pauses(Duration::from_millis(100), Duration::from_secs(5))
}

/// Says what a person must mend, each thing once a minute.
#[derive(Debug, Default)]
pub(crate) struct Reminder(Repeats);

impl Reminder {
    /// Says it, unless that was less than a minute ago.
    pub(crate) fn refused(&mut self, what: &str, reason: Refusal, why: &str) {
        let reason = reason.name();
        if self.0.say(&format!("{reason} {why}")).is_some() {
            tracing::error!(
                reason,
                error = why,
                "{what}: nothing is lost, and it is tried again every {HOLD:?} at least, but somebody has to act"
            );
        }
    }
}

/// The most kinds that are told apart.
const KINDS: usize = 64;

/// Has each kind of line said once a minute at most, with how often it was left out.
#[derive(Debug, Default)]
pub(crate) struct Repeats(BTreeMap<String, (Instant, u64)>);

impl Repeats {
    /// How often a line of this kind was left out since one was said, if one is to be said now. Numbers make no kind:
    /// lines hold ports, durations and counts.
    pub(crate) fn say(&mut self, kind: &str) -> Option<u64> {
        let now = Instant::now();
        let kind: String = kind.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        if let Some((said, left_out)) = self.0.get_mut(&kind) {
            if now - *said < REMIND_EVERY {
                *left_out += 1;
                return None;
            }
            *said = now;
            return Some(std::mem::take(left_out));
        }
        if self.0.len() >= KINDS {
            self.0.retain(|_, (said, _)| now - *said < REMIND_EVERY);
        }
        if self.0.len() >= KINDS {
            self.0.clear();
        }
        self.0.insert(kind, (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_is_said_once_a_minute_with_how_often_it_was_left_out() {
        let mut repeats = Repeats::default();
        let mut said = Vec::new();
        for second in 0..150 {
            let line = format!("10.0.0.{second}:9093: the handshake failed (after {second}ms)");
            said.extend(repeats.say(&line).map(|left_out| (second, left_out)));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(said, [(0, 0), (60, 59), (120, 59)]);
        assert_eq!(repeats.say("another"), Some(0));
        for kind in 0..10_000 {
            let name = char::from_u32(0x4e00 + kind).expect("a letter").to_string();
            repeats.say(&name);
            assert!(repeats.0.len() <= KINDS);
        }
    }
}

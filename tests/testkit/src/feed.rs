//! Where events come from, and when they are due: what the demo and the load generator share.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::trace::{Spread, Trace};
use crate::traffic::{Generator, Item, Options};

/// What to send.
#[derive(Debug, Clone, clap::Args)]
pub struct FeedOptions {
    /// Seed of the made-up traffic: the same seed gives the same requests
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Replay a recorded trace instead: a CSV file of time (UTC), input tokens, output tokens
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// How many organizations
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub organizations: u16,
    /// How many users; of each organization, or in a trace, of all
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..))]
    pub users: u16,
    /// Only events to be counted: none late, again, in test mode or invalid
    #[arg(long)]
    pub plain: bool,
}

/// A source of events.
pub enum Feed {
    /// Made up, without end.
    Generated(Box<Generator>),
    /// Out of a trace.
    Recorded(Box<dyn Iterator<Item = Item> + Send>),
}

impl FeedOptions {
    /// The source that they describe; `prefix` begins the ids of made-up events.
    pub fn open(&self, prefix: &str) -> Result<Feed> {
        if let Some(path) = &self.trace {
            let trace = Trace::open(path)?;
            let spread = self.spread();
            let items: Vec<Item> = trace.items(spread).collect();
            return Ok(Feed::Recorded(Box::new(items.into_iter())));
        }
        let base = if self.plain {
            Options::plain(self.seed)
        } else {
            Options::default()
        };
        let options = Options {
            seed: self.seed,
            prefix: prefix.to_owned(),
            organizations: self.organizations.into(),
            users: self.users.into(),
            ..base
        };
        Ok(Feed::Generated(Box::new(Generator::new(options))))
    }

    /// The organizations that events will be for.
    #[must_use]
    pub fn organizations(&self) -> Vec<String> {
        if self.trace.is_some() {
            return Trace::organizations(self.spread());
        }
        let options = Options {
            organizations: self.organizations.into(),
            ..Options::default()
        };
        Generator::new(options).organizations().to_vec()
    }

    fn spread(&self) -> Spread {
        Spread {
            organizations: self.organizations.into(),
            agents: 5,
            users: self.users.into(),
            models: 4,
        }
    }
}

impl Feed {
    /// The next event; `None` at the end of a trace.
    pub fn next(&mut self, now: DateTime<Utc>) -> Option<Item> {
        match self {
            Feed::Generated(generator) => Some(generator.item(now)),
            Feed::Recorded(items) => items.next(),
        }
    }

    /// The next `count` events, or as many as there are.
    pub fn take(&mut self, count: usize, now: DateTime<Utc>) -> Vec<Item> {
        (0..count).map_while(|_| self.next(now)).collect()
    }
}

/// How many events a steady rate has made due after a while.
#[must_use]
pub fn due(rate: u32, elapsed: Duration) -> u64 {
    u64::try_from(u128::from(rate) * elapsed.as_millis() / 1_000).unwrap_or(u64::MAX)
}

/// Reads `90`, `90s`, `5m` or `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(['s', 'm', 'h']);
    let unit = match &text[number.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => 0,
    };
    match number.parse::<u32>() {
        Ok(count) if unit > 0 => Ok(Duration::from_secs(u64::from(count) * unit)),
        _ => Err("expected a time such as 90s, 5m or 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "m", "5mm", "1.5h", "-3s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_kept_over_time() {
        assert_eq!(due(200, Duration::from_millis(4)), 0);
        assert_eq!(due(200, Duration::from_millis(1_505)), 301);
        assert_eq!(due(u32::MAX, Duration::MAX), u64::MAX);
    }
}

//! Events of one's own: a line that sends one, and the command behind it.

use chrono::{DateTime, SecondsFormat, Utc};
use mongodb::bson::Document;
use serde_json::json;
use testkit::sink::{Sink, Target};
use testkit::{Error, Result};

/// The organization of the event that the printed line sends: none that the demo itself has traffic of.
pub(crate) const ORGANIZATION: &str = "mine";

/// One event, and where it goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Event {
    #[command(flatten)]
    target: Target,
    /// The event, a JSON object as the README describes it
    #[arg(value_name = "JSON")]
    event: String,
}

impl Event {
    /// Sends it as a service would: inserted as a document, or produced under its organization.
    pub(crate) async fn send(&self) -> Result<()> {
        let event: Document = serde_json::from_str(&self.event)
            .map_err(|error| Error::Other(format!("the event is no JSON object: {error}")))?;
        let log =
            tempfile::NamedTempFile::new().map_err(|error| Error::Other(format!("make a log: {error}")))?;
        match self.target.open(log.path()).await? {
            Sink::Collection(collection) => {
                collection.insert_one(event).await?;
            }
            Sink::Topic(mut producer) => {
                let key = event.get_str("organizationId").unwrap_or("none");
                producer.send([(key, self.event.clone())]).await?;
                producer.close().await?;
            }
        }
        println!("sent: {}", self.event);
        Ok(())
    }
}

/// An event that completes now, with its identity in this field.
pub(crate) fn example(identity: &str, now: DateTime<Utc>) -> String {
    let mut event = json!({
        "completedAt": now.to_rfc3339_opts(SecondsFormat::Secs, true), "source": "chat",
        "organizationId": ORGANIZATION, "agentSlug": "first-steps", "userId": "me",
        "model": "gpt-5-mini", "provider": "openai", "inputTokens": 1200, "outputTokens": 340,
        "cost": "0.00098",
    });
    event[identity] = json!("my-first-event");
    event.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_can_be_quoted_for_a_shell() {
        let event = example("_id", DateTime::UNIX_EPOCH);
        assert!(!event.contains('\''), "{event}");
        let event: serde_json::Value = serde_json::from_str(&event).expect("JSON");
        assert_eq!(event["_id"], "my-first-event");
        assert_eq!(event["completedAt"], "1970-01-01T00:00:00Z");
    }
}

//! The same questions, asked of the events that the rows are made of.

use std::time::{Duration, Instant};

use chrono::{DateTime, Days, NaiveTime, Utc};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, DateTime as BsonTime, Document, doc};

use crate::outcome::Outcome;
use crate::seed;

/// How often each is asked: the median is taken.
const TIMES: usize = 3;

/// What a route shows, as groups of events.
pub(crate) struct Raw {
    pub(crate) filter: Document,
    pub(crate) group: Bson,
    /// Only the largest.
    pub(crate) limit: Option<i64>,
}

impl Raw {
    pub(crate) fn by(group: impl Into<Bson>) -> Self {
        Self {
            filter: Document::new(),
            group: group.into(),
            limit: None,
        }
    }
}

/// How long the store takes to aggregate the events of the last ninety days.
pub(crate) async fn ask(database: &Database, today: DateTime<Utc>, raw: &Raw) -> Outcome<Duration> {
    let from = today.date_naive() - Days::new(seed::DAYS - 1);
    let from = BsonTime::from_chrono(from.and_time(NaiveTime::MIN).and_utc());
    let mut filter = doc! {"organizationId": "acme", "completedAt": {"$gte": from}};
    filter.extend(raw.filter.clone());
    let mut sums = doc! {"_id": raw.group.clone(), "requests": {"$sum": 1}};
    for counter in ["inputTokens", "outputTokens", "costNanos"] {
        sums.insert(counter, doc! {"$sum": format!("${counter}")});
    }
    let mut stages = vec![
        doc! {"$match": filter},
        doc! {"$group": sums},
        doc! {"$sort": {"costNanos": -1}},
    ];
    if let Some(limit) = raw.limit {
        stages.push(doc! {"$limit": limit});
    }
    let mut taken = Vec::new();
    for _ in 0..TIMES {
        let start = Instant::now();
        let groups = database
            .collection::<Document>("rawEvents")
            .aggregate(stages.clone())
            .await?;
        let groups: Vec<Document> = groups.try_collect().await?;
        if groups.is_empty() {
            return Err("there are no events to aggregate".into());
        }
        taken.push(start.elapsed());
    }
    taken.sort_unstable();
    Ok(taken[TIMES / 2])
}

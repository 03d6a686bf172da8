//! A ledger of a million daily rows, as a worker would have written it, beside the events it is made of.

use std::collections::HashMap;

use chrono::{DateTime, Days, NaiveTime, Utc};
use mongodb::Database;
use mongodb::bson::{Bson, DateTime as BsonTime, Document, doc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rollup::counters::{Counter, Sums};
use rollup::period::{Calendar, Granularity, Period};

use crate::outcome::Outcome;

pub(crate) const USERS: usize = 20_000;
pub(crate) const AGENTS: usize = 50;
pub(crate) const MODELS: usize = 20;
pub(crate) const DAYS: u64 = 90;
const TEAMS: usize = 40;
const ROWS_PER_USER: usize = 50;
/// Users whose rows are written at once.
const CHUNK: usize = 200;
pub(crate) const GRANULARITIES: [Granularity; 3] =
    [Granularity::Daily, Granularity::Weekly, Granularity::Monthly];

/// One request, and what its rows are about.
struct Used {
    at: DateTime<Utc>,
    agent: String,
    user: String,
    team: String,
    model: String,
    provider: String,
    sums: Sums,
}

impl Used {
    fn any(rng: &mut StdRng, user: usize, today: DateTime<Utc>) -> Self {
        let mut sums = Sums::default();
        let (input, output) = (rng.random_range(100..5_000), rng.random_range(10..900));
        for (counter, value) in [
            (Counter::Requests, 1),
            (Counter::InputTokens, input),
            (Counter::OutputTokens, output),
            (Counter::TotalTokens, input + output),
            (Counter::CostNanos, input * 150 + output * 600),
        ] {
            sums[counter] = value;
        }
        let model = rng.random_range(0..MODELS);
        Self {
            at: today - Days::new(rng.random_range(0..DAYS)),
            agent: format!("agent-{:02}", rng.random_range(0..AGENTS)),
            user: format!("user-{user:05}"),
            team: format!("team-{:02}", user % TEAMS),
            model: format!("model-{model:02}"),
            provider: format!("provider-{}", model % 4),
            sums,
        }
    }

    fn event(&self, id: usize) -> Document {
        doc! {
            "_id": format!("evt-{id}"), "organizationId": "acme", "source": "chat", "agentSlug": &self.agent,
            "userId": &self.user, "teamId": &self.team, "model": &self.model, "provider": &self.provider,
            "completedAt": BsonTime::from_chrono(self.at), "inputTokens": number(&self.sums, Counter::InputTokens),
            "outputTokens": number(&self.sums, Counter::OutputTokens),
            "costNanos": number(&self.sums, Counter::CostNanos),
        }
    }

    /// Its row of the ledger, but for the sums.
    fn row(&self, period: Period) -> (String, Document) {
        let Self {
            agent,
            user,
            team,
            model,
            provider,
            ..
        } = self;
        let id = format!(
            "v1/acme/{}/{period}/{agent}/{provider}/{model}/{user}/{team}/__none__/chat/llm",
            period.granularity()
        );
        let fields = doc! {
            "agentSlug": agent, "provider": provider, "model": model, "userId": user, "teamId": team,
            "apiKeyId": "__none__", "source": "chat", "kind": "llm",
        };
        (id, fields)
    }

    /// The values of its marginals.
    fn marginals(&self) -> [(&'static str, &str, &str); 5] {
        [
            ("user", &self.user, ""),
            ("organization", "acme", ""),
            ("agent", &self.agent, ""),
            ("model", &self.model, &self.provider),
            ("source", "chat", ""),
        ]
    }
}

fn number(sums: &Sums, counter: Counter) -> i64 {
    i64::try_from(sums[counter]).expect("fits")
}

/// The whole row of a period.
fn whole(id: &str, period: Period, sums: &Sums, fields: &Document) -> Document {
    let mut row = doc! {
        "_id": id, "organizationId": "acme", "granularity": period.granularity().name(),
        "periodKey": period.to_string(), "periodStart": BsonTime::from_chrono(Calendar::UTC.start_of(period)),
        "schemaVersion": 1, "updatedAt": BsonTime::from_millis(0),
    };
    row.extend(fields.clone());
    row.extend(Counter::ALL.map(|counter| (counter.name().to_owned(), Bson::Int64(number(sums, counter)))));
    row
}

/// Sums by row.
#[derive(Default)]
struct Rows(HashMap<String, (Period, Document, Sums)>);

impl Rows {
    fn add(&mut self, id: String, period: Period, fields: Document, sums: &Sums) {
        let row = self
            .0
            .entry(id)
            .or_insert_with(|| (period, fields, Sums::default()));
        row.2.merge(sums);
    }

    async fn write(&self, database: &Database, collection: &str) -> Outcome<()> {
        let rows = self
            .0
            .iter()
            .map(|(id, (period, fields, sums))| whole(id, *period, sums, fields));
        database
            .collection::<Document>(collection)
            .insert_many(rows)
            .await?;
        Ok(())
    }
}

/// Writes everything. How many daily rows there are.
pub(crate) async fn write(database: &Database, today: DateTime<Utc>) -> Outcome<u64> {
    let today = today.date_naive().and_time(NaiveTime::MIN).and_utc();
    let mut rng = StdRng::seed_from_u64(7);
    let mut shared = Rows::default();
    for first in (0..USERS).step_by(CHUNK) {
        let (mut ledger, mut users, mut events) = (Rows::default(), Rows::default(), Vec::new());
        for user in first..first + CHUNK {
            for n in 0..ROWS_PER_USER {
                let used = Used::any(&mut rng, user, today);
                events.push(used.event(user * ROWS_PER_USER + n));
                for granularity in GRANULARITIES {
                    let period = Calendar::UTC.period_of(granularity, used.at);
                    let (id, fields) = used.row(period);
                    ledger.add(id, period, fields, &used.sums);
                    for (set, value, provider) in used.marginals() {
                        let mut id = format!("v1/acme/{granularity}/{period}/{set}/{value}");
                        let mut fields = doc! {"set": set, "value": value};
                        if !provider.is_empty() {
                            id = format!("{id}/{provider}");
                            fields.insert("provider", provider);
                        }
                        let rows = if set == "user" { &mut users } else { &mut shared };
                        rows.add(id, period, fields, &used.sums);
                    }
                }
            }
        }
        ledger.write(database, "usageLedger").await?;
        users.write(database, "usageRollups").await?;
        database
            .collection::<Document>("rawEvents")
            .insert_many(events)
            .await?;
    }
    shared.write(database, "usageRollups").await?;
    let keys = doc! {"organizationId": 1, "completedAt": 1};
    let index = mongodb::IndexModel::builder().keys(keys).build();
    database
        .collection::<Document>("rawEvents")
        .create_index(index)
        .await?;
    Ok(database
        .collection::<Document>("usageLedger")
        .count_documents(doc! {"granularity": "daily"})
        .await?)
}

/// Books one request of today as a worker would: to the rows of every set, with the fence.
pub(crate) async fn book(database: &Database, today: DateTime<Utc>, n: u64) -> Outcome<()> {
    let rows = GRANULARITIES.into_iter().flat_map(|granularity| {
        let period = Calendar::UTC.period_of(granularity, today);
        let values = [
            "organization/acme".to_owned(),
            format!("agent/agent-{:02}", n % 50),
            format!("model/model-{0:02}/provider-{1}", n % 20, n % 4),
            format!("user/user-{:05}", n * 7_919 % 20_000),
            "source/chat".to_owned(),
        ];
        values.map(|value| format!("v1/acme/{granularity}/{period}/{value}"))
    });
    // A user without usage today has no row yet: it is not made here.
    let updates: Vec<Document> = rows
        .map(|id| {
            let change = doc! {"$inc": {"requests": 1_i64}, "$currentDate": {"updatedAt": true}};
            doc! {"q": {"_id": id}, "u": change}
        })
        .collect();
    database
        .run_command(doc! {"update": "usageRollups", "updates": updates})
        .await?;
    let fence = doc! {"$inc": {"read": 1_i64, "seq": 1_i64}};
    database
        .collection::<Document>("usageFences")
        .update_one(doc! {}, fence)
        .await?;
    Ok(())
}

//! What the topic holds, judged without the ledger's own code, beside what is stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use mongodb::bson::{Bson, Document, doc};
use sha2::{Digest as _, Sha256};
use testkit::kafka::records::Partition;
use testkit::traffic::{Totals, Usage, Verdict};

use super::load::{Sent, event_id};
use super::scale::TOPIC;
use testkit::world::World;

/// How many differences of one kind are told.
const SHOWN: usize = 10;

pub(super) fn lane(partition: i32) -> String {
    format!("kafka/{TOPIC}/{partition}")
}

pub(super) async fn fence(world: &World, partition: i32) -> Option<Document> {
    let fences = world.collection("usageFences");
    fences
        .find_one(doc! {"_id": lane(partition)})
        .await
        .expect("reads")
}

/// How far each lane is read.
pub(super) async fn positions(world: &World, topic: &[Partition]) -> Vec<(i32, i64)> {
    let mut positions = Vec::new();
    for (partition, _) in (0..).zip(topic) {
        let next = fence(world, partition)
            .await
            .and_then(|fence| fence.get_i64("next").ok());
        positions.push((partition, next.unwrap_or(0)));
    }
    positions
}

/// What must be stored of one partition.
#[derive(Debug, Default)]
struct Lane {
    counted: i64,
    duplicate: i64,
    skipped: i64,
    /// By reason.
    rejected: BTreeMap<String, i64>,
    /// By the hash of the identity: the id, and the offset of its first copy.
    ids: HashMap<Vec<u8>, (String, i64)>,
}

/// What must be stored.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    lanes: Vec<Lane>,
    /// By collection and everything that a row is known by.
    rows: BTreeMap<(&'static str, Vec<String>), Totals>,
}

/// The stored hash of an identity: of organization, source, no source of a CloudEvent, and id, each behind its length.
fn identity(organization: &str, source: &str, id: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in [organization, source, "", id] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize()[..12].to_vec()
}

impl Oracle {
    /// What must be stored where the topic is read up to these positions.
    pub(super) fn new(sent: &Sent, topic: &[Partition], read: &[(i32, i64)]) -> Self {
        let mut oracle = Self::default();
        for (partition, (_, next)) in topic.iter().zip(read) {
            let mut lane = Lane::default();
            for record in partition.records.iter().filter(|record| record.offset < *next) {
                let id = record.value.as_deref().and_then(event_id);
                match id.as_ref().map(|id| &sent.verdicts[id]) {
                    None => match &record.value {
                        None => lane.skipped += 1,
                        Some(value) => *lane.rejected.entry(poison(value)).or_default() += 1,
                    },
                    Some(Verdict::Skipped) => lane.skipped += 1,
                    Some(Verdict::Rejected { reason, .. }) => {
                        *lane.rejected.entry((*reason).to_owned()).or_default() += 1;
                    }
                    Some(Verdict::Duplicate) => unreachable!("only first copies are judged"),
                    Some(Verdict::Counted(usage)) => {
                        let id = id.expect("has one");
                        let hash = identity(&usage.organization, &usage.source, &id);
                        if lane.ids.contains_key(&hash) {
                            lane.duplicate += 1;
                            continue;
                        }
                        lane.ids.insert(hash, (id, record.offset));
                        lane.counted += 1;
                        oracle.book(usage);
                    }
                }
            }
            oracle.lanes.push(lane);
        }
        oracle
    }

    fn book(&mut self, usage: &Usage) {
        let or = |value: &Option<String>, absent: &str| value.clone().unwrap_or_else(|| absent.to_owned());
        let (agent, user) = (
            or(&usage.agent, "__unattributed__"),
            or(&usage.user, "__unattributed__"),
        );
        let (model, provider) = (
            or(&usage.model, "__unknown__"),
            or(&usage.provider, "__unknown__"),
        );
        let (team, key) = (or(&usage.team, "__none__"), or(&usage.api_key, "__none__"));
        for (granularity, period) in periods(usage.completed_at) {
            let of = [usage.organization.clone(), granularity.to_owned(), period];
            let row = [&agent, &provider, &model, &user, &team, &key, &usage.source].map(Clone::clone);
            let row = [&of[..], &row[..], &[usage.kind.to_owned()]].concat();
            *self.rows.entry(("usageLedger", row)).or_default() += usage;
            for (set, value) in [
                ("organization", &usage.organization),
                ("agent", &agent),
                ("model", &model),
                ("user", &user),
                ("source", &usage.source),
            ] {
                let provider = if set == "model" { provider.as_str() } else { "" };
                let row = [&of[..], &[set, value, provider].map(str::to_owned)].concat();
                *self.rows.entry(("usageRollups", row)).or_default() += usage;
            }
        }
    }

    /// How much there was.
    pub(super) fn summary(&self) -> String {
        let sum = |of: fn(&Lane) -> i64| self.lanes.iter().map(of).sum::<i64>();
        format!(
            "{} counted, {} duplicates, {} skipped, {} dead letters, {} rows",
            sum(|lane| lane.counted),
            sum(|lane| lane.duplicate),
            sum(|lane| lane.skipped),
            sum(|lane| lane.rejected.values().sum()),
            self.rows.len()
        )
    }

    /// What is stored and should not be, or the other way round.
    pub(super) async fn differences(&self, world: &World) -> Vec<String> {
        let mut found = self.lanes(world).await;
        found.extend(self.ids(world).await);
        found.extend(self.letters(world).await);
        found.extend(self.rows(world).await);
        found
    }

    /// The fences: the four counters, which add up to the records read.
    async fn lanes(&self, world: &World) -> Vec<String> {
        let mut found = Vec::new();
        for (partition, lane) in (0..).zip(&self.lanes) {
            let Some(fence) = fence(world, partition).await else {
                found.push(format!("partition {partition} has no fence"));
                continue;
            };
            let rejected = lane.rejected.values().sum();
            let read = lane.counted + lane.duplicate + lane.skipped + rejected;
            for (name, right) in [
                ("read", read),
                ("counted", lane.counted),
                ("duplicate", lane.duplicate),
                ("skipped", lane.skipped),
                ("deadLetter", rejected),
            ] {
                let said = fence.get_i64(name).ok();
                if said != Some(right) {
                    found.push(format!(
                        "partition {partition}: {name} is {said:?} instead of {right}"
                    ));
                }
            }
            if let Ok(stopped) = fence.get_document("stopped") {
                found.push(format!("partition {partition} stopped: {stopped}"));
            }
        }
        found
    }

    /// The window: the ids of the counted events, each once, and no other.
    async fn ids(&self, world: &World) -> Vec<String> {
        let mut found = Vec::new();
        for (partition, expected) in (0..).zip(&self.lanes) {
            let filter = doc! {"_id.lane": lane(partition)};
            let mut cursor = world
                .collection("usageJournal")
                .find(filter)
                .await
                .expect("reads");
            let mut stored = HashSet::new();
            let mut wrong = Vec::new();
            while cursor.advance().await.expect("reads") {
                let of_commit = cursor.deserialize_current().expect("a document");
                let id = of_commit.get_document("_id").expect("an id");
                let seq = id.get_i64("seq").expect("a number");
                // 12 bytes of the identity, and 4 of the quantities.
                let ids = of_commit.get_binary_generic("events").expect("ids").chunks(16);
                for hash in ids.map(|id| &id[..12]) {
                    match expected.ids.get(hash) {
                        None => wrong.push(format!(
                            "partition {partition}: commit {seq} counted an id that is not there"
                        )),
                        Some((id, offset)) if !stored.insert(hash.to_vec()) => wrong.push(format!(
                            "partition {partition}: commit {seq} counted `{id}` (first at {offset}) again"
                        )),
                        Some(_) => {}
                    }
                }
            }
            let missing = expected.ids.iter().filter(|(hash, _)| !stored.contains(*hash));
            let mut missing: Vec<_> = missing.map(|(_, (id, offset))| (offset, id)).collect();
            missing.sort();
            let missing = missing
                .into_iter()
                .map(|(offset, id)| format!("partition {partition}: `{id}` at {offset} was not counted"));
            wrong.extend(missing.take(SHOWN));
            found.extend(wrong);
        }
        found
    }

    /// The dead letters of each lane, by reason.
    async fn letters(&self, world: &World) -> Vec<String> {
        let mut stored: BTreeMap<(String, String), i64> = BTreeMap::new();
        for letter in world.letters().await {
            let text = |name| letter.get_str(name).expect("a text").to_owned();
            *stored.entry((text("lane"), text("reason"))).or_default() += 1;
        }
        let mut expected = BTreeMap::new();
        for (partition, of_lane) in (0..).zip(&self.lanes) {
            for (reason, count) in &of_lane.rejected {
                expected.insert((lane(partition), reason.clone()), *count);
            }
        }
        match stored == expected {
            true => Vec::new(),
            false => vec![format!("dead letters are {stored:?} instead of {expected:?}")],
        }
    }

    /// Every row of the ledger and of the rollups, and none besides.
    async fn rows(&self, world: &World) -> Vec<String> {
        const LEDGER: [&str; 11] = [
            "organizationId",
            "granularity",
            "periodKey",
            "agentSlug",
            "provider",
            "model",
            "userId",
            "teamId",
            "apiKeyId",
            "source",
            "kind",
        ];
        const ROLLUPS: [&str; 6] = [
            "organizationId",
            "granularity",
            "periodKey",
            "set",
            "value",
            "provider",
        ];
        let (mut found, mut seen) = (Vec::new(), 0);
        for (collection, names) in [("usageLedger", &LEDGER[..]), ("usageRollups", &ROLLUPS[..])] {
            let mut cursor = world.collection(collection).find(doc! {}).await.expect("reads");
            while cursor.advance().await.expect("reads") {
                let row: Document = cursor.deserialize_current().expect("a row");
                let known_by: Vec<String> = names
                    .iter()
                    .map(|name| row.get_str(name).unwrap_or("").to_owned())
                    .collect();
                match self.rows.get(&(collection, known_by.clone())) {
                    None => found.push(format!("{collection} has a row for nothing: {known_by:?}")),
                    Some(right) => found
                        .extend(wrong(right, &row).map(|what| format!("{collection} {known_by:?}: {what}"))),
                }
                seen += 1;
            }
        }
        if found.is_empty() && seen != self.rows.len() {
            found.push(format!("{seen} rows instead of {}", self.rows.len()));
        }
        let count = found.len();
        found.truncate(SHOWN);
        if count > SHOWN {
            found.push(format!("and {} rows more", count - SHOWN));
        }
        found
    }
}

/// The counters of a row that are not what they must be.
fn wrong(right: &Totals, row: &Document) -> impl Iterator<Item = String> {
    let cost = i64::try_from(right.cost_nanos).expect("fits");
    let integers = right
        .integers()
        .map(|(name, value)| (name, i64::try_from(value).expect("fits")));
    let all = integers
        .into_iter()
        .chain([("costNanos", cost), ("audioMillis", 0), ("characters", 0)]);
    all.filter(|(name, right)| row.get(name) != Some(&Bson::Int64(*right)))
        .map(|(name, right)| format!("{name} is {:?} instead of {right}", row.get(name)))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Why a record without an event id is rejected.
fn poison(value: &[u8]) -> String {
    let reason = match value {
        [] => "empty_record",
        value if std::str::from_utf8(value).is_err() => "invalid_utf8",
        _ => "invalid_json",
    };
    reason.to_owned()
}

/// By the calendar alone.
fn periods(at: DateTime<Utc>) -> [(&'static str, String); 3] {
    [("daily", "%Y-%m-%d"), ("weekly", "%G-W%V"), ("monthly", "%Y-%m")]
        .map(|(granularity, form)| (granularity, at.format(form).to_string()))
}

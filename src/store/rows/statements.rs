//! The statements that write rows. A commit has many of them, so each is built as the bytes that are sent.
//!
//! A row that is not there yet may be inserted, and one that is there added to, which a server does faster than an
//! upsert; all leave the same row. [`presence`](super::presence) tells them apart.

use std::sync::LazyLock;

use mongodb::bson::raw::{CStr, CString, cstr};
use mongodb::bson::{DateTime, RawDocumentBuf};
use rollup::counters::{Counter, Counters, Overflow};
use rollup::fold::{LedgerRow, Marginal, RollupRow, RowDelta};
use rollup::period::{Calendar, Period};

use crate::store::VERSION;

/// The counters' names as they are sent.
static COUNTERS: LazyLock<[CString; Counter::ALL.len()]> = LazyLock::new(|| {
    Counter::ALL.map(|counter| CString::try_from(counter.name()).expect("a name holds no zero byte"))
});

/// The field of an organization's rollup that every write to the organization's rows of its period sets anew.
const VERSION_FIELD: &CStr = cstr!("version");

/// A row that somebody adds to.
pub(super) trait Row: Sync {
    fn period(&self) -> Period;
    fn organization(&self) -> &str;
    /// The marginal of a rollup.
    fn marginal(&self) -> Option<Marginal>;
    fn booked(&self) -> &RowDelta;
    /// Appends what the row is about, besides its organization and period.
    fn describe(&self, document: &mut RawDocumentBuf);
    /// Whether the row holds when its first and last event completed.
    fn holds_times(&self) -> bool;
    /// Whether the row holds the version of all rows of its organization in its period.
    fn holds_version(&self) -> bool;
}

impl Row for LedgerRow {
    fn period(&self) -> Period {
        self.period
    }

    fn organization(&self) -> &str {
        &self.dimensions.organization
    }

    fn marginal(&self) -> Option<Marginal> {
        None
    }

    fn booked(&self) -> &RowDelta {
        &self.booked
    }

    fn describe(&self, document: &mut RawDocumentBuf) {
        let d = &self.dimensions;
        for (name, value) in [
            (cstr!("agentSlug"), &d.agent),
            (cstr!("provider"), &d.provider),
            (cstr!("model"), &d.model),
            (cstr!("userId"), &d.user),
            (cstr!("teamId"), &d.team),
            (cstr!("apiKeyId"), &d.api_key),
            (cstr!("source"), &d.source),
        ] {
            document.append(name, &**value);
        }
        document.append(cstr!("kind"), d.kind.name());
    }

    fn holds_times(&self) -> bool {
        true
    }

    fn holds_version(&self) -> bool {
        false
    }
}

impl Row for RollupRow {
    fn period(&self) -> Period {
        self.period
    }

    fn organization(&self) -> &str {
        &self.organization
    }

    fn marginal(&self) -> Option<Marginal> {
        Some(self.marginal)
    }

    fn booked(&self) -> &RowDelta {
        &self.booked
    }

    fn describe(&self, document: &mut RawDocumentBuf) {
        document.append(cstr!("set"), self.marginal.name());
        document.append(cstr!("value"), &*self.value);
        if let Some(provider) = &self.provider {
            document.append(cstr!("provider"), &**provider);
        }
    }

    fn holds_times(&self) -> bool {
        false
    }

    fn holds_version(&self) -> bool {
        self.marginal == Marginal::Organization
    }
}

/// Writes rows of one calendar, at one instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) calendar: &'a Calendar,
    pub(super) at: DateTime,
    /// Of what is written: random.
    pub(super) version: i64,
}

impl Writer<'_> {
    /// The document of a row that is not there yet.
    pub(super) fn insert(&self, id: &str, row: &impl Row) -> Result<RawDocumentBuf, Overflow> {
        let booked = row.booked();
        let counters = booked.sums.narrow()?;
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), id);
        self.describe(row, &mut document);
        for (name, value) in named(&counters) {
            document.append(name, value);
        }
        document.append(cstr!("updatedAt"), self.at);
        if row.holds_version() {
            document.append(VERSION_FIELD, self.version);
        }
        if row.holds_times() {
            document.append(
                cstr!("firstEventAt"),
                DateTime::from_millis(booked.first_event_ms),
            );
            document.append(cstr!("lastEventAt"), DateTime::from_millis(booked.last_event_ms));
        }
        Ok(document)
    }

    /// The update of a row that is there: of the counters that change, and of its times. It matches nothing where the
    /// row is not there.
    pub(super) fn add(&self, id: &str, row: &impl Row) -> Result<RawDocumentBuf, Overflow> {
        let counters = row.booked().sums.narrow()?;
        let mut added = RawDocumentBuf::new();
        for (name, value) in named(&counters).filter(|(_, value)| *value != 0) {
            added.append(name, value);
        }
        Ok(statement(id, self.update(row, added, None), false))
    }

    /// The upsert of a row, whether or not it is there. A row has all counters from its first day.
    pub(super) fn upsert(&self, id: &str, row: &impl Row) -> Result<RawDocumentBuf, Overflow> {
        let counters = row.booked().sums.narrow()?;
        let (mut added, mut first) = (RawDocumentBuf::new(), RawDocumentBuf::new());
        self.describe(row, &mut first);
        for (name, value) in named(&counters) {
            let part = if value == 0 { &mut first } else { &mut added };
            part.append(name, value);
        }
        Ok(statement(id, self.update(row, added, Some(first)), true))
    }

    /// Only says that rows of the organization and period of this rollup have changed.
    pub(super) fn touch(&self, total: &str) -> RawDocumentBuf {
        let mut set = one(cstr!("updatedAt"), self.at);
        set.append(VERSION_FIELD, self.version);
        let mut update = RawDocumentBuf::new();
        update.append(cstr!("$set"), set);
        statement(total, update, false)
    }

    fn update(&self, row: &impl Row, added: RawDocumentBuf, first: Option<RawDocumentBuf>) -> RawDocumentBuf {
        let mut update = RawDocumentBuf::new();
        if !added.is_empty() {
            update.append(cstr!("$inc"), added);
        }
        if let Some(first) = first {
            update.append(cstr!("$setOnInsert"), first);
        }
        let mut set = one(cstr!("updatedAt"), self.at);
        if row.holds_version() {
            set.append(VERSION_FIELD, self.version);
        }
        update.append(cstr!("$set"), set);
        if row.holds_times() {
            let booked = row.booked();
            let [first, last] = [booked.first_event_ms, booked.last_event_ms].map(DateTime::from_millis);
            update.append(cstr!("$min"), one(cstr!("firstEventAt"), first));
            update.append(cstr!("$max"), one(cstr!("lastEventAt"), last));
        }
        update
    }

    fn describe(&self, row: &impl Row, document: &mut RawDocumentBuf) {
        let period = row.period();
        document.append(cstr!("organizationId"), row.organization());
        document.append(cstr!("granularity"), period.granularity().name());
        document.append(cstr!("periodKey"), period.to_string());
        let start = DateTime::from_chrono(self.calendar.start_of(period));
        document.append(cstr!("periodStart"), start);
        document.append(cstr!("schemaVersion"), VERSION);
        row.describe(document);
    }
}

fn statement(id: &str, update: RawDocumentBuf, is_upsert: bool) -> RawDocumentBuf {
    let mut which = RawDocumentBuf::new();
    which.append(cstr!("_id"), id);
    let mut statement = RawDocumentBuf::new();
    statement.append(cstr!("q"), which);
    statement.append(cstr!("u"), update);
    if is_upsert {
        statement.append(cstr!("upsert"), true);
    }
    statement
}

fn named(counters: &Counters) -> impl Iterator<Item = (&'static CStr, i64)> {
    let names = COUNTERS.iter().map(AsRef::as_ref);
    names.zip(Counter::ALL.map(|counter| counters[counter]))
}

fn one(name: &CStr, at: DateTime) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    document.append(name, at);
    document
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, doc};
    use proptest::prelude::*;
    use rollup::counters::Sums;
    use rollup::event::{Dimensions, Kind};
    use rollup::period::Granularity;

    use super::*;

    fn booked(counters: [i64; Counter::ALL.len()]) -> RowDelta {
        let mut all = Counters::default();
        for (counter, value) in Counter::ALL.into_iter().zip(counters) {
            all[counter] = value;
        }
        RowDelta {
            sums: Sums::from(all),
            first_event_ms: 1_000,
            last_event_ms: 2_000,
        }
    }

    fn period() -> Period {
        Period::parse(Granularity::Weekly, "2026-W02").expect("a period")
    }

    fn ledger_row(counters: [i64; Counter::ALL.len()]) -> LedgerRow {
        let part = |text: &str| Box::from(text);
        LedgerRow {
            period: period(),
            dimensions: Dimensions {
                organization: part("acme"),
                agent: part("support"),
                provider: part("openai"),
                model: part("large"),
                user: part("u1"),
                team: part("t1"),
                api_key: part("k1"),
                source: part("chat"),
                kind: Kind::Llm,
            },
            booked: booked(counters),
        }
    }

    fn rollup_row(counters: [i64; Counter::ALL.len()]) -> RollupRow {
        RollupRow {
            period: period(),
            organization: "acme".into(),
            marginal: Marginal::Model,
            value: "large".into(),
            provider: Some("openai".into()),
            booked: booked(counters),
        }
    }

    fn writer() -> Writer<'static> {
        Writer {
            calendar: &Calendar::UTC,
            at: DateTime::from_millis(3_000),
            version: 42,
        }
    }

    /// What an upsert leaves where there was no such row.
    fn upserted(statement: &RawDocumentBuf) -> Document {
        let statement = Document::try_from(statement).expect("BSON");
        assert!(statement.get_bool("upsert").expect("upsert"));
        let mut row = statement.get_document("q").expect("q").clone();
        for (operator, fields) in statement.get_document("u").expect("u") {
            assert!(
                ["$inc", "$setOnInsert", "$set", "$min", "$max"].contains(&operator.as_str()),
                "{operator}"
            );
            for (name, value) in fields.as_document().expect("fields") {
                assert_eq!(row.insert(name, value.clone()), None, "{name} is written once");
            }
        }
        row
    }

    #[test]
    fn an_inserted_row_is_whole() {
        let mut counters = [0; Counter::ALL.len()];
        counters[0] = 7;
        let inserted = writer().insert("id", &ledger_row(counters)).expect("fits");
        let mut expected = doc! {
            "_id": "id", "organizationId": "acme", "granularity": "weekly", "periodKey": "2026-W02",
            "periodStart": DateTime::parse_rfc3339_str("2026-01-05T00:00:00Z").expect("an instant"),
            "schemaVersion": 1, "agentSlug": "support", "provider": "openai", "model": "large", "userId": "u1",
            "teamId": "t1", "apiKeyId": "k1", "source": "chat", "kind": "llm",
        };
        for counter in Counter::ALL {
            expected.insert(counter.name(), counters[counter as usize]);
        }
        expected.extend(doc! {
            "updatedAt": DateTime::from_millis(3_000), "firstEventAt": DateTime::from_millis(1_000),
            "lastEventAt": DateTime::from_millis(2_000),
        });
        assert_eq!(Document::try_from(&inserted).expect("BSON"), expected);
    }

    #[test]
    fn what_is_added_to_a_row_that_is_there_is_only_what_changes() {
        let mut counters = [0; Counter::ALL.len()];
        counters[Counter::Requests as usize] = 7;
        counters[Counter::CostNanos as usize] = -5;
        let [first, last, at] = [1_000, 2_000, 3_000].map(DateTime::from_millis);
        let update = doc! {
            "$inc": {"requests": 7_i64, "costNanos": -5_i64}, "$set": {"updatedAt": at},
            "$min": {"firstEventAt": first}, "$max": {"lastEventAt": last},
        };
        let added = writer().add("id", &ledger_row(counters)).expect("fits");
        let expected = doc! {"q": {"_id": "id"}, "u": update};
        assert_eq!(Document::try_from(&added).expect("BSON"), expected);
        // A correction may change nothing that is counted.
        let nothing = writer()
            .add("id", &rollup_row([0; Counter::ALL.len()]))
            .expect("fits");
        let expected = doc! {"q": {"_id": "id"}, "u": {"$set": {"updatedAt": at}}};
        assert_eq!(Document::try_from(&nothing).expect("BSON"), expected);
    }

    #[test]
    fn every_statement_sets_the_version_of_the_organizations_rollup_anew() {
        let total = RollupRow {
            marginal: Marginal::Organization,
            value: "acme".into(),
            provider: None,
            ..rollup_row([0; Counter::ALL.len()])
        };
        let read = |bytes: RawDocumentBuf| Document::try_from(&bytes).expect("BSON");
        let inserted = read(writer().insert("id", &total).expect("fits"));
        assert_eq!(inserted.get_i64("version").ok(), Some(42));
        for statement in [
            writer().add("id", &total).expect("fits"),
            writer().upsert("id", &total).expect("fits"),
            writer().touch("id"),
        ] {
            let update = read(statement);
            let set = update
                .get_document("u")
                .and_then(|update| update.get_document("$set"));
            assert_eq!(
                set.expect("a change").get_i64("version").ok(),
                Some(42),
                "{update}"
            );
        }
    }

    proptest! {
        /// Whichever statement is chosen, the row is the same.
        #[test]
        fn an_insert_and_an_upsert_leave_the_same_row(
            counters in prop::array::uniform17(prop_oneof![Just(0), any::<i64>()]),
        ) {
            fn compare(row: &impl Row) {
                let inserted = writer().insert("id", row).expect("fits");
                let upserted = upserted(&writer().upsert("id", row).expect("fits"));
                let inserted = Document::try_from(&inserted).expect("BSON");
                let sorted = |row: Document| row.into_iter().collect::<std::collections::BTreeMap<_, _>>();
                assert_eq!(sorted(inserted), sorted(upserted));
            }
            compare(&ledger_row(counters));
            compare(&rollup_row(counters));
        }
    }
}

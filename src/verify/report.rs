//! What is found, as it is told.

use std::fmt::Write as _;

use rollup::audit::compare::{Difference, Value};
use rollup::period::Granularity;
use serde_json::{Value as Json, json};

use super::finding::Finding;
use super::pace::Pace;
use super::pass::{End, Error, Page, Pass};
use super::progress::Progress;
use super::scope::Scope;
use crate::store::Store;

/// Differences that are shown.
const SHOWN: usize = 1_000;
/// How often it is begun again.
const PASSES: usize = 5;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong besides rows: often why these are.
    causes: Vec<Finding>,
    /// The first differences of rows.
    of_rows: Vec<Finding>,
    /// All of both.
    count: u64,
    not_compared: Vec<(String, String)>,
    /// Rows that are not what they must be.
    wrong_rows: u64,
    rows: u64,
    entries: u64,
    lanes: usize,
    granularities: Vec<Granularity>,
}

/// What is to be compared, and how.
pub struct Question<'a> {
    /// The ledger.
    pub store: &'a Store,
    /// Which rows.
    pub scope: Scope,
    /// Bytes that it may take, about.
    pub memory: usize,
    /// How much of a machine it takes.
    pub pace: Pace,
    /// Is told now and then how far it is.
    pub tell: fn(&str),
}

/// Compares everything that is asked for; and does so anew, where a job changed rows meanwhile and that matters.
///
/// # Errors
/// When it cannot be read, or jobs change rows all the time.
pub async fn report(question: &Question<'_>) -> Result<Report, Error> {
    for _ in 0..PASSES {
        let progress = Progress::new(question.tell);
        let pass = Pass::begin(question.store, question.scope.clone(), question.memory, progress).await?;
        if let Some(report) = once(pass.paced(question.pace)).await? {
            return Ok(report);
        }
        tracing::info!("a job changed rows meanwhile: they are compared anew");
    }
    Err(Error::GivenUp(
        "jobs change rows all the time: compare again when they are done".into(),
    ))
}

/// `None`: a job changed rows meanwhile.
async fn once(mut pass: Pass) -> Result<Option<Report>, Error> {
    let mut report = Report::default();
    let revision = pass.ledger().revision;
    while let Some(page) = pass.page(|difference| report.add(&difference)).await? {
        if page.revision != revision && pass.must_not_move() {
            return Ok(None);
        }
        report.end(page);
    }
    report.entries = pass.entries();
    report.lanes = pass.chains().count();
    report.granularities = pass.ledger().grouping.granularities().to_vec();
    Ok(Some(report))
}

impl Report {
    fn add(&mut self, difference: &Difference) {
        self.wrong_rows += 1;
        for finding in Finding::of_row(difference) {
            self.count += 1;
            if self.of_rows.len() < SHOWN {
                self.of_rows.push(finding);
            }
        }
    }

    fn end(&mut self, page: Page) {
        self.rows += page.compared;
        if let Some(End {
            findings,
            not_compared,
        }) = page.end
        {
            self.count += findings.len() as u64;
            self.causes.extend(findings);
            self.not_compared.extend(not_compared);
        }
    }

    fn shown(&self) -> impl Iterator<Item = &Finding> {
        self.causes.iter().chain(&self.of_rows).take(SHOWN)
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.count == 0
    }

    /// How many rows, and documents of journal, fences and letters, are not what they must be.
    #[must_use]
    pub const fn drifted(&self) -> u64 {
        self.wrong_rows + self.causes.len() as u64
    }

    /// Rows that were compared.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Entries that they were compared with.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// The first differences, so many at most, for a line of the log.
    #[must_use]
    pub fn first(&self, most: usize) -> String {
        let first: Vec<String> = self.shown().take(most).map(sentence).collect();
        first.join("; ")
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Json {
        let differences = self.shown().map(|finding| {
            json!({
                "collection": finding.collection, "_id": finding.id, "organizationId": finding.organization,
                "periodKey": finding.period, "counter": finding.counter, "stored": value(&finding.stored),
                "expected": value(&finding.expected),
            })
        });
        let not_compared = self
            .not_compared
            .iter()
            .map(|(what, why)| json!({"what": what, "why": why}));
        json!({
            "clean": self.is_clean(), "differences": differences.collect::<Json>(),
            "differenceCount": self.count, "notCompared": not_compared.collect::<Json>(),
        })
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| writeln!(text, "{line}").expect("writes to a text");
        for finding in self.shown() {
            line(sentence(finding));
        }
        if self.count > SHOWN as u64 {
            line(format!("and {} differences more", self.count - SHOWN as u64));
        }
        let names: Vec<&str> = self.granularities.iter().map(|one| one.name()).collect();
        line(format!(
            "compared: {} rows and rollups ({}) with {} entries of {} lanes, with their journals and tallies",
            self.rows,
            names.join(", "),
            self.entries,
            self.lanes,
        ));
        for (what, why) in &self.not_compared {
            line(format!("not compared: {what}: {why}"));
        }
        line(match self.count {
            0 => "clean: every row that was compared is the sum of its entries".to_owned(),
            1 => "drift: 1 difference; `usage-ledger rebuild` makes rows what their entries say".to_owned(),
            count => {
                format!(
                    "drift: {count} differences; `usage-ledger rebuild` makes rows what their entries say"
                )
            }
        });
        text
    }
}

/// A difference in a line.
#[must_use]
pub fn sentence(finding: &Finding) -> String {
    format!(
        "{}  {}  {} {}  {}: {} is stored, {} is right",
        finding.organization.as_deref().unwrap_or("-"),
        finding.period.as_deref().unwrap_or("-"),
        finding.collection,
        finding.id,
        finding.counter,
        shown(&finding.stored),
        shown(&finding.expected),
    )
}

fn value(value: &Value) -> Json {
    match value {
        Value::Missing => Json::Null,
        Value::Text(text) => json!(text),
        Value::Number(number) => match i64::try_from(*number) {
            Ok(number) => json!(number),
            Err(_) => json!(number.to_string()),
        },
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Missing => "nothing".to_owned(),
        Value::Text(text) => format!("`{text}`"),
        Value::Number(number) => number.to_string(),
    }
}

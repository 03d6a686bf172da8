//! Events out of a recorded trace of real requests.
//!
//! A trace is a CSV file with a header and three columns: the time (UTC), the input tokens, the output
//! tokens. Every row becomes one event whose id is made of the file's name and the row's number, so that
//! reading a trace twice gives the same events again. Traces say nothing about money: all are unpriced.

use std::path::Path;

use bson::Bson;
use chrono::{DateTime, NaiveDateTime, Utc};

use crate::error::{Error, Result};
use crate::traffic::{CostForm, Item, Outcome, TimeForm, Usage, Verdict, render};

/// One request of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// When it completed, to the millisecond.
    pub at: DateTime<Utc>,
    /// Its prompt.
    pub input_tokens: u64,
    /// Its answer.
    pub output_tokens: u64,
}

/// Over how many names requests are dealt out; 0 leaves the field out. There is always an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of the event contract")]
pub struct Spread {
    pub organizations: usize,
    pub agents: usize,
    pub users: usize,
    pub models: usize,
}

/// A trace in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The file's name without its ending.
    pub name: String,
    /// Its requests, in the file's order.
    pub requests: Vec<Request>,
}

impl Trace {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path
            .file_stem()
            .map_or_else(|| "trace".into(), |name| name.to_string_lossy());
        let wrong = |why: String| Error::Other(format!("{}: {why}", path.display()));
        let mut reader = csv::Reader::from_path(path).map_err(|error| wrong(error.to_string()))?;
        let mut requests = Vec::new();
        for (index, row) in reader.records().enumerate() {
            let row = row.map_err(|error| wrong(error.to_string()))?;
            let request = request(&row).map_err(|why| wrong(format!("line {}: {why}", index + 2)))?;
            requests.push(request);
        }
        Ok(Self {
            name: name.into_owned(),
            requests,
        })
    }

    /// Its events.
    pub fn items(&self, spread: Spread) -> impl Iterator<Item = Item> {
        self.requests
            .iter()
            .enumerate()
            .map(move |(row, request)| item(&self.name, row, request, spread))
    }

    /// The organizations that its events are dealt out over.
    #[must_use]
    pub fn organizations(spread: Spread) -> Vec<String> {
        (1..=spread.organizations.max(1))
            .map(|number| name("org", number))
            .collect()
    }
}

fn request(row: &csv::StringRecord) -> Result<Request, String> {
    let cell = |index| row.get(index).ok_or(format!("column {} is missing", index + 1));
    let tokens = |index| {
        let text = cell(index)?;
        text.trim()
            .parse::<u64>()
            .map_err(|_| format!("`{text}` is no number of tokens"))
    };
    let text = cell(0)?.trim();
    let at = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .map(|at| at.and_utc())
        .or_else(|_| text.parse::<DateTime<Utc>>())
        .map_err(|_| format!("`{text}` is no time like 2023-11-16 18:17:03.979"))?;
    let at = DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at);
    Ok(Request {
        at,
        input_tokens: tokens(1)?,
        output_tokens: tokens(2)?,
    })
}

fn item(trace: &str, row: usize, request: &Request, spread: Spread) -> Item {
    let id = format!("trace-{trace}-{row}");
    let dealt = |what, over: usize, turn| (over > 0).then(|| name(what, deal(row, turn) % over + 1));
    let usage = Usage {
        completed_at: request.at,
        source: "openai-compat".to_owned(),
        organization: name("org", deal(row, 1) % spread.organizations.max(1) + 1),
        agent: dealt("agent", spread.agents, 2),
        user: dealt("user", spread.users, 3),
        model: dealt("model", spread.models, 4),
        provider: (spread.models > 0).then(|| "azure".to_owned()),
        team: None,
        api_key: None,
        kind: "llm",
        outcome: Outcome::Completed,
        input_tokens: request.input_tokens,
        cached_input_tokens: 0,
        cache_write_tokens: 0,
        output_tokens: request.output_tokens,
        reasoning_tokens: 0,
        images: 0,
        cost_nanos: None,
    };
    let event = render(&usage, Some(&id), TimeForm::Text, CostForm::Amount);
    Item {
        verdict: Verdict::Counted(Box::new(usage)),
        event,
        document_id: Bson::String(id),
    }
}

fn name(what: &str, number: usize) -> String {
    format!("{what}-{number:03}")
}

/// A number that looks random and depends on the row and the turn only (splitmix64).
fn deal(row: usize, turn: u64) -> usize {
    let mut mixed = (row as u64).wrapping_add(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // A third of the bits is plenty for counts of names.
    ((mixed ^ (mixed >> 31)) >> 42) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::traffic::Truth;

    fn azure(file: &str) -> Trace {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/azure-llm-2023");
        Trace::open(&folder.join(file)).expect("the trace")
    }

    fn truth(trace: &Trace, spread: Spread) -> Truth {
        let mut truth = Truth::default();
        for item in trace.items(spread) {
            truth.add(&item);
        }
        truth
    }

    #[test]
    fn the_traces_add_up_to_what_their_readme_says() {
        for (file, requests, input, output) in [
            ("code.csv", 8_819, 18_059_974, 245_896),
            ("conv.csv", 19_366, 22_361_870, 4_088_665),
        ] {
            let totals = truth(&azure(file), Spread::default()).totals;
            assert_eq!(
                (totals.requests, totals.input_tokens, totals.output_tokens),
                (requests, input, output)
            );
            assert_eq!(totals.unpriced_requests, requests);
        }
    }

    #[test]
    fn spreading_changes_the_names_and_no_sum() {
        let trace = azure("code.csv");
        let spread = Spread {
            organizations: 3,
            agents: 5,
            users: 50,
            models: 4,
        };
        let spread_out = truth(&trace, spread);
        assert_eq!(spread_out.totals, truth(&trace, Spread::default()).totals);
        let named: BTreeSet<_> = spread_out.organizations.keys().cloned().collect();
        assert_eq!(named, Trace::organizations(spread).into_iter().collect());
        let users: BTreeSet<_> = trace
            .items(spread)
            .map(|item| item.event["userId"].to_string())
            .collect();
        assert_eq!(users.len(), 50);
    }

    #[test]
    fn times_are_utc_and_ids_are_the_same_each_time() {
        let trace = azure("code.csv");
        let first = trace.items(Spread::default()).next().expect("an event");
        assert_eq!(first.event["completedAt"], "2023-11-16T18:17:03.979Z");
        assert_eq!(first.event["eventId"], "trace-code-0");
        let ids: BTreeSet<_> = trace
            .items(Spread::default())
            .map(|item| item.document_id.to_string())
            .collect();
        assert_eq!(ids.len(), trace.requests.len());
    }

    #[test]
    fn a_broken_line_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("broken.csv");
        std::fs::write(
            &path,
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,1,2\nnever,1,2\n",
        )
        .expect("written");
        let error = Trace::open(&path).expect_err("a broken line").to_string();
        assert!(error.contains("line 3") && error.contains("never"), "{error}");
    }
}

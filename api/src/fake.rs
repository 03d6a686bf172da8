//! The fake ledger of the tests: events go through the real fold, and questions to its rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDate, Utc};
use futures_util::Stream;
use rollup::counters::{Counter, Counters, Sums};
use rollup::event::{Dimensions, DocumentId, Event, Identity, Kind, NONE, UNATTRIBUTED, UNKNOWN};
use rollup::fold::{Delta, Fold, Grouping, Marginal};
use rollup::kept::Kept;
use rollup::period::{Calendar, Granularity, Period};
use sha2::{Digest, Sha256};

use crate::reader::{
    Freshness, Group, Key, Lane, PeriodTotals, Query, ReadError, Reader, Scope, Snapshot, Span, Verified,
    Version, Whose,
};
use crate::rows::{Dimension, Rows, dimensions};

/// The fake ledger.
#[derive(Clone, Default)]
pub(crate) struct FakeReader(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    rows: Arc<Delta>,
    commits: u64,
    lanes: Vec<Lane>,
    /// Granularities that were switched on later.
    later: Vec<Kept>,
    failure: Option<ReadError>,
    late_failure: Option<LateFailure>,
    /// The next so many snapshots are gone as soon as they are read.
    gone: u32,
    queries: Arc<Mutex<Vec<Query>>>,
    /// The spans whose totals were asked for.
    reads: Arc<Mutex<Vec<Span>>>,
    /// How many snapshots were opened.
    snapshots: u64,
    /// What is booked right after the next one.
    pending: Vec<Used>,
    /// The last commit that touched a period of an organization.
    touched: BTreeMap<(String, Period), u64>,
    letters: Vec<Letter>,
    /// How often dead letters changed.
    letter_changes: u64,
    /// How often they were counted.
    letter_reads: Arc<AtomicU64>,
    verified: Option<Verified>,
}

/// A dead letter: its day, its reason, and whose it is where that could be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Letter {
    pub(crate) day: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) organization: Option<&'static str>,
}

/// What goes wrong after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LateFailure {
    /// A ranking breaks off after so many groups.
    After(usize),
    /// The same, because its snapshot is gone.
    GoneAfter(usize),
}

fn gone() -> ReadError {
    ReadError::Gone(Arc::new(std::io::Error::other("too old")))
}

/// The fake ledger at one instant.
#[derive(Clone)]
pub(crate) struct Frozen {
    rows: Arc<Delta>,
    failure: Option<ReadError>,
    late_failure: Option<LateFailure>,
    queries: Arc<Mutex<Vec<Query>>>,
    reads: Arc<Mutex<Vec<Span>>>,
    touched: BTreeMap<(String, Period), u64>,
    freshness: Freshness,
    letters: Vec<Letter>,
    letter_reads: Arc<AtomicU64>,
}

/// A finished request.
#[derive(Debug, Clone)]
pub(crate) struct Used {
    at: DateTime<Utc>,
    dimensions: Dimensions<Cow<'static, str>>,
    counters: Counters,
}

/// One request of organization `acme` that day.
pub(crate) fn used(day: &str) -> Used {
    used_at(&format!("{day}T12:00:00Z"))
}

/// One request of organization `acme` at this instant.
pub(crate) fn used_at(instant: &str) -> Used {
    let mut counters = Counters::default();
    counters[Counter::Requests] = 1;
    counters[Counter::UnpricedRequests] = 1;
    Used {
        at: instant.parse().expect(instant),
        dimensions: Dimensions {
            organization: "acme".into(),
            agent: UNATTRIBUTED.into(),
            provider: UNKNOWN.into(),
            model: UNKNOWN.into(),
            user: UNATTRIBUTED.into(),
            team: NONE.into(),
            api_key: NONE.into(),
            source: "chat".into(),
            kind: Kind::Llm,
        },
        counters,
    }
}

impl Used {
    pub(crate) fn with(mut self, dimension: Dimension, value: &str) -> Self {
        let slot = match dimension {
            Dimension::Organization => &mut self.dimensions.organization,
            Dimension::Agent => &mut self.dimensions.agent,
            Dimension::Provider => &mut self.dimensions.provider,
            Dimension::Model => &mut self.dimensions.model,
            Dimension::User => &mut self.dimensions.user,
            Dimension::Team => &mut self.dimensions.team,
            Dimension::ApiKey => &mut self.dimensions.api_key,
            Dimension::Source => &mut self.dimensions.source,
            Dimension::Kind => {
                self.dimensions.kind = Kind::ALL
                    .into_iter()
                    .find(|kind| kind.name() == value)
                    .expect(value);
                return self;
            }
        };
        *slot = value.to_owned().into();
        self
    }

    pub(crate) fn counting(mut self, counter: Counter, value: i64) -> Self {
        if counter == Counter::CostNanos {
            self.counters[Counter::UnpricedRequests] = 0;
        }
        self.counters[counter] = value;
        self
    }

    pub(crate) fn cost(self, nanos: i64) -> Self {
        self.counting(Counter::CostNanos, nanos)
    }
}

impl FakeReader {
    fn state<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        edit(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Books usage in one commit.
    pub(crate) fn book(&self, usage: impl IntoIterator<Item = Used>) {
        let granularities = Granularity::ALL;
        let mut touched = BTreeSet::new();
        let mut fold = Fold::new(Grouping::new(Calendar::UTC, &granularities).expect("with days"));
        for used in usage {
            let period = |granularity| Calendar::UTC.period_of(granularity, used.at);
            let organization = &used.dimensions.organization;
            touched.extend(granularities.map(|granularity| (organization.to_string(), period(granularity))));
            let event = Event {
                identity: Identity::Document(DocumentId::None),
                completed_at_ms: used.at.timestamp_millis(),
                dimensions: used.dimensions,
                counters: used.counters,
                is_cost_rounded: false,
            };
            fold.add(&event).expect("in the calendar");
        }
        self.state(|state| {
            fold.close_into(Arc::make_mut(&mut state.rows));
            state.commits += 1;
            let commit = state.commits;
            state
                .touched
                .extend(touched.into_iter().map(|place| (place, commit)));
        });
    }

    /// Changes which dead letters wait.
    pub(crate) fn set_letters(&self, letters: impl IntoIterator<Item = Letter>) {
        self.state(|state| {
            state.letters = letters.into_iter().collect();
            state.letter_changes += 1;
        });
    }

    /// How often dead letters were counted since the last time.
    pub(crate) fn take_letter_reads(&self) -> u64 {
        self.state(|state| state.letter_reads.swap(0, Ordering::SeqCst))
    }

    pub(crate) fn set_later(&self, later: Kept) {
        self.state(|state| state.later = vec![later]);
    }

    /// Rows were compared with their entries.
    pub(crate) fn set_verified(&self, verified: Verified) {
        self.state(|state| state.verified = Some(verified));
    }

    pub(crate) fn set_lanes(&self, lanes: Vec<Lane>) {
        self.state(|state| state.lanes = lanes);
    }

    /// From now on nothing can be read; `None` mends it.
    pub(crate) fn fail(&self, failure: Option<ReadError>) {
        self.state(|state| state.failure = failure);
    }

    /// From now on reading begins well.
    pub(crate) fn fail_late(&self, failure: LateFailure) {
        self.state(|state| state.late_failure = Some(failure));
    }

    /// The next so many snapshots are gone as soon as they are read.
    pub(crate) fn lose_snapshots(&self, count: u32) {
        self.state(|state| state.gone = count);
    }

    /// Books usage right after somebody has opened a snapshot.
    pub(crate) fn book_after_next_snapshot(&self, usage: impl IntoIterator<Item = Used>) {
        self.state(|state| state.pending = usage.into_iter().collect());
    }

    /// How many snapshots were opened.
    pub(crate) fn snapshots(&self) -> u64 {
        self.state(|state| state.snapshots)
    }

    /// The spans whose totals were asked for since the last time.
    pub(crate) fn take_reads(&self) -> Vec<Span> {
        let reads = self.state(|state| Arc::clone(&state.reads));
        std::mem::take(&mut reads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was asked since the last time.
    pub(crate) fn take_queries(&self) -> Vec<Query> {
        let queries = self.state(|state| Arc::clone(&state.queries));
        std::mem::take(&mut queries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn version(changes: u64) -> Version {
    Version(Sha256::digest(changes.to_be_bytes()).into())
}

impl Reader for FakeReader {
    type Snapshot = Frozen;

    async fn snapshot(&self) -> Result<Frozen, ReadError> {
        let (frozen, pending) = self.state(|state| {
            state.snapshots += 1;
            // A store that is away is noticed at once; one that fails, when it is asked.
            if let Some(error @ ReadError::Unavailable(_)) = &state.failure {
                return Err(error.clone());
            }
            let is_gone = state.gone > 0;
            state.gone = state.gone.saturating_sub(1);
            let frozen = Frozen {
                rows: Arc::clone(&state.rows),
                failure: if is_gone {
                    Some(gone())
                } else {
                    state.failure.clone()
                },
                late_failure: state.late_failure,
                queries: Arc::clone(&state.queries),
                reads: Arc::clone(&state.reads),
                touched: state.touched.clone(),
                freshness: Freshness {
                    lanes: state.lanes.clone(),
                    later: state.later.clone(),
                    version: version(state.commits),
                    letters: version(state.letter_changes),
                    verified: state.verified,
                },
                letters: state.letters.clone(),
                letter_reads: Arc::clone(&state.letter_reads),
            };
            Ok((frozen, std::mem::take(&mut state.pending)))
        })?;
        if !pending.is_empty() {
            self.book(pending);
        }
        Ok(frozen)
    }
}

/// A row of either collection: its organization, period, dimensions and sums.
type AnyRow<'a> = (&'a str, Period, BTreeMap<Dimension, &'a str>, &'a Sums);

impl Frozen {
    fn rows(&self, rows: Rows) -> Vec<AnyRow<'_>> {
        match rows {
            Rows::Ledger => self
                .rows
                .ledger
                .values()
                .map(|row| {
                    let d = &row.dimensions;
                    let parts = [
                        (Dimension::Organization, &*d.organization),
                        (Dimension::Agent, &*d.agent),
                        (Dimension::Provider, &*d.provider),
                        (Dimension::Model, &*d.model),
                        (Dimension::User, &*d.user),
                        (Dimension::Team, &*d.team),
                        (Dimension::ApiKey, &*d.api_key),
                        (Dimension::Source, &*d.source),
                        (Dimension::Kind, d.kind.name()),
                    ];
                    (&*d.organization, row.period, parts.into(), &row.booked.sums)
                })
                .collect(),
            Rows::Rollups(marginal) => self
                .rows
                .rollups
                .values()
                .filter(|row| row.marginal == marginal)
                .map(|row| {
                    let mut parts: BTreeMap<_, _> = [(Dimension::Organization, &*row.organization)].into();
                    if let Some(dimension) = dimensions(marginal).first().copied() {
                        parts.insert(dimension, &row.value);
                    }
                    if let Some(provider) = &row.provider {
                        parts.insert(Dimension::Provider, provider);
                    }
                    (&*row.organization, row.period, parts, &row.booked.sums)
                })
                .collect(),
        }
    }

    fn groups(&self, query: &Query) -> Result<Vec<Group>, ReadError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let filters: Vec<(Dimension, BTreeSet<&str>)> = query
            .filters
            .iter()
            .map(|(dimension, values)| (*dimension, values.iter().map(String::as_str).collect()))
            .collect();
        let mut read = 0;
        let mut groups: BTreeMap<(Key, Option<Period>), Sums> = BTreeMap::new();
        for (organization, period, parts, sums) in self.rows(query.rows) {
            let part = |dimension: &Dimension| *parts.get(dimension).expect("a dimension of these rows");
            let selected = in_scope(&query.scope, organization)
                && query
                    .cover
                    .iter()
                    .any(|span| span.first <= period && period <= span.last)
                && filters
                    .iter()
                    .all(|(dimension, values)| values.contains(part(dimension)));
            let key: Key = query
                .group_by
                .iter()
                .map(|dimension| part(dimension).into())
                .collect();
            if !selected || query.keys.as_ref().is_some_and(|keys| !keys.contains(&key)) {
                continue;
            }
            read += 1;
            if read > query.row_limit {
                return Err(ReadError::TooManyRows(query.row_limit));
            }
            let group = groups
                .entry((key, query.by_period.then_some(period)))
                .or_default();
            for counter in &query.counters {
                group[*counter] += sums[*counter];
            }
        }
        let mut groups = groups
            .into_iter()
            .map(|((key, period), sums)| {
                let counters = sums.narrow().map_err(|error| ReadError::Overflow(error.0))?;
                Ok(Group {
                    key,
                    period,
                    counters,
                })
            })
            .collect::<Result<Vec<_>, ReadError>>()?;
        if let Some(order) = query.order {
            groups.sort_by_key(|group| {
                let metric = group.counters[order.0];
                (
                    std::cmp::Reverse((metric, group.counters[Counter::TotalTokens])),
                    group.key.clone(),
                )
            });
        }
        Ok(groups)
    }
}

fn in_scope(scope: &Scope, organization: &str) -> bool {
    match scope {
        Scope::Organizations(these) => these.iter().any(|one| one == organization),
        Scope::AllExcept(these) => these.iter().all(|one| one != organization),
    }
}

impl Snapshot for Frozen {
    fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    fn for_others(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn sums(&self, query: Query) -> impl Stream<Item = Result<Group, ReadError>> + Send + 'static {
        let mut groups = self.groups(&query);
        let late = match (self.late_failure, &mut groups, query.order) {
            (Some(failure), Ok(groups), Some(_)) => Some(match failure {
                LateFailure::After(count) => {
                    groups.truncate(count);
                    ReadError::Unavailable(Arc::new(std::io::Error::other("away")))
                }
                LateFailure::GoneAfter(count) => {
                    groups.truncate(count);
                    gone()
                }
            }),
            _ => None,
        };
        self.queries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(query);
        let (groups, failure) = match groups {
            Ok(groups) => (groups, late),
            Err(error) => (Vec::new(), Some(error)),
        };
        futures_util::stream::iter(groups.into_iter().map(Ok).chain(failure.map(Err)))
    }

    async fn period_totals(&self, organization: &str, span: Span) -> Result<Vec<PeriodTotals>, ReadError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let mut found = Vec::new();
        for (owner, period, _, sums) in self.rows(Rows::Rollups(Marginal::Organization)) {
            if owner != organization || period < span.first || span.last < period {
                continue;
            }
            let counters = sums.narrow().map_err(|error| ReadError::Overflow(error.0))?;
            let commit = self.touched.get(&(owner.to_owned(), period));
            found.push(PeriodTotals {
                period,
                counters,
                version: Version(Sha256::digest(format!("{period} {sums:?} {commit:?}")).into()),
            });
        }
        self.reads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(span);
        Ok(found)
    }

    async fn rejected(&self, whose: &Whose, days: Span) -> Result<BTreeMap<String, u64>, ReadError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.letter_reads.fetch_add(1, Ordering::SeqCst);
        let is_meant = |letter: &&Letter| {
            let day = Period::parse(Granularity::Daily, letter.day).expect(letter.day);
            let is_theirs = match (whose, letter.organization) {
                (Whose::Of(scope), Some(organization)) => in_scope(scope, organization),
                (Whose::Nobody, None) => true,
                (Whose::Of(_), None) | (Whose::Nobody, Some(_)) => false,
            };
            is_theirs && days.first <= day && day <= days.last
        };
        let mut reasons = BTreeMap::new();
        for letter in self.letters.iter().filter(is_meant) {
            *reasons.entry(letter.reason.to_owned()).or_default() += 1;
        }
        Ok(reasons)
    }

    async fn bounds(&self, scope: &Scope) -> Result<Option<(NaiveDate, NaiveDate)>, ReadError> {
        let rows = self.rows(Rows::Rollups(Marginal::Organization));
        let days = rows
            .iter()
            .filter(|row| in_scope(scope, row.0) && row.1.granularity() == Granularity::Daily)
            .map(|row| row.1.first_day());
        Ok(days.clone().min().zip(days.max()))
    }
}

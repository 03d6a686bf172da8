//! All rows, page by page, each page beside the entries of its instant.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ingest::lane::LaneId;
use mongodb::bson::Timestamp;
use rollup::audit::compare::{self, Difference};
use rollup::audit::key::{Row, RowKey};
use rollup::audit::sums::RowSums;
use rollup::journal::Damaged;
use rollup::period::Granularity;
use tokio::time::{Instant, sleep};

use super::chain::{Chain, New};
use super::entries::Summing;
use super::files::Unnamed;
use super::finding::Finding;
use super::progress::Progress;
use super::scope::Scope;
use crate::store::fences::StoredFence;
use crate::store::journal::Unread;
use crate::store::reader::audit::{Audit, Described, Moment, ReadFault, RowPage};
use crate::store::{self, Store};

/// Rows of the first page.
const ROWS: usize = 5_000;
/// Rows of a page, at least and at most.
const LEAST_ROWS: usize = 100;
const MOST_ROWS: usize = 50_000;
/// For so long one instant is read.
const LONG: Duration = Duration::from_secs(30);
/// The same of the journal, so that rows can be read after it.
const LONG_FOLLOWING: Duration = Duration::from_secs(15);
/// A page that takes no longer may be twice as large: some servers look at all rows that follow, however few are read.
const SHORT: Duration = Duration::from_secs(12);
/// So often reading is tried again, one time after the other.
const TRIES: u32 = 8;
/// The first pause before that; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(200);

/// Rows cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What memory does not hold cannot be kept.
    #[error(
        "sums of entries cannot be kept in the folder for temporary files: {0}; make room there, name another folder by \
         TMPDIR, or raise USAGE_LEDGER_VERIFY_MEMORY"
    )]
    Files(#[from] io::Error),
    /// It was tried again and again.
    #[error("{0}")]
    GivenUp(String),
}

/// What was compared of one instant.
pub struct Page {
    /// The rows that are not what they must be.
    pub differences: Vec<Difference>,
    /// Rows that were compared.
    pub compared: u64,
    /// How often a job had changed rows.
    pub revision: i64,
    /// The last row of the page; `None`: no others follow.
    pub up_to: Option<RowKey>,
    /// Entries may be lost of periods that begin before this, in milliseconds.
    pub lost_until_ms: Option<i64>,
    /// Of the last page: what else is wrong, and what could not be compared.
    pub end: Option<End>,
}

/// What is told besides rows.
#[derive(Debug, Default)]
pub struct End {
    /// Of documents of the journal, of fences and of letters.
    pub findings: Vec<Finding>,
    /// What could not be compared, and why.
    pub not_compared: Vec<(String, String)>,
}

/// All rows of a scope, page by page.
pub struct Pass {
    audit: Audit,
    scope: Scope,
    summing: Summing<Unnamed>,
    chains: BTreeMap<LaneId, Chain>,
    /// The last row that was compared.
    after: Option<RowKey>,
    is_done: bool,
    /// Rows of a page.
    rows: usize,
    /// The last instant that was read.
    at: Option<Timestamp>,
    ledger: Described,
    progress: Progress,
}

impl Pass {
    /// Looks at the ledger. Nothing is compared yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn begin(
        store: &Store,
        scope: Scope,
        memory: usize,
        mut progress: Progress,
    ) -> Result<Self, Error> {
        let audit = store.audit().await?;
        let mut moment = audit.moment().await.map_err(unread)?;
        let lanes = moment.lanes().await.map_err(unread)?;
        let fences = moment.fences.iter().map(|fence| LaneId::from_stored(&fence.lane));
        let counted = moment
            .fences
            .iter()
            .map(|fence| u64::try_from(fence.counted).unwrap_or(0));
        progress.expect(counted.sum(), moment.about_rows().await.map_err(unread)?);
        let chains = lanes
            .into_iter()
            .chain(fences)
            .map(|lane| (lane.clone(), Chain::new(lane)));
        let granularities = moment.ledger.granularities.clone();
        Ok(Self {
            summing: Summing::new(scope.clone(), granularities, RowSums::new(memory, Unnamed)),
            chains: chains.collect(),
            ledger: moment.ledger,
            audit,
            scope,
            after: None,
            is_done: false,
            rows: ROWS,
            at: None,
            progress,
        })
    }

    /// What kind of ledger it is.
    #[must_use]
    pub const fn ledger(&self) -> &Described {
        &self.ledger
    }

    /// The granularities whose rows follow from the entries.
    #[must_use]
    pub fn granularities(&self) -> &[Granularity] {
        self.summing.comparable()
    }

    /// The journals of the lanes, as far as they were read.
    pub fn chains(&self) -> impl Iterator<Item = (&LaneId, &Chain)> {
        self.chains.iter()
    }

    /// Entries that were summed.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.summing.entries()
    }

    /// Compares the next rows. `None`: there are no more.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn page(&mut self) -> Result<Option<Page>, Error> {
        let mut tries = 0;
        while !self.is_done {
            let began = Instant::now();
            let why = match self.read().await? {
                Ok(None) => {
                    tries = 0;
                    continue;
                }
                Ok(Some((rows, moment))) => {
                    self.learn(began.elapsed());
                    return self.compare(rows, moment).await.map(Some);
                }
                Err(ReadFault::Failed(error)) => return Err(error.into()),
                Err(ReadFault::Gone) => {
                    self.rows = (self.rows / 2).max(LEAST_ROWS);
                    "the server keeps snapshots for too short a time".to_owned()
                }
                Err(ReadFault::Passing(why)) => why,
            };
            tries += 1;
            if tries >= TRIES {
                return Err(Error::GivenUp(why));
            }
            tracing::debug!(why, "an instant could not be read; the next one is tried");
            sleep(PAUSE * 2_u32.pow(tries)).await;
        }
        Ok(None)
    }

    fn learn(&mut self, took: Duration) {
        if took > LONG {
            self.rows = (self.rows / 2).max(LEAST_ROWS);
        } else if took < SHORT {
            self.rows = (self.rows * 2).min(MOST_ROWS);
        }
    }

    /// Reads an instant: the journal to its end, and then rows. `None`: the journal goes on for too long to read rows of
    /// the same instant.
    async fn read(&mut self) -> Result<Result<Option<(Rows, Moment)>, ReadFault>, Error> {
        let mut moment = match self.audit.moment().await {
            Ok(moment) => moment,
            Err(fault) => return Ok(Err(fault)),
        };
        // After a fail-over a server may not know yet what was read before.
        if moment.at < self.at {
            return Ok(Err(ReadFault::Passing(
                "the server is behind what was read".into(),
            )));
        }
        self.at = moment.at;
        match self.follow(&mut moment).await? {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(None)),
            Err(fault) => return Ok(Err(fault)),
        }
        let organization = self.scope.organization.as_deref();
        let page = match moment.rows(self.after.as_ref(), organization, self.rows).await {
            Ok(page) => page,
            Err(fault) => return Ok(Err(fault)),
        };
        let end = match &page.up_to {
            Some(_) => None,
            None => match self.end(&mut moment).await {
                Ok(end) => Some(end),
                Err(fault) => return Ok(Err(fault)),
            },
        };
        Ok(Ok(Some((Rows { page, end }, moment))))
    }

    /// Reads on in the journal of each lane. Whether to their ends.
    async fn follow(&mut self, moment: &mut Moment) -> Result<Result<bool, ReadFault>, Error> {
        let began = Instant::now();
        for fence in &moment.fences {
            let lane = LaneId::from_stored(&fence.lane);
            let chain = || Chain::new(lane.clone());
            self.chains.entry(lane.clone()).or_insert_with(chain);
        }
        for (lane, chain) in &mut self.chains {
            loop {
                let (documents, are_all) = match moment.journal(lane, chain.read_from()).await {
                    Ok(read) => read,
                    Err(fault) => return Ok(Err(fault)),
                };
                for found in &documents {
                    if found.written.as_ref().err() == Some(&Unread::Newer) {
                        return Err(newer());
                    }
                    let New::From(commit) = chain.follow(found) else {
                        continue;
                    };
                    if let Ok(written) = &found.written {
                        let counted = self.summing.add(&written.entries, commit)?;
                        if let Err(Damaged::Version(_)) = counted {
                            return Err(newer());
                        }
                        chain.counted(found, counted.map_err(|damaged| damaged.to_string()));
                    }
                }
                self.progress.summed(self.summing.entries());
                if are_all {
                    break;
                }
                if began.elapsed() > LONG_FOLLOWING {
                    return Ok(Ok(false));
                }
            }
        }
        Ok(Ok(began.elapsed() <= LONG_FOLLOWING))
    }

    async fn compare(&mut self, rows: Rows, moment: Moment) -> Result<Page, Error> {
        let (scope, granularities) = (&self.scope, self.ledger.granularities.clone());
        let comparable = self.summing.comparable().to_vec();
        let is_compared = |row: Option<&Row>| match row {
            Some(row) => scope.holds(row, &granularities) && comparable.contains(&row.period().granularity()),
            None => scope.holds_strays(),
        };
        let Rows { page, end } = rows;
        let stored = page.rows.into_iter().filter(|row| is_compared(row.row.as_ref()));
        let mut differences = Vec::new();
        let compared = compare::page(stored, page.up_to.as_ref(), self.summing.sums()?, |difference| {
            if is_compared(difference.row.as_ref()) {
                differences.push(difference);
            }
        })?;
        self.is_done = page.up_to.is_none();
        self.after.clone_from(&page.up_to);
        self.progress.compared(compared);
        Ok(Page {
            differences,
            compared,
            revision: moment.ledger.revision,
            up_to: page.up_to,
            lost_until_ms: self.lost_until_ms(&moment),
            end,
        })
    }

    /// Until when entries may be lost.
    fn lost_until_ms(&self, moment: &Moment) -> Option<i64> {
        let until = self.chains.iter().map(|(lane, chain)| {
            let mut fences = moment.fences.iter();
            let fence = fences.find(|fence| fence.lane == lane.as_str());
            let newest = chain.is_newest_lost(fence).then_some(i64::MAX);
            chain.lost_until_ms().max(newest)
        });
        until.max().flatten()
    }

    /// Reads the journal of each lane to its end, of one instant: its fences come with it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn to_the_end(&mut self) -> Result<Vec<StoredFence>, Error> {
        let mut tries = 0;
        loop {
            let read = match self.audit.moment().await {
                Ok(mut moment) => self
                    .follow(&mut moment)
                    .await?
                    .map(|is_end| (is_end, moment.fences)),
                Err(fault) => Err(fault),
            };
            match read {
                Ok((true, fences)) => return Ok(fences),
                Ok((false, _)) => tries = 0,
                Err(fault @ ReadFault::Failed(_)) => return Err(unread(fault)),
                Err(fault) => {
                    tries += 1;
                    if tries >= TRIES {
                        return Err(unread(fault));
                    }
                    sleep(PAUSE * 2_u32.pow(tries)).await;
                }
            }
        }
    }

    /// What is told besides rows, of the instant of the last ones.
    async fn end(&self, moment: &mut Moment) -> Result<End, ReadFault> {
        let mut end = End::default();
        let fences: BTreeMap<LaneId, _> = moment
            .fences
            .clone()
            .into_iter()
            .map(|fence| (LaneId::from_stored(&fence.lane), fence))
            .collect();
        for (lane, chain) in &self.chains {
            let fence = fences.get(lane);
            end.findings.extend(chain.faults().iter().cloned());
            end.findings.extend(chain.faults_of(fence));
            if chain.lost_until_ms().is_some() || chain.is_newest_lost(fence) {
                end.not_compared.push((
                    format!("entries of the lane `{lane}` that are lost"),
                    "documents of its journal are missing or damaged: rows may hold more than is left of it"
                        .into(),
                ));
            }
            if let Some(fence) = fence {
                let expected = chain.letters().unwrap_or(fence.dead_letter);
                letters(lane, fence, expected, moment, &mut end).await?;
            }
        }
        let kept = &self.ledger.granularities;
        let comparable = self.summing.comparable();
        for granularity in kept.iter().filter(|one| !comparable.contains(one)) {
            end.not_compared.push((
                format!("rows of granularity `{}`", granularity.name()),
                "entries were booked to longer periods".into(),
            ));
        }
        Ok(end)
    }
}

/// Whether a lane has as many letters as it says.
async fn letters(
    lane: &LaneId,
    fence: &StoredFence,
    expected: i64,
    moment: &mut Moment,
    end: &mut End,
) -> Result<(), ReadFault> {
    let what = format!("letters of the lane `{lane}`");
    match moment.letters(lane).await? {
        None => {
            let why = "this user may not read `usageDeadLetters`";
            end.not_compared.push((what, why.into()));
        }
        Some(_) if !fence.gaps.is_empty() => {
            let why = "the lane was resumed: a record that was read again may have the letter that it had";
            end.not_compared.push((what, why.into()));
        }
        Some(found) if found != expected => {
            end.findings.push(Finding::of_letters(lane, found, expected));
        }
        Some(_) => {}
    }
    Ok(())
}

/// What was read of an instant.
struct Rows {
    page: RowPage,
    end: Option<End>,
}

/// What this program cannot read is no damage.
fn newer() -> Error {
    Error::GivenUp("documents of the journal were written by a newer program: use that one".into())
}

/// Why not even the begin was read.
pub(crate) fn unread(fault: ReadFault) -> Error {
    match fault {
        ReadFault::Failed(error) => error.into(),
        ReadFault::Passing(why) => Error::GivenUp(why),
        ReadFault::Gone => Error::GivenUp("the server keeps no snapshots".into()),
    }
}

//! All rows, page by page, each page beside the entries of its instant.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use chrono::NaiveDate;
use ingest::lane::LaneId;
use mongodb::bson::Timestamp;
use rollup::audit::compare::Difference;
use rollup::audit::key::RowKey;
use rollup::audit::sums::RowSums;
use rollup::journal::Damaged;
use rollup::period::{Granularity, Period};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::chain::{CLOCKS, Chain, New};
use super::entries::Summing;
use super::files::Unnamed;
use super::finding::Finding;
use super::pace::Pace;
use super::progress::Progress;
use super::reach::{Compared, Reach};
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
    /// The first day from which on all entries are read: days before are taken at their word. `None`: all are.
    reach: Option<NaiveDate>,
    /// What was found besides differences.
    compared: Compared,
    /// The last row that was compared.
    after: Option<RowKey>,
    is_done: bool,
    /// Rows of a page.
    rows: usize,
    /// The last instant that was read.
    at: Option<Timestamp>,
    ledger: Described,
    progress: Progress,
    pace: Pace,
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
        // Whatever is compared is compared with all of its entries.
        let from = scope.days.begin(moment.ledger.grouping.granularities());
        let reach = moment.ledger.reach.max(from);
        let counted: i64 = moment.fences.iter().map(|fence| fence.counted).sum();
        let (mut chains, mut left_out) = (BTreeMap::new(), 0);
        for lane in lanes {
            let (chain, before) = begin(&lane, from, &mut moment).await.map_err(unread)?;
            left_out += before;
            chains.insert(lane, chain);
        }
        let entries = u64::try_from(counted - left_out).unwrap_or(0);
        progress.expect(entries, moment.about_rows().await.map_err(unread)?);
        let grouping = moment.ledger.grouping.clone();
        Ok(Self {
            // A parent is beside all of its days, whichever of them are compared.
            summing: Summing::new(scope.with_siblings(), grouping, RowSums::new(memory, Unnamed)),
            chains,
            reach,
            compared: Compared::default(),
            ledger: moment.ledger,
            audit,
            scope,
            after: None,
            is_done: false,
            rows: ROWS,
            at: None,
            progress,
            pace: Pace::FULL,
        })
    }

    /// The same at this pace.
    #[must_use]
    pub const fn paced(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// What kind of ledger it is.
    #[must_use]
    pub const fn ledger(&self) -> &Described {
        &self.ledger
    }

    /// Whether a job that changes rows meanwhile makes pages disagree with each other: days were taken at their word.
    #[must_use]
    pub fn must_not_move(&self) -> bool {
        self.ledger.reach.is_some()
    }

    /// The first day of which all entries were read; `None`: of every day.
    #[must_use]
    pub const fn reach(&self) -> Option<NaiveDate> {
        self.reach
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

    /// Compares the next rows, and tells each that is not what it must be. `None`: there are no more.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn page(&mut self, mut found: impl FnMut(Difference)) -> Result<Option<Page>, Error> {
        let mut tries = 0;
        while !self.is_done {
            let began = Instant::now();
            let why = match self.read().await? {
                Ok(None) => {
                    tries = 0;
                    sleep(self.pace.rest_after(began.elapsed())).await;
                    continue;
                }
                Ok(Some((rows, moment))) => {
                    self.learn(began.elapsed());
                    let page = self.compare(rows, &moment, &mut found)?;
                    drop(moment);
                    sleep(self.pace.rest_after(began.elapsed())).await;
                    return Ok(Some(page));
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
            let rest = self.pace.rest_after(began.elapsed());
            sleep(rest.max(PAUSE * 2_u32.pow(tries))).await;
        }
        Ok(None)
    }

    fn learn(&mut self, took: Duration) {
        if took > LONG {
            self.rows = (self.rows / 2).max(LEAST_ROWS);
        } else if took < SHORT.min(self.pace.at_once) {
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
            let is_any_too_old = self.chains.entry(lane.clone()).or_insert_with(chain).know(fence);
            if is_any_too_old && self.after.is_some() {
                return Err(Error::GivenUp(
                    "entries became too old before they were read: USAGE_LEDGER_JOURNAL_KEEP is too short for this".into(),
                ));
            }
        }
        if self.after.is_none() {
            // What is old by now need not be compared. Later that would be in pages that were compared before.
            self.reach = self.reach.max(moment.ledger.reach);
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
                        // Other tasks of this thread go on elsewhere meanwhile.
                        let counted = block_in_place(|| self.summing.add(&written.entries.bytes, commit))?;
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
                if began.elapsed() > LONG_FOLLOWING.min(self.pace.at_once) {
                    return Ok(Ok(false));
                }
            }
        }
        Ok(Ok(began.elapsed() <= LONG_FOLLOWING))
    }

    /// Compares rows with the entries of the same instant.
    fn compare(&mut self, rows: Rows, moment: &Moment, found: impl FnMut(Difference)) -> Result<Page, Error> {
        let (Rows { page, end }, within) = (rows, self.within());
        let (summing, compared) = (&mut self.summing, &mut self.compared);
        let rows = block_in_place(|| {
            within.compare(page.rows, page.up_to.as_ref(), summing.sums()?, compared, found)
        })?;
        self.is_done = page.up_to.is_none();
        self.after.clone_from(&page.up_to);
        self.progress.compared(rows);
        let end = end.map(|mut end| {
            end.not_compared.extend(self.compared.left_out());
            end
        });
        Ok(Page {
            compared: rows,
            revision: moment.ledger.revision,
            up_to: page.up_to,
            lost_until_ms: self.lost_until_ms(moment),
            end,
        })
    }

    fn within(&self) -> Reach {
        Reach {
            scope: self.scope.clone(),
            ledger: self.ledger.clone(),
            first_day: self.reach,
            given_up_until_ms: self.chains.values().filter_map(Chain::given_up_until_ms).max(),
        }
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
            end.findings.extend(chain.faults().cloned());
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
        end.not_compared.extend(self.within().left_out());
        Ok(end)
    }
}

/// Where reading the journal of a lane begins, if only days from this one on are asked for; and how many events were
/// counted before that. A document is never dated before its entries by more than clocks differ.
async fn begin(
    lane: &LaneId,
    from: Option<NaiveDate>,
    moment: &mut Moment,
) -> Result<(Chain, i64), ReadFault> {
    let Some(from) = from else {
        return Ok((Chain::new(lane.clone()), 0));
    };
    let first_day = Period::holding(Granularity::Daily, from);
    let before = moment.ledger.grouping.calendar().start_of(first_day) - CLOCKS;
    Ok(match moment.last_before(lane, before).await? {
        Some((document, counted)) => (Chain::from(lane.clone(), document), counted),
        None => (Chain::new(lane.clone()), 0),
    })
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

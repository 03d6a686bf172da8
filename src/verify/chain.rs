//! The documents of a lane's journal, one after the other, whether each follows the one before.

use chrono::TimeDelta;
use ingest::journal::Document;
use ingest::lane::{ContentId, JournalHead, JournalId, LaneId};
use ingest::ledger::Tally;
use rollup::audit::compare::Value;

use super::finding::Finding;
use crate::store::fences::StoredFence;
use crate::store::journal::{End, Found, Unread};

/// Two clocks are never further apart.
pub(super) const CLOCKS: TimeDelta = TimeDelta::days(1);
/// The same, in milliseconds.
const CLOCKS_MS: i64 = CLOCKS.num_milliseconds();

/// How far a lane's journal was read.
#[derive(Debug, Clone)]
pub struct Chain {
    lane: LaneId,
    /// The newest document that was read.
    at: Option<JournalId>,
    last: Last,
    /// What became of the lane's records until there, where that is known.
    tally: Option<Tally>,
    /// Where it ends, as far as it is whole.
    end: Option<End>,
    /// What is wrong, and with which document.
    faults: Vec<(JournalId, Finding)>,
    /// Entries that were lost before or in a document are of periods that begin before this, in milliseconds.
    lost: Vec<(JournalId, i64)>,
    /// From which document on the journal began anew, and when (ms): a person gave up what was damaged before.
    begun_anew: Option<(JournalId, i64)>,
}

/// The content that comes before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// There is none: the next one is the first.
    None,
    /// It is not asked for: whatever comes next is where reading begins.
    Unasked,
    Content(ContentId),
    /// Nobody can tell: the document cannot be read.
    Damaged,
}

/// What of a document was not read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum New {
    /// Nothing.
    Nothing,
    /// Its commits from this one on.
    From(u32),
}

impl Chain {
    /// Nothing was read yet.
    #[must_use]
    pub const fn new(lane: LaneId) -> Self {
        Self {
            lane,
            at: None,
            last: Last::None,
            tally: None,
            end: None,
            faults: Vec::new(),
            lost: Vec::new(),
            begun_anew: None,
        }
    }

    /// Nothing was read yet, and nothing before this document is asked for.
    #[must_use]
    pub const fn from(lane: LaneId, first: JournalId) -> Self {
        let mut chain = Self::new(lane);
        (chain.at, chain.last) = (Some(first), Last::Unasked);
        chain
    }

    /// What the lane's fence says of documents that are not there, or do not matter any more. Whether any that were not
    /// read are old by now: they are not asked for.
    pub fn know(&mut self, fence: &StoredFence) -> bool {
        self.begun_anew = fence.begun_anew();
        let kept_after = fence.kept_after();
        let Some(JournalHead { id, content }) =
            kept_after.filter(|head| self.at.is_none_or(|at| at < head.id))
        else {
            return false;
        };
        (self.at, self.last, self.tally) = (Some(id), Last::Content(content), None);
        true
    }

    /// Whether a person gave up what was wrong with this document.
    fn is_given_up(&self, id: JournalId) -> bool {
        self.begun_anew.is_some_and(|(from, _)| id < from)
    }

    /// From where to read on: this document is known, at least in part.
    #[must_use]
    pub const fn read_from(&self) -> Option<JournalId> {
        self.at
    }

    /// What is wrong with the documents, but those that a person gave up.
    pub fn faults(&self) -> impl Iterator<Item = &Finding> {
        let left = self.faults.iter().filter(|(id, _)| !self.is_given_up(*id));
        left.map(|(_, fault)| fault)
    }

    /// Entries were lost, of periods that begin before this, in milliseconds.
    #[must_use]
    pub fn lost_until_ms(&self) -> Option<i64> {
        let left = self.lost.iter().filter(|(id, _)| !self.is_given_up(*id));
        left.map(|(_, until)| *until)
            .chain(self.given_up_until_ms())
            .max()
    }

    /// Entries were lost, of periods that begin before this, in milliseconds, and a person gave them up.
    #[must_use]
    pub fn given_up_until_ms(&self) -> Option<i64> {
        self.begun_anew.map(|(_, at_ms)| at_ms.saturating_add(CLOCKS_MS))
    }

    /// How many records became letters, as the journal says; `None`: nobody can tell.
    #[must_use]
    pub fn letters(&self) -> Option<i64> {
        self.tally.map(|tally| tally.dead_letter)
    }

    /// Takes in the next document. What of it is new.
    pub fn follow(&mut self, found: &Found) -> New {
        let is_behind = self.at.is_some_and(|at| found.id <= at);
        let written = match &found.written {
            // It was told before.
            Err(_) if is_behind && self.last != Last::Unasked => return New::Nothing,
            Err(Unread::Newer) => return New::Nothing,
            Err(Unread::Damaged(why)) => {
                self.damaged(found.id, why);
                return New::Nothing;
            }
            Ok(written) => written,
        };
        let known = |commit: ContentId| written.commits.iter().position(|other| other.content == commit);
        let from = match self.last {
            Last::Content(last) => match known(last) {
                Some(at) if at + 1 == written.commits.len() => return New::Nothing,
                Some(at) => at + 1,
                None => {
                    self.must_follow(found.id, written, Some(last));
                    0
                }
            },
            Last::None => {
                self.must_follow(found.id, written, None);
                0
            }
            Last::Damaged if is_behind => return New::Nothing,
            Last::Damaged | Last::Unasked => 0,
        };
        let Some(last) = written.commits.last() else {
            self.damaged(found.id, "it has no commits");
            return New::Nothing;
        };
        self.at = Some(found.id);
        self.last = Last::Content(last.content);
        New::From(u32::try_from(from).unwrap_or(u32::MAX))
    }

    fn must_follow(&mut self, id: JournalId, written: &Document, last: Option<ContentId>) {
        let is_anew =
            |(from, _)| written.previous.is_none() && id >= from && self.at.is_none_or(|at| at < from);
        if self.begun_anew.is_some_and(is_anew) {
            // What was given up was counted, and its entries are not known.
            self.tally = None;
            return;
        }
        if written.previous == last {
            return;
        }
        let number = |content: Option<ContentId>| {
            content.map_or(Value::Missing, |content| Value::Number(content.0.into()))
        };
        let (stored, expected) = (number(written.previous), number(last));
        // What comes before it is missing: its counts are no more known than its entries.
        self.tally = None;
        let first = written.commits.first();
        let first_ms = first.map_or(i64::MAX, |commit| commit.at.timestamp_millis());
        self.lost(id, first_ms);
        let fault = Finding::of_document(&self.lane, id, "previous", stored, expected);
        self.faults.push((id, fault));
    }

    fn damaged(&mut self, id: JournalId, why: &str) {
        self.at = Some(id);
        self.last = Last::Damaged;
        self.tally = None;
        // It may hold whatever was counted until now.
        self.lost(id, i64::MAX);
        let [told, wanted] = [why, "what was written"].map(|text| Value::Text(text.into()));
        let fault = Finding::of_document(&self.lane, id, "checksum", told, wanted);
        self.faults.push((id, fault));
    }

    fn lost(&mut self, id: JournalId, until_ms: i64) {
        self.lost.push((id, until_ms.saturating_add(CLOCKS_MS)));
    }

    /// The document that was followed last has so many new entries, all of them requests or not; or they cannot be read.
    pub fn counted(&mut self, found: &Found, entries: Result<Counted, String>) {
        let Ok(written) = &found.written else { return };
        let counted = match entries {
            Ok(counted) => counted,
            Err(why) => return self.damaged(found.id, &why),
        };
        let tally = written.tally;
        if let Some(before) = self.tally.replace(tally)
            && counted.are_requests
        {
            let expected = before.counted + counted.entries;
            if tally.counted != expected {
                let [stored, expected] = [tally.counted, expected].map(|number| Value::Number(number.into()));
                let fault = Finding::of_document(&self.lane, found.id, "tally.counted", stored, expected);
                self.faults.push((found.id, fault));
            }
        }
        let Some(head) = written.head() else { return };
        // A commit that only judged letters again moves no position.
        let (position, last) = self
            .end
            .take()
            .map(|end| (end.position, end.last))
            .unwrap_or_default();
        self.end = Some(End {
            head,
            tally,
            position: written.position.clone().or(position),
            last: written.last.or(last),
        });
    }

    /// What is wrong with the lane's fence, of the instant in which the journal was read to its end.
    #[must_use]
    pub fn faults_of(&self, fence: Option<&StoredFence>) -> Vec<Finding> {
        let mut faults = Vec::new();
        let newest = self.end.as_ref().map(|end| end.head);
        let head = fence.and_then(StoredFence::head);
        // Of a document that cannot be read its content is not known.
        let is_readable = self.last != Last::Damaged;
        let is_empty = self.has_begun_anew(head);
        let name = |head: Option<JournalHead>| {
            head.map_or(Value::Missing, |JournalHead { id, content }| {
                let (generation, seq) = (id.generation, id.seq);
                Value::Text(format!("{generation}/{seq} {}", content.0).into())
            })
        };
        let is_same = match is_readable {
            true => head == newest,
            false => head.map(|head| head.id) == self.at,
        };
        if !is_same && !is_empty {
            faults.push(Finding::of_fence(&self.lane, "journal", name(head), name(newest)));
        }
        let Some(fence) = fence else { return faults };
        let number = |number: i64| Value::Number(number.into());
        let read = fence.counted + fence.duplicate + fence.skipped + fence.dead_letter;
        let mut compare = |what: &str, stored: i64, expected: i64| {
            if stored != expected {
                faults.push(Finding::of_fence(
                    &self.lane,
                    what,
                    number(stored),
                    number(expected),
                ));
            }
        };
        compare("read", fence.read, read);
        if let Some(tally) = self.tally.filter(|_| is_readable && head == newest) {
            compare("counted", fence.counted, tally.counted);
            compare("duplicate", fence.duplicate, tally.duplicate);
            compare("skipped", fence.skipped, tally.skipped);
            compare("deadLetter", fence.dead_letter, tally.dead_letter);
        }
        faults
    }

    /// A person gave up everything that there is, and nothing was written since.
    fn has_begun_anew(&self, head: Option<JournalHead>) -> bool {
        head.is_none() && self.at.is_none_or(|at| self.is_given_up(at))
    }

    /// Where the journal ends, where its fence knows only what came before that: it was set back.
    #[must_use]
    pub fn beyond(&self, fence: Option<&StoredFence>) -> Option<&End> {
        let head = fence.and_then(StoredFence::head);
        let is_readable = self.last != Last::Damaged;
        self.end
            .as_ref()
            .filter(|end| is_readable && head.is_none_or(|head| head.id < end.head.id))
            .filter(|_| !self.has_begun_anew(head))
    }

    /// The journal ends, beyond what the fence knows, with a document that cannot be read.
    #[must_use]
    pub fn is_end_damaged(&self, fence: Option<&StoredFence>) -> bool {
        let head = fence.and_then(StoredFence::head);
        let is_beyond = self.at.is_some_and(|at| head.is_none_or(|head| at > head.id));
        self.last == Last::Damaged && is_beyond && !self.has_begun_anew(head)
    }

    /// The newest document of which the fence knows is not there: its entries are lost.
    #[must_use]
    pub fn is_newest_lost(&self, fence: Option<&StoredFence>) -> bool {
        let head = fence.and_then(StoredFence::head);
        head.is_some_and(|head| self.at.is_none_or(|at| head.id > at))
    }
}

/// What of a document was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Entries.
    pub entries: i64,
    /// Whether each of them is a request that was counted.
    pub are_requests: bool,
}

#[cfg(test)]
mod tests;

//! The windows of a lane as its journal holds them, and whether that is whole.

use ingest::dedupe::{Generation, Windows};
use ingest::journal::Document;
use ingest::lane::{JournalHead, JournalId, LaneId};
use ingest::lease::Life;
use ingest::ledger::FenceError;
use ingest::source::{Stop, StopReason};
use mongodb::ClientSession;
use mongodb::bson::{DateTime, doc};

use super::reading::Found;
use super::stored::read;
use crate::store::Store;
use crate::store::answer::answer;
use crate::store::fences::StoredFence;

/// What a lane's journal says of its windows, or why it cannot be trusted.
type Loaded = Result<Windows<Vec<Generation>>, Box<Stop>>;

impl Store {
    /// The ids of the lane's windows, oldest commit first: those of every document from the first that is needed to the
    /// one that the fence names. Open letters are not among them.
    pub(in crate::store) async fn windows_in_journal(
        &self,
        lane: &LaneId,
        fence: &StoredFence,
        session: &mut ClientSession,
        life: &Life,
    ) -> Result<Loaded, FenceError> {
        // First: whatever else is wrong, nobody may count again what is beyond the fence.
        if let Some(newest) = self.newest_beyond(lane, fence, session).await? {
            return Ok(Err(beyond(newest, fence.head())));
        }
        let journal = self.journal();
        let which = Self::journal_from(lane, fence.window_from());
        let found = journal
            .find(which)
            .projection(doc! {"entries": 0})
            .sort(doc! {"_id": 1});
        let mut cursor = answer(found.session(&mut *session).into_future()).await?;
        let (mut chain, mut windows) = (Chain::new(fence), Windows::default());
        while answer(cursor.advance(session)).await? {
            // There may be many.
            life.touch();
            let document = match read(cursor.current()) {
                Ok(document) => document,
                Err(why) => return Ok(Err(damaged(why))),
            };
            if let Err(stop) = chain.follow(&document) {
                return Ok(Err(stop));
            }
            let forgotten = &fence.forgotten;
            let are_whole = add(&mut windows.events, document.generations(0), forgotten.events)
                && add(&mut windows.scanned, document.generations(1), forgotten.scanned)
                && add(&mut windows.deleted, document.generations(2), forgotten.deleted);
            if !are_whole {
                let seq = document.id.seq;
                return Ok(Err(damaged(format!(
                    "the ids of the document of seq {seq} are not whole"
                ))));
            }
        }
        Ok(chain.end().map(|()| windows))
    }

    /// The newest document of a lane, where it lies beyond the one that the fence names. What was given up is before the
    /// window, and does not count.
    pub(in crate::store) async fn newest_beyond(
        &self,
        lane: &LaneId,
        fence: &StoredFence,
        session: &mut ClientSession,
    ) -> Result<Option<JournalId>, FenceError> {
        let (journal, head) = (self.journal(), fence.head());
        let newest = journal
            .find_one(Self::journal_from(lane, fence.window_from()))
            .sort(doc! {"_id": -1})
            .projection(doc! {"_id": 1});
        let newest = answer(newest.session(&mut *session).into_future()).await?;
        let newest = newest.as_deref().and_then(Found::id);
        Ok(newest.filter(|newest| head.is_none_or(|head| *newest > head.id)))
    }
}

/// Takes in what is not forgotten. Whether there was anything to take in.
fn add(
    window: &mut Vec<Generation>,
    generations: Option<Vec<Generation>>,
    forgotten_before: Option<DateTime>,
) -> bool {
    let before_ms = forgotten_before.map_or(i64::MIN, DateTime::timestamp_millis);
    let Some(generations) = generations else {
        return false;
    };
    let known = |generation: &Generation| generation.newest_ms >= before_ms;
    window.extend(generations.into_iter().filter(known));
    true
}

/// The documents as they follow each other, up to the one that the fence names.
struct Chain {
    head: Option<JournalHead>,
    /// The commit with which the window begins; `None`: nobody knows.
    begin: Option<JournalId>,
    last: Option<JournalHead>,
}

impl Chain {
    fn new(fence: &StoredFence) -> Self {
        Self {
            head: fence.head(),
            begin: fence.window_begin(),
            last: None,
        }
    }

    /// Whether the window begins in this document.
    fn begins_in(&self, document: &Document) -> bool {
        let holds = |begin: JournalId| {
            let mut commits = document.commits.iter();
            document.id.generation == begin.generation && commits.any(|commit| commit.seq == begin.seq)
        };
        self.begin.is_none_or(holds)
    }

    fn follow(&mut self, document: &Document) -> Result<(), Box<Stop>> {
        let id = document.id;
        if self.head.is_none_or(|head| id > head.id) {
            return Err(beyond(id, self.head));
        }
        match self.last {
            // Whatever lies before the window is not asked for here.
            None if self.begins_in(document) => {}
            None => {
                let seq = id.seq;
                return Err(damaged(format!(
                    "what was written before the document of seq {seq}, and is still needed, is missing"
                )));
            }
            Some(last) if document.previous == Some(last.content) => {}
            Some(last) => {
                let (seq, before) = (id.seq, last.id.seq);
                return Err(damaged(format!(
                    "what was written between the documents of seq {before} and {seq} is missing"
                )));
            }
        }
        self.last = document.head();
        Ok(())
    }

    fn end(&self) -> Result<(), Box<Stop>> {
        match (self.head, self.last) {
            (head, last) if head == last => Ok(()),
            (Some(head), _) => {
                let seq = head.id.seq;
                Err(damaged(format!("the newest document, of seq {seq}, is missing")))
            }
            (None, _) => Ok(()),
        }
    }
}

fn damaged(detail: String) -> Box<Stop> {
    Box::new(Stop {
        reason: StopReason::JournalDamaged,
        detail: format!("{detail}: duplicates could not be told from new events"),
        resumable: None,
    })
}

fn beyond(id: JournalId, head: Option<JournalHead>) -> Box<Stop> {
    let knows = head.map_or_else(|| "none".to_owned(), |head| format!("seq {}", head.id.seq));
    Box::new(Stop {
        reason: StopReason::FenceBehind,
        detail: format!(
            "the journal goes on to seq {} and the fence knows {knows}: it was set back, and would count again",
            id.seq
        ),
        resumable: None,
    })
}

#[cfg(test)]
mod tests {
    use ingest::journal::Boundary;
    use ingest::lane::ContentId;
    use ingest::ledger::Tally;
    use rollup::journal::Packed;

    use super::*;

    const fn head(seq: i64) -> JournalHead {
        JournalHead {
            id: JournalId { generation: 0, seq },
            content: ContentId(seq * 10),
        }
    }

    /// A document that follows this one.
    fn document(seq: i64, previous: Option<i64>) -> Document {
        Document {
            id: head(seq).id,
            edit: 0,
            previous: previous.map(|seq| head(seq).content),
            commits: vec![Boundary {
                seq,
                content: head(seq).content,
                at: chrono::DateTime::UNIX_EPOCH,
                entries: 0,
                ids: [0; 3],
                newest_ms: [None; 3],
            }],
            position: None,
            last: None,
            tally: Tally::default(),
            entries: Packed::default(),
            ids: Default::default(),
            quantities: 1,
        }
    }

    /// Of a fence that names the newest document and the commit with which the window begins.
    fn reason((newest, begin): (Option<i64>, i64), documents: &[(i64, Option<i64>)]) -> Option<StopReason> {
        let id = |seq: i64| JournalId { generation: 0, seq };
        let mut chain = Chain {
            head: newest.map(head),
            begin: newest.map(|_| id(begin)),
            last: None,
        };
        for (seq, previous) in documents {
            if let Err(stop) = chain.follow(&document(*seq, *previous)) {
                return Some(stop.reason);
            }
        }
        chain.end().err().map(|stop| stop.reason)
    }

    #[test]
    fn one_test_per_way_in_which_a_journal_is_whole_or_not() {
        let (damaged, behind) = (Some(StopReason::JournalDamaged), Some(StopReason::FenceBehind));
        for (fence, documents, expected) in [
            ((None, 0), &[][..], None),
            ((Some(3), 3), &[(3, Some(1))], None),
            ((Some(3), 1), &[(1, None), (3, Some(1))], None),
            ((Some(3), 1), &[(3, Some(1))], damaged),
            ((Some(3), 3), &[], damaged),
            ((Some(3), 1), &[(1, None)], damaged),
            ((Some(4), 1), &[(1, None), (4, Some(3))], damaged),
            ((Some(3), 1), &[(1, None), (3, Some(1)), (4, Some(3))], behind),
            ((Some(3), 3), &[(4, Some(3))], behind),
            ((None, 0), &[(1, None)], behind),
        ] {
            assert_eq!(reason(fence, documents), expected, "{fence:?} {documents:?}");
        }
    }
}

//! One attempt: the transaction, from its first statement to its commit or to giving it up.

use std::pin::pin;
use std::time::Duration;

use ingest::dedupe::Scope;
use ingest::journal::Document as Journaled;
use ingest::lane::LaneId;
use ingest::ledger::{Attempt, Commit};
use ingest::server_error::{Act, DUPLICATE_KEY, Fault, Place};
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, RawArrayBuf, doc, rawdoc};
use mongodb::options::{ReadConcern, WriteConcern};

use super::phases::{Phase, Stopwatch};
use crate::store::answer::silence;
use crate::store::event_ids::Changes;
use crate::store::leases::Leases;
use crate::store::pools::Pool;
use crate::store::rows::{Author, RowChanges, Rows, WriteError};
use crate::store::session::Sessions;
use crate::store::writes::{CHUNK, Writes};
use crate::store::{
    DEAD_LETTERS, EVENT_IDS, Error, FENCES, JOURNAL, Store, dead_letters, errors, fences, journal,
};

/// Connections for commits, at most: one transaction is under way, and perhaps another one is being given up.
const COMMIT_CONNECTIONS: u32 = 2;
/// How long the answer to a commit is waited for before its outcome is asked for. Longer than a transaction lives.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a commit that is waited for shows that the worker lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// How long aborting a transaction may take before its session is ended instead.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// A commit, with its rows as they are written.
pub(super) struct Work<'a> {
    pub(super) commit: &'a Commit,
    pub(super) rows: RowChanges<'a>,
    /// Told what is done.
    pub(super) watch: Stopwatch,
}

/// Why one attempt failed.
pub(super) enum AttemptError {
    /// A fence did not match: nothing was written.
    Fenced,
    /// A letter that was judged again is not marked any more, or documents that were to be merged have changed: nothing
    /// was written. The lane is to be read anew.
    Outdated(LaneId),
    /// An id is in the ledger already: nothing was written.
    DuplicateIds,
    /// A row is there that was known not to be, or the other way round: nothing was written.
    RowExists,
    /// An operation failed: nothing was written, unless it was the commit itself.
    Failed(Fault),
}

impl From<Fault> for AttemptError {
    fn from(fault: Fault) -> Self {
        AttemptError::Failed(fault)
    }
}

impl From<mongodb::error::Error> for AttemptError {
    fn from(error: mongodb::error::Error) -> Self {
        AttemptError::Failed(Fault::of(&error, Place::Transaction))
    }
}

impl From<WriteError> for AttemptError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::RowExists => AttemptError::RowExists,
            WriteError::RevisionMoved => AttemptError::Failed(Fault::retry("a job changed rows meanwhile")),
            WriteError::Failed(fault) => AttemptError::Failed(fault),
        }
    }
}

/// Makes attempts, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Attempts {
    /// For transactions alone. A session that was given up goes back to the driver, and is ended: nobody else may have
    /// got it by then.
    commits: Store,
    sessions: Sessions,
    leases: Leases,
    rows: Rows,
}

impl Attempts {
    /// Attempts to write to this store, and to these rows of it.
    pub(super) fn open(store: &Store, rows: Rows, leases: Leases) -> Result<Self, Error> {
        let commits = store.apart(Pool::Commits, COMMIT_CONNECTIONS, |_| {})?;
        Ok(Self {
            sessions: Sessions::new(commits.client.clone(), leases.clone()),
            commits,
            leases,
            rows,
        })
    }

    /// One attempt. `attempt` is cleared as soon as the fences match: see the module.
    pub(super) async fn make(
        &self,
        work: &Work<'_>,
        patience: Duration,
        attempt: &mut Attempt,
    ) -> Result<(), AttemptError> {
        work.watch.enter(Phase::Prepare);
        self.rows.probe_rows(&work.rows).await;
        work.watch.enter(Phase::Session);
        let taken = tokio::time::timeout(patience, self.sessions.take()).await;
        let mut session = taken.map_err(|_| AttemptError::Failed(silence()))??;
        let written = tokio::time::timeout(patience, self.begin(&mut session, work, attempt)).await;
        let Ok(written) = written else {
            work.watch.enter(Phase::Abort);
            return Err(AttemptError::Failed(self.give_up(session, *attempt).await));
        };
        let done = match written {
            Ok(()) => {
                work.watch.enter(Phase::Commit);
                self.end(&mut session, attempt).await
            }
            Err(broken) => {
                work.watch.enter(Phase::Abort);
                self.abort(session).await;
                return Err(broken);
            }
        };
        match &done {
            // Nobody knows whether its transaction is open still.
            Err(AttemptError::Failed(fault)) if fault.act == Act::Wait => {
                self.sessions.give_up(session).await;
            }
            _ => self.sessions.give_back(session),
        }
        done
    }

    /// Everything before the commit: nothing of it is applied.
    #[expect(clippy::disallowed_methods, reason = "this is the one transaction")]
    async fn begin(
        &self,
        session: &mut ClientSession,
        work: &Work<'_>,
        attempt: &mut Attempt,
    ) -> Result<(), AttemptError> {
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority())
            .await?;
        let mut writes = Writes {
            database: &self.commits.database,
            session,
            life: self.leases.life(),
        };
        self.write(&mut writes, work, attempt).await
    }

    /// Commits. Until the server has answered, the outcome is not known.
    async fn end(&self, session: &mut ClientSession, attempt: &mut Attempt) -> Result<(), AttemptError> {
        *attempt = Attempt::InDoubt;
        let commit = session.commit_transaction().into_future();
        let mut commit = pin!(tokio::time::timeout(COMMIT_TIMEOUT, commit));
        let mut signs = tokio::time::interval(SIGN_OF_LIFE);
        let committed = loop {
            tokio::select! {
                committed = &mut commit => break committed,
                _ = signs.tick() => self.leases.life().touch(),
            }
        };
        match committed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(AttemptError::Failed(Fault::of(&error, Place::Commit))),
            Err(_) => Err(AttemptError::Failed(silence())),
        }
    }

    /// Throws the transaction away. Whatever comes of that, one that is not committed is not applied.
    async fn abort(&self, mut session: ClientSession) {
        let aborted = tokio::time::timeout(ABORT_TIMEOUT, session.abort_transaction().into_future()).await;
        match aborted {
            Ok(Ok(())) => self.sessions.give_back(session),
            Ok(Err(error)) => {
                tracing::debug!(
                    error = errors::message(&error),
                    "a transaction was left to be aborted by the server"
                );
                self.sessions.give_back(session);
            }
            Err(_) => {
                self.sessions.give_up(session).await;
            }
        }
    }

    /// An attempt took too long, and its commit was not asked for: it will never be applied. What that means: while
    /// the server answers, that it was too much.
    async fn give_up(&self, session: ClientSession, attempt: Attempt) -> Fault {
        // Not merely aborted: of that the driver says neither whether it was sent nor what came of it.
        self.sessions.give_up(session).await;
        if self.leases.answers().await && !attempt.is_in_doubt() {
            Fault {
                act: Act::TakeLess,
                ..Fault::wait("the attempt took too long, and was given up")
            }
        } else {
            silence()
        }
    }

    async fn write(
        &self,
        writes: &mut Writes<'_>,
        work: &Work<'_>,
        attempt: &mut Attempt,
    ) -> Result<(), AttemptError> {
        let commit = work.commit;
        work.watch.enter(Phase::Fences);
        let fences: Vec<Document> = commit
            .lanes
            .iter()
            .map(|lane| fences::fence_move(lane, commit.content))
            .collect();
        let lanes = fences.len();
        if writes.update(FENCES, &fences).await? != lanes {
            return Err(AttemptError::Fenced);
        }
        *attempt = Attempt::Fresh;
        // What may stand in the way comes before what is a lot of work.
        if commit.scope == Scope::Ledger {
            work.watch.enter(Phase::EventIds);
            self.claim_event_ids(writes, commit).await?;
        }
        let at = DateTime::from_chrono(commit.at);
        let author = Author::Lanes(commit.content);
        work.watch.enter(Phase::Rows);
        self.rows.add(writes, &work.rows, author, commit.at).await?;
        work.watch.enter(Phase::Letters);
        self.keep_letters(writes, commit, at).await?;
        self.close_letters(writes, commit, at).await?;
        work.watch.enter(Phase::Journal);
        self.keep_journal(writes, commit).await?;
        Ok(())
    }

    async fn keep_letters(
        &self,
        writes: &mut Writes<'_>,
        commit: &Commit,
        at: DateTime,
    ) -> Result<(), AttemptError> {
        let mut kept = Vec::new();
        for lane in commit.lanes.iter().filter(|lane| !lane.letters.is_empty()) {
            let taken = self.commits.other_letters(writes.session, lane).await?;
            kept.extend(
                lane.letters
                    .iter()
                    .map(|letter| dead_letters::keep(lane, letter, &taken, self.rows.calendar(), at)),
            );
        }
        Ok(writes.update_all(DEAD_LETTERS, &kept).await?)
    }

    /// Makes the ids that are counted unique in the whole ledger.
    async fn claim_event_ids(&self, writes: &mut Writes<'_>, commit: &Commit) -> Result<(), AttemptError> {
        let Changes {
            inserts,
            updates,
            deletes,
        } = Changes::of(commit);
        for (command, list, statements, at_once) in [
            ("insert", "documents", inserts, CHUNK),
            ("update", "updates", updates, CHUNK),
            // Each names many ids.
            ("delete", "deletes", deletes, 1),
        ] {
            for statements in statements.chunks(at_once) {
                let command = doc! {command: EVENT_IDS, list: statements, "ordered": true};
                match writes.statements(&command).await? {
                    Ok(_) => {}
                    Err(refused) if refused.code == DUPLICATE_KEY => return Err(AttemptError::DuplicateIds),
                    Err(refused) => return Err(Fault::from(&refused).into()),
                }
            }
        }
        Ok(())
    }

    async fn close_letters(
        &self,
        writes: &mut Writes<'_>,
        commit: &Commit,
        at: DateTime,
    ) -> Result<(), AttemptError> {
        // All of these before any of those: a replay of one lane may be of a letter that another closes.
        for lane in &commit.lanes {
            let id = &lane.fence.lane;
            let replayed = lane
                .replayed
                .iter()
                .map(|letter| dead_letters::replayed(id, letter, at));
            for statements in replayed.collect::<Vec<_>>().chunks(CHUNK) {
                if writes.update(DEAD_LETTERS, statements).await? != statements.len() {
                    return Err(AttemptError::Outdated(id.clone()));
                }
            }
        }
        let mut closed = Vec::new();
        for lane in &commit.lanes {
            for which in dead_letters::closed_by(lane, commit.scope, CHUNK) {
                let ids = self.commits.some_letters(writes.session, which).await?;
                closed.extend((!ids.is_empty()).then(|| dead_letters::superseded(ids, at)));
            }
        }
        Ok(writes.update_all(DEAD_LETTERS, &closed).await?)
    }

    /// What was counted, event by event; and what was counted some time ago, in fewer documents.
    async fn keep_journal(&self, writes: &mut Writes<'_>, commit: &Commit) -> Result<(), AttemptError> {
        for lane in &commit.lanes {
            let id = &lane.fence.lane;
            if let Some(merge) = &lane.merge {
                let replaced = merge.replaced.iter();
                let deletes: Vec<Document> = replaced
                    .map(|(document, edit)| {
                        doc! {"q": {"_id": journal::id(id, *document), "edit": *edit}, "limit": 1}
                    })
                    .collect();
                for deletes in deletes.chunks(CHUNK) {
                    let command = doc! {"delete": JOURNAL, "deletes": deletes, "ordered": true};
                    let deleted = writes.statements(&command).await?;
                    if deleted.map_err(|refused| Fault::from(&refused))? != deletes.len() {
                        return Err(AttemptError::Outdated(id.clone()));
                    }
                }
            }
            let written = Journaled::of(lane, commit.content, commit.at);
            let merged = lane.merge.as_ref().and_then(|merge| merge.merged.as_ref());
            for document in merged.into_iter().chain(&written) {
                let mut documents = RawArrayBuf::new();
                documents.push(journal::document(id, document)?);
                let command = rawdoc! {"insert": JOURNAL, "documents": documents};
                let written = writes.command(command).await?;
                written.map_err(|refused| Fault::from(&refused))?;
            }
        }
        Ok(())
    }
}

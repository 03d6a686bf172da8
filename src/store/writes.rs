//! Commands that write, in a transaction.

use ingest::lease::Life;
use ingest::server_error::{Answer, DUPLICATE_KEY, Fault, Place};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{ClientSession, Database};

/// Statements in one command.
pub(super) const CHUNK: usize = 1_000;

/// The transaction of a session.
pub(super) struct Writes<'a> {
    pub(super) database: &'a Database,
    pub(super) session: &'a mut ClientSession,
    /// Each answer shows that the worker lives.
    pub(super) life: &'a Life,
}

impl Writes<'_> {
    /// One command that writes. How many documents it matched or inserted; or the statement that the server
    /// refused.
    pub(super) async fn command(&mut self, command: RawDocumentBuf) -> Result<Result<usize, Answer>, Fault> {
        let answer = self
            .database
            .run_raw_command(command)
            .session(&mut *self.session)
            .await;
        self.life.touch();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => match Answer::of(&error) {
                // Not every server tells it as an error of the statement.
                Some(refused) if refused.code == DUPLICATE_KEY => return Ok(Err(refused)),
                _ => return Err(Fault::of(&error, Place::Transaction)),
            },
        };
        if let Some(refused) = Answer::within(&answer) {
            return Ok(Err(refused));
        }
        let matched = answer
            .get_i32("n")
            .map_err(|_| Fault::wait("the server's answer to a write has no `n`"))?;
        Ok(Ok(usize::try_from(matched).unwrap_or(0)))
    }

    /// One command of documents that hold statements.
    pub(super) async fn statements(&mut self, command: &Document) -> Result<Result<usize, Answer>, Fault> {
        let command = RawDocumentBuf::try_from(command);
        let command = command.map_err(|error| Fault::of(&error.into(), Place::Transaction))?;
        self.command(command).await
    }

    /// One `update` command with many statements. How many documents it matched or inserted.
    pub(super) async fn update(&mut self, collection: &str, statements: &[Document]) -> Result<usize, Fault> {
        let command = doc! {"update": collection, "updates": statements, "ordered": true};
        let written = self.statements(&command).await?;
        written.map_err(|refused| Fault::from(&refused))
    }

    /// As many `delete` commands as it takes.
    pub(super) async fn delete_all(
        &mut self,
        collection: &str,
        statements: &[Document],
    ) -> Result<(), Fault> {
        for statements in statements.chunks(CHUNK) {
            let command = doc! {"delete": collection, "deletes": statements, "ordered": true};
            let written = self.statements(&command).await?;
            written.map_err(|refused| Fault::from(&refused))?;
        }
        Ok(())
    }

    /// As many `update` commands as it takes.
    pub(super) async fn update_all(
        &mut self,
        collection: &str,
        statements: &[Document],
    ) -> Result<(), Fault> {
        for statements in statements.chunks(CHUNK) {
            self.update(collection, statements).await?;
        }
        Ok(())
    }
}

//! The patience with which the database is waited for.
//!
//! A connection whose server is gone without a word stays silent for a quarter of an hour, and one that is held
//! somewhere for ever. So a question beside transactions is given up after a while, and its connection with
//! it: the driver closes one on which an answer is due still.

use std::time::Duration;

use ingest::ledger::FenceError;
use ingest::server_error::Fault;
use mongodb::error::Result as DriverResult;

use super::errors;

/// How long the answer to a question is waited for.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long the server may work on one: then it says so itself, and nothing is left behind there.
pub(super) const WORK: Duration = Duration::from_secs(8);
/// What it means that nobody answers.
const SILENCE: &str = "the database does not answer";

/// The same for a commit.
pub(super) fn silence() -> Fault {
    Fault::wait(SILENCE)
}

/// The answer to a question, whatever it is, if it comes in time.
pub(super) async fn in_time<Q: Future>(question: Q) -> Result<Q::Output, FenceError> {
    let answer = tokio::time::timeout(ANSWER, question).await;
    answer.map_err(|_| FenceError::Away(SILENCE.into()))
}

/// The answer to a question, if it comes in time and is none of the errors.
pub(super) async fn answer<Q, T>(question: Q) -> Result<T, FenceError>
where
    Q: Future<Output = DriverResult<T>>,
{
    in_time(question).await?.map_err(|error| errors::fence(&error))
}

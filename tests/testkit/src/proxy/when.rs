//! Rules in the making.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::Document;

use super::book::Book;
use super::command::Command;
use super::rule::{Answer, Armed, Delay, Effects, Failure, Form, Rule, Times};

/// A rule in the making: which times, then what. It begins to act with the end of its statement, or with
/// [`When::arm`], which gives the handle to its counts.
pub struct When {
    book: Arc<Book>,
    command: Command,
    times: Times,
    effects: Effects,
    entered: bool,
}

/// Which times.
impl When {
    pub(super) fn new(book: Arc<Book>, command: Command) -> Self {
        Self {
            book,
            command,
            times: Times::Always,
            effects: Effects::default(),
            entered: false,
        }
    }

    /// For the first command that matches only; without it for all of them.
    pub fn once(self) -> Self {
        self.first(1)
    }

    /// For the first `count` that match.
    pub fn first(mut self, count: u64) -> Self {
        self.times = Times::First(count);
        self
    }

    /// For the `nth` that matches from now on, counted from 1, and no other.
    ///
    /// # Panics
    /// When `nth` is 0.
    pub fn nth(mut self, nth: u64) -> Self {
        assert!(nth > 0, "the first match has the number 1");
        self.times = Times::Nth(nth);
        self
    }
}

/// What is done.
impl When {
    /// Answers with an error of the command (`ok: 0`).
    pub fn reply_error(self, code: i32, code_name: impl Into<String>) -> Self {
        self.fail(Form::Command, code, code_name.into())
    }

    /// Answers with a write error (`ok: 1`, `writeErrors`) at the first statement.
    pub fn reply_write_error(self, code: i32, message: impl Into<String>) -> Self {
        self.fail(Form::Write { statement: 0 }, code, String::new())
            .message(message)
    }

    /// Answers with a write concern error (`ok: 1`, `writeConcernError`).
    pub fn reply_write_concern_error(self, code: i32, code_name: impl Into<String>) -> Self {
        self.fail(Form::WriteConcern, code, code_name.into())
    }

    /// Answers with this.
    pub fn reply(self, reply: Document) -> Self {
        self.answer(Answer::Reply(reply))
    }

    /// The request does not reach the server, and its connection is closed.
    pub fn lose_request(self) -> Self {
        self.answer(Answer::Lose)
    }

    /// The server executes the command, its reply does not arrive, and its connection is closed: a lost
    /// acknowledgement.
    pub fn lose_reply(self) -> Self {
        self.answer(Answer::Lose).after_server()
    }

    /// The sentence of the error that was chosen before.
    ///
    /// # Panics
    /// When none was.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.failure("a message").message = message.into();
        self
    }

    /// The labels of the error that was chosen before.
    ///
    /// # Panics
    /// When none was.
    pub fn labels<L: Into<String>>(mut self, labels: impl IntoIterator<Item = L>) -> Self {
        self.failure("labels").labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// The statement (from 0) that the write error is about.
    ///
    /// # Panics
    /// When no write error was chosen before.
    pub fn at_statement(mut self, index: i32) -> Self {
        match &mut self.failure("a statement").form {
            Form::Write { statement } => *statement = index,
            _ => panic!("only a write error is about a statement"),
        }
        self
    }

    /// The server's transaction is aborted before the answer, as a server does that answers so. Nothing is to
    /// abort where the command is in none.
    pub fn aborting_transaction(mut self) -> Self {
        self.effects.aborts = true;
        self
    }

    /// The server executes the command first; what the rule does is done to its reply. An error of the command
    /// takes the reply's place, write errors and write concern errors stand beside what it says.
    pub fn after_server(mut self) -> Self {
        self.effects.after = true;
        self
    }

    /// Delays the command, and what its client sends after it on that connection.
    pub fn delay(self, delay: Duration) -> Self {
        self.delayed(Delay::Fixed(delay))
    }

    /// Delays by so much for each of the command's statements.
    pub fn delay_per_statement(self, each: Duration) -> Self {
        self.delayed(Delay::PerStatement(each))
    }

    /// Delays by so much for each statement of the transaction up to this command: of `commitTransaction`, for
    /// all of its statements.
    pub fn delay_per_transaction_statement(self, each: Duration) -> Self {
        self.delayed(Delay::PerTransactionStatement(each))
    }

    /// Holds the command, and its connection with it, until [`Rule::let_go`]; others go on. It counts as fired
    /// as soon as it is held.
    pub fn hold(mut self) -> Self {
        self.effects.holds = true;
        self
    }

    /// Changes the server's reply.
    pub fn edit_reply(mut self, edit: impl FnMut(&mut Document) + Send + 'static) -> Self {
        self.effects.edits.push(Mutex::new(Box::new(edit)));
        self
    }

    /// Changes each document of a cursor's batch in the reply: rows of a query, events of a change stream.
    pub fn edit_batch(self, mut edit: impl FnMut(&mut Document) + Send + 'static) -> Self {
        self.edit_reply(move |reply| {
            let Ok(cursor) = reply.get_document_mut("cursor") else {
                return;
            };
            for batch in ["firstBatch", "nextBatch"] {
                let documents = cursor.get_array_mut(batch).into_iter().flatten();
                documents
                    .filter_map(bson::Bson::as_document_mut)
                    .for_each(&mut edit);
            }
        })
    }

    /// Lets it begin, and gives the handle to it. Without any effect it counts only.
    pub fn arm(mut self) -> Rule {
        self.enter()
    }

    fn enter(&mut self) -> Rule {
        self.entered = true;
        let armed = Armed::new(
            self.command.clone(),
            self.times,
            std::mem::take(&mut self.effects),
        );
        let rule = Rule(Arc::new(armed));
        self.book.enter(Arc::clone(&rule.0));
        rule
    }

    fn delayed(mut self, delay: Delay) -> Self {
        self.effects.delays.push(delay);
        self
    }

    fn fail(self, form: Form, code: i32, code_name: String) -> Self {
        self.answer(Answer::Fail(Failure {
            form,
            code,
            message: format!("{code_name}, says the proxy"),
            code_name,
            labels: Vec::new(),
        }))
    }

    fn answer(mut self, answer: Answer) -> Self {
        let before = self.effects.answer.replace(answer);
        assert!(before.is_none(), "a command is answered once");
        self
    }

    fn failure(&mut self, what: &str) -> &mut Failure {
        match &mut self.effects.answer {
            Some(Answer::Fail(failure)) => failure,
            _ => panic!("{what} without an error: choose the error first"),
        }
    }
}

impl Drop for When {
    fn drop(&mut self) {
        if !self.entered && !std::thread::panicking() {
            self.enter();
        }
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.command, self.times)
    }
}

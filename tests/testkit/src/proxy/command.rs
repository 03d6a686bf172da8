//! Which commands pass, and which of them are meant: pure.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use bson::{Document, RawDocument};

use super::wire::{Malformed, Message, Operation};

/// What the proxy knows of a command that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name, as `update`.
    pub name: String,
    /// Its database.
    pub database: String,
    /// Its collection, where it has one.
    pub collection: Option<String>,
    /// How many writes it asks for: 0 for one that only reads.
    pub statements: usize,
    /// Where it stands in its transaction; `None` outside of one.
    pub transaction: Option<Place>,
    /// Whether it belongs to a session.
    pub session: bool,
    /// Whether it is a write outside of transactions that the server answers once however often it comes.
    pub retryable: bool,
    /// The `appName` of its client.
    pub app: Option<Arc<str>>,
    /// Its connection: 1 is the first that the proxy took.
    pub connection: u64,
}

/// A command's place in its transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// 1 for the first command. The commit and the abort count too.
    pub command: usize,
    /// The statements of the transaction so far, with the command's own.
    pub statements: usize,
}

impl Seen {
    /// Whether it is one of those by which clients get to know a server and watch it.
    #[must_use]
    pub fn is_handshake(&self) -> bool {
        matches!(self.name.as_str(), "hello" | "isMaster" | "ismaster")
    }
}

/// The transactions under way, to know a command's place.
#[derive(Debug, Default)]
pub(super) struct Transactions(HashMap<Vec<u8>, (i64, Place)>);

impl Transactions {
    /// The place of the next command of a transaction. A session has one transaction at a time.
    fn next(&mut self, session: &[u8], number: i64, statements: usize) -> Place {
        let (current, place) = self.0.entry(session.to_vec()).or_default();
        if *current != number {
            (*current, *place) = (number, Place::default());
        }
        place.command += 1;
        place.statements += statements;
        *place
    }
}

/// Reads what is to be known of a command. `connection` and `app` are those of its connection.
pub(super) fn read(
    message: &Message,
    connection: u64,
    app: Option<Arc<str>>,
    transactions: &mut Transactions,
) -> Result<Seen, Malformed> {
    let body = message.body().ok_or(Malformed::Bodies(0))?;
    let (name, target) = body.iter().next().ok_or(Malformed::Bodies(0))??;
    let text = |field: &str| body.get_str(field).ok().map(str::to_owned);
    let database = match &message.operation {
        Operation::Query(query) => query.namespace.split('.').next().map(str::to_owned),
        _ => text("$db"),
    };
    let collection = match name.as_str() {
        "getMore" => text("collection"),
        _ => target.as_str().map(str::to_owned),
    };
    let statements = statements(name.as_str(), message, body);
    let session = body
        .get_document("lsid")
        .and_then(|lsid| lsid.get_binary("id"))
        .ok();
    let number = body.get_i64("txnNumber").ok();
    let in_transaction = body.get_bool("autocommit").is_ok_and(|auto| !auto);
    let transaction = session
        .zip(number)
        .filter(|_| in_transaction)
        .map(|(session, number)| transactions.next(session.bytes, number, statements));
    Ok(Seen {
        name: name.as_str().to_owned(),
        database: database.unwrap_or_default(),
        collection,
        statements,
        transaction,
        session: session.is_some(),
        retryable: number.is_some() && !in_transaction,
        app,
        connection,
    })
}

fn statements(name: &str, message: &Message, body: &RawDocument) -> usize {
    let field = match name {
        "insert" => "documents",
        "update" => "updates",
        "delete" => "deletes",
        "bulkWrite" => "ops",
        "findAndModify" | "findandmodify" => return 1,
        _ => return 0,
    };
    let beside = match &message.operation {
        Operation::Msg(msg) => msg.sequences.iter().find(|sequence| sequence.field == field),
        _ => None,
    };
    match beside {
        Some(sequence) => sequence.documents.len(),
        None => body
            .get_array(field)
            .map_or(0, |statements| statements.into_iter().count()),
    }
}

/// The name that a client gives itself in its first hello.
pub(super) fn app(hello: &RawDocument) -> Option<Arc<str>> {
    let application = hello
        .get_document("client")
        .ok()?
        .get_document("application")
        .ok()?;
    application.get_str("name").ok().map(Into::into)
}

type OfSeen = dyn Fn(&Seen) -> bool + Send + Sync;
type OfDocument = dyn Fn(&Document) -> bool + Send + Sync;

/// Which commands are meant: all conditions hold.
#[derive(Clone)]
pub struct Command {
    /// The conditions in words.
    says: String,
    seen: Vec<Arc<OfSeen>>,
    inside: Vec<Arc<OfDocument>>,
}

impl Command {
    /// Every command but the hellos of clients, which come when they like: name one to match it.
    #[must_use]
    pub fn any() -> Self {
        Self::only("any command".to_owned(), |seen| !seen.is_handshake())
    }

    /// Commands of this name, such as `commitTransaction`.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self::only(name.clone(), move |seen| seen.name == name)
    }

    /// In this database.
    #[must_use]
    pub fn database(self, database: impl Into<String>) -> Self {
        let database = database.into();
        self.and(format!("in {database}"), move |seen| seen.database == database)
    }

    /// Of this collection, whichever database it is in.
    #[must_use]
    pub fn collection(self, collection: impl Into<String>) -> Self {
        let collection = collection.into();
        self.and(format!("of {collection}"), move |seen| {
            seen.collection.as_deref() == Some(&*collection)
        })
    }

    /// In a transaction; its commit and its abort are too.
    #[must_use]
    pub fn in_transaction(self) -> Self {
        self.and("in a transaction".to_owned(), |seen| seen.transaction.is_some())
    }

    /// Not in a transaction.
    #[must_use]
    pub fn outside_transactions(self) -> Self {
        self.and("outside of transactions".to_owned(), |seen| {
            seen.transaction.is_none()
        })
    }

    /// The first command of a transaction.
    #[must_use]
    pub fn first_in_transaction(self) -> Self {
        self.nth_in_transaction(1)
    }

    /// The `nth` command of a transaction, from 1; the commit counts too.
    ///
    /// # Panics
    /// When `nth` is 0.
    #[must_use]
    pub fn nth_in_transaction(self, nth: usize) -> Self {
        assert!(nth > 0, "the first command of a transaction has the number 1");
        self.and(format!("number {nth} of a transaction"), move |seen| {
            seen.transaction.is_some_and(|place| place.command == nth)
        })
    }

    /// With so many statements (writes) of its own.
    #[must_use]
    pub fn statements(self, count: impl RangeBounds<usize> + fmt::Debug + Send + Sync + 'static) -> Self {
        self.and(format!("with {count:?} statements"), move |seen| {
            count.contains(&seen.statements)
        })
    }

    /// In a transaction that has so many statements (writes) by now, its own with them.
    #[must_use]
    pub fn transaction_statements(
        self,
        count: impl RangeBounds<usize> + fmt::Debug + Send + Sync + 'static,
    ) -> Self {
        self.and(
            format!("in a transaction of {count:?} statements so far"),
            move |seen| {
                seen.transaction
                    .is_some_and(|place| count.contains(&place.statements))
            },
        )
    }

    /// In a session (`lsid`), in a transaction or not.
    #[must_use]
    pub fn in_session(self) -> Self {
        self.and("in a session".to_owned(), |seen| seen.session)
    }

    /// A retryable write: with `lsid` and `txnNumber`, outside of transactions.
    #[must_use]
    pub fn retryable(self) -> Self {
        self.and("retryable".to_owned(), |seen| seen.retryable)
    }

    /// From clients with this `appName`.
    #[must_use]
    pub fn from_app(self, app: impl Into<String>) -> Self {
        let app = app.into();
        self.and(format!("from {app}"), move |seen| {
            seen.app.as_deref() == Some(&*app)
        })
    }

    /// On this connection ([`Seen::connection`]).
    #[must_use]
    pub fn on_connection(self, connection: u64) -> Self {
        self.and(format!("on connection {connection}"), move |seen| {
            seen.connection == connection
        })
    }

    /// Whose document fulfils a condition of the caller's. Statements that are sent beside it (`documents`,
    /// `updates`, `deletes`) are arrays in it.
    #[must_use]
    pub fn matching(mut self, holds: impl Fn(&Document) -> bool + Send + Sync + 'static) -> Self {
        self.says.push_str(" that fulfils a condition");
        self.inside.push(Arc::new(holds));
        self
    }

    fn only(says: String, holds: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Self {
        Self {
            says,
            seen: vec![Arc::new(holds)],
            inside: Vec::new(),
        }
    }

    fn and(mut self, says: String, holds: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Self {
        self.says.push(' ');
        self.says.push_str(&says);
        self.seen.push(Arc::new(holds));
        self
    }

    /// Whether it may be this one, as far as can be told without a look inside.
    pub(super) fn may_be(&self, seen: &Seen) -> bool {
        self.seen.iter().all(|holds| holds(seen))
    }

    /// Whether [`Command::is_inside`] has conditions.
    pub(super) fn looks_inside(&self) -> bool {
        !self.inside.is_empty()
    }

    /// Whether the conditions on the document hold.
    pub(super) fn is_inside(&self, document: &Document) -> bool {
        self.inside.iter().all(|holds| holds(document))
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)
    }
}

#[cfg(test)]
mod tests;

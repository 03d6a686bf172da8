//! Proxies that make the network, and MongoDB behind it, fail on purpose.
//!
//! [`Link`] stands before any server and passes bytes. [`Proxy`] stands before MongoDB, is a [`Link`] too, and
//! understands what passes: rules say which commands meet which fate. Their tasks belong to the runtime on which
//! they were started.
//!
//! # The network
//!
//! | call | connections that are open | new connections |
//! |---|---|---|
//! | [`Link::pass`] (of a [`Proxy`]: [`Proxy::pass`]) | pass | pass |
//! | [`Link::cut`] | closed | as before |
//! | [`Link::refuse`] | pass | refused |
//! | [`Link::down`] | closed | refused |
//! | [`Link::blackhole`] | held: nothing moves, nothing is lost | accepted, held |
//! | [`Link::drop_replies`] | requests pass, replies vanish | the same |
//! | [`Link::slow`] | so many bytes a second | the same |
//!
//! # Commands
//!
//! A rule is *which commands*, *which times*, *what*. It begins to act at the end of its statement; where its
//! counts are of interest, [`When::arm`] gives a handle.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use bson::{Document, doc};
//! # use testkit::proxy::{Command, Proxy};
//! # async fn example(mongo: testkit::mongodb::Mongo) -> testkit::Result<()> {
//! let proxy = mongo.proxy().await?;
//! let client = mongodb::Client::with_uri_str(mongo.proxied_uri(&proxy)).await?;
//!
//! // The second commit is done, and its client is told that this is not known.
//! proxy
//!     .when(Command::named("commitTransaction"))
//!     .nth(2)
//!     .reply_error(91, "ShutdownInProgress")
//!     .labels(["UnknownTransactionCommitResult"])
//!     .after_server();
//!
//! // A write conflict as a real server has it: its transaction is over.
//! proxy
//!     .when(Command::named("update").collection("usageLedger").in_transaction())
//!     .once()
//!     .reply_error(112, "WriteConflict")
//!     .labels(["TransientTransactionError"])
//!     .aborting_transaction();
//!
//! // A slow server with a small cache.
//! proxy
//!     .when(Command::named("update").in_transaction())
//!     .delay_per_statement(Duration::from_micros(200));
//! proxy
//!     .when(Command::named("commitTransaction"))
//!     .delay_per_transaction_statement(Duration::from_micros(200))
//!     .delay(Duration::from_secs(1));
//! let too_large = proxy.small_cache(1_000);
//!
//! // A change stream without post-images.
//! proxy
//!     .when(Command::named("getMore"))
//!     .edit_batch(|event: &mut Document| drop(event.remove("fullDocument")));
//!
//! // Lost acknowledgements; a commit that arrives late.
//! let lost = proxy.when(Command::named("commitTransaction")).once().lose_reply().arm();
//! lost.wait_fired(1).await;
//! let held = proxy.when(Command::named("commitTransaction")).once().hold().arm();
//! held.wait_fired(1).await;
//! held.let_go();
//!
//! // What was asked so far.
//! let updates = proxy.seen().into_iter().filter(|seen| seen.name == "update");
//! let statements: usize = updates.map(|seen| seen.statements).sum();
//! # Ok(()) }
//! ```
//!
//! | which ([`Command`]) | which times ([`When`]) | what ([`When`]) |
//! |---|---|---|
//! | `named`, `any`, `database`, `collection` | always, unless said otherwise | `reply_error`, `reply_write_error`, `reply_write_concern_error`, each with `message`, `labels`; `reply` |
//! | `in_transaction`, `outside_transactions`, `first_in_transaction`, `nth_in_transaction` | `once`, `first(n)` | `aborting_transaction` |
//! | `statements(10..)`, `transaction_statements(1_000..)` | `nth(n)` | `delay`, `delay_per_statement`, `delay_per_transaction_statement` |
//! | `in_session`, `retryable`, `from_app`, `on_connection` | until [`Rule::stop`] or [`Proxy::pass`] | `hold`, `lose_request`, `lose_reply` |
//! | `matching(|document| …)` | | `edit_reply`, `edit_batch` |
//!
//! Effects take place before the command is passed on: an error is answered in place of the server, which never
//! sees the command. With `after_server` they take place after the server executed it.
//!
//! All rules that match a command act on it, in the order in which they were armed: delays add up, edits follow one
//! another. Only the first that has an answer (an error, a reply, a loss) gives it; the others count the command as
//! matched and not as fired. Conditions and edits are called with the rules locked: they must not use the proxy.
//!
//! # Versions
//!
//! [`Proxy::speaks`] makes the server another version. What a server says of its hosts is always changed to the
//! proxy's address, so a replica set's URI works; compression is always taken out of the handshake. A message that
//! the proxy cannot read fails the test when the proxy is dropped.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::Result;
use crate::net;

mod book;
mod command;
mod hello;
mod link;
mod messages;
mod rule;
mod when;
mod wire;

pub use command::{Command, Place, Seen};
pub use link::Link;
pub use rule::Rule;
pub use when::When;

use book::Book;

/// The proxy before a MongoDB. Dropping it closes its port and all connections.
#[derive(Debug)]
pub struct Proxy {
    link: Link,
    book: Arc<Book>,
}

impl Proxy {
    /// Listens on a free loopback port, before the server at `upstream` (which need not run yet).
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        Self::start_on(net::free_port()?, upstream).await
    }

    /// The same on a port of the caller's choice.
    pub async fn start_on(port: u16, upstream: SocketAddr) -> Result<Self> {
        let book = Arc::new(Book::new(net::loopback(port)));
        let rules = Arc::clone(&book);
        let carry = Box::new(move |ends| {
            let rules = Arc::clone(&rules);
            Box::pin(messages::carry(ends, rules)) as _
        });
        let link = Link::carrying(port, upstream, carry).await?;
        Ok(Self { link, book })
    }

    /// Begins a rule for these commands: see the [module](self).
    pub fn when(&self, command: Command) -> When {
        When::new(Arc::clone(&self.book), command)
    }

    /// Plays a server with a small cache: a write that makes its transaction larger than `statements` statements
    /// aborts it, and is answered with 388 `TransactionTooLargeForCache`.
    pub fn small_cache(&self, statements: usize) -> Rule {
        self.when(
            Command::any()
                .statements(1..)
                .transaction_statements(statements + 1..),
        )
        .reply_error(388, "TransactionTooLargeForCache")
        .aborting_transaction()
        .arm()
    }

    /// Makes the server say that it has this version (`6.0.14`) and speaks up to this version of the wire protocol
    /// (17 is MongoDB 6.0, 21 is 7.0, 25 is 8.0). Clients learn it with their next hello: set it before they
    /// connect, or [cut](Link::cut) them.
    pub fn speaks(&self, version: impl Into<String>, wire: i32) {
        let version = version.into();
        self.book.set_version(hello::Version { version, wire });
    }

    /// Shows clients these bytes wherever the server has stored those, and the other way round: so a server holds what
    /// it would not have taken. Both have one length.
    pub fn shows(&self, stored: &[u8], shown: &[u8]) {
        assert_eq!(stored.len(), shown.len(), "lengths are part of messages");
        self.book.show(stored, shown);
    }

    /// The commands that clients sent so far, in the order in which they arrived; without hellos.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.book.seen()
    }

    /// Begins [`Proxy::seen`] anew.
    pub fn forget_seen(&self) {
        self.book.forget();
    }

    /// Heals everything: as [`Link::pass`], and all rules end. What they hold goes on.
    pub async fn pass(&self) {
        self.book.clear();
        self.link.pass().await;
    }
}

impl Deref for Proxy {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(fault) = self.book.first_fault()
            && !std::thread::panicking()
        {
            panic!("a message that the proxy cannot read: {fault}");
        }
    }
}

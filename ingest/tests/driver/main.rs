//! Every line of the table through the driver: played by a proxy, in each of the shapes in which errors arrive.

use bson::{Document, doc};
use ingest::ledger::Refusal;
use ingest::server_error::{Act, Answer, Fault, Line, Place, Shape, TABLE};
use mongodb::error::{Error, ErrorKind, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::{Client, ClientSession, Collection};
use testkit::mongodb::Mongo;
use testkit::proxy::{Command, Proxy, Rule, When};

use Act::{RetrySame, Wait};

const RIGHT: Act = Act::Person(Refusal::NotAuthorized);

/// The driver looks for another primary after these, half a second long: each gets a client of its own.
const ELECTIONS: [i32; 8] = [91, 189, 10058, 10107, 11600, 11602, 13435, 13436];
/// `ReauthenticationRequired`: the driver itself answers to it, and logs in again.
const ANSWERED_BY_THE_DRIVER: i32 = 391;
const LABEL: &str = "TransientTransactionError";

struct Played {
    database: &'static str,
    proxy: Proxy,
    uri: String,
    client: Client,
}

impl Played {
    async fn new(mongo: &Mongo, database: &'static str) -> Self {
        let proxy = mongo.proxy().await.expect("a proxy");
        let uri = mongo.proxied_uri(&proxy);
        let client = Client::with_uri_str(&uri).await.expect("a client");
        Self {
            database,
            proxy,
            uri,
            client,
        }
    }

    /// A client that has no grudge against the server.
    async fn forget(&mut self, code: i32) {
        if ELECTIONS.contains(&code) {
            self.client = Client::with_uri_str(&self.uri).await.expect("a client");
        }
    }

    fn rows(&self) -> Collection<Document> {
        self.client.database(self.database).collection("rows")
    }

    fn play(&self, command: &str, error: impl FnOnce(When) -> When) -> Rule {
        error(self.proxy.when(Command::named(command))).arm()
    }

    async fn transaction(&self) -> ClientSession {
        let mut session = self.client.start_session().await.expect("a session");
        begin(&mut session).await;
        session
    }

    /// An error of the whole command: outside, in a transaction, and at its commit.
    async fn commands(&mut self, line: &Line, labels: &[&str]) {
        let (code, name) = (line.code, line.name);
        let play = |played: &Self, command: &str| {
            played.play(command, |when| {
                when.reply_error(code, name).labels(labels.iter().copied())
            })
        };
        let rule = play(self, "find");
        let error = self.rows().find_one(doc! {}).await.expect_err("it is played");
        rule.stop();
        expect(&error, line, Place::Outside, Shape::Command);
        self.forget(code).await;

        let mut session = self.transaction().await;
        let rule = play(self, "update");
        let update = doc! {"update": "rows", "updates": [{"q": {"_id": 1}, "u": {"$inc": {"n": 1}}}]};
        let database = self.client.database(self.database);
        let failed = database.run_command(update).session(&mut session).await;
        rule.stop();
        expect(
            &failed.expect_err("it is played"),
            line,
            Place::Transaction,
            Shape::Command,
        );
        drop(session.abort_transaction().await);
        self.forget(code).await;

        let mut session = self.transaction().await;
        insert(&self.rows(), &mut session).await.expect("inserts");
        let rule = play(self, "commitTransaction");
        let error = session.commit_transaction().await.expect_err("it is played");
        rule.stop();
        if !error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
            expect(&error, line, Place::Commit, Shape::Command);
        } else {
            assert_eq!(Fault::of(&error, Place::Commit).act, RetrySame, "{code}");
        }
        drop(session);
        self.forget(code).await;
    }

    /// An error of a statement, in an answer that says that all is well: as the driver reads it, and as it leaves
    /// it to us.
    async fn statements(&mut self, line: &Line) {
        let rule = self.play("insert", |when| when.reply_write_error(line.code, "refused"));
        let mut session = self.transaction().await;
        let failed = insert(&self.rows(), &mut session)
            .await
            .expect_err("it is played");
        drop(session.abort_transaction().await);
        expect(&failed, line, Place::Transaction, Shape::Statement);
        let many = self
            .rows()
            .insert_many([doc! {}, doc! {}])
            .await
            .expect_err("it is played");
        assert!(matches!(*many.kind, ErrorKind::InsertMany(_)), "{many:?}");
        expect(&many, line, Place::Outside, Shape::Statement);
        let raw = doc! {"insert": "rows", "documents": [{}]};
        let raw = self
            .client
            .database("errors")
            .run_command(raw)
            .await
            .expect("it says ok");
        rule.stop();
        let within = Answer::within(&raw).expect("an error");
        assert_eq!((within.code, within.shape), (line.code, Shape::Statement));
        assert_eq!(
            Fault::from(&within).act,
            line.act(Place::Transaction),
            "{}",
            line.code
        );
    }

    /// An error of the write concern, in an answer that says that all is well.
    async fn write_concerns(&mut self, line: &Line) {
        let (code, name) = (line.code, line.name);
        for command in ["update", "findAndModify", "insert"] {
            let rule = self.play(command, |when| when.reply_write_concern_error(code, name));
            let rows = self.rows();
            let (one, set) = (doc! {"_id": 1}, doc! {"$set": {"n": 1}});
            let failed = match command {
                "update" => rows.update_one(one, set).await.map(drop),
                "findAndModify" => rows.find_one_and_update(one, set).await.map(drop),
                _ => rows.insert_many([doc! {}]).await.map(drop),
            };
            rule.stop();
            expect(
                &failed.expect_err("it is played"),
                line,
                Place::Outside,
                Shape::WriteConcern,
            );
            self.forget(code).await;
        }
        let mut session = self.transaction().await;
        insert(&self.rows(), &mut session).await.expect("inserts");
        let rule = self.play("commitTransaction", |when| {
            when.reply_write_concern_error(code, name).after_server()
        });
        let error = session.commit_transaction().await.expect_err("it is played");
        rule.stop();
        let fault = Fault::of(&error, Place::Commit);
        assert!(!fault.is_aborted, "{code}: it was applied");
        if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
            assert_eq!(fault.act, RetrySame, "{code}");
        } else {
            expect(&error, line, Place::Commit, Shape::WriteConcern);
        }
        drop(session);
        self.forget(code).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "no transaction of the ledger's")]
async fn begin(session: &mut ClientSession) {
    session.start_transaction().await.expect("begins");
}

async fn insert(rows: &Collection<Document>, session: &mut ClientSession) -> Result<(), Error> {
    rows.insert_one(doc! {}).session(session).await.map(drop)
}

fn expect(error: &Error, line: &Line, place: Place, shape: Shape) {
    let answer = Answer::of(error).unwrap_or_else(|| panic!("{}: {error:?}", line.code));
    assert_eq!((answer.code, answer.shape), (line.code, shape), "{error:?}");
    let fault = Fault::of(error, place);
    assert_eq!(
        fault.act,
        line.act(place),
        "{} at {place:?}: {error:?}",
        line.code
    );
    assert!(
        fault.why.starts_with(&format!("{} {}", line.code, line.name)),
        "{}",
        fault.why
    );
    // The driver's own form of an error ends with the whole answer, in hexadecimal.
    let answer = ["RawDocumentBuf", "server response", "Kind: "];
    assert!(
        answer.iter().all(|part| !fault.why.contains(part)),
        "{}",
        fault.why
    );
}

async fn play_all(database: &'static str, lines: impl Iterator<Item = &'static Line>) {
    let mongo = testkit::shared::mongo().await;
    let mut played = Played::new(&mongo, database).await;
    played.rows().insert_one(doc! {"_id": 1}).await.expect("inserts");
    for line in lines {
        played.commands(line, &[]).await;
        played.statements(line).await;
        played.write_concerns(line).await;
    }
}

/// Lesson D22: only one of the places where errors come was looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d22_an_error_is_recognised_wherever_it_comes() {
    let some = [13, 50, 64, 112, 121, 251, 286, 388, 10107, 10334];
    play_all(
        "errors_some",
        TABLE.iter().filter(|line| some.contains(&line.code)),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "in make test-all: the same for every line of the table"]
async fn d22_every_line_is_recognised_wherever_it_comes() {
    let lines = TABLE.iter().filter(|line| line.code != ANSWERED_BY_THE_DRIVER);
    play_all("errors_all", lines).await;
}

/// The label says that a commit was not applied; a code alone does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn labels_arrive_too() {
    let mongo = testkit::shared::mongo().await;
    let mut played = Played::new(&mongo, "errors_labels").await;
    let line = ingest::server_error::line(251).expect("a line");
    played.commands(line, &[LABEL]).await;
    for (labels, is_aborted) in [(&[LABEL][..], true), (&[], false)] {
        let mut session = played.transaction().await;
        insert(&played.rows(), &mut session).await.expect("inserts");
        let rule = played.play("commitTransaction", |when| {
            when.reply_error(line.code, line.name)
                .labels(labels.iter().copied())
        });
        let error = session.commit_transaction().await.expect_err("it is played");
        rule.stop();
        assert_eq!(
            Fault::of(&error, Place::Commit).is_aborted,
            is_aborted,
            "{labels:?}"
        );
    }
    let rule = played.play("find", |when| {
        when.reply_error(99_999, "NobodyKnows").labels([LABEL])
    });
    let error = played.rows().find_one(doc! {}).await.expect_err("it is played");
    rule.stop();
    let fault = Fault::of(&error, Place::Transaction);
    assert_eq!(fault.act, RetrySame);
    let told = format!("99999 NobodyKnows: NobodyKnows, says the proxy ({LABEL})");
    assert_eq!(fault.why, told);
}

/// `bulkWrite` has a form of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_error_of_a_bulk_write_is_recognised() {
    let mongo = testkit::shared::mongo().await;
    let played = Played::new(&mongo, "errors_bulk").await;
    let refused = doc! {"ok": 0.0, "idx": 0, "code": 388, "errmsg": "refused", "n": 0};
    let cursor = doc! {"id": 0_i64, "firstBatch": [refused], "ns": "admin.$cmd.bulkWrite"};
    let answer = doc! {
        "ok": 1.0, "cursor": cursor, "nErrors": 1, "nInserted": 0, "nMatched": 0, "nModified": 0, "nUpserted": 0,
        "nDeleted": 0,
    };
    let rule = played.play("bulkWrite", |when| when.reply(answer));
    let insert = played.rows().insert_one_model(doc! {}).expect("a document");
    let error = played
        .client
        .bulk_write([insert])
        .await
        .expect_err("it is played");
    rule.stop();
    let line = ingest::server_error::line(388).expect("a line");
    expect(&error, line, Place::Transaction, Shape::Statement);
}

/// What fails while a connection logs in comes as an error of its own kind, with the server's behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_error_while_logging_in_is_recognised() {
    let options = testkit::mongodb::Options {
        login: Some(("ledger".into(), "right".into())),
        ..testkit::mongodb::Options::default()
    };
    let mongo = Mongo::start(options).await.expect("MongoDB starts");
    for (code, name, act) in [
        (18, "AuthenticationFailed", RIGHT),
        (8000, "AtlasError", RIGHT),
        (365, "TemporarilyUnavailable", Wait),
        (99_999, "NobodyKnows", Wait),
    ] {
        let played = Played::new(&mongo, "errors_labels").await;
        for command in ["saslStart", "saslContinue"] {
            played.play(command, |when| when.reply_error(code, name));
        }
        let error = played.rows().find_one(doc! {}).await.expect_err("it is played");
        let fault = Fault::of(&error, Place::Outside);
        assert_eq!(fault.act, act, "{code}: {error:?}");
        assert!(!fault.why.contains("RawDocumentBuf"), "{}", fault.why);
    }
}

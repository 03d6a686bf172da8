//! Against a real MongoDB: data survives restarts and kills, and lost acknowledgements are what they say.

use std::time::Duration;

use bson::doc;
use mongodb::Collection;
use testkit::mongodb::{Mongo, Options};
use testkit::process::was_killed;
use testkit::proxy::Command;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(20);

async fn notes(uri: &str) -> Collection<bson::Document> {
    let client = mongodb::Client::with_uri_str(uri).await.expect("a client");
    client.database("stack").collection("notes")
}

#[tokio::test]
async fn data_survives_a_restart_and_a_kill() {
    let mut mongo = Mongo::start(Options::default()).await.expect("a server");
    println!("{}", mongo.description());
    let notes = notes(mongo.uri()).await;
    notes.insert_one(doc! {"_id": 1}).await.expect("inserted");
    mongo.restart().await.expect("restarted");
    assert_eq!(notes.count_documents(doc! {}).await.expect("counted"), 1);
    notes.insert_one(doc! {"_id": 2}).await.expect("inserted");
    mongo.kill9().expect("killed");
    let ended = mongo.process().expect("ours").ended().expect("looked");
    assert!(ended.is_some_and(was_killed));
    mongo.restart().await.expect("restarted");
    assert_eq!(notes.count_documents(doc! {}).await.expect("counted"), 2);
}

#[tokio::test]
async fn a_paused_server_answers_again_when_resumed() {
    let mut mongo = Mongo::start(Options::default()).await.expect("a server");
    let notes = notes(mongo.uri()).await;
    notes.insert_one(doc! {"_id": 1}).await.expect("inserted");
    mongo.pause().expect("paused");
    let mut asked = JoinSet::new();
    asked.spawn(async move { notes.count_documents(doc! {}).await });
    let early = tokio::time::timeout(Duration::from_millis(200), asked.join_next()).await;
    assert!(early.is_err(), "a frozen server answered");
    mongo.resume().expect("resumed");
    let counted = tokio::time::timeout(SOON, asked.join_next())
        .await
        .expect("in time")
        .expect("a task")
        .expect("joined");
    assert_eq!(counted.expect("counted"), 1);
}

#[tokio::test]
async fn a_log_in_is_required_where_asked_for() {
    let options = Options {
        login: Some(("root".to_owned(), "secret".to_owned())),
        ..Options::default()
    };
    let mut mongo = Mongo::start(options).await.expect("a server");
    notes(mongo.uri())
        .await
        .insert_one(doc! {"_id": 1})
        .await
        .expect("inserted");
    let port = mongo.port().expect("ours");
    let stranger = notes(&format!("mongodb://127.0.0.1:{port}/?directConnection=true")).await;
    stranger
        .insert_one(doc! {"_id": 2})
        .await
        .expect_err("a stranger wrote");
    mongo.restart().await.expect("restarted");
    let proxy = mongo.proxy().await.expect("a proxy");
    let through = notes(&mongo.proxied_uri(&proxy)).await;
    assert_eq!(through.count_documents(doc! {}).await.expect("counted"), 1);
}

/// The transaction is committed although the client's connection broke before it was told, and asking
/// again (as the driver does by itself) is answered with success.
#[tokio::test]
async fn a_lost_acknowledgement_of_a_commit_leaves_it_committed() {
    let mongo = Mongo::start(Options::default()).await.expect("a server");
    let proxy = mongo.proxy().await.expect("a proxy");
    let through = mongodb::Client::with_uri_str(mongo.proxied_uri(&proxy))
        .await
        .expect("a client");
    let far = through.database("stack").collection("notes");
    far.insert_one(doc! {"_id": 0}).await.expect("inserted");

    let mut session = through.start_session().await.expect("a session");
    #[expect(clippy::disallowed_methods, reason = "a transaction of this test's own")]
    session.start_transaction().await.expect("started");
    far.insert_one(doc! {"_id": 1})
        .session(&mut session)
        .await
        .expect("inserted");
    let lost = proxy
        .when(Command::named("commitTransaction"))
        .once()
        .lose_reply()
        .arm();
    session
        .commit_transaction()
        .await
        .expect("the driver's own retry finds it committed");
    assert_eq!((lost.matched(), lost.fired()), (2, 1));
    let near = notes(mongo.uri()).await;
    assert_eq!(near.count_documents(doc! {}).await.expect("counted"), 2);
}

/// With every reply swallowed and the line then cut, the client sees an error and the commit stands.
#[tokio::test]
async fn replies_dropped_for_good_look_like_a_failure_to_the_client() {
    let mongo = Mongo::start(Options::default()).await.expect("a server");
    let proxy = mongo.proxy().await.expect("a proxy");
    let uri = format!(
        "{}&retryWrites=false&serverSelectionTimeoutMS=2000",
        mongo.proxied_uri(&proxy)
    );
    let through = mongodb::Client::with_uri_str(uri).await.expect("a client");
    let far = through.database("stack").collection("notes");
    far.insert_one(doc! {"_id": 0}).await.expect("inserted");
    proxy.drop_replies().await;
    let mut writing = JoinSet::new();
    writing.spawn(async move { far.insert_one(doc! {"_id": 1}).await });
    let near = notes(mongo.uri()).await;
    let start = std::time::Instant::now();
    while near.count_documents(doc! {}).await.expect("counted") < 2 {
        assert!(start.elapsed() < SOON, "the write did not reach the server");
    }
    proxy.wait_lost(1, SOON).await.expect("swallowed");
    proxy.down().await;
    writing
        .join_next()
        .await
        .expect("a task")
        .expect("joined")
        .expect_err("the client was told");
    proxy.pass().await;
    let again: Collection<bson::Document> = through.database("stack").collection("notes");
    assert_eq!(again.count_documents(doc! {}).await.expect("counted"), 2);
}

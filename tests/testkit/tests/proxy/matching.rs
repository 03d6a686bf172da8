//! Commands are told apart, and counted.

use super::*;

#[tokio::test]
async fn commands_are_seen_with_their_statements_and_their_place() {
    let setting = Setting::new("seen").await;
    let (proxy, far) = (&setting.proxy, &setting.far);
    let first = proxy.when(Command::any().first_in_transaction()).arm();
    let second = proxy.when(Command::any().nth_in_transaction(2)).arm();
    let outside = proxy
        .when(Command::named("insert").outside_transactions().retryable())
        .arm();
    let large = proxy.when(Command::any().statements(3..)).arm();
    let grown = proxy
        .when(Command::named("insert").transaction_statements(4..))
        .arm();
    let elsewhere = proxy.when(Command::any().database("elsewhere")).arm();
    let app = proxy.when(Command::named("insert").from_app("seen")).arm();
    let stranger = proxy.when(Command::any().from_app("stranger")).arm();

    far.insert_one(doc! {"_id": 0}).await.expect("inserted");
    proxy.forget_seen();
    let mut session = setting.transaction().await;
    let three = (1..4).map(|id| doc! {"_id": id});
    far.insert_many(three)
        .session(&mut session)
        .await
        .expect("inserted");
    setting.insert_in(&mut session, 4).await.expect("inserted");
    session.commit_transaction().await.expect("committed");

    let seen = proxy.seen();
    let seen = seen.iter().filter(|seen| seen.transaction.is_some()).map(|seen| {
        let place = seen.transaction.expect("a place");
        let collection = seen.collection.as_deref();
        (
            seen.name.as_str(),
            collection,
            seen.statements,
            place.command,
            place.statements,
        )
    });
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [
            ("insert", Some("notes"), 3, 1, 3),
            ("insert", Some("notes"), 1, 2, 4),
            ("commitTransaction", None, 0, 3, 4),
        ]
    );
    let counted = [
        &first, &second, &outside, &large, &grown, &elsewhere, &app, &stranger,
    ];
    assert_eq!(
        counted.map(|rule| (rule.matched(), rule.fired())),
        [1, 1, 1, 1, 1, 0, 3, 0].map(|count| (count, count))
    );
}

#[tokio::test]
async fn a_condition_looks_into_the_statements() {
    let setting = Setting::new("inside").await;
    setting
        .proxy
        .when(Command::named("insert").in_session().matching(|insert| {
            let documents = insert.get_array("documents").into_iter().flatten();
            documents
                .filter_map(bson::Bson::as_document)
                .any(|document| document.get_i32("_id").ok() == Some(7))
        }))
        .reply_error(9_001_001, "Seven");
    for id in [6, 7, 8] {
        let inserted = setting.far.insert_one(doc! {"_id": id}).await;
        assert_eq!(
            inserted.err().as_ref().and_then(code),
            (id == 7).then_some(9_001_001)
        );
    }
    let many = (10..13).chain([7]).map(|id| doc! {"_id": id});
    let error = setting.far.insert_many(many).await.expect_err("seven is in it");
    assert_eq!(code(&error), Some(9_001_001));
    assert_eq!(setting.stored().await, 2);
}

#[tokio::test]
async fn a_rule_acts_as_often_as_it_is_told() {
    let setting = Setting::new("times").await;
    let proxy = &setting.proxy;
    let admin = setting.client.database("admin");
    let ping = || admin.run_command(doc! {"ping": 1});
    let pings = || Command::named("ping");
    let mut refused = Vec::new();
    let twice = proxy.when(pings()).first(2).reply_error(9_001_001, "Two").arm();
    let fourth = proxy.when(pings()).nth(4).reply_error(9_001_002, "Fourth").arm();
    for _ in 0..5 {
        refused.push(ping().await.err().as_ref().and_then(code));
    }
    let expected = [Some(9_001_001), Some(9_001_001), None, Some(9_001_002), None];
    assert_eq!(refused, expected);
    assert_eq!([twice.fired(), fourth.fired()], [2, 1]);

    let always = proxy.when(pings()).reply_error(9_001_003, "Always").arm();
    for _ in 0..3 {
        ping().await.expect_err("refused");
    }
    always.stop();
    ping().await.expect("passes");
    assert_eq!((always.matched(), always.fired()), (3, 3));

    proxy.when(pings()).reply_error(9_001_004, "Until healed");
    ping().await.expect_err("refused");
    proxy.pass().await;
    ping().await.expect("passes");
}

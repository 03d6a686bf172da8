//! Commands are answered with errors.

use super::*;

#[tokio::test]
async fn an_error_in_place_of_the_server_arrives_with_all_it_says() {
    let setting = Setting::new("instead").await;
    let rule = setting
        .proxy
        .when(Command::named("insert").collection("notes"))
        .once()
        .reply_error(9_001_000, "Chosen")
        .message("as the test wishes")
        .labels(["FirstLabel", "SecondLabel"])
        .arm();
    let error = setting
        .far
        .insert_one(doc! {"_id": 1})
        .await
        .expect_err("an error");
    let ErrorKind::Command(told) = &*error.kind else {
        panic!("{error:?}");
    };
    assert_eq!(
        (told.code, told.code_name.as_str(), told.message.as_str()),
        (9_001_000, "Chosen", "as the test wishes")
    );
    assert!(error.contains_label("FirstLabel") && error.contains_label("SecondLabel"));
    assert_eq!((rule.fired(), setting.stored().await), (1, 0));
    setting
        .far
        .insert_one(doc! {"_id": 1})
        .await
        .expect("once is over");
    assert_eq!((rule.matched(), rule.fired(), setting.stored().await), (2, 1, 1));
}

#[tokio::test]
async fn an_error_after_the_server_hides_what_was_done() {
    let setting = Setting::new("after").await;
    let rule = setting
        .proxy
        .when(Command::named("insert"))
        .once()
        .reply_error(50, "MaxTimeMSExpired")
        .after_server()
        .arm();
    let error = setting
        .far
        .insert_one(doc! {"_id": 1})
        .await
        .expect_err("an error");
    assert_eq!(code(&error), Some(50));
    assert_eq!((rule.fired(), setting.stored().await), (1, 1));
}

#[tokio::test]
async fn the_second_commit_is_done_and_said_to_be_unknown() {
    let setting = Setting::new("commit").await;
    let rule = setting
        .proxy
        .when(Command::named("commitTransaction"))
        .nth(2)
        .reply_error(50, "MaxTimeMSExpired")
        .labels(["UnknownTransactionCommitResult"])
        .after_server()
        .arm();
    let mut outcomes = Vec::new();
    for id in 0..3 {
        let mut session = setting.transaction().await;
        setting.insert_in(&mut session, id).await.expect("inserted");
        outcomes.push(session.commit_transaction().await);
    }
    let unknown = |outcome: &Result<(), Error>| {
        let error = outcome.as_ref().err();
        error.map(|error| error.contains_label("UnknownTransactionCommitResult"))
    };
    assert_eq!(
        outcomes.iter().map(unknown).collect::<Vec<_>>(),
        [None, Some(true), None]
    );
    assert_eq!((rule.matched(), rule.fired(), setting.stored().await), (3, 1, 3));
}

#[tokio::test]
async fn a_write_error_arrives_as_one_of_its_statement() {
    let setting = Setting::new("write_error").await;
    setting
        .proxy
        .when(Command::named("insert"))
        .once()
        .reply_write_error(121, "not valid")
        .at_statement(2);
    let documents = (0..4).map(|id| doc! {"_id": id});
    let error = setting
        .far
        .insert_many(documents)
        .await
        .expect_err("a write error");
    let ErrorKind::InsertMany(failed) = &*error.kind else {
        panic!("{error:?}");
    };
    let errors = failed.write_errors.as_ref().expect("write errors");
    let errors: Vec<_> = errors
        .iter()
        .map(|error| (error.index, error.code, error.message.as_str()))
        .collect();
    assert_eq!(errors, [(2, 121, "not valid")]);
    assert_eq!(setting.stored().await, 0);

    let update = setting.far.update_one(doc! {}, doc! {"$set": {"a": 1}});
    setting
        .proxy
        .when(Command::named("update"))
        .reply_write_error(121, "not valid");
    assert_eq!(code(&update.await.expect_err("a write error")), Some(121));
}

#[tokio::test]
async fn a_write_concern_error_stands_beside_what_was_done() {
    let setting = Setting::new("concern").await;
    setting
        .proxy
        .when(Command::named("insert"))
        .once()
        .reply_write_concern_error(64, "WriteConcernTimeout")
        .after_server();
    let error = setting
        .far
        .insert_one(doc! {"_id": 1})
        .await
        .expect_err("a write concern error");
    let ErrorKind::Write(WriteFailure::WriteConcernError(concern)) = &*error.kind else {
        panic!("{error:?}");
    };
    assert_eq!(
        (concern.code, concern.code_name.as_str()),
        (64, "WriteConcernTimeout")
    );
    assert_eq!(setting.stored().await, 1);
}

#[tokio::test]
async fn a_chosen_reply_is_taken_for_the_servers() {
    let setting = Setting::new("reply").await;
    setting
        .proxy
        .when(Command::named("ping"))
        .reply(doc! {"ok": 1.0, "chosen": "yes"});
    let admin = setting.client.database("admin");
    let ping = admin.run_command(doc! {"ping": 1});
    assert_eq!(ping.await.expect("a reply").get_str("chosen").ok(), Some("yes"));
}

/// A server that answers so has aborted the transaction: what follows in it finds none, and its locks are gone.
#[tokio::test]
async fn a_conflict_aborts_the_servers_transaction() {
    let setting = Setting::new("conflict").await;
    let rule = setting
        .proxy
        .when(Command::named("insert").nth_in_transaction(2))
        .once()
        .reply_error(112, "WriteConflict")
        .labels(["TransientTransactionError"])
        .aborting_transaction()
        .arm();
    let mut session = setting.transaction().await;
    setting.insert_in(&mut session, 1).await.expect("inserted");
    let error = setting.insert_in(&mut session, 2).await.expect_err("a conflict");
    assert_eq!(code(&error), Some(112));
    assert!(error.contains_label("TransientTransactionError"));
    let gone = setting
        .insert_in(&mut session, 3)
        .await
        .expect_err("no transaction");
    assert_eq!(code(&gone), Some(251));
    assert_eq!((rule.fired(), setting.stored().await), (1, 0));
    setting
        .near
        .insert_one(doc! {"_id": 1})
        .await
        .expect("not locked");
}

#[tokio::test]
async fn transactions_that_are_too_large_leave_nothing() {
    let setting = Setting::new("cache").await;
    let too_large = setting.proxy.small_cache(3);
    let mut session = setting.transaction().await;
    for id in 0..3 {
        setting.insert_in(&mut session, id).await.expect("fits");
    }
    let error = setting.insert_in(&mut session, 3).await.expect_err("too large");
    assert_eq!(code(&error), Some(388));
    session.commit_transaction().await.expect_err("nothing to commit");
    assert_eq!((too_large.fired(), setting.stored().await), (1, 0));

    let mut session = setting.transaction().await;
    let three = (0..3).map(|id| doc! {"_id": id});
    setting
        .far
        .insert_many(three)
        .session(&mut session)
        .await
        .expect("fits");
    session.commit_transaction().await.expect("committed");
    assert_eq!((too_large.fired(), setting.stored().await), (1, 3));
}

//! Commands take longer, or wait. That they do is told by lower bounds only.

use super::*;

#[tokio::test]
async fn delays_are_fixed_or_grow_with_statements() {
    let setting = Setting::new("delays").await;
    let proxy = &setting.proxy;
    let each = Duration::from_millis(4);
    let rule = proxy
        .when(Command::named("insert"))
        .delay_per_statement(each)
        .arm();
    let fixed = proxy
        .when(Command::named("insert"))
        .delay(Duration::from_millis(50))
        .after_server()
        .arm();
    let start = Instant::now();
    let documents = (0..40).map(|id| doc! {"_id": id});
    setting.far.insert_many(documents).await.expect("inserted");
    assert!(
        start.elapsed() >= each * 40 + Duration::from_millis(50),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((rule.fired(), fixed.fired()), (1, 1));
}

#[tokio::test]
async fn delays_grow_with_the_transaction() {
    let setting = Setting::new("grows").await;
    let proxy = &setting.proxy;
    let each = Duration::from_millis(10);
    let inserts = proxy
        .when(Command::named("insert").in_transaction())
        .delay_per_transaction_statement(each)
        .arm();
    let commits = proxy
        .when(Command::named("commitTransaction"))
        .delay_per_transaction_statement(each)
        .delay(each)
        .arm();
    let mut session = setting.transaction().await;
    let start = Instant::now();
    for id in 0..4 {
        setting.insert_in(&mut session, id).await.expect("inserted");
    }
    assert!(start.elapsed() >= each * (1 + 2 + 3 + 4), "{:?}", start.elapsed());
    let start = Instant::now();
    session.commit_transaction().await.expect("committed");
    assert!(start.elapsed() >= each * (4 + 1), "{:?}", start.elapsed());
    assert_eq!(
        (inserts.fired(), commits.fired(), setting.stored().await),
        (4, 1, 4)
    );
}

#[tokio::test]
async fn a_command_is_held_before_the_server_and_others_go_on() {
    let setting = Setting::new("held").await;
    let held = setting.proxy.when(Command::named("insert")).once().hold().arm();
    let insert = setting.far.insert_one(doc! {"_id": 1});
    let meanwhile = async {
        held.wait_fired(1).await;
        let found = setting.far.find_one(doc! {}).await.expect("goes on");
        held.let_go();
        found
    };
    let (inserted, found) = tokio::join!(insert.into_future(), meanwhile);
    inserted.expect("inserted");
    assert_eq!((found, setting.stored().await), (None, 1));
}

#[tokio::test]
async fn a_reply_is_held_after_the_server() {
    let setting = Setting::new("held_reply").await;
    let held = setting
        .proxy
        .when(Command::named("insert"))
        .once()
        .hold()
        .after_server()
        .arm();
    let insert = setting.far.insert_one(doc! {"_id": 1});
    let meanwhile = async {
        held.wait_fired(1).await;
        let stored = setting.stored().await;
        held.let_go();
        stored
    };
    let (inserted, stored) = tokio::join!(insert.into_future(), meanwhile);
    inserted.expect("inserted");
    assert_eq!(stored, 1);
}

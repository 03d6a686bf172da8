//! Connections break, freeze and slow down.

use super::*;

#[tokio::test]
async fn a_lost_request_did_nothing_and_the_driver_tries_again() {
    let setting = Setting::new("lost_request").await;
    let lost = setting
        .proxy
        .when(Command::named("insert"))
        .once()
        .lose_request()
        .arm();
    setting
        .far
        .insert_one(doc! {"_id": 1})
        .await
        .expect("tried again");
    assert_eq!((lost.matched(), lost.fired(), setting.stored().await), (2, 1, 1));

    let setting = Setting::with("lost_for_good", "&retryWrites=false").await;
    setting.proxy.when(Command::named("insert")).once().lose_request();
    let error = setting
        .far
        .insert_one(doc! {"_id": 1})
        .await
        .expect_err("a broken line");
    assert!(matches!(&*error.kind, ErrorKind::Io(_)), "{error:?}");
    assert_eq!(setting.stored().await, 0);
}

#[tokio::test]
async fn a_lost_reply_was_done() {
    let setting = Setting::with("lost_reply", "&retryWrites=false").await;
    let lost = setting
        .proxy
        .when(Command::named("insert"))
        .once()
        .lose_reply()
        .arm();
    let error = setting
        .far
        .insert_one(doc! {"_id": 1})
        .await
        .expect_err("a broken line");
    assert!(matches!(&*error.kind, ErrorKind::Io(_)), "{error:?}");
    assert_eq!((lost.fired(), setting.stored().await), (1, 1));
}

#[tokio::test]
async fn connections_are_cut_and_refused() {
    let setting = Setting::with("cut", "&serverSelectionTimeoutMS=500").await;
    setting.far.insert_one(doc! {"_id": 1}).await.expect("inserted");
    setting.proxy.down().await;
    assert_eq!(setting.proxy.connections(), 0);
    setting.far.find_one(doc! {}).await.expect_err("nobody there");
    setting.proxy.pass().await;
    testkit::eventually("found again", || async {
        setting.far.find_one(doc! {}).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn frozen_connections_lose_nothing() {
    let setting = Setting::new("frozen").await;
    setting.far.insert_one(doc! {"_id": 1}).await.expect("inserted");
    setting.proxy.blackhole().await;
    let insert = setting.far.insert_one(doc! {"_id": 2});
    let meanwhile = async {
        // Any time will do: nothing arrives while it is frozen.
        let found = setting.far.find_one(doc! {}).into_future();
        let early = tokio::time::timeout(Duration::from_millis(200), found).await;
        assert!(early.is_err(), "a frozen line answered");
        let stored = setting.stored().await;
        setting.proxy.pass().await;
        stored
    };
    let (inserted, stored) = tokio::join!(insert.into_future(), meanwhile);
    inserted.expect("inserted");
    assert_eq!((stored, setting.stored().await), (1, 2));
}

#[tokio::test]
async fn a_slow_line_takes_its_time() {
    let setting = Setting::new("slow").await;
    setting.far.insert_one(doc! {"_id": 1}).await.expect("inserted");
    setting.proxy.slow(50_000);
    let start = Instant::now();
    let large = doc! {"_id": 2, "text": "x".repeat(10_000)};
    setting.far.insert_one(large).await.expect("inserted");
    assert!(
        start.elapsed() >= Duration::from_millis(200),
        "{:?}",
        start.elapsed()
    );
    setting.proxy.pass().await;
}

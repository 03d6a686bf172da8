//! Keys that are published at an address.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::*;

struct Issuer {
    _tasks: Mutex<JoinSet<()>>,
    set: Mutex<Option<JwkSet>>,
    fetches: AtomicUsize,
    /// Answers wait for this to be free.
    slow: Mutex<()>,
}

impl Issuer {
    async fn start() -> (Arc<Self>, Verifier) {
        let issuer = Arc::new(Self {
            _tasks: Mutex::default(),
            set: Mutex::new(None),
            fetches: AtomicUsize::new(0),
            slow: Mutex::new(()),
        });
        let answering = Arc::clone(&issuer);
        let route = get(async move || {
            answering.fetches.fetch_add(1, Ordering::SeqCst);
            drop(answering.slow.lock().await);
            answering
                .set
                .lock()
                .await
                .clone()
                .map(axum::Json)
                .ok_or(axum::http::StatusCode::BAD_GATEWAY)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/keys", route);
        issuer
            ._tasks
            .lock()
            .await
            .spawn(crate::serve(listener, None, router, 64, std::future::pending()));
        (
            issuer,
            verifier(key_set(&format!("http://{address}/keys")), |_| {}),
        )
    }

    async fn publish(&self, keys: &[(&str, Algorithm, &EncodingKey)]) {
        let keys = keys.iter().map(|(kid, algorithm, key)| {
            let mut jwk = Jwk::from_encoding_key(key, *algorithm).expect("a key");
            jwk.common.key_id = Some((*kid).to_owned());
            jwk
        });
        *self.set.lock().await = Some(JwkSet { keys: keys.collect() });
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

/// Passes the floor between two fetches without waiting for it.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_when_they_rotate() {
    let (issuer, verifier) = Issuer::start().await;
    assert_eq!(
        status(&verifier, &signed(Algorithm::RS256, Some("1"), &rsa())).await,
        503,
        "no keys yet"
    );
    issuer.publish(&[("1", Algorithm::RS256, &rsa())]).await;
    assert_eq!(
        status(&verifier, &signed(Algorithm::RS256, Some("1"), &rsa())).await,
        503,
        "not asked again yet"
    );
    pass(10).await;
    for _ in 0..5 {
        assert_eq!(
            status(&verifier, &signed(Algorithm::RS256, Some("1"), &rsa())).await,
            200
        );
        assert_eq!(
            status(&verifier, &signed(Algorithm::RS256, None, &rsa())).await,
            200,
            "the only key"
        );
    }
    assert_eq!(issuer.fetches(), 2);
    issuer
        .publish(&[("2", Algorithm::ES256, &ec()), ("3", Algorithm::RS256, &rsa())])
        .await;
    for _ in 0..5 {
        assert_eq!(
            status(&verifier, &signed(Algorithm::ES256, Some("made up"), &ec())).await,
            401
        );
    }
    assert_eq!(
        issuer.fetches(),
        2,
        "made-up ids do not reach the issuer within the floor"
    );
    pass(10).await;
    assert_eq!(
        status(&verifier, &signed(Algorithm::ES256, Some("2"), &ec())).await,
        200,
        "rotated"
    );
    assert_eq!(
        status(&verifier, &signed(Algorithm::RS256, Some("1"), &rsa())).await,
        401,
        "withdrawn"
    );
    assert_eq!(
        status(&verifier, &signed(Algorithm::RS256, Some("2"), &rsa())).await,
        401,
        "the key of another algorithm"
    );
    assert_eq!(issuer.fetches(), 3);
    // The issuer goes away: its keys stay good.
    *issuer.set.lock().await = None;
    pass(601).await;
    assert_eq!(
        status(&verifier, &signed(Algorithm::ES256, Some("2"), &ec())).await,
        200
    );
    assert_eq!(
        status(&verifier, &signed(Algorithm::ES256, Some("4"), &ec())).await,
        503,
        "nobody knows whether there is such a key by now"
    );
    // But not for ever: it may have withdrawn them.
    pass(24 * 3_600).await;
    assert_eq!(
        status(&verifier, &signed(Algorithm::ES256, Some("2"), &ec())).await,
        503
    );
    issuer.publish(&[("3", Algorithm::RS256, &rsa())]).await;
    pass(10).await;
    assert_eq!(
        status(&verifier, &signed(Algorithm::ES256, Some("2"), &ec())).await,
        401,
        "withdrawn meanwhile"
    );
}

/// An issuer that sends us to where the keys could not be had from in the first place.
#[tokio::test]
async fn a_redirect_leads_nowhere_that_the_address_could_not() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let to = |host: &str| {
        let target = format!("http://{host}:{port}/set");
        get(async move || axum::response::Redirect::temporary(&target))
    };
    let jwk = Jwk::from_encoding_key(&rsa(), Algorithm::RS256).expect("a key");
    let set = JwkSet { keys: vec![jwk] };
    let router = Router::new()
        .route("/near", to("127.0.0.1"))
        // Arrives at this machine too, but is no name of it.
        .route("/far", to("0.0.0.0"))
        .route("/set", get(async move || axum::Json(set)));
    let mut tasks = JoinSet::new();
    tasks.spawn(crate::serve(listener, None, router, 64, std::future::pending()));
    for (path, expected) in [("near", 200), ("far", 503)] {
        let address = format!("http://u:geheim@127.0.0.1:{port}/{path}");
        let verifier = verifier(key_set(&address), |_| {});
        let token = signed(Algorithm::RS256, None, &rsa());
        assert_eq!(status(&verifier, &token).await, expected, "{path}");
    }
}

#[tokio::test]
async fn who_has_a_known_key_does_not_wait_for_a_slow_issuer() {
    let (issuer, verifier) = Issuer::start().await;
    issuer.publish(&[("1", Algorithm::RS256, &rsa())]).await;
    let known = signed(Algorithm::RS256, Some("1"), &rsa());
    assert_eq!(status(&verifier, &known).await, 200);
    pass(10).await;
    let slow = issuer.slow.lock().await;
    let made_up = signed(Algorithm::RS256, Some("made up"), &rsa());
    let mut waiting = std::pin::pin!(status(&verifier, &made_up));
    while issuer.fetches() < 2 {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&verifier, &known).await, 200);
    // Also where the keys are old enough to be fetched again.
    pass(601).await;
    assert_eq!(status(&verifier, &known).await, 200);
    drop(slow);
    assert_eq!(waiting.await, 503, "no longer than its own time limit");
}

//! `usage-ledger health`, as an orchestrator calls it: an exit code, and one line that says why.

use testkit::net;
use testkit::world::{World, run};

/// Asks, and expects one line.
async fn asked(arguments: &[&str]) -> (i32, String) {
    let (code, told) = run(&[&["health"], arguments].concat(), Vec::new()).await;
    if code != 64 {
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    }
    (code, told)
}

#[tokio::test]
async fn a_process_is_alive_while_a_lane_is_stopped_and_says_why_it_is_not_ready() {
    let world = World::new("health").await;
    let mut product = world.ready(&[]).await;
    let address = product.admin().trim_start_matches("http://").to_owned();
    for (arguments, says) in [(&[][..], "alive: "), (&["--ready"], "ready: ")] {
        let (code, told) = asked(&[&["--admin-addr", &address], arguments].concat()).await;
        assert_eq!(code, 0, "{told}");
        assert!(told.starts_with(says) && told.contains(&address), "{told}");
    }
    world.collection("requestEvents").drop().await.expect("drops");
    world.wait_stopped().await;
    let stopped = async || {
        let (status, _) = testkit::world::admin(&product, "/readyz").await;
        status == 503
    };
    testkit::eventually("not ready", stopped).await;
    let (code, told) = asked(&["--admin-addr", &address]).await;
    assert_eq!(code, 0, "{told}");
    let metrics = product.metrics().await.expect("metrics");
    assert!(metrics.contains("\nusage_ledger_ready 0\n"), "{metrics}");
    let (code, told) = asked(&["--ready", "--admin-addr", &address]).await;
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("not ready: ") && told.contains("invalidated"),
        "{told}"
    );
    product
        .stop(std::time::Duration::from_secs(20))
        .await
        .expect("drains");
    let (code, told) = asked(&["--admin-addr", &address]).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("nobody listens there"), "{told}");
}

/// In a container a process listens on all addresses, and is asked with the same variable.
#[tokio::test]
async fn a_process_that_listens_everywhere_is_asked_on_loopback() {
    let world = World::new("health_everywhere").await;
    let everywhere = format!("0.0.0.0:{}", net::free_port().expect("a port"));
    let (code, _) = run(&["migrate"], world.variables(&[])).await;
    assert_eq!(code, 0);
    let _serving = testkit::world::start(&["serve", "--admin-addr", &everywhere], world.variables(&[]));
    let ready = async || asked_quietly(&everywhere).await == 0;
    testkit::eventually("ready", ready).await;
}

async fn asked_quietly(address: &str) -> i32 {
    asked(&["--ready", "--admin-addr", address]).await.0
}

#[tokio::test]
async fn an_address_without_a_port_is_a_wrong_setting() {
    for wrong in ["127.0.0.1:0", "localhost"] {
        let (code, told) = asked(&["--admin-addr", wrong]).await;
        assert_eq!(code, 64, "{told}");
        assert_eq!(told.matches("USAGE_LEDGER_ADMIN_ADDR").count(), 1, "{told}");
    }
}

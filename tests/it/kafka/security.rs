//! TLS, and every way to log in, against a broker that demands them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use mongodb::bson::doc;
use std::path::Path;
use std::process::Command;
use testkit::kafka::{Broker, Listener, Options};
use testkit::now;
use testkit::{net, tools};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{LEAVE, Topic};
use testkit::eventually;
use testkit::world::{World, admin};

const MODULES: &str = "org.apache.kafka.common.security";

/// A certificate for loopback that vouches for itself, and the file that a broker wants: key and certificate.
pub(super) fn certificate(folder: &Path) {
    let openssl = tools::on_path("openssl").expect("openssl is installed");
    let made = Command::new(openssl)
        .current_dir(folder)
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name| std::fs::read_to_string(folder.join(name)).expect("reads");
    let both = [read("key.pem"), read("certificate.pem")].concat();
    std::fs::write(folder.join("broker.pem"), both).expect("writes");
}

fn broker(folder: &Path, port: u16) -> Options {
    let jaas = |mechanism: &str, module: &str, options: &str| {
        (
            format!("listener.name.secure.{mechanism}.sasl.jaas.config"),
            format!("{MODULES}.{module} required {options};"),
        )
    };
    let pem = folder.join("broker.pem").display().to_string();
    Options {
        listeners: vec![Listener {
            name: "SECURE".into(),
            protocol: "SASL_SSL".into(),
            port,
        }],
        properties: vec![
            (
                "sasl.enabled.mechanisms".into(),
                "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".into(),
            ),
            ("ssl.keystore.type".into(), "PEM".into()),
            ("ssl.keystore.location".into(), pem),
            jaas("plain", "plain.PlainLoginModule", "user_worker=\"plain-secret\""),
            jaas("scram-sha-256", "scram.ScramLoginModule", ""),
            jaas("scram-sha-512", "scram.ScramLoginModule", ""),
            jaas(
                "oauthbearer",
                "oauthbearer.OAuthBearerLoginModule",
                "unsecuredLoginStringClaim_sub=\"broker\"",
            ),
        ],
        ..Options::default()
    }
}

/// Answers every request with a token for `worker`, unsigned: that the broker takes it is what matters here.
async fn give_tokens(listener: TcpListener) {
    let part = |json: String| BASE64_URL_SAFE_NO_PAD.encode(json);
    loop {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let mut request = vec![0; 16 * 1024];
        let _ = stream.read(&mut request).await.expect("reads");
        let since = now().timestamp();
        let claims = format!(
            r#"{{"sub":"worker","scope":"kafka","iat":{since},"exp":{}}}"#,
            since + 3_600
        );
        let token = format!("{}.{}.", part(r#"{"alg":"none"}"#.into()), part(claims));
        let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.expect("answers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_log_in_over_tls_reads_the_topic_and_a_wrong_secret_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path());
    let port = net::free_port().expect("a port");
    let broker = Broker::start(broker(folder.path(), port))
        .await
        .expect("Kafka starts");
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let password = format!("{mechanism}=[password=scram-secret]");
        let change = [
            "--alter",
            "--add-config",
            &password,
            "--entity-type",
            "users",
            "--entity-name",
            "worker",
        ];
        let made = broker.tool("kafka.admin.ConfigCommand", &change).await;
        made.expect("a user");
    }
    let world = World::new("kafka_security").await;
    let mut topic = Topic::on(&broker, world, "security", 1).await;
    topic.send(0, 0..10);
    topic.brokers = net::loopback(port).to_string();

    let listener = TcpListener::bind(net::loopback(0)).await.expect("listens");
    let endpoint = format!("http://{}/token", listener.local_addr().expect("an address"));
    let mut tokens = tokio::task::JoinSet::new();
    tokens.spawn(give_tokens(listener));
    let tls = format!(
        "security.protocol=sasl_ssl,ssl.ca.location={}",
        folder.path().join("certificate.pem").display()
    );
    let by_password = |mechanism: &str, password: &str| {
        format!("{tls},sasl.mechanisms={mechanism},sasl.username=worker,sasl.password={password}")
    };
    let by_token = format!(
        "{tls},sasl.mechanisms=OAUTHBEARER,sasl.oauthbearer.method=oidc,sasl.oauthbearer.client.id=worker,\
         sasl.oauthbearer.client.secret=token-secret,sasl.oauthbearer.token.endpoint.url={endpoint}"
    );

    for (wrong, told) in [
        (by_password("PLAIN", "wrong-secret"), "uthentication failed"),
        (
            by_password("PLAIN", "plain-secret").replace(&tls, "security.protocol=sasl_ssl"),
            "certificate verify failed",
        ),
    ] {
        let mut worker = topic.worker(&[("KAFKA_PROPERTIES", &wrong)]);
        eventually("the broker is said to refuse", || async {
            admin(&worker, "/readyz").await.1.contains("source_unreachable")
        })
        .await;
        worker.stop(LEAVE).await.expect("leaves");
        let said = worker.said();
        assert!(said.contains(told) && !said.contains("-secret"), "{said}");
    }
    let mut read = 0;
    for properties in [
        by_password("PLAIN", "plain-secret"),
        by_password("SCRAM-SHA-256", "scram-secret"),
        by_password("SCRAM-SHA-512", "scram-secret"),
        by_token,
    ] {
        read += 10;
        let mut worker = topic.worker(&[("KAFKA_PROPERTIES", &properties)]);
        topic.wait_next(0, read).await;
        worker.stop(LEAVE).await.expect("leaves");
        assert!(!worker.said().contains("-secret"));
        topic.brokers = broker.brokers().to_owned();
        let next = read.unsigned_abs();
        topic.send(0, next..next + 10);
        topic.brokers = net::loopback(port).to_string();
    }
    assert_eq!(topic.sum("counted").await, read);
    assert_eq!(
        topic.world.sums(doc! {}).await["ledger daily"]["requests"],
        i128::from(read)
    );
}

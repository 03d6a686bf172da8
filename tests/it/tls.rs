//! TLS on the reader's own port: who is answered, how certificates change while it runs, and what is said of wrong ones.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use reqwest::tls::{TlsInfo, Version};
use testkit::product::Product;
use testkit::proxy::Command;
use testkit::scratch::Scratch;
use testkit::world::{World, event, run};
use testkit::{PATIENCE, eventually, process, shared};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const EXPIRY: &str = "usage_ledger_certificate_expiry_timestamp_seconds";
/// The first bytes of TLS: a record of 512 bytes is on its way.
const HALF_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1];
const PLAIN: &[u8] = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Who signs certificates, and the folder in which the program finds them.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Scratch,
}

/// A certificate and its key, as PEM, and the certificate as peers see it.
struct Issued {
    certificate: String,
    key: String,
    der: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(parameters, key).expect("signs"),
            folder: Scratch::new("tls").expect("a folder"),
        }
    }

    /// A certificate for this machine that is good until the begin of this year.
    fn issue(&self, year: i32) -> Issued {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signs");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, which is there whole or not at all.
    fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).expect("written");
        fs::rename(new, self.path(name)).expect("renamed");
    }

    fn write_pair(&self, issued: &Issued) {
        self.write("tls.crt", &issued.certificate);
        self.write("tls.key", &issued.key);
    }

    /// The settings that name the files.
    fn settings(&self) -> [(&'static str, String); 2] {
        [("API_TLS_CERT", "tls.crt"), ("API_TLS_KEY", "tls.key")]
            .map(|(setting, name)| (setting, self.path(name).display().to_string()))
    }

    /// A worker with a reader that speaks TLS.
    async fn ready(&self, world: &World, more: &[(&str, &str)]) -> Product {
        let settings = self.settings();
        let mut all: Vec<_> = settings
            .iter()
            .map(|(name, path)| (*name, path.as_str()))
            .collect();
        all.extend(more);
        world.ready(&all).await
    }

    /// Somebody who trusts this authority and nobody else, and connects anew for each question.
    fn client(&self) -> reqwest::ClientBuilder {
        let trusted = reqwest::Certificate::from_der(self.issuer.der()).expect("a certificate");
        reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([trusted])
            .tls_info(true)
            .pool_max_idle_per_host(0)
    }

    /// The certificate that a new connection is shown.
    async fn shown(&self, product: &Product) -> Vec<u8> {
        let client = self.client().build().expect("a client");
        let answer = client.get(document(product)).send().await.expect("an answer");
        shown(&answer)
    }
}

fn shown(answer: &reqwest::Response) -> Vec<u8> {
    let info = answer.extensions().get::<TlsInfo>().expect("TLS");
    info.peer_certificate().expect("a certificate").to_vec()
}

fn secure(product: &Product) -> String {
    product.api().replace("http://", "https://")
}

fn document(product: &Product) -> String {
    format!("{}/openapi.json", secure(product))
}

async fn connect(product: &Product, sent: &[u8]) -> TcpStream {
    let address: SocketAddr = product
        .api()
        .trim_start_matches("http://")
        .parse()
        .expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(sent).await.expect("sends");
    stream
}

async fn expiry(product: &Product) -> Option<i64> {
    let text = product.metrics().await.expect("metrics");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(EXPIRY));
    lines.find_map(|value| value.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readers_port_speaks_tls_and_nothing_else() {
    let (world, authority) = (World::new("tls_speaks").await, Authority::new());
    authority.write_pair(&authority.issue(2040));
    let mut product = authority.ready(&world, &[]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut product, 1).await;
    let summary = format!(
        "{}/v1/usage/summary?organizationId=acme&from=2026-01-05&to=2026-01-05",
        secure(&product)
    );
    for (client, spoken) in [
        (authority.client(), reqwest::Version::HTTP_2),
        (authority.client().http1_only(), reqwest::Version::HTTP_11),
        (
            authority.client().tls_version_max(Version::TLS_1_2),
            reqwest::Version::HTTP_2,
        ),
        (
            authority.client().tls_version_min(Version::TLS_1_3),
            reqwest::Version::HTTP_2,
        ),
    ] {
        let client = client.build().expect("a client");
        let answer = client.get(&summary).send().await.expect("an answer");
        assert_eq!(answer.version(), spoken);
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(answer["totals"]["requests"], 1, "{answer}");
    }
    let stranger = Authority::new().client().build().expect("a client");
    assert!(
        stranger.get(&summary).send().await.is_err(),
        "nobody vouches for it"
    );
    let mut plain = connect(&product, PLAIN).await;
    let mut said = Vec::new();
    plain.read_to_end(&mut said).await.expect("reads");
    assert!(said.len() <= 7, "more than an alert: {said:?}");
    // The other port is as it was.
    assert_eq!(expiry(&product).await, Some(2_208_988_800));
    assert!(product.said().contains(&secure(&product)), "{}", product.said());
    product.stop(PATIENCE).await.expect("exits with 0");
}

/// More of them than there are places: each new connection takes the place of one that says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_secure_a_connection_keeps_nobody_out_and_holds_up_no_end() {
    let (world, authority) = (World::new("tls_flood").await, Authority::new());
    authority.write_pair(&authority.issue(2040));
    let mut product = authority.ready(&world, &[("API_MAX_CONNECTIONS", "8")]).await;
    let client = authority.client().build().expect("a client");
    let mut held = Vec::new();
    for _ in 0..8 {
        for sent in [b"", HALF_HELLO, PLAIN] {
            held.push(connect(&product, sent).await);
        }
        let answer = client.get(document(&product)).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
    }
    product.stop(Duration::from_secs(20)).await.expect("exits with 0");
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_under_way_is_given_before_the_end() {
    let (mongo, authority) = (shared::mongo().await, Authority::new());
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(&mongo, "tls_drain").await;
    world.uri = mongo.proxied_uri(&proxy);
    authority.write_pair(&authority.issue(2040));
    let mut product = authority.ready(&world, &[]).await;
    world.insert_one(event("acme")).await;
    world.wait_read(&mut product, 1).await;
    let sums = Command::any().collection("usageRollups");
    let held = proxy.when(sums).once().hold().arm();
    let request = authority.client().build().expect("a client").get(format!(
        "{}/v1/usage/summary?organizationId=acme&from=2026-01-05&to=2026-01-05",
        secure(&product)
    ));
    let mut asking = tokio::task::JoinSet::new();
    asking.spawn(async move { request.send().await.expect("an answer").text().await });
    held.wait_fired(1).await;
    product.process().terminate().expect("is told");
    eventually("it stops", || async { product.said().contains("stopping") }).await;
    held.let_go();
    let answer = asking.join_next().await.expect("a task").expect("no panic");
    let answer = answer.expect("a whole answer");
    assert!(answer.contains(r#""requests":1"#), "{answer}");
    let ended = product.process().wait_ended(PATIENCE).await.expect("ends");
    assert!(ended.success(), "{ended}: {}", product.said());
}

/// One file after the other, then both behind a symlink, and a broken one between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_takes_the_place_of_another_is_shown_to_new_connections() {
    let (world, authority) = (World::new("tls_renewal").await, Authority::new());
    let [first, second, third] = [2040, 2041, 2042].map(|year| authority.issue(year));
    authority.write_pair(&first);
    let mut product = authority.ready(&world, &[]).await;
    let kept = authority.client().pool_max_idle_per_host(1).build();
    let kept = kept.expect("a client");
    let is_kept = async || {
        let answer = kept.get(document(&product)).send().await.expect("an answer");
        let shown = shown(&answer);
        answer.bytes().await.expect("a body");
        shown == first.der
    };
    assert!(is_kept().await);
    let says = async |words: &str| {
        let says = || async { product.said().contains(words) };
        eventually(words, says).await;
    };

    authority.write("tls.crt", &second.certificate);
    says("does not belong to the certificate").await;
    assert_eq!(authority.shown(&product).await, first.der);
    assert_eq!(expiry(&product).await, Some(2_208_988_800));
    authority.write("tls.key", &second.key);
    let is_second = || async { authority.shown(&product).await == second.der };
    eventually("the second certificate", is_second).await;
    assert_eq!(expiry(&product).await, Some(2_240_611_200));
    assert!(is_kept().await, "a connection that was there goes on");

    authority.write("tls.crt", "nonsense");
    says("holds no certificate").await;
    assert_eq!(authority.shown(&product).await, second.der);
    assert_eq!(expiry(&product).await, Some(2_240_611_200));
    let said = product.said();
    let told = said.lines().find(|line| line.contains("holds no certificate"));
    let told = told.expect("said");
    let file = authority.path("tls.crt").display().to_string();
    assert!(
        told.contains("USAGE_LEDGER_API_TLS_CERT") && told.contains(&file) && told.contains("WARN"),
        "{told}"
    );
    assert!(!said.contains("nonsense"), "{said}");

    // As Kubernetes does it: both files at once, behind a link.
    for (name, text) in [("tls.crt", &third.certificate), ("tls.key", &third.key)] {
        fs::create_dir_all(authority.path("..third")).expect("a folder");
        fs::write(authority.path("..third").join(name), text).expect("written");
    }
    symlink("..third", authority.path("..data")).expect("a link");
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), authority.path("new")).expect("a link");
        fs::rename(authority.path("new"), authority.path(name)).expect("renamed");
    }
    let is_third = || async { authority.shown(&product).await == third.der };
    eventually("the third certificate", is_third).await;
    assert_eq!(product.said().matches("holds no certificate").count(), 1, "once");
    product.stop(PATIENCE).await.expect("exits with 0");
}

#[tokio::test]
async fn wrong_files_are_all_told_with_64_and_an_expired_certificate_with_a_warning() {
    let authority = Authority::new();
    let (issued, other) = (authority.issue(2040), authority.issue(2040));
    authority.write("empty", "");
    let path = |name: &str| authority.path(name).display().to_string();
    let tell = async |command: &[&str], certificate: Option<&str>, key: Option<&str>| {
        let files = [("API_TLS_CERT", certificate), ("API_TLS_KEY", key)];
        let files = files
            .into_iter()
            .filter_map(|(name, file)| Some((name, path(file?))));
        let others = [("AUTH", "off"), ("LEASE", "soon")].map(|(name, value)| (name, value.to_owned()));
        let variables = files.chain(others).map(|(name, value)| (name.to_owned(), value));
        run(command, variables.collect()).await
    };
    authority.write("tls.crt", &issued.certificate);
    authority.write("tls.key", &other.key);
    for (certificate, key, expected) in [
        (
            Some("none"),
            Some("empty"),
            &[
                ("API_TLS_CERT", "none", "cannot be read"),
                ("API_TLS_KEY", "empty", "holds no private key"),
            ][..],
        ),
        (
            Some("empty"),
            Some("none"),
            &[
                ("API_TLS_CERT", "empty", "holds no certificate"),
                ("API_TLS_KEY", "none", "cannot be read"),
            ],
        ),
        (
            Some("tls.crt"),
            Some("tls.key"),
            &[(
                "API_TLS_KEY",
                "tls.key",
                "holds a key that does not belong to the certificate",
            )],
        ),
    ] {
        for command in [&["run"][..], &["config", "check"]] {
            let (code, told) = tell(command, certificate, key).await;
            assert_eq!(code, 64, "{told}");
            assert!(told.contains("USAGE_LEDGER_LEASE"), "{told}");
            for (variable, file, what) in expected {
                let sentence = format!("USAGE_LEDGER_{variable}: the file `{}` {what}", path(file));
                assert!(told.contains(&sentence), "{sentence}: {told}");
            }
        }
    }
    let (code, told) = tell(&["config", "check"], None, Some("tls.key")).await;
    assert_eq!(code, 64, "{told}");
    assert!(
        told.contains("USAGE_LEDGER_API_TLS_CERT: expected a file"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_shown_with_a_warning() {
    let (world, authority) = (World::new("tls_expired").await, Authority::new());
    authority.write_pair(&authority.issue(2020));
    let warning = "holds a certificate that expired at 2020-01-01T00:00:00+00:00";
    let settings = authority.settings();
    let files = settings.iter().map(|(name, path)| (*name, path.as_str()));
    let files: Vec<_> = files.collect();
    let (code, told) = run(&["config", "check"], world.variables(&files)).await;
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("USAGE_LEDGER_API_TLS_CERT: the file") && told.contains(warning),
        "{told}"
    );
    let mut product = authority.ready(&world, &[]).await;
    let said = process::log_after(product.process().log(), 0);
    assert!(said.contains(warning), "{said}");
    assert_eq!(expiry(&product).await, Some(1_577_836_800));
    product.stop(PATIENCE).await.expect("exits with 0");
}

//! Callers who mean no good, or do not care: silent, slow, greedy, forging. The running program goes on answering
//! everybody else.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{EncodingKey, Header, encode};
use mongodb::bson::{DateTime as BsonTime, Document};
use serde_json::{Value, json};
use testkit::product::{self, Product, Settings};
use testkit::world::{World, event, run, start};
use testkit::{PATIENCE, eventually, net, process, tools};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// The begin of HTTP/2, and settings that change nothing.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test goes by the machine's clock"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn token(claims: &Value) -> String {
    let mut all = json!({"exp": 4_000_000_000_u64});
    let members = claims.as_object().expect("an object").clone();
    all.as_object_mut().expect("an object").extend(members);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &all, &key).expect("a token")
}

fn staff(name: &str) -> String {
    token(&json!({"sub": name, "platformRole": "staff"}))
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

async fn connect(url: &str, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address(url)).await.expect("connects");
    stream.write_all(sent).await.expect("sends");
    stream
}

/// Whether the other end has closed the connection.
fn is_closed(stream: &TcpStream) -> bool {
    let mut bytes = [0; 1024];
    loop {
        match stream.try_read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// The program with so many files that it may open.
async fn with_files(world: &World, files: u32, more: &[(&str, &str)]) -> Product {
    let program = product::program().expect("the program is built");
    let mut product = Product::start(Settings {
        program: tools::on_path("prlimit").expect("prlimit of util-linux"),
        arguments: vec![
            format!("--nofile={files}"),
            "--".into(),
            program.display().to_string(),
            "run".into(),
        ],
        variables: world.variables(more),
        api_port: net::free_port().expect("a port"),
        admin_port: net::free_port().expect("a port"),
    })
    .expect("the program starts");
    product.wait_ready(PATIENCE).await.expect("ready");
    product
}

/// Each kind of connection that asks for nothing, more of them than the program may have files: both ports go on
/// answering, and a stop is not held up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_keep_nobody_else_out() {
    let world = World::new("hostile_silent").await;
    let mut product = with_files(&world, 256, &[]).await;
    let kinds: [&[u8]; 6] = [
        b"",
        &HTTP2[..9],
        HTTP2,
        b"GET /healthz HTTP/1.1\r\nhost: loc",
        b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ];
    let mut held = Vec::new();
    for (url, count) in [(product.api(), 300), (product.admin(), 100)] {
        for n in 0..count {
            held.push(connect(url, kinds[n % kinds.len()]).await);
        }
    }
    // One that idles is among those that make room: each asks on a connection of its own.
    let client = reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .build()
        .expect("a client");
    let summary = format!("{}/v1/usage/summary?organizationId=acme", product.api());
    let paths = ["/readyz", "/healthz", "/metrics"].map(|path| format!("{}{path}", product.admin()));
    for url in paths.iter().chain([&summary]) {
        let answer = client.get(url).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{url}");
        assert!(!answer.bytes().await.expect("a body").is_empty(), "{url}");
    }
    let said = process::log_after(product.process().log(), 0);
    assert!(said.contains("fewer connections"), "{said}");
    let refusals = said.matches("connections cannot be accepted").count();
    assert!(refusals < 5, "{refusals} times: {said}");
    // Many hold a place still, and idle ones among them must not hold up the end.
    assert!(held.iter().filter(|stream| !is_closed(stream)).count() > 50);
    let idle = connect(product.api(), HTTP2).await;
    product.stop(Duration::from_secs(20)).await.expect("exits with 0");
    drop((held, idle));
}

/// Where there is room for all, whoever does nothing is closed after a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: takes the ten seconds that a head may take"]
async fn whoever_does_nothing_is_closed_on_both_ports() {
    let world = World::new("hostile_idle").await;
    let mut product = world.ready(&[]).await;
    let mut held = Vec::new();
    for url in [product.api(), product.admin()] {
        for sent in [&b""[..], &HTTP2[..9], HTTP2, b"GET / HTTP/1.1\r\nx: y\r\n"] {
            held.push(connect(url, sent).await);
        }
    }
    let all_closed = || async { held.iter().all(is_closed) };
    eventually("closed", all_closed).await;
    product.stop(PATIENCE).await.expect("exits with 0");
}

/// A ledger whose table is large: these agents on each of these days.
async fn large(name: &str, agents: i64, days: i64, more: &[(&str, &str)]) -> (World, Product) {
    let world = World::new(name).await;
    let own = [("AUTH", "jwt"), ("JWT_SECRET", SECRET)];
    let variables: Vec<(&str, &str)> = own.iter().chain(more).copied().collect();
    let mut product = world.ready(&variables).await;
    let begin = now() - TimeDelta::days(days);
    let events: Vec<Document> = (0..agents.max(days))
        .map(|n| {
            let mut event = event("acme");
            event.insert("agentSlug", format!("agent-{}", n % agents));
            let at = begin + TimeDelta::days(n % days);
            event.insert("completedAt", BsonTime::from_chrono(at));
            event
        })
        .collect();
    for events in events.chunks(1_000) {
        world
            .collection("requestEvents")
            .insert_many(events)
            .await
            .expect("inserts");
    }
    world.wait_read(&mut product, events.len() as u64).await;
    (world, product)
}

fn days(days: i64) -> String {
    let (from, to) = (now() - TimeDelta::days(days), now());
    format!("from={}&to={}", from.date_naive(), to.date_naive())
}

/// Sends a request and reads the status line, and no more.
async fn asked(product: &Product, target: &str, token: &str, accept: &str) -> (TcpStream, u16) {
    let head = format!(
        "GET {target} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(address(product.api())).await.expect("connects");
    stream.write_all(head.as_bytes()).await.expect("sends");
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.expect("an answer");
    let status = String::from_utf8_lossy(&line[9..12]).parse().expect("a status");
    (stream, status)
}

/// Four unread answers are all that one caller gets; others are answered meanwhile, and a fifth when one was read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_read_are_few_and_bounded() {
    let (_world, mut product) = large("hostile_unread", 60, 300, &[]).await;
    let target = format!(
        "/v1/usage/table?scope=organization&organizationId=acme&{}",
        days(300)
    );
    let greedy = staff("greedy");
    let mut unread = Vec::new();
    for _ in 0..4 {
        let (stream, status) = asked(&product, &target, &greedy, "application/json").await;
        assert_eq!(status, 200);
        unread.push(stream);
    }
    for _ in 0..2 {
        let (mut stream, status) = asked(&product, &target, &greedy, "application/json").await;
        assert_eq!(status, 429);
        let mut said = vec![0; 2048];
        let read = stream.read(&mut said).await.expect("reads");
        let said = String::from_utf8_lossy(&said[..read]).to_lowercase();
        assert!(
            said.contains("retry-after: 1") && said.contains("under way already"),
            "{said}"
        );
    }
    assert_eq!(
        asked(&product, &target, &staff("patient"), "application/json")
            .await
            .1,
        200
    );
    // Reading one to its end makes room for another one.
    let mut first = unread.remove(0);
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n0\r\n\r\n") {
        assert_ne!(first.read_buf(&mut read).await.expect("reads"), 0, "breaks off");
    }
    assert_eq!(asked(&product, &target, &greedy, "application/json").await.1, 200);
    // Nobody waits for who does not read.
    product.stop(Duration::from_secs(20)).await.expect("exits with 0");
    drop(unread);
}

/// A table of more cells than people can use is refused with a way out, and CSV is that way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_too_large_is_to_be_had_as_csv() {
    let (_world, mut product) = large("hostile_cells", 70, 300, &[]).await;
    let target = format!("table?scope=organization&organizationId=acme&{}", days(299));
    let ask = async |accept: &str| {
        let request = reqwest::Client::new()
            .get(format!("{}/v1/usage/{target}", product.api()))
            .header("accept", accept)
            .bearer_auth(staff("cells"));
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    };
    let (status, said) = ask("application/json").await;
    assert_eq!(status, 422, "{said}");
    assert!(
        said.contains("20000 cells") && said.contains("text/csv"),
        "{said}"
    );
    let (status, csv) = ask("text/csv").await;
    assert_eq!((status, csv.lines().count()), (200, 1 + 70 * 300));
    let requests: u64 = {
        let mut lines = csv.lines().map(|line| line.split(','));
        let at = lines
            .next()
            .and_then(|mut names| names.position(|name| name == "requests"))
            .expect("a column");
        lines
            .map(|mut cells| {
                cells
                    .nth(at)
                    .and_then(|cell| cell.parse::<u64>().ok())
                    .expect("a number")
            })
            .sum()
    };
    assert_eq!(requests, 299, "the first day is not in the range");
    product.stop(PATIENCE).await.expect("stops");
}

/// A minute of unread answers: each connection is closed, and everything they held is free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "in make test-all: takes the half minute that an answer may go unread"]
async fn an_answer_that_is_not_read_is_ended_after_half_a_minute() {
    let (_world, mut product) = large("hostile_stuck", 60, 300, &[]).await;
    let target = format!(
        "/v1/usage/table?scope=organization&organizationId=acme&{}",
        days(300)
    );
    let greedy = staff("stuck");
    let mut unread = Vec::new();
    for accept in ["application/json", "text/csv", "application/json", "text/csv"] {
        unread.push(asked(&product, &target, &greedy, accept).await.0);
    }
    assert_eq!(asked(&product, &target, &greedy, "application/json").await.1, 429);
    let free = || async { asked(&product, &target, &greedy, "application/json").await.1 == 200 };
    eventually("free again", free).await;
    product.stop(PATIENCE).await.expect("stops");
}

/// One caller asks as much as it can, all the time; another one's questions are answered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_caller_leaves_turns_for_others() {
    let (_world, mut product) = large("hostile_flood", 200, 100, &[]).await;
    // A connection that was idle for too long is closed, perhaps while it is used again.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build();
    let client = client.expect("a client");
    let url = |n: i64| {
        let query = format!(
            "scope=organization&organizationId=acme&granularity=weekly&{}",
            days(n)
        );
        format!("{}/v1/usage/table?{query}", product.api())
    };
    let mut flooding = tokio::task::JoinSet::new();
    for n in 1..50 {
        let (client, url, flood) = (client.clone(), url(n), staff("flood"));
        flooding.spawn(async move {
            loop {
                let answer = client.get(&url).bearer_auth(&flood).send().await;
                drop(answer.expect("an answer").bytes().await);
            }
        });
    }
    let patient = staff("patient");
    for n in 50..60 {
        let answer = client.get(url(n)).bearer_auth(&patient).send().await;
        assert_eq!(answer.expect("an answer").status().as_u16(), 200);
    }
    assert!(flooding.try_join_next().is_none(), "the flood goes on");
    flooding.abort_all();
    product.stop(PATIENCE).await.expect("stops");
}

/// What `run` would refuse `config check` refuses too, with the same words; secrets may come from files.
#[tokio::test]
async fn keys_are_checked_before_anything_starts_and_may_be_in_files() {
    let variables = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    };
    for (pairs, variable) in [
        (&[("JWT_SECRET", "x")][..], "USAGE_LEDGER_JWT_SECRET:"),
        (&[("JWT_SECRET", &SECRET[..31])], "USAGE_LEDGER_JWT_SECRET:"),
        (&[("JWT_PUBLIC_KEY", "geheim")], "USAGE_LEDGER_JWT_PUBLIC_KEY:"),
        (
            &[("JWT_JWKS_URL", "https://u:geheim@keys.example.com/")],
            "USAGE_LEDGER_JWT_AUDIENCE:",
        ),
        (
            &[
                ("JWT_JWKS_URL", "http://u:geheim@keys.example.com/"),
                ("JWT_AUDIENCE", "a"),
            ],
            "USAGE_LEDGER_JWT_JWKS_URL:",
        ),
        (
            &[("JWT_SECRET_FILE", "/nowhere")],
            "USAGE_LEDGER_JWT_SECRET_FILE:",
        ),
    ] {
        let mut words = Vec::new();
        for command in [&["run"][..], &["config", "check"]] {
            let (code, told) = run(command, variables(pairs)).await;
            assert_eq!(code, 64, "{pairs:?}: {told}");
            assert!(told.contains(variable), "{variable}: {told}");
            assert!(!told.contains("geheim"), "{told}");
            words.push(told);
        }
        assert_eq!(words[0], words[1]);
    }

    let world = World::new("hostile_files").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let mut file = std::fs::File::create(&path).expect("a file");
        writeln!(file, "{text}").expect("writes");
        path.display().to_string()
    };
    let (secret, uri) = (file("secret", SECRET), file("uri", &world.uri));
    let pairs = [
        ("AUTH", "jwt"),
        ("JWT_SECRET_FILE", secret.as_str()),
        ("MONGODB_URI_FILE", uri.as_str()),
        ("MONGODB_DATABASE", world.name.as_str()),
    ];
    let (code, told) = run(&["config", "check"], variables(&pairs)).await;
    assert_eq!(code, 0, "{told}");
    assert!(!told.contains(SECRET) && !told.contains(&world.uri), "{told}");
    for shown in ["JWT_SECRET=<redacted>", "MONGODB_URI=<redacted>"] {
        assert!(told.contains(&format!("USAGE_LEDGER_{shown}")), "{told}");
    }
    let mut product = start(&["run"], variables(&pairs));
    product.wait_ready(PATIENCE).await.expect("ready");
    let asked = reqwest::Client::new()
        .get(format!("{}/v1/usage/meta", product.api()))
        .bearer_auth(staff("files"));
    assert_eq!(asked.send().await.expect("an answer").status().as_u16(), 200);
    product.stop(PATIENCE).await.expect("stops");
    let both = [("JWT_SECRET", SECRET), ("JWT_SECRET_FILE", secret.as_str())];
    let (code, told) = run(&["config", "check"], variables(&both)).await;
    assert!(
        code == 64 && told.contains("USAGE_LEDGER_JWT_SECRET_FILE:"),
        "{told}"
    );
}

/// A page that had its own name made to mean this machine reads nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tokens_only_names_of_this_machine_are_answered() {
    let world = World::new("hostile_host").await;
    let mut product = world.ready(&[]).await;
    let status = async |host: &str, path: &str| {
        let request = reqwest::Client::new().get(format!("{}{path}", product.api()));
        let answer = request.header("host", host).send().await.expect("an answer");
        answer.status().as_u16()
    };
    for path in ["/v1/usage/summary?organizationId=acme", "/", "/openapi.json"] {
        assert_eq!(status("localhost:8080", path).await, 200, "{path}");
        assert_eq!(status("rebound.example.com", path).await, 403, "{path}");
    }
    // Over HTTP/2 the name is in the address of the request.
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .resolve("rebound.example.com", address(product.api()))
        .build()
        .expect("a client");
    let port = address(product.api()).port();
    let rebound = format!("http://rebound.example.com:{port}/v1/usage/meta");
    assert_eq!(
        client
            .get(rebound)
            .send()
            .await
            .expect("an answer")
            .status()
            .as_u16(),
        403
    );
    let own = format!("{}/v1/usage/meta", product.api());
    assert_eq!(
        client.get(own).send().await.expect("an answer").status().as_u16(),
        200
    );
    drop(client);
    product.stop(PATIENCE).await.expect("stops");
}

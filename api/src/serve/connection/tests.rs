use axum::body::Bytes;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::ServerName;

use super::super::watch::Patience;
use super::*;
use crate::tls::tests::secured;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `GET /large` on stream 1 with an authority, all as HPACK literals.
const ASKED: &[u8] = b"\x00\x00\x12\x01\x05\x00\x00\x00\x01\x82\x86\x44\x06/large\x41\x06ledger";
const LARGE: usize = 4 * 1024 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Peer {
    stream: Box<dyn Stream>,
    watch: Arc<Watch>,
    tasks: JoinSet<()>,
    stop: signal::Sender<bool>,
    begin: Instant,
}

/// How a peer and the port understand each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Plain,
    Tls,
    /// The port speaks TLS, and the peer sends as it is.
    PlainToTls,
}

/// A peer that has sent this.
async fn peer(speaks: Speaks, sent: &[u8]) -> Peer {
    let router = Router::new()
        .route("/", get(async || "answered"))
        .route("/large", get(async || Bytes::from(vec![b'x'; LARGE])))
        .route("/never", get(std::future::pending::<&'static str>));
    let (theirs, ours) = duplex(64 * 1024);
    let watch = Arc::new(Watch::new(Patience::default(), Instant::now()));
    let (stop, stopping) = signal::channel(false);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let (tls, connector) = secured();
    let acceptor = (speaks != Speaks::Plain).then(|| tls.acceptor());
    let mut tasks = JoinSet::new();
    tasks.spawn(connection(
        ours,
        address,
        acceptor,
        router,
        Arc::clone(&watch),
        stopping,
    ));
    let begin = Instant::now();
    let mut stream: Box<dyn Stream> = match speaks {
        Speaks::Tls => {
            let name = ServerName::try_from("localhost").expect("a name");
            Box::new(connector.connect(name, theirs).await.expect("agrees"))
        }
        _ => Box::new(theirs),
    };
    stream.write_all(sent).await.expect("sends");
    stream.flush().await.expect("sends");
    Peer {
        stream,
        watch,
        tasks,
        stop,
        begin,
    }
}

impl Peer {
    /// After how many seconds the connection was closed.
    async fn closed(&mut self) -> u64 {
        self.tasks.join_next().await.expect("a task").expect("no panic");
        self.begin.elapsed().as_secs()
    }

    async fn reads_until(&mut self, words: &[u8]) {
        let mut read = Vec::new();
        while !read.windows(words.len()).any(|part| part == words) {
            assert_ne!(self.stream.read_buf(&mut read).await.expect("reads"), 0);
        }
    }
}

/// Whatever a peer begins and does not go on with, its connection ends.
#[tokio::test(start_paused = true)]
async fn who_does_nothing_is_closed() {
    let tooth = PREFACE.len() / 2;
    for (name, sent, seconds) in [
        ("silence", &b""[..], 10),
        ("half a preface", &PREFACE[..tooth], 10),
        ("half a head", b"GET / HTTP/1.1\r\nho", 10),
        ("nothing after the preface", PREFACE, 10),
        ("nothing after the settings", &[PREFACE, SETTINGS].concat(), 10),
        (
            "nothing after an answer",
            b"GET / HTTP/1.1\r\nhost: ledger\r\n\r\n",
            60,
        ),
        (
            "half a head after an answer",
            b"GET / HTTP/1.1\r\nhost: ledger\r\n\r\nGET / HT",
            60,
        ),
        (
            "an answer that is not read",
            b"GET /large HTTP/1.1\r\nhost: ledger\r\n\r\n",
            30,
        ),
        (
            "an answer over HTTP/2 that is not read",
            &[PREFACE, SETTINGS, ASKED].concat(),
            30,
        ),
    ] {
        for speaks in [Speaks::Plain, Speaks::Tls] {
            let mut peer = peer(speaks, sent).await;
            let took = peer.closed().await;
            assert!(
                (seconds..=seconds + 2).contains(&took),
                "{speaks:?}, {name}: {took} s"
            );
        }
    }
}

/// A slow peer is not a dead one: what moves may take long.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_taken_slowly_is_sent_whole() {
    let asked = b"GET /large HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\n\r\n";
    for speaks in [Speaks::Plain, Speaks::Tls] {
        let mut peer = peer(speaks, asked).await;
        let mut taken = 0;
        let mut piece = vec![0; 128 * 1024];
        loop {
            tokio::time::sleep(Duration::from_secs(20)).await;
            match peer.stream.read(&mut piece).await.expect("reads") {
                0 => break,
                read => taken += read,
            }
        }
        assert!(taken > LARGE, "{speaks:?}: {taken}");
        assert!(peer.closed().await > 600, "{speaks:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_nothing_does_not_hold_up_the_end() {
    let asked = [PREFACE, SETTINGS, ASKED].concat();
    for (name, sent, most) in [
        ("silence", &b""[..], 0),
        ("half a preface", &PREFACE[..7], 0),
        ("half a head", b"GET / HTTP/1.1\r\nho", 1),
        ("idle in HTTP/1", b"GET / HTTP/1.1\r\nhost: ledger\r\n\r\n", 0),
        ("idle in HTTP/2", &[PREFACE, SETTINGS].concat(), 1),
        (
            "an answer that is not read",
            b"GET /large HTTP/1.1\r\nhost: ledger\r\n\r\n",
            5,
        ),
        ("an answer over HTTP/2 that is not read", &asked, 5),
    ] {
        for speaks in [Speaks::Plain, Speaks::Tls] {
            let mut peer = peer(speaks, sent).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            peer.begin = Instant::now();
            peer.stop.send_replace(true);
            let took = peer.closed().await;
            assert!(took <= most, "{speaks:?}, {name}: {took} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_being_made_has_its_time_also_at_the_end() {
    for speaks in [Speaks::Plain, Speaks::Tls] {
        let mut peer = peer(speaks, b"GET /never HTTP/1.1\r\nhost: ledger\r\n\r\n").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        peer.stop.send_replace(true);
        let waited = tokio::time::timeout(Duration::from_secs(100), peer.closed()).await;
        assert!(
            waited.is_err(),
            "{speaks:?}: its own time limit ends it, not ours"
        );
    }
}

/// Heads are bounded in bytes and in fields.
#[tokio::test]
async fn heads_are_bounded() {
    let fields = |count: usize| "x: y\r\n".repeat(count);
    let long = format!("x: {}\r\n", "y".repeat(64 * 1024));
    for (more, status) in [
        (fields(MAX_HEAD_FIELDS - 1), "HTTP/1.1 200"),
        (fields(MAX_HEAD_FIELDS), "HTTP/1.1 431"),
        (long, "HTTP/1.1 431"),
    ] {
        let mut peer = peer(Speaks::Plain, b"").await;
        let head = format!("GET / HTTP/1.1\r\nhost: ledger\r\n{more}\r\n");
        // Who is refused may be hung up on before the end.
        drop(peer.stream.write_all(head.as_bytes()).await);
        peer.reads_until(status.as_bytes()).await;
    }
}

/// The first bytes of TLS: a record of 512 bytes is on its way.
const HALF_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1];

#[tokio::test(start_paused = true)]
async fn who_does_not_secure_the_connection_in_time_is_closed() {
    for (name, sent, seconds) in [
        ("silence", &b""[..], 10),
        ("half a greeting", HALF_HELLO, 10),
        ("plain HTTP", b"GET / HTTP/1.1\r\nhost: ledger\r\n\r\n", 0),
        ("plain HTTP/2", &[PREFACE, SETTINGS].concat(), 0),
    ] {
        let mut peer = peer(Speaks::PlainToTls, sent).await;
        assert_eq!(peer.closed().await, seconds, "{name}");
        let mut answer = Vec::new();
        peer.stream.read_to_end(&mut answer).await.expect("reads");
        assert!(answer.len() <= 7, "{name}: more than an alert: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_not_secured_the_connection_makes_room_and_holds_up_no_end() {
    for sent in [b"", HALF_HELLO] {
        let mut evicted = peer(Speaks::PlainToTls, sent).await;
        assert!(evicted.watch.waits_since().is_some());
        evicted.watch.evict();
        assert_eq!(evicted.closed().await, 0);
        let mut stopped = peer(Speaks::PlainToTls, sent).await;
        stopped.stop.send_replace(true);
        assert_eq!(stopped.closed().await, 0);
    }
}

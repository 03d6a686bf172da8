use super::*;

const SOON: Duration = Duration::from_secs(5);

/// A server that answers every line with `ok <line>`.
async fn echo(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let mut bytes = [0; 256];
            while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                let reply = [b"ok ", &bytes[..length]].concat();
                if stream.write_all(&reply).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn ask(stream: &mut TcpStream, line: &str) -> Option<String> {
    stream.write_all(line.as_bytes()).await.ok()?;
    let mut bytes = [0; 256];
    match tokio::time::timeout(SOON, stream.read(&mut bytes))
        .await
        .expect("an answer or an end")
    {
        Ok(length @ 1..) => Some(String::from_utf8_lossy(&bytes[..length]).into_owned()),
        _ => None,
    }
}

/// A proxy before a server, and a client of it. The server lives as long as its set.
async fn started() -> (Link, TcpStream, JoinSet<()>) {
    let listener = TcpListener::bind(net::loopback(0)).await.expect("bound");
    let proxy = Link::start(listener.local_addr().expect("an address"))
        .await
        .expect("a proxy");
    let mut server = JoinSet::new();
    server.spawn(echo(listener));
    let client = TcpStream::connect(proxy.address()).await.expect("connected");
    (proxy, client, server)
}

#[tokio::test]
async fn passes_then_cuts() {
    let (proxy, mut client, _server) = started().await;
    assert_eq!(ask(&mut client, "one").await.as_deref(), Some("ok one"));
    proxy.cut().await;
    assert_eq!(proxy.connections(), 0);
    assert_eq!(ask(&mut client, "two").await, None);
    let mut again = TcpStream::connect(proxy.address()).await.expect("connected");
    assert_eq!(ask(&mut again, "three").await.as_deref(), Some("ok three"));
}

#[tokio::test]
async fn refuses_new_connections_only() {
    let (proxy, mut client, _server) = started().await;
    assert_eq!(ask(&mut client, "one").await.as_deref(), Some("ok one"));
    proxy.refuse().await;
    assert!(TcpStream::connect(proxy.address()).await.is_err());
    assert_eq!(ask(&mut client, "two").await.as_deref(), Some("ok two"));
    proxy.pass().await;
    assert!(TcpStream::connect(proxy.address()).await.is_ok());
}

#[tokio::test]
async fn a_blackhole_holds_and_loses_nothing() {
    let (proxy, mut client, _server) = started().await;
    assert_eq!(ask(&mut client, "one").await.as_deref(), Some("ok one"));
    proxy.blackhole().await;
    client.write_all(b"two").await.expect("written");
    let mut bytes = [0; 16];
    let nothing = tokio::time::timeout(Duration::from_millis(100), client.read(&mut bytes)).await;
    assert!(nothing.is_err(), "bytes came through");
    proxy.pass().await;
    let length = tokio::time::timeout(SOON, client.read(&mut bytes))
        .await
        .expect("in time")
        .expect("read");
    assert_eq!(&bytes[..length], b"ok two");
}

#[tokio::test]
async fn swallows_replies_until_healed() {
    let (proxy, mut client, _server) = started().await;
    assert_eq!(ask(&mut client, "one").await.as_deref(), Some("ok one"));
    proxy.drop_replies().await;
    client.write_all(b"two").await.expect("written");
    proxy.wait_lost(1, SOON).await.expect("swallowed");
    proxy.pass().await;
    assert_eq!(
        ask(&mut client, "three").await,
        None,
        "a stream with a hole must not go on"
    );
}

#[tokio::test]
async fn a_slow_line_takes_its_time_and_heals() {
    let (proxy, mut client, _server) = started().await;
    proxy.slow(100);
    let start = std::time::Instant::now();
    let answer = ask(&mut client, "twelve bytes").await.expect("an answer");
    assert!(answer.starts_with("ok"), "{answer}");
    // A piece of the request and one of the reply at least have gone by.
    assert!(
        start.elapsed() >= Duration::from_millis(40),
        "{:?}",
        start.elapsed()
    );
    proxy.pass().await;
}

#[test]
fn slow_lines_move_in_small_pieces() {
    assert_eq!(piece(1_000, None), (1_000, Duration::ZERO));
    assert_eq!(piece(1_000, Some(10_000)), (200, PACE));
    assert_eq!(piece(50, Some(10_000)), (50, PACE / 4));
    assert_eq!(piece(50, Some(1)), (1, Duration::from_secs(1)));
}

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
async fn started() -> (Proxy, TcpStream, JoinSet<()>) {
    let listener = TcpListener::bind(net::loopback(0)).await.expect("bound");
    let proxy = Proxy::start(listener.local_addr().expect("an address"))
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
async fn loses_the_reply_to_a_chosen_request_once() {
    let (proxy, mut client, _server) = started().await;
    proxy.lose_reply_to_nth(1, "commit");
    assert_eq!(ask(&mut client, "find").await.as_deref(), Some("ok find"));
    assert_eq!(ask(&mut client, "commit 1").await.as_deref(), Some("ok commit 1"));
    assert_eq!(ask(&mut client, "commit 2").await, None);
    assert_eq!(proxy.lost(), 1);
    let mut again = TcpStream::connect(proxy.address()).await.expect("connected");
    assert_eq!(ask(&mut again, "commit 3").await.as_deref(), Some("ok commit 3"));
}

#[tokio::test]
async fn loses_a_request_before_the_server_sees_it() {
    let (proxy, mut client, _server) = started().await;
    proxy.lose_request("commit");
    assert_eq!(ask(&mut client, "commit").await, None);
    assert_eq!(proxy.lost(), 1);
}

#[test]
fn a_needle_is_found_across_reads_and_once() {
    assert!(contains(b"..com", b"mit..", b"commit"));
    assert!(contains(b"", b"a commit", b"commit"));
    assert!(!contains(b"commit", b" and more", b"commit"));
    assert!(contains(b"x", b"y", b"y"));
    let mut before = Vec::new();
    remember(&mut before, &[7; 1000]);
    remember(&mut before, b"end");
    assert_eq!(before.len(), 256);
    assert!(before.ends_with(b"end"));
}

#[tokio::test]
async fn holds_one_request_until_it_is_let_go() {
    let (proxy, mut client, _server) = started().await;
    let mut other = TcpStream::connect(proxy.address()).await.expect("connected");
    proxy.hold_request("two");
    assert_eq!(ask(&mut client, "one").await.as_deref(), Some("ok one"));
    let asked = async { ask(&mut client, "two").await };
    let meanwhile = async {
        proxy.wait_held(1, SOON).await.expect("held");
        let answer = ask(&mut other, "three").await;
        proxy.let_go();
        answer
    };
    let (held, passed) = tokio::join!(asked, meanwhile);
    assert_eq!(held.as_deref(), Some("ok two"));
    assert_eq!(passed.as_deref(), Some("ok three"));
}

//! What no server can be made to say when a test wants it: the wire itself.

use bson::doc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::wire::Operation;
use super::super::{Command, Proxy};
use super::*;
use crate::{eventually, net};

/// A proxy with a client before it, and the stream on which its server would answer.
async fn started() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind(net::loopback(0)).await.expect("bound");
    let proxy = Proxy::start(listener.local_addr().expect("an address"))
        .await
        .expect("a proxy");
    let client = TcpStream::connect(proxy.address()).await.expect("connected");
    let (server, _) = listener.accept().await.expect("accepted");
    (proxy, client, server)
}

async fn send(stream: &mut TcpStream, message: &Message) {
    stream.write_all(&message.encode()).await.expect("sent");
}

async fn receive(stream: &mut TcpStream) -> Message {
    let mut bytes = vec![0; 4];
    stream.read_exact(&mut bytes).await.expect("a length");
    let length = wire::length([bytes[0], bytes[1], bytes[2], bytes[3]]).expect("a length");
    bytes.resize(length, 0);
    stream.read_exact(&mut bytes[4..]).await.expect("a message");
    wire::decode(&bytes).expect("a message")
}

fn with_flags(mut message: Message, more_to_come: bool, exhaust_allowed: bool) -> Message {
    if let Operation::Msg(msg) = &mut message.operation {
        (msg.more_to_come, msg.exhaust_allowed) = (more_to_come, exhaust_allowed);
    }
    message
}

fn of(id: i32, answers: i32, body: &Document) -> Message {
    Message::of(id, answers, body).expect("a message")
}

#[tokio::test]
async fn each_reply_of_a_stream_of_hellos_is_changed_until_the_last() {
    let (proxy, mut client, mut server) = started().await;
    let edited = proxy
        .when(Command::named("hello"))
        .edit_reply(|reply| drop(reply.insert("edited", true)))
        .arm();
    let hello = with_flags(of(1, 0, &doc! {"hello": 1, "$db": "admin"}), false, true);
    send(&mut client, &hello).await;
    assert_eq!(receive(&mut server).await, hello);
    // Each of a stream answers the reply before it.
    for (id, answers, more) in [(50, 1, true), (51, 50, true), (52, 51, false)] {
        let reply = of(id, answers, &doc! {"me": "a:1", "compression": ["zstd"]});
        send(&mut server, &with_flags(reply, more, false)).await;
        let expected = of(
            id,
            answers,
            &doc! {"me": proxy.address().to_string(), "edited": true},
        );
        assert_eq!(receive(&mut client).await, with_flags(expected, more, false));
    }
    assert_eq!(edited.fired(), 3);
    let stray = of(53, 52, &doc! {"me": "a:1"});
    send(&mut server, &stray).await;
    assert_eq!(receive(&mut client).await, stray);
}

#[tokio::test]
async fn a_request_that_awaits_no_answer_leaves_none_behind() {
    let (proxy, mut client, mut server) = started().await;
    let seen = proxy.when(Command::named("insert")).arm();
    let insert = with_flags(of(1, 0, &doc! {"insert": "notes", "$db": "test"}), true, false);
    send(&mut client, &insert).await;
    assert_eq!(receive(&mut server).await, insert);
    let ping = of(2, 0, &doc! {"ping": 1, "$db": "test"});
    send(&mut client, &ping).await;
    assert_eq!(receive(&mut server).await, ping);
    let reply = of(9, 2, &doc! {"ok": 1.0});
    send(&mut server, &reply).await;
    assert_eq!(receive(&mut client).await, reply);
    assert_eq!(seen.fired(), 1);
}

#[tokio::test]
async fn the_client_is_answered_only_after_the_abort() {
    let (proxy, mut client, mut server) = started().await;
    let rule = proxy
        .when(Command::named("update"))
        .reply_error(112, "WriteConflict")
        .aborting_transaction()
        .arm();
    let lsid = doc! {"id": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![1; 16] }};
    let update =
        doc! {"update": "notes", "$db": "test", "lsid": lsid, "txnNumber": 1_i64, "autocommit": false};
    send(&mut client, &of(1, 0, &update)).await;
    let abort = receive(&mut server).await;
    assert_eq!(
        abort
            .command()
            .expect("a command")
            .get_i32("abortTransaction")
            .ok(),
        Some(1)
    );
    assert_eq!(rule.fired(), 0);
    send(&mut server, &of(60, abort.id, &doc! {"ok": 0.0, "code": 251})).await;
    let answer = receive(&mut client).await;
    assert_eq!(answer.answers, 1);
    assert_eq!(answer.command().expect("a reply").get_i32("code").ok(), Some(112));
    assert_eq!(rule.fired(), 1);
}

#[tokio::test]
#[should_panic(expected = "a message of 5 bytes")]
async fn what_cannot_be_read_fails_the_test() {
    let (proxy, mut client, _server) = started().await;
    client.write_all(&[5, 0, 0, 0]).await.expect("sent");
    eventually("a fault", || async { proxy.connections() == 0 }).await;
    drop(proxy);
}

//! Replies are changed: what a server says of itself, and what it says.

use super::*;

async fn admin(setting: &Setting, command: Document) -> Document {
    let admin = setting.client.database("admin");
    admin.run_command(command).await.expect("a reply")
}

/// The URI names the replica set, and yet the driver does not go around the proxy.
#[tokio::test]
async fn the_replica_set_is_the_proxy() {
    let setting = Setting::new("hosts").await;
    let uri = setting.mongo.proxied_uri(&setting.proxy);
    assert!(
        uri.contains("replicaSet=") && !uri.contains("directConnection"),
        "{uri}"
    );
    let address = setting.proxy.address().to_string();
    let hello = admin(&setting, doc! {"hello": 1}).await;
    assert_eq!(hello.get_array("hosts").ok(), Some(&vec![address.clone().into()]));
    assert_eq!(hello.get_str("me").ok(), Some(&*address));
    setting.far.insert_one(doc! {"_id": 1}).await.expect("inserted");
    let seen = setting.proxy.seen();
    assert!(seen.iter().any(|seen| seen.name == "insert"), "{seen:?}");
}

#[tokio::test]
async fn the_server_has_the_version_that_it_is_said_to_have() {
    let setting = Setting::new("version").await;
    setting.proxy.speaks("6.0.14", 17);
    let hello = admin(&setting, doc! {"hello": 1}).await;
    assert_eq!(hello.get_i32("maxWireVersion").ok(), Some(17));
    let build = admin(&setting, doc! {"buildInfo": 1}).await;
    assert_eq!(build.get_str("version").ok(), Some("6.0.14"));
    assert_eq!(
        build.get_array("versionArray").ok(),
        Some(&vec![6.into(), 0.into(), 14.into()])
    );

    // The driver believes it, and refuses one that is too old.
    setting.proxy.speaks("2.4.0", 0);
    let uri = setting.mongo.proxied_uri(&setting.proxy);
    let client = Client::with_uri_str(uri).await.expect("a client");
    let error = client
        .database("admin")
        .run_command(doc! {"ping": 1})
        .await
        .expect_err("too old");
    assert!(error.to_string().contains("wire version"), "{error}");
}

#[tokio::test]
async fn any_field_of_a_reply_is_changed() {
    let setting = Setting::new("field").await;
    let edited = setting
        .proxy
        .when(Command::named("ping"))
        .once()
        .edit_reply(|reply| drop(reply.insert("pong", 7)))
        .arm();
    assert_eq!(
        admin(&setting, doc! {"ping": 1}).await.get_i32("pong").ok(),
        Some(7)
    );
    assert!(!admin(&setting, doc! {"ping": 1}).await.contains_key("pong"));
    assert_eq!((edited.matched(), edited.fired()), (2, 1));
}

#[tokio::test]
async fn rows_of_both_kinds_of_batches_are_changed() {
    let setting = Setting::new("rows").await;
    let documents = (0..5).map(|id| doc! {"_id": id});
    setting.near.insert_many(documents).await.expect("inserted");
    setting
        .proxy
        .when(Command::any().collection("notes"))
        .edit_batch(|row| drop(row.insert("edited", true)));
    let mut rows = setting.far.find(doc! {}).batch_size(2).await.expect("found");
    let mut edited = 0;
    while rows.advance().await.expect("more") {
        let row = rows.deserialize_current().expect("a row");
        edited += usize::from(row.get_bool("edited").ok() == Some(true));
    }
    assert_eq!(edited, 5);
}

#[tokio::test]
async fn the_post_image_of_a_change_event_is_another() {
    let setting = Setting::new("image").await;
    let mut stream = setting.far.watch().await.expect("a stream");
    setting
        .proxy
        .when(Command::named("getMore").collection("notes"))
        .edit_batch(|event| drop(event.insert("fullDocument", doc! {"_id": 1, "replaced": true})));
    setting
        .near
        .insert_one(doc! {"_id": 1, "real": true})
        .await
        .expect("inserted");
    let event = tokio::time::timeout(testkit::PATIENCE, async {
        loop {
            if let Some(event) = stream.next_if_any().await.expect("a stream") {
                return event;
            }
        }
    });
    let event = event.await.expect("an event");
    assert_eq!(event.full_document, Some(doc! {"_id": 1, "replaced": true}));
}

/// Old clients begin with OP_QUERY.
#[tokio::test]
async fn the_hello_of_an_old_handshake_is_answered() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let setting = Setting::new("query").await;
    let body = [
        &[0; 4],
        &b"admin.$cmd\0\0\0\0\0\xff\xff\xff\xff"[..],
        &doc! {"isMaster": 1, "helloOk": true}.to_vec().expect("bytes"),
    ]
    .concat();
    let length = i32::try_from(body.len() + 16).expect("short");
    let header = [length, 1, 0, 2004].map(i32::to_le_bytes).concat();
    let mut stream = tokio::net::TcpStream::connect(setting.proxy.address())
        .await
        .expect("connected");
    stream.write_all(&[header, body].concat()).await.expect("sent");
    let mut head = [0; 36];
    stream.read_exact(&mut head).await.expect("a reply");
    assert_eq!(head[12..16], [1, 0, 0, 0], "not an OP_REPLY");
    let length = usize::from(head[0]) | usize::from(head[1]) << 8;
    let mut document = vec![0; length - head.len()];
    stream.read_exact(&mut document).await.expect("a reply");
    let reply = Document::from_reader(&*document).expect("a document");
    let address = setting.proxy.address().to_string();
    assert_eq!(reply.get_str("me").ok(), Some(&*address));
}

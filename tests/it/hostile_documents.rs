//! Documents that nobody should send: each ends as counted or as a letter, and the lane goes on behind it.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::cstr;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex, Timestamp, doc, rawdoc,
};
use testkit::mongodb::{Mongo, Options};
use testkit::product::Product;
use testkit::proxy::{Command, Proxy};
use testkit::world::{World, event};
use testkit::{PATIENCE, shared};

/// What is stored in place of bytes that this server would not take.
const STORED: &[u8] = b"<<bytes>>";
/// No UTF-8.
const SHOWN: &[u8] = b"\xff\xfe\xc0\x80bytes";
/// The error of an event that is larger than a stream may bring.
const TOO_LARGE: (i32, &str) = (10334, "BSONObjectTooLarge");

async fn behind_proxy(mongo: &Mongo, name: &str) -> (World, Proxy) {
    let proxy = mongo.proxy().await.expect("a proxy");
    let mut world = World::on(mongo, name).await;
    world.uri = mongo.proxied_uri(&proxy);
    (world, proxy)
}

fn nested(levels: usize) -> Bson {
    (0..levels).fold(Bson::from(1), |inner, _| doc! {"a": inner}.into())
}

/// An event with a field of so many levels, as bytes: a `Document` is made level by level.
fn deep(levels: usize, input_tokens: i32) -> RawDocumentBuf {
    let inner = (1..levels).fold(rawdoc! {"a": 1}, |inner, _| rawdoc! {"a": inner});
    let mut document = event("zoo");
    document.insert("inputTokens", input_tokens);
    let mut document = raw(&document);
    document.append(cstr!("deep"), inner);
    document
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("encodes")
}

/// A value of each type.
fn values() -> Vec<Bson> {
    let binary = |subtype, bytes: &[u8]| {
        Bson::Binary(Binary {
            subtype,
            bytes: bytes.to_vec(),
        })
    };
    vec![
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Null,
        Bson::Undefined,
        true.into(),
        7.into(),
        i64::MIN.into(),
        f64::NAN.into(),
        f64::NEG_INFINITY.into(),
        Bson::Decimal128("1E+6000".parse().expect("a decimal")),
        "".into(),
        "\u{202e}\u{0}\u{7}".into(),
        String::from_utf8_lossy(STORED).into_owned().into(),
        "x".repeat(250_000).into(),
        doc! {"$gt": ""}.into(),
        vec![Bson::from(1), "x".into()].into(),
        binary(BinarySubtype::Generic, b"\xff"),
        binary(BinarySubtype::Uuid, &[7; 16]),
        ObjectId::from_bytes([7; 12]).into(),
        DateTime::MIN.into(),
        DateTime::MAX.into(),
        Bson::Timestamp(Timestamp {
            time: u32::MAX,
            increment: 0,
        }),
        Bson::JavaScriptCode("x".into()),
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: "x".into(),
            scope: doc! {"a": 1},
        }),
        Bson::Symbol("x".into()),
        Bson::RegularExpression(Regex {
            pattern: "a".try_into().expect("no zero"),
            options: "i".try_into().expect("no zero"),
        }),
        nested(20),
    ]
}

/// Levels of documents in documents; servers take 180.
const DEPTHS: [usize; 4] = [31, 33, 100, 178];

const FIELDS: [&str; 9] = [
    "eventId",
    "type",
    "completedAt",
    "source",
    "organizationId",
    "model",
    "inputTokens",
    "costEstimateCents",
    "testMode",
];

/// Documents of every shape; `lot` tells their `_id`s from those of another lot.
fn zoo(lot: i32) -> Vec<RawDocumentBuf> {
    let with = |name: &str, value: Bson| {
        let mut document = event("zoo");
        document.insert(name, value);
        document
    };
    let mut zoo: Vec<Document> = FIELDS
        .iter()
        .flat_map(|field| values().into_iter().map(|value| with(field, value)))
        .collect();
    // As an `_id` each type is there once, and those that are made of others.
    let bytes = String::from_utf8_lossy(STORED);
    for id in [
        Bson::from(format!("{bytes}{lot}")),
        format!("a{bytes}{lot}").into(),
        doc! {"lot": lot, "text": bytes.as_ref()}.into(),
        doc! {"lot": lot, "deep": nested(20)}.into(),
        format!("{lot}\u{202e}\u{0}").into(),
        f64::from(lot).into(),
        format!("{lot}{}", "long".repeat(100_000)).into(),
        format!("{lot}{}", "x".repeat(4 << 20)).into(),
    ] {
        zoo.push(with("_id", id));
    }
    for name in ["$where", "a.b", "", "$", "\u{202e}"] {
        let mut document = with(name, 1.into());
        document.insert("inputTokens", -1);
        zoo.push(document);
    }
    zoo.push(with("large", "x".repeat(300 << 10).into()));
    let mut zoo: Vec<RawDocumentBuf> = zoo.iter().map(raw).collect();
    for levels in DEPTHS {
        zoo.extend([deep(levels, 1), deep(levels, -1)]);
    }
    zoo
}

/// Inserts what the server takes. How many it took.
async fn insert(world: &World, documents: Vec<RawDocumentBuf>) -> i64 {
    let events = world
        .collection("requestEvents")
        .clone_with_type::<RawDocumentBuf>();
    let before = events.count_documents(doc! {}).await.expect("counts");
    for document in documents {
        // Some servers refuse some of them.
        drop(events.insert_one(document).await);
    }
    let after = events.count_documents(doc! {}).await.expect("counts");
    i64::try_from(after - before).expect("few")
}

/// Everything was read, and each record ended as one thing.
async fn all_read(world: &World, worker: &mut Product, read: i64) -> [i64; 5] {
    world.wait_read(worker, read.unsigned_abs()).await;
    let tally = world.tally().await;
    let [read, counted, duplicate, skipped, letters] = tally;
    assert_eq!(read, counted + duplicate + skipped + letters);
    assert_eq!(world.letters_where(doc! {}).await, letters.unsigned_abs());
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zoo_is_taken_in_by_scan_and_stream() {
    // Its own server: not every one survives all of it.
    let mongo = Mongo::start(Options::default()).await.expect("a server");
    let (world, proxy) = behind_proxy(&mongo, "zoo").await;
    proxy.shows(STORED, SHOWN);
    let there = insert(&world, zoo(1)).await;
    assert!(there > 200, "the server takes most of it: {there}");
    let mut worker = world.ready(&[]).await;
    let first = all_read(&world, &mut worker, there).await;
    assert!(first[1] > 0 && first[4] > 100, "{first:?}");
    world.insert_one(event("behind")).await;
    let live = insert(&world, zoo(2)).await;
    let mut worker = worker;
    let second = all_read(&world, &mut worker, there + 1 + live).await;
    assert!(second[4] > first[4], "{second:?}");
    // Behind all of it the lane goes on, and what is in the middle of a scan or stream can be read again.
    worker.stop(PATIENCE).await.expect("drains");
    let mut worker = world.ready(&[]).await;
    world.insert_one(event("behind")).await;
    let third = all_read(&world, &mut worker, there + 2 + live).await;
    assert_eq!(third[1], second[1] + 1);
    let broken = doc! {"reason": "invalid_utf8", "place": {"$regex": "^history/sha256:"}};
    assert_eq!(
        world.letters_where(broken).await,
        2,
        "{:?}",
        world.reasons().await
    );
    worker.stop(PATIENCE).await.expect("drains");
}

/// An `_id` that is no UTF-8 is where a batch ends, and the scan goes on behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_goes_on_behind_an_id_that_is_no_text() {
    let mongo = shared::mongo().await;
    let (world, proxy) = behind_proxy(&mongo, "broken_id").await;
    proxy.shows(STORED, SHOWN);
    let bytes = String::from_utf8_lossy(STORED);
    let ids = [
        "a".to_owned(),
        bytes.to_string(),
        format!("{bytes}b"),
        "z".to_owned(),
    ];
    let documents = ids.iter().map(|id| {
        let mut document = event("acme");
        document.insert("_id", id);
        raw(&document)
    });
    assert_eq!(insert(&world, documents.collect()).await, 4);
    // The scan may not go beyond the second document for now.
    let commits = Command::named("commitTransaction").transaction_statements(1..);
    let fault = proxy
        .when(commits)
        .reply_error(99_999, "NobodyKnows")
        .aborting_transaction()
        .arm();
    let mut worker = world.start("ingest", &[("BATCH_MAX_EVENTS", "1")]);
    fault.wait_fired(1).await;
    fault.stop();
    for read in 1..=4 {
        world.wait_read(&mut worker, read).await;
        worker.process().kill9().expect("killed");
        worker = world.start("ingest", &[("BATCH_MAX_EVENTS", "1")]);
    }
    assert_eq!(all_read(&world, &mut worker, 4).await, [4, 2, 0, 0, 2]);
}

/// What a worker's database lives behind.
struct Behind(
    #[expect(dead_code, reason = "held")] std::sync::Arc<Mongo>,
    #[expect(dead_code, reason = "held")] Proxy,
);

/// A stopped worker finds these documents behind its position, and a stream that fails so often.
async fn reads_behind(name: &str, failures: u64, documents: Vec<Document>) -> (World, Product, Behind) {
    let mongo = shared::mongo().await;
    let (world, proxy) = behind_proxy(&mongo, name).await;
    let mut worker = world.ready(&[]).await;
    world.insert_one(event("before")).await;
    world.wait_read(&mut worker, 1).await;
    worker.stop(PATIENCE).await.expect("drains");
    let there = insert(&world, documents.iter().map(raw).collect()).await;
    let stream = Command::named("aggregate")
        .collection("requestEvents")
        // Not the question at the start whether there are streams at all.
        .matching(|command| command.to_string().contains("startAfter"));
    let fault = proxy
        .when(stream)
        .first(failures)
        .reply_error(TOO_LARGE.0, TOO_LARGE.1)
        .arm();
    let mut worker = world.ready(&[]).await;
    all_read(&world, &mut worker, there + 1).await;
    fault.wait_fired(failures).await;
    let said = worker.said();
    assert!(
        said.matches("less of it is asked for").count() as u64 == failures,
        "{said}"
    );
    (world, worker, Behind(mongo, proxy))
}

fn large() -> Document {
    let mut document = event("acme");
    document.insert("padding", "x".repeat(300 << 10));
    document
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_change_that_is_too_large_for_the_stream_only_its_length_is_kept() {
    let documents = vec![event("acme"), large(), event("acme")];
    let (world, mut worker, _behind) = reads_behind("change_too_large", 1, documents).await;
    assert_eq!(
        world.tally().await,
        [4, 3, 0, 0, 1],
        "{:?}",
        world.letters().await
    );
    let unseen = doc! {"reason": "too_large", "length": {"$gt": 300 << 10}, "sha256": null};
    assert_eq!(
        world.letters_where(unseen).await,
        1,
        "{:?}",
        world.letters().await
    );
    // The stream is whole again.
    world.insert_one(large()).await;
    world.insert_one(event("acme")).await;
    assert_eq!(all_read(&world, &mut worker, 6).await, [6, 4, 0, 0, 2]);
    let seen = doc! {"reason": "too_large", "sha256": {"$type": "string"}};
    assert_eq!(world.letters_where(seen).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_cannot_deliver_at_all_is_a_letter_and_nothing_else_is_passed_over() {
    let mut huge = event("acme");
    huge.insert("_id", "x".repeat(4 << 20));
    let (world, mut worker, _behind) =
        reads_behind("undelivered", 2, vec![huge, event("acme"), large()]).await;
    assert_eq!(world.tally().await, [4, 2, 0, 0, 2]);
    let passed = doc! {"reason": "too_large", "place": {"$regex": "^behind/sha256:"}, "length": null};
    assert_eq!(
        world.letters_where(passed).await,
        1,
        "{:?}",
        world.letters().await
    );
    worker.stop(PATIENCE).await.expect("drains");
    let mut worker = world.ready(&[]).await;
    world.insert_one(event("acme")).await;
    assert_eq!(all_read(&world, &mut worker, 5).await, [5, 3, 0, 0, 2]);
}

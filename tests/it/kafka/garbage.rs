//! What strangers put on a topic: whatever it is, it ends as something, and the lane goes on.

use mongodb::bson::doc;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use testkit::PATIENCE;

use super::{LEAVE, Topic, event};

/// One record, as it is sent.
#[derive(Default)]
struct Garbage {
    headers: Vec<(String, Vec<u8>)>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Garbage {
    fn value(value: impl Into<Vec<u8>>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::default()
        }
    }

    fn with(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

fn bytes(rng: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..=most)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Values that hold no event, or only nearly one.
fn values(rng: &mut StdRng) -> Vec<Garbage> {
    let whole = event("garbage");
    // Cut off anywhere.
    let mut all: Vec<Garbage> = (0..whole.len())
        .map(|end| Garbage::value(&whole[..end]))
        .collect();
    for _ in 0..200 {
        all.push(Garbage::value(bytes(rng, 2_000)));
        // One byte is another.
        let mut flipped = whole.clone().into_bytes();
        let at = rng.random_range(0..flipped.len());
        flipped[at] = rng.random();
        all.push(Garbage::value(flipped));
        // The frame of a schema registry around Avro, and around JSON.
        let framed = |rest: Vec<u8>| [vec![0, 0, 0, 0, 7], rest].concat();
        all.push(Garbage::value(framed(bytes(rng, 200))));
        all.push(Garbage::value(framed(whole.clone().into_bytes())));
        // A zstd frame that holds none.
        all.push(Garbage::value(
            [vec![0x28, 0xb5, 0x2f, 0xfd], bytes(rng, 200)].concat(),
        ));
    }
    let deep = |open: &str, times: usize| open.repeat(times);
    for value in [
        String::new(),
        "null".into(),
        "true".into(),
        "\"text\"".into(),
        "[]".into(),
        "[null,[],{},1]".into(),
        "1e999999".into(),
        "-0".into(),
        "{}".into(),
        "{\"\":{}}".into(),
        "\u{feff}{}".into(),
        "{\"eventId\":\"\\ud800\"}".into(),
        whole.replace("10}", "1e400}"),
        whole.replace("10}", "9223372036854775808}"),
        whole.replace("10}", "10,\"inputTokens\":11}"),
        whole.replace("garbage", "gar\\u0000bage"),
        whole.replace("10}", "10,\"testMode\":true}"),
        deep("[", 100_000),
        deep("{\"a\":", 40_000),
        deep(" ", 250_000),
        deep("x", 600_000),
    ] {
        all.push(Garbage::value(value));
    }
    all.push(Garbage::default());
    all
}

/// Headers and keys of every sort, around values of every sort.
fn envelopes(rng: &mut StdRng) -> Vec<Garbage> {
    let whole = || Garbage::value(event("enveloped"));
    let mut all = vec![
        whole().with("content\0-type", "application/avro"),
        whole().with("\0", "\0"),
        whole().with("", ""),
        whole().with("content-type", "application/\0json"),
        whole().with("content-type", vec![0xff, 0xfe]),
        whole().with("content-type", "x".repeat(100_000)),
        whole()
            .with("content-type", "application/json")
            .with("content-type", "application/avro"),
        whole().with("ce_id", vec![0xff]).with("ce_type", ""),
        whole().with("ce_specversion", "99").with("ce_id", "\0"),
        whole().with("ce_\0id", "a").with("ce_", "b"),
        Garbage::default().with("ce_id", "a"),
    ];
    let mut huge = whole();
    for number in 0..500 {
        huge = huge.with(format!("header-{number}"), bytes(rng, 1_000));
    }
    all.push(huge);
    for _ in 0..200 {
        let names = [
            "ce_id",
            "ce_type",
            "ce_time",
            "ce_source",
            "ce_specversion",
            "content-type",
        ];
        let mut random = Garbage::value(bytes(rng, 300));
        for _ in 0..rng.random_range(0..6) {
            random = random.with(names[rng.random_range(0..names.len())], bytes(rng, 40));
        }
        random.key = rng.random_bool(0.5).then(|| bytes(rng, 2_000));
        all.push(random);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn garbage_ends_as_something_and_the_lane_goes_on() {
    let topic = Topic::new("garbage", 1).await;
    let mut worker = topic.worker(&[]);
    let sender = topic.sender();
    let mut rng = StdRng::seed_from_u64(7);
    let mut sent = 0;
    for record in values(&mut rng).iter().chain(&envelopes(&mut rng)) {
        let headers: Vec<(&str, &[u8])> = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        let put = sender.send_bytes(&headers, 0, record.key.as_deref(), record.value.as_deref());
        put.expect("sends");
        sent += 1;
    }
    sender.flush().expect("arrives");
    topic.wait_next(0, sent).await;
    // It goes on after all that.
    topic.send(0, 0..10);
    topic.wait_next(0, sent + 10).await;
    let fence = topic.fence(0).await;
    let of = |name: &str| fence.get_i64(name).expect("a number");
    let verdicts = ["counted", "duplicate", "skipped", "deadLetter"].map(of);
    assert_eq!(of("read"), verdicts.iter().sum::<i64>(), "{verdicts:?}");
    assert!(of("read") >= sent + 10, "{} of {sent}", of("read"));
    assert!(verdicts.iter().all(|verdict| *verdict > 0), "{verdicts:?}");
    let letters = u64::try_from(of("deadLetter")).expect("fits");
    assert_eq!(topic.world.letters_where(doc! {}).await, letters);
    let requests = i128::from(of("counted"));
    for (what, sums) in topic.world.sums(doc! {}).await {
        assert_eq!(sums["requests"], requests, "{what}");
    }
    worker.wait_ready(PATIENCE).await.expect("ready");
    worker.stop(LEAVE).await.expect("leaves");
}

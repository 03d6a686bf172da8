//! Ids are unique for each producer, and it is the whole identity that counts.

use mongodb::bson::doc;
use serde_json::{Value, json};

use super::Topic;

fn request(organization: &str, id: &str, more: &[(&str, Value)]) -> Value {
    let mut request = json!({
        "eventId": id, "completedAt": "2026-01-05T10:00:00Z", "source": "chat", "organizationId": organization,
        "inputTokens": 10, "outputTokens": 5, "cost": "0.01",
    });
    for (name, value) in more {
        request[*name] = value.clone();
    }
    request
}

fn cloud_event(source: &str, id: &str) -> Value {
    let mut data = request("acme", id, &[]);
    data.as_object_mut().expect("an object").remove("eventId");
    json!({"specversion": "1.0", "type": "request.completed", "id": id, "source": source, "data": data})
}

/// An id is unique within its organization, its service and its CloudEvents source; it is the whole of these that is a
/// duplicate, that closes a letter, and that may not come with other quantities.
async fn ids_are_unique_per_producer(scope: &str) {
    let topic = Topic::new(&format!("identity_{scope}"), 1).await;
    let world = &topic.world;
    let _worker = topic.worker(&[("DEDUPE_SCOPE", scope)]);
    let sender = topic.sender();
    let send = async |events: &[Value]| {
        for event in events {
            let event = event.to_string();
            sender.send(0, "any", Some(event.as_bytes())).expect("sends");
        }
        sender.flush().expect("arrives");
    };
    send(&[
        request("acme", "1", &[]),
        request("beta", "1", &[]),
        request("acme", "1", &[("source", "workflow".into())]),
        cloud_event("/pods/1", "1"),
        cloud_event("/pods/2", "1"),
        // Duplicates, whatever else they say.
        request("acme", "1", &[("model", "m2".into())]),
        cloud_event("/pods/1", "1"),
        // Another event.
        request("acme", "1", &[("inputTokens", 11.into())]),
    ])
    .await;
    world.wait_tally([8, 5, 2, 0, 1]).await;
    assert_eq!(
        world
            .letters_where(doc! {"reason": "id_reused", "organizationId": "acme"})
            .await,
        1
    );

    // One organization's event leaves another's letter alone.
    send(&[
        request("acme", "2", &[("inputTokens", (-1).into())]),
        request("beta", "2", &[]),
    ])
    .await;
    world.wait_tally([10, 6, 2, 0, 2]).await;
    assert_eq!(
        world.letters_where(doc! {"state": "open", "eventId": "2"}).await,
        1
    );
    send(&[request("acme", "2", &[])]).await;
    world.wait_tally([11, 7, 2, 0, 2]).await;
    assert_eq!(
        world
            .letters_where(doc! {"state": "closed", "eventId": "2"})
            .await,
        1
    );

    // A record whose identity cannot be read is closed by no event.
    send(&[
        request("acme", "3", &[("source", Value::Null)]),
        request("acme", "3", &[]),
    ])
    .await;
    world.wait_tally([13, 8, 2, 0, 3]).await;
    assert_eq!(
        world.letters_where(doc! {"state": "open", "eventId": "3"}).await,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ids_are_unique_per_producer_within_a_lane() {
    ids_are_unique_per_producer("lane").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ids_are_unique_per_producer_in_the_whole_ledger() {
    ids_are_unique_per_producer("ledger").await;
}

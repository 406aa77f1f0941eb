//! A repeat is answered with 200 and not stored; what is no repeat is stored.

mod faults;

use trunkline_model::deduplication::{Deduplication, Identity};
use trunkline_model::redaction::{RedactAction, RedactedPath, Redaction};
use trunkline_model::request::BodyFormat;
use trunkline_tests::{Client, SECRET, SourceDraft, Station, signed_batch};

fn header(name: &str) -> Identity {
    Identity::Header {
        name: name.to_owned(),
    }
}

fn path(keys: &[&str]) -> Identity {
    Identity::Path {
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
    }
}

/// A source that stores no repeats.
fn once(name: &str, format: BodyFormat, by: Identity) -> SourceDraft {
    let mut draft = SourceDraft::unverified(name);
    draft.settings.body = format;
    draft.settings.split_arrays = format == BodyFormat::Json;
    draft.settings.deduplication = Some(Deduplication {
        by,
        window_seconds: 600,
    });
    draft
}

async fn post(client: &mut Client, draft: &SourceDraft, headers: &[(&str, &str)], body: &str) {
    let answer = client.post(&draft.path(), headers, body.to_owned()).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (200, ""), "{body}");
}

/// The bodies that a source has stored, in the order in which they came.
async fn stored(station: &Station, name: &str) -> Vec<String> {
    let sql = format!(
        "SELECT coalesce(body_json::text, body_text, convert_from(raw, 'UTF8')) \
         FROM trunkline.events WHERE source = 'default/{name}' \
         ORDER BY received_at, delivery_id, position"
    );
    let rows = station.database.rows(&sql, &[]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn each_way_to_tell_repeats_stores_what_is_alike_once() {
    let station = Station::with(vec![
        once("by-id", BodyFormat::Json, Identity::MessageId),
        once("by-header", BodyFormat::Json, header("x-id")),
        once("by-path", BodyFormat::Json, path(&["data", "id"])),
        once("by-form", BodyFormat::Form, path(&["id"])),
        once("by-body", BodyFormat::Text, Identity::BodyHash),
        once("bytes", BodyFormat::Bytes, header("x-id")),
        // As the first, and the keys of one are none of another.
        once("other", BodyFormat::Json, Identity::MessageId),
    ])
    .await;
    let [by_id, by_header, by_path, by_form, by_body, bytes, other] = &station.sources[..] else {
        panic!("seven sources");
    };
    let client = &mut station.ingester.client();
    for body in [
        r#"[{"messageId":"a","n":1},{"messageId":"b","n":1},{"messageId":"a","n":2},{"n":1}]"#,
        r#"{"messageId":"b","n":3}"#,
        r#"[{"messageId":"b","n":4},{"messageId":"c","n":4},{"n":1}]"#,
        r#"[{"messageId":null},{"messageId":null},{"messageId":""},{"messageId":""},7]"#,
    ] {
        post(client, by_id, &[], body).await;
        post(client, other, &[], body).await;
    }
    for name in ["by-id", "other"] {
        assert_eq!(
            stored(&station, name).await,
            [
                r#"{"n": 1, "messageId": "a"}"#,
                r#"{"n": 1, "messageId": "b"}"#,
                r#"{"n": 1}"#,
                r#"{"n": 4, "messageId": "c"}"#,
                r#"{"n": 1}"#,
                r#"{"messageId": null}"#,
                r#"{"messageId": null}"#,
                r#"{"messageId": ""}"#,
                r#"{"messageId": ""}"#,
                "7",
            ],
            "{name}"
        );
    }

    let with = |id| [("X-Id", id)];
    post(client, by_header, &with("1"), "[1,1,2]").await;
    post(client, by_header, &with("1"), "[3]").await;
    post(client, by_header, &with("2"), "[1,1]").await;
    for _ in 0..2 {
        post(client, by_header, &[], "4").await;
        post(client, by_header, &with(""), "5").await;
    }
    assert_eq!(
        stored(&station, "by-header").await,
        ["1", "1", "2", "1", "1", "4", "5", "4", "5"]
    );

    for body in [
        r#"{"data":{"id":"x"},"n":1}"#,
        r#"{"n":2,"data":{"other":1,"id":"\u0078"}}"#,
        r#"[{"data":{"id":5}},{"data":{"id":5.0}},{"data":{"id": 5}},{"data":{"id":"5"}}]"#,
        r#"[{"data":{"id":{"a": [1, 2]}}},{"data":{"id":{"a":[1,2]}}},{"data":{"id":{"a":[2,1]}}}]"#,
        r#"[{"data":{"id":null}},{"data":null},{"data":{"id":null}}]"#,
    ] {
        post(client, by_path, &[], body).await;
    }
    assert_eq!(
        stored(&station, "by-path").await,
        [
            r#"{"n": 1, "data": {"id": "x"}}"#,
            r#"{"data": {"id": 5}}"#,
            r#"{"data": {"id": 5.0}}"#,
            r#"{"data": {"id": {"a": [1, 2]}}}"#,
            r#"{"data": {"id": {"a": [2, 1]}}}"#,
            r#"{"data": {"id": null}}"#,
            r#"{"data": null}"#,
            r#"{"data": {"id": null}}"#,
        ]
    );

    for body in ["id=1&n=1", "n=2&id=1", "id=2"] {
        post(client, by_form, &[], body).await;
    }
    assert_eq!(
        stored(&station, "by-form").await,
        [r#"{"n": "1", "id": "1"}"#, r#"{"id": "2"}"#]
    );
    for body in ["tick", "tick ", "tick", ""] {
        post(client, by_body, &[], body).await;
    }
    // The same, compressed.
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut zipped, b"tick").unwrap();
    let zipped = zipped.finish().unwrap();
    let coding = [("Content-Encoding", "gzip")];
    let answer = client.post(&by_body.path(), &coding, zipped).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(stored(&station, "by-body").await, ["tick", "tick ", ""]);
    for (id, body) in [("1", "one"), ("1", "two"), ("2", "one")] {
        post(client, bytes, &with(id), body).await;
    }
    assert_eq!(stored(&station, "bytes").await, ["one", "one"]);

    // They are counted, and what was not stored is no event that was.
    for (source, events, repeats) in [("by-id", 10.0, 3.0), ("by-header", 9.0, 1.0)] {
        let label = format!("source=\"default/{source}\"");
        let of = async |name: &str| station.ingester.metric(name, &label).await;
        assert_eq!(
            of("trunkline_ingester_events_total").await,
            events,
            "{source}"
        );
        let name = "trunkline_ingester_deduplicated_rows_total";
        assert_eq!(of(name).await, repeats, "{source}");
    }
    let rows = station
        .database
        .count("SELECT count(*) FROM trunkline.events")
        .await;
    let committed = "trunkline_ingester_committed_rows_total";
    assert_eq!(station.ingester.metric(committed, "").await, rows as f64);
}

#[tokio::test]
async fn once_its_window_is_over_what_is_alike_is_another_event() {
    let station = Station::with(vec![once("tick", BodyFormat::Text, Identity::BodyHash)]).await;
    let draft = &station.sources[0];
    let client = &mut station.ingester.client();
    let admin = station.database.connect().await;
    let until = "SELECT until::text FROM trunkline.seen_keys";
    for expected in 1..4 {
        for _ in 0..3 {
            post(client, draft, &[], "tick").await;
        }
        assert_eq!(stored(&station, "tick").await.len(), expected);
        // A repeat does not make it longer: ten minutes from the event that was stored.
        let exact = "SELECT count(*) FROM trunkline.seen_keys, trunkline.events \
                     WHERE until = received_at + interval '10 minutes'";
        assert_eq!(station.database.count(exact).await, 1);
        let over = "UPDATE trunkline.seen_keys SET until = now()";
        admin.execute(over, &[]).await.unwrap();
        assert_eq!(admin.query(until, &[]).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_a_redaction_takes_out_tells_no_event_from_another_and_is_nowhere() {
    let mut by_dropped = once("dropped", BodyFormat::Json, path(&["email"]));
    let mut by_id = once("by-id", BodyFormat::Json, Identity::MessageId);
    let mut by_body = once("by-body", BodyFormat::Json, Identity::BodyHash);
    for draft in [&mut by_dropped, &mut by_id, &mut by_body] {
        draft.settings.redaction = Some(Redaction {
            paths: vec![RedactedPath {
                path: vec!["email".to_owned()],
                action: RedactAction::Drop,
            }],
            key: None,
        });
    }
    let station = Station::with(vec![by_dropped, by_id, by_body]).await;
    let client = &mut station.ingester.client();
    for draft in &station.sources {
        for body in [
            r#"{"messageId":"1","email":"ada-4711"}"#,
            r#"{"messageId":"1","email":"ada-4711"}"#,
            r#"{"messageId":"1","email":"eve-4712"}"#,
        ] {
            post(client, draft, &[], body).await;
        }
    }
    let event = r#"{"messageId": "1"}"#;
    assert_eq!(stored(&station, "dropped").await, [event; 3]);
    assert_eq!(stored(&station, "by-id").await, [event]);
    // They are told by what was received, of which only the hash is kept.
    assert_eq!(stored(&station, "by-body").await, [event; 2]);
    let keys = "SELECT count(*) FROM trunkline.seen_keys";
    assert_eq!(station.database.count(keys).await, 3);
}

#[tokio::test]
async fn a_batch_is_stored_whole_but_for_its_repeats_beside_marks() {
    let mut draft = SourceDraft::segment("shop", &[SECRET]);
    draft.settings.notes_shapes = true;
    draft.settings.deduplication = Some(Deduplication {
        by: header("x-delivery"),
        window_seconds: 600,
    });
    let station = Station::with(vec![draft]).await;
    let mut client = station.ingester.client();
    for (delivery, ids) in [("1", ["a", "b"]), ("1", ["a", "b"]), ("2", ["b", "c"])] {
        let events = ids.map(|id| format!(r#"{{"type":"track","event":"E","messageId":"{id}"}}"#));
        let events = events.each_ref().map(String::as_str);
        let batch = signed_batch(SECRET.as_bytes(), &events);
        let headers = [
            ("x-signature", batch.signature.as_str()),
            ("x-delivery", delivery),
        ];
        let answer = client.post(&station.path(), &headers, batch.body).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    let rows = "SELECT string_agg(concat_ws(':', message_id, dup), ' ' \
                ORDER BY received_at, position) FROM trunkline.events";
    let rows: String = station.database.rows(rows, &[]).await[0].get(0);
    assert_eq!(rows, "a:f b:f b:t c:f");
}

#[tokio::test]
async fn a_deduplication_that_its_bodies_do_not_have_is_not_served() {
    let station = Station::with(vec![once("text", BodyFormat::Text, path(&["id"]))]).await;
    let mut client = station.ingester.client();
    let answer = client.post(&station.path(), &[], "id").await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(
        station
            .ingester
            .log()
            .contains("deduplicate needs bodies of JSON")
    );
}

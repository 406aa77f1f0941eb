//! Segment's batches: signed over element 0, rows in order, and what each signature vouches for.

use trunkline_cli::segment::{SIGNATURE_HEADER, sign};
use trunkline_tests::{Answer, SECRET, SourceDraft, Station, events, is_full, seed, signed_batch};

async fn post(
    station: &Station,
    source: usize,
    signature: &str,
    body: impl Into<bytes::Bytes>,
) -> Answer {
    let path = station.sources[source].path();
    let headers = [(SIGNATURE_HEADER, signature)];
    station
        .ingester
        .client()
        .post(&path, &headers, body)
        .await
        .unwrap()
}

async fn scopes(station: &Station, schema: &str) -> Vec<(String, i64)> {
    let sql = format!("SELECT auth_scope, count(*) FROM {schema}.events GROUP BY 1 ORDER BY 1");
    let rows = station.database.rows(&sql, &[]).await;
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn scope(scope: &str, count: i64) -> (String, i64) {
    (scope.to_owned(), count)
}

#[tokio::test]
async fn four_thousand_events_are_one_commit_in_order_in_under_a_second() {
    let station = Station::segment().await;
    let events = events(seed(), 4_000);
    let elements: Vec<_> = events.iter().map(|event| &event.json).collect();
    let batch = signed_batch(SECRET.as_bytes(), &elements);
    let bytes = batch.body.len();
    let answer = post(&station, 0, &batch.signature, batch.body).await;
    println!(
        "4,000 events, {bytes} bytes: {} after {:?}",
        answer.status, answer.elapsed
    );
    assert_eq!(answer.status, 200, "{}", answer.text);
    let rows = station
        .database
        .rows(
            "SELECT message_id, delivery_id::text, position FROM segment.events ORDER BY position",
            &[],
        )
        .await;
    let stored: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let sent: Vec<_> = events
        .iter()
        .map(|event| event.message_id.clone())
        .collect();
    assert_eq!(stored, sent);
    for (row, position) in rows.iter().zip(0_i32..) {
        assert_eq!(row.get::<_, i32>(2), position);
        assert_eq!(
            row.get::<_, &str>(1),
            rows[0].get::<_, &str>(1),
            "one delivery"
        );
    }
    assert_eq!(&rows[0].get::<_, &str>(1)[14..15], "7", "a UUIDv7");
    assert_eq!(
        scopes(&station, "segment").await,
        [scope("batch", 3_999), scope("element", 1)]
    );
    if is_full() {
        assert!(answer.elapsed.as_secs_f64() < 1.0, "{:?}", answer.elapsed);
    }
}

#[tokio::test]
async fn a_signature_vouches_for_what_it_was_made_over() {
    let mut strict = SourceDraft::segment("strict", &[SECRET]);
    strict.verify(true, &[SECRET]);
    let station = Station::with(vec![SourceDraft::segment("segment", &[SECRET]), strict]).await;
    let secret = SECRET.as_bytes();
    let events = events(seed(), 3);
    let elements: Vec<_> = events.iter().map(|event| event.json.as_str()).collect();
    let batch = signed_batch(secret, &elements);
    let body = std::str::from_utf8(&batch.body).unwrap().to_owned();

    // One byte of element 0, of its signature, or a secret that nobody has.
    let tampered = body.replacen("\"messageId\":\"", "\"messageId\":\"x", 1);
    let other_signature = sign(b"another secret", elements[0].as_bytes());
    for (signature, body) in [
        (batch.signature.as_str(), tampered.as_str()),
        (other_signature.as_str(), &body),
        (&batch.signature[1..], &body),
        ("", &body),
        ("not hex", &body),
    ] {
        let answer = post(&station, 0, signature, body.to_owned()).await;
        let told = (answer.status, answer.text.trim());
        assert_eq!(told, (400, "failed to validate the request"), "{signature}");
    }
    assert_eq!(scopes(&station, "segment").await, []);

    // Whitespace around elements is not signed; upper-case hex is hex.
    let spaced = format!(
        " [ {} ,\n\t{} , {} ]\r\n",
        elements[0], elements[1], elements[2]
    );
    assert_eq!(
        post(&station, 0, &batch.signature, spaced).await.status,
        200
    );
    let upper = batch.signature.to_uppercase();
    assert_eq!(post(&station, 0, &upper, body.clone()).await.status, 200);
    // A batch of one is its element.
    let alone = signed_batch(secret, &elements[..1]);
    assert_eq!(
        post(&station, 0, &alone.signature, alone.body).await.status,
        200
    );
    assert_eq!(
        scopes(&station, "segment").await,
        [scope("batch", 4), scope("element", 3)]
    );

    // The whole body.
    let whole = sign(secret, body.as_bytes());
    assert_eq!(post(&station, 0, &whole, body.clone()).await.status, 200);
    assert_eq!(
        scopes(&station, "segment").await,
        [scope("batch", 4), scope("element", 3), scope("request", 3)]
    );

    // Strict: nothing but the whole body.
    let answer = post(&station, 1, &batch.signature, body.clone()).await;
    assert_eq!(
        (answer.status, answer.text.trim()),
        (400, "failed to validate the request")
    );
    assert_eq!(post(&station, 1, &whole, body).await.status, 200);
    assert_eq!(scopes(&station, "strict").await, [scope("request", 3)]);
}

#[tokio::test]
async fn every_valid_secret_is_accepted_and_a_repeated_signature_is_not() {
    let secrets = ["the current one", "the previous one"];
    let station = Station::with(vec![SourceDraft::segment("segment", &secrets)]).await;
    let event = &events(seed(), 1)[0].json;
    for secret in secrets {
        let signature = sign(secret.as_bytes(), event.as_bytes());
        assert_eq!(
            post(&station, 0, &signature, event.clone()).await.status,
            200,
            "{secret}"
        );
    }
    let signature = sign(secrets[0].as_bytes(), event.as_bytes());
    let twice = [
        (SIGNATURE_HEADER, signature.as_str()),
        (SIGNATURE_HEADER, signature.as_str()),
    ];
    let mut client = station.ingester.client();
    let answer = client
        .post(&station.path(), &twice, event.clone())
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.text.trim()),
        (400, "failed to validate the request")
    );
    let answer = client
        .post(&station.path(), &[], event.clone())
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.text.trim()),
        (400, "failed to validate the request")
    );
    let log = station.ingester.log();
    for secret in secrets.into_iter().chain([signature.as_str()]) {
        assert!(!log.contains(secret), "{log}");
    }
}

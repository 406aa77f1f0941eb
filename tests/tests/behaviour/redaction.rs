//! What `redact` takes out is nowhere in the database; all else is there as it was sent.

use std::time::{Duration, Instant};

use trunkline_model::redaction::{Hasher, RedactAction, RedactedPath, Redaction};
use trunkline_model::request::BodyFormat;
use trunkline_model::secret::SecretBytes;
use trunkline_tests::{SECRET, SourceDraft, Station, signed_batch, signed_single};

const KEY: &str = "the key of the hashes";

fn redaction(paths: &[(&[&str], RedactAction)]) -> Redaction {
    let path = |(path, action): &(&[&str], RedactAction)| RedactedPath {
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        action: *action,
    };
    Redaction {
        paths: paths.iter().map(path).collect(),
        key: Some(SecretBytes::new(KEY)),
    }
}

fn redacting(name: &str) -> SourceDraft {
    let mut draft = SourceDraft::segment(name, &[SECRET]);
    draft.settings.notes_shapes = true;
    draft.settings.redaction = Some(redaction(&[
        (&["userId"], RedactAction::Hash),
        (&["anonymousId"], RedactAction::Drop),
        (&["context", "ip"], RedactAction::Drop),
        (
            &["properties", "emails", "*", "address"],
            RedactAction::Hash,
        ),
        (&["traits"], RedactAction::Drop),
    ]));
    draft
}

fn hash(value: &str) -> String {
    let hasher = Hasher::new(&SecretBytes::new(KEY)).unwrap();
    hasher.hash(value.as_bytes())
}

/// Every value of every table of ours that holds this text, in whatever column.
async fn places(station: &Station, text: &str) -> Vec<String> {
    let tables = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n \
                  ON n.oid = c.relnamespace WHERE n.nspname IN ('trunkline', 'trunkline_data') \
                  AND c.relkind IN ('r', 'p')";
    let mut found = Vec::new();
    for row in station.database.rows(tables, &[]).await {
        let table: String = row.get(0);
        // bytea as text is hexadecimal, and jsonb escapes nothing of it.
        let sql = format!(
            "SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%' || $1 || '%' \
             OR t::text LIKE '%' || encode(convert_to($1, 'UTF8'), 'hex') || '%'"
        );
        let count: i64 = station.database.rows(&sql, &[&text]).await[0].get(0);
        if count > 0 {
            found.push(table);
        }
    }
    found
}

async fn value(station: &Station, sql: &str) -> Option<String> {
    station.database.rows(sql, &[]).await[0].get(0)
}

#[tokio::test]
async fn what_is_redacted_is_nowhere_and_what_is_not_is_as_it_was_sent() {
    let station = Station::with(vec![redacting("shop")]).await;
    let clean = r#"{"type":"track","event":"Paid","messageId":"m1","userId":"ada-4711","anonymousId":"anon-4711","properties":{"total":1.50e2,"emails":[{"address":"a4711@example.com","kind":"work"},{"address":null}]},"context":{"ip":"203.0.113.47","locale":"de"}}"#;
    // Repaired, with a key twice, an escaped key, and a number where a text is expected.
    let poison = r#"{"type":"identify","messageId":"m2","userId":"first-4711","\u0075serId":4711,"traits":{"name":"hopper-4711\u0000"},"context":{"ip":["198.51.100.47"],"note":"\u0000"}}"#;
    // What was sent is exact once the poison is gone.
    let mended = r#"{"type":"identify","messageId":"m3","traits":{"name":"hopper-4711\u0000"}}"#;
    let untouched = r#"{"type":"page","messageId":"m4","note":"\u0000 4711-stays"}"#;
    // Its signature is over what was sent.
    let batch = signed_batch(SECRET.as_bytes(), &[clean, poison, mended, untouched]);
    let headers = [("x-signature", batch.signature.as_str())];
    let mut client = station.ingester.client();
    let answer = client
        .post(&station.path(), &headers, batch.body)
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);

    for secret in [
        "ada-4711",
        "anon-4711",
        "a4711@",
        "203.0.113",
        "first-4711",
        "hopper-4711",
        "198.51.100",
    ] {
        assert_eq!(places(&station, secret).await, [""; 0], "{secret}");
        assert!(!station.ingester.log().contains(secret), "{secret}");
    }
    assert!(
        !places(&station, "4711-stays").await.is_empty(),
        "the search finds what is there"
    );

    let at = |id: &str, what: &str| {
        format!("SELECT ({what})::text FROM shop.events WHERE message_id = '{id}'")
    };
    assert_eq!(
        value(&station, &at("m1", "user_id")).await,
        Some(hash("ada-4711"))
    );
    assert_eq!(value(&station, &at("m1", "anonymous_id")).await, None);
    assert_eq!(
        value(&station, &at("m1", "raw IS NULL")).await.unwrap(),
        "true"
    );
    let expected = format!(
        r#"{{"type":"track","event":"Paid","messageId":"m1","userId":"{}","properties":{{"total":150,"emails":[{{"address":"{}","kind":"work"}},{{"address":null}}]}},"context":{{"locale":"de"}}}}"#,
        hash("ada-4711"),
        hash("a4711@example.com")
    );
    let same = at("m1", &format!("body = '{expected}'::jsonb"));
    assert_eq!(value(&station, &same).await.unwrap(), "true");
    // The last of two equal keys counts, and is redacted too.
    assert_eq!(
        value(&station, &at("m2", "user_id")).await,
        Some(hash("4711"))
    );
    let raw = value(&station, &at("m2", "convert_from(raw, 'UTF8')"))
        .await
        .unwrap();
    assert_eq!(
        raw,
        format!(
            r#"{{"type":"identify","messageId":"m2","userId":"{}","\u0075serId":"{}","context":{{"note":"\u0000"}}}}"#,
            hash("first-4711"),
            hash("4711")
        )
    );
    assert_eq!(
        value(&station, &at("m3", "raw IS NULL")).await.unwrap(),
        "true"
    );
    let raw = value(&station, &at("m4", "convert_from(raw, 'UTF8')"))
        .await
        .unwrap();
    assert_eq!(raw, untouched);
    // Nothing that is gone has a shape, and a hash is a text.
    let start = Instant::now();
    let shapes = "SELECT string_agg(path::text || ' ' || kind, ', ' ORDER BY path::text) \
                  FROM trunkline.shapes WHERE path <> '{}'";
    let expected = "{context,locale} text, {context,note} text, {properties,emails} array, \
                    {properties,total} number";
    while value(&station, shapes).await.as_deref() != Some(expected) {
        let seen = value(&station, shapes).await;
        assert!(start.elapsed() < Duration::from_secs(10), "{seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_form_keeps_nothing_of_what_was_sent_where_something_is_redacted() {
    let mut form = SourceDraft::unverified("form");
    form.settings.body = BodyFormat::Form;
    form.settings.redaction = Some(redaction(&[(&["email"], RedactAction::Drop)]));
    let station = Station::with(vec![form]).await;
    let mut client = station.ingester.client();
    for body in ["email=ada-4711&plan=gold", "plan=free"] {
        let answer = client.post(&station.path(), &[], body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(places(&station, "ada-4711").await, [""; 0]);
    let rows = "SELECT string_agg(body::text || coalesce(convert_from(raw, 'UTF8'), ''), ' ' \
                ORDER BY body::text) FROM form.events";
    assert_eq!(
        value(&station, rows).await.unwrap(),
        r#"{"plan": "free"}plan=free {"plan": "gold"}"#
    );
}

#[tokio::test]
async fn a_redaction_comes_and_goes_with_the_configuration_and_without_its_key_nothing_is_taken() {
    let mut station = Station::with(vec![SourceDraft::segment("shop", &[SECRET])]).await;
    let event = r#"{"messageId":"m1","userId":"ada-4711"}"#;
    let (body, signature) = signed_single(SECRET.as_bytes(), event);
    let headers = [("x-signature", signature.as_str())];
    let path = station.path();
    let mut statuses = Vec::new();
    let hashing = redaction(&[(&["userId"], RedactAction::Hash)]);
    let keyless = Redaction {
        key: None,
        ..hashing.clone()
    };
    for redaction in [None, Some(hashing), Some(keyless), None] {
        station.sources[0].settings.redaction = redaction;
        station.reload().await;
        let mut client = station.ingester.client();
        let answer = client.post(&path, &headers, body.clone()).await.unwrap();
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 200, 503, 200]);
    let users = "SELECT string_agg(user_id, ' ' ORDER BY received_at) FROM shop.events";
    let hashed = hash("ada-4711");
    assert_eq!(
        value(&station, users).await.unwrap(),
        format!("ada-4711 {hashed} ada-4711")
    );
}

#[tokio::test]
async fn a_batch_is_refused_whole_where_one_of_its_events_is_no_json() {
    let station = Station::with(vec![redacting("shop")]).await;
    let (good, bad) = (r#"{"userId":"ada-4711"}"#, r#"{"userId":}"#);
    let batch = signed_batch(SECRET.as_bytes(), &[good, bad]);
    let headers = [("x-signature", batch.signature.as_str())];
    let mut client = station.ingester.client();
    let answer = client
        .post(&station.path(), &headers, batch.body)
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
    let count = station
        .database
        .count("SELECT count(*) FROM shop.events")
        .await;
    assert_eq!(count, 0);
}

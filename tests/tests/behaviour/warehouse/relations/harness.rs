//! Sources with relations, and events for them.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
use trunkline_ingester::json::Timestamp;
use trunkline_model::names::quote_literal;
use trunkline_warehouse::{DesiredSource, News, Relator, WarehouseLayout};

pub(crate) use super::super::harness::*;

/// The source `default/<name>` with relations.
pub(crate) fn related(name: &str, layout: WarehouseLayout) -> DesiredSource {
    DesiredSource {
        layout: Some(layout),
        ..source(name)
    }
}

/// With Segment's.
pub(crate) fn shop() -> DesiredSource {
    related("shop", WarehouseLayout::Segment)
}

pub(crate) async fn relator(database: &Database) -> Relator {
    Relator::new(database.warehouse().await)
}

/// Looks once at the news of `default/main`.
pub(crate) async fn poll(relator: &mut Relator) -> News {
    relator.poll(&cluster("default/main")).await.unwrap()
}

/// Looks until there is nothing new.
pub(crate) async fn settle(relator: &mut Relator, client: &Client) {
    let news = "SELECT count(*) FROM trunkline.shapes WHERE handled_at IS NULL";
    // For ten thousand names on a machine that does other things too.
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let polled = poll(relator).await;
        if value(client, news).await == "0" {
            return;
        }
        assert!(Instant::now() < deadline, "{polled:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Notes a shape, as an ingester does.
pub(crate) async fn note(
    client: &Client,
    source: &str,
    call: &str,
    event: Option<&str>,
    path: &[String],
    kind: &str,
) {
    let sql = "INSERT INTO trunkline.shapes (id, source, call, event, path, kind) VALUES \
               (encode(substr(sha256(convert_to(json_build_array($1, $2, $3, $4, $5)::text, \
               'UTF8')), 1, 16), 'hex')::uuid, $1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&source, Type::TEXT),
        (&call, Type::TEXT),
        (&event, Type::TEXT),
        (&path, Type::TEXT_ARRAY),
        (&kind, Type::TEXT),
    ];
    client.query_typed(sql, &parameters).await.unwrap();
}

/// Stores an event of `default/<schema>` now, and notes what is in it.
pub(crate) async fn send(client: &Client, bucket: i32, schema: &str, body: &Value) {
    send_at(client, bucket, schema, body, "now()", "gen_random_uuid()").await;
}

/// The same at another time and with a number of the delivery, both as SQL.
pub(crate) async fn send_at(
    client: &Client,
    bucket: i32,
    schema: &str,
    body: &Value,
    at: &str,
    delivery: &str,
) {
    let source = format!("default/{schema}");
    let text = |key: &str| body[key].as_str().map(quote_literal);
    let text = |key: &str| text(key).unwrap_or_else(|| "NULL".to_owned());
    let time = body["timestamp"].as_str().and_then(Timestamp::parse);
    let time = time.map_or_else(
        || "NULL".to_owned(),
        |time| format!("to_timestamp({}::numeric / 1000000)", time.unix_micros()),
    );
    let sql = format!(
        "INSERT INTO trunkline.events (bucket, source, received_at, delivery_id, position, auth_scope, \
         message_id, type, event, user_id, anonymous_id, \"timestamp\", body_json) \
         VALUES ({bucket}, '{source}', {at}, {delivery}, 0, 'request', {}, {}, {}, {}, {}, {time}, \
         {})",
        text("messageId"),
        text("type"),
        text("event"),
        text("userId"),
        text("anonymousId"),
        quote_literal(&body.to_string())
    );
    client
        .batch_execute(&sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let call = body["type"].as_str().unwrap();
    let event = body["event"].as_str();
    note(client, &source, call, event, &[], "seen").await;
    for root in ["properties", "traits", "context"] {
        let event = event.filter(|_| root != "context");
        let mut leaves = Vec::new();
        leaves_of(&body[root], vec![root.to_owned()], &mut leaves);
        for (path, kind) in leaves {
            note(client, &source, call, event, &path, kind).await;
        }
    }
}

fn leaves_of(value: &Value, path: Vec<String>, leaves: &mut Vec<(Vec<String>, &'static str)>) {
    let kind = match value {
        Value::Null => return,
        Value::Object(fields) if path.len() <= 5 => {
            for (key, value) in fields {
                let mut path = path.clone();
                path.push(key.clone());
                leaves_of(value, path, leaves);
            }
            return;
        }
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(text) => {
            let is_time =
                text.as_bytes().get(10) == Some(&b'T') && Timestamp::parse(text).is_some();
            if is_time { "timestamp" } else { "text" }
        }
    };
    leaves.push((path, kind));
}

/// The columns of a relation that were made of what was sent: `name type`.
pub(crate) async fn columns(client: &Client, relation: &str) -> Vec<String> {
    let sql = format!(
        "SELECT attname || ' ' || format_type(atttypid, NULL) FROM pg_attribute \
         WHERE attrelid = 'shop.{relation}'::regclass AND attnum > 0 \
         AND attname IN (SELECT \"column\" FROM trunkline.relation_columns \
         WHERE relation = '{relation}') ORDER BY attnum"
    );
    rows(client, &sql).await
}

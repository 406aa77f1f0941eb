//! What tables cost and what they gain: a measurement, which is run by hand on a machine that does
//! nothing else.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_postgres::Client;
use trunkline_warehouse::{DesiredSource, Shaping, WarehouseLayout};

use super::twins::*;

const DAYS: i32 = 30;

/// Names of events, the first the most frequent: a fifth of all.
const EVENTS: i32 = 20;

/// Stores a day of a shop's events: a tenth identify calls, the rest track events of some names with
/// fifteen properties, each of about a kilobyte.
async fn store_day(client: &Client, bucket: i32, day: i32, count: i64) {
    let sql = format!(
        "INSERT INTO trunkline.events (bucket, source, received_at, delivery_id, position, \
         auth_scope, message_id, type, event, user_id, anonymous_id, \"timestamp\", body_json) \
         SELECT {bucket}, 'default/shop', e.at, gen_random_uuid(), 0, 'request', e.id, e.type, \
         e.event, e.user_id, e.anonymous_id, e.at, jsonb_build_object('messageId', e.id, \
         'type', e.type, 'event', e.event, 'userId', e.user_id, 'anonymousId', e.anonymous_id, \
         'timestamp', e.at, 'context', jsonb_build_object('ip', '203.0.113.7', 'userAgent', \
         repeat('Mozilla/5.0 ', 12), 'page', jsonb_build_object('path', '/p/' || e.n % 500, 'url', \
         'https://shop.example/p/' || e.n % 500)), \
         CASE e.type WHEN 'track' THEN 'properties' ELSE 'traits' END, e.properties) \
         FROM (SELECT n, concat('m{day}-', n) AS id, \
         CASE WHEN n % 10 = 0 THEN 'identify' ELSE 'track' END AS type, \
         CASE WHEN n % 10 <> 0 THEN 'Event ' || floor({EVENTS} ^ random()) END AS event, \
         'user-' || floor(random() * 100000) AS user_id, gen_random_uuid()::text AS anonymous_id, \
         ((now() AT TIME ZONE 'UTC')::date - {day} + n * (interval '24 hours' / {count})) \
         AT TIME ZONE 'UTC' AS at, \
         (SELECT jsonb_object_agg('property_' || p, CASE p % 3 WHEN 0 THEN to_jsonb(n % 97) \
         WHEN 1 THEN to_jsonb('value ' || n % 31) ELSE to_jsonb('a longer text that is ' || n % 7) END) \
         FROM generate_series(1, 15) AS p) AS properties \
         FROM generate_series(0, {count} - 1) AS n) AS e"
    );
    client.batch_execute(&sql).await.unwrap();
}

/// The best of some runs, in milliseconds.
async fn time(client: &Client, sql: &str) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let begun = Instant::now();
        rows(client, sql).await;
        best = best.min(begun.elapsed());
    }
    best.as_secs_f64() * 1e3
}

/// Queries over the schema `$schema`, from `$from` until `$until`.
const QUERIES: &[(&str, &str)] = &[
    (
        "sum by a property",
        "SELECT property_1, sum(property_3) FROM $schema.event_1 \
         WHERE received_at >= $from AND received_at < $until GROUP BY 1",
    ),
    (
        "events by name",
        "SELECT event, count(*) FROM $schema.tracks \
         WHERE received_at >= $from AND received_at < $until GROUP BY 1",
    ),
    (
        "active users by day",
        "SELECT date_trunc('day', received_at, 'UTC'), count(DISTINCT user_id) FROM $schema.tracks \
         WHERE received_at >= $from AND received_at < $until GROUP BY 1",
    ),
    (
        "funnel of three",
        "SELECT count(DISTINCT a.user_id), count(DISTINCT b.user_id), count(DISTINCT c.user_id) \
         FROM (SELECT user_id, min(received_at) AS at FROM $schema.event_3 \
         WHERE received_at >= $from AND received_at < $until GROUP BY 1) a \
         LEFT JOIN $schema.event_4 b ON b.user_id = a.user_id AND b.received_at > a.at \
         AND b.received_at >= $from AND b.received_at < $until \
         LEFT JOIN $schema.event_5 c ON c.user_id = b.user_id AND c.received_at > b.received_at \
         AND c.received_at >= $from AND c.received_at < $until",
    ),
    (
        "last touch",
        "SELECT t.property_1, count(*) FROM (SELECT DISTINCT ON (o.id) o.id, t.property_1 \
         FROM $schema.event_6 o JOIN $schema.event_2 t ON t.user_id = o.user_id \
         AND t.received_at < o.received_at AND t.received_at >= $from AND t.received_at < $until \
         WHERE o.received_at >= $from AND o.received_at < $until \
         ORDER BY o.id, t.received_at DESC) t GROUP BY 1",
    ),
];

#[tokio::test]
#[ignore = "a measurement, for a quiet machine"]
async fn what_tables_cost_and_what_they_gain() {
    let count = std::env::var("TRUNKLINE_EVENTS").ok();
    let count: i64 = count.map_or(60_000, |count| count.parse().unwrap());
    let server = server(&[
        ("shared_buffers", "1GB"),
        ("work_mem", "128MB"),
        ("jit", "off"),
    ])
    .await;
    let mut twins = Twins::on(&server, &(2..2 + DAYS).collect::<Vec<_>>()).await;
    let bucket = twins.buckets[0];
    let plain = Shaping {
        is_materialized: false,
        ..shaping(&[], false)
    };
    let shop = |shaping: &Shaping| DesiredSource {
        shaping: Some(shaping.clone()),
        ..related("shop", WarehouseLayout::Segment)
    };
    ensure_one(&twins.warehouse, shop(&plain)).await;
    for day in 2..2 + DAYS {
        store_day(&twins.admin, bucket, day, count / i64::from(DAYS)).await;
    }
    for name in 1..=EVENTS {
        let mut properties = serde_json::Map::new();
        for property in 1..=15 {
            let value = if property % 3 == 0 {
                json!(1)
            } else {
                json!("x")
            };
            properties.insert(format!("property_{property}"), value);
        }
        let event = track(
            &format!("Event {name}"),
            &format!("n{name}"),
            &properties.into(),
        );
        send(&twins.admin, bucket, "shop", &event).await;
    }
    let traits = json!({"property_1": "x", "property_3": 1});
    let known = identify("user-1", "n0", "2026-11-01T10:00:00Z", &traits);
    send(&twins.admin, bucket, "shop", &known).await;
    twins.settle().await;
    twins.warehouse.upkeep().await.unwrap();
    let hand = "CREATE SCHEMA hand";
    twins.admin.batch_execute(hand).await.unwrap();
    for relation in [
        "tracks", "event_1", "event_2", "event_3", "event_4", "event_5", "event_6",
    ] {
        let columns = format!(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
             WHERE attrelid = 'shop.{relation}'::regclass AND attnum > 0 AND attname <> '_raw'"
        );
        let columns = value(&twins.admin, &columns).await;
        let make = format!(
            "CREATE TABLE hand.{relation} AS SELECT {columns} FROM shop.{relation} ORDER BY received_at; \
             CREATE INDEX ON hand.{relation} (received_at)"
        );
        twins.admin.batch_execute(&make).await.unwrap();
        twins
            .admin
            .batch_execute(&format!("VACUUM (FREEZE, ANALYZE) hand.{relation}"))
            .await
            .unwrap();
    }

    let measure = async |schema: &str, days: i32| {
        let mut times = Vec::new();
        for (_, query) in QUERIES {
            let at = |day: i32| {
                let sql = format!("SELECT (now() AT TIME ZONE 'UTC')::date - {day} || ' 00:00+00'");
                let admin = &twins.admin;
                async move { format!("'{}'", value(admin, &sql).await) }
            };
            let query = query
                .replace("$schema", schema)
                .replace("$from", &at(3 + days).await)
                .replace("$until", &at(3).await);
            times.push(time(&twins.admin, &query).await);
        }
        times
    };
    let spans = [1, DAYS - 2];
    let mut before = Vec::new();
    for days in spans {
        before.push(measure("shop", days).await);
    }
    let wanted = Shaping {
        is_materialized: true,
        ..plain
    };
    ensure_one(&twins.warehouse, shop(&wanted)).await;
    let begun = Instant::now();
    let report = twins.warehouse.upkeep().await.unwrap();
    let elapsed = begun.elapsed();
    println!(
        "{count} events, {DAYS} days, {} steps, pending {}",
        report.changed.len(),
        report.pending.len()
    );
    println!(
        "upkeep {:.1} s, its pauses included: {:.1} µs an event",
        elapsed.as_secs_f64(),
        elapsed.as_secs_f64() * 1e6 / count as f64
    );
    for (what, pattern) in [
        ("events", format!("bucket_{bucket}_%")),
        ("tables", "materialized_%".to_owned()),
    ] {
        let sql = format!(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' \
             AND relnamespace = 'trunkline_data'::regnamespace AND relname LIKE '{pattern}'"
        );
        let bytes: f64 = value(&twins.admin, &sql).await.parse().unwrap();
        println!("{what}: {:.0} bytes an event", bytes / count as f64);
    }
    for (days, events) in spans.into_iter().zip(before) {
        let (tables, hand) = (measure("shop", days).await, measure("hand", days).await);
        for (place, (name, _)) in QUERIES.iter().enumerate() {
            println!(
                "{days:>2} d  {name:<20} events {:>9.1} ms  tables {:>9.1} ms  by hand {:>9.1} ms  \
                 tables/hand {:.2}",
                events[place],
                tables[place],
                hand[place],
                tables[place] / hand[place]
            );
        }
    }
    server.stop().await;
}

//! Relations and columns appear when they are first seen, and what there is stays.

use std::time::Instant;

use serde_json::json;
use tokio_postgres::Client;
use trunkline_warehouse::News;

use super::harness::*;

/// Every relation in the schema `shop`.
async fn relations(client: &Client) -> Vec<String> {
    let sql = "SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace ORDER BY 1";
    rows(client, sql).await
}

const ALWAYS: [&str; 11] = [
    "accounts",
    "aliases",
    "deletes",
    "discards",
    "events",
    "groups",
    "identifies",
    "pages",
    "screens",
    "tracks",
    "users",
];

/// The transactions that wrote what the catalog knows.
async fn writers(client: &Client) -> Vec<String> {
    let sql = "SELECT xmin::text FROM trunkline.relations \
               UNION ALL SELECT xmin::text FROM trunkline.relation_columns \
               UNION ALL SELECT xmin::text FROM trunkline.event_names \
               UNION ALL SELECT xmin::text FROM trunkline.shapes \
               UNION ALL SELECT xmin::text FROM trunkline.sources \
               UNION ALL SELECT xmin::text FROM pg_class \
               WHERE relnamespace = 'shop'::regnamespace";
    rows(client, sql).await
}

#[tokio::test]
async fn an_event_that_is_new_is_a_relation_with_typed_columns() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    assert_eq!(relations(&admin).await, ALWAYS);
    for relation in ALWAYS {
        let all = format!("SELECT * FROM shop.{relation}");
        assert_eq!(rows(&admin, &all).await, [""; 0], "{relation}");
    }
    let mut relator = relator(&database).await;
    assert_eq!(poll(&mut relator).await, News::default());

    let order = json!({
        "type": "track", "event": "Order Completed", "messageId": "m1", "userId": "ada",
        "timestamp": "2026-11-24T10:00:00.123Z",
        "context": {"ip": "10.0.0.1", "app": {"build": 7}},
        "properties": {"total": 12.5, "paid": true, "due": "2026-12-01T00:00:00+02:00",
            "orderId": "o-1", "address": {"city": "Bern"}, "items": [1, 2], "none": null},
    });
    send(&admin, bucket, "shop", &order).await;
    let changed = poll(&mut relator).await.changed;
    // The event's own, tracks for its context, discards for the time in it.
    assert_eq!(changed, 3);
    assert_eq!(
        columns(&admin, "order_completed").await,
        [
            "address_city text",
            "context_app_build numeric",
            "context_ip text",
            "context_user_agent text",
            "due timestamp with time zone",
            "items text",
            "order_id text",
            "paid boolean",
            "total numeric",
        ]
    );
    let row = "SELECT id, user_id, event, event_text, \"timestamp\" AT TIME ZONE 'UTC', total * 2, \
               paid, due AT TIME ZONE 'UTC', order_id, address_city, items, context_ip, \
               context_app_build, _raw ->> 'type', _auth_scope, _source FROM shop.order_completed";
    assert_eq!(
        value(&admin, row).await,
        "m1|ada|order_completed|Order Completed|2026-11-24 10:00:00.123|25.0|t|\
         2026-11-30 22:00:00|o-1|Bern|[1, 2]|10.0.0.1|7|track|request|default/shop"
    );
    let track = "SELECT id, event, event_text, context_app_build FROM shop.tracks";
    assert_eq!(
        value(&admin, track).await,
        "m1|order_completed|Order Completed|7"
    );
    let undocumented = "SELECT attrelid::regclass, attname FROM pg_attribute JOIN pg_class c \
                        ON c.oid = attrelid WHERE c.relnamespace = 'shop'::regnamespace AND attnum > 0 \
                        AND (col_description(attrelid, attnum) IS NULL \
                        OR obj_description(c.oid, 'pg_class') IS NULL)";
    assert_eq!(rows(&admin, undocumented).await, [""; 0]);
    let changes = "SELECT \"column\", change, detail FROM trunkline.schema_changes \
                   WHERE source = 'default/shop' AND relation = 'order_completed' \
                   AND (\"column\" IS NULL OR \"column\" = 'total')";
    assert_eq!(
        rows(&admin, changes).await,
        [
            "-|added|segment",
            "total|added|numeric of [\"properties\",\"total\"]"
        ]
    );

    // A look at what there is changes nothing, be it for news or at everything.
    let before = writers(&admin).await;
    assert_eq!(poll(&mut relator).await, News::default());
    let again = ensure_one(&warehouse, shop()).await;
    assert_eq!((again.changed, again.warnings), (vec![], vec![]));
    assert_eq!(writers(&admin).await, before);
}

#[tokio::test]
async fn columns_are_appended_under_those_who_build_on_them() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    let event = |id: &str, properties| {
        json!({"type": "track", "event": "Order Completed", "messageId": id,
            "properties": properties})
    };
    send(&admin, bucket, "shop", &event("m1", json!({"total": 1}))).await;
    settle(&mut relator, &admin).await;
    let report = "CREATE VIEW public.report AS SELECT sum(total) FROM shop.order_completed; \
                  CREATE VIEW public.all_orders AS SELECT * FROM shop.order_completed";
    admin.batch_execute(report).await.unwrap();
    let identity = "SELECT 'shop.order_completed'::regclass::oid";
    let before = value(&admin, identity).await;

    // Another spelling of the event and of the property, and what comes before `total` by name.
    let second = json!({"type": "track", "event": "orderCompleted", "messageId": "m2",
        "properties": {"Total": 2, "currency": "CHF", "a": 1}});
    send(&admin, bucket, "shop", &second).await;
    settle(&mut relator, &admin).await;
    assert_eq!(
        columns(&admin, "order_completed").await,
        [
            "context_ip text",
            "context_user_agent text",
            "total numeric",
            "a numeric",
            "currency text",
        ]
    );
    assert_eq!(value(&admin, identity).await, before);
    assert_eq!(value(&admin, "SELECT * FROM public.report").await, "3");
    assert_eq!(
        value(&admin, "SELECT count(*) FROM public.all_orders").await,
        "2"
    );
    let again = ensure_one(&warehouse, shop()).await;
    assert_eq!((again.changed, again.warnings), (vec![], vec![]));
    // One that is dropped by hand comes back as it was.
    admin
        .batch_execute("DROP VIEW shop.order_completed CASCADE")
        .await
        .unwrap();
    ensure_one(&warehouse, shop()).await;
    let sum = "SELECT sum(total), sum(a) FROM shop.order_completed";
    assert_eq!(value(&admin, sum).await, "3|1");
}

#[tokio::test]
async fn two_that_look_at_once_do_the_work_of_one() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let (mut one, mut other) = (relator(&database).await, relator(&database).await);
    for round in 0..5 {
        for event in 0..4 {
            let body = json!({"type": "track", "event": format!("Event {event}"),
                "messageId": format!("m{round}{event}"), "context": {format!("c{round}"): 1},
                "properties": {format!("p{round}"): "x"}});
            send(&admin, bucket, "shop", &body).await;
        }
        tokio::join!(poll(&mut one), poll(&mut other));
    }
    settle(&mut one, &admin).await;
    for event in 0..4 {
        let relation = format!("event_{event}");
        let mut found = columns(&admin, &relation).await;
        found.retain(|it| it.starts_with('p'));
        assert_eq!(
            found,
            ["p0 text", "p1 text", "p2 text", "p3 text", "p4 text"]
        );
        let told = format!(
            "SELECT count(*), count(DISTINCT \"column\") FROM trunkline.schema_changes \
             WHERE relation = '{relation}' AND \"column\" IS NOT NULL"
        );
        assert_eq!(value(&admin, &told).await, "12|12");
    }
}

#[tokio::test]
async fn what_there_is_no_room_for_is_listed_once_and_said() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    let properties: serde_json::Map<_, _> =
        (0..1_700).map(|n| (format!("p{n}"), n.into())).collect();
    let wide = json!({"type": "track", "event": "Wide", "messageId": "m1",
        "properties": properties});
    send(&admin, bucket, "shop", &wide).await;
    let names = "INSERT INTO trunkline.shapes (id, source, call, event, path, kind) \
                 SELECT gen_random_uuid(), 'default/shop', 'track', 'Name ' || n, path, kind \
                 FROM generate_series(1, 10000) n, (VALUES ('{}'::text[], 'seen'), \
                 ('{properties,x}', 'number')) AS seen(path, kind)";
    admin.batch_execute(names).await.unwrap();
    let start = Instant::now();
    settle(&mut relator, &admin).await;
    println!("10,000 names in {:?}", start.elapsed());

    assert_eq!(relations(&admin).await.len(), ALWAYS.len() + 500);
    assert_eq!(columns(&admin, "wide").await.len(), 400);
    assert_eq!(rows(&admin, "SELECT * FROM shop.wide").await.len(), 1);
    let listed = "SELECT count(*) FILTER (WHERE \"column\" IS NULL), count(\"column\") \
                  FROM trunkline.schema_changes WHERE change = 'overflow'";
    let expected = format!("{}|{}", 10_001 - 500, 1_700 - 398);
    assert_eq!(value(&admin, listed).await, expected);
    let again = ensure_one(&warehouse, shop()).await;
    assert_eq!((again.changed, again.warnings), (vec![], vec![]));
    let [note] = &again.notes[..] else {
        panic!("{:?}", again.notes)
    };
    let said = "no room for 9501 relations of events and 1302 columns";
    assert!(note.contains(said), "{note}");
    // Another kind of the same is listed already.
    let path = ["properties", "p999"].map(str::to_owned);
    note_text(&admin, &path).await;
    settle(&mut relator, &admin).await;
    assert_eq!(value(&admin, listed).await, expected);
}

async fn note_text(client: &Client, path: &[String]) {
    note(client, "default/shop", "track", Some("Wide"), path, "text").await;
}

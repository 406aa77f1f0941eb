//! What a source's owner decides of its relations.

use serde_json::{Value, json};
use tokio_postgres::Client;
use trunkline_warehouse::{DesiredSource, News, Shaping};

use super::harness::*;

fn pinned(is_pinned: bool) -> DesiredSource {
    DesiredSource {
        shaping: Some(Shaping { is_pinned }),
        ..shop()
    }
}

fn order(id: &str, properties: &Value) -> Value {
    json!({"type": "track", "event": "Order Completed", "messageId": id, "properties": properties})
}

/// What names the views but `discards`, and their definitions.
async fn views(client: &Client) -> Vec<String> {
    let sql = "SELECT c.oid, r.relation, r.fingerprint FROM trunkline.relations r \
               JOIN pg_class c ON c.relname = r.relation \
               WHERE c.relnamespace = 'shop'::regnamespace AND r.relation <> 'discards' ORDER BY 2";
    rows(client, sql).await
}

#[tokio::test]
async fn a_pinned_source_keeps_its_relations_and_lets_in_later_what_was_held_back() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, pinned(false)).await.bucket;
    let mut relator = relator(&database).await;
    send(&admin, bucket, "shop", &order("m1", &json!({"total": 1}))).await;
    settle(&mut relator, &admin).await;
    let before = views(&admin).await;

    let changed = ensure_one(&warehouse, pinned(true)).await.changed;
    assert_eq!(
        changed,
        ["record what is wanted of the relations of source default/shop"]
    );
    let news = [
        order("m2", &json!({"total": 2, "coupon": "x"})),
        order("m3", &json!({"total": "many"})),
        json!({"type": "track", "event": "Order Refunded", "messageId": "m4"}),
        json!({"type": "track", "event": "orderCompleted", "messageId": "m5"}),
        json!({"type": "identify", "userId": "ada", "messageId": "m6", "traits": {"plan": "pro"}}),
    ];
    for event in &news {
        send(&admin, bucket, "shop", event).await;
    }
    assert!(poll(&mut relator).await.left_out);
    settle(&mut relator, &admin).await;
    assert_eq!(poll(&mut relator).await, News::default());

    // What there was goes on as it was, and is up to date.
    assert_eq!(views(&admin).await, before);
    let shown = "SELECT id, total FROM shop.order_completed ORDER BY id";
    assert_eq!(rows(&admin, shown).await, ["m1|1", "m2|2", "m3|-"]);
    let tracks = "SELECT id, event FROM shop.tracks ORDER BY id DESC LIMIT 2";
    assert_eq!(
        rows(&admin, tracks).await,
        ["m5|order_completed", "m4|order_refunded"]
    );
    let discards = "SELECT row_id, column_name, column_value FROM shop.discards";
    assert_eq!(rows(&admin, discards).await, ["m3|total|many"]);
    assert_eq!(value(&admin, "SELECT id FROM shop.users").await, "ada");
    let held = "SELECT relation, \"column\", detail FROM trunkline.schema_changes \
                WHERE change = 'held' ORDER BY 1, 2 NULLS FIRST";
    assert_eq!(
        rows(&admin, held).await,
        [
            "identifies|plan|text of [\"traits\",\"plan\"]",
            "order_completed|-|[\"orderCompleted\"]",
            "order_completed|coupon|text of [\"properties\",\"coupon\"]",
            "order_refunded|-|[\"Order Refunded\"]",
            "users|plan|text of [\"traits\",\"plan\"]",
        ]
    );
    // Whoever cannot read the manifest leaves it pinned.
    let unread = ensure_one(&warehouse, shop()).await;
    assert_eq!((unread.changed, unread.warnings), (vec![], vec![]));
    let [note] = &unread.notes[..] else {
        panic!("{:?}", unread.notes)
    };
    let said = "spec.warehouse.pinned holds back 2 relations of events and 3 columns";
    assert!(note.contains(said), "{note}");

    let let_in = ensure_one(&warehouse, pinned(false)).await;
    assert_eq!(let_in.notes, [""; 0]);
    settle(&mut relator, &admin).await;
    assert_eq!(
        columns(&admin, "order_completed").await,
        [
            "context_ip text",
            "context_user_agent text",
            "total numeric",
            "coupon text",
        ]
    );
    for (sql, expected) in [
        (
            "SELECT coupon FROM shop.order_completed WHERE id = 'm2'",
            "x",
        ),
        ("SELECT count(*) FROM shop.order_completed", "4"),
        ("SELECT id FROM shop.order_refunded", "m4"),
        ("SELECT plan FROM shop.users", "pro"),
    ] {
        assert_eq!(value(&admin, sql).await, expected, "{sql}");
    }
    assert_eq!(rows(&admin, held).await, [""; 0]);
    let again = ensure_one(&warehouse, pinned(false)).await;
    assert_eq!((again.changed, again.notes), (vec![], vec![]));
}

#[tokio::test]
async fn a_source_that_is_pinned_from_the_start_has_what_is_always_there() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, pinned(true)).await.bucket;
    let mut relator = relator(&database).await;
    send(&admin, bucket, "shop", &order("m1", &json!({"total": 1}))).await;
    settle(&mut relator, &admin).await;
    let names = "SELECT count(*), count(*) FILTER (WHERE relname = 'order_completed') FROM pg_class \
                 WHERE relnamespace = 'shop'::regnamespace";
    assert_eq!(value(&admin, names).await, "11|0");
    let again = ensure_one(&warehouse, pinned(true)).await;
    assert_eq!(again.changed, [""; 0]);
    // What is noted of one without relations is nobody's to let in.
    let none = DesiredSource {
        layout: Some(trunkline_warehouse::WarehouseLayout::None),
        ..pinned(false)
    };
    ensure_one(&warehouse, none).await;
    let news = "SELECT count(*) FROM trunkline.shapes WHERE handled_at IS NULL";
    assert_eq!(value(&admin, news).await, "0");
}

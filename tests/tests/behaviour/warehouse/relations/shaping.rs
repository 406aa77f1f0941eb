//! What a source's owner decides of its relations.

use serde_json::{Value, json};
use tokio_postgres::Client;
use trunkline_warehouse::{
    ColumnOverride, ColumnType, DesiredSource, News, PendingReason, Shaping,
};

use super::harness::*;

fn pinned(is_pinned: bool) -> DesiredSource {
    DesiredSource {
        shaping: Some(Shaping {
            is_pinned,
            is_materialized: false,
            overrides: None,
        }),
        ..shop()
    }
}

/// With these overrides of `order_completed`: column, type, name.
fn overridden(overrides: &[(&str, Option<ColumnType>, Option<&str>)]) -> DesiredSource {
    let column =
        |(column, sql_type, name): &(&str, Option<ColumnType>, Option<&str>)| ColumnOverride {
            relation: "order_completed".to_owned(),
            column: (*column).to_owned(),
            sql_type: *sql_type,
            name: name.map(str::to_owned),
        };
    DesiredSource {
        shaping: Some(Shaping {
            is_pinned: false,
            is_materialized: false,
            overrides: Some(overrides.iter().map(column).collect()),
        }),
        ..shop()
    }
}

/// The columns of `order_completed` that were made of properties: `name type`.
async fn shown(client: &Client) -> Vec<String> {
    let sql = "SELECT attname || ' ' || format_type(atttypid, NULL) FROM pg_attribute \
               WHERE attrelid = 'shop.order_completed'::regclass AND attnum > 0 \
               AND attname IN (SELECT coalesce(other_name, \"column\") \
               FROM trunkline.relation_columns WHERE relation = 'order_completed' \
               AND \"column\" NOT LIKE 'context%') ORDER BY attnum";
    rows(client, sql).await
}

/// What was told of `order_completed` since the last time, without what is added.
async fn told(client: &Client) -> Vec<String> {
    let sql = "SELECT \"column\", change, detail FROM trunkline.schema_changes \
               WHERE relation = 'order_completed' AND change <> 'added' ORDER BY id";
    rows(client, sql).await
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

#[tokio::test]
async fn an_override_decides_on_a_column_that_is_new_and_changes_one_that_is_there() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let first = overridden(&[
        ("price", Some(ColumnType::Numeric), Some("unit_price")),
        ("sku", Some(ColumnType::Text), None),
    ]);
    let bucket = ensure_one(&warehouse, first.clone()).await.bucket;
    let mut relator = relator(&database).await;
    let sent = json!({"price": "12.50", "sku": 7, "total": 3, "at": "2026-11-24T10:00:00Z"});
    send(&admin, bucket, "shop", &order("m1", &sent)).await;
    send(
        &admin,
        bucket,
        "shop",
        &order("m2", &json!({"price": "free"})),
    )
    .await;
    settle(&mut relator, &admin).await;
    assert_eq!(
        shown(&admin).await,
        [
            "at timestamp with time zone",
            "unit_price numeric",
            "sku text",
            "total numeric",
        ]
    );
    let values = "SELECT id, unit_price * 2, sku, total FROM shop.order_completed ORDER BY id";
    assert_eq!(rows(&admin, values).await, ["m1|25.00|7|3", "m2|-|-|-"]);
    let discards = "SELECT row_id, column_name, column_value FROM shop.discards";
    assert_eq!(rows(&admin, discards).await, ["m2|unit_price|free"]);
    let added = "SELECT detail FROM trunkline.schema_changes WHERE \"column\" = 'unit_price'";
    assert_eq!(
        value(&admin, added).await,
        "numeric of [\"properties\",\"price\"]"
    );
    assert_eq!(ensure_one(&warehouse, first).await.changed, [""; 0]);

    // Others may read it all the while, and do so afterwards; two columns change places.
    let grant =
        "CREATE ROLE shaping_reader; GRANT SELECT ON shop.order_completed TO shaping_reader";
    admin.batch_execute(grant).await.unwrap();
    let second = overridden(&[
        ("price", Some(ColumnType::Text), Some("total")),
        ("total", None, Some("unit_price")),
        ("at", Some(ColumnType::Jsonb), None),
    ]);
    ensure_one(&warehouse, second).await;
    assert_eq!(
        shown(&admin).await,
        [
            "at jsonb",
            "total text",
            "sku numeric",
            "unit_price numeric"
        ]
    );
    let values = "SELECT id, total, sku, unit_price FROM shop.order_completed ORDER BY id";
    assert_eq!(rows(&admin, values).await, ["m1|12.50|7|3", "m2|free|-|-"]);
    assert_eq!(rows(&admin, discards).await, [""; 0]);
    let may_read = "SELECT has_table_privilege('shaping_reader', 'shop.order_completed', 'SELECT')";
    assert_eq!(value(&admin, may_read).await, "t");
    admin
        .batch_execute("DROP OWNED BY shaping_reader; DROP ROLE shaping_reader")
        .await
        .unwrap();
    assert_eq!(
        told(&admin).await,
        [
            "at|retyped|jsonb, was timestamptz",
            "total|renamed|was unit_price",
            "total|retyped|text, was numeric",
            "sku|retyped|numeric, was text",
            "unit_price|renamed|was total",
        ]
    );
    let undocumented = "SELECT attname FROM pg_attribute \
                        WHERE attrelid = 'shop.order_completed'::regclass AND attnum > 0 \
                        AND col_description(attrelid, attnum) IS NULL";
    assert_eq!(rows(&admin, undocumented).await, [""; 0]);

    // News come behind, beside columns that are called otherwise; what nobody can read stays.
    let coupon = order("m3", &json!({"coupon": "x", "price": 5, "total": 6}));
    send(&admin, bucket, "shop", &coupon).await;
    settle(&mut relator, &admin).await;
    assert_eq!(ensure_one(&warehouse, shop()).await.changed, [""; 0]);
    let last = "SELECT total, unit_price, coupon FROM shop.order_completed WHERE id = 'm3'";
    assert_eq!(value(&admin, last).await, "5|6|x");

    // Without, everything is as the layout and the first value have it.
    ensure_one(&warehouse, overridden(&[])).await;
    assert_eq!(
        shown(&admin).await,
        [
            "at timestamp with time zone",
            "price text",
            "sku numeric",
            "total numeric",
            "coupon text",
        ]
    );
    let again = ensure_one(&warehouse, overridden(&[])).await;
    assert_eq!((again.changed, again.notes), (vec![], vec![]));
    assert_eq!(poll(&mut relator).await, News::default());
}

#[tokio::test]
async fn a_type_waits_for_those_who_build_on_the_relation_and_a_name_does_not() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    let sent = json!({"price": "12.50", "total": 3});
    send(&admin, bucket, "shop", &order("m1", &sent)).await;
    settle(&mut relator, &admin).await;
    admin
        .batch_execute("CREATE VIEW public.report AS SELECT price, total FROM shop.order_completed")
        .await
        .unwrap();
    let wished = overridden(&[
        ("price", Some(ColumnType::Numeric), Some("unit_price")),
        ("total", None, Some("received_at")),
    ]);
    for _ in 0..2 {
        let kept = ensure(&warehouse, std::slice::from_ref(&wished))
            .await
            .remove(0)
            .unwrap();
        assert_eq!(kept.warnings, [""; 0]);
        let [pending] = &kept.pending[..] else {
            panic!("{:?}", kept.pending)
        };
        assert_eq!(
            pending.reason,
            PendingReason::Dependants("view public.report".to_owned())
        );
        let said = "type of column unit_price of shop.order_completed waits";
        assert!(pending.to_string().contains(said), "{pending}");
        let [note] = &kept.notes[..] else {
            panic!("{:?}", kept.notes)
        };
        let said = "column total of order_completed cannot be called received_at";
        assert!(note.contains(said), "{note}");
        assert_eq!(shown(&admin).await, ["unit_price text", "total numeric"]);
        assert_eq!(
            value(&admin, "SELECT * FROM public.report").await,
            "12.50|3"
        );
        assert_eq!(
            told(&admin).await,
            [
                "unit_price|renamed|was price",
                "total|blocked|cannot be called received_at, as another column is",
                "unit_price|blocked|stays text and does not become numeric while others have built on \
                 the relation: view public.report",
            ]
        );
    }
    // Meanwhile all else goes on.
    send(
        &admin,
        bucket,
        "shop",
        &order("m2", &json!({"price": "x", "coupon": "y"})),
    )
    .await;
    settle(&mut relator, &admin).await;
    assert_eq!(
        shown(&admin).await,
        ["unit_price text", "total numeric", "coupon text"]
    );

    admin
        .batch_execute("DROP VIEW public.report")
        .await
        .unwrap();
    let done = ensure_one(&warehouse, wished.clone()).await;
    assert_eq!(done.pending, []);
    assert_eq!(
        shown(&admin).await,
        ["unit_price numeric", "total numeric", "coupon text"]
    );
    assert_eq!(
        told(&admin).await,
        [
            "unit_price|renamed|was price",
            "unit_price|retyped|numeric, was text",
            "total|blocked|cannot be called received_at, as another column is",
        ]
    );
    let discards = "SELECT row_id, column_name, column_value FROM shop.discards";
    assert_eq!(rows(&admin, discards).await, ["m2|unit_price|x"]);
    assert_eq!(ensure_one(&warehouse, wished).await.changed, [""; 0]);
    // Once nothing is wished, nothing is blocked.
    ensure_one(&warehouse, overridden(&[])).await;
    let blocked = "SELECT count(*) FROM trunkline.schema_changes WHERE change = 'blocked'";
    assert_eq!(value(&admin, blocked).await, "0");
    assert_eq!(
        ensure_one(&warehouse, overridden(&[])).await.changed,
        [""; 0]
    );
}

#[tokio::test]
async fn a_property_whose_name_an_override_has_taken_comes_in_when_that_goes() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let wished = overridden(&[("price", None, Some("total"))]);
    let bucket = ensure_one(&warehouse, wished.clone()).await.bucket;
    let mut relator = relator(&database).await;
    send(&admin, bucket, "shop", &order("m1", &json!({"price": 1}))).await;
    settle(&mut relator, &admin).await;
    send(
        &admin,
        bucket,
        "shop",
        &order("m2", &json!({"price": 2, "total": 9})),
    )
    .await;
    settle(&mut relator, &admin).await;
    assert_eq!(shown(&admin).await, ["total numeric"]);
    assert_eq!(
        value(&admin, "SELECT sum(total) FROM shop.order_completed").await,
        "3"
    );
    let left_out = [
        "total|overflow|[\"properties\",\"total\"]: spec.warehouse.overrides calls \
                     another column so",
    ];
    assert_eq!(told(&admin).await, left_out);
    let kept = ensure_one(&warehouse, wished).await;
    assert_eq!((kept.changed, kept.notes.len()), (vec![], 1));

    ensure_one(&warehouse, overridden(&[("price", None, Some("cost"))])).await;
    settle(&mut relator, &admin).await;
    assert_eq!(shown(&admin).await, ["cost numeric", "total numeric"]);
    let sums = "SELECT sum(cost), sum(total) FROM shop.order_completed";
    assert_eq!(value(&admin, sums).await, "3|9");
    assert_eq!(told(&admin).await, ["cost|renamed|was total"]);
}

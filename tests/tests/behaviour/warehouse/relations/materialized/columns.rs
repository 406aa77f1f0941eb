//! Relations that change: columns that are new, other names and types, pinned sources, another layout.

use serde_json::json;
use trunkline_warehouse::{ColumnOverride, ColumnType, WarehouseLayout};

use super::twins::*;

fn column(column: &str, sql_type: Option<ColumnType>, name: Option<&str>) -> ColumnOverride {
    ColumnOverride {
        relation: "order_completed".to_owned(),
        column: column.to_owned(),
        sql_type,
        name: name.map(str::to_owned),
    }
}

/// When the partitions of `order_completed` were filled.
async fn made(twins: &Twins) -> Vec<String> {
    let sql = "SELECT p.id FROM trunkline.materialized_partitions p \
               JOIN trunkline.materialized_tables t ON t.name = p.table_name \
               WHERE t.relation = 'order_completed' ORDER BY p.id";
    rows(&twins.admin, sql).await
}

#[tokio::test]
async fn a_column_that_is_new_makes_nothing_anew_where_no_event_has_it() {
    let mut twins = Twins::new(&[5, 4]).await;
    for day in [5, 4] {
        twins
            .receive(
                day,
                &track(
                    "Order Completed",
                    &format!("o{day}"),
                    &json!({"total": day}),
                ),
            )
            .await;
        // Not noted as long as nobody has seen it, though it is there.
        let hidden = track(
            "Order Completed",
            &format!("h{day}"),
            &json!({"hidden": "there"}),
        );
        twins.receive(day, &hidden).await;
    }
    let forget = "DELETE FROM trunkline.shapes WHERE path @> ARRAY['hidden']";
    twins.admin.batch_execute(forget).await.unwrap();
    twins.settle().await;
    twins.keep().await;
    let all = twins.parts("order_completed").await;
    assert!(all >= 2);
    let first = made(&twins).await;

    // Nobody has looked for keys yet, and so it reads events until somebody has.
    let coupon = track(
        "Order Completed",
        "n1",
        &json!({"coupon": "x", "deep": {"er": 1}}),
    );
    twins.receive(0, &coupon).await;
    twins.settle().await;
    twins.compare().await;
    assert_eq!(twins.parts("order_completed").await, 0);
    assert_eq!(twins.parts("tracks").await, all);
    twins.keep().await;
    assert_eq!(twins.parts("order_completed").await, all);
    assert_eq!(made(&twins).await, first);

    // From then on at once.
    let gift = track(
        "Order Completed",
        "n2",
        &json!({"gift": true, "deep": {"est": 2}}),
    );
    twins.receive(0, &gift).await;
    twins.settle().await;
    assert_eq!(twins.parts("order_completed").await, all);
    twins.compare().await;

    // What is there in partitions that are over is made anew.
    twins
        .receive(
            0,
            &track("Order Completed", "n3", &json!({"hidden": "seen"})),
        )
        .await;
    twins.settle().await;
    twins.compare().await;
    assert!(twins.parts("order_completed").await < all);
    twins.keep().await;
    assert_eq!(twins.parts("order_completed").await, all);
    assert_ne!(made(&twins).await, first);
    let there = "SELECT count(*) FROM shop.order_completed WHERE hidden = 'there'";
    assert_eq!(value(&twins.admin, there).await, "2");
}

#[tokio::test]
async fn names_and_types_follow_overrides_and_another_spelling_joins() {
    let mut twins = Twins::new(&[5, 4]).await;
    for day in [5, 4] {
        let sent = json!({"price": "12.50", "sku": 7, "total": day, "at": "2026-11-24T10:00:00Z"});
        twins
            .receive(day, &track("Order Completed", &format!("o{day}"), &sent))
            .await;
        let other = json!({"firstName": "a", "price": "free"});
        twins
            .receive(day, &track("Order Completed", &format!("p{day}"), &other))
            .await;
        let traits = json!({"plan": "pro"});
        twins
            .receive(
                day,
                &identify("ada", &format!("i{day}"), "2026-11-01T10:00:00Z", &traits),
            )
            .await;
        // An event of another name that is shown by the same relation once it is noted.
        twins
            .receive(
                day,
                &track("orderCompleted", &format!("q{day}"), &json!({"total": 1})),
            )
            .await;
    }
    let forget = "DELETE FROM trunkline.shapes WHERE event = 'orderCompleted'";
    twins.admin.batch_execute(forget).await.unwrap();
    twins.settle().await;
    twins.keep().await;
    let all = twins.parts("order_completed").await;

    // A name alone reads what it read.
    let renamed = [
        column("total", None, Some("sum")),
        column("sku", None, Some("total")),
    ];
    twins
        .ensure(WarehouseLayout::Segment, &shaping(&renamed, false))
        .await;
    assert_eq!(twins.parts("order_completed").await, all);
    twins.compare().await;
    // A type does not, until it is made anew.
    let retyped = [
        column("price", Some(ColumnType::Numeric), Some("unit_price")),
        column("at", Some(ColumnType::Jsonb), None),
    ];
    twins
        .ensure(WarehouseLayout::Segment, &shaping(&retyped, false))
        .await;
    assert_eq!(twins.parts("order_completed").await, 0);
    twins.keep().await;
    assert_eq!(twins.parts("order_completed").await, all);
    // Of `users` and `identifies` each has its own, from one table.
    let of_users = [ColumnOverride {
        relation: "users".to_owned(),
        ..column("plan", Some(ColumnType::Jsonb), None)
    }];
    twins
        .ensure(WarehouseLayout::Segment, &shaping(&of_users, false))
        .await;
    twins.compare().await;
    assert_eq!(twins.parts("users").await, 0);
    assert_eq!(twins.parts("identifies").await, all);
    twins.keep().await;
    assert_eq!(
        [twins.parts("users").await, twins.parts("identifies").await],
        [all, all]
    );

    // Another spelling of a property, and of the event.
    let spelled = track("Order Completed", "n1", &json!({"first_name": "b"}));
    twins.receive(0, &spelled).await;
    twins.settle().await;
    twins.compare().await;
    twins
        .receive(0, &track("orderCompleted", "n2", &json!({"total": 1})))
        .await;
    twins.settle().await;
    twins.compare().await;
    assert_eq!(twins.parts("order_completed").await, 0);
    twins.keep().await;
    assert_eq!(twins.parts("order_completed").await, all);
    let both = "SELECT count(DISTINCT event_text), count(*) FROM shop.order_completed";
    assert_eq!(value(&twins.admin, both).await, "2|8");
}

#[tokio::test]
async fn a_source_that_is_pinned_or_has_another_layout_shows_the_same() {
    let mut twins = Twins::new(&[5]).await;
    twins
        .receive(
            5,
            &track("Order Completed", "o1", &json!({"total": 1, "tags": ["a"]})),
        )
        .await;
    let group = json!({"type": "group", "groupId": "g", "messageId": "g1", "traits": {"seats": 1}});
    twins.receive(5, &group).await;
    twins.settle().await;
    twins.keep().await;
    let all = twins.parts("order_completed").await;
    twins
        .ensure(WarehouseLayout::Segment, &shaping(&[], true))
        .await;
    twins
        .receive(
            0,
            &track("Order Completed", "o2", &json!({"total": 2, "coupon": "x"})),
        )
        .await;
    twins.settle().await;
    assert_eq!(twins.parts("order_completed").await, all);
    twins.keep().await;
    twins
        .ensure(WarehouseLayout::Segment, &shaping(&[], false))
        .await;
    twins.settle().await;
    twins.keep().await;
    assert_eq!(twins.parts("order_completed").await, all);

    twins
        .ensure(WarehouseLayout::Rudderstack, &shaping(&[], false))
        .await;
    twins.settle().await;
    assert_eq!(twins.read_from_tables().await, [""; 0]);
    twins.keep().await;
    assert_eq!(twins.parts("order_completed").await, all);
    assert_eq!(twins.parts("accounts").await, 0);
    twins
        .ensure(WarehouseLayout::None, &shaping(&[], false))
        .await;
    twins.keep().await;
    assert_eq!(twins.tables().await, 0);
}

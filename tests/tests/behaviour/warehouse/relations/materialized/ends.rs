//! What ends: a partition by retention or by hand, the wish, the source, and the work at any moment.

use std::num::NonZeroU16;
use std::time::Duration;

use serde_json::json;
use trunkline_warehouse::{DesiredSource, PendingReason, WarehouseLayout};

use super::twins::*;

async fn filled(days: &[i32]) -> Twins {
    let mut twins = Twins::new(days).await;
    for day in days {
        for n in 0..20 {
            let id = format!("o{day}-{n}");
            twins
                .receive(*day, &track("Order Completed", &id, &json!({"total": n})))
                .await;
        }
        let traits = json!({"plan": format!("p{day}")});
        twins
            .receive(
                *day,
                &identify("ada", &format!("i{day}"), "2026-11-01T10:00:00Z", &traits),
            )
            .await;
    }
    twins.settle().await;
    twins
}

#[tokio::test]
async fn a_partition_that_is_dropped_takes_its_copies_with_it_and_waits_for_readers() {
    let twins = filled(&[9, 4, 3]).await;
    twins.keep().await;
    let before = (twins.parts("tracks").await, twins.tables().await);
    let kept = ["shop", "plain"].map(|name| DesiredSource {
        retention_days: NonZeroU16::new(6),
        ..related(name, WarehouseLayout::Segment)
    });
    let drop_expired = async || {
        let main = cluster("default/main");
        twins.warehouse.drop_expired(&main, &kept).await.unwrap()
    };
    let reader = twins.database.admin().await;
    let read = "BEGIN; SELECT count(*) FROM shop.tracks";
    reader.batch_execute(read).await.unwrap();
    let report = drop_expired().await;
    let [pending] = &report.pending[..] else {
        panic!("{report:?}")
    };
    assert_eq!(pending.reason, PendingReason::Locked);
    let of_shop = "SELECT count(*) FROM shop.tracks WHERE id LIKE 'o9-%'";
    assert_eq!(value(&twins.admin, of_shop).await, "20");
    reader.batch_execute("COMMIT").await.unwrap();
    let report = drop_expired().await;
    assert_eq!(report.pending, []);
    twins.compare().await;
    assert_eq!(value(&twins.admin, of_shop).await, "0");
    assert_eq!(twins.parts("tracks").await, before.0 - 1);
    // Of all relations but `discards`, `users` and `accounts`.
    assert_eq!(twins.tables().await, before.1 - 8);
    twins.keep().await;
    assert_eq!(twins.parts("tracks").await, before.0 - 1);

    // One that an administrator takes out stays out, at the latest when somebody looks.
    for bucket in twins.buckets {
        let day = "SELECT to_char((now() AT TIME ZONE 'UTC')::date - 4, 'YYYYMMDD')";
        let leaf = format!("bucket_{bucket}_{}", value(&twins.admin, day).await);
        let detach = format!(
            "ALTER TABLE trunkline_data.bucket_{bucket} DETACH PARTITION trunkline_data.{leaf}"
        );
        twins.admin.batch_execute(&detach).await.unwrap();
    }
    twins.warehouse.upkeep().await.unwrap();
    twins.compare().await;
    assert_eq!(twins.parts("tracks").await, before.0 - 2);
}

#[tokio::test]
async fn a_table_gains_nothing_while_somebody_reads_a_view_of_all_of_it() {
    let mut twins = filled(&[9]).await;
    twins.keep().await;
    let before = twins.parts("tracks").await;
    let wholes = "SELECT count(*) FROM trunkline.relations WHERE materialized IS NOT NULL \
                  AND NOT (materialized ->> 'whole')::boolean";
    assert_eq!(value(&twins.admin, wholes).await, "0");

    for bucket in twins.buckets {
        past_leaf(&twins.admin, bucket, 4).await;
    }
    for (event, id) in [("Order Completed", "o4"), ("Order Shipped", "s4")] {
        twins
            .receive(4, &track(event, id, &json!({"total": 4})))
            .await;
    }
    twins.settle().await;
    let reader = twins.database.admin().await;
    let read = "BEGIN; SELECT count(*) FROM shop.tracks";
    reader.batch_execute(read).await.unwrap();
    let report = twins.warehouse.upkeep().await.unwrap();
    assert!(!report.pending.is_empty(), "{report:?}");
    twins.compare().await;
    twins.compare_as(&reader).await;
    assert_eq!(twins.parts("tracks").await, before);
    assert_eq!(twins.parts("order_completed").await, before + 1);
    reader.batch_execute("COMMIT").await.unwrap();

    twins.keep().await;
    assert_eq!(twins.parts("tracks").await, before + 1);
    assert_eq!(value(&twins.admin, wholes).await, "0");
}

#[tokio::test]
async fn when_nobody_wants_it_any_more_the_tables_go_once_no_view_reads_them() {
    let mut twins = filled(&[4, 3]).await;
    twins.keep().await;
    assert!(twins.tables().await > 20);
    let reader = twins.database.admin().await;
    let read = "BEGIN; SELECT count(*) FROM shop.pages";
    reader.batch_execute(read).await.unwrap();
    let unwanted = ["shop", "plain"].map(|name| DesiredSource {
        shaping: Some(shaping(&[], false)),
        ..related(name, WarehouseLayout::Segment)
    });
    for result in ensure(&twins.warehouse, &unwanted).await {
        result.unwrap();
    }
    twins.compare().await;
    assert_eq!(twins.read_from_tables().await.len(), 1);
    twins.keep().await;
    assert!(twins.tables().await > 0);
    reader.batch_execute("COMMIT").await.unwrap();
    for result in ensure(&twins.warehouse, &unwanted).await {
        assert_eq!(result.unwrap().pending, []);
    }
    assert_eq!(twins.read_from_tables().await, [""; 0]);
    twins.keep().await;
    assert_eq!(twins.tables().await, 0);
    let left = "SELECT count(*) FROM trunkline.materialized_tables";
    assert_eq!(value(&twins.admin, left).await, "0");
    // And back again.
    twins
        .ensure(WarehouseLayout::Segment, &shaping(&[], false))
        .await;
    twins.keep().await;
    assert!(twins.parts("tracks").await >= 2);
}

#[tokio::test]
async fn a_source_that_is_dropped_leaves_no_table() {
    let twins = filled(&[4, 3]).await;
    twins.keep().await;
    let (main, shop) = (cluster("default/main"), "default/shop".parse().unwrap());
    let dropped = twins.warehouse.drop_source(&main, &shop).await.unwrap();
    assert!(!dropped.leaves_rows);
    assert_eq!(twins.tables().await, 0);
    let left = "SELECT count(*) FROM trunkline.materialized_tables";
    assert_eq!(value(&twins.admin, left).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_ends_anywhere_is_gone_on_with_and_two_do_the_work_of_one() {
    let twins = filled(&[6, 5, 4, 3]).await;
    for milliseconds in (20..).step_by(37).take(25) {
        let work = twins.warehouse.upkeep();
        let _ = tokio::time::timeout(Duration::from_millis(milliseconds), work).await;
        twins.compare().await;
    }
    let second = twins.database.warehouse().await;
    let (one, other) = tokio::join!(twins.warehouse.upkeep(), second.upkeep());
    one.unwrap();
    other.unwrap();
    twins.compare().await;
    // What one of them found in the other's hands.
    twins.keep().await;
    let yesterday = usize::from(is_yesterday_over(&twins.admin).await);
    assert_eq!(twins.parts("tracks").await, 4 + yesterday);
    let rows_of_table = "SELECT format('SELECT count(*) FROM trunkline_data.%I', name) \
                         FROM trunkline.materialized_tables WHERE relation = 'tracks'";
    let count = value(&twins.admin, rows_of_table).await;
    assert_eq!(value(&twins.admin, &count).await, "80");
}

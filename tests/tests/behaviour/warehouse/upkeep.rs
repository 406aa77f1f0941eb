//! Freezing what is closed and analyzing what is partitioned: once, without a wait.

use std::time::Duration;

use tokio_postgres::Client;
use trunkline_warehouse::{PendingReason, Report};

use super::harness::*;

/// Whether no row of a leaf can be looked at by a freezing vacuum again.
async fn is_frozen(client: &Client, leaf: &str) -> bool {
    let sql = format!(
        "SELECT coalesce(bool_and(age(e.xmin) > age(c.relfrozenxid)), true) \
         FROM trunkline_data.{leaf} e, pg_class c WHERE c.oid = 'trunkline_data.{leaf}'::regclass"
    );
    value(client, &sql).await == "t"
}

#[tokio::test]
async fn a_partition_whose_time_is_over_is_frozen_once_and_its_table_analyzed() {
    for options in ["SUPERUSER", ""] {
        let database = Database::new().await;
        let warehouse = warehouse(&database.owner(options).await).await;
        let admin = database.admin().await;
        warehouse.ensure_layout().await.unwrap();
        let bucket = ensure_one(&warehouse, source("shop")).await.bucket;
        let mut leaves = Vec::new();
        for age in [9, 3] {
            leaves.push(past_leaf(&admin, bucket, age).await);
            store_past(&admin, bucket, "default/shop", age).await;
        }
        store(&admin, bucket, "default/shop", 3).await;
        let today =
            format!("SELECT 'bucket_{bucket}_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')");
        let today = value(&admin, &today).await;
        assert!(!is_frozen(&admin, &leaves[0]).await && !is_frozen(&admin, &today).await);

        let yesterday = "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYYMMDD')";
        let yesterday = value(&admin, yesterday).await;
        let mut report = warehouse.upkeep().await.unwrap();
        // It is not over yet in the first minutes of a day.
        report.changed.retain(|step| !step.ends_with(&yesterday));
        assert_eq!(
            report.changed,
            [
                format!("freeze trunkline_data.{}", leaves[0]),
                format!("freeze trunkline_data.{}", leaves[1]),
                format!("analyze trunkline_data.bucket_{bucket}"),
            ]
        );
        assert_eq!(report.pending, []);
        for leaf in &leaves {
            assert!(is_frozen(&admin, leaf).await, "{leaf}");
        }
        assert!(!is_frozen(&admin, &today).await);
        // With those of bodies, events would be sorted to group them by a property.
        let known = format!(
            "SELECT attname FROM pg_stats WHERE schemaname = 'trunkline_data' \
             AND tablename = 'bucket_{bucket}' AND inherited \
             AND attname IN ('source', 'body_json', 'headers')"
        );
        assert_eq!(rows(&admin, &known).await, ["source"]);
        // The server's report of it comes a moment later.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(warehouse.upkeep().await.unwrap(), Report::default());

        // One that comes later, and what is gone is forgotten.
        admin
            .batch_execute(&format!("DROP TABLE trunkline_data.{}", leaves[0]))
            .await
            .unwrap();
        let late = past_leaf(&admin, bucket, 5).await;
        let report = warehouse.upkeep().await.unwrap();
        assert_eq!(report.changed, [format!("freeze trunkline_data.{late}")]);
        let known = "SELECT partition::regclass FROM trunkline.frozen_partitions ORDER BY 1";
        let mut known = rows(&admin, known).await;
        known.retain(|table| !table.ends_with(&yesterday));
        let expected = [&leaves[1], &late].map(|leaf| format!("trunkline_data.{leaf}"));
        assert_eq!(known, expected);
    }
}

#[tokio::test]
async fn one_that_somebody_else_maintains_comes_later_and_who_gives_up_leaves_nothing_running() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, source("shop")).await.bucket;
    let busy = past_leaf(&admin, bucket, 9).await;
    let free = past_leaf(&admin, bucket, 3).await;
    let other = database.admin().await;
    other
        .batch_execute(&format!(
            "BEGIN; LOCK TABLE trunkline_data.{busy} IN SHARE UPDATE EXCLUSIVE MODE"
        ))
        .await
        .unwrap();

    let cut_short = tokio::time::timeout(Duration::from_millis(500), warehouse.upkeep()).await;
    assert!(cut_short.is_err());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND state = 'active' AND query LIKE 'VACUUM%'";
    assert_eq!(value(&admin, running).await, "0");

    let report = warehouse.upkeep().await.unwrap();
    let waiting: Vec<_> = report.pending.iter().map(|step| &step.reason).collect();
    assert!(
        report
            .changed
            .contains(&format!("freeze trunkline_data.{free}")),
        "{report:?}"
    );
    assert!(
        waiting
            .iter()
            .all(|reason| **reason == PendingReason::Locked)
    );
    assert!(!waiting.is_empty(), "{report:?}");
    other.batch_execute("COMMIT").await.unwrap();
    let report = warehouse.upkeep().await.unwrap();
    assert!(
        report
            .changed
            .contains(&format!("freeze trunkline_data.{busy}")),
        "{report:?}"
    );
    assert_eq!(report.pending, []);
}

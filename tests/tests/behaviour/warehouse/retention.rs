//! Retention: what goes, what stays, and what a dropping that was cut short becomes.

use std::num::NonZeroU16;

use tokio::task::JoinSet;
use tokio_postgres::Client;
use trunkline_warehouse::{DesiredSource, PendingReason, Report, Warehouse};

use super::harness::*;

/// The source `default/<name>` with a retention.
fn kept(name: &str, days: u16) -> DesiredSource {
    DesiredSource {
        retention_days: NonZeroU16::new(days),
        ..source(name)
    }
}

async fn drop_expired(warehouse: &Warehouse, desired: &[DesiredSource]) -> Report {
    warehouse
        .drop_expired(&cluster("default/main"), desired)
        .await
        .unwrap()
}

async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// The ages in days of the leaves of a bucket that are attached and before yesterday.
async fn ages(client: &Client, bucket: i32) -> Vec<String> {
    let sql = format!(
        "SELECT (now() AT TIME ZONE 'UTC')::date - right(c.relname, 8)::date AS age \
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'trunkline_data.bucket_{bucket}'::regclass AND NOT i.inhdetachpending \
         AND right(c.relname, 8)::date < (now() AT TIME ZONE 'UTC')::date - 1 ORDER BY 1"
    );
    rows(client, &sql).await
}

/// What the catalog says of droppings: the partition and whether it is gone.
async fn catalog(client: &Client) -> Vec<String> {
    rows(
        client,
        "SELECT partition, dropped_at IS NOT NULL FROM trunkline.dropped_partitions \
         ORDER BY range_end, bucket",
    )
    .await
}

/// Whether a leaf is there, attached or not.
async fn exists(client: &Client, leaf: &str) -> bool {
    let sql = format!("SELECT to_regclass('trunkline_data.{leaf}') IS NOT NULL");
    value(client, &sql).await == "t"
}

/// Leaves a leaf half out of its bucket, as a crash does.
async fn begin_detach(database: &Database, bucket: i32, leaf: &str) {
    let (holder, ddl) = (database.admin().await, database.admin().await);
    run(
        &holder,
        &format!("BEGIN; SELECT count(*) FROM trunkline_data.bucket_{bucket}"),
    )
    .await;
    run(&ddl, "SET statement_timeout = '300ms'").await;
    let detach = format!(
        "ALTER TABLE trunkline_data.bucket_{bucket} DETACH PARTITION trunkline_data.{leaf} CONCURRENTLY"
    );
    assert_eq!(sqlstate(&ddl, &detach).await, "57014");
    run(&holder, "COMMIT").await;
}

#[tokio::test]
async fn a_day_goes_once_all_of_it_is_older_and_whatever_the_session_calls_it() {
    for options in ["SUPERUSER", "CREATEROLE", ""] {
        let database = Database::new().await;
        let url = database.owner(options).await;
        let admin = database.admin().await;
        run(
            &admin,
            &format!(
                "ALTER ROLE owner_{0} SET timezone = 'America/New_York'; \
                 ALTER ROLE owner_{0} SET datestyle = 'German'",
                database.name
            ),
        )
        .await;
        let warehouse = warehouse(&url).await;
        warehouse.ensure_layout().await.unwrap();
        let bucket = ensure_one(&warehouse, kept("shop", 2)).await.bucket;
        let mut leaves = Vec::new();
        for age in [2, 3, 40] {
            leaves.push(past_leaf(&admin, bucket, age).await);
            store_past(&admin, bucket, "default/shop", age).await;
        }
        let count = "SELECT count(*) FROM shop.events";
        assert_eq!(value(&admin, count).await, "3");

        let report = drop_expired(&warehouse, &[kept("shop", 2)]).await;
        let dropped = |leaf: &String| {
            format!("drop trunkline_data.{leaf} of source default/shop, older than its retention")
        };
        assert_eq!(report.changed, [dropped(&leaves[2]), dropped(&leaves[1])]);
        assert_eq!(report.pending, []);
        assert_eq!(ages(&admin, bucket).await, ["2"]);
        assert_eq!(value(&admin, count).await, "1");
        assert!(!exists(&admin, &leaves[1]).await && !exists(&admin, &leaves[2]).await);
        let entries = "SELECT partition, retention_days, bytes > 0, range_end - range_start, \
                       range_end = date_trunc('day', now(), 'UTC') - interval '1 day' * age \
                       FROM trunkline.dropped_partitions, unnest(ARRAY[2, 39]) age \
                       WHERE range_end > now() - interval '24 hours' * (age + 1) \
                       AND range_end <= now() - interval '24 hours' * age \
                       AND dropped_at >= begun_at ORDER BY range_end";
        let entry = |leaf: &String| format!("{leaf}|2|t|1 day|t");
        assert_eq!(
            rows(&admin, &format!("SET timezone = 'UTC'; {entries}")).await,
            [entry(&leaves[2]), entry(&leaves[1])]
        );
        // The next look has nothing to do, and ingestion went on.
        assert_eq!(
            drop_expired(&warehouse, &[kept("shop", 2)]).await,
            Report::default()
        );
        store(&admin, bucket, "default/shop", 1).await;
        assert_eq!(
            ensure_one(&warehouse, kept("shop", 2)).await.changed,
            Vec::<String>::new()
        );

        // A shorter one drops at the next look; it goes with its entries when the source goes.
        let report = drop_expired(&warehouse, &[kept("shop", 1)]).await;
        assert_eq!(report.changed, [dropped(&leaves[0])]);
        let (main, shop) = (cluster("default/main"), "default/shop".parse().unwrap());
        warehouse.drop_source(&main, &shop).await.unwrap();
        assert_eq!(catalog(&admin).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_month_and_an_hour_go_as_a_whole_too() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, kept("shop", 2)).await.bucket;
    // Two that are older and one that ends too late: its last hour is not two days old yet.
    let sql = format!(
        "SELECT 'bucket_{bucket}_' || to_char(s, f), s, e FROM \
         date_trunc('hour', now() AT TIME ZONE 'UTC') AS hour, LATERAL (VALUES \
         ('YYYYMM', date_trunc('month', hour) - interval '2 months', \
         date_trunc('month', hour) - interval '1 month'), \
         ('YYYYMMDDHH24', hour - interval '72 hours', hour - interval '71 hours'), \
         ('YYYYMMDDHH24', hour - interval '71 hours', hour - interval '47 hours')) AS leaf(f, s, e)"
    );
    let mut leaves = Vec::new();
    for line in rows(&admin, &sql).await {
        let [leaf, start, end] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        run(
            &admin,
            &format!(
                "CREATE TABLE trunkline_data.{leaf} PARTITION OF trunkline_data.bucket_{bucket} \
                 FOR VALUES FROM ('{start}+00') TO ('{end}+00')"
            ),
        )
        .await;
        leaves.push(leaf.to_owned());
    }
    let report = drop_expired(&warehouse, &[kept("shop", 2)]).await;
    assert_eq!(report.changed.len(), 2, "{report:?}");
    for (leaf, stays) in leaves.iter().zip([false, false, true]) {
        assert_eq!(exists(&admin, leaf).await, stays, "{leaf}");
    }
}

#[tokio::test]
async fn what_has_no_retention_or_is_not_desired_stays() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let all = [source("ever"), kept("gone", 1), kept("shop", 1)];
    let mut buckets = Vec::new();
    for result in ensure(&warehouse, &all).await {
        let bucket = result.unwrap().bucket;
        past_leaf(&admin, bucket, 500).await;
        buckets.push(bucket);
    }
    // Deleted with its rows retained, and even as if somebody still asked for it.
    ensure(&warehouse, &[all[0].clone(), all[2].clone()]).await;
    let other = warehouse
        .drop_expired(&cluster("default/other"), &all)
        .await;
    assert_eq!(other.unwrap(), Report::default());
    let report = drop_expired(&warehouse, &all).await;
    assert_eq!(report.changed.len(), 1, "{report:?}");
    assert_eq!(ages(&admin, buckets[0]).await, ["500"]);
    assert_eq!(ages(&admin, buckets[1]).await, ["500"]);
    assert_eq!(ages(&admin, buckets[2]).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_cut_short_is_ended_and_what_others_detached_stays() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, kept("shop", 90)).await.bucket;
    let mut leaves = Vec::new();
    for age in [100, 101, 102, 103, 104] {
        leaves.push(past_leaf(&admin, bucket, age).await);
    }
    let [attached, pending, detached, foreign, foreign_pending] = &leaves[..] else {
        panic!("{leaves:?}")
    };
    let record = |leaf: &str| {
        format!(
            "INSERT INTO trunkline.dropped_partitions \
             (bucket, partition, range_start, range_end, bytes, retention_days) \
             VALUES ({bucket}, '{leaf}', now() - interval '1 day', now(), 0, 90)"
        )
    };
    let detach = |leaf: &str| {
        format!(
            "ALTER TABLE trunkline_data.bucket_{bucket} DETACH PARTITION trunkline_data.{leaf} CONCURRENTLY"
        )
    };
    for leaf in [attached, pending, detached] {
        run(&admin, &record(leaf)).await;
    }
    for leaf in [detached, foreign] {
        run(&admin, &detach(leaf)).await;
    }
    begin_detach(&database, bucket, pending).await;

    // The retention is longer by now: only what was begun is ended.
    let report = drop_expired(&warehouse, &[kept("shop", 9_999)]).await;
    assert_eq!(report.changed.len(), 2, "{report:?}");
    for (leaf, stays) in [
        (attached, true),
        (pending, false),
        (detached, false),
        (foreign, true),
    ] {
        assert_eq!(exists(&admin, leaf).await, stays, "{leaf}");
    }
    assert_eq!(ages(&admin, bucket).await, ["100", "104"]);

    // Another's dropping hangs in the way of ours: it is finished, and its table left alone.
    begin_detach(&database, bucket, foreign_pending).await;
    let report = drop_expired(&warehouse, &[kept("shop", 90)]).await;
    assert_eq!(report.changed.len(), 1, "{report:?}");
    assert_eq!(ages(&admin, bucket).await, Vec::<String>::new());
    for (leaf, stays) in [(attached, false), (foreign, true), (foreign_pending, true)] {
        assert_eq!(exists(&admin, leaf).await, stays, "{leaf}");
    }
}

#[tokio::test]
async fn a_reader_and_a_dependant_keep_their_own_partition_and_no_other() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let all = ["shop", "view", "web"].map(|name| kept(name, 90));
    let mut leaves = Vec::new();
    for result in ensure(&warehouse, &all).await {
        let bucket = result.unwrap().bucket;
        leaves.push(past_leaf(&admin, bucket, 100).await);
        store_past(&admin, bucket, "of the test", 100).await;
    }
    run(
        &admin,
        &format!(
            "CREATE VIEW public.raw AS SELECT raw FROM trunkline_data.{}",
            leaves[1]
        ),
    )
    .await;
    let analyst = database.admin().await;
    run(
        &analyst,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shop.events",
    )
    .await;

    let report = drop_expired(&warehouse, &all).await;
    assert_eq!(report.changed.len(), 1, "{report:?}");
    assert!(report.changed[0].contains(&leaves[2]), "{report:?}");
    let reasons: Vec<_> = report.pending.into_iter().map(|step| step.reason).collect();
    let dependants = PendingReason::Dependants("view public.raw".to_owned());
    assert_eq!(reasons, [PendingReason::Locked, dependants.clone()]);
    let entries = catalog(&admin).await;
    let gone: Vec<_> = entries.iter().filter(|line| line.ends_with("|t")).collect();
    assert_eq!(gone, [&format!("{}|t", leaves[2])]);
    // Senders write meanwhile, and the reader's snapshot has all that it had.
    store(&admin, 1, "default/shop", 1).await;
    let count = "SELECT count(*) FROM shop.events WHERE received_at < now() - interval '9 days'";
    assert_eq!(value(&analyst, count).await, "1");

    run(&analyst, "COMMIT").await;
    run(&admin, "DROP VIEW public.raw").await;
    let report = drop_expired(&warehouse, &all).await;
    assert_eq!((report.changed.len(), report.pending.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_at_once_drop_each_partition_once() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, kept("shop", 7)).await.bucket;
    for age in 10..16 {
        past_leaf(&admin, bucket, age).await;
    }
    let mut runs = JoinSet::new();
    for _ in 0..4 {
        let warehouse = database.warehouse().await;
        runs.spawn(async move { drop_expired(&warehouse, &[kept("shop", 7)]).await });
    }
    let reports = runs.join_all().await;
    let mut changed: Vec<_> = reports.into_iter().flat_map(|run| run.changed).collect();
    changed.extend(drop_expired(&warehouse, &[kept("shop", 7)]).await.changed);
    changed.sort();
    let steps = changed.len();
    changed.dedup();
    assert_eq!((changed.len(), steps), (6, 6), "{changed:?}");
    assert_eq!(ages(&admin, bucket).await, Vec::<String>::new());
}

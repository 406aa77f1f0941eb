//! The layout: created, found as it is, migrated, repaired, refused.

use tokio::task::JoinSet;
use trunkline_model::columns::COLUMNS;
use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::{Error, Report, Roles};

use super::harness::*;

#[tokio::test]
async fn an_empty_database_becomes_ready() {
    let database = Database::new().await;
    let admin = database.admin().await;
    // Bounds are midnight in UTC whatever a session's time zone.
    let zone = format!(
        "ALTER DATABASE {} SET TimeZone = 'Asia/Kolkata'",
        database.name
    );
    admin.batch_execute(&zone).await.unwrap();
    let warehouse = database.prepared().await;
    let shop = ensure_one(&warehouse, source("shop")).await;
    let admin = database.admin().await;
    let tree = tree(&admin).await;
    assert!(
        tree.contains(&"trunkline.events|-|-".to_owned()),
        "{tree:?}"
    );
    let bucket = format!("trunkline_data.bucket_{}", shop.bucket);
    let attached = format!("{bucket}|trunkline.events|FOR VALUES IN ({})", shop.bucket);
    assert!(tree.contains(&attached), "{tree:?}");
    let leaves = tree
        .iter()
        .filter(|line| line.contains(&format!("|{bucket}|")))
        .count();
    assert_eq!(leaves, 9);
    assert!(
        !tree.iter().any(|line| line.contains("DEFAULT")),
        "{tree:?}"
    );

    let today = value(
        &admin,
        &format!(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = ('{bucket}_' || \
             to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'))::regclass"
        ),
    )
    .await;
    assert_eq!(today.matches("05:30:00+05:30").count(), 2, "{today}");

    let leaf = value(
        &admin,
        &format!(
            "SELECT reloptions::text || (SELECT string_agg(indexdef, '') FROM pg_indexes \
             WHERE schemaname = 'trunkline_data' AND tablename = relname) FROM pg_class \
             WHERE relname LIKE 'bucket_{}_%' AND relkind = 'r' LIMIT 1",
            shop.bucket
        ),
    )
    .await;
    assert!(
        leaf.starts_with(
            "{autovacuum_freeze_min_age=0,autovacuum_vacuum_insert_scale_factor=0,\
             autovacuum_vacuum_insert_threshold=10000}CREATE INDEX"
        ),
        "{leaf}"
    );
    assert!(leaf.ends_with("USING btree (received_at)"), "{leaf}");
    let compressed = format!(
        "SELECT coalesce(string_agg(attname, ',' ORDER BY attname), '') FROM pg_attribute \
         WHERE attcompression = 'l' AND attrelid = ('{bucket}_' || \
         to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'))::regclass"
    );
    let has_lz4 = "SELECT 'lz4' = ANY (enumvals) FROM pg_settings \
                   WHERE name = 'default_toast_compression'";
    let expected = match &*value(&admin, has_lz4).await {
        "t" => "body_json,body_text,header_values,headers,raw",
        _ => "",
    };
    assert_eq!(value(&admin, &compressed).await, expected);
}

#[tokio::test]
async fn a_second_run_writes_nothing() {
    // A server of its own: nothing else on it may take a transaction id.
    let server = server(&[("autovacuum", "off")]).await;
    let database = Database::on(&server).await;
    let admin = database.admin().await;
    let password = SecretBytes::new("p");
    let mut desired = [source_with("shop", &["x-shop"]), source("web")];
    desired[0].readers = vec!["analyst".to_owned()];
    desired[0].views = Some(own_views(&["orders", "totals"]));
    admin
        .batch_execute("CREATE ROLE analyst; CREATE ROLE loader")
        .await
        .unwrap();
    let main = cluster("default/main");
    let run = async |roles: Roles| {
        // A new process each time.
        let warehouse = database.warehouse().await;
        let mut report = warehouse.ensure_layout().await.unwrap();
        let ingest = warehouse.ensure_ingest(Some(roles), &password);
        let roles = Some(&ingest.await.unwrap().roles);
        let results = warehouse.ensure_sources(&main, &desired, &[], roles);
        for (_, result) in results.await.unwrap() {
            let result = result.unwrap();
            assert_eq!(result.warnings, Vec::<String>::new());
            assert_eq!(result.views, Vec::<String>::new());
            report.changed.extend(result.changed);
        }
        report
            .changed
            .extend(warehouse.maintain().await.unwrap().changed);
        report
    };
    let next_id = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let mut before = String::new();
    let ingest_role = "loader".to_owned();
    for roles in [
        Roles::Provided { ingest_role },
        Roles::Managed,
        Roles::Owner,
    ] {
        let changed = run(roles.clone()).await.changed;
        assert_eq!(changed.is_empty(), roles == Roles::Owner, "{changed:?}");
        before = value(&admin, next_id).await;
        assert_eq!(run(roles.clone()).await, Report::default(), "{roles:?}");
        assert_eq!(
            value(&admin, next_id).await,
            before,
            "a transaction id was assigned with {roles:?}"
        );
    }
    // The measure is not blind.
    admin
        .batch_execute("COMMENT ON SCHEMA shop IS NULL")
        .await
        .unwrap();
    assert_ne!(value(&admin, next_id).await, before);
    server.stop().await;
}

#[tokio::test]
async fn an_unchanged_desire_costs_the_same_few_queries_for_any_number_of_sources() {
    let server = server(&[("log_statement", "all")]).await;
    let database = Database::on(&server).await;
    let warehouse = database.prepared().await;
    let queries = || {
        let log = std::fs::read_to_string(server.log_path()).unwrap();
        log.matches("execute <unnamed>:").count()
    };
    let many: Vec<_> = (0..12).map(|n| source(&format!("s{n}"))).collect();
    let mut costs = Vec::new();
    for desired in [&many[..1], &many] {
        ensure(&warehouse, desired).await;
        let before = queries();
        for result in ensure(&warehouse, desired).await {
            assert_eq!(result.unwrap().changed, Vec::<String>::new());
        }
        costs.push(queries() - before);
    }
    // Version, settings and clock; catalog, shared buckets, schemas, roles and rights; layouts,
    // relations, their columns, names of events and what had no room; views of their own; partitions;
    // one comparison.
    assert_eq!(costs, [16, 16]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_at_once_do_the_work_of_one() {
    let alone = Database::new().await;
    let expected = everything(&alone.url).await;

    let database = Database::new().await;
    let mut runs = JoinSet::new();
    for _ in 0..8 {
        let url = database.url.clone();
        runs.spawn(async move { everything(&url).await });
    }
    let mut changed: Vec<_> = runs.join_all().await.into_iter().flatten().collect();
    changed.sort();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|step| step.replace(&alone.name, &database.name))
        .collect();
    expected.sort();
    assert_eq!(changed, expected, "a step was done twice or not at all");

    let without_name = async |database: &Database| tree(&database.admin().await).await;
    assert_eq!(
        without_name(&database).await.len(),
        without_name(&alone).await.len()
    );
}

/// What a process does at its start.
async fn everything(url: &str) -> Vec<String> {
    let warehouse = warehouse(url).await;
    let mut changed = warehouse.ensure_layout().await.unwrap().changed;
    warehouse
        .ensure_ingest(None, &SecretBytes::new("p"))
        .await
        .unwrap();
    // One source, so that the number of its bucket does not depend on who comes first.
    changed.extend(ensure_one(&warehouse, source("shop")).await.changed);
    changed.extend(warehouse.maintain().await.unwrap().changed);
    changed
}

/// A database as a program left it that knew all but the last two columns, and was stopped before
/// it attached its second source.
const OLDER: &str = include_str!("older_layout.sql");

#[tokio::test]
async fn an_older_layout_is_migrated_and_keeps_its_rows() {
    let database = Database::new().await;
    let admin = database.admin().await;
    admin.batch_execute(OLDER).await.unwrap();
    let row = "SELECT (source, received_at, delivery_id, message_id, body)::text FROM shop.events";
    let before = value(&admin, row).await;

    let warehouse = database.warehouse().await;
    let report = warehouse.ensure_layout().await.unwrap();
    assert_eq!(
        report.changed,
        [
            "create trunkline.readers (layout version 2)",
            "create trunkline.dropped_partitions (layout version 3)",
            "add column partition_by to trunkline.sources (layout version 4)",
            "create trunkline.frozen_partitions (layout version 5)",
            "create trunkline.source_statistics (layout version 6)",
            "create trunkline.rejections (layout version 7)",
            "create trunkline.shared_buckets (layout version 8)",
            "create trunkline.shapes (layout version 9)",
            "create trunkline.relations (layout version 10)",
            "create trunkline.own_views and safe casts (layout version 11)",
            "create trunkline.repeats (layout version 12)",
            "create trunkline.purges (layout version 13)",
            "let owners shape relations (layout version 14)",
            "create trunkline.seen_keys (layout version 15)",
            "create trunkline.materialized_tables (layout version 16)",
            "let sources ask for indexes, and times be read in parallel (layout version 17)",
            "remember partitions that cannot be indexed (layout version 18)",
            "let views read all of a materialised table (layout version 19)",
            "add column body_text to trunkline.events",
            "add column raw to trunkline.events",
            "add column unsettled to trunkline.events",
            "add column body_text to trunkline_data.bucket_2",
            "add column raw to trunkline_data.bucket_2",
            "add column unsettled to trunkline_data.bucket_2",
        ]
    );
    assert_eq!(warehouse.ensure_layout().await.unwrap(), Report::default());

    let results = ensure(&warehouse, &[source("shop"), source("web")]).await;
    for (result, bucket) in results.iter().zip([1, 2]) {
        assert_eq!(result.as_ref().unwrap().bucket, bucket);
    }
    let columns = rows(
        &admin,
        "SELECT attrelid::regclass, count(*) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid \
         WHERE attrelid::regclass::text ~ '^trunkline(_data)?\\.(events|bucket)' AND attnum > 0 \
         AND c.relkind IN ('r', 'p') AND NOT attisdropped GROUP BY 1",
    )
    .await;
    assert!(columns.len() > 20, "{columns:?}");
    for line in columns {
        assert!(line.ends_with(&format!("|{}", COLUMNS.len())), "{line}");
    }
    assert_eq!(value(&admin, row).await, before);
    // The view had no `raw`, and had a column for a header that is not wanted any more.
    let view = rows(
        &admin,
        "SELECT attname FROM pg_attribute WHERE attrelid = 'shop.events'::regclass ORDER BY attnum",
    )
    .await;
    assert_eq!(view.last().map(String::as_str), Some("raw"));
    assert_eq!(
        value(
            &admin,
            "SELECT relacl::text LIKE '%,=r/%' FROM pg_class WHERE oid = 'shop.events'::regclass"
        )
        .await,
        "t"
    );
    store(&admin, 1, "default/shop", 1).await;
    store(&admin, 2, "default/web", 1).await;
    assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "2");
    assert_eq!(value(&admin, "SELECT count(*) FROM web.events").await, "1");
}

#[tokio::test]
async fn a_newer_layout_is_refused_and_nothing_is_touched() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    admin
        .batch_execute(
            "INSERT INTO trunkline.layout (version) VALUES (1000); \
             ALTER TABLE trunkline.events DROP COLUMN raw; \
             DROP SCHEMA trunkline_data CASCADE",
        )
        .await
        .unwrap();
    let before = tree(&admin).await;

    let error = warehouse.ensure_layout().await.unwrap_err();
    assert!(
        matches!(error, Error::NewerLayout { found: 1000, .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("upgrade this program"),
        "{error}"
    );
    let main = cluster("default/main");
    assert!(
        warehouse
            .ensure_sources(&main, &[source("shop")], &[], None)
            .await
            .is_err()
    );
    assert!(warehouse.maintain().await.is_err());
    assert!(
        warehouse
            .ensure_ingest(None, &SecretBytes::new("p"))
            .await
            .is_err()
    );
    assert_eq!(tree(&admin).await, before);
    let schemas = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^trunkline|shop'";
    assert_eq!(rows(&admin, schemas).await, ["trunkline"]);
    let columns = value(
        &admin,
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'trunkline.events'::regclass \
         AND attnum > 0 AND NOT attisdropped",
    )
    .await;
    assert_eq!(columns, (COLUMNS.len() - 1).to_string());
}

#[tokio::test]
async fn someone_elses_schema_of_our_name_is_left_alone_until_it_is_handed_over() {
    for schema in ["trunkline", "trunkline_data"] {
        let database = Database::new().await;
        let admin = database.admin().await;
        admin
            .batch_execute(&format!("CREATE SCHEMA {schema}"))
            .await
            .unwrap();
        let warehouse = database.warehouse().await;

        let error = warehouse.ensure_layout().await.unwrap_err().to_string();
        assert_eq!(tree(&admin).await, Vec::<String>::new());
        let (_, fix) = error.split_once("run: ").unwrap();
        admin.batch_execute(fix).await.unwrap();
        warehouse.ensure_layout().await.unwrap();
        assert_eq!(tree(&admin).await.len(), 23);
    }
}

#[tokio::test]
async fn what_a_run_left_unfinished_is_finished_by_the_next() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let shop = ensure_one(&warehouse, source("shop")).await;
    let admin = database.admin().await;
    store(&admin, shop.bucket, "default/shop", 5).await;
    let finished = tree(&admin).await;
    let bucket = format!("trunkline_data.bucket_{}", shop.bucket);
    let day = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')";
    let leaf = format!("{bucket}_{}", value(&admin, day).await);

    // As after the step before the last: made and filled, not attached.
    let detach_leaf = format!("ALTER TABLE {bucket} DETACH PARTITION {leaf}");
    admin.batch_execute(&detach_leaf).await.unwrap();
    assert_eq!(
        warehouse.maintain().await.unwrap().changed,
        [format!("attach {leaf}")]
    );
    assert_eq!(tree(&admin).await, finished);

    let detach_bucket = format!("ALTER TABLE trunkline.events DETACH PARTITION {bucket}");
    admin
        .batch_execute(&format!("{detach_leaf}; {detach_bucket}"))
        .await
        .unwrap();
    let repaired = ensure_one(&warehouse, source("shop")).await;
    assert_eq!(
        repaired.changed,
        [format!("attach {leaf}"), format!("attach {bucket}")]
    );
    assert_eq!(tree(&admin).await, finished);
    assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "5");

    // A day that was never made.
    admin
        .batch_execute(&format!("{detach_leaf}; DROP TABLE {leaf}"))
        .await
        .unwrap();
    let steps = warehouse.maintain().await.unwrap().changed;
    assert_eq!(steps, [format!("create {leaf}"), format!("attach {leaf}")]);
    assert_eq!(tree(&admin).await, finished);
}

#[tokio::test]
async fn a_layout_whose_creation_was_cut_short_is_completed() {
    let database = Database::new().await;
    database.prepared().await;
    let admin = database.admin().await;
    let complete = tree(&admin).await;
    // As after the table of versions and before the first version.
    admin
        .batch_execute(
            "DROP VIEW trunkline.webhook_sources, trunkline.source_statistics, \
             trunkline.rejections; \
             DROP FUNCTION trunkline.number_of, trunkline.boolean_of, trunkline.time_of, \
             trunkline.timestamptz_or_null, trunkline.repeats, trunkline.unseen, \
             trunkline.keep_materialized; \
             DROP TABLE trunkline.own_views, trunkline.relation_columns, trunkline.relations, trunkline.event_names, \
             trunkline.schema_changes; \
             DROP TABLE trunkline_data.rejections, trunkline.dropped_partitions, \
             trunkline.frozen_partitions, trunkline.readers, trunkline.sources, \
             trunkline.shared_buckets, trunkline.shapes, trunkline.settled_partitions, \
             trunkline.purges, trunkline.seen_keys, trunkline.materialized_partitions, \
             trunkline.materialized_tables, trunkline.materialized_changes, trunkline.events; \
             DELETE FROM trunkline.layout",
        )
        .await
        .unwrap();
    let warehouse = database.warehouse().await;
    let unprepared = warehouse.maintain().await.unwrap_err();
    assert!(matches!(unprepared, Error::NoLayout), "{unprepared}");
    warehouse.ensure_layout().await.unwrap();
    assert_eq!(tree(&admin).await, complete);
}

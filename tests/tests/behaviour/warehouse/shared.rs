//! Sources that share a bucket: which do, what each of their readers sees, and how one of them goes.

use std::num::NonZeroU16;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::Client;
use trunkline_warehouse::{
    Census, DesiredSource, Dropped, PartitionBy, Report, SourceError, Storage, Warehouse,
};

use super::harness::*;

/// The source `default/<name>`, which shares a bucket with others of its retention.
fn sharing(name: &str, days: u16) -> DesiredSource {
    DesiredSource {
        storage: Some(Storage::Shared),
        retention_days: NonZeroU16::new(days),
        ..source(name)
    }
}

/// Ensures sources that all get a place, and returns the buckets.
async fn buckets(warehouse: &Warehouse, desired: &[DesiredSource]) -> Vec<i32> {
    let results = ensure(warehouse, desired).await.into_iter();
    results.map(|result| result.unwrap().bucket).collect()
}

async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

async fn drop_shop(warehouse: &Warehouse) -> Dropped {
    let (main, shop) = (cluster("default/main"), "default/shop".parse().unwrap());
    warehouse.drop_source(&main, &shop).await.unwrap()
}

async fn purge(warehouse: &Warehouse) -> Report {
    warehouse.purge(&cluster("default/main")).await.unwrap()
}

/// How many rows of a source are stored, whoever may see them.
async fn stored(client: &Client, source: &str) -> String {
    let sql = format!("SELECT count(*) FROM trunkline.events WHERE source = '{source}'");
    value(client, &sql).await
}

#[tokio::test]
async fn sources_of_one_retention_and_width_share_a_bucket_and_its_upkeep() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let months = DesiredSource {
        partition_by: Some(PartitionBy::Month),
        ..sharing("months", 30)
    };
    let desired = [
        sharing("shop", 30),
        sharing("web", 30),
        sharing("longer", 31),
        sharing("ever", 0),
        months,
        source("alone"),
    ];
    let found = buckets(&warehouse, &desired).await;
    assert_eq!(found[0], found[1]);
    let mut distinct = found.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 5, "{found:?}");
    let second = warehouse
        .ensure_sources(
            &cluster("default/second"),
            &[sharing("other", 30)],
            &[],
            None,
        )
        .await
        .unwrap();
    let other = second[0].1.as_ref().unwrap().bucket;
    assert!(!found.contains(&other));

    // Once for each bucket: its partitions, its statistics, its place among the thousand.
    let leaves = format!(
        "SELECT count(*), bool_and(indexdef LIKE '%USING btree (source COLLATE \"C\", received_at)') \
         FROM pg_indexes WHERE tablename ~ '^bucket_{}_' AND indexname LIKE '%\\_source\\_%'",
        found[0]
    );
    assert_eq!(value(&admin, &leaves).await, "9|t");
    for result in ensure(&warehouse, &desired).await {
        assert_eq!(result.unwrap().changed, [""; 0]);
    }
    assert_eq!(warehouse.maintain().await.unwrap(), Report::default());
    let census = warehouse.census().await.unwrap();
    assert_eq!(census.buckets, 6);
    let known = Census {
        buckets: 6,
        ..census
    };
    assert_eq!(census, known);
    store(&admin, found[0], "default/shop", 3).await;
    store(&admin, found[1], "default/web", 2).await;
    let analyzed = warehouse.upkeep().await.unwrap().changed;
    let table = format!("analyze trunkline_data.bucket_{}", found[0]);
    assert_eq!(analyzed.iter().filter(|step| **step == table).count(), 1);
    // What the session has counted itself is told a second later, and would come on top of what is found.
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    run(&admin, "SELECT").await;
    run(&admin, "ANALYZE trunkline.events").await;
    let statistics = "SELECT name, relation, cluster, partitions, estimated_rows, removed, sources \
                      FROM trunkline.source_statistics WHERE bucket = ";
    assert_eq!(
        rows(&admin, &format!("{statistics}{}", found[0])).await,
        ["-|-|default/main|9|5|f|2"]
    );
    assert_eq!(
        rows(&admin, &format!("{statistics}{}", found[5])).await,
        ["default/alone|alone.events|default/main|9|0|f|1"]
    );

    // The days to come are made once, and of the width of the bucket.
    let last = format!(
        "SELECT c.oid::regclass FROM pg_class c WHERE relname ~ '^bucket_{}_' AND relkind = 'r' \
         ORDER BY 1 DESC LIMIT 1",
        found[0]
    );
    let last = value(&admin, &last).await;
    run(&admin, &format!("DROP TABLE {last}")).await;
    let made = warehouse.maintain().await.unwrap().changed;
    assert_eq!(made, [format!("create {last}"), format!("attach {last}")]);
}

#[tokio::test]
async fn no_reader_is_shown_a_row_of_another_source_not_even_its_own_function() {
    for options in ["CREATEROLE", ""] {
        let database = Database::new().await;
        let admin = database.admin().await;
        let warehouse = warehouse(&database.owner(options).await).await;
        warehouse.ensure_layout().await.unwrap();
        let analyst = format!("analyst_{}", database.name);
        // It costs nothing by its own account, so that the planner calls it first if it may.
        run(
            &admin,
            &format!(
                "CREATE ROLE {analyst} LOGIN PASSWORD 'a'; \
                 CREATE FUNCTION public.leak(value text) RETURNS boolean LANGUAGE plpgsql \
                 COST 0.0000001 AS $$ BEGIN IF value LIKE '%secret%' THEN \
                 RAISE EXCEPTION 'saw %', value; END IF; RETURN true; END $$"
            ),
        )
        .await;
        let shop = DesiredSource {
            readers: vec![analyst.clone()],
            ..sharing("shop", 30)
        };
        let found = buckets(&warehouse, &[shop, sharing("web", 30)]).await;
        store(&admin, found[0], "default/shop", 2).await;
        store(&admin, found[1], "default/web", 3).await;
        run(
            &admin,
            "UPDATE trunkline.events SET message_id = 'secret', unsettled = true, \
             body_json = '\"secret\"' WHERE source = 'default/web'",
        )
        .await;

        let reader = connect(&database.url_as(&analyst, "a")).await;
        // An index would hide the others' rows by itself.
        let by_row = "SET enable_indexscan = off; SET enable_bitmapscan = off";
        run(&reader, by_row).await;
        for condition in [
            "leak(message_id)",
            "leak(body::text)",
            "leak(source || message_id)",
            "received_at > now() - interval '1 day' AND leak(message_id)",
            "message_id = 'secret'",
        ] {
            let count = format!("SELECT count(*) FROM shop.events WHERE {condition}");
            let expected = if condition.starts_with("message_id") {
                "0"
            } else {
                "2"
            };
            assert_eq!(value(&reader, &count).await, expected, "{condition}");
        }
        for statement in [
            "SELECT FROM web.events".to_owned(),
            format!("SELECT FROM trunkline_data.bucket_{}", found[0]),
            "SELECT FROM trunkline.events".to_owned(),
            "SELECT FROM trunkline.shared_buckets".to_owned(),
            "SELECT FROM trunkline.source_statistics".to_owned(),
        ] {
            assert_eq!(sqlstate(&reader, &statement).await, "42501", "{statement}");
        }
        let listed = "SELECT name, relation FROM trunkline.webhook_sources";
        assert_eq!(rows(&reader, listed).await, ["default/shop|shop.events"]);

        // The function does see what it is shown.
        run(&admin, "ALTER VIEW shop.events RESET (security_barrier)").await;
        let leaked = sqlstate(&reader, "SELECT FROM shop.events WHERE leak(message_id)").await;
        assert_eq!(leaked, "P0001");
    }
}

#[tokio::test]
async fn a_view_of_a_shared_bucket_reads_its_day_by_the_index() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = buckets(&warehouse, &[sharing("shop", 30), sharing("web", 30)]).await[0];
    store(&admin, bucket, "default/shop", 10).await;
    store(&admin, bucket, "default/web", 5_000).await;
    run(&admin, "ANALYZE trunkline.events").await;
    let today = "SELECT (now() AT TIME ZONE 'UTC')::date || ' 00:00+00'";
    let today = value(&admin, today).await;
    let explain = format!(
        "EXPLAIN SELECT count(*) FROM shop.events WHERE received_at >= '{today}' \
         AND received_at < timestamptz '{today}' + interval '1 day' AND body @> '{{\"a\": 1}}'"
    );
    let plan = rows(&admin, &explain).await.join("\n");
    assert_eq!(plan.matches(" on bucket_").count(), 1, "{plan}");
    let conditions = plan.lines().find(|line| line.contains("Index Cond:"));
    let conditions = conditions.unwrap_or_else(|| panic!("{plan}"));
    assert!(
        conditions.contains("'default/shop'") && conditions.contains("received_at >="),
        "{plan}"
    );
}

#[tokio::test]
async fn another_kind_of_body_is_refused_for_the_sources_own_rows_alone() {
    use trunkline_model::request::BodyFormat;
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = buckets(&warehouse, &[sharing("shop", 30), sharing("web", 30)]).await[0];
    store(&admin, bucket, "default/web", 1).await;
    let text = |name| DesiredSource {
        body: BodyFormat::Text,
        ..sharing(name, 30)
    };
    let results = ensure(&warehouse, &[text("shop"), text("web")]).await;
    assert!(results[0].is_ok(), "{:?}", results[0]);
    let refused = results[1].as_ref().unwrap_err().to_string();
    assert!(refused.contains("web.events has rows"), "{refused}");
}

#[tokio::test]
async fn a_removed_source_keeps_its_rows_and_finds_them_only_as_they_are_stored() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let web = sharing("web", 30);
    let found = buckets(
        &warehouse,
        &[sharing("shop", 30), web.clone(), source("own")],
    )
    .await;
    store(&admin, found[0], "default/shop", 2).await;
    ensure(&warehouse, std::slice::from_ref(&web)).await;
    let count = "SELECT count(*) FROM shop.events";
    assert_eq!(value(&admin, count).await, "2");

    let refused = [
        (source("shop"), "set spec.storage: Shared, retention: 30d"),
        (
            sharing("shop", 31),
            "set spec.storage: Shared, retention: 30d",
        ),
        (
            sharing("shop", 0),
            "set spec.storage: Shared, retention: 30d",
        ),
        (sharing("own", 30), "set spec.storage: Dedicated"),
    ];
    for (desired, fix) in refused {
        let desired = DesiredSource {
            storage: Some(desired.storage.unwrap_or_default()),
            ..desired
        };
        let mut results = ensure(&warehouse, &[desired, web.clone()]).await;
        assert!(results.pop().unwrap().is_ok());
        let error = results.remove(0).unwrap_err();
        assert!(matches!(error, SourceError::OtherStorage { .. }), "{error}");
        assert!(error.to_string().contains(fix), "{error}");
    }
    // Who cannot say how it is to be finds it as it is.
    for storage in [Some(Storage::Shared), None] {
        let back = DesiredSource {
            storage,
            ..sharing("shop", 30)
        };
        assert_eq!(buckets(&warehouse, &[back, web.clone()]).await[0], found[0]);
        assert_eq!(value(&admin, count).await, "2");
    }
}

#[tokio::test]
async fn a_dropped_source_is_out_of_sight_at_once_and_its_rows_go_in_batches() {
    for options in ["CREATEROLE", ""] {
        let database = Database::new().await;
        let warehouse = warehouse(&database.owner(options).await).await;
        warehouse.ensure_layout().await.unwrap();
        let admin = database.admin().await;
        let both = [sharing("shop", 30), sharing("web", 30)];
        let bucket = buckets(&warehouse, &both).await[0];
        let old = past_leaf(&admin, bucket, 9).await;
        for source in ["default/shop", "default/web"] {
            store_past(&admin, bucket, source, 9).await;
        }
        warehouse.upkeep().await.unwrap();
        // Each commit has a time of its own, which all of its rows have.
        for _ in 0..9 {
            store(&admin, bucket, "default/shop", 300).await;
            store(&admin, bucket, "default/web", 2).await;
        }
        let day = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')";
        let leaf = format!(
            "trunkline_data.bucket_{bucket}_{}",
            value(&admin, day).await
        );
        run(
            &admin,
            &format!(
                "CREATE TABLE public.batches (size bigint); \
                 GRANT INSERT ON public.batches TO PUBLIC; \
                 CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 INSERT INTO public.batches SELECT count(*) FROM gone; RETURN NULL; END $$; \
                 CREATE TRIGGER note AFTER DELETE ON {leaf} REFERENCING OLD TABLE AS gone \
                 FOR EACH STATEMENT EXECUTE FUNCTION public.note()"
            ),
        )
        .await;

        let dropped = drop_shop(&warehouse).await;
        assert!(dropped.leaves_rows);
        assert!(dropped.changed.contains(&"drop schema shop".to_owned()));
        let remains = format!(
            "SELECT nspname FROM pg_namespace WHERE nspname = 'shop' UNION ALL \
             SELECT rolname FROM pg_roles WHERE rolname = 'trunkline_{}_shop_reader'",
            database.name
        );
        assert_eq!(rows(&admin, &remains).await, [""; 0]);
        assert_eq!(stored(&admin, "default/shop").await, "2701");
        // It does not come back with rows that are to go, and nobody takes its schema.
        let heir = DesiredSource {
            name: "other/shop".parse().unwrap(),
            ..sharing("shop", 30)
        };
        let mut results = ensure(&warehouse, &[both[0].clone(), both[1].clone()]).await;
        let error = results.remove(0).unwrap_err();
        assert!(matches!(error, SourceError::BeingDropped { .. }), "{error}");
        let taken = ensure(&warehouse, &[heir, both[1].clone()]).await.remove(0);
        assert!(matches!(taken, Err(SourceError::SchemaTaken { .. })));
        assert!(drop_shop(&warehouse).await.leaves_rows, "asked for again");

        let gone = "delete the rows of source default/shop, and forget it";
        assert_eq!(purge(&warehouse).await.changed, [gone]);
        assert_eq!(stored(&admin, "default/shop").await, "0");
        assert_eq!(stored(&admin, "default/web").await, "19");
        let batches = rows(&admin, "SELECT size FROM public.batches").await;
        assert_eq!(batches, ["1200", "1200", "300"]);
        assert_eq!(value(&admin, "SELECT count(*) FROM web.events").await, "19");
        // What was frozen is vacuumed once more, for the room of what is gone.
        let freeze = format!("freeze trunkline_data.{old}");
        let upkeep = warehouse.upkeep().await.unwrap().changed;
        assert!(upkeep.contains(&freeze), "{upkeep:?}");

        assert_eq!(purge(&warehouse).await, Report::default());
        assert_eq!(drop_shop(&warehouse).await, Dropped::default());
        // The bucket stays for the sources of its class.
        assert_eq!(buckets(&warehouse, &both).await, [bucket, bucket]);
        assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "0");
    }
}

#[tokio::test]
async fn what_a_stopped_purge_has_left_goes_with_the_next() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let both = [sharing("shop", 30), sharing("web", 30)];
    let bucket = buckets(&warehouse, &both).await[0];
    store(&admin, bucket, "default/web", 7).await;
    for _ in 0..40 {
        store(&admin, bucket, "default/shop", 1_000).await;
    }
    drop_shop(&warehouse).await;
    // Stopped ever later, until one has deleted some.
    let main = cluster("default/main");
    let mut patience = Duration::ZERO;
    let left: u32 = loop {
        patience += Duration::from_millis(10);
        let ended = timeout(patience, warehouse.purge(&main)).await;
        assert!(ended.is_err(), "it was never stopped amid its work");
        let left = stored(&admin, "default/shop").await.parse().unwrap();
        if left < 40_000 {
            break left;
        }
    };
    assert!(left > 0 && left.is_multiple_of(1_000), "{left}");
    // Another process goes on, beside three that do the same.
    let mut runs = JoinSet::new();
    for _ in 0..4 {
        let warehouse = database.warehouse().await;
        runs.spawn(async move { purge(&warehouse).await.changed.len() });
    }
    let forgotten: usize = runs.join_all().await.into_iter().sum();
    assert_eq!(forgotten, 1, "by one of them");
    assert_eq!(stored(&admin, "default/shop").await, "0");
    assert_eq!(stored(&admin, "default/web").await, "7");
}

#[tokio::test]
async fn a_removal_of_a_shared_source_that_was_cut_short_is_finished_by_the_next_call() {
    let parts = [
        "UPDATE trunkline.sources SET removed_at = now() WHERE source = 'default/shop'",
        "DROP VIEW shop.events; DROP SCHEMA shop",
        "DROP OWNED BY trunkline_DATABASE_shop_reader; DROP ROLE trunkline_DATABASE_shop_reader",
        "UPDATE trunkline.sources SET drop_rows = true WHERE source = 'default/shop'",
    ];
    for done in 0..=parts.len() {
        let database = Database::new().await;
        let warehouse = database.prepared().await;
        let admin = database.admin().await;
        let both = [sharing("shop", 30), sharing("web", 30)];
        let bucket = buckets(&warehouse, &both).await[0];
        store(&admin, bucket, "default/shop", 3).await;
        store(&admin, bucket, "default/web", 3).await;
        for sql in &parts[..done] {
            run(&admin, &sql.replace("DATABASE", &database.name)).await;
        }
        // Nothing goes that nobody has let go.
        let goes = usize::from(done == parts.len());
        assert_eq!(purge(&warehouse).await.changed.len(), goes, "after {done}");
        if done < parts.len() {
            assert!(drop_shop(&warehouse).await.leaves_rows, "after {done}");
            assert_eq!(purge(&warehouse).await.changed.len(), 1, "after {done}");
        }
        assert_eq!(stored(&admin, "default/shop").await, "0", "after {done}");
        assert_eq!(stored(&admin, "default/web").await, "3", "after {done}");
        let known = "SELECT source FROM trunkline.sources";
        assert_eq!(rows(&admin, known).await, ["default/web"]);
    }
}

#[tokio::test]
async fn retention_is_the_buckets_whatever_a_manifest_says() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let both = [sharing("shop", 30), sharing("web", 30)];
    let bucket = buckets(&warehouse, &both).await[0];
    let mut leaves = Vec::new();
    for age in [20, 31] {
        leaves.push(past_leaf(&admin, bucket, age).await);
        store_past(&admin, bucket, "default/shop", age).await;
        store_past(&admin, bucket, "default/web", age).await;
    }
    let drop_expired = async |desired: &[DesiredSource]| {
        let main = cluster("default/main");
        warehouse
            .drop_expired(&main, desired)
            .await
            .unwrap()
            .changed
    };
    // As after an edit that the API server should have refused.
    let dropped = drop_expired(&[both[0].clone(), sharing("web", 1)]).await;
    assert_eq!(
        dropped,
        [format!(
            "drop trunkline_data.{} of sources of default/main that share it, older than its retention",
            leaves[1]
        )]
    );
    assert_eq!(stored(&admin, "default/shop").await, "1");
    assert_eq!(stored(&admin, "default/web").await, "1");
    let entries = "SELECT bucket, partition, retention_days FROM trunkline.dropped_partitions";
    let entry = format!("{bucket}|{}|30", leaves[1]);
    assert_eq!(rows(&admin, entries).await, [&*entry]);
    // It is the bucket's, and stays when one of its sources goes.
    drop_shop(&warehouse).await;
    purge(&warehouse).await;
    assert_eq!(rows(&admin, entries).await, [entry]);
    assert_eq!(drop_expired(&both[1..]).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_at_once_make_one_bucket_for_a_class() {
    let database = Database::new().await;
    database.prepared().await;
    let admin = database.admin().await;
    let mut runs = JoinSet::new();
    for number in 0..6 {
        let warehouse = database.warehouse().await;
        let name = format!("s{number}");
        runs.spawn(async move {
            // Those of the others stay what they are.
            let main = cluster("default/main");
            let kept: Vec<_> = (0..6)
                .map(|n| format!("default/s{n}").parse().unwrap())
                .collect();
            let desired = [sharing(&name, 30)];
            let results = warehouse.ensure_sources(&main, &desired, &kept, None).await;
            results.unwrap().remove(0).1.unwrap().bucket
        });
    }
    let mut found = runs.join_all().await;
    found.dedup();
    assert_eq!(found.len(), 1, "{found:?}");
    let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'p' AND relname ~ '^bucket_'";
    assert_eq!(value(&admin, tables).await, "1");
    let known = "SELECT count(*) FROM trunkline.sources WHERE removed_at IS NULL";
    assert_eq!(value(&admin, known).await, "6");
}

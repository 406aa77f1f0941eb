//! Dropping a source: what goes, what stays, and what a removal that was cut short becomes.

use tokio::task::JoinSet;
use tokio_postgres::Client;
use trunkline_warehouse::{DesiredSource, Dropped, Error, Warehouse};

use super::harness::*;

async fn drop_shop(warehouse: &Warehouse) -> Result<Dropped, Error> {
    warehouse
        .drop_source(&cluster("default/main"), &"default/shop".parse().unwrap())
        .await
}

/// What there is of the source `default/shop`: tables, schema, role and rows of the catalog.
async fn remains(database: &Database, admin: &Client, bucket: i32) -> Vec<String> {
    let name = &database.name;
    let sql = format!(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relname ~ '^bucket_{bucket}(_|$)' \
         UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'shop' \
         UNION ALL SELECT rolname FROM pg_roles WHERE rolname = 'trunkline_{name}_shop_reader' \
         UNION ALL SELECT source FROM trunkline.sources WHERE source = 'default/shop' \
         UNION ALL SELECT role FROM trunkline.readers WHERE bucket = {bucket}"
    );
    rows(admin, &sql).await
}

async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Two sources with three rows each, the first one's bucket first.
async fn two_sources(database: &Database, warehouse: &Warehouse) -> [i32; 2] {
    let admin = database.admin().await;
    let analyst = format!("analyst_{}", database.name);
    run(&admin, &format!("CREATE ROLE {analyst}")).await;
    let shop = DesiredSource {
        readers: vec![analyst],
        ..source("shop")
    };
    let results = ensure(warehouse, &[shop, source("web")]).await;
    let buckets: Vec<_> = results
        .into_iter()
        .map(|result| result.unwrap().bucket)
        .collect();
    store(&admin, buckets[0], "default/shop", 3).await;
    store(&admin, buckets[1], "default/web", 3).await;
    [buckets[0], buckets[1]]
}

/// Leaves the removal of a bucket from the parent pending, as a crash does.
async fn begin_detach(database: &Database, bucket: i32) {
    let (holder, ddl) = (database.admin().await, database.admin().await);
    run(&holder, "BEGIN; SELECT count(*) FROM trunkline.events").await;
    run(&ddl, "SET statement_timeout = '300ms'").await;
    let detach = format!(
        "ALTER TABLE trunkline.events DETACH PARTITION trunkline_data.bucket_{bucket} CONCURRENTLY"
    );
    assert_eq!(sqlstate(&ddl, &detach).await, "57014");
    run(&holder, "COMMIT").await;
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    assert_eq!(value(&ddl, pending).await, "1");
}

#[tokio::test]
async fn a_dropped_source_leaves_nothing_and_its_neighbour_everything() {
    for options in ["SUPERUSER", "CREATEROLE", ""] {
        let database = Database::new().await;
        let warehouse = warehouse(&database.owner(options).await).await;
        warehouse.ensure_layout().await.unwrap();
        let admin = database.admin().await;
        let [shop, web] = two_sources(&database, &warehouse).await;

        let changed = drop_shop(&warehouse).await.unwrap().changed;
        assert!(
            changed.contains(&"drop schema shop".to_owned()),
            "{changed:?}"
        );
        assert_eq!(
            remains(&database, &admin, shop).await,
            Vec::<String>::new(),
            "{options}"
        );
        assert_eq!(value(&admin, "SELECT count(*) FROM web.events").await, "3");
        store(&admin, web, "default/web", 1).await;
        let refused = format!(
            "INSERT INTO trunkline.events (bucket, source, delivery_id, position, auth_scope) \
             VALUES ({shop}, 'x', gen_random_uuid(), 0, 'none')"
        );
        assert_eq!(sqlstate(&admin, &refused).await, "23514");
        assert_eq!(drop_shop(&warehouse).await.unwrap(), Dropped::default());

        // Its name and schema are free, also for someone else, and its rows are gone.
        let heir = DesiredSource {
            name: "other/shop".parse().unwrap(),
            ..source("shop")
        };
        let results = ensure(&warehouse, &[heir, source("web")]).await;
        assert!(results[0].as_ref().unwrap().bucket > web);
        assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "0");
    }
}

#[tokio::test]
async fn what_others_have_built_keeps_a_source_and_is_named() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let [shop, _] = two_sources(&database, &warehouse).await;
    run(
        &admin,
        "CREATE VIEW public.report AS SELECT event FROM shop.events; CREATE TABLE shop.notes (a int)",
    )
    .await;
    for object in ["view public.report", "table shop.notes"] {
        let error = drop_shop(&warehouse).await.unwrap_err();
        assert!(
            matches!(&error, Error::Dependants { objects, .. } if objects == object),
            "{error}"
        );
        let rows = format!("SELECT count(*) FROM trunkline_data.bucket_{shop}");
        assert_eq!(value(&admin, &rows).await, "3");
        run(&admin, &format!("DROP {object}")).await;
    }
    // Also on the tables, which nobody should name.
    let on_table =
        format!("CREATE VIEW public.raw AS SELECT raw FROM trunkline_data.bucket_{shop}");
    run(&admin, &on_table).await;
    let error = drop_shop(&warehouse).await.unwrap_err().to_string();
    assert!(
        error.ends_with("drop or change first: view public.raw"),
        "{error}"
    );
    run(&admin, "DROP VIEW public.raw").await;
    drop_shop(&warehouse).await.unwrap();
    assert_eq!(remains(&database, &admin, shop).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_schema_or_role_that_bears_no_mark_of_ours_stays() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let [shop, _] = two_sources(&database, &warehouse).await;
    let role = format!("trunkline_{}_shop_reader", database.name);
    run(
        &admin,
        &format!("COMMENT ON SCHEMA shop IS 'mine'; COMMENT ON ROLE {role} IS NULL; DROP VIEW shop.events"),
    )
    .await;
    drop_shop(&warehouse).await.unwrap();
    assert_eq!(remains(&database, &admin, shop).await, ["shop", &role]);
}

#[tokio::test]
async fn a_cluster_drops_no_source_of_another() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let [shop, _] = two_sources(&database, &warehouse).await;
    let before = remains(&database, &admin, shop).await;
    let dropped = warehouse
        .drop_source(&cluster("default/second"), &"default/shop".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(dropped, Dropped::default());
    assert_eq!(remains(&database, &admin, shop).await, before);
    assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "3");
}

#[tokio::test]
async fn a_removal_that_was_cut_short_anywhere_is_finished_by_the_next_call() {
    let parts = [
        "DROP VIEW shop.events; DROP SCHEMA shop",
        "ALTER TABLE trunkline.events DETACH PARTITION trunkline_data.bucket_1",
        "SELECT trunkline_test.drop_some()",
        "DROP TABLE trunkline_data.bucket_1",
        "DROP OWNED BY trunkline_DATABASE_shop_reader; DROP ROLE trunkline_DATABASE_shop_reader",
    ];
    // Some are gone, and one hangs on nothing.
    let some = "CREATE SCHEMA trunkline_test; \
        CREATE FUNCTION trunkline_test.drop_some() RETURNS void LANGUAGE plpgsql AS $$ \
        DECLARE leaf text; BEGIN FOR leaf IN SELECT oid::regclass FROM pg_class \
        WHERE relname ~ '^bucket_1_' AND relkind = 'r' ORDER BY relname LIMIT 4 \
        LOOP EXECUTE 'ALTER TABLE trunkline_data.bucket_1 DETACH PARTITION ' || leaf; \
        IF leaf NOT LIKE '%' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') \
        THEN EXECUTE 'DROP TABLE ' || leaf; END IF; END LOOP; END $$";
    for done in 0..=parts.len() {
        for is_pending in [false, true] {
            // A removal that is pending can have got no further.
            if is_pending && done > 1 {
                continue;
            }
            let database = Database::new().await;
            let warehouse = database.prepared().await;
            let admin = database.admin().await;
            let [shop, _] = two_sources(&database, &warehouse).await;
            assert_eq!(shop, 1);
            ensure_one(&warehouse, source("web")).await;
            run(&admin, some).await;
            for sql in &parts[..done] {
                run(&admin, &sql.replace("DATABASE", &database.name)).await;
            }
            if is_pending {
                begin_detach(&database, shop).await;
            }
            drop_shop(&warehouse).await.unwrap();
            assert_eq!(
                remains(&database, &admin, shop).await,
                Vec::<String>::new(),
                "after {done} parts, pending: {is_pending}"
            );
            assert_eq!(value(&admin, "SELECT count(*) FROM web.events").await, "3");
        }
    }
}

#[tokio::test]
async fn a_source_that_returns_amid_its_removal_takes_events_again_and_keeps_its_rows() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let [shop, web] = two_sources(&database, &warehouse).await;
    ensure_one(&warehouse, source("web")).await;
    begin_detach(&database, shop).await;
    let back = ensure(&warehouse, &[source("shop"), source("web")]).await;
    assert_eq!(back[0].as_ref().unwrap().bucket, shop);
    store(&admin, shop, "default/shop", 1).await;
    assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "4");

    // A removal that hangs is in no other's way.
    begin_detach(&database, web).await;
    drop_shop(&warehouse).await.unwrap();
    assert_eq!(remains(&database, &admin, shop).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_at_once_drop_a_source_once() {
    for _ in 0..3 {
        let database = Database::new().await;
        let warehouse = database.prepared().await;
        let admin = database.admin().await;
        let [shop, _] = two_sources(&database, &warehouse).await;
        let mut runs = JoinSet::new();
        for _ in 0..4 {
            let warehouse = database.warehouse().await;
            runs.spawn(async move { drop_shop(&warehouse).await.unwrap().changed });
        }
        let mut changed: Vec<_> = runs.join_all().await.into_iter().flatten().collect();
        changed.sort();
        let steps = changed.len();
        changed.dedup();
        assert_eq!(changed.len(), steps, "a step was done twice: {changed:?}");
        assert_eq!(remains(&database, &admin, shop).await, Vec::<String>::new());
        assert_eq!(value(&admin, "SELECT count(*) FROM web.events").await, "3");
    }
}

#[tokio::test]
async fn a_reader_in_the_way_is_waited_for_and_not_broken() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let [shop, _] = two_sources(&database, &warehouse).await;
    let analyst = database.admin().await;
    run(&analyst, "BEGIN; SELECT count(*) FROM shop.events").await;
    let error = drop_shop(&warehouse).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert_eq!(
        value(&analyst, "SELECT count(*) FROM shop.events").await,
        "3"
    );
    run(&analyst, "COMMIT").await;
    drop_shop(&warehouse).await.unwrap();
    assert_eq!(remains(&database, &admin, shop).await, Vec::<String>::new());
}

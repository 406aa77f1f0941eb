//! The view `<schema>.events`: its columns, and how it changes under its readers.

use std::time::{Duration, Instant};

use trunkline_model::columns;
use trunkline_model::request::BodyFormat;
use trunkline_warehouse::{DesiredSource, PendingReason};

use super::harness::*;

const COLUMNS: &str = "SELECT attname, format_type(atttypid, atttypmod), \
     col_description(attrelid, attnum) FROM pg_attribute \
     WHERE attrelid = 'shop.events'::regclass AND attnum > 0 ORDER BY attnum";

/// Names of the columns after the model's.
async fn header_columns(client: &tokio_postgres::Client) -> Vec<String> {
    let names = rows(client, COLUMNS).await;
    let names = names.iter().skip(columns::viewed().count());
    names
        .map(|line| line.split('|').next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_view_has_the_models_columns_then_the_headers() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let shop = ensure_one(&warehouse, source_with("shop", &["event-type", "x-shop"])).await;
    let mut expected: Vec<_> = columns::viewed()
        .map(|(spec, name)| {
            let sql_type = spec
                .sql_type
                .replace("timestamptz", "timestamp with time zone");
            format!("{name}|{sql_type}|{}", spec.doc)
        })
        .collect();
    expected.push("event_type|text|Request header event-type.".to_owned());
    expected.push("x_shop|text|Request header x-shop.".to_owned());
    assert_eq!(rows(&admin, COLUMNS).await, expected);

    store(&admin, shop.bucket, "default/shop", 2).await;
    let read = "SELECT source, left(message_id, 2), auth_scope, body, raw, event_type, x_shop \
                FROM shop.events ORDER BY position";
    assert_eq!(
        rows(&admin, read).await,
        [
            "default/shop|m0|request|{\"a\": 1}|-|click|7",
            "default/shop|m1|request|{\"a\": 1}|-|click|7"
        ]
    );
    // A literal time range reads its day alone.
    let today = value(
        &admin,
        "SELECT (now() AT TIME ZONE 'UTC')::date || ' 00:00+00'",
    )
    .await;
    let explain = format!(
        "EXPLAIN SELECT count(*) FROM shop.events WHERE received_at >= '{today}' \
         AND received_at < timestamptz '{today}' + interval '1 h'"
    );
    let plan = rows(&admin, &explain).await.join("\n");
    assert_eq!(plan.matches(" on bucket_").count(), 1, "{plan}");
}

#[tokio::test]
async fn a_header_column_is_appended_to_the_view_that_is_there() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    ensure_one(&warehouse, source_with("shop", &["event-type"])).await;
    let identity = "SELECT 'shop.events'::regclass::oid";
    let before = value(&admin, identity).await;
    admin
        .batch_execute("CREATE VIEW public.report AS SELECT event_type FROM shop.events")
        .await
        .unwrap();

    let changed = ensure_one(&warehouse, source_with("shop", &["event-type", "x-shop"]))
        .await
        .changed;
    assert_eq!(changed, ["define view shop.events"]);
    assert_eq!(header_columns(&admin).await, ["event_type", "x_shop"]);
    assert_eq!(value(&admin, identity).await, before);
}

#[tokio::test]
async fn a_header_column_goes_and_the_rights_on_the_view_stay() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    ensure_one(&warehouse, source_with("shop", &["event-type", "x-shop"])).await;
    let role = format!("Bi tool {}", database.name);
    admin
        .batch_execute(&format!(
            "CREATE ROLE \"{role}\"; GRANT SELECT ON shop.events TO \"{role}\" WITH GRANT OPTION; \
             GRANT SELECT ON shop.events TO PUBLIC"
        ))
        .await
        .unwrap();
    let grants = "SELECT coalesce(r.rolname, 'PUBLIC'), privilege_type, is_grantable FROM pg_class, \
                  aclexplode(relacl) LEFT JOIN pg_roles r ON r.oid = grantee \
                  WHERE pg_class.oid = 'shop.events'::regclass ORDER BY 1, 2";
    let before = rows(&admin, grants).await;
    assert!(before.contains(&format!("{role}|SELECT|t")), "{before:?}");

    for headers in [
        &["x-shop"][..],
        &["x-shop", "event-type"],
        &["event-type", "x-shop"],
        &[],
    ] {
        ensure_one(&warehouse, source_with("shop", headers)).await;
        let expected: Vec<_> = headers.iter().map(|name| name.replace('-', "_")).collect();
        assert_eq!(header_columns(&admin).await, expected);
        assert_eq!(rows(&admin, grants).await, before, "{headers:?}");
    }
}

#[tokio::test]
async fn a_view_that_others_build_on_stays_and_the_source_is_served() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let shop = ensure_one(&warehouse, source_with("shop", &["event-type"])).await;
    admin
        .batch_execute("CREATE VIEW public.report AS SELECT event_type FROM shop.events")
        .await
        .unwrap();

    for _ in 0..2 {
        let kept = ensure(&warehouse, &[source("shop")])
            .await
            .remove(0)
            .unwrap();
        assert_eq!(kept.bucket, shop.bucket);
        let [pending] = &kept.pending[..] else {
            panic!("{:?}", kept.pending)
        };
        assert_eq!(
            pending.reason,
            PendingReason::Dependants("view public.report".to_owned())
        );
        assert!(
            pending
                .to_string()
                .contains("drop or change: view public.report"),
            "{pending}"
        );
        assert_eq!(header_columns(&admin).await, ["event_type"]);
    }
    admin
        .batch_execute("DROP VIEW public.report")
        .await
        .unwrap();
    ensure_one(&warehouse, source("shop")).await;
    assert_eq!(header_columns(&admin).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_body_keeps_its_type_while_there_are_rows() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let of = |body| DesiredSource {
        body,
        ..source("shop")
    };
    let body_type = "SELECT format_type(atttypid, NULL) FROM pg_attribute \
                     WHERE attrelid = 'shop.events'::regclass AND attname = 'body'";
    ensure_one(&warehouse, of(BodyFormat::Json)).await;
    // Without rows it is free.
    ensure_one(&warehouse, of(BodyFormat::Bytes)).await;
    assert_eq!(value(&admin, body_type).await, "bytea");
    let shop = ensure_one(&warehouse, of(BodyFormat::Form)).await;
    assert_eq!(value(&admin, body_type).await, "jsonb");
    store(&admin, shop.bucket, "default/shop", 1).await;
    ensure_one(&warehouse, of(BodyFormat::Json)).await;
    let mut results = ensure(&warehouse, &[of(BodyFormat::Text)]).await;
    let error = results.remove(0).unwrap_err().to_string();
    assert!(
        error.contains("shop.events has rows whose body is jsonb"),
        "{error}"
    );
    assert!(error.contains("spec.body.format"), "{error}");
    assert_eq!(value(&admin, body_type).await, "jsonb");
}

#[tokio::test]
async fn a_change_keeps_nobody_waiting_while_it_waits_for_a_standby() {
    let server = server(&[]).await;
    let database = Database::on(&server).await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    ensure_one(&warehouse, source("shop")).await;
    let standby = async |setting: &str| {
        let alter = format!("ALTER SYSTEM SET synchronous_standby_names = '{setting}'");
        admin.batch_execute(&alter).await.unwrap();
        admin
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .unwrap();
        // By the process that tells the others whether they have to wait.
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    standby("gone").await;

    let changing =
        tokio::spawn(async move { ensure_one(&warehouse, source_with("shop", &["x-shop"])).await });
    let start = Instant::now();
    while header_columns(&admin).await != ["x_shop"] {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody sees it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = "SET lock_timeout = '1s'; SELECT count(*) FROM shop.events WHERE x_shop IS NULL";
    assert_eq!(value(&admin, read).await, "0");
    // It is not called done before it is as safe as any commit.
    assert!(!changing.is_finished());
    standby("").await;
    assert_eq!(changing.await.unwrap().changed, ["define view shop.events"]);
    server.stop().await;
}

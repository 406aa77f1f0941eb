//! Who reads relations, and who waits for them.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_postgres::Client;
use trunkline_warehouse::{DesiredSource, Relator, Roles, Warehouse, WarehouseLayout};

use super::harness::{warehouse as connect_warehouse, *};

const DENIED: &str = "42501";

/// How long a reader may wait beside other tests. One who waits behind a change that waits itself would
/// wait for all of the four seconds.
const LIMIT: Duration = Duration::from_secs(2);

fn track(event: &str, id: &str, properties: &serde_json::Value) -> serde_json::Value {
    json!({"type": "track", "event": event, "messageId": id, "properties": properties})
}

/// Two sources with relations, the first with these readers; their buckets.
async fn ensure_read(warehouse: &Warehouse, roles: &Roles, readers: &[&str]) -> [i32; 2] {
    let read = DesiredSource {
        readers: readers.iter().map(|role| (*role).to_owned()).collect(),
        ..shop()
    };
    let desired = [read, related("web", WarehouseLayout::Segment)];
    let results = warehouse
        .ensure_sources(&cluster("default/main"), &desired, &[], Some(roles))
        .await
        .unwrap();
    let buckets: Vec<_> = results
        .into_iter()
        .map(|(_, result)| {
            let provisioned = result.unwrap();
            assert_eq!(provisioned.warnings, [""; 0]);
            provisioned.bucket
        })
        .collect();
    [buckets[0], buckets[1]]
}

async fn views(client: &Client, schema: &str) -> Vec<String> {
    let sql =
        format!("SELECT oid::regclass FROM pg_class WHERE relnamespace = '{schema}'::regnamespace");
    rows(client, &sql).await
}

#[tokio::test]
async fn readers_see_the_relations_of_their_source_and_no_others() {
    for (roles, options) in [(Roles::Managed, "CREATEROLE"), (Roles::Owner, "")] {
        let database = Database::new().await;
        let admin = database.admin().await;
        let owner = database.owner(options).await;
        let warehouse = connect_warehouse(&owner).await;
        warehouse.ensure_layout().await.unwrap();
        let (early, late) = (
            format!("early_{}", database.name),
            format!("late_{}", database.name),
        );
        let create = format!(
            "CREATE ROLE {early} LOGIN PASSWORD 'a'; CREATE ROLE {late} LOGIN PASSWORD 'a'"
        );
        admin.batch_execute(&create).await.unwrap();
        let [shop, web] = ensure_read(&warehouse, &roles, &[&early]).await;
        let mut relator = Relator::new(connect_warehouse(&owner).await);
        for (bucket, schema) in [(shop, "shop"), (web, "web")] {
            send(
                &admin,
                bucket,
                schema,
                &track("Ping", "m1", &json!({"n": 1})),
            )
            .await;
            send(
                &admin,
                bucket,
                schema,
                &track("Ping", "m2", &json!({"n": "x"})),
            )
            .await;
        }
        settle(&mut relator, &admin).await;
        // Whoever was there before finds what is new at once.
        let reader = connect(&database.url_as(&early, "a")).await;
        assert_eq!(value(&reader, "SELECT sum(n) FROM shop.ping").await, "1");
        ensure_read(&warehouse, &roles, &[&early, &late]).await;
        let (of_shop, of_web) = (views(&admin, "shop").await, views(&admin, "web").await);
        assert_eq!((of_shop.len(), of_web.len()), (12, 12));
        for role in [&early, &late] {
            let reader = connect(&database.url_as(role, "a")).await;
            for view in &of_shop {
                let sql = format!("SELECT * FROM {view}");
                assert_eq!(sqlstate(&reader, &sql).await, "00000", "{role} {sql}");
            }
            assert_eq!(value(&reader, "SELECT sum(n) FROM shop.ping").await, "1");
            assert_eq!(
                value(&reader, "SELECT column_value FROM shop.discards").await,
                "x"
            );
            let others = [
                "trunkline_data.bucket_1",
                "trunkline.events",
                "trunkline.shapes",
                "trunkline.relations",
                "trunkline.relation_columns",
                "trunkline.event_names",
                "trunkline.schema_changes",
            ];
            for other in of_web.iter().map(String::as_str).chain(others) {
                let sql = format!("SELECT * FROM {other}");
                assert_eq!(sqlstate(&reader, &sql).await, DENIED, "{role} {sql}");
            }
            for sql in [
                "INSERT INTO shop.ping (id) VALUES ('x')",
                "DELETE FROM shop.deletes",
                "CREATE VIEW shop.mine AS SELECT 1",
                "DROP VIEW shop.ping",
                "COMMENT ON VIEW shop.ping IS 'x'",
            ] {
                assert_eq!(sqlstate(&reader, sql).await, DENIED, "{role} {sql}");
            }
        }
        // Whoever is unlisted reads none of them, and can be dropped.
        ensure_read(&warehouse, &roles, &[&late]).await;
        let reader = connect(&database.url_as(&early, "a")).await;
        for view in &of_shop {
            let sql = format!("SELECT * FROM {view}");
            assert_eq!(sqlstate(&reader, &sql).await, DENIED, "{sql}");
        }
        let rights = format!(
            "SELECT count(*) FROM pg_class, aclexplode(relacl) WHERE grantee = '{early}'::regrole \
             AND relnamespace = 'shop'::regnamespace"
        );
        assert_eq!(value(&admin, &rights).await, "0");
    }
}

#[tokio::test]
async fn who_reads_for_long_is_waited_for_and_nobody_else_waits() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    for event in ["Read", "Other"] {
        send(
            &admin,
            bucket,
            "shop",
            &track(event, event, &json!({"n": 1})),
        )
        .await;
    }
    settle(&mut relator, &admin).await;

    let holder = database.admin().await;
    let long = "BEGIN; SELECT * FROM shop.read; SELECT * FROM shop.discards";
    holder.batch_execute(long).await.unwrap();
    for event in ["Read", "Other", "New"] {
        let body = track(event, &format!("{event} 2"), &json!({"n": "x", "more": 1}));
        send(&admin, bucket, "shop", &body).await;
    }
    // Others read the same all the while.
    let reader = database.admin().await;
    let reading = tokio::spawn(async move {
        let (start, mut slowest, mut reads) = (Instant::now(), Duration::ZERO, 0);
        while start.elapsed() < Duration::from_secs(4) {
            let read = Instant::now();
            rows(&reader, "SELECT * FROM shop.read").await;
            slowest = slowest.max(read.elapsed());
            reads += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (slowest, reads)
    });
    let (mut told, start) = (0, Instant::now());
    while start.elapsed() < Duration::from_secs(4) {
        let news = poll(&mut relator).await;
        told += news.troubles.len();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (slowest, reads) = reading.await.unwrap();
    println!("{reads} reads beside a change that waits, the slowest {slowest:?}");
    assert!(slowest < LIMIT, "{slowest:?}");
    for relation in ["other", "new"] {
        assert!(
            columns(&admin, relation)
                .await
                .contains(&"more numeric".to_owned()),
            "{relation}"
        );
    }
    assert!(
        !columns(&admin, "read")
            .await
            .contains(&"more numeric".to_owned())
    );
    // Everything else goes on, and a look at everything neither waits nor fails.
    let kept = ensure(&warehouse, &[shop()]).await.remove(0).unwrap();
    assert_eq!(kept.warnings, [""; 0]);
    holder.batch_execute("COMMIT").await.unwrap();
    settle(&mut relator, &admin).await;
    assert!(
        columns(&admin, "read")
            .await
            .contains(&"more numeric".to_owned())
    );
    let discards = "SELECT count(*) FROM shop.discards";
    assert_eq!(value(&admin, discards).await, "2");
    let news = poll(&mut relator).await;
    assert!(news.troubles.is_empty(), "{news:?}");
    // A few seconds are not worth telling.
    assert_eq!(told, 0);
}

#[tokio::test]
async fn a_relation_of_somebody_else_stays_and_is_named() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, source("shop")).await.bucket;
    let theirs =
        "CREATE TABLE shop.tracks (theirs int); CREATE VIEW shop.ping AS SELECT 7 AS theirs";
    admin.batch_execute(theirs).await.unwrap();
    let mut relator = relator(&database).await;
    let kept = ensure(&warehouse, &[shop()]).await.remove(0).unwrap();
    let [warning] = &kept.warnings[..] else {
        panic!("{:?}", kept.warnings)
    };
    assert!(
        warning.contains("shop.tracks exists and is not trunkline's; rename or drop it"),
        "{warning}"
    );
    let body = json!({"type": "track", "event": "Ping", "messageId": "m1",
        "context": {"locale": "de"}, "properties": {"n": 1}});
    send(&admin, bucket, "shop", &body).await;
    send(
        &admin,
        bucket,
        "shop",
        &track("Pong", "m2", &json!({"n": 1})),
    )
    .await;
    let news = poll(&mut relator).await;
    let told: Vec<_> = news.troubles.into_values().flatten().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("shop.ping exists"), "{told:?}");
    assert_eq!(value(&admin, "SELECT theirs FROM shop.ping").await, "7");
    assert_eq!(value(&admin, "SELECT n FROM shop.pong").await, "1");

    admin
        .batch_execute("DROP TABLE shop.tracks; DROP VIEW shop.ping")
        .await
        .unwrap();
    ensure_one(&warehouse, shop()).await;
    settle(&mut relator, &admin).await;
    assert_eq!(
        value(&admin, "SELECT n, context_locale FROM shop.ping").await,
        "1|de"
    );
    let tracks = "SELECT count(*), count(context_locale), count(event) FROM shop.tracks";
    assert_eq!(value(&admin, tracks).await, "2|1|2");
}

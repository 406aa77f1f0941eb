//! Sources: who gets a schema, what stays when one goes, what readers are told.

use trunkline_warehouse::{DesiredSource, Error, SourceError};

use super::harness::*;

const CATALOG: &str =
    "SELECT name, url, cluster, relation FROM trunkline.webhook_sources ORDER BY name";

#[tokio::test]
async fn a_schema_without_our_mark_is_left_alone_and_the_other_sources_are_served() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    admin
        .batch_execute(
            "CREATE SCHEMA sales; CREATE TABLE sales.events (a int); \
             CREATE SCHEMA marked; COMMENT ON SCHEMA marked IS 'trunkline: source other/marked'",
        )
        .await
        .unwrap();
    let names = ["sales", "marked", "shop"];
    let mut results = ensure(&warehouse, &names.map(source)).await;
    let (shop, marked, sales) = (results.remove(2), results.remove(1), results.remove(0));
    assert!(shop.is_ok());
    let marked = marked.unwrap_err();
    assert!(matches!(&marked, SourceError::SchemaTaken { owner, .. } if owner == "other/marked"));
    let sales = sales.unwrap_err();
    assert!(
        matches!(&sales, SourceError::ForeignSchema { .. }),
        "{sales}"
    );
    assert!(sales.to_string().contains("spec.schema"), "{sales}");
    let untouched = "SELECT count(*), obj_description('sales'::regnamespace) FROM pg_class \
                     WHERE relnamespace = 'sales'::regnamespace";
    assert_eq!(value(&admin, untouched).await, "1|-");
    assert_eq!(
        value(&admin, "SELECT count(*) FROM trunkline.sources").await,
        "1"
    );

    // What the message says helps.
    let sales = sales.to_string();
    admin
        .batch_execute("DROP TABLE sales.events")
        .await
        .unwrap();
    admin
        .batch_execute(sales.split_once("run: ").unwrap().1)
        .await
        .unwrap();
    assert!(ensure(&warehouse, &names.map(source)).await[0].is_ok());
}

#[tokio::test]
async fn a_source_that_comes_back_finds_its_rows_and_nobody_else_does() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let first = ensure_one(&warehouse, source("shop")).await;
    store(&admin, first.bucket, "default/shop", 3).await;
    assert_eq!(ensure(&warehouse, &[]).await.len(), 0);
    assert_eq!(rows(&admin, CATALOG).await, Vec::<String>::new());
    assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "3");

    let stranger = DesiredSource {
        name: "other/shop".parse().unwrap(),
        ..source("shop")
    };
    let refused = ensure(&warehouse, &[stranger]).await.remove(0).unwrap_err();
    assert!(
        matches!(refused, SourceError::SchemaTaken { .. }),
        "{refused}"
    );
    let moved = DesiredSource {
        schema: "shop2".parse().unwrap(),
        ..source("shop")
    };
    let refused = ensure(&warehouse, &[moved]).await.remove(0).unwrap_err();
    assert!(
        matches!(refused, SourceError::OtherSchema { .. }),
        "{refused}"
    );

    let again = ensure_one(&warehouse, source("shop")).await;
    assert_eq!(
        (again.bucket, again.relation),
        (first.bucket, first.relation)
    );
    assert_eq!(
        again.changed,
        ["record what is served as source default/shop"]
    );
    store(&admin, again.bucket, "default/shop", 1).await;
    assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "4");
    assert_eq!(rows(&admin, CATALOG).await.len(), 1);
}

#[tokio::test]
async fn a_cluster_removes_its_own_sources_only() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let second = cluster("default/second");
    ensure_one(&warehouse, source("shop")).await;
    warehouse
        .ensure_sources(&second, &[source("web")], &[], None)
        .await
        .unwrap();
    ensure_one(&warehouse, source("shop")).await;
    let line = |name: &str, cluster: &str| {
        format!(
            "default/{name}|http://localhost/webhooks/default/{name}|default/{cluster}|{name}.events"
        )
    };
    assert_eq!(
        rows(&admin, CATALOG).await,
        [line("shop", "main"), line("web", "second")]
    );

    let taken = warehouse
        .ensure_sources(&second, &[source("web"), source("shop")], &[], None)
        .await
        .unwrap();
    let refused = taken[1].1.as_ref().unwrap_err();
    assert!(
        matches!(refused, SourceError::OtherCluster { .. }),
        "{refused}"
    );
    ensure(&warehouse, &[]).await;
    assert_eq!(rows(&admin, CATALOG).await, [line("web", "second")]);
    // Left by the first cluster, free for the second.
    let taken = warehouse
        .ensure_sources(&second, &[source("web"), source("shop")], &[], None)
        .await
        .unwrap();
    assert!(taken[1].1.is_ok());
    assert_eq!(
        rows(&admin, CATALOG).await,
        [line("shop", "second"), line("web", "second")]
    );
}

#[tokio::test]
async fn the_catalog_follows_the_url_and_survives_a_missing_relation() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    ensure_one(&warehouse, source("shop")).await;
    ensure_one(
        &warehouse,
        DesiredSource {
            url: None,
            ..source("shop")
        },
    )
    .await;
    assert_eq!(
        rows(&admin, CATALOG).await,
        ["default/shop|-|default/main|shop.events"]
    );
    let moved = DesiredSource {
        url: Some("https://x/it's".to_owned()),
        ..source("shop")
    };
    ensure_one(&warehouse, moved.clone()).await;
    assert_eq!(
        rows(&admin, CATALOG).await,
        ["default/shop|https://x/it's|default/main|shop.events"]
    );

    admin
        .batch_execute("DROP SCHEMA shop CASCADE")
        .await
        .unwrap();
    assert_eq!(rows(&admin, CATALOG).await, Vec::<String>::new());
    ensure_one(&warehouse, moved).await;
    assert_eq!(rows(&admin, CATALOG).await.len(), 1);
}

#[tokio::test]
async fn leaves_are_kept_ahead_for_sources_that_are_served() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let mut buckets = Vec::new();
    for result in ensure(&warehouse, &[source("shop"), source("gone")]).await {
        buckets.push(result.unwrap().bucket);
    }
    ensure_one(&warehouse, source("shop")).await;
    // As a week later: the last days are missing.
    for bucket in &buckets {
        let days = rows(
            &admin,
            &format!(
                "SELECT c.oid::regclass FROM pg_class c WHERE relname ~ '^bucket_{bucket}_' \
                 AND relkind = 'r' ORDER BY 1 DESC LIMIT 7"
            ),
        )
        .await;
        for leaf in days {
            admin
                .batch_execute(&format!("DROP TABLE {leaf}"))
                .await
                .unwrap();
        }
    }
    let changed = warehouse.maintain().await.unwrap().changed;
    assert_eq!(changed.len(), 14);
    let shop = format!("trunkline_data.bucket_{}_", buckets[0]);
    assert!(
        changed.iter().all(|step| step.contains(&shop)),
        "{changed:?}"
    );
}

#[tokio::test]
async fn a_source_that_nobody_can_read_keeps_its_place_and_gets_its_partitions() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let all = [source("shop"), source("odd"), source("gone")];
    let results = ensure(&warehouse, &all).await;
    let odd = results[1].as_ref().unwrap().bucket;
    let last = format!(
        "SELECT relname FROM pg_class WHERE relname ~ '^bucket_{odd}_' AND relkind = 'r' \
         ORDER BY 1 DESC LIMIT 1"
    );
    let leaf = value(&admin, &last).await;
    admin
        .batch_execute(&format!("DROP TABLE trunkline_data.{leaf}"))
        .await
        .unwrap();
    let kept =
        ["default/odd", "default/of-nobody", "default/shop"].map(|name| name.parse().unwrap());
    warehouse
        .ensure_sources(&cluster("default/main"), &all[..1], &kept, None)
        .await
        .unwrap();
    assert_eq!(value(&admin, &last).await, leaf);
    let served = "SELECT name FROM trunkline.webhook_sources ORDER BY 1";
    assert_eq!(rows(&admin, served).await, ["default/odd", "default/shop"]);
}

#[tokio::test]
async fn a_database_without_layout_says_so() {
    let database = Database::new().await;
    let warehouse = database.warehouse().await;
    let main = cluster("default/main");
    let error = warehouse
        .ensure_sources(&main, &[source("shop")], &[], None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoLayout), "{error}");
}

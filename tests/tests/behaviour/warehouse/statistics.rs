//! How much there is, without reading a row.

use std::time::Duration;

use trunkline_warehouse::{Census, DesiredSource, PartitionBy};

use super::harness::*;

#[tokio::test]
async fn the_owner_sees_how_much_each_source_has_and_nobody_else_does() {
    let database = Database::new().await;
    let warehouse = warehouse(&database.owner("").await).await;
    let admin = database.admin().await;
    warehouse.ensure_layout().await.unwrap();
    let months = DesiredSource {
        partition_by: Some(PartitionBy::Month),
        ..source("web")
    };
    let results = ensure(&warehouse, &[source("shop"), months]).await;
    let shop = results[0].as_ref().unwrap().bucket;
    past_leaf(&admin, shop, 30).await;
    store_past(&admin, shop, "default/shop", 30).await;
    store(&admin, shop, "default/shop", 50).await;
    // A session tells how many rows it has added within a second or so, and would add them to what
    // upkeep has counted meanwhile.
    let told = "SELECT estimated_rows FROM trunkline.source_statistics WHERE name = 'default/shop'";
    for _ in 0..100 {
        if value(&admin, told).await == "51" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    warehouse.upkeep().await.unwrap();
    ensure_one(&warehouse, source("shop")).await;

    let owner = connect(&database.url_as(&format!("owner_{}", database.name), "o")).await;
    let sql = "SELECT name, relation, partition_by, removed, partitions, estimated_rows, \
               bytes > 16384, range_start = date_trunc('day', now(), 'UTC') - interval '30 days', \
               range_end = date_trunc('day', now(), 'UTC') + interval '8 days' \
               FROM trunkline.source_statistics ORDER BY name";
    // No zone with another offset within these days, whose days would have other than 24 hours.
    owner
        .batch_execute("SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German'")
        .await
        .unwrap();
    let found = rows(&owner, sql).await;
    assert_eq!(
        found[0], "default/shop|shop.events|Day|f|10|51|t|t|t",
        "{found:?}"
    );
    assert!(
        found[1].starts_with("default/web|web.events|Month|t|"),
        "{found:?}"
    );
    let partitions =
        "SELECT count(*) FROM pg_inherits WHERE inhparent <> 'trunkline.events'::regclass";
    let partitions = value(&admin, partitions).await.parse().unwrap();
    let census = Census {
        buckets: 2,
        partitions,
    };
    assert_eq!(warehouse.census().await.unwrap(), census);

    let other = format!("other_{}", database.name);
    admin
        .batch_execute(&format!("CREATE ROLE {other} LOGIN PASSWORD 'o'"))
        .await
        .unwrap();
    let other = connect(&database.url_as(&other, "o")).await;
    let refused = sqlstate(&other, "SELECT FROM trunkline.source_statistics").await;
    assert_eq!(refused, "42501");
}

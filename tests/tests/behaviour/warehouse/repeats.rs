//! Repeats that no index of a partition sees are marked by upkeep.

use std::time::Duration;

use tokio_postgres::Client;
use trunkline_warehouse::{DesiredSource, Storage, WarehouseLayout};

use super::harness::*;

/// A source whose relations show no repeats.
fn shop() -> DesiredSource {
    DesiredSource {
        layout: Some(WarehouseLayout::Segment),
        ..source("shop")
    }
}

/// Stores a message of `default/<source>` at a time, as SQL.
async fn message(client: &Client, bucket: i32, source: &str, id: &str, at: &str) {
    let sql = format!(
        "INSERT INTO trunkline.events (bucket, source, received_at, delivery_id, position, \
         message_id, type, auth_scope, body_json) VALUES ({bucket}, 'default/{source}', {at}, \
         gen_random_uuid(), 0, '{id}', 'track', 'none', '{{}}')"
    );
    client
        .batch_execute(&sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Which rows are marked, as `source id rows marked`.
async fn marks(client: &Client) -> Vec<String> {
    rows(
        client,
        "SELECT concat_ws(' ', source, message_id, count(*), count(*) FILTER (WHERE dup)) \
         FROM trunkline.events GROUP BY source, message_id ORDER BY source, message_id",
    )
    .await
}

/// The beginning of today (UTC), which is some minutes ago.
const MIDNIGHT: &str = "(date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')";

/// Waits out the minutes after midnight in which nothing of today is old enough.
async fn not_at_midnight(client: &Client) {
    let is_early = format!("SELECT now() < {MIDNIGHT} + interval '3 minutes'");
    while value(client, &is_early).await == "t" {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_message_on_both_sides_of_midnight_is_shown_once() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    not_at_midnight(&admin).await;
    let shared = |name| DesiredSource {
        storage: Some(Storage::Shared),
        ..source(name)
    };
    let sources = [shop(), shared("one"), shared("two")];
    let places: Vec<_> = ensure(&warehouse, &sources)
        .await
        .into_iter()
        .map(|place| place.unwrap().bucket)
        .collect();
    let before = format!("{MIDNIGHT} - interval '1 second'");
    let long_before = format!("{MIDNIGHT} - interval '23 hours'");
    let after = format!("{MIDNIGHT} + interval '1 second'");
    for (id, at) in [
        ("both", &before),
        ("early", &long_before),
        ("yesterday", &before),
        ("both", &after),
        ("early", &after),
        ("today", &after),
    ] {
        message(&admin, places[0], "shop", id, at).await;
    }
    // Of two sources in one bucket each is compared with itself.
    message(&admin, places[1], "one", "both", &before).await;
    message(&admin, places[1], "one", "both", &after).await;
    message(&admin, places[2], "two", "both", &after).await;
    let expected = [
        "default/one both 2 1",
        "default/shop both 2 1",
        "default/shop early 2 1",
        "default/shop today 1 0",
        "default/shop yesterday 1 0",
        "default/two both 1 0",
    ];
    warehouse.upkeep().await.unwrap();
    assert_eq!(marks(&admin).await, expected);
    let first = "SELECT count(*) FROM trunkline.events e WHERE dup AND EXISTS \
                 (SELECT FROM trunkline.events o WHERE o.message_id = e.message_id \
                 AND o.source = e.source AND o.received_at > e.received_at)";
    assert_eq!(value(&admin, first).await, "0");
    // The index of the leaf alone refuses what it knows.
    let again = format!(
        "INSERT INTO trunkline.events (bucket, source, delivery_id, position, message_id, \
         auth_scope) VALUES ({}, 'default/shop', gen_random_uuid(), 0, 'today', 'none')",
        places[0]
    );
    assert_eq!(sqlstate(&admin, &again).await, "23505");
    // What is settled is not looked at again.
    let report = warehouse.upkeep().await.unwrap();
    let compared = |step: &&String| step.starts_with("compare");
    assert_eq!(report.changed.iter().find(compared), None);
}

#[tokio::test]
async fn partitions_without_an_index_are_compared_once_their_time_is_over() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut days = Vec::new();
    for age in [5, 4, 3] {
        past_leaf(&admin, bucket, age).await;
        days.push(format!("{MIDNIGHT} - interval '{age} days'"));
    }
    for (id, at, hours) in [
        ("within", 0, 1),
        ("within", 0, 2),
        ("across", 0, 22),
        ("across", 1, 1),
        ("across", 1, 3),
        // More than two days apart.
        ("far", 0, 1),
        ("far", 2, 4),
        ("once", 2, 1),
    ] {
        let at = format!("{} + interval '{hours} hours'", days[at]);
        message(&admin, bucket, "shop", id, &at).await;
    }
    let report = warehouse.upkeep().await.unwrap();
    let compared = |step: &&String| step.starts_with("compare all rows");
    assert_eq!(
        report.changed.iter().filter(compared).count(),
        3,
        "{report:?}"
    );
    assert_eq!(
        marks(&admin).await,
        [
            "default/shop across 3 2",
            "default/shop far 2 0",
            "default/shop once 1 0",
            "default/shop within 2 1",
        ]
    );
    let report = warehouse.upkeep().await.unwrap();
    assert_eq!(report.changed.iter().find(compared), None, "{report:?}");
}

#[tokio::test]
async fn partitions_to_come_get_the_index_when_relations_are_first_asked_for() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, source("shop")).await.bucket;
    let indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'trunkline_data' \
                   AND indexname LIKE '%\\_message\\_id\\_key'";
    warehouse.upkeep().await.unwrap();
    assert_eq!(value(&admin, indexes).await, "0");
    ensure_one(&warehouse, shop()).await;
    store(&admin, bucket, "default/shop", 3).await;
    let report = warehouse.upkeep().await.unwrap();
    let indexed = |step: &&String| step.starts_with("index the messages");
    assert_eq!(
        report.changed.iter().filter(indexed).count(),
        7,
        "{report:?}"
    );
    assert_eq!(value(&admin, indexes).await, "7");
    let report = warehouse.upkeep().await.unwrap();
    assert_eq!(report.changed.iter().find(indexed), None);
    // One that is new has it from the first.
    let other = DesiredSource {
        layout: Some(WarehouseLayout::Rudderstack),
        ..source("other")
    };
    ensure(&warehouse, &[shop(), other]).await;
    assert_eq!(value(&admin, indexes).await, "16");
}

#[tokio::test]
async fn ingesters_may_ask_what_is_there_and_others_may_not() {
    let database = Database::new().await;
    let owner = database.owner("CREATEROLE").await;
    let warehouse = warehouse(&owner).await;
    warehouse.ensure_layout().await.unwrap();
    let password = trunkline_model::secret::SecretBytes::new("i");
    warehouse.ensure_ingest(None, &password).await.unwrap();
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let admin = database.admin().await;
    message(&admin, bucket, "shop", "there", "now()").await;
    let login = format!("trunkline_{}_ingest_a", database.name);
    let ingester = connect(&database.url_as(&login, "i")).await;
    let asked = format!(
        "SELECT * FROM trunkline.repeats({bucket}, \
         ARRAY['default/shop', 'default/shop', 'default/other'], ARRAY['new', 'there', 'there'])"
    );
    assert_eq!(rows(&ingester, &asked).await, ["2"]);
    let read = "SELECT message_id FROM trunkline.events";
    assert_eq!(sqlstate(&ingester, read).await, "42501");
    let none = asked.replace(&format!("repeats({bucket}"), "repeats(999");
    assert_eq!(rows(&ingester, &none).await, [""; 0]);
    admin
        .batch_execute(&format!(
            "CREATE ROLE stranger_{} LOGIN PASSWORD 's'",
            database.name
        ))
        .await
        .unwrap();
    let stranger = connect(&database.url_as(&format!("stranger_{}", database.name), "s")).await;
    assert_eq!(sqlstate(&stranger, &asked).await, "42501");
    // However many rows there are, it reads an index, and nobody's search path has a say in it.
    let settings = "SELECT count(*) FROM pg_proc WHERE prosecdef \
                    AND oid = to_regprocedure('trunkline.repeats(integer, text[], text[])') \
                    AND proconfig @> ARRAY['enable_seqscan=off', 'search_path=\"\"']";
    assert_eq!(value(&admin, settings).await, "1");
}

//! Indexes that a source asks for: on new partitions and old ones, for readers, in nobody's way.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_postgres::Client;
use trunkline_warehouse::{DesiredSource, LeafIndex, Storage, Warehouse, WarehouseLayout};

use super::harness::*;

fn asking(indexes: &[LeafIndex]) -> DesiredSource {
    DesiredSource {
        indexes: Some(indexes.iter().copied().collect()),
        layout: Some(WarehouseLayout::Segment),
        ..source("shop")
    }
}

/// Makes and drops what is due; what it did.
async fn keep(warehouse: &Warehouse) -> Vec<String> {
    let kept = warehouse.keep_indexes(&cluster("default/main")).await;
    let kept = kept.unwrap();
    assert!(kept.troubles.is_empty(), "{kept:?}");
    assert_eq!(kept.report.pending, []);
    kept.report.changed
}

/// How many partitions have a valid index whose name ends so.
async fn indexed(client: &Client, suffix: &str) -> usize {
    let sql = format!(
        "SELECT count(*) FROM pg_index x JOIN pg_class n ON n.oid = x.indexrelid \
         JOIN pg_class t ON t.oid = x.indrelid \
         WHERE n.relname = t.relname || '{suffix}' AND x.indisvalid"
    );
    value(client, &sql).await.parse().unwrap()
}

/// The plan of a query, where reading a whole table is the last resort.
async fn plan(client: &Client, sql: &str) -> String {
    let settings = "SET enable_seqscan = off; SET enable_sort = off";
    client.batch_execute(settings).await.unwrap();
    rows(client, &format!("EXPLAIN {sql}")).await.join("\n")
}

#[tokio::test]
async fn each_index_is_on_new_partitions_and_serves_conditions_on_the_views() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let place = ensure_one(&warehouse, asking(&LeafIndex::ALL)).await;
    assert_eq!(place.notes, Vec::<String>::new());
    let admin = database.admin().await;
    assert_eq!(keep(&warehouse).await, Vec::<String>::new());
    let suffixes = [
        "_by_message_id",
        "_by_user_id",
        "_by_anonymous_id",
        "_by_event",
        "_by_body",
    ];
    for suffix in suffixes {
        assert_eq!(indexed(&admin, suffix).await, 9, "{suffix}");
    }

    let event = json!({"context": {"ip": "192.0.2.1"}}).to_string();
    for number in 0..100 {
        let text = |name: &str| format!("'{name}{number}'");
        let columns = [
            ("message_id", &*text("m")),
            ("type", "'identify'"),
            ("event", &*text("e")),
            ("user_id", &*text("u")),
            ("anonymous_id", &*text("a")),
            ("body_json", &format!("'{event}'")),
        ];
        store_event(&admin, &place, &columns).await;
    }
    admin.batch_execute("ANALYZE").await.unwrap();
    for (sql, suffix) in [
        (
            "SELECT * FROM shop.events WHERE message_id = 'm7'",
            "_by_message_id",
        ),
        (
            "SELECT * FROM shop.identifies WHERE id = 'm7'",
            "_by_message_id",
        ),
        (
            "SELECT * FROM shop.events WHERE user_id = 'u7'",
            "_by_user_id",
        ),
        (
            "SELECT * FROM shop.identifies WHERE user_id = 'u7'",
            "_by_user_id",
        ),
        ("SELECT * FROM shop.users WHERE id = 'u7'", "_by_user_id"),
        (
            "SELECT * FROM shop.events WHERE anonymous_id = 'a7'",
            "_by_anonymous_id",
        ),
        (
            "SELECT * FROM shop.tracks WHERE event_text = 'e7'",
            "_by_event",
        ),
        (
            "SELECT * FROM shop.events WHERE event = 'e7' AND received_at > now() - interval '1 h'",
            "_by_event",
        ),
        (
            "SELECT * FROM shop.events WHERE body @> '{\"context\": {\"ip\": \"192.0.2.1\"}}'",
            "_by_body",
        ),
        (
            "SELECT * FROM shop.identifies WHERE _raw @> '{\"context\": {\"ip\": \"192.0.2.1\"}}'",
            "_by_body",
        ),
    ] {
        let plan = plan(&admin, sql).await;
        assert!(plan.contains(suffix), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn partitions_that_are_there_get_what_is_asked_for_and_lose_what_is_not() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, asking(&[])).await.bucket;
    let old = past_leaf(&admin, bucket, 9).await;
    let foreign = format!("CREATE INDEX {old}_by_hand ON trunkline_data.{old} (user_id)");
    admin.batch_execute(&foreign).await.unwrap();

    let both = [LeafIndex::UserId, LeafIndex::Body];
    let place = ensure_one(&warehouse, asking(&both)).await;
    assert!(
        place.notes[0].starts_with("20 of 20 indexes that spec.indexes asks for"),
        "{:?}",
        place.notes
    );
    let made = keep(&warehouse).await;
    assert_eq!(made.len(), 20, "{made:?}");
    let last = format!("make the index trunkline_data.{old}_by_body");
    assert_eq!(made.last(), Some(&last), "the newest first");
    assert_eq!(keep(&warehouse).await, Vec::<String>::new());
    assert_eq!(
        ensure_one(&warehouse, asking(&both)).await.notes,
        Vec::<String>::new()
    );

    // The next partition has them from the start, whoever makes it.
    let last = "SELECT max(relname) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'bucket_%'";
    let last = value(&admin, last).await;
    let drop = format!("DROP TABLE trunkline_data.{last}");
    admin.batch_execute(&drop).await.unwrap();
    warehouse.maintain().await.unwrap();
    assert_eq!(indexed(&admin, "_by_body").await, 10);

    // What was cut short is made anew.
    let spoil = format!(
        "UPDATE pg_index SET indisvalid = false \
         WHERE indexrelid = 'trunkline_data.{old}_by_user_id'::regclass"
    );
    admin.batch_execute(&spoil).await.unwrap();
    let place = ensure_one(&warehouse, asking(&both)).await;
    assert!(place.notes[0].starts_with("1 of 20"), "{:?}", place.notes);
    let name = format!("trunkline_data.{old}_by_user_id");
    assert_eq!(
        keep(&warehouse).await,
        [
            format!("drop the index {name}"),
            format!("make the index {name}")
        ]
    );

    // Who says nothing of it changes nothing; who asks for less loses the rest.
    let silent = DesiredSource {
        indexes: None,
        ..asking(&[])
    };
    ensure_one(&warehouse, silent).await;
    assert_eq!(keep(&warehouse).await, Vec::<String>::new());
    ensure_one(&warehouse, asking(&[LeafIndex::Body])).await;
    assert_eq!(keep(&warehouse).await.len(), 10);
    assert_eq!(indexed(&admin, "_by_user_id").await, 0);
    assert_eq!(indexed(&admin, "_by_body").await, 10);
    assert_eq!(indexed(&admin, "_by_hand").await, 1);
}

#[tokio::test]
async fn a_partition_that_is_over_gets_the_one_on_events_without_being_asked() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let place = ensure_one(&warehouse, asking(&[])).await;
    let old = past_leaf(&admin, place.bucket, 9).await;
    store_past(&admin, place.bucket, "default/shop", 9).await;
    assert_eq!(
        keep(&warehouse).await,
        Vec::<String>::new(),
        "before its upkeep"
    );
    // No index holds a name that is so long and does not compress.
    let bad = past_leaf(&admin, place.bucket, 5).await;
    let long = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) AS n)";
    let day = "date_trunc('day', now(), 'UTC') - interval '114 hours'";
    let columns = [("received_at", day), ("event", long), ("body_json", "'1'")];
    store_event(&admin, &place, &columns).await;
    // In the first minutes of a day that of yesterday is not over, and later it is.
    let yesterday = "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYYMMDD')";
    let yesterday = value(&admin, yesterday).await;
    let others = |done: Vec<String>| -> Vec<String> {
        let is_other = |step: &String| !step.contains(&yesterday);
        done.into_iter().filter(is_other).collect()
    };
    warehouse.upkeep().await.unwrap();

    let (good, refused) = (
        format!("trunkline_data.{old}_by_event"),
        format!("trunkline_data.{bad}_by_event"),
    );
    let remembered = format!("record that trunkline_data.{bad} has values that no index holds");
    let made = others(keep(&warehouse).await);
    assert_eq!(made, [remembered, format!("make the index {good}")]);
    let left = others(keep(&warehouse).await);
    assert_eq!(left, [format!("drop the index {refused}")]);
    let nothing = Vec::<String>::new();
    assert_eq!(others(keep(&warehouse).await), nothing);
    let notes = ensure_one(&warehouse, asking(&[])).await.notes;
    assert_eq!(notes, nothing, "nobody has asked");

    // That of a partition that is not over is there for who asks, and no longer.
    ensure_one(&warehouse, asking(&[LeafIndex::Event])).await;
    let asked = warehouse.keep_indexes(&cluster("default/main")).await;
    assert!(asked.unwrap().report.changed.len() > 7);
    ensure_one(&warehouse, asking(&[])).await;
    keep(&warehouse).await;
    let over = indexed(&admin, "_by_event").await;
    assert!(over <= 2, "{over}: {old} and perhaps yesterday's");

    // It stays while the partition waits for its upkeep again, as after rows were erased.
    let thaw = "DELETE FROM trunkline.frozen_partitions \
                WHERE partition = to_regclass('trunkline_data.";
    admin
        .batch_execute(&format!("{thaw}{old}')"))
        .await
        .unwrap();
    assert_eq!(others(keep(&warehouse).await), nothing);
    // Without relations nobody asks about an event's name.
    let bare = DesiredSource {
        layout: Some(WarehouseLayout::None),
        ..asking(&[])
    };
    ensure_one(&warehouse, bare).await;
    let dropped = others(keep(&warehouse).await);
    assert_eq!(dropped, [format!("drop the index {good}")]);
}

#[tokio::test]
async fn nobody_waits_for_an_index_that_waits_for_somebody() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let bucket = ensure_one(&warehouse, asking(&[])).await.bucket;
    ensure_one(&warehouse, asking(&[LeafIndex::UserId])).await;
    let (holder, sender) = (database.admin().await, database.admin().await);
    let open = format!(
        "BEGIN; {}",
        "SET LOCAL idle_in_transaction_session_timeout = 0"
    );
    holder.batch_execute(&open).await.unwrap();
    store(&holder, bucket, "default/shop", 1).await;

    let building = tokio::spawn(async move { keep(&warehouse).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' \
                 AND wait_event_type = 'Lock' AND datname = current_database()";
    let start = Instant::now();
    while value(&sender, waits).await == "0" {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Longer than anything of ours waits for a lock otherwise.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let sent = Instant::now();
        copy(&sender, lines(&[(bucket, "default/shop")], 10))
            .await
            .unwrap();
        let read = value(&sender, "SELECT count(*) > 0 FROM shop.events").await;
        assert_eq!(read, "t");
        assert!(
            sent.elapsed() < Duration::from_secs(1),
            "{:?}",
            sent.elapsed()
        );
        assert!(!building.is_finished());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(building.await.unwrap().len(), 9);
}

#[tokio::test]
async fn what_one_source_is_refused_is_its_trouble_alone_and_shared_partitions_have_none() {
    let database = Database::new().await;
    let owner = warehouse(&database.owner("").await).await;
    owner.ensure_layout().await.unwrap();
    let shared = DesiredSource {
        storage: Some(Storage::Shared),
        indexes: Some([LeafIndex::UserId].into_iter().collect()),
        ..source("many")
    };
    let other = DesiredSource {
        name: "default/web".parse().unwrap(),
        schema: "web".parse().unwrap(),
        ..asking(&[LeafIndex::UserId])
    };
    let first = ensure(
        &owner,
        &[asking(&[]), shared.clone(), asking_of(&other, &[])],
    )
    .await;
    let bucket = first[0].as_ref().unwrap().bucket;
    let all = [asking(&[LeafIndex::UserId]), shared, other];
    ensure(&owner, &all).await;
    let admin = database.admin().await;
    let today =
        format!("SELECT 'bucket_{bucket}_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')");
    let today = value(&admin, &today).await;
    let take = format!("ALTER TABLE trunkline_data.{today} OWNER TO CURRENT_USER");
    admin.batch_execute(&take).await.unwrap();

    let kept = owner.keep_indexes(&cluster("default/main")).await.unwrap();
    let troubled: Vec<_> = kept.troubles.iter().collect();
    assert_eq!(troubled.len(), 1, "{kept:?}");
    assert_eq!(troubled[0].0.to_string(), "default/shop");
    assert!(troubled[0].1.contains("must be owner"), "{kept:?}");
    assert_eq!(indexed(&admin, "_by_user_id").await, 8 + 9);
}

/// The same source with other indexes.
fn asking_of(source: &DesiredSource, indexes: &[LeafIndex]) -> DesiredSource {
    DesiredSource {
        indexes: Some(indexes.iter().copied().collect()),
        ..source.clone()
    }
}

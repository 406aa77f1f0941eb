//! Events of the past that change after they were materialised: deleted, marked, corrected, late.

use serde_json::json;
use trunkline_warehouse::{Erasure, Identity, IdentityKind};

use super::twins::*;

async fn filled() -> Twins {
    let mut twins = Twins::new(&[5, 4, 3]).await;
    for day in [5, 4, 3, 0] {
        for n in 0..5 {
            let id = format!("o{day}-{n}");
            let mut event = track("Order Completed", &id, &json!({"total": n}));
            event["userId"] = json!(format!("u{n}"));
            twins.receive(day, &event).await;
        }
        let traits = json!({"plan": format!("p{day}")});
        let at = format!("2026-11-0{}T10:00:00Z", 6 - day);
        twins
            .receive(day, &identify("u1", &format!("i{day}"), &at, &traits))
            .await;
    }
    twins.settle().await;
    twins.keep().await;
    assert!(twins.parts("order_completed").await >= 3);
    twins
}

/// How many rows there are in all tables.
async fn copies(twins: &Twins, condition: &str) -> String {
    let sql = "SELECT string_agg(format('SELECT * FROM (SELECT to_jsonb(t) AS t FROM trunkline_data.%I t) \
               AS t', name), ' UNION ALL ') FROM trunkline.materialized_tables";
    let all = value(&twins.admin, sql).await;
    value(
        &twins.admin,
        &format!("SELECT count(*) FROM ({all}) AS a WHERE {condition}"),
    )
    .await
}

#[tokio::test]
async fn a_person_who_is_deleted_is_gone_from_the_tables_at_once() {
    let twins = filled().await;
    assert_ne!(copies(&twins, "t ->> 'user_id' = 'u1'").await, "0");
    let erasure = Erasure {
        identities: vec![Identity {
            kind: IdentityKind::User,
            id: "u1".to_owned(),
        }],
        sources: None,
        is_dry_run: false,
    };
    let erased = twins.warehouse.erase(&erasure, |_| ()).await.unwrap();
    assert_eq!(erased[0].rows, 16);
    assert_eq!(copies(&twins, "t ->> 'user_id' = 'u1'").await, "0");
    twins.compare().await;
    assert_eq!(
        value(&twins.admin, "SELECT count(*) FROM shop.users").await,
        "0"
    );
    // Its bytes go too, in time.
    let age = "UPDATE trunkline.materialized_changes SET changed_at = now() - interval '1 hour'";
    twins.admin.batch_execute(age).await.unwrap();
    let report = twins.keep().await;
    let vacuumed = |step: &&String| step.starts_with("vacuum trunkline_data.materialized_");
    assert!(
        report.changed.iter().any(|step| vacuumed(&step)),
        "{report:?}"
    );
    let left = "SELECT count(*) FROM trunkline.materialized_changes";
    assert_eq!(value(&twins.admin, left).await, "0");
    let report = twins.keep().await;
    assert!(
        !report.changed.iter().any(|step| vacuumed(&step)),
        "{report:?}"
    );
}

#[tokio::test]
async fn whatever_changes_an_event_changes_its_copies_in_the_same_transaction() {
    let mut twins = filled().await;
    let all = twins.parts("order_completed").await;
    for change in [
        // A repeat that is found late, and one that turns out to be none.
        "UPDATE trunkline.events SET dup = true WHERE message_id = 'o5-2'",
        "UPDATE trunkline.events SET dup = true WHERE message_id = 'i4'",
        "UPDATE trunkline.events SET dup = false WHERE message_id = 'o5-2'",
        // What an administrator mends: a value, a name, a kind, a time.
        "UPDATE trunkline.events SET body_json = jsonb_set(body_json, '{properties,total}', '77') \
         WHERE message_id = 'o4-2'",
        "UPDATE trunkline.events SET event = 'Other' WHERE message_id = 'o4-3'",
        "UPDATE trunkline.events SET event = 'Order Completed' WHERE message_id = 'o4-3'",
        "UPDATE trunkline.events SET type = 'page' WHERE message_id = 'o3-1'",
        "UPDATE trunkline.events SET received_at = received_at + interval '1 day' \
         WHERE message_id = 'o4-4'",
        "DELETE FROM trunkline.events WHERE message_id = 'o5-3'",
    ] {
        twins.admin.batch_execute(change).await.unwrap();
        twins.compare().await;
        assert_eq!(twins.parts("order_completed").await, all, "{change}");
    }
    // One that comes late, with a key that nobody has seen there.
    let late = track(
        "Order Completed",
        "late",
        &json!({"total": 5, "novel": "x"}),
    );
    twins.receive(4, &late).await;
    twins.compare().await;
    twins.settle().await;
    twins.compare().await;
    twins.keep().await;
    assert_eq!(twins.parts("order_completed").await, all);
    let novel = "SELECT id FROM shop.order_completed WHERE novel = 'x'";
    assert_eq!(value(&twins.admin, novel).await, "late");
    for bucket in twins.buckets {
        let day = "SELECT to_char((now() AT TIME ZONE 'UTC')::date - 5, 'YYYYMMDD')";
        let leaf = format!(
            "trunkline_data.bucket_{bucket}_{}",
            value(&twins.admin, day).await
        );
        twins
            .admin
            .batch_execute(&format!("TRUNCATE {leaf}"))
            .await
            .unwrap();
    }
    twins.compare().await;
    let gone = "SELECT count(*) FROM shop.tracks WHERE id LIKE 'o5-%'";
    assert_eq!(value(&twins.admin, gone).await, "0");
}

#[tokio::test]
async fn a_change_that_is_not_committed_is_waited_for_and_one_that_is_taken_back_is_in_neither() {
    let mut twins = Twins::new(&[5]).await;
    for n in 0..5 {
        twins
            .receive(
                5,
                &track("Order Completed", &format!("o{n}"), &json!({"total": n})),
            )
            .await;
    }
    twins.settle().await;
    // Somebody deletes a row, and takes time.
    let other = twins.database.admin().await;
    let delete = "BEGIN; DELETE FROM trunkline.events WHERE message_id = 'o1'";
    other.batch_execute(delete).await.unwrap();
    let report = twins.warehouse.upkeep().await.unwrap();
    assert!(!report.pending.is_empty(), "{report:?}");
    assert_eq!(twins.read_from_tables().await, [""; 0]);
    twins.compare().await;
    other.batch_execute("COMMIT").await.unwrap();
    twins.keep().await;
    let all = twins.parts("order_completed").await;
    other
        .batch_execute(&delete.replace("o1", "o2"))
        .await
        .unwrap();
    twins.compare().await;
    other.batch_execute("ROLLBACK").await.unwrap();
    twins.compare().await;
    assert_eq!(twins.parts("order_completed").await, all);
    assert_eq!(
        value(&twins.admin, "SELECT count(*) FROM shop.tracks").await,
        "4"
    );
}

#[tokio::test]
async fn a_transaction_that_began_before_misses_nothing() {
    let mut twins = Twins::new(&[5, 4]).await;
    for day in [5, 4] {
        twins
            .receive(
                day,
                &track("Order Completed", &format!("o{day}"), &json!({"total": 1})),
            )
            .await;
    }
    twins.settle().await;
    let old = twins.database.admin().await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM trunkline.layout LIMIT 1";
    old.batch_execute(begin).await.unwrap();
    let report = twins.warehouse.upkeep().await.unwrap();
    assert!(!report.pending.is_empty(), "{report:?}");
    assert_eq!(twins.read_from_tables().await, [""; 0]);
    twins.compare_as(&old).await;
    let shown = "SELECT count(*) FROM shop.order_completed";
    assert_eq!(value(&old, shown).await, "2");
    // What changes before anybody reads it makes it start anew.
    let change = "DELETE FROM trunkline.events WHERE message_id = 'o5'";
    twins.admin.batch_execute(change).await.unwrap();
    twins.compare_as(&old).await;
    assert_eq!(value(&old, shown).await, "2");
    old.batch_execute("COMMIT").await.unwrap();
    twins.keep().await;
    assert!(twins.parts("order_completed").await >= 2);
    assert_eq!(value(&twins.admin, shown).await, "1");
}

//! Which tables a query reads, and what is shown of every kind of call.

use std::collections::BTreeSet;

use serde_json::json;
use trunkline_warehouse::Report;

use super::twins::*;

/// Everything that relations show, on each of these days.
async fn receive_everything(twins: &Twins, days: &[i32]) {
    for day in days {
        let id = |name: &str| format!("{name}-{day}");
        let hour = 10 + day % 10;
        let at = format!("2026-11-01T{hour}:00:00Z");
        let events = [
            track(
                "Order Completed",
                &id("o1"),
                &json!({"total": 12.50, "paid": true, "items": [1]}),
            ),
            track(
                "Order Completed",
                &id("o2"),
                &json!({"total": "7", "due": "2026-11-24T10:00:00Z"}),
            ),
            track(
                "Order Completed",
                &id("o3"),
                &json!({"total": "many", "due": "2026-02-30T10:00:00Z"}),
            ),
            track("Odd", &id("o4"), &json!([1, 2])),
            track("Odd", &id("o5"), &json!(null)),
            identify(
                "ada",
                &id("i1"),
                &at,
                &json!({"plan": "pro", "age": day, "it's 100%": "x"}),
            ),
            identify(
                "bob",
                &id("i2"),
                "2026-11-01T11:00:00Z",
                &json!({"plan": null}),
            ),
            json!({"type": "identify", "anonymousId": "a", "messageId": id("i3"), "traits": {"plan": 1}}),
            json!({"type": "identify", "userId": "eve", "messageId": id("i4")}),
            json!({"type": "page", "name": "Home", "messageId": id("p1"), "properties": {"path": "/"}}),
            json!({"type": "screen", "messageId": id("s1"), "properties": {"name": "Start"}}),
            json!({"type": "group", "groupId": "g", "userId": "ada", "messageId": id("g1"),
                "timestamp": at, "traits": {"seats": day}}),
            json!({"type": "alias", "userId": "ada", "previousId": "a", "messageId": id("a1")}),
            json!({"type": "delete", "userId": "gone", "messageId": id("d1")}),
            json!({"type": "track", "event": "Nameless", "properties": {"n": 1}}),
            json!({"type": "unheard of", "messageId": id("x1")}),
        ];
        for event in &events {
            twins.receive(*day, event).await;
        }
    }
}

/// The tables that a query reads, as its plan says.
async fn read_by(twins: &Twins, sql: &str) -> BTreeSet<String> {
    let plan = rows(&twins.admin, &format!("EXPLAIN {sql}")).await;
    let table = |line: &String| {
        let (_, rest) = line.split_once(" on ")?;
        Some(rest.split_whitespace().next()?.to_owned())
    };
    plan.iter()
        .filter_map(table)
        .filter(|name| name.starts_with("bucket_") || name.starts_with("materialized_"))
        .filter(|name| !name.ends_with("_idx"))
        .collect()
}

#[tokio::test]
async fn what_is_over_is_read_from_tables_and_shows_the_same() {
    let mut twins = Twins::new(&[9, 4, 3]).await;
    receive_everything(&twins, &[9, 4, 3, 0]).await;
    twins.settle().await;
    twins.keep().await;

    let yesterday = usize::from(is_yesterday_over(&twins.admin).await);
    let expected: Vec<_> = [
        "accounts",
        "aliases",
        "deletes",
        "groups",
        "identifies",
        "nameless",
        "odd",
        "order_completed",
        "pages",
        "screens",
        "tracks",
        "users",
    ]
    .map(|relation| format!("{relation} {}", 3 + yesterday))
    .into();
    assert_eq!(twins.read_from_tables().await, expected);
    // Nothing is left to be done, and nothing is done.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(twins.warehouse.upkeep().await.unwrap(), Report::default());

    // A value that is looked up is found wherever its row has gone.
    let bucket = twins.buckets[0];
    let day = value(
        &twins.admin,
        "SELECT to_char((now() AT TIME ZONE 'UTC')::date - 4, 'YYYYMMDD')",
    )
    .await;
    let rewrite = format!(
        "CREATE INDEX moved ON trunkline_data.bucket_{bucket}_{day} (message_id DESC); \
         CLUSTER trunkline_data.bucket_{bucket}_{day} USING moved"
    );
    twins.admin.batch_execute(&rewrite).await.unwrap();
    twins.compare().await;
    let raw = "SELECT count(*) FROM shop.tracks WHERE _raw ->> 'type' = 'track' \
               AND _source = 'default/shop'";
    assert_eq!(value(&twins.admin, raw).await, "24");
}

#[tokio::test]
async fn all_days_that_are_over_are_in_tables_after_one_look() {
    // Whose own maintenance would hold a lock or a snapshot now and then.
    let server = server(&[("autovacuum", "off")]).await;
    let days = [9, 8, 7, 4, 3];
    let mut twins = Twins::on(&server, &days).await;
    receive_everything(&twins, &days).await;
    twins.settle().await;
    let report = twins.warehouse.upkeep().await.unwrap();
    assert_eq!(report.pending, []);
    assert!(twins.parts("tracks").await >= days.len());
    twins.compare().await;
    server.stop().await;
}

#[tokio::test]
async fn a_query_of_a_day_reads_that_day_alone() {
    let mut twins = Twins::new(&[9, 4, 3]).await;
    receive_everything(&twins, &[9, 4, 3, 0]).await;
    twins.settle().await;
    twins.keep().await;
    let bucket = twins.buckets[0];
    let today = value(&twins.admin, "SELECT (now() AT TIME ZONE 'UTC')::date").await;
    for relation in ["tracks", "order_completed", "identifies", "pages"] {
        let of_day = |day: i32| {
            format!(
                "SELECT count(*), max(id) FROM shop.{relation} \
                 WHERE received_at >= '{today} 00:00:00+00'::timestamptz - interval '{day} days' \
                 AND received_at < '{today} 00:00:00+00'::timestamptz - interval '{} days'",
                day - 1
            )
        };
        let suffix = |day: i32| format!("SELECT to_char('{today}'::date - {day}, 'YYYYMMDD')");
        let past = value(&twins.admin, &suffix(4)).await;
        let read: Vec<_> = read_by(&twins, &of_day(4)).await.into_iter().collect();
        assert_eq!(read.len(), 1, "{relation}: {read:?}");
        assert!(
            read[0].starts_with(&format!("materialized_{bucket}_")) && read[0].ends_with(&past),
            "{relation}: {read:?}"
        );
        let now = value(&twins.admin, &suffix(0)).await;
        let live = format!("bucket_{bucket}_{now}");
        assert_eq!(read_by(&twins, &of_day(0)).await, BTreeSet::from([live]));
        // A time that is known when the query runs leaves out what it does not need then. Within the
        // ten minutes after which a day is over, or it would be needed just after midnight.
        let recent = format!(
            "EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT count(*) FROM shop.{relation} \
             WHERE received_at >= now() - interval '1 minute'"
        );
        let plan = rows(&twins.admin, &recent).await;
        let is_read =
            |line: &&String| line.contains(" on materialized_") && !line.contains("never executed");
        assert_eq!(plan.iter().find(is_read), None, "{plan:#?}");
    }
}

#[tokio::test]
async fn what_is_all_of_a_table_is_planned_as_if_the_query_named_it() {
    let mut twins = Twins::new(&[4, 3]).await;
    receive_everything(&twins, &[4, 3, 0]).await;
    twins.settle().await;
    twins.keep().await;
    for (relation, column) in [
        ("order_completed", "paid"),
        ("tracks", "event"),
        ("pages", "path"),
    ] {
        let sql = format!(
            "EXPLAIN SELECT {column}, count(*) FROM shop.{relation} \
             WHERE received_at < now() - interval '2 days' GROUP BY 1"
        );
        let plan = rows(&twins.admin, &sql).await;
        assert!(
            plan.iter().any(|line| line.contains(" on materialized_")),
            "{plan:#?}"
        );
        // Neither a node around the table nor a look at the event, which nobody asks for.
        let more = |line: &&String| {
            line.contains("Subquery Scan on \"*SELECT* 1") || line.contains("SubPlan")
        };
        assert_eq!(plan.iter().find(more), None, "{plan:#?}");
    }
}

#[tokio::test]
async fn readers_read_the_relations_and_none_of_the_tables() {
    let mut twins = Twins::new(&[3]).await;
    receive_everything(&twins, &[3, 0]).await;
    twins.settle().await;
    twins.keep().await;
    let role = format!("reader_{}", twins.database.name);
    let make = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'r'; GRANT USAGE ON SCHEMA shop, plain TO {role}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA shop, plain TO {role}"
    );
    twins.admin.batch_execute(&make).await.unwrap();
    let reader = connect(&twins.database.url_as(&role, "r")).await;
    twins.compare_as(&reader).await;
    let tables = "SELECT name FROM trunkline.materialized_tables \
                  UNION ALL SELECT name FROM trunkline.materialized_partitions";
    let tables = rows(&twins.admin, tables).await;
    assert!(tables.len() > 20, "{tables:?}");
    for table in tables {
        let may =
            format!("SELECT has_table_privilege('{role}', 'trunkline_data.{table}', 'SELECT')");
        assert_eq!(value(&twins.admin, &may).await, "f", "{table}");
    }
    for table in ["tables", "partitions", "changes"] {
        let read = format!("SELECT FROM trunkline.materialized_{table}");
        assert_eq!(sqlstate(&reader, &read).await, "42501");
    }
}

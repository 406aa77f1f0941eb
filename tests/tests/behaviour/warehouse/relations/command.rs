//! `trunkline schema`, against what is in the database.

use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;
use trunkline_tests::binary;

use super::harness::*;

/// Runs `trunkline schema …`.
async fn schema(url: &str, arguments: &[&str]) -> Output {
    Command::new(binary("trunkline"))
        .arg("schema")
        .args(arguments)
        .args(["--database-url", url])
        .output()
        .await
        .unwrap()
}

/// What it prints. It has to succeed.
async fn printed(url: &str, arguments: &[&str]) -> String {
    let output = schema(url, arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says when it fails.
async fn refused(url: &str, arguments: &[&str]) -> String {
    let output = schema(url, arguments).await;
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn what_changed_and_what_there_is_can_be_asked_for() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let shop = related("shop", trunkline_warehouse::WarehouseLayout::Segment);
    let web = related("web", trunkline_warehouse::WarehouseLayout::Rudderstack);
    let results = ensure(&warehouse, &[shop, web]).await;
    let bucket = results.into_iter().next().unwrap().unwrap().bucket;
    let mut relator = relator(&database).await;
    let before = "UPDATE trunkline.schema_changes SET changed_at = now() - interval '8 days'";
    admin.batch_execute(before).await.unwrap();
    let body = json!({"type": "track", "event": "Order Completed", "messageId": "m1",
        "properties": {"total": 1}});
    send(&admin, bucket, "shop", &body).await;
    settle(&mut relator, &admin).await;

    let url = &database.url;
    let week = printed(url, &["diff", "default/shop", "--since", "7d"]).await;
    let lines: Vec<_> = week.lines().collect();
    assert_eq!(lines[..2], ["default/shop", "  order_completed"], "{week}");
    let line = |column: &str, detail: &str| {
        lines
            .iter()
            .any(|line| line.contains(column) && line.ends_with(detail))
    };
    assert!(line("+ (relation)", "segment"), "{week}");
    assert!(
        line("+ total ", "numeric of [\"properties\",\"total\"]"),
        "{week}"
    );
    let all = printed(url, &["diff"]).await;
    for part in ["default/shop\n", "default/web\n", "  users\n"] {
        assert!(all.contains(part), "{all}");
    }
    assert_eq!(
        printed(url, &["diff", "web", "--since", "2026-01-01", "-o", "json"])
            .await
            .matches("default/shop")
            .count(),
        0
    );
    assert_eq!(
        printed(url, &["diff", "shop", "--since", "2900-01-01"]).await,
        "nothing has changed\n"
    );
    let json: Value = serde_json::from_str(&printed(url, &["diff", "-o", "json"]).await).unwrap();
    let changes = json["changes"].as_array().unwrap();
    let listed = value(&admin, "SELECT count(*) FROM trunkline.schema_changes").await;
    assert_eq!(changes.len().to_string(), listed);

    let shown = printed(url, &["show", "default/shop"]).await;
    assert!(
        shown.starts_with("default/shop (schema shop)\n  accounts\n"),
        "{shown}"
    );
    assert!(
        shown.contains("\n    total               numeric  properties.total\n"),
        "{shown}"
    );
    let json: Value =
        serde_json::from_str(&printed(url, &["show", "shop", "-o", "json"]).await).unwrap();
    let relations = json["relations"].as_array().unwrap().iter();
    let names: Vec<_> = relations
        .map(|it| it["relation"].as_str().unwrap())
        .collect();
    let expected = "SELECT relation FROM trunkline.relations r JOIN trunkline.sources s \
                    ON s.bucket = r.source_number WHERE s.schema = 'shop' \
                    ORDER BY relation COLLATE \"C\"";
    let expected = rows(&admin, expected).await;
    assert_eq!(names, expected);
}

#[tokio::test]
async fn what_cannot_be_told_is_said_with_the_fix() {
    let database = Database::new().await;
    let url = &database.url;
    let empty = refused(url, &["diff"]).await;
    assert!(
        empty.contains("no trunkline keeps relations in this database yet"),
        "{empty}"
    );
    let warehouse = database.prepared().await;
    ensure_one(&warehouse, shop()).await;
    let absent = refused(url, &["diff", "default/shoop"]).await;
    let said = "there is no default/shoop in this database; there are: default/shop";
    assert!(absent.contains(said), "{absent}");
    let since = refused(url, &["diff", "--since", "yesterday"]).await;
    assert!(since.contains("24h, 7d"), "{since}");

    let reader = format!("schema_reader_{}", database.name);
    let admin = database.admin().await;
    let create = format!("CREATE ROLE {reader} LOGIN PASSWORD 'r'");
    admin.batch_execute(&create).await.unwrap();
    let as_reader = database.url_as(&reader, "r");
    let denied = refused(&as_reader, &["diff"]).await;
    let fix = denied.split("run as its administrator: ").nth(1).unwrap();
    let fix = fix.split(": db error").next().unwrap();
    // The fix is one.
    admin.batch_execute(fix).await.unwrap();
    assert!(
        printed(&as_reader, &["diff"])
            .await
            .contains("default/shop")
    );
    printed(&as_reader, &["show", "default/shop"]).await;
    let gone = format!("DROP OWNED BY {reader}; DROP ROLE {reader}");
    admin.batch_execute(&gone).await.unwrap();
}

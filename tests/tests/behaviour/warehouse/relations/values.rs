//! Whatever is sent, no query fails: what does not fit is NULL, in `_raw`, and among the discards.

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::harness::*;

async fn sql_of_all(client: &Client) -> Vec<String> {
    rows(
        client,
        "SELECT format('SELECT * FROM %s', oid::regclass) FROM pg_class \
         WHERE relnamespace = 'shop'::regnamespace ORDER BY 1",
    )
    .await
}

fn track(id: &str, properties: &Value) -> Value {
    json!({"type": "track", "event": "Odd", "messageId": id, "properties": properties})
}

#[tokio::test]
async fn a_time_is_read_in_a_parallel_plan() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    for (id, time) in [
        ("m0", "2026-11-24T10:00:00Z"),
        ("m1", "2026-02-30T10:00:00Z"),
    ] {
        send(&admin, bucket, "shop", &track(id, &json!({"t": time}))).await;
    }
    settle(&mut relator, &admin).await;
    // PostgreSQL's own way to test it, which has had two names.
    let parallel = "SELECT set_config(CASE WHEN current_setting('server_version_num')::integer \
                    >= 160000 THEN 'debug_parallel_query' ELSE 'force_parallel_mode' END, 'on', \
                    false), set_config('timezone', 'UTC', false)";
    rows(&admin, parallel).await;
    let plan = rows(&admin, "EXPLAIN SELECT t FROM shop.odd").await;
    assert!(plan[0].starts_with("Gather"), "{plan:?}");
    let times = "SELECT id, t FROM shop.odd ORDER BY 1";
    assert_eq!(
        rows(&admin, times).await,
        ["m0|2026-11-24 10:00:00+00", "m1|-"]
    );
}

#[tokio::test]
async fn what_does_not_fit_is_null_and_a_discard() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    let first = track(
        "m0",
        &json!({"n": 1, "b": true, "t": "2026-11-24T10:00:00Z", "s": "text"}),
    );
    send(&admin, bucket, "shop", &first).await;
    settle(&mut relator, &admin).await;
    let none = "SELECT * FROM shop.discards";
    assert_eq!(rows(&admin, none).await, [""; 0]);

    let huge = format!("1{}", "0".repeat(400));
    // What each column shows, `-` for NULL, and whether that is a discard.
    let cases = [
        ("n", json!("12.50"), "12.50", false),
        ("n", json!("1e400"), huge.as_str(), false),
        ("n", json!("1e4000"), "-", true),
        ("n", json!("12 apples"), "-", true),
        ("n", json!(" 7"), "-", true),
        ("n", json!("NaN"), "-", true),
        ("n", json!(true), "-", true),
        ("n", json!([1]), "-", true),
        ("n", json!({"deep": 1}), "-", true),
        (
            "n",
            json!(12_345_678_901_234_567_890_u64),
            "12345678901234567890",
            false,
        ),
        ("n", Value::Null, "-", false),
        ("b", json!("false"), "f", false),
        ("b", json!("yes"), "-", true),
        ("b", json!(1), "-", true),
        (
            "t",
            json!("2026-02-28T23:59:60Z"),
            "2026-03-01 00:00:00.000",
            false,
        ),
        (
            "t",
            json!("2026-02-28T12:00:00.5+02:00"),
            "2026-02-28 10:00:00.500",
            false,
        ),
        (
            "t",
            json!("2026-02-28T12:00:00-0330"),
            "2026-02-28 15:30:00.000",
            false,
        ),
        (
            "t",
            json!("2026-02-28T12:00:00"),
            "2026-02-28 12:00:00.000",
            false,
        ),
        ("t", json!("2026-02-31T12:00:00Z"), "-", true),
        ("t", json!("2026-13-01T12:00:00Z"), "-", true),
        ("t", json!("0000-00-00T00:00:00Z"), "-", true),
        ("t", json!("+275760-09-13T00:00:00.000Z"), "-", true),
        ("t", json!("275760-09-13T00:00:00.000Z"), "-", true),
        ("t", json!("infinity"), "-", true),
        ("t", json!("now"), "-", true),
        ("t", json!("01/02/2026"), "-", true),
        ("t", json!("garbage"), "-", true),
        ("t", json!(1_764_000_000), "-", true),
        ("t", json!("2026-02-28T12:00:00+99:99"), "-", true),
        ("t", json!("2026-02-28T12:00:00Z[Europe/Berlin]"), "-", true),
        ("s", json!(7), "7", false),
        ("s", json!({"a": [1]}), "{\"a\": [1]}", false),
        ("s", json!(["x"]), "[\"x\"]", false),
    ];
    for (number, (column, sent, ..)) in cases.iter().enumerate() {
        let id = format!("m{}", number + 1);
        send(&admin, bucket, "shop", &track(&id, &json!({*column: sent}))).await;
    }
    settle(&mut relator, &admin).await;
    // No setting of the session has a say in it.
    for settings in [
        "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'",
        "SET TimeZone = 'America/St_Johns'; SET DateStyle = 'German, DMY'; SET search_path = ''; \
         SET IntervalStyle = 'sql_standard'",
    ] {
        admin.batch_execute(settings).await.unwrap();
        for (number, (column, sent, shown, is_discarded)) in cases.iter().enumerate() {
            let id = format!("m{}", number + 1);
            let column_as = match *column {
                "t" => "to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')",
                other => other,
            };
            let sql = format!("SELECT {column_as} FROM shop.odd WHERE id = '{id}'");
            assert_eq!(value(&admin, &sql).await, *shown, "{column} {sent}");
            let sql = format!(
                "SELECT relation, column_name, column_value FROM shop.discards WHERE row_id = '{id}'"
            );
            let text = match sent {
                Value::String(text) => text.clone(),
                // As jsonb writes it.
                Value::Object(_) => "{\"deep\": 1}".to_owned(),
                other => other.to_string(),
            };
            let expected: Vec<_> = is_discarded
                .then(|| format!("odd|{column}|{text}"))
                .into_iter()
                .collect();
            assert_eq!(rows(&admin, &sql).await, expected, "{column} {sent}");
            // It is where it was.
            let raw = format!(
                "SELECT _raw #> '{{properties,{column}}}' = '{sent}'::jsonb FROM shop.odd \
                 WHERE id = '{id}'"
            );
            assert_eq!(value(&admin, &raw).await, "t", "{column} {sent}");
        }
        for sql in sql_of_all(&admin).await {
            assert_eq!(sqlstate(&admin, &sql).await, "00000", "{sql}");
        }
    }
}

#[tokio::test]
async fn odd_names_are_columns_and_relations_like_others() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    let odd = [
        "id",
        "order",
        "row_num",
        "a\"b",
        "it's",
        "back\\slash",
        "{x,y}",
        "🦀",
        "ключ",
        "2fa",
        "",
        " ",
        "$do$",
        "$1",
        "user_id",
        "_raw",
        "received_at",
        "ctid",
        "%s",
    ];
    let properties: serde_json::Map<_, _> = odd
        .iter()
        .map(|key| ((*key).to_owned(), json!("x")))
        .chain([("x".repeat(250), json!(1))])
        .collect();
    let events = [
        "Order", "it's", "a\"b", "\\", "🦀", "tracks", "discards", "select", "$do$", "", "%I",
    ];
    for (number, event) in events.iter().enumerate() {
        let body = json!({"type": "track", "event": event, "messageId": format!("m{number}"),
            "properties": properties});
        send(&admin, bucket, "shop", &body).await;
    }
    settle(&mut relator, &admin).await;
    for sql in sql_of_all(&admin).await {
        assert_eq!(sqlstate(&admin, &sql).await, "00000", "{sql}");
    }
    let shown = "SELECT count(DISTINCT relation), count(*) FROM trunkline.event_names";
    assert_eq!(value(&admin, shown).await, "11|11");
    let order = "SELECT id, _order, _row_num, a_b, it_s, back_slash, x_y, \"2fa\", _ctid \
                 FROM shop._order";
    assert_eq!(value(&admin, order).await, "m0|x|x|x|x|x|x|x|x");
    let again = ensure_one(&warehouse, shop()).await;
    assert_eq!((again.changed, again.warnings), (vec![], vec![]));
}

#[tokio::test]
async fn the_latest_call_of_a_user_and_of_a_group_is_shown_whatever_came_first() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    let call = |kind: &str, id: &str, key: &str, day: u32, plan: &str| {
        json!({"type": kind, "messageId": format!("{kind}-{id}"), "userId": key, "groupId": key, "anonymousId": "a",
            "timestamp": format!("2026-11-{day}T00:00:00Z"), "traits": {"plan": plan}})
    };
    for kind in ["identify", "group"] {
        for (id, key, day, plan) in [
            ("m1", "ada", 24, "old"),
            ("m2", "ada", 25, "new"),
            ("m3", "bob", 25, "new"),
            ("m4", "bob", 24, "old"),
            ("m5", "eve", 25, "a"),
            ("m6", "eve", 25, "b"),
        ] {
            send(&admin, bucket, "shop", &call(kind, id, key, day, plan)).await;
        }
        let anonymous =
            json!({"type": kind, "messageId": format!("{kind}-m7"), "traits": {"plan": "x"}});
        send(&admin, bucket, "shop", &anonymous).await;
    }
    // A repeat, as it is marked.
    let repeat = format!(
        "UPDATE trunkline.events SET dup = true WHERE bucket = {bucket} AND message_id LIKE '%-m6'"
    );
    admin.batch_execute(&repeat).await.unwrap();
    settle(&mut relator, &admin).await;
    for relation in ["users", "accounts"] {
        let sql = format!("SELECT id, plan FROM shop.{relation} ORDER BY 1");
        assert_eq!(rows(&admin, &sql).await, ["ada|new", "bob|new", "eve|a"]);
    }
    for (relation, count) in [("identifies", "6"), ("groups", "6"), ("discards", "0")] {
        let sql = format!("SELECT count(*) FROM shop.{relation}");
        assert_eq!(value(&admin, &sql).await, count, "{relation}");
    }
}

//! The oracle itself can fail: each way in which a database can be wrong is noticed.

use std::sync::Arc;

use trunkline_tests::{Database, Ledger};

/// Two requests, the first of two events, as a database that kept its word holds them.
const RIGHT: &str = "
    CREATE TABLE told
        (delivery_id uuid, position int, message_id text, body jsonb, raw bytea);
    INSERT INTO told VALUES
        ('00000000-0000-7000-8000-000000000001', 0, 'a', '{\"n\": 1.50, \"k\": {\"z\": 1, \"aa\": [2]}}'),
        ('00000000-0000-7000-8000-000000000001', 1, 'b', '{}'),
        ('00000000-0000-7000-8000-000000000002', 0, 'c', '[]');
    UPDATE told SET raw = '{\"x\":\"\\\\ud800\"}' WHERE message_id = 'c'";

fn sent() -> Ledger {
    let ledger = Ledger::default();
    let first = [("a", r#"{"k":{"aa":[2],"z":1},"n":1.5}"#), ("b", "{}")];
    let requests = [
        ledger.sending(first),
        ledger.sending([("c", r#"{"x":"\ud800"}"#)]),
    ];
    for number in requests {
        ledger.acknowledged(number);
    }
    ledger
}

#[tokio::test]
async fn the_ledger_notices_every_way_of_being_wrong() {
    let database = Database::start().await;
    let client = Arc::new(database.connect().await);
    client.batch_execute(RIGHT).await.unwrap();
    let verdict = sent().verify(&client, "told").await;
    assert_eq!(
        (
            verdict.acknowledged_events,
            verdict.rows,
            verdict.duplicates
        ),
        (3, 3, 0)
    );

    for (what, statement) in [
        ("a lost request", "DELETE FROM told WHERE message_id = 'c'"),
        ("half a request", "DELETE FROM told WHERE message_id = 'b'"),
        ("its other half", "DELETE FROM told WHERE message_id = 'a'"),
        (
            "another body",
            "UPDATE told SET body = '{\"x\":1}' WHERE message_id = 'b'",
        ),
        (
            "other bytes of what jsonb cannot hold",
            "UPDATE told SET raw = '{\"x\":\"\\\\ud801\"}' WHERE message_id = 'c'",
        ),
        (
            "a row twice in place of another",
            "UPDATE told SET message_id = 'a', position = 0, \
             body = (SELECT body FROM told WHERE message_id = 'a') WHERE message_id = 'b'",
        ),
        (
            "another order",
            "UPDATE told SET position = 1 - position WHERE message_id <> 'c'",
        ),
        (
            "an event that nobody sent",
            "UPDATE told SET message_id = 'd' WHERE message_id = 'c'",
        ),
        (
            "requests mixed up",
            "UPDATE told SET position = 2, delivery_id = '00000000-0000-7000-8000-000000000001' \
             WHERE message_id = 'c'",
        ),
    ] {
        client
            .batch_execute(&format!("BEGIN; {statement}"))
            .await
            .unwrap();
        let reader = Arc::clone(&client);
        let verdict = tokio::spawn(async move { sent().verify(&reader, "told").await }).await;
        assert!(verdict.is_err(), "{what} is not noticed: {verdict:?}");
        client.batch_execute("ROLLBACK").await.unwrap();
    }

    let again = "INSERT INTO told SELECT '00000000-0000-7000-8000-000000000003', position, \
                 message_id, body, raw FROM told WHERE message_id <> 'c'";
    client.batch_execute(again).await.unwrap();
    assert_eq!(sent().verify(&client, "told").await.duplicates, 2);
}

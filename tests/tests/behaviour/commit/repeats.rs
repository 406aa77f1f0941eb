//! A message that comes again is stored, and shown once.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use trunkline_ingester::commit::Committed;

use super::harness::{Fixture, timed};

/// What readers see of each message, as `id:rows:shown`.
async fn messages(fixture: &Fixture) -> Vec<String> {
    let sql = "SELECT concat_ws(':', message_id, count(*), count(*) FILTER (WHERE NOT dup)) \
               FROM trunkline.events GROUP BY message_id ORDER BY message_id";
    let client = fixture.database.connect().await;
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_message_that_comes_again_is_stored_and_marked() {
    let fixture = Fixture::with_relations().await;
    let committer = fixture.committer(2).await;
    let long = "x".repeat(600);
    for body in [
        r#"{"messageId":"a"}"#.to_owned(),
        r#"{"messageId":"a"}"#.to_owned(),
        r#"[{"messageId":"b"},{"messageId":"a"},{"messageId":"b"},{"n":1},{"n":1}]"#.to_owned(),
        r#"[{"messageId":"it's \\ one"},{"messageId":"c"}]"#.to_owned(),
        r#"{"messageId":"it's \\ one"}"#.to_owned(),
        // Longer than an index takes.
        format!(r#"[{{"messageId":"{long}"}},{{"messageId":"{long}"}}]"#),
    ] {
        committer.commit(fixture.delivery(&body), ()).await.unwrap();
    }
    assert_eq!(
        messages(&fixture).await,
        [
            "a:3:1".to_owned(),
            "b:2:1".to_owned(),
            "c:1:1".to_owned(),
            "it's \\ one:2:1".to_owned(),
            format!("{long}:2:2"),
            // Without an id.
            "2:2".to_owned(),
        ]
    );
    // The first one is what is shown.
    let first = fixture
        .count("message_id = 'b' AND NOT dup AND position = 0")
        .await;
    assert_eq!(first, 1);
    // A committer that knows nothing of the first.
    let other = fixture.committer(1).await;
    let again = other.commit(fixture.delivery(r#"{"messageId":"c"}"#), ());
    again.await.unwrap();
    assert_eq!(fixture.count("message_id = 'c' AND dup").await, 1);
    assert_eq!(fixture.count("unsettled").await, 0);
    other.stop(Duration::from_secs(5)).await;
    committer.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_source_without_such_relations_marks_nothing() {
    let fixture = Fixture::start().await;
    let committer = fixture.committer(1).await;
    for _ in 0..2 {
        let rows = fixture.delivery(r#"[{"messageId":"a"},{"messageId":"a"}]"#);
        committer.commit(rows, ()).await.unwrap();
    }
    assert_eq!(messages(&fixture).await, ["a:4:4"]);
    committer.stop(Duration::from_secs(5)).await;
}

/// Mirrored traffic: each row comes twice, at the same time, and in another order.
#[tokio::test]
async fn two_ingesters_with_the_same_rows_in_opposite_orders_show_each_once() {
    let fixture = Fixture::with_relations().await;
    let committers = [
        Arc::new(fixture.committer(2).await),
        Arc::new(fixture.committer(2).await),
    ];
    const ROUNDS: usize = 40;
    const ROWS: usize = 60;
    for round in 0..ROUNDS {
        let ids: Vec<_> = (0..ROWS).map(|n| format!("{round}-{n:02}")).collect();
        let body = |ids: &mut dyn Iterator<Item = &String>| {
            let rows: Vec<_> = ids.map(|id| format!(r#"{{"messageId":"{id}"}}"#)).collect();
            format!("[{}]", rows.join(","))
        };
        let bodies = [body(&mut ids.iter()), body(&mut ids.iter().rev())];
        let mut commits = JoinSet::new();
        for (committer, body) in committers.iter().zip(&bodies) {
            let (committer, rows) = (Arc::clone(committer), fixture.delivery(body));
            commits.spawn(async move { timed(committer.commit(rows, ())).await });
        }
        while let Some(done) = commits.join_next().await {
            let (answer, took) = done.unwrap();
            assert_eq!(answer, Ok(Committed::default()), "round {round}");
            assert!(took < Duration::from_secs(3), "round {round}: {took:?}");
        }
    }
    let messages = messages(&fixture).await;
    assert_eq!(messages.len(), ROUNDS * ROWS);
    let settled = fixture.count("unsettled").await;
    let shown = |message: &&String| message.ends_with(":2:1");
    let others = messages.iter().filter(|message| !shown(message)).count();
    // Only what two commits held at the same time may have to be compared later.
    assert!(
        i64::try_from(others).unwrap() <= settled,
        "{others} messages of {settled} unsettled rows are shown twice"
    );
    for committer in committers {
        committer.stop(Duration::from_secs(5)).await;
    }
}

/// A pod whose node is gone in the middle of a commit: the server keeps its transaction for hours.
#[tokio::test]
async fn a_commit_that_never_ends_is_in_nobodys_way() {
    let fixture = Fixture::with_relations().await;
    let committer = fixture.committer(1).await;
    let gone = fixture.database.connect().await;
    let bucket = fixture.bucket;
    let sql = format!(
        "BEGIN; INSERT INTO trunkline.events (bucket, source, delivery_id, position, message_id, \
         auth_scope) VALUES ({bucket}, 'default/segment', gen_random_uuid(), 0, 'held', 'none'), \
         ({bucket}, 'default/segment', gen_random_uuid(), 1, 'kept', 'none')"
    );
    gone.batch_execute(&sql).await.unwrap();
    let rows =
        fixture.delivery(r#"[{"messageId":"free"},{"messageId":"held"},{"messageId":"kept"}]"#);
    let (answer, took) = timed(committer.commit(rows, ())).await;
    assert_eq!(answer, Ok(Committed::default()));
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(fixture.count("unsettled AND NOT dup").await, 3);
    // Once it is known how it ended, they are compared.
    gone.batch_execute("ROLLBACK").await.unwrap();
    committer
        .commit(fixture.delivery(r#"{"messageId":"kept"}"#), ())
        .await
        .unwrap();
    let aged = "UPDATE trunkline.events SET received_at = received_at - interval '2 minutes' \
                WHERE unsettled";
    fixture.execute(aged).await;
    let report = fixture.database.warehouse().await.upkeep().await.unwrap();
    assert!(
        report
            .changed
            .iter()
            .any(|step| step.contains("others' way")),
        "{report:?}"
    );
    assert_eq!(fixture.count("unsettled").await, 0);
    assert_eq!(
        messages(&fixture).await,
        ["free:1:1", "held:1:1", "kept:2:1"]
    );
    committer.stop(Duration::from_secs(5)).await;
}

/// Repeats come for hours; each costs a look and not a failed commit.
#[tokio::test]
async fn a_replay_is_asked_about_before_it_is_sent() {
    let fixture = Fixture::with_relations().await;
    let committer = fixture.committer(1).await;
    let bodies: Vec<_> = (0..200)
        .map(|n| format!(r#"[{{"messageId":"a{n}"}},{{"messageId":"b{n}"}}]"#))
        .collect();
    for body in bodies.iter().chain(&bodies) {
        committer.commit(fixture.delivery(body), ()).await.unwrap();
    }
    let messages = messages(&fixture).await;
    assert_eq!(messages.len(), 400);
    assert!(messages.iter().all(|message| message.ends_with(":2:1")));
    // A commit that fails leaves its rows behind as dead ones.
    committer.stop(Duration::from_secs(5)).await;
    let dead = "SELECT sum(pg_stat_get_tuples_inserted(c.oid))::bigint FROM pg_class c \
                JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE n.nspname = 'trunkline_data' AND c.relkind = 'r'";
    // The server's processes report when they end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let inserted = fixture.database.count(dead).await;
    assert!((800..850).contains(&inserted), "{inserted}");
}

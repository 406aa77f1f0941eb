//! What is committed is there, as it was sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::harness::Fixture;

#[tokio::test]
async fn a_row_is_visible_to_others_once_its_commit_has_answered() {
    let fixture = Fixture::start().await;
    let committer = fixture.committer(1).await;
    let reader = fixture.database.connect().await;
    for number in 0..500 {
        let body = format!(r#"{{"messageId":"m{number}","type":"track"}}"#);
        committer.commit(fixture.delivery(&body), ()).await.unwrap();
        let sql = "SELECT body_json::text, raw, type, headers->>'user-agent' \
                   FROM trunkline.events WHERE message_id = $1";
        let row = reader
            .query_one(sql, &[&format!("m{number}")])
            .await
            .unwrap();
        let expected = format!(r#"{{"type": "track", "messageId": "m{number}"}}"#);
        assert_eq!(row.get::<_, String>(0), expected);
        assert_eq!(row.get::<_, Option<Vec<u8>>>(1), None);
        assert_eq!(row.get::<_, String>(2), "track");
        assert_eq!(row.get::<_, String>(3), "test");
    }
    committer.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn deliveries_of_every_size_are_stored_in_order_and_whole() {
    let fixture = Fixture::start().await;
    let committer = Arc::new(fixture.committer(2).await);
    let filler = "x".repeat(1_000);
    // From one row to 4,000 rows and 4 MB, together on both lanes.
    let sizes = [1, 2, 63, 64, 65, 250, 300, 1_000, 4_000, 1, 5];
    let mut commits = tokio::task::JoinSet::new();
    for (number, &size) in sizes.iter().enumerate() {
        let rows: Vec<_> = (0..size)
            .map(|row| format!(r#"{{"messageId":"{number}-{row}","filler":"{filler}"}}"#))
            .collect();
        let rows = fixture.delivery(&format!("[{}]", rows.join(",")));
        let committer = Arc::clone(&committer);
        commits.spawn(async move { committer.commit(rows, ()).await });
    }
    while let Some(answer) = commits.join_next().await {
        answer.unwrap().unwrap();
    }
    let sql = "SELECT split_part(message_id, '-', 1), count(*), count(DISTINCT xmin::text), \
               bool_and(split_part(message_id, '-', 2)::int = position) \
               FROM trunkline.events GROUP BY 1";
    let rows = fixture
        .database
        .connect()
        .await
        .query(sql, &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), sizes.len());
    for row in rows {
        let number: usize = row.get::<_, String>(0).parse().unwrap();
        assert_eq!(row.get::<_, i64>(1), sizes[number]);
        assert_eq!(
            row.get::<_, i64>(2),
            1,
            "delivery {number} took several transactions"
        );
        assert!(row.get::<_, bool>(3));
    }
}

#[tokio::test]
async fn deliveries_that_gather_share_a_commit_and_a_guard_lives_until_the_answer() {
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let fixture = Fixture::start().await;
    let committer = Arc::new(fixture.committer(1).await);
    let released = Arc::new(AtomicUsize::new(0));
    let mut commits = tokio::task::JoinSet::new();
    for number in 0..2_000 {
        let rows = fixture.delivery(&format!(r#"{{"messageId":"m{number}"}}"#));
        let (committer, guard) = (Arc::clone(&committer), Guard(Arc::clone(&released)));
        commits.spawn(async move { committer.commit(rows, guard).await });
    }
    while let Some(answer) = commits.join_next().await {
        answer.unwrap().unwrap();
    }
    committer.stop(Duration::from_secs(5)).await;
    assert_eq!(released.load(Ordering::SeqCst), 2_000);
    let sql = "SELECT message_id, xmin::text FROM trunkline.events";
    let rows = fixture
        .database
        .connect()
        .await
        .query(sql, &[])
        .await
        .unwrap();
    let messages: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let transactions: HashSet<String> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!((rows.len(), messages.len()), (2_000, 2_000));
    assert!(transactions.len() < 500, "{} commits", transactions.len());
}

#[tokio::test]
async fn a_delivery_whose_caller_has_gone_is_not_written() {
    let fixture = Fixture::start().await;
    let committer = Arc::new(fixture.committer(1).await);
    // Holds the only writer until it is released.
    let mut blocker = fixture.database.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE trunkline.events")
        .await
        .unwrap();
    let first = fixture.delivery(r#"{"messageId":"first"}"#);
    let first = {
        let committer = Arc::clone(&committer);
        tokio::spawn(async move { committer.commit(first, ()).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let gone = committer.commit(fixture.delivery(r#"{"messageId":"gone"}"#), ());
    assert!(
        tokio::time::timeout(Duration::from_millis(200), gone)
            .await
            .is_err()
    );
    lock.rollback().await.unwrap();
    first.await.unwrap().unwrap();
    committer
        .commit(fixture.delivery(r#"{"messageId":"last"}"#), ())
        .await
        .unwrap();
    assert_eq!(fixture.count("message_id = 'gone'").await, 0);
    assert_eq!(fixture.count("true").await, 2);
}

#[tokio::test]
async fn a_delivery_without_rows_needs_no_commit() {
    let fixture = Fixture::start().await;
    let committer = fixture.committer(1).await;
    committer.commit(fixture.delivery("[]"), ()).await.unwrap();
    assert_eq!(fixture.count("true").await, 0);
}

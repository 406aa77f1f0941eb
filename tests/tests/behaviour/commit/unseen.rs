//! What is there already is not stored again, whoever brings it and however a commit ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use trunkline_ingester::commit::{CommitError, CommitMetrics, Committed, Committer};
use trunkline_ingester::json::{Element, Envelope};
use trunkline_ingester::rows::{EncodedRows, Keys, RowEncoder};
use trunkline_model::verification::AuthScope;
use trunkline_tests::{PgBouncer, scaled};
use uuid::Uuid;

use super::harness::{Fixture, encoder, push_unrepaired, ready, start, target};

const MINUTE: u32 = 60;

/// A key for a number; the order of keys is not that of numbers.
fn key(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

/// A row whose `messageId` is `id`.
fn push(encoder: &mut RowEncoder<'_>, id: &str) {
    let body = format!(r#"{{"messageId":"{id}"}}"#);
    let element = Element {
        text: body.as_bytes(),
        body: body.as_str().into(),
        exact: true,
        envelope: Envelope {
            message_id: Some(id.into()),
            ..Envelope::default()
        },
    };
    encoder.push(&element, AuthScope::Request);
}

/// A delivery whose rows have keys of their own, or none. The number is the `messageId`.
fn rows(bucket: i32, numbers: &[(u64, bool)], window_seconds: u32) -> EncodedRows {
    let mut encoder = encoder(bucket).keyed(Keys::of_rows(window_seconds));
    for (number, has_key) in numbers {
        push(&mut encoder, &number.to_string());
        if *has_key {
            encoder.identify(key(*number));
        }
    }
    encoder.finish()
}

/// The same, each with a key.
fn keyed(bucket: i32, numbers: impl IntoIterator<Item = u64>) -> EncodedRows {
    let numbers: Vec<_> = numbers.into_iter().map(|number| (number, true)).collect();
    rows(bucket, &numbers, MINUTE)
}

/// A delivery that has one key for all of its rows.
fn whole(bucket: i32, number: u64, ids: &[&str]) -> EncodedRows {
    let mut encoder = encoder(bucket).keyed(Keys::Delivery {
        key: key(number),
        window_seconds: MINUTE,
    });
    for id in ids {
        push(&mut encoder, id);
    }
    encoder.finish()
}

fn left_out(left_out: usize) -> Result<Committed, CommitError> {
    Ok(Committed { left_out })
}

#[tokio::test]
async fn what_is_there_is_not_stored_again_and_all_else_is() {
    let fixture = Fixture::start().await;
    let (bucket, committer) = (fixture.bucket, fixture.committer(2).await);
    let commit = async |rows| committer.commit(rows, ()).await;
    assert_eq!(commit(keyed(bucket, [1, 2])).await, left_out(0));
    assert_eq!(commit(keyed(bucket, [1, 2])).await, left_out(2));
    // Some are there; one comes twice within the delivery; one has no key.
    let mixed = [(2, true), (3, true), (3, true), (4, false), (4, false)];
    assert_eq!(commit(rows(bucket, &mixed, MINUTE)).await, left_out(2));
    assert_eq!(
        commit(whole(bucket, 1_000_000, &["a", "a", "b"])).await,
        left_out(0)
    );
    assert_eq!(commit(whole(bucket, 1_000_000, &["c"])).await, left_out(1));
    // A committer that knows nothing of the others, and deliveries for the other lane.
    let other = fixture.committer(1).await;
    let large: Vec<_> = (0..5_000).map(|number| number + 2).collect();
    let answer = other.commit(keyed(bucket, large.clone()), ()).await;
    assert_eq!(answer, left_out(2));
    assert_eq!(commit(keyed(bucket, large)).await, left_out(5_000));
    assert_eq!(commit(fixture.delivery("{}")).await, left_out(0));

    let stored = "SELECT string_agg(concat_ws(':', id, n), ' ' ORDER BY id) FROM (\
                  SELECT message_id AS id, count(*) AS n FROM trunkline.events \
                  WHERE message_id IN ('1', '2', '3', '4', '5', 'a', 'b') GROUP BY 1) t";
    let stored: String = fixture.database.rows(stored, &[]).await[0].get(0);
    // 4 came twice without a key, and then with one.
    assert_eq!(stored, "1:1 2:1 3:1 4:3 5:1 a:2 b:1");
    // Nobody has been told of more than the table has, and the key of a commit is there with its rows.
    assert_eq!(fixture.count("true").await, 2 + 3 + 3 + (5_000 - 2) + 1);
    let keys = "SELECT count(*) FROM trunkline.seen_keys";
    assert_eq!(fixture.database.count(keys).await, 1 + 1 + 5_000);
    other.stop(Duration::from_secs(5)).await;
    committer.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_window_is_exact_on_both_sides_and_no_repeat_makes_it_longer() {
    let fixture = Fixture::start().await;
    let committer = fixture.committer(1).await;
    let (begun, mut longest, mut last) = (Instant::now(), Duration::ZERO, Instant::now());
    let mut stored = 0;
    while begun.elapsed() < Duration::from_millis(3_500) {
        let rows = rows(fixture.bucket, &[(1, true)], 1);
        let answer = committer.commit(rows, ()).await.unwrap();
        stored += 1 - i64::try_from(answer.left_out).unwrap();
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    assert_eq!(fixture.count("true").await, stored);
    assert!((3..=4).contains(&stored), "{stored}");
    let gaps = "SELECT extract(epoch FROM received_at - lag(received_at) \
                OVER (ORDER BY received_at))::float8 FROM trunkline.events ORDER BY received_at";
    for row in &fixture.database.rows(gaps, &[]).await[1..] {
        let gap: f64 = row.get(0);
        assert!(gap >= 1.0, "{gap}");
        assert!(
            gap < 1.0 + 2.0 * longest.as_secs_f64(),
            "{gap}: {longest:?}"
        );
    }
    committer.stop(Duration::from_secs(5)).await;
}

/// Commits until it is done: who is told to come again does.
async fn persist(committer: &Committer, rows: EncodedRows) -> usize {
    loop {
        match committer.commit(rows.clone(), ()).await {
            Ok(Committed { left_out }) => return left_out,
            // Another commit held a key for too long, on a machine that has much to do.
            Err(CommitError::Undecided(reason)) if reason.contains("lock timeout") => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Two ingesters are given the same rows in opposite orders, at the same time, round after round.
async fn opposite_orders(fixture: &Fixture, committers: [Arc<Committer>; 2]) {
    const DELIVERIES: u64 = 40;
    const ROWS: u64 = 5;
    let rounds = scaled(30, 500);
    let bucket = fixture.bucket;
    for round in 0..rounds {
        let first = round * DELIVERIES * ROWS;
        let of_delivery = move |delivery: u64| {
            let from = first + delivery * ROWS;
            from..from + ROWS
        };
        let start = Arc::new(Barrier::new(2 * usize::try_from(DELIVERIES).unwrap()));
        let mut commits = JoinSet::new();
        for (is_reversed, committer) in [false, true].into_iter().zip(&committers) {
            for place in 0..DELIVERIES {
                let rows = match is_reversed {
                    false => keyed(bucket, of_delivery(place)),
                    true => keyed(bucket, of_delivery(DELIVERIES - 1 - place).rev()),
                };
                let (committer, start) = (Arc::clone(committer), Arc::clone(&start));
                commits.spawn(async move {
                    start.wait().await;
                    persist(&committer, rows).await
                });
            }
        }
        let left_out: usize = commits.join_all().await.into_iter().sum();
        assert_eq!(left_out as u64, DELIVERIES * ROWS, "round {round}");
    }
    let expected = i64::try_from(rounds * DELIVERIES * ROWS).unwrap();
    assert_eq!(fixture.count("true").await, expected);
    let once = "SELECT count(DISTINCT message_id) FROM trunkline.events";
    assert_eq!(fixture.database.count(once).await, expected);
    for committer in committers {
        committer.stop(Duration::from_secs(5)).await;
    }
    // The server's processes report when they end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let deadlocks = "SELECT sum(deadlocks)::bigint FROM pg_stat_database";
    assert_eq!(fixture.database.count(deadlocks).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ingesters_with_the_same_keys_in_opposite_orders_store_each_once_without_a_deadlock() {
    let fixture = Fixture::start().await;
    let committers = [fixture.committer(4).await, fixture.committer(4).await].map(Arc::new);
    opposite_orders(&fixture, committers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_two_ingesters_behind_pgbouncer() {
    let fixture = Fixture::start().await;
    let pooler = PgBouncer::start(&fixture.database.url(), 6).await;
    let url = pooler.url(fixture.database.ingest_url());
    let committers = [start(target(&url), 4), start(target(&url), 4)].map(Arc::new);
    for committer in &committers {
        ready(committer).await;
    }
    opposite_orders(&fixture, committers).await;
    drop(pooler);
}

/// A commit that holds keys and does not end: that of a pod whose node is gone.
#[tokio::test]
async fn only_deliveries_with_keys_wait_for_a_commit_that_never_ends_and_only_for_a_moment() {
    let fixture = Fixture::start().await;
    let (bucket, committer) = (fixture.bucket, Arc::new(fixture.committer(1).await));
    let gone = fixture.database.connect().await;
    let take = "SELECT trunkline.unseen(ARRAY[$1::uuid], ARRAY[60])";
    gone.batch_execute("BEGIN").await.unwrap();
    let take = take.replace("$1", &format!("'{}'", key(1)));
    gone.batch_execute(&take).await.unwrap();

    let spawn = |rows| {
        let committer = Arc::clone(&committer);
        tokio::spawn(async move {
            let begun = Instant::now();
            (committer.commit(rows, ()).await, begun.elapsed())
        })
    };
    // While the only writer waits, the others gather to one commit.
    let first = spawn(keyed(bucket, [1]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let others = [
        spawn(keyed(bucket, [1, 2])),
        spawn(fixture.delivery("{}")),
        spawn(keyed(bucket, [3])),
        spawn(rows(bucket, &[(4, false)], MINUTE)),
    ];
    let (answer, took) = first.await.unwrap();
    assert!(
        matches!(answer, Err(CommitError::Undecided(_))),
        "{answer:?}"
    );
    assert!(took < Duration::from_secs(2), "{took:?}");
    let mut answers = Vec::new();
    for other in others {
        let (answer, took) = other.await.unwrap();
        assert!(took < Duration::from_secs(3), "{took:?}");
        answers.push(answer);
    }
    for (answer, is_keyed) in answers.iter().zip([true, false, true, false]) {
        match answer {
            Err(CommitError::Undecided(reason)) if is_keyed => {
                assert!(reason.contains("lock timeout"), "{reason}");
            }
            answer => assert!(!is_keyed && *answer == left_out(0), "{answers:?}"),
        }
    }
    assert_eq!(fixture.count("true").await, 2);
    // Nothing was taken by those who were refused.
    gone.batch_execute("ROLLBACK").await.unwrap();
    let rows = keyed(bucket, [1, 2, 3]);
    assert_eq!(committer.commit(rows, ()).await, left_out(0));
    committer.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_row_that_only_the_database_refuses_is_stored_once_as_well() {
    let fixture = Fixture::start().await;
    let metrics = CommitMetrics::default();
    let committer = Committer::start(fixture.target(), 1, metrics.clone()).unwrap();
    ready(&committer).await;
    let delivery = |first: u64| {
        let mut encoder = encoder(fixture.bucket).keyed(Keys::of_rows(MINUTE));
        for (number, body) in (first..).zip(["1", r#"{"a":"\ud800"}"#, "3"]) {
            push_unrepaired(&mut encoder, body);
            encoder.identify(key(number));
        }
        encoder.finish()
    };
    assert_eq!(committer.commit(delivery(0), ()).await, left_out(0));
    assert_eq!(metrics.quarantined_rows(), 1);
    assert_eq!(committer.commit(delivery(0), ()).await, left_out(3));
    // Of a delivery that has one row new, and that one is bad.
    assert_eq!(
        committer.commit(keyed(fixture.bucket, [10, 12]), ()).await,
        left_out(0)
    );
    assert_eq!(committer.commit(delivery(10), ()).await, left_out(2));
    assert_eq!(fixture.count("true").await, 3 + 3);
    assert_eq!(fixture.count("raw IS NOT NULL").await, 2);
    committer.stop(Duration::from_secs(5)).await;
}

/// Both ways to tell repeats: deliveries by one key each, messages in them by the partition's index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_may_mark_messages_and_store_no_delivery_twice() {
    let fixture = Fixture::with_relations().await;
    let (bucket, committer) = (fixture.bucket, Arc::new(fixture.committer(2).await));
    let shown = async || {
        let sql = "SELECT string_agg(concat_ws(':', id, n, shown), ' ' ORDER BY id) FROM (\
                   SELECT message_id AS id, count(*) AS n, count(*) FILTER (WHERE NOT dup) \
                   AS shown FROM trunkline.events GROUP BY 1) t";
        let text: String = fixture.database.rows(sql, &[]).await[0].get(0);
        text
    };
    for (number, ids, expected) in [
        (1, ["a", "b"].as_slice(), 0),
        (2, &["b", "c"], 0),
        // While it is asked about what comes.
        (2, &["b", "c"], 2),
        (3, &["d", "d", "a"], 0),
        (1, &["a", "b"], 2),
        (4, &["e"], 0),
    ] {
        let answer = committer.commit(whole(bucket, number, ids), ()).await;
        assert_eq!(answer, left_out(expected), "{number}");
    }
    assert_eq!(shown().await, "a:2:1 b:2:1 c:1:1 d:2:1 e:1:1");

    // The same messages in opposite orders at the same time, in deliveries of their own, each of them
    // sent by two.
    let other = Arc::new(fixture.committer(2).await);
    for round in 0..20_u64 {
        let ids: Vec<_> = (0..40).map(|id| format!("z{round}-{id}")).collect();
        let forth: Vec<_> = ids.iter().map(String::as_str).collect();
        let back: Vec<_> = forth.iter().rev().copied().collect();
        let mut commits = JoinSet::new();
        for (number, ids) in [(0, &forth), (1, &back)] {
            for committer in [&committer, &other] {
                let committer = Arc::clone(committer);
                let rows = whole(bucket, 100 + 2 * round + number, ids);
                commits.spawn(async move { persist(&committer, rows).await });
            }
        }
        let left_out: usize = commits.join_all().await.into_iter().sum();
        assert_eq!(left_out, 2 * ids.len(), "round {round}");
    }
    assert_eq!(fixture.count("message_id LIKE 'z%'").await, 20 * 2 * 40);
    let seen = fixture
        .count("message_id LIKE 'z%' AND NOT dup AND NOT unsettled")
        .await;
    let unsettled = fixture.count("message_id LIKE 'z%' AND unsettled").await;
    assert!(
        (20 * 40 - unsettled..=20 * 40).contains(&seen),
        "{seen} shown, {unsettled} to be settled"
    );
    for committer in [committer, other] {
        committer.stop(Duration::from_secs(5)).await;
    }
}

//! A database that is away, frozen, or takes no writes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trunkline_ingester::commit::{CommitError, DatabaseState, SynchronousCommit};

use super::harness::{Fixture, ready, start, target, timed, until_committed, wait_for};

/// What a sender may have to wait for an answer, less the rest of a request's way.
const ANSWER: Duration = Duration::from_millis(3_800);

/// From the database's return to the first commit.
const RETURN: Duration = Duration::from_secs(2);

fn is_unavailable(state: &DatabaseState) -> bool {
    matches!(state, DatabaseState::Unavailable { .. })
}

fn is_not_durable(state: &DatabaseState) -> bool {
    matches!(state, DatabaseState::NotDurable { .. })
}

#[tokio::test]
async fn a_stopped_database_refuses_at_once_and_is_used_again_when_it_is_back() {
    let mut fixture = Fixture::start().await;
    let committer = start(fixture.target(), 2);
    assert!(!committer.has_reached_database());
    let early = committer.commit(fixture.delivery("{}"), ()).await;
    assert!(
        matches!(early, Ok(_) | Err(CommitError::Unavailable(_))),
        "{early:?}"
    );
    ready(&committer).await;
    assert!(committer.has_reached_database());
    committer.commit(fixture.delivery("{}"), ()).await.unwrap();

    fixture.database.kill();
    wait_for(&committer, is_unavailable).await;
    for size in [1, 400] {
        let rows = vec![format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000)); size].join("\n");
        let (answer, took) = timed(committer.commit(fixture.delivery(&rows), ())).await;
        // One of the server's processes may outlive its postmaster by a moment, and end while it commits.
        assert!(
            matches!(
                answer,
                Err(CommitError::Unavailable(_) | CommitError::UnknownOutcome(_))
            ),
            "{answer:?}"
        );
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    fixture.database.start_again().await;
    let took = until_committed(&fixture, &committer).await;
    assert!(took < RETURN, "{took:?}");
}

#[tokio::test]
async fn a_frozen_database_is_answered_for_in_time_and_used_again_when_it_thaws() {
    let fixture = Fixture::start().await;
    let committer = Arc::new(fixture.committer(2).await);
    fixture.database.freeze();
    let mut commits = tokio::task::JoinSet::new();
    for number in 0..40_u64 {
        let (committer, rows) = (Arc::clone(&committer), fixture.delivery("{}"));
        commits.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number * 100)).await;
            timed(committer.commit(rows, ())).await
        });
    }
    let mut unknown = 0;
    while let Some(answer) = commits.join_next().await {
        let (answer, took) = answer.unwrap();
        let error = answer.unwrap_err();
        assert!(took < ANSWER, "{error} after {took:?}");
        unknown += usize::from(error.is_unknown_outcome());
    }
    assert!(unknown > 0);
    let (answer, took) = timed(committer.commit(fixture.delivery("{}"), ())).await;
    assert!(
        matches!(answer, Err(CommitError::Unavailable(_))),
        "{answer:?}"
    );
    assert!(took < Duration::from_millis(100), "{took:?}");
    fixture.database.thaw();
    let took = until_committed(&fixture, &committer).await;
    assert!(took < RETURN, "{took:?}");
}

#[tokio::test]
async fn a_terminated_session_is_replaced_before_anybody_notices() {
    let fixture = Fixture::start().await;
    let committer = fixture.committer(1).await;
    let client = fixture.database.connect().await;
    for _ in 0..20 {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name = 'trunkline-ingester'";
        client.execute(sql, &[]).await.unwrap();
        // Time for the end to arrive; what is sent into it has an unknown outcome, rightly.
        tokio::time::sleep(Duration::from_millis(50)).await;
        committer.commit(fixture.delivery("{}"), ()).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_and_what_was_refused_is_not_there() {
    let mut fixture = Fixture::start().await;
    let committer = Arc::new(fixture.committer(2).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..32 {
        let (committer, is_over) = (Arc::clone(&committer), Arc::clone(&is_over));
        let bodies = (0..).map(move |number| {
            let id = format!("{sender}-{number}");
            let row = format!(r#"{{"messageId":"{id}"}}"#);
            // Some are batches, so that all or nothing can be seen.
            (
                id,
                if number % 4 == 0 {
                    format!("[{row},{row},{row}]")
                } else {
                    row
                },
            )
        });
        let bucket = fixture.bucket;
        senders.spawn(async move {
            let mut outcomes = Vec::new();
            for (id, body) in bodies {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let rows = super::harness::encode(bucket, &body);
                let size = rows.len();
                let answer = committer.commit(rows, ()).await;
                if answer.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                outcomes.push((id, size, answer));
            }
            outcomes
        });
    }
    for pause in [700, 300, 900, 500] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        fixture.database.kill();
        fixture.database.start_again().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    is_over.store(true, Ordering::Relaxed);
    let outcomes: Vec<_> = senders.join_all().await.into_iter().flatten().collect();

    let client = fixture.database.connect().await;
    let sql = "SELECT message_id, count(*) FROM trunkline.events GROUP BY 1";
    let stored = client.query(sql, &[]).await.unwrap();
    let stored: std::collections::HashMap<String, i64> =
        stored.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut kinds = HashSet::new();
    for (id, size, answer) in &outcomes {
        let found = usize::try_from(stored.get(id).copied().unwrap_or(0)).unwrap();
        match answer {
            Ok(_) => assert_eq!(found, *size, "{id} was acknowledged"),
            Err(CommitError::UnknownOutcome(_)) => assert!(found == 0 || found == *size, "{id}"),
            Err(error) => assert_eq!(found, 0, "{id}: {error}"),
        }
        kinds.insert(answer.as_ref().map_or_else(CommitError::label, |_| "ok"));
    }
    assert_eq!(
        kinds,
        HashSet::from(["ok", "unavailable", "unknown_outcome"])
    );
}

#[tokio::test]
async fn a_server_that_does_not_sync_to_disk_is_refused_until_it_does() {
    let fixture = Fixture::start().await;
    fixture.set("fsync", "off").await;
    let committer = start(fixture.target(), 1);
    let state = wait_for(&committer, is_not_durable).await;
    assert!(format!("{state:?}").contains("set fsync = on"), "{state:?}");
    let answer = committer.commit(fixture.delivery("{}"), ()).await;
    assert!(
        matches!(answer, Err(CommitError::NotDurable(_))),
        "{answer:?}"
    );
    assert!(!committer.has_reached_database());
    fixture.set("fsync", "on").await;
    ready(&committer).await;
    committer.commit(fixture.delivery("{}"), ()).await.unwrap();
    // A running server is looked at every ten seconds.
    fixture.set("fsync", "off").await;
    let mut state = committer.state();
    let noticed = tokio::time::timeout(Duration::from_secs(13), state.wait_for(is_not_durable));
    drop(noticed.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_commit_is_as_synchronous_as_on_or_as_the_server_if_that_is_more() {
    let cases = [
        ("off", SynchronousCommit::Off, "on"),
        ("local", SynchronousCommit::Local, "on"),
        (
            "remote_apply",
            SynchronousCommit::RemoteApply,
            "remote_apply",
        ),
    ];
    let fixture = Fixture::start().await;
    let client = fixture.database.connect().await;
    fixture
        .execute(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN new.event := current_setting('synchronous_commit'); RETURN new; END $$; \
             CREATE TRIGGER note BEFORE INSERT ON trunkline.events \
             FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    for (server, seen, ours) in cases {
        fixture.set("synchronous_commit", server).await;
        let committer = start(fixture.target(), 1);
        let is_seen = |state: &DatabaseState| match state {
            DatabaseState::Ready(settings) => settings.synchronous_commit == seen,
            _ => false,
        };
        wait_for(&committer, is_seen).await;
        let body = format!(r#"{{"messageId":"{server}"}}"#);
        committer.commit(fixture.delivery(&body), ()).await.unwrap();
        let sql = "SELECT event FROM trunkline.events WHERE message_id = $1";
        let row = client.query_one(sql, &[&server]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), ours);
    }
}

#[tokio::test]
async fn a_role_that_may_not_write_is_unavailable_with_the_reason_until_it_may() {
    let fixture = Fixture::start().await;
    let client = fixture.database.connect().await;
    client
        .batch_execute("CREATE ROLE writer LOGIN PASSWORD 'hunter2'")
        .await
        .unwrap();
    let url = format!(
        "postgres://writer:hunter2@127.0.0.1:{}/trunkline",
        fixture.database.port()
    );
    let committer = start(target(&url), 1);

    let grants = [
        (
            "permission denied for schema trunkline",
            "GRANT USAGE ON SCHEMA trunkline TO writer",
        ),
        (
            "permission denied for table events",
            "GRANT INSERT ON trunkline.events TO writer",
        ),
    ];
    for (reason, grant) in grants {
        wait_for(&committer, |state| format!("{state:?}").contains(reason)).await;
        client.batch_execute(grant).await.unwrap();
    }
    ready(&committer).await;
    committer.commit(fixture.delivery("{}"), ()).await.unwrap();

    client
        .batch_execute("REVOKE INSERT ON trunkline.events FROM writer")
        .await
        .unwrap();
    let answer = committer.commit(fixture.delivery("{}"), ()).await;
    assert!(
        matches!(answer, Err(CommitError::Unavailable(_))),
        "{answer:?}"
    );
    wait_for(&committer, is_unavailable).await;

    let wrong = start(target(&url.replace("hunter2", "hunter3")), 1);
    let state = wait_for(&wrong, is_unavailable).await;
    let text = format!("{state:?}");
    assert!(
        text.contains("password authentication failed") && !text.contains("hunter"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_has_become_read_only_is_unavailable_until_it_is_not() {
    let fixture = Fixture::start().await;
    let committer = fixture.committer(1).await;
    fixture.set("default_transaction_read_only", "on").await;
    let answer = committer.commit(fixture.delivery("{}"), ()).await;
    assert!(matches!(&answer, Err(CommitError::Unavailable(reason)) if reason.contains("25006")));
    wait_for(&committer, is_unavailable).await;
    fixture.set("default_transaction_read_only", "off").await;
    let took = until_committed(&fixture, &committer).await;
    assert!(took < RETURN, "{took:?}");
}

#[tokio::test]
async fn a_commit_that_misses_its_deadline_behind_a_lock_is_cancelled() {
    let fixture = Fixture::start().await;
    let committer = fixture.committer(1).await;
    let mut client = fixture.database.connect().await;
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE trunkline.events")
        .await
        .unwrap();
    let (answer, took) = timed(committer.commit(fixture.delivery("{}"), ())).await;
    assert!(
        matches!(answer, Err(CommitError::UnknownOutcome(_))),
        "{answer:?}"
    );
    assert!(took < ANSWER, "{took:?}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    lock.rollback().await.unwrap();
    until_committed(&fixture, &committer).await;
    assert_eq!(
        fixture.count("true").await,
        1,
        "the first was committed after it was refused"
    );
}

#[tokio::test]
async fn a_commit_that_a_standby_has_not_confirmed_is_not_acknowledged() {
    let fixture = Fixture::start().await;
    let client = fixture.database.connect().await;
    let committer = fixture.committer(1).await;
    fixture.set("synchronous_standby_names", "nobody").await;
    let (answer, took) = timed(committer.commit(fixture.delivery("{}"), ())).await;
    assert!(
        matches!(answer, Err(CommitError::UnknownOutcome(_))),
        "{answer:?}"
    );
    assert!(took < ANSWER, "{took:?}");
    // The wait has been cancelled: no backend stays behind.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    assert_eq!(
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0),
        0
    );

    // An administrator may end the wait, and then the server says COMMIT, but with a warning.
    let committer = Arc::new(fixture.committer(1).await);
    let commit = {
        let (committer, rows) = (Arc::clone(&committer), fixture.delivery("{}"));
        tokio::spawn(async move { committer.commit(rows, ()).await })
    };
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while client.execute(cancel, &[]).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = commit.await.unwrap();
    assert!(
        matches!(&answer, Err(CommitError::UnknownOutcome(reason)) if reason.contains("warned")),
        "{answer:?}"
    );
}

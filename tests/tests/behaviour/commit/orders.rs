//! Changes of the database's address and of the number of writers, ways to log in, and the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use trunkline_ingester::commit::{CommitError, Committer, DatabaseState};

use super::harness::{Fixture, encode, ready, start, target, wait_for};

/// Sends single rows on some tasks until told to end; each task returns how many were acknowledged.
fn load(committer: &Arc<Committer>, bucket: i32, is_over: &Arc<AtomicBool>) -> JoinSet<usize> {
    let mut senders = JoinSet::new();
    for _ in 0..16 {
        let (committer, is_over) = (Arc::clone(committer), Arc::clone(is_over));
        senders.spawn(async move {
            let mut acknowledged = 0;
            while !is_over.load(Ordering::Relaxed) {
                committer.commit(encode(bucket, "{}"), ()).await.unwrap();
                acknowledged += 1;
            }
            acknowledged
        });
    }
    senders
}

async fn sessions(fixture: &Fixture) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE application_name = 'trunkline-ingester'";
    fixture.database.count(sql).await
}

async fn wait_for_sessions(fixture: &Fixture, count: i64) {
    for _ in 0..100 {
        if sessions(fixture).await == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} sessions, not {count}", sessions(fixture).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_refused_while_the_database_moves() {
    let (old, new) = tokio::join!(Fixture::start(), Fixture::start());
    assert_eq!(old.bucket, new.bucket);
    let committer = Arc::new(old.committer(2).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let senders = load(&committer, old.bucket, &is_over);
    tokio::time::sleep(Duration::from_millis(300)).await;
    committer.reconfigure(new.target(), 2).unwrap();
    wait_for_sessions(&old, 0).await;
    let before = old.count("true").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    is_over.store(true, Ordering::Relaxed);
    let acknowledged: usize = senders.join_all().await.into_iter().sum();
    let after = new.count("true").await;
    assert_eq!(old.count("true").await, before);
    assert!(before > 0 && after > 0);
    assert_eq!(usize::try_from(before + after).unwrap(), acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_refused_while_the_number_of_writers_changes() {
    let fixture = Fixture::start().await;
    let committer = Arc::new(fixture.committer(1).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let senders = load(&committer, fixture.bucket, &is_over);
    for writers in [4, 1, 3, 2] {
        committer.reconfigure(fixture.target(), writers).unwrap();
        // One more writes large deliveries.
        wait_for_sessions(&fixture, i64::try_from(writers).unwrap() + 1).await;
    }
    for writers in [4, 1].repeat(50) {
        committer.reconfigure(fixture.target(), writers).unwrap();
    }
    wait_for_sessions(&fixture, 2).await;
    is_over.store(true, Ordering::Relaxed);
    let acknowledged: usize = senders.join_all().await.into_iter().sum();
    assert_eq!(
        usize::try_from(fixture.count("true").await).unwrap(),
        acknowledged
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_commits_what_waits_and_leaves_no_session() {
    let fixture = Fixture::start().await;
    let committer = Arc::new(fixture.committer(1).await);
    let mut commits = JoinSet::new();
    for _ in 0..3_000 {
        let (committer, rows) = (Arc::clone(&committer), fixture.delivery("{}"));
        commits.spawn(async move { committer.commit(rows, ()).await });
    }
    // Some are committed, some wait, some have not come yet.
    commits.join_next().await.unwrap().unwrap().unwrap();
    committer.stop(Duration::from_secs(10)).await;
    let mut committed = 1;
    for answer in commits.join_all().await {
        match answer {
            Ok(_) => committed += 1,
            Err(error) => assert_eq!(error, CommitError::Stopping),
        }
    }
    assert_eq!(fixture.count("true").await, committed);
    let answer = committer.commit(fixture.delivery("{}"), ()).await;
    assert_eq!(answer, Err(CommitError::Stopping));
    wait_for_sessions(&fixture, 0).await;
}

#[tokio::test]
async fn a_stop_with_a_dead_database_does_not_wait() {
    let committer = start(target("postgres://u:p@127.0.0.1:1/d"), 4);
    wait_for(&committer, |state| {
        matches!(state, DatabaseState::Unavailable { .. })
    })
    .await;
    let stop = committer.stop(Duration::from_secs(10));
    tokio::time::timeout(Duration::from_secs(1), stop)
        .await
        .unwrap();
}

#[tokio::test]
async fn logins_by_md5_and_trust_work_and_a_clear_text_password_is_not_sent() {
    let fixture = Fixture::start().await;
    let hba = fixture.database.rows("SHOW hba_file", &[]).await[0].get::<_, String>(0);
    let rules = std::fs::read_to_string(&hba).unwrap();
    let ours = "host all by_md5 127.0.0.1/32 md5\nhost all by_trust 127.0.0.1/32 trust\n\
                host all by_password 127.0.0.1/32 password\n";
    std::fs::write(&hba, format!("{ours}{rules}")).unwrap();
    fixture
        .execute(
            "SET password_encryption = md5; \
             CREATE ROLE by_md5 SUPERUSER LOGIN PASSWORD 'a b'; \
             CREATE ROLE by_trust SUPERUSER LOGIN; \
             CREATE ROLE by_password SUPERUSER LOGIN PASSWORD 'p'; \
             SELECT pg_reload_conf()",
        )
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let port = fixture.database.port();
    for user in ["by_md5:a%20b", "by_trust"] {
        let committer = start(
            target(&format!("postgres://{user}@127.0.0.1:{port}/trunkline")),
            1,
        );
        ready(&committer).await;
        committer.commit(fixture.delivery("{}"), ()).await.unwrap();
    }
    let refused = [
        ("by_password:p", "clear text"),
        ("by_md5", "the database URL has none"),
    ];
    for (user, reason) in refused {
        let committer = start(
            target(&format!("postgres://{user}@127.0.0.1:{port}/trunkline")),
            1,
        );
        wait_for(&committer, |state| format!("{state:?}").contains(reason)).await;
    }
}

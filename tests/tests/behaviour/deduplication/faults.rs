//! What becomes of keys and rows when something fails between them.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use trunkline_model::deduplication::Identity;
use trunkline_model::request::BodyFormat;
use trunkline_tests::{Behaviour, Client, Database, IngesterProcess, Proxy, SourceDraft, Station};

use super::{once, post, stored};

/// The reason for all of it: the answer is lost, and the sender comes again.
#[tokio::test]
async fn an_event_whose_answer_was_lost_is_there_once_when_it_comes_again() {
    let database = Database::start().await;
    let proxy = Proxy::start(database.port()).await;
    let draft = once("shop", BodyFormat::Json, Identity::MessageId);
    let mut station = Station::unready(database, vec![draft], Some(proxy)).await;
    station.ingester.ready().await;
    let proxy = station.proxy.as_ref().unwrap();
    proxy.behave(Behaviour::LoseCommitAnswer { every: 3 });
    let mut client = station.ingester.client();
    let mut lost = 0;
    for number in 0..60 {
        let body = format!(r#"{{"messageId":"{number}"}}"#);
        let begun = Instant::now();
        loop {
            let answer = client
                .post(&station.path(), &[], body.clone())
                .await
                .unwrap();
            if answer.status == 200 {
                break;
            }
            assert_eq!(answer.status, 503);
            lost += 1;
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    }
    assert!(lost > 5 && proxy.lost_answers() > 5, "{lost}");
    assert_eq!(stored(&station, "shop").await.len(), 60);
}

/// The rows have to wait for their table once the keys are taken.
#[tokio::test]
async fn an_ingester_that_is_killed_between_the_keys_and_the_commit_leaves_neither() {
    let draft = once("shop", BodyFormat::Json, Identity::MessageId);
    let mut station = Station::with(vec![draft]).await;
    let mut locker = station.database.connect().await;
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE trunkline.events IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let address = station.ingester.address();
    let url = station.path();
    let posting = tokio::spawn(async move {
        let body = r#"{"messageId":"1"}"#;
        Client::new(address).post(&url, &[], body).await
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND query LIKE 'COPY%'";
    let begun = Instant::now();
    while station.database.count(waiting).await == 0 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    station.ingester.kill();
    assert!(posting.await.unwrap().is_err());
    // The server gives up at the lock's timeout, and finds nobody to tell.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = \
                'trunkline-ingester'";
    while station.database.count(left).await > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lock.rollback().await.unwrap();
    let keys = "SELECT count(*) FROM trunkline.seen_keys";
    assert_eq!(station.database.count(keys).await, 0);
    assert_eq!(stored(&station, "shop").await.len(), 0);
    station.ingester.start_again();
    station.ingester.ready().await;
    let mut client = station.ingester.client();
    let body = r#"{"messageId":"1"}"#;
    for _ in 0..2 {
        post(&mut client, &station.sources[0], &[], body).await;
    }
    assert_eq!(stored(&station, "shop").await.len(), 1);
}

fn signal(ingester: &IngesterProcess, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(ingester.id()).unwrap());
    kill(process, signal).unwrap();
}

/// It has taken keys and sends no rows, and its connection stays open: as where a node is gone.
#[tokio::test]
async fn an_ingester_that_is_frozen_between_its_flights_holds_its_keys_for_seconds_and_no_longer() {
    let draft = once("shop", BodyFormat::Json, Identity::MessageId);
    let station = Station::with(vec![draft]).await;
    let mut other = IngesterProcess::start(station.config.path());
    other.ready().await;
    let (address, url) = (station.ingester.address(), station.path());
    let body = r#"{"messageId":"1"}"#;
    let mut locker = station.database.connect().await;
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE trunkline.seen_keys IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let path = url.clone();
    let frozen = tokio::spawn(async move { Client::new(address).post(&path, &[], body).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                   AND query LIKE '%unseen%'";
    let begun = Instant::now();
    let soon = async |sql: &str| {
        while station.database.count(sql).await == 0 {
            assert!(begun.elapsed() < Duration::from_secs(5), "{sql}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(waiting).await;
    signal(&station.ingester, Signal::SIGSTOP);
    lock.rollback().await.unwrap();
    let taken = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' \
                 AND query LIKE '%unseen%'";
    soon(taken).await;
    let (mut client, mut refused) = (other.client(), 0);
    loop {
        let answer = client.post(&url, &[], body).await.unwrap();
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.status, 503);
        refused += 1;
        assert!(begun.elapsed() < Duration::from_secs(15));
    }
    println!("{refused} requests were refused in {:?}", begun.elapsed());
    assert!(refused > 3 && begun.elapsed() > Duration::from_secs(4));
    signal(&station.ingester, Signal::SIGCONT);
    let answer = frozen.await.unwrap();
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 503));
    assert_eq!(stored(&station, "shop").await.len(), 1);
}

#[tokio::test]
async fn where_repeats_cannot_be_told_their_source_alone_is_503_with_the_reason() {
    let station = Station::with(vec![
        once("shop", BodyFormat::Json, Identity::MessageId),
        SourceDraft::unverified("plain"),
    ])
    .await;
    let [shop, plain] = &station.sources[..] else {
        panic!("two sources");
    };
    let client = &mut station.ingester.client();
    let mut admin = station.database.connect().await;
    let group = "SELECT rolname::text FROM pg_roles WHERE rolname LIKE '%\\_ingest'";
    let group: String = admin.query_one(group, &[]).await.unwrap().get(0);
    post(client, shop, &[], r#"{"messageId":"1"}"#).await;
    let function = "trunkline.unseen(uuid[], integer[])";
    for (fault, mend, reason) in [
        (
            format!("REVOKE EXECUTE ON FUNCTION {function} FROM {group}"),
            format!("GRANT EXECUTE ON FUNCTION {function} TO {group}"),
            "permission denied for function unseen",
        ),
        (
            format!("ALTER FUNCTION {function} RENAME TO unseen_elsewhere"),
            "ALTER FUNCTION trunkline.unseen_elsewhere(uuid[], integer[]) RENAME TO unseen"
                .to_owned(),
            "does not exist",
        ),
        (
            "ALTER TABLE trunkline.seen_keys RENAME TO elsewhere".to_owned(),
            "ALTER TABLE trunkline.elsewhere RENAME TO seen_keys".to_owned(),
            "does not exist",
        ),
    ] {
        // One line a second of each kind of refusal is logged.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        admin.batch_execute(&fault).await.unwrap();
        for body in [r#"{"messageId":"1"}"#, r#"{"messageId":"2"}"#] {
            let answer = client.post(&shop.path(), &[], body).await.unwrap();
            assert_eq!(answer.status, 503, "{fault}");
        }
        // What has no key is no repeat, whoever sends it.
        post(client, shop, &[], "{}").await;
        post(client, plain, &[], "{}").await;
        let log = station.ingester.log();
        assert!(log.contains(reason), "{fault}: {log}");
        assert!(log.contains("undecided"), "{log}");
        admin.batch_execute(&mend).await.unwrap();
        post(client, shop, &[], r#"{"messageId":"1"}"#).await;
    }
    // Somebody's lock on the table of keys.
    let lock = admin.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE trunkline.seen_keys IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let answer = client
        .post(&shop.path(), &[], r#"{"messageId":"3"}"#)
        .await
        .unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.elapsed < Duration::from_secs(2), "{answer:?}");
    post(client, plain, &[], "{}").await;
    lock.rollback().await.unwrap();
    post(client, shop, &[], r#"{"messageId":"3"}"#).await;
    assert_eq!(stored(&station, "shop").await.len(), 1 + 3 + 1);
    assert_eq!(stored(&station, "plain").await.len(), 4);
    let up = "trunkline_ingester_database_up";
    assert_eq!(station.ingester.metric(up, "").await, 1.0);
}

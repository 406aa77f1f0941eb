//! What senders are told while the database is stopped, frozen, unreachable or not durable.
//!
//! Times are part of what is asserted, so few tests run at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{
    Answer, Behaviour, Client, ConfigDir, Database, IngesterProcess, OwnNetwork, SECRET,
    SourceDraft, Station, events, scaled, seed, signed_single,
};

/// How long a sender may wait for a 503 when nothing answers.
const SLOWEST_REFUSAL: Duration = Duration::from_secs(4);

/// How long when the database refuses.
const SLOWEST_REFUSAL_WHEN_REFUSED: Duration = Duration::from_secs(1);

/// How soon after the database's return a POST is answered with 200.
const RECOVERY: Duration = Duration::from_secs(2);

/// Waits until fewer than three others run.
async fn turn() -> SemaphorePermit<'static> {
    static TURNS: Semaphore = Semaphore::const_new(3);
    TURNS.acquire().await.unwrap()
}

/// Posts one event.
async fn post(client: &mut Client, path: &str) -> Answer {
    let event = &events(rand::random(), 1)[0];
    let (body, signature) = signed_single(SECRET.as_bytes(), &event.json);
    client
        .post(path, &[(SIGNATURE_HEADER, &signature)], body)
        .await
        .expect("an answer")
}

/// Posts on 20 connections, 3 times each, and expects nothing but 503 within `slowest`.
async fn every_post_is_503(station: &Station, what: &str, slowest: Duration) {
    let mut senders = JoinSet::new();
    for _ in 0..20 {
        let (mut client, path) = (station.ingester.client(), station.path());
        senders.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..3 {
                answers.push(post(&mut client, &path).await);
            }
            answers
        });
    }
    let answers = senders.join_all().await.concat();
    let longest = answers.iter().map(|answer| answer.elapsed).max().unwrap();
    println!("{what}: 503 after {longest:?} at most");
    for answer in &answers {
        assert_eq!(
            (answer.status, answer.text.trim()),
            (503, "service unavailable"),
            "{what}"
        );
        assert!(answer.headers.contains_key("retry-after"), "{what}");
    }
    assert!(longest < slowest, "{what}: {longest:?}");
}

/// Expects a 200 within `RECOVERY` from now.
async fn soon_200(station: &Station, what: &str) {
    let start = Instant::now();
    let mut client = station.ingester.client();
    while post(&mut client, &station.path()).await.status != 200 {
        assert!(
            start.elapsed() < RECOVERY,
            "{what}: not back\n{}",
            station.ingester.log()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{what}: 200 after {:?}", start.elapsed());
    assert!(start.elapsed() < RECOVERY, "{what}: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_stopped_database_is_503_at_once_and_comes_back_without_a_restart() {
    let _turn = turn().await;
    let mut station = Station::segment().await;
    soon_200(&station, "start").await;
    station.database.shut_down().await;
    every_post_is_503(&station, "stopped", SLOWEST_REFUSAL_WHEN_REFUSED).await;
    assert_eq!(
        station.ingester.admin("/readyz").await.unwrap().status,
        200,
        "an outage keeps it"
    );
    station.database.start_again().await;
    soon_200(&station, "started again").await;

    station.database.kill();
    every_post_is_503(&station, "killed", SLOWEST_REFUSAL_WHEN_REFUSED).await;
    station.database.start_again().await;
    soon_200(&station, "started after a kill").await;
}

#[tokio::test]
async fn a_frozen_database_is_503_within_4_s_and_comes_back_without_a_restart() {
    let _turn = turn().await;
    let station = Station::segment().await;
    soon_200(&station, "start").await;
    station.database.freeze();
    every_post_is_503(&station, "frozen", SLOWEST_REFUSAL).await;
    station.database.thaw();
    soon_200(&station, "thawed").await;
}

#[tokio::test]
async fn an_unreachable_database_is_503_within_4_s_and_comes_back_without_a_restart() {
    let _turn = turn().await;
    let station = Station::behind_proxy().await;
    let proxy = station.proxy.as_ref().unwrap();
    soon_200(&station, "start").await;
    for (behaviour, slowest) in [
        (Behaviour::BlackHole, SLOWEST_REFUSAL),
        (Behaviour::Refuse, SLOWEST_REFUSAL_WHEN_REFUSED),
    ] {
        let what = format!("{behaviour:?}");
        proxy.behave(behaviour);
        every_post_is_503(&station, &what, slowest).await;
        proxy.behave(Behaviour::Pass);
        soon_200(&station, &format!("after {what}")).await;
    }
}

#[tokio::test]
async fn a_database_whose_packets_are_dropped_is_503_within_4_s_and_comes_back_without_a_restart() {
    let _turn = turn().await;
    let test =
        "a_database_whose_packets_are_dropped_is_503_within_4_s_and_comes_back_without_a_restart";
    let Some(network) = OwnNetwork::enter(test) else {
        return;
    };
    let database = Database::start().await;
    let port = database.port();
    let mut sources = vec![SourceDraft::segment("segment", &[SECRET])];
    database
        .provision(&ConfigDir::cluster(), &mut sources)
        .await;
    let mut config = ConfigDir::new(database.ingest_url());
    let hash = config.write(&sources);
    network.drop_packets(port);
    let ingester = IngesterProcess::start(config.path());
    let mut station = Station {
        ingester,
        config,
        sources,
        proxy: None,
        database,
    };
    station.ingester.serving(&hash).await;
    every_post_is_503(&station, "SYNs dropped from the start", SLOWEST_REFUSAL).await;
    assert_eq!(
        station.ingester.admin("/readyz").await.unwrap().status,
        503,
        "it has never reached a database"
    );
    // The kernel repeats a SYN after 1, 3, 7 and 15 s: whoever waits for it is late now.
    tokio::time::sleep(Duration::from_secs(8)).await;
    every_post_is_503(&station, "SYNs dropped for long", SLOWEST_REFUSAL).await;
    network.pass_packets(port);
    soon_200(&station, "SYNs pass").await;
    station.ingester.ready().await;

    for round in 1..=scaled(1, 3) {
        network.drop_packets(port);
        every_post_is_503(&station, "established, then dropped", SLOWEST_REFUSAL).await;
        tokio::time::sleep(Duration::from_secs(4 * round)).await;
        network.pass_packets(port);
        soon_200(&station, "packets pass again").await;
    }
}

#[tokio::test]
async fn an_ingester_started_without_a_database_is_not_ready_until_there_is_one() {
    let _turn = turn().await;
    let mut database = Database::start().await;
    let mut sources = vec![SourceDraft::segment("segment", &[SECRET])];
    database
        .provision(&ConfigDir::cluster(), &mut sources)
        .await;
    database.shut_down().await;
    let mut config = ConfigDir::new(database.ingest_url());
    let hash = config.write(&sources);
    let ingester = IngesterProcess::start(config.path());
    let mut station = Station {
        ingester,
        config,
        sources,
        proxy: None,
        database,
    };
    station.ingester.serving(&hash).await;
    let ready = station.ingester.admin("/readyz").await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("database"), "{}", ready.text);
    assert_eq!(station.ingester.admin("/livez").await.unwrap().status, 200);
    every_post_is_503(&station, "no database yet", SLOWEST_REFUSAL_WHEN_REFUSED).await;
    station.database.start_again().await;
    soon_200(&station, "the first database").await;
    station.ingester.ready().await;
}

#[tokio::test]
async fn a_server_without_fsync_is_refused_and_reported() {
    let _turn = turn().await;
    let database = Database::start_with(&[("fsync", "off")]).await;
    let sources = vec![SourceDraft::segment("segment", &[SECRET])];
    let station = Station::unready(database, sources, None).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let database = loop {
        let database = match station.ingester.admin("/config").await {
            Some(answer) => {
                serde_json::from_str::<serde_json::Value>(&answer.text).unwrap()["database"].clone()
            }
            None => serde_json::Value::Null,
        };
        if database["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("fsync"))
        {
            break database;
        }
        assert!(Instant::now() < deadline, "{database}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(database["durable"], false, "{database}");
    every_post_is_503(&station, "fsync=off", SLOWEST_REFUSAL_WHEN_REFUSED).await;
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM segment.events")
            .await,
        0
    );
    assert_eq!(
        station
            .ingester
            .metric("trunkline_ingester_database_durable", "")
            .await,
        0.0
    );
}

#[tokio::test]
async fn synchronous_commit_off_is_overridden_and_reported() {
    let _turn = turn().await;
    let database = Database::start_with(&[("synchronous_commit", "off")]).await;
    let sources = vec![SourceDraft::segment("segment", &[SECRET])];
    let mut station = Station::unready(database, sources, None).await;
    station.ingester.ready().await;
    assert_eq!(
        station.database.rows("SHOW synchronous_commit", &[]).await[0].get::<_, &str>(0),
        "off"
    );
    // A crash right after the answer takes with off what was committed within the last 600 ms
    // (three times wal_writer_delay).
    let seed = seed();
    let mut client = station.ingester.client();
    let mut acknowledged = 0;
    for round in 0..5 {
        for event in events(seed + round, 20) {
            let (body, signature) = signed_single(SECRET.as_bytes(), &event.json);
            let headers = [(SIGNATURE_HEADER, signature.as_str())];
            let answer = client.post(&station.path(), &headers, body).await.unwrap();
            acknowledged += i64::from(answer.status == 200);
        }
        station.database.kill();
        station.database.start_again().await;
        soon_200(&station, "after a crash").await;
        acknowledged += 1;
        assert_eq!(
            station
                .database
                .count("SELECT count(*) FROM segment.events")
                .await,
            acknowledged
        );
    }
    let log = station.ingester.log();
    assert!(
        log.contains("synchronous_commit"),
        "the owner is told: {log}"
    );
}

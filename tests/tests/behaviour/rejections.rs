//! What a refused request leaves in the database for the owner of its source, and what it does not.

use std::time::{Duration, Instant};

use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{Client, Database, SourceDraft, Station, events, signed_single};

/// How soon the first refusal is to be read.
const SOON: Duration = Duration::from_secs(10);

const TOKEN: &str = "tok-3c1fa9";
const PERSON: &str = "anna@example.com";

/// One line a source and reason: status, rows, requests.
async fn summary(database: &Database) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', coalesce(source, '-'), status, reason, count(*), sum(count)) \
               FROM trunkline.rejections GROUP BY source, status, reason ORDER BY 1";
    let rows = database.rows(sql, &[]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until `count` sources and reasons are written down.
async fn recorded(database: &Database, count: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let summary = summary(database).await;
        if summary.len() >= count {
            return summary;
        }
        assert!(start.elapsed() < SOON, "{summary:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Posts what no secret has signed.
async fn post_forged(client: &mut Client, path: &str) {
    let body = format!("{{\"email\":\"{PERSON}\"}}");
    let forged = [(SIGNATURE_HEADER, "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00")];
    assert_eq!(client.post(path, &forged, body).await.unwrap().status, 400);
}

#[tokio::test]
async fn the_first_refusal_is_written_at_once_and_a_flood_as_a_number() {
    let sources = vec![
        SourceDraft::segment("segment", &["secret"]),
        SourceDraft::unverified("open"),
    ];
    let mut station = Station::with(sources).await;
    let [segment, open] = [0, 1].map(|index| station.sources[index].path());
    let mut client = station.ingester.client();

    post_forged(&mut client, &segment).await;
    let unknown = format!("/webhooks/{TOKEN}");
    assert_eq!(client.post(&unknown, &[], "{}").await.unwrap().status, 404);
    assert_eq!(
        recorded(&station.database, 2).await,
        [
            "- 404 unknown_path 1 1",
            "default/segment 400 signature_mismatch 1 1"
        ]
    );

    for _ in 0..300 {
        post_forged(&mut client, &segment).await;
        assert_eq!(client.post(&unknown, &[], "{}").await.unwrap().status, 404);
    }
    let nonsense = format!("{{\"email\": {PERSON}");
    assert_eq!(client.post(&open, &[], nonsense).await.unwrap().status, 400);
    // What another source is refused for does not wait for the minute of the first.
    let flood = recorded(&station.database, 3).await;
    assert_eq!(flood[1], "default/open 400 not_json 1 1");
    assert_eq!(flood[2], "default/segment 400 signature_mismatch 1 1");
    let waiting = [
        ("trunkline_ingester_refusals_total", 603.0),
        ("trunkline_ingester_recorded_refusals_total", 3.0),
        ("trunkline_ingester_unrecorded_refusals_total", 0.0),
    ];
    for (metric, expected) in waiting {
        assert_eq!(
            station.ingester.metric(metric, "").await,
            expected,
            "{metric}"
        );
    }

    // At the end of the process the minute does not matter, and nothing is lost.
    station.ingester.terminate();
    assert!(station.ingester.ended().await.success());
    assert_eq!(
        summary(&station.database).await,
        [
            "- 404 unknown_path 2 301",
            "default/open 400 not_json 1 1",
            "default/segment 400 signature_mismatch 2 301"
        ]
    );
    let times = "SELECT count(*) FROM trunkline.rejections \
                 WHERE first_at <= occurred_at AND occurred_at <= now() \
                 AND first_at > now() - interval '5 minutes'";
    assert_eq!(station.database.count(times).await, 5);
    let said = "SELECT count(*) FROM trunkline.rejections r \
                WHERE r::text ~ 'tok-|anna|c0ffee|secret@|127\\.0\\.0\\.1'";
    assert_eq!(station.database.count(said).await, 0);
    let useful = "SELECT count(*) FROM trunkline.rejections \
                  WHERE reason = 'signature_mismatch' AND detail LIKE '%have the same one%'";
    assert_eq!(station.database.count(useful).await, 2);
}

#[tokio::test]
async fn what_is_refused_while_the_database_is_away_is_written_when_it_is_back() {
    let mut station = Station::segment().await;
    let path = station.path();
    let mut client = station.ingester.client();
    station.database.shut_down().await;
    let event = &events(1, 1)[0];
    let (body, signature) = signed_single(trunkline_tests::SECRET.as_bytes(), &event.json);
    let signed = [(SIGNATURE_HEADER, signature.as_str())];
    let mut refused = 0;
    for _ in 0..20 {
        let answer = client.post(&path, &signed, body.clone()).await.unwrap();
        refused += i32::from(answer.status == 503);
    }
    assert_eq!(refused, 20);
    station.database.start_again().await;
    let start = Instant::now();
    let sql = "SELECT coalesce(sum(count), 0)::bigint FROM trunkline.rejections WHERE status = 503";
    while station.database.count(sql).await < 20 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{:?}",
            summary(&station.database).await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(station.database.count(sql).await, 20);
    assert_eq!(client.post(&path, &signed, body).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_log_that_takes_nothing_costs_a_sender_nothing() {
    let mut station = Station::segment().await;
    let path = station.path();
    let admin = station.database.connect().await;
    // Nobody can insert while this is held, and then nobody ever.
    admin
        .batch_execute("BEGIN; LOCK TABLE trunkline_data.rejections IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let mut client = station.ingester.client();
    let event = &events(1, 1)[0];
    let (body, signature) = signed_single(trunkline_tests::SECRET.as_bytes(), &event.json);
    let signed = [(SIGNATURE_HEADER, signature.as_str())];
    post_forged(&mut client, &path).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..20 {
        post_forged(&mut client, &path).await;
        let answer = client.post(&path, &signed, body.clone()).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(
            answer.elapsed < Duration::from_secs(1),
            "{:?}",
            answer.elapsed
        );
    }
    admin
        .batch_execute("DROP VIEW trunkline.rejections; COMMIT")
        .await
        .unwrap();
    post_forged(&mut client, &path).await;
    let answer = client.post(&path, &signed, body).await.unwrap();
    assert_eq!(answer.status, 200);
    station.ingester.terminate();
    assert!(station.ingester.ended().await.success());
    let log = station.ingester.log();
    assert!(
        log.contains("cannot write to trunkline.rejections"),
        "{log}"
    );
    assert!(
        log.contains("refused requests are not in trunkline.rejections"),
        "{log}"
    );
    assert!(log.contains("requests=22"), "{log}");
}

//! 200 means committed: the promise, under load and under `kill -9`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{
    Behaviour, Ledger, Load, LoadOptions, SECRET, Station, Verdict, events, scaled, seed,
    signed_single,
};

const VIEW: &str = "segment.events";

#[tokio::test]
async fn two_hundred_means_committed_and_visible() {
    let station = Station::segment().await;
    let database = station.database.connect().await;
    let look = "SELECT count(*) FROM segment.events WHERE message_id = $1";
    let look = database.prepare(look).await.unwrap();
    let mut client = station.ingester.client();
    let count = scaled(1_000, 10_000);
    for event in events(seed(), count) {
        let (body, signature) = signed_single(SECRET.as_bytes(), &event.json);
        let headers = [(SIGNATURE_HEADER, signature.as_str())];
        let answer = client.post(&station.path(), &headers, body).await.unwrap();
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
        // Rows are read here by a scan, so the test stays linear only while there are few.
        let found: i64 = database
            .query_one(&look, &[&event.message_id])
            .await
            .unwrap()
            .get(0);
        assert_eq!(found, 1, "{}", event.message_id);
    }
    println!("{count} events read right after their 200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_survives_kill_9_of_everything() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut station = Station::segment().await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&LoadOptions::for_station(&station, seed), &ledger);
    let (kills, wanted) = scaled((6, 3_000), (40, 200_000));
    let mut killed = 0;
    while killed < kills || ledger.acknowledged_events() < wanted {
        tokio::time::sleep(Duration::from_millis(rng.random_range(200..1_500))).await;
        if killed >= kills {
            continue;
        }
        // Both at once, now and then.
        let which = rng.random_range(0..5);
        if which != 0 {
            station.ingester.kill();
        }
        if which <= 1 || killed % 2 == 0 {
            station.database.kill();
            station.database.start_again().await;
        }
        if which != 0 {
            station.ingester.start_again();
        }
        killed += 1;
    }
    let report = load.stop().await;
    report.assert_nobody_was_blamed();
    let verdict = verify(&station, &ledger).await;
    println!("{kills} kills: {verdict}\n{report:?}");
    assert!(verdict.acknowledged_events >= wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_commit_loses_nothing_and_blames_nobody() {
    let seed = seed();
    let station = Station::behind_proxy().await;
    let proxy = station.proxy.as_ref().unwrap();
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&LoadOptions::for_station(&station, seed), &ledger);
    proxy.behave(Behaviour::LoseCommitAnswer { every: 10 });
    let (lost, wanted) = scaled((10, 2_000), (1_000, 200_000));
    let start = Instant::now();
    while proxy.lost_answers() < lost || ledger.acknowledged_events() < wanted {
        assert!(
            start.elapsed() < Duration::from_secs(600),
            "{} lost",
            proxy.lost_answers()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lost = proxy.lost_answers();
    proxy.behave(Behaviour::Pass);
    let report = load.stop().await;
    report.assert_nobody_was_blamed();
    let verdict = verify(&station, &ledger).await;
    println!("{lost} answers to COMMIT lost: {verdict}\n{report:?}");
    // A lost answer is a 503 and never a 200; its retry is what stands there twice.
    assert!(report.statuses.contains_key(&503), "{report:?}");
    assert!(verdict.duplicates > 0, "{verdict}");
}

async fn verify(station: &Station, ledger: &Ledger) -> Verdict {
    ledger.verify(&station.database.connect().await, VIEW).await
}

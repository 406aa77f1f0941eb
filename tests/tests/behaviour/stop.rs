//! A graceful stop answers every request that was accepted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_tests::{Ledger, Load, LoadOptions, Station, scaled, seed};

/// Stops an ingester under load; returns how many requests broke.
async fn stop_under_load(fresh_connections: bool) {
    let seed = seed();
    let mut station = Station::segment().await;
    for round in 0..scaled(3, 20) {
        let ledger = Arc::new(Ledger::default());
        let options = LoadOptions {
            retry: false,
            fresh_connections,
            senders: 32,
            ..LoadOptions::for_station(&station, seed.wrapping_add(round))
        };
        let load = Load::start(&options, &ledger);
        tokio::time::sleep(Duration::from_millis(700)).await;
        let start = Instant::now();
        station.ingester.terminate();
        let exit = station.ingester.ended().await;
        let took = start.elapsed();
        let report = load.stop().await;
        assert!(exit.success(), "{exit}\n{}", station.ingester.log());
        report.assert_nobody_was_blamed();
        assert_eq!(report.broken(), 0, "{report:?}");
        let database = station.database.connect().await;
        let verdict = ledger.verify(&database, "segment.events").await;
        println!("stopped after {took:?}: {verdict}, {:?}", report.statuses);
        assert!(verdict.acknowledged_events > 0);
        // Each request that is stored was acknowledged, and each only once.
        assert_eq!(verdict.rows, verdict.acknowledged_events, "{report:?}");
        database
            .batch_execute("TRUNCATE trunkline.events")
            .await
            .unwrap();
        station.ingester.start_again();
        station.ingester.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_every_request_on_a_connection_of_its_own() {
    stop_under_load(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_every_request_on_a_kept_connection() {
    stop_under_load(false).await;
}

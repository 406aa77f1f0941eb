//! The promise under every fault at once: what was acknowledged is there and equal, nothing is torn,
//! and nothing is there that nobody sent.
//!
//! A run has laps, by turns directly and through PgBouncer. In each, senders send what Segment sends
//! and what jsonb refuses, faults strike at random, and the owner changes relations beside them. At
//! the end of a lap all of it is compared, and dropped: so a run of any length fits on the disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod faults;
mod neighbour;
mod stage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use trunkline_tests::{Ledger, Load, LoadOptions, Verdict, scaled, seed};

use faults::Fault;
use neighbour::Neighbour;
use stage::{Route, Stage};

/// How soon after a fault's end an event is acknowledged. On a machine that does nothing else it is
/// within 5 s.
const RECOVERY: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_strikes_nothing_acknowledged_is_lost_and_nothing_is_torn() {
    let (lap, time, events) = scaled(
        (Duration::from_secs(15), Duration::ZERO, 0),
        (
            Duration::from_secs(60),
            Duration::from_secs(3_600),
            10_000_000,
        ),
    );
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut stage = Stage::set().await;
    let begun = Instant::now();
    let mut total = Verdict::default();
    let mut slowest = Duration::ZERO;
    let mut laps = 0;
    while laps < 2 || (begun.elapsed() < time && total.acknowledged_events < events) {
        let route = [Route::Direct, Route::Pooled][laps % 2];
        stage.take(route).await;
        let outcome = run_lap(&mut stage, &mut rng, lap).await;
        total.acknowledged_requests += outcome.verdict.acknowledged_requests;
        total.acknowledged_events += outcome.verdict.acknowledged_events;
        total.rows += outcome.verdict.rows;
        total.duplicates += outcome.verdict.duplicates;
        total.unacknowledged += outcome.verdict.unacknowledged;
        slowest = slowest.max(outcome.slowest_recovery);
        laps += 1;
    }
    println!(
        "{laps} laps in {:?}: {total}; slowest recovery {slowest:?}",
        begun.elapsed()
    );
}

struct Outcome {
    verdict: Verdict,
    slowest_recovery: Duration,
}

async fn run_lap(stage: &mut Stage, rng: &mut StdRng, length: Duration) -> Outcome {
    let ledger = Arc::new(Ledger::default());
    let options = LoadOptions {
        secret: stage.secret(),
        large: 1,
        poison: 5,
        ..LoadOptions::for_station(&stage.station, rng.random())
    };
    let begun = Instant::now();
    let load = Load::start(&options, &ledger);
    let neighbour = Neighbour::move_in(&stage.station).await;
    let mut struck = Vec::new();
    let mut slowest_recovery = Duration::ZERO;
    while begun.elapsed() < length {
        let pause = rng.random_range(100..1_500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let fault = Fault::any(rng);
        // Said before, so that whatever fails has its cause above it.
        println!("{:?} {:?} {fault:?}", stage.route, begun.elapsed());
        stage.strike(fault, rng, &load).await;
        let (ended, before) = (Instant::now(), ledger.acknowledged_events());
        while ledger.acknowledged_events() == before {
            let log = stage.station.ingester.log();
            assert!(ended.elapsed() < RECOVERY, "{fault:?}: not back\n{log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        slowest_recovery = slowest_recovery.max(ended.elapsed());
        struck.push(fault);
    }
    let elapsed = begun.elapsed();
    let report = load.stop().await;
    let changes = neighbour.move_out().await;
    report.assert_nobody_was_blamed();
    let known = |status: &u16| matches!(status, 200 | 503);
    assert!(report.statuses.keys().all(known), "{report:?}");
    let database = stage.at_rest().await;
    let verifying = Instant::now();
    let verdict = ledger.verify(&database, "segment.events").await;
    println!(
        "{:?}: {} faults, {changes}; {verdict}; {:.0} events/s; slowest recovery \
         {slowest_recovery:?}; compared in {:?}\n{report:?}",
        stage.route,
        struck.len(),
        verdict.acknowledged_events as f64 / elapsed.as_secs_f64(),
        verifying.elapsed()
    );
    assert!(verdict.acknowledged_events > 0);
    // The disk is not as long as the run.
    database
        .batch_execute("TRUNCATE trunkline.events")
        .await
        .unwrap();
    Outcome {
        verdict,
        slowest_recovery,
    }
}

//! A database whose clock jumps. It decides on the partition; the ingester's does not.

use std::time::{Duration, Instant};

use trunkline_tests::{Database, FakeClock, SECRET, SourceDraft, Station};

use super::trial::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databases_clock_decides_on_the_partition_wherever_it_jumps() {
    let clock = FakeClock::new();
    let database = Database::start_by(&clock).await;
    let sources = vec![SourceDraft::segment("segment", &[SECRET])];
    let trial = Trial::begin(Station::around(database, sources).await).await;
    // There are partitions from yesterday to a week ahead.
    for (offset, days, has_partition) in [
        ("+1d", 1, true),
        ("-1d", -1, true),
        ("+9d", 9, false),
        ("+0", 0, true),
        ("-4d", -4, false),
        ("+0", 0, true),
    ] {
        clock.step_to(offset);
        arrived(&trial.station.database, days).await;
        if has_partition {
            trial.recovers(offset).await;
            trial.goes_on(offset, async {}).await;
            continue;
        }
        trial.lacks_a_partition(offset).await;
        // As the operator does every hour.
        let report = trial.station.database.warehouse().await.maintain().await;
        assert!(!report.unwrap().changed.is_empty(), "{offset}");
        trial
            .recovers(&format!("{offset} and partitions for it"))
            .await;
    }
    let stored = "SELECT count(DISTINCT received_at::date) FROM segment.events";
    let days = trial.station.database.count(stored).await;
    assert!(days >= 5, "{days} days");
    trial.end_with_all_there().await;
}

/// Waits until every process of the server sees a clock that is wrong by so many days.
async fn arrived(database: &Database, days: i32) {
    let begun = Instant::now();
    let now = jiff::Timestamp::now().as_second();
    let sql =
        format!("SELECT round((extract(epoch FROM clock_timestamp()) - {now}) / 86400)::bigint");
    while database.count(&sql).await != i64::from(days) {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "no libfaketime? scripts/install test installs it\n{}",
            database.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Others have read the setting up to a second later.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
}

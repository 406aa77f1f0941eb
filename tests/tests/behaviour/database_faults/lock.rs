//! A lock that an administrator holds for half a minute.

use std::time::{Duration, Instant};

use trunkline_tests::Station;

use super::trial::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_is_503_with_the_reason_until_it_is_not() {
    let trial = Trial::begin(Station::segment().await).await;
    let mut locker = trial.station.database.connect().await;
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE trunkline.events IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        trial.suffers("locked", "lock timeout").await;
    }
    // Whoever waits for the lock by then would get it.
    let rows = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    println!("{} sessions wait", trial.station.database.count(rows).await);
    lock.rollback().await.unwrap();
    trial.recovers("unlocked").await;
    trial.end_with_all_there().await;
}

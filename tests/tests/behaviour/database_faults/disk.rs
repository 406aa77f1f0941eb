//! A disk that is full, where the tables are or where the log is.

use std::time::{Duration, Instant};

use trunkline_tests::{Database, SECRET, SmallDisk, SourceDraft, Station};

use super::trial::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_space_for_rows_is_503_with_the_reason_until_there_is() {
    let test = "database_faults::disk::no_space_for_rows_is_503_with_the_reason_until_there_is";
    let Some(disk) = SmallDisk::mount(test, 96) else {
        return;
    };
    let trial = Trial::begin(station(&disk, "base").await).await;
    for round in 0..2 {
        disk.fill();
        // A small event may find room in a page that a larger one has made before it failed.
        trial.quiet("pages with room", Duration::from_secs(5)).await;
        trial.suffers("no space for rows", "SQLSTATE 53100").await;
        disk.free();
        trial.recovers(&format!("space again ({round})")).await;
    }
    trial.end_with_all_there().await;
}

/// A server that cannot write its log ends all sessions, recovers, and may end for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_space_for_the_servers_log_loses_nothing() {
    let test = "database_faults::disk::no_space_for_the_servers_log_loses_nothing";
    let Some(disk) = SmallDisk::mount(test, 128) else {
        return;
    };
    let mut trial = Trial::begin(station(&disk, "pg_wal").await).await;
    let neighbour = trial.station.database.connect().await;
    // As a standby does that is gone: no part of the log is used again.
    let slot = "SELECT pg_create_physical_replication_slot('gone', true)";
    neighbour.execute(slot, &[]).await.unwrap();
    disk.fill();
    // Fills the parts of the log that there are, beside the senders.
    let message = "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))";
    while neighbour.execute(message, &[]).await.is_ok() {}
    let begun = Instant::now();
    while !trial.station.database.log().contains("PANIC") {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It panics again with each try, as long as it tries.
    tokio::time::sleep(Duration::from_secs(3)).await;
    disk.free();
    let has_ended = trial.station.database.start_if_ended().await;
    println!(
        "the server {}",
        if has_ended { "had ended" } else { "runs" }
    );
    trial.recovers("space for the log again").await;
    let slot = "SELECT pg_drop_replication_slot('gone')";
    trial.station.database.rows(slot, &[]).await;
    trial.end_with_all_there().await;
}

/// A source whose database has a folder on the small disk.
async fn station(disk: &SmallDisk, folder: &str) -> Station {
    let settings = [
        ("max_wal_size", "64MB"),
        ("min_wal_size", "32MB"),
        // It would make room again, of the rows that failed.
        ("autovacuum", "off"),
    ];
    let mut database = Database::start_with(&settings).await;
    disk.take(&mut database, folder).await;
    Station::around(database, vec![SourceDraft::segment("segment", &[SECRET])]).await
}

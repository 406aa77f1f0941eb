//! Nobody waits for us: analysts read relations while they change, one of them for minutes.
//!
//! As `warehouse_locks.rs`, but seen by whoever reads. A binary of its own, because other tests
//! beside it would be measured with it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic with its place and the measured times are what this test reports"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use trunkline_tests::scaled;
use trunkline_warehouse::Relator;

#[allow(dead_code, reason = "the other tests of the warehouse use the rest")]
#[path = "behaviour/warehouse/harness.rs"]
mod harness;

#[allow(dead_code, reason = "the other tests of relations use the rest")]
#[path = "behaviour/warehouse/relations"]
mod relations {
    pub(crate) mod harness;
}

use relations::harness::*;

/// What anybody may wait at most for a change of ours, in milliseconds. The server logs longer waits
/// for a lock, whoever else uses the processors.
const LIMIT_MS: u64 = 250;

/// Properties that a relation has room for beside the columns that it has from the start and `n`.
const MOST_PROPERTIES: usize = 397;

/// What others do all the while, and how long it took them.
struct Work {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Times>>,
}

/// How often something was done, and the slowest.
struct Times {
    what: String,
    count: u64,
    slowest: Duration,
}

impl Work {
    /// Readers of these relations, and a sender.
    async fn start(database: &Database, relations: &[&str], sender: (i32, &str)) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for relation in relations {
            let client = database.admin().await;
            // Short, so that there is a moment in which nobody reads and the change can be made.
            let sql = format!(
                "SELECT * FROM {relation} WHERE received_at >= now() - interval '10 milliseconds'"
            );
            let work = async move |sql: &str| drop(rows(&client, sql).await);
            tasks.push(tokio::spawn(repeat(stop.clone(), sql, work)));
        }
        let (client, lines) = (database.admin().await, lines(&[sender], 100));
        let work = async move |_: &str| {
            copy(&client, lines.clone()).await.unwrap();
        };
        let what = "COPY of 100 rows".to_owned();
        tasks.push(tokio::spawn(repeat(stop.clone(), what, work)));
        Self { stop, tasks }
    }

    async fn stop(self) -> Vec<Times> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.push(task.await.unwrap());
        }
        all
    }
}

async fn repeat(stop: Arc<AtomicBool>, what: String, work: impl AsyncFn(&str)) -> Times {
    let (mut count, mut slowest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        work(&what).await;
        slowest = slowest.max(start.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Times {
        what,
        count,
        slowest,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_and_no_sender_waits_for_a_change_that_waits_for_a_long_read() {
    let timeout = format!("{LIMIT_MS}ms");
    let server = server(&[("log_lock_waits", "on"), ("deadlock_timeout", &timeout)]).await;
    let database = Database::on(&server).await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    let event = |event: &str, properties| {
        json!({"type": "track", "event": event, "messageId": format!("{event} {properties}"),
            "properties": properties})
    };
    send(&admin, bucket, "shop", &event("Read", json!({"n": 1}))).await;
    settle(&mut relator, &admin).await;

    let length = scaled(Duration::from_secs(20), Duration::from_secs(600));
    let analyst = database.admin().await;
    let long = format!(
        "SELECT n, pg_sleep({}) FROM shop.read LIMIT 1",
        length.as_secs()
    );
    let read = ["shop.read", "shop.tracks", "shop.discards"];
    let others = Work::start(&database, &read, (bucket, "default/shop")).await;
    let reading = tokio::spawn(async move { rows(&analyst, &long).await });
    let kept = [shop()];
    let main = cluster("default/main");
    let (start, mut round, mut changed) = (Instant::now(), 0, 0);
    while !reading.is_finished() {
        // A column, a value that does not fit, and a relation.
        let property = json!({"n": "none", format!("p{round}"): round});
        send(&admin, bucket, "shop", &event("Read", property)).await;
        let other = event(&format!("Other {}", round % 200), json!({"n": round}));
        send(&admin, bucket, "shop", &other).await;
        changed += poll(&mut relator).await.changed;
        if round % 5 == 0 {
            warehouse.ensure_layout().await.unwrap();
            warehouse.maintain().await.unwrap();
            warehouse.upkeep().await.unwrap();
            warehouse.drop_expired(&main, &kept).await.unwrap();
            for result in ensure(&warehouse, &kept).await {
                result.unwrap();
            }
        }
        round += 1;
        tokio::time::sleep(Relator::EVERY).await;
    }
    println!(
        "{round} rounds and {changed} changed relations in {:?}",
        start.elapsed()
    );
    assert!(start.elapsed() >= length, "the analyst did not read");
    assert_eq!(reading.await.unwrap(), ["1|"]);
    assert!(changed > 0, "nothing was changed beside the reader");
    let found = columns(&admin, "read").await;
    assert!(
        !found.contains(&"p0 numeric".to_owned()),
        "it was changed under the reader"
    );
    settle(&mut relator, &admin).await;
    let mut found = columns(&admin, "read").await;
    found.retain(|column| column.starts_with('p'));
    assert_eq!(found.len(), round.min(MOST_PROPERTIES), "{found:?}");

    for Times {
        what,
        count,
        slowest,
    } in others.stop().await
    {
        println!("{what}: {count} times, the slowest {slowest:?}");
        assert!(count > 0, "{what}");
    }
    let log = std::fs::read_to_string(server.log_path()).unwrap();
    let waits: Vec<_> = log
        .lines()
        .filter(|line| line.contains("still waiting for"))
        .filter(|line| line.contains("AccessShareLock") || line.contains("RowExclusiveLock"))
        .collect();
    assert!(waits.is_empty(), "longer than {LIMIT_MS} ms: {waits:#?}");
    server.stop().await;
}

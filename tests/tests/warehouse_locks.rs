//! Nobody waits for us: senders write and an analyst reads while everything is changed.
//!
//! A binary of its own, because other tests beside it would be measured with it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic with its place and the measured times are what this test reports"
)]

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::{DesiredSource, Error, PendingReason, PendingStep, Provisioned, Report};

#[allow(dead_code, reason = "the other tests of the warehouse use the rest")]
#[path = "behaviour/warehouse/harness.rs"]
mod harness;
use harness::*;

/// What a sender may notice at most of any change.
const LIMIT: Duration = Duration::from_millis(250);

/// How long the machine is watched while nothing is changed: as long as the longest change takes. A
/// new WAL segment or a checkpoint of such a load delays a commit by 100 to 250 ms every few seconds,
/// and a shorter look misses that.
const QUIET: Duration = Duration::from_secs(12);

/// How long autovacuum may take for a partition that is written to at full speed.
const VACUUM: Duration = Duration::from_secs(180);

/// Writers at full speed, as ingesters commit: one COPY for several sources, one after the other.
struct Load {
    /// The slowest commit and the number of commits.
    commits: Arc<Mutex<(Duration, u64)>>,
    /// The slowest commit while nothing was changed: what this machine does by itself.
    quiet: Duration,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(database: &Database, sources: &[(i32, &str)]) -> Self {
        let lines = lines(sources, 100);
        let commits = Arc::new(Mutex::new((Duration::ZERO, 0)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for _ in 0..2 {
            let client = database.admin().await;
            let (lines, commits, stop) = (lines.clone(), commits.clone(), stop.clone());
            writers.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    copy(&client, lines.clone()).await.unwrap();
                    let mut commits = commits.lock().unwrap();
                    *commits = (commits.0.max(start.elapsed()), commits.1 + 1);
                }
            }));
        }
        let quiet = Duration::ZERO;
        let mut load = Self {
            commits,
            quiet,
            stop,
            writers,
        };
        let idle = tokio::time::sleep(QUIET);
        (_, load.quiet) = load.measure("nothing", idle).await;
        load
    }

    /// Runs `change` under the load and checks that it delayed no commit, nor one right after it.
    async fn during<T>(&self, what: &str, change: impl Future<Output = T>) -> T {
        let (result, slowest) = self.measure(what, change).await;
        let delay = slowest.saturating_sub(self.quiet);
        assert!(delay < LIMIT, "{what}: a commit was delayed by {delay:?}");
        result
    }

    /// The slowest commit while `change` runs.
    async fn measure<T>(&self, what: &str, change: impl Future<Output = T>) -> (T, Duration) {
        *self.commits.lock().unwrap() = (Duration::ZERO, 0);
        let start = Instant::now();
        let result = change.await;
        let took = start.elapsed();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (slowest, commits) = *self.commits.lock().unwrap();
        println!("{what}: took {took:?}, {commits} commits, the slowest {slowest:?}");
        assert!(commits > 0, "{what}: nothing was committed");
        (result, slowest)
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
    }
}

fn waiting(provisioned: &Provisioned) -> &[PendingStep] {
    let [
        PendingStep {
            step,
            reason: PendingReason::Locked,
        },
    ] = &provisioned.pending[..]
    else {
        panic!("{:?}", provisioned.pending)
    };
    assert_eq!(step, "define view shop.events");
    &provisioned.pending
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_of_ours_delays_a_commit_while_an_analyst_reads() {
    // The server logs every wait for a lock that is longer than this, whoever else uses the CPU.
    let server = server(&[("log_lock_waits", "on"), ("deadlock_timeout", "200ms")]).await;
    let database = Database::on(&server).await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let all = [source_with("shop", &["x-shop"]), source("web")];
    let buckets: Vec<_> = ensure(&warehouse, &all)
        .await
        .into_iter()
        .map(|result| result.unwrap().bucket)
        .collect();
    // As a week later, and as made by a program that did not know the column.
    let old_leaves = format!(
        "SELECT c.oid::regclass FROM pg_class c WHERE relname ~ '^bucket_{}_' AND relkind = 'r' \
         ORDER BY relname DESC LIMIT 3",
        buckets[0]
    );
    for leaf in rows(&admin, &old_leaves).await {
        admin
            .batch_execute(&format!("DROP TABLE {leaf}"))
            .await
            .unwrap();
    }
    admin
        .batch_execute("ALTER TABLE trunkline.events DROP COLUMN dup")
        .await
        .unwrap();
    // What retention is to drop: a day of the source that is read, and one of the other.
    let kept = all.clone().map(|source| DesiredSource {
        retention_days: NonZeroU16::new(90),
        ..source
    });
    for (bucket, source) in buckets.iter().zip(&kept) {
        past_leaf(&admin, *bucket, 100).await;
        store_past(&admin, *bucket, &source.name.to_string(), 100).await;
    }

    let load = Load::start(
        &database,
        &[(buckets[0], "default/shop"), (buckets[1], "default/web")],
    )
    .await;
    let analyst = database.admin().await;
    analyst
        .batch_execute(
            "BEGIN; DECLARE report NO SCROLL CURSOR FOR SELECT body FROM shop.events; \
             FETCH 10 FROM report; SELECT count(*) FROM trunkline.events WHERE bucket = 0",
        )
        .await
        .unwrap();

    let layout = load
        .during("column", warehouse.ensure_layout())
        .await
        .unwrap();
    assert_eq!(layout.changed, Vec::<String>::new());
    assert_eq!(layout.pending.len(), 1, "{:?}", layout.pending);
    let days = load.during("leaves", warehouse.maintain()).await.unwrap();
    assert_eq!(days.changed.len(), 6);
    let more = [all[0].clone(), all[1].clone(), source("third")];
    for added in load.during("add a source", ensure(&warehouse, &more)).await {
        assert_eq!(added.unwrap().pending, []);
    }
    let wide = [
        source_with("shop", &["x-shop", "event-type"]),
        all[1].clone(),
        source("third"),
    ];
    let results = load
        .during("append to the view", ensure(&warehouse, &wide))
        .await;
    waiting(results[0].as_ref().unwrap());
    let narrow = [source("shop"), all[1].clone(), source("third")];
    let results = load
        .during("take from the view", ensure(&warehouse, &narrow))
        .await;
    waiting(results[0].as_ref().unwrap());
    let fewer = [all[0].clone(), all[1].clone()];
    load.during("remove a source", ensure(&warehouse, &fewer))
        .await;
    for password in ["one", "two"] {
        let password = SecretBytes::new(password);
        let login = warehouse.ensure_ingest(None, &password);
        load.during("login", login).await.unwrap();
    }
    let again = ensure(&warehouse, &fewer);
    assert!(
        load.during("nothing new", again)
            .await
            .into_iter()
            .all(|result| result.is_ok())
    );

    // Retention does not wait for readers of another source, and the reader of this one is waited
    // for and keeps it.
    let main = cluster("default/main");
    let expired = load.during("drop old days", warehouse.drop_expired(&main, &kept));
    let expired = expired.await.unwrap();
    assert_eq!(expired.changed.len(), 1, "{expired:?}");
    assert!(expired.changed[0].contains("default/web"), "{expired:?}");
    let reasons: Vec<_> = expired.pending.iter().map(|step| &step.reason).collect();
    assert_eq!(reasons, [&PendingReason::Locked]);
    let upkeep = load.during("upkeep", warehouse.upkeep()).await.unwrap();
    assert!(!upkeep.changed.is_empty(), "{upkeep:?}");

    // The analyst's session has read the parent to plan, so that the detaching waits for it, is
    // given up, and then waits for it once more.
    let third = "default/third".parse().unwrap();
    for attempt in ["drop a source", "drop it again"] {
        let refused = load.during(attempt, warehouse.drop_source(&main, &third));
        assert!(
            matches!(refused.await, Err(Error::Locked { .. })),
            "{attempt}"
        );
    }

    // The analyst goes, and what waited is done, still without a stall.
    analyst.batch_execute("COMMIT").await.unwrap();
    let expired = load.during("the old day at last", warehouse.drop_expired(&main, &kept));
    let expired = expired.await.unwrap();
    assert_eq!(
        (expired.changed.len(), expired.pending.len()),
        (1, 0),
        "{expired:?}"
    );
    let results = load
        .during("the view at last", ensure(&warehouse, &wide))
        .await;
    assert_eq!(
        results[0].as_ref().unwrap().changed,
        ["define view shop.events"]
    );
    // A vacuum of a leaf may be in the way, for as long as its pauses make it; who called comes again,
    // as the operator does.
    let mut layout = Report::default();
    let patience = Instant::now() + VACUUM;
    while Instant::now() < patience {
        let ensure = load.during("the column at last", warehouse.ensure_layout());
        layout = ensure.await.unwrap();
        if layout.pending.is_empty() {
            break;
        }
    }
    assert_eq!(layout.changed, ["add column dup to trunkline.events"]);
    // It had come back with the view at last.
    let dropped = load.during("drop it at last", warehouse.drop_source(&main, &third));
    assert_eq!(dropped.await.unwrap().changed.len(), 7);
    load.stop().await;

    let log = std::fs::read_to_string(server.log_path()).unwrap();
    let waits: Vec<_> = log
        .lines()
        .filter(|line| line.contains("still waiting for"))
        .collect();
    assert!(
        !waits.iter().any(|line| line.contains("RowExclusiveLock")),
        "{waits:#?}"
    );
    server.stop().await;
}

//! Nobody waits for us: senders post and an analyst reads while everything is changed.
//!
//! As `warehouse_locks.rs`, but seen by whoever posts, through the whole ingester. A binary of its
//! own, because other tests beside it would be measured with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a panic with its place and the measured times are what this test reports"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_model::headers::HeaderColumn;
use trunkline_model::request::BodyFormat;
use trunkline_model::secret::SecretBytes;
use trunkline_tests::{
    ConfigDir, Database, Ledger, Load, LoadOptions, LoadReport, SECRET, SourceDraft, Station,
    scaled, seed,
};
use trunkline_warehouse::{DesiredSource, Provisioned, Warehouse};

/// What a sender may notice at most of any change.
const LIMIT: Duration = Duration::from_millis(250);

/// Senders on the source whose warehouse is changed.
struct Senders {
    load: Load,
    /// The slowest answer while nothing was changed: what this machine does by itself.
    baseline: Duration,
    /// The slowest answer to a POST during any change or right after it.
    slowest: (Duration, String),
    posts: u64,
}

impl Senders {
    async fn start(station: &Station, ledger: &Arc<Ledger>) -> Self {
        let options = LoadOptions {
            batches: 0,
            ..LoadOptions::for_station(station, seed())
        };
        let mut senders = Self {
            load: Load::start(&options, ledger),
            baseline: Duration::ZERO,
            slowest: (Duration::ZERO, String::new()),
            posts: 0,
        };
        // Connections are made and partitions are opened.
        tokio::time::sleep(Duration::from_secs(2)).await;
        senders.lap();
        let quiet = scaled(Duration::from_secs(5), Duration::from_secs(60));
        tokio::time::sleep(quiet).await;
        senders.baseline = senders.lap();
        println!(
            "{} posts, the slowest {:?}",
            senders.posts, senders.baseline
        );
        senders
    }

    /// The slowest answer since the last lap. Every answer is 200.
    fn lap(&mut self) -> Duration {
        let report = self.load.lap();
        assert_all_is_well(&report);
        self.posts += report.statuses.values().sum::<u64>();
        report.slowest.get(&200).copied().unwrap_or_default()
    }

    /// Runs `change` and checks that it delayed no POST, nor one right after it.
    async fn during<T>(&mut self, what: &str, change: impl Future<Output = T>) -> T {
        self.lap();
        let (start, before) = (Instant::now(), self.posts);
        let result = change.await;
        let took = start.elapsed();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let slowest = self.lap();
        let posts = self.posts - before;
        println!("{what}: took {took:?}, {posts} posts, the slowest {slowest:?}");
        assert!(posts > 0, "{what}: nothing was posted");
        let delay = slowest.saturating_sub(self.baseline);
        assert!(delay < LIMIT, "{what}: a POST was delayed by {delay:?}");
        if slowest > self.slowest.0 {
            self.slowest = (slowest, what.to_owned());
        }
        result
    }
}

fn assert_all_is_well(report: &LoadReport) {
    let is_only_200 = report.statuses.keys().all(|status| *status == 200);
    let is_answered = report.refused_connections == 0 && report.broken() == 0;
    assert!(is_only_200 && is_answered, "{report:?}");
}

/// A source as the warehouse wants it, with a column for each of `headers`.
fn desired(name: &str, headers: &[&str]) -> DesiredSource {
    let column = |header: &&str| HeaderColumn {
        name: (*header).to_owned(),
        column: header.replace('-', "_"),
        bytes: false,
    };
    DesiredSource {
        name: format!("default/{name}").parse().unwrap(),
        schema: name.parse().unwrap(),
        url: None,
        body: BodyFormat::Json,
        header_columns: headers.iter().map(column).collect(),
        readers: Vec::new(),
        retention_days: None,
        partition_by: None,
        storage: None,
        indexes: None,
        layout: None,
        shaping: None,
        views: None,
    }
}

async fn ensure(warehouse: &Warehouse, sources: &[DesiredSource]) -> Vec<Provisioned> {
    let cluster = ConfigDir::cluster();
    let results = warehouse
        .ensure_sources(&cluster, sources, &[], None)
        .await
        .unwrap();
    results
        .into_iter()
        .map(|(_, result)| result.unwrap())
        .collect()
}

/// Drops the last three days of a bucket, as if a week had passed since the last maintenance.
async fn forget_days(owner: &tokio_postgres::Client, bucket: i32) {
    let leaves = format!(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE relname ~ '^bucket_{bucket}_' \
         AND relkind = 'r' ORDER BY relname DESC LIMIT 3"
    );
    for leaf in owner.query(&leaves, &[]).await.unwrap() {
        let leaf: &str = leaf.get(0);
        let drop = format!("DROP TABLE {leaf}");
        owner.batch_execute(&drop).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_of_ours_delays_a_post_while_an_analyst_reads() {
    // The server logs every wait for a lock that is longer than this, whoever else uses the CPU.
    let settings = [("log_lock_waits", "on"), ("deadlock_timeout", "200ms")];
    let database = Database::start_with(&settings).await;
    let draft = SourceDraft::segment("segment", &[SECRET]);
    let mut station = Station::unready(database, vec![draft], None).await;
    station.ingester.ready().await;
    let warehouse = station.database.warehouse().await;
    let owner = station.database.connect().await;
    // As a week later, and as made by a program that did not know the column.
    forget_days(&owner, station.sources[0].settings.bucket).await;
    owner
        .batch_execute("ALTER TABLE trunkline.events DROP COLUMN dup")
        .await
        .unwrap();

    let ledger = Arc::new(Ledger::default());
    let mut senders = Senders::start(&station, &ledger).await;
    let analyst = station.database.connect().await;
    analyst
        .batch_execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; \
             DECLARE report NO SCROLL CURSOR FOR SELECT body FROM segment.events; \
             FETCH 10 FROM report",
        )
        .await
        .unwrap();

    let reading = Instant::now();
    let reads_for = scaled(Duration::from_secs(15), Duration::from_secs(600));
    let mut rounds = 0;
    while rounds == 0 || reading.elapsed() < reads_for {
        let layout = senders.during("column", warehouse.ensure_layout()).await;
        assert_eq!(
            layout.unwrap().pending.len(),
            1,
            "the analyst is in the way"
        );
        let days = senders.during("days", warehouse.maintain()).await.unwrap();
        assert_eq!(
            (days.changed.is_empty(), days.pending.len()),
            (rounds > 0, 0)
        );

        let extra = format!("extra{rounds}");
        let two = [desired("segment", &[]), desired(&extra, &["event-type"])];
        let added = senders.during("source", ensure(&warehouse, &two)).await;
        assert!(added.iter().all(|source| source.pending.is_empty()));
        forget_days(&owner, added[1].bucket).await;
        let days = senders.during("its days", warehouse.maintain()).await;
        assert!(!days.unwrap().changed.is_empty());
        let wider = [two[0].clone(), desired(&extra, &["event-type", "x-shop"])];
        let changed = senders.during("its view", ensure(&warehouse, &wider)).await;
        assert!(changed[1].pending.is_empty(), "nobody reads it");
        let widened = [desired("segment", &["event-type"]), wider[1].clone()];
        let read = senders.during("view", ensure(&warehouse, &widened)).await;
        assert_eq!(read[0].pending.len(), 1, "the analyst is in the way");
        let one = [desired("segment", &[])];
        senders.during("no source", ensure(&warehouse, &one)).await;
        let password = SecretBytes::new(format!("of the tests {rounds}"));
        let login = warehouse.ensure_ingest(None, &password);
        senders.during("login", login).await.unwrap();
        rounds += 1;
        // So that ten minutes do not make hundreds of sources.
        tokio::time::sleep(scaled(Duration::ZERO, Duration::from_secs(10))).await;
    }

    // The analyst goes, and what waited is done, still without a stall.
    analyst
        .batch_execute("FETCH 10 FROM report; COMMIT")
        .await
        .unwrap();
    println!(
        "an analyst read for {:?}, {rounds} rounds of changes",
        reading.elapsed()
    );
    let one = [desired("segment", &["event-type"])];
    let view = senders
        .during("view at last", ensure(&warehouse, &one))
        .await;
    assert_eq!(view[0].changed, ["define view segment.events"]);
    let layout = senders
        .during("column at last", warehouse.ensure_layout())
        .await;
    assert_eq!(
        layout.unwrap().changed,
        ["add column dup to trunkline.events"]
    );

    let Senders {
        load,
        baseline,
        slowest,
        posts,
    } = senders;
    assert_all_is_well(&load.stop().await);
    println!(
        "{posts} posts: slowest {baseline:?} with no change, {:?} during '{}'",
        slowest.0, slowest.1
    );
    let rows = station
        .database
        .count("SELECT count(*) FROM segment.events")
        .await;
    assert_eq!(usize::try_from(rows).unwrap(), ledger.acknowledged_events());
    let log = station.database.log();
    let is_a_sender = |line: &&str| line.contains("still waiting for RowExclusiveLock");
    let waits: Vec<_> = log.lines().filter(is_a_sender).collect();
    assert!(waits.is_empty(), "{waits:#?}");
}

//! Every size survives what senders can do to it, in a control group with that size's memory limit.
//!
//! Needs root, since it makes control groups.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use trunkline_crds::ClusterSize;
use trunkline_model::limits::bytes_in_flight;
use trunkline_operator::build::memory;
use trunkline_tests::{
    Database, IngesterProcess, MemoryGroup, SourceDraft, Station, allow_files, is_full, post_bytes,
    read_status, scaled,
};

/// Connections that are opened and never used.
const IDLE: usize = 10_000;

/// What a refusal may be; or the connection is closed.
const REFUSALS: [u16; 5] = [408, 413, 429, 431, 503];

/// How long a sender waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// `{"event":"Order Completed"}` by Node.js 20 (`zlib.brotliCompressSync`).
const BROTLI: &str = "1b1a00f8a54574f6faf6218a4cb289cc019e9f1a4b789e080f";

/// Answers by status; 0 is a closed connection.
type Answers = BTreeMap<u16, u64>;

/// Posts on a connection of its own and reads the answer while it still sends.
async fn post(address: SocketAddr, request: Bytes) -> u16 {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let (mut reader, mut writer) = stream.split();
        // It fails when the answer comes before the end of the body.
        let sending = async {
            let _ = writer.write_all(&request).await;
            std::future::pending::<()>().await;
        };
        let mut buffer = Vec::new();
        tokio::select! {
            status = read_status(&mut reader, &mut buffer) => status.ok(),
            () = sending => None,
        }
    };
    timeout(PATIENCE, exchange)
        .await
        .expect("an answer")
        .unwrap_or(0)
}

/// The same over this many connections at once.
async fn post_all(address: SocketAddr, request: &Bytes, count: usize) -> Answers {
    let mut senders = JoinSet::new();
    for _ in 0..count {
        senders.spawn(post(address, request.clone()));
    }
    let mut answers = Answers::new();
    for status in senders.join_all().await {
        *answers.entry(status).or_default() += 1;
    }
    answers
}

fn json(path: &str, bytes: usize) -> Bytes {
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11));
    post_bytes(path, &[], body.as_bytes()).into()
}

fn gzip_bomb(path: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..scaled(128, 1_024) {
        encoder.write_all(&[b' '; 1 << 20]).unwrap();
    }
    let body = encoder.finish().unwrap();
    post_bytes(path, &[("content-encoding", "gzip")], &body).into()
}

/// Connections that send a piece of a request and then nothing, or one byte after another.
struct Slow {
    head: Vec<u8>,
    drop_by_drop: bool,
    connections: usize,
}

impl Slow {
    async fn hold(self, address: SocketAddr, lasting: Duration) {
        let deadline = Instant::now() + lasting;
        let mut senders = JoinSet::new();
        for number in 0..self.connections {
            let head = self.head.clone();
            senders.spawn(async move {
                // In waves, since the kernel's queue of new connections is short.
                sleep(Duration::from_millis(number as u64 / 10)).await;
                // What is refused or closed is as good as what is held.
                let Ok(mut stream) = TcpStream::connect(address).await else {
                    return;
                };
                let _ = stream.write_all(&head).await;
                while self.drop_by_drop && Instant::now() < deadline {
                    sleep(Duration::from_millis(500)).await;
                    if stream.write_all(b"x").await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep_until(deadline.into()).await;
            });
        }
        senders.join_all().await;
    }
}

/// A sender that posts a small event again and again.
struct Watcher {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<(u16, Duration)>>,
}

impl Watcher {
    fn start(address: SocketAddr, path: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (is_stopped, request) = (Arc::clone(&stop), json(path, 500));
        let task = tokio::spawn(async move {
            let mut told = Vec::new();
            while !is_stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let status = post(address, request.clone()).await;
                told.push((status, begun.elapsed()));
                sleep(Duration::from_millis(10)).await;
            }
            told
        });
        Self { stop, task }
    }

    /// The answers, and the 99th percentile of those that were 200.
    async fn stop(self) -> (Answers, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers = Answers::new();
        let mut times = Vec::new();
        for (status, took) in self.task.await.unwrap() {
            *answers.entry(status).or_default() += 1;
            if status == 200 {
                times.push(took);
            }
        }
        times.sort_unstable();
        let p99 = times.get((times.len().max(1) - 1) * 99 / 100);
        (answers, p99.copied().unwrap_or_default())
    }
}

/// An ingester under attack.
struct Stage {
    station: Station,
    group: MemoryGroup,
    attacked: String,
    watched: String,
    /// What was answered on the path that is attacked.
    told: Answers,
    /// Requests of the watched source that were answered with 200.
    acknowledged: u64,
}

impl Stage {
    async fn start(size: ClusterSize) -> Self {
        let bytes = memory(size) as u64;
        let group = MemoryGroup::new(bytes);
        let drafts = ["attacked", "watched"].map(SourceDraft::unverified);
        let mut station = Station::unready(Database::start().await, drafts.to_vec(), None).await;
        station.config.limits().bytes_in_flight = bytes_in_flight(bytes) as usize;
        station.config.limits().writers = 1;
        station.config.write(&station.sources);
        station.ingester = IngesterProcess::start_in(&group, station.config.path());
        station.ingester.ready().await;
        Self {
            attacked: station.sources[0].path(),
            watched: station.sources[1].path(),
            station,
            group,
            told: Answers::new(),
            acknowledged: 0,
        }
    }

    fn address(&self) -> SocketAddr {
        self.station.ingester.address()
    }

    /// Lets an attack run beside the watched source, and looks whether the ingester is still there.
    async fn attack(
        &mut self,
        name: &str,
        attack: impl Future<Output = Answers>,
    ) -> (Answers, Duration) {
        let watcher = Watcher::start(self.address(), &self.watched);
        let answers = attack.await;
        let (watched, p99) = watcher.stop().await;
        println!(
            "{name:<16} {answers:?}; beside it {watched:?}, p99 {p99:?}; at most {} MiB",
            self.group.peak() >> 20
        );
        for (status, count) in &answers {
            assert!(
                [0, 200].contains(status) || REFUSALS.contains(status),
                "{name}: {status}"
            );
            *self.told.entry(*status).or_default() += count;
        }
        self.acknowledged += watched.get(&200).copied().unwrap_or_default();
        assert_eq!(self.group.kills(), 0, "{name}: out of memory");
        assert!(
            !self.station.ingester.has_ended(),
            "{}",
            self.station.ingester.log()
        );
        (watched, p99)
    }

    async fn rows(&self, schema: &str) -> u64 {
        let count = format!("SELECT count(*) FROM {schema}.events");
        self.station
            .database
            .count(&count)
            .await
            .try_into()
            .unwrap()
    }
}

async fn survives(size: ClusterSize) {
    println!("{size:?}: {} MiB", memory(size) as u64 >> 20);
    let mut stage = Stage::start(size).await;
    let (address, path) = (stage.address(), stage.attacked.clone());
    let bound = "trunkline_ingester_in_flight_limit_bytes";
    let bound = stage.station.ingester.metric(bound, "").await;
    assert!(bound <= memory(size) * 4.0 / 7.0, "{bound}");

    let large = json(&path, 6 << 20);
    stage
        .attack("large bodies", post_all(address, &large, 200))
        .await;
    let bomb = gzip_bomb(&path);
    stage
        .attack("gzip bombs", post_all(address, &bomb, 50))
        .await;
    let brotli = hex::decode(BROTLI).unwrap();
    let brotli = post_bytes(&path, &[("content-encoding", "br")], &brotli).into();
    stage
        .attack("br bodies", post_all(address, &brotli, 200))
        .await;
    let headers: Vec<_> = (0..2_000).map(|number| format!("x-{number}")).collect();
    let value = "x".repeat(200);
    let headers: Vec<_> = headers
        .iter()
        .map(|name| (name.as_str(), value.as_str()))
        .collect();
    let headers = post_bytes(&path, &headers, b"{}").into();
    stage
        .attack("header floods", post_all(address, &headers, 200))
        .await;
    let batch = json(&path, 4 << 20);
    let batches = async {
        let mut answers = Answers::new();
        for _ in 0..3 {
            *answers
                .entry(post(address, batch.clone()).await)
                .or_default() += 1;
            sleep(Duration::from_secs(1)).await;
        }
        answers
    };
    stage.attack("4 MB a second", batches).await;

    let head = |rest: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\n{rest}").into_bytes();
    let slow = [
        ("idle", Vec::new(), false, IDLE),
        ("slow headers", head("x-"), true, 1_000),
        (
            "slow bodies",
            head("content-length: 6000000\r\n\r\n{"),
            true,
            1_000,
        ),
    ];
    for (name, head, drop_by_drop, connections) in slow {
        let slow = Slow {
            head,
            drop_by_drop,
            connections,
        };
        let lasting = Duration::from_secs(4);
        let held = async {
            slow.hold(address, lasting).await;
            Answers::new()
        };
        stage.attack(name, held).await;
    }

    let status = post(address, json(&path, 100)).await;
    assert_eq!(status, 200, "{}", stage.station.ingester.log());
    let attacked = stage.told.get(&200).copied().unwrap_or_default() + 1;
    assert!(
        stage.rows("attacked").await >= attacked,
        "200 means committed"
    );
    assert!(
        stage.rows("watched").await >= stage.acknowledged,
        "200 means committed"
    );
    assert!(stage.acknowledged > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_survives_its_senders() {
    use ClusterSize::{
        Large, Medium, Small, XLarge, XSmall, XxLarge, XxSmall, XxxLarge, XxxSmall, XxxxLarge,
    };
    allow_files(15_000);
    survives(XxxSmall).await;
    if is_full() {
        for size in [
            XxSmall, XSmall, Small, Medium, Large, XLarge, XxLarge, XxxLarge, XxxxLarge,
        ] {
            survives(size).await;
        }
    }
}

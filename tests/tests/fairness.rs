//! One source's flood beside the traffic of nine others.
//!
//! What the others get is asserted as a ratio to what they got before the flood; times are printed,
//! and bounded far above what a release build on an idle machine shows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use trunkline_tests::{
    SECRET, SourceDraft, Station, allow_files, events, read_status, scaled, seed, signed_post_bytes,
};

/// Sources besides the flooded one.
const OTHERS: usize = 9;

/// Connections that all of the others have together.
const CONNECTIONS: usize = 32;

/// Requests that are made before anything is measured; they are sent again and again.
const REQUESTS: usize = 2_000;

/// What senders do.
#[derive(Clone)]
struct Plan {
    address: SocketAddr,
    /// Requests go out in this order, and then again from the start.
    requests: Arc<Vec<Vec<u8>>>,
    connections: usize,
    /// Requests a second; none is as fast as they are answered.
    rate: Option<f64>,
    stop: Arc<AtomicBool>,
}

/// What they were told.
#[derive(Default)]
struct Told {
    statuses: BTreeMap<u16, u64>,
    /// From when a request was due, or sent, to its answer.
    times: Vec<Duration>,
    took: Duration,
}

impl Told {
    fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// Requests a second that were answered with 200.
    fn rate(&self) -> f64 {
        self.count(200) as f64 / self.took.as_secs_f64()
    }

    fn quantile(&mut self, per_mille: usize) -> Duration {
        self.times.sort_unstable();
        self.times[(self.times.len() - 1) * per_mille / 1000]
    }

    fn print(&mut self, who: &str) {
        println!(
            "{who:<22} {:>7.0}/s  p50 {:?}, p99 {:?}, slowest {:?}, {:?}",
            self.rate(),
            self.quantile(500),
            self.quantile(990),
            self.quantile(1000),
            self.statuses,
        );
    }
}

/// Sends on a thread of its own until told to stop.
fn start(plan: Plan) -> JoinHandle<Told> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, send(plan))
    })
}

async fn send(plan: Plan) -> Told {
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        let connection = TcpStream::connect(plan.address).await.unwrap();
        connection.set_nodelay(true).unwrap();
        connections.push(connection);
    }
    let (plan, next) = (Rc::new(plan), Rc::new(Cell::new(0_usize)));
    let told = Rc::new(RefCell::new(Told::default()));
    let begun = Instant::now();
    let mut senders = JoinSet::new();
    for mut connection in connections {
        let (plan, next, told) = (Rc::clone(&plan), Rc::clone(&next), Rc::clone(&told));
        senders.spawn_local(async move {
            let mut answer = Vec::with_capacity(1024);
            while !plan.stop.load(Ordering::Relaxed) {
                let number = next.get();
                next.set(number + 1);
                let mut from = Instant::now();
                if let Some(rate) = plan.rate {
                    let due = begun + Duration::from_secs_f64(number as f64 / rate);
                    if due > from {
                        tokio::time::sleep_until(due.into()).await;
                        from = Instant::now();
                    } else {
                        from = due;
                    }
                }
                let request = &plan.requests[number % plan.requests.len()];
                connection.write_all(request).await.unwrap();
                let status = read_status(&mut connection, &mut answer).await.unwrap();
                let mut told = told.borrow_mut();
                *told.statuses.entry(status).or_default() += 1;
                told.times.push(from.elapsed());
            }
        });
    }
    senders.join_all().await;
    let mut told = told.take();
    told.took = begun.elapsed();
    told
}

async fn end(sending: JoinHandle<Told>) -> Told {
    tokio::task::spawn_blocking(|| sending.join().unwrap())
        .await
        .unwrap()
}

/// Signed events, to these paths in turn.
fn requests(paths: &[String]) -> Arc<Vec<Vec<u8>>> {
    let paths = paths.iter().cycle();
    let events = events(seed(), REQUESTS);
    let made = events.iter().zip(paths);
    Arc::new(
        made.map(|(event, path)| signed_post_bytes(path, SECRET, &event.json))
            .collect(),
    )
}

/// The traffic of the others for a while, and what became of it.
async fn watch(plan: &Plan, lasting: Duration) -> Told {
    plan.stop.store(false, Ordering::Relaxed);
    let sending = start(plan.clone());
    tokio::time::sleep(lasting).await;
    plan.stop.store(true, Ordering::Relaxed);
    end(sending).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_on_one_source_takes_nothing_from_the_others() {
    // With the others' connections no more than the ingester's bound, which is 2,048.
    let floods = scaled(vec![256], vec![256, 1_024, 1_920]);
    allow_files(8_192);
    let (rate, lasting) = scaled((200.0, 4), (2_000.0, 8));
    let lasting = Duration::from_secs(lasting);
    let names = (0..=OTHERS).map(|number| format!("source-{number}"));
    let drafts: Vec<_> = names
        .map(|name| SourceDraft::segment(&name, &[SECRET]))
        .collect();
    let station = Station::with(drafts).await;
    let paths: Vec<_> = station.sources.iter().map(SourceDraft::path).collect();
    let (flooded, others) = paths.split_first().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let others = Plan {
        address: station.ingester.address(),
        requests: requests(others),
        connections: CONNECTIONS,
        rate: Some(rate),
        stop: Arc::clone(&stop),
    };
    let flood = Plan {
        requests: requests(std::slice::from_ref(flooded)),
        rate: None,
        ..others.clone()
    };
    watch(&others, Duration::from_secs(1)).await;
    let mut committed = station
        .database
        .count("SELECT count(*) FROM trunkline.events")
        .await;
    for connections in floods {
        let mut before = watch(&others, lasting).await;
        before.print("nine others alone");
        let stop = Arc::new(AtomicBool::new(false));
        let flooding = start(Plan {
            connections,
            stop: Arc::clone(&stop),
            ..flood.clone()
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut beside = watch(&others, lasting).await;
        stop.store(true, Ordering::Relaxed);
        let mut flooding = end(flooding).await;
        beside.print("nine others beside it");
        flooding.print(&format!("flood of {connections}"));
        committed += [&before, &beside, &flooding]
            .map(|told| i64::try_from(told.count(200)).unwrap())
            .iter()
            .sum::<i64>();
        let others: u64 = beside.statuses.values().sum();
        assert_eq!(beside.count(200), others, "no other source is refused");
        let ratio = beside.rate() / before.rate();
        assert!(ratio >= 0.95, "the others keep {ratio:.3} of their rate");
        let p99 = beside.quantile(990);
        assert!(p99 < Duration::from_secs(1), "{p99:?}");
        let refused: Vec<_> = flooding
            .statuses
            .keys()
            .filter(|status| ![200, 429].contains(*status))
            .collect();
        assert!(refused.is_empty(), "{refused:?}");
    }
    let rows = station
        .database
        .count("SELECT count(*) FROM trunkline.events")
        .await;
    assert_eq!(rows, committed, "200 means committed");
}

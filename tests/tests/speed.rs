//! How many single events a second, on one machine with PostgreSQL and the sender.
//!
//! The figure is printed and not asserted, since it is the machine's; `make acceptance` prints that
//! of a release build. The sender is lean, one thread that writes requests made before and reads
//! answers, so that little of what is measured is its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use trunkline_cli::segment::{HEADERS, SIGNATURE_HEADER};
use trunkline_tests::{SECRET, Station, events, scaled, seed, signed_single};

/// Connections, each with one request under way.
const CONNECTIONS: usize = 256;

/// A request as it goes over the wire.
type Request = Vec<u8>;

fn requests(path: &str, count: usize) -> Vec<Request> {
    let request = |json: &str| {
        let (body, signature) = signed_single(SECRET.as_bytes(), json);
        let mut request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in HEADERS.iter().chain([&(SIGNATURE_HEADER, &*signature)]) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let mut request = request.into_bytes();
        request.extend_from_slice(&body);
        request
    };
    let events = events(seed(), count);
    let bytes: usize = events.iter().map(|event| event.json.len()).sum();
    println!("{count} events of {} bytes on average", bytes / count);
    events.iter().map(|event| request(&event.json)).collect()
}

/// Sends every request once and returns how long that took, and each answer in order of its time.
async fn send(address: SocketAddr, requests: Arc<Vec<Request>>) -> (Duration, Vec<Duration>) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = TcpStream::connect(address).await.unwrap();
        connection.set_nodelay(true).unwrap();
        connections.push(connection);
    }
    let start = Instant::now();
    let mut senders = JoinSet::new();
    for mut connection in connections {
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        senders.spawn(async move {
            let mut times = Vec::new();
            let mut answer = Vec::with_capacity(1024);
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sent = Instant::now();
                connection.write_all(request).await.unwrap();
                answer.clear();
                // A 200 has no body.
                while !answer.ends_with(b"\r\n\r\n") {
                    let read = connection.read_buf(&mut answer).await.unwrap();
                    assert!(read > 0, "the connection ended");
                }
                let text = String::from_utf8_lossy(&answer);
                assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
                times.push(sent.elapsed());
            }
            times
        });
    }
    let mut times = senders.join_all().await.concat();
    let took = start.elapsed();
    times.sort_unstable();
    (took, times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_events_over_256_connections() {
    let station = Station::segment().await;
    let (count, rounds) = scaled((5_000, 1), (200_000, 3));
    let requests = Arc::new(requests(&station.path(), count));
    for round in 1..=rounds {
        let (address, requests) = (station.ingester.address(), Arc::clone(&requests));
        let sender = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(send(address, requests))
        });
        let (took, times) = tokio::task::spawn_blocking(|| sender.join().unwrap())
            .await
            .unwrap();
        let quantile = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
        println!(
            "{:.0} events/s, p50 {:?}, p99 {:?}, slowest {:?}",
            count as f64 / took.as_secs_f64(),
            quantile(500),
            quantile(990),
            quantile(1000)
        );
        let stored = "SELECT count(*) FROM segment.events";
        let stored = usize::try_from(station.database.count(stored).await).unwrap();
        assert_eq!(stored, count * round, "200 means committed");
    }
    let rows = "trunkline_ingester_committed_rows_total";
    let commits = "trunkline_ingester_commit_duration_seconds_count";
    let (rows, commits) = (
        station.ingester.metric(rows, "").await,
        station.ingester.metric(commits, "").await,
    );
    println!("{:.0} events in a commit", rows / commits);
}

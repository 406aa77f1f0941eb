//! Connections have bounds, and a flood of them costs no sender its own.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline_tests::{SourceDraft, Station};

/// The most memory that a connection may take: half of what the bound allows for it.
const CONNECTION_BYTES: u64 = 64 << 10;

/// A connection on which a test speaks HTTP by hand.
struct Raw(TcpStream);

impl Raw {
    async fn open(station: &Station) -> Self {
        Self(
            TcpStream::connect(station.ingester.address())
                .await
                .unwrap(),
        )
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// What is answered: everything that the next read brings.
    async fn read(&mut self) -> String {
        let mut buffer = vec![0; 8 << 10];
        let read = tokio::time::timeout(Duration::from_secs(10), self.0.read(&mut buffer));
        let read = read.await.expect("an answer or an end").unwrap_or(0);
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    async fn exchange(&mut self, request: &str) -> String {
        self.write(request.as_bytes()).await;
        self.read().await
    }

    /// Whether the ingester has closed the connection.
    async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(200), self.0.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}

async fn open_station() -> Station {
    Station::with(vec![SourceDraft::unverified("open")]).await
}

fn head(station: &Station, bytes: usize) -> String {
    format!(
        "POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n",
        station.path()
    )
}

#[tokio::test]
async fn past_the_bound_the_longest_idle_gives_way_and_none_that_has_a_request() {
    let mut station = open_station().await;
    station.config.limits().max_connections = Some(3);
    station.reload().await;
    let whole = format!("{}{{}}", head(&station, 2));
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut connection = Raw::open(&station).await;
        let answer = connection.exchange(&whole).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        kept.push(connection);
    }
    // The first is used again: now the second has been idle longest.
    kept[0].exchange(&whole).await;
    let mut new = Raw::open(&station).await;
    let answer = new.exchange(&whole).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(kept[1].is_closed().await);
    kept.remove(1);
    kept.push(new);
    for connection in &mut kept {
        let answer = connection.exchange(&whole).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    for connection in &mut kept {
        connection.write(head(&station, 2).as_bytes()).await;
    }
    let holding = Instant::now();
    while station
        .ingester
        .metric("trunkline_ingester_in_flight_bytes", "")
        .await
        < 3.0 * 8_192.0
    {
        assert!(holding.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..100 {
        let mut refused = Raw::open(&station).await;
        let answer = refused.exchange(&whole).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nservice unavailable"), "{answer}");
        assert!(refused.is_closed().await);
    }
    for connection in &mut kept {
        let answer = connection.exchange("{}").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let ingester = &station.ingester;
    for (metric, expected) in [
        ("trunkline_ingester_connections", 3.0),
        ("trunkline_ingester_refused_connections_total", 100.0),
        ("trunkline_ingester_evicted_connections_total", 1.0),
    ] {
        let value = ingester.metric(metric, "").await;
        assert!((value - expected).abs() < f64::EPSILON, "{metric} {value}");
    }
}

#[tokio::test]
async fn a_head_has_at_most_a_hundred_headers_and_32_kib() {
    let station = open_station().await;
    let request = |headers: &str| {
        let head = head(&station, 2);
        let (line, rest) = head.split_once("\r\n").unwrap();
        format!("{line}\r\n{headers}{rest}{{}}")
    };
    let many = |number: usize| "x-many: y\r\n".repeat(number);
    let long = |bytes: usize| format!("x-long: {}\r\n", "x".repeat(bytes));
    for (headers, status) in [
        (many(98), 200),
        (many(99), 431),
        (many(2_000), 431),
        (long(31 << 10), 200),
        (long(33 << 10), 431),
    ] {
        let mut connection = Raw::open(&station).await;
        let answer = connection.exchange(&request(&headers)).await;
        let length = headers.len();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{length} bytes of headers: {answer}"
        );
        assert_eq!(connection.is_closed().await, status == 431);
    }
}

/// Opens idle connections that had one such request each, and returns the memory of each.
async fn measure(station: &Station, connections: u64, request: &[u8]) -> u64 {
    let before = station.ingester.resident_bytes();
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut connection = Raw::open(station).await;
        connection.write(request).await;
        let answer = connection.read().await;
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        open.push(connection);
    }
    station.ingester.resident_bytes().saturating_sub(before) / connections
}

#[tokio::test]
async fn an_idle_connection_takes_less_memory_than_the_bound_reckons() {
    let mut station = open_station().await;
    station.config.limits().max_connections = Some(1_000);
    station.reload().await;
    let small = format!("{}{{}}", head(&station, 2));
    // Nothing is stored, and the buffer grows to its largest.
    let bytes = 200 << 10;
    let body = "x".repeat(bytes);
    let large =
        format!("POST /nobody HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n{body}");
    // What the process takes with its first requests is not the connections'.
    measure(&station, 20, small.as_bytes()).await;
    measure(&station, 20, large.as_bytes()).await;
    for (name, request) in [("a small", &small), ("a large", &large)] {
        let each = measure(&station, 300, request.as_bytes()).await;
        println!("a connection that had {name} request takes {each} bytes");
        assert!(each < CONNECTION_BYTES, "{name}: {each}");
    }
}

#[tokio::test]
async fn without_a_file_descriptor_nothing_spins_and_later_connections_are_served() {
    let station = open_station().await;
    let whole = format!("{}{{}}", head(&station, 2));
    // Room for a few connections more.
    let limit = station.ingester.open_files() + 8;
    let lowered = Command::new("prlimit")
        .args(["--pid", &station.ingester.id().to_string()])
        .arg(format!("--nofile={limit}:{limit}"))
        .status()
        .unwrap();
    assert!(lowered.success());
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(Raw::open(&station).await);
    }
    let before = station.ingester.cpu_time();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = station.ingester.cpu_time() - before;
    println!("{used:?} of processor time in a second without a descriptor");
    assert!(used < Duration::from_millis(300), "{used:?}");
    drop(silent);
    let answer = Raw::open(&station).await.exchange(&whole).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

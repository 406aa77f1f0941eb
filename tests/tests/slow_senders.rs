//! Who sends slowly is waited for while it makes progress, and holds no more than it has sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline_ingester::{Ingester, Options, Timeouts};
use trunkline_telemetry::traces::Traces;
use trunkline_tests::{Client, SourceDraft, Station};

/// An ingester in this process, with deadlines that a test can wait for.
async fn ingester(station: &Station, timeouts: Timeouts) -> Ingester {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let ingester = Ingester::start(Options {
        config_dir: station.config.path().to_owned(),
        listen: any,
        admin_listen: any,
        pod_uid: None,
        name: None,
        traces: Traces::default(),
        tls: None,
        timeouts,
    })
    .await
    .unwrap();
    let mut admin = Client::new(ingester.admin_addr());
    while admin.get("/readyz").await.unwrap().status != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ingester
}

async fn open_station() -> Station {
    Station::with(vec![SourceDraft::unverified("open")]).await
}

/// Writes the pieces with pauses before each but the first, then reads until the connection ends.
/// Returns the status, if there was an answer, and how long all of it took.
async fn send(address: SocketAddr, pieces: &[&str], pause: Duration) -> (Option<u16>, Duration) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let start = Instant::now();
    let mut answer = Vec::new();
    let write = async {
        for (number, piece) in pieces.iter().enumerate() {
            if number > 0 {
                tokio::time::sleep(pause).await;
            }
            if writer.write_all(piece.as_bytes()).await.is_err() {
                break;
            }
        }
        // The end of the connection is for the ingester to decide.
        std::future::pending::<()>().await;
    };
    let read = async {
        // A reset is an end too.
        let _ = reader.read_to_end(&mut answer).await;
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    let answer = String::from_utf8(answer).unwrap();
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .map(|rest| rest[..3].parse().unwrap());
    (status, start.elapsed())
}

fn assert_about(took: Duration, expected: Duration) {
    let late = expected + Duration::from_millis(700);
    assert!(
        took + Duration::from_millis(20) >= expected && took < late,
        "{took:?} instead of {expected:?}"
    );
}

#[tokio::test]
async fn headers_have_a_deadline_in_all_and_a_kept_connection_another() {
    let timeouts = Timeouts {
        headers: Duration::from_millis(500),
        idle: Duration::from_millis(1_500),
        ..Timeouts::default()
    };
    let station = open_station().await;
    let ingester = ingester(&station, timeouts).await;
    let address = ingester.local_addr();
    let pause = Duration::from_millis(150);

    let (status, took) = send(address, &[], pause).await;
    assert_eq!(status, None);
    assert_about(took, timeouts.headers);

    // Each byte wins no time.
    let line = [
        "POST ", "/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i",
    ];
    let (status, took) = send(address, &line, pause).await;
    assert_eq!(status, None);
    assert_about(took, timeouts.headers);

    let whole = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}",
        station.path()
    );
    let (status, took) = send(address, &[&whole], pause).await;
    assert_eq!(status, Some(200));
    assert_about(took, timeouts.idle);

    let slow_second = [&[whole.as_str()][..], &line].concat();
    let (status, took) = send(address, &slow_second, pause).await;
    assert_eq!(status, Some(200));
    assert_about(took, pause + timeouts.headers);
    ingester.stop().await;
}

#[tokio::test]
async fn an_idle_connection_of_http_2_is_told_to_end() {
    let timeouts = Timeouts {
        idle: Duration::from_millis(500),
        ..Timeouts::default()
    };
    let station = open_station().await;
    let ingester = ingester(&station, timeouts).await;
    let stream = TcpStream::connect(ingester.local_addr()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://a{}", station.path()));
    let request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let start = Instant::now();
    // A goodbye, and no error.
    connection.await.unwrap().unwrap();
    assert_about(start.elapsed(), timeouts.idle);
    ingester.stop().await;
}

#[tokio::test]
async fn a_body_goes_on_at_its_pace_and_ends_without() {
    let timeouts = Timeouts {
        headers: Duration::from_millis(300),
        body: Duration::from_millis(2_500),
        body_grace: Duration::from_millis(500),
        body_bytes_per_second: 1_000,
        ..Timeouts::default()
    };
    let station = open_station().await;
    let ingester = ingester(&station, timeouts).await;
    let pause = Duration::from_millis(200);
    let head = |bytes: usize| {
        format!(
            "POST {} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n",
            station.path()
        )
    };
    let address = ingester.local_addr();

    // A pause of 200 ms takes 200 bytes to be paid for.
    let piece = " ".repeat(300);
    let (head_of_ten, many) = (head(2_702), vec![piece.as_str(); 9]);
    let steady = [&[head_of_ten.as_str()][..], &many, &["{}"]].concat();
    let (status, took) = send(address, &steady, pause).await;
    assert_eq!(status, Some(200));
    assert_about(took, 10 * pause);

    let piece = " ".repeat(50);
    let few = vec![piece.as_str(); 9];
    let slow = [&[head_of_ten.as_str()][..], &few, &["{}"]].concat();
    let (status, took) = send(address, &slow, pause).await;
    assert_eq!(status, Some(408));
    // With what is discarded after it.
    assert!(took < Duration::from_secs(3), "{took:?}");

    let (status, took) = send(address, &[&head(10)], pause).await;
    assert_eq!(status, Some(408));
    assert!(took < Duration::from_millis(2_500), "{took:?}");

    // No pace buys more than the whole time.
    let piece = " ".repeat(1_000);
    let (long, pieces) = (head(100_000), vec![piece.as_str(); 30]);
    let endless = [&[long.as_str()][..], &pieces].concat();
    let (status, took) = send(address, &endless, pause).await;
    assert_eq!(status, Some(408));
    assert!(
        took >= timeouts.body && took < Duration::from_secs(5),
        "{took:?}"
    );
    ingester.stop().await;
}

#[tokio::test]
async fn what_is_announced_takes_nothing_until_it_arrives() {
    let station = open_station().await;
    let in_flight = || {
        station
            .ingester
            .metric("trunkline_ingester_in_flight_bytes", "")
    };
    let mut begun = Vec::new();
    for _ in 0..20 {
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n[",
            station.path(),
            6 << 20
        );
        let mut stream = TcpStream::connect(station.ingester.address())
            .await
            .unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        begun.push(stream);
    }
    // Each holds its own share at least, of which the least is 8 KiB.
    let deadline = Instant::now() + Duration::from_secs(5);
    while in_flight().await < 20.0 * 8_192.0 {
        assert!(Instant::now() < deadline, "{}", in_flight().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let held = in_flight().await;
    println!("{held} bytes are held for 20 requests that announced 6 MiB each");
    assert!(held < 20.0 * 64.0 * 1_024.0, "{held}");
    // 100 KiB more of one are reserved as they arrive.
    begun[0]
        .write_all(" ".repeat(100 << 10).as_bytes())
        .await
        .unwrap();
    while in_flight().await < held + 200_000.0 {
        assert!(Instant::now() < deadline, "{}", in_flight().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

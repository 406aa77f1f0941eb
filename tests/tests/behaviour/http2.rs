//! HTTP/2 in clear text on the senders' port, for those who begin with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use trunkline_model::headers::HeaderSelection;
use trunkline_tests::{SourceDraft, Station};

type Sender = SendRequest<BoxBody<Bytes, std::convert::Infallible>>;

/// A connection, and the task that ends when it does.
async fn connect(station: &Station) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(station.ingester.address())
        .await
        .unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

fn request(station: &Station) -> hyper::http::request::Builder {
    Request::post(format!("http://sender.example{}", station.path()))
}

fn whole(body: impl Into<Bytes>) -> BoxBody<Bytes, std::convert::Infallible> {
    BoxBody::new(Full::new(body.into()))
}

async fn text(answer: Response<Incoming>) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn open_station() -> Station {
    Station::with(vec![SourceDraft::unverified("open")]).await
}

#[tokio::test]
async fn many_requests_of_one_connection_are_committed_side_by_side() {
    let mut source = SourceDraft::unverified("open");
    source.settings.include_headers = HeaderSelection {
        all: true,
        ..HeaderSelection::default()
    };
    let station = Station::with(vec![source]).await;
    let (sender, _connection) = connect(&station).await;
    let mut answers: FuturesUnordered<_> = (0..250)
        .map(|number| {
            // Some do not fit into the window of a stream.
            let padding = " ".repeat(if number % 50 == 0 { 1 << 20 } else { 0 });
            let request = request(&station)
                .header("x-number", number)
                .body(whole(format!("{number}{padding}")));
            let mut sender = sender.clone();
            async move {
                sender.ready().await.unwrap();
                sender.send_request(request.unwrap()).await.unwrap()
            }
        })
        .collect();
    while let Some(answer) = answers.next().await {
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("connection"));
    }
    let sql = "SELECT count(DISTINCT body), count(*), min(headers ->> 'host') FROM open.events \
               WHERE headers ->> 'x-number' = body::text";
    let row = &station.database.rows(sql, &[]).await[0];
    let row: (i64, i64, &str) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(row, (250, 250, "sender.example"));
}

#[tokio::test]
async fn a_refusal_has_its_status_and_text() {
    let station = open_station().await;
    let (mut sender, _connection) = connect(&station).await;
    let nobody = Request::post("http://a/nobody").body(whole("{}")).unwrap();
    let answer = sender.send_request(nobody).await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(
        text(answer).await,
        "no object was found at the path \"/nobody\""
    );
    let too_large = request(&station).body(whole("x".repeat((6 << 20) + 1)));
    let answer = sender.send_request(too_large.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 413);
    // The others of the connection go on.
    let fits = request(&station).body(whole("{}")).unwrap();
    assert_eq!(sender.send_request(fits).await.unwrap().status(), 200);
}

#[tokio::test]
async fn headers_are_bounded() {
    let station = open_station().await;
    let (mut sender, _connection) = connect(&station).await;
    let long = request(&station)
        .header("x-long", "x".repeat(40 << 10))
        .body(whole("{}"));
    match sender.send_request(long.unwrap()).await {
        Ok(answer) => assert_eq!(answer.status(), 431),
        // The client keeps to the bound that it was told.
        Err(error) => println!("not sent: {error}"),
    }
    let rows = station.database.count("SELECT count(*) FROM open.events");
    assert_eq!(rows.await, 0);
    let (mut sender, _connection) = connect(&station).await;
    let fits = request(&station)
        .header("x-long", "x".repeat(20 << 10))
        .body(whole("{}"));
    let answer = sender.send_request(fits.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_stop_answers_what_it_has_accepted_and_says_goodbye() {
    let mut station = open_station().await;
    let (mut sender, connection) = connect(&station).await;
    let mut begun = Vec::new();
    for _ in 0..20 {
        let (pieces, body) = mpsc::unbounded_channel();
        pieces.send(Bytes::from_static(b"{\"a\"")).unwrap();
        let body = futures_util::stream::unfold(body, |mut body| async {
            let piece = body.recv().await?;
            Some((Ok(Frame::data(piece)), body))
        });
        let body = BoxBody::new(StreamBody::new(body));
        let answer = tokio::spawn(sender.send_request(request(&station).body(body).unwrap()));
        begun.push((pieces, answer));
    }
    let waiting = Instant::now();
    while station
        .ingester
        .metric("trunkline_ingester_in_flight_bytes", "")
        .await
        < 20.0 * 8_192.0
    {
        assert!(waiting.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    station.ingester.terminate();
    // The client hears of it, and begins no more on this connection.
    let probe = || {
        let probe = Request::get(format!("http://a{}", station.path()));
        probe.body(whole("")).unwrap()
    };
    while sender.send_request(probe()).await.is_ok() {
        assert!(waiting.elapsed() < Duration::from_secs(4), "no goodbye");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (pieces, answer) in begun {
        pieces.send(Bytes::from_static(b":1}")).unwrap();
        drop(pieces);
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    drop(sender);
    connection.await.unwrap().unwrap();
    assert!(station.ingester.ended().await.success());
    let rows = station.database.count("SELECT count(*) FROM open.events");
    assert_eq!(rows.await, 20);
}

/// A frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn headers(path: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` of the static table, `:authority` and `:path` in plain
    // (RFC 7541).
    let mut block = vec![0x83, 0x86, 0x01, 1, b'a', 0x04];
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path.as_bytes());
    block
}

/// Begins and resets streams until the ingester ends the connection, in writes of `at_once` streams
/// with pauses between them. Returns how many it took.
async fn reset_rapidly(station: &Station, at_once: u32, pause: Duration) -> u32 {
    const ENOUGH: u32 = 20_000;
    let mut stream = TcpStream::connect(station.ingester.address())
        .await
        .unwrap();
    let (mut reader, mut writer) = stream.split();
    writer
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    writer.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let block = headers(&station.path());
    let mut streams = 0;
    let mut attack = async || {
        while streams < ENOUGH {
            let mut bytes = Vec::new();
            for _ in 0..at_once {
                let id = 2 * streams + 1;
                bytes.extend(frame(HEADERS, END_HEADERS, id, &block));
                bytes.extend(frame(RST_STREAM, 0, id, &CANCEL));
                streams += 1;
            }
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    };
    let mut sink = tokio::io::sink();
    tokio::select! {
        () = attack() => {}
        _ = tokio::io::copy(&mut reader, &mut sink) => {}
    }
    assert!(streams < ENOUGH, "the connection is still open");
    streams
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection_and_harms_no_other() {
    let station = open_station().await;
    let (mut other, _connection) = connect(&station).await;
    let mut taken = BTreeMap::new();
    // At once, and so slowly that each stream is looked at before it is reset.
    for (at_once, pause) in [(100, 0), (1, 1)] {
        let streams = reset_rapidly(&station, at_once, Duration::from_millis(pause)).await;
        taken.insert(at_once, streams);
    }
    println!("streams that a connection had, by how many came at once: {taken:?}");
    let fits = request(&station).body(whole("{}")).unwrap();
    assert_eq!(other.send_request(fits).await.unwrap().status(), 200);
    let held = station
        .ingester
        .metric("trunkline_ingester_in_flight_bytes", "");
    assert!(held.await.abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_peer_that_sends_no_preface_in_full_is_not_served() {
    let station = open_station().await;
    let mut stream = TcpStream::connect(station.ingester.address())
        .await
        .unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

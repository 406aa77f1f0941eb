//! A request has one end, or it is refused and its connection closed: what follows it on the
//! connection is never taken for a request where a proxy in front may have seen a body.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline_model::request::BodyFormat;
use trunkline_tests::{SourceDraft, Station};

/// How long a connection may stay open after a shape and what follows it.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// Follows each shape on its connection, and closes it where it is taken for a request.
const NEXT: &str =
    "POST /smuggled HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What becomes of a shape.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// It is answered with this status, and the connection is closed.
    Refused(u16),
    /// Its body is stored, and the connection is closed.
    Last(&'static str),
    /// Its body is stored, and what follows is a request of its own.
    Taken(&'static str),
}
use Outcome::{Last, Refused, Taken};

/// How the body's length is said: the headers, then the body.
const LENGTHS: &[(&str, &str, Outcome)] = &[
    ("content-length: 2", "hi", Taken("hi")),
    ("content-length:\t 2 \t", "hi", Taken("hi")),
    // RFC 9112 §6.3: Transfer-Encoding decides, and the connection ends.
    (
        "content-length: 4\r\ntransfer-encoding: chunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Last("hi"),
    ),
    (
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "2\r\nhi\r\n0\r\n\r\n",
        Last("hi"),
    ),
    (
        "content-length: 0\r\ntransfer-encoding: chunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Last("hi"),
    ),
    (
        "transfer-encoding: chunked\r\ncontent-length: +4",
        "2\r\nhi\r\n0\r\n\r\n",
        Last("hi"),
    ),
    ("content-length: 2\r\ncontent-length: 2", "hi", Taken("hi")),
    ("content-length: 2\r\ncontent-length: 3", "hi", Refused(400)),
    ("content-length: 0\r\ncontent-length: 2", "hi", Refused(400)),
    ("content-length: +2", "hi", Refused(400)),
    ("content-length: -2", "hi", Refused(400)),
    ("content-length: 2, 2", "hi", Refused(400)),
    ("content-length: 2 2", "hi", Refused(400)),
    ("content-length: 0x2", "hi", Refused(400)),
    ("content-length: 2.0", "hi", Refused(400)),
    ("content-length:", "hi", Refused(400)),
    // More than the largest body.
    ("content-length: 9000000000000000000", "hi", Refused(413)),
    // More than hyper counts; it answers as to headers that are too large.
    ("content-length: 18446744073709551615", "hi", Refused(431)),
    ("content-length: 18446744073709551616", "hi", Refused(400)),
    (
        "transfer-encoding: Chunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Taken("hi"),
    ),
    (
        "transfer-encoding: chunked, chunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: gzip, chunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: identity, chunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: ,chunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: chunked, gzip",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: xchunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: \"chunked\"",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: chunked;q=1",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "transfer-encoding: \x0bchunked",
        "2\r\nhi\r\n0\r\n\r\n",
        Refused(400),
    ),
    ("transfer-encoding:", "2\r\nhi\r\n0\r\n\r\n", Refused(400)),
    ("transfer-encoding: identity", "hi", Refused(400)),
];

/// How a line of the head is written; the last is the line before the empty one.
const LINES: &[(&str, Outcome)] = &[
    ("x-a: b\r\n c\r\ncontent-length: 2", Refused(400)),
    ("x-a: b\r\n\tc\r\ncontent-length: 2", Refused(400)),
    (" x-a: b\r\ncontent-length: 2", Refused(400)),
    // RFC 9112 §2.2 lets a line end so, and it is the end of the line for whoever reads it.
    ("x-a: b\ncontent-length: 2", Taken("hi")),
    ("x-a: b\rcontent-length: 2", Refused(400)),
    ("x-a: b\r\r\ncontent-length: 2", Refused(400)),
    ("content-length : 2", Refused(400)),
    (
        "transfer-encoding : chunked\r\ncontent-length: 2",
        Refused(400),
    ),
    ("content-length\t: 2", Refused(400)),
    ("x-a: b\0c\r\ncontent-length: 2", Refused(400)),
    ("x\0a: b\r\ncontent-length: 2", Refused(400)),
    ("x-a: b\x0bc\r\ncontent-length: 2", Refused(400)),
    ("x-a\r\ncontent-length: 2", Refused(400)),
    (": b\r\ncontent-length: 2", Refused(400)),
    ("x(a: b\r\ncontent-length: 2", Refused(400)),
];

/// The body after `transfer-encoding: chunked`.
const CHUNKS: &[(&str, Outcome)] = &[
    ("1\r\nh\r\n01\r\ni\r\n000\r\n\r\n", Taken("hi")),
    ("2;a=b\r\nhi\r\n0;c\r\n\r\n", Taken("hi")),
    ("2 ;a=b\r\nhi\r\n0\r\n\r\n", Taken("hi")),
    ("2;a\nb\r\nhi\r\n0\r\n\r\n", Refused(408)),
    // What names a body's end in a trailer names nothing.
    (
        "2\r\nhi\r\n0\r\nx-a: b\r\ncontent-length: 9\r\n\r\n",
        Taken("hi"),
    ),
    ("2\r\nhi\r\n0\r\nx-a : b\r\n\r\n", Refused(408)),
    ("g\r\nhi\r\n0\r\n\r\n", Refused(408)),
    ("+2\r\nhi\r\n0\r\n\r\n", Refused(408)),
    ("-2\r\nhi\r\n0\r\n\r\n", Refused(408)),
    (" 2\r\nhi\r\n0\r\n\r\n", Refused(408)),
    ("0x2\r\nhi\r\n0\r\n\r\n", Refused(408)),
    ("2 2\r\nhi\r\n0\r\n\r\n", Refused(408)),
    ("\r\nhi\r\n0\r\n\r\n", Refused(408)),
    ("10000000000000002\r\nhi\r\n0\r\n\r\n", Refused(408)),
    ("2\nhi\r\n0\r\n\r\n", Refused(408)),
    ("2\r\nhi!\r\n0\r\n\r\n", Refused(408)),
    ("2\r\nhi\n0\r\n\r\n", Refused(408)),
    ("2\r\nhi0\r\n\r\n", Refused(408)),
];

/// The first line of a request with `content-length: 2` and the body `hi`.
const REQUEST_LINES: &[(&str, Outcome)] = &[
    ("\r\n\r\nPOST PATH HTTP/1.1", Taken("hi")),
    ("POST http://elsewhere.example:9PATH HTTP/1.1", Taken("hi")),
    ("POST PATH HTTP/1.0", Last("hi")),
    ("POST  PATH HTTP/1.1", Refused(400)),
    ("POST PATH  HTTP/1.1", Refused(400)),
    ("POST\tPATH\tHTTP/1.1", Refused(400)),
    (" POST PATH HTTP/1.1", Refused(400)),
    ("POST PATH", Refused(400)),
    ("POST PATH http/1.1", Refused(400)),
    ("POST PATH HTTP/1.2", Refused(400)),
    ("POST PATH HTTP/2.0", Refused(400)),
    ("POST PATH HTTP/1.1 HTTP/1.1", Refused(400)),
    ("POST PATH\0 HTTP/1.1", Refused(400)),
    ("P(ST PATH HTTP/1.1", Refused(400)),
];

/// Sends bytes on a connection of their own and returns what comes back until it is closed.
async fn exchange(station: &Station, bytes: &str) -> String {
    let mut stream = TcpStream::connect(station.ingester.address())
        .await
        .unwrap();
    // A refused head is answered, and the connection closed, before the rest of it is sent.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answers = Vec::new();
    let closed = async {
        let mut buffer = [0; 4096];
        // A reset ends a connection too.
        while let Ok(read) = stream.read(&mut buffer).await
            && read > 0
        {
            answers.extend_from_slice(&buffer[..read]);
        }
    };
    let closed = tokio::time::timeout(CLOSED_WITHIN, closed).await;
    let answers = String::from_utf8(answers).unwrap();
    assert!(closed.is_ok(), "{bytes:?} is left open: {answers:?}");
    answers
}

/// The statuses of answers, in their order.
fn statuses(answers: &str) -> Vec<u16> {
    let lines = answers.split("HTTP/1.").skip(1);
    lines.map(|line| line[2..5].parse().unwrap()).collect()
}

async fn text_station() -> Station {
    let mut source = SourceDraft::unverified("open");
    source.settings.body = BodyFormat::Text;
    Station::with(vec![source]).await
}

async fn stored(station: &Station) -> Vec<String> {
    let rows = station
        .database
        .rows("SELECT body FROM open.events ORDER BY received_at", &[])
        .await;
    rows.iter().map(|row| row.get(0)).collect()
}

async fn check(station: &Station, stored_before: usize, request: &str, outcome: Outcome) -> usize {
    let answers = exchange(station, &format!("{request}{NEXT}")).await;
    let stored = stored(station).await;
    let new = &stored[stored_before..];
    let (expected, body) = match outcome {
        Refused(status) => (vec![status], None),
        Last(body) => (vec![200], Some(body)),
        Taken(body) => (vec![200, 404], Some(body)),
    };
    assert_eq!(statuses(&answers), expected, "{request:?}: {answers:?}");
    assert_eq!(new, body.as_slice(), "{request:?}");
    stored.len()
}

#[tokio::test]
async fn every_shape_has_one_end_or_is_refused_and_closed() {
    let station = text_station().await;
    let path = station.path();
    let lengths = LENGTHS.iter().map(|(headers, body, outcome)| {
        let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n{body}");
        (request, *outcome)
    });
    let lines = LINES.iter().map(|(lines, outcome)| {
        let request = format!("POST {path} HTTP/1.1\r\n{lines}\r\n\r\nhi");
        (request, *outcome)
    });
    let chunks = CHUNKS.iter().map(|(chunks, outcome)| {
        let headers = "host: a\r\ntransfer-encoding: chunked\r\n\r\n";
        (
            format!("POST {path} HTTP/1.1\r\n{headers}{chunks}"),
            *outcome,
        )
    });
    let request_lines = REQUEST_LINES.iter().map(|(line, outcome)| {
        let line = line.replace("PATH", &path);
        (
            format!("{line}\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"),
            *outcome,
        )
    });
    // RFC 9112 §6.1: HTTP/1.0 has no chunks.
    let old_chunks =
        format!("POST {path} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    let mut rows = 0;
    let mut shapes = 0;
    let all = lengths
        .chain(lines)
        .chain(chunks)
        .chain(request_lines)
        .chain([(old_chunks, Refused(400))]);
    for (request, outcome) in all {
        rows = check(&station, rows, &request, outcome).await;
        shapes += 1;
    }
    println!("{shapes} shapes, {rows} bodies stored");
}

#[tokio::test]
async fn a_connection_whose_framing_is_refused_ends_on_every_path() {
    let station = text_station().await;
    for path in [station.path().as_str(), "/nobody"] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
        );
        let answers = exchange(&station, &format!("{request}{NEXT}")).await;
        assert_eq!(statuses(&answers), [400], "{answers:?}");
        let text = "the transfer encoding is not supported; send chunked alone";
        assert!(answers.ends_with(text), "{answers:?}");
    }
    let refusals = "trunkline_ingester_refusals_total";
    let reason = "reason=\"transfer_encoding\"";
    assert!((station.ingester.metric(refusals, reason).await - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn extensions_and_trailers_of_chunks_are_bounded() {
    let station = text_station().await;
    let path = station.path();
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let long = "x".repeat(40 << 10);
    let many = "x: y\r\n".repeat(200);
    for body in [
        format!("2;{long}\r\nhi\r\n0\r\n\r\n"),
        format!("2\r\nhi\r\n0;{long}\r\n\r\n"),
        format!("{}0\r\n\r\n", "1;extension\r\nh\r\n".repeat(4 << 10)),
        format!("2\r\nhi\r\n0\r\nx: {long}\r\n\r\n"),
        format!("2\r\nhi\r\n0\r\n{many}\r\n"),
    ] {
        let answers = exchange(&station, &format!("{head}{body}{NEXT}")).await;
        // The connection is closed on what was sent too much, and a reset may overtake the answer.
        let statuses = statuses(&answers);
        assert!(statuses.is_empty() || statuses == [408], "{answers:?}");
        assert_eq!(stored(&station).await, [""; 0]);
    }
}

//! Which of several faults a request is told of: the order of the work.
//!
//! Materialize decompresses and reads the body before it looks for the source. Here the source comes
//! first, and what its settings refuse is refused without a body.

use hyper::Method;
use trunkline_model::request::BodyFormat;
use trunkline_tests::{Answer, SECRET, SourceDraft};

use super::harness::Source;

const GZIP: (&str, &str) = ("content-encoding", "gzip");
const UNKNOWN: (&str, &str) = ("content-encoding", "compress");
const UNSIGNED: (u16, &str) = (400, "failed to validate the request");

/// The largest body of these tests.
const LIMIT: usize = 1_000;

async fn signed() -> Source {
    let mut source = Source::from(SourceDraft::segment("source", &[SECRET])).await;
    source.station.config.limits().max_body_bytes = LIMIT;
    source.station.reload().await;
    source
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.text.as_str())
}

/// In Materialize it is the other way round.
#[tokio::test]
async fn an_unknown_path_comes_before_the_coding_and_the_size() {
    let mut source = signed().await;
    let large = vec![b'x'; LIMIT + 1];
    for headers in [&[UNKNOWN][..], &[GZIP], &[]] {
        let answer = source.client.post("/nobody", headers, large.clone()).await;
        let text = "no object was found at the path \"/nobody\"";
        assert_eq!(told(&answer.unwrap()), (404, text), "{headers:?}");
    }
}

#[tokio::test]
async fn the_method_comes_before_the_coding_and_that_before_the_secret() {
    let mut source = Source::from(SourceDraft::segment("source", &[])).await;
    let path = source.station.path();
    let put = source.client.request(Method::PUT, &path, &[UNKNOWN], "");
    assert_eq!(put.await.unwrap().status, 405);
    assert_eq!(source.post(&[UNKNOWN], "").await.status, 415);
    assert_eq!(source.post(&[], "").await.status, 503);
}

#[tokio::test]
async fn the_size_and_the_decompression_come_before_the_check() {
    let mut source = signed().await;
    let text = "request body exceeds the maximum allowed size of 1000 bytes";
    source.refuse(vec![b'x'; LIMIT + 1], 413, text).await;
    let answer = source.post(&[GZIP], "not gzip").await;
    let text = "failed to decompress body: it is not valid gzip";
    assert_eq!(told(&answer), (400, text));
    // With neither fault, it is the check's turn.
    source
        .refuse(vec![b'x'; LIMIT], UNSIGNED.0, UNSIGNED.1)
        .await;
}

#[tokio::test]
async fn the_check_comes_before_the_body_is_decoded() {
    let mut source = signed().await;
    source.refuse("{not json", UNSIGNED.0, UNSIGNED.1).await;
}

/// Materialize counts messages and bytes of each source. Here requests are counted, by the status
/// that they were told.
#[tokio::test]
async fn what_is_refused_is_counted_too() {
    let mut source = Source::of(BodyFormat::Json).await;
    source.accept(&[], "1").await;
    source.post(&[], "{").await;
    source.post(&[UNKNOWN], "1").await;
    for status in ["200", "400", "415"] {
        let metric = "trunkline_ingester_requests_total";
        let label = format!("status=\"{status}\"");
        let count = source.station.ingester.metric(metric, &label).await;
        assert_eq!(count, 1.0, "{status}");
    }
}

//! Compressed bodies.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use trunkline_model::request::BodyFormat;
use trunkline_tests::{SECRET, SourceDraft};

use super::harness::Source;

const EVENT: &str = "{\"event\":\"Order Completed\"}";
/// [`EVENT`] by Node.js 20 (`zlib.brotliCompressSync`) and by zstd 1.5.4.
const BROTLI: &str = "1b1a00f8a54574f6faf6218a4cb289cc019e9f1a4b789e080f";
const ZSTD: &str =
    "28b52ffd241bd900007b226576656e74223a224f7264657220436f6d706c65746564227d2a3dfdd1";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_deflate_br_and_zstd_are_decompressed() {
    let mut source = Source::of(BodyFormat::Json).await;
    let bodies = [
        ("gzip", gzip(EVENT.as_bytes())),
        ("deflate", deflate(EVENT.as_bytes())),
        ("br", hex::decode(BROTLI).unwrap()),
        ("zstd", hex::decode(ZSTD).unwrap()),
        ("identity", EVENT.into()),
    ];
    for (coding, body) in &bodies {
        source.accept(&[("content-encoding", coding)], body).await;
    }
    assert_eq!(source.column("event").await, ["Order Completed"; 5]);
}

#[tokio::test]
async fn an_unknown_coding_and_several_are_415() {
    let mut source = Source::of(BodyFormat::Json).await;
    for coding in ["compress", "gzip, gzip", "br, gzip"] {
        let answer = source.post(&[("content-encoding", coding)], EVENT).await;
        assert_eq!(answer.status, 415);
        assert_eq!(answer.headers["accept-encoding"], "gzip, deflate, br, zstd");
        assert!(answer.text.contains(coding), "{}", answer.text);
    }
}

/// Materialize answers 500. The body will be no better when it is sent again.
#[tokio::test]
async fn a_body_that_does_not_decompress_is_400_and_not_500() {
    let mut source = Source::of(BodyFormat::Text).await;
    let whole = gzip(EVENT.as_bytes());
    for body in [EVENT.as_bytes(), &whole[..whole.len() - 1]] {
        let answer = source.post(&[("content-encoding", "gzip")], body).await;
        let text = "failed to decompress body: it is not valid gzip";
        assert_eq!((answer.status, answer.text.as_str()), (400, text));
    }
    assert!(source.column("body").await.is_empty());
}

#[tokio::test]
async fn the_limit_is_measured_after_decompression_and_a_bomb_holds_no_more() {
    const LIMIT: usize = 1 << 20;
    let mut source = Source::of(BodyFormat::Text).await;
    source.station.config.limits().max_body_bytes = LIMIT;
    source.station.reload().await;
    let header = [("content-encoding", "gzip")];
    source.accept(&header, gzip(&vec![b'x'; LIMIT])).await;
    let text = "request body exceeds the maximum allowed size of 1048576 bytes";
    for bytes in [LIMIT + 1, 200 << 20] {
        let body = gzip(&vec![b'x'; bytes]);
        assert!(body.len() < LIMIT);
        let answer = source.post(&header, body).await;
        assert_eq!((answer.status, answer.text.as_str()), (413, text));
    }
    let held = "trunkline_ingester_in_flight_bytes";
    assert_eq!(source.station.ingester.metric(held, "").await, 0.0);
    assert_eq!(source.column("length(body)").await, [LIMIT.to_string()]);
}

#[tokio::test]
async fn a_signature_over_the_body_or_over_the_bytes_on_the_wire_verifies() {
    let mut source = Source::from(SourceDraft::segment("source", &[SECRET])).await;
    let sign = |bytes: &[u8]| {
        let mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
        hex::encode(mac.chain_update(bytes).finalize().into_bytes())
    };
    let wire = gzip(EVENT.as_bytes());
    for signed in [EVENT.as_bytes(), &wire] {
        let headers = [("content-encoding", "gzip"), ("x-signature", &sign(signed))];
        source.accept(&headers, &wire).await;
    }
    assert_eq!(source.column("auth_scope").await, ["request"; 2]);
    let other = sign(b"another body");
    let headers = [
        ("content-encoding", "gzip"),
        ("x-signature", other.as_str()),
    ];
    let answer = source.post(&headers, &wire).await;
    let text = "failed to validate the request";
    assert_eq!((answer.status, answer.text.as_str()), (400, text));
    // A signature over something else than what is sent, coding or not.
    let headers = [("x-signature", sign(&wire))];
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(source.post(&headers, EVENT).await.status, 400);
}

//! What is too large.

use std::time::{Duration, Instant};

use trunkline_model::headers::HeaderSelection;
use trunkline_model::request::BodyFormat;
use trunkline_tests::SourceDraft;

use super::harness::Source;

/// How long a sender comes again after a 503. Segment does so for four hours.
const PATIENCE: Duration = Duration::from_secs(60);

/// Materialize's default is 5 MiB; ours is 6 MiB.
#[tokio::test]
async fn a_body_of_exactly_the_limit_succeeds_and_one_byte_more_is_413() {
    const LIMIT: usize = 6 << 20;
    let mut source = Source::of(BodyFormat::Text).await;
    let begun = Instant::now();
    let status = loop {
        let answer = source.post(&[], "x".repeat(LIMIT)).await;
        // A machine that is busy enough needs longer for it than a commit may take.
        if answer.status != 503 || begun.elapsed() > PATIENCE {
            break answer.status;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    assert_eq!(status, 200);
    let text = "request body exceeds the maximum allowed size of 6291456 bytes";
    source.refuse("x".repeat(LIMIT + 1), 413, text).await;
    let stored = source.column("length(body)").await;
    assert!(!stored.is_empty() && stored.iter().all(|length| *length == LIMIT.to_string()));
}

#[tokio::test]
async fn headers_that_rows_multiply_beyond_the_limit_are_413() {
    let mut draft = SourceDraft::unverified("source");
    draft.settings.split_arrays = true;
    draft.settings.include_headers = HeaderSelection {
        all: true,
        ..HeaderSelection::default()
    };
    let mut source = Source::from(draft).await;
    source.station.config.limits().max_body_bytes = 64 << 10;
    source.station.reload().await;
    let body = format!("[{}]", vec!["1"; 10_000].join(","));
    let long = "x".repeat(1_000);
    let answer = source.post(&[("x-long", &long)], body).await;
    let text = "request body decodes to more than the maximum allowed 524288 bytes of rows";
    assert_eq!((answer.status, answer.text.as_str()), (413, text));
    assert!(source.column("body").await.is_empty());
}

//! What is too large, too much or too often.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use trunkline_cli::segment::sign;
use trunkline_model::headers::HeaderSelection;
use trunkline_model::request::BodyFormat;
use trunkline_tests::{SECRET, SourceDraft, allow_files};

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
async fn the_limit_changes_while_it_runs() {
    let mut source = Source::of(BodyFormat::Text).await;
    for limit in [1_000, 2_000, 1_000] {
        source.station.config.limits().max_body_bytes = limit;
        source.station.reload().await;
        source.accept(&[], "x".repeat(limit)).await;
        let text = format!("request body exceeds the maximum allowed size of {limit} bytes");
        source.refuse("x".repeat(limit + 1), 413, &text).await;
    }
}

/// Materialize gives a check 20 MiB. Here verification takes no memory of its own.
#[tokio::test]
async fn a_signed_body_of_the_largest_size_is_verified() {
    const LIMIT: usize = 1 << 20;
    let mut source = Source::from(SourceDraft::segment("source", &[SECRET])).await;
    source.station.config.limits().max_body_bytes = LIMIT;
    source.station.reload().await;
    let body = format!("\"{}\"", "x".repeat(LIMIT - 2));
    let signature = sign(SECRET.as_bytes(), body.as_bytes());
    source.accept(&[("x-signature", &signature)], &body).await;
    assert_eq!(source.column("auth_scope").await, ["request"]);
}

/// Materialize answers 429 beyond 500 requests at once. Here their number is not counted, only the
/// memory that they take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_500_requests_at_once_are_200_and_not_429() {
    const REQUESTS: usize = 600;
    allow_files(4_096);
    let source = Source::of(BodyFormat::Json).await;
    let owner = source.station.database.connect().await;
    let lock = "BEGIN; LOCK TABLE trunkline.events IN ACCESS EXCLUSIVE MODE";
    let mut clients: Vec<_> = (0..REQUESTS)
        .map(|_| source.station.ingester.client())
        .collect();
    // Connected beforehand, so that they come together.
    for client in &mut clients {
        client.get("/").await.unwrap();
    }
    owner.batch_execute(lock).await.unwrap();
    let mut waiting = JoinSet::new();
    for mut client in clients {
        let path = source.station.path();
        waiting.spawn(async move { client.post(&path, &[], "1").await.unwrap().status });
    }
    let held = "trunkline_ingester_in_flight_bytes";
    let (mut last, begun) = (0.0, Instant::now());
    // All are waiting when nothing is added any more.
    while begun.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = source.station.ingester.metric(held, "").await;
        if now > 0.0 && now == last {
            break;
        }
        last = now;
    }
    owner.batch_execute("ROLLBACK").await.unwrap();
    let statuses = waiting.join_all().await;
    assert_eq!(statuses, [200; REQUESTS]);
    assert_eq!(source.column("body").await.len(), REQUESTS);
}

/// Materialize commits once a second for each source.
#[tokio::test]
async fn one_sender_waits_for_no_window_of_a_second() {
    const REQUESTS: u32 = 20;
    let mut source = Source::of(BodyFormat::Json).await;
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        source.accept(&[], "1").await;
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1) * (REQUESTS - 1), "{took:?}");
}

/// Materialize remembers a secret for up to 300 s.
#[tokio::test]
async fn another_secret_counts_at_once() {
    let mut source = Source::from(SourceDraft::segment("source", &[SECRET])).await;
    let (before, after) = (sign(SECRET.as_bytes(), b"1"), sign(b"another", b"1"));
    source.accept(&[("x-signature", &before)], "1").await;
    source.station.sources[0].verify(false, &["another"]);
    source.station.reload().await;
    assert_eq!(
        source.post(&[("x-signature", &before)], "1").await.status,
        400
    );
    source.accept(&[("x-signature", &after)], "1").await;
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

//! Every status and its text.

use std::time::Duration;

use hyper::Method;
use trunkline_cli::segment::sign;
use trunkline_model::request::{BodyFormat, RequestMethod};
use trunkline_tests::{NoAnswer, SECRET, SourceDraft, Station};

use super::harness::Source;

#[tokio::test]
async fn what_is_committed_is_200_with_an_empty_body() {
    let mut source = Source::of(BodyFormat::Json).await;
    let answer = source.post(&[], "1").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    assert_eq!(answer.headers["content-length"], "0");
    // Materialize's reader may have to wait a second for it.
    assert_eq!(source.column("body").await, ["1"]);
}

/// What is renamed in Materialize gets another URL, and the old one is 404, as here where the path
/// is another.
#[tokio::test]
async fn a_source_that_was_dropped_or_moved_is_404_and_not_500() {
    let sources = ["old", "source"].map(SourceDraft::unverified).to_vec();
    let mut station = Station::with(sources).await;
    let mut client = station.ingester.client();
    let (old, kept) = (station.path(), station.sources[1].path());
    assert_eq!(client.post(&old, &[], "1").await.unwrap().status, 200);
    station.sources[0] = SourceDraft::unverified("new");
    station.reload().await;
    let answer = client.post(&old, &[], "1").await.unwrap();
    let text = format!("no object was found at the path \"{old}\"");
    assert_eq!((answer.status, answer.text), (404, text));
    for path in [kept, station.path()] {
        assert_eq!(client.post(&path, &[], "1").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_path_without_a_source_is_404() {
    let mut source = Source::of(BodyFormat::Json).await;
    let answer = source
        .client
        .post("/api/webhook/a/b/c", &[], "1")
        .await
        .unwrap();
    let text = "no object was found at the path \"/api/webhook/a/b/c\"";
    assert_eq!((answer.status, answer.text.as_str()), (404, text));
}

/// Materialize answers 404 `the required auth could not be found`, and senders drop the event.
#[tokio::test]
async fn a_secret_that_cannot_be_read_is_503_and_not_404() {
    let mut source = Source::from(SourceDraft::segment("source", &[])).await;
    source.refuse("{}", 503, "service unavailable").await;
}

/// Whatever fails, in Materialize's check or in its evaluation, has one text here.
#[tokio::test]
async fn a_check_that_is_false_or_null_or_fails_is_400_with_one_text() {
    let mut source = Source::from(SourceDraft::segment("source", &[SECRET])).await;
    let zeros = "0".repeat(40);
    for headers in [
        &[][..],
        &[("x-signature", zeros.as_str())],
        &[("x-signature", "not hex")],
        // Materialize: 401 for any header that is there twice.
        &[
            ("x-signature", zeros.as_str()),
            ("x-signature", zeros.as_str()),
        ],
    ] {
        let answer = source.post(headers, "{}").await;
        let text = "failed to validate the request";
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (400, text),
            "{headers:?}"
        );
    }
    assert!(source.column("body").await.is_empty());
}

/// Materialize's check over a text body answers 400 for one that is not UTF-8. Here a signature is
/// over bytes.
#[tokio::test]
async fn a_signed_body_that_is_not_text_is_200_and_not_400() {
    let mut draft = SourceDraft::segment("source", &[SECRET]);
    (draft.settings.body, draft.settings.split_arrays) = (BodyFormat::Bytes, false);
    let mut source = Source::from(draft).await;
    let signature = sign(SECRET.as_bytes(), b"\xff\x00");
    source
        .accept(&[("x-signature", &signature)], b"\xff\x00")
        .await;
    assert_eq!(source.column("encode(body, 'hex')").await, ["ff00"]);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_400() {
    let mut source = Source::of(BodyFormat::Json).await;
    let text = "failed to deserialize body as Jsonb: invalid literal at line 1 column 2";
    source.refuse("nonsense", 400, text).await;
    let text = "failed to deserialize body as Jsonb: invalid UTF-8 at line 1 column 2";
    source.refuse(b"\"\xff\"", 400, text).await;
}

/// Materialize answers 500 with the cause. Senders repeat both; the cause is the owner's.
#[tokio::test]
async fn a_storage_failure_is_503_and_not_500() {
    let mut source = Source::of(BodyFormat::Json).await;
    let owner = source.station.database.connect().await;
    let rename = "ALTER TABLE trunkline.events RENAME TO elsewhere";
    owner.batch_execute(rename).await.unwrap();
    source.refuse("1", 503, "service unavailable").await;
}

/// Materialize answers 503 from then on. Here what was accepted is answered as ever, and after that
/// nobody is let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_answers_what_was_accepted_and_not_503() {
    let mut source = Source::of(BodyFormat::Json).await;
    let owner = source.station.database.connect().await;
    let lock = "BEGIN; LOCK TABLE trunkline.events IN ACCESS EXCLUSIVE MODE";
    owner.batch_execute(lock).await.unwrap();
    let (path, mut client) = (source.station.path(), source.station.ingester.client());
    let waiting = tokio::spawn(async move { client.post(&path, &[], "1").await.unwrap() });
    let ingester = &mut source.station.ingester;
    while ingester
        .metric("trunkline_ingester_in_flight_bytes", "")
        .await
        == 0.0
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ingester.terminate();
    while ingester.admin("/readyz").await.unwrap().status == 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    owner.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert!(ingester.ended().await.success());
    let path = source.station.path();
    let late = source.client.post(&path, &[], "2").await.unwrap_err();
    assert!(matches!(late, NoAnswer::Connect(_)), "{late}");
    assert_eq!(source.column("body").await, ["1"]);
}

#[tokio::test]
async fn another_method_than_post_is_405_unless_the_source_takes_it() {
    let mut more = SourceDraft::unverified("more");
    more.settings.http.methods = vec![
        RequestMethod::Post,
        RequestMethod::Put,
        RequestMethod::Patch,
    ];
    let mut suspended = SourceDraft::segment("suspended", &[]);
    suspended.settings.http.methods = vec![RequestMethod::Put];
    let sources = vec![SourceDraft::unverified("source"), more, suspended];
    let station = Station::with(sources).await;
    let mut client = station.ingester.client();
    for (source, method, status, allow) in [
        (0, Method::PUT, 405, Some("POST")),
        (0, Method::OPTIONS, 405, Some("POST")),
        (1, Method::POST, 200, None),
        (1, Method::PUT, 200, None),
        (1, Method::PATCH, 200, None),
        (1, Method::GET, 405, Some("POST, PUT, PATCH")),
        (1, Method::DELETE, 405, Some("POST, PUT, PATCH")),
        // Our trouble is not the sender's, whatever the method.
        (2, Method::PUT, 503, None),
        (2, Method::POST, 405, Some("PUT")),
    ] {
        let path = station.sources[source].path();
        let answer = client
            .request(method.clone(), &path, &[], "1")
            .await
            .unwrap();
        let allowed = answer
            .headers
            .get("allow")
            .map(|allow| allow.to_str().unwrap());
        assert_eq!(
            (answer.status, allowed),
            (status, allow),
            "{source} {method}"
        );
    }
    let count = "SELECT count(*) FROM more.events";
    assert_eq!(station.database.count(count).await, 3);
}

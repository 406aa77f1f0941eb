//! Every status and its text.

use hyper::Method;
use trunkline_model::request::{BodyFormat, RequestMethod};
use trunkline_tests::{SECRET, SourceDraft, Station};

use super::harness::Source;

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

#[tokio::test]
async fn the_check_comes_before_the_body_is_decoded() {
    let mut source = Source::from(SourceDraft::segment("source", &[SECRET])).await;
    source
        .refuse("{not json", 400, "failed to validate the request")
        .await;
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

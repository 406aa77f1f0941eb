//! Pages of browsers: cross-origin resource sharing.

use hyper::Method;
use trunkline_model::request::{Cors, RequestMethod};
use trunkline_tests::{Answer, SourceDraft, Station};

const APP: &str = "https://app.example.com";
const OTHER: &str = "https://other.example.com";

fn draft(name: &str, origins: &[&str]) -> SourceDraft {
    let mut draft = SourceDraft::unverified(name);
    draft.settings.http.cors = Some(Cors {
        origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
    });
    draft
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

/// Materialize mirrors any origin, always. Here it is off unless the source says so.
#[tokio::test]
async fn a_preflight_is_200_with_the_origin_the_methods_and_the_headers_mirrored() {
    let mut methods = draft("any", &["*"]);
    methods.settings.http.methods = vec![RequestMethod::Post, RequestMethod::Put];
    let sources = vec![
        draft("listed", &[APP]),
        methods,
        SourceDraft::unverified("off"),
    ];
    let station = Station::with(sources).await;
    let mut client = station.ingester.client();
    for (source, origin, status, methods) in [
        (0, APP, 200, Some("POST")),
        (0, OTHER, 405, None),
        (1, OTHER, 200, Some("POST, PUT")),
        (2, APP, 405, None),
    ] {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-signature"),
        ];
        let path = station.sources[source].path();
        let answer = client
            .request(Method::OPTIONS, &path, &headers, "")
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{source} {origin}");
        let is_allowed = status == 200;
        assert_eq!(header(&answer, "access-control-allow-methods"), methods);
        assert_eq!(
            header(&answer, "access-control-allow-origin"),
            is_allowed.then_some(origin)
        );
        assert_eq!(
            header(&answer, "access-control-allow-headers"),
            is_allowed.then_some("content-type,x-signature")
        );
        assert_eq!(header(&answer, "vary"), (source != 2).then_some("Origin"));
    }
}

#[tokio::test]
async fn every_answer_to_an_allowed_origin_says_so_refusals_too() {
    let mut revoked = SourceDraft::segment("revoked", &[]);
    revoked.settings.http = draft("x", &[APP]).settings.http;
    let sources = vec![
        draft("listed", &[APP]),
        SourceDraft::unverified("off"),
        revoked,
    ];
    let station = Station::with(sources).await;
    let mut client = station.ingester.client();
    for (source, method, origin, body, status, allowed) in [
        (0, Method::POST, APP, "1", 200, true),
        (0, Method::POST, APP, "{", 400, true),
        (0, Method::GET, APP, "", 405, true),
        (2, Method::POST, APP, "1", 503, true),
        (0, Method::POST, OTHER, "1", 200, false),
        (1, Method::POST, APP, "1", 200, false),
    ] {
        let path = station.sources[source].path();
        let headers = [("origin", origin)];
        let answer = client
            .request(method.clone(), &path, &headers, body)
            .await
            .unwrap();
        let expected = (status, allowed.then_some(APP));
        let found = (
            answer.status,
            header(&answer, "access-control-allow-origin"),
        );
        assert_eq!(found, expected, "{source} {method} {origin}");
        assert_eq!(header(&answer, "vary"), (source != 1).then_some("Origin"));
    }
    let path = station.sources[0].path();
    let answer = client.post(&path, &[], "1").await.unwrap();
    assert_eq!(answer.status, 200, "programs send no origin");
    assert_eq!(header(&answer, "access-control-allow-origin"), None);
}

//! What a sender is told, and what of a request is stored.

use std::time::{Duration, Instant};

use hyper::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use trunkline_model::headers::{HeaderColumn, HeaderSelection};
use trunkline_tests::{IngesterProcess, SourceDraft, Station};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test]
async fn every_refusal_has_its_status_and_text() {
    let mut station = Station::with(vec![SourceDraft::unverified("open")]).await;
    station.config.limits().max_body_bytes = 1 << 20;
    station.reload().await;
    let path = station.path();
    let mut client = station.ingester.client();

    let answer = client
        .post("/webhooks/default/nobody", &[], "{}")
        .await
        .unwrap();
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.text.trim(),
        "no object was found at the path \"/webhooks/default/nobody\""
    );

    for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD] {
        let answer = client
            .request(method.clone(), &path, &[], "")
            .await
            .unwrap();
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.headers["allow"], "POST");
    }

    let answer = client
        .post(&path, &[("content-encoding", "compress")], "{}")
        .await
        .unwrap();
    assert_eq!(answer.status, 415);
    assert!(answer.text.contains("compress"), "{}", answer.text);
    let answer = client
        .post(&path, &[("content-encoding", "identity")], "{}")
        .await
        .unwrap();
    assert_eq!(answer.status, 200);

    for body in [
        "{",
        "nonsense-of-a-person",
        "[1,]",
        "{} {",
        "\u{feff}{}",
        "{\"a\":\"\t\"}",
    ] {
        let answer = client.post(&path, &[], body).await.unwrap();
        assert_eq!(answer.status, 400, "{body}");
        assert!(
            answer
                .text
                .starts_with("failed to deserialize body as Jsonb: "),
            "{}",
            answer.text
        );
        assert!(
            !answer.text.contains("nonsense"),
            "no content in answers: {}",
            answer.text
        );
    }
    let answer = client
        .post(&path, &[], b"{\"a\":\"\xff\"}".to_vec())
        .await
        .unwrap();
    assert_eq!(answer.status, 400);

    // The answer arrives although the body is larger than what any socket buffers.
    let fits = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    assert_eq!(client.post(&path, &[], fits).await.unwrap().status, 200);
    for excess in [1, 1 << 20] {
        let too_large = "x".repeat((1 << 20) + excess);
        let answer = client.post(&path, &[], too_large).await.unwrap();
        let text = "request body exceeds the maximum allowed size of 1048576 bytes";
        assert_eq!((answer.status, answer.text.trim()), (413, text));
    }
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM open.events")
            .await,
        2
    );

    // Nothing to store is stored at once.
    for nothing in ["", " \n"] {
        assert_eq!(client.post(&path, &[], nothing).await.unwrap().status, 200);
    }
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM open.events")
            .await,
        2
    );
}

#[tokio::test]
async fn without_a_configuration_every_path_is_503_and_nothing_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let ingester = IngesterProcess::start(folder.path());
    while ingester.admin("/livez").await.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = ingester.client().post("/any", &[], "{}").await.unwrap();
    assert_eq!(
        (answer.status, answer.text.trim()),
        (503, "service unavailable")
    );
    let ready = ingester.admin("/readyz").await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("configuration"), "{}", ready.text);
}

#[tokio::test]
async fn a_source_without_secrets_is_503_and_its_neighbour_is_served() {
    let sources = vec![
        SourceDraft::segment("revoked", &[]),
        SourceDraft::unverified("open"),
    ];
    let station = Station::with(sources).await;
    let mut client = station.ingester.client();
    let answer = client
        .post(&station.sources[0].path(), &[], "{}")
        .await
        .unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(
        client
            .post(&station.sources[1].path(), &[], "{}")
            .await
            .unwrap()
            .status,
        200
    );
    let config = station.ingester.config().await;
    let state = |source: &str| {
        let sources = config["sources"].as_array().unwrap();
        sources.iter().find(|one| one["source"] == source).unwrap()["state"].clone()
    };
    assert_eq!(state("default/revoked"), "unavailable");
    assert_eq!(state("default/open"), "serving");
}

#[tokio::test]
async fn headers_are_stored_as_the_source_says() {
    let selections = [
        (HeaderSelection::default(), None),
        (
            HeaderSelection {
                all: true,
                ..Default::default()
            },
            Some(vec![
                "host",
                "content-length",
                "user-agent",
                "x-one",
                "x-two",
            ]),
        ),
        (
            HeaderSelection {
                allow: names(&["x-one", "authorization"]),
                ..Default::default()
            },
            Some(vec!["authorization", "x-one"]),
        ),
        (
            HeaderSelection {
                deny: names(&["x-one", "host", "content-length"]),
                ..Default::default()
            },
            Some(vec!["user-agent", "x-two"]),
        ),
        (
            HeaderSelection {
                allow: names(&["x-one", "x-two"]),
                deny: names(&["x-one"]),
                all: false,
            },
            Some(vec!["x-two"]),
        ),
    ];
    let mut sources = Vec::new();
    for (number, (selection, _)) in selections.iter().enumerate() {
        let mut source = SourceDraft::unverified(&format!("s{number}"));
        source.settings.include_headers = selection.clone();
        source.settings.header_columns = vec![
            HeaderColumn {
                name: "x-two".to_owned(),
                column: "two".to_owned(),
                bytes: false,
            },
            HeaderColumn {
                name: "x-absent".to_owned(),
                column: "absent".to_owned(),
                bytes: false,
            },
        ];
        sources.push(source);
    }
    let station = Station::with(sources).await;
    let mut client = station.ingester.client();
    let headers = [
        ("User-Agent", "a test"),
        ("X-One", "1"),
        ("x-two", "2a"),
        ("X-Two", "2b"),
        ("authorization", "Bearer of-a-secret"),
        ("cookie", "of=a-secret"),
    ];
    for (source, (selection, expected)) in station.sources.iter().zip(&selections) {
        let answer = client.post(&source.path(), &headers, "{}").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        let sql = format!(
            "SELECT headers::text, two, absent FROM {}.events",
            source.name.name()
        );
        let row = &station.database.rows(&sql, &[]).await[0];
        let stored: Option<serde_json::Value> = row
            .get::<_, Option<&str>>(0)
            .map(|text| serde_json::from_str(text).unwrap());
        let mut stored: Option<Vec<String>> =
            stored.map(|headers| headers.as_object().unwrap().keys().cloned().collect());
        if let Some(names) = &mut stored {
            names.sort_unstable();
        }
        let expected = expected.clone().map(|mut names| {
            names.sort_unstable();
            names.into_iter().map(str::to_owned).collect::<Vec<_>>()
        });
        assert_eq!(stored, expected, "{selection:?}");
        assert_eq!(row.get::<_, Option<&str>>(1), Some("2a, 2b"));
        assert_eq!(row.get::<_, Option<&str>>(2), None);
    }
}

#[tokio::test]
async fn a_body_is_a_stream_of_values_and_arrays_are_split_where_the_source_says() {
    let mut split = SourceDraft::unverified("split");
    split.settings.split_arrays = true;
    let station = Station::with(vec![SourceDraft::unverified("whole"), split]).await;
    let mut client = station.ingester.client();
    let body = "{\"n\":1}\n[2,[3]]\n\"four\" null\n[]";
    for source in &station.sources {
        let answer = client.post(&source.path(), &[], body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    for (schema, expected) in [
        (
            "whole",
            vec!["{\"n\": 1}", "[2, [3]]", "\"four\"", "null", "[]"],
        ),
        ("split", vec!["{\"n\": 1}", "2", "[3]", "\"four\"", "null"]),
    ] {
        let sql = format!(
            "SELECT body::text, position, auth_scope, source FROM {schema}.events ORDER BY position"
        );
        let rows = station.database.rows(&sql, &[]).await;
        let bodies: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(bodies, expected, "{schema}");
        for (row, position) in rows.iter().zip(0_i32..) {
            assert_eq!(row.get::<_, i32>(1), position);
            assert_eq!(row.get::<_, &str>(2), "none");
            assert_eq!(row.get::<_, String>(3), format!("default/{schema}"));
        }
    }
}

#[tokio::test]
async fn past_the_bytes_in_flight_a_request_is_503_and_later_ones_are_served() {
    let mut station = Station::with(vec![SourceDraft::unverified("open")]).await;
    station.config.limits().bytes_in_flight = 1 << 20;
    station.reload().await;
    let mut client = station.ingester.client();
    // A request that has begun holds what has arrived of it, and more for its rows.
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{}",
        station.path(),
        400 << 10,
        "[".repeat(350 << 10)
    );
    let mut begun = TcpStream::connect(station.ingester.address())
        .await
        .unwrap();
    begun.write_all(head.as_bytes()).await.unwrap();
    while station
        .ingester
        .metric("trunkline_ingester_in_flight_bytes", "")
        .await
        < 1_000_000.0
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = client.post(&station.path(), &[], "{}").await.unwrap();
    assert_eq!(
        (answer.status, answer.text.trim()),
        (503, "service unavailable")
    );
    assert!(answer.headers.contains_key("retry-after"));
    drop(begun);
    let start = Instant::now();
    while client
        .post(&station.path(), &[], "{}")
        .await
        .unwrap()
        .status
        != 200
    {
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "what was reserved is not given back"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

//! The log's two forms are what `docs/logs.md` shows.

use serde_json::Value;
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{IngesterProcess, SECRET, SourceDraft, Station, repository};

/// The line of the page that begins so, which is the only one.
fn example(beginning: &str) -> String {
    let page = std::fs::read_to_string(repository().join("docs/logs.md")).unwrap();
    let lines: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with(beginning))
        .collect();
    assert_eq!(lines.len(), 1, "{beginning}");
    lines[0].to_owned()
}

/// The only line of the log about a refused request, in this form.
async fn logged(format: &str) -> String {
    let mut station = Station::with(vec![SourceDraft::segment("segment", &[SECRET])]).await;
    station.ingester = IngesterProcess::start_with(
        station.config.path(),
        &[&format!("--log-format={format}")],
        &[],
    );
    station.ingester.ready().await;
    let forged = [(SIGNATURE_HEADER, "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00")];
    let path = station.path();
    let answer = station
        .ingester
        .client()
        .post(&path, &forged, "{}")
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
    let log = station.ingester.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("request refused"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    if format == "json" {
        for line in log.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
    }
    lines[0].to_owned()
}

#[tokio::test]
async fn a_refusal_is_logged_as_json_as_the_page_shows() {
    let [mut shown, mut said] = [example("{\"timestamp\""), logged("json").await]
        .map(|line| serde_json::from_str::<Value>(&line).unwrap());
    for line in [&mut shown, &mut said] {
        let time = line["timestamp"].take();
        assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }
    assert_eq!(said, shown);
}

#[tokio::test]
async fn a_refusal_is_logged_as_text_as_the_page_shows() {
    let [shown, said] = [example("2026-"), logged("text").await].map(|line| {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        rest.to_owned()
    });
    assert_eq!(said, shown);
}

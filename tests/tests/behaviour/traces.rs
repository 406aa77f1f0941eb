//! Spans of requests, as a collector receives them.

use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{
    Collector, IngesterProcess, Received, SECRET, SourceDraft, Station, events, signed_single,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A station whose ingester sends its spans to the collector, with more variables.
async fn traced(collector: &Collector, more: &[(&str, &str)]) -> Station {
    let mut station = Station::with(vec![SourceDraft::segment("segment", &[SECRET])]).await;
    let endpoint = collector.endpoint();
    let mut environment = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    environment.extend(more);
    station.ingester = IngesterProcess::start_with(station.config.path(), &[], &environment);
    station.ingester.ready().await;
    station
}

/// Posts a signed event, as part of the sender's trace.
async fn post(station: &Station, path: &str, flags: &str) -> u16 {
    let event = &events(1, 1)[0];
    let (body, signature) = signed_single(SECRET.as_bytes(), &event.json);
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    let headers = [
        (SIGNATURE_HEADER, signature.as_str()),
        ("traceparent", parent.as_str()),
    ];
    let answer = station.ingester.client().post(path, &headers, body).await;
    answer.unwrap().status
}

fn names(spans: &[Received]) -> Vec<&str> {
    let mut sorted: Vec<_> = spans.iter().collect();
    sorted.sort_by_key(|received| received.span.start_time_unix_nano);
    sorted
        .iter()
        .map(|received| received.span.name.as_str())
        .collect()
}

#[tokio::test]
async fn a_request_is_a_span_of_the_senders_trace_with_a_part_for_each_step() {
    let collector = Collector::start().await;
    let station = traced(&collector, &[]).await;
    assert_eq!(post(&station, &station.path(), "01").await, 200);
    let spans = collector.wait_for(5).await;
    let whole = spans
        .iter()
        .find(|received| received.span.name == "POST")
        .unwrap();
    assert_eq!(hex::encode(&whole.span.trace_id), TRACE);
    assert_eq!(hex::encode(&whole.span.parent_span_id), PARENT);
    assert_eq!(whole.span.kind, 2, "a server's");
    assert_eq!(whole.service, "trunkline-ingester");
    assert_eq!(
        whole.attribute("http.response.status_code").as_deref(),
        Some("200")
    );
    assert_eq!(
        whole.attribute("trunkline.source").as_deref(),
        Some("default/segment")
    );
    let parts: Vec<_> = spans
        .iter()
        .filter(|received| received.span.name != "POST")
        .cloned()
        .collect();
    assert_eq!(names(&parts), ["receive", "verify", "decode", "commit"]);
    for part in &parts {
        assert_eq!(part.span.parent_span_id, whole.span.span_id);
        assert_eq!(hex::encode(&part.span.trace_id), TRACE);
        assert!(part.span.start_time_unix_nano >= whole.span.start_time_unix_nano);
        assert!(part.span.end_time_unix_nano <= whole.span.end_time_unix_nano);
    }
}

#[tokio::test]
async fn a_refusal_names_its_reason_and_nothing_of_the_request() {
    let collector = Collector::start().await;
    let station = traced(&collector, &[("OTEL_SERVICE_NAME", "hooks")]).await;
    let mut client = station.ingester.client();
    let forged = [(SIGNATURE_HEADER, "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00")];
    let body = "{\"email\":\"anna@example.com\"}";
    let path = station.path();
    assert_eq!(client.post(&path, &forged, body).await.unwrap().status, 400);
    let unknown = "/webhooks/tok-3c1fa9?key=hush";
    assert_eq!(
        client.post(unknown, &forged, body).await.unwrap().status,
        404
    );

    let spans = collector.wait_for(5).await;
    let reason = |name: &str| {
        let is_it =
            |received: &&Received| received.attribute("error.type").as_deref() == Some(name);
        spans
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{name}: {spans:#?}"))
    };
    let forged = reason("signature_mismatch");
    assert_eq!(
        forged.attribute("http.response.status_code").as_deref(),
        Some("400")
    );
    assert_eq!(reason("unknown_path").attribute("trunkline.source"), None);
    // Nothing of it was decoded.
    assert!(!names(&spans).contains(&"decode"), "{spans:#?}");
    assert!(spans.iter().all(|received| received.service == "hooks"));
    let told = format!("{spans:?}");
    for secret in ["anna", "c0ffee", "tok-", "hush", SECRET, "/webhooks"] {
        assert!(!told.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_sampler_and_the_sender_decide_what_is_recorded() {
    let collector = Collector::start().await;
    // The sender does not record its own part.
    let mut station = traced(&collector, &[]).await;
    assert_eq!(post(&station, &station.path(), "00").await, 200);
    // Nobody asks.
    let silent = traced(&collector, &[("OTEL_TRACES_SAMPLER", "always_off")]).await;
    assert_eq!(post(&silent, &silent.path(), "01").await, 200);
    let off = traced(&collector, &[("OTEL_SDK_DISABLED", "true")]).await;
    assert_eq!(post(&off, &off.path(), "01").await, 200);
    for mut station in [silent, off] {
        station.ingester.terminate();
        assert!(station.ingester.ended().await.success());
    }
    // What is asked for after them arrives alone. At its end the ingester has sent all.
    assert_eq!(post(&station, &station.path(), "01").await, 200);
    station.ingester.terminate();
    assert!(station.ingester.ended().await.success());
    assert_eq!(collector.spans().len(), 5);
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_nobody_anything() {
    let collector = Collector::start().await;
    let nowhere = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")];
    let mut station = traced(&collector, &nowhere).await;
    for _ in 0..20 {
        assert_eq!(post(&station, &station.path(), "01").await, 200);
    }
    station.ingester.terminate();
    assert!(station.ingester.ended().await.success());

    // Nor does one that is asked in another protocol, which the log says.
    let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let station = traced(&collector, &grpc).await;
    assert_eq!(post(&station, &station.path(), "01").await, 200);
    let log = station.ingester.log();
    assert!(log.contains("set it to http/protobuf"), "{log}");
    assert_eq!(collector.spans().len(), 0);
}

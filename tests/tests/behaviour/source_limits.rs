//! What a source may use, through the front door.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_model::limits::RateLimit;
use trunkline_tests::{Answer, Client, SECRET, SourceDraft, Station, signed_single};

const BODY: &str = r#"{"event":"Order Completed"}"#;

async fn post(station: &Station, client: &mut Client, signature: &str) -> Answer {
    let headers = [(SIGNATURE_HEADER, signature)];
    client.post(&station.path(), &headers, BODY).await.unwrap()
}

#[tokio::test]
async fn what_comes_more_often_than_the_limit_is_429_and_forged_requests_do_not_count() {
    let mut draft = SourceDraft::segment("segment", &[SECRET]);
    // So slow that no request is earned back while the test runs.
    draft.settings.rate_limit = Some(RateLimit {
        requests_per_second: 1.try_into().unwrap(),
        burst: 600.try_into().unwrap(),
    });
    let mut station = Station::with(vec![draft]).await;
    let (_, signature) = signed_single(SECRET.as_bytes(), BODY);
    let mut client = station.ingester.client();
    for _ in 0..700 {
        assert_eq!(post(&station, &mut client, "00").await.status, 400);
    }
    let mut taken = 0;
    let refused = loop {
        let answer = post(&station, &mut client, &signature).await;
        match answer.status {
            200 => taken += 1,
            _ => break answer,
        }
    };
    assert_eq!(refused.status, 429);
    assert_eq!(refused.text, "too many requests, try again later");
    assert_eq!(refused.headers["retry-after"], "1");
    assert!((600..700).contains(&taken), "{taken}");
    let reasons = "trunkline_ingester_refusals";
    let counted = station.ingester.metric(reasons, "rate_limited").await;
    assert!(counted >= 1.0, "{counted}");
    // A reload gives nothing back; another limit holds at once.
    station.sources[0].generation += 1;
    station.sources[0].settings.rate_limit = Some(RateLimit {
        requests_per_second: 1.try_into().unwrap(),
        burst: 1.try_into().unwrap(),
    });
    station.reload().await;
    let answer = post(&station, &mut client, &signature).await;
    assert_eq!(answer.status, 429);
    let wait: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((400..=600).contains(&wait), "{wait}");
    station.sources[0].settings.rate_limit = None;
    station.reload().await;
    assert_eq!(post(&station, &mut client, &signature).await.status, 200);
}

#[tokio::test]
async fn a_source_that_holds_half_of_the_memory_is_429_and_the_others_are_taken() {
    let drafts = ["slow", "other"].map(SourceDraft::unverified);
    let mut station = Station::with(drafts.to_vec()).await;
    let limits = station.config.limits();
    limits.max_body_bytes = 1 << 20;
    // A body counts three times, so that two of them are more than half.
    limits.bytes_in_flight = 10 << 20;
    station.reload().await;
    let path = station.path();
    let mut held = TcpStream::connect(station.ingester.address())
        .await
        .unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        1 << 20
    );
    held.write_all(head.as_bytes()).await.unwrap();
    held.write_all("x".repeat((1 << 20) - 100).as_bytes())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut client = station.ingester.client();
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(900 << 10));
    let answer = client.post(&path, &[], large.clone()).await.unwrap();
    let told = (answer.status, answer.text.as_str());
    assert_eq!(told, (429, "too many requests, try again later"));
    assert_eq!(answer.headers["retry-after"], "1");
    let other = station.sources[1].path();
    let answer = client.post(&other, &[], large.clone()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    drop(held);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answer = client.post(&path, &[], large).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
}

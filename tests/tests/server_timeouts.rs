//! Timeouts that an administrator has set for everyone cut what takes long, and lose nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::time::{Duration, Instant};

use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{Client, Database, SECRET, SourceDraft, Station, events, signed_single};

/// How soon after the cause has gone a POST is answered with 200.
const RECOVERY: Duration = Duration::from_secs(5);

async fn served(settings: &[(&str, &str)]) -> Station {
    let database = Database::start_with(settings).await;
    Station::around(database, vec![SourceDraft::segment("segment", &[SECRET])]).await
}

async fn post(station: &Station, client: &mut Client) -> u16 {
    let event = &events(rand::random(), 1)[0];
    let (body, signature) = signed_single(SECRET.as_bytes(), &event.json);
    let headers = [(SIGNATURE_HEADER, signature.as_str())];
    client
        .post(&station.path(), &headers, body)
        .await
        .unwrap()
        .status
}

#[tokio::test]
async fn a_copy_that_statement_timeout_cuts_is_503_and_the_next_one_200() {
    let station = served(&[("statement_timeout", "300ms")]).await;
    let mut client = station.ingester.client();
    assert_eq!(post(&station, &mut client).await, 200);
    let mut locker = station.database.connect().await;
    locker
        .batch_execute("SET statement_timeout = 0")
        .await
        .unwrap();
    let transaction = locker.transaction().await.unwrap();
    transaction
        .batch_execute("LOCK TABLE trunkline.events IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(post(&station, &mut client).await, 503);
    }
    transaction.rollback().await.unwrap();
    let begun = Instant::now();
    while post(&station, &mut client).await != 200 {
        assert!(begun.elapsed() < RECOVERY, "{}", station.ingester.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("200 again after {:?}", begun.elapsed());
    let rows = station
        .database
        .count("SELECT count(*) FROM segment.events")
        .await;
    assert_eq!(rows, 2, "what was cut is not there");
}

#[tokio::test]
async fn sessions_that_the_server_ends_for_idleness_cost_no_event() {
    // Longer than a login takes on a busy machine.
    let station = served(&[
        ("idle_session_timeout", "1s"),
        ("idle_in_transaction_session_timeout", "1s"),
    ])
    .await;
    let warehouse = station.database.warehouse().await;
    let mut client = station.ingester.client();
    let mut refused = 0;
    let pauses = [
        0, 300, 950, 990, 1_000, 1_010, 1_050, 1_500, 995, 1_005, 2_500, 0,
    ];
    for pause in pauses {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let begun = Instant::now();
        loop {
            match post(&station, &mut client).await {
                200 => break,
                // The end of the session and the commit can meet on their way.
                status => assert_eq!(status, 503, "after {pause} ms"),
            }
            refused += 1;
            assert!(begun.elapsed() < RECOVERY, "{}", station.ingester.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let rows = station
        .database
        .count("SELECT count(*) FROM segment.events")
        .await;
    println!("{refused} posts refused, {rows} rows");
    // What was refused may be there all the same, when its answer was lost.
    let (least, most) = (pauses.len(), pauses.len() + refused);
    assert!((least..=most).contains(&usize::try_from(rows).unwrap()));
    // The owner's one connection has ended many times by now.
    warehouse.ensure_layout().await.unwrap();
}

//! Timeouts that an administrator has set for everyone cut what takes long, and lose nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::time::{Duration, Instant};

use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{
    Client, ConfigDir, Database, IngesterProcess, SECRET, SourceDraft, events, signed_single,
};

/// How soon after the cause has gone a POST is answered with 200.
const RECOVERY: Duration = Duration::from_secs(2);

struct Served {
    ingester: IngesterProcess,
    path: String,
    database: Database,
    _config: ConfigDir,
}

impl Served {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let database = Database::start_with(settings).await;
        let mut drafts = [SourceDraft::segment("segment", &[SECRET])];
        database.provision(&ConfigDir::cluster(), &mut drafts).await;
        let mut config = ConfigDir::new(database.ingest_url());
        let path = drafts[0].path();
        config.write(&drafts);
        let mut ingester = IngesterProcess::start(config.path());
        ingester.ready().await;
        Self {
            ingester,
            path,
            database,
            _config: config,
        }
    }

    async fn post(&self, client: &mut Client) -> u16 {
        let event = &events(rand::random(), 1)[0];
        let (body, signature) = signed_single(SECRET.as_bytes(), &event.json);
        let headers = [(SIGNATURE_HEADER, signature.as_str())];
        client
            .post(&self.path, &headers, body)
            .await
            .unwrap()
            .status
    }
}

#[tokio::test]
async fn a_copy_that_statement_timeout_cuts_is_503_and_the_next_one_200() {
    let served = Served::start(&[("statement_timeout", "300ms")]).await;
    let mut client = served.ingester.client();
    assert_eq!(served.post(&mut client).await, 200);
    let mut locker = served.database.connect().await;
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
        assert_eq!(served.post(&mut client).await, 503);
    }
    transaction.rollback().await.unwrap();
    let begun = Instant::now();
    while served.post(&mut client).await != 200 {
        assert!(begun.elapsed() < RECOVERY, "{}", served.ingester.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("200 again after {:?}", begun.elapsed());
    let rows = served
        .database
        .count("SELECT count(*) FROM segment.events")
        .await;
    assert_eq!(rows, 2, "what was cut is not there");
}

#[tokio::test]
async fn sessions_that_the_server_ends_for_idleness_cost_no_event() {
    let served = Served::start(&[
        ("idle_session_timeout", "200ms"),
        ("idle_in_transaction_session_timeout", "200ms"),
    ])
    .await;
    let warehouse = served.database.warehouse().await;
    let mut client = served.ingester.client();
    let mut acknowledged = 0;
    for pause in [
        0, 50, 150, 190, 200, 210, 250, 400, 195, 205, 600, 0, 198, 202,
    ] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        match served.post(&mut client).await {
            200 => acknowledged += 1,
            // The end of the session and the commit can meet on their way.
            status => assert_eq!(status, 503, "after {pause} ms"),
        }
    }
    let rows = served
        .database
        .count("SELECT count(*) FROM segment.events")
        .await;
    println!("{acknowledged} of 14 acknowledged, {rows} rows");
    assert!(acknowledged >= 10 && rows >= acknowledged);
    // The owner's one connection has ended many times by now.
    warehouse.ensure_layout().await.unwrap();
}

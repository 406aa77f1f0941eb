//! The floor is a fair measure: it writes the rows that the ingester writes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::process::{Child, Command};
use std::time::Duration;

use trunkline_bench::routes::{Routes, Source};
use trunkline_cli::segment::{HEADERS, SIGNATURE_HEADER};
use trunkline_model::columns::COLUMNS;
use trunkline_tests::{
    Client, Database, ReservedPort, SECRET, SourceDraft, Station, events, seed, signed_batch,
    signed_single,
};

struct Floor {
    child: Child,
    port: ReservedPort,
}

impl Floor {
    async fn start(routes: &Routes) -> Self {
        let port = ReservedPort::any().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routes.json");
        std::fs::write(&file, serde_json::to_vec(routes).unwrap()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_trunkline-floor"))
            .arg("--routes")
            .arg(&file)
            .args(["--listen", &port.address().to_string()])
            .spawn()
            .unwrap();
        while tokio::net::TcpStream::connect(port.address())
            .await
            .is_err()
        {
            assert_eq!(child.try_wait().unwrap(), None, "the floor has ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { child, port }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Only fails for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Each row but for what differs with the request: its id and its time.
async fn rows(database: &Database) -> Vec<String> {
    let columns: Vec<_> = COLUMNS
        .iter()
        .map(|spec| spec.name)
        .filter(|name| !["received_at", "delivery_id"].contains(name))
        .map(|name| format!("'{name}', \"{name}\""))
        .collect();
    let sql = format!(
        "SELECT jsonb_build_object({})::text FROM trunkline.events ORDER BY message_id",
        columns.join(", ")
    );
    let rows = database.rows(&sql, &[]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_floor_writes_the_rows_that_the_ingester_writes() {
    let mut draft = SourceDraft::segment("segment", &[SECRET]);
    draft.settings.include_headers.allow = vec!["user-agent".to_owned()];
    let station = Station::with(vec![draft]).await;
    let (database, draft) = (&station.database, &station.sources[0]);
    let source = Source {
        name: draft.name.to_string(),
        bucket: draft.settings.bucket,
    };
    let floor = Floor::start(&Routes {
        database: database.ingest_url().to_owned(),
        secret: SECRET.to_owned(),
        sources: [(draft.path(), source)].into(),
    })
    .await;

    let events = events(seed(), 60);
    let (singles, batch) = events.split_at(40);
    let elements: Vec<_> = batch.iter().map(|event| event.json.as_bytes()).collect();
    let batch = signed_batch(SECRET.as_bytes(), &elements);
    let mut requests: Vec<_> = singles
        .iter()
        .map(|event| signed_single(SECRET.as_bytes(), &event.json))
        .collect();
    requests.push((batch.body, batch.signature));

    let mut written = Vec::new();
    for address in [station.ingester.address(), floor.port.address()] {
        let mut client = Client::new(address);
        for (body, signature) in &requests {
            let mut headers = HEADERS.to_vec();
            headers.push((SIGNATURE_HEADER, signature));
            let answer = client
                .post(&draft.path(), &headers, body.clone())
                .await
                .unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        written.push(rows(database).await);
        let truncate = "TRUNCATE trunkline.events";
        database
            .connect()
            .await
            .batch_execute(truncate)
            .await
            .unwrap();
    }
    assert_eq!(written[0].len(), events.len());
    assert_eq!(written[0], written[1]);

    let mut headers = HEADERS.to_vec();
    headers.push((SIGNATURE_HEADER, "0000000000000000000000000000000000000000"));
    let mut client = Client::new(floor.port.address());
    let answer = client
        .post(&draft.path(), &headers, requests[0].0.clone())
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
}

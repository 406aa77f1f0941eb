//! How long an analyst waits for an event that nobody has sent before: from the answer to its POST
//! until the relation that bears its name shows it, beside whatever else is sent.
//!
//! The relations are made by the operator's own code, as often as the operator looks.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use serde_json::json;
use tokio_postgres::error::SqlState;
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_model::secret::SecretBytes;
use trunkline_tests::{Client, ConfigDir, SourceDraft, signed_single};
use trunkline_warehouse::{Relator, Warehouse};

use crate::stalls::millis;
use crate::station::{SECRET, Station};

/// How often an analyst asks.
const ASK: Duration = Duration::from_millis(10);

/// Between two new events, beside the time that one takes. Not a multiple of [`Relator::EVERY`].
const PAUSE: Duration = Duration::from_millis(370);

/// How long an analyst asks before it is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends new events until `duration` is over, and tells after how many milliseconds each was found.
pub(crate) async fn watch(
    station: &Station,
    source: &SourceDraft,
    address: SocketAddr,
    duration: Duration,
) -> anyhow::Result<Vec<f64>> {
    let owner = SecretBytes::new(station.database.url().into_bytes());
    let mut relator = Relator::new(Warehouse::connect(owner).await?);
    let looking = async {
        loop {
            relator.poll(&ConfigDir::cluster()).await?;
            tokio::time::sleep(Relator::EVERY).await;
        }
    };
    tokio::select! {
        found = analyze(station, source, address, duration) => found,
        ended = looking => ended,
    }
}

async fn analyze(
    station: &Station,
    source: &SourceDraft,
    address: SocketAddr,
    duration: Duration,
) -> anyhow::Result<Vec<f64>> {
    let (mut sender, analyst) = (Client::new(address), station.database.connect().await);
    let schema = source.desired(&ConfigDir::cluster()).schema;
    let (start, mut found) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        let number = found.len();
        let event = json!({"type": "track", "event": format!("News {number}"), "userId": "u",
            "messageId": format!("news-{number}"), "properties": {"number": number}});
        let (body, signature) = signed_single(SECRET.as_bytes(), &event.to_string());
        let headers = [(SIGNATURE_HEADER, &*signature)];
        let answer = sender.post(&source.path(), &headers, body).await;
        let answer = answer.map_err(|why| anyhow!("a new event: {why}"))?;
        ensure!(answer.status == 200, "a new event: {}", answer.status);
        let answered = Instant::now();
        let sql = format!("SELECT number::text FROM {schema}.news_{number}");
        loop {
            match analyst.query_opt(&sql, &[]).await {
                Ok(Some(row)) => {
                    ensure!(row.get::<_, String>(0) == number.to_string(), "{sql}");
                    break;
                }
                Ok(None) => {}
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {}
                Err(error) => return Err(error.into()),
            }
            ensure!(answered.elapsed() < PATIENCE, "{sql} finds nothing");
            tokio::time::sleep(ASK).await;
        }
        found.push(millis(answered.elapsed()));
        tokio::time::sleep(PAUSE).await;
    }
    Ok(found)
}

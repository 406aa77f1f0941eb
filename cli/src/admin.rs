//! Asks an ingester's admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long an ingester may take to serve a configuration that lies in its directory.
const SERVE_DEADLINE: Duration = Duration::from_secs(20);

/// Waits until the ingester serves the configuration with this hash and is ready.
///
/// # Errors
/// After [`SERVE_DEADLINE`], with what the ingester says of its state.
pub(crate) async fn wait_until_served(admin: SocketAddr, hash: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + SERVE_DEADLINE;
    loop {
        let (_, config) = get(admin, "/config").await?;
        let served = serde_json::from_slice::<serde_json::Value>(&config)
            .ok()
            .is_some_and(|config| config["hash"] == hash);
        let (status, reasons) = get(admin, "/readyz").await?;
        if served && status == 200 {
            return Ok(());
        }
        if Instant::now() > deadline {
            anyhow::bail!(
                "the ingester does not become ready: {}",
                String::from_utf8_lossy(&reasons).trim()
            );
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<(u16, Bytes)> {
    let stream = TcpStream::connect(admin).await.context("admin listener")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", admin.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender
        .send_request(request)
        .await
        .context("admin listener")?;
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .context("admin listener")?
        .to_bytes();
    driver.abort();
    Ok((status, body))
}

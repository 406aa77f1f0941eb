//! The way to a pod's admin listener.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kube::Client;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::PodAddress;
use super::refusals::{self, Refusals};
use super::served::{Answer, Served};
use crate::build::ADMIN_PORT;

/// How much longer than it was allowed to keep the question a pod may take.
const SLACK: Duration = Duration::from_secs(4);
/// Bound on an answer: some fifty thousand sources.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How the operator reaches pods.
#[derive(Clone)]
pub enum PodAccess {
    /// By their addresses, from within the cluster.
    Direct,
    /// Through the API server, from outside.
    Proxy(Client),
}

impl std::fmt::Debug for PodAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Direct => "Direct",
            Self::Proxy(_) => "Proxy",
        })
    }
}

/// Why a pod's answer is not known.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Whoever asks may not, through the API server.
    #[error("{0}")]
    Forbidden(String),
    /// Nothing came in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The connection failed.
    #[error("no connection to its port {ADMIN_PORT}: {0}")]
    Connection(String),
    /// Another pod has the address by now.
    #[error("another pod answers at its address")]
    OtherPod,
    /// Not an ingester's answer.
    #[error("its answer is not that of an ingester: {0}")]
    Malformed(String),
}

impl PodAccess {
    /// What a pod serves now.
    ///
    /// # Errors
    /// Why its answer is not known.
    pub async fn served(&self, pod: &PodAddress) -> Result<Served, AccessError> {
        Ok(self.config(pod, None, 0).await?.complete(None))
    }

    /// What a pod refused in the last hour.
    ///
    /// # Errors
    /// Why its answer is not known. One of a version that does not tell is not known either.
    pub async fn refusals(&self, pod: &PodAddress) -> Result<Refusals, AccessError> {
        let body = self.get(pod, "/refusals", SLACK).await?;
        let answer: refusals::Answer = parse(&body)?;
        is_of(pod, answer.pod_uid.as_deref())?;
        Ok(answer.into())
    }

    /// Asks what a pod serves; it may keep the question for `wait` seconds while that is `after`.
    pub(super) async fn config(
        &self,
        pod: &PodAddress,
        after: Option<&str>,
        wait: u64,
    ) -> Result<Answer, AccessError> {
        let query = match after {
            Some(after) => format!("/config?after={after}&timeout={wait}"),
            None => "/config".to_owned(),
        };
        let limit = Duration::from_secs(wait) + SLACK;
        let body = self.get(pod, &query, limit).await?;
        let answer: Answer = parse(&body)?;
        is_of(pod, answer.pod_uid.as_deref())?;
        Ok(answer)
    }

    async fn get(
        &self,
        pod: &PodAddress,
        query: &str,
        limit: Duration,
    ) -> Result<Bytes, AccessError> {
        tokio::time::timeout(limit, async {
            match self {
                Self::Direct => direct(&pod.ip, query).await,
                Self::Proxy(client) => proxied(client, pod, query).await,
            }
        })
        .await
        .map_err(|_| AccessError::Timeout(limit))?
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AccessError> {
    serde_json::from_slice(body).map_err(|error| AccessError::Malformed(error.to_string()))
}

/// Whether it is this pod that has answered.
fn is_of(pod: &PodAddress, uid: Option<&str>) -> Result<(), AccessError> {
    if uid == Some(pod.uid.as_str()) {
        Ok(())
    } else {
        Err(AccessError::OtherPod)
    }
}

async fn direct(ip: &str, query: &str) -> Result<Bytes, AccessError> {
    let failed = |error: &dyn std::fmt::Display| AccessError::Connection(error.to_string());
    let port = u16::try_from(ADMIN_PORT).unwrap_or_default();
    let stream = TcpStream::connect((ip, port))
        .await
        .map_err(|error| failed(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    // It ends with the sender.
    let connection = tokio::spawn(connection);
    let request = Request::get(query)
        .header("host", ip)
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| failed(&error))?;
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| failed(&error))?;
    connection.abort();
    Ok(body.to_bytes())
}

async fn proxied(client: &Client, pod: &PodAddress, query: &str) -> Result<Bytes, AccessError> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}:{ADMIN_PORT}/proxy{query}",
        pod.namespace, pod.name
    );
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(|error| AccessError::Connection(error.to_string()))?;
    let text = client
        .request_text(request)
        .await
        .map_err(|error| match error {
            kube::Error::Api(status) if status.code == 403 => {
                AccessError::Forbidden(status.message)
            }
            error => AccessError::Connection(error.to_string()),
        })?;
    Ok(text.into())
}

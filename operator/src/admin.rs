//! What the operator tells about itself: `/livez`, `/readyz`, `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trunkline_telemetry::metrics::OPENMETRICS;

use crate::metrics::Metrics;

/// What the listener tells.
#[derive(Debug, Clone)]
pub struct Admin {
    metrics: Arc<Metrics>,
    /// Whether everything that there is has been seen. A replica that stands by is ready too: it
    /// can take over at once.
    is_ready: Arc<AtomicBool>,
}

impl Admin {
    /// Not ready yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            is_ready: Arc::default(),
        }
    }

    /// Says that everything has been seen.
    pub fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    /// Serves until `stop` is cancelled.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn serve(self, address: SocketAddr, stop: CancellationToken) -> std::io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        let router = Router::new()
            .route("/livez", get(|| async { "ok" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self);
        axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.is_ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ok")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not everything has been seen yet; are the custom resource definitions installed?",
        )
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

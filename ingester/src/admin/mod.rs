//! What an ingester tells about itself, on a listener apart from the senders': `/livez`, `/readyz`,
//! `/metrics`, `/config` and `/refusals`.
//!
//! Invariant: no secret and no part of a request is told here.

mod config;
mod refusals;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::service::TowerToHyperService;
use trunkline_telemetry::metrics::OPENMETRICS;

use crate::commit::DatabaseState;
use crate::instance::Instance;
use crate::metrics::Snapshot;

/// The service of the admin listener.
pub(crate) fn service(instance: Arc<Instance>) -> TowerToHyperService<Router> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/config", get(config::config))
        .route("/refusals", get(refusals::refusals))
        .with_state(instance);
    TowerToHyperService::new(router)
}

/// 200 once a configuration was loaded and the database reached; a later outage keeps it, because
/// our 503 serves a sender better than what a proxy says when no pod is ready.
async fn readyz(State(instance): State<Arc<Instance>>) -> (StatusCode, String) {
    let reasons = instance.unready_reasons();
    if reasons.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n"))
    }
}

async fn metrics(State(instance): State<Arc<Instance>>) -> Response {
    let database = instance.database();
    let snapshot = Snapshot {
        connections: instance.connections.count(),
        bytes_in_flight: instance.budget.used(),
        database_up: matches!(database, Some(DatabaseState::Ready(_))),
        database_durable: config::is_durable(database.as_ref()),
    };
    match instance.events.metrics().encode(snapshot) {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

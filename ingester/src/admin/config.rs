//! `GET /config`: what is served now, for whoever wrote the configuration.
//!
//! With `?after=HASH` it waits until something else than HASH is served, 30 s at most or `?timeout=`
//! seconds, and then answers with what there is. Sources are left out of an answer about the
//! configuration that the request named: whoever asks knows them, and there may be thousands.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use crate::commit::{DatabaseState, SynchronousCommit};
use crate::config::Route;
use crate::instance::Instance;

/// How long to wait when the request does not say.
const WAIT_SECONDS: u64 = 30;

/// How long a request may ask to wait.
const MAX_WAIT_SECONDS: u64 = 60;

#[derive(Debug, Deserialize)]
pub(super) struct Wait {
    after: Option<String>,
    timeout: Option<u64>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Served {
    /// Names the configuration; null before the first.
    hash: Option<String>,
    pod_uid: Option<String>,
    cluster: Option<String>,
    database: Database,
    /// Why what lies in the directory is not served.
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<ServedSource>>,
}

#[derive(Debug, Serialize)]
struct Database {
    state: &'static str,
    /// Whether commits are known to survive a crash of the server.
    durable: bool,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct ServedSource {
    source: String,
    generation: i64,
    revision: Option<String>,
    state: &'static str,
    reason: Option<String>,
}

pub(super) async fn config(
    State(instance): State<Arc<Instance>>,
    Query(wait): Query<Wait>,
) -> Json<Served> {
    if let Some(after) = &wait.after {
        let seconds = wait.timeout.unwrap_or(WAIT_SECONDS).min(MAX_WAIT_SECONDS);
        let mut status = instance.config_status();
        let changed = status.wait_for(|now| {
            now.hash
                .as_ref()
                .is_some_and(|hash| hash.as_str() != after.as_str())
        });
        tokio::select! {
            // Each way the answer is what is served by then.
            _ = tokio::time::timeout(Duration::from_secs(seconds), changed) => {}
            () = instance.stopping().cancelled() => {}
        }
    }
    Json(served(&instance, wait.after.as_deref()))
}

fn served(instance: &Instance, known: Option<&str>) -> Served {
    let error = instance.config_status().borrow().error.clone();
    let routing = instance.routing();
    let routing = routing.as_deref();
    let hash = routing.map(|routing| routing.hash.as_str());
    let sources = || {
        let sources = routing.map(|routing| routing.sources.iter());
        sources
            .into_iter()
            .flatten()
            .map(|route| source(route))
            .collect()
    };
    Served {
        hash: hash.map(str::to_owned),
        pod_uid: instance.pod_uid.clone(),
        cluster: routing.map(|routing| routing.cluster.to_string()),
        database: database(instance.database().as_ref()),
        error,
        sources: (hash.is_none() || hash != known).then(sources),
    }
}

fn source(route: &Route) -> ServedSource {
    ServedSource {
        source: route.source.to_string(),
        generation: route.generation,
        revision: route.revision.clone(),
        state: if route.settings.is_ok() {
            "serving"
        } else {
            "unavailable"
        },
        reason: route.settings.as_ref().err().cloned(),
    }
}

/// Whether what the database commits is known to survive a crash.
pub(super) fn is_durable(state: Option<&DatabaseState>) -> bool {
    matches!(state, Some(DatabaseState::Ready(settings)) if settings.fsync)
}

fn database(state: Option<&DatabaseState>) -> Database {
    let durable = is_durable(state);
    let (state, reason) = match state {
        None => (
            "unknown",
            Some("no configuration has named a database yet".to_owned()),
        ),
        Some(DatabaseState::Connecting) => ("connecting", None),
        Some(DatabaseState::Ready(settings)) => {
            let is_weak = settings.synchronous_commit < SynchronousCommit::On;
            let reason = is_weak.then(|| {
                format!(
                    "the server's synchronous_commit is {}; every transaction of the ingester \
                     sets {}",
                    settings.synchronous_commit.as_str(),
                    settings.synchronous_commit.of_commits().as_str()
                )
            });
            ("ready", reason)
        }
        Some(DatabaseState::Unavailable { reason, .. }) => {
            ("unavailable", Some(reason.to_string()))
        }
        Some(DatabaseState::NotDurable { reason, .. }) => ("not_durable", Some(reason.to_string())),
    };
    Database {
        state,
        durable,
        reason,
    }
}

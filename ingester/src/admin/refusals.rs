//! `GET /refusals`: what this pod refused in the last hour, for the owner of a source.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::instance::Instance;
use crate::rejections::{SourceRefusals, WINDOW};

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusals {
    pod_uid: Option<String>,
    /// How far back it goes.
    window_seconds: u64,
    sources: Vec<Source>,
}

#[derive(Debug, Serialize)]
struct Source {
    /// None for requests that no source has the path of.
    source: Option<String>,
    /// The most frequent first.
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    reason: &'static str,
    count: u64,
}

pub(super) async fn refusals(State(instance): State<Arc<Instance>>) -> Json<Refusals> {
    let sources = instance.events.rejections.recent().into_iter();
    Json(Refusals {
        pod_uid: instance.pod_uid.clone(),
        window_seconds: WINDOW.as_secs(),
        sources: sources.map(source).collect(),
    })
}

fn source(refused: SourceRefusals) -> Source {
    Source {
        source: (!refused.source.is_empty()).then(|| refused.source.to_string()),
        reasons: refused
            .reasons
            .into_iter()
            .map(|(reason, count)| Reason { reason, count })
            .collect(),
    }
}

//! The end of a source whose rows are to go with it.
//!
//! Only such a source has a finalizer: rows are outside Kubernetes. Everything else is taken away by
//! the garbage collector or by the next configuration.
//!
//! Invariant: a deletion ends. When the database does not answer for long, the rows stay and an
//! Event says so.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;
use trunkline_crds::{DeletionPolicy, WebhookSource};
use trunkline_model::names::{ClusterName, SourceName};

use super::context::{ClusterMemory, Context};
use super::read::ready_endpoints;
use crate::apply::ApplyError;

/// The finalizer of a source with `deletionPolicy: Delete`.
pub(super) const FINALIZER: &str = "trunkline.dev/drop-rows";
/// How long a deletion waits for the database.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a removal is tried at least, by an operator that was not there before, for instance.
const LEAST_TRY: Duration = Duration::from_secs(10);

/// Puts the finalizer where it belongs, and drops what is to be dropped. Returns whether a deletion
/// is still going on.
pub(super) async fn finalize(
    context: &Context,
    memory: &ClusterMemory,
    cluster: &ClusterName,
    sources: &BTreeMap<SourceName, WebhookSource>,
    is_suspended: bool,
) -> Result<bool, ApplyError> {
    let mut is_going_on = false;
    for (name, source) in sources {
        let has = source.finalizers().iter().any(|it| it == FINALIZER);
        let wants = source.spec.deletion_policy == DeletionPolicy::Delete;
        match (source.metadata.deletion_timestamp.as_ref(), has, wants) {
            (None, false, true) => set(context, source, true).await?,
            (None | Some(_), true, false) => set(context, source, false).await?,
            (Some(_), true, true) if is_suspended => is_going_on = true,
            (Some(since), true, true) => {
                let waited = Timestamp::now().duration_since(since.0);
                let left = PATIENCE.saturating_sub(waited.try_into().unwrap_or_default());
                if is_routed(context, cluster, name) && !left.is_zero() {
                    is_going_on = true;
                    continue;
                }
                is_going_on |= !drop_rows(context, memory, name, source, left).await?;
            }
            _ => {}
        }
    }
    Ok(is_going_on)
}

/// Whether a pod may still take rows for it: one row that no partition takes fails the whole COPY.
fn is_routed(context: &Context, cluster: &ClusterName, source: &SourceName) -> bool {
    let source = source.to_string();
    ready_endpoints(context, cluster).iter().any(|endpoint| {
        match context.pods.observation(&endpoint.uid).served {
            Some(served) => served.sources.contains_key(&source),
            None => true,
        }
    })
}

/// Returns whether the deletion has ended.
async fn drop_rows(
    context: &Context,
    memory: &ClusterMemory,
    name: &SourceName,
    source: &WebhookSource,
    left: Duration,
) -> Result<bool, ApplyError> {
    let failure = match memory.database.drop_source(name, left.max(LEAST_TRY)) {
        Some(Ok(())) => None,
        Some(Err(reason)) => Some(reason),
        None => return Ok(false),
    };
    match failure {
        None => set(context, source, false).await?,
        Some(reason) if left.is_zero() => {
            tracing::warn!(source = %name, %reason, "rows kept");
            let message = format!(
                "the source is deleted, but its rows stay, as the database did not let them be \
                 dropped: {reason}; to drop them, create the source again with the same schema \
                 and delete it"
            );
            context
                .statuses
                .publish(source, EventType::Warning, "RowsKept", message)
                .await;
            set(context, source, false).await?;
        }
        Some(reason) => {
            tracing::info!(source = %name, %reason, "rows not dropped yet");
            return Ok(false);
        }
    }
    Ok(true)
}

/// Adds or removes our finalizer and leaves those of others.
pub(super) async fn set(
    context: &Context,
    source: &WebhookSource,
    is_wanted: bool,
) -> Result<(), ApplyError> {
    let mut finalizers: Vec<String> = source.finalizers().to_vec();
    finalizers.retain(|it| it != FINALIZER);
    if is_wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    let namespace = source.namespace().unwrap_or_default();
    let api = Api::<WebhookSource>::namespaced(context.client.clone(), &namespace);
    // With the version that was seen: another's finalizer that came since is not lost.
    let patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": source.resource_version(),
    }});
    let written = api
        .patch(
            &source.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await;
    match written {
        Ok(_) => {
            context.metrics.wrote(1);
            Ok(())
        }
        // The watch brings the newer one, and with it the next attempt.
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        Err(error) => Err(ApplyError::Api(
            format!("set the finalizer of {namespace}/{}", source.name_any()),
            Box::new(error),
        )),
    }
}

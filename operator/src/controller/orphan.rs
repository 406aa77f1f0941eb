//! Sources whose cluster is not there. The status of all others is written with their cluster's.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use trunkline_crds::{WebhookCluster, WebhookSource};

use super::cluster::ReconcileError;
use super::context::Context;
use super::finalize;
use crate::status::orphan_status;
use crate::watches::Guarded;

/// Says that a source has no cluster, and lets it go.
pub(super) async fn reconcile(
    guarded: Arc<Guarded<WebhookSource>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let Ok(source) = &guarded.0 else {
        return Ok(Action::await_change());
    };
    let source = context.statuses.current(source.clone());
    let namespace = source.namespace().unwrap_or_default();
    let cluster = &source.spec.cluster_ref.name;
    let reference = ObjectRef::<Guarded<WebhookCluster>>::new(cluster).within(&namespace);
    if context.stores.clusters.get(&reference).is_some() {
        return Ok(Action::await_change());
    }
    if source.metadata.deletion_timestamp.is_some() {
        // Without its cluster nobody knows the database that its rows are in.
        if source
            .finalizers()
            .iter()
            .any(|it| it == finalize::FINALIZER)
        {
            finalize::set(&context, &source, false).await?;
        }
        return Ok(Action::await_change());
    }
    let message = format!(
        "spec.clusterRef.name: there is no WebhookCluster {cluster:?} in namespace \
         {namespace:?}; create it"
    );
    let status = orphan_status(&source, "ClusterNotFound", &message, Timestamp::now());
    if context.statuses.write(&source, &status).await? {
        context.metrics.wrote(1);
    }
    Ok(Action::await_change())
}

//! Makes kubelets look at the configuration at once.
//!
//! A kubelet alone takes a minute or more. When an annotation of a pod changes, it synchronises the
//! pod, and its volumes with it. The annotation is written through the `status` subresource, whose
//! strategy puts back any change of the spec: the right to it allows little.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use trunkline_model::names::ClusterName;

use super::context::{ClusterMemory, Context, Nudge};
use super::read::owned;
use crate::build::CONFIGURATION_ANNOTATION;

/// A kubelet that looked before it had the new Secret is made to look again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Digits of the hash that the annotation shows.
const DIGITS: usize = 16;

/// Nudges every pod that runs and serves something else. Returns whether any is behind.
pub(super) async fn nudge(
    context: &Context,
    memory: &mut ClusterMemory,
    cluster: &ClusterName,
    hash: &str,
) -> bool {
    let pods = owned(&context.stores.pods, cluster);
    memory.nudges.retain(|uid, _| {
        pods.iter()
            .any(|pod| pod.metadata.uid.as_ref() == Some(uid))
    });
    let mut is_any_behind = false;
    for pod in pods {
        let Some(uid) = pod.uid().filter(|_| is_running(&pod)) else {
            continue;
        };
        let Some(served) = context.pods.observation(&uid).served else {
            continue;
        };
        if served.hash.as_deref() == Some(hash) {
            continue;
        }
        is_any_behind = true;
        let attempt = match memory.nudges.get(&uid) {
            Some(last) if last.hash == hash && last.at.elapsed() < AGAIN_AFTER => continue,
            Some(last) if last.hash == hash => last.attempt + 1,
            _ => 0,
        };
        annotate(context, &pod, hash, attempt).await;
        let nudge = Nudge {
            hash: hash.to_owned(),
            at: Instant::now(),
            attempt,
        };
        memory.nudges.insert(uid, nudge);
    }
    is_any_behind
}

fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod
            .status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

/// A failure is no matter: the kubelet looks by itself in a while, and the next round tries again.
async fn annotate(context: &Context, pod: &Pod, hash: &str, attempt: u32) {
    let mut value = hash[..hash.len().min(DIGITS)].to_owned();
    if attempt > 0 {
        value.push_str(&format!(".{attempt}"));
    }
    let namespace = pod.namespace().unwrap_or_default();
    let api = Api::<Pod>::namespaced(context.client.clone(), &namespace);
    let patch = json!({"metadata": {
        "uid": pod.uid(),
        "annotations": {CONFIGURATION_ANNOTATION: value},
    }});
    let result = api
        .patch_status(
            &pod.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await;
    match result {
        Ok(_) => context.metrics.wrote(1),
        Err(error) => {
            tracing::warn!(pod = %pod.name_any(), "annotation: {}", crate::error::chain(&error));
        }
    }
}

//! Makes kubelets look at the configuration and the certificate at once.
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

use super::context::{ClusterMemory, Context, Nudge, Renewal};
use super::read::owned;
use crate::build::CONFIGURATION_ANNOTATION;

/// A kubelet that looked before it had the new Secret is made to look again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Digits of the hash that the annotation shows.
const DIGITS: usize = 16;
/// How often pods are nudged for a renewed certificate.
const RENEWAL_NUDGES: u32 = 2;
/// Bytes of the certificate's fingerprint that the annotation shows, in hexadecimal.
const FINGERPRINT_BYTES: usize = 4;

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
        annotate(context, &pod, &value(hash, attempt)).await;
        let nudge = Nudge {
            hash: hash.to_owned(),
            at: Instant::now(),
            attempt,
        };
        memory.nudges.insert(uid, nudge);
    }
    is_any_behind
}

/// Nudges every pod that runs when the certificate is another than at the last look. Returns whether
/// it is to be called again soon.
///
/// Pods do not say which certificate they show, so this is done a fixed number of times. What was
/// renewed while no operator ran comes with the kubelet's own look.
pub(super) async fn nudge_for_certificate(
    context: &Context,
    memory: &mut ClusterMemory,
    cluster: &ClusterName,
    hash: &str,
    fingerprint: [u8; 32],
) -> bool {
    let Some(renewal) = renewal(memory.certificate.as_ref(), fingerprint, Instant::now()) else {
        return memory.certificate.as_ref().is_some_and(|it| it.left > 0);
    };
    let is_first_look = memory.certificate.is_none();
    if !is_first_look {
        let shown = hex::encode(&fingerprint[..FINGERPRINT_BYTES]);
        for pod in owned(&context.stores.pods, cluster) {
            if is_running(&pod) {
                let value = format!("{}.{shown}.{}", value(hash, 0), renewal.left);
                annotate(context, &pod, &value).await;
            }
        }
    }
    let is_unfinished = renewal.left > 0;
    memory.certificate = Some(renewal);
    is_unfinished
}

/// What is known after a nudge that is due, and none where none is. The first look is none.
fn renewal(known: Option<&Renewal>, fingerprint: [u8; 32], now: Instant) -> Option<Renewal> {
    let left = match known {
        None => 0,
        Some(known) if known.fingerprint != fingerprint => RENEWAL_NUDGES - 1,
        Some(known) if now.saturating_duration_since(known.at) < AGAIN_AFTER => return None,
        Some(known) => known.left.checked_sub(1)?,
    };
    Some(Renewal {
        fingerprint,
        at: now,
        left,
    })
}

fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod
            .status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

/// What the annotation says: another value for another configuration, and for another attempt.
fn value(hash: &str, attempt: u32) -> String {
    let mut value = hash[..hash.len().min(DIGITS)].to_owned();
    if attempt > 0 {
        value.push_str(&format!(".{attempt}"));
    }
    value
}

/// A failure is no matter: the kubelet looks by itself in a while, and the next round tries again.
async fn annotate(context: &Context, pod: &Pod, value: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_nudged_for_twice_and_the_first_look_is_none() {
        let now = Instant::now();
        let (first, second) = ([1; 32], [2; 32]);
        let known = renewal(None, first, now).unwrap();
        assert_eq!(known.left, 0);
        assert!(renewal(Some(&known), first, now + AGAIN_AFTER).is_none());
        let known = renewal(Some(&known), second, now).unwrap();
        assert_eq!(known.left, 1);
        assert!(renewal(Some(&known), second, now + AGAIN_AFTER / 2).is_none());
        let known = renewal(Some(&known), second, now + AGAIN_AFTER).unwrap();
        assert_eq!(known.left, 0);
        assert!(renewal(Some(&known), second, now + AGAIN_AFTER * 3).is_none());
        // The old one again is another one.
        assert!(renewal(Some(&known), first, now + AGAIN_AFTER * 3).is_some());
    }
}

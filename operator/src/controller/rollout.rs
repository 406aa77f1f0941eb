//! How far a Deployment has come.
//!
//! Pure. The rule is that of `kubectl rollout status`: kube's `is_deployment_completed` does not
//! look at `observedGeneration`, and so holds right after a change.

use k8s_openapi::api::apps::v1::Deployment;

use crate::status::Finding;

/// The rollout of the ingesters; `live` is none before the Deployment exists.
pub(super) fn rollout(live: Option<&Deployment>) -> Finding {
    let Some(live) = live else {
        return Finding::unknown("Progressing", "the Deployment is being made");
    };
    let status = live.status.clone().unwrap_or_default();
    let wanted = live
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    if status.observed_generation < live.metadata.generation {
        return Finding::unknown("Progressing", "the Deployment has just been changed");
    }
    if wanted == 0 {
        return Finding::no(
            "NoReplicas",
            "spec.replicas is 0, so no pod takes requests; raise it",
        );
    }
    let (replicas, updated, available) = (
        status.replicas.unwrap_or(0),
        status.updated_replicas.unwrap_or(0),
        status.available_replicas.unwrap_or(0),
    );
    if updated == wanted && replicas == wanted && available == wanted {
        return Finding::yes(
            "RolledOut",
            format!("{available} of {wanted} pods are ready"),
        );
    }
    let refused = status.conditions.iter().flatten().find(|condition| {
        (condition.type_ == "ReplicaFailure" && condition.status == "True")
            || (condition.type_ == "Progressing" && condition.status == "False")
    });
    match refused {
        Some(condition) => Finding::no(
            "RolloutFailed",
            condition
                .message
                .clone()
                .unwrap_or_else(|| "the Deployment makes no progress".to_owned()),
        ),
        None => Finding::no(
            "RollingOut",
            format!("{available} of {wanted} pods are ready, {updated} of them up to date"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::Truth;

    fn deployment(generation: i64, status: &serde_json::Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"generation": generation},
            "spec": {"replicas": 2, "selector": {}, "template": {}},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_rollout_is_done_when_every_pod_is_new_and_available() {
        let done = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2,
            "availableReplicas": 2});
        assert_eq!(rollout(Some(&deployment(2, &done))).truth, Truth::True);
        // The change that has just been written is not in the status yet.
        assert_eq!(rollout(Some(&deployment(3, &done))).truth, Truth::Unknown);
        for unfinished in [
            json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2,
                "availableReplicas": 2}),
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1,
                "availableReplicas": 2}),
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2}),
        ] {
            assert_eq!(
                rollout(Some(&deployment(2, &unfinished))).reason,
                "RollingOut"
            );
        }
    }

    #[test]
    fn what_stops_a_rollout_is_said() {
        let stopped = json!({"observedGeneration": 2, "replicas": 0, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "message": "quota exceeded"}]});
        let finding = rollout(Some(&deployment(2, &stopped)));
        assert_eq!(
            (&*finding.reason, finding.message.as_str()),
            ("RolloutFailed", "quota exceeded")
        );
    }
}

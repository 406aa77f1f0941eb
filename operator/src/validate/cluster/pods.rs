//! Validates what a platform asks of the ingesters' pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, EnvVar, Toleration};
use trunkline_crds::WebhookClusterSpec;

use crate::problem::Collector;

/// Variables by which an ingester knows its pod.
const RESERVED_VARIABLES: [&str; 2] = ["POD_UID", "HOSTNAME"];
/// Whose labels select and describe the operator's objects.
const RESERVED_LABELS: [&str; 2] = ["app.kubernetes.io/", "trunkline.dev/"];
const RESERVED_ANNOTATIONS: [&str; 1] = ["trunkline.dev/"];

/// What pods have beside what they need.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodOptions {
    /// Environment variables.
    pub env: Vec<EnvVar>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Labels of their nodes.
    pub node_selector: BTreeMap<String, String>,
    /// Taints of their nodes.
    pub tolerations: Vec<Toleration>,
    /// Where they run.
    pub affinity: Option<Affinity>,
    /// Their PriorityClass.
    pub priority_class_name: Option<String>,
    /// Secrets with which the image is pulled.
    pub image_pull_secrets: Vec<String>,
}

pub(super) fn pod_options(spec: &WebhookClusterSpec, collector: &mut Collector<'_>) -> PodOptions {
    for (index, variable) in spec.env.iter().enumerate() {
        let (field, name) = (format!("spec.env[{index}].name"), &variable.name);
        if RESERVED_VARIABLES.contains(&name.as_str()) {
            collector.add(
                field,
                format!("is {name}, by which an ingester knows its pod; remove it"),
            );
        } else if spec.env[..index].iter().any(|other| other.name == *name) {
            collector.add(field, format!("is {name} again; remove one of them"));
        }
    }
    let metadata = spec.pod_metadata.clone().unwrap_or_default();
    for (field, map, reserved) in [
        ("labels", &metadata.labels, &RESERVED_LABELS[..]),
        (
            "annotations",
            &metadata.annotations,
            &RESERVED_ANNOTATIONS[..],
        ),
    ] {
        for key in map.keys() {
            if reserved.iter().any(|prefix| key.starts_with(prefix)) {
                collector.add(
                    format!("spec.podMetadata.{field}"),
                    format!("has {key:?}, which is the operator's; remove it"),
                );
            }
        }
    }
    PodOptions {
        env: spec.env.clone(),
        labels: metadata.labels,
        annotations: metadata.annotations,
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.clone(),
        affinity: spec.affinity.clone(),
        priority_class_name: spec.priority_class_name.clone(),
        image_pull_secrets: spec
            .image_pull_secrets
            .iter()
            .map(|secret| secret.name.clone())
            .collect(),
    }
}

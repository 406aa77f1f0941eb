//! The Kubernetes objects of a WebhookCluster.
//!
//! Invariant: the pod template is a function of the spec and the image alone, so that another
//! version of the operator rolls no pod.

mod deployment;
mod exposure;
mod shards;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::ObjectMeta;
use trunkline_model::document::Files;
use trunkline_model::names::ClusterName;

use crate::validate::Cluster;

pub use exposure::{Listening, base_url, service_host};
pub use shards::shard_names;

/// Label of everything that belongs to a WebhookCluster: its name.
pub const CLUSTER_LABEL: &str = "trunkline.dev/cluster";
/// Value of `app.kubernetes.io/managed-by`.
pub const MANAGED_BY: &str = "trunkline-operator";
/// Pod annotation that makes the kubelet refresh the mounted configuration at once.
pub const CONFIGURATION_ANNOTATION: &str = "trunkline.dev/configuration";
/// Port of the ingesters' admin listener.
pub const ADMIN_PORT: i32 = 9090;
/// Name of the port of plain HTTP, in pods and in the Service.
pub const HTTP: &str = "http";
/// Name of the port of TLS, in pods and in the Service.
pub const HTTPS: &str = "https";
/// Name of the container.
const CONTAINER: &str = "ingester";

/// What the objects are made of.
#[derive(Debug)]
pub struct ObjectInputs<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The WebhookCluster, when it is in Kubernetes: it owns every object.
    pub owner: Option<OwnerReference>,
    /// The ingesters' image.
    pub image: &'a str,
    /// At which of their ports they take requests now.
    pub listening: Listening,
}

/// The objects that a WebhookCluster becomes, but for its configuration.
#[derive(Debug, Clone)]
pub struct Objects {
    /// Identity of the pods; it may do nothing.
    pub service_account: ServiceAccount,
    /// The ingesters.
    pub deployment: Deployment,
    /// Their address.
    pub service: Service,
    /// Keeps pods through a drain, where there is more than one.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// The way in, when the spec asks for one.
    pub ingress: Option<Ingress>,
}

/// Makes the objects.
#[must_use]
pub fn objects(inputs: &ObjectInputs<'_>) -> Objects {
    Objects {
        service_account: ServiceAccount {
            metadata: metadata(inputs),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        deployment: deployment::deployment(inputs),
        service: exposure::service(inputs),
        disruption_budget: deployment::disruption_budget(inputs),
        ingress: exposure::ingress(inputs),
    }
}

/// The configuration as Secrets. It does not depend on the cluster's spec, so that secrets can be
/// revoked while that is invalid.
#[must_use]
pub fn configuration_secrets(
    cluster: &ClusterName,
    owner: Option<&OwnerReference>,
    files: &Files,
) -> Vec<Secret> {
    shards::secrets(cluster, owner, files)
}

/// The name that most of the objects share.
#[must_use]
pub fn object_name(cluster: &ClusterName) -> String {
    format!("{}-ingester", cluster.name())
}

fn metadata(inputs: &ObjectInputs<'_>) -> ObjectMeta {
    let cluster = &inputs.cluster.name;
    metadata_of(cluster, inputs.owner.as_ref(), object_name(cluster))
}

fn metadata_of(cluster: &ClusterName, owner: Option<&OwnerReference>, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace().to_owned()),
        labels: Some(labels(cluster)),
        owner_references: owner.cloned().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// The labels that select the pods; they can never change.
#[must_use]
pub fn selector_labels(cluster: &ClusterName) -> BTreeMap<String, String> {
    BTreeMap::from([
        (
            "app.kubernetes.io/name".to_owned(),
            "trunkline-ingester".to_owned(),
        ),
        (CLUSTER_LABEL.to_owned(), cluster.name().to_owned()),
    ])
}

fn labels(cluster: &ClusterName) -> BTreeMap<String, String> {
    let mut labels = selector_labels(cluster);
    for (key, value) in [
        ("app.kubernetes.io/instance", cluster.name()),
        ("app.kubernetes.io/component", "ingester"),
        ("app.kubernetes.io/part-of", "trunkline"),
        ("app.kubernetes.io/managed-by", MANAGED_BY),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

fn selector(cluster: &ClusterName) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector_labels(cluster)),
        ..LabelSelector::default()
    }
}

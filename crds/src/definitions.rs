//! The custom resource definitions as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{WebhookCluster, WebhookSource};

/// Where the generated YAML is kept, from the root of the workspace.
pub const GENERATED_FOLDERS: &[&str] = &["crds", "charts/trunkline/files/crds"];

/// Both definitions.
#[must_use]
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [WebhookCluster::crd(), WebhookSource::crd()]
}

/// Both definitions as YAML, each with the name of its file.
///
/// # Errors
/// Only when a schema cannot be written as YAML.
pub fn definitions_yaml() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    definitions()
        .iter()
        .map(|definition| {
            let file = format!("{}.yaml", definition.spec.names.plural);
            Ok((file, serde_saphyr::to_string(definition)?))
        })
        .collect()
}

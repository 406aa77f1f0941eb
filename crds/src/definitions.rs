//! The custom resource definitions as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{WebhookCluster, WebhookSource};

/// Where the generated YAML is kept, from the root of the workspace.
pub const GENERATED_FOLDERS: &[&str] = &["crds", "charts/trunkline/files/crds"];

/// Both definitions.
#[must_use]
pub fn definitions() -> [CustomResourceDefinition; 2] {
    let mut definitions = [WebhookCluster::crd(), WebhookSource::crd()];
    for version in definitions.iter_mut().flat_map(|d| &mut d.spec.versions) {
        let schema = version.schema.as_mut();
        if let Some(schema) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            null_is_absent(schema);
        }
    }
    definitions
}

/// Takes `nullable` from a schema. The derive puts it on every `Option`, and a null would then be
/// stored and count as present for the rules, while for the types it means absent. Without it, the
/// API server drops nulls before it looks at anything else.
fn null_is_absent(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|all| all.values_mut())
    {
        null_is_absent(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => null_is_absent(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(null_is_absent),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        null_is_absent(values);
    }
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
